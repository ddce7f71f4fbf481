//! Which broker setting stands in for which, and in which unit it is.

/// A broker setting that stands in for another setting where that one is not set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SynonymOf {
    /// The name of the broker setting.
    pub name: &'static str,
    /// How its value becomes one of the setting it stands in for.
    pub convert: Convert,
}

/// How a synonym's value becomes the setting's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Convert {
    /// As it is.
    Same,
    /// Hours to milliseconds.
    Hours,
    /// Minutes to milliseconds.
    Minutes,
}

impl Convert {
    /// Applies the conversion. What is not a number stays as it is, to be refused where it is validated.
    pub fn apply(self, text: &str) -> std::borrow::Cow<'_, str> {
        let factor = match self {
            Self::Same => return text.into(),
            Self::Minutes => 60_000,
            Self::Hours => 3_600_000,
        };
        match super::parse_long(text) {
            // −1 hours is "no limit", as −1 ms is.
            Some(n) if n < 0 => "-1".into(),
            Some(n) => n.saturating_mul(factor).to_string().into(),
            None => text.into(),
        }
    }
}

const fn same(name: &'static str) -> SynonymOf {
    SynonymOf { name, convert: Convert::Same }
}

const fn hours(name: &'static str) -> SynonymOf {
    SynonymOf { name, convert: Convert::Hours }
}

const fn minutes(name: &'static str) -> SynonymOf {
    SynonymOf { name, convert: Convert::Minutes }
}

const TOPIC: &[(&str, &[SynonymOf])] = &[
    ("cleanup.policy", &[same("log.cleanup.policy")]),
    ("compression.gzip.level", &[same("compression.gzip.level")]),
    ("compression.lz4.level", &[same("compression.lz4.level")]),
    ("compression.type", &[same("compression.type")]),
    ("compression.zstd.level", &[same("compression.zstd.level")]),
    ("delete.retention.ms", &[same("log.cleaner.delete.retention.ms")]),
    ("file.delete.delay.ms", &[same("log.segment.delete.delay.ms")]),
    ("flush.messages", &[same("log.flush.interval.messages")]),
    ("flush.ms", &[same("log.flush.interval.ms"), same("log.flush.scheduler.interval.ms")]),
    ("highwater.acks.durable", &[same("highwater.acks.durable")]),
    ("index.interval.bytes", &[same("log.index.interval.bytes")]),
    ("local.retention.bytes", &[same("log.local.retention.bytes")]),
    ("local.retention.ms", &[same("log.local.retention.ms")]),
    ("max.compaction.lag.ms", &[same("log.cleaner.max.compaction.lag.ms")]),
    ("max.message.bytes", &[same("message.max.bytes")]),
    ("message.timestamp.after.max.ms", &[same("log.message.timestamp.after.max.ms")]),
    ("message.timestamp.before.max.ms", &[same("log.message.timestamp.before.max.ms")]),
    ("message.timestamp.type", &[same("log.message.timestamp.type")]),
    ("min.cleanable.dirty.ratio", &[same("log.cleaner.min.cleanable.ratio")]),
    ("min.compaction.lag.ms", &[same("log.cleaner.min.compaction.lag.ms")]),
    ("min.insync.replicas", &[same("min.insync.replicas")]),
    ("preallocate", &[same("log.preallocate")]),
    ("retention.bytes", &[same("log.retention.bytes")]),
    (
        "retention.ms",
        &[same("log.retention.ms"), minutes("log.retention.minutes"), hours("log.retention.hours")],
    ),
    ("segment.bytes", &[same("log.segment.bytes")]),
    ("segment.index.bytes", &[same("log.index.size.max.bytes")]),
    ("segment.jitter.ms", &[same("log.roll.jitter.ms"), hours("log.roll.jitter.hours")]),
    ("segment.ms", &[same("log.roll.ms"), hours("log.roll.hours")]),
    ("unclean.leader.election.enable", &[same("unclean.leader.election.enable")]),
];

