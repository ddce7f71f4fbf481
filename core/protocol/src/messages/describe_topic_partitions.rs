//! DescribeTopicPartitions (75): topics in pages (KIP-966).

use crate::{ErrorCode, Message, Uuid};

/// Asks for topics page by page.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(key = DescribeTopicPartitions, versions = "0", flexible = "0+", response = DescribeTopicPartitionsResponse)]
pub struct DescribeTopicPartitionsRequest {
    pub topics: Vec<DescribeTopicPartitionsRequestTopicRequest>,
    #[kafka(default = 2000)]
    pub response_partition_limit: i32,
    #[kafka(nullable = "0+")]
    pub cursor: Option<Cursor>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct DescribeTopicPartitionsRequestTopicRequest {
    pub name: String,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct Cursor {
    pub topic_name: String,
    pub partition_index: i32,
}

/// One page of topics and partitions.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "0", flexible = "0+")]
pub struct DescribeTopicPartitionsResponse {
    pub throttle_time_ms: i32,
    pub topics: Vec<DescribeTopicPartitionsResponseTopic>,
    #[kafka(nullable = "0+")]
    pub next_cursor: Option<Cursor>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct DescribeTopicPartitionsResponseTopic {
    pub error_code: ErrorCode,
    #[kafka(nullable = "0+")]
    pub name: Option<String>,
    pub topic_id: Uuid,
    pub is_internal: bool,
    pub partitions: Vec<DescribeTopicPartitionsResponsePartition>,
    #[kafka(default = -2147483648)]
    pub topic_authorized_operations: i32,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct DescribeTopicPartitionsResponsePartition {
    pub error_code: ErrorCode,
    pub partition_index: i32,
    pub leader_id: i32,
    #[kafka(default = -1)]
    pub leader_epoch: i32,
    pub replica_nodes: Vec<i32>,
    pub isr_nodes: Vec<i32>,
    #[kafka(nullable = "0+")]
    pub eligible_leader_replicas: Option<Vec<i32>>,
    #[kafka(nullable = "0+")]
    pub last_known_elr: Option<Vec<i32>>,
    pub offline_replicas: Vec<i32>,
}
