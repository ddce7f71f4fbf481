//! A topic's settings over the wire.

use super::super::CliError;
use super::super::connect::Client;
use highwater_protocol::ErrorCode;
use highwater_protocol::messages::{
    DescribeConfigsRequest, DescribeConfigsResource, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsRequestAlterableConfig, IncrementalAlterConfigsRequestResource,
};
use serde::Serialize;

const RESOURCE_TOPIC: i8 = 2;
const OPERATION_SET: i8 = 0;
const OPERATION_DELETE: i8 = 1;
/// KIP-226's `DYNAMIC_TOPIC_CONFIG`: the topic says so itself.
const SOURCE_TOPIC: i8 = 1;

/// A setting as it holds for a topic.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Setting {
    pub(super) name: String,
    pub(super) value: Option<String>,
    /// Who says so: `topic`, `broker` or `default`.
    pub(super) source: &'static str,
}

impl Setting {
    pub(super) fn is_of_topic(&self) -> bool {
        self.source == "topic"
    }
}

/// All settings of a topic by name.
pub(super) async fn describe(cluster: &Client, topic: &str) -> Result<Vec<Setting>, CliError> {
    let resource = DescribeConfigsResource {
        resource_type: RESOURCE_TOPIC,
        resource_name: topic.into(),
        configuration_keys: None,
    };
    let request = DescribeConfigsRequest { resources: vec![resource], ..Default::default() };
    let what = format!("the settings of topic {topic} cannot be read");
    let answer = cluster.send(&request).await.map_err(|error| CliError::call(&what, &error))?;
    let Some(result) = answer.results.into_iter().next() else { return Ok(Vec::new()) };
    if result.error_code.is_error() {
        return Err(CliError::refused(what, result.error_code, result.error_message));
    }
    let setting = |config: highwater_protocol::messages::DescribeConfigsResourceResult| Setting {
        name: config.name,
        value: config.value,
        source: match config.config_source {
            SOURCE_TOPIC => "topic",
            5 => "default",
            _ => "broker",
        },
    };
    let mut settings: Vec<_> = result.configs.into_iter().map(setting).collect();
    settings.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(settings)
}

/// Sets and unsets settings of a topic.
pub(super) async fn alter(
    cluster: &Client,
    topic: &str,
    set: &[(String, String)],
    unset: &[String],
    validate_only: bool,
) -> Result<(), CliError> {
    let operation = |name: &String, config_operation, value| IncrementalAlterConfigsRequestAlterableConfig {
        name: name.clone(),
        config_operation,
        value,
    };
    let sets = set.iter().map(|(name, value)| operation(name, OPERATION_SET, Some(value.clone())));
    let deletes = unset.iter().map(|name| operation(name, OPERATION_DELETE, None));
    let resource = IncrementalAlterConfigsRequestResource {
        resource_type: RESOURCE_TOPIC,
        resource_name: topic.into(),
        configs: sets.chain(deletes).collect(),
    };
    let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only };
    let what = format!("topic {topic} was not altered");
    let answer = cluster.send_to_controller(&request).await.map_err(|error| CliError::call(&what, &error))?;
    match answer.responses.into_iter().next() {
        Some(result) if result.error_code.is_error() => {
            let error = CliError::refused(what, result.error_code, result.error_message);
            Err(CliError::new(format!("{error}{}", settings_advice(result.error_code))))
        }
        _ => Ok(()),
    }
}

/// Where to read what settings there are, if one of them was refused.
pub(super) fn settings_advice(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::InvalidConfig => "\n  `highwater config explain --topics` shows what there is",
        _ => "",
    }
}
