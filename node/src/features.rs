//! The features of KIP-584 that this release knows, and their finalized levels.
//!
//! `metadata.version` names the level of Kafka whose clients' behaviour we follow; tools print it, clients of ours do
//! not depend on it. The others are told once they are implemented.

use crate::config::Roles;
use highwater_core::metadata::{
    FORMAT_FEATURE, FORMAT_NEWEST, FORMAT_REPLICA_HEALTH, FeatureRange, MetadataImage,
};
use highwater_protocol::Features;
use highwater_protocol::messages::{FinalizedFeatureKey, SupportedFeatureKey};

/// Kafka's 4.3-IV0.
const METADATA_VERSION: i16 = 30;

/// What a new cluster begins with. One that is there is given newer levels by its operator, once all its nodes know them.
pub const FINALIZED: &[(&str, i16)] =
    &[("metadata.version", METADATA_VERSION), (FORMAT_FEATURE, FORMAT_NEWEST)];

/// The range of each feature that this release can serve.
const SUPPORTED: &[(&str, i16, i16)] =
    &[("metadata.version", 7, METADATA_VERSION), (FORMAT_FEATURE, FORMAT_REPLICA_HEALTH, FORMAT_NEWEST)];

/// What a broker announces that does not play the role of a controller: it cannot be made a voter. No feature that
/// could be finalized.
pub const OBSERVES_ONLY: &str = "highwater.observes.only";

/// What this node can serve, as it announces itself to the controller.
pub fn supported(roles: Roles) -> Vec<FeatureRange> {
    let observes = (!roles.controller).then_some((OBSERVES_ONLY, 0, 0));
    let all = SUPPORTED.iter().copied().chain(observes);
    all.map(|(name, min, max)| FeatureRange { name: name.to_owned(), min, max }).collect()
}

/// What ApiVersions tells.
pub fn of(image: &MetadataImage) -> Features {
    let supported = SUPPORTED.iter().map(|(name, min, max)| SupportedFeatureKey {
        name: (*name).to_owned(),
        min_version: *min,
        max_version: *max,
    });
    let finalized = image.features().map(|(name, level)| FinalizedFeatureKey {
        name: name.to_owned(),
        max_version_level: level,
        min_version_level: level,
    });
    Features {
        supported: supported.collect(),
        finalized_epoch: image.offset().0,
        finalized: finalized.collect(),
    }
}
