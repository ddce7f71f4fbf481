//! ListOffsets for many partitions at once, one request per leader.

use super::CliError;
use super::connect::Client;
use highwater_core::ids::{BrokerId, PartitionIndex};
use highwater_core::time::Timestamp;
use highwater_net_tcp::client::ClientError;
use highwater_protocol::ErrorCode;
use highwater_protocol::messages::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use std::collections::BTreeMap;

/// Behind the last record that consumers may see.
pub(super) const LATEST: Timestamp = Timestamp(-1);
/// The first record there is.
pub(super) const EARLIEST: Timestamp = Timestamp(-2);

/// A partition by its topic's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) topic: String,
    pub(super) partition: PartitionIndex,
}

impl Place {
    pub(super) fn new(topic: &str, partition: i32) -> Self {
        Self { topic: topic.to_owned(), partition: PartitionIndex(partition) }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// The offset in each partition of the first record at or after `timestamp`, or of [`LATEST`] or [`EARLIEST`]. A
/// partition without so young a record is not in the answer.
pub(super) async fn list(
    cluster: &Client,
    places: &[Place],
    timestamp: Timestamp,
) -> Result<BTreeMap<Place, i64>, CliError> {
    let found = cluster.retry(|| async {
        let found = list_once(cluster, places, timestamp).await;
        if found.is_err() {
            for place in places {
                cluster.forget(&place.topic);
            }
        }
        found
    });
    found.await.map_err(|error| CliError::call("offsets cannot be listed", &error))
}

async fn list_once(
    cluster: &Client,
    places: &[Place],
    timestamp: Timestamp,
) -> Result<BTreeMap<Place, i64>, ClientError> {
    let mut by_leader: BTreeMap<BrokerId, BTreeMap<&str, Vec<ListOffsetsPartition>>> = BTreeMap::new();
    for place in places {
        let (leader, leader_epoch) = cluster.leader(&place.topic, place.partition).await?;
        let partitions = by_leader.entry(leader).or_default().entry(&place.topic).or_default();
        partitions.push(ListOffsetsPartition {
            partition_index: place.partition.0,
            current_leader_epoch: leader_epoch.0,
            timestamp: timestamp.0,
        });
    }
    let mut found = BTreeMap::new();
    for (leader, topics) in by_leader {
        let topic = |(name, partitions): (&str, _)| ListOffsetsTopic { name: name.to_owned(), partitions };
        let request = ListOffsetsRequest {
            replica_id: -1,
            topics: topics.into_iter().map(topic).collect(),
            ..Default::default()
        };
        for topic in cluster.send_to(leader, &request).await?.topics {
            for partition in topic.partitions {
                match partition.error_code {
                    ErrorCode::None if partition.offset >= 0 => {
                        found.insert(Place::new(&topic.name, partition.partition_index), partition.offset);
                    }
                    ErrorCode::None => {}
                    code => return Err(ClientError::kafka(code)),
                }
            }
        }
    }
    Ok(found)
}
