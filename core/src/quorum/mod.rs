//! The quorum of the metadata log: Raft in the form of KRaft (KIP-595, KIP-630, KIP-853, KIP-996), as one machine.
//!
//! ```text
//!  Unattached --timeout--> Prospective --majority would--> Candidate --majority did--> Leader
//!      ^  '--- finds leader ---> Follower --leader silent--> Prospective                  |
//!      '------------------------- Resigned <--- a majority is silent, or the node stops --'
//!  Observer: not among the voters; follows like a follower and never campaigns.
//! ```
//!
//! Replication is by pulling: a follower's [`message::FetchRequest`] acknowledges everything before its offset, so it
//! is sent only when that is on the device. The leader counts itself up to its own flushed end, and nothing as
//! committed before the first record of its own epoch is (CQ-01). A vote leaves only once it is on the device: while
//! [`Effect::StoreVote`] is under way everything that would be said is held back.
//!
//! What it is not: it knows no topics or brokers (see [`crate::metadata`]), reads and writes no file, and keeps no
//! record bytes: the shell reads the log to answer fetches.
//!
//! Who starts as the sole voter skips the election and the vote file: its log is its proof. It shows observers only what
//! is flushed, so that nothing of an epoch escapes before the log itself tells of that epoch.

mod control;
mod describe;
mod election;
mod exchange;
mod follower;
mod leader;
mod log;
mod message;
mod random;
mod reconfiguration;
mod voters;

pub use control::{
    BadBatch, BadControlBatch, ControlRecord, LeaderChange, LogBatch, SnapshotHeader, control_batch,
    control_records,
};
pub use describe::{QuorumStatus, ReplicaStatus};
pub use election::{Poll, Unattached};
pub use exchange::{Effect, Event, Input, QuorumConfig, Recovered, VoteRecord, VoterChangeError};
pub use follower::{Fetcher, Follower, Observer};
pub use leader::Leader;
pub use message::{
    BeginEpoch, EndEpoch, FetchOutcome, FetchReply, FetchRequest, MESSAGE_VERSION, Message, SnapshotChunk,
    SnapshotFetch, SnapshotId, VoteReply, VoteRequest,
};
pub use voters::{ReplicaKey, Voter, VoterHistory, VoterSet};

use crate::ids::{BrokerId, LeaderEpoch, Offset, Token};
use crate::machine::{Machine, Outbox};
use crate::time::{Instant, Now};
use crate::{guard, planted};
use log::LogState;
use random::Random;
use reconfiguration::Joining;
use std::collections::BTreeSet;
use std::time::Duration;

/// Messages held back while a vote is being stored. More are dropped: whoever misses one asks again.
const HELD_MAX: usize = 256;

/// Stands for "somebody": the vote of an epoch of which only the log tells.
const SOMEBODY: ReplicaKey = ReplicaKey { id: BrokerId(-1), directory_id: crate::ids::DirectoryId::UNKNOWN };

/// What this replica is. Each state has only what belongs to it.
///
/// Legal transitions: any to `Unattached`, `Follower` or `Observer` with a higher epoch; `Unattached` and `Follower` to
/// `Prospective`, that to `Candidate` with a higher epoch, that to `Leader`; `Leader` to `Resigned` only, or with a
/// higher epoch; `Observer` to a voter's state and back when the set of voters changes.
#[derive(Debug)]
pub enum Role {
    /// A voter that knows no leader.
    Unattached(Unattached),
    /// A voter that asks whether it would be elected (KIP-996).
    Prospective(Poll),
    /// A voter that asks to be elected.
    Candidate(Poll),
    /// The one who appends.
    Leader(Box<Leader>),
    /// A voter that copies the leader.
    Follower(Follower),
    /// A replica that copies the leader and does not vote.
    Observer(Observer),
    /// It led in this epoch and lets others campaign first.
    Resigned {
        /// Until when.
        until: Instant,
    },
}

/// One replica of the metadata log.
#[derive(Debug)]
pub struct Quorum {
    me: ReplicaKey,
    config: QuorumConfig,
    random: Random,
    log: LogState,
    /// In force.
    vote: VoteRecord,
    /// On the device.
    stored: VoteRecord,
    role: Role,
    /// Exclusive; everything below is committed and known to be.
    high_watermark: Offset,
    correlation: u64,
    /// What is to be said once the vote is stored.
    held: Vec<Effect>,
    /// A peer whose process seems dead.
    dead: Option<BrokerId>,
    /// The last leader, if it fell silent without a word, until another is followed.
    lost: Option<BrokerId>,
    /// Whether its log alone proves its leadership: it was the sole voter when it started, by a record on its device.
    skips_vote_file: bool,
    /// The change of voters that operators wait for, and where its record stands.
    change: Option<(Vec<Token>, Offset)>,
    /// A voter to be, which has to catch up first.
    joining: Option<Joining>,
    /// Peers that are there, while no voter is known: some of them know who leads.
    met: BTreeSet<BrokerId>,
}

