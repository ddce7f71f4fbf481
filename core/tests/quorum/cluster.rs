//! A cluster of quorum machines without clock, network or disk of its own: whoever holds it decides what is delivered,
//! lost, doubled or delayed, when deadlines pass, who crashes, and what of a log outlives a power cut.
//!
//! [`Cluster::check`] holds O39 after every step: election safety, one vote per epoch, log matching, leader
//! completeness, state-machine safety, commits held durably by a majority, one uncommitted change of voters.

use bytes::Bytes;
use highwater_core::batch::{Builder, Codec, crc32c};
use highwater_core::ids::{BrokerId, DirectoryId, LeaderEpoch, Offset, Token};
use highwater_core::machine::{Machine, Outbox};
use highwater_core::quorum::{
    ControlRecord, Effect, Event, FetchOutcome, Input, LogBatch, Message, Quorum, QuorumConfig, Recovered,
    ReplicaKey, Role, SnapshotId, VoteRecord, Voter, VoterChangeError, VoterHistory, VoterSet,
    control_records,
};
use highwater_core::replica::Epochs;
use highwater_core::time::{Instant, Now, Timestamp};
use std::collections::BTreeMap;
use std::time::Duration;

/// Messages on their way; more are lost.
const IN_FLIGHT_MAX: usize = 64;

/// A batch and the hash of everything up to and including it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stored {
    pub(crate) batch: LogBatch,
    pub(crate) prefix: u32,
}

/// A snapshot: where it ends, what the log before it was, and who voted.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Snapshot {
    pub(crate) id: SnapshotId,
    pub(crate) prefix: u32,
    pub(crate) voters: VoterSet,
}

/// What survives a crash; of the log only the flushed part survives a power cut.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    pub(crate) log: Vec<Stored>,
    pub(crate) flushed: Offset,
    pub(crate) vote: Option<VoteRecord>,
    pub(crate) snapshot: Option<Snapshot>,
}

impl Disk {
    pub(crate) fn start(&self) -> SnapshotId {
        let blank = SnapshotId { end: Offset::ZERO, epoch: LeaderEpoch::NONE };
        self.snapshot.as_ref().map_or(blank, |snapshot| snapshot.id)
    }

    pub(crate) fn end(&self) -> Offset {
        self.log.last().map_or(self.start().end, |last| last.batch.header.next_offset())
    }

    /// The hash of the log before `end`, if the disk can tell.
    pub(crate) fn prefix_at(&self, end: Offset) -> Option<u32> {
        if end == self.start().end {
            return Some(self.snapshot.as_ref().map_or(0, |snapshot| snapshot.prefix));
        }
        self.log.iter().find(|stored| stored.batch.header.next_offset() == end).map(|stored| stored.prefix)
    }

    fn append(&mut self, batch: LogBatch) {
        assert_eq!(batch.header.base_offset, self.end(), "a log has no gaps");
        let before = self.prefix_at(self.end()).expect("the end is known");
        let prefix = crc32c(&[&before.to_be_bytes()[..], &batch.bytes[..]].concat());
        self.log.push(Stored { batch, prefix });
    }

    fn truncate(&mut self, to: Offset) {
        self.log.retain(|stored| stored.batch.header.base_offset < to);
        assert_eq!(self.end(), to, "a cut is at a batch boundary");
        self.flushed = self.flushed.min(to);
    }

    /// Everything that was not flushed is gone.
    fn lose_unflushed(&mut self) {
        let flushed = self.flushed;
        self.log.retain(|stored| stored.batch.header.next_offset() <= flushed);
    }

    fn voters(&self, bootstrap: &VoterSet) -> (VoterHistory, bool) {
        let base = self.snapshot.as_ref().map_or(bootstrap, |snapshot| &snapshot.voters);
        let mut history = VoterHistory::new(base.clone());
        let mut has_record = self.snapshot.is_some();
        for stored in self.log.iter().filter(|stored| stored.batch.header.attributes.is_control()) {
            for (offset, record) in control_records(&stored.batch.bytes).expect("a machine wrote it") {
                if let ControlRecord::Voters(voters) = record {
                    history.push(offset, voters);
                    has_record = true;
                }
            }
        }
        (history, has_record)
    }

