//! The settings of a group (KIP-848, KIP-932, KIP-1071). Those of Apache Kafka 4.3.

use crate::config::definition::{Valid, definitions};

definitions! {
    /// Every setting a group can have.
    GROUP:

    "consumer.assignment.interval.ms", Int, Some("1000"), Valid::AtLeast(0), Medium, ClusterWide, Accepted,
        "The interval between assignment updates for a consumer group.";
    "consumer.heartbeat.interval.ms", Int, Some("5000"), Valid::AtLeast(1), Medium, ClusterWide, Accepted,
        "The heartbeat interval given to the members of a consumer group.";
    "consumer.session.timeout.ms", Int, Some("45000"), Valid::AtLeast(1), Medium, ClusterWide, Accepted,
        "The timeout to detect client failures when using the consumer group protocol.";
    "share.assignment.interval.ms", Int, Some("1000"), Valid::AtLeast(0), Medium, ClusterWide, Accepted,
        "The interval between assignment updates for a share group.";
    "share.auto.offset.reset", String, Some("latest"), Valid::OffsetReset, Medium, ClusterWide, Accepted,
        "The strategy to initialize the share-partition start offset. earliest: automatically reset the \
         offset to the earliest offset latest: automatically reset the offset to the latest offset \
         by_duration:<duration>: automatically reset the offset to a configured duration from the current \
         timestamp. <duration> must be specified in ISO8601 format (PnDTnHnMn.nS).";
    "share.delivery.count.limit", Int, Some("5"), Valid::AtLeast(2), Medium, ClusterWide, Accepted,
        "The maximum number of delivery attempts for a record delivered to a share group.";
    "share.heartbeat.interval.ms", Int, Some("5000"), Valid::AtLeast(1), Medium, ClusterWide, Accepted,
        "The heartbeat interval given to the members of a share group.";
    "share.isolation.level", String, Some("read_uncommitted"),
        Valid::OneOf(&["read_committed", "read_uncommitted"]), Medium, ClusterWide, Accepted,
        "Controls how to read records written transactionally.";
    "share.partition.max.record.locks", Int, Some("2000"), Valid::AtLeast(100), Medium, ClusterWide, Accepted,
        "Share-group record lock limit per share-partition.";
    "share.record.lock.duration.ms", Int, Some("30000"), Valid::AtLeast(1000), Medium, ClusterWide, Accepted,
        "The record acquisition lock duration in milliseconds for share groups.";
    "share.renew.acknowledge.enable", Boolean, Some("true"), Valid::Any, Medium, ClusterWide, Accepted,
        "Whether the renew acknowledge type is enabled for the share group.";
    "share.session.timeout.ms", Int, Some("45000"), Valid::AtLeast(1), Medium, ClusterWide, Accepted,
        "The timeout to detect client failures when using the share group protocol.";
    "streams.assignment.interval.ms", Int, Some("1000"), Valid::AtLeast(0), Medium, ClusterWide, Accepted,
        "The interval between assignment updates for a streams group.";
    "streams.heartbeat.interval.ms", Int, Some("5000"), Valid::AtLeast(1), Medium, ClusterWide, Accepted,
        "The heartbeat interval given to the members.";
    "streams.initial.rebalance.delay.ms", Int, Some("3000"), Valid::AtLeast(0), Medium, ClusterWide, Accepted,
        "The amount of time the group coordinator will wait for more streams clients to join a new group \
         before performing the first rebalance.";
    "streams.num.standby.replicas", Int, Some("0"), Valid::AtLeast(0), Medium, ClusterWide, Accepted,
        "The number of standby replicas for each task.";
    "streams.session.timeout.ms", Int, Some("45000"), Valid::AtLeast(1), Medium, ClusterWide, Accepted,
        "The timeout to detect client failures when using the streams group protocol.";
}
