//! Who set a value: override of a topic, group or subscription, dynamic broker setting, configuration file, or nobody.

use super::definition::Definition;
use super::synonyms::{Convert, broker_synonyms, group_synonym, topic_synonyms};
use super::{BROKER, SynonymOf};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Settings by name, as text.
pub type ConfigMap = BTreeMap<String, String>;

/// Where a value comes from, with its number in DescribeConfigs answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i8)]
pub enum ConfigSource {
    /// Set for this topic.
    Topic = 1,
    /// Set for this broker while it ran.
    DynamicBroker = 2,
    /// Set for all brokers while they ran.
    DynamicDefaultBroker = 3,
    /// Set at start, by file, environment or command line.
    StaticBroker = 4,
    /// Not set.
    Default = 5,
    /// The level of a logger.
    BrokerLogger = 6,
    /// Set for this subscription of clients' metrics.
    ClientMetrics = 7,
    /// Set for this group.
    Group = 8,
}

/// A value and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value<'a> {
    /// The value; `None` is Kafka's `null`.
    pub text: Option<Cow<'a, str>>,
    /// Who set it.
    pub source: ConfigSource,
}

/// A setting that would be asked in turn for a value, the effective one first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synonym {
    /// Its name.
    pub name: &'static str,
    /// What it is set to, in its own unit.
    pub value: String,
    /// Who set it.
    pub source: ConfigSource,
}

/// The settings of one broker, by who made them.
#[derive(Clone, Copy, Debug)]
pub struct Layers<'a> {
    /// Set for this broker while it ran.
    pub dynamic: &'a ConfigMap,
    /// Set for all brokers while they ran.
    pub dynamic_default: &'a ConfigMap,
    /// Set at start, by file, environment or command line.
    pub fixed: &'a ConfigMap,
}

impl<'a> Layers<'a> {
    /// The value of a broker setting.
    pub fn broker(&self, definition: &Definition) -> Value<'a> {
        let family = broker_synonyms(definition.name);
        let found = if family.is_empty() {
            self.find(definition.name).map(|(text, source)| Value { text: Some(text.into()), source })
        } else {
            self.find_in(&from(family, definition.name))
        };
        found.unwrap_or_else(|| default(definition))
    }

    /// The value of a topic setting for a topic with these overrides.
    pub fn topic(&self, overrides: &'a ConfigMap, definition: &Definition) -> Value<'a> {
        own(overrides, definition, ConfigSource::Topic)
            .or_else(|| self.find_in(topic_synonyms(definition.name)))
            .unwrap_or_else(|| default(definition))
    }

    /// The value of a group setting for a group with these overrides.
    pub fn group(&self, overrides: &'a ConfigMap, definition: &Definition) -> Value<'a> {
        let of_broker = || self.find(group_synonym(definition.name)?);
        own(overrides, definition, ConfigSource::Group)
            .or_else(|| of_broker().map(|(text, source)| Value { text: Some(text.into()), source }))
            .unwrap_or_else(|| default(definition))
    }

    /// All that say something about a broker setting, strongest first.
    pub fn broker_synonyms(&self, definition: &'static Definition) -> Vec<Synonym> {
        let alone = [SynonymOf { name: definition.name, convert: Convert::Same }];
        let family = from(broker_synonyms(definition.name), definition.name);
        self.all(if family.is_empty() { &alone } else { &family })
    }

    /// All that say something about a topic setting, strongest first.
    pub fn topic_synonyms(&self, overrides: &ConfigMap, definition: &'static Definition) -> Vec<Synonym> {
        let own = own_synonym(overrides, definition, ConfigSource::Topic);
        own.into_iter().chain(self.all(topic_synonyms(definition.name))).collect()
    }

    /// All that say something about a group setting, strongest first.
    pub fn group_synonyms(&self, overrides: &ConfigMap, definition: &'static Definition) -> Vec<Synonym> {
        let own = own_synonym(overrides, definition, ConfigSource::Group);
        let broker = group_synonym(definition.name).map(|name| SynonymOf { name, convert: Convert::Same });
        // A setting that no broker setting stands behind has its own default.
        let alone = definition.default.filter(|_| broker.is_none()).map(|value| Synonym {
            name: definition.name,
            value: value.to_owned(),
            source: ConfigSource::Default,
        });
        own.into_iter().chain(self.all(broker.as_slice())).chain(alone).collect()
    }

    fn sources(&self) -> [(&'a ConfigMap, ConfigSource); 3] {
        [
            (self.dynamic, ConfigSource::DynamicBroker),
            (self.dynamic_default, ConfigSource::DynamicDefaultBroker),
            (self.fixed, ConfigSource::StaticBroker),
        ]
    }

    fn find(&self, name: &str) -> Option<(&'a str, ConfigSource)> {
        self.sources().into_iter().find_map(|(map, source)| map.get(name).map(|text| (text.as_str(), source)))
    }

    fn find_in(&self, synonyms: &[SynonymOf]) -> Option<Value<'a>> {
        self.sources().into_iter().find_map(|(map, source)| {
            synonyms.iter().find_map(|synonym| {
                let text = map.get(synonym.name)?;
                Some(Value { text: Some(synonym.convert.apply(text)), source })
            })
        })
    }

    fn all(&self, synonyms: &[SynonymOf]) -> Vec<Synonym> {
        let set = self.sources().into_iter().flat_map(|(map, source)| {
            synonyms.iter().filter_map(move |synonym| {
                map.get(synonym.name).map(|value| Synonym {
                    name: synonym.name,
                    value: value.clone(),
                    source,
                })
            })
        });
        let defaults = synonyms.iter().filter_map(|synonym| {
            let value = BROKER.definition(synonym.name)?.default?.to_owned();
            Some(Synonym { name: synonym.name, value, source: ConfigSource::Default })
        });
        set.chain(defaults).collect()
    }
}

/// The value of a setting of a subscription with these overrides. No broker setting stands behind one.
pub fn client_metrics<'a>(overrides: &'a ConfigMap, definition: &Definition) -> Value<'a> {
    own(overrides, definition, ConfigSource::ClientMetrics).unwrap_or_else(|| default(definition))
}

