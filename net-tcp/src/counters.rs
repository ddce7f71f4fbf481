//! What a server has seen, for metrics. Owned by the server, never process-wide.

use crate::close::CloseReason;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Running totals of one server. Read them with [`Counters::snapshot`].
#[derive(Debug, Default)]
pub struct Counters {
    pub(crate) connections_accepted: AtomicU64,
    pub(crate) connections_refused: AtomicU64,
    pub(crate) connections_throttled: AtomicU64,
    pub(crate) accept_errors: AtomicU64,
    pub(crate) bytes_in: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
    pub(crate) requests: AtomicU64,
    pub(crate) batches: AtomicU64,
    pub(crate) replies: AtomicU64,
    pub(crate) throttles: AtomicU64,
    closed: [AtomicU64; CloseReason::KINDS],
}

/// The counters at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CountersSnapshot {
    /// Connections that got a task.
    pub connections_accepted: u64,
    /// Connections dropped at the door (`max.connections.per.ip`).
    pub connections_refused: u64,
    /// Connections closed because their address connects too often.
    pub connections_throttled: u64,
    /// Failures of accept itself, such as too many open files.
    pub accept_errors: u64,
    /// Bytes read from clients.
    pub bytes_in: u64,
    /// Bytes written to clients.
    pub bytes_out: u64,
    /// Requests handed to the service.
    pub requests: u64,
    /// Calls of the service; requests per batch shows how well pipelining works.
    pub batches: u64,
    /// Replies taken for writing, those without an answer included.
    pub replies: u64,
    /// Replies that muted their connection.
    pub throttles: u64,
    /// Ends of connections, by [`CloseReason::kind`].
    pub closed: [u64; CloseReason::KINDS],
}

impl CountersSnapshot {
    /// How many connections ended for the same kind of reason as `reason`.
    pub fn closed_for(&self, reason: &CloseReason) -> u64 {
        self.closed[reason.kind()]
    }

    /// Connections open now.
    pub fn connections_open(&self) -> u64 {
        self.connections_accepted.saturating_sub(self.closed.iter().sum())
    }
}

impl Counters {
    pub(crate) fn count_closed(&self, reason: &CloseReason) {
        self.closed[reason.kind()].fetch_add(1, Relaxed);
    }

    /// The totals so far. Not one atomic picture: each counter is exact by itself.
    pub fn snapshot(&self) -> CountersSnapshot {
        CountersSnapshot {
            closed: std::array::from_fn(|kind| self.closed[kind].load(Relaxed)),
            connections_accepted: self.connections_accepted.load(Relaxed),
            connections_refused: self.connections_refused.load(Relaxed),
            connections_throttled: self.connections_throttled.load(Relaxed),
            accept_errors: self.accept_errors.load(Relaxed),
            bytes_in: self.bytes_in.load(Relaxed),
            bytes_out: self.bytes_out.load(Relaxed),
            requests: self.requests.load(Relaxed),
            batches: self.batches.load(Relaxed),
            replies: self.replies.load(Relaxed),
            throttles: self.throttles.load(Relaxed),
        }
    }
}
