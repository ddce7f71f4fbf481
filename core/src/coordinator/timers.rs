//! Deadlines by purpose, each with a token: an entry of the queue counts only while its token is the armed one.
//!
//! A later deadline for the same purpose (every heartbeat) touches no queue: the old entry fires, sees that it
//! is early and queues itself again.

use std::collections::BTreeMap;

use crate::time::Instant;

#[derive(Clone, Copy, Debug)]
struct Armed {
    at: Instant,
    token: u64,
    queued_at: Instant,
}

/// The deadlines of one shard.
#[derive(Debug)]
pub(super) struct Timers<T> {
    armed: BTreeMap<T, Armed>,
    queue: BTreeMap<(Instant, u64), T>,
    token_next: u64,
}

impl<T> Default for Timers<T> {
    fn default() -> Self {
        Self { armed: BTreeMap::new(), queue: BTreeMap::new(), token_next: 0 }
    }
}

impl<T: Clone + Ord> Timers<T> {
    /// Sets the deadline of a purpose, in place of the one it had.
    pub(super) fn arm(&mut self, timer: T, at: Instant) {
        if let Some(armed) = self.armed.get_mut(&timer)
            && armed.queued_at <= at
        {
            armed.at = at;
            return;
        }
        self.cancel(&timer);
        let token = self.token_next;
        self.token_next += 1;
        self.armed.insert(timer.clone(), Armed { at, token, queued_at: at });
        self.queue.insert((at, token), timer);
    }

    /// Forgets the deadline of a purpose, if it has one.
    pub(super) fn cancel(&mut self, timer: &T) {
        if let Some(armed) = self.armed.remove(timer) {
            self.queue.remove(&(armed.queued_at, armed.token));
        }
    }

    /// Takes one purpose whose deadline has passed, the earliest first.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<T> {
        loop {
            let entry = self.queue.first_entry()?;
            let (queued_at, token) = *entry.key();
            if queued_at > now {
                return None;
            }
            let timer = entry.remove();
            let armed = self.armed.get_mut(&timer).expect("what is queued is armed: cancel removes both");
            assert_eq!(armed.token, token, "one queue entry per purpose");
            if armed.at > now {
                armed.queued_at = armed.at;
                self.queue.insert((armed.at, token), timer);
                continue;
            }
            self.armed.remove(&timer);
            return Some(timer);
        }
    }

    /// When to look again. May be early.
    pub(super) fn next(&self) -> Option<Instant> {
        self.queue.first_key_value().map(|((at, _), _)| *at)
    }

    pub(super) fn len(&self) -> usize {
        self.armed.len()
    }

    pub(super) fn assert_invariants(&self) {
        assert_eq!(self.armed.len(), self.queue.len(), "each purpose is queued once");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(n: u64) -> Instant {
        Instant::from_nanos(n)
    }

    #[test]
    fn fires_in_order_and_once() {
        let mut timers = Timers::default();
        timers.arm("b", at(20));
        timers.arm("a", at(10));
        assert_eq!(timers.next(), Some(at(10)));
        assert_eq!(timers.pop_due(at(9)), None);
        assert_eq!(timers.pop_due(at(20)), Some("a"));
        assert_eq!(timers.pop_due(at(20)), Some("b"));
        assert_eq!(timers.pop_due(at(20)), None);
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn a_later_deadline_is_found_when_the_old_one_fires() {
        let mut timers = Timers::default();
        timers.arm("a", at(10));
        timers.arm("a", at(30));
        assert_eq!(timers.next(), Some(at(10)), "early is harmless");
        assert_eq!(timers.pop_due(at(10)), None);
        assert_eq!(timers.next(), Some(at(30)));
        assert_eq!(timers.pop_due(at(30)), Some("a"));
    }

    #[test]
    fn an_earlier_deadline_counts_at_once() {
        let mut timers = Timers::default();
        timers.arm("a", at(30));
        timers.arm("a", at(10));
        assert_eq!(timers.next(), Some(at(10)));
        assert_eq!(timers.pop_due(at(10)), Some("a"));
        assert_eq!(timers.pop_due(at(30)), None);
    }

    #[test]
    fn a_cancelled_deadline_never_fires() {
        let mut timers = Timers::default();
        timers.arm("a", at(10));
        timers.arm("a", at(30));
        timers.cancel(&"a");
        timers.arm("a", at(50));
        assert_eq!(timers.pop_due(at(49)), None);
        assert_eq!(timers.pop_due(at(50)), Some("a"));
        timers.assert_invariants();
    }
}
