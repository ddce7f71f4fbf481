//! ExpireDelegationToken (40): a token's end (KIP-48).

use bytes::Bytes;

use crate::{ErrorCode, Message};

/// Makes a token end.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(key = ExpireDelegationToken, versions = "1-2", flexible = "2+", response = ExpireDelegationTokenResponse)]
pub struct ExpireDelegationTokenRequest {
    pub hmac: Bytes,
    pub expiry_time_period_ms: i64,
}

/// When.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "1-2", flexible = "2+")]
pub struct ExpireDelegationTokenResponse {
    pub error_code: ErrorCode,
    pub expiry_timestamp_ms: i64,
    pub throttle_time_ms: i32,
}
