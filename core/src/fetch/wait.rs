//! One fetch that waits until it has enough to tell.

use super::set::Slot;
use crate::time::Instant;
use std::collections::BTreeMap;

/// A fetch in waiting: due once it has `min_bytes` over all its partitions, or an error or a divergence in any,
/// or has waited `max_wait_ms`.
#[derive(Clone, Debug)]
pub struct FetchWait {
    deadline: Instant,
    bytes_min: usize,
    bytes: BTreeMap<Slot, usize>,
    total: usize,
    has_urgent: bool,
}

impl FetchWait {
    /// A wait that has seen nothing yet.
    pub fn new(bytes_min: i32, deadline: Instant) -> Self {
        let bytes_min = usize::try_from(bytes_min).unwrap_or(0);
        Self { deadline, bytes_min, bytes: BTreeMap::new(), total: 0, has_urgent: false }
    }

    /// Notes what a partition has to give now, instead of what it had before.
    pub fn read(&mut self, slot: Slot, bytes: usize) {
        let before = if bytes == 0 { self.bytes.remove(&slot) } else { self.bytes.insert(slot, bytes) };
        self.total = self.total + bytes - before.unwrap_or(0);
    }

    /// Notes that a partition has an error or a divergence, which is told at once.
    pub const fn hurry(&mut self) {
        self.has_urgent = true;
    }

    /// The bytes that all partitions have to give.
    pub const fn bytes(&self) -> usize {
        self.total
    }

    /// When the fetch is answered whatever it has.
    pub const fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Whether the fetch is to be answered now.
    pub fn is_due(&self, now: Instant) -> bool {
        self.has_urgent || self.total >= self.bytes_min || now >= self.deadline
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
    }

    #[test]
    fn enough_bytes_over_all_partitions_end_the_wait() {
        let mut wait = FetchWait::new(100, at(500));
        wait.read(Slot(0), 60);
        wait.read(Slot(0), 70);
        wait.read(Slot(1), 29);
        assert!(!wait.is_due(at(0)), "a partition read again counts once: {}", wait.bytes());
        wait.read(Slot(1), 30);
        assert!(wait.is_due(at(0)));
        wait.read(Slot(0), 0);
        assert!(!wait.is_due(at(0)));
        assert!(wait.is_due(at(500)), "or the time");
    }

    #[test]
    fn an_error_ends_it_at_once() {
        let mut wait = FetchWait::new(100, at(500));
        wait.hurry();
        assert!(wait.is_due(at(0)));
        assert!(FetchWait::new(0, at(500)).is_due(at(0)), "and so does asking for nothing");
    }
}
