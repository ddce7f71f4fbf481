//! UnregisterBroker (64): a broker to forget (KIP-631).

use crate::{ErrorCode, Message};

/// A broker to forget.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(key = UnregisterBroker, versions = "0", flexible = "0+", response = UnregisterBrokerResponse)]
pub struct UnregisterBrokerRequest {
    pub broker_id: i32,
}

/// Whether it was forgotten.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "0", flexible = "0+")]
pub struct UnregisterBrokerResponse {
    pub throttle_time_ms: i32,
    pub error_code: ErrorCode,
    #[kafka(nullable = "0+")]
    pub error_message: Option<String>,
}
