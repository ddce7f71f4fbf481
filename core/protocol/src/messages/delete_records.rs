//! DeleteRecords (21): records to delete before an offset (KIP-107).

use crate::{ErrorCode, Message};

/// Moves log starts.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(key = DeleteRecords, versions = "0-2", flexible = "2+", response = DeleteRecordsResponse)]
pub struct DeleteRecordsRequest {
    pub topics: Vec<DeleteRecordsTopic>,
    pub timeout_ms: i32,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct DeleteRecordsTopic {
    pub name: String,
    pub partitions: Vec<DeleteRecordsPartition>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct DeleteRecordsPartition {
    pub partition_index: i32,
    pub offset: i64,
}

/// The new log starts.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "0-2", flexible = "2+")]
pub struct DeleteRecordsResponse {
    pub throttle_time_ms: i32,
    pub topics: Vec<DeleteRecordsTopicResult>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct DeleteRecordsTopicResult {
    pub name: String,
    pub partitions: Vec<DeleteRecordsPartitionResult>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct DeleteRecordsPartitionResult {
    pub partition_index: i32,
    pub low_watermark: i64,
    pub error_code: ErrorCode,
}
