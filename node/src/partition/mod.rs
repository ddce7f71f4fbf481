//! A partition's cell: replica, log and perhaps a coordinator behind one short lock.
//!
//! Everything that happens to the partition is a method here: it takes the lock, hands inputs to the machines,
//! carries their storage effects out inline ([`state`]), gives the lock back and only then delivers what concerns
//! others (answers, wakes). Nothing here decides; the machines do.

mod coordinator;
mod open;
mod replicate;
mod state;
mod waiter;

pub use coordinator::{GroupReply, GroupRequest};
pub use open::{OpenError, Opened, Opening, Snapshot, Tail};
pub use replicate::{Delivered, LeaderView, Served};
pub use waiter::{FollowChange, IsrProposal, Waiter, Woken};

use crate::cell::{CellBroken, CellLock};
use crate::clock::Clock;
use crate::disk::OpId;
use crate::flusher::{Flush, Flusher};
use crate::housekeeping::Rolled;
use crate::jobs::Jobs;
use crate::log::{FlushJob, FlushNote, Log, LogError, ReadPlan, StartNote};
use crate::peers::Peers;
use crate::replication::Replication;
use crate::timers::{Timed, Timers};
use highwater_core::batch::ValidBatch;
use highwater_core::config::{BrokerConfig, TopicConfig};
use highwater_core::coordinator::group::GroupCoordinator;
use highwater_core::coordinator::{CoordinatorShard, LoadId};
use highwater_core::ids::{BrokerId, LeaderEpoch, Offset, Token, TopicPartition};
use highwater_core::replica::{
    Acks, ActiveProducer, EpochEnd, FetchBounds, FetchFrom, Input, Isolation, Leadership, ListedOffset,
    ProduceError, Produced, Replica,
};
use highwater_core::time::{Instant, Timestamp};
use highwater_protocol::ErrorCode;
use state::State;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, Weak};
use waiter::Deliveries;

/// What every cell of a node uses.
#[derive(Debug)]
pub struct Shell {
    /// The node's clocks.
    pub clock: Clock,
    /// The node's deadlines.
    pub timers: Arc<Timers>,
    /// Deadlines of quorum, heartbeats and registration, on the control runtime.
    pub control_timers: Arc<Timers>,
    /// The way to other nodes.
    pub peers: Arc<Peers>,
    /// Copying from leaders, and serving followers.
    pub replication: Arc<Replication>,
    /// The node's group commit.
    pub flusher: Arc<Flusher>,
    /// The node's jobs that may block.
    pub jobs: Arc<Jobs>,
    /// Partitions that finished a segment, for the housekeeper.
    pub rolled: Rolled,
}

/// A partition replica of this node.
#[derive(Debug)]
pub struct Partition {
    id: TopicPartition,
    topic: Arc<str>,
    shell: Arc<Shell>,
    me: Weak<Partition>,
    /// The topic's effective settings, for validation without the cell's lock.
    config: RwLock<Arc<TopicConfig>>,
    cell: CellLock<State>,
    /// A step has panicked, and that was said to whoever is to know.
    is_break_told: AtomicBool,
}

/// What a fetch got of one partition.
#[derive(Debug)]
pub struct Fetched {
    /// What the reader may know of the partition.
    pub bounds: FetchBounds,
    /// The stretches of segment files to send.
    pub plan: ReadPlan,
    /// A replica that is nearer to the consumer, which is to ask there instead (KIP-392).
    pub preferred: Option<BrokerId>,
}

/// The answer to ListOffsets for one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The record's timestamp, −1 for special ones and for none.
    pub timestamp: Timestamp,
    /// The offset, −1 for none.
    pub offset: Offset,
    /// The leader epoch of the offset.
    pub leader_epoch: LeaderEpoch,
}

/// How much of an internal topic a load reads at a time.
const LOAD_PIECE_BYTES: usize = 1 << 20;

