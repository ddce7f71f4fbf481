//! Oracles over the replicas of one partition, seen side by side.

use super::log::LogDump;
use crate::history::PartitionKey;
use highwater::partition::Partition;
use highwater_core::ids::{BrokerId, PartitionEpoch};
use highwater_core::metadata::PartitionState;
use highwater_core::replica::{Replica, Role};
use std::collections::BTreeMap;

/// One replica as it is now, without its records.
#[derive(Clone, Debug)]
pub struct ReplicaView {
    /// The node that it is on.
    pub node: i32,
    /// The epoch in which it leads, if it does.
    pub leads_in: Option<i32>,
    /// What it knows to be committed.
    pub high_watermark: i64,
    /// The first offset that it keeps.
    pub start: i64,
    /// The end of its log.
    pub end: i64,
    /// What of it would survive a power cut.
    pub flushed: i64,
    /// Whether it serves at all.
    pub is_online: bool,
    /// Whose ends bound its high watermark, if it leads.
    pub maximal_isr: Vec<BrokerId>,
    /// The registration that these follow from.
    pub partition_epoch: PartitionEpoch,
}

impl ReplicaView {
    /// Looks at a node's replica; none if its cell is broken.
    pub fn of(node: i32, partition: &Partition) -> Option<Self> {
        let view = partition.inspect(|replica, log| Self {
            node,
            leads_in: replica.leader_epoch().map(|epoch| epoch.0),
            high_watermark: replica.high_watermark().0,
            start: log.log_start().0,
            // A log that begins inside of a batch which the disk still owes is behind its start: nothing between is left.
            end: log.settled_end().max(replica.log_start()).0,
            flushed: log.flushed_through().0,
            is_online: !matches!(replica.role(), Role::Offline(_)),
            maximal_isr: match replica.role() {
                Role::Leader(leader) => leader.maximal_isr().to_vec(),
                Role::Follower(_) | Role::Offline(_) => Vec::new(),
            },
            partition_epoch: match replica.role() {
                Role::Leader(leader) => leader.partition_epoch(),
                Role::Follower(_) | Role::Offline(_) => PartitionEpoch(-1),
            },
        });
        view.ok()
    }

    /// A replica of the metadata log, of which only what is committed counts beside the log itself.
    pub fn of_log(node: i32, high_watermark: i64, log: &LogDump) -> Self {
        let LogDump { start, end, flushed, .. } = *log;
        Self {
            node,
            leads_in: None,
            high_watermark,
            start,
            end,
            flushed,
            is_online: true,
            maximal_isr: Vec::new(),
            partition_epoch: PartitionEpoch(-1),
        }
    }
}

/// O5, O13: a replica's bounds are in order.
pub fn bounds_are_in_order(topic: &str, view: &ReplicaView) -> Result<(), String> {
    let ReplicaView { node, start, high_watermark, end, .. } = view;
    if view.is_online && (start > high_watermark || high_watermark > end) {
        return Err(format!(
            "{topic}: on node {node} the log starts at {start}, is committed to {high_watermark} and ends at {end}"
        ));
    }
    Ok(())
}

/// O8: one leader per leader epoch, ever. `known` is who led in each.
pub fn one_leader_per_epoch(
    topic: &str,
    key: PartitionKey,
    view: &ReplicaView,
    known: &mut BTreeMap<(PartitionKey, i32), i32>,
) -> Result<(), String> {
    let Some(epoch) = view.leads_in else { return Ok(()) };
    let leader = *known.entry((key, epoch)).or_insert(view.node);
    if leader != view.node {
        let node = view.node;
        return Err(format!("{topic}: nodes {leader} and {node} lead in epoch {epoch}"));
    }
    Ok(())
}

/// O9: ISR and ELR are replicas and disjoint; a full ISR leaves nobody in the ELR; the leader is in sync.
pub fn isr_is_sound(topic: &str, state: &PartitionState, min_isr: usize) -> Result<(), String> {
    let PartitionState { replicas, isr, elr, leader, .. } = state;
    let is_replica = |member| replicas.contains(member);
    let wrong = |what: &str| Err(format!("{topic}: {what}: {state:?}"));
    if !isr.iter().all(is_replica) || !elr.iter().all(is_replica) {
        return wrong("ISR and ELR hold more than the replicas");
    }
    if isr.iter().any(|member| elr.contains(member)) {
        return wrong("ISR and ELR overlap");
    }
    if isr.len() >= min_isr && !elr.is_empty() {
        return wrong("the ISR is large enough and the ELR is not empty");
    }
    match leader {
        Some(leader) if !isr.contains(leader) => wrong("the leader is not in sync"),
        _ => Ok(()),
    }
}

/// O10: a leader that is not deposed, and whose ISR is large enough for a commit, waits for every replica that the
/// controller takes for complete (PR-05). One that has been answered by a controller knows more than `state` where that
/// controller is gone and no other node has applied as much yet.
pub fn leader_waits_for_all(
    topic: &str,
    view: &ReplicaView,
    state: &PartitionState,
    min_isr: usize,
) -> Result<(), String> {
    let is_leader = state.leader == Some(BrokerId(view.node)) && view.leads_in == Some(state.leader_epoch.0);
    if !is_leader || view.partition_epoch > state.partition_epoch || state.isr.len() < min_isr {
        return Ok(());
    }
    let complete = state.isr.iter().chain(&state.elr);
    if let Some(forgotten) = complete.into_iter().find(|member| !view.maximal_isr.contains(member)) {
        let (node, known) = (view.node, &view.maximal_isr);
        return Err(format!("{topic}: {node} leads with {known:?} and forgets {forgotten}: {state:?}"));
    }
    Ok(())
}

