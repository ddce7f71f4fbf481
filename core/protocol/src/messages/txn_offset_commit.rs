//! TxnOffsetCommit (28): a group's progress within a transaction (KIP-98, KIP-447).

use crate::{ErrorCode, Message};

/// Offsets to commit with a transaction.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(key = TxnOffsetCommit, versions = "0-5", flexible = "3+", response = TxnOffsetCommitResponse)]
pub struct TxnOffsetCommitRequest {
    pub transactional_id: String,
    pub group_id: String,
    pub producer_id: i64,
    pub producer_epoch: i16,
    #[kafka(versions = "3+", default = -1)]
    pub generation_id: i32,
    #[kafka(versions = "3+")]
    pub member_id: String,
    #[kafka(versions = "3+", nullable = "0+")]
    pub group_instance_id: Option<String>,
    pub topics: Vec<TxnOffsetCommitRequestTopic>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct TxnOffsetCommitRequestTopic {
    pub name: String,
    pub partitions: Vec<TxnOffsetCommitRequestPartition>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct TxnOffsetCommitRequestPartition {
    pub partition_index: i32,
    pub committed_offset: i64,
    #[kafka(versions = "2+", default = -1)]
    pub committed_leader_epoch: i32,
    #[kafka(nullable = "0+")]
    pub committed_metadata: Option<String>,
}

/// What became of each.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "0-5", flexible = "3+")]
pub struct TxnOffsetCommitResponse {
    pub throttle_time_ms: i32,
    pub topics: Vec<TxnOffsetCommitResponseTopic>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct TxnOffsetCommitResponseTopic {
    pub name: String,
    pub partitions: Vec<TxnOffsetCommitResponsePartition>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct TxnOffsetCommitResponsePartition {
    pub partition_index: i32,
    pub error_code: ErrorCode,
}
