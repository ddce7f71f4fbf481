//! ConsumerGroupDescribe (69): groups of the new protocol in full (KIP-848).

use crate::{ErrorCode, Message, Uuid};

/// Asks for the state of consumer groups.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(key = ConsumerGroupDescribe, versions = "0-1", flexible = "0+", response = ConsumerGroupDescribeResponse)]
pub struct ConsumerGroupDescribeRequest {
    pub group_ids: Vec<String>,
    pub include_authorized_operations: bool,
}

/// Groups with their members.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "0-1", flexible = "0+")]
pub struct ConsumerGroupDescribeResponse {
    pub throttle_time_ms: i32,
    pub groups: Vec<ConsumerGroupDescribeResponseDescribedGroup>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct ConsumerGroupDescribeResponseDescribedGroup {
    pub error_code: ErrorCode,
    #[kafka(nullable = "0+")]
    pub error_message: Option<String>,
    pub group_id: String,
    pub group_state: String,
    pub group_epoch: i32,
    pub assignment_epoch: i32,
    pub assignor_name: String,
    pub members: Vec<ConsumerGroupDescribeResponseMember>,
    #[kafka(default = -2147483648)]
    pub authorized_operations: i32,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct ConsumerGroupDescribeResponseMember {
    pub member_id: String,
    #[kafka(nullable = "0+")]
    pub instance_id: Option<String>,
    #[kafka(nullable = "0+")]
    pub rack_id: Option<String>,
    pub member_epoch: i32,
    pub client_id: String,
    pub client_host: String,
    pub subscribed_topic_names: Vec<String>,
    #[kafka(nullable = "0+")]
    pub subscribed_topic_regex: Option<String>,
    pub assignment: ConsumerGroupDescribeResponseAssignment,
    pub target_assignment: ConsumerGroupDescribeResponseAssignment,
    #[kafka(versions = "1+", default = -1)]
    pub member_type: i8,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct ConsumerGroupDescribeResponseAssignment {
    pub topic_partitions: Vec<ConsumerGroupDescribeResponseTopicPartitions>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct ConsumerGroupDescribeResponseTopicPartitions {
    pub topic_id: Uuid,
    pub topic_name: String,
    pub partitions: Vec<i32>,
}