/// O7: whoever is in ISR or ELR holds everything that is committed.
pub fn member_is_complete(topic: &str, view: &ReplicaView, committed: i64) -> Result<(), String> {
    if view.end < committed {
        return Err(format!(
            "{topic}: node {} is in sync or eligible and ends at {}, but everything up to {committed} is committed",
            view.node, view.end
        ));
    }
    Ok(())
}

/// O6: where two logs hold a batch of the same offset and epoch, it and everything before it is the same in both; and
/// whatever both count as committed is the same.
pub fn logs_match(
    topic: &str,
    one: (&ReplicaView, &LogDump),
    other: (&ReplicaView, &LogDump),
) -> Result<(), String> {
    let from = one.1.start.max(other.1.start);
    let committed = one.0.high_watermark.min(other.0.high_watermark);
    let within = |dump: &LogDump| -> Vec<_> {
        dump.batches.iter().filter(|batch| batch.header.base_offset.0 >= from).cloned().collect()
    };
    let (left, right) = (within(one.1), within(other.1));
    let pairs: Vec<_> = left.iter().zip(&right).collect();
    let same_name = |(a, b): &(&super::log::DumpedBatch, &super::log::DumpedBatch)| {
        a.header.base_offset == b.header.base_offset && a.header.leader_epoch == b.header.leader_epoch
    };
    let proven = pairs.iter().rposition(same_name).map_or(0, |last| last + 1);
    for (at, (a, b)) in pairs.iter().enumerate() {
        let must_match =
            at < proven || a.header.base_offset.0 < committed || b.header.base_offset.0 < committed;
        if must_match && a != b {
            return Err(format!(
                "{topic}: nodes {} and {} differ: {:?} and {:?}; committed to {committed}",
                one.0.node, other.0.node, a.header, b.header
            ));
        }
    }
    Ok(())
}

/// O11: the epoch index is in order and says of every batch in the log what the batch says. The log of a stalled disk may
/// still begin before the replica's start.
pub fn epochs_match_scan(topic: &str, node: i32, replica: &Replica, dump: &LogDump) -> Result<(), String> {
    let epochs = replica.epochs();
    let entries = epochs.entries();
    let rises =
        entries.windows(2).all(|pair| pair[0].epoch < pair[1].epoch && pair[0].start <= pair[1].start);
    if !rises {
        return Err(format!("{topic}: node {node}'s epoch index is out of order: {entries:?}"));
    }
    let start = replica.log_start().max(highwater_core::ids::Offset(dump.start));
    for batch in dump.batches.iter().filter(|batch| batch.header.next_offset() > start) {
        let offset = batch.header.base_offset.max(start);
        let known = epochs.epoch_of(offset);
        if known != Some(batch.header.leader_epoch) {
            return Err(format!(
                "{topic}: node {node} takes the batch at offset {offset} for one of epoch {known:?}, and it is of {}",
                batch.header.leader_epoch
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(node: i32, end: i64, high_watermark: i64) -> ReplicaView {
        let (leads_in, is_online) = (None, true);
        ReplicaView {
            node,
            leads_in,
            high_watermark,
            start: 0,
            end,
            flushed: 0,
            is_online,
            maximal_isr: Vec::new(),
            partition_epoch: PartitionEpoch(0),
        }
    }

    #[test]
    fn a_leader_that_forgets_a_member_is_noticed() {
        let ids = |ids: &[i32]| ids.iter().copied().map(BrokerId).collect::<Vec<_>>();
        let state = |isr: &[i32]| PartitionState {
            replicas: ids(&[1, 2, 3]),
            isr: ids(isr),
            elr: Vec::new(),
            leader: Some(BrokerId(1)),
            leader_epoch: highwater_core::ids::LeaderEpoch(3),
            partition_epoch: highwater_core::ids::PartitionEpoch(0),
            adding: Vec::new(),
            removing: Vec::new(),
            last_leader: None,
        };
        let leads = |isr: &[i32]| ReplicaView { leads_in: Some(3), maximal_isr: ids(isr), ..view(1, 0, 0) };
        assert!(leader_waits_for_all("t", &leads(&[1, 2, 3]), &state(&[1, 2]), 2).is_ok());
        assert!(leader_waits_for_all("t", &leads(&[1, 2]), &state(&[1, 2, 3]), 2).is_err());
        assert!(leader_waits_for_all("t", &leads(&[1]), &state(&[1, 2]), 3).is_ok(), "it commits nothing");
        let deposed = ReplicaView { leads_in: Some(2), ..leads(&[1]) };
        assert!(leader_waits_for_all("t", &deposed, &state(&[1, 2]), 2).is_ok());
        let newer = ReplicaView { partition_epoch: PartitionEpoch(1), ..leads(&[1]) };
        assert!(leader_waits_for_all("t", &newer, &state(&[1, 2]), 2).is_ok(), "told by an answer");
    }

    #[test]
    fn two_leaders_of_one_epoch_are_noticed() {
        let key = (highwater_protocol::Uuid([1; 16]), 0);
        let mut known = BTreeMap::new();
        let leads = |node| ReplicaView { leads_in: Some(3), ..view(node, 0, 0) };
        assert!(one_leader_per_epoch("t", key, &leads(1), &mut known).is_ok());
        assert!(one_leader_per_epoch("t", key, &leads(1), &mut known).is_ok());
        assert!(one_leader_per_epoch("t", key, &leads(2), &mut known).is_err());
    }

    #[test]
    fn a_member_that_lacks_what_is_committed_is_noticed() {
        assert!(member_is_complete("t", &view(1, 10, 0), 10).is_ok());
        assert!(member_is_complete("t", &view(1, 9, 0), 10).is_err());
        assert!(bounds_are_in_order("t", &view(1, 9, 10)).is_err());
    }
}
