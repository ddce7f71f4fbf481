//! Following: fetching the leader's log, cutting what it never had, and loading a snapshot when it begins too late.

use super::control::LogBatch;
use super::exchange::{Effect, Event, VoteRecord};
use super::message::{FetchOutcome, FetchReply, Message, SnapshotChunk, SnapshotFetch, SnapshotId};
use super::voters::{ReplicaKey, VoterSet};
use super::{Quorum, Role};
use crate::ids::{LeaderEpoch, Offset};
use crate::machine::Outbox;
use crate::time::{Instant, Now};
use crate::{guard, planted};
use bytes::Bytes;
use std::time::Duration;

/// No deadline: something else will call.
const FAR: Duration = Duration::from_secs(86_400);

/// What a follower has.
#[derive(Clone, Debug)]
pub struct Follower {
    /// Whom it copies.
    pub leader: ReplicaKey,
    /// When it gives the leader up.
    pub lost_at: Instant,
    /// Whether the leader has answered a fetch since: then it is alive, and no pre-vote is given (KIP-996).
    pub has_fetched: bool,
    /// The copying.
    pub fetcher: Fetcher,
}

/// What an observer has.
#[derive(Clone, Debug)]
pub struct Observer {
    /// Whom it copies, once it is found.
    pub leader: Option<ReplicaKey>,
    /// When it looks for another leader.
    pub lost_at: Instant,
    /// The copying.
    pub fetcher: Fetcher,
}

impl Observer {
    /// An observer that looks for the leader.
    pub(super) const fn searching(now: Instant) -> Self {
        Self { leader: None, lost_at: now, fetcher: Fetcher::new(now) }
    }
}

/// One request at a time to the leader.
#[derive(Clone, Debug)]
pub struct Fetcher {
    /// When something is to be sent, or sent again.
    pub due_at: Instant,
    /// The request whose answer is waited for.
    in_flight: Option<u64>,
    /// Whether the last answer was of no use, so that the next request waits for `due_at`.
    is_backing_off: bool,
    /// The leader's high watermark, as it told last.
    high_watermark: Offset,
    /// The snapshot that is being fetched, and how much of it is here.
    download: Option<(SnapshotId, u64)>,
    /// Whether the shell is loading it.
    is_installing: bool,
}

impl Fetcher {
    const fn new(due_at: Instant) -> Self {
        Self {
            due_at,
            in_flight: None,
            is_backing_off: false,
            high_watermark: Offset::ZERO,
            download: None,
            is_installing: false,
        }
    }
}

impl Quorum {
    fn fetcher_mut(&mut self) -> Option<&mut Fetcher> {
        match &mut self.role {
            Role::Follower(state) => Some(&mut state.fetcher),
            Role::Observer(state) => Some(&mut state.fetcher),
            _ => None,
        }
    }

    /// When a leader that stays silent from now on is given up.
    fn lost_at(&mut self, now: Now) -> Instant {
        now.mono + self.config.fetch_timeout + self.random.up_to(self.config.fetch_timeout / 4)
    }

    /// Copies this leader from now on.
    pub(super) fn follow(
        &mut self,
        now: Now,
        epoch: LeaderEpoch,
        leader: ReplicaKey,
        out: &mut Outbox<Effect>,
    ) {
        if epoch < self.epoch() {
            return;
        }
        if epoch == self.epoch()
            && let Some(known) = self.leader()
        {
            if known.id != leader.id {
                out.push(Effect::Log(Event::SecondLeader { known, claims: leader }));
            }
            return;
        }
        self.leave_leadership("another replica leads", out);
        self.lost = None;
        if epoch > self.epoch() {
            self.promise(VoteRecord { epoch, voted_for: None }, out);
        }
        let (lost_at, fetcher) = (self.lost_at(now), Fetcher::new(now.mono));
        self.role = match self.may_lead() {
            true => Role::Follower(Follower { leader, lost_at, has_fetched: false, fetcher }),
            false => Role::Observer(Observer { leader: Some(leader), lost_at, fetcher }),
        };
        out.push(Effect::Log(Event::Following { leader, epoch }));
        self.fetch(now, out);
    }

