//! Waiting for records: watches on partitions, waits over many of them, and fetch sessions.
//!
//! A fetch works on a [`FetchSet`], its own or that of its session (KIP-227). Only partitions marked dirty are
//! read: those the client has named, and those with news since they were last read, which a one-shot watch
//! (see [`Watches`]) tells. So a session with 10,000 idle partitions costs nothing.
//!
//! ```text
//!  Sessions::begin --> take_dirty --> for each: Replica::fetch_bounds, read within Budget --> FetchWait::read
//!        not due yet: arm --> Input::Watch ... Effect::Wake --> wake --> take_dirty again
//!        due: answer (what the session has not told yet) --> response
//! ```
//!
//! Not in here: what may be read ([`crate::replica::Replica::fetch_bounds`]) and the reading itself.

mod budget;
mod session;
mod set;
mod wait;
mod watch;

pub use budget::{Budget, ReadLimit};
pub use session::{Begun, Released, SessionId, SessionRequest, Sessions, SessionsLimits};
pub use set::{Answer, FetchPartition, FetchSet, PARTITIONS_MAX, Slot, TopicKey};
pub use wait::FetchWait;
pub use watch::Watches;
