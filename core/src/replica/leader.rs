//! What only a leader has: the ISR, the followers' progress, the high watermark's rule, and who waits for it.

use super::exchange::{IsrAccepted, IsrMember, IsrRefusal};
use super::isr::{Fetched, Isr, LeaderEnds, ToPropose};
use super::{Acks, Effect, Leadership, ProduceError, Produced, Reply, Settings};
use crate::error_code::ErrorCode;
use crate::guard;
use crate::ids::{BrokerId, LeaderEpoch, Offset, PartitionEpoch, Token};
use crate::machine::Outbox;
use crate::time::Instant;
use std::collections::{BTreeMap, VecDeque};

/// Whether the high watermark can be relied on in this epoch (design rule 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HighWatermark {
    /// It has not reached the start of this leader's epoch: what is committed may be more than is known.
    Unknown,
    /// It has. From here on it is exact, and never goes back in this epoch.
    Known,
}

/// A produce that the log has not reported yet.
#[derive(Debug)]
struct InFlight {
    token: Token,
    end: Offset,
    acks: Acks,
    answer: Produced,
}

/// The state of a leader.
#[derive(Debug)]
pub struct LeaderState {
    /// The epoch of this leadership.
    pub leader_epoch: LeaderEpoch,
    /// The offset at which this epoch began.
    pub epoch_start: Offset,
    /// Whether the high watermark is exact yet.
    pub high_watermark: HighWatermark,
    pub(super) isr: Isr,
    broker: BrokerId,
    in_flight: VecDeque<InFlight>,
    /// acks=all, by the offset that the high watermark must reach.
    uncommitted: BTreeMap<(Offset, Token), Produced>,
    /// Deletions, by the log start that every replica in sync must reach.
    deletions: BTreeMap<(Offset, Token), ()>,
    /// Everything before it was deleted by requests that were answered, here or, as far as a log start tells, by the
    /// leaders before.
    deleted_before: Offset,
}

impl LeaderState {
    pub(super) fn new(
        now: Instant,
        leadership: Leadership,
        broker: BrokerId,
        epoch_start: Offset,
        high_watermark: Offset,
        log_start: Offset,
    ) -> Self {
        let known = guard!(HighWatermarkKnown, high_watermark >= epoch_start);
        Self {
            leader_epoch: leadership.leader_epoch,
            epoch_start,
            high_watermark: if known { HighWatermark::Known } else { HighWatermark::Unknown },
            isr: Isr::new(broker, leadership, now),
            broker,
            in_flight: VecDeque::new(),
            uncommitted: BTreeMap::new(),
            deletions: BTreeMap::new(),
            deleted_before: log_start,
        }
    }

    /// The newest registration.
    pub const fn partition_epoch(&self) -> PartitionEpoch {
        self.isr.partition_epoch
    }

    /// All replicas.
    pub fn replicas(&self) -> &[BrokerId] {
        &self.isr.replicas
    }

    /// Those that the controller knows to be in sync.
    pub fn isr(&self) -> &[BrokerId] {
        &self.isr.members
    }

    /// Those that may be: committed or proposed (KIP-497).
    pub fn maximal_isr(&self) -> &[BrokerId] {
        self.isr.maximal()
    }

