//! Clients that ask one thing at a time and at once again: for them the task stays awake for a moment.
//!
//! Falling asleep and being woken costs more than a small request. So a connection whose last requests each came
//! within [`QUICK`] of the answer before is polled again, instead of parked, for at most the limit's time. It is
//! not a loop: the runtime runs other tasks in between and looks for events of all sockets. A client that was waited
//! for in vain must show itself quick for twice as long before that happens again, and only a few connections of a
//! server do it at once: an idle server sleeps, and a busy one has better things to do. Large requests and answers do
//! not count, as their price is not in the waking.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;
use tokio::time::Instant;

/// A request within this time of the answer before it is quick: it includes being woken twice.
const QUICK: Duration = Duration::from_micros(150);
/// Larger requests and answers are not worth waking early for.
pub(crate) const SMALL_BYTES: usize = 4 << 10;
/// Quick requests in a row before a connection is waited for.
const STREAK_MIN: u32 = 8;
/// The most that waiting in vain raises it to.
const STREAK_MAX: u32 = 8 << 10;

/// How many connections of a server may be waited for at once.
#[derive(Debug)]
pub(crate) struct Places {
    taken: AtomicUsize,
    max: usize,
}

impl Places {
    pub(crate) const fn new(max: usize) -> Self {
        Self { taken: AtomicUsize::new(0), max }
    }

    fn take(self: &Arc<Self>) -> Option<Place> {
        let take = |taken| (taken < self.max).then_some(taken + 1);
        self.taken.fetch_update(Relaxed, Relaxed, take).ok()?;
        Some(Place(self.clone()))
    }
}

/// One of [`Places`], free again when dropped.
#[derive(Debug)]
struct Place(Arc<Places>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Relaxed);
    }
}

/// How quickly one client asks again, and whether it is waited for.
#[derive(Debug)]
pub(crate) struct Lockstep {
    places: Arc<Places>,
    wait_max: Duration,
    turn: Turn,
    streak: u32,
    streak_min: u32,
    place: Option<Place>,
}

#[derive(Clone, Copy, Debug)]
enum Turn {
    /// Something else than one small request after another goes on.
    None,
    /// The client has asked.
    Ours,
    /// It has its answer since then.
    Theirs(Instant),
}

impl Lockstep {
    /// Waits for up to `wait_max`; zero for never.
    pub(crate) const fn new(places: Arc<Places>, wait_max: Duration) -> Self {
        Self { places, wait_max, turn: Turn::None, streak: 0, streak_min: STREAK_MIN, place: None }
    }

    /// So many requests were handed over at once, the first of which has so many bytes.
    pub(crate) fn asked(&mut self, requests: usize, first_bytes: usize) {
        if requests == 1 && first_bytes <= SMALL_BYTES {
            self.turn = Turn::Ours;
        } else {
            self.disturbed();
        }
    }

    /// Whether the client has just asked one small thing, and has no answer yet.
    pub(crate) const fn is_asked(&self) -> bool {
        matches!(self.turn, Turn::Ours)
    }

    /// So many bytes of answers were written.
    pub(crate) fn wrote(&mut self, bytes: u64) {
        if bytes > SMALL_BYTES as u64 {
            self.disturbed();
        }
    }

    fn disturbed(&mut self) {
        self.turn = Turn::None;
        self.streak = 0;
        self.place = None;
    }

    /// Bytes came.
    pub(crate) fn received(&mut self, now: Instant) {
        if let Turn::Theirs(since) = self.turn {
            let is_quick = now.saturating_duration_since(since) <= QUICK;
            self.streak = if is_quick { self.streak.saturating_add(1) } else { 0 };
            if self.place.is_some() && is_quick {
                self.streak_min = (self.streak_min / 2).max(STREAK_MIN);
            }
        }
        self.place = None;
    }

    /// Called when there is nothing to do: whether to stay awake, as the next request may be there in a moment.
    pub(crate) fn stays_awake(&mut self, now: Instant) -> bool {
        let since = match self.turn {
            Turn::None => return false,
            Turn::Ours => now,
            Turn::Theirs(since) => since,
        };
        self.turn = Turn::Theirs(since);
        if self.streak < self.streak_min {
            return false;
        }
        if now.saturating_duration_since(since) < self.wait_max {
            self.place = self.place.take().or_else(|| self.places.take());
            return self.place.is_some();
        }
        if self.place.take().is_some() {
            self.streak = 0;
            self.streak_min = (self.streak_min * 2).min(STREAK_MAX);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_micros(50);

    struct Client {
        lockstep: Lockstep,
        now: Instant,
    }

    impl Client {
        fn new(places: &Arc<Places>) -> Self {
            Self { lockstep: Lockstep::new(places.clone(), WAIT), now: Instant::now() }
        }

        /// Asks `times` times, each so long after the answer; whether it was waited for after the last answer.
        fn asks(&mut self, times: u32, micros_after: u64) -> bool {
            let mut is_waited_for = false;
            for _ in 0..times {
                self.now += Duration::from_micros(micros_after);
                self.lockstep.stays_awake(self.now);
                self.lockstep.received(self.now);
                self.lockstep.asked(1, 100);
                self.lockstep.wrote(50);
                is_waited_for = self.lockstep.stays_awake(self.now);
            }
            is_waited_for
        }
    }

    #[test]
    fn a_client_that_asks_again_at_once_is_waited_for() {
        let mut client = Client::new(&Arc::new(Places::new(1)));
        assert!(!client.asks(STREAK_MIN, 20), "not before it has shown itself quick");
        assert!(client.asks(1, 20));
        assert!(client.asks(100, 20));
        assert!(!client.asks(1, 1000), "not after it took its time");
    }

    #[test]
    fn waiting_in_vain_is_not_tried_again_soon() {
        let mut client = Client::new(&Arc::new(Places::new(1)));
        client.asks(STREAK_MIN + 1, 20);
        client.now += WAIT;
        assert!(!client.lockstep.stays_awake(client.now), "the time is over");
        assert!(!client.asks(2 * STREAK_MIN, 120), "twice the streak is wanted now");
        assert!(client.asks(1, 120));
    }

    #[test]
    fn places_are_few_and_given_back() {
        let places = Arc::new(Places::new(1));
        let (mut first, mut second) = (Client::new(&places), Client::new(&places));
        assert!(first.asks(STREAK_MIN + 1, 20));
        assert!(!second.asks(STREAK_MIN + 1, 20), "the one place is taken");
        drop(first);
        assert!(second.asks(1, 20));
        assert!(!Client::new(&Arc::new(Places::new(0))).asks(STREAK_MIN + 1, 20));
    }

    #[test]
    fn pipelines_and_large_messages_are_no_lockstep() {
        let mut client = Client::new(&Arc::new(Places::new(1)));
        client.asks(STREAK_MIN + 1, 20);
        client.lockstep.asked(2, 100);
        assert!(!client.lockstep.stays_awake(client.now));
        client.asks(STREAK_MIN + 1, 20);
        client.lockstep.wrote(1 << 20);
        assert!(!client.lockstep.stays_awake(client.now));
        client.asks(STREAK_MIN + 1, 20);
        client.lockstep.asked(1, 1 << 20);
        assert!(!client.lockstep.stays_awake(client.now));
    }
}
