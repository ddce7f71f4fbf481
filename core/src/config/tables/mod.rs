//! The settings of Apache Kafka 4.3 and our own few, as data. Names, types, defaults, ranges and meanings are
//! Kafka's; defaults differ only where Kafka's names a Java class, has none, lies outside the working directory, or was
//! measured to be slow (`socket.receive.buffer.bytes`: a producer's requests in flight must fit;
//! `socket.send.buffer.bytes`: a fetch is sent in fewer turns).

mod broker_cluster;
mod broker_group_coordinator;
mod broker_log;
mod broker_remote;
mod broker_security;
mod broker_server;
mod broker_transaction;
mod client_metrics;
mod group;
mod topic;

use super::Definition;

/// The smallest `segment.bytes`: Kafka's, and under the simulator (`cfg(sim)`) small enough that a short run rolls
/// segments.
const SEGMENT_BYTES_MIN: i64 = if cfg!(sim) { 1 << 10 } else { 1 << 20 };

/// The settings of a topic.
pub(super) const TOPIC: &[&[Definition]] = &[topic::TOPIC];

/// The settings of a group.
pub(super) const GROUP: &[&[Definition]] = &[group::GROUP];

/// The settings of a subscription of clients' metrics.
pub(super) const CLIENT_METRICS: &[&[Definition]] = &[client_metrics::CLIENT_METRICS];

/// The settings of a broker, by area.
pub(super) const BROKER: &[&[Definition]] = &[
    broker_server::SERVER,
    broker_log::LOG,
    broker_group_coordinator::GROUP_COORDINATOR,
    broker_cluster::CLUSTER,
    broker_transaction::TRANSACTION,
    broker_security::SECURITY,
    broker_remote::REMOTE,
];
