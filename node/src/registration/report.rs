//! What an operator reads about elections, and the counters of them.

use crate::counters::Counters;
use highwater_core::ids::TopicPartition;
use highwater_core::metadata::{Committed, MetadataImage, PartitionState, Record};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

/// More elections in one batch than this are told as a sum.
const LINES_MAX: usize = 20;

/// Tells what was elected in batches that were committed; `before` is the image that they changed. A node that has
/// fallen behind commits many at once, so each change is held against the one before it, not against the image.
pub(super) fn elections(before: &MetadataImage, committed: &Committed, counters: &Counters) {
    let (mut elected, mut leaderless, mut told) = (0usize, 0usize, 0usize);
    let mut newest: BTreeMap<TopicPartition, &PartitionState> = BTreeMap::new();
    for record in &committed.records {
        let Record::PartitionChange { partition, state: after } = record else { continue };
        let last = newest.insert(*partition, after);
        let Some(was) = last.or_else(|| before.partition(*partition)) else { continue };
        let is_next = after.partition_epoch.0 == was.partition_epoch.0 + 1;
        if was.leader == after.leader || !is_next {
            continue;
        }
        let topic = committed.image.topic_by_id(partition.topic_id).map(|topic| topic.name.clone());
        let topic = topic.as_deref().unwrap_or("a deleted topic");
        let index = partition.partition.0;
        if after.is_unclean_election(was) {
            counters.unclean_elections.fetch_add(1, Relaxed);
            tracing::error!(
                topic,
                partition = index,
                leader = ?after.leader.map(|leader| leader.0),
                "unclean election: no complete replica is there, so records that were acknowledged may be lost"
            );
            elected += 1;
            continue;
        }
        match after.leader {
            Some(_) => elected += 1,
            None => leaderless += 1,
        }
        told += 1;
        if told <= LINES_MAX {
            tell(topic, index, was, after);
        }
    }
    if told > LINES_MAX {
        tracing::info!(elected, leaderless, "leaders of {told} partitions have changed");
    }
}

/// Tells which replicas' logs failed, and where that leaves a partition offline.
pub(super) fn failures(committed: &Committed) {
    for record in &committed.records {
        let Record::ReplicaHealth { partition, broker, is_failed, .. } = record else { continue };
        let image = &committed.image;
        let (Some(topic), Some(state)) = (image.topic_by_id(partition.topic_id), image.partition(*partition))
        else {
            continue;
        };
        let (topic, broker, partition) = (&*topic.name, *broker, partition.partition.0);
        if !is_failed {
            tracing::info!(topic, partition, broker = broker.0, "a replica whose log failed was made anew");
        } else if state.elr.contains(&broker) {
            tracing::error!(
                topic,
                partition,
                broker = broker.0,
                "the log of the last complete replica has failed: the partition is offline. Start that broker again once \
                 its disk is in order, or elect another replica by an unclean election, which may lose acknowledged records"
            );
        } else {
            tracing::warn!(
                topic,
                partition,
                broker = broker.0,
                "the log of a replica has failed: it leads nothing and is in no ISR until it is fetched anew or its broker \
                 starts again"
            );
        }
    }
}

fn tell(topic: &str, partition: i32, was: &PartitionState, after: &PartitionState) {
    let ids = |brokers: &[highwater_core::ids::BrokerId]| {
        brokers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    };
    let before = was.leader.map(|leader| leader.0);
    let (isr, elr, epoch) = (ids(&after.isr), ids(&after.elr), after.leader_epoch.0);
    match after.leader {
        Some(leader) => tracing::info!(
            topic,
            partition,
            leader = leader.0,
            before,
            leader_epoch = epoch,
            isr,
            elr,
            "a leader is elected"
        ),
        None => tracing::warn!(
            topic,
            partition,
            before,
            leader_epoch = epoch,
            elr,
            "nobody can lead: the partition is offline until one of the eligible returns"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use highwater_core::ids::{BrokerId, PartitionEpoch, PartitionIndex, TopicId};
    use std::sync::Arc;

    const PARTITION: TopicPartition =
        TopicPartition { topic_id: TopicId([1; 16]), partition: PartitionIndex(0) };

    fn unclean_elections(states: &[PartitionState]) -> u64 {
        let first = PartitionState::new(vec![BrokerId(1), BrokerId(2)], vec![BrokerId(1)]);
        let made = [
            Record::Topic { id: PARTITION.topic_id, name: "t".to_owned() },
            Record::Partition { partition: PARTITION, state: first },
        ];
        let before = MetadataImage::default().replayed(&made);
        let records: Vec<_> = states
            .iter()
            .map(|state| Record::PartitionChange { partition: PARTITION, state: state.clone() })
            .collect();
        let image = Arc::new(before.replayed(&records));
        let counters = Counters::default();
        elections(&before, &Committed { image, records }, &counters);
        counters.unclean_elections.load(Relaxed)
    }

    #[test]
    fn each_change_is_held_against_the_one_before_it() {
        let both = PartitionState {
            isr: vec![BrokerId(1), BrokerId(2)],
            partition_epoch: PartitionEpoch(1),
            ..PartitionState::new(vec![BrokerId(1), BrokerId(2)], vec![BrokerId(1)])
        };
        let clean = PartitionState { isr: vec![BrokerId(2)], ..both.elect(BrokerId(2)) };
        assert_eq!(unclean_elections(&[both, clean.clone()]), 0, "2 was in sync by then");
        let unclean = PartitionState { partition_epoch: PartitionEpoch(1), ..clean };
        assert_eq!(unclean_elections(&[unclean]), 1);
    }
}
