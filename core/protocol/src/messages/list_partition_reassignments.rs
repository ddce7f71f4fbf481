//! ListPartitionReassignments (46): reassignments, listed (KIP-455).

use crate::{ErrorCode, Message};

/// Asks for reassignments under way.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(key = ListPartitionReassignments, versions = "0", flexible = "0+", response = ListPartitionReassignmentsResponse)]
pub struct ListPartitionReassignmentsRequest {
    #[kafka(default = 60000)]
    pub timeout_ms: i32,
    #[kafka(nullable = "0+")]
    pub topics: Option<Vec<ListPartitionReassignmentsTopics>>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct ListPartitionReassignmentsTopics {
    pub name: String,
    pub partition_indexes: Vec<i32>,
}

/// Reassignments under way.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "0", flexible = "0+")]
pub struct ListPartitionReassignmentsResponse {
    pub throttle_time_ms: i32,
    pub error_code: ErrorCode,
    #[kafka(nullable = "0+")]
    pub error_message: Option<String>,
    pub topics: Vec<OngoingTopicReassignment>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct OngoingTopicReassignment {
    pub name: String,
    pub partitions: Vec<OngoingPartitionReassignment>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct OngoingPartitionReassignment {
    pub partition_index: i32,
    pub replicas: Vec<i32>,
    pub adding_replicas: Vec<i32>,
    pub removing_replicas: Vec<i32>,
}
