//! When a snapshot of the metadata is due: by bytes behind the last one, or by its age (KIP-630, KIP-876).
//!
//! Not the snapshots themselves: those are `snapshot`'s.

use highwater_core::time::Instant;
use std::time::Duration;

/// How long a snapshot that could not be written is waited with. The disk that refused it refuses the next one, too.
const RETRY_AFTER: Duration = Duration::from_secs(60);

/// How often snapshots are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotConfig {
    /// `metadata.log.max.record.bytes.between.snapshots`
    pub bytes_max: u64,
    /// `metadata.log.max.snapshot.interval.ms`; `None` if age does not matter.
    pub interval: Option<Duration>,
}

impl Default for SnapshotConfig {
    fn default() -> Self {
        crate::settings::snapshot_config(&highwater_core::config::ConfigMap::new())
    }
}

/// How much has gathered since the last snapshot, and since when.
#[derive(Debug)]
pub(super) struct Pace {
    config: SnapshotConfig,
    /// Appended since what the last snapshot holds.
    bytes: u64,
    /// How much of `bytes` the snapshot that is being written holds.
    underway: Option<u64>,
    /// When the last one was taken; at first, when the node started.
    last: Instant,
    /// Before then none is tried: the disk refused one.
    not_before: Option<Instant>,
}

impl Pace {
    /// A log with so many bytes behind its newest snapshot.
    pub(super) const fn new(config: SnapshotConfig, bytes: u64, now: Instant) -> Self {
        Self { config, bytes, underway: None, last: now, not_before: None }
    }

    /// The log has grown.
    pub(super) fn appended(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Whether a snapshot should be taken now, given that there is anything to take.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        let is_held_back = self.underway.is_some() || self.not_before.is_some_and(|at| now < at);
        let is_old = self.config.interval.is_some_and(|interval| self.last + interval <= now);
        !is_held_back && (is_old || self.bytes >= self.config.bytes_max)
    }

    /// When time alone makes one due; `None` if it never does.
    pub(super) fn due_at(&self) -> Option<Instant> {
        if self.underway.is_some() {
            return None;
        }
        let old_at = self.config.interval.map(|interval| self.last + interval);
        match self.not_before {
            Some(retry_at) if self.bytes >= self.config.bytes_max => Some(retry_at),
            Some(retry_at) => old_at.map(|at| at.max(retry_at)),
            None => old_at,
        }
    }

    /// One is being written.
    pub(super) fn begun(&mut self) {
        self.underway = Some(self.bytes);
    }

    /// It is on the disk.
    pub(super) fn taken(&mut self, now: Instant) {
        let held = self.underway.take().unwrap_or(0);
        self.bytes = self.bytes.saturating_sub(held);
        self.last = now;
        self.not_before = None;
    }

    /// It could not be written. Answers when it is tried again.
    pub(super) fn failed(&mut self, now: Instant) -> Duration {
        self.underway = None;
        self.not_before = Some(now + RETRY_AFTER);
        RETRY_AFTER
    }

    /// The log begins anew at a snapshot of the leader's.
    pub(super) fn installed(&mut self, now: Instant) {
        self.bytes = 0;
        self.underway = self.underway.map(|_| 0);
        self.last = now;
    }

    /// One that was due while the node started was not begun: nobody was there to write it.
    pub(super) fn settle(&mut self) {
        self.underway = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: u32) -> Instant {
        Instant::from_nanos(1) + SECOND * seconds
    }

    fn pace(bytes_max: u64, interval: Option<Duration>) -> Pace {
        Pace::new(SnapshotConfig { bytes_max, interval }, 0, at(0))
    }

    #[test]
    fn bytes_count_from_where_the_last_snapshot_ends() {
        let mut pace = pace(100, None);
        pace.appended(99);
        assert!(!pace.is_due(at(1)));
        pace.appended(1);
        assert!(pace.is_due(at(1)));
        pace.begun();
        pace.appended(60);
        assert!(!pace.is_due(at(1)), "one at a time");
        pace.taken(at(2));
        assert!(!pace.is_due(at(2)), "60 are behind it");
        pace.appended(40);
        assert!(pace.is_due(at(2)));
        assert_eq!(pace.due_at(), None, "time alone changes nothing");
    }

    #[test]
    fn age_counts_from_the_last_snapshot() {
        let mut pace = pace(u64::MAX, Some(SECOND * 10));
        assert_eq!(pace.due_at(), Some(at(10)));
        assert!(!pace.is_due(at(9)) && pace.is_due(at(10)));
        pace.begun();
        assert_eq!(pace.due_at(), None);
        pace.taken(at(11));
        assert_eq!(pace.due_at(), Some(at(21)));
        pace.installed(at(15));
        assert_eq!(pace.due_at(), Some(at(25)));
    }

    #[test]
    fn a_disk_that_refuses_a_snapshot_is_left_alone_for_a_while() {
        let mut pace = pace(100, None);
        pace.appended(100);
        pace.begun();
        let pause = pace.failed(at(1));
        assert!(!pace.is_due(at(2)));
        assert_eq!(pace.due_at(), Some(at(1) + pause));
        assert!(pace.is_due(at(1) + pause));
    }

    #[test]
    fn the_settings_are_kafkas() {
        let set = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            crate::settings::snapshot_config(&pairs.collect())
        };
        let defaults = SnapshotConfig { bytes_max: 20 << 20, interval: Some(Duration::from_secs(3600)) };
        assert_eq!(set(&[]), defaults);
        let own = set(&[
            ("metadata.log.max.record.bytes.between.snapshots", "4096"),
            ("metadata.log.max.snapshot.interval.ms", "0"),
        ]);
        assert_eq!(own, SnapshotConfig { bytes_max: 4096, interval: None });
    }
}
