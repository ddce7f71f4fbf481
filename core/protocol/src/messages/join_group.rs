//! JoinGroup (11): a member's entry into a rebalance of the classic protocol.

use bytes::Bytes;

use crate::{ErrorCode, Message};

/// Joins a classic group, or joins again.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(key = JoinGroup, versions = "0-9", flexible = "6+", response = JoinGroupResponse)]
pub struct JoinGroupRequest {
    pub group_id: String,
    pub session_timeout_ms: i32,
    #[kafka(versions = "1+", default = -1)]
    pub rebalance_timeout_ms: i32,
    pub member_id: String,
    #[kafka(versions = "5+", nullable = "0+")]
    pub group_instance_id: Option<String>,
    pub protocol_type: String,
    pub protocols: Vec<JoinGroupRequestProtocol>,
    #[kafka(versions = "8+", nullable = "0+")]
    pub reason: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct JoinGroupRequestProtocol {
    pub name: String,
    pub metadata: Bytes,
}

/// The generation, and for its leader all members.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "0-9", flexible = "6+")]
pub struct JoinGroupResponse {
    #[kafka(versions = "2+")]
    pub throttle_time_ms: i32,
    pub error_code: ErrorCode,
    #[kafka(default = -1)]
    pub generation_id: i32,
    #[kafka(versions = "7+", nullable = "0+")]
    pub protocol_type: Option<String>,
    #[kafka(nullable = "7+")]
    pub protocol_name: Option<String>,
    pub leader: String,
    #[kafka(versions = "9+")]
    pub skip_assignment: bool,
    pub member_id: String,
    pub members: Vec<JoinGroupResponseMember>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct JoinGroupResponseMember {
    pub member_id: String,
    #[kafka(versions = "5+", nullable = "0+")]
    pub group_instance_id: Option<String>,
    pub metadata: Bytes,
}
