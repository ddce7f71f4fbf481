//! The settings of a subscription of clients' metrics (KIP-714). Those of Apache Kafka 4.3.

use crate::config::definition::{Valid, definitions};

definitions! {
    /// Every setting a subscription can have.
    CLIENT_METRICS:

    "interval.ms", Int, Some("300000"), Valid::Between(100, 3_600_000), Medium, ClusterWide, Accepted,
        "Metrics push interval in milliseconds.";
    "match", List, Some(""), Valid::ClientMatch, Medium, ClusterWide, Accepted,
        "Client match criteria.";
    "metrics", List, Some(""), Valid::Any, Medium, ClusterWide, Accepted,
        "Telemetry metric name prefix list.";
}
