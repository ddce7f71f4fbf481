//! ShareAcknowledge (79): acknowledgements of share groups (KIP-932).

use super::produce::NodeEndpoint;
use super::share_fetch::AcknowledgementBatch;
use crate::{ErrorCode, Message, Uuid};

/// Acknowledges records.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(key = ShareAcknowledge, versions = "1-2", flexible = "0+", response = ShareAcknowledgeResponse)]
pub struct ShareAcknowledgeRequest {
    #[kafka(nullable = "0+")]
    pub group_id: Option<String>,
    #[kafka(nullable = "0+")]
    pub member_id: Option<String>,
    pub share_session_epoch: i32,
    #[kafka(versions = "2+")]
    pub is_renew_ack: bool,
    pub topics: Vec<AcknowledgeTopic>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct AcknowledgeTopic {
    pub topic_id: Uuid,
    pub partitions: Vec<AcknowledgePartition>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct AcknowledgePartition {
    pub partition_index: i32,
    pub acknowledgement_batches: Vec<AcknowledgementBatch>,
}

/// What became of each partition's acknowledgements.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "1-2", flexible = "0+")]
pub struct ShareAcknowledgeResponse {
    pub throttle_time_ms: i32,
    pub error_code: ErrorCode,
    #[kafka(nullable = "0+")]
    pub error_message: Option<String>,
    #[kafka(versions = "2+")]
    pub acquisition_lock_timeout_ms: i32,
    pub responses: Vec<ShareAcknowledgeTopicResponse>,
    pub node_endpoints: Vec<NodeEndpoint>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct ShareAcknowledgeTopicResponse {
    pub topic_id: Uuid,
    pub partitions: Vec<ShareAcknowledgeResponsePartitionData>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct ShareAcknowledgeResponsePartitionData {
    pub partition_index: i32,
    pub error_code: ErrorCode,
    #[kafka(nullable = "0+")]
    pub error_message: Option<String>,
    pub current_leader: ShareAcknowledgeResponseLeaderIdAndEpoch,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct ShareAcknowledgeResponseLeaderIdAndEpoch {
    pub leader_id: i32,
    pub leader_epoch: i32,
}
