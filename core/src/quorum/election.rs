//! Finding a leader: without one, asking whether one would win (pre-vote, KIP-996), and asking for votes.

use super::exchange::{Effect, Event, VoteRecord};
use super::follower::Observer;
use super::leader::Leader;
use super::message::{BeginEpoch, EndEpoch, FetchRequest, Message, VoteReply, VoteRequest};
use super::voters::{ReplicaKey, Voter, VoterSet};
use super::{ControlRecord, LeaderChange, LogBatch, Quorum, Role, SOMEBODY, control_batch};
use crate::ids::{BrokerId, DirectoryId, LeaderEpoch};
use crate::machine::Outbox;
use crate::time::{Instant, Now};
use crate::{guard, planted};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What a voter without a leader has.
#[derive(Clone, Copy, Debug)]
pub struct Unattached {
    /// When it stops waiting for a leader and asks whether it may be one.
    pub election_at: Instant,
    /// When it asks the next peer who leads.
    pub probe_at: Instant,
}

/// What a prospective or a candidate has.
#[derive(Clone, Debug)]
pub struct Poll {
    /// Who said yes, itself included, with the disk that said so.
    pub granted: BTreeMap<BrokerId, DirectoryId>,
    /// Who said no.
    pub rejected: BTreeSet<BrokerId>,
    /// When it stops waiting for answers.
    pub ends_at: Instant,
    /// The leader that it gave up.
    pub lost: Option<ReplicaKey>,
}

impl Quorum {
    /// The state of a replica without a leader, by whether it votes.
    pub(super) fn detached(&self, now: Instant, election_delay: Duration) -> Role {
        if self.may_lead() {
            Role::Unattached(Unattached { election_at: now + election_delay, probe_at: now })
        } else {
            Role::Observer(Observer::searching(now))
        }
    }

    /// How long a voter waits for a leader to show up before it campaigns.
    fn election_delay(&mut self) -> Duration {
        self.config.election_timeout + self.random.up_to(self.config.election_timeout)
    }

    fn poll_duration(&mut self) -> Duration {
        self.config.election_timeout / 4 + self.random.up_to(self.config.election_timeout / 4)
    }

    /// A newer epoch, whose leader is not known.
    pub(super) fn enter_epoch(&mut self, now: Now, epoch: LeaderEpoch, out: &mut Outbox<Effect>) {
        self.leave_leadership("another replica is in a newer epoch", out);
        self.promise(VoteRecord { epoch, voted_for: None }, out);
        let delay = self.election_delay();
        self.role = self.detached(now.mono, delay);
    }

    pub(super) fn unattached_timeout(&mut self, now: Now, out: &mut Outbox<Effect>) {
        let Role::Unattached(state) = self.role else { return };
        if state.election_at <= now.mono {
            return self.campaign(now, None, out);
        }
        if state.probe_at <= now.mono {
            self.probe(out);
            let backoff = self.config.retry_backoff;
            let probe_at = now.mono + backoff + self.random.up_to(backoff);
            self.role = Role::Unattached(Unattached { probe_at, ..state });
        }
    }

    /// Asks some other voter who leads; while none is known, some peer that is there.
    pub(super) fn probe(&mut self, out: &mut Outbox<Effect>) {
        let me = self.me.id;
        let mut others: Vec<BrokerId> =
            self.voters().keys().map(|key| key.id).filter(|id| *id != me).collect();
        if self.voters().is_empty() {
            others.extend(&self.met);
        }
        if others.is_empty() {
            return;
        }
        let to = others[self.random.below(others.len())];
        let request = self.fetch_request();
        self.send(to, Message::Fetch(request), out);
    }

    /// Whoever leads counts what a fetch names as held, also one that only looks for the leader (CQ-02).
    pub(super) fn fetch_request(&mut self) -> FetchRequest {
        let offset = planted!(QuorumFetchFlushed, self.log.end, self.log.flushed);
        FetchRequest {
            epoch: self.epoch(),
            correlation: self.correlation(),
            offset,
            last_epoch: self.log.epoch_before(offset),
            high_watermark: self.high_watermark,
        }
    }

    /// Asks the others whether they would vote for this replica. `lost` is the leader it gave up.
    pub(super) fn campaign(&mut self, now: Now, lost: Option<ReplicaKey>, out: &mut Outbox<Effect>) {
        if !self.may_lead() {
            self.role = self.detached(now.mono, Duration::ZERO);
            return;
        }
        if self.is_sole_voter() {
            return self.run_for_leader(now, out);
        }
        let poll = self.open_poll(now, lost);
        self.role = Role::Prospective(poll);
        self.ask_for_votes(true, out);
    }

    fn open_poll(&mut self, now: Now, lost: Option<ReplicaKey>) -> Poll {
        let ends_at = now.mono + self.poll_duration();
        let own = self.is_voter().then_some((self.me.id, self.me.directory_id));
        let granted = own.into_iter().collect();
        Poll { granted, rejected: BTreeSet::new(), ends_at, lost }
    }

