//! The simulator: whole nodes on madsim, simulated disks and networks, oracles.
//!
//! A run is a pure function of its plan and the build. `run` is the door; `cluster` starts and breaks the node, `workload`
//! is what clients do, `history` what they saw, `check` what must be true of it. All of these exist under
//! `cfg(madsim)` only; the simulated disk and store are tested in the normal build, too.
#![forbid(unsafe_code)]

pub mod disk;
pub mod meta_store;

#[cfg(madsim)]
pub mod check;
#[cfg(madsim)]
pub mod client;
#[cfg(madsim)]
pub mod cluster;
#[cfg(madsim)]
pub mod history;
#[cfg(madsim)]
pub mod network;
#[cfg(madsim)]
pub mod peer_net;
#[cfg(madsim)]
pub mod rng;
#[cfg(madsim)]
pub mod run;
#[cfg(madsim)]
pub mod trace;
#[cfg(madsim)]
pub mod workload;
