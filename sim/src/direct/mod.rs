//! The direct driver: the core machines stepped by one event loop, without a runtime, sockets or real bytes.
//!
//! ```text
//!  queue ──event──> world ──> node { cells { replica, coordinator, log } } ──effects──> queue, network, disk
//!                     │  └──> client (producer, consumer, member, operator)
//!                     └─hooks─> truth (ledger of what is committed) ── violation
//! ```
//!
//! The machines are those of the node; what is simulated is everything around them: time, network, disks, crashes and
//! clients. A run is a pure function of (scenario, seed, build). `world` is the loop, `cell` and `node` are the shell,
//! `truth` and `check` the oracles, `faults` what goes wrong, `run` the door, `shrink` makes a failing plan smaller.
//!
//! It is not the other tier, on madsim, which runs whole nodes with their shell and wire protocol: see [`crate`].

mod broker;
mod cell;
mod check;
mod client;
mod consumer;
mod contact;
mod coverage;
mod env;
mod faults;
mod groups;
mod liveness;
mod member;
mod message;
mod meta;
mod network;
mod node;
mod operator;
mod producer;
mod queue;
mod replication;
mod reshape;
mod run;
mod shrink;
mod store;
mod trace;
mod truth;
mod world;

pub use coverage::silence;
pub use env::Totals;
pub use faults::{Fault, PlannedFault, Profile};
pub use network::NetworkFaults;
pub use run::{GuardCount, HAS_SWITCHES, Options, Outcome, Verdict, run};
pub use shrink::{Shrunk, shrink};
pub use truth::Violation;
