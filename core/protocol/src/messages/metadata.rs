//! Metadata (3): brokers, topics and their leaders.

use crate::{ErrorCode, Message, Uuid};

/// Asks for brokers and topics; `topics` that are null mean all.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(key = Metadata, versions = "0-13", flexible = "9+", response = MetadataResponse)]
pub struct MetadataRequest {
    #[kafka(nullable = "1+")]
    pub topics: Option<Vec<MetadataRequestTopic>>,
    #[kafka(versions = "4+", default = true)]
    pub allow_auto_topic_creation: bool,
    #[kafka(versions = "8-10")]
    pub include_cluster_authorized_operations: bool,
    #[kafka(versions = "8+")]
    pub include_topic_authorized_operations: bool,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct MetadataRequestTopic {
    #[kafka(versions = "10+")]
    pub topic_id: Uuid,
    #[kafka(nullable = "10+")]
    pub name: Option<String>,
}

/// Brokers, topics, partitions and who leads them.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "0-13", flexible = "9+")]
pub struct MetadataResponse {
    #[kafka(versions = "3+")]
    pub throttle_time_ms: i32,
    pub brokers: Vec<MetadataResponseBroker>,
    #[kafka(versions = "2+", nullable = "0+")]
    pub cluster_id: Option<String>,
    #[kafka(versions = "1+", default = -1)]
    pub controller_id: i32,
    pub topics: Vec<MetadataResponseTopic>,
    #[kafka(versions = "8-10", default = -2147483648)]
    pub cluster_authorized_operations: i32,
    #[kafka(versions = "13+")]
    pub error_code: ErrorCode,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct MetadataResponseBroker {
    pub node_id: i32,
    pub host: String,
    pub port: i32,
    #[kafka(versions = "1+", nullable = "0+")]
    pub rack: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct MetadataResponseTopic {
    pub error_code: ErrorCode,
    #[kafka(nullable = "12+")]
    pub name: Option<String>,
    #[kafka(versions = "10+")]
    pub topic_id: Uuid,
    #[kafka(versions = "1+")]
    pub is_internal: bool,
    pub partitions: Vec<MetadataResponsePartition>,
    #[kafka(versions = "8+", default = -2147483648)]
    pub topic_authorized_operations: i32,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct MetadataResponsePartition {
    pub error_code: ErrorCode,
    pub partition_index: i32,
    pub leader_id: i32,
    #[kafka(versions = "7+", default = -1)]
    pub leader_epoch: i32,
    pub replica_nodes: Vec<i32>,
    pub isr_nodes: Vec<i32>,
    #[kafka(versions = "5+")]
    pub offline_replicas: Vec<i32>,
}
