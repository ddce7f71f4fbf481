//! ListTransactions (66): all transactions of a broker (KIP-664).

use crate::{ErrorCode, Message};

/// Asks for transactions by filters.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(key = ListTransactions, versions = "0-2", flexible = "0+", response = ListTransactionsResponse)]
pub struct ListTransactionsRequest {
    pub state_filters: Vec<String>,
    pub producer_id_filters: Vec<i64>,
    #[kafka(versions = "1+", default = -1)]
    pub duration_filter: i64,
    #[kafka(versions = "2+", nullable = "0+")]
    pub transactional_id_pattern: Option<String>,
}

/// The transactions that this broker coordinates.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "0-2", flexible = "0+")]
pub struct ListTransactionsResponse {
    pub throttle_time_ms: i32,
    pub error_code: ErrorCode,
    pub unknown_state_filters: Vec<String>,
    pub transaction_states: Vec<ListTransactionsResponseTransactionState>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct ListTransactionsResponseTransactionState {
    pub transactional_id: String,
    pub producer_id: i64,
    pub transaction_state: String,
}
