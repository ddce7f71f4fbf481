//! A broker's settings as the machines and the shell read them.
//!
//! Listeners, directories and identity are read by the node when it starts; here is what cores ask for while
//! they run, so everything here can be resolved again when a dynamic setting changes.

use super::layers::{ConfigMap, Layers};
use super::schema::listener_setting;
use super::value::{list, parse_boolean, parse_long};
use super::{BROKER, InvalidValue};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The effective settings of a broker. Times are in milliseconds, `None` is "no limit".
#[derive(Clone, Debug, PartialEq)]
pub struct BrokerConfig {
    /// `auto.create.topics.enable`
    pub auto_create_topics: bool,
    /// `delete.topic.enable`
    pub delete_topic: bool,
    /// `num.partitions`
    pub num_partitions: i32,
    /// `default.replication.factor`
    pub default_replication_factor: i16,
    /// `broker.rack`
    pub rack: Option<String>,

    /// `socket.request.max.bytes`: the largest request
    pub request_bytes_max: i32,
    /// `socket.send.buffer.bytes`; −1 leaves it to the operating system
    pub socket_send_buffer_bytes: i32,
    /// `socket.receive.buffer.bytes`; −1 leaves it to the operating system
    pub socket_receive_buffer_bytes: i32,
    /// `highwater.busy.poll.us`
    pub busy_poll_micros: u64,
    /// `max.connections`
    pub connections_max: i32,
    /// `max.connections.per.ip`
    pub connections_per_ip_max: i32,
    /// `max.connections.per.ip.overrides`
    pub connections_per_ip_overrides: BTreeMap<IpAddr, i32>,
    /// `max.connection.creation.rate`: new connections per second
    pub connection_creation_rate_max: i32,
    /// What single listeners may have, by their names in capitals
    pub listener_limits: BTreeMap<String, ListenerLimits>,
    /// `connections.max.idle.ms`; negative in Kafka is never
    pub connections_idle_ms_max: Option<i64>,
    /// `request.timeout.ms`
    pub request_timeout_ms: i32,
    /// `max.request.partition.size.limit`: partitions in a DescribeTopicPartitions answer
    pub request_partitions_max: i32,

    /// `fetch.max.bytes`: the largest answer to a fetch
    pub fetch_bytes_max: i32,
    /// `max.incremental.fetch.session.cache.slots`
    pub fetch_sessions_max: i32,

    /// `log.retention.check.interval.ms`
    pub log_retention_check_interval_ms: i64,
    /// `log.initial.task.delay.ms`: before the first background work on the logs
    pub log_initial_task_delay_ms: i64,
    /// `log.cleaner.enable`
    pub log_cleaner: bool,
    /// `log.cleaner.backoff.ms`
    pub log_cleaner_backoff_ms: i64,
    /// `log.flush.offset.checkpoint.interval.ms`
    pub log_flush_checkpoint_interval_ms: i32,
    /// `log.segment.delete.delay.ms`: how long the files of a deleted replica stay
    pub log_delete_delay_ms: i64,
    /// `replica.high.watermark.checkpoint.interval.ms`
    pub high_watermark_checkpoint_interval_ms: i64,
    /// `replica.lag.time.max.ms`
    pub replica_lag_ms_max: i64,
    /// `replica.fetch.wait.max.ms`
    pub replica_fetch_wait_ms_max: i32,
    /// `replica.fetch.backoff.ms`
    pub replica_fetch_backoff_ms: i32,
    /// `replica.fetch.max.bytes`
    pub replica_fetch_bytes_max: i32,
    /// `replica.fetch.response.max.bytes`
    pub replica_fetch_response_bytes_max: i32,
    /// `leader.replication.throttled.rate`: bytes per second that throttled replicas here give to followers (KIP-73)
    pub leader_throttled_rate: Option<i64>,
    /// `follower.replication.throttled.rate`: bytes per second that throttled replicas here copy
    pub follower_throttled_rate: Option<i64>,
    /// `replication.quota.window.num` and `replication.quota.window.size.seconds`
    pub replication_quota_window: QuotaWindow,
    /// `replica.selector.class` (KIP-392)
    pub is_selector_rack_aware: bool,
    /// `highwater.disk.free.bytes.min`
    pub disk_free_bytes_min: i64,
    /// `producer.id.expiration.ms`
    pub producer_id_expiration_ms: i32,

