//! Broker settings of the server: sockets, topics, quotas and metrics. Those of Apache Kafka 4.3.

use crate::config::definition::{Valid, definitions};

definitions! {
    /// Broker settings of the server: sockets, topics, quotas and metrics.
    SERVER:

    "advertised.listeners", List, None, Valid::Any, High, ReadOnly, Implemented,
        "The addresses that clients are told to connect to, by listener name; those of listeners if \
         unset.";
    "alter.config.policy.class.name", Class, None, Valid::Any, Low, ReadOnly, Refused,
        "The alter configs policy class that should be used for validation.";
    "auto.create.topics.enable", Boolean, Some("true"), Valid::Any, High, ReadOnly, Implemented,
        "Enable auto creation of topic on the server.";
    "background.threads", Int, Some("10"), Valid::AtLeast(1), High, ClusterWide, Accepted,
        "The number of threads to use for various background processing tasks.";
    "client.quota.callback.class", Class, None, Valid::Any, Low, ReadOnly, Refused,
        "The fully qualified name of a class that implements the ClientQuotaCallback interface, which is \
         used to determine quota limits applied to client requests.";
    "config.providers", List, Some(""), Valid::Any, Low, ClusterWide, Refused,
        "Comma-separated alias names for classes implementing the ConfigProvider interface.";
    "connections.max.idle.ms", Long, Some("600000"), Valid::Any, Medium, ReadOnly, Implemented,
        "Idle connections timeout: the server socket processor threads close the connections that idle \
         more than this.";
    "create.topic.policy.class.name", Class, None, Valid::Any, Low, ReadOnly, Refused,
        "The create topic policy class that should be used for validation.";
    "delete.topic.enable", Boolean, Some("true"), Valid::Any, High, ReadOnly, Implemented,
        "When set to true, topics can be deleted by the admin client.";
    "fetch.max.bytes", Int, Some("57671680"), Valid::AtLeast(1024), Medium, ReadOnly, Implemented,
        "The maximum number of bytes we will return for a fetch request.";
    "fetch.purgatory.purge.interval.requests", Int, Some("1000"), Valid::Any, Medium, ReadOnly, Accepted,
        "The purge interval (in number of requests) of the fetch request purgatory.";
    "highwater.admin.listener", String, None, Valid::Any, Medium, ReadOnly, Implemented,
        "HOST:PORT at which metrics (/metrics) and health (/livez, /readyz) are served over HTTP; not \
         served if unset.";
    "highwater.busy.poll.us", Long, Some("100"), Valid::Between(0, 1000), Medium, ReadOnly, Implemented,
        "How many microseconds a connection stays awake for the next request of a client that sends one \
         small request after another without a pause, on at most half of the processor cores. It saves such \
         a client the time that waking a core takes; 0 turns it off.";
    "highwater.peer.advertised.listener", String, None, Valid::Any, Medium, ReadOnly, Implemented,
        "HOST:PORT that other nodes are told to connect to; that of highwater.peer.listener if unset.";
    "highwater.peer.listener", String, Some("127.0.0.1:0"), Valid::Any, High, ReadOnly, Implemented,
        "HOST:PORT at which other nodes of the cluster connect; port 0 takes a free one. It is not \
         protected: other nodes and nobody else should reach it.";
    "kafka.metrics.polling.interval.secs", Int, Some("10"), Valid::AtLeast(1), Low, ReadOnly, Accepted,
        "The metrics polling interval (in seconds) which can be used in kafka.metrics.reporters \
         implementations.";
    "kafka.metrics.reporters", List, Some(""), Valid::Any, Low, ReadOnly, Accepted,
        "A list of classes to use as Yammer metrics custom reporters.";
    "listener.security.protocol.map", String, Some("SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT"),
        Valid::Any, Low, ReadOnly, Implemented,
        "Map between listener names and security protocols.";
    "listeners", List, Some("PLAINTEXT://127.0.0.1:9092"), Valid::Any, High, ReadOnly, Implemented,
        "The addresses to listen on, as NAME://HOST:PORT, separated by commas; an empty host is every \
         address of the machine.";
    "max.connection.creation.rate", Int, Some("2147483647"),
        Valid::AtLeast(0), Medium, ClusterWide, Implemented,
        "The maximum connection creation rate we allow in the broker at any time.";
    "max.connections", Int, Some("2147483647"), Valid::AtLeast(0), Medium, ClusterWide, Implemented,
        "The maximum number of connections we allow in the broker at any time.";
    "max.connections.per.ip", Int, Some("2147483647"), Valid::AtLeast(0), Medium, ClusterWide, Implemented,
        "The maximum number of connections we allow from each ip address.";
    "max.connections.per.ip.overrides", String, Some(""), Valid::Any, Medium, ClusterWide, Implemented,
        "A comma-separated list of per-ip or hostname overrides to the default maximum number of \
         connections.";
    "max.incremental.fetch.session.cache.slots", Int, Some("1000"),
        Valid::AtLeast(0), Medium, ReadOnly, Implemented,
        "The maximum number of total incremental fetch sessions that we will maintain.";
    "max.request.partition.size.limit", Int, Some("2000"), Valid::AtLeast(1), Medium, ReadOnly, Implemented,
        "The maximum number of partitions can be served in one request.";
    "metric.reporters", List, Some(""), Valid::Any, Low, ClusterWide, Accepted,
        "A list of classes to use as metrics reporters.";
    "metrics.num.samples", Int, Some("2"), Valid::AtLeast(1), Low, ReadOnly, Accepted,
        "The number of samples maintained to compute metrics.";
    "metrics.recording.level", String, Some("INFO"), Valid::Any, Low, ReadOnly, Accepted,
        "The highest recording level for metrics.";
    "metrics.sample.window.ms", Long, Some("30000"), Valid::AtLeast(1), Low, ReadOnly, Accepted,
        "The window of time a metrics sample is computed over.";
    "num.io.threads", Int, Some("8"), Valid::AtLeast(1), High, ClusterWide, Accepted,
        "The number of threads that the server uses for processing requests, which may include disk I/O.";
    "num.network.threads", Int, Some("3"), Valid::AtLeast(1), High, ClusterWide, Accepted,
        "The number of threads that the server uses for receiving requests from the network and sending \
         responses to the network.";
    "num.partitions", Int, Some("1"), Valid::AtLeast(1), Medium, ReadOnly, Implemented,
        "The default number of log partitions per topic.";
    "producer.purgatory.purge.interval.requests", Int, Some("1000"), Valid::Any, Medium, ReadOnly, Accepted,
        "The purge interval (in number of requests) of the producer request purgatory.";
    "queued.max.request.bytes", Long, Some("-1"), Valid::Any, Medium, ReadOnly, Accepted,
        "The number of queued bytes allowed before no more requests are read.";
    "queued.max.requests", Int, Some("500"), Valid::AtLeast(1), High, ReadOnly, Accepted,
        "The number of queued requests allowed for data-plane, before blocking the network threads.";
    "quota.window.num", Int, Some("11"), Valid::AtLeast(1), Low, ReadOnly, Implemented,
        "The number of samples to retain in memory for client quotas.";
    "quota.window.size.seconds", Int, Some("1"), Valid::AtLeast(1), Low, ReadOnly, Implemented,
        "The time span of each sample for client quotas.";
    "request.timeout.ms", Int, Some("30000"), Valid::Any, High, ReadOnly, Accepted,
        "The configuration controls the maximum amount of time the client will wait for the response of a \
         request.";
    "server.max.startup.time.ms", Long, Some("9223372036854775807"),
        Valid::AtLeast(0), Medium, ReadOnly, Accepted,
        "The maximum number of milliseconds we will wait for the server to come up.";
    "socket.connection.setup.timeout.max.ms", Long, Some("30000"), Valid::Any, Medium, ReadOnly, Accepted,
        "The maximum amount of time the client will wait for the socket connection to be established.";
    "socket.connection.setup.timeout.ms", Long, Some("10000"), Valid::Any, Medium, ReadOnly, Accepted,
        "The amount of time the client will wait for the socket connection to be established.";
    "socket.listen.backlog.size", Int, Some("50"), Valid::AtLeast(1), Medium, ReadOnly, Accepted,
        "The maximum number of pending connections on the socket.";
    "socket.receive.buffer.bytes", Int, Some("1048576"), Valid::Any, High, ReadOnly, Implemented,
        "The SO_RCVBUF buffer of the socket server sockets. -1 leaves it to the operating system.";
    "socket.request.max.bytes", Int, Some("104857600"), Valid::AtLeast(1), High, ReadOnly, Implemented,
        "The maximum number of bytes in a socket request.";
    "socket.send.buffer.bytes", Int, Some("262144"), Valid::Any, High, ReadOnly, Implemented,
        "The SO_SNDBUF buffer of the socket server sockets. -1 leaves it to the operating system.";
    "telemetry.max.bytes", Int, Some("1048576"), Valid::AtLeast(1), Low, ReadOnly, Accepted,
        "The maximum size (after compression if compression is used) of telemetry metrics pushed from a \
         client to the broker.";
    "unstable.api.versions.enable", Boolean, Some("false"), Valid::Any, High, ReadOnly, Refused,
        "Whether API versions that are not final may be used; there are none.";
    "unstable.feature.versions.enable", Boolean, Some("false"), Valid::Any, High, ReadOnly, Refused,
        "Whether feature versions that are not final may be used; there are none.";
}
