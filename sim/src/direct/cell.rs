//! A partition replica on a simulated node: the same machines as in the node's cell, over a simulated log.
//!
//! Effects are carried out as the node's shell does it: storage effects in the order emitted; while the disk owes the
//! outcome of an append, everything behind it waits. A crash may fall between any two disk operations: from then on
//! nothing is stored and nothing leaves.

use super::env::{Env, Here, Hook, Local};
use super::message::{Due, Event, Fetched, Message, Response};
use super::network::Place;
use super::queue::{MILLI, Time};
use super::store::{SimLog, StoredBatch, whole};
use super::truth;
use highwater_core::batch::{Builder, Codec, StampedBatch, ValidBatch};
use highwater_core::coordinator::group::{GroupConfig, GroupCoordinator, GroupDurable, GroupRequest};
use highwater_core::coordinator::{
    self, AppendId, Coordinator, CoordinatorShard, LoadId, Phase, Record, ShardConfig,
};
use highwater_core::error_code::ErrorCode;
use highwater_core::fetch::Slot;
use highwater_core::ids::{BrokerId, LeaderEpoch, Offset, Token, TopicPartition};
use highwater_core::machine::{Machine, Outbox};
use highwater_core::replica::{
    Acks, Effect, FetchBounds, FetchFrom, FetchOutcome, FetchPosition, FollowerFetch, Input, Isolation,
    Leadership, ListedOffset, Offline, Producers, Recovery, Replica, Reply, Role, Settings,
};
use highwater_core::time::{Instant, Now, Timestamp};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

type Shard = CoordinatorShard<GroupCoordinator>;
type ShardEffect = coordinator::Effect<GroupCoordinator>;
type ShardInput = coordinator::Input<GroupCoordinator>;

/// The longest that a fetch waits for records, as `fetch.max.wait.ms`.
const FETCH_WAIT: Time = 500 * MILLI;

/// The most batches in an answer.
const FETCH_BATCHES_MAX: usize = 50;

/// Who waits under a token.
#[derive(Debug)]
enum Waiter {
    Producer {
        client: Place,
        id: u64,
        acks: Acks,
        records: i64,
    },
    Fetch {
        client: Place,
        id: u64,
        from: FetchFrom,
    },
    Group {
        client: Place,
        id: u64,
    },
    Shard {
        append: AppendId,
        records: i64,
    },
    /// A follower whose session is to be looked at again.
    Follower {
        broker: BrokerId,
        slot: Slot,
    },
}

/// Replica, log and coordinator of one partition on one node.
#[derive(Debug)]
pub(crate) struct Cell {
    pub(crate) id: TopicPartition,
    pub(crate) replica: Replica,
    pub(crate) log: SimLog<StampedBatch>,
    pub(crate) shard: Option<Shard>,
    outbox: Outbox<Effect>,
    shard_outbox: Outbox<ShardEffect>,
    queue: VecDeque<Effect>,
    shard_queue: VecDeque<ShardEffect>,
    waiters: BTreeMap<Token, Waiter>,
    /// When a deadline of this cell is planned.
    armed: Option<Instant>,
    /// The append whose outcome the disk owes.
    owed: Option<StampedBatch>,
    /// How often the log was cut: a flush that began before a cut covers less than it noted.
    truncations: u32,
    seen_high_watermark: Offset,
    /// Whom it follows from where, as its fetcher was told.
    told_position: Option<(BrokerId, FetchPosition)>,
}

impl Cell {
    /// Opens a replica over what its log holds; its high-watermark checkpoint may lag as far as it likes.
    pub(crate) fn open(
        id: TopicPartition,
        here: Here,
        log: SimLog<StampedBatch>,
        settings: Settings,
        high_watermark: Offset,
        is_coordinator: bool,
    ) -> Self {
        let mut recovery = Recovery::from_log_start(log.start());
        for batch in log.batches() {
            recovery.observe(batch.header()).expect("the simulated log keeps whole batches in order");
        }
        let recovered = recovery.finish(log.flushed(), high_watermark);
        let replica = Replica::new(id, here.broker(), settings, recovered);
        let shard =
            is_coordinator.then(|| Shard::new(GroupCoordinator::new(group_config()), ShardConfig::default()));
        Self {
            id,
            replica,
            log,
            shard,
            outbox: Outbox::new(),
            shard_outbox: Outbox::new(),
            queue: VecDeque::new(),
            shard_queue: VecDeque::new(),
            waiters: BTreeMap::new(),
            armed: None,
            owed: None,
            truncations: 0,
            seen_high_watermark: Offset::ZERO,
            told_position: None,
        }
    }

