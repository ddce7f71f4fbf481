//! One replica of one partition: what is appended, what is readable, and who is answered when.
//!
//! [`Replica`] is a sans-IO machine. Record bytes pass it as an opaque [`ValidBatch`]; the log is written by the
//! shell, which reports back. A produce request goes through it like this:
//!
//! ```text
//!  Produce{token, batch} --> epoch, min ISR, producer state --> offset given --> Effect::Append
//!  Appended{through}     --> log end, high watermark (minimum over the maximal ISR) --> Effect::Reply, Wake
//!  Flushed{through}      --> counts under `acks.durable`                            --> Effect::Reply, Wake
//! ```
//!
//! Reads change nothing and are queries: [`Replica::fetch_bounds`], [`Replica::list_offset`],
//! [`Replica::epoch_end`]. Waiting fetches leave one-shot watches ([`Input::Watch`]); see [`crate::fetch`].
//! Not in here: validation ([`crate::batch`]), the log's files, which segments retention deletes
//! ([`crate::retention`]).

pub mod epochs;
mod exchange;
mod fetcher;
mod follower;
mod isr;
mod leader;
mod message;
pub mod producers;
mod queries;
mod recovery;
mod session;
mod settings;

pub use epochs::{EpochEnd, EpochStart, Epochs};
pub use exchange::{
    Acks, CutReason, Effect, FollowerFetch, Input, IsrAccepted, IsrMember, IsrRefusal, Leadership,
    ProduceError, Produced, Replicated, ReplicatedOutcome, Reply,
};
pub use fetcher::{Fetcher, FetcherConfig, FetcherEffect, FetcherInput, PartitionChange};
pub use follower::{FollowerState, NotReplicated};
pub use leader::{HighWatermark, LeaderState};
pub use message::{
    FETCH_PARTITIONS_MAX, FetchOutcome, FetchPosition, MalformedMessage, PartitionAnswer, PartitionFetch,
    REPLICATION_VERSION, ReplicaFetch, ReplicaFetchBody, ReplicaFetchReply,
};
pub use producers::{Producer, Producers};
pub use queries::{ActiveProducer, FetchBounds, FetchFrom, Isolation, ListedOffset};
pub use recovery::{CorruptLog, Recovered, Recovery};
pub use session::{ReplicaSession, SessionConfig, SessionRefusal};
pub use settings::Settings;

use crate::batch::{BatchHeader, StampedBatch, TimestampType, ValidBatch, stamp};
use crate::error_code::ErrorCode;
use crate::fetch::Watches;
use crate::ids::{BrokerId, LeaderEpoch, Offset, PartitionEpoch, Token, TopicPartition};
use crate::machine::{Machine, Outbox};
use crate::time::{Instant, Now, Timestamp};
use crate::{guard, planted};
use producers::Verdict;
use std::time::Duration;

/// How often silent producers are looked for, as Kafka's `producer.id.expiration.check.interval.ms`.
const PRODUCER_EXPIRY_INTERVAL: Duration = Duration::from_secs(600);

/// What this replica is. Each state has only what belongs to it.
///
/// Legal transitions: `Offline(Starting)` to `Leader` or `Follower`; `Leader` and `Follower` to one another and to
/// themselves, always with a higher leader epoch (or the same one and a higher partition epoch); every state to
/// `Offline(Storage)` and `Offline(Deleted)`, which are final for this object: a poisoned log is opened anew, not
/// repaired.
#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "one to a partition, and most partitions of a node lead or follow for long"
)]
pub enum Role {
    /// Appends, and decides what is readable.
    Leader(LeaderState),
    /// Copies a leader.
    Follower(FollowerState),
    /// Serves nothing.
    Offline(Offline),
}

/// Why a replica serves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offline {
    /// The controller has not given it a role yet.
    Starting,
    /// An append or a flush failed: KAFKA_STORAGE_ERROR from then on (ST-01, ST-05).
    Storage,
    /// The partition is no longer here: UNKNOWN_TOPIC_OR_PARTITION from then on.
    Deleted,
}

impl Offline {
    /// What a client is told.
    const fn code(self) -> ErrorCode {
        match self {
            Self::Starting => ErrorCode::NotLeaderOrFollower,
            Self::Storage => ErrorCode::KafkaStorageError,
            Self::Deleted => ErrorCode::UnknownTopicOrPartition,
        }
    }
}

