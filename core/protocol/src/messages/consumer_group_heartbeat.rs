//! ConsumerGroupHeartbeat (68): all of the new group protocol's membership (KIP-848).

use crate::{ErrorCode, Message, Uuid};

/// A member's state and wishes.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(key = ConsumerGroupHeartbeat, versions = "0-1", flexible = "0+", response = ConsumerGroupHeartbeatResponse)]
pub struct ConsumerGroupHeartbeatRequest {
    pub group_id: String,
    pub member_id: String,
    pub member_epoch: i32,
    #[kafka(nullable = "0+")]
    pub instance_id: Option<String>,
    #[kafka(nullable = "0+")]
    pub rack_id: Option<String>,
    #[kafka(default = -1)]
    pub rebalance_timeout_ms: i32,
    #[kafka(nullable = "0+")]
    pub subscribed_topic_names: Option<Vec<String>>,
    #[kafka(versions = "1+", nullable = "0+")]
    pub subscribed_topic_regex: Option<String>,
    #[kafka(nullable = "0+")]
    pub server_assignor: Option<String>,
    #[kafka(nullable = "0+")]
    pub topic_partitions: Option<Vec<TopicPartitions>>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct TopicPartitions {
    pub topic_id: Uuid,
    pub partitions: Vec<i32>,
}

/// What the member shall own.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "0-1", flexible = "0+")]
pub struct ConsumerGroupHeartbeatResponse {
    pub throttle_time_ms: i32,
    pub error_code: ErrorCode,
    #[kafka(nullable = "0+")]
    pub error_message: Option<String>,
    #[kafka(nullable = "0+")]
    pub member_id: Option<String>,
    pub member_epoch: i32,
    pub heartbeat_interval_ms: i32,
    #[kafka(nullable = "0+")]
    pub assignment: Option<Assignment>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct Assignment {
    pub topic_partitions: Vec<TopicPartitions>,
}
