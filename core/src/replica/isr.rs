//! The in-sync replicas of a partition as its leader sees them: committed, proposed, and how far each follower is.
//!
//! The controller owns the ISR; a leader proposes (KIP-497). Between proposal and answer either may be in force, so
//! the replicas whose ends bound the high watermark are the *union* of both, the maximal ISR (PR-05). One proposal is
//! out at a time; it is sent again until an answer or a newer registration settles it.
//!
//! A proposal may reach the controller more than once, late, and behind the next one; one copy may be refused and
//! another carried out. So a refusal settles nothing: whoever was proposed at a registration counts until there is a
//! newer one, which voids every copy (they compare and set). If a refused proposal was to let somebody in, the ISR
//! without it is proposed at once: the controller takes that even where it changes nothing, as a registration of its own.

use super::exchange::{IsrMember, IsrRefusal, Leadership};
use crate::guard;
use crate::ids::{BrokerEpoch, BrokerId, LeaderEpoch, Offset, PartitionEpoch};
use crate::planted;
use crate::time::Instant;
use std::collections::BTreeMap;
use std::time::Duration;

/// When a proposal without an answer is sent again.
const PROPOSAL_RETRY: Duration = Duration::from_millis(1000);

/// The first pause after a refusal because a member was not eligible: a broker that has just started is let in in a
/// moment. Whoever was to join waits twice as long after each further one, up to eight times as long.
const INELIGIBLE_PAUSE: Duration = Duration::from_millis(200);
const INELIGIBLE_DOUBLINGS_MAX: u32 = 3;

/// How far a follower is, by its fetches of this leader epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Progress {
    /// The life of the broker that fetched. Read together with the rest: a life's progress is no other's (KAFKA-15221).
    pub(super) broker_epoch: BrokerEpoch,
    /// Where its log ends.
    pub(super) end: Offset,
    /// Where its log starts.
    pub(super) log_start: Offset,
    /// When it last had everything that the leader then had.
    caught_up_at: Instant,
    /// When it last fetched, and where the leader's log ended then: one fetch behind is caught up as of that fetch.
    fetched_at: Instant,
    leader_end_then: Offset,
    /// From when on it may be proposed: at once after a fetch, after a pause if it has left the ISR, as its next fetch
    /// may have come before that was heard and an idle follower has nothing more to tell; and after a pause whatever it
    /// fetches if it was refused.
    candidate_from: Instant,
    /// How often this life of it was refused since it was last in the ISR.
    refusals: u32,
}

/// What a follower told with a fetch that was found good.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fetched {
    pub(super) broker_epoch: BrokerEpoch,
    pub(super) end: Offset,
    pub(super) log_start: Offset,
}

/// A proposal that is not settled.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Proposal {
    isr: Vec<IsrMember>,
    retry_at: Instant,
}

impl Proposal {
    /// Whether this is what was asked of the controller, where every member has a life.
    fn asked(&self, asked: &[IsrMember]) -> bool {
        let is_meant = |(meant, asked): (&IsrMember, &IsrMember)| {
            meant.broker == asked.broker
                && (meant.broker_epoch.is_none() || meant.broker_epoch == asked.broker_epoch)
        };
        self.isr.len() == asked.len() && self.isr.iter().zip(asked).all(is_meant)
    }
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Isr {
    broker: BrokerId,
    pub(super) partition_epoch: PartitionEpoch,
    pub(super) replicas: Vec<BrokerId>,
    /// Committed.
    pub(super) members: Vec<BrokerId>,
    /// The newest proposal, until it is refused.
    proposal: Option<Proposal>,
    /// Committed, and everybody who was proposed at this registration.
    maximal: Vec<BrokerId>,
    pub(super) followers: BTreeMap<BrokerId, Progress>,
    /// Whom the controller would not let in (KIP-841): they may have caught up, and go on fetching until they are gone.
    pub(super) inactive: Vec<BrokerId>,
    led_since: Instant,
    /// Nothing is proposed before.
    resume_at: Option<Instant>,
}

/// A proposal to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ToPropose {
    pub(super) partition_epoch: PartitionEpoch,
    pub(super) isr: Vec<IsrMember>,
}

impl Isr {
    pub(super) fn new(broker: BrokerId, leadership: Leadership, now: Instant) -> Self {
        let Leadership { partition_epoch, replicas, isr, .. } = leadership;
        Self {
            broker,
            partition_epoch,
            replicas,
            maximal: isr.clone(),
            members: isr,
            proposal: None,
            followers: BTreeMap::new(),
            inactive: Vec::new(),
            led_since: now,
            resume_at: None,
        }
    }