/// Where the log is, as far as this machine was told.
#[derive(Clone, Copy, Debug)]
struct LogEnds {
    /// The first offset that is kept.
    start: Offset,
    /// The start that would survive a crash. A follower vouches for no other, or what a request deleted, and was answered
    /// for, came back with whoever leads after all have crashed (O13, KIP-107).
    start_kept: Offset,
    /// The end of what the log says it holds.
    end: Offset,
    /// The offset that the next batch gets: the end, once all appends asked for are done.
    next: Offset,
    /// The end of what would survive a power cut.
    flushed: Offset,
    /// The end of the last flush asked for.
    flush_asked: Offset,
    /// When the oldest record that no flush was asked for was appended.
    unflushed_since: Option<Instant>,
    /// A cut was asked for and is not told done: what the ends say is not on disk yet.
    is_cutting: bool,
}

/// The replica machine; see the [module](self).
#[derive(Debug)]
pub struct Replica {
    partition: TopicPartition,
    broker: BrokerId,
    settings: Settings,
    log: LogEnds,
    /// What was known to be committed when the replica was last told; never above the log's end.
    high_watermark: Offset,
    epochs: Epochs,
    producers: Producers,
    producers_expire_at: Option<Instant>,
    watches: Watches,
    role: Role,
}

impl Replica {
    /// A replica over a recovered log. It serves nothing until it is given a role.
    pub fn new(
        partition: TopicPartition,
        broker: BrokerId,
        settings: Settings,
        recovered: Recovered,
    ) -> Self {
        let Recovered { log_start, log_end, flushed, high_watermark, epochs, producers } = recovered;
        let replica = Self {
            partition,
            broker,
            settings,
            log: LogEnds {
                start: log_start,
                start_kept: log_start,
                end: log_end,
                next: log_end,
                flushed,
                flush_asked: flushed,
                unflushed_since: None,
                is_cutting: false,
            },
            high_watermark: high_watermark.clamp(log_start, log_end),
            epochs,
            producers,
            producers_expire_at: None,
            watches: Watches::default(),
            role: Role::Offline(Offline::Starting),
        };
        replica.assert_invariants();
        replica
    }

    /// Takes a leadership or a change of its ISR, unless it is older than what is known.
    fn lead(&mut self, now: Now, leadership: Leadership, out: &mut Outbox<Effect>) {
        if let Role::Leader(leader) = &mut self.role
            && leader.leader_epoch == leadership.leader_epoch
            && leader.isr.knows(&leadership)
        {
            leader.isr.take_replicas(leadership.replicas);
            return self.advance(out);
        }
        if self.has_ended() || !self.is_news(&leadership) {
            return;
        }
        assert!(leadership.isr.contains(&self.broker), "a leader is in its ISR");
        if let Role::Leader(leader) = &mut self.role
            && leader.leader_epoch == leadership.leader_epoch
        {
            leader.isr.settle(now.mono, leadership);
        } else {
            self.give_up_leadership(ErrorCode::NotLeaderOrFollower, out);
            let assigned = self.epochs.assign(leadership.leader_epoch, self.log.next);
            assert!(assigned, "an election's epoch is above every epoch of the log");
            self.role = Role::Leader(LeaderState::new(
                now.mono,
                leadership,
                self.broker,
                self.log.next,
                self.high_watermark,
                self.log.start,
            ));
        }
        if !self.producers.is_empty() {
            self.producers_expire_at.get_or_insert(now.mono + PRODUCER_EXPIRY_INTERVAL);
        }
        self.flush_rest(now, out);
        self.advance(out);
    }

    /// Sees to what recovery found or a cut left, which may not be on the device and for which no flush is asked. Under
    /// `acks.durable` a follower vouches only for what is flushed, and where too few are in sync no append will come to
    /// bring a flush with it.
    fn flush_rest(&mut self, now: Now, out: &mut Outbox<Effect>) {
        if self.settings.acks_durable {
            self.ask_flush(out);
        } else if self.log.flush_asked < self.log.end {
            self.log.unflushed_since.get_or_insert(now.mono);
        }
    }

    fn is_news(&self, leadership: &Leadership) -> bool {
        let (leader_epoch, partition_epoch) = (leadership.leader_epoch, leadership.partition_epoch);
        match self.role.registration() {
            None => guard!(LeadershipNotStale, leader_epoch >= self.epochs.latest()),
            Some((known, version)) => guard!(
                LeadershipNotStale,
                leader_epoch > known
                    || (leader_epoch == known
                        && partition_epoch > version
                        && matches!(self.role, Role::Leader(_)))
            ),
        }
    }

