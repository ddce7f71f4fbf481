//! AddOffsetsToTxn (25): a group's offsets in a transaction (KIP-98).

use crate::{ErrorCode, Message};

/// A group whose offsets a transaction is about to commit.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(key = AddOffsetsToTxn, versions = "0-4", flexible = "3+", response = AddOffsetsToTxnResponse)]
pub struct AddOffsetsToTxnRequest {
    pub transactional_id: String,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub group_id: String,
}

/// Whether it was added.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "0-4", flexible = "3+")]
pub struct AddOffsetsToTxnResponse {
    pub throttle_time_ms: i32,
    pub error_code: ErrorCode,
}
