//! What partitions and producers want of the controller: waiting, sent, given up and asked again.

use crate::ids::TopicPartition;
use crate::metadata::peer::{AlterPartition, ReplicaHealth};
use crate::time::Instant;
use std::collections::{BTreeMap, BTreeSet};

/// The most changes in one request.
const BATCH_MAX: usize = 1000;

/// A request that was sent.
#[derive(Clone, Copy, Debug)]
struct Out {
    correlation: u64,
    /// When it is given up.
    until: Instant,
}

/// Changes of the ISR that leaders want: at most one for each partition waits, one batch is out.
#[derive(Debug, Default)]
pub(super) struct Alterations {
    waiting: BTreeMap<TopicPartition, AlterPartition>,
    out: Option<(Out, Vec<AlterPartition>)>,
    /// Nothing is sent before.
    not_before: Option<Instant>,
}

impl Alterations {
    /// A leader wants this, whatever it wanted before.
    pub(super) fn want(&mut self, item: AlterPartition) {
        let is_out = self.out.as_ref().is_some_and(|(_, items)| items.contains(&item));
        if !is_out {
            self.waiting.insert(item.partition, item);
        }
    }

    /// What is to be sent now.
    pub(super) fn next_batch(&mut self, now: Instant) -> Option<Vec<AlterPartition>> {
        if self.out.is_some() || self.waiting.is_empty() || self.not_before.is_some_and(|at| now < at) {
            return None;
        }
        self.not_before = None;
        let keys: Vec<_> = self.waiting.keys().take(BATCH_MAX).copied().collect();
        Some(keys.iter().filter_map(|key| self.waiting.remove(key)).collect())
    }

    pub(super) fn sent(&mut self, correlation: u64, items: Vec<AlterPartition>, until: Instant) {
        self.out = Some((Out { correlation, until }, items));
    }

    pub(super) fn is_out(&self, correlation: u64) -> bool {
        self.out.as_ref().is_some_and(|(out, _)| out.correlation == correlation)
    }

    /// The items of the batch that is out, which is out no more.
    pub(super) fn answered(&mut self) -> Vec<AlterPartition> {
        self.out.take().map(|(_, items)| items).unwrap_or_default()
    }

    /// What is out waits again, but for what has a newer wish in its place.
    pub(super) fn take_back(&mut self) {
        for item in self.answered() {
            self.waiting.entry(item.partition).or_insert(item);
        }
        self.not_before = None;
    }

    /// The same, to be sent again at that time.
    pub(super) fn pause(&mut self, until: Instant) {
        self.take_back();
        self.not_before = Some(until);
    }

    /// Gives up waiting for an answer that is overdue.
    pub(super) fn give_up(&mut self, now: Instant) {
        if self.out.as_ref().is_some_and(|(out, _)| out.until <= now) {
            self.take_back();
        }
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let waits = self.not_before.filter(|_| !self.waiting.is_empty());
        self.out.as_ref().map(|(out, _)| out.until).or(waits)
    }

    pub(super) fn assert_invariants(&self) {
        assert!(self.waiting.iter().all(|(partition, item)| *partition == item.partition));
        assert!(self.out.as_ref().is_none_or(|(_, items)| !items.is_empty() && items.len() <= BATCH_MAX));
    }
}

/// Which replicas failed here, or were made anew after that, and what of it the controller has not confirmed.
#[derive(Debug, Default)]
pub(super) struct HealthReports {
    /// How each replica is, of which there was something to say.
    known: BTreeMap<TopicPartition, ReplicaHealth>,
    unconfirmed: BTreeSet<TopicPartition>,
    out: Option<(Out, Vec<ReplicaHealth>)>,
    /// Nothing is sent before.
    not_before: Option<Instant>,
    /// The cluster has agreed that such things are written down.
    is_taken: bool,
}

impl HealthReports {
    pub(super) const fn set_taken(&mut self, is_taken: bool) {
        self.is_taken = is_taken;
    }

