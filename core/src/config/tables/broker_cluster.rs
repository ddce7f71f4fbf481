//! Broker settings of replication, the controller and the quorum. Those of Apache Kafka 4.3.

use crate::config::definition::{Valid, definitions};

definitions! {
    /// Broker settings of replication, the controller and the quorum.
    CLUSTER:

    "alter.log.dirs.replication.quota.window.num", Int, Some("11"),
        Valid::AtLeast(1), Low, ReadOnly, Accepted,
        "The number of samples to retain in memory for alter log dirs replication quotas.";
    "alter.log.dirs.replication.quota.window.size.seconds", Int, Some("1"),
        Valid::AtLeast(1), Low, ReadOnly, Accepted,
        "The time span of each sample for alter log dirs replication quotas.";
    "auto.leader.rebalance.enable", Boolean, Some("true"), Valid::Any, High, ReadOnly, Implemented,
        "Enables auto leader balancing.";
    "broker.heartbeat.interval.ms", Int, Some("300"), Valid::Any, Medium, ReadOnly, Implemented,
        "The length of time in milliseconds between broker heartbeats.";
    "broker.id", Int, Some("-1"), Valid::Any, High, ReadOnly, Implemented,
        "The broker id for this server.";
    "broker.rack", String, None, Valid::Any, Medium, ReadOnly, Implemented,
        "Rack of the broker.";
    "broker.session.timeout.ms", Int, Some("1800"), Valid::Any, Medium, ReadOnly, Implemented,
        "The length of time in milliseconds that a broker lease lasts if no heartbeats are made.";
    "controlled.shutdown.enable", Boolean, Some("true"), Valid::Any, Medium, ReadOnly, Implemented,
        "Enable controlled shutdown of the server.";
    "controller.listener.names", List, Some("CONTROLLER"), Valid::Any, High, ReadOnly, Implemented,
        "A comma-separated list of the names of the listeners used by the controller.";
    "controller.performance.always.log.threshold.ms", Long, Some("2000"),
        Valid::AtLeast(0), Medium, ReadOnly, Accepted,
        "We will log an error message about controller events that take longer than this threshold.";
    "controller.performance.sample.period.ms", Long, Some("60000"),
        Valid::AtLeast(100), Medium, ReadOnly, Accepted,
        "The number of milliseconds between periodic controller event performance log messages.";
    "controller.quorum.append.linger.ms", Int, Some("25"), Valid::AtLeast(0), Medium, ReadOnly, Accepted,
        "The duration in milliseconds that the leader will wait for writes to accumulate before flushing \
         them to disk.";
    "controller.quorum.auto.join.enable", Boolean, Some("false"), Valid::Any, Low, ReadOnly, Accepted,
        "Controls whether a KRaft controller should automatically join the cluster metadata partition for \
         its cluster id.";
    "controller.quorum.bootstrap.servers", List, Some(""), Valid::Any, High, ReadOnly, Implemented,
        "HOST:PORT of controllers' peer listeners, where a node that knows no voter yet asks for the \
         quorum: name all of them. A node that finds none but itself here founds a cluster alone.";
    "controller.quorum.election.backoff.max.ms", Int, Some("1000"),
        Valid::AtLeast(0), High, ReadOnly, Accepted,
        "Maximum time in milliseconds before starting new elections.";
    "controller.quorum.election.timeout.ms", Int, Some("1000"), Valid::AtLeast(0), High, ReadOnly, Implemented,
        "Maximum time in milliseconds to wait without being able to fetch from the leader before \
         triggering a new election.";
    "controller.quorum.fetch.max.bytes", Int, Some("1048576"), Valid::AtLeast(1), Low, ReadOnly, Accepted,
        "Maximum amount of data to retrieve for each Fetch request.";
    "controller.quorum.fetch.snapshot.max.bytes", Int, Some("1048576"),
        Valid::AtLeast(1), Low, ReadOnly, Accepted,
        "Maximum amount of data to retrieve for each FetchSnapshot request to the controller.";
    "controller.quorum.fetch.timeout.ms", Int, Some("1500"), Valid::AtLeast(0), High, ReadOnly, Implemented,
        "Maximum time without a successful fetch from the current leader before becoming a candidate and \
         triggering an election for voters; Maximum time a leader can go without receiving valid fetch or \
         fetchSnapshot request from a majority of the quorum before resigning.";
    "controller.quorum.request.timeout.ms", Int, Some("2000"), Valid::AtLeast(0), Medium, ReadOnly, Accepted,
        "The configuration controls the maximum amount of time the client will wait for the response of a \
         request.";
    "controller.quorum.retry.backoff.ms", Int, Some("20"), Valid::AtLeast(0), Low, ReadOnly, Accepted,
        "The amount of time to wait before attempting to retry a failed request to a given topic \
         partition.";
    "controller.quorum.voters", List, Some(""), Valid::Any, High, ReadOnly, Implemented,
        "Map of id/endpoint information for the set of voters in a comma-separated list of \
         {id}@{host}:{port} entries, as --initial-controllers, which wins over it. Once the metadata log has \
         voters of its own, those hold.";
    "controller.quota.window.num", Int, Some("11"), Valid::AtLeast(1), Low, ReadOnly, Implemented,
        "The number of samples to retain in memory for controller mutation quotas.";
    "controller.quota.window.size.seconds", Int, Some("1"), Valid::AtLeast(1), Low, ReadOnly, Implemented,
        "The time span of each sample for controller mutations quotas.";
    "controller.socket.timeout.ms", Int, Some("30000"), Valid::Any, Medium, ReadOnly, Accepted,
        "The socket timeout for controller-to-broker channels.";
    "default.replication.factor", Int, Some("1"), Valid::Any, Medium, ReadOnly, Implemented,
        "The default replication factor per topic.";
    "early.start.listeners", List, None, Valid::Any, High, ReadOnly, Accepted,
        "A comma-separated list of listener names which may be started before the authorizer has finished \
         initialization.";
    "follower.replication.throttled.rate", Long, Some("9223372036854775807"),
        Valid::AtLeast(0), Medium, ClusterWide, Implemented,
        "The most bytes per second that throttled replicas may be written on this follower.";
    "highwater.broker.drained", Boolean, Some("false"), Valid::Any, Medium, PerBroker, Implemented,
        "Whether this broker is being drained: it leads only where nobody else can, and gets no new replicas.";
    "initial.broker.registration.timeout.ms", Int, Some("60000"), Valid::Any, Medium, ReadOnly, Accepted,
        "When initially registering with the controller quorum, the number of milliseconds to wait before \
         declaring failure and exiting the broker process.";
    "inter.broker.listener.name", String, None, Valid::Any, Medium, ReadOnly, Accepted,
        "Name of listener used for communication between brokers.";
    "internal.metadata.delete.delay.millis", Long, Some("60000"), Valid::Any, Low, ReadOnly, Accepted,
        "The amount of time to wait before deleting a file from the filesystem, only for testing.";
    "internal.metadata.log.segment.bytes", Int, None, Valid::Any, Low, ReadOnly, Accepted,
        "The maximum size of a single metadata log file, only for testing.";
    "internal.metadata.max.batch.size.in.bytes", Int, Some("8388608"), Valid::Any, Low, ReadOnly, Accepted,
        "The largest record batch size allowed in the metadata log, only for testing.";
    "leader.imbalance.check.interval.seconds", Long, Some("300"), Valid::AtLeast(1), High, ReadOnly, Implemented,
        "The frequency with which the partition rebalance check is triggered by the controller.";
    "leader.replication.throttled.rate", Long, Some("9223372036854775807"),
        Valid::AtLeast(0), Medium, ClusterWide, Implemented,
        "The most bytes per second that throttled replicas may read from this leader.";
    "metadata.log.dir", String, None, Valid::Any, High, ReadOnly, Accepted,
        "This configuration determines where we put the metadata log.";
    "metadata.log.max.record.bytes.between.snapshots", Long, Some("20971520"),
        Valid::AtLeast(1), High, ReadOnly, Implemented,
        "This is the maximum number of bytes in the log between the latest snapshot and the high-watermark \
         needed before generating a new snapshot.";
    "metadata.log.max.snapshot.interval.ms", Long, Some("3600000"),
        Valid::AtLeast(0), High, ReadOnly, Implemented,
        "This is the maximum number of milliseconds to wait to generate a snapshot if there are committed \
         records in the log that are not included in the latest snapshot; 0 is no limit.";
    "metadata.log.segment.bytes", Int, Some("1073741824"), Valid::AtLeast(8388608), High, ReadOnly, Accepted,
        "The maximum size of a single metadata log file.";
    "metadata.log.segment.ms", Long, Some("604800000"), Valid::Any, High, ReadOnly, Accepted,
        "The maximum time before a new metadata log file is rolled out (in milliseconds).";
    "metadata.max.idle.interval.ms", Int, Some("500"), Valid::AtLeast(0), Low, ReadOnly, Accepted,
        "This configuration controls how often the active controller should write no-op records to the \
         metadata partition.";
    "metadata.max.retention.bytes", Long, Some("104857600"), Valid::Any, High, ReadOnly, Accepted,
        "The maximum combined size of the metadata log and snapshots before deleting old snapshots and log \
         files.";
    "metadata.max.retention.ms", Long, Some("604800000"), Valid::Any, High, ReadOnly, Accepted,
        "The number of milliseconds to keep a metadata log file or snapshot before deleting it.";
    "node.id", Int, Some("1"), Valid::AtLeast(0), High, ReadOnly, Implemented,
        "The node ID associated with the roles this process is playing when process.roles is non-empty.";
    "num.replica.alter.log.dirs.threads", Int, None, Valid::Any, High, ReadOnly, Accepted,
        "The number of threads that can move replicas between log directories, which may include disk \
         I/O.";
    "num.replica.fetchers", Int, Some("1"), Valid::AtLeast(1), High, ClusterWide, Accepted,
        "Number of fetcher threads used to replicate records from each source broker.";
    "process.roles", List, Some("broker,controller"),
        Valid::OneOf(&["broker", "controller"]), High, ReadOnly, Implemented,
        "The roles that this process plays: 'broker', 'controller', or 'broker,controller' if it is both.";
    "replica.alter.log.dirs.io.max.bytes.per.second", Long, Some("9223372036854775807"),
        Valid::AtLeast(0), Medium, ClusterWide, Accepted,
        "The most bytes per second for moving replicas between data directories.";
    "replica.fetch.backoff.ms", Int, Some("1000"), Valid::AtLeast(0), Medium, ReadOnly, Implemented,
        "The amount of time to sleep when fetch partition error occurs.";
    "replica.fetch.max.bytes", Int, Some("1048576"), Valid::AtLeast(0), Medium, ReadOnly, Implemented,
        "The number of bytes of messages to attempt to fetch for each partition.";
    "replica.fetch.min.bytes", Int, Some("1"), Valid::Any, High, ReadOnly, Accepted,
        "Minimum bytes expected for each fetch response.";
    "replica.fetch.response.max.bytes", Int, Some("10485760"), Valid::AtLeast(0), Medium, ReadOnly, Implemented,
        "Maximum bytes expected for the entire fetch response.";
    "replica.fetch.wait.max.ms", Int, Some("500"), Valid::Any, High, ReadOnly, Implemented,
        "The maximum wait time for each fetcher request issued by follower replicas.";
    "replica.high.watermark.checkpoint.interval.ms", Long, Some("5000"),
        Valid::Any, High, ReadOnly, Accepted,
        "The frequency with which the high watermark is saved out to disk.";
    "replica.lag.time.max.ms", Long, Some("30000"), Valid::Any, High, ReadOnly, Implemented,
        "If a follower hasn't sent any fetch requests or hasn't consumed up to the leader's log end offset \
         for at least this time, the leader will remove the follower from ISR.";
    "replica.selector.class", String, None,
        Valid::OneOf(&[
            "org.apache.kafka.common.replica.LeaderSelector",
            "org.apache.kafka.common.replica.RackAwareReplicaSelector",
        ]), Medium, ReadOnly, Implemented,
        "The fully qualified class name that implements ReplicaSelector.";
    "replica.socket.receive.buffer.bytes", Int, Some("65536"), Valid::Any, High, ReadOnly, Accepted,
        "The socket receive buffer for network requests to the leader for replicating data.";
    "replica.socket.timeout.ms", Int, Some("30000"), Valid::Any, High, ReadOnly, Accepted,
        "The socket timeout for network requests.";
    "replication.quota.window.num", Int, Some("11"), Valid::AtLeast(1), Low, ReadOnly, Implemented,
        "The number of samples to retain in memory for replication quotas.";
    "replication.quota.window.size.seconds", Int, Some("1"), Valid::AtLeast(1), Low, ReadOnly, Implemented,
        "The time span of each sample for replication quotas.";
}
