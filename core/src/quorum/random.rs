//! Jitter from a seed: SplitMix64.

use std::time::Duration;

/// A stream of numbers that follows from its seed.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A time below `max`, or nothing if that is nothing.
    pub(super) fn up_to(&mut self, max: Duration) -> Duration {
        let max = u64::try_from(max.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(if max == 0 { 0 } else { self.next() % max })
    }

    /// An index below `len`, which is not nought.
    pub(super) fn below(&mut self, len: usize) -> usize {
        (self.next() % len as u64) as usize
    }
}
