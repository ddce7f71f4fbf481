//! Fetch (1): records from partitions, with sessions (KIP-227).

use bytes::Bytes;

use super::produce::{LeaderIdAndEpoch, NodeEndpoint};
use crate::{ErrorCode, Message, Uuid};

/// Asks for records, in a session or without one.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(key = Fetch, versions = "4-18", flexible = "12+", response = FetchResponse)]
pub struct FetchRequest {
    #[kafka(tag = 0, tagged = "12+", nullable = "0+")]
    pub cluster_id: Option<String>,
    #[kafka(versions = "0-14", default = -1)]
    pub replica_id: i32,
    #[kafka(tag = 1, tagged = "15+")]
    pub replica_state: ReplicaState,
    pub max_wait_ms: i32,
    pub min_bytes: i32,
    #[kafka(default = i32::MAX)]
    pub max_bytes: i32,
    pub isolation_level: i8,
    #[kafka(versions = "7+")]
    pub session_id: i32,
    #[kafka(versions = "7+", default = -1)]
    pub session_epoch: i32,
    pub topics: Vec<FetchTopic>,
    #[kafka(versions = "7+")]
    pub forgotten_topics_data: Vec<ForgottenTopic>,
    #[kafka(versions = "11+")]
    pub rack_id: String,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct ReplicaState {
    #[kafka(default = -1)]
    pub replica_id: i32,
    #[kafka(default = -1)]
    pub replica_epoch: i64,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct FetchTopic {
    #[kafka(versions = "0-12")]
    pub topic: String,
    #[kafka(versions = "13+")]
    pub topic_id: Uuid,
    pub partitions: Vec<FetchPartition>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct FetchPartition {
    pub partition: i32,
    #[kafka(versions = "9+", default = -1)]
    pub current_leader_epoch: i32,
    pub fetch_offset: i64,
    #[kafka(versions = "12+", default = -1)]
    pub last_fetched_epoch: i32,
    #[kafka(versions = "5+", default = -1)]
    pub log_start_offset: i64,
    pub partition_max_bytes: i32,
    #[kafka(tag = 0, tagged = "17+")]
    pub replica_directory_id: Uuid,
    #[kafka(tag = 1, tagged = "18+", default = i64::MAX)]
    pub high_watermark: i64,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct ForgottenTopic {
    #[kafka(versions = "7-12")]
    pub topic: String,
    #[kafka(versions = "13+")]
    pub topic_id: Uuid,
    pub partitions: Vec<i32>,
}

/// Records, as they lie in the log.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "4-18", flexible = "12+")]
pub struct FetchResponse {
    pub throttle_time_ms: i32,
    #[kafka(versions = "7+")]
    pub error_code: ErrorCode,
    #[kafka(versions = "7+")]
    pub session_id: i32,
    pub responses: Vec<FetchableTopicResponse>,
    #[kafka(tag = 0, tagged = "16+")]
    pub node_endpoints: Vec<NodeEndpoint>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct FetchableTopicResponse {
    #[kafka(versions = "0-12")]
    pub topic: String,
    #[kafka(versions = "13+")]
    pub topic_id: Uuid,
    pub partitions: Vec<PartitionData>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct PartitionData {
    pub partition_index: i32,
    pub error_code: ErrorCode,
    pub high_watermark: i64,
    #[kafka(default = -1)]
    pub last_stable_offset: i64,
    #[kafka(versions = "5+", default = -1)]
    pub log_start_offset: i64,
    #[kafka(tag = 0, tagged = "12+")]
    pub diverging_epoch: FetchResponseEpochEndOffset,
    #[kafka(tag = 1, tagged = "12+")]
    pub current_leader: LeaderIdAndEpoch,
    #[kafka(tag = 2, tagged = "12+")]
    pub snapshot_id: SnapshotId,
    #[kafka(nullable = "0+")]
    pub aborted_transactions: Option<Vec<AbortedTransaction>>,
    #[kafka(versions = "11+", default = -1)]
    pub preferred_read_replica: i32,
    #[kafka(nullable = "0+", records)]
    pub records: Option<Bytes>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct FetchResponseEpochEndOffset {
    #[kafka(default = -1)]
    pub epoch: i32,
    #[kafka(default = -1)]
    pub end_offset: i64,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct SnapshotId {
    #[kafka(default = -1)]
    pub end_offset: i64,
    #[kafka(default = -1)]
    pub epoch: i32,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct AbortedTransaction {
    pub producer_id: i64,
    pub first_offset: i64,
}
