//! RemoveRaftVoter (81): a voter to remove (KIP-853).

use crate::{ErrorCode, Message, Uuid};

/// A voter to remove.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(key = RemoveRaftVoter, versions = "0", flexible = "0+", response = RemoveRaftVoterResponse)]
pub struct RemoveRaftVoterRequest {
    #[kafka(nullable = "0+")]
    pub cluster_id: Option<String>,
    pub voter_id: i32,
    pub voter_directory_id: Uuid,
}

/// Whether it was removed.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "0", flexible = "0+")]
pub struct RemoveRaftVoterResponse {
    pub throttle_time_ms: i32,
    pub error_code: ErrorCode,
    #[kafka(nullable = "0+")]
    pub error_message: Option<String>,
}