    fn recovered(&self, bootstrap: &VoterSet) -> Recovered {
        let mut epochs = Epochs::new();
        for stored in &self.log {
            assert!(
                epochs.assign(stored.batch.header.leader_epoch, stored.batch.header.base_offset),
                "epochs rise along a log"
            );
        }
        let (voters, has_voters_record) = self.voters(bootstrap);
        let snapshot = self.snapshot.as_ref().map(|snapshot| snapshot.id);
        let (start, end) = (self.start(), self.end());
        let (vote, flushed) = (self.vote, self.flushed);
        Recovered { vote, start, snapshot, end, flushed, epochs, voters, has_voters_record }
    }
}

/// One replica and its shell.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) key: ReplicaKey,
    pub(crate) disk: Disk,
    pub(crate) machine: Option<Quorum>,
    /// A sync that has begun: it will cover what was there then.
    pub(crate) flushing: Option<Offset>,
    /// A vote that is being stored.
    pub(crate) voting: Option<VoteRecord>,
    pub(crate) committed: Offset,
    /// The snapshot that is being fetched.
    part: Vec<u8>,
    now: Now,
    pub(crate) bootstrap: VoterSet,
    pub(crate) events: Vec<Event>,
    pub(crate) answers: Vec<(Token, Result<(), VoterChangeError>)>,
}

/// A message on its way.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Packet {
    pub(crate) from: ReplicaKey,
    pub(crate) to: BrokerId,
    pub(crate) message: Message,
    pub(crate) payload: Bytes,
}

/// What must hold over all nodes and all time.
#[derive(Debug, Default)]
struct Truth {
    leaders: BTreeMap<LeaderEpoch, ReplicaKey>,
    votes: BTreeMap<(ReplicaKey, LeaderEpoch), ReplicaKey>,
    /// By end and epoch of a batch: the hash of the log up to it.
    prefixes: BTreeMap<(Offset, LeaderEpoch), u32>,
    /// By the end of each committed batch.
    committed: BTreeMap<Offset, u32>,
}

/// All of it.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) nodes: BTreeMap<BrokerId, Node>,
    pub(crate) network: Vec<Packet>,
    pub(crate) now: Instant,
    /// Cut links, as (from, to).
    pub(crate) cut: std::collections::BTreeSet<(BrokerId, BrokerId)>,
    truth: Truth,
    restarts: u64,
    seed: u64,
    tokens: u64,
}

pub(crate) fn key(id: i32) -> ReplicaKey {
    let directory_id = DirectoryId([u8::try_from(id).expect("a small id"); 16]);
    ReplicaKey { id: BrokerId(id), directory_id }
}

pub(crate) fn voters(ids: impl IntoIterator<Item = i32>) -> VoterSet {
    VoterSet::new(
        ids.into_iter()
            .map(|id| (BrokerId(id), Voter { directory_id: key(id).directory_id, endpoints: Vec::new() })),
    )
}

/// Voters by ids alone, as `--initial-controllers` without directories gives them.
pub(crate) fn voters_by_id(ids: impl IntoIterator<Item = i32>) -> VoterSet {
    VoterSet::new(ids.into_iter().map(|id| (BrokerId(id), Voter::default())))
}

impl Cluster {
    /// So many voters, and `observers` more nodes.
    pub(crate) fn new(voter_count: i32, observers: i32, seed: u64) -> Self {
        Self::with(voters(1..=voter_count), voter_count + observers, seed)
    }

    pub(crate) fn with(bootstrap: VoterSet, nodes: i32, seed: u64) -> Self {
        let mut cluster = Self {
            nodes: BTreeMap::new(),
            network: Vec::new(),
            now: Instant::from_nanos(1_000_000_000),
            cut: std::collections::BTreeSet::new(),
            truth: Truth::default(),
            restarts: 0,
            seed,
            tokens: 0,
        };
        for id in 1..=nodes {
            cluster.add_node(key(id), bootstrap.clone());
        }
        cluster
    }

    /// A node with an empty disk, which starts at once.
    pub(crate) fn add_node(&mut self, key: ReplicaKey, bootstrap: VoterSet) {
        let node = Node {
            key,
            disk: Disk::default(),
            machine: None,
            flushing: None,
            voting: None,
            committed: Offset::ZERO,
            part: Vec::new(),
            now: self.now(),
            bootstrap,
            events: Vec::new(),
            answers: Vec::new(),
        };
        self.nodes.insert(key.id, node);
        self.restart(key.id);
    }

