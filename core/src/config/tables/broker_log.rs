//! Broker settings of partition logs. Those of Apache Kafka 4.3.

use super::SEGMENT_BYTES_MIN;
use crate::config::definition::{Valid, definitions};

definitions! {
    /// Broker settings of partition logs.
    LOG:

    "compression.gzip.level", Int, Some("-1"), Valid::GzipLevel, Medium, ClusterWide, Implemented,
        "The compression level to use if compression.type is set to 'gzip'.";
    "compression.lz4.level", Int, Some("9"), Valid::Between(1, 17), Medium, ClusterWide, Accepted,
        "The compression level to use if compression.type is set to 'lz4'.";
    "compression.type", String, Some("producer"),
        Valid::OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]), High, ClusterWide, Implemented,
        "The compression codec of the stored records: 'uncompressed', 'gzip', 'snappy', 'lz4', 'zstd', or \
         'producer' to keep what the producer chose.";
    "compression.zstd.level", Int, Some("3"), Valid::Between(-131072, 22), Medium, ClusterWide, Implemented,
        "The compression level to use if compression.type is set to 'zstd'.";
    "cordoned.log.dirs", List, Some(""), Valid::Any, Medium, PerBroker, Accepted,
        "A comma-separated list of the directories that are cordoned.";
    "delete.records.purgatory.purge.interval.requests", Int, Some("1"),
        Valid::Any, Medium, ReadOnly, Accepted,
        "The purge interval (in number of requests) of the delete records request purgatory.";
    "highwater.acks.durable", Boolean, Some("false"), Valid::Any, Medium, ClusterWide, Implemented,
        "The default of the topic setting of the same name: whether a produce request with acks=all is \
         answered only after its records were flushed to the disk.";
    "highwater.disk.free.bytes.min", Long, Some("1073741824"),
        Valid::AtLeast(0), Medium, ReadOnly, Implemented,
        "A warning is logged while the file system of a data directory has less free space than this; 0 \
         turns the warning off.";
    "log.cleaner.backoff.ms", Long, Some("15000"), Valid::AtLeast(0), Medium, ClusterWide, Implemented,
        "The amount of time to sleep when there are no logs to clean.";
    "log.cleaner.dedupe.buffer.size", Long, Some("134217728"), Valid::Any, Medium, ClusterWide, Accepted,
        "The total memory used for log deduplication across all cleaner threads.";
    "log.cleaner.delete.retention.ms", Long, Some("86400000"),
        Valid::AtLeast(0), Medium, ClusterWide, Implemented,
        "The amount of time to retain tombstone message markers for log compacted topics.";
    "log.cleaner.enable", Boolean, Some("true"), Valid::Any, Medium, ReadOnly, Implemented,
        "Whether compacted topics are cleaned in the background.";
    "log.cleaner.io.buffer.load.factor", Double, Some("0.9"), Valid::Any, Medium, ClusterWide, Accepted,
        "Log cleaner dedupe buffer load factor.";
    "log.cleaner.io.buffer.size", Int, Some("524288"), Valid::AtLeast(0), Medium, ClusterWide, Accepted,
        "The total memory used for log cleaner I/O buffers across all cleaner threads.";
    "log.cleaner.io.max.bytes.per.second", Double, Some("1.7976931348623157E308"),
        Valid::Any, Medium, ClusterWide, Accepted,
        "The log cleaner will be throttled so that the sum of its read and write i/o will be less than \
         this value on average.";
    "log.cleaner.max.compaction.lag.ms", Long, Some("9223372036854775807"),
        Valid::AtLeast(1), Medium, ClusterWide, Implemented,
        "The maximum time a message will remain ineligible for compaction in the log.";
    "log.cleaner.min.cleanable.ratio", Double, Some("0.5"),
        Valid::Fraction(1.0), Medium, ClusterWide, Implemented,
        "The minimum ratio of dirty log to total log for a log to eligible for cleaning.";
    "log.cleaner.min.compaction.lag.ms", Long, Some("0"), Valid::AtLeast(0), Medium, ClusterWide, Implemented,
        "The minimum time a message will remain uncompacted in the log.";
    "log.cleaner.threads", Int, Some("1"), Valid::AtLeast(0), Medium, ClusterWide, Accepted,
        "The number of background threads to use for log cleaning.";
    "log.cleanup.policy", List, Some("delete"),
        Valid::OneOf(&["compact", "delete"]), Medium, ClusterWide, Implemented,
        "The default of the topic setting cleanup.policy: 'delete', 'compact', both or neither.";
    "log.dir", List, Some("./highwater-data"), Valid::Any, High, ReadOnly, Implemented,
        "The directory in which the data is kept, used when log.dirs is not set.";
    "log.dir.failure.timeout.ms", Long, Some("30000"), Valid::AtLeast(1), Low, ReadOnly, Accepted,
        "If the broker is unable to successfully communicate to the controller that some log directory has \
         failed for longer than this time, the broker will fail and shut down.";
    "log.dirs", List, None, Valid::Any, High, ReadOnly, Implemented,
        "The directories in which the data is kept, separated by commas.";
    "log.flush.interval.messages", Long, Some("9223372036854775807"),
        Valid::AtLeast(1), High, ClusterWide, Implemented,
        "The number of messages accumulated on a log partition before messages are flushed to disk.";
    "log.flush.interval.ms", Long, None, Valid::Any, High, ClusterWide, Implemented,
        "The maximum time in ms that a message in any topic is kept in memory before flushed to disk.";
    "log.flush.offset.checkpoint.interval.ms", Int, Some("60000"),
        Valid::AtLeast(0), High, ReadOnly, Implemented,
        "The frequency with which we update the persistent record of the last flush which acts as the log \
         recovery point.";
    "log.flush.scheduler.interval.ms", Long, Some("9223372036854775807"),
        Valid::Any, High, ReadOnly, Implemented,
        "The frequency in ms that the log flusher checks whether any log needs to be flushed to disk.";
    "log.flush.start.offset.checkpoint.interval.ms", Int, Some("60000"),
        Valid::AtLeast(0), High, ReadOnly, Accepted,
        "The frequency with which we update the persistent record of log start offset.";
    "log.index.interval.bytes", Int, Some("4096"), Valid::AtLeast(0), Medium, ClusterWide, Implemented,
        "The interval with which we add an entry to the offset index.";
    "log.index.size.max.bytes", Int, Some("10485760"), Valid::AtLeast(4), Medium, ClusterWide, Implemented,
        "The maximum size in bytes of the offset index.";
    "log.initial.task.delay.ms", Long, Some("30000"), Valid::AtLeast(0), Low, ReadOnly, Implemented,
        "The initial task delay in millisecond when initializing tasks in LogManager.";
    "log.local.retention.bytes", Long, Some("-2"), Valid::AtLeast(-2), Medium, ClusterWide, Accepted,
        "The maximum size of local log segments that can grow for a partition before it gets eligible for \
         deletion.";
    "log.local.retention.ms", Long, Some("-2"), Valid::AtLeast(-2), Medium, ClusterWide, Accepted,
        "The number of milliseconds to keep the local log segments before it gets eligible for deletion.";
    "log.message.timestamp.after.max.ms", Long, Some("3600000"),
        Valid::AtLeast(0), Medium, ClusterWide, Implemented,
        "This configuration sets the allowable timestamp difference between the message timestamp and the \
         broker's timestamp.";
    "log.message.timestamp.before.max.ms", Long, Some("9223372036854775807"),
        Valid::AtLeast(0), Medium, ClusterWide, Implemented,
        "This configuration sets the allowable timestamp difference between the broker's timestamp and the \
         message timestamp.";
    "log.message.timestamp.type", String, Some("CreateTime"),
        Valid::OneOf(&["CreateTime", "LogAppendTime"]), Medium, ClusterWide, Implemented,
        "Define whether the timestamp in the message is message create time or log append time.";
    "log.preallocate", Boolean, Some("false"), Valid::Any, Medium, ClusterWide, Implemented,
        "Whether the file of a new segment is allocated in full at once.";
    "log.retention.bytes", Long, Some("-1"), Valid::Any, High, ClusterWide, Implemented,
        "The maximum size of the log before deleting it.";
    "log.retention.check.interval.ms", Long, Some("300000"), Valid::AtLeast(1), Medium, ReadOnly, Implemented,
        "The frequency in milliseconds that the log cleaner checks whether any log is eligible for \
         deletion.";
    "log.retention.hours", Int, Some("168"), Valid::Any, High, ReadOnly, Implemented,
        "The number of hours to keep a log file before deleting it (in hours), tertiary to \
         log.retention.ms property.";
    "log.retention.minutes", Int, None, Valid::Any, High, ReadOnly, Implemented,
        "The number of minutes to keep a log file before deleting it (in minutes), secondary to \
         log.retention.ms property.";
    "log.retention.ms", Long, None, Valid::Any, High, ClusterWide, Implemented,
        "The number of milliseconds to keep a log file before deleting it (in milliseconds), If not set, \
         the value in log.retention.minutes is used.";
    "log.roll.hours", Int, Some("168"), Valid::AtLeast(1), High, ReadOnly, Implemented,
        "The maximum time before a new log segment is rolled out (in hours), secondary to log.roll.ms \
         property.";
    "log.roll.jitter.hours", Int, Some("0"), Valid::AtLeast(0), High, ReadOnly, Implemented,
        "The maximum jitter to subtract from logRollTimeMillis (in hours), secondary to log.roll.jitter.ms \
         property.";
    "log.roll.jitter.ms", Long, None, Valid::Any, High, ClusterWide, Implemented,
        "The maximum jitter to subtract from logRollTimeMillis (in milliseconds).";
    "log.roll.ms", Long, None, Valid::Any, High, ClusterWide, Implemented,
        "The maximum time before a new log segment is rolled out (in milliseconds).";
    "log.segment.bytes", Int, Some("1073741824"), Valid::AtLeast(SEGMENT_BYTES_MIN), High, ClusterWide, Implemented,
        "The maximum size of a single log file.";
    "log.segment.delete.delay.ms", Long, Some("60000"), Valid::AtLeast(0), High, ClusterWide, Implemented,
        "The amount of time to wait before deleting a file from the filesystem.";
    "message.max.bytes", Int, Some("1048588"), Valid::AtLeast(0), High, ClusterWide, Implemented,
        "The largest record batch that is taken, after compression if there is any; the default of the \
         topic setting max.message.bytes.";
    "min.insync.replicas", Int, Some("1"), Valid::AtLeast(1), High, ClusterWide, Implemented,
        "The number of in-sync replicas without which a produce request with acks=all is refused.";
    "num.recovery.threads.per.data.dir", Int, Some("2"), Valid::AtLeast(1), High, ClusterWide, Accepted,
        "The number of threads per data directory to be used for log recovery at startup and flushing at \
         shutdown.";
    "producer.id.expiration.check.interval.ms", Int, Some("600000"),
        Valid::AtLeast(1), Low, ReadOnly, Accepted,
        "The interval at which to remove producer IDs that have expired due to producer.id.expiration.ms \
         passing.";
    "producer.id.expiration.ms", Int, Some("86400000"), Valid::AtLeast(1), Low, ClusterWide, Implemented,
        "The time in ms that a topic partition leader will wait before expiring producer IDs.";
    "unclean.leader.election.enable", Boolean, Some("false"), Valid::Any, High, ClusterWide, Implemented,
        "Whether a replica outside the ISR may be elected leader as a last resort, although acknowledged \
         records may be lost.";
    "unclean.leader.election.interval.ms", Long, Some("300000"),
        Valid::AtLeast(1), Medium, ReadOnly, Accepted,
        "The frequency with which the controller checks if it should perform an unclean leader election \
         for leaderless partitions.";
}
