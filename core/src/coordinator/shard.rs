//! One partition of an internal topic and the coordinator that lives on it.
//!
//! ```text
//!   Lead(epoch) ──> Load{load} ··· Load(records)* ··· LoadFinished(end) ──> active
//!   Request ──> plan ──> replay ──> Append{id, epoch} ··· Appended(id, end) ··· HighWatermark >= end ──> Reply
//!                 └──> Reply                     (whatever depends on nothing in the log)
//! ```
//!
//! What was decided is replayed at once, so that the next decision sees it; replies that depend on it are held
//! until it is committed. If an append fails, what was decided after it stands on nothing: the shard drops all
//! state, answers everyone who waits with an error, and loads the log again. One append is in flight at a
//! time, and what is decided meanwhile goes into the next one, so that no append can succeed behind a failed one.
//!
//! The shard decides nothing about groups or transactions, and it knows no batch format: records are keys and
//! values, offsets come back from the shell.

use std::collections::VecDeque;
use std::time::Duration;

use highwater_protocol::ErrorCode;

use super::timers::Timers;
use super::{Coordinator, Plan, Record, ReplayError, ReplyWhen, TimerChange, batch_bytes};
use crate::guard;
use crate::ids::{LeaderEpoch, Offset, Token};
use crate::machine::{Machine, Outbox};
use crate::time::{Instant, Now};

/// Names an append of this shard, over all its epochs: a late answer to an older append is known as such.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct AppendId(pub u64);

/// Names one reading of the log, over all epochs of the shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LoadId(pub u64);

/// Limits of a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardConfig {
    /// How long a reply may wait for its records to be committed (`offsets.commit.timeout.ms`).
    pub commit_timeout: Duration,
    /// How long to wait before the log is read again after a failed load.
    pub load_retry: Duration,
    /// The most bytes of one append as a batch: `max.message.bytes` of the internal topic.
    pub append_bytes_max: usize,
}

impl Default for ShardConfig {
    fn default() -> Self {
        Self {
            commit_timeout: Duration::from_millis(5000),
            load_retry: Duration::from_millis(1000),
            append_bytes_max: 1_048_588,
        }
    }
}

/// What a shard hears.
#[derive(Debug)]
pub enum Input<C: Coordinator> {
    /// This replica became leader of the partition, in this epoch.
    Lead {
        /// The epoch that every append will be bound to.
        epoch: LeaderEpoch,
    },
    /// This replica leads the partition no more, or is about to go.
    Resign,
    /// Records of the log in order, as [`Effect::Load`] asked. Any number of times.
    Load {
        /// The load they belong to.
        load: LoadId,
        /// The records, control batches left out.
        records: Vec<Record>,
    },
    /// All records up to the log's end were handed in.
    LoadFinished {
        /// The load that is finished.
        load: LoadId,
        /// The log end offset: what replaying gave is committed once the high watermark is there.
        end: Offset,
    },
    /// The log could not be read.
    LoadFailed {
        /// The load that failed.
        load: LoadId,
    },
    /// An append is in the log.
    Appended {
        /// Which.
        id: AppendId,
        /// The offset after its last record.
        end: Offset,
    },
    /// An append is not in the log, or nobody knows.
    AppendFailed {
        /// Which.
        id: AppendId,
        /// The replica's reason.
        error: ErrorCode,
    },
    /// The partition's high watermark moved.
    HighWatermark(Offset),
    /// Someone asks something.
    Request {
        /// Who waits for the answer.
        token: Token,
        /// What they ask.
        request: C::Request,
    },
}

/// What a shard asks for.
#[derive(Debug)]
pub enum Effect<C: Coordinator> {
    /// Read the partition's log from its start to its end and hand it in.
    Load {
        /// Comes back with the records.
        load: LoadId,
    },
    /// Append these records as one batch, if the replica still leads in this epoch.
    Append {
        /// Comes back with the outcome.
        id: AppendId,
        /// The epoch under which the state was loaded.
        epoch: LeaderEpoch,
        /// Never empty.
        records: Vec<Record>,
    },
    /// Answer a request.
    Reply {
        /// Who waits.
        token: Token,
        /// What they are told.
        reply: C::Reply,
    },
    /// Tell the operator.
    Event(C::Event),
    /// A record of the log was not applied. A malformed one fails the load.
    ReplayFailed(ReplayError),
}

