//! Oracles over the replicas of the metadata log (O39), seen side by side. Kafka's own event simulation has the same:
//! MonotonicEpoch, SingleLeader, MonotonicHighWatermark, MajorityReachedHighWatermark.

use highwater::log::Log;
use highwater::node::Node;
use highwater_core::ids::{BrokerId, DirectoryId, Offset};
use highwater_core::quorum::{ControlRecord, Quorum, ReplicaKey, Role, VoterSet, control_records};
use std::collections::BTreeMap;

/// One replica as it is now.
#[derive(Clone, Debug)]
pub struct QuorumView {
    /// Node and disk.
    pub key: ReplicaKey,
    /// The epoch it is in.
    pub epoch: i32,
    /// For whom it has voted in which epoch, on its device.
    pub vote: (i32, Option<ReplicaKey>),
    /// Whether it leads.
    pub is_leader: bool,
    /// What it knows to be committed.
    pub high_watermark: i64,
    /// The end of its log.
    pub end: i64,
    /// Who votes: by the log before the high watermark, and by the whole log.
    pub voters: [VoterSet; 2],
}

impl QuorumView {
    /// Looks at a node's replica; none if its cell is broken.
    pub fn of(node: &Node) -> Option<Self> {
        node.controller().inspect(|quorum, _| Self::see(quorum))
    }

    fn see(quorum: &Quorum) -> Self {
        let (vote, high_watermark) = (quorum.stored_vote(), quorum.high_watermark());
        Self {
            key: quorum.me(),
            epoch: quorum.epoch().0,
            vote: (vote.epoch.0, vote.voted_for),
            is_leader: matches!(quorum.role(), Role::Leader(_)),
            high_watermark: high_watermark.0,
            end: quorum.log_end().0,
            voters: [quorum.voters_at(high_watermark).clone(), quorum.voters().clone()],
        }
    }
}

/// What was seen of the quorum so far.
#[derive(Debug, Default)]
pub struct QuorumLedger {
    leaders: BTreeMap<i32, ReplicaKey>,
    /// By disk and epoch.
    votes: BTreeMap<(ReplicaKey, i32), BrokerId>,
    /// The newest epoch on each disk.
    epochs: BTreeMap<ReplicaKey, i32>,
    /// The largest high watermark that anybody knew, by the epoch that it was in then: nothing of it is of a later one.
    committed: BTreeMap<i32, i64>,
}

impl QuorumLedger {
    /// O39, O8: one leader in each epoch, who has everything that was committed before; one vote of each disk in each
    /// epoch; and no disk goes back to an older epoch.
    pub fn learn(&mut self, view: &QuorumView) -> Result<(), String> {
        let QuorumView { key, epoch, .. } = *view;
        if view.is_leader {
            let leader = *self.leaders.entry(epoch).or_insert(key);
            if leader != key {
                return Err(format!("{leader} and {key} lead the quorum in epoch {epoch}"));
            }
            // One that was deposed may not know it, and stays behind those after it.
            let committed = self.committed_by(epoch);
            let end = view.end;
            if end < committed {
                return Err(format!("{key} leads and ends at {end}, but {committed} was committed"));
            }
        }
        let committed = self.committed.entry(epoch).or_default();
        *committed = view.high_watermark.max(*committed);
        if let (epoch, Some(voted)) = view.vote
            && voted.id >= BrokerId(0)
        {
            let first = *self.votes.entry((key, epoch)).or_insert(voted.id);
            if first != voted.id {
                return Err(format!("{key} voted for {first} and for {} in epoch {epoch}", voted.id));
            }
        }
        let newest = self.epochs.entry(key).or_insert(view.vote.0);
        if view.vote.0 < *newest {
            return Err(format!("{key} was in epoch {newest} and is in epoch {}", view.vote.0));
        }
        *newest = view.vote.0;
        Ok(())
    }

    /// Everything before it was seen to be committed by the end of `epoch`: a leader of then has it.
    fn committed_by(&self, epoch: i32) -> i64 {
        self.committed.range(..=epoch).map(|(_, known)| *known).max().unwrap_or(0)
    }

