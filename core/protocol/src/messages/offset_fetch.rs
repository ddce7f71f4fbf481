//! OffsetFetch (9): a group's progress, read.

use crate::{ErrorCode, Message, Uuid};

/// Asks for committed offsets, of several groups since version 8; null topics mean all.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(key = OffsetFetch, versions = "1-10", flexible = "6+", response = OffsetFetchResponse)]
pub struct OffsetFetchRequest {
    #[kafka(versions = "0-7")]
    pub group_id: String,
    #[kafka(versions = "0-7", nullable = "2-7", default = Some(Vec::new()))]
    pub topics: Option<Vec<OffsetFetchRequestTopic>>,
    #[kafka(versions = "8+")]
    pub groups: Vec<OffsetFetchRequestGroup>,
    #[kafka(versions = "7+")]
    pub require_stable: bool,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct OffsetFetchRequestTopic {
    pub name: String,
    pub partition_indexes: Vec<i32>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct OffsetFetchRequestGroup {
    pub group_id: String,
    #[kafka(versions = "9+", nullable = "0+")]
    pub member_id: Option<String>,
    #[kafka(versions = "9+", default = -1)]
    pub member_epoch: i32,
    #[kafka(nullable = "0+")]
    pub topics: Option<Vec<OffsetFetchRequestTopics>>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct OffsetFetchRequestTopics {
    #[kafka(versions = "8-9")]
    pub name: String,
    #[kafka(versions = "10+")]
    pub topic_id: Uuid,
    pub partition_indexes: Vec<i32>,
}

/// Committed offsets.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "1-10", flexible = "6+")]
pub struct OffsetFetchResponse {
    #[kafka(versions = "3+")]
    pub throttle_time_ms: i32,
    #[kafka(versions = "0-7")]
    pub topics: Vec<OffsetFetchResponseTopic>,
    #[kafka(versions = "2-7")]
    pub error_code: ErrorCode,
    #[kafka(versions = "8+")]
    pub groups: Vec<OffsetFetchResponseGroup>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct OffsetFetchResponseTopic {
    pub name: String,
    pub partitions: Vec<OffsetFetchResponsePartition>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct OffsetFetchResponsePartition {
    pub partition_index: i32,
    pub committed_offset: i64,
    #[kafka(versions = "5-7", default = -1)]
    pub committed_leader_epoch: i32,
    #[kafka(nullable = "0+")]
    pub metadata: Option<String>,
    pub error_code: ErrorCode,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct OffsetFetchResponseGroup {
    pub group_id: String,
    pub topics: Vec<OffsetFetchResponseTopics>,
    pub error_code: ErrorCode,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct OffsetFetchResponseTopics {
    #[kafka(versions = "8-9")]
    pub name: String,
    #[kafka(versions = "10+")]
    pub topic_id: Uuid,
    pub partitions: Vec<OffsetFetchResponsePartitions>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct OffsetFetchResponsePartitions {
    pub partition_index: i32,
    pub committed_offset: i64,
    #[kafka(default = -1)]
    pub committed_leader_epoch: i32,
    #[kafka(nullable = "0+")]
    pub metadata: Option<String>,
    pub error_code: ErrorCode,
}
