//! OffsetDelete (47): committed offsets to delete (KIP-496).

use crate::{ErrorCode, Message};

/// Committed offsets to delete.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(key = OffsetDelete, versions = "0", response = OffsetDeleteResponse)]
pub struct OffsetDeleteRequest {
    pub group_id: String,
    pub topics: Vec<OffsetDeleteRequestTopic>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct OffsetDeleteRequestTopic {
    pub name: String,
    pub partitions: Vec<OffsetDeleteRequestPartition>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct OffsetDeleteRequestPartition {
    pub partition_index: i32,
}

/// What became of each.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "0")]
pub struct OffsetDeleteResponse {
    pub error_code: ErrorCode,
    pub throttle_time_ms: i32,
    pub topics: Vec<OffsetDeleteResponseTopic>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct OffsetDeleteResponseTopic {
    pub name: String,
    pub partitions: Vec<OffsetDeleteResponsePartition>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct OffsetDeleteResponsePartition {
    pub partition_index: i32,
    pub error_code: ErrorCode,
}
