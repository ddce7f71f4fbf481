//! Broker settings of the transaction coordinator. Those of Apache Kafka 4.3.

use crate::config::definition::{Valid, definitions};

definitions! {
    /// Broker settings of the transaction coordinator.
    TRANSACTION:

    "add.partitions.to.txn.retry.backoff.max.ms", Int, Some("100"),
        Valid::AtLeast(0), High, ReadOnly, Accepted,
        "The maximum allowed timeout for adding partitions to transactions on the server side.";
    "add.partitions.to.txn.retry.backoff.ms", Int, Some("20"), Valid::AtLeast(1), High, ReadOnly, Accepted,
        "The server-side retry backoff when the server attemptsto add the partition to the transaction.";
    "transaction.abort.timed.out.transaction.cleanup.interval.ms", Int, Some("10000"),
        Valid::AtLeast(1), Low, ReadOnly, Accepted,
        "The interval at which to rollback transactions that have timed out.";
    "transaction.max.timeout.ms", Int, Some("900000"), Valid::AtLeast(1), High, ReadOnly, Accepted,
        "The maximum allowed timeout for transactions.";
    "transaction.partition.verification.enable", Boolean, Some("true"),
        Valid::Any, Low, ClusterWide, Accepted,
        "Enable verification that checks that the partition has been added to the transaction before \
         writing transactional records to the partition.";
    "transaction.remove.expired.transaction.cleanup.interval.ms", Int, Some("3600000"),
        Valid::AtLeast(1), Low, ReadOnly, Accepted,
        "The interval at which to remove transactions that have expired due to \
         transactional.id.expiration.ms passing.";
    "transaction.state.log.load.buffer.size", Int, Some("5242880"),
        Valid::AtLeast(1), High, ReadOnly, Accepted,
        "Batch size for reading from the transaction log segments when loading producer ids and \
         transactions into the cache (soft-limit, overridden if records are too large).";
    "transaction.state.log.min.isr", Int, Some("2"), Valid::AtLeast(1), High, ReadOnly, Accepted,
        "The minimum number of replicas that must acknowledge a write to transaction topic in order to be \
         considered successful.";
    "transaction.state.log.num.partitions", Int, Some("50"), Valid::AtLeast(1), High, ReadOnly, Accepted,
        "The number of partitions for the transaction topic (should not change after deployment).";
    "transaction.state.log.replication.factor", Short, Some("3"), Valid::AtLeast(1), High, ReadOnly, Accepted,
        "The replication factor for the transaction topic (set higher to ensure availability).";
    "transaction.state.log.segment.bytes", Int, Some("104857600"),
        Valid::AtLeast(1), High, ReadOnly, Accepted,
        "The transaction topic segment bytes should be kept relatively small in order to facilitate faster \
         log compaction and cache loads.";
    "transaction.two.phase.commit.enable", Boolean, Some("false"), Valid::Any, Low, ReadOnly, Accepted,
        "Allow participation in Two-Phase Commit (2PC) transactions with an external transaction \
         coordinator.";
    "transactional.id.expiration.ms", Int, Some("604800000"), Valid::AtLeast(1), High, ReadOnly, Accepted,
        "The time in ms that the transaction coordinator will wait without receiving any transaction \
         status updates for the current transaction before expiring its transactional id.";
}
