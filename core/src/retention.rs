//! Which segments may go: pure decisions over what the log says of its segments.
//!
//! Segments go oldest first and whole; a log start inside a segment hides records until all of the segment lies
//! before it. Nothing at or beyond the high watermark is ever chosen (ST-11, O13). Not in here: compaction.

use crate::ids::Offset;
use crate::time::Timestamp;

/// A segment, as retention sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentSummary {
    /// Its first offset.
    pub base_offset: Offset,
    /// The offset behind its last record: the base offset of the next segment, or the log's end.
    pub next_offset: Offset,
    /// Its size.
    pub size_bytes: u64,
    /// Its largest record timestamp; of the file's last change if it has no record that has one.
    pub max_timestamp: Timestamp,
}

/// A topic's limits (`retention.ms`, `retention.bytes`); none means without limit, as Kafka's −1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetentionLimits {
    /// `retention.ms`. Not applied to a topic that is compacted only.
    pub age_ms_max: Option<i64>,
    /// `retention.bytes`. Not applied to a topic that is compacted only.
    pub size_bytes_max: Option<u64>,
}

impl RetentionLimits {
    /// From the settings' values, where a negative number is "no limit" (Kafka's −1). With `deletes` false
    /// (`cleanup.policy=compact`) only the log start deletes.
    pub fn from_settings(deletes: bool, retention_ms: i64, retention_bytes: i64) -> Self {
        if !deletes {
            return Self::default();
        }
        Self {
            age_ms_max: (retention_ms >= 0).then_some(retention_ms),
            size_bytes_max: u64::try_from(retention_bytes).ok(),
        }
    }
}

/// Why segments go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetentionReason {
    /// They lie before the log start.
    LogStart,
    /// They are older than `retention.ms`.
    Age,
    /// The log is larger than `retention.bytes`.
    Size,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// How many of the oldest segments go.
    pub segments: usize,
    /// The log start after that.
    pub log_start: Offset,
    /// Why the newest of them goes.
    pub reason: RetentionReason,
    /// The active segment goes, too: roll a new one at the log's end first.
    pub rolls_active: bool,
}

/// Chooses the segments to delete, of all segments in order, the active one last. None if nothing goes.
///
/// As Kafka's `deleteOldSegments`: those wholly before the log start, then by age, then by size. The active segment
/// may go, too, if it has records and all of them are to go, so that a silent topic empties.
pub fn retention(
    segments: &[SegmentSummary],
    log_start: Offset,
    high_watermark: Offset,
    now: Timestamp,
    limits: RetentionLimits,
) -> Option<Retention> {
    let passed = |segment: &SegmentSummary| segment.next_offset <= high_watermark;
    let inactive = segments.len().saturating_sub(1);

    let before_start = |s: &SegmentSummary| passed(s) && s.next_offset <= log_start;
    let by_start = segments[..inactive].iter().take_while(|s| before_start(s)).count();

    let expired = |s: &SegmentSummary| {
        let age_ms_max = limits.age_ms_max?;
        Some(passed(s) && s.next_offset > s.base_offset && now.ms_since(s.max_timestamp) > age_ms_max)
    };
    let by_age = by_start + segments[by_start..].iter().take_while(|s| expired(s) == Some(true)).count();

    let by_size = by_age + excess(&segments[by_age..], &limits, passed);

    let (count, reason) = match (by_start, by_age, by_size) {
        (_, age, size) if size > age => (size, RetentionReason::Size),
        (start, age, _) if age > start => (age, RetentionReason::Age),
        (start, ..) => (start, RetentionReason::LogStart),
    };
    let last = segments[..count].last()?;
    assert!(last.next_offset <= high_watermark, "retention never passes the high watermark");
    let log_start = log_start.max(last.next_offset);
    Some(Retention { segments: count, log_start, reason, rolls_active: count == segments.len() })
}

