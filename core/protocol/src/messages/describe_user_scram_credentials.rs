//! DescribeUserScramCredentials (50): SCRAM credentials, listed (KIP-554).

use crate::{ErrorCode, Message};

/// Asks for users' SCRAM credentials.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(key = DescribeUserScramCredentials, versions = "0", flexible = "0+", response = DescribeUserScramCredentialsResponse)]
pub struct DescribeUserScramCredentialsRequest {
    #[kafka(nullable = "0+")]
    pub users: Option<Vec<UserName>>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct UserName {
    pub name: String,
}

/// Mechanisms and iterations, never secrets.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "0", flexible = "0+")]
pub struct DescribeUserScramCredentialsResponse {
    pub throttle_time_ms: i32,
    pub error_code: ErrorCode,
    #[kafka(nullable = "0+")]
    pub error_message: Option<String>,
    pub results: Vec<DescribeUserScramCredentialsResult>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct DescribeUserScramCredentialsResult {
    pub user: String,
    pub error_code: ErrorCode,
    #[kafka(nullable = "0+")]
    pub error_message: Option<String>,
    pub credential_infos: Vec<CredentialInfo>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct CredentialInfo {
    pub mechanism: i8,
    pub iterations: i32,
}
