//! The settings of a topic. Names, types, defaults and ranges are those of Apache Kafka 4.3.

use super::SEGMENT_BYTES_MIN;
use crate::config::definition::{Valid, definitions};

definitions! {
    /// Every setting a topic can have.
    TOPIC:

    "cleanup.policy", List, Some("delete"),
        Valid::OneOf(&["compact", "delete"]), Medium, ClusterWide, Implemented,
        "What is done with old records: 'delete' discards segments beyond the retention, 'compact' keeps \
         the newest record of each key; both may be given, and an empty list keeps everything.";
    "compression.gzip.level", Int, Some("-1"), Valid::GzipLevel, Medium, ClusterWide, Implemented,
        "The compression level to use if compression.type is set to gzip.";
    "compression.lz4.level", Int, Some("9"), Valid::Between(1, 17), Medium, ClusterWide, Accepted,
        "The compression level to use if compression.type is set to lz4.";
    "compression.type", String, Some("producer"),
        Valid::OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]), Medium, ClusterWide, Implemented,
        "The compression codec of the stored records: 'uncompressed', 'gzip', 'snappy', 'lz4', 'zstd', or \
         'producer' to keep what the producer chose.";
    "compression.zstd.level", Int, Some("3"), Valid::Between(-131072, 22), Medium, ClusterWide, Implemented,
        "The compression level to use if compression.type is set to zstd.";
    "delete.retention.ms", Long, Some("86400000"), Valid::AtLeast(0), Medium, ClusterWide, Implemented,
        "How long tombstones of compacted topics are kept after compaction.";
    "file.delete.delay.ms", Long, Some("60000"), Valid::AtLeast(0), Medium, ClusterWide, Implemented,
        "The time to wait before deleting a file from the filesystem.";
    "flush.messages", Long, Some("9223372036854775807"), Valid::AtLeast(1), Medium, ClusterWide, Implemented,
        "The number of records after which the log is flushed to the disk.";
    "flush.ms", Long, Some("9223372036854775807"), Valid::AtLeast(0), Medium, ClusterWide, Implemented,
        "The time after which the log is flushed to the disk.";
    "follower.replication.throttled.replicas", List, Some(""),
        Valid::ThrottledReplicas, Medium, ClusterWide, Implemented,
        "A list of replicas for which log replication should be throttled on the follower side.";
    "highwater.acks.durable", Boolean, Some("false"), Valid::Any, Medium, ClusterWide, Implemented,
        "Whether a produce request with acks=all is answered only after its records were flushed to the \
         disk, and not only written to the operating system's cache, on the in-sync replicas.";
    "index.interval.bytes", Int, Some("4096"), Valid::AtLeast(0), Medium, ClusterWide, Implemented,
        "The number of bytes of the log between two entries of its offset index.";
    "leader.replication.throttled.replicas", List, Some(""),
        Valid::ThrottledReplicas, Medium, ClusterWide, Implemented,
        "A list of replicas for which log replication should be throttled on the leader side.";
    "local.retention.bytes", Long, Some("-2"), Valid::AtLeast(-2), Medium, ClusterWide, Accepted,
        "The maximum size of local log segments that can grow for a partition before it deletes the old \
         segments.";
    "local.retention.ms", Long, Some("-2"), Valid::AtLeast(-2), Medium, ClusterWide, Accepted,
        "The number of milliseconds to keep the local log segment before it gets deleted.";
    "max.compaction.lag.ms", Long, Some("9223372036854775807"),
        Valid::AtLeast(1), Medium, ClusterWide, Implemented,
        "The maximum time a message will remain ineligible for compaction in the log.";
    "max.message.bytes", Int, Some("1048588"), Valid::AtLeast(0), Medium, ClusterWide, Implemented,
        "The largest record batch that is taken, after compression if there is any.";
    "message.timestamp.after.max.ms", Long, Some("3600000"),
        Valid::AtLeast(0), Medium, ClusterWide, Implemented,
        "How far a record's timestamp may lie in the future.";
    "message.timestamp.before.max.ms", Long, Some("9223372036854775807"),
        Valid::AtLeast(0), Medium, ClusterWide, Implemented,
        "How far a record's timestamp may lie in the past.";
    "message.timestamp.type", String, Some("CreateTime"),
        Valid::OneOf(&["CreateTime", "LogAppendTime"]), Medium, ClusterWide, Implemented,
        "Whether a record's timestamp is the time of its creation or of its append to the log.";
    "min.cleanable.dirty.ratio", Double, Some("0.5"), Valid::Fraction(1.0), Medium, ClusterWide, Implemented,
        "The share of not yet compacted bytes in a log above which it is compacted.";
    "min.compaction.lag.ms", Long, Some("0"), Valid::AtLeast(0), Medium, ClusterWide, Implemented,
        "The minimum time a message will remain uncompacted in the log.";
    "min.insync.replicas", Int, Some("1"), Valid::AtLeast(1), Medium, ClusterWide, Implemented,
        "The number of in-sync replicas without which a produce request with acks=all is refused.";
    "preallocate", Boolean, Some("false"), Valid::Any, Medium, ClusterWide, Implemented,
        "Whether the file of a new segment is allocated in full at once.";
    "remote.log.copy.disable", Boolean, Some("false"), Valid::Any, Medium, ClusterWide, Refused,
        "Determines whether tiered data for a topic should become read only, and no more data uploading on \
         a topic.";
    "remote.log.delete.on.disable", Boolean, Some("false"), Valid::Any, Medium, ClusterWide, Refused,
        "Determines whether tiered data for a topic should be deleted after tiered storage is disabled on \
         a topic.";
    "remote.storage.enable", Boolean, Some("false"), Valid::Any, Medium, ClusterWide, Refused,
        "To enable tiered storage for a topic, set this configuration to true.";
    "retention.bytes", Long, Some("-1"), Valid::Any, Medium, ClusterWide, Implemented,
        "How large a partition may grow before its oldest segments are deleted if cleanup.policy has \
         'delete'; -1 is no limit.";
    "retention.ms", Long, Some("604800000"), Valid::AtLeast(-1), Medium, ClusterWide, Implemented,
        "How long records are kept if cleanup.policy has 'delete'; -1 keeps them for ever.";
    "segment.bytes", Int, Some("1073741824"), Valid::AtLeast(SEGMENT_BYTES_MIN), Medium, ClusterWide, Implemented,
        "The size at which a segment of the log is closed and a new one begun.";
    "segment.index.bytes", Int, Some("10485760"), Valid::AtLeast(4), Medium, ClusterWide, Implemented,
        "This configuration controls the size of the index that maps offsets to file positions.";
    "segment.jitter.ms", Long, Some("0"), Valid::AtLeast(0), Medium, ClusterWide, Implemented,
        "The maximum random jitter subtracted from the scheduled segment roll time to avoid thundering \
         herds of segment rolling.";
    "segment.ms", Long, Some("604800000"), Valid::AtLeast(1), Medium, ClusterWide, Implemented,
        "The age at which a segment of the log is closed although it is not full, so that retention and \
         compaction can reach it.";
    "unclean.leader.election.enable", Boolean, Some("false"), Valid::Any, Medium, ClusterWide, Implemented,
        "Whether a replica outside the ISR may be elected leader as a last resort, although acknowledged \
         records may be lost.";
}
