//! A fetcher's cell: the [`Fetcher`] of one leader, its task, and the delivery of what the leader answers.

use super::throttle;
use super::{Replication, lock, millis, rest};
use crate::cell::CellLock;
use crate::node::Node;
use crate::partition::Delivered;
use bytes::Bytes;
use highwater_core::batch;
use highwater_core::ids::{BrokerId, TopicPartition};
use highwater_core::machine::{Machine, Outbox};
use highwater_core::replica::{
    FetchOutcome, Fetcher, FetcherConfig, FetcherEffect, FetcherInput, PartitionAnswer, PartitionChange,
    REPLICATION_VERSION, ReplicaFetch, ReplicaFetchReply, Replicated, ReplicatedOutcome,
};
use highwater_core::time::Instant;
use highwater_core::transport::{Class, Frame, FrameKind, LinkEvent};
use std::collections::BTreeSet;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;
use tokio::sync::Notify;

/// How much longer than its longest wait a leader may take to reply, before the session is opened anew. A pause of the
/// leader's process must not be taken for its end too lightly: a new session names every partition.
const RESPONSE_SLACK: Duration = Duration::from_secs(3);

/// How much later than the others a throttled partition is asked for that was just given something: all have their turn.
const FED_PAUSE: Duration = Duration::from_millis(5);

struct Inner {
    machine: Fetcher,
    outbox: Outbox<FetcherEffect>,
    /// Until when the task sleeps.
    sleeps_until: Option<Instant>,
    /// Until when every throttled partition rests.
    throttled_until: Instant,
}

/// All that is copied from one leader.
pub(super) struct FetcherCell {
    hub: Weak<Replication>,
    leader: BrokerId,
    cell: CellLock<Inner>,
    /// What other cells told since the task last ran: many changes make one fetch.
    told: Mutex<Vec<PartitionChange>>,
    bell: Notify,
}

impl FetcherCell {
    pub(super) fn new(hub: Weak<Replication>, leader: BrokerId, node: &Node) -> Arc<Self> {
        let settings = node.broker_config();
        let config = FetcherConfig {
            response_max: millis(settings.replica_fetch_wait_ms_max) + RESPONSE_SLACK,
            backoff_max: millis(settings.replica_fetch_backoff_ms),
        };
        let machine = Fetcher::new(config, node.broker_epoch(), 0);
        let inner =
            Inner { machine, outbox: Outbox::new(), sleeps_until: None, throttled_until: Instant::ZERO };
        Arc::new(Self {
            hub,
            leader,
            cell: CellLock::new(inner),
            told: Mutex::default(),
            bell: Notify::new(),
        })
    }

    /// How many partitions are followed here.
    pub(super) fn partitions(&self) -> usize {
        self.cell.lock().map_or(0, |inner| inner.machine.partitions())
    }

    /// Takes note of a change; the task hands it in.
    pub(super) fn tell(&self, change: PartitionChange) {
        lock(&self.told).push(change);
        self.bell.notify_one();
    }

    /// The broker's registration may be another.
    pub(super) fn registered(&self) {
        let Some(hub) = self.hub.upgrade() else { return };
        let Some(node) = hub.node() else { return };
        self.input(&hub, FetcherInput::Registered(node.broker_epoch()));
    }

    /// The throttle is another.
    pub(super) fn resume(&self) {
        let Some(hub) = self.hub.upgrade() else { return };
        if let Ok(mut inner) = self.cell.lock() {
            inner.throttled_until = Instant::ZERO;
        }
        self.input(&hub, FetcherInput::Resume);
        self.wake_early();
    }

    pub(super) fn link(&self, link: LinkEvent) {
        let Some(hub) = self.hub.upgrade() else { return };
        match link {
            LinkEvent::Up => self.input(&hub, FetcherInput::LinkUp),
            LinkEvent::Reset => self.input(&hub, FetcherInput::LinkReset),
            LinkEvent::Refused => {}
        }
        self.wake_early();
    }

    /// Hands changes and deadlines in, as long as the node runs.
    pub(super) async fn run(&self) {
        loop {
            let Some(hub) = self.hub.upgrade() else { return };
            let next = self.turn(&hub);
            let deadline = next.map(|at| hub.clock.deadline(at));
            drop(hub);
            rest(&self.bell, deadline).await;
        }
    }