    /// The classic group coordinator's limits.
    pub group: GroupLimits,
    /// The offsets topic and what is kept in it.
    pub offsets: OffsetsConfig,

    /// `quota.window.num` and `quota.window.size.seconds`
    pub quota_window: QuotaWindow,
    /// `controller.quota.window.num` and `controller.quota.window.size.seconds`
    pub controller_quota_window: QuotaWindow,

    /// `transaction.max.timeout.ms`
    pub transaction_timeout_ms_max: i32,
    /// `auto.leader.rebalance.enable`
    pub auto_leader_rebalance: bool,
    /// `leader.imbalance.check.interval.seconds`
    pub leader_imbalance_check_interval_seconds: i64,
    /// `controlled.shutdown.enable`
    pub controlled_shutdown: bool,
    /// `broker.session.timeout.ms`
    pub broker_session_timeout_ms: i32,
    /// `broker.heartbeat.interval.ms`
    pub broker_heartbeat_interval_ms: i32,
}

/// What one listener may have beside the broker's own limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListenerLimits {
    /// `listener.name.NAME.max.connections`
    pub connections_max: Option<i32>,
    /// `listener.name.NAME.max.connection.creation.rate`: new connections per second
    pub connection_creation_rate_max: Option<i32>,
}

/// Limits of the classic group protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupLimits {
    /// `group.min.session.timeout.ms`
    pub session_timeout_ms_min: i32,
    /// `group.max.session.timeout.ms`
    pub session_timeout_ms_max: i32,
    /// `group.initial.rebalance.delay.ms`
    pub initial_rebalance_delay_ms: i32,
    /// `group.max.size`
    pub size_max: i32,
}

/// The offsets topic and what is kept in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetsConfig {
    /// `offsets.topic.num.partitions`
    pub topic_partitions: i32,
    /// `offsets.topic.replication.factor`, at most as many as there are brokers
    pub topic_replication_factor: i16,
    /// `offsets.topic.segment.bytes`
    pub topic_segment_bytes: i32,
    /// `offsets.retention.minutes`, in milliseconds
    pub retention_ms: i64,
    /// `offsets.retention.check.interval.ms`
    pub retention_check_interval_ms: i64,
    /// `offset.metadata.max.bytes`
    pub metadata_bytes_max: i32,
    /// `offsets.commit.timeout.ms`
    pub commit_timeout_ms: i32,
}

/// Over how many windows of which length a quota's rate is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaWindow {
    /// How many windows are kept, the current one included.
    pub count: i32,
    /// The length of one, in seconds.
    pub seconds: i32,
}

impl Default for BrokerConfig {
    /// A broker with no settings.
    fn default() -> Self {
        let empty = ConfigMap::new();
        Self::resolve(&Layers { dynamic: &empty, dynamic_default: &empty, fixed: &empty })
    }
}

