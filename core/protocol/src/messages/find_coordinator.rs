//! FindCoordinator (10): where a group or transaction lives.

use crate::{ErrorCode, Message};

/// Asks who coordinates groups, transactions or share groups.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(key = FindCoordinator, versions = "0-6", flexible = "3+", response = FindCoordinatorResponse)]
pub struct FindCoordinatorRequest {
    #[kafka(versions = "0-3")]
    pub key: String,
    #[kafka(versions = "1+")]
    pub key_type: i8,
    #[kafka(versions = "4+")]
    pub coordinator_keys: Vec<String>,
}

/// The coordinators.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "0-6", flexible = "3+")]
pub struct FindCoordinatorResponse {
    #[kafka(versions = "1+")]
    pub throttle_time_ms: i32,
    #[kafka(versions = "0-3")]
    pub error_code: ErrorCode,
    #[kafka(versions = "1-3", nullable = "0+", default = Some(String::new()))]
    pub error_message: Option<String>,
    #[kafka(versions = "0-3")]
    pub node_id: i32,
    #[kafka(versions = "0-3")]
    pub host: String,
    #[kafka(versions = "0-3")]
    pub port: i32,
    #[kafka(versions = "4+")]
    pub coordinators: Vec<Coordinator>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct Coordinator {
    pub key: String,
    pub node_id: i32,
    pub host: String,
    pub port: i32,
    pub error_code: ErrorCode,
    #[kafka(nullable = "0+")]
    pub error_message: Option<String>,
}
