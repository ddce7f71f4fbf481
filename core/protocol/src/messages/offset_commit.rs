//! OffsetCommit (8): a group's progress, written.

use crate::{ErrorCode, Message, Uuid};

/// Offsets that a group has consumed up to.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(key = OffsetCommit, versions = "2-10", flexible = "8+", response = OffsetCommitResponse)]
pub struct OffsetCommitRequest {
    pub group_id: String,
    #[kafka(default = -1)]
    pub generation_id_or_member_epoch: i32,
    pub member_id: String,
    #[kafka(versions = "7+", nullable = "0+")]
    pub group_instance_id: Option<String>,
    #[kafka(versions = "2-4", default = -1)]
    pub retention_time_ms: i64,
    pub topics: Vec<OffsetCommitRequestTopic>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct OffsetCommitRequestTopic {
    #[kafka(versions = "0-9")]
    pub name: String,
    #[kafka(versions = "10+")]
    pub topic_id: Uuid,
    pub partitions: Vec<OffsetCommitRequestPartition>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct OffsetCommitRequestPartition {
    pub partition_index: i32,
    pub committed_offset: i64,
    #[kafka(versions = "6+", default = -1)]
    pub committed_leader_epoch: i32,
    #[kafka(nullable = "0+")]
    pub committed_metadata: Option<String>,
}

/// What became of each commit.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "2-10", flexible = "8+")]
pub struct OffsetCommitResponse {
    #[kafka(versions = "3+")]
    pub throttle_time_ms: i32,
    pub topics: Vec<OffsetCommitResponseTopic>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct OffsetCommitResponseTopic {
    #[kafka(versions = "0-9")]
    pub name: String,
    #[kafka(versions = "10+")]
    pub topic_id: Uuid,
    pub partitions: Vec<OffsetCommitResponsePartition>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct OffsetCommitResponsePartition {
    pub partition_index: i32,
    pub error_code: ErrorCode,
}
