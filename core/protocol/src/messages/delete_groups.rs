//! DeleteGroups (42): groups to delete (KIP-229).

use crate::{ErrorCode, Message};

/// Groups to delete.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(key = DeleteGroups, versions = "0-2", flexible = "2+", response = DeleteGroupsResponse)]
pub struct DeleteGroupsRequest {
    pub groups_names: Vec<String>,
}

/// What became of each group.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "0-2", flexible = "2+")]
pub struct DeleteGroupsResponse {
    pub throttle_time_ms: i32,
    pub results: Vec<DeletableGroupResult>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct DeletableGroupResult {
    pub group_id: String,
    pub error_code: ErrorCode,
}