impl BrokerConfig {
    /// The effective settings. Values are checked where they enter; one that is bad nevertheless counts as not set.
    pub fn resolve(layers: &Layers<'_>) -> Self {
        let read = Reader { layers };
        Self {
            auto_create_topics: read.boolean("auto.create.topics.enable"),
            delete_topic: read.boolean("delete.topic.enable"),
            num_partitions: read.int("num.partitions"),
            default_replication_factor: read.short("default.replication.factor"),
            rack: read.text("broker.rack").filter(|rack| !rack.is_empty()),
            request_bytes_max: read.int("socket.request.max.bytes"),
            socket_send_buffer_bytes: read.int("socket.send.buffer.bytes"),
            socket_receive_buffer_bytes: read.int("socket.receive.buffer.bytes"),
            busy_poll_micros: u64::try_from(read.long("highwater.busy.poll.us")).unwrap_or(0),
            connections_max: read.int("max.connections"),
            connections_per_ip_max: read.int("max.connections.per.ip"),
            connections_per_ip_overrides: read
                .text("max.connections.per.ip.overrides")
                .and_then(|text| per_ip_overrides(&text).ok())
                .unwrap_or_default(),
            connection_creation_rate_max: read.int("max.connection.creation.rate"),
            listener_limits: listener_limits(layers),
            connections_idle_ms_max: read.limit("connections.max.idle.ms"),
            request_timeout_ms: read.int("request.timeout.ms"),
            request_partitions_max: read.int("max.request.partition.size.limit"),
            fetch_bytes_max: read.int("fetch.max.bytes"),
            fetch_sessions_max: read.int("max.incremental.fetch.session.cache.slots"),
            log_retention_check_interval_ms: read.long("log.retention.check.interval.ms"),
            log_initial_task_delay_ms: read.long("log.initial.task.delay.ms"),
            log_cleaner: read.boolean("log.cleaner.enable"),
            log_cleaner_backoff_ms: read.long("log.cleaner.backoff.ms"),
            log_flush_checkpoint_interval_ms: read.int("log.flush.offset.checkpoint.interval.ms"),
            log_delete_delay_ms: read.long("log.segment.delete.delay.ms"),
            high_watermark_checkpoint_interval_ms: read.long("replica.high.watermark.checkpoint.interval.ms"),
            replica_lag_ms_max: read.long("replica.lag.time.max.ms"),
            replica_fetch_wait_ms_max: read.int("replica.fetch.wait.max.ms"),
            replica_fetch_backoff_ms: read.int("replica.fetch.backoff.ms"),
            replica_fetch_bytes_max: read.int("replica.fetch.max.bytes"),
            replica_fetch_response_bytes_max: read.int("replica.fetch.response.max.bytes"),
            leader_throttled_rate: read.limit("leader.replication.throttled.rate"),
            follower_throttled_rate: read.limit("follower.replication.throttled.rate"),
            replication_quota_window: read
                .window("replication.quota.window.num", "replication.quota.window.size.seconds"),
            is_selector_rack_aware: read
                .text("replica.selector.class")
                .is_some_and(|class| class.ends_with("RackAwareReplicaSelector")),
            disk_free_bytes_min: read.long("highwater.disk.free.bytes.min"),
            producer_id_expiration_ms: read.int("producer.id.expiration.ms"),
            group: GroupLimits::resolve(&read),
            offsets: OffsetsConfig::resolve(&read),
            quota_window: read.window("quota.window.num", "quota.window.size.seconds"),
            controller_quota_window: read
                .window("controller.quota.window.num", "controller.quota.window.size.seconds"),
            transaction_timeout_ms_max: read.int("transaction.max.timeout.ms"),
            auto_leader_rebalance: read.boolean("auto.leader.rebalance.enable"),
            leader_imbalance_check_interval_seconds: read.long("leader.imbalance.check.interval.seconds"),
            controlled_shutdown: read.boolean("controlled.shutdown.enable"),
            broker_session_timeout_ms: read.int("broker.session.timeout.ms"),
            broker_heartbeat_interval_ms: read.int("broker.heartbeat.interval.ms"),
        }
    }