/// How many of the oldest go so that what is left is not below the limit: Kafka keeps at least `retention.bytes`.
fn excess(
    segments: &[SegmentSummary],
    limits: &RetentionLimits,
    passed: impl Fn(&SegmentSummary) -> bool,
) -> usize {
    let Some(size_bytes_max) = limits.size_bytes_max else { return 0 };
    let total_bytes: u64 = segments.iter().map(|segment| segment.size_bytes).sum();
    let mut excess = total_bytes.saturating_sub(size_bytes_max);
    segments
        .iter()
        .take_while(|segment| {
            let goes = passed(segment) && excess > 0 && excess >= segment.size_bytes;
            if goes {
                excess -= segment.size_bytes;
            }
            goes
        })
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Segments of ten records and 100 bytes each; the last one is active.
    fn log(max_timestamps: &[i64]) -> Vec<SegmentSummary> {
        let segment = |(i, t): (usize, &i64)| SegmentSummary {
            base_offset: Offset(10 * i as i64),
            next_offset: Offset(10 * (i as i64 + 1)),
            size_bytes: 100,
            max_timestamp: Timestamp(*t),
        };
        max_timestamps.iter().enumerate().map(segment).collect()
    }

    fn limits(age: i64, size: i64) -> RetentionLimits {
        RetentionLimits::from_settings(true, age, size)
    }

    /// At time 1000: (segments, log start, reason), of a log that starts at `start` and is committed to `hw`.
    fn gone(
        times: &[i64],
        start: i64,
        hw: i64,
        limits: RetentionLimits,
    ) -> Option<(usize, i64, RetentionReason)> {
        let decided = retention(&log(times), Offset(start), Offset(hw), Timestamp(1000), limits)?;
        assert_eq!(decided.rolls_active, decided.segments == times.len());
        Some((decided.segments, decided.log_start.0, decided.reason))
    }

    #[test]
    fn age_takes_the_oldest_in_a_row() {
        use RetentionReason::Age;
        assert_eq!(gone(&[100, 200, 900], 0, 30, limits(500, -1)), Some((2, 20, Age)));
        assert_eq!(
            gone(&[100, 900, 200], 0, 30, limits(500, -1)),
            Some((1, 10, Age)),
            "a younger one shields"
        );
        assert_eq!(gone(&[500, 900], 0, 20, limits(500, -1)), None, "exactly at the limit it stays");
        assert_eq!(gone(&[100, 200], 0, 20, limits(500, -1)), Some((2, 20, Age)), "a silent topic empties");
        assert_eq!(gone(&[999, 999], 0, 20, limits(0, -1)), Some((2, 20, Age)));
        assert_eq!(gone(&[100, 200], 0, 20, limits(-1, -1)), None, "-1 keeps for ever");
    }

    #[test]
    fn an_empty_active_segment_does_not_age() {
        let mut segments = log(&[100, 100]);
        segments[1].next_offset = segments[1].base_offset;
        segments[1].size_bytes = 0;
        let decided = retention(&segments, Offset(0), Offset(10), Timestamp(1000), limits(1, -1)).unwrap();
        assert_eq!((decided.segments, decided.rolls_active), (1, false));
        assert_eq!(retention(&segments[1..], Offset(10), Offset(10), Timestamp(1000), limits(1, -1)), None);
    }

    #[test]
    fn size_keeps_at_least_the_limit() {
        use RetentionReason::Size;
        assert_eq!(gone(&[900; 5], 0, 50, limits(-1, 300)), Some((2, 20, Size)));
        assert_eq!(gone(&[900; 5], 0, 50, limits(-1, 301)), Some((1, 10, Size)), "never below the limit");
        assert_eq!(gone(&[900; 5], 0, 50, limits(-1, 0)), Some((5, 50, Size)), "even the active one");
        assert_eq!(gone(&[900; 5], 0, 50, limits(-1, 500)), None);
    }

    #[test]
    fn nothing_beyond_the_high_watermark_goes() {
        use RetentionReason::{Age, Size};
        assert_eq!(gone(&[100; 5], 0, 29, limits(1, -1)), Some((2, 20, Age)));
        assert_eq!(gone(&[900; 5], 0, 49, limits(-1, 0)), Some((4, 40, Size)));
        assert_eq!(gone(&[900; 5], 0, 15, limits(-1, 0)), Some((1, 10, Size)));
        assert_eq!(gone(&[100; 5], 0, 9, limits(1, 0)), None);
    }

    #[test]
    fn what_lies_before_the_log_start_goes_whatever_the_policy() {
        use RetentionReason::{Age, LogStart, Size};
        let compacted = RetentionLimits::from_settings(false, 1, 1);
        assert_eq!(gone(&[100; 5], 25, 50, compacted), Some((2, 25, LogStart)), "25 stays the start");
        assert_eq!(gone(&[100; 5], 9, 50, compacted), None);
        assert_eq!(gone(&[900; 5], 50, 50, compacted), Some((4, 50, LogStart)), "the active segment stays");
        assert_eq!(gone(&[900; 5], 10, 50, limits(-1, 200)), Some((3, 30, Size)), "both reasons add up");
        assert_eq!(gone(&[900, 100, 900], 10, 30, limits(500, -1)), Some((2, 20, Age)));
    }

    #[test]
    fn an_empty_log_loses_nothing() {
        assert_eq!(retention(&[], Offset(0), Offset(0), Timestamp(0), limits(0, 0)), None);
    }
}
