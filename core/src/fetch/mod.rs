//! Waiting for records: watches on partitions, waits over many of them, and fetch sessions.
//!
//! Not in here: what may be read ([`crate::replica::Replica::fetch_bounds`]) and the reading itself.

mod watch;

pub use watch::Watches;