    /// Hands in what was told and what time has brought; the next deadline.
    fn turn(&self, hub: &Replication) -> Option<Instant> {
        let mut told = std::mem::take(&mut *lock(&self.told));
        self.throttle(hub, &mut told);
        if !told.is_empty() {
            self.input(hub, FetcherInput::Changed(told));
        }
        let now = hub.clock.now();
        let is_due = {
            let mut inner = self.cell.lock().ok()?;
            let is_due = inner.machine.next_timeout().is_some_and(|at| at <= now.mono);
            if is_due {
                let Inner { machine, outbox, .. } = &mut *inner;
                machine.handle_timeout(now, outbox);
            }
            is_due
        };
        if is_due {
            self.carry_out(hub, None);
        }
        let mut inner = self.cell.lock().ok()?;
        inner.sleeps_until = inner.machine.next_timeout();
        inner.sleeps_until
    }

    /// Wakes the task if a deadline has become earlier than it knows.
    fn wake_early(&self) {
        let Ok(inner) = self.cell.lock() else { return };
        if let Some(next) = inner.machine.next_timeout()
            && inner.sleeps_until.is_none_or(|at| next < at)
        {
            self.bell.notify_one();
        }
    }

    fn input(&self, hub: &Replication, input: FetcherInput) {
        self.hand_in(hub, input);
        self.carry_out(hub, None);
    }

    fn hand_in(&self, hub: &Replication, input: FetcherInput) {
        let Ok(mut inner) = self.cell.lock() else { return };
        let Inner { machine, outbox, .. } = &mut *inner;
        machine.handle(hub.clock.now(), input, outbox);
        #[cfg(debug_assertions)]
        machine.assert_invariants();
    }

    /// Takes a reply of the leader, on its connection's task.
    pub(super) fn received(&self, frame: &Frame) {
        let Some(hub) = self.hub.upgrade() else { return };
        let Ok(reply) = ReplicaFetchReply::decode(frame.version, &frame.header) else {
            tracing::warn!(
                leader = self.leader.0,
                "a leader's reply cannot be read; is it of a newer release?"
            );
            return;
        };
        self.hand_in(&hub, FetcherInput::Reply(reply));
        self.carry_out(&hub, Some(&frame.payload));
        self.wake_early();
    }

    /// Sends and delivers until nothing is left to do. No lock is held while partitions step.
    fn carry_out(&self, hub: &Replication, payload: Option<&[Bytes]>) {
        loop {
            let effects: Vec<_> = match self.cell.lock() {
                Ok(mut inner) => inner.outbox.drain().collect(),
                Err(_) => return,
            };
            if effects.is_empty() {
                return;
            }
            let mut outcomes = Vec::new();
            let mut has_delivered = false;
            for effect in effects {
                match effect {
                    FetcherEffect::Send(fetch) => self.send(hub, &fetch),
                    FetcherEffect::Deliver { answer, part } => {
                        has_delivered = true;
                        let bytes = part.map(|part| payload.and_then(|parts| parts.get(part)).cloned());
                        outcomes.extend(self.deliver(hub, &answer, bytes));
                    }
                }
            }
            if has_delivered {
                self.throttle(hub, &mut outcomes);
                self.hand_in(hub, FetcherInput::Changed(outcomes));
            }
        }
    }

    /// Counts what a throttled partition was given, in sync or not: the sum is to keep to the limit.
    fn count_throttled(&self, hub: &Replication, partition: TopicPartition, bytes: usize) {
        if hub.throttles.following.is_limited()
            && hub.node().is_some_and(|node| throttle::is_follower_listed(&node, partition))
        {
            hub.throttles.following.record(hub.clock.mono(), bytes);
        }
    }

