//! EndTxn (26): the end of a transaction (KIP-98, KIP-890).

use crate::{ErrorCode, Message};

/// Commits or aborts.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(key = EndTxn, versions = "0-5", flexible = "3+", response = EndTxnResponse)]
pub struct EndTxnRequest {
    pub transactional_id: String,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub committed: bool,
}

/// Whether it was, and since version 5 the producer's next epoch.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "0-5", flexible = "3+")]
pub struct EndTxnResponse {
    pub throttle_time_ms: i32,
    pub error_code: ErrorCode,
    #[kafka(versions = "5+", default = -1)]
    pub producer_id: i64,
    #[kafka(versions = "5+", default = -1)]
    pub producer_epoch: i16,
}