    pub(super) fn follower_timeout(&mut self, now: Now, out: &mut Outbox<Effect>) {
        let Role::Follower(state) = &self.role else { return };
        if state.lost_at <= now.mono {
            let leader = state.leader;
            let is_dead = self.dead == Some(leader.id);
            out.push(Effect::Log(Event::LeaderLost { leader, is_dead }));
            self.lost = (!is_dead).then_some(leader.id);
            return self.campaign(now, Some(leader), out);
        }
        if state.fetcher.due_at <= now.mono {
            self.fetch(now, out);
        }
    }

    pub(super) fn observer_timeout(&mut self, now: Now, out: &mut Outbox<Effect>) {
        let backoff = self.config.retry_backoff;
        let probe_at = now.mono + backoff * 2 + self.random.up_to(backoff);
        let Role::Observer(state) = &mut self.role else { return };
        if state.fetcher.due_at > now.mono {
            return;
        }
        match state.leader {
            Some(leader) if state.lost_at <= now.mono => {
                let is_dead = self.dead == Some(leader.id);
                out.push(Effect::Log(Event::LeaderLost { leader, is_dead }));
                self.role = Role::Observer(Observer::searching(now.mono));
            }
            Some(_) => self.fetch(now, out),
            None => {
                state.fetcher.due_at = probe_at;
                self.probe(out);
            }
        }
    }

    /// Asks again at once, for the answer may be lost.
    pub(super) fn fetch_again(&mut self, now: Now, out: &mut Outbox<Effect>) {
        if self.fetcher_mut().is_some() {
            self.fetch(now, out);
        }
    }

    /// Sends the next request. Its offset acknowledges, so everything must be on the device (CQ-02).
    fn fetch(&mut self, now: Now, out: &mut Outbox<Effect>) {
        let Some(leader) = self.leader() else { return };
        let retry_at = now.mono + self.config.fetch_wait_max * 2;
        let is_flushed = self.log.flushed == self.log.end;
        if !guard!(QuorumFetchFlushed, is_flushed) {
            if let Some(fetcher) = self.fetcher_mut() {
                fetcher.due_at = retry_at;
            }
            return out.push(Effect::Flush);
        }
        let request = self.fetch_request();
        let (epoch, correlation) = (request.epoch, request.correlation);
        let Some(fetcher) = self.fetcher_mut() else { return };
        if fetcher.is_installing {
            fetcher.due_at = now.mono + FAR;
            return;
        }
        fetcher.in_flight = Some(correlation);
        fetcher.is_backing_off = false;
        fetcher.due_at = retry_at;
        let message = match fetcher.download {
            Some((id, position)) => {
                Message::SnapshotFetch(SnapshotFetch { epoch, correlation, id, position })
            }
            None => Message::Fetch(request),
        };
        self.send(leader.id, message, out);
    }

    /// Whether this answers what the follower waits for. A late one of another leadership must not touch the log
    /// (PR-11).
    fn takes_reply(&mut self, now: Now, from: ReplicaKey, correlation: u64) -> bool {
        let lost_at = self.lost_at(now);
        let leader = self.leader();
        let Some(fetcher) = self.fetcher_mut() else { return false };
        let is_current = fetcher.in_flight == Some(correlation) && leader.is_some_and(|l| l.id == from.id);
        if !guard!(QuorumFetchReplyCurrent, is_current) {
            return false;
        }
        fetcher.in_flight = None;
        match &mut self.role {
            Role::Follower(state) => {
                state.lost_at = lost_at;
                state.has_fetched = true;
            }
            Role::Observer(state) => state.lost_at = lost_at,
            _ => {}
        }
        true
    }

    /// Tries again after a while.
    fn back_off(&mut self, now: Now) {
        let due_at = now.mono + self.config.retry_backoff * 2;
        if let Some(fetcher) = self.fetcher_mut() {
            fetcher.in_flight = None;
            fetcher.is_backing_off = true;
            fetcher.due_at = due_at;
        }
    }

