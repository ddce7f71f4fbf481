//! What consumers of the classic protocol put into `metadata` and `assignment`, after its version as 16 bits.
//!
//! Brokers pass it through; they read only the topics of a subscription.

use bytes::Bytes;

use crate::Message;

/// What a member of the `consumer` protocol type wants to read, as its leader reads it.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "0-3")]
pub struct ConsumerProtocolSubscription {
    pub topics: Vec<String>,
    #[kafka(nullable = "0+")]
    pub user_data: Option<Bytes>,
    #[kafka(versions = "1+")]
    pub owned_partitions: Vec<ConsumerProtocolTopicPartition>,
    #[kafka(versions = "2+", default = -1)]
    pub generation_id: i32,
    #[kafka(versions = "3+", nullable = "0+")]
    pub rack_id: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Message)]
pub struct ConsumerProtocolTopicPartition {
    pub topic: String,
    pub partitions: Vec<i32>,
}

/// What a member of the `consumer` protocol type shall read.
#[derive(Clone, Debug, PartialEq, Message)]
#[kafka(versions = "0-3")]
pub struct ConsumerProtocolAssignment {
    pub assigned_partitions: Vec<ConsumerProtocolTopicPartition>,
    #[kafka(nullable = "0+")]
    pub user_data: Option<Bytes>,
}
