//! IncrementalAlterConfigs (44): configurations, changed setting by setting (KIP-339).

use super::alter_configs::AlterConfigsResourceResponse;
use crate::Message;

/// Changes single settings.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(key = IncrementalAlterConfigs, versions = "0-1", flexible = "1+", response = IncrementalAlterConfigsResponse)]
pub struct IncrementalAlterConfigsRequest {
    pub resources: Vec<IncrementalAlterConfigsRequestResource>,
    pub validate_only: bool,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct IncrementalAlterConfigsRequestResource {
    pub resource_type: i8,
    pub resource_name: String,
    pub configs: Vec<IncrementalAlterConfigsRequestAlterableConfig>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct IncrementalAlterConfigsRequestAlterableConfig {
    pub name: String,
    pub config_operation: i8,
    #[kafka(nullable = "0+")]
    pub value: Option<String>,
}

/// What became of each resource.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "0-1", flexible = "1+")]
pub struct IncrementalAlterConfigsResponse {
    pub throttle_time_ms: i32,
    pub responses: Vec<AlterConfigsResourceResponse>,
}
