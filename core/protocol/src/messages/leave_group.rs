//! LeaveGroup (13): members that go (KIP-345).

use crate::{ErrorCode, Message};

/// Takes members out of a group.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(key = LeaveGroup, versions = "0-5", flexible = "4+", response = LeaveGroupResponse)]
pub struct LeaveGroupRequest {
    pub group_id: String,
    #[kafka(versions = "0-2")]
    pub member_id: String,
    #[kafka(versions = "3+")]
    pub members: Vec<MemberIdentity>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct MemberIdentity {
    pub member_id: String,
    #[kafka(nullable = "0+")]
    pub group_instance_id: Option<String>,
    #[kafka(versions = "5+", nullable = "0+")]
    pub reason: Option<String>,
}

/// What became of each.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "0-5", flexible = "4+")]
pub struct LeaveGroupResponse {
    #[kafka(versions = "1+")]
    pub throttle_time_ms: i32,
    pub error_code: ErrorCode,
    #[kafka(versions = "3+")]
    pub members: Vec<MemberResponse>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct MemberResponse {
    pub member_id: String,
    #[kafka(nullable = "0+")]
    pub group_instance_id: Option<String>,
    pub error_code: ErrorCode,
}
