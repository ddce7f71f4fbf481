//! The simulator: whole nodes on madsim, the core machines alone under the direct driver, oracles.
//!
//! A run is a pure function of its plan and the build. There are two tiers. [`direct`] steps the machines with one event
//! loop and exists in every build; `scenario` is the form of the files that both read. On madsim, `run` is the door to a
//! node that is alone and `cluster` to several; `machine` starts and breaks a node, `workload`
//! is what clients do, `history` what they saw, `check` what must be true of it, `sweep` runs many seeds. All of these exist under
//! `cfg(madsim)` only; the simulated disk and store are tested in the normal build, too.
#![forbid(unsafe_code)]

pub mod direct;
pub mod disk;
pub mod meta_store;
pub mod rng;
pub mod scenario;

#[cfg(madsim)]
pub mod check;
#[cfg(madsim)]
pub mod client;
#[cfg(madsim)]
pub mod cluster;
#[cfg(madsim)]
pub mod history;
#[cfg(madsim)]
pub mod machine;
#[cfg(madsim)]
pub mod network;
#[cfg(madsim)]
pub mod peer_net;
#[cfg(madsim)]
pub mod run;
#[cfg(madsim)]
pub mod sweep;
#[cfg(madsim)]
pub mod trace;
#[cfg(madsim)]
pub mod workload;
