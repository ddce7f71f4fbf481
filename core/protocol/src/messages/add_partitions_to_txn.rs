//! AddPartitionsToTxn (24): partitions of a transaction (KIP-98, KIP-890).

use crate::{ErrorCode, Message};

/// Partitions that a transaction is about to write.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(key = AddPartitionsToTxn, versions = "0-5", flexible = "3+", response = AddPartitionsToTxnResponse)]
pub struct AddPartitionsToTxnRequest {
    #[kafka(versions = "4+")]
    pub transactions: Vec<AddPartitionsToTxnTransaction>,
    #[kafka(versions = "0-3")]
    pub v3_and_below_transactional_id: String,
    #[kafka(versions = "0-3")]
    pub v3_and_below_producer_id: i64,
    #[kafka(versions = "0-3")]
    pub v3_and_below_producer_epoch: i16,
    #[kafka(versions = "0-3")]
    pub v3_and_below_topics: Vec<AddPartitionsToTxnTopic>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct AddPartitionsToTxnTransaction {
    pub transactional_id: String,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub verify_only: bool,
    pub topics: Vec<AddPartitionsToTxnTopic>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct AddPartitionsToTxnTopic {
    pub name: String,
    pub partitions: Vec<i32>,
}

/// What became of each.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "0-5", flexible = "3+")]
pub struct AddPartitionsToTxnResponse {
    pub throttle_time_ms: i32,
    #[kafka(versions = "4+")]
    pub error_code: ErrorCode,
    #[kafka(versions = "4+")]
    pub results_by_transaction: Vec<AddPartitionsToTxnResult>,
    #[kafka(versions = "0-3")]
    pub results_by_topic_v3_and_below: Vec<AddPartitionsToTxnTopicResult>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct AddPartitionsToTxnResult {
    pub transactional_id: String,
    pub topic_results: Vec<AddPartitionsToTxnTopicResult>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct AddPartitionsToTxnTopicResult {
    pub name: String,
    pub results_by_partition: Vec<AddPartitionsToTxnPartitionResult>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct AddPartitionsToTxnPartitionResult {
    pub partition_index: i32,
    pub partition_error_code: ErrorCode,
}
