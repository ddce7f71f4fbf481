//! Records of `__consumer_offsets`, for the classic protocol.
//!
//! Each is stored after its version as 16 bits: [`Message::to_versioned_bytes`]. The versions of the keys tell them
//! apart: 0 and 1 are offsets, 2 is a group.

use bytes::Bytes;

use crate::{Message, Uuid};

/// Names a committed offset.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "0-1")]
pub struct OffsetCommitKey {
    pub group: String,
    pub topic: String,
    pub partition: i32,
}

/// A committed offset.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "0-4", flexible = "4+")]
pub struct OffsetCommitValue {
    pub offset: i64,
    #[kafka(versions = "3+", default = -1)]
    pub leader_epoch: i32,
    pub metadata: String,
    pub commit_timestamp: i64,
    #[kafka(versions = "1", default = -1)]
    pub expire_timestamp: i64,
    #[kafka(tag = 0, tagged = "4+")]
    pub topic_id: Uuid,
}

/// Names a classic group.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "2")]
pub struct GroupMetadataKey {
    pub group: String,
}

/// A classic group's generation and members.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "0-4", flexible = "4+")]
pub struct GroupMetadataValue {
    pub protocol_type: String,
    pub generation: i32,
    #[kafka(nullable = "0+")]
    pub protocol: Option<String>,
    #[kafka(nullable = "0+")]
    pub leader: Option<String>,
    #[kafka(versions = "2+", default = -1)]
    pub current_state_timestamp: i64,
    pub members: Vec<MemberMetadata>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct MemberMetadata {
    pub member_id: String,
    #[kafka(versions = "3+", nullable = "0+")]
    pub group_instance_id: Option<String>,
    pub client_id: String,
    pub client_host: String,
    #[kafka(versions = "1+", default = -1)]
    pub rebalance_timeout: i32,
    pub session_timeout: i32,
    pub subscription: Bytes,
    pub assignment: Bytes,
}
