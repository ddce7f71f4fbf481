//! The simulator: whole nodes on madsim, simulated disks and networks, oracles.
#![forbid(unsafe_code)]

pub mod disk;
pub mod meta_store;