    /// What a follower is to be told: a refusal, or its bounds and what there is to read.
    pub(crate) fn read_for_follower(
        &self,
        fetch: &FollowerFetch,
        batches_max: usize,
    ) -> Result<(FetchBounds, Vec<StoredBatch>), FetchOutcome> {
        let bounds = self.replica.follower_bounds(fetch)?;
        let batches = self.log.read(fetch.position.offset, bounds.end, batches_max);
        Ok((bounds, batches))
    }

    /// Has a follower's session woken once there is something to tell.
    pub(crate) fn watch_for_follower(
        &mut self,
        env: &mut Env,
        here: Here,
        (broker, slot): (BrokerId, Slot),
        (end_beyond, high_watermark_beyond): (Offset, Offset),
    ) -> Token {
        let token = Token(env.fresh());
        self.waiters.insert(token, Waiter::Follower { broker, slot });
        self.input(env, here, Input::WatchReplica { token, end_beyond, high_watermark_beyond });
        token
    }

    /// Whoever waits under this token has gone.
    pub(crate) fn forget(&mut self, env: &mut Env, here: Here, token: Token) {
        self.waiters.remove(&token);
        self.input(env, here, Input::Forget { token });
    }

    /// Whether its log has failed: it serves nothing until the process starts anew.
    pub(crate) const fn has_failed(&self) -> bool {
        matches!(self.replica.role(), Role::Offline(Offline::Storage))
    }

    /// Whom it follows.
    pub(crate) fn follows(&self) -> Option<BrokerId> {
        match self.replica.role() {
            Role::Follower(follower) => follower.leader,
            Role::Leader(_) | Role::Offline(_) => None,
        }
    }

    /// How many wait for an answer, deadlines of parked fetches included (O43).
    pub(crate) fn waiting(&self) -> usize {
        self.waiters.len()
    }

    /// Takes a leadership or a change of its ISR.
    pub(crate) fn lead(&mut self, env: &mut Env, here: Here, leadership: Leadership) {
        if self.has_failed() {
            return; // it stays offline whatever the controller says
        }
        let (epoch, before) = (leadership.leader_epoch, self.replica.leader_epoch());
        self.replica.handle(here.now, Input::Lead(leadership), &mut self.outbox);
        if self.replica.leader_epoch() == Some(epoch) && before != Some(epoch) {
            env.hooks.push(Hook::Led { node: here.node, partition: self.id });
        }
        self.shard_input(here.now, |_| ShardInput::Lead { epoch });
        self.run(env, here);
    }

    /// Stops leading, or learns of another leader.
    pub(crate) fn follow(&mut self, env: &mut Env, here: Here, input: Input) {
        self.replica.handle(here.now, input, &mut self.outbox);
        if self.replica.leader_epoch().is_none() {
            self.shard_input(here.now, |_| ShardInput::Resign);
        }
        self.run(env, here);
    }

    /// Hands one input in and carries out what follows.
    pub(crate) fn input(&mut self, env: &mut Env, here: Here, input: Input) {
        self.replica.handle(here.now, input, &mut self.outbox);
        self.run(env, here);
    }

    /// A client's produce request.
    pub(crate) fn produce(
        &mut self,
        env: &mut Env,
        here: Here,
        (client, id): (Place, u64),
        batch: ValidBatch,
        acks: Acks,
    ) {
        let token = Token(env.fresh());
        let records = i64::from(batch.header().record_count);
        self.waiters.insert(token, Waiter::Producer { client, id, acks, records });
        self.input(env, here, Input::Produce { token, batch, acks, leader_epoch: None });
    }