/// Where a shard stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not the leader: everything is refused with `NOT_COORDINATOR`.
    Follower,
    /// Reading the log: `COORDINATOR_LOAD_IN_PROGRESS`.
    Loading,
    /// The log could not be read; it is tried again.
    Failed,
    /// Deciding.
    Active,
}

#[derive(Debug)]
struct Held<R> {
    needs: AppendId,
    deadline: Instant,
    token: Token,
    reply: R,
}

#[derive(Debug)]
enum Role<C: Coordinator> {
    Follower,
    Loading { epoch: LeaderEpoch, load: LoadId, durable: C::Durable },
    Failed { epoch: LeaderEpoch, retry_at: Instant },
    Active(Active<C>),
}

/// What only a loaded leader has.
#[derive(Debug)]
struct Active<C: Coordinator> {
    epoch: LeaderEpoch,
    durable: C::Durable,
    volatile: C::Volatile,
    timers: Timers<C::Timer>,
    /// The newest append decided, and thus replayed.
    replayed: AppendId,
    /// The newest append below the high watermark.
    committed: AppendId,
    /// Decided but not yet asked for: each entry fits into one batch.
    queue: VecDeque<(AppendId, Vec<Record>)>,
    in_flight: Option<AppendId>,
    /// In the log but not yet committed, with the end offset of each.
    appended: VecDeque<(AppendId, Offset)>,
    /// In the order of what they need, which is that of their deadlines, too.
    held: VecDeque<Held<C::Reply>>,
}

/// A coordinator over one partition of an internal topic. See the [module](self).
#[derive(Debug)]
pub struct CoordinatorShard<C: Coordinator> {
    coordinator: C,
    config: ShardConfig,
    high_watermark: Offset,
    append_last: AppendId,
    load_last: LoadId,
    role: Role<C>,
}

impl<C: Coordinator> CoordinatorShard<C> {
    /// A shard that leads nothing yet.
    pub fn new(coordinator: C, config: ShardConfig) -> Self {
        Self {
            coordinator,
            config,
            high_watermark: Offset::ZERO,
            append_last: AppendId(0),
            load_last: LoadId(0),
            role: Role::Follower,
        }
    }

    /// Where the shard stands.
    pub fn phase(&self) -> Phase {
        match self.role {
            Role::Follower => Phase::Follower,
            Role::Loading { .. } => Phase::Loading,
            Role::Failed { .. } => Phase::Failed,
            Role::Active(_) => Phase::Active,
        }
    }

    /// The state that the log gives, decisions whose append is under way included. `None` unless active.
    pub fn durable(&self) -> Option<&C::Durable> {
        self.active().map(|active| &active.durable)
    }

    /// The state that dies with the leadership. `None` unless active.
    pub fn volatile(&self) -> Option<&C::Volatile> {
        self.active().map(|active| &active.volatile)
    }

    /// Whether every decision is in the log, committed or not.
    pub fn is_settled(&self) -> bool {
        self.active().is_some_and(|active| active.in_flight.is_none())
    }

    /// How many replies wait for the high watermark.
    pub fn held_len(&self) -> usize {
        self.active().map_or(0, |active| active.held.len())
    }

    /// How many deadlines are armed.
    pub fn timers_len(&self) -> usize {
        self.active().map_or(0, |active| active.timers.len())
    }

    fn active(&self) -> Option<&Active<C>> {
        match &self.role {
            Role::Active(active) => Some(active),
            _ => None,
        }
    }

