//! What a topic's configuration means to its replicas.

use crate::batch::TimestampType;
use std::time::Duration;

/// The settings that the replica itself obeys; those of validation are in [`crate::batch::Rules`], those of
/// retention in [`crate::retention`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `min.insync.replicas`.
    pub min_isr: usize,
    /// `highwater.acks.durable`: the high watermark counts flushed records only, so that acks=all and every
    /// reader see nothing that a power cut could take back.
    pub acks_durable: bool,
    /// `flush.messages`.
    pub flush_messages: i64,
    /// `flush.ms`; none if it is Kafka's "never".
    pub flush_interval: Option<Duration>,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `producer.id.expiration.ms`.
    pub producer_expiration_ms: i64,
    /// `replica.lag.time.max.ms`: a follower that lacked something for longer leaves the ISR.
    pub lag_max: Duration,
    /// Whether `cleanup.policy` has `delete`, so that records may be deleted by request.
    pub deletes: bool,
}

impl Default for Settings {
    /// Kafka's defaults.
    fn default() -> Self {
        Self {
            min_isr: 1,
            acks_durable: false,
            flush_messages: i64::MAX,
            flush_interval: None,
            timestamp_type: TimestampType::CreateTime,
            producer_expiration_ms: 86_400_000,
            lag_max: Duration::from_millis(30_000),
            deletes: true,
        }
    }
}
