//! Who votes: replicas by id *and* directory, sets of voters, and how the set changed along the log (KIP-853).

use crate::guard;
use crate::ids::{BrokerId, DirectoryId, Offset};
use crate::metadata::Endpoint;
use crate::planted;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// A replica of the metadata log. A new disk under an old id is another replica (CQ-09).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ReplicaKey {
    /// The node.
    pub id: BrokerId,
    /// Its disk; [`DirectoryId::UNKNOWN`] in a set that was configured by ids alone.
    pub directory_id: DirectoryId,
}

impl fmt::Display for ReplicaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (directory {})", self.id, self.directory_id)
    }
}

/// One voter of a set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Voter {
    /// Its disk.
    pub directory_id: DirectoryId,
    /// How the others reach it.
    pub endpoints: Vec<Endpoint>,
}

/// Whose votes and acknowledgements count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoterSet {
    voters: BTreeMap<BrokerId, Voter>,
}

impl VoterSet {
    /// The set of these voters.
    pub fn new(voters: impl IntoIterator<Item = (BrokerId, Voter)>) -> Self {
        Self { voters: voters.into_iter().collect() }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.voters.len()
    }

    /// Whether there are none: a node that has heard of no quorum yet.
    pub fn is_empty(&self) -> bool {
        self.voters.is_empty()
    }

    /// How many are a majority.
    pub fn majority(&self) -> usize {
        self.voters.len() / 2 + 1
    }

    /// Whether this replica is one of them: the id alone is not enough (CQ-09).
    pub fn contains(&self, replica: ReplicaKey) -> bool {
        self.voters.get(&replica.id).is_some_and(|voter| {
            let is_same = voter.directory_id == DirectoryId::UNKNOWN
                || replica.directory_id == DirectoryId::UNKNOWN
                || voter.directory_id == replica.directory_id;
            guard!(QuorumDirectoryId, is_same)
        })
    }

    /// Whether this replica is the only one.
    pub fn is_sole(&self, replica: ReplicaKey) -> bool {
        self.voters.len() == 1 && self.contains(replica)
    }

    /// Whether every voter's disk is known.
    pub fn is_pinned(&self) -> bool {
        self.voters.values().all(|voter| voter.directory_id != DirectoryId::UNKNOWN)
    }

    /// The voter of an id.
    pub fn get(&self, id: BrokerId) -> Option<&Voter> {
        self.voters.get(&id)
    }

    /// All voters in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = (BrokerId, &Voter)> {
        self.voters.iter().map(|(id, voter)| (*id, voter))
    }

    /// Their keys in the order of their ids.
    pub fn keys(&self) -> impl Iterator<Item = ReplicaKey> + '_ {
        self.iter().map(|(id, voter)| ReplicaKey { id, directory_id: voter.directory_id })
    }

    /// The set with one more voter, or with one that has changed.
    #[must_use]
    pub fn with(&self, id: BrokerId, voter: Voter) -> Self {
        let mut set = self.clone();
        set.voters.insert(id, voter);
        set
    }

    /// The set without a voter.
    #[must_use]
    pub fn without(&self, id: BrokerId) -> Self {
        let mut set = self.clone();
        set.voters.remove(&id);
        set
    }
}

impl fmt::Display for VoterSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<String> = self.voters.keys().map(ToString::to_string).collect();
        write!(f, "[{}]", ids.join(", "))
    }
}

/// The sets of voters that the log holds, each in force from where it stands on, committed or not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VoterHistory {
    /// In force at the log's beginning: of the snapshot there, or as configured.
    base: VoterSet,
    /// By the offset of the record.
    changes: Vec<(Offset, VoterSet)>,
}

impl VoterHistory {
    /// A log without a record of voters.
    pub const fn new(base: VoterSet) -> Self {
        Self { base, changes: Vec::new() }
    }

    /// The newest set.
    pub fn latest(&self) -> &VoterSet {
        self.changes.last().map_or(&self.base, |(_, set)| set)
    }

    /// The set in force right before `end`.
    pub fn at(&self, end: Offset) -> &VoterSet {
        self.changes.iter().rev().find(|(offset, _)| *offset < end).map_or(&self.base, |(_, set)| set)
    }

    /// Where the newest set stands, unless it was there before the log began.
    pub fn changed_at(&self) -> Option<Offset> {
        self.changes.last().map(|(offset, _)| *offset)
    }

    /// A record of voters was appended at `offset`.
    pub fn push(&mut self, offset: Offset, set: VoterSet) {
        assert!(self.changed_at().is_none_or(|last| last < offset), "voters change along the log");
        self.changes.push((offset, set));
    }

    /// The log was cut to `end`: what it still holds decides, not the change before (CQ-05).
    pub fn truncate(&mut self, end: Offset) {
        let kept = self.changes.iter().take_while(|(offset, _)| *offset < end).count();
        let kept = planted!(QuorumVoterRollback, kept.max(self.changes.len().saturating_sub(1)), kept);
        self.changes.truncate(kept);
    }

    /// The log begins at `start` now.
    pub fn advance(&mut self, start: Offset) {
        let passed = self.changes.iter().take_while(|(offset, _)| *offset < start).count();
        if let Some((_, set)) = self.changes.drain(..passed).next_back() {
            self.base = set;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ids: &[i32]) -> VoterSet {
        VoterSet::new(ids.iter().map(|id| {
            let directory_id = DirectoryId([u8::try_from(*id).expect("a small id"); 16]);
            (BrokerId(*id), Voter { directory_id, endpoints: Vec::new() })
        }))
    }

    #[test]
    fn a_new_disk_under_an_old_id_is_no_voter() {
        let voters = set(&[1, 2, 3]);
        assert!(voters.contains(ReplicaKey { id: BrokerId(1), directory_id: DirectoryId([1; 16]) }));
        assert!(!voters.contains(ReplicaKey { id: BrokerId(1), directory_id: DirectoryId([9; 16]) }));
    }

    #[test]
    fn truncation_leaves_the_set_that_the_rest_of_the_log_tells() {
        let mut history = VoterHistory::new(set(&[1]));
        history.push(Offset(3), set(&[1, 2]));
        history.push(Offset(5), set(&[1, 2, 3]));
        history.push(Offset(7), set(&[2, 3]));
        assert_eq!(history.at(Offset(6)), &set(&[1, 2, 3]));
        history.truncate(Offset(5));
        assert_eq!(history.latest(), &set(&[1, 2]), "two changes went at once");
        history.truncate(Offset(3));
        assert_eq!(history.latest(), &set(&[1]));
    }

    #[test]
    fn a_later_beginning_keeps_the_set_in_force_there() {
        let mut history = VoterHistory::new(set(&[1]));
        history.push(Offset(3), set(&[1, 2]));
        history.push(Offset(5), set(&[1, 2, 3]));
        history.advance(Offset(5));
        assert_eq!((history.at(Offset(5)), history.latest()), (&set(&[1, 2]), &set(&[1, 2, 3])));
        assert_eq!(history.changed_at(), Some(Offset(5)));
    }
}