    const fn has_ended(&self) -> bool {
        matches!(self.role, Role::Offline(Offline::Storage | Offline::Deleted))
    }

    /// Takes another leader, or a newer registration of the same. The log stays as it is: what of it is to go, the
    /// leader's log decides (KIP-101).
    fn follow(&mut self, now: Now, state: FollowerState, out: &mut Outbox<Effect>) {
        if self.has_ended() {
            return;
        }
        let registration = self.role.registration();
        let news = registration.is_none_or(|(known, version)| {
            state.leader_epoch > known || (state.leader_epoch == known && state.partition_epoch > version)
        });
        if !guard!(LeadershipNotStale, news) {
            return;
        }
        if let Role::Follower(known) = &mut self.role
            && known.leader_epoch == state.leader_epoch
        {
            known.renew(&state);
            return;
        }
        self.give_up_leadership(ErrorCode::NotLeaderOrFollower, out);
        self.role = Role::Follower(state);
        // An election in which nothing was written leaves no trace: the index is a function of the log again.
        self.epochs.truncate_end(self.log.next);
        if self.log.start_kept < self.log.start {
            // What it led to is not vouched for yet, and no leader tells it of that start as of news.
            out.push(Effect::AdvanceLogStart { to: self.log.start });
        }
        let to = planted!(FollowerKeepsTail, self.high_watermark, self.log.end);
        if to < self.log.end && self.is_settled() {
            self.cut(to, CutReason::Diverged { epoch: LeaderEpoch::NONE }, out);
        }
        self.flush_rest(now, out);
    }

    /// Answers everyone who waits for this leader, and wakes everyone who watches.
    fn give_up_leadership(&mut self, code: ErrorCode, out: &mut Outbox<Effect>) {
        if let Role::Leader(leader) = &mut self.role {
            leader.refuse_all(code, out);
        }
        self.wake_all(out);
    }

    fn wake_all(&mut self, out: &mut Outbox<Effect>) {
        self.watches.wake_all(|token| out.push(Effect::Wake { token }));
    }

    /// Wakes whom the high watermark has passed.
    fn wake_readers(&mut self, out: &mut Outbox<Effect>) {
        let (committed, stable) = (self.high_watermark, self.last_stable_offset());
        self.watches.advance(committed, stable, |token| out.push(Effect::Wake { token }));
    }

    /// Nothing is served from here on.
    fn end(&mut self, why: Offline, out: &mut Outbox<Effect>) {
        self.give_up_leadership(why.code(), out);
        self.role = Role::Offline(why);
        self.log.unflushed_since = None;
        self.producers_expire_at = None;
    }

    fn produce(
        &mut self,
        now: Now,
        token: Token,
        batch: &ValidBatch,
        request: Append,
        out: &mut Outbox<Effect>,
    ) {
        match self.admit(now, batch, request) {
            Err(error) => out.push(Effect::Reply { token, reply: Reply::Produced(Err(error)) }),
            Ok(Admitted { end, answer, stamped }) => {
                if let Some(stamped) = stamped {
                    out.push(Effect::Append(stamped));
                }
                let Role::Leader(leader) = &mut self.role else {
                    unreachable!("only a leader admits a batch")
                };
                leader.wait(token, end, request.acks, answer);
                self.advance(out);
            }
        }
    }

    /// Decides about a batch; if it is new, gives it its offset.
    fn admit(&mut self, now: Now, batch: &ValidBatch, request: Append) -> Result<Admitted, ProduceError> {
        let leader = self.leader()?;
        let leader_epoch = leader.leader_epoch;
        let bound = request.leader_epoch.is_none_or(|epoch| epoch == leader_epoch);
        if !guard!(AppendLeaderEpoch, bound) {
            return Err(ErrorCode::NotLeaderOrFollower.into());
        }
        if request.acks == Acks::All && !guard!(AppendMinIsr, leader.has_min_isr(&self.settings)) {
            return Err(ErrorCode::NotEnoughReplicas.into());
        }
        if let Verdict::Duplicate(first) = self.producers.check(batch.header())? {
            let answer = Produced {
                base_offset: first.base_offset,
                log_append_time: first.timestamp,
                log_start: self.log.start,
                is_duplicate: true,
            };
            return Ok(Admitted { end: first.last_offset.plus(1), answer, stamped: None });
        }
        let log_append_time =
            (self.settings.timestamp_type == TimestampType::LogAppendTime).then_some(now.wall);
        let base_offset = self.log.next;
        let stamped = stamp(batch, base_offset, leader_epoch, log_append_time);
        self.log.next = stamped.header.next_offset();
        self.log.unflushed_since.get_or_insert(now.mono);
        self.producers.observe(&stamped.header);
        self.note_producer(now, &stamped.header);
        let answer = Produced {
            base_offset,
            log_append_time: log_append_time.unwrap_or(Timestamp::NONE),
            log_start: self.log.start,
            is_duplicate: false,
        };
        Ok(Admitted { end: self.log.next, answer, stamped: Some(stamped) })
    }

