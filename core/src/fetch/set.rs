//! The partitions of a fetch, in an order that is fair, and which of them are worth reading.

use crate::error_code::ErrorCode;
use crate::ids::{LeaderEpoch, Offset, PartitionIndex, TopicId};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// How many partitions a session may gather.
pub const PARTITIONS_MAX: usize = 100_000;

/// A topic as the client names it: by id from version 13 on, by name before (KIP-516).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TopicKey {
    /// By its id.
    Id(TopicId),
    /// By its name.
    Name(Arc<str>),
}

/// A partition's place in its set. Places are given anew when a partition is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot(pub u32);

/// What a client wants of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchPartition {
    /// Whose partition.
    pub topic: TopicKey,
    /// Which one.
    pub partition: PartitionIndex,
    /// From where on.
    pub fetch_offset: Offset,
    /// The leader epoch that the client believes in.
    pub current_leader_epoch: Option<LeaderEpoch>,
    /// The epoch of the last record it has.
    pub last_fetched_epoch: Option<LeaderEpoch>,
    /// A follower's log start; −1 of a consumer.
    pub log_start_offset: Offset,
    /// How much at most.
    pub partition_bytes_max: i32,
}

/// What a partition has to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Bytes of records in the response.
    pub bytes: usize,
    /// Whether there were more records, which the response has no room for.
    pub is_cut: bool,
    /// An error or a divergence.
    pub is_urgent: bool,
    /// The high watermark in the response.
    pub high_watermark: Offset,
    /// The log start in the response.
    pub log_start: Offset,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    /// Nothing new since it was last answered.
    Clean,
    /// Waits to be read.
    Dirty,
    /// Being read for a fetch that is not answered yet.
    Taken,
}

#[derive(Clone, Debug)]
struct Entry {
    partition: FetchPartition,
    mark: Mark,
    /// Whether a watch is set on the partition.
    is_armed: bool,
    /// What the client was told last; −1 if nothing.
    told_high_watermark: Offset,
    told_log_start: Offset,
}

/// The partitions of one fetch, or of one session over many fetches.
///
/// Group: [`FetchSet::update`] and [`FetchSet::forget`] do what the client says; [`FetchSet::take_dirty`],
/// [`FetchSet::arm`] and [`FetchSet::wake`] are for reading; [`FetchSet::answer`] for the response.
#[derive(Clone, Debug, Default)]
pub struct FetchSet {
    entries: Vec<Option<Entry>>,
    free: Vec<Slot>,
    index: BTreeMap<(TopicKey, PartitionIndex), Slot>,
    /// In reading order. May hold places that are dirty no longer; those are passed over.
    dirty: VecDeque<Slot>,
    taken: BTreeSet<Slot>,
}

impl FetchSet {
    /// A set of these partitions, all dirty. A partition named twice counts as it was named last.
    pub fn new(partitions: impl IntoIterator<Item = FetchPartition>) -> Result<Self, ErrorCode> {
        let mut set = Self::default();
        for partition in partitions {
            set.update(partition)?;
        }
        Ok(set)
    }