    /// Takes a newer registration of the same leadership: it settles whatever was proposed.
    pub(super) fn settle(&mut self, now: Instant, leadership: Leadership) {
        let Leadership { partition_epoch, replicas, isr, .. } = leadership;
        self.partition_epoch = partition_epoch;
        self.followers.retain(|broker, _| replicas.contains(broker));
        self.replicas = replicas;
        self.take_members(now, isr);
    }

    /// Whether this is the registration that an accepted proposal has made, told by the metadata now.
    pub(super) fn knows(&self, leadership: &Leadership) -> bool {
        self.partition_epoch == leadership.partition_epoch
    }

    /// Takes over what the answer to a proposal does not tell: a reassignment ends with the ISR that completes it.
    pub(super) fn take_replicas(&mut self, replicas: Vec<BrokerId>) {
        let is_replica = |broker: &BrokerId| replicas.contains(broker);
        self.followers.retain(|broker, _| is_replica(broker));
        // Nobody who is no replica is ever let in.
        self.maximal.retain(is_replica);
        self.proposal.take_if(|proposal| !proposal.isr.iter().all(|member| is_replica(&member.broker)));
        self.replicas = replicas;
    }

    fn take_members(&mut self, now: Instant, isr: Vec<BrokerId>) {
        for (broker, progress) in &mut self.followers {
            if isr.contains(broker) {
                progress.refusals = 0;
            } else if self.members.contains(broker) {
                progress.candidate_from = now + PROPOSAL_RETRY;
            }
        }
        self.members = isr;
        self.proposal = None;
        self.resume_at = None;
        self.maximal = self.members.clone();
    }

    /// The replicas whose ends bound the high watermark.
    pub(super) fn maximal(&self) -> &[BrokerId] {
        planted!(HighWatermarkMaximalIsr, &self.members, &self.maximal)
    }

    /// Notes a follower's progress, if it is of the broker's newest life.
    pub(super) fn fetched(&mut self, now: Instant, broker: BrokerId, fetched: Fetched, leader_end: Offset) {
        let Fetched { broker_epoch, end, log_start } = fetched;
        let known = self.followers.get(&broker).copied();
        if !guard!(FollowerBrokerEpoch, known.is_none_or(|known| broker_epoch >= known.broker_epoch)) {
            return;
        }
        let known = known.filter(|known| known.broker_epoch == broker_epoch);
        let mut caught_up_at = known.map_or(self.led_since, |known| known.caught_up_at);
        if end >= leader_end {
            caught_up_at = now;
        } else if let Some(known) = known
            && end >= known.leader_end_then
        {
            caught_up_at = caught_up_at.max(known.fetched_at);
        }
        let refused = known.filter(|known| known.refusals > 0);
        let progress = Progress {
            broker_epoch,
            end,
            log_start,
            caught_up_at,
            fetched_at: now,
            leader_end_then: leader_end,
            candidate_from: refused.map_or(now, |known| known.candidate_from),
            refusals: refused.map_or(0, |known| known.refusals),
        };
        self.followers.insert(broker, progress);
    }

    /// The leader's log grew beyond `before`: whoever had everything until now begins to lag.
    pub(super) fn log_grew(&mut self, now: Instant, before: Offset) {
        for progress in self.followers.values_mut() {
            if progress.end >= before {
                progress.caught_up_at = now;
            }
        }
    }

    /// What is to be proposed now, or proposed again.
    ///
    /// A follower joins once it has reached the high watermark *and* the start of this epoch: until then it is not
    /// proven to hold all that an earlier leader committed (PR-04). That the high watermark itself is known is no
    /// condition: below `min.insync.replicas` it would never be. Nor does it bring back what was deleted. A follower
    /// leaves once it has lagged for `replica.lag.time.max.ms`.
    pub(super) fn propose(
        &mut self,
        now: Instant,
        leader: &LeaderEnds,
        lag_max: Duration,
    ) -> Option<ToPropose> {
        let partition_epoch = self.partition_epoch;
        if let Some(proposal) = &mut self.proposal {
            if now < proposal.retry_at {
                return None;
            }
            proposal.retry_at = now + PROPOSAL_RETRY;
            return Some(ToPropose { partition_epoch, isr: proposal.isr.clone() });
        }
        if self.resume_at.is_some_and(|at| now < at) {
            return None;
        }
        self.resume_at = None;
        let joins: Vec<_> = self.joining(now, leader).collect();
        let stays = |member: &BrokerId| !self.is_lagging(*member, now, leader.end, lag_max);
        let mut next: Vec<_> = self.members.iter().copied().filter(stays).collect();
        if joins.is_empty() && next.len() == self.members.len() && !self.has_unsettled() {
            return None;
        }
        next.extend(joins);
        let isr: Vec<_> = next.iter().map(|broker| self.member(*broker)).collect();
        for broker in next {
            if !self.maximal.contains(&broker) {
                self.maximal.push(broker);
            }
        }
        self.proposal = Some(Proposal { isr: isr.clone(), retry_at: now + PROPOSAL_RETRY });
        Some(ToPropose { partition_epoch, isr })
    }