    /// Producers that were seen are looked through for silent ones from time to time.
    fn note_producer(&mut self, now: Now, batch: &BatchHeader) {
        if batch.has_producer_id() {
            self.producers_expire_at.get_or_insert(now.mono + PRODUCER_EXPIRY_INTERVAL);
        }
    }

    fn appended(&mut self, now: Now, through: Offset, out: &mut Outbox<Effect>) {
        if self.has_ended() {
            return; // an append that was under way when another one failed
        }
        assert!(
            through <= self.log.next,
            "the log holds no more than was asked: {through} of {}",
            self.log.next
        );
        if let Role::Leader(leader) = &mut self.role {
            leader.isr.log_grew(now.mono, self.log.end);
        }
        self.log.end = self.log.end.max(through);
        let unflushed = self.log.end.0 - self.log.flush_asked.0;
        if self.settings.acks_durable || unflushed >= self.settings.flush_messages {
            self.ask_flush(out);
        }
        self.advance(out);
        if self.is_settled() {
            self.take_over_offsets(out);
        }
        self.watches.log_grew(self.log.end, |token| out.push(Effect::Wake { token }));
    }

    fn flushed(&mut self, through: Offset, out: &mut Outbox<Effect>) {
        if self.has_ended() {
            return;
        }
        assert!(through <= self.log.end, "only what was appended can have been flushed");
        self.log.flushed = self.log.flushed.max(through);
        self.log.flush_asked = self.log.flush_asked.max(through);
        if self.log.flushed >= self.log.next {
            self.log.unflushed_since = None;
        }
        self.advance(out);
    }

    fn ask_flush(&mut self, out: &mut Outbox<Effect>) {
        if self.log.flush_asked < self.log.end {
            self.log.flush_asked = self.log.end;
            if self.log.end == self.log.next {
                self.log.unflushed_since = None;
            }
            out.push(Effect::Flush { through: self.log.end });
        }
    }

    /// Moves the high watermark as far as it goes, and answers and wakes whoever waited for that.
    fn advance(&mut self, out: &mut Outbox<Effect>) {
        let Role::Leader(leader) = &mut self.role else { return };
        let durable_end = planted!(HighWatermarkFlushed, self.log.end, self.log.flushed);
        let own_end = if self.settings.acks_durable { durable_end } else { self.log.end };
        let before = self.high_watermark;
        self.high_watermark = leader.advance(before, own_end, &self.settings);
        leader.answer_appended(self.log.end, self.high_watermark, &self.settings, out);
        leader.answer_deletions(self.log.start, &self.settings, out);
        if self.high_watermark > before {
            self.wake_readers(out);
        }
    }

    fn delete_records(&mut self, token: Token, before: Offset, out: &mut Outbox<Effect>) {
        match self.deletion(before) {
            Err(code) => out.push(Effect::Reply { token, reply: Reply::RecordsDeleted(Err(code)) }),
            Ok(before) => {
                self.advance_log_start(before, out);
                let log_start = self.log.start;
                let Role::Leader(leader) = &mut self.role else {
                    unreachable!("only a leader deletes records")
                };
                leader.wait_for_deletion(token, before);
                leader.answer_deletions(log_start, &self.settings, out);
            }
        }
    }

    fn deletion(&self, before: Offset) -> Result<Offset, ErrorCode> {
        let leader = self.leader()?;
        if !self.settings.deletes {
            return Err(ErrorCode::PolicyViolation);
        }
        let HighWatermark::Known = leader.high_watermark else { return Err(ErrorCode::OffsetOutOfRange) };
        let before = if before == Offset(-1) { self.high_watermark } else { before };
        let in_range = before >= Offset::ZERO && before <= self.high_watermark;
        if guard!(LogStartBelowHighWatermark, in_range) {
            Ok(before)
        } else {
            Err(ErrorCode::OffsetOutOfRange)
        }
    }

