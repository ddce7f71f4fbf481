//! DescribeAcls (29): access rules, read (KIP-140).

use crate::{ErrorCode, Message};

/// Asks for access rules by a filter.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(key = DescribeAcls, versions = "1-3", flexible = "2+", response = DescribeAclsResponse)]
pub struct DescribeAclsRequest {
    pub resource_type_filter: i8,
    #[kafka(nullable = "0+")]
    pub resource_name_filter: Option<String>,
    #[kafka(default = 3)]
    pub pattern_type_filter: i8,
    #[kafka(nullable = "0+")]
    pub principal_filter: Option<String>,
    #[kafka(nullable = "0+")]
    pub host_filter: Option<String>,
    pub operation: i8,
    pub permission_type: i8,
}

/// Rules that match.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "1-3", flexible = "2+")]
pub struct DescribeAclsResponse {
    pub throttle_time_ms: i32,
    pub error_code: ErrorCode,
    #[kafka(nullable = "0+")]
    pub error_message: Option<String>,
    pub resources: Vec<DescribeAclsResource>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct DescribeAclsResource {
    pub resource_type: i8,
    pub resource_name: String,
    #[kafka(default = 3)]
    pub pattern_type: i8,
    pub acls: Vec<AclDescription>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct AclDescription {
    pub principal: String,
    pub host: String,
    pub operation: i8,
    pub permission_type: i8,
}
