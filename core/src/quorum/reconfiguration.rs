//! Changing who votes, one voter at a time (KIP-853): only after a commit of the leader's own epoch, and not while
//! another change is uncommitted; else two disjoint majorities could exist (CQ-05).

use super::control::{ControlRecord, LogBatch, control_batch};
use super::exchange::{Effect, VoterChangeError};
use super::voters::{ReplicaKey, Voter, VoterSet};
use super::{Quorum, Role};
use crate::guard;
use crate::ids::{BrokerId, Token};
use crate::machine::Outbox;
use crate::time::Now;

impl Quorum {
    pub(super) fn add_voter(
        &mut self,
        now: Now,
        token: Token,
        id: BrokerId,
        voter: Voter,
        out: &mut Outbox<Effect>,
    ) {
        let key = ReplicaKey { id, directory_id: voter.directory_id };
        let checked = self.check_change().and_then(|()| match self.voters().get(id) {
            Some(_) => Err(VoterChangeError::Duplicate),
            None if !self.is_caught_up(now, key) => Err(VoterChangeError::NotCaughtUp),
            None => Ok(self.voters().with(id, voter)),
        });
        self.change_voters(now, Some(token), checked, out);
    }

    pub(super) fn remove_voter(
        &mut self,
        now: Now,
        token: Token,
        voter: ReplicaKey,
        out: &mut Outbox<Effect>,
    ) {
        let checked = self.check_change().and_then(|()| match self.voters().contains(voter) {
            false => Err(VoterChangeError::Unknown),
            true if self.voters().len() == 1 => Err(VoterChangeError::LastVoter),
            true => Ok(self.voters().without(voter.id)),
        });
        self.change_voters(now, Some(token), checked, out);
    }

    /// The same voter at another address: no majority changes.
    pub(super) fn update_voter(&mut self, now: Now, id: BrokerId, voter: Voter, out: &mut Outbox<Effect>) {
        let key = ReplicaKey { id, directory_id: voter.directory_id };
        let is_other = self.voters().get(id).is_some_and(|known| *known != voter);
        if is_other && self.voters().contains(key) && self.check_change().is_ok() {
            let voters = self.voters().with(id, voter);
            self.change_voters(now, None, Ok(voters), out);
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

    /// Whether a majority that needs this replica would not wait for it.
    fn is_caught_up(&self, now: Now, key: ReplicaKey) -> bool {
        let Role::Leader(state) = &self.role else { return false };
        let known = state.replicas.get(&key).and_then(|known| known.caught_up_at);
        known.is_some_and(|at| at + self.config.fetch_timeout > now.mono)
    }

    fn change_voters(
        &mut self,
        now: Now,
        token: Option<Token>,
        checked: Result<VoterSet, VoterChangeError>,
        out: &mut Outbox<Effect>,
    ) {
        match checked {
            Ok(voters) => {
                let offset = self.log.end;
                self.change = token.map(|token| (token, offset));
                let batch = control_batch(&[ControlRecord::Voters(voters)], now.wall);
                self.append(now, LogBatch::stamped(&batch, offset, self.epoch()), out);
                self.advance_high_watermark(now, out);
            }
            Err(error) => {
                if let Some(token) = token {
                    out.push(Effect::VoterChange { token, result: Err(error) });
                }
            }
        }
    }

    /// Answers the operator once the change is committed. A leader that removed itself goes then.
    pub(super) fn finish_voter_change(&mut self, now: Now, out: &mut Outbox<Effect>) {
        if let Some((token, offset)) = self.change
            && offset < self.high_watermark
        {
            self.change = None;
            out.push(Effect::VoterChange { token, result: Ok(()) });
        }
        let is_committed = self.log.voters.changed_at().is_none_or(|at| at < self.high_watermark);
        if is_committed && !self.is_voter() {
            self.serve_parked(now, out);
            self.resign(now, "it is no voter any more", out);
        }
    }
}
