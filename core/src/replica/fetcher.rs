//! The follower's side of replication: one [`Fetcher`] for each leader, with all the partitions followed there.
//!
//! One fetch at a time waits at the leader. A reply's answers are delivered to their partitions' cells, and what comes
//! of them ([`FetcherInput::Changed`]) makes the next fetch: it names only positions that moved. A change from
//! elsewhere (a new leader, a slow disk that has finished) does not wait for the reply that is due: a newer fetch takes
//! the waiting one's place.
//!
//! The leader replies to every fetch, to one whose place was taken with no answers, and notes what it tells as told. So a
//! reply that is missing when a later one has come may have been the only one to say something: the session is given up.
//!
//! Idle partitions cost nothing here. What may be appended is the replica's to decide ([`super::Replica`]); that an
//! answer still fits is checked here *and* there (PR-11).

use super::message::{
    FETCH_PARTITIONS_MAX, FetchOutcome, FetchPosition, PartitionAnswer, PartitionFetch, ReplicaFetch,
    ReplicaFetchBody, ReplicaFetchReply,
};
use crate::guard;
use crate::ids::{BrokerEpoch, LeaderEpoch, TopicPartition};
use crate::machine::{Machine, Outbox};
use crate::time::{Instant, Now};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// The times that a fetcher keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetcherConfig {
    /// How long a reply may take before the session is given up. Longer than the leader lets a fetch wait.
    pub response_max: Duration,
    /// The longest pause of a partition that was refused, and of a leader that cannot be reached
    /// (`replica.fetch.backoff.ms`). The first pause is short: a leader that has not heard of its election yet will
    /// have in a moment.
    pub backoff_max: Duration,
}

/// How long a reply that a later one has overtaken is waited for. Connections keep the order, so it is lost but for one
/// that came over another connection.
const OVERTAKEN_MAX: Duration = Duration::from_millis(100);

/// The first pause.
const BACKOFF_MIN: Duration = Duration::from_millis(20);

/// What happens to a fetcher.
#[derive(Debug)]
pub enum FetcherInput {
    /// Where partitions stand now. Follows every reply that had deliveries, with the outcome of each.
    Changed(Vec<PartitionChange>),
    /// The leader replied.
    Reply(ReplicaFetchReply),
    /// The fetch could not be sent.
    SendFailed,
    /// A connection to the leader is up.
    LinkUp,
    /// A connection to the leader broke; what was under way may be lost.
    LinkReset,
    /// The quota of throttled partitions is another: whoever rests is asked for again.
    Resume,
    /// This broker registered anew, or was let in again: leaders are to hear of every partition.
    Registered(BrokerEpoch),
}

/// What became of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartitionChange {
    /// It is followed here, and stands there.
    Follow {
        /// Which.
        partition: TopicPartition,
        /// Where its log ends.
        position: FetchPosition,
    },
    /// It stands there, if it is still followed here in that epoch.
    Moved {
        /// Which.
        partition: TopicPartition,
        /// Where its log ends.
        position: FetchPosition,
    },
    /// It is not followed here any more.
    Unfollow {
        /// Which.
        partition: TopicPartition,
    },
    /// What was delivered is not done with; where it stands will be told.
    Busy {
        /// Which.
        partition: TopicPartition,
    },
    /// What was delivered could not be taken; it is asked for again after a pause.
    Failed {
        /// Which.
        partition: TopicPartition,
    },
    /// It is throttled, and the quota is used up (KIP-73): nothing is asked until then. The others go on.
    Throttled {
        /// Which.
        partition: TopicPartition,
        /// From when on it may be asked for again.
        until: Instant,
    },
}

impl PartitionChange {
    /// Which partition changed.
    pub const fn partition(&self) -> TopicPartition {
        match self {
            Self::Follow { partition, .. }
            | Self::Moved { partition, .. }
            | Self::Unfollow { partition }
            | Self::Busy { partition }
            | Self::Failed { partition }
            | Self::Throttled { partition, .. } => *partition,
        }
    }
}

