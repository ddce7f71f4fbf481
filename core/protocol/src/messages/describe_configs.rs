//! DescribeConfigs (32): settings of topics, brokers and groups (KIP-133, KIP-226).

use crate::{ErrorCode, Message};

/// Asks for configurations.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(key = DescribeConfigs, versions = "1-4", flexible = "4+", response = DescribeConfigsResponse)]
pub struct DescribeConfigsRequest {
    pub resources: Vec<DescribeConfigsResource>,
    pub include_synonyms: bool,
    #[kafka(versions = "3+")]
    pub include_documentation: bool,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct DescribeConfigsResource {
    pub resource_type: i8,
    pub resource_name: String,
    #[kafka(nullable = "0+")]
    pub configuration_keys: Option<Vec<String>>,
}

/// Settings with their sources and synonyms.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "1-4", flexible = "4+")]
pub struct DescribeConfigsResponse {
    pub throttle_time_ms: i32,
    pub results: Vec<DescribeConfigsResult>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct DescribeConfigsResult {
    pub error_code: ErrorCode,
    #[kafka(nullable = "0+")]
    pub error_message: Option<String>,
    pub resource_type: i8,
    pub resource_name: String,
    pub configs: Vec<DescribeConfigsResourceResult>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct DescribeConfigsResourceResult {
    pub name: String,
    #[kafka(nullable = "0+")]
    pub value: Option<String>,
    pub read_only: bool,
    #[kafka(default = -1)]
    pub config_source: i8,
    pub is_sensitive: bool,
    pub synonyms: Vec<DescribeConfigsSynonym>,
    #[kafka(versions = "3+")]
    pub config_type: i8,
    #[kafka(versions = "3+", nullable = "0+", default = Some(String::new()))]
    pub documentation: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct DescribeConfigsSynonym {
    pub name: String,
    #[kafka(nullable = "0+")]
    pub value: Option<String>,
    pub source: i8,
}