    /// Whether somebody may be in the ISR by a copy of a proposal that was refused.
    fn has_unsettled(&self) -> bool {
        self.maximal.len() > self.members.len()
    }

    fn member(&self, broker: BrokerId) -> IsrMember {
        IsrMember { broker, broker_epoch: self.followers.get(&broker).map(|progress| progress.broker_epoch) }
    }

    fn joining<'a>(&'a self, now: Instant, leader: &'a LeaderEnds) -> impl Iterator<Item = BrokerId> + 'a {
        let is_due = move |(_, progress): &(_, &Progress)| progress.candidate_from <= now;
        self.candidates(leader).filter(is_due).map(|(broker, _)| broker)
    }

    /// Who is active, outside of the ISR, and could be inside.
    fn candidates<'a>(
        &'a self,
        leader: &'a LeaderEnds,
    ) -> impl Iterator<Item = (BrokerId, &'a Progress)> + 'a {
        let is_outside = |broker| !self.members.contains(broker) && !self.inactive.contains(broker);
        let outside = self.followers.iter().filter(move |(broker, _)| is_outside(broker));
        outside.filter_map(|(broker, progress)| {
            (progress.end >= leader.high_watermark
                && guard!(IsrGrowthEpochStart, progress.end >= leader.epoch_start)
                && guard!(IsrGrowthLogStart, progress.log_start >= leader.deleted_before))
            .then_some((*broker, progress))
        })
    }

    fn is_lagging(&self, member: BrokerId, now: Instant, leader_end: Offset, lag_max: Duration) -> bool {
        self.lag_deadline(member, leader_end, lag_max).is_some_and(|at| now >= at)
    }

    /// When a member that lacks something has lagged for too long.
    fn lag_deadline(&self, member: BrokerId, leader_end: Offset, lag_max: Duration) -> Option<Instant> {
        if member == self.broker {
            return None;
        }
        match self.followers.get(&member) {
            Some(progress) if progress.end >= leader_end => None,
            Some(progress) => Some(progress.caught_up_at + lag_max),
            // Nothing was heard of it in this epoch: the lag counts from the epoch's begin.
            None => Some(self.led_since + lag_max),
        }
    }

    /// When something is to be proposed, or proposed again, if nothing is heard until then.
    pub(super) fn next_timeout(&self, leader: &LeaderEnds, lag_max: Duration) -> Option<Instant> {
        if let Some(proposal) = &self.proposal {
            return Some(proposal.retry_at);
        }
        if self.has_unsettled() {
            return Some(self.resume_at.unwrap_or(self.led_since));
        }
        if self.replicas.len() == 1 {
            return None;
        }
        let lags = self.members.iter().filter_map(|member| self.lag_deadline(*member, leader.end, lag_max));
        let joins = self.candidates(leader).map(|(_, progress)| progress.candidate_from);
        match (lags.chain(joins).min(), self.resume_at) {
            (Some(next), Some(resume)) => Some(next.max(resume)),
            (next, resume) => next.or(resume),
        }
    }

    /// Takes the controller's answer to a proposal made at `proposed_at`; whether the ISR may have changed by it.
    ///
    /// Only the newest proposal can be refused: a late answer must not settle a newer one (PR-14).
    pub(super) fn answered(
        &mut self,
        now: Instant,
        (proposed_at, proposed): (PartitionEpoch, &[IsrMember]),
        answer: Result<(PartitionEpoch, Vec<BrokerId>), IsrRefusal>,
        lag_max: Duration,
    ) -> bool {
        match answer {
            Ok((partition_epoch, isr)) => {
                if !guard!(IsrAnswerCurrent, partition_epoch > self.partition_epoch) {
                    return false;
                }
                self.partition_epoch = partition_epoch;
                self.take_members(now, isr);
                true
            }
            Err(refusal) => {
                let is_newest = self.proposal.as_ref().is_some_and(|proposal| proposal.asked(proposed));
                if !guard!(IsrAnswerCurrent, proposed_at == self.partition_epoch && is_newest) {
                    return false;
                }
                self.refused(now, refusal, lag_max)
            }
        }
    }

    fn refused(&mut self, now: Instant, refusal: IsrRefusal, lag_max: Duration) -> bool {
        let Some(proposal) = &mut self.proposal else { return false };
        match refusal {
            // A newer registration is on its way here; it may be the proposed one.
            IsrRefusal::Stale => {
                proposal.retry_at = now + lag_max;
                false
            }
            IsrRefusal::Retry => {
                proposal.retry_at = now + PROPOSAL_RETRY;
                false
            }
            IsrRefusal::Ineligible => {
                let refused = self.proposal.take().map(|proposal| proposal.isr).unwrap_or_default();
                let mut has_joining = false;
                for IsrMember { broker, .. } in refused {
                    if !self.members.contains(&broker)
                        && let Some(progress) = self.followers.get_mut(&broker)
                    {
                        has_joining = true;
                        let doublings = progress.refusals.min(INELIGIBLE_DOUBLINGS_MAX);
                        progress.candidate_from = now + INELIGIBLE_PAUSE * (1 << doublings);
                        progress.refusals += 1;
                    }
                }
                // Another copy of the refused may be carried out yet.
                self.maximal =
                    planted!(IsrRefusedCounts, self.members.clone(), std::mem::take(&mut self.maximal));
                self.resume_at = (!has_joining).then(|| now + INELIGIBLE_PAUSE);
                true
            }
        }
    }

    pub(super) fn assert_invariants(&self) {
        assert!(self.members.contains(&self.broker), "a leader is in its ISR");
        assert!(
            self.members.iter().all(|member| self.replicas.contains(member)),
            "the ISR is among the replicas"
        );
        assert!(
            self.members.iter().all(|member| self.maximal.contains(member)),
            "the maximal ISR has every committed member"
        );
        if let Some(proposal) = &self.proposal {
            assert!(
                proposal.isr.iter().all(|member| self.maximal.contains(&member.broker)),
                "the maximal ISR has every proposed member"
            );
        }
        assert!(
            self.followers.keys().all(|broker| self.replicas.contains(broker) && *broker != self.broker),
            "progress is of other replicas only"
        );
    }
}