    fn request(&mut self, now: Now, token: Token, request: C::Request, out: &mut Outbox<Effect<C>>) {
        // OF-04: an answer from a half-read log tells a consumer that it has no offset
        let loaded = guard!(CoordinatorLoaded, matches!(self.role, Role::Active(_)));
        let mut plan = Plan::default();
        let error = match &mut self.role {
            Role::Active(Active { volatile, durable, .. }) => {
                self.coordinator.plan(now, volatile, durable, token, request, &mut plan);
                return self.carry_out(now, plan, out);
            }
            Role::Loading { durable, .. } if loaded => {
                let mut volatile = self.coordinator.start(now, durable, &mut Plan::default());
                self.coordinator.plan(now, &mut volatile, durable, token, request, &mut plan);
                return plan.replies.into_iter().for_each(|planned| {
                    out.push(Effect::Reply { token: planned.token, reply: planned.reply });
                });
            }
            Role::Loading { .. } => ErrorCode::CoordinatorLoadInProgress,
            Role::Follower | Role::Failed { .. } => ErrorCode::NotCoordinator,
        };
        out.push(Effect::Reply { token, reply: C::refuse(request, error) });
    }

    /// Replays, queues and arms what was planned, and answers what need not wait.
    fn carry_out(&mut self, now: Now, plan: Plan<C>, out: &mut Outbox<Effect<C>>) {
        let Role::Active(active) = &mut self.role else {
            unreachable!("only an active shard plans");
        };
        for event in plan.events {
            out.push(Effect::Event(event));
        }
        for change in plan.timers {
            match change {
                TimerChange::Arm(timer, at) => active.timers.arm(timer, at),
                TimerChange::Cancel(timer) => active.timers.cancel(&timer),
            }
        }
        for record in &plan.records {
            let replayed = C::replay(&mut active.durable, record);
            assert_eq!(replayed, Ok(()), "a coordinator replays what it decided");
        }
        for records in split(plan.records, self.config.append_bytes_max) {
            self.append_last.0 += 1;
            active.replayed = self.append_last;
            active.queue.push_back((self.append_last, records));
        }
        for planned in plan.replies {
            if planned.when == ReplyWhen::Now || active.committed == active.replayed {
                out.push(Effect::Reply { token: planned.token, reply: planned.reply });
            } else {
                active.held.push_back(Held {
                    needs: active.replayed,
                    deadline: now.mono + self.config.commit_timeout,
                    token: planned.token,
                    reply: planned.reply,
                });
            }
        }
        active.append_next(self.config.append_bytes_max, out);
    }

    fn lead(&mut self, epoch: LeaderEpoch, out: &mut Outbox<Effect<C>>) {
        if self.epoch() == Some(epoch) {
            return;
        }
        self.drop_state(ErrorCode::NotCoordinator, ErrorCode::NotCoordinator, out);
        self.load(epoch, out);
    }

    fn load(&mut self, epoch: LeaderEpoch, out: &mut Outbox<Effect<C>>) {
        self.load_last.0 += 1;
        self.role = Role::Loading { epoch, load: self.load_last, durable: C::Durable::default() };
        out.push(Effect::Load { load: self.load_last });
    }

    fn load_records(&mut self, now: Now, of: LoadId, records: &[Record], out: &mut Outbox<Effect<C>>) {
        let Role::Loading { load, durable, .. } = &mut self.role else { return };
        if !guard!(CoordinatorLoadCurrent, *load == of) {
            return;
        }
        for record in records {
            let Err(error) = C::replay(durable, record) else { continue };
            let fatal = matches!(error, ReplayError::Malformed(_));
            out.push(Effect::ReplayFailed(error));
            if fatal {
                return self.load_failed(now, of);
            }
        }
    }

    fn load_finished(&mut self, now: Now, of: LoadId, end: Offset, out: &mut Outbox<Effect<C>>) {
        let Role::Loading { load, .. } = &self.role else { return };
        if !guard!(CoordinatorLoadCurrent, *load == of) {
            return;
        }
        let Role::Loading { epoch, durable, .. } = std::mem::replace(&mut self.role, Role::Follower) else {
            unreachable!("matched above");
        };
        // what was read counts as an append of its own: it may lie above the high watermark
        let committed = self.append_last;
        self.append_last.0 += 1;
        let mut plan = Plan::default();
        let volatile = self.coordinator.start(now, &durable, &mut plan);
        self.role = Role::Active(Active {
            epoch,
            durable,
            volatile,
            timers: Timers::default(),
            replayed: self.append_last,
            committed,
            queue: VecDeque::new(),
            in_flight: None,
            appended: VecDeque::from([(self.append_last, end)]),
            held: VecDeque::new(),
        });
        self.commit(out);
        self.carry_out(now, plan, out);
    }

