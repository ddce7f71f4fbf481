//! OffsetForLeaderEpoch (23): where a leader epoch ends, so that diverged logs are found out (KIP-101, KIP-320).

use crate::{ErrorCode, Message};

/// Asks where leader epochs end.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(key = OffsetForLeaderEpoch, versions = "2-4", flexible = "4+", response = OffsetForLeaderEpochResponse)]
pub struct OffsetForLeaderEpochRequest {
    #[kafka(versions = "3+", default = -2)]
    pub replica_id: i32,
    pub topics: Vec<OffsetForLeaderTopic>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct OffsetForLeaderTopic {
    pub topic: String,
    pub partitions: Vec<OffsetForLeaderPartition>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct OffsetForLeaderPartition {
    pub partition: i32,
    #[kafka(default = -1)]
    pub current_leader_epoch: i32,
    pub leader_epoch: i32,
}

/// The end of each epoch.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "2-4", flexible = "4+")]
pub struct OffsetForLeaderEpochResponse {
    pub throttle_time_ms: i32,
    pub topics: Vec<OffsetForLeaderTopicResult>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct OffsetForLeaderTopicResult {
    pub topic: String,
    pub partitions: Vec<EpochEndOffset>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct EpochEndOffset {
    pub error_code: ErrorCode,
    pub partition: i32,
    #[kafka(default = -1)]
    pub leader_epoch: i32,
    #[kafka(default = -1)]
    pub end_offset: i64,
}
