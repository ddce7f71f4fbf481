//! DescribeConfigs (KIP-133, KIP-226, KIP-569) and ListConfigResources (KIP-1142).

use super::Asker;
use crate::config::{
    self, BROKER, CLIENT_METRICS, ConfigMap, ConfigSource, Definition, GROUP, Layers, Synonym, TOPIC, Update,
    Value,
};
use crate::metadata::controller::resource_type;
use crate::metadata::image::MetadataImage;
use crate::metadata::records::ConfigResource as Resource;
use crate::metadata::topic_name;
use highwater_protocol::ErrorCode;
use highwater_protocol::messages::{
    ConfigResource, DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult,
    DescribeConfigsResponse, DescribeConfigsResult, DescribeConfigsSynonym, ListConfigResourcesRequest,
    ListConfigResourcesResponse,
};

/// Answers a DescribeConfigs request. `loggers` are the levels of this broker's loggers by name.
pub fn answer_configs(
    image: &MetadataImage,
    asker: Asker<'_>,
    loggers: &ConfigMap,
    request: &DescribeConfigsRequest,
) -> DescribeConfigsResponse {
    let reply = Reply {
        image,
        asker,
        loggers,
        with_synonyms: request.include_synonyms,
        with_documentation: request.include_documentation,
    };
    DescribeConfigsResponse {
        throttle_time_ms: 0,
        results: request.resources.iter().map(|resource| reply.resource(resource)).collect(),
    }
}

type Described = Result<Vec<DescribeConfigsResourceResult>, (ErrorCode, String)>;

struct Reply<'a> {
    image: &'a MetadataImage,
    asker: Asker<'a>,
    loggers: &'a ConfigMap,
    with_synonyms: bool,
    with_documentation: bool,
}

impl Reply<'_> {
    fn resource(&self, wanted: &DescribeConfigsResource) -> DescribeConfigsResult {
        let name = wanted.resource_name.as_str();
        // No keys and null both mean all, as in Kafka.
        let keys = wanted.configuration_keys.as_deref().filter(|keys| !keys.is_empty());
        let is_wanted = |setting: &str| keys.is_none_or(|keys| keys.iter().any(|key| key == setting));
        let described = match wanted.resource_type {
            resource_type::TOPIC => self.topic(name, is_wanted),
            resource_type::BROKER => self.broker(name, is_wanted),
            resource_type::BROKER_LOGGER => self.broker_loggers(name, is_wanted),
            resource_type::CLIENT_METRICS => self.client_metrics(name, is_wanted),
            resource_type::GROUP => self.group(name, is_wanted),
            other => Err((ErrorCode::InvalidRequest, format!("Unsupported resource type: {other}"))),
        };
        let (error_code, error_message, configs) = match described {
            Ok(configs) => (ErrorCode::None, None, configs),
            Err((code, message)) => (code, Some(message), Vec::new()),
        };
        DescribeConfigsResult {
            error_code,
            error_message,
            resource_type: wanted.resource_type,
            resource_name: wanted.resource_name.clone(),
            configs,
        }
    }

    fn layers(&self) -> Layers<'_> {
        self.image.layers(self.asker.node, self.asker.fixed)
    }

    fn topic(&self, name: &str, is_wanted: impl Fn(&str) -> bool) -> Described {
        if let Err(error) = topic_name::validate(name) {
            return Err((ErrorCode::InvalidTopicException, error.to_string()));
        }
        let topic = self.image.topic(name).ok_or_else(|| {
            (ErrorCode::UnknownTopicOrPartition, "This server does not host this topic-partition.".to_owned())
        })?;
        let (layers, overrides) = (self.layers(), self.image.config(&Resource::Topic(topic.id)));
        let entry = |definition: &'static Definition| {
            let synonyms = || layers.topic_synonyms(overrides, definition);
            self.entry(definition, layers.topic(overrides, definition), false, synonyms)
        };
        Ok(TOPIC.definitions().filter(|d| is_wanted(d.name)).map(entry).collect())
    }

    fn group(&self, name: &str, is_wanted: impl Fn(&str) -> bool) -> Described {
        if name.is_empty() {
            return Err((ErrorCode::InvalidRequest, "Group name must not be empty".to_owned()));
        }
        let (layers, overrides) = (self.layers(), self.image.config(&Resource::Group(name.to_owned())));
        let entry = |definition: &'static Definition| {
            let synonyms = || layers.group_synonyms(overrides, definition);
            self.entry(definition, layers.group(overrides, definition), false, synonyms)
        };
        Ok(GROUP.definitions().filter(|d| is_wanted(d.name)).map(entry).collect())
    }

    fn client_metrics(&self, name: &str, is_wanted: impl Fn(&str) -> bool) -> Described {
        if name.is_empty() {
            let message = "Client metrics subscription name must not be empty".to_owned();
            return Err((ErrorCode::InvalidRequest, message));
        }
        let overrides = self.image.config(&Resource::ClientMetrics(name.to_owned()));
        let entry = |definition: &'static Definition| {
            let synonyms = || config::client_metrics_synonyms(overrides, definition);
            self.entry(definition, config::client_metrics(overrides, definition), false, synonyms)
        };
        Ok(CLIENT_METRICS.definitions().filter(|d| is_wanted(d.name)).map(entry).collect())
    }

    fn broker(&self, name: &str, is_wanted: impl Fn(&str) -> bool) -> Described {
        let layers = self.layers();
        let is_default = name.is_empty();
        if !is_default {
            self.check_this_broker(name)?;
        }
        // Without a broker, what is set for all of them is asked for, and nothing else.
        let named = |definition: &&'static Definition| {
            is_wanted(definition.name)
                && (!is_default || layers.dynamic_default.contains_key(definition.name))
        };
        let entry = |definition: &'static Definition| {
            let synonyms = || {
                let mut synonyms = layers.broker_synonyms(definition);
                // What one broker would make of it is not said when all of them are asked about.
                synonyms.retain(|s| !is_default || s.source == ConfigSource::DynamicDefaultBroker);
                synonyms
            };
            let value = match layers.dynamic_default.get(definition.name) {
                Some(text) if is_default => {
                    Value { text: Some(text.into()), source: ConfigSource::DynamicDefaultBroker }
                }
                _ => layers.broker(definition),
            };
            self.entry(definition, value, definition.update == Update::ReadOnly, synonyms)
        };
        Ok(BROKER.definitions().filter(named).map(entry).collect())
    }

    fn broker_loggers(&self, name: &str, is_wanted: impl Fn(&str) -> bool) -> Described {
        if name.is_empty() {
            return Err((ErrorCode::InvalidRequest, "Broker id must not be empty".to_owned()));
        }
        self.check_this_broker(name)?;
        let entry = |(name, level): (&String, &String)| DescribeConfigsResourceResult {
            name: name.clone(),
            value: Some(level.clone()),
            read_only: true,
            config_source: ConfigSource::BrokerLogger as i8,
            documentation: None,
            ..DescribeConfigsResourceResult::default()
        };
        Ok(self.loggers.iter().filter(|(name, _)| is_wanted(name)).map(entry).collect())
    }

    fn check_this_broker(&self, name: &str) -> Result<(), (ErrorCode, String)> {
        let node = self.asker.node;
        match name.parse::<i32>() {
            Err(_) => {
                Err((ErrorCode::InvalidRequest, format!("Broker id must be an integer, but it is: {name}")))
            }
            Ok(id) if id != node.0 => Err((
                ErrorCode::InvalidRequest,
                format!("Unexpected broker id, expected {node} or empty string, but received {name}"),
            )),
            Ok(_) => Ok(()),
        }
    }

    fn entry(
        &self,
        definition: &'static Definition,
        value: Value<'_>,
        read_only: bool,
        synonyms: impl Fn() -> Vec<Synonym>,
    ) -> DescribeConfigsResourceResult {
        let shown = |text: &str| (!definition.is_sensitive()).then(|| definition.canonical(text));
        let synonym = |synonym: Synonym| DescribeConfigsSynonym {
            name: synonym.name.to_owned(),
            value: shown(&synonym.value),
            source: synonym.source as i8,
        };
        DescribeConfigsResourceResult {
            name: definition.name.to_owned(),
            value: value.text.as_deref().and_then(shown),
            read_only,
            config_source: value.source as i8,
            is_sensitive: definition.is_sensitive(),
            synonyms: if self.with_synonyms {
                synonyms().into_iter().map(synonym).collect()
            } else {
                Vec::new()
            },
            config_type: definition.kind.wire(),
            documentation: self.with_documentation.then(|| definition.doc.to_owned()),
        }
    }
}

