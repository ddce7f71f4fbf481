//! What only a follower does: it copies its leader's log, after making sure that both are the same so far.
//!
//! ```text
//!  fetch_position --> the leader --> Replicate{Data}       append, and then high watermark and log start
//!                                    Replicate{Diverging}  cut to what both may share, ask again (KIP-101, KIP-279)
//!                                    Replicate{OutOfRange} start over at the leader's log start
//! ```
//!
//! Its log is cut by (epoch, offset) alone, never by its own high watermark (PR-01), and only by a leader of the epoch
//! that it follows. Answers that do not fit the present position are dropped (PR-11).

use super::exchange::{CutReason, Replicated, ReplicatedOutcome};
use super::message::FetchPosition;
use super::{Effect, EpochEnd, Replica, Role};
use crate::batch::StampedBatch;
use crate::ids::{BrokerId, LeaderEpoch, Offset, PartitionEpoch};
use crate::machine::Outbox;
use crate::time::Now;
use crate::{guard, planted};

/// What a follower knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FollowerState {
    /// Whom it follows, if there is a leader.
    pub leader: Option<BrokerId>,
    /// The leader's epoch.
    pub leader_epoch: LeaderEpoch,
    /// The registration that says so.
    pub partition_epoch: PartitionEpoch,
    /// What the leader last told, to be taken over as far as the log holds it.
    told: Told,
}

/// The leader's offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Told {
    high_watermark: Offset,
    log_start: Offset,
}

impl FollowerState {
    pub(super) const fn new(
        leader: Option<BrokerId>,
        leader_epoch: LeaderEpoch,
        partition_epoch: PartitionEpoch,
    ) -> Self {
        let told = Told { high_watermark: Offset::ZERO, log_start: Offset::ZERO };
        Self { leader, leader_epoch, partition_epoch, told }
    }

    /// Takes a newer registration of the same leadership.
    pub(super) const fn renew(&mut self, newer: &Self) {
        self.leader = newer.leader;
        self.partition_epoch = newer.partition_epoch;
    }
}

/// Why an answer of the leader is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotReplicated {
    /// It answers another position, epoch or leader than the present: nothing is wrong.
    Stale,
    /// Its batches cannot stand where they would.
    Misfit(&'static str),
}

impl Replica {
    /// Whom to fetch from, and from where; none while there is no leader to follow, or while the log's end is not
    /// settled.
    pub fn fetch_position(&self) -> Option<(BrokerId, FetchPosition)> {
        let Role::Follower(follower) = &self.role else { return None };
        let leader = follower.leader?;
        if !self.is_settled() {
            return None;
        }
        let safe_end = if self.settings.acks_durable { self.log.flushed } else { self.log.end };
        let position = FetchPosition {
            leader_epoch: follower.leader_epoch,
            offset: self.log.end,
            safe_end,
            last_epoch: self.epochs.latest(),
            log_start: self.log.start_kept,
        };
        Some((leader, position))
    }

    /// Whether all that was asked of the log is done.
    pub(super) fn is_settled(&self) -> bool {
        self.log.end == self.log.next && !self.log.is_cutting
    }

    /// Whether an answer of a leader is to be taken; see [`super::Input::Replicate`].
    pub fn check_replicated(&self, replicated: &Replicated) -> Result<(), NotReplicated> {
        let Some((leader, position)) = self.fetch_position() else { return Err(NotReplicated::Stale) };
        let is_mine = guard!(ReplicaAnswerLeader, replicated.leader == leader)
            && guard!(ReplicaAnswerEpoch, replicated.leader_epoch == position.leader_epoch)
            && guard!(ReplicaAnswerOffset, replicated.offset == position.offset)
            && guard!(ReplicaAnswerLastEpoch, replicated.last_epoch == position.last_epoch);
        if !is_mine {
            return Err(NotReplicated::Stale);
        }
        match &replicated.outcome {
            ReplicatedOutcome::Data { batches, .. } => self.check_batches(batches, position),
            ReplicatedOutcome::Diverging(_) | ReplicatedOutcome::OutOfRange { .. } => Ok(()),
        }
    }