    pub(super) fn handle_fetch_reply(
        &mut self,
        now: Now,
        from: ReplicaKey,
        reply: FetchReply,
        payload: Bytes,
        out: &mut Outbox<Effect>,
    ) {
        if !guard!(QuorumEpochNotStale, reply.epoch >= self.epoch()) {
            return;
        }
        if reply.epoch > self.epoch() || self.leader().is_none() {
            let leader = reply.leader.filter(|leader| self.dead != Some(leader.id));
            return self.learn_leader(now, reply.epoch, leader, out);
        }
        if !self.takes_reply(now, from, reply.correlation) {
            return;
        }
        match reply.outcome {
            FetchOutcome::Records { high_watermark } => {
                if let Some(fetcher) = self.fetcher_mut() {
                    fetcher.high_watermark = fetcher.high_watermark.max(high_watermark);
                }
                self.take_records(now, from, payload, out);
            }
            FetchOutcome::Diverging { epoch, end } => self.cut(now, epoch, end, out),
            FetchOutcome::Snapshot { id } => self.start_download(now, id, out),
            FetchOutcome::NotLeader => {
                let delay = self.random.up_to(self.config.election_timeout / 4);
                self.role = self.detached(now.mono, delay);
            }
        }
    }

    fn take_records(&mut self, now: Now, from: ReplicaKey, payload: Bytes, out: &mut Outbox<Effect>) {
        let end_before = self.log.end;
        let mut are_voters_changed = false;
        for batch in LogBatch::split(payload) {
            match batch.ok().and_then(|batch| self.take_batch(batch, out)) {
                Some(is_change) => are_voters_changed |= is_change,
                None => {
                    out.push(Effect::Log(Event::BadRecords(from)));
                    self.back_off(now);
                    break;
                }
            }
        }
        let has_grown = self.log.end > end_before;
        if has_grown {
            out.push(Effect::Flush);
        }
        if are_voters_changed {
            self.voters_changed(now, out);
        }
        // What was appended is acknowledged by the next fetch, so that waits for the device.
        if !planted!(QuorumFetchFlushed, false, has_grown) {
            self.follow_high_watermark(now, out);
        }
    }

    /// Appends a batch of the leader's; `None` if it does not follow on the log. Tells whether the voters changed.
    fn take_batch(&mut self, batch: LogBatch, out: &mut Outbox<Effect>) -> Option<bool> {
        let header = &batch.header;
        let epochs = self.log.last_epoch().max(LeaderEpoch(0))..=self.epoch();
        let continues = header.base_offset == self.log.end && epochs.contains(&header.leader_epoch);
        if !guard!(QuorumBatchContinues, continues) {
            return None;
        }
        let are_voters_changed = self.log.append(&batch).ok()?;
        out.push(Effect::Append(batch));
        Some(are_voters_changed)
    }

    /// Cuts what the leader never had, by epoch and offset, never by high watermark (PR-01, PR-02).
    fn cut(&mut self, now: Now, epoch: LeaderEpoch, end: Offset, out: &mut Outbox<Effect>) {
        let (from, to) = (self.log.end, self.log.cut_for(epoch, end));
        if to >= from || to < Offset::ZERO {
            return self.back_off(now);
        }
        if !guard!(QuorumTruncateUncommitted, to >= self.high_watermark) {
            out.push(Effect::Halt("the leader's log lacks records that are committed here"));
            return self.back_off(now);
        }
        let voters = self.voters().clone();
        self.log.truncate(to);
        self.high_watermark = self.high_watermark.min(to);
        out.push(Effect::Truncate { to });
        out.push(Effect::Log(Event::Truncated { from, to }));
        if *self.voters() != voters {
            self.voters_changed(now, out);
        }
        self.fetch_again(now, out);
    }

    /// Moves the high watermark as far as the leader says and this log is on the device; then asks for more.
    pub(super) fn follow_high_watermark(&mut self, now: Now, out: &mut Outbox<Effect>) {
        let flushed = self.log.flushed;
        let Some(fetcher) = self.fetcher_mut() else { return };
        let through = fetcher.high_watermark.min(flushed);
        let is_idle = fetcher.in_flight.is_none() && !fetcher.is_backing_off;
        self.commit(through, out);
        self.reclassify(now);
        if is_idle {
            self.fetch(now, out);
        }
    }

