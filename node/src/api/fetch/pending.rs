//! One fetch from its beginning to its answer.

use super::hub::{index_of, slot_of};
use super::response::{self, PartitionAnswer};
use crate::api::Responder;
use crate::log::ReadPlan;
use crate::node::Node;
use crate::partition::{Fetched, Partition, Waiter, Woken};
use crate::timers::Timed;
use crate::watches::WatchNumber;
use highwater_core::fetch::{Answer, Budget, FetchPartition, FetchSet, FetchWait, SessionId, Slot, TopicKey};
use highwater_core::ids::{BrokerId, Offset, Token};
use highwater_core::quota::QuotaKind;
use highwater_core::replica::{FetchFrom, Isolation};
use highwater_core::time::Instant;
use highwater_protocol::topics::TopicRef;
use highwater_protocol::{ErrorCode, Uuid};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// Whose partitions are read.
#[derive(Debug)]
pub(super) enum Home {
    /// The request's own.
    Own(FetchSet),
    /// A session's.
    Session {
        /// Which session.
        id: SessionId,
        /// The epoch it must still have.
        epoch: i32,
        /// Whether all partitions are answered, or those with news.
        is_full: bool,
    },
}

/// What the request asks for beside partitions.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) isolation: Isolation,
    pub(super) from_follower: bool,
    pub(super) rack: Option<Arc<str>>,
    pub(super) request_bytes_max: i32,
    pub(super) bytes_min: i32,
    pub(super) deadline: Instant,
}

/// A fetch that is not answered yet. Its connection keeps it alive; watches and timers hold it weakly.
#[derive(Debug)]
pub(crate) struct Pending {
    node: Arc<Node>,
    isolation: Isolation,
    from_follower: bool,
    rack: Option<Arc<str>>,
    request_bytes_max: i32,
    deadline: Instant,
    client_id: Option<Arc<str>>,
    me: Weak<Pending>,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    home: Home,
    wait: FetchWait,
    outcomes: BTreeMap<Slot, (FetchPartition, Outcome)>,
    /// Whether it has been read before: what is unknown from then on was there until now.
    was_read: bool,
    /// Watches of a fetch without session; a session's outlive its fetches.
    watches: Vec<(Arc<Partition>, Token)>,
    /// Present until the answer has left.
    responder: Option<Responder>,
}

type Outcome = Result<Fetched, ErrorCode>;

/// A watch to be set once no lock is held.
struct ToWatch {
    slot: Slot,
    partition: Arc<Partition>,
    beyond: Offset,
    /// The session that it is set for, and its number there.
    in_session: Option<(SessionId, WatchNumber)>,
}

