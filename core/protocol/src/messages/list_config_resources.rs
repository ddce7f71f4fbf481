//! ListConfigResources (74): what can be configured (KIP-714, KIP-1142).

use crate::{ErrorCode, Message};

/// Asks for the resources that have configurations.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(key = ListConfigResources, versions = "0-1", flexible = "0+", response = ListConfigResourcesResponse)]
pub struct ListConfigResourcesRequest {
    #[kafka(versions = "1+")]
    pub resource_types: Vec<i8>,
}

/// Resources with configurations.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "0-1", flexible = "0+")]
pub struct ListConfigResourcesResponse {
    pub throttle_time_ms: i32,
    pub error_code: ErrorCode,
    pub config_resources: Vec<ConfigResource>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct ConfigResource {
    pub resource_name: String,
    #[kafka(versions = "1+", default = 16)]
    pub resource_type: i8,
}
