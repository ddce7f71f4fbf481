//! A topic's effective settings, cut to the measure of those who follow them: validation, log, replica.
//!
//! Not where settings come from or win over each other: that is `highwater_core::config`.

use crate::controller::SnapshotConfig;
use crate::log::LogConfig;
use highwater_core::batch::{self, Rules};
use highwater_core::config::{BROKER, BrokerConfig, ConfigMap, TopicConfig};
use highwater_core::coordinator::ShardConfig;
use highwater_core::coordinator::group::GroupConfig;
use highwater_core::ids::TopicPartition;
use highwater_core::quorum::QuorumConfig;
use highwater_core::replica;
use highwater_core::time::Timestamp;
use std::time::Duration;

/// What one segment reserves ahead once it has grown; a node's budget bounds the sum.
const PREALLOCATE_BYTES: u32 = 16 << 20;

/// The time-outs of the metadata quorum, which only file, environment and command line can set.
pub fn quorum_config(fixed: &ConfigMap) -> QuorumConfig {
    let defaults = QuorumConfig::default();
    let millis = |name: &str, default: Duration| {
        let set = fixed.get(name).and_then(|value| value.trim().parse().ok());
        set.filter(|ms| *ms > 0).map_or(default, Duration::from_millis)
    };
    let fetch_timeout = millis("controller.quorum.fetch.timeout.ms", defaults.fetch_timeout);
    QuorumConfig {
        election_timeout: millis("controller.quorum.election.timeout.ms", defaults.election_timeout),
        fetch_timeout,
        // Answers are signs of life: several must fit the time after which a leader counts as lost.
        fetch_wait_max: defaults.fetch_wait_max.min(fetch_timeout / 5),
        ..defaults
    }
}

/// When snapshots of the metadata are taken, which only file, environment and command line can set.
pub fn snapshot_config(fixed: &ConfigMap) -> SnapshotConfig {
    let value = |name: &str| {
        let default = BROKER.definition(name).and_then(|definition| definition.default);
        let text = fixed.get(name).map(String::as_str).or(default);
        text.and_then(|text| text.trim().parse::<u64>().ok())
    };
    let interval_ms = value("metadata.log.max.snapshot.interval.ms").filter(|ms| *ms > 0);
    SnapshotConfig {
        bytes_max: value("metadata.log.max.record.bytes.between.snapshots").unwrap_or(u64::MAX),
        interval: interval_ms.map(Duration::from_millis),
    }
}

/// The rules for batches of a request of this version that arrive now.
pub fn batch_rules(topic: &TopicConfig, now: Timestamp, produce_version: i16) -> Rules {
    // zstd came with version 7 (KIP-110)
    Rules { takes_zstd: produce_version >= 7, ..topic.batch_rules(now) }
}

/// The settings of a partition's log.
pub fn log_config(topic: &TopicConfig, partition: TopicPartition) -> LogConfig {
    let compact = topic.cleanup_policy.compact;
    let lag_ms_max = topic.compaction_lag_ms_max.unwrap_or(i64::MAX);
    let segment_ms = if compact { topic.segment_ms.min(lag_ms_max) } else { topic.segment_ms };
    LogConfig {
        segment_bytes: as_u32(topic.segment_bytes),
        segment_ms: segment_ms - jitter_ms(topic.segment_jitter_ms.min(segment_ms), partition),
        index_interval_bytes: as_u32(topic.index_interval_bytes),
        segment_index_bytes_max: as_u32(topic.segment_index_bytes),
        file_delete_delay_ms: topic.file_delete_delay_ms,
        is_delete_policy: topic.cleanup_policy.delete,
        is_compact_policy: compact,
        retention_ms: topic.retention_ms,
        retention_bytes: topic.retention_bytes.map(|bytes| u64::try_from(bytes).unwrap_or(0)),
        dirty_billionths_min: billionths(topic.cleanable_dirty_ratio_min),
        compaction_lag_ms_min: topic.compaction_lag_ms_min,
        compaction_lag_ms_max: lag_ms_max,
        delete_retention_ms: topic.delete_retention_ms,
        preallocate_bytes: PREALLOCATE_BYTES,
    }
}

/// The settings that the replica machine itself follows.
pub fn replica_settings(topic: &TopicConfig, broker: &BrokerConfig) -> replica::Settings {
    replica::Settings {
        min_isr: usize::try_from(topic.insync_replicas_min).unwrap_or(1),
        acks_durable: topic.acks_durable,
        flush_messages: topic.flush_messages.unwrap_or(i64::MAX),
        flush_interval: topic.flush_ms.and_then(|ms| u64::try_from(ms).ok()).map(Duration::from_millis),
        timestamp_type: topic.timestamp_type,
        producer_expiration_ms: i64::from(broker.producer_id_expiration_ms),
        lag_max: Duration::from_millis(u64::try_from(broker.replica_lag_ms_max).unwrap_or(0)),
        deletes: topic.cleanup_policy.delete,
    }
}

/// The limits of the group coordinator, and of the shard that it lives in.
pub fn group_config(broker: &BrokerConfig, offsets_topic: &TopicConfig) -> (GroupConfig, ShardConfig) {
    let millis = |ms: i64| Duration::from_millis(u64::try_from(ms).unwrap_or(0));
    let append_bytes_max = usize::try_from(offsets_topic.message_bytes_max).unwrap_or(0);
    let group = GroupConfig {
        session_timeout_ms_min: broker.group.session_timeout_ms_min,
        session_timeout_ms_max: broker.group.session_timeout_ms_max,
        initial_rebalance_delay: millis(i64::from(broker.group.initial_rebalance_delay_ms)),
        members_max: usize::try_from(broker.group.size_max).unwrap_or(usize::MAX),
        offset_metadata_max: usize::try_from(broker.offsets.metadata_bytes_max).unwrap_or(0),
        offsets_retention: millis(broker.offsets.retention_ms),
        offsets_retention_check_interval: millis(broker.offsets.retention_check_interval_ms),
        append_bytes_max,
        ..GroupConfig::default()
    };
    let commit_timeout = millis(i64::from(broker.offsets.commit_timeout_ms));
    (group, ShardConfig { commit_timeout, append_bytes_max, ..ShardConfig::default() })
}

/// `segment.jitter.ms` keeps the partitions of a topic from rolling all at once. Kafka draws it; here it follows
/// from the partition's identity, so that a run can be replayed.
fn jitter_ms(ms_max: i64, partition: TopicPartition) -> i64 {
    if ms_max <= 0 {
        return 0;
    }
    let mut identity = partition.topic_id.0.to_vec();
    identity.extend_from_slice(&partition.partition.0.to_be_bytes());
    i64::from(batch::crc32c(&identity)) % ms_max
}

fn billionths(ratio: f64) -> u32 {
    // Validated to lie between 0 and 1.
    (ratio.clamp(0.0, 1.0) * 1e9).round() as u32
}

fn as_u32(value: i32) -> u32 {
    u32::try_from(value).unwrap_or(0)
}
