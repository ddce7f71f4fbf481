//! CreateDelegationToken (38): a new delegation token (KIP-48).

use bytes::Bytes;

use crate::{ErrorCode, Message};

/// Asks for a token.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(key = CreateDelegationToken, versions = "1-3", flexible = "2+", response = CreateDelegationTokenResponse)]
pub struct CreateDelegationTokenRequest {
    #[kafka(versions = "3+", nullable = "0+", default = Some(String::new()))]
    pub owner_principal_type: Option<String>,
    #[kafka(versions = "3+", nullable = "0+", default = Some(String::new()))]
    pub owner_principal_name: Option<String>,
    pub renewers: Vec<CreatableRenewers>,
    pub max_lifetime_ms: i64,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct CreatableRenewers {
    pub principal_type: String,
    pub principal_name: String,
}

/// The token.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "1-3", flexible = "2+")]
pub struct CreateDelegationTokenResponse {
    pub error_code: ErrorCode,
    pub principal_type: String,
    pub principal_name: String,
    #[kafka(versions = "3+")]
    pub token_requester_principal_type: String,
    #[kafka(versions = "3+")]
    pub token_requester_principal_name: String,
    pub issue_timestamp_ms: i64,
    pub expiry_timestamp_ms: i64,
    pub max_timestamp_ms: i64,
    pub token_id: String,
    pub hmac: Bytes,
    pub throttle_time_ms: i32,
}
