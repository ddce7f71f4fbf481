//! What the nodes of a local cluster say of it, each asked by itself: one that is paused must not hold up the rest.

use super::layout::Layout;
use highwater_net_tcp::client::{ClientError, ClientOptions, Connection, TcpDial};
use highwater_protocol::messages::{MetadataRequest, MetadataRequestTopic, MetadataResponse};
use std::collections::BTreeSet;
use std::time::Duration;

/// How long one node may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// Asks one node for metadata: of these topics, or of all.
pub(super) async fn metadata(
    layout: &Layout,
    node: u16,
    topics: Option<&[&str]>,
) -> Result<MetadataResponse, ClientError> {
    let options = ClientOptions {
        client_id: "highwater-dev".into(),
        connect_max: ANSWER_MAX,
        request_max: ANSWER_MAX,
        ..ClientOptions::default()
    };
    let (host, port) = layout.address(node);
    let connection = Connection::connect(&TcpDial::default(), host, port, options).await?;
    let named = |name: &&str| MetadataRequestTopic { name: Some((*name).to_owned()), ..Default::default() };
    let request = MetadataRequest {
        topics: topics.map(|names| names.iter().map(named).collect()),
        allow_auto_topic_creation: false,
        ..MetadataRequest::default()
    };
    connection.send(&request).await
}

/// The brokers that a node knows to be serving.
pub(super) async fn brokers(layout: &Layout, node: u16) -> BTreeSet<i32> {
    match metadata(layout, node, Some(&[])).await {
        Ok(answer) => answer.brokers.into_iter().map(|broker| broker.node_id).collect(),
        Err(_) => BTreeSet::new(),
    }
}

/// How many partitions miss replicas, as seen by a node: all of its brokers' in sync, and led.
pub(super) async fn partitions_behind(layout: &Layout, node: u16) -> Result<usize, ClientError> {
    let answer = metadata(layout, node, None).await?;
    let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
    Ok(partitions.filter(|p| p.leader_id < 0 || p.isr_nodes.len() < p.replica_nodes.len()).count())
}
