//! DescribeGroups (15): classic groups in full.

use bytes::Bytes;

use crate::{ErrorCode, Message};

/// Asks for the state of classic groups.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(key = DescribeGroups, versions = "0-6", flexible = "5+", response = DescribeGroupsResponse)]
pub struct DescribeGroupsRequest {
    pub groups: Vec<String>,
    #[kafka(versions = "3+")]
    pub include_authorized_operations: bool,
}

/// Groups with their members.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "0-6", flexible = "5+")]
pub struct DescribeGroupsResponse {
    #[kafka(versions = "1+")]
    pub throttle_time_ms: i32,
    pub groups: Vec<DescribedGroup>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct DescribedGroup {
    pub error_code: ErrorCode,
    #[kafka(versions = "6+", nullable = "0+")]
    pub error_message: Option<String>,
    pub group_id: String,
    pub group_state: String,
    pub protocol_type: String,
    pub protocol_data: String,
    pub members: Vec<DescribedGroupMember>,
    #[kafka(versions = "3+", default = -2147483648)]
    pub authorized_operations: i32,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct DescribedGroupMember {
    pub member_id: String,
    #[kafka(versions = "4+", nullable = "0+")]
    pub group_instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub member_metadata: Bytes,
    pub member_assignment: Bytes,
}
