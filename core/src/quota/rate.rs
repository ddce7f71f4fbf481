//! Rates over sliding windows, and token buckets, as Kafka computes them.

use crate::config::QuotaWindow;
use crate::time::Instant;
use std::collections::VecDeque;
use std::time::Duration;

impl QuotaWindow {
    fn length(self) -> Duration {
        Duration::from_secs(u64::try_from(self.seconds).unwrap_or(1).max(1))
    }

    fn windows(self) -> u32 {
        u32::try_from(self.count).unwrap_or(1).max(1)
    }
}

/// The least time that a rate is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    /// All windows but one, so that a burst at the start is no high rate: Kafka's `Rate`, for clients.
    Lenient,
    /// One window: Kafka's `SimpleRate`, for replication.
    Strict,
}

/// Something per second over the last windows; Kafka's `Rate` and `SimpleRate` of `SampledStat`s.
#[derive(Clone, Debug)]
pub struct Rate {
    window: QuotaWindow,
    start: Start,
    /// Windows with something in them, oldest first, with their beginnings.
    samples: VecDeque<(Instant, f64)>,
}

impl Rate {
    /// A rate of nothing yet.
    pub const fn new(window: QuotaWindow) -> Self {
        Self { window, start: Start::Lenient, samples: VecDeque::new() }
    }

    /// A rate of nothing yet, which begins to count with the first window.
    pub const fn strict(window: QuotaWindow) -> Self {
        Self { window, start: Start::Strict, samples: VecDeque::new() }
    }

    /// Adds `amount`, which may be negative to take something back.
    pub fn record(&mut self, now: Instant, amount: f64) {
        self.forget(now);
        match self.samples.back_mut() {
            Some((start, sum)) if now.since(*start) < self.window.length() => *sum += amount,
            _ => self.samples.push_back((now, amount)),
        }
    }

    /// The amount per second.
    pub fn per_second(&mut self, now: Instant) -> f64 {
        self.forget(now);
        let sum: f64 = self.samples.iter().map(|(_, sum)| sum).sum();
        sum / self.elapsed(now).as_secs_f64()
    }

    /// How long to do nothing so that the rate comes down to `limit`; zero if it is not above.
    pub fn throttle(&mut self, now: Instant, limit: f64) -> Duration {
        let rate = self.per_second(now);
        if rate <= limit {
            return Duration::ZERO;
        }
        seconds((rate - limit) / limit * self.elapsed(now).as_secs_f64())
    }

    /// How long to do nothing so that the rate, with `more` on top, comes down to `limit`; zero if it is not above.
    pub fn throttle_after(&mut self, now: Instant, limit: f64, more: f64) -> Duration {
        self.forget(now);
        let sum: f64 = self.samples.iter().map(|(_, sum)| sum).sum::<f64>() + more;
        if sum <= limit * self.elapsed(now).as_secs_f64() {
            return Duration::ZERO;
        }
        let begun = self.samples.front().map_or(now, |(start, _)| *start);
        // What is forgotten by then counts no more.
        let kept = self.window.length().saturating_mul(self.window.windows());
        let over = seconds(sum / limit).min(kept).saturating_sub(now.since(begun));
        over.max(Duration::from_millis(1))
    }

    /// The time that the sum is over.
    fn elapsed(&self, now: Instant) -> Duration {
        let length = self.window.length();
        let oldest = self.samples.front().map_or(now, |(start, _)| *start);
        let elapsed = now.since(oldest);
        if self.start == Start::Strict {
            return elapsed.max(length);
        }
        let full = u32::try_from(elapsed.as_nanos() / length.as_nanos()).unwrap_or(u32::MAX);
        let missing = (self.window.windows() - 1).saturating_sub(full);
        let elapsed = elapsed + length.saturating_mul(missing);
        if elapsed.is_zero() { length } else { elapsed }
    }

    fn forget(&mut self, now: Instant) {
        let kept = self.window.length().saturating_mul(self.window.windows());
        while self.samples.front().is_some_and(|(start, _)| now.since(*start) >= kept) {
            self.samples.pop_front();
        }
    }
}

/// A bucket that fills at a rate, up to what all windows together allow (KIP-599). A large operation may overdraw
/// it once, and the next waits.
#[derive(Clone, Debug)]
pub struct TokenBucket {
    window: QuotaWindow,
    tokens: f64,
    filled: Instant,
}

