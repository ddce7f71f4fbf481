//! A session's cell: what one follower follows here, the watches that wake it, and the replies with their batches.
//!
//! Serving runs on whichever task brings news: the follower's connection with a fetch, this session's own task when a
//! watch has fired or a wait is over. Watches fire inside of other cells' steps, so they only note a slot and ring.

use super::cold::{self, ColdReads};
use super::throttle;
use super::{Replication, lock, millis, rest};
use crate::log::ReadPlan;
use crate::node::Node;
use crate::partition::{Partition, Served, Waiter, Woken};
use crate::watches::{SlotWatches, WatchNumber};
use bytes::Bytes;
use highwater_core::error_code::ErrorCode;
use highwater_core::fetch::{Budget, ReadLimit, Slot};
use highwater_core::ids::{BrokerEpoch, BrokerId, Token, TopicPartition};
use highwater_core::replica::{
    FetchOutcome, FetchPosition, FollowerFetch, PartitionAnswer, REPLICATION_VERSION, ReplicaFetch,
    ReplicaFetchBody, ReplicaFetchReply, ReplicaSession, SessionConfig, SessionRefusal,
};
use highwater_core::time::Instant;
use highwater_core::transport::{Class, FRAME_PARTS_MAX, Frame, FrameKind};
use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;
use tokio::sync::Notify;

/// How long a high watermark waits for records to travel with.
const OFFSETS_LINGER: Duration = Duration::from_millis(5);

/// Why a place is to be read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum News {
    /// This watch has fired.
    Fired(Slot, WatchNumber),
    /// The device has answered, which is no matter of the watch.
    Read(Slot),
}

struct State {
    session: ReplicaSession,
    /// Where each armed slot's watch is.
    watches: SlotWatches<Slot, (Weak<Partition>, Token)>,
    /// Positions of the waiting fetch that the partitions have not heard of.
    fresh: BTreeSet<TopicPartition>,
    /// Partitions were read that have only offsets to tell, which wait.
    are_offsets_left: bool,
    cold: ColdReads,
}

/// Everything that one follower copies from here.
pub(super) struct SessionCell {
    hub: Weak<Replication>,
    follower: BrokerId,
    me: Weak<SessionCell>,
    /// Held while partitions are served, so nothing that they deliver may take it: see [`Woken`] below.
    state: Mutex<State>,
    /// What is to be read again.
    woken: Mutex<Vec<News>>,
    bell: Notify,
}

/// What a partition has to tell in a pass.
struct Told {
    slot: Slot,
    answer: PartitionAnswer,
    plan: ReadPlan,
    is_cut: bool,
    /// Its bytes count against the leader's throttle.
    is_throttled: bool,
}

/// What a pass over the partitions found.
#[derive(Default)]
struct Pass {
    told: Vec<Told>,
    /// How much of it counts against the leader's throttle.
    throttled_bytes: usize,
    /// There are batches or errors: the follower is to have them now.
    is_urgent: bool,
    has_offsets: bool,
}

impl SessionCell {
    pub(super) fn new(hub: Weak<Replication>, follower: BrokerId, node: &Node) -> Arc<Self> {
        let settings = node.broker_config();
        let config = SessionConfig {
            wait_max: millis(settings.replica_fetch_wait_ms_max),
            offsets_linger: OFFSETS_LINGER,
            partition_bytes_max: settings.replica_fetch_bytes_max,
        };
        let state = State {
            session: ReplicaSession::new(config),
            watches: SlotWatches::default(),
            fresh: BTreeSet::new(),
            are_offsets_left: false,
            cold: ColdReads::default(),
        };
        Arc::new_cyclic(|me| Self {
            hub,
            follower,
            me: me.clone(),
            state: Mutex::new(state),
            woken: Mutex::default(),
            bell: Notify::new(),
        })
    }

    /// How many partitions are followed.
    pub(super) fn partitions(&self) -> usize {
        lock(&self.state).session.partitions()
    }

    /// The throttle is another.
    pub(super) fn unhold(&self) {
        lock(&self.state).session.release_all_held();
        self.bell.notify_one();
    }