    /// Checks what no single setting's range says: that settings fit together.
    pub fn validate(layers: &Layers<'_>) -> Result<(), InvalidValue> {
        let read = Reader { layers };
        for name in ["log.retention.ms", "log.retention.minutes", "log.retention.hours"] {
            if read.text(name).and_then(|text| parse_long(&text)).is_some_and(|n| n == 0 || n < -1) {
                let why = format!("{name} must be unlimited (-1) or, greater than or equal to 1");
                return Err(InvalidValue(why));
            }
        }
        if let Some(text) = read.text("max.connections.per.ip.overrides") {
            per_ip_overrides(&text)?;
        }
        let group = GroupLimits::resolve(&read);
        if group.session_timeout_ms_min > group.session_timeout_ms_max {
            return Err(InvalidValue(format!(
                "group.min.session.timeout.ms ({}) must not be above group.max.session.timeout.ms ({})",
                group.session_timeout_ms_min, group.session_timeout_ms_max
            )));
        }
        Ok(())
    }
}

impl GroupLimits {
    fn resolve(read: &Reader<'_>) -> Self {
        Self {
            session_timeout_ms_min: read.int("group.min.session.timeout.ms"),
            session_timeout_ms_max: read.int("group.max.session.timeout.ms"),
            initial_rebalance_delay_ms: read.int("group.initial.rebalance.delay.ms"),
            size_max: read.int("group.max.size"),
        }
    }
}

impl OffsetsConfig {
    fn resolve(read: &Reader<'_>) -> Self {
        Self {
            topic_partitions: read.int("offsets.topic.num.partitions"),
            topic_replication_factor: read.short("offsets.topic.replication.factor"),
            topic_segment_bytes: read.int("offsets.topic.segment.bytes"),
            retention_ms: read.long("offsets.retention.minutes") * 60_000,
            retention_check_interval_ms: read.long("offsets.retention.check.interval.ms"),
            metadata_bytes_max: read.int("offset.metadata.max.bytes"),
            commit_timeout_ms: read.int("offsets.commit.timeout.ms"),
        }
    }
}

struct Reader<'a> {
    layers: &'a Layers<'a>,
}

impl Reader<'_> {
    fn text(&self, name: &'static str) -> Option<String> {
        let definition =
            BROKER.definition(name).expect("typed views name settings of the table, a test reads all");
        let value = self.layers.broker(definition).text.filter(|text| definition.validate(text).is_ok());
        value.as_deref().or(definition.default).map(|text| text.trim().to_owned())
    }

    fn long(&self, name: &'static str) -> i64 {
        let text = self.text(name).expect("numbers that are read here have a default");
        parse_long(&text).expect("validated as a number, and so are defaults")
    }

    fn int(&self, name: &'static str) -> i32 {
        i32::try_from(self.long(name)).expect("validated as an INT")
    }

    /// Kafka keeps some 16-bit numbers as INT: those saturate.
    fn short(&self, name: &'static str) -> i16 {
        i16::try_from(self.long(name)).unwrap_or(i16::MAX)
    }

    fn boolean(&self, name: &'static str) -> bool {
        let text = self.text(name).expect("booleans have a default");
        parse_boolean(&text).expect("validated as a BOOLEAN")
    }

    fn limit(&self, name: &'static str) -> Option<i64> {
        Some(self.long(name)).filter(|n| (0..i64::MAX).contains(n))
    }

    fn window(&self, count: &'static str, seconds: &'static str) -> QuotaWindow {
        QuotaWindow { count: self.int(count), seconds: self.int(seconds) }
    }
}

/// The settings that have an effect for one listener.
pub const LISTENER_LIMITS: [&str; 2] = ["max.connections", "max.connection.creation.rate"];

/// The limits that are given for single listeners (KIP-402, KIP-612).
fn listener_limits(layers: &Layers<'_>) -> BTreeMap<String, ListenerLimits> {
    let mut limits: BTreeMap<String, ListenerLimits> = BTreeMap::new();
    // The strongest last.
    for map in [layers.fixed, layers.dynamic_default, layers.dynamic] {
        for (name, text) in map {
            let Some((listener, setting)) = listener_setting(name) else { continue };
            let value = || {
                let definition = BROKER.definition(setting)?;
                definition.validate(text).ok()?;
                i32::try_from(parse_long(text)?).ok()
            };
            if !LISTENER_LIMITS.contains(&setting) {
                continue;
            }
            let of = limits.entry(listener.to_ascii_uppercase()).or_default();
            match setting {
                "max.connections" => of.connections_max = value(),
                _ => of.connection_creation_rate_max = value(),
            }
        }
    }
    limits
}