impl Pending {
    pub(super) fn new(
        node: Arc<Node>,
        home: Home,
        wanted: &Wanted,
        responder: Responder,
        client_id: Option<Arc<str>>,
    ) -> Arc<Self> {
        let inner = Inner {
            home,
            wait: FetchWait::new(wanted.bytes_min, wanted.deadline),
            outcomes: BTreeMap::new(),
            was_read: false,
            watches: Vec::new(),
            responder: Some(responder),
        };
        Arc::new_cyclic(|me| Self {
            node,
            isolation: wanted.isolation,
            from_follower: wanted.from_follower,
            rack: wanted.rack.clone(),
            request_bytes_max: wanted.request_bytes_max,
            deadline: wanted.deadline,
            client_id,
            me: me.clone(),
            inner: Mutex::new(inner),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what has news and answers if that is enough. Whether the fetch is over.
    pub(super) fn advance(&self) -> bool {
        let mut inner = self.lock();
        if inner.responder.is_none() {
            return true;
        }
        let work = match self.with_set(&mut inner.home, FetchSet::take_dirty) {
            Ok(work) => work,
            Err(code) => return self.answer_error(inner, code),
        };
        let mut watches = Vec::new();
        self.read(&mut inner, work, &mut watches);
        let session = inner.session();
        let is_due = inner.wait.is_due(self.node.clock().mono());
        if is_due {
            // A session goes on listening at what is quiet; what has records is read again anyway.
            watches.retain(|watch| session.is_some() && inner.is_quiet(watch.slot));
        }
        let watches = self.to_arm(&mut inner, watches);
        if is_due {
            self.answer(inner);
        } else {
            drop(inner);
            if let Some(id) = session {
                self.node.fetches().wait(id, self.me.clone());
            }
        }
        self.watch(watches);
        is_due
    }

    fn with_set<R>(&self, home: &mut Home, use_set: impl FnOnce(&mut FetchSet) -> R) -> Result<R, ErrorCode> {
        match home {
            Home::Own(set) => Ok(use_set(set)),
            Home::Session { id, epoch, .. } => self.node.fetches().with_set(*id, *epoch, use_set),
        }
    }

    fn read(&self, inner: &mut Inner, work: Vec<(Slot, FetchPartition)>, watches: &mut Vec<ToWatch>) {
        let mut budget = Budget::new(self.request_bytes_max, self.node.fetch_bytes_max());
        for (slot, _) in &work {
            inner.outcomes.remove(slot);
        }
        for (_, outcome) in inner.outcomes.values() {
            budget.spend(outcome.as_ref().map_or(0, |fetched| fetched.plan.bytes));
        }
        for (slot, wanted) in work {
            let outcome = self.read_one(slot, &wanted, &mut budget, watches);
            let is_urgent = match &outcome {
                Ok(fetched) => is_urgent(fetched),
                Err(code) => inner.was_read || !is_unknown(*code),
            };
            // A consumer that waits for as much as it takes at once has that, though a part of a batch is left out.
            let bytes = outcome.as_ref().map_or(0, |fetched| fetched.plan.bytes_there);
            inner.wait.read(slot, bytes);
            if is_urgent {
                inner.wait.hurry();
            }
            inner.outcomes.insert(slot, (wanted, outcome));
        }
        // What is not known does not keep the fetch from waiting for the others, if there are any.
        let is_lost =
            |(_, outcome): &(FetchPartition, Outcome)| outcome.as_ref().is_err_and(|code| is_unknown(*code));
        if !inner.was_read && inner.outcomes.values().all(is_lost) {
            let lost = inner.outcomes.len();
            if self.with_set(&mut inner.home, |set| set.len() == lost).unwrap_or(true) {
                inner.wait.hurry();
            }
        }
        inner.was_read = true;
    }

    fn read_one(
        &self,
        slot: Slot,
        wanted: &FetchPartition,
        budget: &mut Budget,
        watches: &mut Vec<ToWatch>,
    ) -> Outcome {
        let topic = match &wanted.topic {
            TopicKey::Id(id) => TopicRef::Id(Uuid(id.0)),
            TopicKey::Name(name) => TopicRef::Name(name),
        };
        let partition = self.node.registry().find(topic, wanted.partition.0)?;
        let from = FetchFrom {
            offset: wanted.fetch_offset,
            current_leader_epoch: wanted.current_leader_epoch,
            last_fetched_epoch: wanted.last_fetched_epoch,
            isolation: self.isolation,
            from_follower: self.from_follower,
        };
        if let Some(preferred) = self.preferred(&partition, wanted.fetch_offset) {
            let bounds = partition.fetch(from, 0, false)?.bounds;
            return Ok(Fetched { bounds, plan: ReadPlan::default(), preferred: Some(preferred) });
        }
        let limit = budget.limit(wanted.partition_bytes_max);
        let fetched = partition.fetch(from, limit.bytes_max, limit.at_least_one_batch)?;
        budget.spend(fetched.plan.bytes);
        let beyond = fetched.bounds.end.max(wanted.fetch_offset);
        watches.push(ToWatch { slot, partition, beyond, in_session: None });
        Ok(fetched)
    }

    /// A replica in the consumer's rack, if this one is not: the one that has most, as Kafka's
    /// `RackAwareReplicaSelector` (KIP-392).
    fn preferred(&self, partition: &Partition, offset: Offset) -> Option<BrokerId> {
        let rack = self.rack.as_deref()?;
        if !self.node.broker_config().is_selector_rack_aware {
            return None;
        }
        let image = self.node.image();
        let is_near = |broker: BrokerId| {
            image.broker(broker).is_some_and(|registration| registration.rack.as_deref() == Some(rack))
        };
        if is_near(self.node.id()) {
            return None;
        }
        let serving = partition.read_replicas(offset).into_iter().filter(|(broker, _)| is_near(*broker));
        serving.max_by_key(|(_, end)| *end).map(|(broker, _)| broker)
    }

    /// Those of `watches` that are not armed already, by an earlier fetch of the session.
    fn to_arm(&self, inner: &mut Inner, watches: Vec<ToWatch>) -> Vec<ToWatch> {
        let arm = |mut watch: ToWatch| {
            let is_armed = match &mut inner.home {
                Home::Own(set) => set.arm(watch.slot),
                Home::Session { id, epoch, .. } => {
                    let number = self.node.fetches().arm(*id, *epoch, watch.slot);
                    watch.in_session = number.map(|number| (*id, number));
                    number.is_some()
                }
            };
            is_armed.then_some(watch)
        };
        watches.into_iter().filter_map(arm).collect()
    }

    /// Sets watches. No lock is held: a watch may fire at once.
    fn watch(&self, watches: Vec<ToWatch>) {
        let fetches = self.node.fetches();
        for ToWatch { slot, partition, beyond, in_session } in watches {
            let waker: Arc<dyn Woken> = match in_session {
                Some((id, number)) => fetches.waker(id, number),
                None => Arc::new(OwnWaker(self.me.clone())),
            };
            let waiter = Waiter::Fetch(waker.clone(), index_of(slot));
            // A partition that has just gone offline answers the next read with its error.
            let Ok(token) = partition.watch(beyond, self.isolation, waiter) else {
                waker.wake(index_of(slot));
                continue;
            };
            match in_session {
                Some((id, number)) => fetches.watched(id, slot, number, &partition, token),
                None => self.watched(partition, token),
            }
        }
    }

    /// Remembers where a watch is, unless an earlier one has brought what was waited for: then nobody needs it.
    fn watched(&self, partition: Arc<Partition>, token: Token) {
        let mut inner = self.lock();
        if inner.responder.is_some() {
            inner.watches.push((partition, token));
            return;
        }
        drop(inner);
        partition.forget(token);
    }

    pub(super) fn arm_deadline(&self) {
        let me: Weak<dyn Timed> = self.me.clone();
        self.node.timers().arm(self.deadline, me);
    }

    fn answer_error(&self, mut inner: MutexGuard<'_, Inner>, code: ErrorCode) -> bool {
        let responder = inner.responder.take();
        drop(inner);
        if let Some(responder) = responder {
            response::send_error(responder, code);
        }
        self.release();
        true
    }

    /// Answers with what there is, if that has not been done.
    fn answer(&self, mut inner: MutexGuard<'_, Inner>) {
        let Some(responder) = inner.responder.take() else { return };
        let outcomes = std::mem::take(&mut inner.outcomes);
        let (session_id, is_full) = match &inner.home {
            Home::Own(_) => (0, true),
            Home::Session { id, is_full, .. } => (id.0, *is_full),
        };
        let mut answers = Vec::with_capacity(outcomes.len());
        let told = self.with_set(&mut inner.home, |set| {
            for (slot, (wanted, outcome)) in outcomes {
                let has_news = set.answer(slot, told_of(&wanted, &outcome));
                if has_news || is_full {
                    answers.push(PartitionAnswer { wanted, outcome });
                }
            }
        });
        drop(inner);
        self.release();
        if let Err(code) = told {
            return response::send_error(responder, code);
        }
        let is_committed_only = self.isolation == Isolation::ReadCommitted;
        let throttle = self.throttle(&responder, &mut answers);
        response::send(responder, session_id, answers, is_committed_only, throttle);
    }

    /// Counts what is about to be sent. A client over its quota gets no records now: it comes again after the time.
    fn throttle(&self, responder: &Responder, answers: &mut [PartitionAnswer]) -> Duration {
        let bytes: usize = answers.iter().map(|a| a.outcome.as_ref().map_or(0, |f| f.plan.bytes)).sum();
        let (now, client_id) = (self.node.clock().mono(), self.client_id.as_deref().unwrap_or_default());
        let throttles = self.node.throttles();
        let by_bytes = throttles.bytes(now, QuotaKind::Fetch, client_id, bytes as u64);
        let throttle = by_bytes.max(responder.handler_throttle());
        if throttle.is_zero() {
            self.node.counters().bytes_out.fetch_add(bytes as u64, Relaxed);
        } else {
            throttles.take_back(now, QuotaKind::Fetch, client_id, bytes as u64);
            for fetched in answers.iter_mut().filter_map(|answer| answer.outcome.as_mut().ok()) {
                fetched.plan = ReadPlan::default();
            }
        }
        throttle
    }

    /// Whether the answer has left, or nobody waits for it.
    pub(crate) fn is_over(&self) -> bool {
        self.lock().responder.is_none()
    }

    /// Nobody waits any more: the connection is gone.
    pub(crate) fn cancel(&self) {
        self.lock().responder = None;
        self.release();
    }

    fn release(&self) {
        let (watches, session) = {
            let mut inner = self.lock();
            (std::mem::take(&mut inner.watches), inner.session())
        };
        for (partition, token) in watches {
            partition.forget(token);
        }
        if let Some(id) = session {
            self.node.fetches().done(id, &self.me);
        }
    }
}

impl Inner {
    /// Whether the partition was read and had nothing to give.
    fn is_quiet(&self, slot: Slot) -> bool {
        self.outcomes
            .get(&slot)
            .is_some_and(|(_, outcome)| outcome.as_ref().is_ok_and(|f| f.plan.bytes == 0 && !is_urgent(f)))
    }

    const fn session(&self) -> Option<SessionId> {
        match &self.home {
            Home::Own(_) => None,
            Home::Session { id, .. } => Some(*id),
        }
    }
}

/// Whether the consumer is to be told at once.
const fn is_urgent(fetched: &Fetched) -> bool {
    fetched.bounds.diverging.is_some() || fetched.preferred.is_some()
}

/// Whether the partition was not found at all.
const fn is_unknown(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId)
}

/// What the session remembers of an answer.
fn told_of(wanted: &FetchPartition, outcome: &Outcome) -> Answer {
    match outcome {
        Err(_) => Answer {
            bytes: 0,
            is_cut: false,
            is_urgent: true,
            high_watermark: Offset(-1),
            log_start: Offset(-1),
        },
        Ok(fetched) => Answer {
            bytes: fetched.plan.bytes,
            is_cut: fetched.plan.bytes == 0 && fetched.bounds.end > wanted.fetch_offset,
            is_urgent: is_urgent(fetched),
            high_watermark: fetched.bounds.high_watermark,
            log_start: fetched.bounds.log_start,
        },
    }
}

impl Timed for Pending {
    /// Has waited `max_wait_ms`: answers with what there is.
    fn due(&self, _at: Instant) {
        self.answer(self.lock());
    }
}

/// Wakes a fetch without session.
struct OwnWaker(Weak<Pending>);

impl Woken for OwnWaker {
    fn wake(&self, index: usize) {
        let Some(pending) = self.0.upgrade() else { return };
        if let Home::Own(set) = &mut pending.lock().home {
            set.wake(slot_of(index));
        }
        pending.advance();
    }
}