/// What was set for a subscription; of defaults Kafka says nothing here.
pub fn client_metrics_synonyms(overrides: &ConfigMap, definition: &'static Definition) -> Vec<Synonym> {
    own_synonym(overrides, definition, ConfigSource::ClientMetrics).into_iter().collect()
}

/// The family's members seen from `name`: each counts only if it is in `name`'s own unit. `log.retention.hours`
/// asks itself alone, `log.retention.ms` asks all three.
fn from(family: &'static [SynonymOf], name: &str) -> Vec<SynonymOf> {
    match family.first() {
        Some(first) if first.name == name => family.to_vec(),
        _ => family
            .iter()
            .filter(|synonym| synonym.name == name)
            .map(|synonym| SynonymOf { name: synonym.name, convert: Convert::Same })
            .collect(),
    }
}

fn own<'a>(overrides: &'a ConfigMap, definition: &Definition, source: ConfigSource) -> Option<Value<'a>> {
    overrides.get(definition.name).map(|text| Value { text: Some(text.into()), source })
}

fn own_synonym(
    overrides: &ConfigMap,
    definition: &'static Definition,
    source: ConfigSource,
) -> Option<Synonym> {
    let value = overrides.get(definition.name)?.clone();
    Some(Synonym { name: definition.name, value, source })
}

fn default(definition: &Definition) -> Value<'static> {
    Value { text: definition.default.map(Cow::Borrowed), source: ConfigSource::Default }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{GROUP, TOPIC};

    fn map(entries: &[(&str, &str)]) -> ConfigMap {
        entries.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn the_nearest_layer_wins() {
        let (dynamic, cluster) = (map(&[]), map(&[("log.retention.ms", "30")]));
        let fixed = map(&[("log.retention.hours", "1"), ("log.segment.bytes", "2000000")]);
        let layers = Layers { dynamic: &dynamic, dynamic_default: &cluster, fixed: &fixed };
        let nothing = map(&[]);
        let own = map(&[("retention.ms", "10")]);
        let value = |overrides, name| {
            let value = layers.topic(overrides, TOPIC.definition(name).expect("a topic setting"));
            (value.text.expect("it has a value").into_owned(), value.source)
        };
        assert_eq!(value(&own, "retention.ms"), ("10".to_owned(), ConfigSource::Topic));
        assert_eq!(value(&nothing, "retention.ms"), ("30".to_owned(), ConfigSource::DynamicDefaultBroker));
        assert_eq!(value(&nothing, "segment.bytes"), ("2000000".to_owned(), ConfigSource::StaticBroker));
        assert_eq!(value(&nothing, "segment.ms"), ("604800000".to_owned(), ConfigSource::Default));
    }

    #[test]
    fn synonyms_are_listed_strongest_first_in_their_own_units() {
        let (dynamic, cluster) = (map(&[]), map(&[("log.retention.ms", "30")]));
        let fixed = map(&[("log.retention.hours", "1")]);
        let layers = Layers { dynamic: &dynamic, dynamic_default: &cluster, fixed: &fixed };
        let own = map(&[("retention.ms", "10")]);
        let synonyms = layers.topic_synonyms(&own, TOPIC.definition("retention.ms").expect("a setting"));
        let shown: Vec<_> = synonyms.iter().map(|s| (s.name, s.value.as_str(), s.source)).collect();
        assert_eq!(
            shown,
            [
                ("retention.ms", "10", ConfigSource::Topic),
                ("log.retention.ms", "30", ConfigSource::DynamicDefaultBroker),
                ("log.retention.hours", "1", ConfigSource::StaticBroker),
                ("log.retention.hours", "168", ConfigSource::Default),
            ]
        );
    }

    #[test]
    fn broker_families_and_groups() {
        let empty = map(&[]);
        let fixed = map(&[("log.retention.minutes", "2"), ("group.consumer.session.timeout.ms", "10000")]);
        let layers = Layers { dynamic: &empty, dynamic_default: &empty, fixed: &fixed };
        let broker = |name| layers.broker(BROKER.definition(name).expect("a broker setting"));
        assert_eq!(broker("log.retention.ms").text.as_deref(), Some("120000"));
        assert_eq!(broker("log.retention.minutes").text.as_deref(), Some("2"));
        assert_eq!(broker("log.retention.hours").text.as_deref(), Some("168"));
        assert_eq!(broker("broker.rack").text, None);
        let timeout = GROUP.definition("consumer.session.timeout.ms").expect("a group setting");
        assert_eq!(layers.group(&empty, timeout).text.as_deref(), Some("10000"));
        assert_eq!(layers.group(&empty, timeout).source, ConfigSource::StaticBroker);
    }
}