    /// A client's fetch: answered at once if there is something, else when there is, or after a while.
    pub(crate) fn fetch(&mut self, env: &mut Env, here: Here, (client, id): (Place, u64), from: FetchFrom) {
        if let Some(answer) = self.read(from, false) {
            return respond(env, here, client, id, Response::Fetch(answer));
        }
        let token = Token(env.fresh());
        self.waiters.insert(token, Waiter::Fetch { client, id, from });
        let due = Due::FetchWait { partition: self.id, token };
        env.queue.push(env.now + FETCH_WAIT, Event::Node { node: here.node as u16, life: here.life, due });
        let watch = Input::Watch { token, beyond: from.offset, isolation: from.isolation };
        self.input(env, here, watch);
    }

    /// What a fetch is answered; none if there is nothing yet and the fetch may wait.
    fn read(&self, from: FetchFrom, is_due: bool) -> Option<Result<Fetched, ErrorCode>> {
        let bounds = match self.replica.fetch_bounds(from) {
            Ok(bounds) => bounds,
            Err(code) => return Some(Err(code)),
        };
        let batches = match bounds.diverging {
            Some(_) => Vec::new(),
            None => self.log.read(from.offset, bounds.end, FETCH_BATCHES_MAX),
        };
        if batches.is_empty() && bounds.diverging.is_none() && !is_due {
            return None;
        }
        Some(Ok(Fetched {
            batches,
            high_watermark: bounds.high_watermark,
            log_start: bounds.log_start,
            diverging: bounds.diverging.map(|end| end.end),
        }))
    }

    /// A fetch has waited long enough.
    pub(crate) fn fetch_due(&mut self, env: &mut Env, here: Here, token: Token) {
        if let Some(Waiter::Fetch { client, id, from }) = self.waiters.remove(&token) {
            if let Some(answer) = self.read(from, true) {
                respond(env, here, client, id, Response::Fetch(answer));
            }
            self.input(env, here, Input::Forget { token });
        }
    }

    /// The latest offset, once it can be told (KIP-207).
    pub(crate) fn latest(&self, asked: Option<LeaderEpoch>) -> Result<(Offset, LeaderEpoch), ErrorCode> {
        const LATEST: i64 = -1;
        match self.replica.list_offset(LATEST, Isolation::ReadUncommitted, asked)? {
            ListedOffset::Found { offset, leader_epoch, .. } => Ok((offset, leader_epoch)),
            ListedOffset::Lookup { .. } | ListedOffset::LookupMaxTimestamp { .. } => {
                unreachable!("the latest offset needs no look into the log")
            }
        }
    }

    /// A request to the coordinator that lives here.
    pub(crate) fn coordinate(
        &mut self,
        env: &mut Env,
        here: Here,
        (client, id): (Place, u64),
        request: GroupRequest,
    ) {
        let Some(shard) = &mut self.shard else {
            let refusal = <GroupCoordinator as Coordinator>::refuse(request, ErrorCode::NotCoordinator);
            return respond(env, here, client, id, Response::Group(Box::new(refusal)));
        };
        let token = Token(env.fresh());
        self.waiters.insert(token, Waiter::Group { client, id });
        shard.handle(here.now, ShardInput::Request { token, request }, &mut self.shard_outbox);
        self.run(env, here);
    }

    /// The coordinator's log has been read: to its end, and at one moment.
    pub(crate) fn loaded(&mut self, env: &mut Env, here: Here, load: LoadId) {
        let mut records = Vec::new();
        for stored in self.log.batches().filter(|stored| !stored.header().attributes.is_control()) {
            for record in highwater_core::batch::records(&whole(&stored.batch)).into_iter().flatten() {
                let record = record.expect("a coordinator's batch holds what was put into it");
                records.extend(record.key.map(|key| Record { key, value: record.value }));
            }
        }
        let end = self.log.end();
        self.shard_input(here.now, |_| ShardInput::Load { load, records });
        self.shard_input(here.now, |_| ShardInput::LoadFinished { load, end });
        self.run(env, here);
        env.hooks.push(Hook::Loaded { node: here.node, partition: self.id });
    }