    /// Moves the log start, never back and never beyond the high watermark (O13).
    fn advance_log_start(&mut self, to: Offset, out: &mut Outbox<Effect>) {
        let to = if guard!(LogStartBelowHighWatermark, to <= self.high_watermark) {
            to
        } else {
            self.high_watermark
        };
        if to > self.log.start {
            self.log.start = to;
            self.epochs.truncate_start(to);
            out.push(Effect::AdvanceLogStart { to });
            self.watches.wake_all(|token| out.push(Effect::Wake { token }));
        }
    }

    fn leader(&self) -> Result<&LeaderState, ErrorCode> {
        match &self.role {
            Role::Leader(leader) => Ok(leader),
            Role::Follower(_) => Err(ErrorCode::NotLeaderOrFollower),
            Role::Offline(why) => Err(why.code()),
        }
    }

    /// Takes a follower's fetch: fence, divergence and range first, then its progress, then what follows for high
    /// watermark and ISR (design rule 3).
    fn follower_fetched(&mut self, now: Now, fetch: &FollowerFetch, out: &mut Outbox<Effect>) {
        if !guard!(FollowerFetchVerified, self.follower_bounds(fetch).is_ok()) {
            return;
        }
        let Role::Leader(leader) = &mut self.role else { return };
        let FollowerFetch { broker, broker_epoch, position } = *fetch;
        let fetched = isr::Fetched { broker_epoch, end: position.safe_end, log_start: position.log_start };
        leader.follower_fetched(now.mono, broker, fetched, self.log.end);
        self.advance(out);
        self.propose_isr(now, out);
    }

    fn propose_isr(&mut self, now: Now, out: &mut Outbox<Effect>) {
        let (end, high_watermark) = (self.log.end, self.high_watermark);
        if let Role::Leader(leader) = &mut self.role {
            leader.propose_isr(now.mono, end, high_watermark, &self.settings, out);
        }
    }

    fn isr_answered(
        &mut self,
        now: Now,
        leader_epoch: LeaderEpoch,
        proposed: (PartitionEpoch, &[IsrMember]),
        answer: Result<IsrAccepted, IsrRefusal>,
        out: &mut Outbox<Effect>,
    ) {
        let Role::Leader(leader) = &mut self.role else { return };
        if !guard!(IsrAnswerLeaderEpoch, leader_epoch == leader.leader_epoch) {
            return;
        }
        if leader.isr_answered(now.mono, proposed, answer, &self.settings) {
            self.advance(out);
            self.propose_isr(now, out);
        }
    }

    fn watch_replica(
        &mut self,
        token: Token,
        end_beyond: Offset,
        high_watermark_beyond: Offset,
        out: &mut Outbox<Effect>,
    ) {
        let is_news = self.leader().is_err()
            || self.log.end > end_beyond
            || self.high_watermark > high_watermark_beyond;
        if is_news {
            out.push(Effect::Wake { token });
        } else {
            self.watches.add_replica(token, end_beyond, high_watermark_beyond);
        }
    }

    fn watch(&mut self, token: Token, beyond: Offset, isolation: Isolation, out: &mut Outbox<Effect>) {
        let is_offline = matches!(self.role, Role::Offline(_));
        let is_readable = is_offline || self.readable_end(isolation) > beyond;
        if is_readable {
            out.push(Effect::Wake { token });
        } else {
            self.watches.add(token, beyond, isolation);
        }
    }

    fn forget(&mut self, token: Token) {
        self.watches.remove(token);
        if let Role::Leader(leader) = &mut self.role {
            leader.forget(token);
        }
    }
}

/// What a produce input asks beside its batch.
#[derive(Clone, Copy)]
struct Append {
    acks: Acks,
    leader_epoch: Option<LeaderEpoch>,
}

/// A batch that was given an offset now, or had one already.
struct Admitted {
    end: Offset,
    answer: Produced,
    stamped: Option<StampedBatch>,
}

impl Role {
    /// The leader epoch and partition epoch that this role is of.
    const fn registration(&self) -> Option<(LeaderEpoch, PartitionEpoch)> {
        match self {
            Self::Leader(leader) => Some((leader.leader_epoch, leader.partition_epoch())),
            Self::Follower(follower) => Some((follower.leader_epoch, follower.partition_epoch)),
            Self::Offline(_) => None,
        }
    }
}

impl Machine for Replica {
    type Input = Input;
    type Effect = Effect;

