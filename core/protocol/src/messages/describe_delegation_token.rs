//! DescribeDelegationToken (41): delegation tokens, listed (KIP-48).

use bytes::Bytes;

use crate::{ErrorCode, Message};

/// Asks for tokens by owner.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(key = DescribeDelegationToken, versions = "1-3", flexible = "2+", response = DescribeDelegationTokenResponse)]
pub struct DescribeDelegationTokenRequest {
    #[kafka(nullable = "0+")]
    pub owners: Option<Vec<DescribeDelegationTokenOwner>>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct DescribeDelegationTokenOwner {
    pub principal_type: String,
    pub principal_name: String,
}

/// The tokens.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "1-3", flexible = "2+")]
pub struct DescribeDelegationTokenResponse {
    pub error_code: ErrorCode,
    pub tokens: Vec<DescribedDelegationToken>,
    pub throttle_time_ms: i32,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct DescribedDelegationToken {
    pub principal_type: String,
    pub principal_name: String,
    #[kafka(versions = "3+")]
    pub token_requester_principal_type: String,
    #[kafka(versions = "3+")]
    pub token_requester_principal_name: String,
    pub issue_timestamp: i64,
    pub expiry_timestamp: i64,
    pub max_timestamp: i64,
    pub token_id: String,
    pub hmac: Bytes,
    pub renewers: Vec<DescribedDelegationTokenRenewer>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct DescribedDelegationTokenRenewer {
    pub principal_type: String,
    pub principal_name: String,
}
