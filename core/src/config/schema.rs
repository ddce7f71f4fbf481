//! The settings of one kind of resource, to be looked up by name.

use super::{definition::Definition, suggest, tables};
use std::fmt;

/// The settings of topics.
pub const TOPIC: Schema = Schema { kind: "topic", tables: tables::TOPIC };

/// The settings of groups.
pub const GROUP: Schema = Schema { kind: "group", tables: tables::GROUP };

/// The settings of subscriptions of clients' metrics.
pub const CLIENT_METRICS: Schema = Schema { kind: "client metrics", tables: tables::CLIENT_METRICS };

/// The settings of brokers.
pub const BROKER: Schema = Schema { kind: "broker", tables: tables::BROKER };

/// The settings of one kind of resource.
#[derive(Clone, Copy, Debug)]
pub struct Schema {
    kind: &'static str,
    tables: &'static [&'static [Definition]],
}

/// A name that is no setting of its kind of resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownName {
    /// The kind of resource, in lower case.
    pub kind: &'static str,
    /// The unknown name.
    pub name: String,
    /// The known name that was probably meant.
    pub suggestion: Option<&'static str>,
}

impl fmt::Display for UnknownName {
    /// Kafka's words, and the suggestion behind them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Unknown {} config name: {}", self.kind, self.name)?;
        match self.suggestion {
            Some(suggestion) => write!(f, " (did you mean {suggestion}?)"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for UnknownName {}

impl Schema {
    /// Every definition, each area in alphabetical order.
    pub fn definitions(&self) -> impl Iterator<Item = &'static Definition> + use<> {
        self.tables.iter().flat_map(|table| table.iter())
    }

    /// The setting of this name. A broker's setting may be given for one listener:
    /// `listener.name.external.ssl.keystore.location` is the setting `ssl.keystore.location` (KIP-103).
    pub fn definition(&self, name: &str) -> Option<&'static Definition> {
        self.tables
            .iter()
            .find_map(|table| table.binary_search_by(|d| d.name.cmp(name)).ok().map(|at| &table[at]))
            .or_else(|| self.definition(listener_setting(name)?.1))
    }

    /// The setting of this name, or an error with the name that was probably meant.
    pub fn lookup(&self, name: &str) -> Result<&'static Definition, UnknownName> {
        self.definition(name).ok_or_else(|| UnknownName {
            kind: self.kind,
            name: name.to_owned(),
            suggestion: suggest::nearest(name, self.definitions().map(|d| d.name)),
        })
    }
}

/// The listener and the setting in `listener.name.LISTENER.SETTING`.
pub(super) fn listener_setting(name: &str) -> Option<(&str, &str)> {
    let (listener, setting) = name.strip_prefix("listener.name.")?.split_once('.')?;
    (!listener.is_empty() && !setting.starts_with("listener.name.")).then_some((listener, setting))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_sorted_and_names_are_unique() {
        for schema in [TOPIC, GROUP, CLIENT_METRICS, BROKER] {
            for table in schema.tables {
                assert!(table.is_sorted_by(|a, b| a.name < b.name), "{}", schema.kind);
            }
            let mut names: Vec<_> = schema.definitions().map(|d| d.name).collect();
            let count = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), count);
        }
        // Apache Kafka 4.3's 33, 17, 3 and 360, and ours.
        assert_eq!(TOPIC.definitions().count(), 33 + 1);
        assert_eq!(GROUP.definitions().count(), 17);
        assert_eq!(CLIENT_METRICS.definitions().count(), 3);
        assert_eq!(BROKER.definitions().count(), 360 + 4 + 6);
    }

    #[test]
    fn every_setting_is_documented() {
        for schema in [TOPIC, GROUP, CLIENT_METRICS, BROKER] {
            for definition in schema.definitions() {
                assert!(definition.doc.ends_with('.'), "{}", definition.name);
            }
        }
    }

    #[test]
    fn a_setting_may_be_for_one_listener() {
        let name = BROKER.definition("listener.name.external.ssl.keystore.location").map(|d| d.name);
        assert_eq!(name, Some("ssl.keystore.location"));
        assert!(BROKER.definition("listener.name.listener.name.a.ssl.protocol").is_none());
        assert!(BROKER.definition("listener.name.external").is_none());
    }

    #[test]
    fn unknown_names_come_back_with_what_was_meant() {
        let error = TOPIC.lookup("retention.mss").expect_err("it is misspelt");
        assert_eq!(
            error.to_string(),
            "Unknown topic config name: retention.mss (did you mean retention.ms?)"
        );
        let error = TOPIC.lookup("no.such.setting").expect_err("there is none");
        assert_eq!(error.to_string(), "Unknown topic config name: no.such.setting");
    }
}