    /// A deadline of the machines has passed, or moved.
    pub(crate) fn due(&mut self, env: &mut Env, here: Here) {
        self.armed = None;
        self.replica.handle_timeout(here.now, &mut self.outbox);
        if let Some(shard) = &mut self.shard {
            shard.handle_timeout(here.now, &mut self.shard_outbox);
        }
        self.run(env, here);
    }

    /// A flush has come back.
    pub(crate) fn flushed(&mut self, env: &mut Env, here: Here, through: Offset, truncations: u32) {
        if std::mem::take(&mut env.disks[here.node].flush_fails) {
            env.trace.tell(env.now, here.broker(), format_args!("a flush of {} fails", self.name(env)));
            env.hooks.push(Hook::Died { node: here.node });
            return self.input(env, here, Input::FlushFailed);
        }
        if self.fails(env, here, Input::FlushFailed) {
            return self.run(env, here);
        }
        if !env.disk_operation(here.node) || truncations != self.truncations {
            return;
        }
        self.log.mark_flushed(through);
        let through = self.log.flushed().min(through);
        self.input(env, here, Input::Flushed { through });
    }

    /// Whether the log fails at this operation, or has before; the node goes on without it (ST-05, KIP-858).
    fn fails(&mut self, env: &mut Env, here: Here, failure: Input) -> bool {
        if self.has_failed() {
            return true;
        }
        if !std::mem::take(&mut env.disks[here.node].log_fails) {
            return false;
        }
        env.trace.tell(
            env.now,
            format_args!("node {}", here.broker()),
            format_args!("the log of {} fails: {failure:?}", self.name(env)),
        );
        self.replica.handle(here.now, failure, &mut self.outbox);
        self.shard_input(here.now, |_| ShardInput::Resign);
        env.local.push(Local::LogFailed { partition: self.id });
        true
    }

    /// A slow append has come back.
    pub(crate) fn append_comes_back(&mut self, env: &mut Env, here: Here) {
        if let Some(batch) = self.owed.take() {
            self.append_done(env, here, batch);
            self.run(env, here);
        }
    }

    fn shard_input(&mut self, now: Now, input: impl FnOnce(&Shard) -> ShardInput) {
        if let Some(shard) = &mut self.shard {
            let input = input(shard);
            shard.handle(now, input, &mut self.shard_outbox);
        }
    }

    /// Carries out effects until there are none, or until the disk owes an outcome.
    fn run(&mut self, env: &mut Env, here: Here) {
        loop {
            self.queue.extend(self.outbox.drain());
            if self.owed.is_some() {
                break;
            }
            if let Some(effect) = self.queue.pop_front() {
                self.carry_out(env, here, effect);
            } else if !self.run_shard(env, here) {
                break;
            }
        }
        let position = self.replica.fetch_position();
        if position != self.told_position {
            env.local.push(Local::Moved {
                partition: self.id,
                before: self.told_position.map(|(leader, _)| leader),
            });
            self.told_position = position;
        }
        self.observe(env, here);
        self.arm(env, here);
    }

    /// What oracles want to know of the step.
    fn observe(&mut self, env: &mut Env, here: Here) {
        if !env.truth.is_checking {
            return;
        }
        self.replica.assert_invariants();
        let high_watermark = self.replica.high_watermark();
        if high_watermark != self.seen_high_watermark {
            if matches!(self.replica.role(), Role::Leader(_)) {
                env.hooks.push(Hook::Committed { node: here.node, partition: self.id });
            }
            self.seen_high_watermark = high_watermark;
        }
    }

    fn arm(&mut self, env: &mut Env, here: Here) {
        let shard = self.shard.as_ref().and_then(Machine::next_timeout);
        let Some(next) = [self.replica.next_timeout(), shard].into_iter().flatten().min() else { return };
        if self.armed.is_none_or(|armed| next < armed) {
            self.armed = Some(next);
            let at = next.as_nanos().max(env.now + 1);
            let due = Due::Cell(self.id);
            env.queue.push(at, Event::Node { node: here.node as u16, life: here.life, due });
        }
    }