    /// O39: a leader has at most one change of voters that is not committed. `changes` are those behind its own high
    /// watermark, but one that was started again and elected knows nothing as committed before the first record of its
    /// epoch is: what anybody knew before it counts, too.
    pub fn one_change_of_voters(&self, leader: BrokerId, epoch: i32, changes: &[i64]) -> Result<(), String> {
        let committed = self.committed_by(epoch);
        let open: Vec<_> = changes.iter().filter(|at| **at >= committed).collect();
        if open.len() <= 1 {
            return Ok(());
        }
        Err(format!(
            "node {leader} leads in epoch {epoch} with {} uncommitted changes of voters, at {open:?}; everything before \
             {committed} was committed",
            open.len()
        ))
    }

    /// The newest epoch that anybody led in.
    pub fn newest_epoch(&self) -> i32 {
        self.leaders.last_key_value().map_or(0, |(epoch, _)| *epoch)
    }
}

/// O39: what a replica knows to be committed is held by a majority of those who vote. `views` are those that can be looked
/// at; a voter that cannot, or whose disk was lost since, may have held it. A log counts to its end: after a start nobody
/// knows how much of it is flushed, and what a power cut has taken is not in it. Who votes is told by the log before the
/// high watermark, or by all of it: a leader goes by its newest set even before that is committed.
pub fn majority_holds(view: &QuorumView, views: &[QuorumView]) -> Result<(), String> {
    let holds = |id: BrokerId, disk: DirectoryId| match views.iter().find(|other| other.key.id == id) {
        Some(other) => {
            let is_lost = disk != other.key.directory_id && disk != DirectoryId::UNKNOWN;
            is_lost || other.end >= view.high_watermark
        }
        None => true,
    };
    let is_held = |voters: &VoterSet| {
        let holders = voters.iter().filter(|(id, voter)| holds(*id, voter.directory_id));
        holders.count() >= voters.majority()
    };
    if view.voters.iter().any(|voters| voters.is_empty() || is_held(voters)) {
        return Ok(());
    }
    let ends: Vec<_> = views.iter().map(|other| format!("{} {}", other.key, other.end)).collect();
    let voters: Vec<_> = view.voters[1].iter().map(|(id, voter)| (id, voter.directory_id)).collect();
    Err(format!(
        "{} takes everything up to {} for committed; logs end at {ends:?}, voters are {voters:?}",
        view.key, view.high_watermark
    ))
}

/// Where the changes of voters stand that a leader does not know to be committed, and the epoch it is in; none if it does
/// not lead.
pub fn open_changes(node: &Node) -> Option<Result<(i32, Vec<i64>), String>> {
    node.controller().inspect(|quorum, log| {
        let is_leader = matches!(quorum.role(), Role::Leader(_));
        is_leader.then(|| Ok((quorum.epoch().0, changes_of_voters(log, quorum.high_watermark())?)))
    })?
}

