//! Broker settings of tiered storage. Those of Apache Kafka 4.3.

use crate::config::definition::{Valid, definitions};

definitions! {
    /// Broker settings of tiered storage.
    REMOTE:

    "follower.fetch.last.tiered.offset.enable", Boolean, Some("false"),
        Valid::Any, Medium, ClusterWide, Accepted,
        "When enabled, an empty follower skips offsets up to the last tiered offset and begins replication \
         from the next offset.";
    "remote.fetch.max.wait.ms", Int, Some("500"), Valid::AtLeast(1), Medium, ClusterWide, Accepted,
        "The maximum amount of time the server will wait before answering the fetch request containing \
         remote fetch partitions.";
    "remote.list.offsets.request.timeout.ms", Long, Some("30000"),
        Valid::AtLeast(1), Medium, ClusterWide, Accepted,
        "The maximum amount of time the server will wait for the remote list offsets request to complete.";
    "remote.log.index.file.cache.total.size.bytes", Long, Some("1073741824"),
        Valid::AtLeast(1), Low, ClusterWide, Accepted,
        "The total size of the space allocated to store index files fetched from remote storage in the \
         local storage.";
    "remote.log.index.file.cache.ttl.ms", Long, Some("900000"), Valid::AtLeast(-1), Low, ReadOnly, Accepted,
        "The maximum time in milliseconds an index file entry can remain in the cache after its last \
         access.";
    "remote.log.manager.copier.thread.pool.size", Int, Some("10"),
        Valid::AtLeast(1), Medium, ClusterWide, Accepted,
        "Size of the thread pool used in scheduling tasks to copy segments.";
    "remote.log.manager.copy.max.bytes.per.second", Long, Some("9223372036854775807"),
        Valid::AtLeast(1), Medium, ClusterWide, Accepted,
        "The maximum number of bytes that can be copied from local storage to remote storage per second.";
    "remote.log.manager.copy.quota.window.num", Int, Some("11"),
        Valid::AtLeast(1), Medium, ReadOnly, Accepted,
        "The number of samples to retain in memory for remote copy quota management.";
    "remote.log.manager.copy.quota.window.size.seconds", Int, Some("1"),
        Valid::AtLeast(1), Medium, ReadOnly, Accepted,
        "The time span of each sample for remote copy quota management.";
    "remote.log.manager.expiration.thread.pool.size", Int, Some("10"),
        Valid::AtLeast(1), Medium, ClusterWide, Accepted,
        "Size of the thread pool used in scheduling tasks to clean up the expired remote log segments.";
    "remote.log.manager.fetch.max.bytes.per.second", Long, Some("9223372036854775807"),
        Valid::AtLeast(1), Medium, ClusterWide, Accepted,
        "The maximum number of bytes that can be fetched from remote storage to local storage per second.";
    "remote.log.manager.fetch.quota.window.num", Int, Some("11"),
        Valid::AtLeast(1), Medium, ReadOnly, Accepted,
        "The number of samples to retain in memory for remote fetch quota management.";
    "remote.log.manager.fetch.quota.window.size.seconds", Int, Some("1"),
        Valid::AtLeast(1), Medium, ReadOnly, Accepted,
        "The time span of each sample for remote fetch quota management.";
    "remote.log.manager.follower.thread.pool.size", Int, Some("2"),
        Valid::AtLeast(1), Medium, ClusterWide, Accepted,
        "Size of the thread pool used in scheduling follower tasks to read the highest-uploaded \
         remote-offset for follower partitions.";
    "remote.log.manager.task.interval.ms", Long, Some("30000"), Valid::AtLeast(1), Low, ReadOnly, Accepted,
        "Interval at which remote log manager runs the scheduled tasks like copy segments, and clean up \
         remote log segments.";
    "remote.log.manager.task.retry.backoff.max.ms", Long, Some("30000"),
        Valid::AtLeast(1), Low, ReadOnly, Accepted,
        "The maximum amount of time in milliseconds to wait when the request is retried again.";
    "remote.log.manager.task.retry.backoff.ms", Long, Some("500"), Valid::AtLeast(1), Low, ReadOnly, Accepted,
        "The initial amount of wait in milliseconds before the request is retried again.";
    "remote.log.manager.task.retry.jitter", Double, Some("0.2"),
        Valid::Fraction(0.5), Low, ReadOnly, Accepted,
        "The value used in defining the range for computing random jitter factor.";
    "remote.log.manager.thread.pool.size", Int, Some("2"), Valid::AtLeast(1), Medium, ReadOnly, Accepted,
        "Size of the thread pool used in scheduling follower tasks to read the highest-uploaded \
         remote-offset for follower partitions.";
    "remote.log.metadata.custom.metadata.max.bytes", Int, Some("128"),
        Valid::AtLeast(0), Low, ReadOnly, Accepted,
        "The maximum size of custom metadata in bytes that the broker should accept from a remote storage \
         plugin.";
    "remote.log.metadata.manager.class.name", String, None, Valid::NonEmpty, Medium, ReadOnly, Accepted,
        "Fully qualified class name of RemoteLogMetadataManager implementation.";
    "remote.log.metadata.manager.class.path", String, None, Valid::Any, Medium, ReadOnly, Accepted,
        "Class path of the RemoteLogMetadataManager implementation.";
    "remote.log.metadata.manager.impl.prefix", String, Some("rlmm.config."),
        Valid::NonEmpty, Medium, ReadOnly, Accepted,
        "Prefix used for properties to be passed to RemoteLogMetadataManager implementation.";
    "remote.log.metadata.manager.listener.name", String, None, Valid::NonEmpty, Medium, ReadOnly, Accepted,
        "Listener name of the local broker to which it should get connected if needed by \
         RemoteLogMetadataManager implementation.";
    "remote.log.reader.max.pending.tasks", Int, Some("100"), Valid::AtLeast(1), Medium, ReadOnly, Accepted,
        "Maximum remote log reader thread pool task queue size.";
    "remote.log.reader.threads", Int, Some("10"), Valid::AtLeast(1), Medium, ClusterWide, Accepted,
        "Size of the thread pool that is allocated for handling remote log reads.";
    "remote.log.storage.manager.class.name", String, None, Valid::NonEmpty, Medium, ReadOnly, Accepted,
        "Fully qualified class name of RemoteStorageManager implementation.";
    "remote.log.storage.manager.class.path", String, None, Valid::Any, Medium, ReadOnly, Accepted,
        "Class path of the RemoteStorageManager implementation.";
    "remote.log.storage.manager.impl.prefix", String, Some("rsm.config."),
        Valid::NonEmpty, Medium, ReadOnly, Accepted,
        "Prefix used for properties to be passed to RemoteStorageManager implementation.";
    "remote.log.storage.system.enable", Boolean, Some("false"), Valid::Any, Medium, ReadOnly, Refused,
        "Whether to enable tiered storage functionality in a broker or not.";
}