    fn handle(&mut self, now: Now, input: Input, out: &mut Outbox<Effect>) {
        match input {
            Input::Lead(leadership) => self.lead(now, leadership, out),
            Input::Follow { leader, leader_epoch, partition_epoch } => {
                self.follow(now, FollowerState::new(leader, leader_epoch, partition_epoch), out);
            }
            Input::Produce { token, batch, acks, leader_epoch } => {
                self.produce(now, token, &batch, Append { acks, leader_epoch }, out);
            }
            Input::Appended { through } => self.appended(now, through, out),
            Input::AppendFailed | Input::FlushFailed => {
                if !self.has_ended() {
                    self.end(Offline::Storage, out);
                }
            }
            Input::Delete => self.end(Offline::Deleted, out),
            Input::Flushed { through } => self.flushed(through, out),
            Input::FollowerFetched(fetch) => self.follower_fetched(now, &fetch, out),
            Input::IsrAnswered { leader_epoch, proposed_at, proposed, answer } => {
                self.isr_answered(now, leader_epoch, (proposed_at, &proposed), answer, out);
            }
            Input::Replicate(replicated) => self.replicate(now, replicated, out),
            Input::Truncated { end, producers } => self.truncated(now, end, producers, out),
            Input::WatchReplica { token, end_beyond, high_watermark_beyond } => {
                self.watch_replica(token, end_beyond, high_watermark_beyond, out);
            }
            Input::DeleteRecords { token, before } => self.delete_records(token, before, out),
            Input::Retain { log_start } => self.advance_log_start(log_start, out),
            Input::LogStartKept { through } => {
                self.log.start_kept = self.log.start_kept.max(through.min(self.log.start));
            }
            Input::Watch { token, beyond, isolation } => self.watch(token, beyond, isolation, out),
            Input::Forget { token } => self.forget(token),
            Input::Inactive(brokers) => {
                if let Role::Leader(leader) = &mut self.role {
                    leader.isr.inactive = brokers;
                }
                self.propose_isr(now, out);
            }
            Input::Configure(settings) => {
                self.settings = settings;
                if self.settings.acks_durable {
                    self.ask_flush(out);
                }
                self.advance(out);
            }
        }
    }

    fn handle_timeout(&mut self, now: Now, out: &mut Outbox<Effect>) {
        if self.flush_due_at().is_some_and(|at| at <= now.mono) {
            self.ask_flush(out);
            // appends that are still under way start a new wait
            self.log.unflushed_since = (self.log.end < self.log.next).then_some(now.mono);
        }
        if self.producers_expire_at.is_some_and(|at| at <= now.mono) {
            self.producers.expire(now.wall, self.settings.producer_expiration_ms);
            self.producers_expire_at =
                (!self.producers.is_empty()).then(|| now.mono + PRODUCER_EXPIRY_INTERVAL);
        }
        self.propose_isr(now, out);
    }

    fn next_timeout(&self) -> Option<Instant> {
        [self.flush_due_at(), self.producers_expire_at, self.isr_due_at()].into_iter().flatten().min()
    }

    fn assert_invariants(&self) {
        let LogEnds { start, start_kept, end, next, flushed, .. } = self.log;
        assert!(start_kept <= start, "the log start that is kept is {start_kept} <= {start}");
        assert!(start <= self.high_watermark, "log start {start} <= high watermark {}", self.high_watermark);
        assert!(self.high_watermark <= end, "high watermark {} <= log end {end}", self.high_watermark);
        assert!(end <= next, "log end {end} <= next offset {next}");
        assert!(flushed <= end, "flushed {flushed} <= log end {end}");
        assert!(self.last_stable_offset() <= self.high_watermark, "the last stable offset is committed");
        self.epochs.assert_invariants();
        self.producers.assert_invariants();
        self.watches.assert_invariants(self.high_watermark);
        if let Role::Leader(leader) = &self.role {
            assert!(leader.leader_epoch == self.epochs.latest(), "a leader's epoch is in the index");
            leader.assert_invariants(end, next, self.high_watermark);
        }
    }
}

impl Replica {
    /// When the ISR is to be looked at again.
    fn isr_due_at(&self) -> Option<Instant> {
        match &self.role {
            Role::Leader(leader) => leader.isr_deadline(self.log.end, self.high_watermark, &self.settings),
            Role::Follower(_) | Role::Offline(_) => None,
        }
    }

    /// When `flush.ms` asks for a flush.
    fn flush_due_at(&self) -> Option<Instant> {
        let since = self.log.unflushed_since?;
        Some(since + self.settings.flush_interval?)
    }
}