/// What a fetcher asks for.
#[derive(Debug)]
pub enum FetcherEffect {
    /// Send this to the leader.
    Send(ReplicaFetch),
    /// Hand this answer to its partition, then say [`FetcherInput::Changed`] with the outcomes of all.
    Deliver {
        /// The answer; never a refusal.
        answer: PartitionAnswer,
        /// Which part of the reply's payload has its batches.
        part: Option<usize>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The leader is to be told the position.
    Changed,
    /// The leader knows the position.
    Told,
    /// An answer is with the partition's cell, and the leader keeps the partition in its session.
    Delivered,
    /// Likewise, but the leader is to be told the position again in any case.
    DeliveredLast,
    /// Likewise, of a session that was closed since: the position is told again, moved or not.
    DeliveredUnknown,
    /// Nothing is asked until then.
    Paused(Instant),
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    position: FetchPosition,
    phase: Phase,
    /// Failures in a row.
    failures: u32,
}

/// See the [module](self).
#[derive(Debug)]
pub struct Fetcher {
    config: FetcherConfig,
    broker_epoch: BrokerEpoch,
    session: u64,
    /// The number of the next fetch; none while no session is open.
    sequence: Option<u64>,
    /// The fetches that are not replied to, by their numbers, and when each counts as lost.
    unanswered: VecDeque<(u64, Instant)>,
    /// When to send again after a failure to.
    retry_at: Option<Instant>,
    failures: u32,
    partitions: BTreeMap<TopicPartition, Entry>,
    changed: BTreeSet<TopicPartition>,
    /// What the open session knows and is to forget.
    forgotten: BTreeSet<TopicPartition>,
    paused: BTreeSet<(Instant, TopicPartition)>,
}

/// Below every session of a registration, and above those of the registrations before it: a late reply to a process that
/// was here before is no reply to this one. A registration has room for a million of them.
const fn sessions_begin(broker_epoch: BrokerEpoch) -> u64 {
    if broker_epoch.0 < 0 { 0 } else { (broker_epoch.0 as u64) << 20 }
}

impl Fetcher {
    /// A fetcher without partitions. Sessions of one registration must rise from fetcher to fetcher: `session` is the
    /// highest that this process has used with this leader, or 0.
    pub fn new(config: FetcherConfig, broker_epoch: BrokerEpoch, session: u64) -> Self {
        Self {
            config,
            broker_epoch,
            session: session.max(sessions_begin(broker_epoch)),
            sequence: None,
            unanswered: VecDeque::new(),
            retry_at: None,
            failures: 0,
            partitions: BTreeMap::new(),
            changed: BTreeSet::new(),
            forgotten: BTreeSet::new(),
            paused: BTreeSet::new(),
        }
    }

    /// How many partitions are followed here.
    pub fn partitions(&self) -> usize {
        self.partitions.len()
    }

    /// The partitions that are followed here.
    pub fn followed(&self) -> impl Iterator<Item = TopicPartition> + '_ {
        self.partitions.keys().copied()
    }

    /// Where a partition stands, as far as is known here.
    pub fn position(&self, partition: TopicPartition) -> Option<FetchPosition> {
        self.partitions.get(&partition).map(|entry| entry.position)
    }

    /// The newest session.
    pub const fn session(&self) -> u64 {
        self.session
    }

    fn set_phase(&mut self, partition: TopicPartition, phase: Phase) {
        let entry = self.partitions.get_mut(&partition).expect("only followed partitions have a phase");
        let before = std::mem::replace(&mut entry.phase, phase);
        self.leave_phase(partition, before);
        match phase {
            Phase::Changed => {
                self.changed.insert(partition);
            }
            Phase::Paused(until) => {
                self.paused.insert((until, partition));
            }
            Phase::Told | Phase::Delivered | Phase::DeliveredLast | Phase::DeliveredUnknown => {}
        }
    }

