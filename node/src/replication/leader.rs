//! A session's cell: what one follower follows here, the watches that wake it, and the replies with their batches.
//!
//! Serving runs on whichever task brings news: the follower's connection with a fetch, this session's own task when a
//! watch has fired or a wait is over. Watches fire inside of other cells' steps, so they only note a slot and ring.

use super::{Replication, lock, millis, rest};
use crate::log::ReadPlan;
use crate::node::Node;
use crate::partition::{Partition, Served, Waiter, Woken};
use bytes::{Bytes, BytesMut};
use highwater_core::error_code::ErrorCode;
use highwater_core::fetch::{Budget, Slot};
use highwater_core::ids::{BrokerEpoch, BrokerId, Token, TopicPartition};
use highwater_core::replica::{
    FetchOutcome, FetchPosition, FollowerFetch, PartitionAnswer, REPLICATION_VERSION, ReplicaFetch,
    ReplicaFetchBody, ReplicaFetchReply, ReplicaSession, SessionConfig, SessionRefusal,
};
use highwater_core::transport::{Class, FRAME_PARTS_MAX, Frame, FrameKind};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;
use tokio::sync::Notify;

/// How long a high watermark waits for records to travel with.
const OFFSETS_LINGER: Duration = Duration::from_millis(5);

struct State {
    session: ReplicaSession,
    /// Where each armed slot's watch is.
    watches: BTreeMap<Slot, (Weak<Partition>, Token)>,
    /// Positions of the waiting fetch that the partitions have not heard of.
    fresh: BTreeSet<TopicPartition>,
    /// Partitions were read that have only offsets to tell, which wait.
    are_offsets_left: bool,
}

/// Everything that one follower copies from here.
pub(super) struct SessionCell {
    hub: Weak<Replication>,
    follower: BrokerId,
    me: Weak<SessionCell>,
    /// Held while partitions are served, so nothing that they deliver may take it: see [`Woken`] below.
    state: Mutex<State>,
    /// Slots whose watch has fired.
    woken: Mutex<Vec<Slot>>,
    bell: Notify,
}

/// What a pass over the partitions found.
#[derive(Default)]
struct Pass {
    answers: Vec<(Slot, PartitionAnswer, ReadPlan, bool)>,
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
            watches: BTreeMap::new(),
            fresh: BTreeSet::new(),
            are_offsets_left: false,
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
        for slot in std::mem::take(&mut *lock(&self.woken)) {
            state.watches.remove(&slot);
            state.session.wake(slot);
        }
        state.release();
        let (Some(waiting), Some(node)) = (state.session.waiting(), hub.node()) else { return };
        let mut pass = Pass::default();
        self.read(&node, state, &mut pass);
        let now = hub.clock.mono();
        if pass.has_offsets {
            state.session.offsets_moved(now);
        }
        if !pass.is_urgent && !state.session.is_due(now) {
            state.are_offsets_left |= !pass.answers.is_empty();
            return;
        }
        if std::mem::take(&mut state.are_offsets_left) {
            pass.answers.clear();
            state.session.retake();
            self.read(&node, state, &mut pass);
        }
        let (answers, payload) = self.answers(hub, state, pass);
        state.session.replied();
        state.release();
        self.reply(hub, waiting, ReplicaFetchBody::Answers(answers), payload);
    }

    fn read(&self, node: &Node, state: &mut State, pass: &mut Pass) {
        let response_bytes_max = node.broker_config().replica_fetch_response_bytes_max;
        let mut budget = Budget::new(response_bytes_max, usize::MAX);
        let broker_epoch = state.session.broker_epoch();
        for (slot, partition, position) in state.session.take_dirty() {
            let replica = node.registry().get(partition);
            let fetch = FollowerFetch { broker: self.follower, broker_epoch, position };
            let is_new = state.fresh.remove(&partition);
            let served = self.serve(state, replica.as_ref(), slot, &fetch, is_new, &budget);
            budget.spend(served.plan.bytes);
            self.note(state, pass, slot, partition, &position, served);
        }
    }

    fn serve(
        &self,
        state: &mut State,
        replica: Option<&Arc<Partition>>,
        slot: Slot,
        fetch: &FollowerFetch,
        is_new: bool,
        budget: &Budget,
    ) -> Served {
        let Some(replica) = replica else {
            // It may be about to be opened, or gone: the follower's metadata will say.
            return Served::refused(FetchOutcome::refused(ErrorCode::UnknownTopicId));
        };
        let limit = budget.limit(state.session.partition_bytes_max());
        let watch = (!state.session.is_armed(slot)).then(|| {
            let waker: Arc<dyn Woken> = Arc::new(Waker(self.me.clone()));
            Waiter::Fetch(waker, slot.0 as usize)
        });
        let served = replica.serve_follower(fetch, is_new, limit, watch);
        if let Some(token) = served.watch {
            state.session.arm(slot);
            state.watches.insert(slot, (Arc::downgrade(replica), token));
        }
        served
    }

    /// Decides what a partition's reading is worth.
    fn note(
        &self,
        state: &mut State,
        pass: &mut Pass,
        slot: Slot,
        partition: TopicPartition,
        position: &FetchPosition,
        served: Served,
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
        pass.answers.push((slot, answer, plan, is_cut));
    }

    /// The answers that have something new, and the batches of each.
    fn answers(
        &self,
        hub: &Replication,
        state: &mut State,
        pass: Pass,
    ) -> (Vec<PartitionAnswer>, Vec<Bytes>) {
        let mut payload = Vec::new();
        let mut answers = Vec::with_capacity(pass.answers.len());
        for (slot, mut answer, plan, is_cut) in pass.answers {
            if plan.bytes > 0 {
                if payload.len() == FRAME_PARTS_MAX {
                    continue; // stays unanswered, and comes with the next reply
                }
                match read(&plan) {
                    Ok(bytes) => {
                        hub.counters.bytes_out.fetch_add(bytes.len() as u64, Relaxed);
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
        (answers, payload)
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
    /// Removes the watches of partitions that are not followed here any more.
    fn release(&mut self) {
        for slot in self.session.take_released() {
            if let Some((partition, token)) = self.watches.remove(&slot)
                && let Some(partition) = partition.upgrade()
            {
                partition.forget(token);
            }
        }
    }
}

/// The bytes of a plan, read from its segments.
fn read(plan: &ReadPlan) -> std::io::Result<Bytes> {
    let mut bytes = BytesMut::zeroed(plan.bytes);
    let mut filled = 0;
    for region in &plan.regions {
        region.read_into(&mut bytes[filled..filled + region.len])?;
        filled += region.len;
    }
    Ok(bytes.freeze())
}

/// Fires inside of a partition's delivery, maybe while the session's own state is held.
struct Waker(Weak<SessionCell>);

impl Woken for Waker {
    #[allow(clippy::cast_possible_truncation, reason = "made from a 32-bit slot")]
    fn wake(&self, index: usize) {
        if let Some(session) = self.0.upgrade() {
            lock(&session.woken).push(Slot(index as u32));
            session.bell.notify_one();
        }
    }
}