    /// Lets throttled partitions that are out of sync rest once the quota is used up (KIP-73).
    fn throttle(&self, hub: &Replication, changes: &mut Vec<PartitionChange>) {
        let following = &hub.throttles.following;
        if !following.is_limited() {
            return;
        }
        let now = hub.clock.mono();
        let (Err(until), Some(node)) = (following.admit(now, 0), hub.node()) else { return };
        let changed: BTreeSet<_> = changes.iter().map(PartitionChange::partition).collect();
        let mut followed = BTreeSet::new();
        if let Ok(mut inner) = self.cell.lock()
            && inner.throttled_until <= now
        {
            inner.throttled_until = until;
            followed.extend(inner.machine.followed());
        }
        for partition in &followed | &changed {
            if throttle::is_follower_listed(&node, partition)
                && !throttle::is_in_sync(&node, partition, node.id())
            {
                let until = if changed.contains(&partition) { until + FED_PAUSE } else { until };
                changes.push(PartitionChange::Throttled { partition, until });
            }
        }
    }

    fn send(&self, hub: &Replication, fetch: &ReplicaFetch) {
        let frame = Frame::new(FrameKind::ReplicaFetch, REPLICATION_VERSION, fetch.encode());
        if hub.peers.send(self.leader, Class::Bulk, frame).is_err() {
            self.hand_in(hub, FetcherInput::SendFailed);
            self.wake_early();
        }
    }

    /// Hands an answer to its partition; what the fetcher is to know of it.
    fn deliver(
        &self,
        hub: &Replication,
        answer: &PartitionAnswer,
        bytes: Option<Option<Bytes>>,
    ) -> Option<PartitionChange> {
        let partition = answer.partition;
        let Some(replica) = hub.node().and_then(|node| node.registry().get(partition)) else {
            return Some(PartitionChange::Unfollow { partition });
        };
        let failed = Some(PartitionChange::Failed { partition });
        let outcome = match self.outcome(answer, bytes) {
            Ok(outcome) => outcome,
            Err(fault) => {
                self.tell_fault(partition, &fault);
                return failed;
            }
        };
        if let ReplicatedOutcome::Data { batches, .. } = &outcome {
            let bytes: usize = batches.iter().map(batch::StampedBatch::size_bytes).sum();
            hub.counters.bytes_in.fetch_add(bytes as u64, Relaxed);
            self.count_throttled(hub, partition, bytes);
        }
        let PartitionAnswer { leader_epoch, offset, last_epoch, .. } = *answer;
        let leader = self.leader;
        match replica.replicate(Replicated { leader, leader_epoch, offset, last_epoch, outcome }) {
            Delivered::At(leader, position) if leader == self.leader => {
                Some(PartitionChange::Moved { partition, position })
            }
            Delivered::At(..) | Delivered::Later => Some(PartitionChange::Busy { partition }),
            Delivered::Misfit(fault) => {
                self.tell_fault(partition, &fault);
                failed
            }
            Delivered::Broken => Some(PartitionChange::Unfollow { partition }),
        }
    }

    fn tell_fault(&self, partition: TopicPartition, fault: &dyn std::fmt::Display) {
        tracing::error!(
            topic_id = %partition.topic_id, partition = partition.partition.0, leader = self.leader.0, %fault,
            "what the leader sent cannot be appended; it is asked for again"
        );
    }

    /// The answer with its batches, checked before any lock is taken.
    fn outcome(
        &self,
        answer: &PartitionAnswer,
        bytes: Option<Option<Bytes>>,
    ) -> Result<ReplicatedOutcome, batch::ReplicatedError> {
        Ok(match answer.outcome {
            FetchOutcome::Data { high_watermark, log_start, bytes: len } => {
                let batches = match bytes {
                    None => Vec::new(),
                    Some(Some(bytes)) if bytes.len() == len as usize => batch::replicated(&bytes)?,
                    Some(_) => {
                        let fault = "the batches that the reply promises are not there";
                        return Err(batch::ReplicatedError { base_offset: None, fault });
                    }
                };
                ReplicatedOutcome::Data { high_watermark, log_start, batches }
            }
            FetchOutcome::Diverging(end) => ReplicatedOutcome::Diverging(end),
            FetchOutcome::OutOfRange { log_start, log_end } => {
                ReplicatedOutcome::OutOfRange { log_start, log_end }
            }
            FetchOutcome::Refused(_) => unreachable!("the fetcher delivers no refusal"),
        })
    }
}
