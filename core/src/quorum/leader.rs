//! Leading: appending, answering fetches, and counting what a majority holds.

use super::control::LogBatch;
use super::exchange::{Effect, Event, VoterChangeError};
use super::log::Position;
use super::message::{
    BeginEpoch, EndEpoch, FetchOutcome, FetchReply, FetchRequest, Message, SnapshotChunk, SnapshotFetch,
};
use super::voters::ReplicaKey;
use super::{Quorum, Role};
use crate::batch::ValidBatch;
use crate::ids::{BrokerId, Offset};
use crate::machine::Outbox;
use crate::time::{Instant, Now};
use crate::{guard, planted};
use std::collections::BTreeMap;
use std::time::Duration;

/// Replicas that a leader remembers; the one that was silent longest goes first.
const REPLICAS_MAX: usize = 1024;

/// Why a leader stands down whose node is asked to stop.
pub(super) const STOPPING: &str = "the node stops";

/// What a leader has.
#[derive(Debug)]
pub struct Leader {
    /// Where its own first record stands.
    pub epoch_start: Offset,
    /// Who elected it.
    pub granting: Vec<BrokerId>,
    /// Since when it leads.
    pub since: Instant,
    /// How far the others are, observers too.
    pub(super) replicas: BTreeMap<ReplicaKey, Progress>,
    /// Fetches with nothing to send yet.
    parked: BTreeMap<ReplicaKey, Parked>,
    /// When it announces itself again to voters that were not heard.
    pub(super) announce_at: Instant,
}

/// How far a replica is, as its fetches in this epoch told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    /// It holds everything below, on its device.
    pub(super) end: Offset,
    /// When it fetched last.
    pub(super) fetched_at: Instant,
    /// When it last asked for what the leader did not have yet.
    pub(super) caught_up_at: Option<Instant>,
}

#[derive(Clone, Debug)]
struct Parked {
    request: FetchRequest,
    until: Instant,
}

impl Leader {
    pub(super) const fn new(epoch_start: Offset, granting: Vec<BrokerId>, now: Instant) -> Self {
        Self {
            epoch_start,
            granting,
            since: now,
            replicas: BTreeMap::new(),
            parked: BTreeMap::new(),
            announce_at: now,
        }
    }

    fn note(&mut self, from: ReplicaKey, end: Offset, log_end: Offset, now: Instant) {
        let caught_up_before = self.replicas.get(&from).and_then(|known| known.caught_up_at);
        let caught_up_at = if end >= log_end { Some(now) } else { caught_up_before };
        self.replicas.insert(from, Progress { end, fetched_at: now, caught_up_at });
        if self.replicas.len() > REPLICAS_MAX {
            let silent = self.replicas.iter().min_by_key(|(_, known)| known.fetched_at).map(|(key, _)| *key);
            if let Some(silent) = silent {
                self.replicas.remove(&silent);
                self.parked.remove(&silent);
            }
        }
    }
}

impl Quorum {
    /// Appends a batch of the controller's.
    pub(super) fn propose(&mut self, now: Now, batch: &ValidBatch, out: &mut Outbox<Effect>) {
        assert!(matches!(self.role, Role::Leader(_)), "only the leader appends");
        let batch = LogBatch::stamped(batch, self.log.end, self.epoch());
        self.append(now, batch, out);
    }

    /// Appends a batch of the leader's own and offers it to everybody.
    pub(super) fn append(&mut self, now: Now, batch: LogBatch, out: &mut Outbox<Effect>) {
        let are_voters_changed = self.log.append(&batch).expect("the leader's own batches are readable");
        if are_voters_changed {
            self.voters_changed(now, out);
        }
        out.push(Effect::Append(batch));
        out.push(Effect::Flush);
        self.serve_parked(now, out);
        self.announce(now, out);
    }

    /// How long a majority may be silent before a leader stands down.
    fn check_quorum_timeout(&self) -> Duration {
        self.config.fetch_timeout + self.config.fetch_timeout / 2
    }

    /// Since when no majority was heard; `None` if there is nobody to hear.
    fn quorum_heard_at(&self) -> Option<Instant> {
        let Role::Leader(state) = &self.role else { return None };
        let others = self.voters().keys().filter(|key| key.id != self.me.id);
        let mut heard: Vec<Instant> = others
            .map(|key| {
                state.replicas.get(&key).map_or(state.since, |known| known.fetched_at.max(state.since))
            })
            .collect();
        heard.sort_unstable();
        // With the leader itself a majority is heard as long as this many others are.
        let needed = self.voters().majority() - usize::from(self.is_voter());
        heard.len().checked_sub(needed).and_then(|at| heard.get(at).copied())
    }

