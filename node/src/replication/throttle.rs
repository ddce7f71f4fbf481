//! Replication throttles in force (KIP-73): what replicas that catch up may copy, on the leader's side and the follower's.
//!
//! Without a limit, which is the rule, a fetch costs one relaxed load here. Held back are only replicas that the topic's
//! list names and that are not in the ISR: the members of the ISR are what the throttle is there to protect.

use crate::node::Node;
use highwater_core::config::{BrokerConfig, TopicConfig};
use highwater_core::ids::{BrokerId, TopicPartition};
use highwater_core::quota::ReplicationQuota;
use highwater_core::time::Instant;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::lock;

/// Both sides of a broker.
#[derive(Debug)]
pub(super) struct ReplicationThrottles {
    /// What leaders here give to followers.
    pub(super) leading: Throttle,
    /// What followers here copy.
    pub(super) following: Throttle,
}

/// One side.
#[derive(Debug)]
pub(super) struct Throttle {
    is_limited: AtomicBool,
    quota: Mutex<ReplicationQuota>,
    /// What an operator calls it.
    setting: &'static str,
    /// Bytes that counted against the limit.
    bytes: AtomicU64,
    /// How often replicas were held back for it.
    holds: AtomicU64,
}

impl ReplicationThrottles {
    pub(super) fn new() -> Self {
        let window = BrokerConfig::default().replication_quota_window;
        let throttle = |setting| Throttle {
            is_limited: AtomicBool::new(false),
            quota: Mutex::new(ReplicationQuota::new(window)),
            setting,
            bytes: AtomicU64::new(0),
            holds: AtomicU64::new(0),
        };
        Self {
            leading: throttle("leader.replication.throttled.rate"),
            following: throttle("follower.replication.throttled.rate"),
        }
    }

    /// Takes the limits of the broker's settings; whether they are others than before.
    pub(super) fn configure(&self, settings: &BrokerConfig) -> bool {
        let sides = [
            (&self.leading, settings.leader_throttled_rate),
            (&self.following, settings.follower_throttled_rate),
        ];
        let mut is_other = false;
        for (throttle, rate) in sides {
            is_other |= throttle.configure(settings, rate);
        }
        is_other
    }
}

impl Throttle {
    fn configure(&self, settings: &BrokerConfig, rate: Option<i64>) -> bool {
        let is_other = lock(&self.quota).configure(settings.replication_quota_window, rate);
        self.is_limited.store(rate.is_some(), Ordering::Relaxed);
        if is_other {
            match rate {
                Some(rate) => {
                    tracing::info!("{}: throttled replicas copy {rate} bytes a second at most", self.setting);
                }
                None => tracing::info!("{}: no replica is throttled any more", self.setting),
            }
        }
        is_other
    }

    /// Whether there is a limit.
    pub(super) fn is_limited(&self) -> bool {
        self.is_limited.load(Ordering::Relaxed)
    }

    /// Counts what a throttled replica copied.
    pub(super) fn record(&self, now: Instant, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        lock(&self.quota).record(now, bytes as u64);
    }

    /// Whether throttled replicas may copy now, `planned` bytes being under way; if not, from when on.
    pub(super) fn admit(&self, now: Instant, planned: usize) -> Result<(), Instant> {
        lock(&self.quota).admit(now, planned as u64).inspect_err(|_| {
            self.holds.fetch_add(1, Ordering::Relaxed);
        })
    }

    /// Running totals of the bytes that counted against the limit, and of how often replicas were held back for it.
    pub(super) fn totals(&self) -> (u64, u64) {
        (self.bytes.load(Ordering::Relaxed), self.holds.load(Ordering::Relaxed))
    }
}

/// Whether a leader here counts, and may hold back, what it gives of a partition.
pub(super) fn is_leader_listed(node: &Node, config: &TopicConfig, partition: TopicPartition) -> bool {
    config.leader_throttled.has(partition.partition, node.id())
}

/// Whether a follower here counts, and may hold back, what it copies of a partition.
pub(super) fn is_follower_listed(node: &Node, partition: TopicPartition) -> bool {
    let replica = node.registry().get(partition);
    replica.is_some_and(|replica| replica.config().follower_throttled.has(partition.partition, node.id()))
}

/// Whether a broker's replica is in sync, as far as is committed.
pub(super) fn is_in_sync(node: &Node, partition: TopicPartition, broker: BrokerId) -> bool {
    node.image().partition(partition).is_some_and(|state| state.isr.contains(&broker))
}
