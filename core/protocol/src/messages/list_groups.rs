//! ListGroups (16): all groups of a broker.

use crate::{ErrorCode, Message};

/// Asks for all groups, by state and type if given.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(key = ListGroups, versions = "0-5", flexible = "3+", response = ListGroupsResponse)]
pub struct ListGroupsRequest {
    #[kafka(versions = "4+")]
    pub states_filter: Vec<String>,
    #[kafka(versions = "5+")]
    pub types_filter: Vec<String>,
}

/// The groups that this broker coordinates.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "0-5", flexible = "3+")]
pub struct ListGroupsResponse {
    #[kafka(versions = "1+")]
    pub throttle_time_ms: i32,
    pub error_code: ErrorCode,
    pub groups: Vec<ListedGroup>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct ListedGroup {
    pub group_id: String,
    pub protocol_type: String,
    #[kafka(versions = "4+")]
    pub group_state: String,
    #[kafka(versions = "5+")]
    pub group_type: String,
}
