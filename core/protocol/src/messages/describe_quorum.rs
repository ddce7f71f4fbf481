//! DescribeQuorum (55): the metadata quorum (KIP-595, KIP-836).

use crate::{ErrorCode, Message, Uuid};

/// Asks for the state of the metadata quorum.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(key = DescribeQuorum, versions = "0-2", flexible = "0+", response = DescribeQuorumResponse)]
pub struct DescribeQuorumRequest {
    pub topics: Vec<DescribeQuorumRequestTopicData>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct DescribeQuorumRequestTopicData {
    pub topic_name: String,
    pub partitions: Vec<DescribeQuorumRequestPartitionData>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct DescribeQuorumRequestPartitionData {
    pub partition_index: i32,
}

/// Voters and observers with their log ends.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "0-2", flexible = "0+")]
pub struct DescribeQuorumResponse {
    pub error_code: ErrorCode,
    #[kafka(versions = "2+", nullable = "0+", default = Some(String::new()))]
    pub error_message: Option<String>,
    pub topics: Vec<DescribeQuorumResponseTopicData>,
    #[kafka(versions = "2+")]
    pub nodes: Vec<Node>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct DescribeQuorumResponseTopicData {
    pub topic_name: String,
    pub partitions: Vec<DescribeQuorumResponsePartitionData>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct DescribeQuorumResponsePartitionData {
    pub partition_index: i32,
    pub error_code: ErrorCode,
    #[kafka(versions = "2+", nullable = "0+", default = Some(String::new()))]
    pub error_message: Option<String>,
    pub leader_id: i32,
    pub leader_epoch: i32,
    pub high_watermark: i64,
    pub current_voters: Vec<DescribeQuorumResponseReplicaState>,
    pub observers: Vec<DescribeQuorumResponseReplicaState>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct DescribeQuorumResponseReplicaState {
    pub replica_id: i32,
    #[kafka(versions = "2+")]
    pub replica_directory_id: Uuid,
    pub log_end_offset: i64,
    #[kafka(versions = "1+", default = -1)]
    pub last_fetch_timestamp: i64,
    #[kafka(versions = "1+", default = -1)]
    pub last_caught_up_timestamp: i64,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct Node {
    pub node_id: i32,
    pub listeners: Vec<Listener>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct Listener {
    pub name: String,
    pub host: String,
    pub port: u16,
}
