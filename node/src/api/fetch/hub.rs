//! The node's fetch sessions, with the watches that they keep at partitions between two fetches.

use super::pending::Pending;
use crate::partition::{Partition, Woken};
use highwater_core::fetch::{
    Begun, FetchPartition, FetchSet, Released, SessionId, SessionRequest, Sessions, SessionsLimits, Slot,
    TopicKey,
};
use highwater_core::ids::{PartitionIndex, Token};
use highwater_core::time::Instant;
use highwater_protocol::ErrorCode;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// All fetch sessions of a node.
#[derive(Debug)]
pub struct FetchHub {
    inner: Mutex<Inner>,
    me: Weak<FetchHub>,
}

#[derive(Debug)]
struct Inner {
    sessions: Sessions,
    /// Where each armed slot's watch is, to take it away with the session.
    watches: BTreeMap<(SessionId, Slot), (Weak<Partition>, Token)>,
    /// The fetch that waits in a session.
    waiting: BTreeMap<SessionId, Weak<Pending>>,
}

impl FetchHub {
    /// No sessions yet. Ids follow from the seed.
    pub fn new(limits: SessionsLimits, seed: u64) -> Arc<Self> {
        let inner = Inner {
            sessions: Sessions::new(limits, seed),
            watches: BTreeMap::new(),
            waiting: BTreeMap::new(),
        };
        Arc::new_cyclic(|me| Self { inner: Mutex::new(inner), me: me.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many sessions there are, and how many partitions they have together.
    pub fn counts(&self) -> (usize, usize) {
        let inner = self.lock();
        (inner.sessions.len(), inner.sessions.partitions())
    }

    /// Starts a fetch; see [`Sessions::begin`].
    pub fn begin(
        &self,
        now: Instant,
        request: SessionRequest,
        partitions: Vec<FetchPartition>,
        forgotten: &[(TopicKey, PartitionIndex)],
    ) -> Result<Begun, ErrorCode> {
        let mut released = Vec::new();
        let mut inner = self.lock();
        let begun = inner.sessions.begin(now, request, partitions, forgotten, &mut released);
        let watches: Vec<_> = released.iter().filter_map(|r| inner.release(r)).collect();
        drop(inner);
        for (partition, token) in watches {
            if let Some(partition) = partition.upgrade() {
                partition.forget(token);
            }
        }
        begun
    }

    /// Uses a session's partitions, if it is still at `epoch`.
    pub(super) fn with_set<R>(
        &self,
        id: SessionId,
        epoch: i32,
        use_set: impl FnOnce(&mut FetchSet) -> R,
    ) -> Result<R, ErrorCode> {
        self.lock().sessions.set(id, epoch).map(use_set)
    }

    /// Makes `pending` the fetch that is told of news in its session.
    pub(super) fn wait(&self, id: SessionId, pending: Weak<Pending>) {
        self.lock().waiting.insert(id, pending);
    }

    /// The fetch is answered.
    pub(super) fn done(&self, id: SessionId, pending: &Weak<Pending>) {
        let mut inner = self.lock();
        if inner.waiting.get(&id).is_some_and(|waiting| waiting.ptr_eq(pending)) {
            inner.waiting.remove(&id);
        }
    }

    /// Remembers where a session's watch is.
    pub(super) fn watched(&self, id: SessionId, slot: Slot, partition: &Arc<Partition>, token: Token) {
        self.lock().watches.insert((id, slot), (Arc::downgrade(partition), token));
    }

    /// Who is to be woken for a session.
    pub(super) fn waker(&self, id: SessionId) -> Arc<dyn Woken> {
        Arc::new(SessionWaker { hub: self.me.clone(), id })
    }

    fn wake(&self, id: SessionId, slot: Slot) {
        let mut inner = self.lock();
        inner.sessions.wake(id, slot);
        inner.watches.remove(&(id, slot));
        let waiting = inner.waiting.get(&id).and_then(Weak::upgrade);
        drop(inner);
        if let Some(pending) = waiting {
            pending.advance();
        }
    }
}

impl Inner {
    fn release(&mut self, released: &Released) -> Option<(Weak<Partition>, Token)> {
        self.watches.remove(&(released.session, released.slot))
    }
}

struct SessionWaker {
    hub: Weak<FetchHub>,
    id: SessionId,
}

impl Woken for SessionWaker {
    fn wake(&self, index: usize) {
        if let Some(hub) = self.hub.upgrade() {
            hub.wake(self.id, slot_of(index));
        }
    }
}

/// A slot travels through a partition's cell as a plain index.
pub(super) const fn index_of(slot: Slot) -> usize {
    slot.0 as usize
}

#[allow(clippy::cast_possible_truncation, reason = "made from a 32-bit slot by index_of")]
pub(super) const fn slot_of(index: usize) -> Slot {
    Slot(index as u32)
}