    /// Continuity: offsets and epochs rise, and none is of an epoch that the leader cannot have.
    fn check_batches(&self, batches: &[StampedBatch], position: FetchPosition) -> Result<(), NotReplicated> {
        let (mut next, mut epoch) = (self.log.end, self.epochs.latest());
        for (n, batch) in batches.iter().enumerate() {
            let header = &batch.header;
            // An empty log may begin inside of the leader's first batch (KIP-107).
            let is_within = n == 0 && self.is_empty() && header.next_offset() > next;
            if header.base_offset < next && !is_within {
                return Err(NotReplicated::Misfit("a batch begins before the log's end"));
            }
            if !guard!(ReplicaBatchEpoch, header.leader_epoch <= position.leader_epoch) {
                return Err(NotReplicated::Misfit("a batch is of an epoch above the leader's"));
            }
            if header.leader_epoch < epoch || header.last_offset_delta < 0 {
                return Err(NotReplicated::Misfit("a batch is of an older epoch than the one before"));
            }
            (next, epoch) = (header.next_offset(), header.leader_epoch);
        }
        Ok(())
    }

    fn is_empty(&self) -> bool {
        self.log.start == self.log.end
    }

    pub(super) fn replicate(&mut self, now: Now, replicated: Replicated, out: &mut Outbox<Effect>) {
        if self.check_replicated(&replicated).is_err() {
            return;
        }
        match replicated.outcome {
            ReplicatedOutcome::Data { high_watermark, log_start, batches } => {
                let Role::Follower(follower) = &mut self.role else {
                    unreachable!("only a follower has a fetch position")
                };
                follower.told = Told { high_watermark, log_start };
                self.append_replicated(now, batches, out);
                if self.is_settled() {
                    self.take_over_offsets(out);
                }
            }
            ReplicatedOutcome::Diverging(end) => self.reconcile(end, out),
            ReplicatedOutcome::OutOfRange { log_start, log_end } => self.leave_range(log_start, log_end, out),
        }
    }

    fn append_replicated(&mut self, now: Now, batches: Vec<StampedBatch>, out: &mut Outbox<Effect>) {
        if let Some(first) = batches.first().filter(|first| first.header.base_offset < self.log.end) {
            // The log begins with the whole batch, and its start stays inside of it, as on the leader. Nothing is
            // waited for: there is nothing to lose, and storage effects run in order.
            out.push(Effect::StartOver { at: first.header.base_offset, reason: CutReason::WithinBatch });
            self.log.start_kept = self.log.start_kept.min(first.header.base_offset);
        }
        let starts_within = batches.first().is_some_and(|first| first.header.base_offset < self.log.end);
        for batch in batches {
            let header = batch.header;
            let assigned = self.epochs.assign(header.leader_epoch, header.base_offset.max(self.log.start));
            assert!(assigned, "check_batches saw rising epochs");
            self.producers.observe(&header);
            self.note_producer(now, &header);
            self.log.next = header.next_offset();
            self.log.unflushed_since.get_or_insert(now.mono);
            out.push(Effect::Append(batch));
        }
        if starts_within {
            out.push(Effect::AdvanceLogStart { to: self.log.start });
        }
    }

    /// Takes the leader's high watermark and log start over, as far as this log, which the leader has verified, has
    /// what they stand for.
    pub(super) fn take_over_offsets(&mut self, out: &mut Outbox<Effect>) {
        let Role::Follower(FollowerState { told, .. }) = self.role else { return };
        let high_watermark = told.high_watermark.min(self.log.end);
        if high_watermark > self.high_watermark {
            self.high_watermark = high_watermark;
            self.wake_readers(out);
        }
        if told.log_start > self.log.start {
            self.advance_log_start(told.log_start.min(self.high_watermark), out);
        }
    }