impl Quorum {
    /// A replica that found this on its device. It does nothing before its first [`Machine::handle_timeout`], which is
    /// due at once; a sole voter leads right after that.
    pub fn new(me: ReplicaKey, config: QuorumConfig, seed: u64, recovered: Recovered, now: Now) -> Self {
        let found = recovered.vote.unwrap_or_default();
        let log = LogState::new(recovered);
        // An epoch that wrote to the log had its leader: there is no vote left to give in it.
        let vote = match log.last_epoch() > found.epoch {
            true => VoteRecord { epoch: log.last_epoch(), voted_for: Some(SOMEBODY) },
            false => found,
        };
        let start = log.start.end;
        let mut quorum = Self {
            me,
            config,
            random: Random::new(seed),
            log,
            vote,
            stored: found,
            role: Role::Resigned { until: now.mono },
            high_watermark: start,
            correlation: 0,
            held: Vec::new(),
            dead: None,
            lost: None,
            skips_vote_file: false,
            change: None,
            joining: None,
            met: BTreeSet::new(),
        };
        let is_told = quorum.log.voters.changed_at().is_none_or(|at| at < quorum.log.flushed);
        quorum.skips_vote_file = quorum.is_sole_voter() && is_told;
        let delay = if quorum.is_sole_voter() { Duration::ZERO } else { quorum.startup_delay() };
        let has_led = vote.voted_for == Some(me) && !quorum.skips_vote_file;
        quorum.role = match has_led {
            // No leadership is resumed (CQ-02): others campaign first.
            true => planted!(
                QuorumNoResume,
                Role::Leader(Box::new(Leader::new(quorum.log.end, Vec::new(), now.mono))),
                Role::Resigned { until: now.mono + delay }
            ),
            false => quorum.detached(now.mono, delay),
        };
        quorum
    }

    /// This replica.
    pub const fn me(&self) -> ReplicaKey {
        self.me
    }

    /// The epoch it is in.
    pub const fn epoch(&self) -> LeaderEpoch {
        self.vote.epoch
    }

    /// What it has promised, stored or not.
    pub const fn vote(&self) -> VoteRecord {
        self.vote
    }

    /// What it has promised on its device.
    pub const fn stored_vote(&self) -> VoteRecord {
        self.stored
    }

    /// What it is.
    pub const fn role(&self) -> &Role {
        &self.role
    }

    /// The leader of its epoch, as far as it knows.
    pub fn leader(&self) -> Option<ReplicaKey> {
        match &self.role {
            Role::Leader(_) => Some(self.me),
            Role::Follower(state) => Some(state.leader),
            Role::Observer(state) => state.leader,
            Role::Unattached(_) | Role::Prospective(_) | Role::Candidate(_) | Role::Resigned { .. } => None,
        }
    }

    /// Whose silence made this replica a leader; `None` if it does not lead, was handed the leadership, or followed one
    /// whose process seemed dead.
    pub fn silent_predecessor(&self) -> Option<BrokerId> {
        self.lost.filter(|_| matches!(self.role, Role::Leader(_)))
    }

    /// Whether it leads and has everything before its epoch committed: only then does the controller plan (CQ-11).
    pub fn is_active(&self) -> bool {
        matches!(&self.role, Role::Leader(state) if self.high_watermark > state.epoch_start)
    }

    /// Exclusive; everything below is committed.
    pub const fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// The log end, once the effects emitted so far are carried out.
    pub const fn log_end(&self) -> Offset {
        self.log.end
    }

    /// Where the log begins.
    pub const fn log_start(&self) -> SnapshotId {
        self.log.start
    }

    /// The newest complete snapshot.
    pub const fn snapshot(&self) -> Option<SnapshotId> {
        self.log.snapshot
    }

    /// Everything below is known to be on the device.
    pub const fn flushed(&self) -> Offset {
        self.log.flushed
    }

    /// Who votes, committed or not.
    pub fn voters(&self) -> &VoterSet {
        self.log.latest_voters()
    }

    /// Who votes right before `end`: for a snapshot there.
    pub fn voters_at(&self, end: Offset) -> &VoterSet {
        self.log.voters.at(end)
    }

