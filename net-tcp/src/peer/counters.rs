//! What a transport has seen, for metrics. Owned by who starts it, never process-wide.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Running totals of one transport. Read them with [`PeerCounters::snapshot`].
        #[derive(Debug, Default)]
        pub struct PeerCounters { $(pub(super) $name: AtomicU64,)* }

        /// The counters at one moment.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct PeerCountersSnapshot { $($(#[$doc])* pub $name: u64,)* }

        impl PeerCounters {
            /// The totals so far. Not one atomic picture: each counter is exact by itself.
            pub fn snapshot(&self) -> PeerCountersSnapshot {
                PeerCountersSnapshot { $($name: self.$name.load(Relaxed),)* }
            }
        }
    };
}

counters! {
    /// Connections made that got past the hello.
    links_dialed,
    /// Connections accepted that got past the hello.
    links_accepted,
    /// Those of both that have ended.
    links_ended,
    /// Attempts to connect that came to nothing.
    dials_failed,
    /// Hellos refused, by this side or the other.
    hellos_refused,
    /// Connections closed because of bytes that are no frame.
    frames_corrupt,
    /// Frames that were not taken for sending.
    frames_not_sent,
    /// Frames taken and lost with their connection, as far as they had not left the queue.
    frames_lost,
    /// Frames given to a socket.
    frames_out,
    /// Frames received.
    frames_in,
    /// Bytes written.
    bytes_out,
    /// Bytes read.
    bytes_in,
    /// Writes that ended with a flush; frames per flush shows how well batching works.
    flushes,
}

impl PeerCountersSnapshot {
    /// Connections open now.
    pub const fn links_open(&self) -> u64 {
        (self.links_dialed + self.links_accepted).saturating_sub(self.links_ended)
    }
}