    fn load_failed(&mut self, now: Now, of: LoadId) {
        let Role::Loading { epoch, load, .. } = &self.role else { return };
        if *load == of {
            self.role = Role::Failed { epoch: *epoch, retry_at: now.mono + self.config.load_retry };
        }
    }

    fn appended(&mut self, id: AppendId, end: Offset, out: &mut Outbox<Effect<C>>) {
        let Role::Active(active) = &mut self.role else { return };
        // GC-04: an answer to an append of an earlier load says nothing about this state
        if !guard!(CoordinatorAppendCurrent, active.in_flight == Some(id)) {
            return;
        }
        active.in_flight = None;
        active.appended.push_back((id, end));
        active.append_next(self.config.append_bytes_max, out);
        self.commit(out);
    }

    fn append_failed(&mut self, id: AppendId, error: ErrorCode, out: &mut Outbox<Effect<C>>) {
        let Role::Active(active) = &self.role else { return };
        if !guard!(CoordinatorAppendCurrent, active.in_flight == Some(id)) {
            return;
        }
        let epoch = active.epoch;
        self.drop_state(append_error(error), ErrorCode::CoordinatorLoadInProgress, out);
        self.load(epoch, out);
    }

    /// Answers what the high watermark has passed.
    fn commit(&mut self, out: &mut Outbox<Effect<C>>) {
        let Role::Active(active) = &mut self.role else { return };
        while let Some((id, end)) = active.appended.front()
            && *end <= self.high_watermark
        {
            active.committed = *id;
            active.appended.pop_front();
        }
        while let Some(held) = active.held.front()
            && held.needs <= active.committed
        {
            let held = active.held.pop_front().expect("the front was looked at");
            out.push(Effect::Reply { token: held.token, reply: held.reply });
        }
    }

    /// Leaves the active role: replies that wait for records get one error, requests that wait inside the
    /// volatile state another.
    fn drop_state(&mut self, held_error: ErrorCode, waiting_error: ErrorCode, out: &mut Outbox<Effect<C>>) {
        let Role::Active(active) = std::mem::replace(&mut self.role, Role::Follower) else { return };
        for held in active.held {
            out.push(Effect::Reply { token: held.token, reply: C::fail(held.reply, held_error) });
        }
        for (token, reply) in C::abandon(active.volatile, waiting_error) {
            out.push(Effect::Reply { token, reply });
        }
    }

    fn epoch(&self) -> Option<LeaderEpoch> {
        match &self.role {
            Role::Follower => None,
            Role::Loading { epoch, .. } | Role::Failed { epoch, .. } => Some(*epoch),
            Role::Active(active) => Some(active.epoch),
        }
    }
}

impl<C: Coordinator> Active<C> {
    /// Asks for the next append, unless one is under way: as much of the queue as fits into one batch.
    fn append_next(&mut self, bytes_max: usize, out: &mut Outbox<Effect<C>>) {
        if self.in_flight.is_some() {
            return;
        }
        let Some((mut id, mut records)) = self.queue.pop_front() else { return };
        let mut bytes = batch_bytes(&records);
        while let Some((_, more)) = self.queue.front() {
            bytes += more.iter().map(Record::bytes).sum::<usize>();
            if bytes > bytes_max {
                break;
            }
            let (next, more) = self.queue.pop_front().expect("the front was looked at");
            records.extend(more);
            id = next;
        }
        self.in_flight = Some(id);
        out.push(Effect::Append { id, epoch: self.epoch, records });
    }
}

impl<C: Coordinator> Machine for CoordinatorShard<C> {
    type Input = Input<C>;
    type Effect = Effect<C>;