    /// Serves what watches and waits bring, as long as the node runs.
    pub(super) async fn run(&self) {
        loop {
            let Some(hub) = self.hub.upgrade() else { return };
            let next = {
                let mut state = lock(&self.state);
                self.advance(&hub, &mut state);
                state.session.next_timeout()
            };
            let deadline = next.map(|at| hub.clock.deadline(at));
            drop(hub);
            rest(&self.bell, deadline).await;
        }
    }

    /// Takes a fetch, on the follower's connection's task.
    pub(super) fn received(&self, frame: &Frame) {
        let Some(hub) = self.hub.upgrade() else { return };
        let Ok(fetch) = ReplicaFetch::decode(frame.version, &frame.header) else {
            tracing::warn!(
                follower = self.follower.0,
                "a follower's fetch cannot be read; is it of a newer release?"
            );
            return;
        };
        let mut state = lock(&self.state);
        match state.session.begin(hub.clock.mono(), &fetch) {
            Ok(replaced) => {
                if let Some(sequence) = replaced {
                    let nothing = ReplicaFetchBody::Answers(Vec::new());
                    self.reply(&hub, (fetch.session, sequence), nothing, Vec::new());
                }
                if fetch.sequence == 0 {
                    state.cold.clear();
                }
                fetch.forgotten.iter().for_each(|partition| state.cold.forget(*partition));
                state.fresh.extend(fetch.changed.iter().map(|changed| changed.partition));
                self.advance(&hub, &mut state);
                drop(state);
                // Its deadline is new.
                self.bell.notify_one();
            }
            Err(SessionRefusal::Stale) => {}
            Err(refusal @ (SessionRefusal::Unknown | SessionRefusal::TooLarge)) => {
                drop(state);
                tracing::debug!(follower = self.follower.0, error = refusal.code().name(), "fetch refused");
                self.reply(
                    &hub,
                    (fetch.session, fetch.sequence),
                    ReplicaFetchBody::UnknownSession,
                    Vec::new(),
                );
            }
        }
    }

    /// Reads what has news, and replies if that is worth a reply.
    fn advance(&self, hub: &Replication, state: &mut State) {
        let woken = std::mem::take(&mut *lock(&self.woken));
        woken.into_iter().for_each(|news| state.heed(news));
        state.release();
        let (Some(waiting), Some(node)) = (state.session.waiting(), hub.node()) else { return };
        let mut pass = Pass::default();
        let now = hub.clock.mono();
        state.session.release_held(now);
        self.read(hub, &node, state, &mut pass);
        if pass.has_offsets {
            state.session.offsets_moved(now);
        }
        if !pass.is_urgent && !state.session.is_due(now) {
            state.are_offsets_left |= !pass.told.is_empty();
            return;
        }
        if std::mem::take(&mut state.are_offsets_left) {
            pass = Pass::default();
            state.session.retake();
            self.read(hub, &node, state, &mut pass);
        }
        let (answers, payload) = self.answers(hub, &node, state, pass);
        if answers.is_empty() && !state.session.is_due(now) {
            return; // all that there is comes from the device
        }
        state.session.replied();
        state.release();
        self.reply(hub, waiting, ReplicaFetchBody::Answers(answers), payload);
    }

    fn read(&self, hub: &Replication, node: &Node, state: &mut State, pass: &mut Pass) {
        let response_bytes_max = node.broker_config().replica_fetch_response_bytes_max;
        let mut budget = Budget::new(response_bytes_max, usize::MAX);
        let broker_epoch = state.session.broker_epoch();
        for (slot, partition, position) in state.session.take_dirty() {
            let replica = node.registry().get(partition);
            let fetch = FollowerFetch { broker: self.follower, broker_epoch, position };
            let is_new = state.fresh.remove(&partition);
            let is_throttled = hub.throttles.leading.is_limited()
                && replica.as_ref().is_some_and(|r| throttle::is_leader_listed(node, &r.config(), partition));
            let held_until = self.held_until(hub, node, partition, pass, is_throttled);
            if held_until.is_none() {
                state.session.unhold(slot);
            }
            let served = match (&replica, held_until) {
                // It may be about to be opened, or gone: the follower's metadata will say.
                (None, _) => Served::refused(FetchOutcome::refused(ErrorCode::UnknownTopicId)),
                (Some(replica), Some(until)) => {
                    self.serve_offsets(state, replica, slot, &fetch, is_new, until)
                }
                (Some(replica), None) => self.serve(state, replica, slot, &fetch, is_new, &budget),
            };
            budget.spend(served.plan.bytes);
            if is_throttled {
                pass.throttled_bytes += served.plan.bytes;
            }
            self.note(state, pass, (slot, partition, &position), served, is_throttled);
        }
    }

