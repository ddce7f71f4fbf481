//! RenewDelegationToken (39): a token's life, prolonged (KIP-48).

use bytes::Bytes;

use crate::{ErrorCode, Message};

/// Makes a token last longer.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(key = RenewDelegationToken, versions = "1-2", flexible = "2+", response = RenewDelegationTokenResponse)]
pub struct RenewDelegationTokenRequest {
    pub hmac: Bytes,
    pub renew_period_ms: i64,
}

/// Until when.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "1-2", flexible = "2+")]
pub struct RenewDelegationTokenResponse {
    pub error_code: ErrorCode,
    pub expiry_timestamp_ms: i64,
    pub throttle_time_ms: i32,
}