/// The error of a partition whose cell is broken or whose disk failed.
const OFFLINE: ErrorCode = ErrorCode::KafkaStorageError;

impl From<CellBroken> for ErrorCode {
    fn from(_: CellBroken) -> Self {
        OFFLINE
    }
}

impl Partition {
    /// Topic id and number.
    pub const fn id(&self) -> TopicPartition {
        self.id
    }

    /// The topic's name.
    pub fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    /// The topic's effective settings.
    pub fn config(&self) -> Arc<TopicConfig> {
        self.config.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes a step under the lock, then delivers what came of it.
    fn step<R>(&self, step: impl FnOnce(&mut State, &Shell) -> R) -> Result<R, CellBroken> {
        let mut deliveries = Deliveries::default();
        let result = {
            let mut state = self.cell.lock().inspect_err(|_| self.tell_broken())?;
            let result = step(&mut state, &self.shell);
            state.run(&self.shell, &mut deliveries);
            self.after(&mut state);
            result
        };
        self.deliver(deliveries);
        Ok(result)
    }

    /// A step has panicked, so that nothing is served from here any more. Whoever notices first tells the controller.
    fn tell_broken(&self) {
        if !self.is_break_told.swap(true, Ordering::Relaxed) {
            let (topic, partition) = (&self.topic, self.id.partition.0);
            tracing::error!(%topic, partition, error = %CellBroken, "the partition is offline");
            self.shell.replication.log_failed(self.id);
        }
    }

    /// Tells everyone what a step had for them. No lock is held.
    fn deliver(&self, mut deliveries: Deliveries) {
        if deliveries.take_failure() {
            self.shell.replication.log_failed(self.id);
        }
        if let Some(change) = deliveries.take_following() {
            self.shell.replication.follows(self.id, change);
        }
        if let Some(proposal) = deliveries.take_isr() {
            self.shell.replication.propose(self.id, proposal);
        }
        deliveries.deliver();
    }

    /// Arms the timer, enters the flusher's list, and waits for the disk, as the step asks.
    fn after(&self, state: &mut State) {
        if let Some(at) = state.deadline_to_arm() {
            let me: Weak<dyn Timed> = self.me.clone();
            self.shell.timers.arm(at, me);
        }
        if state.take_flush_request()
            && let Some(me) = self.me.upgrade()
        {
            self.shell.flusher.request(me);
        }
        if state.take_start_request()
            && let Some(me) = self.me.upgrade()
        {
            self.shell.flusher.keep_start(me);
        }
        if state.take_roll() {
            self.shell.rolled.push(self.me.clone());
        }
        if let Some(load) = state.take_load_request()
            && let Some(me) = self.me.upgrade()
        {
            self.shell.jobs.submit(move || me.load(load));
        }
        if let Some(id) = state.take_owed()
            && let Some(me) = self.me.upgrade()
        {
            self.shell.flusher.expect(id, me);
        }
    }

    /// Takes a leadership, or a change of its ISR.
    pub fn lead(&self, leadership: Leadership) -> Result<(), CellBroken> {
        self.step(|state, shell| state.lead(shell.clock.now(), leadership))
    }

    /// Puts other settings in force.
    pub fn configure(&self, config: Arc<TopicConfig>, broker: &BrokerConfig) -> Result<(), CellBroken> {
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = config.clone();
        self.step(|state, shell| {
            state.log.reconfigure(crate::settings::log_config(&config, self.id));
            let settings = crate::settings::replica_settings(&config, broker);
            state.input(shell.clock.now(), Input::Configure(settings));
        })
    }

    /// Appends a batch. Answers at once if it can; else `waiter` is called later, exactly once.
    pub fn produce(
        &self,
        batch: ValidBatch,
        acks: Acks,
        waiter: impl FnOnce() -> Waiter,
    ) -> Option<Result<Produced, ProduceError>> {
        let mut deliveries = Deliveries::default();
        let answer = match self.cell.lock() {
            Err(broken) => {
                self.tell_broken();
                Some(Err(ErrorCode::from(broken).into()))
            }
            Ok(mut state) => {
                let token = state.token();
                let now = self.shell.clock.now();
                state.input(now, Input::Produce { token, batch, acks, leader_epoch: None });
                state.run(&self.shell, &mut deliveries);
                let answer = deliveries.take_produced(token);
                if answer.is_none() {
                    state.wait(token, waiter());
                }
                self.after(&mut state);
                answer
            }
        };
        self.deliver(deliveries);
        answer
    }

    /// Deletes the records before an offset, −1 for all (KIP-107). As [`Partition::produce`].
    pub fn delete_records(
        &self,
        before: Offset,
        waiter: impl FnOnce() -> Waiter,
    ) -> Option<Result<Offset, ErrorCode>> {
        let mut deliveries = Deliveries::default();
        let answer = match self.cell.lock() {
            Err(broken) => Some(Err(broken.into())),
            Ok(mut state) => {
                let token = state.token();
                state.input(self.shell.clock.now(), Input::DeleteRecords { token, before });
                state.run(&self.shell, &mut deliveries);
                let answer = deliveries.take_deleted(token);
                if answer.is_none() {
                    state.wait(token, waiter());
                }
                self.after(&mut state);
                answer
            }
        };
        self.deliver(deliveries);
        answer
    }

    /// What may be read, and where it lies: at most `bytes_max` bytes, or one whole batch if that is larger and
    /// `is_first_whole` (KIP-74).
    pub fn fetch(
        &self,
        from: FetchFrom,
        bytes_max: usize,
        is_first_whole: bool,
    ) -> Result<Fetched, ErrorCode> {
        let state = self.cell.lock()?;
        let bounds = state.replica.fetch_bounds(from)?;
        if bounds.diverging.is_some() {
            return Ok(Fetched { bounds, plan: ReadPlan::default(), preferred: None });
        }
        let plan = state
            .log
            .read(from.offset, bytes_max, bounds.end, is_first_whole)
            .map_err(|error| self.storage_error(&error))?;
        Ok(Fetched { bounds, plan, preferred: None })
    }

    /// Calls `waiter` once when there is something to read beyond `beyond`, or the partition's state changes.
    pub fn watch(&self, beyond: Offset, isolation: Isolation, waiter: Waiter) -> Result<Token, ErrorCode> {
        let token = self.step(|state, shell| {
            let token = state.token();
            state.wait(token, waiter);
            state.input(shell.clock.now(), Input::Watch { token, beyond, isolation });
            token
        })?;
        Ok(token)
    }

    /// Whoever waits under this token has gone.
    pub fn forget(&self, token: Token) {
        // A broken cell has forgotten already.
        let _ = self.step(|state, shell| state.forget(shell.clock.now(), token));
    }

    /// Answers ListOffsets: a timestamp or one of its special values.
    pub fn list_offset(
        &self,
        timestamp: i64,
        isolation: Isolation,
        current_leader_epoch: Option<LeaderEpoch>,
    ) -> Result<Listed, ErrorCode> {
        let state = self.cell.lock()?;
        let listed = state.replica.list_offset(timestamp, isolation, current_leader_epoch)?;
        let (found, end) = match listed {
            ListedOffset::Found { timestamp, offset, leader_epoch } => {
                return Ok(Listed { timestamp, offset, leader_epoch });
            }
            ListedOffset::Lookup { timestamp, end } => (state.log.offset_for_timestamp(timestamp), end),
            ListedOffset::LookupMaxTimestamp { end } => (state.log.max_timestamp_offset(), end),
        };
        let found = found.map_err(|error| self.storage_error(&error))?;
        Ok(match found.filter(|found| found.offset < end) {
            Some(found) => {
                Listed { timestamp: found.timestamp, offset: found.offset, leader_epoch: found.epoch }
            }
            None => {
                Listed { timestamp: Timestamp::NONE, offset: Offset(-1), leader_epoch: LeaderEpoch::NONE }
            }
        })
    }

    /// Answers OffsetForLeaderEpoch (KIP-320).
    pub fn epoch_end(&self, asked: LeaderEpoch, current: Option<LeaderEpoch>) -> Result<EpochEnd, ErrorCode> {
        self.cell.lock()?.replica.epoch_end(asked, current)
    }

    /// Answers DescribeProducers (KIP-664).
    pub fn active_producers(&self) -> Result<Vec<ActiveProducer>, ErrorCode> {
        self.cell.lock()?.replica.active_producers()
    }

    /// The bytes of the log on disk.
    pub fn size_bytes(&self) -> Result<u64, ErrorCode> {
        Ok(self.cell.lock()?.log.size_bytes())
    }

    /// The high watermark and the log start.
    pub fn watermarks(&self) -> Result<(Offset, Offset), ErrorCode> {
        let state = self.cell.lock()?;
        Ok((state.replica.high_watermark(), state.replica.log_start()))
    }

    /// Lets retention move the log start. Whether something went.
    pub fn retain(&self, now: Timestamp) -> Result<bool, CellBroken> {
        self.step(|state, shell| {
            let cut = state.log.retention_cut(state.replica.high_watermark(), now);
            if let Some(log_start) = cut {
                state.input(shell.clock.now(), Input::Retain { log_start });
            }
            cut.is_some()
        })
    }

    /// Uses the log under the cell's lock, for housekeeping that changes no record.
    pub fn with_log<R>(&self, use_log: impl FnOnce(&mut Log) -> R) -> Result<R, CellBroken> {
        let mut state = self.cell.lock()?;
        Ok(use_log(&mut state.log))
    }

    /// Uses replica and log together under the cell's lock, for housekeeping that changes no record.
    pub(crate) fn with_machines<R>(
        &self,
        use_both: impl FnOnce(&Replica, &mut Log) -> R,
    ) -> Result<R, CellBroken> {
        let mut state = self.cell.lock()?;
        let State { replica, log, .. } = &mut *state;
        Ok(use_both(replica, log))
    }

    /// The producer state and epochs as of the log's end, for a checkpoint; `None` while an append is under way.
    pub fn snapshot(&self) -> Result<Option<Snapshot>, CellBroken> {
        Ok(self.cell.lock()?.snapshot())
    }

    /// Whether the log has grown since this was last asked: then a checkpoint is worth its bytes.
    pub fn take_snapshot_due(&self) -> bool {
        let Ok(mut state) = self.cell.lock() else { return false };
        state.take_snapshot_due()
    }

    /// Ends the partition: everyone who waits is answered with `error`.
    pub fn resign(&self) {
        let _ = self.step(State::resign);
    }

    /// Ends the partition for good: its topic was deleted, or its replica is elsewhere now. Another replica may come in
    /// its place under the same id, and what the disk still owes of this one's log is not about that one.
    pub fn remove(&self) {
        self.is_break_told.store(true, Ordering::Relaxed);
        let _ = self.step(|state, shell| {
            state.resign(shell);
            state.input(shell.clock.now(), Input::Delete);
        });
    }

    /// Asks the group coordinator of this partition; `then` gets the answer, now or later, exactly once.
    pub fn coordinate(&self, request: GroupRequest, then: Box<dyn FnOnce(GroupReply) + Send>) {
        // A broken cell answers nobody: its clients time out and look for the coordinator again.
        let refused = self.step(|state, shell| {
            let Some(shard) = &mut state.shard else { return Some((request, then)) };
            let token = state.tokens.next();
            shard.request(shell.clock.now(), token, request);
            state.wait(token, Waiter::Group(then));
            None
        });
        if let Ok(Some((request, then))) = refused {
            then(coordinator::refuse(request, ErrorCode::NotCoordinator));
        }
    }

    /// Reads the log for the coordinator that lives here.
    pub fn load(&self, load: LoadId) {
        if let Err(error) = self.read_for_load(load) {
            tracing::error!(topic = %self.topic, partition = self.id.partition.0, %error, "loading failed");
            let _ = self.step(|state, shell| {
                if let Some(shard) = &mut state.shard {
                    shard.load_failed(shell.clock.now(), load);
                }
            });
        }
    }

    fn read_for_load(&self, load: LoadId) -> Result<(), Box<dyn std::error::Error>> {
        let (mut at, end) = self.with_log(|log| (log.log_start(), log.end()))?;
        while at < end {
            let plan = self.with_log(|log| log.read(at, LOAD_PIECE_BYTES, end, true))??;
            let mut bytes = vec![0; plan.bytes];
            let mut filled = 0;
            for region in &plan.regions {
                region.read_into(&mut bytes[filled..filled + region.len])?;
                filled += region.len;
            }
            let (records, next) = coordinator::records_of(&bytes.into(), at)?;
            if next <= at {
                // An answer from a half-read log would tell consumers that they have no offsets (OF-04).
                return Err(format!("nothing can be read at offset {at}, before the end {end}").into());
            }
            at = next;
            self.step(|state, shell| {
                if let Some(shard) = &mut state.shard {
                    shard.load(shell.clock.now(), load, records);
                }
            })?;
        }
        self.step(|state, shell| {
            if let Some(shard) = &mut state.shard {
                shard.load_finished(shell.clock.now(), load, end);
            }
        })?;
        Ok(())
    }

    /// Looks at replica and log together, for oracles that compare them (O15, O40).
    pub fn inspect<R>(&self, look: impl FnOnce(&Replica, &Log) -> R) -> Result<R, CellBroken> {
        let state = self.cell.lock()?;
        Ok(look(&state.replica, &state.log))
    }

    /// Looks at the coordinator that lives here and its log together (O24); `None` if there is no coordinator.
    pub fn inspect_coordinator<R>(
        &self,
        look: impl FnOnce(&CoordinatorShard<GroupCoordinator>, &Log) -> R,
    ) -> Option<R> {
        let state = self.cell.lock().ok()?;
        state.shard.as_ref().map(|shard| look(shard.machine(), &state.log))
    }

    /// How many wait for an answer of this partition, and how many for news of it: fetches, and sessions of followers,
    /// of which one always does (O43).
    pub fn waiting(&self) -> (usize, usize) {
        self.cell.lock().map_or((0, 0), |state| state.waiting())
    }

    fn storage_error(&self, error: &LogError) -> ErrorCode {
        if let LogError::OutOfRange { .. } = error {
            return ErrorCode::OffsetOutOfRange;
        }
        tracing::error!(topic = %self.topic, partition = self.id.partition.0, %error, "reading the log failed");
        OFFLINE
    }
}

impl Timed for Partition {
    fn due(&self, at: Instant) {
        // A broken cell has no deadlines.
        let _ = self.step(|state, shell| state.due(shell.clock.now(), at));
    }
}

impl Flush for Partition {
    fn flush_job(&self) -> Option<FlushJob> {
        let mut state = self.cell.lock().ok()?;
        state.flush_begins()
    }

    fn flushed(&self, note: &FlushNote, result: io::Result<()>) {
        let _ = self.step(|state, shell| state.flushed(shell.clock.now(), note, result));
    }

    fn start_note(&self) -> Option<StartNote> {
        self.cell.lock().ok().map(|mut state| state.start_note())
    }

    fn start_kept(&self, note: &StartNote) {
        let _ = self.step(|state, shell| state.start_kept(shell.clock.now(), note));
    }

    fn appended(&self, id: OpId, result: io::Result<()>) {
        let _ = self.step(|state, shell| state.appended(shell.clock.now(), id, result));
    }
}