    /// Until when the follower is to have nothing of a throttled partition (KIP-73).
    fn held_until(
        &self,
        hub: &Replication,
        node: &Node,
        partition: TopicPartition,
        pass: &Pass,
        is_throttled: bool,
    ) -> Option<Instant> {
        if !is_throttled || throttle::is_in_sync(node, partition, self.follower) {
            return None;
        }
        hub.throttles.leading.admit(hub.clock.mono(), pass.throttled_bytes).err()
    }

    fn serve(
        &self,
        state: &mut State,
        replica: &Arc<Partition>,
        slot: Slot,
        fetch: &FollowerFetch,
        is_new: bool,
        budget: &Budget,
    ) -> Served {
        let limit = budget.limit(state.session.partition_bytes_max());
        let number = state.watches.number();
        let watch = (!state.session.is_armed(slot)).then(|| {
            let waker: Arc<dyn Woken> = Arc::new(Waker(self.me.clone(), number));
            Waiter::Fetch(waker, slot.0 as usize)
        });
        let served = replica.serve_follower(fetch, is_new, limit, watch);
        if let Some(token) = served.watch {
            state.session.arm(slot);
            state.watches.insert(slot, number, (Arc::downgrade(replica), token));
        }
        served
    }

    /// Serves a partition that is held back: its follower's progress counts, and it hears of the high watermark.
    fn serve_offsets(
        &self,
        state: &mut State,
        replica: &Arc<Partition>,
        slot: Slot,
        fetch: &FollowerFetch,
        is_new: bool,
        until: Instant,
    ) -> Served {
        let nothing = ReadLimit { bytes_max: 0, at_least_one_batch: false };
        let served = replica.serve_follower(fetch, is_new, nothing, None);
        state.session.hold(slot, until);
        Served { is_cut: false, ..served }
    }

    /// Decides what a partition's reading is worth.
    fn note(
        &self,
        state: &mut State,
        pass: &mut Pass,
        (slot, partition, position): (Slot, TopicPartition, &FetchPosition),
        served: Served,
        is_throttled: bool,
    ) {
        let Served { outcome, plan, is_cut, .. } = served;
        let FetchPosition { leader_epoch, offset, last_epoch, .. } = *position;
        let answer = PartitionAnswer { partition, leader_epoch, offset, last_epoch, outcome };
        match outcome {
            FetchOutcome::Data { bytes: 0, high_watermark, log_start } => {
                if state.session.has_news(slot, high_watermark, log_start) || is_cut {
                    pass.has_offsets = true;
                } else {
                    state.session.answer(slot, &answer, is_cut);
                    return;
                }
            }
            _ => pass.is_urgent = true,
        }
        pass.told.push(Told { slot, answer, plan, is_cut, is_throttled });
    }

    /// The answers that have something new, and the batches of each. What is not in memory comes later.
    fn answers(
        &self,
        hub: &Replication,
        node: &Node,
        state: &mut State,
        pass: Pass,
    ) -> (Vec<PartitionAnswer>, Vec<Bytes>) {
        let mut payload = Vec::new();
        let mut answers = Vec::with_capacity(pass.told.len());
        let mut is_full = false;
        for Told { slot, mut answer, plan, is_cut, is_throttled } in pass.told {
            if plan.bytes > 0 {
                if payload.len() == FRAME_PARTS_MAX {
                    is_full = true; // comes with the next reply
                    continue;
                }
                match self.batches(hub, node, state, slot, &answer, plan) {
                    Ok(None) => continue,
                    Ok(Some(bytes)) => {
                        note_bytes(&mut answer, bytes.len());
                        hub.counters.bytes_out.fetch_add(bytes.len() as u64, Relaxed);
                        if is_throttled {
                            hub.throttles.leading.record(hub.clock.mono(), bytes.len());
                        }
                        payload.push(bytes);
                    }
                    Err(error) => {
                        tracing::error!(%error, "a segment cannot be read for a follower");
                        answer.outcome = FetchOutcome::refused(ErrorCode::KafkaStorageError);
                    }
                }
            }
            if state.session.answer(slot, &answer, is_cut) {
                answers.push(answer);
            }
        }
        if is_full {
            state.session.retake();
        }
        (answers, payload)
    }