    fn leave_phase(&mut self, partition: TopicPartition, phase: Phase) {
        match phase {
            Phase::Changed => {
                self.changed.remove(&partition);
            }
            Phase::Paused(until) => {
                self.paused.remove(&(until, partition));
            }
            Phase::Told | Phase::Delivered | Phase::DeliveredLast | Phase::DeliveredUnknown => {}
        }
    }

    fn change(&mut self, now: Instant, change: PartitionChange) {
        match change {
            PartitionChange::Follow { partition, position } => {
                self.follow(now, partition, position);
            }
            PartitionChange::Moved { partition, position } => {
                let known = self.partitions.get(&partition);
                if known.is_some_and(|known| known.position.leader_epoch == position.leader_epoch) {
                    self.follow(now, partition, position);
                }
            }
            PartitionChange::Unfollow { partition } => {
                if let Some(entry) = self.partitions.remove(&partition) {
                    self.leave_phase(partition, entry.phase);
                    self.forgotten.insert(partition);
                }
            }
            PartitionChange::Busy { partition } => {
                if self.partitions.get(&partition).is_some_and(|entry| entry.phase == Phase::Delivered) {
                    // else the leader would answer the same again and again
                    self.forgotten.insert(partition);
                    self.set_phase(partition, Phase::DeliveredLast);
                }
            }
            PartitionChange::Failed { partition } => self.pause(now, partition),
            PartitionChange::Throttled { partition, until } => self.throttle(partition, until),
        }
    }

    fn follow(&mut self, now: Instant, partition: TopicPartition, position: FetchPosition) {
        let Some(entry) = self.partitions.get_mut(&partition) else {
            self.partitions.insert(partition, Entry { position, phase: Phase::Changed, failures: 0 });
            self.changed.insert(partition);
            return;
        };
        if position.leader_epoch < entry.position.leader_epoch {
            return; // told late
        }
        let position = newest(entry.position, position);
        let before = std::mem::replace(&mut entry.position, position);
        if before != position || entry.phase == Phase::DeliveredUnknown {
            entry.failures = 0;
            self.set_phase(partition, Phase::Changed);
        } else if entry.phase == Phase::Delivered {
            // the leader's session knows the position, and has marked what it told
            self.set_phase(partition, Phase::Told);
        } else if entry.phase == Phase::DeliveredLast {
            // an answer that should have moved it did not: not at once again
            self.pause(now, partition);
        }
    }

    fn pause(&mut self, now: Instant, partition: TopicPartition) {
        let Some(entry) = self.partitions.get_mut(&partition) else { return };
        let until = now + backoff(entry.failures, self.config.backoff_max);
        entry.failures = entry.failures.saturating_add(1);
        if entry.phase != Phase::Changed {
            self.forgotten.insert(partition);
        }
        self.set_phase(partition, Phase::Paused(until));
    }

    fn throttle(&mut self, partition: TopicPartition, until: Instant) {
        let Some(entry) = self.partitions.get(&partition) else { return };
        match entry.phase {
            Phase::Changed | Phase::Told => {
                // the leader would go on sending what its session knows
                self.forgotten.insert(partition);
                self.set_phase(partition, Phase::Paused(until));
            }
            Phase::Paused(at) if at < until => self.set_phase(partition, Phase::Paused(until)),
            // Where it stands will be told, and it is judged again then.
            Phase::Paused(_) | Phase::Delivered | Phase::DeliveredLast | Phase::DeliveredUnknown => {}
        }
    }

    fn reply(&mut self, now: Instant, reply: ReplicaFetchReply, out: &mut Outbox<FetcherEffect>) {
        let Some(next) = self.sequence else { return };
        let is_mine = reply.session == self.session && reply.sequence < next;
        if !guard!(ReplicaReplySession, is_mine) {
            return;
        }
        self.failures = 0;
        self.unanswered.retain(|(sequence, _)| *sequence != reply.sequence);
        for (_, until) in self.unanswered.iter_mut().filter(|(sequence, _)| *sequence < reply.sequence) {
            *until = (*until).min(now + OVERTAKEN_MAX);
        }
        let ReplicaFetchBody::Answers(answers) = reply.body else {
            self.close_session();
            return self.send(now, out);
        };
        let mut part = 0;
        let mut has_delivered = false;
        for answer in answers {
            let has_payload = answer.outcome.payload_bytes() > 0;
            let payload = has_payload.then_some(part);
            part += usize::from(has_payload);
            has_delivered |= self.answer(now, answer, payload, out);
        }
        if !has_delivered {
            self.send_if_due(now, out);
        }
    }

