//! AlterClientQuotas (49): client quotas, written (KIP-546).

use super::describe_client_quotas::EntityData;
use crate::{ErrorCode, Message};

/// Quotas to set or remove.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(key = AlterClientQuotas, versions = "0-1", flexible = "1+", response = AlterClientQuotasResponse)]
pub struct AlterClientQuotasRequest {
    pub entries: Vec<AlterClientQuotasRequestEntryData>,
    pub validate_only: bool,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct AlterClientQuotasRequestEntryData {
    pub entity: Vec<EntityData>,
    pub ops: Vec<OpData>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct OpData {
    pub key: String,
    pub value: f64,
    pub remove: bool,
}

/// What became of each entity.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "0-1", flexible = "1+")]
pub struct AlterClientQuotasResponse {
    pub throttle_time_ms: i32,
    pub entries: Vec<AlterClientQuotasResponseEntryData>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct AlterClientQuotasResponseEntryData {
    pub error_code: ErrorCode,
    #[kafka(nullable = "0+")]
    pub error_message: Option<String>,
    pub entity: Vec<EntityData>,
}