/// `address:count` pairs; the last colon divides, so that IPv6 addresses need no brackets.
fn per_ip_overrides(text: &str) -> Result<BTreeMap<IpAddr, i32>, InvalidValue> {
    let pair = |word: &str| {
        let (address, count) = word.rsplit_once(':')?;
        let address = address.trim_start_matches('[').trim_end_matches(']').parse().ok()?;
        Some((address, count.trim().parse().ok().filter(|count| *count >= 0)?))
    };
    list(text)
        .map(|word| {
            pair(word).ok_or_else(|| {
                InvalidValue(format!(
                    "Invalid value {word} for configuration max.connections.per.ip.overrides: \
                     expected address:count"
                ))
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(entries: &[(&str, &str)]) -> ConfigMap {
        entries.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn with<T>(fixed: &[(&str, &str)], read: impl Fn(&Layers<'_>) -> T) -> T {
        let (empty, fixed) = (ConfigMap::new(), map(fixed));
        read(&Layers { dynamic: &empty, dynamic_default: &empty, fixed: &fixed })
    }

    #[test]
    fn defaults_are_kafkas() {
        let config = BrokerConfig::default();
        assert!(config.auto_create_topics && config.delete_topic && config.log_cleaner);
        assert_eq!((config.num_partitions, config.default_replication_factor), (1, 1));
        assert_eq!(config.request_bytes_max, 100 << 20);
        assert_eq!((config.connections_max, config.connections_idle_ms_max), (i32::MAX, Some(600_000)));
        assert_eq!(config.offsets.retention_ms, 7 * 24 * 3_600_000);
        assert_eq!(config.offsets.topic_partitions, 50);
        assert_eq!(config.group.initial_rebalance_delay_ms, 3000);
        assert_eq!(config.quota_window, QuotaWindow { count: 11, seconds: 1 });
        assert_eq!(config.rack, None);
    }

    #[test]
    fn limits_per_address_take_ipv6() {
        let text = "127.0.0.1:5, ::1:7,[fe80::1]:9";
        let config = with(&[("max.connections.per.ip.overrides", text)], BrokerConfig::resolve);
        let expect = [("127.0.0.1", 5), ("::1", 7), ("fe80::1", 9)];
        let expect = expect.map(|(ip, n)| (ip.parse().expect("an address"), n));
        assert_eq!(config.connections_per_ip_overrides, BTreeMap::from(expect));
        assert!(with(&[("max.connections.per.ip.overrides", "here:5")], BrokerConfig::validate).is_err());
    }

    #[test]
    fn listeners_have_limits_of_their_own() {
        let fixed = map(&[
            ("listener.name.outside.max.connections", "5"),
            ("listener.name.outside.max.connection.creation.rate", "7"),
            ("max.connections", "9"),
        ]);
        let (empty, dynamic) = (ConfigMap::new(), map(&[("listener.name.OUTSIDE.max.connections", "6")]));
        let config =
            BrokerConfig::resolve(&Layers { dynamic: &dynamic, dynamic_default: &empty, fixed: &fixed });
        let expect = ListenerLimits { connections_max: Some(6), connection_creation_rate_max: Some(7) };
        assert_eq!(config.listener_limits, BTreeMap::from([("OUTSIDE".to_owned(), expect)]));
        assert_eq!(config.connections_max, 9);
    }

    #[test]
    fn settings_must_fit_together() {
        assert_eq!(with(&[("log.retention.hours", "-1")], BrokerConfig::validate), Ok(()));
        assert!(with(&[("log.retention.ms", "0")], BrokerConfig::validate).is_err());
        assert!(with(&[("group.min.session.timeout.ms", "9999999")], BrokerConfig::validate).is_err());
    }
}
