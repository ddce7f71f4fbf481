//! CreateAcls (30): access rules, added (KIP-140).

use crate::{ErrorCode, Message};

/// Access rules to add.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(key = CreateAcls, versions = "1-3", flexible = "2+", response = CreateAclsResponse)]
pub struct CreateAclsRequest {
    pub creations: Vec<AclCreation>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct AclCreation {
    pub resource_type: i8,
    pub resource_name: String,
    #[kafka(default = 3)]
    pub resource_pattern_type: i8,
    pub principal: String,
    pub host: String,
    pub operation: i8,
    pub permission_type: i8,
}

/// What became of each.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "1-3", flexible = "2+")]
pub struct CreateAclsResponse {
    pub throttle_time_ms: i32,
    pub results: Vec<AclCreationResult>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct AclCreationResult {
    pub error_code: ErrorCode,
    #[kafka(nullable = "0+")]
    pub error_message: Option<String>,
}
