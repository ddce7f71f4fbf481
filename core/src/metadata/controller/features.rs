//! Feature levels that the cluster has agreed on (KIP-584, KIP-1022).

use super::{Controller, Plan, Refusal};
use crate::metadata::features::FORMAT_FEATURE;
use crate::metadata::records::Record;
use highwater_protocol::ErrorCode;
use highwater_protocol::messages::{
    FeatureUpdateKey, UpdatableFeatureResult, UpdateFeaturesRequest, UpdateFeaturesResponse,
};
use std::collections::BTreeMap;

/// Numbers of the upgrade types, as Kafka's.
mod upgrade_type {
    pub(super) const UPGRADE: i8 = 1;
    pub(super) const SAFE_DOWNGRADE: i8 = 2;
    pub(super) const UNSAFE_DOWNGRADE: i8 = 3;
}

impl Controller {
    /// Plans new levels of features: all of a request, or none.
    pub fn plan_update_features(&self, request: &UpdateFeaturesRequest) -> Plan<UpdateFeaturesResponse> {
        let mut levels = BTreeMap::new();
        for update in &request.feature_updates {
            let planned = self.check_update(update).and_then(|level| {
                match levels.insert(update.feature.as_str(), level) {
                    None => Ok(()),
                    Some(_) => {
                        let message = format!("The feature {} is named more than once.", update.feature);
                        Err(Refusal::new(ErrorCode::InvalidRequest, message))
                    }
                }
            });
            if let Err(refusal) = planned {
                return Plan { records: Vec::new(), response: refused(request, &refusal) };
            }
        }
        let results = request
            .feature_updates
            .iter()
            .map(|update| UpdatableFeatureResult { feature: update.feature.clone(), ..Default::default() });
        let response = UpdateFeaturesResponse { results: results.collect(), ..Default::default() };
        if request.validate_only {
            return Plan { records: Vec::new(), response };
        }
        let changed = levels.into_iter().filter(|(name, level)| self.latest.level(name) != *level);
        let records = changed.map(|(name, level)| Record::Feature { name: name.to_owned(), level });
        Plan { records: records.collect(), response }
    }

    fn check_update(&self, update: &FeatureUpdateKey) -> Result<i16, Refusal> {
        let (name, level) = (&update.feature, update.max_version_level);
        let invalid = |why: String| {
            let message = format!("Invalid update version {level} for feature {name}. {why}");
            Err(Refusal::new(ErrorCode::InvalidUpdateVersion, message))
        };
        if level < 0 {
            return invalid("A feature version cannot be less than 0.".to_owned());
        }
        let finalized = self.latest.level(name);
        let mut is_known = level == 0 && finalized != 0;
        for (id, registration) in self.latest.brokers() {
            let range = registration.features.iter().find(|range| range.name == *name);
            is_known |= range.is_some();
            match range {
                Some(range) if level == 0 && range.min > 0 => {
                    return invalid(format!("No cluster that has a level of {name} goes without."));
                }
                Some(range) if level != 0 && !(range.min..=range.max).contains(&level) => {
                    return invalid(format!(
                        "Broker {id} only supports versions {}-{}.",
                        range.min, range.max
                    ));
                }
                None if level != 0 => return invalid(format!("Broker {id} does not support this feature.")),
                _ => {}
            }
        }
        if !is_known {
            return invalid("No broker knows this feature.".to_owned());
        }
        let is_downgrade = level < finalized;
        let may_downgrade = update.allow_downgrade
            || matches!(update.upgrade_type, upgrade_type::SAFE_DOWNGRADE | upgrade_type::UNSAFE_DOWNGRADE);
        if !(upgrade_type::UPGRADE..=upgrade_type::UNSAFE_DOWNGRADE).contains(&update.upgrade_type) {
            let message = format!("The upgrade type {} is unknown.", update.upgrade_type);
            return Err(Refusal::new(ErrorCode::InvalidRequest, message));
        }
        if is_downgrade && name == FORMAT_FEATURE {
            return invalid(format!("The log may have records that only level {finalized} allows."));
        }
        if is_downgrade && !may_downgrade {
            return invalid(
                "Can't downgrade the version of this feature without setting the upgrade type to either safe \
                 or unsafe downgrade."
                    .to_owned(),
            );
        }
        Ok(level)
    }
}

/// Nothing is done of a request of which one update is wrong (KIP-1022); clients before that get a result for each.
fn refused(request: &UpdateFeaturesRequest, refusal: &Refusal) -> UpdateFeaturesResponse {
    let results = request.feature_updates.iter().map(|update| UpdatableFeatureResult {
        feature: update.feature.clone(),
        error_code: refusal.code,
        error_message: Some(refusal.message.clone()),
    });
    let message = format!(
        "The update failed for all features since the following feature had an error: {}",
        refusal.message
    );
    UpdateFeaturesResponse {
        error_code: refusal.code,
        error_message: Some(message),
        results: results.collect(),
        ..Default::default()
    }
}
