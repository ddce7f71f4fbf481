//! Which kinds of records a cluster's metadata log may hold (KIP-584).
//!
//! A node that meets a record of a kind that it does not know cannot go on. So a kind that came with a later release is
//! written only once the cluster has finalized a level of [`FORMAT_FEATURE`] that has it: a new cluster begins with the
//! newest level, one that was upgraded is given it by its operator (UpdateFeatures), once every node runs the new
//! release. From then on brokers of older releases cannot register, and there is no way back: the log has the records.
//!
//! It is not `metadata.version`, whose levels are Kafka's: tools print them as names of Kafka's releases, and releases of
//! ours before this feature set it to their own level whenever they are elected.

/// The feature whose levels are told here.
pub const FORMAT_FEATURE: &str = "highwater.metadata.version";

/// The level from which on it is told that a replica's log failed.
pub const FORMAT_REPLICA_HEALTH: i16 = 1;

/// The level from which on there are settings of [clients' metrics](super::ConfigResource::ClientMetrics).
pub const FORMAT_CLIENT_METRICS: i16 = 2;

/// The newest level that this release knows.
pub const FORMAT_NEWEST: i16 = FORMAT_CLIENT_METRICS;