    /// Whether it leads, and a majority followed it so lately that nobody else can have been elected: half the time after
    /// which they look for another. What a leader that is cut off says of brokers is nothing to rely on.
    pub fn is_followed(&self, now: Instant) -> bool {
        let lately = self.config.fetch_timeout / 2;
        matches!(self.role, Role::Leader(_))
            && guard!(LeaseOfFollowedLeader, self.quorum_heard_at().is_none_or(|heard| now < heard + lately))
    }

    pub(super) fn leader_deadline(&self) -> Option<Instant> {
        let Role::Leader(state) = &self.role else { return None };
        let parked = state.parked.values().map(|parked| parked.until).min();
        let check_at = self.quorum_heard_at().map(|heard| heard + self.check_quorum_timeout());
        let announce_at = (!self.is_sole_voter()).then_some(state.announce_at);
        [parked, check_at, announce_at, self.joining_deadline()].into_iter().flatten().min()
    }

    pub(super) fn leader_timeout(&mut self, now: Now, out: &mut Outbox<Effect>) {
        let timeout = self.check_quorum_timeout();
        let is_heard = self.quorum_heard_at().is_none_or(|heard| heard + timeout > now.mono);
        if !guard!(QuorumCheckQuorum, is_heard) {
            return self.resign(now, "a majority of the voters is silent", out);
        }
        self.give_joining_up(now, out);
        self.serve_parked(now, out);
        self.announce(now, out);
    }

    /// Tells voters that have not fetched lately who leads.
    fn announce(&mut self, now: Now, out: &mut Outbox<Effect>) {
        let (epoch, interval) = (self.epoch(), self.config.fetch_wait_max);
        let voters: Vec<ReplicaKey> = self.voters().keys().filter(|key| key.id != self.me.id).collect();
        let Role::Leader(state) = &mut self.role else { return };
        if state.announce_at > now.mono {
            return;
        }
        state.announce_at = now.mono + interval;
        let is_silent = |key: &ReplicaKey| {
            state.replicas.get(key).is_none_or(|known| known.fetched_at + interval * 2 < now.mono)
        };
        let silent: Vec<ReplicaKey> = voters.into_iter().filter(is_silent).collect();
        for key in silent {
            self.send(key.id, Message::BeginEpoch(BeginEpoch { epoch, to: key.directory_id }), out);
        }
    }

    /// A fetch, in this order: fence, compare, only then count (design rule 3).
    pub(super) fn handle_fetch(
        &mut self,
        now: Now,
        from: ReplicaKey,
        request: &FetchRequest,
        out: &mut Outbox<Effect>,
    ) {
        if request.epoch > self.epoch() {
            self.enter_epoch(now, request.epoch, out);
        }
        let is_fetch_of_epoch = request.epoch == self.epoch();
        let leads = matches!(self.role, Role::Leader(_));
        if !leads || !guard!(QuorumFetchEpoch, is_fetch_of_epoch) {
            return self.reply_fetch(from, request, FetchOutcome::NotLeader, out);
        }
        match self.log.position(request.offset, request.last_epoch) {
            Position::BeforeStart => match self.log.snapshot {
                Some(id) => self.reply_fetch(from, request, FetchOutcome::Snapshot { id }, out),
                None => self.reply_fetch(from, request, FetchOutcome::NotLeader, out),
            },
            Position::Diverges { epoch, end } => {
                self.reply_fetch(from, request, FetchOutcome::Diverging { epoch, end }, out);
            }
            Position::Matches => {
                let (log_end, wait) = (self.log.end, self.config.fetch_wait_max);
                let Role::Leader(state) = &mut self.role else { return };
                state.note(from, request.offset, log_end, now.mono);
                state.parked.insert(from, Parked { request: request.clone(), until: now.mono + wait });
                self.advance_high_watermark(now, out);
                self.serve_parked(now, out);
                self.let_join(now, out);
            }
        }
    }

    fn reply_fetch(
        &mut self,
        to: ReplicaKey,
        request: &FetchRequest,
        outcome: FetchOutcome,
        out: &mut Outbox<Effect>,
    ) {
        let reply = self.fetch_reply(request.correlation, outcome);
        self.send(to.id, Message::FetchReply(reply), out);
    }

    fn fetch_reply(&self, correlation: u64, outcome: FetchOutcome) -> FetchReply {
        FetchReply { epoch: self.epoch(), leader: self.leader(), correlation, outcome }
    }

    /// How far records may be shown to others. A sole voter's vote is nowhere but in its log: what is not flushed
    /// might be written again, differently, in the same epoch.
    fn shown_end(&self) -> Offset {
        if self.is_sole_voter() { self.log.flushed } else { self.log.end }
    }