    /// Takes the answer for one partition; whether it was delivered.
    fn answer(
        &mut self,
        now: Instant,
        answer: PartitionAnswer,
        part: Option<usize>,
        out: &mut Outbox<FetcherEffect>,
    ) -> bool {
        let Some(entry) = self.partitions.get(&answer.partition) else { return false };
        let fits = guard!(ReplicaAnswerEpoch, answer.leader_epoch == entry.position.leader_epoch)
            && guard!(ReplicaAnswerOffset, answer.offset == entry.position.offset)
            && guard!(ReplicaAnswerLastEpoch, answer.last_epoch == entry.position.last_epoch);
        if !fits || entry.phase != Phase::Told {
            return false;
        }
        if let FetchOutcome::Refused(_) = answer.outcome {
            self.pause(now, answer.partition);
            return false;
        }
        let is_kept = matches!(answer.outcome, FetchOutcome::Data { .. });
        let phase = if is_kept { Phase::Delivered } else { Phase::DeliveredLast };
        self.set_phase(answer.partition, phase);
        out.push(FetcherEffect::Deliver { answer, part });
        true
    }

    fn close_session(&mut self) {
        self.sequence = None;
        self.unanswered.clear();
        self.forgotten.clear();
        let told = self.partitions.iter().filter(|(_, entry)| entry.phase == Phase::Told);
        let busy = self.partitions.iter().filter(|(_, entry)| entry.phase == Phase::Delivered);
        let busy: Vec<_> = busy.map(|(partition, _)| *partition).collect();
        for partition in told.map(|(partition, _)| *partition).collect::<Vec<_>>() {
            self.set_phase(partition, Phase::Changed);
        }
        for partition in busy {
            self.set_phase(partition, Phase::DeliveredUnknown);
        }
    }

    /// Sends if no fetch waits at the leader, or if there is something that it should not wait for.
    fn send_if_due(&mut self, now: Instant, out: &mut Outbox<FetcherEffect>) {
        let is_waiting = self
            .sequence
            .is_some_and(|next| self.unanswered.back().is_some_and(|(newest, _)| newest + 1 == next));
        if !is_waiting || !self.changed.is_empty() || !self.forgotten.is_empty() {
            self.send(now, out);
        }
    }

    fn send(&mut self, now: Instant, out: &mut Outbox<FetcherEffect>) {
        if self.retry_at.is_some_and(|at| now < at) {
            return;
        }
        self.retry_at = None;
        if self.partitions.is_empty() && (self.sequence.is_none() || self.forgotten.is_empty()) {
            return;
        }
        if self.sequence.is_none() {
            self.session += 1;
            self.forgotten.clear();
        }
        loop {
            let sequence = self.sequence.unwrap_or(0);
            let fetch = ReplicaFetch {
                broker_epoch: self.broker_epoch,
                session: self.session,
                sequence,
                forgotten: self.take_forgotten(),
                changed: self.take_changed(),
            };
            self.sequence = Some(sequence + 1);
            self.unanswered.push_back((sequence, now + self.config.response_max));
            out.push(FetcherEffect::Send(fetch));
            if self.changed.is_empty() && self.forgotten.is_empty() {
                break;
            }
        }
    }

    fn take_forgotten(&mut self) -> Vec<TopicPartition> {
        let some: Vec<_> = self.forgotten.iter().take(FETCH_PARTITIONS_MAX).copied().collect();
        for partition in &some {
            self.forgotten.remove(partition);
        }
        some
    }

