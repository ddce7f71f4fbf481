//! Produce (0): records to partitions, in batches that stay as the producer made them.

use bytes::Bytes;

use crate::{ErrorCode, Message, Uuid};

/// Records to append.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(key = Produce, versions = "3-13", flexible = "9+", response = ProduceResponse)]
pub struct ProduceRequest {
    #[kafka(nullable = "0+")]
    pub transactional_id: Option<String>,
    pub acks: i16,
    pub timeout_ms: i32,
    pub topic_data: Vec<TopicProduceData>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct TopicProduceData {
    #[kafka(versions = "0-12")]
    pub name: String,
    #[kafka(versions = "13+")]
    pub topic_id: Uuid,
    pub partition_data: Vec<PartitionProduceData>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct PartitionProduceData {
    pub index: i32,
    #[kafka(nullable = "0+", records)]
    pub records: Option<Bytes>,
}

/// What became of each partition's records.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "3-13", flexible = "9+")]
pub struct ProduceResponse {
    pub responses: Vec<TopicProduceResponse>,
    pub throttle_time_ms: i32,
    #[kafka(tag = 0, tagged = "10+")]
    pub node_endpoints: Vec<NodeEndpoint>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct TopicProduceResponse {
    #[kafka(versions = "0-12")]
    pub name: String,
    #[kafka(versions = "13+")]
    pub topic_id: Uuid,
    pub partition_responses: Vec<PartitionProduceResponse>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct PartitionProduceResponse {
    pub index: i32,
    pub error_code: ErrorCode,
    pub base_offset: i64,
    #[kafka(default = -1)]
    pub log_append_time_ms: i64,
    #[kafka(versions = "5+", default = -1)]
    pub log_start_offset: i64,
    #[kafka(versions = "8+")]
    pub record_errors: Vec<BatchIndexAndErrorMessage>,
    #[kafka(versions = "8+", nullable = "0+")]
    pub error_message: Option<String>,
    #[kafka(tag = 0, tagged = "10+")]
    pub current_leader: LeaderIdAndEpoch,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct BatchIndexAndErrorMessage {
    pub batch_index: i32,
    #[kafka(nullable = "0+")]
    pub batch_index_error_message: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct LeaderIdAndEpoch {
    #[kafka(default = -1)]
    pub leader_id: i32,
    #[kafka(default = -1)]
    pub leader_epoch: i32,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct NodeEndpoint {
    pub node_id: i32,
    pub host: String,
    pub port: i32,
    #[kafka(nullable = "0+")]
    pub rack: Option<String>,
}
