//! The cluster's metadata: topics, brokers, settings, quotas and producer ids, decided in one place.
//!
//! A [`Controller`] plans: it takes a request and the latest image and gives back [`Record`]s and an answer. The
//! records go to the metadata log; when they are committed, everybody's [`MetadataImage`] is their replay and
//! nothing else. The `answer_` functions are pure: from a committed image to an answer.
//!
//! How records become committed is not decided here: with one voter by a flush of its log, with several by the
//! quorum. Neither plan nor replay would notice.

mod answer;
mod controller;
mod cow_map;
mod difference;
mod failures;
mod features;
mod image;
pub mod peer;
mod placement;
mod records;
mod topic_name;

pub use answer::{
    Asker, MetadataAnswer, TOPIC_OPERATIONS, answer_client_quotas, answer_cluster, answer_config_resources,
    answer_configs, answer_metadata, answer_topic_partitions,
};
pub use controller::{
    AlteredPartitions, Committed, Controller, Expired, Imbalance, Plan, PlanContext, ProducerIdBlock,
    Registration, SessionLimits, Sessions, answer_reassignments, leader_imbalance,
};
pub use cow_map::CowMap;
pub use features::{FORMAT_CLIENT_METRICS, FORMAT_FEATURE, FORMAT_NEWEST, FORMAT_REPLICA_HEALTH};
pub use image::{MetadataImage, Topic};
pub use records::{
    BrokerRegistration, BrokerState, ConfigResource, Endpoint, FeatureRange, PartitionState, QuotaEntity,
    Record, RecordError,
};
pub use topic_name::{
    InvalidTopicName, METADATA_TOPIC, TOPIC_NAME_BYTES_MAX, is_internal, validate as validate_topic_name,
};