    fn carry_out(&mut self, env: &mut Env, here: Here, effect: Effect) {
        match effect {
            Effect::Append(batch) => self.append(env, here, batch),
            Effect::Truncate { to, rebuilds_producers, reason } => {
                env.trace.tell(
                    env.now,
                    format_args!("node {}", here.broker()),
                    format_args!("cuts {} to {to}: {reason:?}", self.name(env)),
                );
                if env.disk_operation(here.node) {
                    self.truncations += 1;
                    self.log.truncate(to);
                    let producers = rebuilds_producers.then(|| self.log.scanned_producers());
                    self.truncated(here, producers);
                    env.hooks.push(Hook::Truncated { node: here.node, partition: self.id });
                }
            }
            Effect::StartOver { at, reason } => {
                env.trace.tell(
                    env.now,
                    format_args!("node {}", here.broker()),
                    format_args!("starts {} over at {at}: {reason:?}", self.name(env)),
                );
                if env.disk_operation(here.node) {
                    self.truncations += 1;
                    let chain = env.truth.partition(self.id).and_then(|known| known.chain_at(at));
                    self.log.reset(at, chain);
                    self.truncated(here, Some(Producers::new()));
                }
            }
            Effect::ProposeIsr { leader_epoch, partition_epoch, isr } => {
                env.local.push(Local::Propose { partition: self.id, leader_epoch, partition_epoch, isr });
            }
            Effect::AdvanceLogStart { to } => {
                if env.disk_operation(here.node) {
                    self.log.advance_start(to);
                    self.replica.handle(here.now, Input::LogStartKept { through: to }, &mut self.outbox);
                }
            }
            Effect::Flush { .. } => {
                let due = Due::Flushed {
                    partition: self.id,
                    through: self.log.end(),
                    truncations: self.truncations,
                };
                let at = env.now + env.flush_delay(here.node);
                env.queue.push(at, Event::Node { node: here.node as u16, life: here.life, due });
            }
            Effect::Wake { token } => self.wake(env, here, token),
            Effect::Reply { token, reply } => self.reply(env, here, token, reply),
        }
    }

    fn append(&mut self, env: &mut Env, here: Here, batch: StampedBatch) {
        match env.append_delay(here.node) {
            None => self.append_done(env, here, batch),
            Some(delay) => {
                self.owed = Some(batch);
                let event =
                    Event::Node { node: here.node as u16, life: here.life, due: Due::Appended(self.id) };
                env.queue.push(env.now + delay, event);
            }
        }
    }

    fn append_done(&mut self, env: &mut Env, here: Here, batch: StampedBatch) {
        if self.fails(env, here, Input::AppendFailed) || !env.disk_operation(here.node) {
            return;
        }
        let header = batch.header;
        let chain = self.log.append(batch);
        env.truth.placed(self.id, &header, chain);
        let through = self.log.end();
        self.replica.handle(here.now, Input::Appended { through }, &mut self.outbox);
    }

    fn truncated(&mut self, here: Here, producers: Option<Producers>) {
        let end = self.log.end();
        self.replica.handle(here.now, Input::Truncated { end, producers }, &mut self.outbox);
    }

    fn wake(&mut self, env: &mut Env, here: Here, token: Token) {
        match self.waiters.remove(&token) {
            Some(Waiter::Fetch { client, id, from }) => {
                if let Some(answer) = self.read(from, true) {
                    respond(env, here, client, id, Response::Fetch(answer));
                }
            }
            Some(Waiter::Follower { broker, slot }) => env.local.push(Local::Woken { broker, slot }),
            _ => {}
        }
    }

