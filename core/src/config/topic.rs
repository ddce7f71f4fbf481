//! A topic's settings as the machines read them, and the check of a topic's overrides before they are kept.

use super::layers::{ConfigMap, Layers};
use super::throttled::ThrottledReplicas;
use super::value::{list, parse_boolean, parse_long};
use super::{InvalidValue, TOPIC, UnknownName};
use crate::batch::{Codec, Compression, Recompression, Rules, TimestampType};
use crate::time::Timestamp;
use std::fmt;

/// What is done with old records (`cleanup.policy`). Both, either or, since Kafka 4.1, neither.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CleanupPolicy {
    /// Only the newest record of each key is kept.
    pub compact: bool,
    /// Segments beyond the retention are deleted.
    pub delete: bool,
}

/// The effective settings of a topic. `None` is "no limit".
#[derive(Clone, Debug, PartialEq)]
pub struct TopicConfig {
    /// `cleanup.policy`
    pub cleanup_policy: CleanupPolicy,
    /// `compression.type` and its levels
    pub recompression: Recompression,
    /// `delete.retention.ms`: how long tombstones stay after compaction
    pub delete_retention_ms: i64,
    /// `file.delete.delay.ms`: how long files of deleted segments stay
    pub file_delete_delay_ms: i64,
    /// `follower.replication.throttled.replicas`: those that throttle what they copy
    pub follower_throttled: ThrottledReplicas,
    /// `leader.replication.throttled.replicas`: those that throttle what they give to followers
    pub leader_throttled: ThrottledReplicas,
    /// `flush.messages`: records between two flushes
    pub flush_messages: Option<i64>,
    /// `flush.ms`: time between two flushes
    pub flush_ms: Option<i64>,
    /// `highwater.acks.durable`: acks=all waits for the disk
    pub acks_durable: bool,
    /// `index.interval.bytes`
    pub index_interval_bytes: i32,
    /// `max.compaction.lag.ms`: after this time a record must be compacted
    pub compaction_lag_ms_max: Option<i64>,
    /// `min.compaction.lag.ms`: before this time it must not
    pub compaction_lag_ms_min: i64,
    /// `max.message.bytes`: the largest record batch
    pub message_bytes_max: i32,
    /// `message.timestamp.after.max.ms`: how far in the future a record's time may lie
    pub timestamp_after_ms_max: i64,
    /// `message.timestamp.before.max.ms`: how far in the past
    pub timestamp_before_ms_max: i64,
    /// `message.timestamp.type`
    pub timestamp_type: TimestampType,
    /// `min.cleanable.dirty.ratio`
    pub cleanable_dirty_ratio_min: f64,
    /// `min.insync.replicas`
    pub insync_replicas_min: i32,
    /// `preallocate`
    pub preallocate: bool,
    /// `retention.bytes`
    pub retention_bytes: Option<i64>,
    /// `retention.ms`
    pub retention_ms: Option<i64>,
    /// `segment.bytes`
    pub segment_bytes: i32,
    /// `segment.index.bytes`
    pub segment_index_bytes: i32,
    /// `segment.jitter.ms`
    pub segment_jitter_ms: i64,
    /// `segment.ms`
    pub segment_ms: i64,
    /// `unclean.leader.election.enable`
    pub unclean_leader_election: bool,
}

impl Default for TopicConfig {
    /// A topic with no overrides on a broker with no settings.
    fn default() -> Self {
        let empty = ConfigMap::new();
        let layers = Layers { dynamic: &empty, dynamic_default: &empty, fixed: &empty };
        Self::resolve(&layers, &empty)
    }
}

