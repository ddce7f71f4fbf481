//! AlterConfigs and IncrementalAlterConfigs (KIP-339).

use super::changes::DRAINED;
use super::topics::unknown_topic;
use super::{Controller, Plan, PlanContext, Refusal, client_metrics, duplicates, group_settings};
use crate::config::{
    self, BROKER, BrokerConfig, CLIENT_METRICS, ConfigMap, Definition, GROUP, Kind, Layers, TOPIC, Update,
    list, validate_topic,
};
use crate::ids::BrokerId;
use crate::metadata::records::{ConfigResource, Record};
use highwater_protocol::ErrorCode;
use highwater_protocol::messages::{
    AlterConfigsRequest, AlterConfigsResource, AlterConfigsResourceResponse, AlterConfigsResponse,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsRequestAlterableConfig,
    IncrementalAlterConfigsRequestResource, IncrementalAlterConfigsResponse,
};
use std::collections::BTreeSet;

/// The longest value of a setting, as Kafka's.
const VALUE_BYTES_MAX: usize = 32767;

/// The settings of a topic that decide who may lead.
const ELECTORAL: [&str; 2] = ["min.insync.replicas", "unclean.leader.election.enable"];

/// Kafka's numbers of the resource types.
pub(in crate::metadata) mod resource_type {
    pub(in crate::metadata) const TOPIC: i8 = 2;
    pub(in crate::metadata) const BROKER: i8 = 4;
    pub(in crate::metadata) const BROKER_LOGGER: i8 = 8;
    pub(in crate::metadata) const CLIENT_METRICS: i8 = 16;
    pub(in crate::metadata) const GROUP: i8 = 32;
}

impl Controller {
    /// Plans the settings of resources anew: what the request does not name is unset.
    pub fn plan_alter_configs(
        &self,
        context: PlanContext<'_>,
        request: &AlterConfigsRequest,
    ) -> Plan<AlterConfigsResponse> {
        let names: Vec<_> =
            request.resources.iter().map(|r| (r.resource_type, r.resource_name.clone())).collect();
        let (records, responses) =
            self.plan_resources(context, &names, request.validate_only, |at, before| {
                replaced(&request.resources[at], before)
            });
        Plan { records, response: AlterConfigsResponse { throttle_time_ms: 0, responses } }
    }

    /// Plans changes of single settings.
    pub fn plan_incremental_alter_configs(
        &self,
        context: PlanContext<'_>,
        request: &IncrementalAlterConfigsRequest,
    ) -> Plan<IncrementalAlterConfigsResponse> {
        let names: Vec<_> =
            request.resources.iter().map(|r| (r.resource_type, r.resource_name.clone())).collect();
        let (records, responses) =
            self.plan_resources(context, &names, request.validate_only, |at, before| {
                incremented(&request.resources[at], before)
            });
        Plan { records, response: IncrementalAlterConfigsResponse { throttle_time_ms: 0, responses } }
    }

