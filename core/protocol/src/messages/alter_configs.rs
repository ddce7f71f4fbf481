//! AlterConfigs (33): configurations, replaced whole.

use crate::{ErrorCode, Message};

/// Replaces whole configurations.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(key = AlterConfigs, versions = "0-2", flexible = "2+", response = AlterConfigsResponse)]
pub struct AlterConfigsRequest {
    pub resources: Vec<AlterConfigsResource>,
    pub validate_only: bool,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct AlterConfigsResource {
    pub resource_type: i8,
    pub resource_name: String,
    pub configs: Vec<AlterableConfig>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct AlterableConfig {
    pub name: String,
    #[kafka(nullable = "0+")]
    pub value: Option<String>,
}

/// What became of each resource.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "0-2", flexible = "2+")]
pub struct AlterConfigsResponse {
    pub throttle_time_ms: i32,
    pub responses: Vec<AlterConfigsResourceResponse>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct AlterConfigsResourceResponse {
    pub error_code: ErrorCode,
    #[kafka(nullable = "0+")]
    pub error_message: Option<String>,
    pub resource_type: i8,
    pub resource_name: String,
}
