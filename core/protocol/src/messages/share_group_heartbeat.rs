//! ShareGroupHeartbeat (76): membership in share groups (KIP-932).

use super::consumer_group_heartbeat::Assignment;
use crate::{ErrorCode, Message};

/// A member's state and wishes.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(key = ShareGroupHeartbeat, versions = "1", flexible = "0+", response = ShareGroupHeartbeatResponse)]
pub struct ShareGroupHeartbeatRequest {
    pub group_id: String,
    pub member_id: String,
    pub member_epoch: i32,
    #[kafka(nullable = "0+")]
    pub rack_id: Option<String>,
    #[kafka(nullable = "0+")]
    pub subscribed_topic_names: Option<Vec<String>>,
}

/// What the member shall read.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "1", flexible = "0+")]
pub struct ShareGroupHeartbeatResponse {
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