impl TopicConfig {
    /// The effective settings of a topic with these overrides. Values are checked where they enter (here by
    /// [`validate_topic`], in the broker's file when it is loaded); one that is bad nevertheless counts as not set.
    pub fn resolve(layers: &Layers<'_>, overrides: &ConfigMap) -> Self {
        let read = Reader { layers, overrides };
        let cleanup_policy = read.text("cleanup.policy");
        Self {
            cleanup_policy: CleanupPolicy {
                compact: list(&cleanup_policy).any(|word| word == "compact"),
                delete: list(&cleanup_policy).any(|word| word == "delete"),
            },
            recompression: read.recompression(),
            delete_retention_ms: read.long("delete.retention.ms"),
            file_delete_delay_ms: read.long("file.delete.delay.ms"),
            follower_throttled: ThrottledReplicas::parse(
                &read.text("follower.replication.throttled.replicas"),
            ),
            leader_throttled: ThrottledReplicas::parse(&read.text("leader.replication.throttled.replicas")),
            flush_messages: read.limit("flush.messages"),
            flush_ms: read.limit("flush.ms"),
            acks_durable: read.boolean("highwater.acks.durable"),
            index_interval_bytes: read.int("index.interval.bytes"),
            compaction_lag_ms_max: read.limit("max.compaction.lag.ms"),
            compaction_lag_ms_min: read.long("min.compaction.lag.ms"),
            message_bytes_max: read.int("max.message.bytes"),
            timestamp_after_ms_max: read.long("message.timestamp.after.max.ms"),
            timestamp_before_ms_max: read.long("message.timestamp.before.max.ms"),
            timestamp_type: match read.text("message.timestamp.type").as_str() {
                "LogAppendTime" => TimestampType::LogAppendTime,
                _ => TimestampType::CreateTime,
            },
            cleanable_dirty_ratio_min: read.text("min.cleanable.dirty.ratio").parse().unwrap_or(0.5),
            insync_replicas_min: read.int("min.insync.replicas"),
            preallocate: read.boolean("preallocate"),
            retention_bytes: read.limit("retention.bytes"),
            retention_ms: read.limit("retention.ms"),
            segment_bytes: read.int("segment.bytes"),
            segment_index_bytes: read.int("segment.index.bytes"),
            segment_jitter_ms: read.long("segment.jitter.ms"),
            segment_ms: read.long("segment.ms"),
            unclean_leader_election: read.boolean("unclean.leader.election.enable"),
        }
    }

    /// What a batch produced at `now` must be. What depends on the request is the caller's to fill in.
    pub fn batch_rules(&self, now: Timestamp) -> Rules {
        let bytes = |n: i32| usize::try_from(n).expect("validated as not negative");
        Rules {
            now,
            batch_bytes_max: bytes(self.message_bytes_max),
            segment_bytes_max: bytes(self.segment_bytes),
            is_compacted: self.cleanup_policy.compact,
            timestamp_type: self.timestamp_type,
            timestamp_before_ms_max: self.timestamp_before_ms_max,
            timestamp_after_ms_max: self.timestamp_after_ms_max,
            recompression: self.recompression,
            ..Rules::default()
        }
    }
}

struct Reader<'a> {
    layers: &'a Layers<'a>,
    overrides: &'a ConfigMap,
}

impl Reader<'_> {
    fn text(&self, name: &'static str) -> String {
        let definition =
            TOPIC.definition(name).expect("typed views name settings of the table, a test reads all");
        let value = self.layers.topic(self.overrides, definition).text;
        let value = value.filter(|text| definition.validate(text).is_ok());
        value.map_or_else(|| definition.default.unwrap_or_default().to_owned(), |text| text.trim().to_owned())
    }

    fn long(&self, name: &'static str) -> i64 {
        parse_long(&self.text(name)).expect("validated as a number, and so are defaults")
    }

    fn int(&self, name: &'static str) -> i32 {
        i32::try_from(self.long(name)).expect("validated as an INT")
    }

    fn boolean(&self, name: &'static str) -> bool {
        parse_boolean(&self.text(name)).expect("validated as a BOOLEAN")
    }

    /// Negative numbers and the largest are Kafka's two ways to say "no limit".
    fn limit(&self, name: &'static str) -> Option<i64> {
        Some(self.long(name)).filter(|n| (0..i64::MAX).contains(n))
    }

    fn recompression(&self) -> Recompression {
        let (codec, level) = match self.text("compression.type").as_str() {
            "uncompressed" => (Codec::None, None),
            "gzip" => (Codec::Gzip, Some(self.int("compression.gzip.level")).filter(|level| *level != -1)),
            "snappy" => (Codec::Snappy, None),
            "lz4" => (Codec::Lz4, None),
            "zstd" => (Codec::Zstd, Some(self.int("compression.zstd.level"))),
            _ => return Recompression::Keep,
        };
        Recompression::To(Compression { codec, level })
    }
}

/// Why a topic's overrides are refused: INVALID_CONFIG on the wire, with this text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InvalidTopicConfig {
    /// There is no such setting.
    Unknown(UnknownName),
    /// A value is none of its setting.
    Value(InvalidValue),
    /// Two values contradict each other.
    Conflict(String),
}