    fn start_download(&mut self, now: Now, id: SnapshotId, out: &mut Outbox<Effect>) {
        if id.end <= self.high_watermark {
            return self.back_off(now);
        }
        let Some(fetcher) = self.fetcher_mut() else { return };
        if fetcher.download.is_none_or(|(known, _)| known != id) {
            fetcher.download = Some((id, 0));
            out.push(Effect::Log(Event::FetchingSnapshot(id)));
        }
        self.fetch(now, out);
    }

    pub(super) fn handle_chunk(
        &mut self,
        now: Now,
        from: ReplicaKey,
        chunk: &SnapshotChunk,
        payload: Bytes,
        out: &mut Outbox<Effect>,
    ) {
        if chunk.epoch != self.epoch() || !self.takes_reply(now, from, chunk.correlation) {
            return;
        }
        let Some(fetcher) = self.fetcher_mut() else { return };
        let Some((id, position)) = fetcher.download else { return };
        let Some(size) = chunk.size else {
            // The leader has a newer one by now.
            fetcher.download = None;
            return self.fetch(now, out);
        };
        let next = position + payload.len() as u64;
        let is_next = chunk.id == id && chunk.position == position && next <= size;
        if !guard!(QuorumSnapshotPieceNext, is_next) || payload.is_empty() {
            fetcher.download = None;
            return self.back_off(now);
        }
        fetcher.download = Some((id, next));
        fetcher.is_installing = next == size;
        let is_installing = fetcher.is_installing;
        out.push(Effect::WriteSnapshot { id, position, bytes: payload });
        if is_installing {
            out.push(Effect::InstallSnapshot(id));
        }
        self.fetch(now, out);
    }

    pub(super) fn snapshot_installed(
        &mut self,
        now: Now,
        id: SnapshotId,
        voters: Option<VoterSet>,
        out: &mut Outbox<Effect>,
    ) {
        let Some(fetcher) = self.fetcher_mut() else { return };
        let is_wanted = fetcher.download.is_some_and(|(wanted, _)| wanted == id) && fetcher.is_installing;
        if !is_wanted || id.end <= self.high_watermark {
            return;
        }
        let fetcher = self.fetcher_mut().expect("it was there");
        fetcher.download = None;
        fetcher.is_installing = false;
        self.log.reset(id, voters);
        out.push(Effect::Reset(id));
        self.commit(id.end, out);
        self.voters_changed(now, out);
        self.fetch_again(now, out);
    }

    pub(super) fn snapshot_rejected(&mut self, now: Now, id: SnapshotId, _out: &mut Outbox<Effect>) {
        let Some(fetcher) = self.fetcher_mut() else { return };
        if fetcher.download.is_some_and(|(wanted, _)| wanted == id) {
            fetcher.download = None;
            fetcher.is_installing = false;
            self.back_off(now);
        }
    }

    /// The newest set of voters is another: this replica may have become one, or ceased to be.
    pub(super) fn voters_changed(&mut self, now: Now, out: &mut Outbox<Effect>) {
        out.push(Effect::Log(Event::Voters(self.voters().clone())));
        self.store_vote(out);
        self.reclassify(now);
    }

    /// Becomes what the voters make of it.
    fn reclassify(&mut self, now: Now) {
        let is_voter = self.may_lead();
        let lost_at = self.lost_at(now);
        let role = std::mem::replace(&mut self.role, Role::Resigned { until: now.mono });
        self.role = match role {
            Role::Follower(Follower { leader, lost_at, fetcher, .. }) if !is_voter => {
                Role::Observer(Observer { leader: Some(leader), lost_at, fetcher })
            }
            Role::Observer(Observer { leader: Some(leader), fetcher, .. }) if is_voter => {
                Role::Follower(Follower { leader, lost_at, has_fetched: true, fetcher })
            }
            Role::Observer(_) if is_voter => {
                let delay = self.config.election_timeout;
                self.detached(now.mono, delay)
            }
            Role::Unattached(_) | Role::Prospective(_) | Role::Candidate(_) if !is_voter => {
                self.detached(now.mono, Duration::ZERO)
            }
            role => role,
        };
    }
}