    fn reply(&mut self, env: &mut Env, here: Here, token: Token, reply: Reply) {
        let Reply::Produced(result) = reply else { return };
        match self.waiters.remove(&token) {
            Some(Waiter::Producer { client, id, acks, records }) => {
                if let (Ok(produced), Acks::All) = (&result, acks) {
                    let end = produced.base_offset.plus(records);
                    let copies_min = self.replica.settings().min_isr;
                    env.hooks.push(Hook::Acked { partition: self.id, end, copies_min });
                }
                let told = result.map_err(|error| error.told(|| here.holds_lease));
                respond(env, here, client, id, Response::Produce(told));
            }
            Some(Waiter::Shard { append, records }) => {
                let input = match result {
                    Ok(produced) => {
                        ShardInput::Appended { id: append, end: produced.base_offset.plus(records) }
                    }
                    Err(error) => ShardInput::AppendFailed { id: append, error: error.code },
                };
                self.shard_input(here.now, |_| input);
            }
            Some(Waiter::Fetch { .. } | Waiter::Group { .. } | Waiter::Follower { .. }) | None => {}
        }
    }

    /// Lets the coordinator see the high watermark and carries out what it asks. Whether it asked for something.
    fn run_shard(&mut self, env: &mut Env, here: Here) -> bool {
        let Some(shard) = &mut self.shard else { return false };
        let high_watermark = self.replica.high_watermark();
        shard.handle(here.now, ShardInput::HighWatermark(high_watermark), &mut self.shard_outbox);
        self.shard_queue.extend(self.shard_outbox.drain());
        let Some(asked) = self.shard_queue.pop_front() else { return false };
        match asked {
            ShardEffect::Load { load } => {
                let due = Due::Loaded { partition: self.id, load: load.0 };
                let at = env.now + env.load_delay();
                env.queue.push(at, Event::Node { node: here.node as u16, life: here.life, due });
            }
            ShardEffect::Append { id, epoch, records } => {
                let token = Token(env.fresh());
                self.waiters.insert(token, Waiter::Shard { append: id, records: records.len() as i64 });
                let batch = batch_of(&records, here.now.wall);
                let produce = Input::Produce { token, batch, acks: Acks::All, leader_epoch: Some(epoch) };
                self.replica.handle(here.now, produce, &mut self.outbox);
            }
            ShardEffect::Reply { token, reply } => {
                if let Some(Waiter::Group { client, id }) = self.waiters.remove(&token) {
                    respond(env, here, client, id, Response::Group(Box::new(reply)));
                }
            }
            ShardEffect::Event(event) => env.trace.tell(env.now, here.broker(), event),
            ShardEffect::ReplayFailed(error) => {
                env.truth.complain("O24", format_args!("a record of a coordinator's log: {error:?}"));
            }
        }
        true
    }

    fn name(&self, env: &Env) -> String {
        env.truth.name_of(self.id)
    }

    /// O24: what the coordinator holds is what its log gives, if both speak of the same end.
    pub(crate) fn coordinator_is_its_logs_replay(&self) -> Result<(), String> {
        let Some(shard) = self.shard.as_ref().filter(|shard| shard.phase() == Phase::Active) else {
            return Ok(());
        };
        let Some(durable) = shard.durable().filter(|_| shard.is_settled()) else { return Ok(()) };
        let mut replayed = GroupDurable::default();
        for stored in self.log.batches() {
            truth::replay(&mut replayed, &whole(&stored.batch))?;
        }
        if *durable == replayed {
            return Ok(());
        }
        Err(format!("the coordinator holds {durable:?}, its log gives {replayed:?}"))
    }
}

/// Short sessions: what takes minutes in production takes seconds here.
fn group_config() -> GroupConfig {
    GroupConfig {
        session_timeout_ms_min: 100,
        initial_rebalance_delay: Duration::from_millis(50),
        ..GroupConfig::default()
    }
}

fn respond(env: &mut Env, here: Here, client: Place, id: u64, body: Response) {
    env.send(here.node as Place, client, Message::Response { id, body });
}

/// A coordinator's records as one batch.
fn batch_of(records: &[Record], now: Timestamp) -> ValidBatch {
    let mut builder = Builder::new(Codec::None);
    for record in records {
        builder.push(now, Some(&record.key), record.value.as_deref(), &[]);
    }
    builder.build()
}