    /// How far the followers are that have fetched in this epoch: the end that each vouches for.
    pub fn follower_ends(&self) -> impl Iterator<Item = (BrokerId, Offset)> + '_ {
        self.isr.followers.iter().map(|(broker, progress)| (*broker, progress.end))
    }

    pub(super) fn has_min_isr(&self, settings: &Settings) -> bool {
        self.isr().len() >= settings.min_isr.min(self.replicas().len())
    }

    pub(super) fn follower_fetched(&mut self, now: Instant, broker: BrokerId, fetched: Fetched, end: Offset) {
        self.isr.fetched(now, broker, fetched, end);
    }

    pub(super) fn isr_answered(
        &mut self,
        now: Instant,
        proposed: (PartitionEpoch, &[IsrMember]),
        answer: Result<IsrAccepted, IsrRefusal>,
        settings: &Settings,
    ) -> bool {
        if let Ok(accepted) = &answer
            && !guard!(IsrAnswerLeaderEpoch, accepted.leader_epoch == self.leader_epoch)
        {
            return false;
        }
        let answer = answer.map(|accepted| (accepted.partition_epoch, accepted.isr));
        self.isr.answered(now, proposed, answer, settings.lag_max)
    }

    pub(super) fn propose_isr(
        &mut self,
        now: Instant,
        end: Offset,
        high_watermark: Offset,
        settings: &Settings,
        out: &mut Outbox<Effect>,
    ) {
        let ends = self.ends(end, high_watermark);
        if let Some(ToPropose { partition_epoch, isr }) = self.isr.propose(now, &ends, settings.lag_max) {
            out.push(Effect::ProposeIsr { leader_epoch: self.leader_epoch, partition_epoch, isr });
        }
    }

    const fn ends(&self, end: Offset, high_watermark: Offset) -> LeaderEnds {
        let Self { epoch_start, deleted_before, .. } = *self;
        LeaderEnds { end, high_watermark, epoch_start, deleted_before }
    }

    /// When [`Self::propose_isr`] has something to do, if nothing is heard until then.
    pub(super) fn isr_deadline(
        &self,
        end: Offset,
        high_watermark: Offset,
        settings: &Settings,
    ) -> Option<Instant> {
        let ends = self.ends(end, high_watermark);
        self.isr.next_timeout(&ends, settings.lag_max)
    }

    /// The high watermark that follows from the present ends: the minimum over the maximal ISR, never back.
    pub(super) fn advance(&mut self, before: Offset, own_end: Offset, settings: &Settings) -> Offset {
        if !guard!(HighWatermarkMinIsr, self.has_min_isr(settings)) {
            return before;
        }
        let mut end = own_end;
        for member in self.isr.maximal() {
            if *member != self.broker {
                let Some(progress) = self.isr.followers.get(member) else { return before };
                end = end.min(progress.end);
            }
        }
        let after = end.max(before);
        if guard!(HighWatermarkKnown, after >= self.epoch_start) {
            self.high_watermark = HighWatermark::Known;
        }
        after
    }

    pub(super) fn wait(&mut self, token: Token, end: Offset, acks: Acks, answer: Produced) {
        if answer.is_duplicate && acks == Acks::All {
            self.uncommitted.insert((end, token), answer);
        } else {
            // a duplicate queues behind what is in flight, so answers keep the order of the requests
            self.in_flight.push_back(InFlight { token, end, acks, answer });
        }
    }

    /// Answers what the log's end and the high watermark have reached.
    pub(super) fn answer_appended(
        &mut self,
        log_end: Offset,
        high_watermark: Offset,
        settings: &Settings,
        out: &mut Outbox<Effect>,
    ) {
        while self.in_flight.front().is_some_and(|first| first.end <= log_end) {
            let InFlight { token, end, acks, answer } =
                self.in_flight.pop_front().expect("front was looked at");
            if acks == Acks::All && end > high_watermark {
                self.uncommitted.insert((end, token), answer);
            } else {
                self.answer_committed(token, acks, answer, settings, out);
            }
        }
        while let Some(first) = self.uncommitted.first_entry() {
            if first.key().0 > high_watermark {
                break;
            }
            let ((_, token), answer) = first.remove_entry();
            self.answer_committed(token, Acks::All, answer, settings, out);
        }
    }

    fn answer_committed(
        &self,
        token: Token,
        acks: Acks,
        answer: Produced,
        settings: &Settings,
        out: &mut Outbox<Effect>,
    ) {
        let is_enough = acks == Acks::Leader || guard!(AckMinIsr, self.has_min_isr(settings));
        let result = if is_enough { Ok(answer) } else { Err(ErrorCode::NotEnoughReplicasAfterAppend.into()) };
        out.push(Effect::Reply { token, reply: Reply::Produced(result) });
    }

    pub(super) fn wait_for_deletion(&mut self, token: Token, before: Offset) {
        self.deletions.insert((before, token), ());
    }

    /// Answers the deletions that every replica in sync has carried out, with the smallest log start of them all.
    ///
    /// A replica outside of the ISR is not waited for: it may be dead. It follows before it is let in again, and while
    /// enough are in sync nobody outside is elected.
    pub(super) fn answer_deletions(
        &mut self,
        log_start: Offset,
        settings: &Settings,
        out: &mut Outbox<Effect>,
    ) {
        if self.deletions.is_empty() || !guard!(DeletionMinIsr, self.has_min_isr(settings)) {
            return;
        }
        let others = self.isr.maximal().iter().filter(|replica| **replica != self.broker);
        let log_start_of = |replica| self.isr.followers.get(replica).map_or(Offset(-1), |p| p.log_start);
        let starts = others.map(log_start_of);
        let low_watermark = starts.fold(log_start, Offset::min);
        while let Some(first) = self.deletions.first_entry() {
            if first.key().0 > low_watermark {
                break;
            }
            let ((before, token), ()) = first.remove_entry();
            self.deleted_before = self.deleted_before.max(before);
            out.push(Effect::Reply { token, reply: Reply::RecordsDeleted(Ok(low_watermark)) });
        }
    }

    /// Answers everyone with an error.
    pub(super) fn refuse_all(&mut self, code: ErrorCode, out: &mut Outbox<Effect>) {
        let in_flight = self.in_flight.drain(..).map(|waiting| waiting.token);
        let uncommitted = std::mem::take(&mut self.uncommitted).into_keys().map(|(_, token)| token);
        for token in in_flight.chain(uncommitted) {
            out.push(Effect::Reply { token, reply: Reply::Produced(Err(ProduceError::from(code))) });
        }
        for (_, token) in std::mem::take(&mut self.deletions).into_keys() {
            out.push(Effect::Reply { token, reply: Reply::RecordsDeleted(Err(code)) });
        }
    }

    pub(super) fn forget(&mut self, token: Token) {
        self.in_flight.retain(|waiting| waiting.token != token);
        self.uncommitted.retain(|(_, waiting), _| *waiting != token);
        self.deletions.retain(|(_, waiting), ()| *waiting != token);
    }

    pub(super) fn assert_invariants(&self, end: Offset, next: Offset, high_watermark: Offset) {
        self.isr.assert_invariants();
        assert!(
            self.in_flight.iter().all(|waiting| waiting.end <= next),
            "no one waits for what was not asked"
        );
        assert!(self.uncommitted.keys().all(|(at, _)| *at > high_watermark), "the committed are answered");
        if self.high_watermark == HighWatermark::Known {
            assert!(high_watermark >= self.epoch_start, "a known high watermark has reached its epoch");
        }
        assert!(self.epoch_start <= next && end <= next, "an epoch begins within the log");
    }
}