    fn plan_resources(
        &self,
        context: PlanContext<'_>,
        names: &[(i8, String)],
        validate_only: bool,
        change: impl Fn(usize, &Before<'_>) -> Result<ConfigMap, Refusal>,
    ) -> (Vec<Record>, Vec<AlterConfigsResourceResponse>) {
        let repeated = duplicates(names.iter());
        let mut records = Vec::new();
        let mut responses = Vec::new();
        for (at, name) in names.iter().enumerate() {
            let planned = if repeated.contains(name) {
                Err(Refusal::new(ErrorCode::InvalidRequest, "Each resource must appear at most once."))
            } else {
                self.plan_resource(context, name, |before| change(at, before))
            };
            let mut response = AlterConfigsResourceResponse {
                resource_type: name.0,
                resource_name: name.1.clone(),
                ..AlterConfigsResourceResponse::default()
            };
            match planned {
                Ok(planned) => records.extend(planned),
                Err(refusal) => {
                    response.error_code = refusal.code;
                    response.error_message = Some(refusal.message);
                }
            }
            responses.push(response);
        }
        if validate_only {
            records.clear();
        }
        records.extend(self.consequences(context, &records));
        (records, responses)
    }

    /// What new settings mean for leaders and eligible leaders, in the same batch as the settings.
    fn consequences(&self, context: PlanContext<'_>, settings: &[Record]) -> Vec<Record> {
        let mut topics = BTreeSet::new();
        let mut are_all_topics = false;
        let mut drained = Vec::new();
        for record in settings {
            let Record::Config { resource, name, value } = record else { continue };
            match resource {
                ConfigResource::Topic(id) if ELECTORAL.contains(&name.as_str()) => {
                    topics.insert(*id);
                }
                ConfigResource::Broker(_) | ConfigResource::BrokerDefault
                    if ELECTORAL.contains(&name.as_str()) =>
                {
                    are_all_topics = true;
                }
                ConfigResource::Broker(id) if name == DRAINED => {
                    let is_drained = value.as_deref().is_some_and(|v| v.trim().eq_ignore_ascii_case("true"));
                    drained.extend(is_drained.then_some(*id));
                }
                _ => {}
            }
        }
        let mut records: Vec<_> = drained.into_iter().flat_map(|id| self.drain(context, id)).collect();
        if topics.is_empty() && !are_all_topics {
            return records;
        }
        // The settings count as made, and so do the changes of the leaders above.
        let after = Self::new(self.latest.replayed(settings.iter().chain(&records)));
        let concerned = after.latest.topics().filter(|topic| are_all_topics || topics.contains(&topic.id));
        records.extend(concerned.flat_map(|topic| after.reconsider_topic(context, topic)));
        records
    }

    fn plan_resource(
        &self,
        context: PlanContext<'_>,
        (kind, name): &(i8, String),
        change: impl Fn(&Before<'_>) -> Result<ConfigMap, Refusal>,
    ) -> Result<Vec<Record>, Refusal> {
        let resource = self.config_resource(*kind, name)?;
        let set = self.latest.config(&resource);
        let layers = self.layers(context);
        let after = change(&Before { resource: &resource, set, layers: &layers })?;
        check_sizes(&after)?;
        match &resource {
            ConfigResource::Topic(_) => validate_topic(&layers, &after)
                .map_err(|error| Refusal::new(ErrorCode::InvalidConfig, error.to_string()))?,
            ConfigResource::Group(_) => group_settings::validate(&layers, &after)
                .map_err(|why| Refusal::new(ErrorCode::InvalidConfig, why))?,
            ConfigResource::ClientMetrics(_) => client_metrics::validate(&after)?,
            ConfigResource::Broker(_) | ConfigResource::BrokerDefault => {
                check_broker(&after, set, matches!(resource, ConfigResource::Broker(_)))?;
                let after = match resource {
                    ConfigResource::BrokerDefault => Layers { dynamic_default: &after, ..layers },
                    _ => Layers { dynamic: &after, ..layers },
                };
                BrokerConfig::validate(&after).map_err(|e| Refusal::new(ErrorCode::InvalidRequest, e.0))?;
            }
        }
        Ok(difference(&resource, set, &after))
    }

    fn config_resource(&self, kind: i8, name: &str) -> Result<ConfigResource, Refusal> {
        let invalid = |message: &str| Err(Refusal::new(ErrorCode::InvalidRequest, message));
        match kind {
            resource_type::TOPIC if name.is_empty() => invalid("Default topic resources are not allowed."),
            resource_type::TOPIC => match self.latest.topic(name) {
                Some(topic) => Ok(ConfigResource::Topic(topic.id)),
                None => {
                    Err(Refusal { message: format!("The topic '{name}' does not exist."), ..unknown_topic() })
                }
            },
            resource_type::BROKER if name.is_empty() => Ok(ConfigResource::BrokerDefault),
            resource_type::BROKER => match name.parse::<i32>() {
                Err(_) => invalid("Unable to parse broker name as a base 10 number."),
                Ok(id) if id < 0 => invalid("Invalid negative broker ID."),
                Ok(id) if self.latest.broker(BrokerId(id)).is_none() => Err(Refusal::new(
                    ErrorCode::BrokerIdNotRegistered,
                    "No broker with the specified id found.",
                )),
                Ok(id) => Ok(ConfigResource::Broker(BrokerId(id))),
            },
            resource_type::GROUP if name.is_empty() => invalid("Default group resources are not allowed."),
            resource_type::GROUP => Ok(ConfigResource::Group(name.to_owned())),
            resource_type::CLIENT_METRICS if name.is_empty() => invalid("Subscription name can't be empty"),
            resource_type::CLIENT_METRICS => {
                self.check_takes_client_metrics()?;
                Ok(ConfigResource::ClientMetrics(name.to_owned()))
            }
            resource_type::BROKER_LOGGER => invalid("Log levels are set by the broker's command line."),
            other => invalid(&format!("Unsupported config resource type {other}")),
        }
    }
}

/// A resource before a change.
struct Before<'a> {
    resource: &'a ConfigResource,
    set: &'a ConfigMap,
    layers: &'a Layers<'a>,
}

impl Before<'_> {
    fn definition(&self, name: &str) -> Option<&'static Definition> {
        match self.resource {
            ConfigResource::Topic(_) => TOPIC.definition(name),
            ConfigResource::Broker(_) | ConfigResource::BrokerDefault => BROKER.definition(name),
            ConfigResource::Group(_) => GROUP.definition(name),
            ConfigResource::ClientMetrics(_) => CLIENT_METRICS.definition(name),
        }
    }

    /// What holds while the resource itself says nothing, which a list is appended to.
    fn inherited(&self, definition: &Definition) -> String {
        const NOTHING: &ConfigMap = &ConfigMap::new();
        let value = match self.resource {
            ConfigResource::Topic(_) => self.layers.topic(NOTHING, definition),
            ConfigResource::Group(_) => self.layers.group(NOTHING, definition),
            ConfigResource::ClientMetrics(_) => config::client_metrics(NOTHING, definition),
            ConfigResource::Broker(_) | ConfigResource::BrokerDefault => self.layers.broker(definition),
        };
        value.text.unwrap_or_default().into_owned()
    }
}

