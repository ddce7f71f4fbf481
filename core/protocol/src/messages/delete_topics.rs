//! DeleteTopics (20): topics to delete.

use crate::{ErrorCode, Message, Uuid};

/// Topics to delete, by name or id.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(key = DeleteTopics, versions = "1-6", flexible = "4+", response = DeleteTopicsResponse)]
pub struct DeleteTopicsRequest {
    #[kafka(versions = "6+")]
    pub topics: Vec<DeleteTopicState>,
    #[kafka(versions = "0-5")]
    pub topic_names: Vec<String>,
    pub timeout_ms: i32,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct DeleteTopicState {
    #[kafka(nullable = "0+")]
    pub name: Option<String>,
    pub topic_id: Uuid,
}

/// What became of each topic.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "1-6", flexible = "4+")]
pub struct DeleteTopicsResponse {
    pub throttle_time_ms: i32,
    pub responses: Vec<DeletableTopicResult>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct DeletableTopicResult {
    #[kafka(nullable = "6+")]
    pub name: Option<String>,
    #[kafka(versions = "6+")]
    pub topic_id: Uuid,
    pub error_code: ErrorCode,
    #[kafka(versions = "5+", nullable = "0+")]
    pub error_message: Option<String>,
}
