//! Every setting of topics, groups, client metrics and brokers: what it is, what it is set to and by whom.
//!
//! Three layers of this module, each usable alone: *definitions* (data), *layers* (which of topic override,
//! dynamic broker setting, configuration file and default wins, and where a value came from), and *typed views*
//! ([`TopicConfig`], [`BrokerConfig`]) that the machines read. Reading files and environment is the node's part.

mod broker;
mod client_match;
mod definition;
mod layers;
mod schema;
mod suggest;
mod synonyms;
mod tables;
mod throttled;
mod topic;
mod value;

pub use broker::{BrokerConfig, GroupLimits, LISTENER_LIMITS, ListenerLimits, OffsetsConfig, QuotaWindow};
pub use definition::{Class, Definition, Importance, Kind, Update, Valid};
pub use layers::{ConfigMap, ConfigSource, Layers, Synonym, Value, client_metrics, client_metrics_synonyms};
pub use schema::{BROKER, CLIENT_METRICS, GROUP, Schema, TOPIC, UnknownName};
pub use synonyms::{Convert, SynonymOf, broker_synonyms, group_synonym, topic_synonyms};
pub use throttled::ThrottledReplicas;
pub use topic::{CleanupPolicy, InvalidTopicConfig, TopicConfig, validate_topic};
pub use value::{InvalidValue, list, parse_boolean, parse_long};