fn replaced(wanted: &AlterConfigsResource, _: &Before<'_>) -> Result<ConfigMap, Refusal> {
    check_names(wanted.configs.iter().map(|config| &config.name))?;
    check_nulls(wanted.configs.iter().filter(|c| c.value.is_none()).map(|c| c.name.as_str()))?;
    Ok(wanted.configs.iter().map(|c| (c.name.clone(), c.value.clone().unwrap_or_default())).collect())
}

fn incremented(
    wanted: &IncrementalAlterConfigsRequestResource,
    before: &Before<'_>,
) -> Result<ConfigMap, Refusal> {
    const DELETE: i8 = 1;
    check_names(wanted.configs.iter().map(|config| &config.name))?;
    let null = wanted.configs.iter().filter(|c| c.value.is_none() && c.config_operation != DELETE);
    check_nulls(null.map(|c| c.name.as_str()))?;
    let mut after = before.set.clone();
    for config in &wanted.configs {
        let value = config.value.as_deref().unwrap_or_default();
        match config.config_operation {
            0 => {
                after.insert(config.name.clone(), value.to_owned());
            }
            DELETE => {
                after.remove(&config.name);
            }
            2 | 3 => {
                after.insert(config.name.clone(), edited_list(config, value, before)?);
            }
            other => {
                let message = format!("Unknown alter operation {other}");
                return Err(Refusal::new(ErrorCode::InvalidRequest, message));
            }
        }
    }
    Ok(after)
}