    /// The epoch of the record before `end`: for a snapshot there.
    pub fn epoch_before(&self, end: Offset) -> LeaderEpoch {
        self.log.epoch_before(end)
    }

    /// Whether it votes.
    pub fn is_voter(&self) -> bool {
        self.voters().contains(self.me)
    }

    /// Whether it takes part in elections. A replica whose removal is not known to be committed does, without a vote of
    /// its own: it may be the only one whose log the others need (Raft's thesis, 4.2.2).
    fn may_lead(&self) -> bool {
        let is_leaving = |at: Offset| at >= self.high_watermark && self.log.voters.at(at).contains(self.me);
        self.is_voter() || self.log.voters.changed_at().is_some_and(is_leaving)
    }

    fn is_sole_voter(&self) -> bool {
        self.voters().is_sole(self.me)
    }

    /// Short, as the pre-vote protects whoever runs already.
    fn startup_delay(&mut self) -> Duration {
        self.random.up_to(self.config.election_timeout / 4)
    }

    fn correlation(&mut self) -> u64 {
        self.correlation += 1;
        self.correlation
    }

    /// Says something, once what was promised is on the device.
    fn say(&mut self, effect: Effect, out: &mut Outbox<Effect>) {
        let is_stored = self.is_vote_stored();
        if guard!(QuorumVoteStored, is_stored) {
            out.push(effect);
        } else if self.held.len() < HELD_MAX {
            self.held.push(effect);
        }
    }

    fn send(&mut self, to: BrokerId, message: Message, out: &mut Outbox<Effect>) {
        self.say(Effect::Send { to, message }, out);
    }

    fn is_vote_stored(&self) -> bool {
        self.stored == self.vote || (self.skips_vote_file && self.is_sole_voter())
    }

    /// Puts a vote or epoch in force and has it stored.
    fn promise(&mut self, vote: VoteRecord, out: &mut Outbox<Effect>) {
        assert!(vote.epoch >= self.vote.epoch, "epochs never go back");
        if vote != self.vote {
            self.vote = vote;
            // What was about to be said belongs to what was in force before.
            self.held.clear();
            self.store_vote(out);
        }
    }

    fn store_vote(&self, out: &mut Outbox<Effect>) {
        if !self.is_vote_stored() {
            out.push(Effect::StoreVote(self.vote));
        }
    }

    fn vote_stored(&mut self, now: Now, vote: VoteRecord, out: &mut Outbox<Effect>) {
        self.stored = vote;
        if self.stored == self.vote {
            for effect in self.held.drain(..) {
                out.push(effect);
            }
            if self.is_sole_voter() {
                self.count_votes(now, out);
            }
        }
    }

    fn flushed_through(&mut self, now: Now, through: Offset, out: &mut Outbox<Effect>) {
        self.log.flushed = self.log.flushed.max(through.min(self.log.end));
        match &self.role {
            Role::Leader(_) => {
                self.advance_high_watermark(now, out);
                self.serve_parked(now, out);
            }
            Role::Follower(_) | Role::Observer(_) => self.follow_high_watermark(now, out),
            _ => {}
        }
    }

    fn commit(&mut self, through: Offset, out: &mut Outbox<Effect>) {
        assert!(through <= self.log.end, "what is committed is in the log");
        if through > self.high_watermark {
            self.high_watermark = through;
            out.push(Effect::Committed { through });
        }
    }

    fn received(
        &mut self,
        now: Now,
        from: ReplicaKey,
        message: Message,
        payload: bytes::Bytes,
        out: &mut Outbox<Effect>,
    ) {
        if from.id == self.me.id {
            return;
        }
        if self.dead == Some(from.id) {
            self.dead = None;
        }
        match message {
            Message::Vote(request) => self.handle_vote(now, from, &request, out),
            Message::VoteReply(reply) => self.handle_vote_reply(now, from, &reply, out),
            Message::BeginEpoch(begin) => self.handle_begin_epoch(now, from, &begin, out),
            Message::EndEpoch(end) => self.handle_end_epoch(now, from, &end),
            Message::Fetch(request) => self.handle_fetch(now, from, &request, out),
            Message::FetchReply(reply) => self.handle_fetch_reply(now, from, reply, payload, out),
            Message::SnapshotFetch(request) => self.handle_snapshot_fetch(from, &request, out),
            Message::SnapshotChunk(chunk) => self.handle_chunk(now, from, &chunk, payload, out),
        }
    }

