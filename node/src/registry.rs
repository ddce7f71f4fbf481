//! The partitions of this node, found by topic name or id.
//!
//! Read by every produce and fetch: one short read lock, two look-ups, and a clone of the `Arc`. Whoever got a
//! partition uses it without any lock of the registry.

use crate::partition::Partition;
use highwater_core::ids::{PartitionIndex, TopicId, TopicPartition};
use highwater_protocol::ErrorCode;
use highwater_protocol::topics::TopicRef;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// A partition's place in the registry.
#[derive(Clone, Debug)]
pub enum Entry {
    /// It is served.
    Online(Arc<Partition>),
    /// Its log did not open; why.
    Offline(Arc<str>),
    /// Its log is corrupt, and another replica's may take its place; what is wrong.
    Corrupt(Arc<str>),
}

/// All partitions of this node.
#[derive(Debug, Default)]
pub struct Registry {
    inner: RwLock<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    names: BTreeMap<Arc<str>, TopicId>,
    partitions: BTreeMap<TopicPartition, Entry>,
    /// Those of them that are [`Entry::Corrupt`].
    corrupt: BTreeSet<TopicPartition>,
}

impl Registry {
    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The partition that a request names, or the error that Kafka answers.
    pub fn find(&self, topic: TopicRef<'_>, partition: i32) -> Result<Arc<Partition>, ErrorCode> {
        let inner = self.read();
        let topic_id = match topic {
            TopicRef::Name(name) => *inner.names.get(name).ok_or(ErrorCode::UnknownTopicOrPartition)?,
            TopicRef::Id(id) => {
                let first = TopicPartition { topic_id: TopicId(id.0), partition: PartitionIndex(0) };
                let known = inner.partitions.range(first..).next();
                if known.is_none_or(|(of, _)| of.topic_id != first.topic_id) {
                    return Err(ErrorCode::UnknownTopicId);
                }
                first.topic_id
            }
        };
        let id = TopicPartition { topic_id, partition: PartitionIndex(partition) };
        match inner.partitions.get(&id) {
            Some(Entry::Online(partition)) => Ok(partition.clone()),
            Some(Entry::Offline(_) | Entry::Corrupt(_)) => Err(ErrorCode::KafkaStorageError),
            None => Err(ErrorCode::UnknownTopicOrPartition),
        }
    }

    /// The partition of this identity, if it is served.
    pub fn get(&self, id: TopicPartition) -> Option<Arc<Partition>> {
        match self.read().partitions.get(&id) {
            Some(Entry::Online(partition)) => Some(partition.clone()),
            Some(Entry::Offline(_) | Entry::Corrupt(_)) | None => None,
        }
    }

    /// All that is known of this partition.
    pub fn entry(&self, id: TopicPartition) -> Option<Entry> {
        self.read().partitions.get(&id).cloned()
    }

    /// Adds a partition of a topic.
    pub fn insert(&self, topic: &Arc<str>, id: TopicPartition, entry: Entry) {
        let mut inner = self.write();
        inner.names.insert(topic.clone(), id.topic_id);
        if matches!(entry, Entry::Corrupt(_)) {
            inner.corrupt.insert(id);
        } else {
            inner.corrupt.remove(&id);
        }
        inner.partitions.insert(id, entry);
    }

    /// Takes a topic's partitions out; requests find them no more.
    pub fn remove_topic(&self, topic: &str, topic_id: TopicId) -> Vec<(TopicPartition, Entry)> {
        let mut inner = self.write();
        if inner.names.get(topic) == Some(&topic_id) {
            inner.names.remove(topic);
        }
        let first = TopicPartition { topic_id, partition: PartitionIndex(0) };
        let last = TopicPartition { topic_id, partition: PartitionIndex(i32::MAX) };
        let ids: Vec<_> = inner.partitions.range(first..=last).map(|(id, _)| *id).collect();
        inner.corrupt.retain(|id| id.topic_id != topic_id);
        ids.into_iter().filter_map(|id| inner.partitions.remove_entry(&id)).collect()
    }

    /// Takes one partition out.
    pub fn remove(&self, id: TopicPartition) -> Option<Entry> {
        let mut inner = self.write();
        inner.corrupt.remove(&id);
        inner.partitions.remove(&id)
    }

    /// The partitions whose logs are corrupt; mostly none.
    pub fn corrupt(&self) -> Vec<TopicPartition> {
        self.read().corrupt.iter().copied().collect()
    }

    /// The served partitions of a topic, in the order of their numbers.
    pub fn of_topic(&self, topic_id: TopicId) -> Vec<Arc<Partition>> {
        let first = TopicPartition { topic_id, partition: PartitionIndex(0) };
        let last = TopicPartition { topic_id, partition: PartitionIndex(i32::MAX) };
        self.read().partitions.range(first..=last).filter_map(|(_, entry)| entry.online()).collect()
    }

    /// All served partitions, for housekeeping and shutdown; never on a request's path.
    pub fn all(&self) -> Vec<Arc<Partition>> {
        self.read().partitions.values().filter_map(Entry::online).collect()
    }

    /// How many partitions are served, and how many are offline.
    pub fn counts(&self) -> (usize, usize) {
        let inner = self.read();
        let offline = inner.partitions.values().filter(|e| !matches!(e, Entry::Online(_))).count();
        (inner.partitions.len() - offline, offline)
    }
}

impl Entry {
    fn online(&self) -> Option<Arc<Partition>> {
        match self {
            Self::Online(partition) => Some(partition.clone()),
            Self::Offline(_) | Self::Corrupt(_) => None,
        }
    }
}
