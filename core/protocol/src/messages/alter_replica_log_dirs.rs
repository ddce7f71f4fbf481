//! AlterReplicaLogDirs (34): replicas between directories (KIP-113).

use crate::{ErrorCode, Message};

/// Replicas to move to other directories.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(key = AlterReplicaLogDirs, versions = "1-2", flexible = "2+", response = AlterReplicaLogDirsResponse)]
pub struct AlterReplicaLogDirsRequest {
    pub dirs: Vec<AlterReplicaLogDir>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct AlterReplicaLogDir {
    pub path: String,
    pub topics: Vec<AlterReplicaLogDirTopic>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct AlterReplicaLogDirTopic {
    pub name: String,
    pub partitions: Vec<i32>,
}

/// What became of each.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "1-2", flexible = "2+")]
pub struct AlterReplicaLogDirsResponse {
    pub throttle_time_ms: i32,
    pub results: Vec<AlterReplicaLogDirTopicResult>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct AlterReplicaLogDirTopicResult {
    pub topic_name: String,
    pub partitions: Vec<AlterReplicaLogDirPartitionResult>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct AlterReplicaLogDirPartitionResult {
    pub partition_index: i32,
    pub error_code: ErrorCode,
}
