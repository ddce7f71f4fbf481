//! One heap of deadlines for the whole node, so that an idle partition costs memory only.
//!
//! Not a wheel and not a task per machine: an owner arms a deadline when its machine's next time-out becomes
//! *earlier*; a later one is found when the old entry fires. Nothing is ever cancelled: an owner that no
//! longer cares ignores the call (design rule 14).

use crate::clock::Clock;
use highwater_core::time::Instant;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::sync::{Mutex, PoisonError, Weak};
use tokio::sync::Notify;

/// How many due entries one turn carries out before it lets other tasks run.
const DUE_PER_TURN_MAX: usize = 256;

/// Something that waits for deadlines: a cell, a waiting fetch.
pub trait Timed: Send + Sync {
    /// The deadline armed as `at` has passed. Called without any lock held; may arm again.
    fn due(&self, at: Instant);
}

struct Entry {
    at: Instant,
    /// Entries of one instant fire in the order armed, so that a run can be replayed.
    sequence: u64,
    owner: Weak<dyn Timed>,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

#[derive(Default)]
struct Heap {
    entries: BinaryHeap<Reverse<Entry>>,
    sequence: u64,
}

/// The node's deadlines.
pub struct Timers {
    clock: Clock,
    heap: Mutex<Heap>,
    earlier: Notify,
}

impl std::fmt::Debug for Timers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Timers").field("armed", &self.armed()).finish()
    }
}

impl Timers {
    /// No deadlines yet. Nothing fires until [`Timers::run`] runs.
    pub fn new(clock: Clock) -> Self {
        Self { clock, heap: Mutex::default(), earlier: Notify::new() }
    }

    /// Calls `owner.due(at)` when `at` has passed, if the owner is still there.
    pub fn arm(&self, at: Instant, owner: Weak<dyn Timed>) {
        let mut heap = self.lock();
        let first = heap.entries.peek().map(|Reverse(e)| e.at);
        heap.sequence += 1;
        let sequence = heap.sequence;
        heap.entries.push(Reverse(Entry { at, sequence, owner }));
        drop(heap);
        if first.is_none_or(|first| at < first) {
            self.earlier.notify_one();
        }
    }

    /// How many entries wait, those of vanished owners included.
    pub fn armed(&self) -> usize {
        self.lock().entries.len()
    }

    /// Fires deadlines until the task is dropped.
    pub async fn run(&self) {
        loop {
            self.fire();
            match self.next() {
                Some(at) if at <= self.clock.mono() => tokio::task::yield_now().await,
                Some(at) => {
                    tokio::select! {
                        biased;
                        () = self.earlier.notified() => {}
                        () = tokio::time::sleep_until(self.clock.deadline(at)) => {}
                    }
                }
                None => self.earlier.notified().await,
            }
        }
    }

    /// The first deadline whose owner is still there. Most fetches are over long before their deadline, and none of those
    /// is worth waking for: at a hundred fetches a second it would be a hundred times a second.
    fn next(&self) -> Option<Instant> {
        let mut heap = self.lock();
        while let Some(first) = heap.entries.peek_mut() {
            if first.0.owner.strong_count() > 0 {
                return Some(first.0.at);
            }
            PeekMut::pop(first);
        }
        None
    }

    /// Fires what is due, up to a turn's limit.
    fn fire(&self) {
        for _ in 0..DUE_PER_TURN_MAX {
            let now = self.clock.mono();
            let mut heap = self.lock();
            if heap.entries.peek().is_none_or(|Reverse(e)| e.at > now) {
                return;
            }
            let Some(Reverse(entry)) = heap.entries.pop() else { return };
            drop(heap);
            if let Some(owner) = entry.owner.upgrade() {
                owner.due(entry.at);
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Heap> {
        self.heap.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::time::Duration;

    struct Fetch;

    impl Timed for Fetch {
        fn due(&self, _at: Instant) {}
    }

    #[test]
    fn deadlines_of_whom_is_gone_wake_nobody() {
        let clock = Clock::start();
        let timers = Timers::new(clock);
        let waiting = Arc::new(Fetch);
        let at = |ms| clock.mono() + Duration::from_millis(ms);
        for ms in 0..1000 {
            let over: Arc<dyn Timed> = Arc::new(Fetch);
            timers.arm(at(ms), Arc::downgrade(&over));
        }
        let live = at(5000);
        timers.arm(live, Arc::downgrade(&(waiting.clone() as Arc<dyn Timed>)));
        assert_eq!(timers.next(), Some(live));
        assert_eq!(timers.armed(), 1);
        drop(waiting);
        assert_eq!(timers.next(), None);
    }
}