    pub(crate) fn now(&self) -> Now {
        Now {
            mono: self.now,
            wall: Timestamp(i64::try_from(self.now.as_nanos() / 1_000_000).expect("small")),
        }
    }

    pub(crate) fn node(&self, id: i32) -> &Node {
        &self.nodes[&BrokerId(id)]
    }

    pub(crate) fn machine(&self, id: i32) -> &Quorum {
        self.node(id).machine.as_ref().expect("the node runs")
    }

    /// The running node that leads the newest epoch.
    pub(crate) fn leader(&self) -> Option<i32> {
        let leaders = self.nodes.values().filter_map(|node| {
            let machine = node.machine.as_ref()?;
            matches!(machine.role(), Role::Leader(_)).then(|| (machine.epoch(), node.key.id.0))
        });
        leaders.max().map(|(_, id)| id)
    }

    pub(crate) fn input(&mut self, id: BrokerId, input: Input) {
        let now = self.now();
        self.step(id, |machine, out| machine.handle(now, input, out));
    }

    /// Lets the node's next deadline pass, and time with it.
    pub(crate) fn time_out(&mut self, id: BrokerId) {
        let due = self.nodes[&id].machine.as_ref().and_then(Machine::next_timeout);
        let Some(due) = due else { return };
        self.now = self.now.max(due);
        let now = self.now();
        self.step(id, |machine, out| machine.handle_timeout(now, out));
    }

    fn step(&mut self, id: BrokerId, act: impl FnOnce(&mut Quorum, &mut Outbox<Effect>)) {
        let now = self.now();
        let node = self.nodes.get_mut(&id).expect("the node exists");
        node.now = now;
        let Some(machine) = &mut node.machine else { return };
        let mut out = Outbox::new();
        act(machine, &mut out);
        let mut sent = Vec::new();
        let effects: Vec<Effect> = out.drain().collect();
        for effect in effects {
            node.carry_out(effect, &mut sent);
        }
        let key = node.key;
        for (to, message, payload) in sent {
            self.note_sent(key, to, &message);
            if self.cut.contains(&(id, to)) {
                continue;
            }
            self.network.push(Packet { from: key, to, message, payload });
            if self.network.len() > IN_FLIGHT_MAX {
                self.network.remove(0);
            }
        }
        self.check(id);
    }

    /// Delivers the message at this place of the network.
    pub(crate) fn deliver(&mut self, at: usize) {
        let packet = self.network.remove(at);
        self.hand_in(packet);
    }

    /// Delivers it and leaves it on its way.
    pub(crate) fn duplicate(&mut self, at: usize) {
        let packet = self.network[at].clone();
        self.hand_in(packet);
    }

    fn hand_in(&mut self, packet: Packet) {
        if self.nodes.contains_key(&packet.to) && !self.cut.contains(&(packet.from.id, packet.to)) {
            let Packet { from, to, message, payload } = packet;
            self.input(to, Input::Received { from, message, payload });
        }
    }

    /// The sync that was begun ends well.
    pub(crate) fn finish_flush(&mut self, id: BrokerId) {
        let node = self.nodes.get_mut(&id).expect("the node exists");
        let Some(through) = node.flushing.take() else { return };
        node.disk.flushed = node.disk.flushed.max(through.min(node.disk.end()));
        let through = node.disk.flushed;
        self.input(id, Input::Flushed { through });
    }

    pub(crate) fn finish_vote(&mut self, id: BrokerId) {
        let node = self.nodes.get_mut(&id).expect("the node exists");
        let Some(vote) = node.voting.take() else { return };
        node.disk.vote = Some(vote);
        self.input(id, Input::VoteStored(vote));
    }

    /// The process dies; with a power cut what was not synced dies too.
    pub(crate) fn crash(&mut self, id: BrokerId, is_power_cut: bool) {
        let node = self.nodes.get_mut(&id).expect("the node exists");
        node.machine = None;
        node.flushing = None;
        node.voting = None;
        if is_power_cut {
            node.disk.lose_unflushed();
        }
        node.committed = node.disk.start().end;
    }

    /// The disk is lost, and replaced by another under the same id.
    pub(crate) fn wipe(&mut self, id: BrokerId, directory: u8, bootstrap: VoterSet) {
        self.crash(id, true);
        self.nodes.remove(&id);
        self.network.retain(|packet| packet.from.id != id);
        self.add_node(ReplicaKey { id, directory_id: DirectoryId([directory; 16]) }, bootstrap);
    }

