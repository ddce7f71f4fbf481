//! What a node has done, for metrics. Owned by the node, never process-wide.

use highwater_protocol::ApiKey;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Kafka's keys are below this.
const KEYS: usize = 96;

/// Running totals of one node.
#[derive(Debug)]
pub struct Counters {
    requests: [AtomicU64; KEYS],
    /// Bytes of record batches that producers sent.
    pub bytes_in: AtomicU64,
    /// Bytes of record batches fetched.
    pub bytes_out: AtomicU64,
    /// Produced batches refused when they came.
    pub produce_errors: AtomicU64,
    /// Leaders elected who may have lacked acknowledged records, as this node decided while it was the controller.
    pub unclean_elections: AtomicU64,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            requests: std::array::from_fn(|_| AtomicU64::new(0)),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            produce_errors: AtomicU64::new(0),
            unclean_elections: AtomicU64::new(0),
        }
    }
}

impl Counters {
    /// Counts a request.
    pub fn count_request(&self, key: ApiKey) {
        if let Some(counter) = usize::try_from(key.code()).ok().and_then(|at| self.requests.get(at)) {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// How many requests of each API have come, those never asked left out.
    pub fn requests(&self) -> impl Iterator<Item = (ApiKey, u64)> + '_ {
        ApiKey::ALL.iter().filter_map(|key| {
            let at = usize::try_from(key.code()).ok()?;
            let count = self.requests.get(at)?.load(Relaxed);
            (count > 0).then_some((*key, count))
        })
    }
}