/// A leader's offsets that a follower is measured by.
#[derive(Clone, Copy, Debug)]
pub(super) struct LeaderEnds {
    pub(super) end: Offset,
    pub(super) high_watermark: Offset,
    pub(super) epoch_start: Offset,
    /// No record before it is ever to be seen again.
    pub(super) deleted_before: Offset,
}

/// Whether a follower's fetch is of the epoch that the leader is in.
pub(super) fn is_of_epoch(named: LeaderEpoch, leader_epoch: LeaderEpoch) -> bool {
    guard!(FollowerFetchEpoch, named == leader_epoch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_that_is_about_to_stop_is_not_proposed_until_it_is_active_again() {
        let now = Instant::ZERO;
        let leadership = Leadership {
            leader_epoch: LeaderEpoch(1),
            partition_epoch: PartitionEpoch(1),
            replicas: vec![BrokerId(1), BrokerId(2), BrokerId(3)],
            isr: vec![BrokerId(1)],
        };
        let mut isr = Isr::new(BrokerId(1), leadership, now);
        let ends = LeaderEnds {
            end: Offset(5),
            high_watermark: Offset(5),
            epoch_start: Offset(0),
            deleted_before: Offset(0),
        };
        let fetched = Fetched { broker_epoch: BrokerEpoch(7), end: Offset(5), log_start: Offset(0) };
        let lag_max = Duration::from_secs(10);
        isr.inactive = vec![BrokerId(2)];
        isr.fetched(now, BrokerId(2), fetched, Offset(5));
        assert_eq!(isr.propose(now, &ends, lag_max), None);
        assert_eq!(isr.next_timeout(&ends, lag_max), None, "nothing is waited for");
        isr.inactive = Vec::new();
        let proposed = isr.propose(now, &ends, lag_max).expect("it has caught up");
        let brokers: Vec<_> = proposed.isr.iter().map(|member| member.broker).collect();
        assert_eq!(brokers, [BrokerId(1), BrokerId(2)]);
    }
}