/// Families of broker settings that mean the same, strongest first.
const BROKER: &[&[SynonymOf]] = &[
    &[same("log.flush.interval.ms"), same("log.flush.scheduler.interval.ms")],
    &[same("log.retention.ms"), minutes("log.retention.minutes"), hours("log.retention.hours")],
    &[same("log.roll.ms"), hours("log.roll.hours")],
    &[same("log.roll.jitter.ms"), hours("log.roll.jitter.hours")],
];

/// The broker settings that hold for topics which do not set `name`, strongest first.
pub fn topic_synonyms(name: &str) -> &'static [SynonymOf] {
    TOPIC.binary_search_by(|(topic, _)| (*topic).cmp(name)).map_or(&[], |at| TOPIC[at].1)
}

/// The family of broker settings that `name` belongs to, itself included, strongest first; empty if it is alone.
pub fn broker_synonyms(name: &str) -> &'static [SynonymOf] {
    let family = BROKER.iter().find(|family| family.iter().any(|synonym| synonym.name == name));
    match family {
        // The scheduler interval stands in for the flush interval, and nothing for the scheduler's.
        Some(family) if name != "log.flush.scheduler.interval.ms" => family,
        _ => &[],
    }
}

/// The broker setting that holds for groups which do not set `name`.
pub fn group_synonym(name: &str) -> Option<&'static str> {
    let broker = match name {
        "consumer.assignment.interval.ms" => "group.consumer.assignment.interval.ms",
        "consumer.heartbeat.interval.ms" => "group.consumer.heartbeat.interval.ms",
        "consumer.session.timeout.ms" => "group.consumer.session.timeout.ms",
        "share.assignment.interval.ms" => "group.share.assignment.interval.ms",
        "share.delivery.count.limit" => "group.share.delivery.count.limit",
        "share.heartbeat.interval.ms" => "group.share.heartbeat.interval.ms",
        "share.partition.max.record.locks" => "group.share.partition.max.record.locks",
        "share.record.lock.duration.ms" => "group.share.record.lock.duration.ms",
        "share.session.timeout.ms" => "group.share.session.timeout.ms",
        "streams.assignment.interval.ms" => "group.streams.assignment.interval.ms",
        "streams.heartbeat.interval.ms" => "group.streams.heartbeat.interval.ms",
        "streams.initial.rebalance.delay.ms" => "group.streams.initial.rebalance.delay.ms",
        "streams.num.standby.replicas" => "group.streams.num.standby.replicas",
        "streams.session.timeout.ms" => "group.streams.session.timeout.ms",
        _ => return None,
    };
    Some(broker)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn synonyms_exist_and_their_defaults_agree() {
        assert!(TOPIC.is_sorted_by(|a, b| a.0 < b.0));
        for (topic, synonyms) in TOPIC {
            let own = config::TOPIC.definition(topic).expect("a topic setting").default;
            let default = synonyms.iter().find_map(|synonym| {
                let broker = config::BROKER.definition(synonym.name).expect("a broker setting");
                broker.default.map(|text| synonym.convert.apply(text).into_owned())
            });
            assert_eq!(default.as_deref(), own, "{topic}");
        }
        for definition in config::GROUP.definitions() {
            if let Some(broker) = group_synonym(definition.name) {
                let broker = config::BROKER.definition(broker).expect("a broker setting");
                assert_eq!(broker.default, definition.default, "{}", definition.name);
            }
        }
        for family in BROKER {
            for synonym in *family {
                assert!(config::BROKER.definition(synonym.name).is_some(), "{}", synonym.name);
            }
        }
    }

    #[test]
    fn units_are_converted() {
        assert_eq!(Convert::Hours.apply("168"), "604800000");
        assert_eq!(Convert::Minutes.apply("2"), "120000");
        assert_eq!(Convert::Hours.apply("-1"), "-1");
        assert_eq!(Convert::Hours.apply("9223372036854775807"), i64::MAX.to_string());
        assert_eq!(Convert::Same.apply("x"), "x");
    }
}