/// A list with words appended (operation 2) or subtracted (3).
fn edited_list(
    config: &IncrementalAlterConfigsRequestAlterableConfig,
    value: &str,
    before: &Before<'_>,
) -> Result<String, Refusal> {
    let (name, appends) = (&config.name, config.config_operation == 2);
    let Some(definition) = before.definition(name).filter(|definition| definition.kind == Kind::List) else {
        let operation = if appends { "APPEND" } else { "SUBTRACT" };
        let message = format!("Can't {operation} to key {name} because its type is not LIST.");
        return Err(Refusal::new(ErrorCode::InvalidConfig, message));
    };
    if list(value).next().is_none() {
        let message = format!("Configuration '{name}' values must not be empty.");
        return Err(Refusal::new(ErrorCode::InvalidConfig, message));
    }
    let inherited = before.inherited(definition);
    let mut words: Vec<&str> = list(before.set.get(name).unwrap_or(&inherited)).collect();
    for word in list(value) {
        if !appends {
            words.retain(|known| *known != word);
        } else if !words.contains(&word) {
            words.push(word);
        }
    }
    Ok(words.join(","))
}

fn check_names<'a>(names: impl Iterator<Item = &'a String>) -> Result<(), Refusal> {
    let repeated: Vec<_> = duplicates(names).into_iter().map(String::as_str).collect();
    if repeated.is_empty() {
        return Ok(());
    }
    let message = format!("Error due to duplicate config keys: {}", repeated.join(","));
    Err(Refusal::new(ErrorCode::InvalidRequest, message))
}

fn check_nulls<'a>(names: impl Iterator<Item = &'a str>) -> Result<(), Refusal> {
    let names: Vec<_> = names.collect();
    if names.is_empty() {
        return Ok(());
    }
    let message = format!("Null value not supported for : {}", names.join(","));
    Err(Refusal::new(ErrorCode::InvalidRequest, message))
}

pub(super) fn check_sizes(configs: &ConfigMap) -> Result<(), Refusal> {
    if configs.values().all(|value| value.len() <= VALUE_BYTES_MAX) {
        return Ok(());
    }
    let message = format!(
        "The configuration value cannot be added because it exceeds the maximum value size of {VALUE_BYTES_MAX} bytes."
    );
    Err(Refusal::new(ErrorCode::InvalidConfig, message))
}

/// Kafka answers INVALID_REQUEST where a broker's setting is refused, and INVALID_CONFIG would be expected
/// (KAFKA-13609); only an unknown name, which Kafka takes, is INVALID_CONFIG here.
fn check_broker(after: &ConfigMap, before: &ConfigMap, one_broker: bool) -> Result<(), Refusal> {
    let mut changed = Vec::new();
    for (name, value) in after {
        let definition =
            BROKER.lookup(name).map_err(|error| Refusal::new(ErrorCode::InvalidConfig, error.to_string()))?;
        if before.get(name) != Some(value) {
            changed.push((name.as_str(), definition));
        }
        definition.validate(value).map_err(|error| Refusal::new(ErrorCode::InvalidRequest, error.0))?;
    }
    let named = |update: Update| {
        let names =
            changed.iter().filter(|(_, definition)| definition.update == update).map(|(name, _)| *name);
        names.collect::<Vec<_>>().join(", ")
    };
    let read_only = named(Update::ReadOnly);
    if !read_only.is_empty() {
        let message = format!("Cannot update these configs dynamically: [{read_only}]");
        return Err(Refusal::new(ErrorCode::InvalidRequest, message));
    }
    let per_broker = named(Update::PerBroker);
    if !one_broker && !per_broker.is_empty() {
        let message = format!(
            "Cannot update these configs at default cluster level, per-broker configs must be specified: \
             [{per_broker}]"
        );
        return Err(Refusal::new(ErrorCode::InvalidRequest, message));
    }
    Ok(())
}

/// The records that make `after` of `before`.
fn difference(resource: &ConfigResource, before: &ConfigMap, after: &ConfigMap) -> Vec<Record> {
    let record = |name: &String, value: Option<&String>| Record::Config {
        resource: resource.clone(),
        name: name.clone(),
        value: value.cloned(),
    };
    let gone = before.keys().filter(|name| !after.contains_key(*name)).map(|name| record(name, None));
    let made = after.iter().filter(|(name, value)| before.get(*name) != Some(*value));
    gone.chain(made.map(|(name, value)| record(name, Some(value)))).collect()
}
