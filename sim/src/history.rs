//! What clients did and saw, as the oracles need it. The truth of a run lives here, not in the node.

use crate::client::TopicInfo;
use bytes::Bytes;
use highwater_protocol::Uuid;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

/// More than come between two looks.
const FRESH_ACKS_MAX: usize = 10_000;

/// What an oracle found wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// The oracle, as `oracles` number them: O1 and so on.
    pub oracle: &'static str,
    /// What it saw.
    pub what: String,
}

/// A partition, by topic id and number.
pub type PartitionKey = (Uuid, i32);

/// How often something happened in a run: a run in which nothing happened proves nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Records acknowledged.
    pub acked: u64,
    /// Records seen by readers.
    pub seen: u64,
    /// Produce requests sent again.
    pub retries: u64,
    /// Kills and power cuts.
    pub crashes: u64,
    /// Crashes that fell between two disk operations.
    pub frozen: u64,
    /// Commits acknowledged.
    pub commits: u64,
    /// Generations that group members synced.
    pub generations: u64,
    /// Administrative requests that succeeded.
    pub admin: u64,
    /// Producer sessions that ended with an error.
    pub sessions_lost: u64,
    /// Reassignments that the controller took on.
    pub moves: u64,
    /// Changes of voters that were committed.
    pub voter_changes: u64,
    /// Elections of leaders that an operator asked for, of replicas that may lack records.
    pub unclean_elections: u64,
    /// Commits of an older generation that a coordinator refused.
    pub stale_commits: u64,
}

impl Totals {
    /// Adds those of another run.
    pub fn add(&mut self, more: &Self) {
        let Self { acked, seen, retries, crashes, frozen, commits, generations, .. } = more;
        let Self { admin, sessions_lost, moves, voter_changes, unclean_elections, stale_commits, .. } = more;
        self.acked += acked;
        self.seen += seen;
        self.retries += retries;
        self.crashes += crashes;
        self.frozen += frozen;
        self.commits += commits;
        self.generations += generations;
        self.admin += admin;
        self.sessions_lost += sessions_lost;
        self.moves += moves;
        self.voter_changes += voter_changes;
        self.unclean_elections += unclean_elections;
        self.stale_commits += stale_commits;
    }
}

/// What is known of one partition.
#[derive(Debug, Default)]
pub struct PartitionHistory {
    /// Its topic's name.
    pub topic: String,
    /// Every value that a producer sent, acknowledged or not.
    pub sent: BTreeSet<Bytes>,
    /// Records that acks=all acknowledged, by offset.
    pub acked: BTreeMap<i64, Bytes>,
    /// Records that a reader saw, by offset.
    pub seen: BTreeMap<i64, Bytes>,
    /// The largest high watermark or latest offset that a client was told.
    pub latest: i64,
    /// The same, by the leader epoch in which it was told.
    pub latest_in: BTreeMap<i32, i64>,
    /// The largest high watermark that a client was told in the newest leader epoch of which one was. A leader begins
    /// with one that may lag, as Kafka's does; only the latest offset waits until it is exact (KIP-207).
    pub high_watermark: (i32, i64),
    /// Records below may have been deleted by request.
    pub removable_before: i64,
    /// Records below were deleted by a request that was answered.
    pub removed_before: i64,
    /// The same, by a leader epoch in which the log was then seen to start there.
    pub removed_in: BTreeMap<i32, i64>,
    /// Retention may delete records.
    pub is_retained: bool,
    /// An operator has replicas elected that may lack records: nothing in it is promised to stay.
    pub is_expendable: bool,
}

impl PartitionHistory {
    /// A deletion was acknowledged, and a leader tells in its epoch that the log starts there.
    pub fn told_removed(&mut self, leader_epoch: i32, before: i64) {
        let of_epoch = self.removed_in.entry(leader_epoch).or_default();
        *of_epoch = before.max(*of_epoch);
    }

    /// A leader told in its epoch that records up to here are committed.
    pub fn told_latest(&mut self, leader_epoch: i32, told: i64) {
        self.latest = self.latest.max(told);
        let of_epoch = self.latest_in.entry(leader_epoch).or_default();
        *of_epoch = told.max(*of_epoch);
    }
}

/// The committed offset of one group and partition, as a register.
#[derive(Debug, Default)]
pub struct Register {
    /// The last commit that was acknowledged.
    pub acked: Option<i64>,
    /// Commits without an answer: each may or may not count, now or later.
    pub unknown: BTreeSet<i64>,
    /// Every commit that was ever sent.
    pub sent: BTreeSet<i64>,
}

/// How far a group's members came in one partition, and said so.
#[derive(Clone, Debug, Default)]
pub struct GroupPosition {
    /// The last commit that was acknowledged.
    pub acked: Option<i64>,
    /// The furthest that any member was delivered before it committed.
    pub delivered: i64,
}