    fn take_changed(&mut self) -> Vec<PartitionFetch> {
        let some: Vec<_> = self.changed.iter().take(FETCH_PARTITIONS_MAX).copied().collect();
        let told = some.into_iter().map(|partition| {
            self.set_phase(partition, Phase::Told);
            PartitionFetch { partition, position: self.partitions[&partition].position }
        });
        told.collect()
    }

    fn resume(&mut self, now: Instant) {
        while let Some((until, partition)) = self.paused.first().copied()
            && until <= now
        {
            self.set_phase(partition, Phase::Changed);
        }
    }
}

/// What is known of a position that is told. While a log ends at one place, what it vouches for and its start only rise;
/// but a reply's outcomes are told together, and a flush that ends meanwhile may be told before what it came after.
fn newest(known: FetchPosition, told: FetchPosition) -> FetchPosition {
    let place = |position: &FetchPosition| (position.leader_epoch, position.last_epoch, position.offset);
    if place(&known) != place(&told) {
        return told;
    }
    FetchPosition {
        safe_end: told.safe_end.max(known.safe_end),
        log_start: told.log_start.max(known.log_start),
        ..told
    }
}

/// Doubles with every failure in a row.
fn backoff(failures: u32, max: Duration) -> Duration {
    BACKOFF_MIN.saturating_mul(1 << failures.min(16)).min(max)
}

impl Machine for Fetcher {
    type Input = FetcherInput;
    type Effect = FetcherEffect;

    fn handle(&mut self, now: Now, input: FetcherInput, out: &mut Outbox<FetcherEffect>) {
        let now = now.mono;
        match input {
            FetcherInput::Changed(changes) => {
                changes.into_iter().for_each(|change| self.change(now, change));
                self.send_if_due(now, out);
            }
            FetcherInput::Reply(reply) => self.reply(now, reply, out),
            FetcherInput::SendFailed => {
                self.close_session();
                self.retry_at = Some(now + backoff(self.failures, self.config.backoff_max));
                self.failures = self.failures.saturating_add(1);
            }
            FetcherInput::LinkUp => {
                self.close_session();
                self.retry_at = None;
                self.send(now, out);
            }
            FetcherInput::LinkReset => {
                self.close_session();
                self.send(now, out);
            }
            FetcherInput::Resume => {
                while let Some((_, partition)) = self.paused.first().copied() {
                    self.set_phase(partition, Phase::Changed);
                }
                self.send_if_due(now, out);
            }
            FetcherInput::Registered(broker_epoch) => {
                self.broker_epoch = broker_epoch;
                self.session = self.session.max(sessions_begin(broker_epoch));
                self.close_session();
                self.send(now, out);
            }
        }
    }

    fn handle_timeout(&mut self, now: Now, out: &mut Outbox<FetcherEffect>) {
        let now = now.mono;
        self.resume(now);
        if self.unanswered.iter().any(|(_, until)| *until <= now) {
            self.close_session();
        }
        self.send_if_due(now, out);
    }

    fn next_timeout(&self) -> Option<Instant> {
        let resume = self.paused.first().map(|(until, _)| *until);
        let lost = self.unanswered.iter().map(|(_, until)| *until);
        lost.chain(resume).chain(self.retry_at).min()
    }

