//! CreateTopics (19): new topics.

use crate::{ErrorCode, Message, Uuid};

/// Topics to create.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(key = CreateTopics, versions = "2-7", flexible = "5+", response = CreateTopicsResponse)]
pub struct CreateTopicsRequest {
    pub topics: Vec<CreatableTopic>,
    #[kafka(default = 60000)]
    pub timeout_ms: i32,
    pub validate_only: bool,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct CreatableTopic {
    pub name: String,
    pub num_partitions: i32,
    pub replication_factor: i16,
    pub assignments: Vec<CreatableReplicaAssignment>,
    pub configs: Vec<CreatableTopicConfig>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct CreatableReplicaAssignment {
    pub partition_index: i32,
    pub broker_ids: Vec<i32>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct CreatableTopicConfig {
    pub name: String,
    #[kafka(nullable = "0+")]
    pub value: Option<String>,
}

/// What became of each topic.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "2-7", flexible = "5+")]
pub struct CreateTopicsResponse {
    pub throttle_time_ms: i32,
    pub topics: Vec<CreatableTopicResult>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct CreatableTopicResult {
    pub name: String,
    #[kafka(versions = "7+")]
    pub topic_id: Uuid,
    pub error_code: ErrorCode,
    #[kafka(nullable = "0+")]
    pub error_message: Option<String>,
    #[kafka(tag = 0, tagged = "5+")]
    pub topic_config_error_code: ErrorCode,
    #[kafka(versions = "5+", default = -1)]
    pub num_partitions: i32,
    #[kafka(versions = "5+", default = -1)]
    pub replication_factor: i16,
    #[kafka(versions = "5+", nullable = "0+", default = Some(Vec::new()))]
    pub configs: Option<Vec<CreatableTopicConfigs>>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct CreatableTopicConfigs {
    pub name: String,
    #[kafka(nullable = "0+")]
    pub value: Option<String>,
    pub read_only: bool,
    #[kafka(default = -1)]
    pub config_source: i8,
    pub is_sensitive: bool,
}
