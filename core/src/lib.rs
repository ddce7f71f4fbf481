//! Highwater's decisions: replicas, fetch waits, coordinators and metadata as sans-IO state machines.
//!
//! No networking, clock, file, thread or source of randomness is in here. A shell (`node`, or the
//! simulator) hands in inputs and carries out effects; see [`machine::Machine`].

#![forbid(unsafe_code)]

pub mod batch;
pub mod client;
pub mod config;
pub mod coordinator;
pub mod error_code;
pub mod fetch;
pub mod guard;
pub mod ids;
pub mod machine;
pub mod metadata;
pub mod quorum;
pub mod quota;
pub mod random;
pub mod registration;
pub mod replica;
pub mod retention;
pub mod time;
pub mod transport;
