//! CreatePartitions (37): more partitions (KIP-195).

use crate::{ErrorCode, Message};

/// Topics that shall have more partitions.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(key = CreatePartitions, versions = "0-3", flexible = "2+", response = CreatePartitionsResponse)]
pub struct CreatePartitionsRequest {
    pub topics: Vec<CreatePartitionsTopic>,
    pub timeout_ms: i32,
    pub validate_only: bool,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct CreatePartitionsTopic {
    pub name: String,
    pub count: i32,
    #[kafka(nullable = "0+")]
    pub assignments: Option<Vec<CreatePartitionsAssignment>>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct CreatePartitionsAssignment {
    pub broker_ids: Vec<i32>,
}

/// What became of each topic.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "0-3", flexible = "2+")]
pub struct CreatePartitionsResponse {
    pub throttle_time_ms: i32,
    pub results: Vec<CreatePartitionsTopicResult>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct CreatePartitionsTopicResult {
    pub name: String,
    pub error_code: ErrorCode,
    #[kafka(nullable = "0+")]
    pub error_message: Option<String>,
}