impl fmt::Display for InvalidTopicConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(error) => error.fmt(f),
            Self::Value(error) => error.fmt(f),
            Self::Conflict(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for InvalidTopicConfig {}

/// Checks a topic's overrides: names, values, and that they do not contradict each other.
pub fn validate_topic(layers: &Layers<'_>, overrides: &ConfigMap) -> Result<(), InvalidTopicConfig> {
    for (name, value) in overrides {
        let definition = TOPIC.lookup(name).map_err(InvalidTopicConfig::Unknown)?;
        definition.validate(value).map_err(InvalidTopicConfig::Value)?;
    }
    let config = TopicConfig::resolve(layers, overrides);
    let (least, most) = (config.compaction_lag_ms_min, config.compaction_lag_ms_max.unwrap_or(i64::MAX));
    if least > most {
        return Err(InvalidTopicConfig::Conflict(format!(
            "conflict topic config setting min.compaction.lag.ms ({least}) > max.compaction.lag.ms ({most})"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(entries: &[(&str, &str)]) -> ConfigMap {
        entries.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn resolve(fixed: &[(&str, &str)], overrides: &[(&str, &str)]) -> TopicConfig {
        let (empty, fixed) = (ConfigMap::new(), map(fixed));
        let layers = Layers { dynamic: &empty, dynamic_default: &empty, fixed: &fixed };
        TopicConfig::resolve(&layers, &map(overrides))
    }

    fn refusal(overrides: &[(&str, &str)]) -> Option<String> {
        let empty = ConfigMap::new();
        let layers = Layers { dynamic: &empty, dynamic_default: &empty, fixed: &empty };
        validate_topic(&layers, &map(overrides)).err().map(|error| error.to_string())
    }

    #[test]
    fn defaults_are_kafkas() {
        let config = TopicConfig::default();
        assert_eq!(config.cleanup_policy, CleanupPolicy { compact: false, delete: true });
        assert_eq!(config.retention_ms, Some(7 * 24 * 3_600_000));
        assert_eq!((config.retention_bytes, config.flush_ms, config.flush_messages), (None, None, None));
        assert_eq!((config.segment_bytes, config.message_bytes_max), (1 << 30, 1_048_588));
        assert_eq!((config.timestamp_before_ms_max, config.timestamp_after_ms_max), (i64::MAX, 3_600_000));
        assert_eq!((config.recompression, config.acks_durable), (Recompression::Keep, false));
    }

    #[test]
    fn overrides_and_broker_settings_are_read() {
        let config = resolve(
            &[
                ("log.retention.hours", "2"),
                ("message.max.bytes", "5000"),
                ("highwater.acks.durable", "true"),
            ],
            &[
                ("cleanup.policy", "compact, delete"),
                ("compression.type", "zstd"),
                ("compression.zstd.level", "7"),
            ],
        );
        assert_eq!(config.cleanup_policy, CleanupPolicy { compact: true, delete: true });
        let zstd = Compression { codec: Codec::Zstd, level: Some(7) };
        assert_eq!(config.recompression, Recompression::To(zstd));
        assert_eq!(config.batch_rules(Timestamp(5)).batch_bytes_max, 5000);
        assert_eq!((config.retention_ms, config.message_bytes_max), (Some(7_200_000), 5000));
        assert!(config.acks_durable);
        assert_eq!(resolve(&[], &[("retention.ms", "-1")]).retention_ms, None);
        assert_eq!(resolve(&[], &[("retention.ms", "0")]).retention_ms, Some(0));
    }

    #[test]
    fn a_bad_value_that_got_in_counts_as_not_set() {
        assert_eq!(resolve(&[("log.segment.bytes", "many")], &[]).segment_bytes, 1 << 30);
    }

    #[test]
    fn contradictions_are_refused() {
        // Whatever the policy is: it may become `compact` later.
        assert_eq!(
            refusal(&[("min.compaction.lag.ms", "100"), ("max.compaction.lag.ms", "50")]).as_deref(),
            Some("conflict topic config setting min.compaction.lag.ms (100) > max.compaction.lag.ms (50)")
        );
        assert_eq!(refusal(&[("min.compaction.lag.ms", "50"), ("max.compaction.lag.ms", "50")]), None);
        assert!(refusal(&[("no.such.setting", "1")]).is_some());
        assert_eq!(refusal(&[("retention.ms", "1"), ("cleanup.policy", "compact")]), None);
    }
}
