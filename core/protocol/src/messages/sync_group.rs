//! SyncGroup (14): the end of a rebalance of the classic protocol.

use bytes::Bytes;

use crate::{ErrorCode, Message};

/// Asks for the assignment, and from the leader carries it.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(key = SyncGroup, versions = "0-5", flexible = "4+", response = SyncGroupResponse)]
pub struct SyncGroupRequest {
    pub group_id: String,
    pub generation_id: i32,
    pub member_id: String,
    #[kafka(versions = "3+", nullable = "0+")]
    pub group_instance_id: Option<String>,
    #[kafka(versions = "5+", nullable = "0+")]
    pub protocol_type: Option<String>,
    #[kafka(versions = "5+", nullable = "0+")]
    pub protocol_name: Option<String>,
    pub assignments: Vec<SyncGroupRequestAssignment>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct SyncGroupRequestAssignment {
    pub member_id: String,
    pub assignment: Bytes,
}

/// The member's assignment.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "0-5", flexible = "4+")]
pub struct SyncGroupResponse {
    #[kafka(versions = "1+")]
    pub throttle_time_ms: i32,
    pub error_code: ErrorCode,
    #[kafka(versions = "5+", nullable = "0+")]
    pub protocol_type: Option<String>,
    #[kafka(versions = "5+", nullable = "0+")]
    pub protocol_name: Option<String>,
    pub assignment: Bytes,
}