/// Answers a ListConfigResources request of this version.
pub fn answer_config_resources(
    image: &MetadataImage,
    request: &ListConfigResourcesRequest,
    version: i16,
) -> ListConfigResourcesResponse {
    const SUPPORTED: [i8; 5] = [
        resource_type::TOPIC,
        resource_type::BROKER,
        resource_type::BROKER_LOGGER,
        resource_type::CLIENT_METRICS,
        resource_type::GROUP,
    ];
    // Version 0 asks for client metrics alone; no types ask for all.
    let types = match version {
        0 => &[resource_type::CLIENT_METRICS][..],
        _ if request.resource_types.is_empty() => &SUPPORTED[..],
        _ => &request.resource_types,
    };
    if !types.iter().all(|wanted| SUPPORTED.contains(wanted)) {
        return ListConfigResourcesResponse {
            error_code: ErrorCode::UnsupportedVersion,
            ..Default::default()
        };
    }
    let is_wanted = |wanted: i8| types.contains(&wanted);
    let mut resources = Vec::new();
    let mut list = |resource_type: i8, name: String| {
        if is_wanted(resource_type) {
            resources.push(ConfigResource { resource_name: name, resource_type });
        }
    };
    for topic in image.topics() {
        list(resource_type::TOPIC, topic.name.to_string());
    }
    for (id, _) in image.brokers() {
        list(resource_type::BROKER, id.to_string());
        list(resource_type::BROKER_LOGGER, id.to_string());
    }
    for resource in image.config_resources() {
        match resource {
            Resource::Group(name) => list(resource_type::GROUP, name.clone()),
            Resource::ClientMetrics(name) => list(resource_type::CLIENT_METRICS, name.clone()),
            Resource::Topic(_) | Resource::Broker(_) | Resource::BrokerDefault => {}
        }
    }
    ListConfigResourcesResponse { config_resources: resources, ..Default::default() }
}