fn changes_of_voters(log: &Log, from: Offset) -> Result<Vec<i64>, String> {
    let mut changes = Vec::new();
    for located in log.batches_from(from) {
        let header = located.map_err(|error| error.to_string())?.header;
        if header.base_offset < from || !header.attributes.is_control() {
            continue;
        }
        let Some(bytes) = log.read_batch(header.base_offset).map_err(|error| error.to_string())? else {
            continue;
        };
        let records = control_records(&bytes.into()).map_err(|error| error.to_string())?;
        let of_voters = records.iter().filter(|(_, record)| matches!(record, ControlRecord::Voters(_)));
        changes.extend(of_voters.map(|(offset, _)| offset.0));
    }
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use highwater_core::quorum::Voter;

    fn key(id: i32) -> ReplicaKey {
        ReplicaKey { id: BrokerId(id), directory_id: DirectoryId([id as u8; 16]) }
    }

    fn view(id: i32, high_watermark: i64, end: i64) -> QuorumView {
        let voter = |id| (BrokerId(id), Voter { directory_id: key(id).directory_id, endpoints: Vec::new() });
        let voters = VoterSet::new((1..=3).map(voter));
        QuorumView {
            key: key(id),
            epoch: 4,
            vote: (4, None),
            is_leader: false,
            high_watermark,
            end,
            voters: [voters.clone(), voters],
        }
    }

    #[test]
    fn a_commit_that_no_majority_holds_is_noticed() {
        let leader = view(1, 10, 9);
        assert!(majority_holds(&leader, &[leader.clone(), view(2, 0, 10), view(3, 0, 10)]).is_ok());
        assert!(majority_holds(&leader, &[leader.clone(), view(2, 0, 10)]).is_ok(), "the third may hold it");
        assert!(majority_holds(&leader, &[leader.clone(), view(2, 0, 10), view(3, 0, 9)]).is_err());
        let other_disk = QuorumView { key: ReplicaKey { id: BrokerId(3), ..key(9) }, ..view(3, 0, 10) };
        assert!(
            majority_holds(&leader, &[leader.clone(), view(2, 0, 10), other_disk]).is_ok(),
            "the lost disk may have held it"
        );
    }

    #[test]
    fn two_leaders_two_votes_and_an_older_epoch_are_noticed() {
        let leads = |id| QuorumView { is_leader: true, ..view(id, 0, 0) };
        let voted = |id, epoch, to: i32| QuorumView { vote: (epoch, Some(key(to))), ..view(id, 0, 0) };
        let mut ledger = QuorumLedger::default();
        assert!(ledger.learn(&leads(1)).is_ok());
        assert!(ledger.learn(&leads(2)).is_err());
        assert!(ledger.learn(&voted(3, 5, 1)).is_ok());
        assert!(ledger.learn(&voted(3, 5, 2)).is_err());
        assert!(ledger.learn(&voted(3, 3, 1)).is_err());
        assert_eq!(ledger.newest_epoch(), 4);
    }

    #[test]
    fn a_leader_that_lacks_what_was_committed_is_noticed() {
        let leads = |id, epoch, end| QuorumView { is_leader: true, epoch, ..view(id, 0, end) };
        let mut ledger = QuorumLedger::default();
        assert!(ledger.learn(&leads(1, 4, 10)).is_ok());
        // Nobody saw who led in epoch 5.
        assert!(ledger.learn(&QuorumView { epoch: 5, ..view(2, 12, 12) }).is_ok());
        assert!(ledger.learn(&leads(1, 4, 10)).is_ok(), "deposed, and does not know it");
        assert!(ledger.learn(&leads(3, 5, 12)).is_ok());
        assert!(ledger.learn(&leads(1, 4, 10)).is_ok(), "deposed, and does not know it");
        assert!(ledger.learn(&leads(2, 6, 11)).is_err());
    }

    #[test]
    fn two_open_changes_of_voters_are_noticed_and_old_ones_are_not() {
        let mut ledger = QuorumLedger::default();
        assert!(
            ledger.one_change_of_voters(BrokerId(3), 6, &[7, 9]).is_err(),
            "nobody knows either as committed"
        );
        assert!(ledger.learn(&QuorumView { epoch: 5, ..view(1, 8, 12) }).is_ok());
        assert!(ledger.learn(&QuorumView { epoch: 7, ..view(1, 14, 14) }).is_ok());
        // Started again and just elected, it counts from the beginning of its log.
        assert!(ledger.one_change_of_voters(BrokerId(3), 6, &[2, 4, 7]).is_ok(), "all were committed before");
        assert!(ledger.one_change_of_voters(BrokerId(3), 6, &[2, 7, 8]).is_ok(), "the last one may be open");
        assert!(ledger.one_change_of_voters(BrokerId(3), 6, &[2, 8, 11]).is_err());
        assert!(
            ledger.one_change_of_voters(BrokerId(3), 4, &[2, 7]).is_err(),
            "deposed: later epochs committed others"
        );
    }
}
