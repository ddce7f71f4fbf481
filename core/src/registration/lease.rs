//! Until when a broker may take for granted that nobody leads in its place.
//!
//! A broker that the controller does not fence leads what it led until it is moved on purpose. So an answer that says
//! "not fenced" is a lease, counted from when the heartbeat *left*: the controller, or one after it, heard it later, and
//! waits longer than the lease lasts before it elects somebody else. A process that stood still finds its lease over, by
//! its own clock, before it has heard of anything.

use crate::time::Instant;
use std::collections::VecDeque;
use std::time::Duration;

/// Heartbeats whose answers may still come. Older ones would grant nothing any more.
const REMEMBERED_MAX: usize = 16;

/// A broker's lease. See the [module](self).
#[derive(Debug)]
pub(super) struct Lease {
    length: Duration,
    /// When each heartbeat left.
    sent: VecDeque<(u64, Instant)>,
    until: Until,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Until {
    /// The only broker of a cluster has no other that could lead.
    BeforeAnotherCame,
    Over,
    At(Instant),
}

impl Lease {
    /// None yet.
    pub(super) const fn none(length: Duration) -> Self {
        Self { length, sent: VecDeque::new(), until: Until::Over }
    }

    /// That of the only broker of a cluster: it lasts until it begins to speak, as another has come.
    pub(super) const fn of_the_only_broker(length: Duration) -> Self {
        Self { length, sent: VecDeque::new(), until: Until::BeforeAnotherCame }
    }

    /// A heartbeat leaves.
    pub(super) fn asked(&mut self, now: Instant, correlation: u64) {
        if self.until == Until::BeforeAnotherCame {
            self.until = Until::At(now + self.length);
        }
        if self.sent.len() == REMEMBERED_MAX {
            self.sent.pop_front();
        }
        self.sent.push_back((correlation, now));
    }

    /// A heartbeat is answered; `is_fenced` ends the lease.
    pub(super) fn answered(&mut self, correlation: u64, is_fenced: bool) {
        let sent = self.sent.iter().find(|(sent, _)| *sent == correlation).map(|(_, at)| *at);
        self.sent.retain(|(sent, _)| *sent > correlation);
        if is_fenced {
            self.until = Until::Over;
        } else if let Some(sent) = sent {
            let until = sent + self.length;
            self.until = match self.until {
                Until::At(before) => Until::At(before.max(until)),
                _ => Until::At(until),
            };
        }
    }

    /// The controller knows this broker no more.
    pub(super) fn end(&mut self) {
        self.sent.clear();
        self.until = Until::Over;
    }

    /// Whether it lasts.
    pub(super) fn holds(&self, now: Instant) -> bool {
        match self.until {
            Until::BeforeAnotherCame => true,
            Until::Over => false,
            Until::At(until) => now < until,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn a_lease_counts_from_when_the_heartbeat_left() {
        let mut lease = Lease::none(Duration::from_millis(600));
        assert!(!lease.holds(at(0)));
        lease.asked(at(1000), 1);
        assert!(!lease.holds(at(1000)), "nothing is granted yet");
        lease.asked(at(1300), 2);
        lease.answered(1, false);
        assert!(lease.holds(at(1599)) && !lease.holds(at(1600)));
        // The answer waited while the process stood still.
        lease.answered(2, false);
        assert!(lease.holds(at(1899)) && !lease.holds(at(5000)));
        lease.answered(2, false);
        assert!(!lease.holds(at(1900)), "an answer counts once");
        lease.asked(at(5000), 3);
        lease.answered(3, true);
        assert!(!lease.holds(at(5001)), "fenced");
    }

    #[test]
    fn the_only_broker_has_a_lease_until_it_begins_to_speak() {
        let mut lease = Lease::of_the_only_broker(Duration::from_millis(600));
        assert!(lease.holds(at(1_000_000)));
        lease.asked(at(2000), 1);
        assert!(lease.holds(at(2599)) && !lease.holds(at(2600)));
    }
}
