//! Which replicas of a topic a replication throttle is for (KIP-73).

use super::value::list;
use crate::ids::{BrokerId, PartitionIndex};

/// The value of `leader.replication.throttled.replicas` or `follower.replication.throttled.replicas`.
///
/// The broker of a pair is the one that throttles: on the leader's list the leader, on the follower's list the follower.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ThrottledReplicas {
    /// Nothing is throttled.
    #[default]
    None,
    /// `*`
    All,
    /// `partition:broker` pairs, sorted.
    Listed(Vec<(PartitionIndex, BrokerId)>),
}

impl ThrottledReplicas {
    /// Reads a valid value; words that are no pairs count for nothing.
    pub fn parse(text: &str) -> Self {
        if text.trim() == "*" {
            return Self::All;
        }
        let pair = |word: &str| {
            let (partition, broker) = word.split_once(':')?;
            Some((PartitionIndex(partition.trim().parse().ok()?), BrokerId(broker.trim().parse().ok()?)))
        };
        let mut pairs: Vec<_> = list(text).filter_map(pair).collect();
        pairs.sort_unstable();
        pairs.dedup();
        if pairs.is_empty() { Self::None } else { Self::Listed(pairs) }
    }

    /// Whether a broker throttles a partition.
    pub fn has(&self, partition: PartitionIndex, broker: BrokerId) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Listed(pairs) => pairs.binary_search(&(partition, broker)).is_ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_name_partitions_and_the_broker_that_throttles() {
        let has = |text: &str, partition: i32, broker: i32| {
            ThrottledReplicas::parse(text).has(PartitionIndex(partition), BrokerId(broker))
        };
        assert_eq!(ThrottledReplicas::parse(""), ThrottledReplicas::None);
        assert!(has("*", 7, 7) && has(" * ", 7, 7));
        let text = "10:1, 0:2,0:2";
        assert!(has(text, 10, 1) && has(text, 0, 2));
        assert!(!has(text, 0, 1) && !has(text, 1, 1) && !has(text, 10, 2) && !has("", 0, 0));
    }
}