    pub(crate) fn restart(&mut self, id: BrokerId) {
        self.restarts += 1;
        let (seed, now) = (self.seed.wrapping_add(self.restarts), self.now());
        let node = self.nodes.get_mut(&id).expect("the node exists");
        if node.machine.is_none() {
            let recovered = node.disk.recovered(&node.bootstrap);
            node.committed = recovered.start.end;
            node.machine = Some(Quorum::new(node.key, QuorumConfig::default(), seed, recovered, now));
        }
    }

    /// The leader appends a record; false if this node does not lead.
    pub(crate) fn propose(&mut self, id: BrokerId, value: u64) -> bool {
        let is_active = self.nodes[&id].machine.as_ref().is_some_and(Quorum::is_active);
        if is_active {
            let mut builder = Builder::new(Codec::None);
            builder.push(self.now().wall, None, Some(&value.to_be_bytes()), &[]);
            self.input(id, Input::Propose(builder.build()));
        }
        is_active
    }

    pub(crate) fn token(&mut self) -> Token {
        self.tokens += 1;
        Token(self.tokens)
    }

    /// Adds a voter that has caught up.
    pub(crate) fn add_voter(&mut self, at: BrokerId, key: ReplicaKey) -> Token {
        self.add_voter_within(at, key, Duration::ZERO)
    }

    /// Adds a voter that may take so long to catch up.
    pub(crate) fn add_voter_within(&mut self, at: BrokerId, key: ReplicaKey, wait: Duration) -> Token {
        let token = self.token();
        let voter = Voter { directory_id: key.directory_id, endpoints: Vec::new() };
        self.input(at, Input::AddVoter { token, id: key.id, voter, wait });
        token
    }

    pub(crate) fn remove_voter(&mut self, at: BrokerId, voter: ReplicaKey) -> Token {
        let token = self.token();
        self.input(at, Input::RemoveVoter { token, voter });
        token
    }

    /// The shell takes a snapshot of what is committed.
    pub(crate) fn take_snapshot(&mut self, id: BrokerId) {
        let node = &self.nodes[&id];
        let Some(machine) = &node.machine else { return };
        let end = machine.high_watermark();
        if end <= node.disk.start().end {
            return;
        }
        let id_of = SnapshotId { end, epoch: machine.epoch_before(end) };
        let prefix = node.disk.prefix_at(end).expect("commits end at batch boundaries");
        let snapshot = Snapshot { id: id_of, prefix, voters: machine.voters_at(end).clone() };
        let node = self.nodes.get_mut(&id).expect("the node exists");
        node.disk.log.retain(|stored| stored.batch.header.base_offset >= end);
        node.disk.snapshot = Some(snapshot);
        self.input(id, Input::SnapshotTaken(id_of));
    }

    /// Everything happens promptly and nothing fails for so long.
    pub(crate) fn run(&mut self, time: Duration) {
        let until = self.now + time;
        for _ in 0..200_000 {
            self.settle();
            let next = self.nodes.values().filter_map(|node| {
                let due = node.machine.as_ref()?.next_timeout()?;
                Some((due, node.key.id))
            });
            match next.min() {
                Some((due, id)) if due <= until => self.time_out(id),
                _ => {
                    self.now = until;
                    return;
                }
            }
        }
        panic!("the machines spin: {:?}", self.nodes.values().map(|n| &n.machine).collect::<Vec<_>>());
    }

    /// Delivers, syncs and stores until nothing is under way.
    pub(crate) fn settle(&mut self) {
        let ids: Vec<BrokerId> = self.nodes.keys().copied().collect();
        for _ in 0..100_000 {
            let mut is_quiet = self.network.is_empty();
            if !is_quiet {
                self.deliver(0);
            }
            for id in &ids {
                is_quiet &= self.nodes[id].voting.is_none() && self.nodes[id].flushing.is_none();
                self.finish_vote(*id);
                self.finish_flush(*id);
            }
            if is_quiet {
                return;
            }
        }
        panic!("messages never end");
    }

    /// As [`Cluster::settle`], but no log is synced.
    pub(crate) fn settle_unsynced(&mut self) {
        let ids: Vec<BrokerId> = self.nodes.keys().copied().collect();
        for _ in 0..100_000 {
            let is_quiet = self.network.is_empty() && self.nodes.values().all(|node| node.voting.is_none());
            if is_quiet {
                return;
            }
            if !self.network.is_empty() {
                self.deliver(0);
            }
            for id in &ids {
                self.finish_vote(*id);
            }
        }
        panic!("messages never end");
    }

