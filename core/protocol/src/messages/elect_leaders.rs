//! ElectLeaders (43): leader elections (KIP-183, KIP-460).

use crate::{ErrorCode, Message};

/// Asks for elections.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(key = ElectLeaders, versions = "0-2", flexible = "2+", response = ElectLeadersResponse)]
pub struct ElectLeadersRequest {
    #[kafka(versions = "1+")]
    pub election_type: i8,
    #[kafka(nullable = "0+")]
    pub topic_partitions: Option<Vec<ElectLeadersRequestTopicPartitions>>,
    #[kafka(default = 60000)]
    pub timeout_ms: i32,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct ElectLeadersRequestTopicPartitions {
    pub topic: String,
    pub partitions: Vec<i32>,
}

/// What became of each.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "0-2", flexible = "2+")]
pub struct ElectLeadersResponse {
    pub throttle_time_ms: i32,
    #[kafka(versions = "1+")]
    pub error_code: ErrorCode,
    pub replica_election_results: Vec<ReplicaElectionResult>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct ReplicaElectionResult {
    pub topic: String,
    pub partition_result: Vec<PartitionResult>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct PartitionResult {
    pub partition_id: i32,
    pub error_code: ErrorCode,
    #[kafka(nullable = "0+")]
    pub error_message: Option<String>,
}
