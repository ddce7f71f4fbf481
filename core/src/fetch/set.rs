//! The partitions of a fetch, in an order that is fair, and which of them are worth reading.

use crate::error_code::ErrorCode;
use crate::ids::{LeaderEpoch, Offset, PartitionIndex, TopicId};
use std::collections::{BTreeMap, BTreeSet};
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
    /// Which of the set's answers with records was this partition's last; 0 for none.
    fed_at: u64,
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
    /// In reading order: first who was never given records, then who was fed longest ago.
    dirty: BTreeSet<(u64, Slot)>,
    taken: BTreeSet<Slot>,
    /// Counts answers with records.
    meals: u64,
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

    /// Adds a partition or changes what is wanted of it. It is read next time.
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
            fed_at: 0,
        });
        self.index.insert(key, slot);
        self.dirty.insert((0, slot));
        Ok(slot)
    }

    /// Removes a partition; says where it was if a watch is set on it, which is then to be removed, too.
    pub fn forget(&mut self, topic: &TopicKey, partition: PartitionIndex) -> Option<Slot> {
        let slot = self.index.remove(&(topic.clone(), partition))?;
        let entry = self.entries[slot.0 as usize].take().expect("an indexed slot has an entry");
        self.taken.remove(&slot);
        self.dirty.remove(&(entry.fed_at, slot));
        self.free.push(slot);
        entry.is_armed.then_some(slot)
    }

    /// Starts a fetch: what an earlier one took and did not answer is dirty again.
    pub(super) fn begin(&mut self) {
        for slot in std::mem::take(&mut self.taken) {
            let entry = self.entry_mut(slot);
            entry.mark = Mark::Dirty;
            let fed_at = entry.fed_at;
            self.dirty.insert((fed_at, slot));
        }
    }

    /// Whether a watch is set on a partition.
    pub fn is_armed(&self, slot: Slot) -> bool {
        self.entries.get(slot.0 as usize).and_then(Option::as_ref).is_some_and(|entry| entry.is_armed)
    }

    /// What was taken and not answered is dirty again.
    pub fn restart(&mut self) {
        self.begin();
    }

    /// The high watermark and log start that the client was told last, −1 if it was told none.
    pub fn told(&self, slot: Slot) -> Option<(Offset, Offset)> {
        let entry = self.entries.get(slot.0 as usize)?.as_ref()?;
        Some((entry.told_high_watermark, entry.told_log_start))
    }

    /// The partitions worth reading, in fair order. Each is to be answered, or taken again by a later fetch.
    pub fn take_dirty(&mut self) -> Vec<(Slot, FetchPartition)> {
        let mut work = Vec::with_capacity(self.dirty.len());
        for (_, slot) in std::mem::take(&mut self.dirty) {
            let entry = self.entry_mut(slot);
            entry.mark = Mark::Taken;
            work.push((slot, entry.partition.clone()));
            self.taken.insert(slot);
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
    /// What has records or an error stays dirty: until the client moves its position, the next fetch tells the
    /// same again. Without a watch on it a partition stays dirty, too, for no one would tell of its news.
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
        let stays = answer.bytes > 0 || answer.is_urgent || answer.is_cut || !entry.is_armed;
        if answer.bytes > 0 {
            self.meals += 1;
            let fed_before = std::mem::replace(&mut entry.fed_at, self.meals);
            if self.dirty.remove(&(fed_before, slot)) {
                self.dirty.insert((entry.fed_at, slot));
            }
        }
        if entry.mark == Mark::Taken {
            entry.mark = if stays { Mark::Dirty } else { Mark::Clean };
            if stays {
                self.dirty.insert((entry.fed_at, slot));
            }
            self.taken.remove(&slot);
        }
        is_news
    }

    fn soil(&mut self, slot: Slot) {
        let entry = self.entry_mut(slot);
        entry.mark = Mark::Dirty;
        let fed_at = entry.fed_at;
        self.taken.remove(&slot);
        self.dirty.insert((fed_at, slot));
    }

    fn entry_mut(&mut self, slot: Slot) -> &mut Entry {
        self.entries[slot.0 as usize].as_mut().expect("only slots of partitions that are there are looked up")
    }

    /// Panics if marks and lists contradict each other.
    pub fn assert_invariants(&self) {
        assert_eq!(self.index.len() + self.free.len(), self.entries.len(), "each place is used or free");
        assert!(
            self.dirty.len() + self.taken.len() <= self.index.len(),
            "only partitions are dirty or taken"
        );
        for (at, entry) in self.entries.iter().enumerate() {
            let slot = Slot(at as u32);
            let mark = entry.as_ref().map(|entry| entry.mark);
            let is_queued = entry.as_ref().is_some_and(|entry| self.dirty.contains(&(entry.fed_at, slot)));
            assert_eq!(is_queued, mark == Some(Mark::Dirty), "{slot:?} is listed as dirty");
            assert_eq!(self.taken.contains(&slot), mark == Some(Mark::Taken), "{slot:?} is listed as taken");
        }
    }
}
