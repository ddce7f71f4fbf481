//! Changing who votes, one voter at a time (KIP-853): only after a commit of the leader's own epoch, and not while
//! another change is uncommitted; else two disjoint majorities could exist (CQ-05). A new voter is waited for until it
//! has caught up: a majority that needs it would not commit before.

use super::control::{ControlRecord, LogBatch, control_batch};
use super::exchange::{Effect, VoterChangeError};
use super::voters::{ReplicaKey, Voter, VoterSet};
use super::{Quorum, Role};
use crate::guard;
use crate::ids::{BrokerId, Token};
use crate::machine::Outbox;
use crate::time::{Instant, Now};
use std::time::Duration;

/// So many may wait for the same new voter: whoever hears nothing asks again.
const WAITING_MAX: usize = 16;

/// A voter to be.
#[derive(Debug)]
pub(super) struct Joining {
    id: BrokerId,
    voter: Voter,
    /// Who waits for it.
    pub(super) tokens: Vec<Token>,
    /// When it is given up.
    until: Instant,
}

impl Joining {
    const fn key(&self) -> ReplicaKey {
        ReplicaKey { id: self.id, directory_id: self.voter.directory_id }
    }
}

impl Quorum {
    pub(super) fn add_voter(
        &mut self,
        now: Now,
        token: Token,
        id: BrokerId,
        voter: Voter,
        wait: Duration,
        out: &mut Outbox<Effect>,
    ) {
        let key = ReplicaKey { id, directory_id: voter.directory_id };
        if let Some(joining) = self.joining.as_mut().filter(|joining| joining.key() == key)
            && joining.tokens.len() < WAITING_MAX
        {
            joining.tokens.push(token);
            joining.until = joining.until.max(now.mono + wait);
            return;
        }
        let checked = self.check_no_other().and_then(|()| match self.voters().get(id) {
            Some(_) => Err(VoterChangeError::Duplicate),
            None => Ok(()),
        });
        if let Err(error) = checked {
            return answer(vec![token], Err(error), out);
        }
        self.joining = Some(Joining { id, voter, tokens: vec![token], until: now.mono + wait });
        self.let_join(now, out);
        self.give_joining_up(now, out);
    }

    pub(super) fn remove_voter(
        &mut self,
        now: Now,
        token: Token,
        voter: ReplicaKey,
        out: &mut Outbox<Effect>,
    ) {
        let checked = self.check_no_other().and_then(|()| match self.voters().contains(voter) {
            false => Err(VoterChangeError::Unknown),
            true if self.voters().len() == 1 => Err(VoterChangeError::LastVoter),
            true => Ok(self.voters().without(voter.id)),
        });
        match checked {
            Ok(voters) => self.change_voters(now, vec![token], voters, out),
            Err(error) => answer(vec![token], Err(error), out),
        }
    }

    /// The same voter at another address: no majority changes.
    pub(super) fn update_voter(&mut self, now: Now, id: BrokerId, voter: Voter, out: &mut Outbox<Effect>) {
        let key = ReplicaKey { id, directory_id: voter.directory_id };
        let is_other = self.voters().get(id).is_some_and(|known| *known != voter);
        if is_other && self.voters().contains(key) && self.check_change().is_ok() {
            let voters = self.voters().with(id, voter);
            self.change_voters(now, Vec::new(), voters, out);
        }
    }

    /// Whether voters may change now.
    fn check_change(&self) -> Result<(), VoterChangeError> {
        if !matches!(self.role, Role::Leader(_)) {
            return Err(VoterChangeError::NotLeader);
        }
        if !guard!(QuorumVoterChangeOwnEpoch, self.is_active()) {
            return Err(VoterChangeError::Busy);
        }
        let is_committed = self.log.voters.changed_at().is_none_or(|at| at < self.high_watermark);
        if !guard!(QuorumVoterChangeAlone, is_committed && self.change.is_none()) {
            return Err(VoterChangeError::Busy);
        }
        Ok(())
    }

    /// Whether an operator's change may begin: one at a time, those that wait for a new voter too.
    fn check_no_other(&self) -> Result<(), VoterChangeError> {
        self.check_change()?;
        if self.joining.is_some() { Err(VoterChangeError::Busy) } else { Ok(()) }
    }

    /// Whether a majority that needs this replica would not wait for it.
    fn is_caught_up(&self, now: Now, key: ReplicaKey) -> bool {
        let Role::Leader(state) = &self.role else { return false };
        let known = state.replicas.get(&key).and_then(|known| known.caught_up_at);
        known.is_some_and(|at| at + self.config.fetch_timeout > now.mono)
    }

    /// Adds the voter that was waited for, if it has caught up.
    pub(super) fn let_join(&mut self, now: Now, out: &mut Outbox<Effect>) {
        let is_ready = self.joining.as_ref().is_some_and(|joining| self.is_caught_up(now, joining.key()));
        if !is_ready || self.check_change().is_err() {
            return;
        }
        let Some(Joining { id, voter, tokens, .. }) = self.joining.take() else { return };
        let voters = self.voters().with(id, voter);
        self.change_voters(now, tokens, voters, out);
    }

    pub(super) fn joining_deadline(&self) -> Option<Instant> {
        self.joining.as_ref().map(|joining| joining.until)
    }

    /// Waits no longer for a voter whose time is up.
    pub(super) fn give_joining_up(&mut self, now: Now, out: &mut Outbox<Effect>) {
        if let Some(joining) = self.joining.take_if(|joining| joining.until <= now.mono) {
            answer(joining.tokens, Err(VoterChangeError::NotCaughtUp), out);
        }
    }

    fn change_voters(&mut self, now: Now, tokens: Vec<Token>, voters: VoterSet, out: &mut Outbox<Effect>) {
        let offset = self.log.end;
        self.change = Some((tokens, offset)).filter(|(tokens, _)| !tokens.is_empty());
        let batch = control_batch(&[ControlRecord::Voters(voters)], now.wall);
        self.append(now, LogBatch::stamped(&batch, offset, self.epoch()), out);
        self.advance_high_watermark(now, out);
    }

    /// Answers the operator once the change is committed. A leader that removed itself goes then.
    pub(super) fn finish_voter_change(&mut self, now: Now, out: &mut Outbox<Effect>) {
        let high_watermark = self.high_watermark;
        if let Some((tokens, _)) = self.change.take_if(|(_, offset)| *offset < high_watermark) {
            answer(tokens, Ok(()), out);
        }
        let is_committed = self.log.voters.changed_at().is_none_or(|at| at < self.high_watermark);
        if is_committed && !self.is_voter() {
            self.serve_parked(now, out);
            self.resign(now, "it is no voter any more", out);
        }
    }
}

fn answer(tokens: Vec<Token>, result: Result<(), VoterChangeError>, out: &mut Outbox<Effect>) {
    for token in tokens {
        out.push(Effect::VoterChange { token, result });
    }
}
