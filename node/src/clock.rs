//! A node's two clocks. In the simulator both are intercepted, so that they follow the run's seed.

use highwater_core::time::{Instant, Now, Timestamp};
use std::time::SystemTime;

/// Reads the time for machines, which have no clock of their own.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: tokio::time::Instant,
}

impl Clock {
    /// A clock whose monotonic side starts now.
    pub fn start() -> Self {
        Self { start: tokio::time::Instant::now() }
    }

    /// The zero of the monotonic clock.
    pub const fn started(&self) -> tokio::time::Instant {
        self.start
    }

    /// Both clocks at this moment.
    pub fn now(&self) -> Now {
        Now { mono: self.mono(), wall: Self::wall() }
    }

    /// The monotonic clock.
    pub fn mono(&self) -> Instant {
        Instant::from_nanos(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// The wall clock; before 1970 it reads 0.
    pub fn wall() -> Timestamp {
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
    }

    /// The runtime's own instant for a machine's deadline, for `sleep_until`.
    pub fn deadline(&self, at: Instant) -> tokio::time::Instant {
        // A deadline of "never" must not overflow the platform's clock: a day is as good, the timer re-arms.
        const FAR: std::time::Duration = std::time::Duration::from_secs(86_400);
        let ahead = at.since(self.mono()).min(FAR);
        tokio::time::Instant::now() + ahead
    }
}
