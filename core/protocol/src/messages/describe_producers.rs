//! DescribeProducers (61): active producers of partitions (KIP-664).

use crate::{ErrorCode, Message};

/// Asks for the producers that partitions remember.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(key = DescribeProducers, versions = "0", flexible = "0+", response = DescribeProducersResponse)]
pub struct DescribeProducersRequest {
    pub topics: Vec<DescribeProducersRequestTopicRequest>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct DescribeProducersRequestTopicRequest {
    pub name: String,
    pub partition_indexes: Vec<i32>,
}

/// Producers by partition.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "0", flexible = "0+")]
pub struct DescribeProducersResponse {
    pub throttle_time_ms: i32,
    pub topics: Vec<TopicResponse>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct TopicResponse {
    pub name: String,
    pub partitions: Vec<PartitionResponse>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct PartitionResponse {
    pub partition_index: i32,
    pub error_code: ErrorCode,
    #[kafka(nullable = "0+")]
    pub error_message: Option<String>,
    pub active_producers: Vec<ProducerState>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct ProducerState {
    pub producer_id: i64,
    pub producer_epoch: i32,
    #[kafka(default = -1)]
    pub last_sequence: i32,
    #[kafka(default = -1)]
    pub last_timestamp: i64,
    pub coordinator_epoch: i32,
    #[kafka(default = -1)]
    pub current_txn_start_offset: i64,
}