    fn link_up(&mut self, now: Now, peer: BrokerId, out: &mut Outbox<Effect>) {
        if self.dead == Some(peer) {
            self.dead = None;
        }
        if let Role::Leader(state) = &mut self.role {
            state.announce_at = now.mono;
        }
        if self.voters().is_empty() {
            self.met.insert(peer);
        }
        if self.leader().is_some_and(|leader| leader.id == peer) {
            self.fetch_again(now, out);
        }
    }

    fn snapshot_taken(&mut self, id: SnapshotId, out: &mut Outbox<Effect>) {
        let is_newer = self.log.snapshot.is_none_or(|newest| id > newest) && id > self.log.start;
        if !is_newer || !guard!(QuorumSnapshotCommitted, id.end <= self.high_watermark) {
            return;
        }
        self.log.snapshot = Some(id);
        self.log.advance_start(id);
        out.push(Effect::AdvanceLogStart(id));
    }
}

impl Machine for Quorum {
    type Input = Input;
    type Effect = Effect;

    fn handle(&mut self, now: Now, input: Input, out: &mut Outbox<Effect>) {
        match input {
            Input::Received { from, message, payload } => self.received(now, from, message, payload, out),
            Input::LinkUp(peer) => self.link_up(now, peer, out),
            Input::LinkDown(peer) => self.link_down(now, peer),
            Input::Propose(batch) => self.propose(now, &batch, out),
            Input::Flushed { through } => self.flushed_through(now, through, out),
            Input::VoteStored(vote) => self.vote_stored(now, vote, out),
            Input::SnapshotTaken(id) => self.snapshot_taken(id, out),
            Input::SnapshotInstalled { id, voters } => self.snapshot_installed(now, id, voters, out),
            Input::SnapshotRejected(id) => self.snapshot_rejected(now, id, out),
            Input::AddVoter { token, id, voter, wait } => {
                self.add_voter(now, token, id, voter, wait, out);
            }
            Input::RemoveVoter { token, voter } => self.remove_voter(now, token, voter, out),
            Input::UpdateVoter { id, voter } => self.update_voter(now, id, voter, out),
            Input::Resign => self.resign(now, leader::STOPPING, out),
        }
    }

    fn handle_timeout(&mut self, now: Now, out: &mut Outbox<Effect>) {
        match &self.role {
            Role::Unattached(_) => self.unattached_timeout(now, out),
            Role::Prospective(poll) | Role::Candidate(poll) if poll.ends_at <= now.mono => {
                self.poll_timeout(now);
            }
            Role::Prospective(_) | Role::Candidate(_) => {}
            Role::Leader(_) => self.leader_timeout(now, out),
            Role::Follower(_) => self.follower_timeout(now, out),
            Role::Observer(_) => self.observer_timeout(now, out),
            Role::Resigned { until } if *until <= now.mono => {
                self.role = self.detached(now.mono, Duration::ZERO);
            }
            Role::Resigned { .. } => {}
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        match &self.role {
            Role::Unattached(state) => Some(state.election_at.min(state.probe_at)),
            Role::Prospective(poll) | Role::Candidate(poll) => Some(poll.ends_at),
            Role::Leader(_) => self.leader_deadline(),
            Role::Follower(state) => Some(state.lost_at.min(state.fetcher.due_at)),
            Role::Observer(state) => Some(state.fetcher.due_at),
            Role::Resigned { until } => Some(*until),
        }
    }

    fn assert_invariants(&self) {
        self.log.assert_invariants();
        assert!(self.high_watermark <= self.log.end, "what is committed is in the log");
        assert!(self.log.start.end <= self.high_watermark, "the log begins at committed records");
        assert!(self.log.last_epoch() <= self.vote.epoch, "no record is of an epoch to come");
        let is_leading = matches!(&self.role, Role::Leader(_));
        assert!(is_leading || self.joining.is_none(), "only a leader waits for a new voter");
        match &self.role {
            Role::Leader(state) => {
                assert!(state.epoch_start <= self.log.end, "an epoch begins within the log");
                assert_eq!(self.log.last_epoch(), self.vote.epoch, "a leader's last record is its own");
            }
            Role::Candidate(_) => {
                assert_eq!(self.vote.voted_for, Some(self.me), "a candidate votes for itself");
            }
            Role::Follower(_) => assert!(self.may_lead(), "a follower takes part in elections"),
            Role::Observer(_) => assert!(!self.is_voter(), "an observer does not vote"),
            Role::Unattached(_) | Role::Prospective(_) | Role::Resigned { .. } => {}
        }
        assert!(self.held.len() <= HELD_MAX, "what is held back is bounded");
    }
}
