//! DescribeCluster (60): the cluster (KIP-700, KIP-919).

use crate::{ErrorCode, Message};

/// Asks for the cluster's brokers or controllers.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(key = DescribeCluster, versions = "0-2", flexible = "0+", response = DescribeClusterResponse)]
pub struct DescribeClusterRequest {
    pub include_cluster_authorized_operations: bool,
    #[kafka(versions = "1+", default = 1)]
    pub endpoint_type: i8,
    #[kafka(versions = "2+")]
    pub include_fenced_brokers: bool,
}

/// The cluster's id and nodes.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "0-2", flexible = "0+")]
pub struct DescribeClusterResponse {
    pub throttle_time_ms: i32,
    pub error_code: ErrorCode,
    #[kafka(nullable = "0+")]
    pub error_message: Option<String>,
    #[kafka(versions = "1+", default = 1)]
    pub endpoint_type: i8,
    pub cluster_id: String,
    #[kafka(default = -1)]
    pub controller_id: i32,
    pub brokers: Vec<DescribeClusterBroker>,
    #[kafka(default = -2147483648)]
    pub cluster_authorized_operations: i32,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct DescribeClusterBroker {
    pub broker_id: i32,
    pub host: String,
    pub port: i32,
    #[kafka(nullable = "0+")]
    pub rack: Option<String>,
    #[kafka(versions = "2+")]
    pub is_fenced: bool,
}
