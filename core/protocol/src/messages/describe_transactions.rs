//! DescribeTransactions (65): transactions in full (KIP-664).

use crate::{ErrorCode, Message};

/// Asks for the state of transactions.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(key = DescribeTransactions, versions = "0", flexible = "0+", response = DescribeTransactionsResponse)]
pub struct DescribeTransactionsRequest {
    pub transactional_ids: Vec<String>,
}

/// Transactions with their partitions.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "0", flexible = "0+")]
pub struct DescribeTransactionsResponse {
    pub throttle_time_ms: i32,
    pub transaction_states: Vec<DescribeTransactionsResponseTransactionState>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct DescribeTransactionsResponseTransactionState {
    pub error_code: ErrorCode,
    pub transactional_id: String,
    pub transaction_state: String,
    pub transaction_timeout_ms: i32,
    pub transaction_start_time_ms: i64,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub topics: Vec<DescribeTransactionsResponseTopicData>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct DescribeTransactionsResponseTopicData {
    pub topic: String,
    pub partitions: Vec<i32>,
}