    /// A replica is like this from now on.
    pub(super) fn note(&mut self, partition: TopicPartition, is_failed: bool) {
        let before = self.known.get(&partition);
        if before.is_none_or(|before| before.is_failed != is_failed) {
            let change = before.map_or(0, |before| before.change) + 1;
            self.known.insert(partition, ReplicaHealth { partition, is_failed, change });
            self.unconfirmed.insert(partition);
        }
    }

    /// A replica is here no more.
    pub(super) fn forget(&mut self, partition: TopicPartition) {
        self.known.remove(&partition);
        self.unconfirmed.remove(&partition);
    }

    /// The broker has a registration, perhaps one under which nothing was said yet. What was confirmed as made anew is as
    /// any replica.
    pub(super) fn begin(&mut self) {
        self.take_back();
        let failed = self.known.values().filter(|known| known.is_failed);
        self.unconfirmed.extend(failed.map(|known| known.partition));
    }

    /// What is to be sent now.
    pub(super) fn next_batch(&self, now: Instant) -> Option<Vec<ReplicaHealth>> {
        let is_over = self.not_before.is_none_or(|at| at <= now);
        if !self.is_taken || self.out.is_some() || self.unconfirmed.is_empty() || !is_over {
            return None;
        }
        let items = self.unconfirmed.iter().filter_map(|partition| self.known.get(partition).copied());
        Some(items.take(BATCH_MAX).collect())
    }

    pub(super) fn sent(&mut self, correlation: u64, items: Vec<ReplicaHealth>, until: Instant) {
        self.not_before = None;
        self.out = Some((Out { correlation, until }, items));
    }

    pub(super) fn is_out(&self, correlation: u64) -> bool {
        self.out.as_ref().is_some_and(|(out, _)| out.correlation == correlation)
    }

    /// What is out is committed; what has changed since is still to be said.
    pub(super) fn confirmed(&mut self) {
        let Some((_, items)) = self.out.take() else { return };
        for item in items {
            if self.known.get(&item.partition) == Some(&item) {
                self.unconfirmed.remove(&item.partition);
            }
        }
    }

    pub(super) fn take_back(&mut self) {
        (self.out, self.not_before) = (None, None);
    }

    pub(super) fn pause(&mut self, until: Instant) {
        (self.out, self.not_before) = (None, Some(until));
    }

    pub(super) fn give_up(&mut self, now: Instant) {
        if self.out.as_ref().is_some_and(|(out, _)| out.until <= now) {
            self.out = None;
        }
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let waits = self.not_before.filter(|_| self.is_taken && !self.unconfirmed.is_empty());
        self.out.as_ref().map(|(out, _)| out.until).or(waits)
    }

    pub(super) fn assert_invariants(&self) {
        assert!(self.unconfirmed.iter().all(|partition| self.known.contains_key(partition)));
    }
}

/// Something that is either wanted or not, asked for once at a time.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    is_wanted: bool,
    out: Option<Out>,
    not_before: Option<Instant>,
}

impl Wanted {
    pub(super) fn want(&mut self) {
        self.is_wanted = true;
    }

    /// Whether it is to be asked for now.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.is_wanted && self.out.is_none() && self.not_before.is_none_or(|at| at <= now)
    }

    pub(super) fn sent(&mut self, correlation: u64, until: Instant) {
        self.out = Some(Out { correlation, until });
    }

    pub(super) fn is_out(&self, correlation: u64) -> bool {
        self.out.is_some_and(|out| out.correlation == correlation)
    }

    pub(super) fn take_back(&mut self) {
        (self.out, self.not_before) = (None, None);
    }

    pub(super) fn pause(&mut self, until: Instant) {
        (self.out, self.not_before) = (None, Some(until));
    }

    pub(super) fn give_up(&mut self, now: Instant) {
        if self.out.is_some_and(|out| out.until <= now) {
            self.out = None;
        }
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let waits = self.not_before.filter(|_| self.is_wanted);
        self.out.map(|out| out.until).or(waits)
    }
}
