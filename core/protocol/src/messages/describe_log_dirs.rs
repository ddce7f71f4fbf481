//! DescribeLogDirs (35): log directories (KIP-113, KIP-827).

use crate::{ErrorCode, Message};

/// Asks what lies in the log directories.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(key = DescribeLogDirs, versions = "1-5", flexible = "2+", response = DescribeLogDirsResponse)]
pub struct DescribeLogDirsRequest {
    #[kafka(nullable = "0+")]
    pub topics: Option<Vec<DescribableLogDirTopic>>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct DescribableLogDirTopic {
    pub topic: String,
    pub partitions: Vec<i32>,
}

/// Sizes of replicas by directory.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "1-5", flexible = "2+")]
pub struct DescribeLogDirsResponse {
    pub throttle_time_ms: i32,
    #[kafka(versions = "3+")]
    pub error_code: ErrorCode,
    pub results: Vec<DescribeLogDirsResult>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct DescribeLogDirsResult {
    pub error_code: ErrorCode,
    pub log_dir: String,
    pub topics: Vec<DescribeLogDirsTopic>,
    #[kafka(versions = "4+", default = -1)]
    pub total_bytes: i64,
    #[kafka(versions = "4+", default = -1)]
    pub usable_bytes: i64,
    #[kafka(versions = "5+")]
    pub is_cordoned: bool,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct DescribeLogDirsTopic {
    pub name: String,
    pub partitions: Vec<DescribeLogDirsPartition>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct DescribeLogDirsPartition {
    pub partition_index: i32,
    pub partition_size: i64,
    pub offset_lag: i64,
    pub is_future_key: bool,
}
