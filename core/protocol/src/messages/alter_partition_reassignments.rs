//! AlterPartitionReassignments (45): reassignments, begun or cancelled (KIP-455).

use crate::{ErrorCode, Message};

/// Reassignments to begin or cancel.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(key = AlterPartitionReassignments, versions = "0-1", flexible = "0+", response = AlterPartitionReassignmentsResponse)]
pub struct AlterPartitionReassignmentsRequest {
    #[kafka(default = 60000)]
    pub timeout_ms: i32,
    #[kafka(versions = "1+", default = true)]
    pub allow_replication_factor_change: bool,
    pub topics: Vec<ReassignableTopic>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct ReassignableTopic {
    pub name: String,
    pub partitions: Vec<ReassignablePartition>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct ReassignablePartition {
    pub partition_index: i32,
    #[kafka(nullable = "0+")]
    pub replicas: Option<Vec<i32>>,
}

/// What became of each.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "0-1", flexible = "0+")]
pub struct AlterPartitionReassignmentsResponse {
    pub throttle_time_ms: i32,
    #[kafka(versions = "1+", default = true)]
    pub allow_replication_factor_change: bool,
    pub error_code: ErrorCode,
    #[kafka(nullable = "0+")]
    pub error_message: Option<String>,
    pub responses: Vec<ReassignableTopicResponse>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct ReassignableTopicResponse {
    pub name: String,
    pub partitions: Vec<ReassignablePartitionResponse>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct ReassignablePartitionResponse {
    pub partition_index: i32,
    pub error_code: ErrorCode,
    #[kafka(nullable = "0+")]
    pub error_message: Option<String>,
}