    /// The bytes of a plan; none if the device is asked for them, which wakes the session.
    fn batches(
        &self,
        hub: &Replication,
        node: &Node,
        state: &mut State,
        slot: Slot,
        answer: &PartitionAnswer,
        plan: ReadPlan,
    ) -> io::Result<Option<Bytes>> {
        if let Some(read) = state.cold.take(answer) {
            // Planned anew: there may be less room in this reply than there was.
            return read.map(|bytes| Some(bytes.slice(..bytes.len().min(plan.bytes))));
        }
        if let Some(bytes) = cold::read_cached(&plan)? {
            return Ok(Some(bytes));
        }
        state.session.arm(slot);
        let bytes_max = usize::try_from(node.broker_config().replica_fetch_response_bytes_max).unwrap_or(0);
        if state.cold.begin(slot, answer, plan.bytes, bytes_max) {
            let (me, answer) = (self.me.clone(), *answer);
            hub.cold.submit(move || {
                let read = cold::read(&plan);
                if let Some(session) = me.upgrade() {
                    session.has_read(slot, &answer, read);
                }
            });
        }
        Ok(None)
    }

    /// The device has answered, on the reader's thread.
    fn has_read(&self, slot: Slot, answer: &PartitionAnswer, read: io::Result<Bytes>) {
        let waited = lock(&self.state).cold.done(answer, read);
        let mut woken = lock(&self.woken);
        woken.push(News::Read(slot));
        woken.extend(waited.into_iter().map(News::Read));
        drop(woken);
        self.bell.notify_one();
    }

    fn reply(
        &self,
        hub: &Replication,
        (session, sequence): (u64, u64),
        body: ReplicaFetchBody,
        payload: Vec<Bytes>,
    ) {
        let broker_epoch = hub.node().map_or(BrokerEpoch(-1), |node| node.broker_epoch());
        let reply = ReplicaFetchReply { broker_epoch, session, sequence, body };
        let frame =
            Frame::with_payload(FrameKind::ReplicaFetchReply, REPLICATION_VERSION, reply.encode(), payload);
        if let Err(error) = hub.peers.send(self.follower, Class::Bulk, frame) {
            // The follower opens another session when nothing comes.
            tracing::debug!(follower = self.follower.0, %error, "a reply was not sent");
        }
    }
}

impl State {
    /// Has a slot read again for its news, unless those are of whoever had it before.
    fn heed(&mut self, news: News) {
        match news {
            News::Fired(slot, number) if self.watches.fired(slot, number) => self.session.wake(slot),
            News::Fired(..) => {}
            News::Read(slot) => {
                // Reading sets another one.
                self.unwatch(slot);
                self.session.wake(slot);
            }
        }
    }

    /// Removes the watches of partitions that are not followed here any more.
    fn release(&mut self) {
        for slot in self.session.take_released() {
            self.unwatch(slot);
        }
    }

    fn unwatch(&mut self, slot: Slot) {
        if let Some((partition, token)) = self.watches.take(slot)
            && let Some(partition) = partition.upgrade()
        {
            partition.forget(token);
        }
    }
}

/// Says in an answer how many bytes of batches it has.
const fn note_bytes(answer: &mut PartitionAnswer, len: usize) {
    if let FetchOutcome::Data { bytes, .. } = &mut answer.outcome {
        *bytes = len as u32;
    }
}

/// Fires inside of a partition's delivery, maybe while the session's own state is held.
struct Waker(Weak<SessionCell>, WatchNumber);

impl Woken for Waker {
    #[allow(clippy::cast_possible_truncation, reason = "made from a 32-bit slot")]
    fn wake(&self, index: usize) {
        if let Some(session) = self.0.upgrade() {
            lock(&session.woken).push(News::Fired(Slot(index as u32), self.1));
            session.bell.notify_one();
        }
    }
}