    fn assert_invariants(&self) {
        for (partition, entry) in &self.partitions {
            let is_changed = entry.phase == Phase::Changed;
            assert_eq!(self.changed.contains(partition), is_changed, "{partition:?} is listed as changed");
            assert!(
                entry.position.leader_epoch > LeaderEpoch::NONE,
                "a leader that is followed has an epoch"
            );
        }
        assert!(
            self.changed.iter().all(|partition| self.partitions.contains_key(partition)),
            "only followed partitions change"
        );
        assert!(self.unanswered.iter().is_sorted_by_key(|(sequence, _)| *sequence), "fetches are in order");
        assert!(
            self.unanswered.iter().all(|(sequence, _)| self.sequence.is_some_and(|next| *sequence < next)),
            "only what was sent is unanswered"
        );
        let paused = self.partitions.values().filter(|entry| matches!(entry.phase, Phase::Paused(_)));
        assert_eq!(paused.count(), self.paused.len(), "each pause is listed");
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::PartitionAnswer;
    use super::*;
    use crate::ids::{Offset, PartitionIndex, TopicId};
    use crate::time::Timestamp;

    fn at(ms: u64) -> Now {
        Now { mono: Instant::from_nanos(ms * 1_000_000), wall: Timestamp(0) }
    }

    fn partition(index: i32) -> TopicPartition {
        TopicPartition { topic_id: TopicId([1; 16]), partition: PartitionIndex(index) }
    }

    fn position(offset: i64) -> FetchPosition {
        FetchPosition {
            leader_epoch: LeaderEpoch(1),
            offset: Offset(offset),
            safe_end: Offset(offset),
            last_epoch: LeaderEpoch(1),
            log_start: Offset(0),
        }
    }

    /// What was sent, as the indexes that each fetch names and forgets.
    fn sent(out: &mut Outbox<FetcherEffect>) -> Vec<(Vec<i32>, Vec<i32>)> {
        let fetches = out.drain().filter_map(|effect| match effect {
            FetcherEffect::Send(fetch) => Some(fetch),
            FetcherEffect::Deliver { .. } => None,
        });
        let named = fetches.map(|fetch| {
            let changed = fetch.changed.iter().map(|changed| changed.partition.partition.0).collect();
            (changed, fetch.forgotten.iter().map(|partition| partition.partition.0).collect())
        });
        named.collect()
    }

    #[test]
    fn a_throttled_partition_rests_and_the_others_go_on() {
        let times =
            FetcherConfig { response_max: Duration::from_secs(3), backoff_max: Duration::from_secs(1) };
        let mut fetcher = Fetcher::new(times, BrokerEpoch(1), 0);
        let mut out = Outbox::new();
        let follow = |index| PartitionChange::Follow { partition: partition(index), position: position(0) };
        fetcher.handle(at(0), FetcherInput::Changed(vec![follow(0), follow(1), follow(2)]), &mut out);
        assert_eq!(sent(&mut out), [(vec![0, 1, 2], vec![])]);
        let answer = PartitionAnswer {
            partition: partition(0),
            leader_epoch: LeaderEpoch(1),
            offset: Offset(0),
            last_epoch: LeaderEpoch(1),
            outcome: FetchOutcome::Data { high_watermark: Offset(50), log_start: Offset(0), bytes: 1000 },
        };
        let body = ReplicaFetchBody::Answers(vec![answer]);
        let reply = ReplicaFetchReply { broker_epoch: BrokerEpoch(2), session: 1, sequence: 0, body };
        fetcher.handle(at(10), FetcherInput::Reply(reply), &mut out);
        assert_eq!(sent(&mut out), []);
        // Its bytes were too many: it rests, and so does 1, which the leader would serve otherwise. 2 is in sync.
        let until =
            |index, ms| PartitionChange::Throttled { partition: partition(index), until: at(ms).mono };
        let moved = PartitionChange::Moved { partition: partition(0), position: position(10) };
        fetcher.handle(at(10), FetcherInput::Changed(vec![moved, until(0, 505), until(1, 500)]), &mut out);
        assert_eq!(sent(&mut out), [(vec![], vec![0, 1])]);
        let moved = PartitionChange::Moved { partition: partition(2), position: position(5) };
        fetcher.handle(at(20), FetcherInput::Changed(vec![moved]), &mut out);
        assert_eq!(sent(&mut out), [(vec![2], vec![])]);
        assert_eq!(fetcher.next_timeout(), Some(at(500).mono));
        fetcher.handle(at(400), FetcherInput::Changed(vec![until(1, 600)]), &mut out);
        fetcher.handle_timeout(at(505), &mut out);
        assert_eq!(sent(&mut out), [(vec![0], vec![])], "from where it stands");
        fetcher.handle(at(510), FetcherInput::Resume, &mut out);
        assert_eq!(sent(&mut out), [(vec![1], vec![])]);
        fetcher.assert_invariants();
    }
}
