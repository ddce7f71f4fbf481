//! Answers about the metadata, from a committed image and nothing else.

mod cluster;
mod configs;
mod quotas;
mod topics;

use super::image::MetadataImage;
use super::records::Endpoint;
use crate::config::ConfigMap;
use crate::ids::BrokerId;

pub use cluster::answer_cluster;
pub use configs::{answer_config_resources, answer_configs};
pub use quotas::answer_client_quotas;
pub use topics::{MetadataAnswer, answer_metadata, answer_topic_partitions};

/// Who answers, and through which listener the question came.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    /// The listener of the client's connection; it is told only how to reach brokers through the same.
    pub listener: &'a str,
    /// The broker that answers.
    pub node: BrokerId,
    /// What its file, environment and command line say.
    pub fixed: &'a ConfigMap,
    /// Which broker leads the metadata; clients send it what changes metadata.
    pub controller: Option<BrokerId>,
}

/// What everybody may do with a topic while there are no ACLs: READ, WRITE, CREATE, DELETE, ALTER, DESCRIBE,
/// DESCRIBE_CONFIGS and ALTER_CONFIGS, as bits (KIP-430).
pub const TOPIC_OPERATIONS: i32 = 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 10 | 1 << 11;

/// The same for the cluster: CREATE, ALTER, DESCRIBE, CLUSTER_ACTION, DESCRIBE_CONFIGS, ALTER_CONFIGS and
/// IDEMPOTENT_WRITE.
const CLUSTER_OPERATIONS: i32 = 1 << 5 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 12;

/// Where the asker reaches a broker; `None` if it cannot.
fn endpoint<'a>(image: &'a MetadataImage, asker: Asker<'_>, id: BrokerId) -> Option<&'a Endpoint> {
    image.broker(id).filter(|registration| registration.is_active())?.endpoint(asker.listener)
}
