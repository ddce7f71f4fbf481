//! AddRaftVoter (80): a new voter of the metadata quorum (KIP-853).

use super::describe_quorum::Listener;
use crate::{ErrorCode, Message, Uuid};

/// A voter to add.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(key = AddRaftVoter, versions = "0-1", flexible = "0+", response = AddRaftVoterResponse)]
pub struct AddRaftVoterRequest {
    #[kafka(nullable = "0+")]
    pub cluster_id: Option<String>,
    pub timeout_ms: i32,
    pub voter_id: i32,
    pub voter_directory_id: Uuid,
    pub listeners: Vec<Listener>,
    #[kafka(versions = "1+", default = true)]
    pub ack_when_committed: bool,
}

/// Whether it was added.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "0-1", flexible = "0+")]
pub struct AddRaftVoterResponse {
    pub throttle_time_ms: i32,
    pub error_code: ErrorCode,
    #[kafka(nullable = "0+")]
    pub error_message: Option<String>,
}
