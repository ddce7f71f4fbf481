//! SaslHandshake (17): the choice of a SASL mechanism.

use crate::{ErrorCode, Message};

/// Chooses a mechanism.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(key = SaslHandshake, versions = "0-1", response = SaslHandshakeResponse)]
pub struct SaslHandshakeRequest {
    pub mechanism: String,
}

/// The mechanisms there are.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "0-1")]
pub struct SaslHandshakeResponse {
    pub error_code: ErrorCode,
    pub mechanisms: Vec<String>,
}
