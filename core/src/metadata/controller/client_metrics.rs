//! What a subscription of clients' metrics may be set to (KIP-714).

use super::{Controller, Refusal};
use crate::config::{CLIENT_METRICS, ConfigMap, Kind};
use crate::metadata::features::{FORMAT_CLIENT_METRICS, FORMAT_FEATURE};
use highwater_protocol::ErrorCode;

impl Controller {
    /// Refuses subscriptions while a node may not be able to read them.
    pub(super) fn check_takes_client_metrics(&self) -> Result<(), Refusal> {
        if self.latest.takes_client_metrics() {
            return Ok(());
        }
        let message = format!(
            "Client metrics resources need level {FORMAT_CLIENT_METRICS} of {FORMAT_FEATURE}, this cluster has level \
             {}: raise it by UpdateFeatures once all its nodes run this release.",
            self.latest.level(FORMAT_FEATURE)
        );
        Err(Refusal::new(ErrorCode::UnsupportedVersion, message))
    }
}

/// Checks all settings of a subscription. The errors are those of Kafka's `ClientMetricsConfigs`: INVALID_REQUEST for
/// unknown names and intervals out of bounds, else INVALID_CONFIG.
pub(super) fn validate(settings: &ConfigMap) -> Result<(), Refusal> {
    for (name, value) in settings {
        let definition = CLIENT_METRICS.definition(name).ok_or_else(|| {
            let message = format!("Unknown client metrics configuration: {name}");
            Refusal::new(ErrorCode::InvalidRequest, message)
        })?;
        definition.validate(value).map_err(|error| {
            let is_number = definition.kind == Kind::Int && value.trim().parse::<i32>().is_ok();
            let code = if is_number { ErrorCode::InvalidRequest } else { ErrorCode::InvalidConfig };
            Refusal::new(code, error.0)
        })?;
    }
    Ok(())
}
