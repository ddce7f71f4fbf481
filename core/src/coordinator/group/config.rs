//! The limits and intervals of the group coordinator, under Kafka's names.

use std::time::Duration;

/// What an operator can set about groups. Every field names its broker setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupConfig {
    /// `group.min.session.timeout.ms`
    pub session_timeout_ms_min: i32,
    /// `group.max.session.timeout.ms`
    pub session_timeout_ms_max: i32,
    /// `group.initial.rebalance.delay.ms`: how long an empty group waits for more members after the first.
    pub initial_rebalance_delay: Duration,
    /// `group.max.size`
    pub members_max: usize,
    /// How long a new member's parked join may last before the member must ask again. Not settable in Kafka.
    pub new_member_join_timeout: Duration,
    /// `offset.metadata.max.bytes`; like Kafka this counts UTF-16 units.
    pub offset_metadata_max: usize,
    /// `offsets.retention.minutes`
    pub offsets_retention: Duration,
    /// `offsets.retention.check.interval.ms`
    pub offsets_retention_check_interval: Duration,
    /// The most bytes of a batch that may have to be appended as one: `max.message.bytes` of the internal
    /// topic. What does not fit is refused.
    pub append_bytes_max: usize,
}

impl Default for GroupConfig {
    fn default() -> Self {
        Self {
            session_timeout_ms_min: 6_000,
            session_timeout_ms_max: 1_800_000,
            initial_rebalance_delay: Duration::from_millis(3_000),
            members_max: i32::MAX as usize,
            new_member_join_timeout: Duration::from_secs(5 * 60),
            offset_metadata_max: 4_096,
            offsets_retention: Duration::from_secs(7 * 24 * 3_600),
            offsets_retention_check_interval: Duration::from_millis(600_000),
            append_bytes_max: 1_048_588,
        }
    }
}
