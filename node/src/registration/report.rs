//! What an operator reads about elections, and the counters of them.

use crate::counters::Counters;
use highwater_core::metadata::{Committed, MetadataImage, PartitionState, Record};
use std::sync::atomic::Ordering::Relaxed;

/// More elections in one batch than this are told as a sum.
const LINES_MAX: usize = 20;

/// Tells what was elected in a batch that was committed; `before` is the image that it changed.
pub(super) fn elections(before: &MetadataImage, committed: &Committed, counters: &Counters) {
    let (mut elected, mut leaderless, mut told) = (0usize, 0usize, 0usize);
    for record in &committed.records {
        let Record::PartitionChange { partition, state: after } = record else { continue };
        let Some(was) = before.partition(*partition) else { continue };
        if was.leader == after.leader {
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
