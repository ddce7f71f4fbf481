//! AlterUserScramCredentials (51): SCRAM credentials, written (KIP-554).

use bytes::Bytes;

use crate::{ErrorCode, Message};

/// Credentials to set or delete.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(key = AlterUserScramCredentials, versions = "0", flexible = "0+", response = AlterUserScramCredentialsResponse)]
pub struct AlterUserScramCredentialsRequest {
    pub deletions: Vec<ScramCredentialDeletion>,
    pub upsertions: Vec<ScramCredentialUpsertion>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct ScramCredentialDeletion {
    pub name: String,
    pub mechanism: i8,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct ScramCredentialUpsertion {
    pub name: String,
    pub mechanism: i8,
    pub iterations: i32,
    pub salt: Bytes,
    pub salted_password: Bytes,
}

/// What became of each.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "0", flexible = "0+")]
pub struct AlterUserScramCredentialsResponse {
    pub throttle_time_ms: i32,
    pub results: Vec<AlterUserScramCredentialsResult>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct AlterUserScramCredentialsResult {
    pub user: String,
    pub error_code: ErrorCode,
    #[kafka(nullable = "0+")]
    pub error_message: Option<String>,
}
