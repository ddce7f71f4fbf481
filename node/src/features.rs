//! The features of KIP-584 that this release knows, and their finalized levels.
//!
//! `metadata.version` names the level of Kafka whose clients' behaviour we follow; tools print it, clients of ours do
//! not depend on it. The others are told once they are implemented.

use highwater_core::metadata::{FeatureRange, MetadataImage};
use highwater_protocol::Features;
use highwater_protocol::messages::{FinalizedFeatureKey, SupportedFeatureKey};

/// Kafka's 4.3-IV0.
const METADATA_VERSION: i16 = 30;

/// Finalized at the first start.
pub const FINALIZED: &[(&str, i16)] = &[("metadata.version", METADATA_VERSION)];

/// The range of each feature that this release can serve.
const SUPPORTED: &[(&str, i16, i16)] = &[("metadata.version", 7, METADATA_VERSION)];

/// What this node can serve, as it announces itself to the controller.
pub fn supported() -> Vec<FeatureRange> {
    let range =
        |(name, min, max): &(&str, i16, i16)| FeatureRange { name: (*name).to_owned(), min: *min, max: *max };
    SUPPORTED.iter().map(range).collect()
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
