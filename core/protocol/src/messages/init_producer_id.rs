//! InitProducerId (22): an idempotent or transactional producer's identity (KIP-98, KIP-360).

use crate::{ErrorCode, Message};

/// Asks for a producer id, or the next epoch of one.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(key = InitProducerId, versions = "0-5", flexible = "2+", response = InitProducerIdResponse)]
pub struct InitProducerIdRequest {
    #[kafka(nullable = "0+")]
    pub transactional_id: Option<String>,
    pub transaction_timeout_ms: i32,
    #[kafka(versions = "3+", default = -1)]
    pub producer_id: i64,
    #[kafka(versions = "3+", default = -1)]
    pub producer_epoch: i16,
}

/// The producer's id and epoch.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "0-5", flexible = "2+")]
pub struct InitProducerIdResponse {
    pub throttle_time_ms: i32,
    pub error_code: ErrorCode,
    #[kafka(default = -1)]
    pub producer_id: i64,
    pub producer_epoch: i16,
}