    /// Answers the parked fetches for which there is something, or that have waited long enough.
    pub(super) fn serve_parked(&mut self, now: Now, out: &mut Outbox<Effect>) {
        let (shown, high_watermark) = (self.shown_end(), self.high_watermark);
        let Role::Leader(state) = &mut self.role else { return };
        let is_ready = |parked: &Parked| {
            shown > parked.request.offset
                || high_watermark > parked.request.high_watermark
                || parked.until <= now.mono
        };
        let ready: Vec<ReplicaKey> =
            state.parked.iter().filter(|(_, parked)| is_ready(parked)).map(|(key, _)| *key).collect();
        for key in ready {
            let Role::Leader(state) = &mut self.role else { return };
            let Some(Parked { request, .. }) = state.parked.remove(&key) else { continue };
            let outcome = FetchOutcome::Records { high_watermark };
            let reply = self.fetch_reply(request.correlation, outcome);
            let effect = match shown > request.offset {
                true => Effect::SendRecords { to: key.id, reply, from: request.offset, until: shown },
                false => Effect::Send { to: key.id, message: Message::FetchReply(reply) },
            };
            self.say(effect, out);
        }
    }

    pub(super) fn handle_snapshot_fetch(
        &mut self,
        from: ReplicaKey,
        request: &SnapshotFetch,
        out: &mut Outbox<Effect>,
    ) {
        let leads = matches!(self.role, Role::Leader(_));
        if !leads || request.epoch != self.epoch() {
            let outcome = FetchOutcome::NotLeader;
            let reply = self.fetch_reply(request.correlation, outcome);
            return self.send(from.id, Message::FetchReply(reply), out);
        }
        let SnapshotFetch { epoch, correlation, id, position } = *request;
        let chunk = SnapshotChunk { epoch, correlation, id, position, size: None };
        self.say(Effect::SendChunk { to: from.id, chunk }, out);
    }

    /// What a majority of the voters holds on their devices, the leader itself up to its flushed end only (CQ-02).
    fn majority_end(&self) -> Offset {
        let Role::Leader(state) = &self.role else { return Offset::ZERO };
        let own = planted!(QuorumLeaderFlushed, self.log.end, self.log.flushed);
        let mut ends: Vec<Offset> = self
            .voters()
            .keys()
            .map(|key| match key == self.me {
                true => own,
                false => state.replicas.get(&key).map_or(Offset::ZERO, |known| known.end),
            })
            .collect();
        ends.sort_unstable();
        ends[ends.len() - self.voters().majority()]
    }

    pub(super) fn advance_high_watermark(&mut self, now: Now, out: &mut Outbox<Effect>) {
        let Role::Leader(state) = &self.role else { return };
        let through = self.majority_end();
        // Not "at or beyond": the epoch's first record itself must be held (CQ-01, KAFKA-12619).
        if through <= self.high_watermark || !guard!(QuorumOwnEpochCommit, through > state.epoch_start) {
            return;
        }
        self.commit(through, out);
        self.finish_voter_change(now, out);
        self.serve_parked(now, out);
    }

    /// The part of leaving a leadership that is common to all ways out of it.
    pub(super) fn leave_leadership(&mut self, why: &'static str, out: &mut Outbox<Effect>) {
        let Role::Leader(_) = &self.role else { return };
        let is_asked = why == STOPPING;
        out.push(Effect::Log(Event::Resigned { epoch: self.epoch(), why, is_asked }));
        let waiting = self.change.take().map(|(tokens, _)| tokens).unwrap_or_default();
        let joining = self.joining.take().map(|joining| joining.tokens).unwrap_or_default();
        for token in waiting.into_iter().chain(joining) {
            out.push(Effect::VoterChange { token, result: Err(VoterChangeError::NotLeader) });
        }
    }

    /// Stands down and lets the one with the longest log go first.
    pub(super) fn resign(&mut self, now: Now, why: &'static str, out: &mut Outbox<Effect>) {
        let Role::Leader(state) = &self.role else { return };
        let others = self.voters().keys().filter(|key| key.id != self.me.id);
        let mut successors: Vec<(Offset, BrokerId)> = others
            .map(|key| (state.replicas.get(&key).map_or(Offset::ZERO, |known| known.end), key.id))
            .collect();
        successors.sort_unstable_by_key(|(end, id)| (std::cmp::Reverse(*end), *id));
        let successors: Vec<BrokerId> = successors.into_iter().map(|(_, id)| id).collect();
        let epoch = self.epoch();
        for id in successors.clone() {
            let end = EndEpoch { epoch, successors: successors.clone() };
            self.send(id, Message::EndEpoch(end), out);
        }
        self.leave_leadership(why, out);
        let until = now.mono + self.config.election_timeout;
        self.role = Role::Resigned { until };
    }
}
