//! ShareGroupDescribe (77): share groups in full (KIP-932).

use crate::{ErrorCode, Message, Uuid};

/// Asks for the state of share groups.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(key = ShareGroupDescribe, versions = "1", flexible = "0+", response = ShareGroupDescribeResponse)]
pub struct ShareGroupDescribeRequest {
    pub group_ids: Vec<String>,
    pub include_authorized_operations: bool,
}

/// Groups with their members.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "1", flexible = "0+")]
pub struct ShareGroupDescribeResponse {
    pub throttle_time_ms: i32,
    pub groups: Vec<ShareGroupDescribeResponseDescribedGroup>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct ShareGroupDescribeResponseDescribedGroup {
    pub error_code: ErrorCode,
    #[kafka(nullable = "0+")]
    pub error_message: Option<String>,
    pub group_id: String,
    pub group_state: String,
    pub group_epoch: i32,
    pub assignment_epoch: i32,
    pub assignor_name: String,
    pub members: Vec<ShareGroupDescribeResponseMember>,
    #[kafka(default = -2147483648)]
    pub authorized_operations: i32,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct ShareGroupDescribeResponseMember {
    pub member_id: String,
    #[kafka(nullable = "0+")]
    pub rack_id: Option<String>,
    pub member_epoch: i32,
    pub client_id: String,
    pub client_host: String,
    pub subscribed_topic_names: Vec<String>,
    pub assignment: ShareGroupDescribeResponseAssignment,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct ShareGroupDescribeResponseAssignment {
    pub topic_partitions: Vec<ShareGroupDescribeResponseTopicPartitions>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct ShareGroupDescribeResponseTopicPartitions {
    pub topic_id: Uuid,
    pub topic_name: String,
    pub partitions: Vec<i32>,
}