    fn ask_for_votes(&mut self, is_pre_vote: bool, out: &mut Outbox<Effect>) {
        let (epoch, end, last_epoch) = (self.epoch(), self.log.end, self.log.last_epoch());
        let others: Vec<ReplicaKey> = self.voters().keys().filter(|key| key.id != self.me.id).collect();
        for key in others {
            let request = VoteRequest { epoch, is_pre_vote, to: key.directory_id, end, last_epoch };
            self.send(key.id, Message::Vote(request), out);
        }
    }

    /// Becomes a candidate of the next epoch.
    fn run_for_leader(&mut self, now: Now, out: &mut Outbox<Effect>) {
        let epoch = self.epoch().next();
        let poll = self.open_poll(now, None);
        self.promise(VoteRecord { epoch, voted_for: Some(self.me) }, out);
        self.role = Role::Candidate(poll);
        if self.is_sole_voter() {
            if self.is_vote_stored() {
                self.lead(now, out);
            }
            return;
        }
        out.push(Effect::Log(Event::Campaign { epoch }));
        self.ask_for_votes(false, out);
    }

    /// Nobody won: waits a little, so that the others are not met again at the same moment.
    pub(super) fn poll_timeout(&mut self, now: Now) {
        let delay = self.random.up_to(self.config.election_timeout / 4);
        self.role = self.detached(now.mono, delay);
    }

    pub(super) fn handle_vote(
        &mut self,
        now: Now,
        from: ReplicaKey,
        request: &VoteRequest,
        out: &mut Outbox<Effect>,
    ) {
        let is_for_me = request.to == DirectoryId::UNKNOWN || request.to == self.me.directory_id;
        let mut is_granted = false;
        if guard!(QuorumDirectoryId, is_for_me) && request.epoch >= self.epoch() {
            if request.epoch > self.epoch() {
                self.enter_epoch(now, request.epoch, out);
            }
            is_granted = match request.is_pre_vote {
                true => self.would_vote(request),
                false => self.give_vote(now, from, request, out),
            };
        }
        let reply = VoteReply {
            epoch: self.epoch(),
            leader: self.leader(),
            asked_epoch: request.epoch,
            is_pre_vote: request.is_pre_vote,
            is_granted,
        };
        self.send(from.id, Message::VoteReply(reply), out);
    }

    /// Whether the asker's log has everything that may be committed as far as this one tells.
    fn is_up_to_date(&self, request: &VoteRequest) -> bool {
        let is_up_to_date = (request.last_epoch, request.end) >= (self.log.last_epoch(), self.log.end);
        guard!(QuorumVoteLogUpToDate, is_up_to_date)
    }

    /// A pre-vote: no while a leader is known to be alive (KIP-996).
    fn would_vote(&self, request: &VoteRequest) -> bool {
        let has_live_leader = match &self.role {
            Role::Leader(_) => true,
            Role::Follower(state) => state.has_fetched && self.dead != Some(state.leader.id),
            Role::Observer(state) => state.leader.is_some_and(|leader| self.dead != Some(leader.id)),
            _ => false,
        };
        guard!(QuorumPreVoteNoLeader, !has_live_leader) && self.is_up_to_date(request)
    }

    fn give_vote(
        &mut self,
        now: Now,
        from: ReplicaKey,
        request: &VoteRequest,
        out: &mut Outbox<Effect>,
    ) -> bool {
        let is_free = match self.vote.voted_for {
            None => self.leader().is_none(),
            Some(voted_for) => voted_for == from,
        };
        if !guard!(QuorumVoteOnce, is_free) || !self.is_up_to_date(request) {
            return false;
        }
        if matches!(self.role, Role::Leader(_)) {
            return false;
        }
        self.promise(VoteRecord { epoch: self.epoch(), voted_for: Some(from) }, out);
        let delay = self.election_delay();
        self.role = self.detached(now.mono, delay);
        true
    }

    pub(super) fn handle_vote_reply(
        &mut self,
        now: Now,
        from: ReplicaKey,
        reply: &VoteReply,
        out: &mut Outbox<Effect>,
    ) {
        if reply.epoch > self.epoch() {
            return self.learn_leader(now, reply.epoch, reply.leader, out);
        }
        let is_pre_vote = match &self.role {
            Role::Prospective(_) => true,
            Role::Candidate(_) => false,
            _ => return,
        };
        let is_current = reply.asked_epoch == self.epoch() && reply.is_pre_vote == is_pre_vote;
        if !guard!(QuorumVoteReplyCurrent, is_current) || !self.voters().contains(from) {
            return;
        }
        let (Role::Prospective(poll) | Role::Candidate(poll)) = &mut self.role else { return };
        if reply.is_granted {
            poll.granted.insert(from.id, from.directory_id);
            return self.count_votes(now, out);
        }
        poll.rejected.insert(from.id);
        let known = reply.leader.filter(|_| reply.epoch == self.vote.epoch);
        if let Some(leader) = known.filter(|leader| self.dead != Some(leader.id)) {
            // It leads still, or others hear it: this replica was cut off alone.
            return self.learn_leader(now, reply.epoch, Some(leader), out);
        }
        self.count_rejections(now);
    }