    /// What the node says about an election of its own.
    fn note_sent(&mut self, from: ReplicaKey, to: BrokerId, message: &Message) {
        if let Message::VoteReply(reply) = message
            && reply.is_granted
            && !reply.is_pre_vote
        {
            let to = self.nodes.get(&to).map_or(ReplicaKey { id: to, ..Default::default() }, |node| node.key);
            self.note_vote(from, reply.epoch, to);
        }
    }

    fn note_vote(&mut self, from: ReplicaKey, epoch: LeaderEpoch, to: ReplicaKey) {
        let given = *self.truth.votes.entry((from, epoch)).or_insert(to);
        assert_eq!(given, to, "{from} votes once in epoch {epoch}");
    }

    /// O39 as far as the last step of `id` can have broken it.
    fn check(&mut self, id: BrokerId) {
        let node = &self.nodes[&id];
        let Some(machine) = &node.machine else { return };
        machine.assert_invariants();
        assert_eq!(machine.log_end(), node.disk.end(), "the machine knows its log");
        // What a sole voter has not flushed it shows nobody: after a power cut it may write it anew.
        let shown = if machine.voters().is_sole(node.key) { node.disk.flushed } else { node.disk.end() };
        let is_shown = |stored: &&Stored| stored.batch.header.next_offset() <= shown;
        for stored in node.disk.log.iter().filter(is_shown) {
            let at = (stored.batch.header.next_offset(), stored.batch.header.leader_epoch);
            let known = *self.truth.prefixes.entry(at).or_insert(stored.prefix);
            assert_eq!(known, stored.prefix, "log matching at {at:?} on {id}");
        }
        if matches!(machine.role(), Role::Leader(_)) {
            let leader = *self.truth.leaders.entry(machine.epoch()).or_insert(node.key);
            assert_eq!(leader, node.key, "one leader in epoch {}", machine.epoch());
            self.check_leader(id);
        }
        self.check_committed(id);
    }

    fn check_leader(&self, id: BrokerId) {
        let node = &self.nodes[&id];
        let machine = node.machine.as_ref().expect("it was there");
        let newest = self.truth.leaders.last_key_value().map(|(epoch, _)| *epoch);
        if newest == Some(machine.epoch()) {
            for (end, prefix) in self.truth.committed.range(node.disk.start().end..) {
                assert_eq!(
                    node.disk.prefix_at(*end),
                    Some(*prefix),
                    "leader {id} has what is committed at {end}"
                );
            }
        }
        // A leader that was restarted hears only later how much is committed.
        let known = self.truth.committed.last_key_value().map_or(Offset::ZERO, |(end, _)| *end);
        let high_watermark = machine.high_watermark().max(known);
        let (mut rest, _) = node.disk.voters(&node.bootstrap);
        let mut changes = 0;
        while rest.changed_at().is_some_and(|at| at >= high_watermark) {
            rest.truncate(rest.changed_at().expect("it was there"));
            changes += 1;
        }
        assert!(changes <= 1, "at most one change of voters is uncommitted on leader {id}");
    }

    fn check_committed(&mut self, id: BrokerId) {
        let node = &self.nodes[&id];
        let machine = node.machine.as_ref().expect("it was there");
        let through = machine.high_watermark();
        assert_eq!(node.committed, through, "every commit is told");
        let prefix = node.disk.prefix_at(through);
        assert!(prefix.is_some(), "commits end at batch boundaries");
        for (end, known) in self.truth.committed.range(node.disk.start().end..=through) {
            assert_eq!(
                node.disk.prefix_at(*end),
                Some(*known),
                "what is committed at {end} is so on {id} too"
            );
        }
        let newest = self.truth.committed.last_key_value().map_or(Offset::ZERO, |(end, _)| *end);
        if through <= newest {
            return;
        }
        assert!(matches!(machine.role(), Role::Leader(_) | Role::Resigned { .. }), "a leader commits first");
        // The newest voters decide, committed or not, on what lies before their record too.
        let applicable = machine.voters();
        let holds = |key: &ReplicaKey| {
            let other = self.nodes.get(&key.id).filter(|other| other.key == *key);
            other
                .is_some_and(|other| other.disk.flushed >= through && other.disk.prefix_at(through) == prefix)
        };
        let holders = applicable.keys().filter(holds).count();
        if holders < applicable.majority() {
            let state = |n: &Node| {
                let log = (n.disk.end(), n.disk.flushed, n.disk.prefix_at(through));
                format!("{} {log:?} {:?}", n.key.id, n.machine)
            };
            let nodes: Vec<String> = self.nodes.values().map(state).collect();
            panic!("{holders} of {applicable} hold {through} durably:\n{}", nodes.join("\n"));
        }
        for stored in &node.disk.log {
            let end = stored.batch.header.next_offset();
            if end <= through {
                self.truth.committed.entry(end).or_insert(stored.prefix);
            }
        }
    }
}

