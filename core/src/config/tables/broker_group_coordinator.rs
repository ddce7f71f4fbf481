//! Broker settings of the group and share coordinators. Those of Apache Kafka 4.3.

use crate::config::definition::{Valid, definitions};

definitions! {
    /// Broker settings of the group and share coordinators.
    GROUP_COORDINATOR:

    "group.consumer.assignment.interval.ms", Int, Some("1000"),
        Valid::AtLeast(0), Medium, ClusterWide, Accepted,
        "The interval between assignment updates for a consumer group.";
    "group.consumer.assignors", List, Some("uniform,range"), Valid::Any, Medium, ReadOnly, Accepted,
        "The server side assignors as a list of either names for builtin assignors or full class names for \
         customer assignors.";
    "group.consumer.heartbeat.interval.ms", Int, Some("5000"), Valid::AtLeast(1), Medium, ReadOnly, Accepted,
        "The heartbeat interval given to the members of a consumer group.";
    "group.consumer.max.assignment.interval.ms", Int, Some("15000"),
        Valid::AtLeast(0), Medium, ReadOnly, Accepted,
        "The maximum interval between assignment updates for a consumer group.";
    "group.consumer.max.heartbeat.interval.ms", Int, Some("15000"),
        Valid::AtLeast(1), Medium, ReadOnly, Accepted,
        "The maximum heartbeat interval for registered consumers.";
    "group.consumer.max.session.timeout.ms", Int, Some("60000"),
        Valid::AtLeast(1), Medium, ReadOnly, Accepted,
        "The maximum allowed session timeout for registered consumers.";
    "group.consumer.max.size", Int, Some("2147483647"), Valid::AtLeast(1), Medium, ReadOnly, Accepted,
        "The maximum number of consumers that a single consumer group can accommodate.";
    "group.consumer.migration.policy", String, Some("bidirectional"),
        Valid::OneOfIgnoringCase(&["DISABLED", "DOWNGRADE", "UPGRADE", "BIDIRECTIONAL"]), Medium, ReadOnly, Accepted,
        "The config that enables converting the non-empty classic group using the consumer embedded \
         protocol to the non-empty consumer group using the consumer group protocol and vice versa; \
         conversions of empty groups in both directions are always enabled regardless of this policy. \
         bidirectional: both upgrade from classic group to consumer group and downgrade from consumer group \
         to classic group are enabled, upgrade: only upgrade from classic group to consumer group is \
         enabled, downgrade: only downgrade from consumer group to classic group is enabled, disabled: \
         neither upgrade nor downgrade is enabled.";
    "group.consumer.min.assignment.interval.ms", Int, Some("0"),
        Valid::AtLeast(0), Medium, ReadOnly, Accepted,
        "The minimum interval between assignment updates for a consumer group.";
    "group.consumer.min.heartbeat.interval.ms", Int, Some("5000"),
        Valid::AtLeast(1), Medium, ReadOnly, Accepted,
        "The minimum heartbeat interval for registered consumers.";
    "group.consumer.min.session.timeout.ms", Int, Some("45000"),
        Valid::AtLeast(1), Medium, ReadOnly, Accepted,
        "The minimum allowed session timeout for registered consumers.";
    "group.consumer.regex.refresh.interval.ms", Int, Some("600000"),
        Valid::AtLeast(10000), Medium, ReadOnly, Accepted,
        "The interval at which the group coordinator will refresh the topics matching the group subscribed \
         regexes.";
    "group.consumer.session.timeout.ms", Int, Some("45000"), Valid::AtLeast(1), Medium, ReadOnly, Accepted,
        "The timeout to detect client failures when using the consumer group protocol.";
    "group.coordinator.append.linger.ms", Int, Some("-1"), Valid::AtLeast(-1), Medium, ReadOnly, Accepted,
        "The duration in milliseconds that the coordinator will wait for writes to accumulate before \
         flushing them to disk.";
    "group.coordinator.background.threads", Int, Some("2"), Valid::AtLeast(1), High, ReadOnly, Accepted,
        "The number of threads used by the group coordinator for processing background tasks (e.g. \
         updating regular expression subscriptions and offloaded assignments).";
    "group.coordinator.cached.buffer.max.bytes", Int, Some("1048588"),
        Valid::AtLeast(524288), Medium, ClusterWide, Accepted,
        "The maximum buffer size that the GroupCoordinator will retain for reuse.";
    "group.coordinator.rebalance.protocols", List, Some("classic,consumer,streams"),
        Valid::OneOf(&["consumer", "classic", "share", "streams"]), Medium, ReadOnly, Accepted,
        "Whether a group may change between the classic and the consumer protocol while it has members.";
    "group.coordinator.threads", Int, Some("4"), Valid::AtLeast(1), High, ReadOnly, Accepted,
        "The number of threads used by the group coordinator for processing requests.";
    "group.initial.rebalance.delay.ms", Int, Some("3000"), Valid::Any, Medium, ReadOnly, Implemented,
        "The amount of time the group coordinator will wait for more consumers to join a new group before \
         performing the first rebalance.";
    "group.max.session.timeout.ms", Int, Some("1800000"), Valid::Any, Medium, ReadOnly, Implemented,
        "The maximum allowed session timeout for registered consumers.";
    "group.max.size", Int, Some("2147483647"), Valid::AtLeast(1), Medium, ReadOnly, Implemented,
        "The maximum number of consumers that a single consumer group can accommodate.";
    "group.min.session.timeout.ms", Int, Some("6000"), Valid::Any, Medium, ReadOnly, Implemented,
        "The minimum allowed session timeout for registered consumers.";
    "group.share.assignment.interval.ms", Int, Some("1000"), Valid::AtLeast(0), Medium, ClusterWide, Accepted,
        "The interval between assignment updates for a share group.";
    "group.share.assignors", List, Some("simple"), Valid::Any, Medium, ReadOnly, Accepted,
        "The server-side assignors as a list of either names for built-in assignors or full class names \
         for custom assignors.";
    "group.share.delivery.count.limit", Int, Some("5"), Valid::Between(2, 10), Medium, ReadOnly, Accepted,
        "The maximum number of delivery attempts for a record delivered to a share group.";
    "group.share.heartbeat.interval.ms", Int, Some("5000"), Valid::AtLeast(1), Medium, ReadOnly, Accepted,
        "The heartbeat interval given to the members of a share group.";
    "group.share.initialize.retry.interval.ms", Int, Some("30000"),
        Valid::AtLeast(1), Low, ReadOnly, Accepted,
        "Time elapsed before retrying initialize share group state request.";
    "group.share.max.assignment.interval.ms", Int, Some("15000"),
        Valid::AtLeast(0), Medium, ReadOnly, Accepted,
        "The maximum interval between assignment updates for a share group.";
    "group.share.max.delivery.count.limit", Int, Some("10"),
        Valid::Between(5, 25), Medium, ReadOnly, Accepted,
        "The maximum value of a group configuration for the maximum number of delivery attempts for a \
         record delivered to a share group.";
    "group.share.max.heartbeat.interval.ms", Int, Some("15000"),
        Valid::AtLeast(1), Medium, ReadOnly, Accepted,
        "The maximum heartbeat interval for share group members.";
    "group.share.max.partition.max.record.locks", Int, Some("4000"),
        Valid::Between(2000, 10000), Medium, ReadOnly, Accepted,
        "The maximum value of a group configuration for the record lock limit per share-partition.";
    "group.share.max.record.lock.duration.ms", Int, Some("60000"),
        Valid::Between(30000, 3600000), Medium, ReadOnly, Accepted,
        "The maximum value of a group configuration for record acquisition lock duration in milliseconds.";
    "group.share.max.session.timeout.ms", Int, Some("60000"), Valid::AtLeast(1), Medium, ReadOnly, Accepted,
        "The maximum allowed session timeout for share group members.";
    "group.share.max.share.sessions", Int, Some("2000"), Valid::AtLeast(1), Medium, ReadOnly, Accepted,
        "The maximum number of share sessions per broker.";
    "group.share.max.size", Int, Some("200"), Valid::Between(1, 1000), Medium, ReadOnly, Accepted,
        "The maximum number of members that a single share group can accommodate.";
    "group.share.min.assignment.interval.ms", Int, Some("0"), Valid::AtLeast(0), Medium, ReadOnly, Accepted,
        "The minimum interval between assignment updates for a share group.";
    "group.share.min.delivery.count.limit", Int, Some("2"), Valid::Between(2, 5), Medium, ReadOnly, Accepted,
        "The minimum value of a group configuration for the maximum number of delivery attempts for a \
         record delivered to a share group.";
    "group.share.min.heartbeat.interval.ms", Int, Some("5000"), Valid::AtLeast(1), Medium, ReadOnly, Accepted,
        "The minimum heartbeat interval for share group members.";
    "group.share.min.partition.max.record.locks", Int, Some("100"),
        Valid::Between(100, 2000), Medium, ReadOnly, Accepted,
        "The minimum value of a group configuration for the record lock limit per share-partition.";
    "group.share.min.record.lock.duration.ms", Int, Some("15000"),
        Valid::Between(1000, 30000), Medium, ReadOnly, Accepted,
        "The minimum value of a group configuration for record acquisition lock duration in milliseconds.";
    "group.share.min.session.timeout.ms", Int, Some("45000"), Valid::AtLeast(1), Medium, ReadOnly, Accepted,
        "The minimum allowed session timeout for share group members.";
    "group.share.partition.max.record.locks", Int, Some("2000"),
        Valid::Between(100, 10000), Medium, ReadOnly, Accepted,
        "Share-group record lock limit per share-partition.";
    "group.share.persister.class.name", String, Some(""), Valid::Any, Medium, ReadOnly, Accepted,
        "The fully qualified name of a class which implements the org.apache.kafka.server.share.Persister \
         interface.";
    "group.share.record.lock.duration.ms", Int, Some("30000"),
        Valid::Between(1000, 3600000), Medium, ReadOnly, Accepted,
        "The record acquisition lock duration in milliseconds for share groups.";
    "group.share.session.timeout.ms", Int, Some("45000"), Valid::AtLeast(1), Medium, ReadOnly, Accepted,
        "The timeout to detect client failures when using the share group protocol.";
    "group.streams.assignment.interval.ms", Int, Some("1000"),
        Valid::AtLeast(0), Medium, ClusterWide, Accepted,
        "The interval between assignment updates for a streams group.";
    "group.streams.heartbeat.interval.ms", Int, Some("5000"), Valid::AtLeast(1), Medium, ReadOnly, Accepted,
        "The heartbeat interval given to the members.";
    "group.streams.initial.rebalance.delay.ms", Int, Some("3000"),
        Valid::AtLeast(0), Medium, ReadOnly, Accepted,
        "The amount of time the group coordinator will wait for more streams clients to join a new group \
         before performing the first rebalance.";
    "group.streams.max.assignment.interval.ms", Int, Some("15000"),
        Valid::AtLeast(0), Medium, ReadOnly, Accepted,
        "The maximum interval between assignment updates for a streams group.";
    "group.streams.max.heartbeat.interval.ms", Int, Some("15000"),
        Valid::AtLeast(1), Medium, ReadOnly, Accepted,
        "The maximum allowed value for the group-level configuration of streams.heartbeat.interval.ms.";
    "group.streams.max.session.timeout.ms", Int, Some("60000"), Valid::AtLeast(1), Medium, ReadOnly, Accepted,
        "The maximum allowed value for the group-level configuration of streams.session.timeout.ms.";
    "group.streams.max.size", Int, Some("2147483647"), Valid::AtLeast(1), Medium, ReadOnly, Accepted,
        "The maximum number of streams clients that a single streams group can accommodate.";
    "group.streams.max.standby.replicas", Int, Some("2"), Valid::AtLeast(0), Medium, ReadOnly, Accepted,
        "The maximum allowed value for the group-level configuration of streams.num.standby.replicas.";
    "group.streams.min.assignment.interval.ms", Int, Some("0"), Valid::AtLeast(0), Medium, ReadOnly, Accepted,
        "The minimum interval between assignment updates for a streams group.";
    "group.streams.min.heartbeat.interval.ms", Int, Some("5000"),
        Valid::AtLeast(1), Medium, ReadOnly, Accepted,
        "The minimum allowed value for the group-level configuration of streams.heartbeat.interval.ms.";
    "group.streams.min.session.timeout.ms", Int, Some("45000"), Valid::AtLeast(1), Medium, ReadOnly, Accepted,
        "The minimum allowed value for the group-level configuration of streams.session.timeout.ms.";
    "group.streams.num.standby.replicas", Int, Some("0"), Valid::AtLeast(0), Medium, ReadOnly, Accepted,
        "The number of standby replicas for each task.";
    "group.streams.session.timeout.ms", Int, Some("45000"), Valid::AtLeast(1), Medium, ReadOnly, Accepted,
        "The timeout to detect client failures when using the streams group protocol.";
    "offset.metadata.max.bytes", Int, Some("4096"), Valid::Any, High, ReadOnly, Implemented,
        "The maximum size for a metadata entry associated with an offset commit.";
    "offsets.commit.timeout.ms", Int, Some("5000"), Valid::AtLeast(1), High, ReadOnly, Implemented,
        "Offset commit will be delayed until all replicas for the offsets topic receive the commit or this \
         timeout is reached.";
    "offsets.load.buffer.size", Int, Some("5242880"), Valid::AtLeast(1), High, ReadOnly, Accepted,
        "Batch size for reading from the offsets segments when loading group metadata into the cache \
         (soft-limit, overridden if records are too large).";
    "offsets.retention.check.interval.ms", Long, Some("600000"),
        Valid::AtLeast(1), High, ReadOnly, Implemented,
        "Frequency at which to check for stale offsets.";
    "offsets.retention.minutes", Int, Some("10080"), Valid::AtLeast(1), High, ReadOnly, Implemented,
        "For subscribed consumers, committed offset of a specific partition will be expired and discarded \
         when 1) this retention period has elapsed after the consumer group loses all its consumers (i.e. \
         becomes empty); 2) this retention period has elapsed since the last time an offset is committed \
         for the partition and the group is no longer subscribed to the corresponding topic.";
    "offsets.topic.compression.codec", Int, Some("0"), Valid::Any, High, ReadOnly, Accepted,
        "Compression codec for the offsets topic - compression may be used to achieve \"atomic\" commits.";
    "offsets.topic.num.partitions", Int, Some("50"), Valid::AtLeast(1), High, ReadOnly, Implemented,
        "The number of partitions for the offset commit topic (should not change after deployment).";
    "offsets.topic.replication.factor", Short, Some("3"), Valid::AtLeast(1), High, ReadOnly, Implemented,
        "The replication factor for the offsets topic (set higher to ensure availability).";
    "offsets.topic.segment.bytes", Int, Some("104857600"), Valid::AtLeast(1), High, ReadOnly, Implemented,
        "The offsets topic segment bytes should be kept relatively small in order to facilitate faster log \
         compaction and cache loads.";
    "share.coordinator.append.linger.ms", Int, Some("-1"), Valid::AtLeast(-1), Medium, ReadOnly, Accepted,
        "The duration in milliseconds that the share coordinator will wait for writes to accumulate before \
         flushing them to disk.";
    "share.coordinator.cached.buffer.max.bytes", Int, Some("1048588"),
        Valid::AtLeast(524288), Medium, ClusterWide, Accepted,
        "The maximum buffer size that the ShareCoordinator will retain for reuse.";
    "share.coordinator.cold.partition.snapshot.interval.ms", Int, Some("300000"),
        Valid::AtLeast(1), Low, ReadOnly, Accepted,
        "The duration in milliseconds that the share coordinator will wait between force snapshotting \
         share partitions which are not being updated.";
    "share.coordinator.load.buffer.size", Int, Some("5242880"), Valid::AtLeast(1), High, ReadOnly, Accepted,
        "Batch size for reading from the share-group state topic when loading state information into the \
         cache (soft-limit, overridden if records are too large).";
    "share.coordinator.snapshot.update.records.per.snapshot", Int, Some("500"),
        Valid::Between(0, 500), Medium, ReadOnly, Accepted,
        "The number of update records the share coordinator writes between snapshot records.";
    "share.coordinator.state.topic.compression.codec", Int, Some("0"), Valid::Any, High, ReadOnly, Accepted,
        "Compression codec for the share-group state topic.";
    "share.coordinator.state.topic.min.isr", Short, Some("2"), Valid::AtLeast(1), High, ReadOnly, Accepted,
        "Overridden min.insync.replicas for the share-group state topic.";
    "share.coordinator.state.topic.num.partitions", Int, Some("50"),
        Valid::AtLeast(1), High, ReadOnly, Accepted,
        "The number of partitions for the share-group state topic (should not change after deployment).";
    "share.coordinator.state.topic.prune.interval.ms", Int, Some("300000"),
        Valid::AtLeast(1), Low, ReadOnly, Accepted,
        "The duration in milliseconds that the share coordinator will wait between pruning eligible \
         records in share-group state topic.";
    "share.coordinator.state.topic.replication.factor", Short, Some("3"),
        Valid::AtLeast(1), High, ReadOnly, Accepted,
        "Replication factor for the share-group state topic.";
    "share.coordinator.state.topic.segment.bytes", Int, Some("104857600"),
        Valid::AtLeast(1), High, ReadOnly, Accepted,
        "The log segment size for the share-group state topic.";
    "share.coordinator.threads", Int, Some("1"), Valid::AtLeast(1), Medium, ReadOnly, Accepted,
        "The number of threads used by the share coordinator.";
    "share.coordinator.write.timeout.ms", Int, Some("5000"), Valid::AtLeast(1), High, ReadOnly, Accepted,
        "The duration in milliseconds that the share coordinator will wait for all replicas of the \
         share-group state topic to receive a write.";
    "share.fetch.purgatory.purge.interval.requests", Int, Some("1000"),
        Valid::Any, Medium, ReadOnly, Accepted,
        "The purge interval (in number of requests) of the share fetch request purgatory.";
}