    fn count_rejections(&mut self, now: Now) {
        let (len, majority) = (self.voters().len(), self.voters().majority());
        let (Role::Prospective(poll) | Role::Candidate(poll)) = &mut self.role else { return };
        if poll.rejected.len() > len - majority {
            let delay = self.random.up_to(self.config.election_timeout / 8);
            poll.ends_at = poll.ends_at.min(now.mono + delay);
        }
    }

    /// Whether so many votes elect. With disks not known, a wiped one could pass for the voter it replaced: then
    /// everybody must agree that there is nothing to lose.
    fn is_elected(voters: &VoterSet, granted: usize) -> bool {
        let needed = if voters.is_pinned() { voters.majority() } else { voters.len() };
        guard!(QuorumMajority, granted >= needed)
    }

    pub(super) fn count_votes(&mut self, now: Now, out: &mut Outbox<Effect>) {
        match &self.role {
            Role::Prospective(poll) if Self::is_elected(self.voters(), poll.granted.len()) => {
                self.run_for_leader(now, out);
            }
            Role::Candidate(poll) if Self::is_elected(self.voters(), poll.granted.len()) => {
                self.lead(now, out);
            }
            _ => {}
        }
    }

    /// Elected: writes the epoch's first record, and who votes if nothing tells yet.
    fn lead(&mut self, now: Now, out: &mut Outbox<Effect>) {
        let Role::Candidate(poll) = &self.role else { unreachable!("a leader was a candidate") };
        let granted = poll.granted.clone();
        let voters = self.voters().clone();
        let granting: Vec<BrokerId> = granted.keys().copied().collect();
        let change = LeaderChange {
            leader: self.me.id,
            voters: voters.keys().map(|key| key.id).collect(),
            granting: granting.clone(),
        };
        let mut records = vec![ControlRecord::LeaderChange(change)];
        if !self.log.has_voters_record || !voters.is_pinned() {
            let pinned = voters.iter().map(|(id, voter)| {
                let directory_id = *granted.get(&id).unwrap_or(&voter.directory_id);
                (id, Voter { directory_id, ..voter.clone() })
            });
            records.push(ControlRecord::Voters(VoterSet::new(pinned)));
        }
        let (epoch, epoch_start) = (self.epoch(), self.log.end);
        self.role = Role::Leader(Box::new(Leader::new(epoch_start, granting.clone(), now.mono)));
        out.push(Effect::Log(Event::Elected { epoch, granting }));
        let batch = control_batch(&records, now.wall);
        self.append(now, LogBatch::stamped(&batch, epoch_start, epoch), out);
    }

    /// Somebody told who leads, or that an epoch is newer.
    pub(super) fn learn_leader(
        &mut self,
        now: Now,
        epoch: LeaderEpoch,
        leader: Option<ReplicaKey>,
        out: &mut Outbox<Effect>,
    ) {
        match leader.filter(|leader| leader.id != self.me.id && *leader != SOMEBODY) {
            Some(leader) => self.follow(now, epoch, leader, out),
            None if epoch > self.epoch() => self.enter_epoch(now, epoch, out),
            None => {}
        }
    }

    pub(super) fn handle_begin_epoch(
        &mut self,
        now: Now,
        from: ReplicaKey,
        begin: &BeginEpoch,
        out: &mut Outbox<Effect>,
    ) {
        if !guard!(QuorumEpochNotStale, begin.epoch >= self.epoch()) {
            return;
        }
        if begin.to != DirectoryId::UNKNOWN && begin.to != self.me.directory_id {
            // Meant for the disk that this one replaced. It is a leader all the same.
            out.push(Effect::Log(Event::ForeignDirectory(self.me)));
        }
        self.follow(now, begin.epoch, from, out);
    }

    /// The leader stops: the best successor campaigns at once, the others a little later.
    pub(super) fn handle_end_epoch(&mut self, now: Now, from: ReplicaKey, end: &EndEpoch) {
        let backoff = self.config.retry_backoff;
        let me = self.me.id;
        let Role::Follower(state) = &mut self.role else { return };
        if end.epoch != self.vote.epoch || state.leader != from {
            return;
        }
        let rank = end.successors.iter().position(|id| *id == me).unwrap_or(end.successors.len());
        let rank = u32::try_from(rank.min(16)).expect("at most 16");
        self.dead = Some(from.id);
        state.lost_at = state.lost_at.min(now.mono + backoff * (2 * rank));
    }

    /// The leader's process seems dead. Voters wait by rank, so that they do not meet in one election.
    pub(super) fn link_down(&mut self, now: Now, peer: BrokerId) {
        let is_leader = self.leader().is_some_and(|leader| leader.id == peer);
        if !is_leader || peer == self.me.id {
            return;
        }
        self.dead = Some(peer);
        let me = self.me.id;
        let rank = self.voters().keys().filter(|key| key.id != peer && key.id < me).count();
        let rank = u32::try_from(rank.min(16)).expect("at most 16");
        let delay = self.config.retry_backoff * (2 * rank) + self.random.up_to(self.config.retry_backoff / 4);
        if let Role::Follower(state) = &mut self.role {
            state.lost_at = state.lost_at.min(now.mono + delay);
        }
    }
}