impl TokenBucket {
    /// A full bucket for this rate.
    pub fn new(window: QuotaWindow, now: Instant, per_second: f64) -> Self {
        Self { window, tokens: Self::most(window, per_second), filled: now }
    }

    /// Whether it is overdrawn, and for how long it will be.
    pub fn throttle(&mut self, now: Instant, per_second: f64) -> Duration {
        self.fill(now, per_second);
        if self.tokens >= 0.0 { Duration::ZERO } else { seconds(-self.tokens / per_second) }
    }

    /// Takes `amount` out.
    pub fn record(&mut self, now: Instant, per_second: f64, amount: f64) {
        self.fill(now, per_second);
        self.tokens = (self.tokens - amount).min(Self::most(self.window, per_second));
    }

    fn fill(&mut self, now: Instant, per_second: f64) {
        let more = now.since(self.filled).as_secs_f64() * per_second;
        self.tokens = (self.tokens + more).min(Self::most(self.window, per_second));
        self.filled = self.filled.max(now);
    }

    fn most(window: QuotaWindow, per_second: f64) -> f64 {
        per_second * f64::from(window.windows()) * window.length().as_secs_f64()
    }
}

/// The longest that anybody is asked to wait: `throttle_time_ms` is an i32, and nobody waits for a day.
const THROTTLE_MAX: Duration = Duration::from_secs(24 * 3600);

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).map_or(THROTTLE_MAX, |wait| wait.min(THROTTLE_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: QuotaWindow = QuotaWindow { count: 11, seconds: 1 };

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn a_burst_counts_over_all_windows_but_one() {
        let mut rate = Rate::new(WINDOW);
        rate.record(at(5000), 1000.0);
        // 1000 over the ten windows that count, though no time has passed
        assert_eq!(rate.per_second(at(5000)), 100.0);
        assert_eq!(rate.throttle(at(5000), 100.0), Duration::ZERO);
        // twice the limit: the same again in waiting
        assert_eq!(rate.throttle(at(5000), 50.0), Duration::from_secs(10));
    }

    #[test]
    fn a_steady_stream_has_its_rate() {
        let mut rate = Rate::new(WINDOW);
        for ms in (0..60_000).step_by(100) {
            rate.record(at(ms), 10.0);
        }
        let measured = rate.per_second(at(60_000));
        assert!((95.0..=111.0).contains(&measured), "{measured}");
        assert!(rate.samples.len() <= 12);
        assert_eq!(rate.per_second(at(90_000)), 0.0, "what is old is forgotten");
    }

    #[test]
    fn what_was_taken_back_does_not_count() {
        let mut rate = Rate::new(WINDOW);
        rate.record(at(0), 1000.0);
        rate.record(at(0), -1000.0);
        assert_eq!(rate.per_second(at(1)), 0.0);
    }

    #[test]
    fn one_window_is_enough() {
        let mut rate = Rate::new(QuotaWindow { count: 1, seconds: 2 });
        rate.record(at(0), 10.0);
        assert_eq!(rate.per_second(at(0)), 5.0);
    }

    #[test]
    fn a_bucket_is_overdrawn_once() {
        let mut bucket = TokenBucket::new(WINDOW, at(0), 10.0);
        bucket.record(at(0), 10.0, 110.0);
        assert_eq!(bucket.throttle(at(0), 10.0), Duration::ZERO);
        bucket.record(at(0), 10.0, 50.0);
        assert_eq!(bucket.throttle(at(0), 10.0), Duration::from_secs(5));
        assert_eq!(bucket.throttle(at(2000), 10.0), Duration::from_secs(3));
        assert_eq!(bucket.throttle(at(1000), 10.0), Duration::from_secs(3), "an earlier clock adds nothing");
        assert_eq!(bucket.throttle(at(100_000), 10.0), Duration::ZERO);
        bucket.record(at(100_000), 10.0, 120.0);
        assert_eq!(bucket.throttle(at(100_000), 10.0), Duration::from_secs(1), "it never held more than 110");
    }

    #[test]
    fn nobody_waits_for_ever() {
        let mut rate = Rate::new(WINDOW);
        rate.record(at(0), f64::MAX);
        assert_eq!(rate.throttle(at(0), f64::MIN_POSITIVE), THROTTLE_MAX);
    }
}
