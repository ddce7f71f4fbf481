//! UpdateFeatures (57): feature levels (KIP-584).

use crate::{ErrorCode, Message};

/// Feature levels to finalize.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(key = UpdateFeatures, versions = "0-2", flexible = "0+", response = UpdateFeaturesResponse)]
pub struct UpdateFeaturesRequest {
    #[kafka(default = 60000)]
    pub timeout_ms: i32,
    pub feature_updates: Vec<FeatureUpdateKey>,
    #[kafka(versions = "1+")]
    pub validate_only: bool,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct FeatureUpdateKey {
    pub feature: String,
    pub max_version_level: i16,
    #[kafka(versions = "0")]
    pub allow_downgrade: bool,
    #[kafka(versions = "1+", default = 1)]
    pub upgrade_type: i8,
}

/// What became of each.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "0-2", flexible = "0+")]
pub struct UpdateFeaturesResponse {
    pub throttle_time_ms: i32,
    pub error_code: ErrorCode,
    #[kafka(nullable = "0+")]
    pub error_message: Option<String>,
    #[kafka(versions = "0-1")]
    pub results: Vec<UpdatableFeatureResult>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct UpdatableFeatureResult {
    pub feature: String,
    pub error_code: ErrorCode,
    #[kafka(nullable = "0+")]
    pub error_message: Option<String>,
}
