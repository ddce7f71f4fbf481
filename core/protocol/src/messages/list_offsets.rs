//! ListOffsets (2): offsets by timestamp.

use crate::{ErrorCode, Message};

/// Asks for the offset of a timestamp, or of a special one: earliest, latest and so on.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(key = ListOffsets, versions = "1-11", flexible = "6+", response = ListOffsetsResponse)]
pub struct ListOffsetsRequest {
    pub replica_id: i32,
    #[kafka(versions = "2+")]
    pub isolation_level: i8,
    pub topics: Vec<ListOffsetsTopic>,
    #[kafka(versions = "10+")]
    pub timeout_ms: i32,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct ListOffsetsTopic {
    pub name: String,
    pub partitions: Vec<ListOffsetsPartition>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct ListOffsetsPartition {
    pub partition_index: i32,
    #[kafka(versions = "4+", default = -1)]
    pub current_leader_epoch: i32,
    pub timestamp: i64,
}

/// An offset for each partition asked for.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "1-11", flexible = "6+")]
pub struct ListOffsetsResponse {
    #[kafka(versions = "2+")]
    pub throttle_time_ms: i32,
    pub topics: Vec<ListOffsetsTopicResponse>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct ListOffsetsTopicResponse {
    pub name: String,
    pub partitions: Vec<ListOffsetsPartitionResponse>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct ListOffsetsPartitionResponse {
    pub partition_index: i32,
    pub error_code: ErrorCode,
    #[kafka(default = -1)]
    pub timestamp: i64,
    #[kafka(default = -1)]
    pub offset: i64,
    #[kafka(versions = "4+", default = -1)]
    pub leader_epoch: i32,
}