    /// The leader's log parts from this one: nothing behind the smaller end of the largest common epoch is kept. If
    /// the logs part even earlier, the next fetch finds it (KIP-279).
    fn reconcile(&mut self, theirs: EpochEnd, out: &mut Outbox<Effect>) {
        let ours = self.epochs.end_offset_for(theirs.epoch, self.log.end);
        let ours = if ours == EpochEnd::UNDEFINED { self.log.start } else { ours.end };
        let to = planted!(DivergenceMinimum, theirs.end.min(self.log.end), theirs.end.min(ours));
        let to = to.max(Offset::ZERO);
        let reason = CutReason::Diverged { epoch: theirs.epoch };
        if to < self.log.start {
            self.start_over(to, reason, out);
        } else {
            self.cut(to, reason, out);
        }
    }

    /// Decided by the ends that the leader had when it refused; those of a later moment may say the opposite (PR-10).
    fn leave_range(&mut self, log_start: Offset, log_end: Offset, out: &mut Outbox<Effect>) {
        let (at, reason) = if self.log.end < log_start {
            (log_start, CutReason::BehindLogStart)
        } else {
            (log_end, CutReason::BeyondLogEnd)
        };
        if at >= self.log.start && at < self.log.end {
            self.cut(at, reason, out);
        } else {
            self.start_over(at, reason, out);
        }
    }

    /// Cuts log, epochs, producers and watermarks together (design rule 12).
    pub(super) fn cut(&mut self, to: Offset, reason: CutReason, out: &mut Outbox<Effect>) {
        assert!(self.is_settled(), "a log is cut only while nothing else is asked of it");
        assert!(to >= self.log.start && to <= self.log.end, "a cut lies within the log");
        self.epochs.truncate_end(to);
        if to == self.log.end {
            return; // an election without a record was all there was to forget
        }
        let rebuilds_producers = self.producers.wrote_at_or_behind(to);
        out.push(Effect::Truncate { to, rebuilds_producers, reason });
        self.log.is_cutting = true;
        self.set_end(to);
    }

    fn start_over(&mut self, at: Offset, reason: CutReason, out: &mut Outbox<Effect>) {
        assert!(self.is_settled(), "a log is cut only while nothing else is asked of it");
        out.push(Effect::StartOver { at, reason });
        self.log.is_cutting = true;
        (self.log.start, self.log.start_kept) = (at, at);
        self.epochs.clear();
        self.set_end(at);
        // The empty log is on the device once it is there at all.
        (self.log.flushed, self.log.flush_asked) = (at, at);
        // KAFKA-9491: without this the high watermark would lie outside of the log.
        self.high_watermark = at;
        self.wake_all(out);
    }

    fn set_end(&mut self, end: Offset) {
        self.log.end = end;
        self.log.next = end;
        self.log.flushed = self.log.flushed.min(end);
        // A flush that was under way says nothing about a log that was cut meanwhile: what is left is asked for again
        // once the cut is done, or nobody would ever hear that it is on the device.
        self.log.flush_asked = self.log.flushed;
        if self.log.flush_asked == end {
            self.log.unflushed_since = None;
        }
        self.high_watermark = self.high_watermark.min(end);
    }

    pub(super) fn truncated(
        &mut self,
        now: Now,
        end: Offset,
        producers: Option<super::Producers>,
        out: &mut Outbox<Effect>,
    ) {
        if self.has_ended() || !self.log.is_cutting {
            return;
        }
        self.log.is_cutting = false;
        if let Some(producers) = producers {
            self.producers = producers;
        }
        if end < self.log.end && self.log.end == self.log.next {
            self.epochs.truncate_end(end);
            self.log.start = self.log.start.min(end);
            self.log.start_kept = self.log.start_kept.min(end);
            self.set_end(end);
        }
        self.flush_rest(now, out);
        self.advance(out);
    }
}
