//! ShareFetch (78): records for share groups (KIP-932).

use bytes::Bytes;

use super::produce::NodeEndpoint;
use crate::{ErrorCode, Message, Uuid};

/// Asks for records to acquire, and acknowledges others.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(key = ShareFetch, versions = "1-2", flexible = "0+", response = ShareFetchResponse)]
pub struct ShareFetchRequest {
    #[kafka(nullable = "0+")]
    pub group_id: Option<String>,
    #[kafka(nullable = "0+")]
    pub member_id: Option<String>,
    pub share_session_epoch: i32,
    pub max_wait_ms: i32,
    pub min_bytes: i32,
    #[kafka(default = i32::MAX)]
    pub max_bytes: i32,
    pub max_records: i32,
    pub batch_size: i32,
    #[kafka(versions = "2+")]
    pub share_acquire_mode: i8,
    #[kafka(versions = "2+")]
    pub is_renew_ack: bool,
    pub topics: Vec<ShareFetchRequestFetchTopic>,
    pub forgotten_topics_data: Vec<ShareFetchRequestForgottenTopic>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct ShareFetchRequestFetchTopic {
    pub topic_id: Uuid,
    pub partitions: Vec<ShareFetchRequestFetchPartition>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct ShareFetchRequestFetchPartition {
    pub partition_index: i32,
    pub acknowledgement_batches: Vec<AcknowledgementBatch>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct AcknowledgementBatch {
    pub first_offset: i64,
    pub last_offset: i64,
    pub acknowledge_types: Vec<i8>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct ShareFetchRequestForgottenTopic {
    pub topic_id: Uuid,
    pub partitions: Vec<i32>,
}

/// Records with what was acquired.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "1-2", flexible = "0+")]
pub struct ShareFetchResponse {
    pub throttle_time_ms: i32,
    pub error_code: ErrorCode,
    #[kafka(nullable = "0+")]
    pub error_message: Option<String>,
    pub acquisition_lock_timeout_ms: i32,
    pub responses: Vec<ShareFetchableTopicResponse>,
    pub node_endpoints: Vec<NodeEndpoint>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct ShareFetchableTopicResponse {
    pub topic_id: Uuid,
    pub partitions: Vec<ShareFetchResponsePartitionData>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct ShareFetchResponsePartitionData {
    pub partition_index: i32,
    pub error_code: ErrorCode,
    #[kafka(nullable = "0+")]
    pub error_message: Option<String>,
    pub acknowledge_error_code: ErrorCode,
    #[kafka(nullable = "0+")]
    pub acknowledge_error_message: Option<String>,
    pub current_leader: ShareFetchResponseLeaderIdAndEpoch,
    #[kafka(records)]
    pub records: Bytes,
    pub acquired_records: Vec<AcquiredRecords>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct ShareFetchResponseLeaderIdAndEpoch {
    pub leader_id: i32,
    pub leader_epoch: i32,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct AcquiredRecords {
    pub first_offset: i64,
    pub last_offset: i64,
    pub delivery_count: i16,
}
