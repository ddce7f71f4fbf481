//! A log's settings, in Kafka's words. The node makes them from topic and broker configuration.

/// What a log needs to know of its topic's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// `segment.bytes`: a segment rolls before it grows beyond this.
    pub segment_bytes: u32,
    /// `segment.ms`, less the jitter and at most `max.compaction.lag.ms` on a compacted topic.
    pub segment_ms: i64,
    /// `index.interval.bytes`: how much lies between two index entries.
    pub index_interval_bytes: u32,
    /// `segment.index.bytes`: a segment rolls when its index is full. Counted as Kafka's, 8 bytes an entry.
    pub segment_index_bytes_max: u32,
    /// `file.delete.delay.ms`: how long the files of a removed segment stay.
    pub file_delete_delay_ms: i64,
    /// Whether `cleanup.policy` has `delete`.
    pub is_delete_policy: bool,
    /// Whether `cleanup.policy` has `compact`.
    pub is_compact_policy: bool,
    /// `retention.ms`; `None` for ever.
    pub retention_ms: Option<i64>,
    /// `retention.bytes`; `None` without limit.
    pub retention_bytes: Option<u64>,
    /// `min.cleanable.dirty.ratio`, in thousand millionths.
    pub dirty_billionths_min: u32,
    /// `min.compaction.lag.ms`.
    pub compaction_lag_ms_min: i64,
    /// `max.compaction.lag.ms`.
    pub compaction_lag_ms_max: i64,
    /// `delete.retention.ms`: how long a tombstone stays behind the cleaner.
    pub delete_retention_ms: i64,
    /// How much is reserved at a time for a segment that has grown beyond 1 MiB; 0 for nothing.
    pub preallocate_bytes: u32,
}

impl Default for LogConfig {
    /// Kafka's defaults.
    fn default() -> Self {
        Self {
            segment_bytes: 1 << 30,
            segment_ms: 7 * 24 * 3_600_000,
            index_interval_bytes: 4096,
            segment_index_bytes_max: 10 << 20,
            file_delete_delay_ms: 60_000,
            is_delete_policy: true,
            is_compact_policy: false,
            retention_ms: Some(7 * 24 * 3_600_000),
            retention_bytes: None,
            dirty_billionths_min: 500_000_000,
            compaction_lag_ms_min: 0,
            compaction_lag_ms_max: i64::MAX,
            delete_retention_ms: 24 * 3_600_000,
            preallocate_bytes: 16 << 20,
        }
    }
}

impl LogConfig {
    /// How many index entries a segment may have.
    pub(super) const fn index_entries_max(&self) -> usize {
        let entries = self.segment_index_bytes_max as usize / 8;
        if entries == 0 { 1 } else { entries }
    }
}