impl Node {
    fn carry_out(&mut self, effect: Effect, sent: &mut Vec<(BrokerId, Message, Bytes)>) {
        match effect {
            Effect::Send { to, message } => sent.push((to, message, Bytes::new())),
            Effect::SendRecords { to, reply, from, until } => {
                assert!(matches!(reply.outcome, FetchOutcome::Records { .. }), "records answer a fetch");
                let batches = self.disk.log.iter().map(|stored| &stored.batch);
                let batches =
                    batches.filter(|b| b.header.base_offset >= from && b.header.base_offset < until);
                // Small frames, so that a follower needs several.
                let records: Vec<u8> = batches.take(2).flat_map(|batch| batch.bytes.to_vec()).collect();
                sent.push((to, Message::FetchReply(reply), records.into()));
            }
            Effect::SendChunk { to, mut chunk } => {
                let snapshot = self.disk.snapshot.as_ref().filter(|snapshot| snapshot.id == chunk.id);
                let bytes = snapshot.map(encode_snapshot);
                chunk.size = bytes.as_ref().map(|bytes| bytes.len() as u64);
                let from = usize::try_from(chunk.position).expect("small");
                let piece =
                    bytes.map_or(Vec::new(), |b| b[from.min(b.len())..b.len().min(from + 40)].to_vec());
                sent.push((to, Message::SnapshotChunk(chunk), piece.into()));
            }
            Effect::Append(batch) => self.disk.append(batch),
            Effect::Truncate { to } => {
                self.disk.truncate(to);
                self.flushing = self.flushing.map(|through| through.min(to));
            }
            Effect::Reset(_) | Effect::AdvanceLogStart(_) => {}
            Effect::WriteSnapshot { position, bytes, .. } => {
                self.part.truncate(usize::try_from(position).expect("small"));
                self.part.extend_from_slice(&bytes);
            }
            Effect::InstallSnapshot(id) => self.install(id, sent),
            Effect::Flush => self.flushing = Some(self.disk.end()),
            Effect::StoreVote(vote) => self.voting = Some(vote),
            Effect::Committed { through } => {
                assert!(through > self.committed, "commits move on");
                self.committed = through;
            }
            Effect::VoterChange { token, result } => self.answers.push((token, result)),
            Effect::Log(event) => self.events.push(event),
            Effect::Halt(why) => panic!("node {} halts: {why}", self.key),
        }
    }

    /// Loading is prompt here: what the machine says to it is carried out within the same step.
    fn install(&mut self, id: SnapshotId, sent: &mut Vec<(BrokerId, Message, Bytes)>) {
        let snapshot = decode_snapshot(&self.part);
        assert_eq!(snapshot.id, id, "the snapshot that was asked for");
        let now = self.now;
        let mut out = Outbox::new();
        let input = Input::SnapshotInstalled { id, voters: Some(snapshot.voters.clone()) };
        self.machine.as_mut().expect("it asked").handle(now, input, &mut out);
        let effects: Vec<Effect> = out.drain().collect();
        if effects.contains(&Effect::Reset(id)) {
            self.disk.log.clear();
            self.disk.flushed = id.end;
            self.disk.snapshot = Some(snapshot);
        }
        for effect in effects {
            self.carry_out(effect, sent);
        }
    }
}

fn encode_snapshot(snapshot: &Snapshot) -> Vec<u8> {
    postcard::to_allocvec(&(snapshot.id, snapshot.prefix, &snapshot.voters)).expect("plain data")
}

fn decode_snapshot(bytes: &[u8]) -> Snapshot {
    let (id, prefix, voters) = postcard::from_bytes(bytes).expect("all pieces are there");
    Snapshot { id, prefix, voters }
}
