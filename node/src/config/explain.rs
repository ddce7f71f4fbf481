//! The data of `highwater config explain`: what every setting is, what it is set to, and by whom.

use super::{NodeConfig, value_of};
use highwater_core::config::{BROKER, Class, ConfigMap, TOPIC, topic_synonyms};
use serde::Serialize;

/// A broker setting as it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// Its name.
    pub name: &'static str,
    /// Its value; `None` if there is none, or if it is never shown.
    pub value: Option<String>,
    /// Where it was set: a file with its line, a variable, a flag, or `default`.
    pub source: String,
    /// `implemented`, `accepted` or `refused`.
    pub class: &'static str,
    /// Its type, in capitals as Kafka writes it.
    pub kind: String,
    /// What it means.
    pub doc: &'static str,
}

/// A topic setting, and what is done with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TopicSetting {
    /// Its name.
    pub name: &'static str,
    /// `honoured`, `accepted` (kept and shown, without effect yet) or `refused` (any value but the default).
    pub class: &'static str,
    /// The default if neither topic nor broker say anything.
    pub default: Option<&'static str>,
    /// The broker settings that hold where the topic sets none, strongest first.
    pub broker_settings: Vec<&'static str>,
    /// What it means.
    pub doc: &'static str,
}

/// Every broker setting in alphabetical order.
pub fn explain(config: &NodeConfig) -> Vec<Explanation> {
    let empty = ConfigMap::new();
    let explanation = |definition: &'static highwater_core::config::Definition| {
        let value = value_of(&config.fixed, &empty, definition);
        let origin = config.origins.get(definition.name);
        Explanation {
            name: definition.name,
            value: value.text.filter(|_| !definition.is_sensitive()).map(|text| text.into_owned()),
            source: origin.map_or_else(|| "default".to_owned(), ToString::to_string),
            class: definition.class.name(),
            kind: definition.kind.to_string(),
            doc: definition.doc,
        }
    };
    let mut explanations: Vec<_> = BROKER.definitions().map(explanation).collect();
    explanations.sort_by_key(|explanation| explanation.name);
    explanations
}

/// Every topic setting in alphabetical order.
pub fn topic_settings() -> Vec<TopicSetting> {
    let setting = |definition: &'static highwater_core::config::Definition| TopicSetting {
        name: definition.name,
        class: match definition.class {
            Class::Implemented => "honoured",
            other => other.name(),
        },
        default: definition.default,
        broker_settings: topic_synonyms(definition.name).iter().map(|synonym| synonym.name).collect(),
        doc: definition.doc,
    };
    TOPIC.definitions().map(setting).collect()
}
