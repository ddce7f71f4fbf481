//! SaslAuthenticate (36): steps of a SASL authentication (KIP-152).

use bytes::Bytes;

use crate::{ErrorCode, Message};

/// One step of authentication.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(key = SaslAuthenticate, versions = "0-2", flexible = "2+", response = SaslAuthenticateResponse)]
pub struct SaslAuthenticateRequest {
    pub auth_bytes: Bytes,
}

/// The answer to it.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "0-2", flexible = "2+")]
pub struct SaslAuthenticateResponse {
    pub error_code: ErrorCode,
    #[kafka(nullable = "0+")]
    pub error_message: Option<String>,
    pub auth_bytes: Bytes,
    #[kafka(versions = "1+")]
    pub session_lifetime_ms: i64,
}
