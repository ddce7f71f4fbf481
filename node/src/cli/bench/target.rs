//! A broker under load, and the topic that takes it.

use super::super::CliError;
use super::super::connect::Client;
use highwater_core::ids::PartitionIndex;
use highwater_protocol::messages::{
    CreatableTopic, CreatableTopicConfig, CreateTopicsRequest, DeleteTopicState, DeleteTopicsRequest,
    FetchRequest, ProduceRequest,
};
use highwater_protocol::{ErrorCode, Uuid};
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::SystemTime;

/// Everything that a row needs to know of a broker.
pub(super) struct Target {
    cluster: Client,
    /// As it was named on the command line.
    pub(super) address: String,
    pub(super) pid: Option<u32>,
    pub(super) topic: String,
    pub(super) topic_id: Uuid,
    /// The leader of the topic's partition.
    pub(super) leader: SocketAddr,
    pub(super) produce_version: i16,
    pub(super) fetch_version: i16,
}

impl Target {
    /// Creates the topic, of one partition.
    pub(super) async fn prepare(cluster: Client, address: &str, pid: Option<u32>) -> Result<Self, CliError> {
        let nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
        let name = format!("highwater-bench-{}-{nanos}", std::process::id());
        let failed = |error| CliError::call(format!("no topic for the load on {address}"), &error);
        let config =
            |name: &str, value: &str| CreatableTopicConfig { name: name.into(), value: Some(value.into()) };
        let topic = CreatableTopic {
            name: name.clone(),
            num_partitions: 1,
            replication_factor: 1,
            assignments: Vec::new(),
            // Long runs must not fill the disk.
            configs: vec![config("retention.bytes", "4294967296"), config("segment.bytes", "268435456")],
        };
        let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 15_000, validate_only: false };
        let answer = cluster.send_to_controller(&request).await.map_err(failed)?;
        if let Some(result) = answer.topics.into_iter().find(|topic| topic.error_code != ErrorCode::None) {
            let what = format!("no topic for the load on {address}");
            return Err(CliError::refused(what, result.error_code, result.error_message));
        }
        let (leader, _) = cluster.leader(&name, PartitionIndex(0)).await.map_err(failed)?;
        let connection = cluster.broker(leader).await.map_err(failed)?;
        let brokers = cluster.brokers();
        let at = brokers
            .get(&leader)
            .ok_or_else(|| CliError::new(format!("{address}: broker {leader} is gone")))?;
        let unresolved =
            |error| CliError::new(format!("{}:{} cannot be resolved: {error}", at.host, at.port));
        let mut resolved = (at.host.as_str(), at.port).to_socket_addrs().map_err(unresolved)?;
        let leader = resolved.next().ok_or_else(|| CliError::new(format!("{} has no address", at.host)))?;
        Ok(Self {
            topic_id: cluster.topic(&name).await.map_err(failed)?.id,
            address: address.to_owned(),
            pid,
            topic: name,
            leader,
            produce_version: connection.version::<ProduceRequest>().map_err(failed)?,
            fetch_version: connection.version::<FetchRequest>().map_err(failed)?,
            cluster,
        })
    }

    /// Removes the topic with all that was written.
    pub(super) async fn delete_topic(&self) -> Result<(), CliError> {
        let request = DeleteTopicsRequest {
            topics: vec![DeleteTopicState { name: Some(self.topic.clone()), ..Default::default() }],
            topic_names: vec![self.topic.clone()],
            timeout_ms: 15_000,
        };
        let failed = |error| {
            CliError::call(format!("topic {} on {} was not deleted", self.topic, self.address), &error)
        };
        self.cluster.send_to_controller(&request).await.map_err(failed)?;
        Ok(())
    }
}
