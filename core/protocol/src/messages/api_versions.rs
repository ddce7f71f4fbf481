//! ApiVersions (18): the first request of most clients (KIP-35, KIP-511).

use crate::{ErrorCode, Message};

/// Asks what the broker speaks.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(key = ApiVersions, versions = "0-4", flexible = "3+", response = ApiVersionsResponse)]
pub struct ApiVersionsRequest {
    #[kafka(versions = "3+")]
    pub client_software_name: String,
    #[kafka(versions = "3+")]
    pub client_software_version: String,
}

/// The APIs with their versions, and the features (KIP-584).
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "0-4", flexible = "3+")]
pub struct ApiVersionsResponse {
    pub error_code: ErrorCode,
    pub api_keys: Vec<ApiVersion>,
    #[kafka(versions = "1+")]
    pub throttle_time_ms: i32,
    #[kafka(tag = 0, tagged = "3+")]
    pub supported_features: Vec<SupportedFeatureKey>,
    #[kafka(tag = 1, tagged = "3+", default = -1)]
    pub finalized_features_epoch: i64,
    #[kafka(tag = 2, tagged = "3+")]
    pub finalized_features: Vec<FinalizedFeatureKey>,
    #[kafka(tag = 3, tagged = "3+")]
    pub zk_migration_ready: bool,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct ApiVersion {
    pub api_key: i16,
    pub min_version: i16,
    pub max_version: i16,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct SupportedFeatureKey {
    pub name: String,
    pub min_version: i16,
    pub max_version: i16,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct FinalizedFeatureKey {
    pub name: String,
    pub max_version_level: i16,
    pub min_version_level: i16,
}
