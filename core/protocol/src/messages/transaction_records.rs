//! Records of `__transaction_state`, each stored after its version as 16 bits.

use crate::Message;

/// Names a transaction.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "0")]
pub struct TransactionLogKey {
    pub transactional_id: String,
}

/// A transaction's state.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "0-1", flexible = "1+")]
pub struct TransactionLogValue {
    pub producer_id: i64,
    #[kafka(tag = 0, tagged = "1+", default = -1)]
    pub previous_producer_id: i64,
    #[kafka(tag = 1, tagged = "1+", default = -1)]
    pub next_producer_id: i64,
    pub producer_epoch: i16,
    #[kafka(tag = 3, tagged = "1+", default = -1)]
    pub next_producer_epoch: i16,
    pub transaction_timeout_ms: i32,
    pub transaction_status: i8,
    #[kafka(nullable = "0+")]
    pub transaction_partitions: Option<Vec<PartitionsSchema>>,
    pub transaction_last_update_timestamp_ms: i64,
    pub transaction_start_timestamp_ms: i64,
    #[kafka(tag = 2, tagged = "1+")]
    pub client_transaction_version: i16,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct PartitionsSchema {
    pub topic: String,
    pub partition_ids: Vec<i32>,
}