/// A group's commit that a coordinator has just acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FreshCommit {
    /// The partition of the internal topic that coordinates the group.
    pub partition: i32,
    /// Who answered.
    pub broker: i32,
    /// The newest epoch in which somebody was seen to lead that partition when the request left.
    pub epoch_then: i32,
}

/// Everything that clients did and saw.
#[derive(Debug, Default)]
pub struct History {
    /// How often a power cut took what its policy lets it take. What was known before is no promise behind it.
    pub losses: u64,
    /// By topic id and number.
    pub partitions: BTreeMap<PartitionKey, PartitionHistory>,
    /// Committed offsets, by group and partition.
    pub registers: BTreeMap<(String, i32), Register>,
    /// How far groups came that read, by group and partition.
    pub positions: BTreeMap<(String, i32), GroupPosition>,
    /// How many partitions the internal topic has. 0 until seen.
    pub coordinator_count: i32,
    /// By partition of the internal topic: the newest epoch in which somebody was seen to lead it. Empty until seen.
    pub coordinators: BTreeMap<i32, i32>,
    /// Commits acknowledged since somebody last looked (O25).
    pub fresh_commits: Vec<FreshCommit>,
    /// Who was assigned what: by group and generation, the owner of each partition.
    pub owners: BTreeMap<(String, i32), BTreeMap<i32, String>>,
    /// The last offsets of batches that acks=all acknowledged since somebody last looked (O14).
    pub fresh_acks: Vec<(PartitionKey, i64)>,
    /// Oracles are not heard, so that it can be told what they cost.
    pub is_deaf: bool,
    /// The first thing that is wrong.
    pub complaint: Option<Complaint>,
    /// Counters.
    pub totals: Totals,
}

impl History {
    /// Notes that something is wrong. The first complaint is kept.
    pub fn complain(&mut self, oracle: &'static str, what: impl Display) {
        self.complaint.get_or_insert_with(|| Complaint { oracle, what: what.to_string() });
    }

    /// Notes an oracle's verdict.
    pub fn judge(&mut self, oracle: &'static str, verdict: Result<(), String>) {
        if let Err(what) = verdict
            && !self.is_deaf
        {
            self.complain(oracle, what);
        }
    }

    /// Notes the last offset of a batch that acks=all has just acknowledged.
    pub fn acknowledged(&mut self, at: (PartitionKey, i64)) {
        if self.fresh_acks.len() < FRESH_ACKS_MAX {
            self.fresh_acks.push(at);
        }
    }

    /// The newest generation of a group that a member is known to have synced.
    pub fn newest_generation(&self, group: &str) -> Option<i32> {
        let of_group = self.owners.keys().filter(|(name, _)| name == group);
        of_group.map(|(_, generation)| *generation).max()
    }

    /// Who coordinates a group, as far as it was seen: the partition of the internal topic and its newest epoch.
    pub fn coordinator_of(&self, group: &str) -> Option<(i32, i32)> {
        // Not how many have been led: a group's partition would be taken for another while its own has no leader.
        let count = Some(self.coordinator_count).filter(|count| *count > 0)?;
        let partition = highwater_core::coordinator::partition_for(group, count).0;
        Some((partition, *self.coordinators.get(&partition)?))
    }

    /// A value is about to be sent to a topic's first partition.
    pub fn sends(&mut self, topic: &TopicInfo, value: &str) {
        let known = self.partition(topic.key(0));
        known.topic.clone_from(&topic.name);
        known.sent.insert(value.to_owned().into());
    }

    /// A partition's history.
    pub fn partition(&mut self, key: PartitionKey) -> &mut PartitionHistory {
        self.partitions.entry(key).or_default()
    }

    /// A power cut took everything from `end` on, as the policy allows.
    pub fn lose_from(&mut self, key: PartitionKey, end: i64) {
        let Some(partition) = self.partitions.get_mut(&key) else { return };
        partition.acked.split_off(&end);
        partition.seen.split_off(&end);
        partition.latest = partition.latest.min(end);
        partition.latest_in.values_mut().for_each(|latest| *latest = (*latest).min(end));
        partition.removed_before = partition.removed_before.min(end);
        partition.removed_in.values_mut().for_each(|removed| *removed = (*removed).min(end));
    }

    /// A power cut took committed offsets and generations, as the policy allows.
    pub fn lose_groups(&mut self) {
        for register in self.registers.values_mut() {
            register.acked = None;
            register.unknown.clone_from(&register.sent);
        }
        self.positions.values_mut().for_each(|position| position.acked = None);
        self.owners.clear();
    }
}
