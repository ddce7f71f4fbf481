//! Jitter from a seed.

use crate::random::SplitMix64;
use std::time::Duration;

/// A stream of numbers that follows from its seed.
#[derive(Clone, Debug)]
pub(super) struct Random(SplitMix64);

impl Random {
    pub(super) const fn new(seed: u64) -> Self {
        Self(SplitMix64::new(seed))
    }

    /// A time below `max`, or nothing if that is nothing.
    pub(super) fn up_to(&mut self, max: Duration) -> Duration {
        let max = u64::try_from(max.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(if max == 0 { 0 } else { self.0.next_u64() % max })
    }

    /// An index below `len`, which is not nought.
    pub(super) fn below(&mut self, len: usize) -> usize {
        (self.0.next_u64() % len as u64) as usize
    }
}