    fn handle(&mut self, now: Now, input: Input<C>, out: &mut Outbox<Effect<C>>) {
        match input {
            Input::Lead { epoch } => self.lead(epoch, out),
            Input::Resign => self.drop_state(ErrorCode::NotCoordinator, ErrorCode::NotCoordinator, out),
            Input::Load { load, records } => self.load_records(now, load, &records, out),
            Input::LoadFinished { load, end } => self.load_finished(now, load, end, out),
            Input::LoadFailed { load } => self.load_failed(now, load),
            Input::Appended { id, end } => self.appended(id, end, out),
            Input::AppendFailed { id, error } => self.append_failed(id, error, out),
            Input::HighWatermark(offset) => {
                self.high_watermark = offset;
                self.commit(out);
            }
            Input::Request { token, request } => self.request(now, token, request, out),
        }
    }

    fn handle_timeout(&mut self, now: Now, out: &mut Outbox<Effect<C>>) {
        if let Role::Failed { epoch, retry_at } = self.role
            && retry_at <= now.mono
        {
            self.load(epoch, out);
        }
        // a deadline that is armed again for right now has its turn at the next call
        for _ in 0..self.timers_len() {
            let Role::Active(active) = &mut self.role else { break };
            let Some(timer) = active.timers.pop_due(now.mono) else { break };
            let mut plan = Plan::default();
            self.coordinator.plan_timeout(now, &mut active.volatile, &active.durable, timer, &mut plan);
            self.carry_out(now, plan, out);
        }
        while let Role::Active(active) = &mut self.role
            && active.held.front().is_some_and(|held| held.deadline <= now.mono)
        {
            let held = active.held.pop_front().expect("the front was looked at");
            // Kafka's REQUEST_TIMED_OUT of an append; the records may still be committed
            let reply = C::fail(held.reply, append_error(ErrorCode::RequestTimedOut));
            out.push(Effect::Reply { token: held.token, reply });
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        match &self.role {
            Role::Follower | Role::Loading { .. } => None,
            Role::Failed { retry_at, .. } => Some(*retry_at),
            Role::Active(active) => {
                let held = active.held.front().map(|held| held.deadline);
                active.timers.next().into_iter().chain(held).min()
            }
        }
    }

    fn assert_invariants(&self) {
        let Role::Active(active) = &self.role else { return };
        active.timers.assert_invariants();
        assert!(active.committed <= active.replayed, "nothing is committed that was not decided");
        assert!(active.queue.is_empty() || active.in_flight.is_some(), "decisions do not lie around");
        assert!(active.held.iter().all(|held| held.needs > active.committed), "no reply is held for nothing");
        assert!(active.held.iter().is_sorted_by_key(|held| held.needs), "replies leave in order");
        assert!(active.appended.iter().is_sorted_by_key(|(_, end)| *end), "appends end in order");
        assert!(
            active.appended.iter().all(|(_, end)| *end > self.high_watermark),
            "commits are seen at once"
        );
        self.coordinator.assert_invariants(&active.volatile, &active.durable);
    }
}

/// Cuts a plan's records into batches. Coordinators refuse what must be atomic and does not fit; what is cut is
/// a long list of tombstones.
fn split(records: Vec<Record>, bytes_max: usize) -> Vec<Vec<Record>> {
    let mut batches: Vec<Vec<Record>> = Vec::new();
    let mut bytes = 0;
    for record in records {
        bytes += record.bytes();
        match batches.last_mut() {
            Some(batch) if bytes <= bytes_max => batch.push(record),
            _ => {
                bytes = batch_bytes([&record]);
                batches.push(vec![record]);
            }
        }
    }
    batches
}

/// What clients are told of a failed append, as Kafka translates it for all coordinator requests.
fn append_error(error: ErrorCode) -> ErrorCode {
    match error {
        ErrorCode::UnknownTopicOrPartition
        | ErrorCode::NotEnoughReplicas
        | ErrorCode::NotEnoughReplicasAfterAppend
        | ErrorCode::RequestTimedOut => ErrorCode::CoordinatorNotAvailable,
        ErrorCode::NotLeaderOrFollower | ErrorCode::KafkaStorageError | ErrorCode::FencedLeaderEpoch => {
            ErrorCode::NotCoordinator
        }
        ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge | ErrorCode::InvalidFetchSize => {
            ErrorCode::UnknownServerError
        }
        other => other,
    }
}