    /// How many partitions there are.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Adds a partition or changes what is wanted of it. It is read next time, behind those already waiting.
    pub fn update(&mut self, partition: FetchPartition) -> Result<Slot, ErrorCode> {
        let key = (partition.topic.clone(), partition.partition);
        if let Some(slot) = self.index.get(&key).copied() {
            self.entry_mut(slot).partition = partition;
            self.soil(slot);
            return Ok(slot);
        }
        if self.index.len() >= PARTITIONS_MAX {
            return Err(ErrorCode::InvalidRequest);
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            Slot(u32::try_from(self.entries.len() - 1).expect("a set has at most PARTITIONS_MAX places"))
        });
        self.entries[slot.0 as usize] = Some(Entry {
            partition,
            mark: Mark::Dirty,
            is_armed: false,
            told_high_watermark: Offset(-1),
            told_log_start: Offset(-1),
        });
        self.index.insert(key, slot);
        self.dirty.push_back(slot);
        Ok(slot)
    }

    /// Removes a partition; says where it was if a watch is set on it, which is then to be removed, too.
    pub fn forget(&mut self, topic: &TopicKey, partition: PartitionIndex) -> Option<Slot> {
        let slot = self.index.remove(&(topic.clone(), partition))?;
        let entry = self.entries[slot.0 as usize].take().expect("an indexed slot has an entry");
        self.taken.remove(&slot);
        self.free.push(slot);
        entry.is_armed.then_some(slot)
    }

    /// Starts a fetch: what an earlier one took and did not answer is dirty again.
    pub(super) fn begin(&mut self) {
        for slot in std::mem::take(&mut self.taken).into_iter().rev() {
            self.entry_mut(slot).mark = Mark::Dirty;
            self.dirty.push_front(slot);
        }
    }

    /// The partitions worth reading, in fair order. Each is to be answered, or taken again by a later fetch.
    pub fn take_dirty(&mut self) -> Vec<(Slot, FetchPartition)> {
        let mut work = Vec::with_capacity(self.dirty.len());
        for slot in self.dirty.drain(..) {
            let entry = self.entries[slot.0 as usize].as_mut().filter(|entry| entry.mark == Mark::Dirty);
            if let Some(entry) = entry {
                entry.mark = Mark::Taken;
                self.taken.insert(slot);
                work.push((slot, entry.partition.clone()));
            }
        }
        work
    }

    /// Whether a watch is to be set on a partition now; if not, one is there already.
    pub fn arm(&mut self, slot: Slot) -> bool {
        let Some(entry) = self.entries.get_mut(slot.0 as usize).and_then(Option::as_mut) else {
            return false;
        };
        !std::mem::replace(&mut entry.is_armed, true)
    }

    /// Takes the firing of a watch. A slot that is no longer there is no matter.
    pub fn wake(&mut self, slot: Slot) {
        if let Some(entry) = self.entries.get_mut(slot.0 as usize).and_then(Option::as_mut) {
            entry.is_armed = false;
            self.soil(slot);
        }
    }

    /// The partitions with watches on them, to remove those with the set.
    pub fn armed(&self) -> impl Iterator<Item = (Slot, &FetchPartition)> {
        let slots = self.entries.iter().enumerate();
        slots.filter_map(|(at, entry)| {
            let entry = entry.as_ref().filter(|entry| entry.is_armed)?;
            Some((Slot(at as u32), &entry.partition))
        })
    }

    /// Whether a partition goes into the response: it has records, an error, or ends the client was not told.
    ///
    /// What has records or an error stays dirty, behind the others: until the client moves its position, the
    /// next fetch tells the same again.
    pub fn answer(&mut self, slot: Slot, answer: Answer) -> bool {
        let Some(entry) = self.entries.get_mut(slot.0 as usize).and_then(Option::as_mut) else {
            return false;
        };
        let is_news = answer.bytes > 0
            || answer.is_urgent
            || entry.told_high_watermark != answer.high_watermark
            || entry.told_log_start != answer.log_start;
        // after an error the client is told the ends again
        entry.told_high_watermark = if answer.is_urgent { Offset(-1) } else { answer.high_watermark };
        entry.told_log_start = answer.log_start;
        let is_taken = entry.mark == Mark::Taken;
        if is_taken {
            let stays = answer.bytes > 0 || answer.is_urgent || answer.is_cut;
            entry.mark = if stays { Mark::Dirty } else { Mark::Clean };
            if stays && answer.bytes == 0 && !answer.is_urgent {
                self.dirty.push_front(slot); // it was only cut off: it comes first next time
            } else if stays {
                self.dirty.push_back(slot);
            }
            self.taken.remove(&slot);
        }
        is_news
    }

    fn soil(&mut self, slot: Slot) {
        let entry = self.entry_mut(slot);
        match entry.mark {
            Mark::Dirty => {}
            Mark::Clean | Mark::Taken => {
                entry.mark = Mark::Dirty;
                self.taken.remove(&slot);
                self.dirty.push_back(slot);
            }
        }
    }

    fn entry_mut(&mut self, slot: Slot) -> &mut Entry {
        self.entries[slot.0 as usize].as_mut().expect("only slots of partitions that are there are looked up")
    }

    /// Panics if marks and lists contradict each other.
    pub fn assert_invariants(&self) {
        assert_eq!(self.index.len() + self.free.len(), self.entries.len(), "each place is used or free");
        for (at, entry) in self.entries.iter().enumerate() {
            let slot = Slot(at as u32);
            let mark = entry.as_ref().map(|entry| entry.mark);
            let is_queued = self.dirty.contains(&slot);
            assert!(mark != Some(Mark::Dirty) || is_queued, "{slot:?} is dirty, so it will be read");
            assert_eq!(self.taken.contains(&slot), mark == Some(Mark::Taken), "{slot:?} is listed as taken");
        }
    }
}
