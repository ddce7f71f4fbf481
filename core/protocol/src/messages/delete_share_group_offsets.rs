//! DeleteShareGroupOffsets (92): share groups' offsets, deleted (KIP-932).

use crate::{ErrorCode, Message, Uuid};

/// Topics whose offsets a share group shall forget.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(key = DeleteShareGroupOffsets, versions = "0", flexible = "0+", response = DeleteShareGroupOffsetsResponse)]
pub struct DeleteShareGroupOffsetsRequest {
    pub group_id: String,
    pub topics: Vec<DeleteShareGroupOffsetsRequestTopic>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct DeleteShareGroupOffsetsRequestTopic {
    pub topic_name: String,
}

/// What became of each.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "0", flexible = "0+")]
pub struct DeleteShareGroupOffsetsResponse {
    pub throttle_time_ms: i32,
    pub error_code: ErrorCode,
    #[kafka(nullable = "0+")]
    pub error_message: Option<String>,
    pub responses: Vec<DeleteShareGroupOffsetsResponseTopic>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct DeleteShareGroupOffsetsResponseTopic {
    pub topic_name: String,
    pub topic_id: Uuid,
    pub error_code: ErrorCode,
    #[kafka(nullable = "0+")]
    pub error_message: Option<String>,
}
