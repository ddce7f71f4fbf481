//! Heartbeat (12): a sign of life of a classic member.

use crate::{ErrorCode, Message};

/// Tells that a member lives.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(key = Heartbeat, versions = "0-4", flexible = "4+", response = HeartbeatResponse)]
pub struct HeartbeatRequest {
    pub group_id: String,
    pub generation_id: i32,
    pub member_id: String,
    #[kafka(versions = "3+", nullable = "0+")]
    pub group_instance_id: Option<String>,
}

/// Whether the generation still stands.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "0-4", flexible = "4+")]
pub struct HeartbeatResponse {
    #[kafka(versions = "1+")]
    pub throttle_time_ms: i32,
    pub error_code: ErrorCode,
}
