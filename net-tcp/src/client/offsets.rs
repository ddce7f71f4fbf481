//! ListOffsets, as a consumer and the command line need it.

use super::{ClientError, Cluster, Dial};
use highwater_core::client::producer::Lane;
use highwater_core::ids::{LeaderEpoch, Offset};
use highwater_core::time::Timestamp;
use highwater_protocol::messages::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};

/// Asks for the end of the log (the high watermark).
pub const LATEST: Timestamp = Timestamp(-1);
/// Asks for the first offset there is.
pub const EARLIEST: Timestamp = Timestamp(-2);

/// What ListOffsets found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundOffset {
    /// The offset; −1 if no record is that young.
    pub offset: Offset,
    /// The record's timestamp, if one was asked for.
    pub timestamp: Timestamp,
    /// The epoch the record was written in.
    pub leader_epoch: LeaderEpoch,
}

/// The offset of the first record of `timestamp` or later, or of [`LATEST`] or [`EARLIEST`]; with retries.
pub async fn list<D: Dial>(
    cluster: &Cluster<D>,
    lane: &Lane,
    timestamp: Timestamp,
) -> Result<FoundOffset, ClientError> {
    cluster
        .retry(|| async {
            let result = list_once(cluster, lane, timestamp).await;
            if result.is_err() {
                cluster.forget(&lane.topic);
            }
            result
        })
        .await
}

async fn list_once<D: Dial>(
    cluster: &Cluster<D>,
    lane: &Lane,
    timestamp: Timestamp,
) -> Result<FoundOffset, ClientError> {
    let (leader, leader_epoch) = cluster.leader(&lane.topic, lane.partition).await?;
    let partition = ListOffsetsPartition {
        partition_index: lane.partition.0,
        current_leader_epoch: leader_epoch.0,
        timestamp: timestamp.0,
    };
    let request = ListOffsetsRequest {
        replica_id: -1,
        topics: vec![ListOffsetsTopic { name: lane.topic.to_string(), partitions: vec![partition] }],
        ..Default::default()
    };
    let answer = cluster.send_to(leader, &request).await?;
    let found = answer.topics.iter().flat_map(|topic| &topic.partitions).next();
    let found = found.ok_or(ClientError::Correlation)?;
    if found.error_code.is_error() {
        return Err(ClientError::kafka(found.error_code));
    }
    Ok(FoundOffset {
        offset: Offset(found.offset),
        timestamp: Timestamp(found.timestamp),
        leader_epoch: LeaderEpoch(found.leader_epoch),
    })
}
