//! Replication throttles (KIP-73): how many bytes throttled replicas may still copy, or give away.
//!
//! One quota is shared by all throttled replicas of a broker's side. Which replicas those are
//! ([`crate::config::ThrottledReplicas`]), and that members of the ISR are never held back, is the shell's to know: what
//! in-sync replicas copy counts as well, so that the sum keeps to the limit as far as it can.

use super::rate::Rate;
use crate::config::QuotaWindow;
use crate::time::Instant;

/// What throttled replicas may do on one side, leading or following.
#[derive(Clone, Debug)]
pub struct ReplicationQuota {
    window: QuotaWindow,
    /// Bytes per second; none is no limit.
    limit: Option<f64>,
    rate: Rate,
}

impl ReplicationQuota {
    /// No limit yet.
    pub const fn new(window: QuotaWindow) -> Self {
        Self { window, limit: None, rate: Rate::strict(window) }
    }

    /// Puts other settings in force; whether the limit is another. What was measured stays while there is one.
    pub fn configure(&mut self, window: QuotaWindow, bytes_per_second: Option<i64>) -> bool {
        // Rates are of bytes a second: 2^53 of them are counted exactly.
        #[allow(clippy::cast_precision_loss, reason = "see above")]
        let limit = bytes_per_second.map(|bytes| bytes.max(0) as f64);
        if window != self.window || limit.is_none() {
            self.window = window;
            self.rate = Rate::strict(window);
        }
        std::mem::replace(&mut self.limit, limit) != limit
    }

    /// Whether there is a limit: if not, nothing is counted.
    pub const fn is_limited(&self) -> bool {
        self.limit.is_some()
    }

    /// Throttled replicas copied so many bytes.
    pub fn record(&mut self, now: Instant, bytes: u64) {
        #[allow(clippy::cast_precision_loss, reason = "as in configure")]
        let amount = bytes as f64;
        if self.limit.is_some() && bytes > 0 {
            self.rate.record(now, amount);
        }
    }

    /// Whether more may be copied now, after `planned` bytes that are not recorded yet; if not, from when on.
    ///
    /// As in Kafka the last copy may go above the limit: a batch is larger than what is left more often than not.
    pub fn admit(&mut self, now: Instant, planned: u64) -> Result<(), Instant> {
        let Some(limit) = self.limit else { return Ok(()) };
        #[allow(clippy::cast_precision_loss, reason = "as in configure")]
        let wait = self.rate.throttle_after(now, limit, planned as f64);
        if wait.is_zero() { Ok(()) } else { Err(now + wait) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const WINDOW: QuotaWindow = QuotaWindow { count: 11, seconds: 1 };

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    fn quota(bytes_per_second: i64) -> ReplicationQuota {
        let mut quota = ReplicationQuota::new(WINDOW);
        quota.configure(WINDOW, Some(bytes_per_second));
        quota
    }

    #[test]
    fn without_a_limit_nothing_is_held_back_or_counted() {
        let mut quota = ReplicationQuota::new(WINDOW);
        quota.record(at(0), u64::MAX);
        assert_eq!(quota.admit(at(0), u64::MAX), Ok(()));
        quota.configure(WINDOW, Some(1000));
        assert_eq!(quota.admit(at(0), 0), Ok(()), "what was copied before the limit does not count");
    }

    #[test]
    fn what_goes_above_the_limit_is_waited_for() {
        let mut quota = quota(1000);
        assert_eq!(quota.admit(at(0), 1000), Ok(()), "a second's worth at once");
        quota.record(at(0), 5000);
        let free = quota.admit(at(0), 0).expect_err("five seconds' worth is above");
        assert!(free >= at(5000) && free <= at(5010), "{free:?}");
        assert!(quota.admit(at(4990), 0).is_err());
        assert_eq!(quota.admit(free, 0), Ok(()));
        assert!(quota.admit(free, 1000).is_err(), "what is planned counts");
    }

    #[test]
    fn copying_whenever_admitted_comes_to_the_limit() {
        let mut quota = quota(100_000);
        let (mut now, mut sum) = (at(0), 0u64);
        while now < at(60_000) {
            match quota.admit(now, 0) {
                Ok(()) => {
                    quota.record(now, 30_000);
                    sum += 30_000;
                    now = now + Duration::from_millis(1);
                }
                Err(free) => {
                    assert!(free > now, "time goes on");
                    now = free;
                }
            }
        }
        assert!((5_400_000..=6_700_000).contains(&sum), "{sum} bytes in 60 s at 100,000 a second");
    }

    #[test]
    fn a_limit_of_nothing_lets_a_trickle_pass() {
        let mut quota = quota(0);
        assert_eq!(quota.admit(at(0), 0), Ok(()));
        quota.record(at(0), 10);
        let free = quota.admit(at(0), 0).expect_err("nothing is allowed");
        assert!(free >= at(11_000), "{free:?}");
        assert_eq!(quota.admit(free, 0), Ok(()), "what is old is forgotten");
    }

    #[test]
    fn a_higher_limit_frees_at_once() {
        let mut quota = quota(10);
        quota.record(at(0), 10_000);
        assert!(quota.admit(at(1), 0).is_err());
        quota.configure(WINDOW, Some(1_000_000));
        assert_eq!(quota.admit(at(1), 0), Ok(()));
    }
}
