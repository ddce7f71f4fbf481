//! The node's fetch sessions, with the watches that they keep at partitions between two fetches.

use super::pending::Pending;
use crate::partition::{Partition, Woken};
use crate::watches::{SlotWatches, WatchNumber};
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

/// Where a watch is.
type Watch = (Weak<Partition>, Token);

#[derive(Debug)]
struct Inner {
    sessions: Sessions,
    /// Where each armed slot's watch is, to take it away with the session. `None` while it is being set.
    watches: SlotWatches<(SessionId, Slot), Option<Watch>>,
    /// The fetch that waits in a session.
    waiting: BTreeMap<SessionId, Weak<Pending>>,
}

impl FetchHub {
    /// No sessions yet. Ids follow from the seed.
    pub fn new(limits: SessionsLimits, seed: u64) -> Arc<Self> {
        let inner = Inner {
            sessions: Sessions::new(limits, seed),
            watches: SlotWatches::default(),
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

    /// Arms a session's slot, if it is still at `epoch`: the number of the watch that is to be set there now, if there is
    /// none yet.
    pub(super) fn arm(&self, id: SessionId, epoch: i32, slot: Slot) -> Option<WatchNumber> {
        let mut inner = self.lock();
        if !inner.sessions.set(id, epoch).is_ok_and(|set| set.arm(slot)) {
            return None;
        }
        let number = inner.watches.number();
        inner.watches.insert((id, slot), number, None);
        Some(number)
    }

    /// Remembers where that watch is, unless it has fired or the session is gone: then nobody needs it.
    pub(super) fn watched(
        &self,
        id: SessionId,
        slot: Slot,
        number: WatchNumber,
        partition: &Arc<Partition>,
        token: Token,
    ) {
        let mut inner = self.lock();
        if let Some(watch) = inner.watches.get_mut((id, slot), number) {
            *watch = Some((Arc::downgrade(partition), token));
            return;
        }
        drop(inner);
        partition.forget(token);
    }

    /// Who is to be woken by that watch.
    pub(super) fn waker(&self, id: SessionId, number: WatchNumber) -> Arc<dyn Woken> {
        Arc::new(SessionWaker { hub: self.me.clone(), id, number })
    }

    fn wake(&self, id: SessionId, slot: Slot, number: WatchNumber) {
        let mut inner = self.lock();
        if !inner.watches.fired((id, slot), number) {
            return; // the place is another's by now, and has a watch of its own if it needs one
        }
        inner.sessions.wake(id, slot);
        let waiting = inner.waiting.get(&id).and_then(Weak::upgrade);
        drop(inner);
        if let Some(pending) = waiting {
            pending.advance();
        }
    }
}

impl Inner {
    fn release(&mut self, released: &Released) -> Option<Watch> {
        self.watches.take((released.session, released.slot)).flatten()
    }
}

struct SessionWaker {
    hub: Weak<FetchHub>,
    id: SessionId,
    number: WatchNumber,
}

impl Woken for SessionWaker {
    fn wake(&self, index: usize) {
        if let Some(hub) = self.hub.upgrade() {
            hub.wake(self.id, slot_of(index), self.number);
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
