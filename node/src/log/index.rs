//! The sparse index of one segment: where batches are, and how large timestamps have become, every few KiB.
//!
//! One file serves Kafka's offset and time index. It can always be rebuilt from the segment, so it is written
//! lazily and never synced for safety; entries are checked one by one when they are read, and a bad one only
//! costs a longer scan. Each entry also carries a checksum over the identity of the batches since the entry
//! before it, because a batch's own CRC covers neither offset, epoch nor partition (ST-07): whoever is led
//! through a span by the index holds the span's batches against it ([`SpanCheck`]).
//!
//! ```text
//! header (64): "HWINDEX1" | topic id 16 | partition 4 | base offset 8 | generation 8 | zeroes 16 | CRC 4
//! entry  (32): base offset 8 | position 4 | leader epoch 4 | max timestamp before 8 | span CRC 4 | CRC 4
//! ```
//! A sealed segment's last entry stands at the segment's end and so tells end offset and max timestamp.

use super::error::LogError;
use super::file::{OpenFiles, SegmentFile};
use crate::disk::{Disk, read_exact_at};
use highwater_core::batch::{BatchHeader, crc32c};
use highwater_core::guard;
use highwater_core::ids::{LeaderEpoch, Offset, PartitionIndex, TopicId, TopicPartition};
use highwater_core::time::Timestamp;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

const MAGIC: &[u8; 8] = b"HWINDEX1";
pub(super) const HEADER_BYTES: usize = 64;
const ENTRY_BYTES: usize = 32;

/// How many entries wait in memory before they are written: a page of the file.
const UNSAVED_MAX: usize = 128;
/// How many saved entries are read at once when a search has come down to so few.
const READ_MAX: usize = 64;

/// What distinguishes this segment from every other, and from an earlier file of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IndexIdentity {
    pub(super) partition: TopicPartition,
    pub(super) base: Offset,
    /// Counts the segment files that the log has made.
    pub(super) generation: u64,
}

impl IndexIdentity {
    fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[..8].copy_from_slice(MAGIC);
        out[8..24].copy_from_slice(&self.partition.topic_id.0);
        out[24..28].copy_from_slice(&self.partition.partition.0.to_be_bytes());
        out[28..36].copy_from_slice(&self.base.0.to_be_bytes());
        out[36..44].copy_from_slice(&self.generation.to_be_bytes());
        let crc = crc32c(&out[..60]);
        out[60..].copy_from_slice(&crc.to_be_bytes());
        out
    }

    /// The identity in a file's header, if it is whole.
    fn decode(bytes: &[u8; HEADER_BYTES]) -> Option<Self> {
        let topic_id = TopicId(field(bytes, 8));
        let partition = PartitionIndex(i32::from_be_bytes(field(bytes, 24)));
        let identity = Self {
            partition: TopicPartition { topic_id, partition },
            base: Offset(i64::from_be_bytes(field(bytes, 28))),
            generation: u64::from_be_bytes(field(bytes, 36)),
        };
        (identity.encode() == *bytes).then_some(identity)
    }

    /// What every checksum of this index starts from.
    fn seed(&self) -> u32 {
        crc32c(&self.encode())
    }
}

/// One entry: a batch boundary and what is known about the batches before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IndexEntry {
    /// The base offset of the batch at `position` (in the seal: the segment's end offset).
    pub(super) base_offset: Offset,
    pub(super) position: u32,
    /// The epoch of the last batch before `position`.
    pub(super) epoch: LeaderEpoch,
    /// The largest timestamp of the segment's batches before `position`.
    pub(super) max_timestamp: Timestamp,
    /// The chained checksum over the identities of the batches between the entry before and this one.
    pub(super) span_crc: u32,
}

impl IndexEntry {
    fn encode(&self, seed: u32) -> [u8; ENTRY_BYTES] {
        let mut out = [0; ENTRY_BYTES];
        out[..8].copy_from_slice(&self.base_offset.0.to_be_bytes());
        out[8..12].copy_from_slice(&self.position.to_be_bytes());
        out[12..16].copy_from_slice(&self.epoch.0.to_be_bytes());
        out[16..24].copy_from_slice(&self.max_timestamp.0.to_be_bytes());
        out[24..28].copy_from_slice(&self.span_crc.to_be_bytes());
        let crc = crc32c(&out[..28]) ^ seed;
        out[28..].copy_from_slice(&crc.to_be_bytes());
        out
    }

    fn decode(bytes: &[u8; ENTRY_BYTES], seed: u32) -> Option<Self> {
        let entry = Self {
            base_offset: Offset(i64::from_be_bytes(field(bytes, 0))),
            position: u32::from_be_bytes(field(bytes, 8)),
            epoch: LeaderEpoch(i32::from_be_bytes(field(bytes, 12))),
            max_timestamp: Timestamp(i64::from_be_bytes(field(bytes, 16))),
            span_crc: u32::from_be_bytes(field(bytes, 24)),
        };
        (entry.encode(seed) == *bytes).then_some(entry)
    }
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("the slice has N bytes by construction")
}

/// What the batches since the last entry add up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Span {
    from: u32,
    crc: u32,
}

impl Span {
    fn add(&mut self, header: &BatchHeader) {
        let mut identity = [0; 20];
        identity[..4].copy_from_slice(&self.crc.to_be_bytes());
        identity[4..12].copy_from_slice(&header.base_offset.0.to_be_bytes());
        identity[12..16].copy_from_slice(&header.leader_epoch.0.to_be_bytes());
        identity[16..].copy_from_slice(&header.crc.to_be_bytes());
        self.crc = crc32c(&identity);
    }
}

/// Holds the batches between two entries of an index against the later one's checksum.
#[derive(Clone, Copy, Debug)]
pub(super) struct SpanCheck {
    span: Span,
    until: u32,
    expected: u32,
}

impl SpanCheck {
    fn new(seed: u32, from: u32, until: &IndexEntry) -> Self {
        Self { span: Span { from, crc: seed }, until: until.position, expected: until.span_crc }
    }

    /// Where the span begins.
    pub(super) fn from(&self) -> u64 {
        u64::from(self.span.from)
    }

    /// Whether a batch at this position lies in the span.
    pub(super) fn covers(&self, position: u64) -> bool {
        position < u64::from(self.until)
    }

    /// Takes the span's next batch.
    pub(super) fn add(&mut self, header: &BatchHeader) {
        self.span.add(header);
    }

    /// Whether the batches taken, which must be all of the span, are those that were appended there.
    pub(super) fn holds(&self) -> bool {
        guard!(IndexSpan, self.span.crc == self.expected)
    }
}

/// An index file by itself, for those who look at a segment without opening its log.
#[derive(Debug)]
pub(crate) struct IndexFile {
    seed: u32,
    entries: std::vec::IntoIter<IndexEntry>,
    check: Option<SpanCheck>,
}

/// What lies where a segment's index should be.
#[derive(Debug)]
pub(crate) enum FoundIndex {
    /// Nothing, or nothing that is readable.
    Nothing,
    /// The index of another partition or segment.
    Foreign(TopicPartition),
    /// The segment's index.
    #[cfg_attr(madsim, expect(dead_code, reason = "the command line is no part of a simulated node"))]
    Own(IndexFile),
}

impl IndexFile {
    /// Reads the index of the segment that begins at `base`.
    pub(crate) fn find(bytes: &[u8], partition: TopicPartition, base: Offset) -> FoundIndex {
        let Some((header, entries)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
            return FoundIndex::Nothing;
        };
        let Some(identity) = IndexIdentity::decode(header) else { return FoundIndex::Nothing };
        if identity.partition != partition || identity.base != base {
            return FoundIndex::Foreign(identity.partition);
        }
        let seed = identity.seed();
        let entries = entries.as_chunks::<ENTRY_BYTES>().0.iter();
        // What follows a damaged entry proves nothing: the broker does not look at it either.
        let entries: Vec<_> = entries.map_while(|entry| IndexEntry::decode(entry, seed)).collect();
        let mut entries = entries.into_iter();
        let check = entries.next().map(|first| SpanCheck::new(seed, 0, &first));
        FoundIndex::Own(Self { seed, entries, check })
    }

    /// Takes the segment's next batch, or its end. If a span ends there: where it began, and whether its batches are
    /// those that were appended.
    #[cfg_attr(madsim, expect(dead_code, reason = "the command line is no part of a simulated node"))]
    pub(crate) fn observe(&mut self, position: u64, header: Option<&BatchHeader>) -> Option<(u64, bool)> {
        let check = self.check.as_mut()?;
        let ended = (!check.covers(position)).then(|| (check.from(), check.holds()));
        if ended.is_some() {
            let until = check.until;
            self.check = self.entries.next().map(|next| SpanCheck::new(self.seed, until, &next));
        }
        if let (Some(check), Some(header)) = (&mut self.check, header) {
            check.add(header);
        }
        ended
    }
}

/// A segment's index: entries on disk, the newest ones in memory.
#[derive(Debug)]
pub(super) struct Index {
    disk: Arc<dyn Disk>,
    pool: Arc<OpenFiles>,
    path: PathBuf,
    /// Present once something was saved.
    file: Option<Arc<SegmentFile>>,
    identity: IndexIdentity,
    seed: u32,
    interval_bytes: u32,
    saved: usize,
    unsaved: Vec<IndexEntry>,
    span: Span,
    max_timestamp: Timestamp,
    epoch: LeaderEpoch,
    /// The saved entry that was found last: who reads on begins there. A hint, checked before it is believed.
    found: AtomicUsize,
}

/// What a block of saved entries shows of an entry that is looked for.
struct Block {
    /// Its number and its position, if it is there.
    last: Option<(usize, u64)>,
    /// Whether the one behind it is there, too, and in order.
    has_next: bool,
    /// Whether all entries of the block lie before.
    is_exhausted: bool,
}

impl Index {
    /// The index of a new, empty segment. Nothing is written yet.
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        pool: Arc<OpenFiles>,
        path: PathBuf,
        identity: IndexIdentity,
        interval_bytes: u32,
    ) -> Self {
        let seed = identity.seed();
        Self {
            disk,
            pool,
            path,
            file: None,
            identity,
            seed,
            interval_bytes,
            saved: 0,
            unsaved: Vec::new(),
            span: Span { from: 0, crc: seed },
            max_timestamp: Timestamp::NONE,
            epoch: LeaderEpoch::NONE,
            found: AtomicUsize::new(0),
        }
    }

    /// The index as it was saved, up to its last good entry at or below `position_max`. `None` if the file is
    /// missing, of another segment, or unreadable in its header: then it is to be rebuilt.
    ///
    /// The caller goes on from [`Index::resume_position`] with [`Index::observe`].
    pub(super) fn load(
        disk: Arc<dyn Disk>,
        pool: Arc<OpenFiles>,
        path: PathBuf,
        partition: TopicPartition,
        base: Offset,
        interval_bytes: u32,
        position_max: u64,
    ) -> Option<Self> {
        let file = SegmentFile::existing(disk.clone(), pool.clone(), path.clone());
        let handle = file.handle().ok()?;
        let mut header = [0; HEADER_BYTES];
        read_exact_at(&*handle, &mut header, 0).ok()?;
        let identity = IndexIdentity { partition, base, generation: u64::from_be_bytes(field(&header, 36)) };
        if identity.encode() != header {
            return None;
        }
        let len = handle.len().ok()?.saturating_sub(HEADER_BYTES as u64);
        let mut index = Self::new(disk, pool, path, identity, interval_bytes);
        index.file = Some(file);
        index.saved = usize::try_from(len).ok()? / ENTRY_BYTES;
        while let Some(last) = index.saved.checked_sub(1) {
            match index.saved_entry(last) {
                Ok(entry) if u64::from(entry.position) <= position_max => {
                    index.continue_from(Some(entry));
                    break;
                }
                _ => index.saved = last,
            }
        }
        Some(index)
    }

    fn continue_from(&mut self, entry: Option<IndexEntry>) {
        self.span = Span { from: entry.map_or(0, |e| e.position), crc: self.seed };
        self.max_timestamp = entry.map_or(Timestamp::NONE, |e| e.max_timestamp);
        self.epoch = entry.map_or(LeaderEpoch::NONE, |e| e.epoch);
    }

    /// The segment's base offset.
    pub(super) fn base(&self) -> Offset {
        self.identity.base
    }

    /// The number in the header that tells this file from earlier ones of the same name.
    pub(super) fn generation(&self) -> u64 {
        self.identity.generation
    }

    /// How many entries there are.
    pub(super) fn len(&self) -> usize {
        self.saved + self.unsaved.len()
    }

    /// The largest timestamp of all batches observed.
    pub(super) fn max_timestamp(&self) -> Timestamp {
        self.max_timestamp
    }

    /// The epoch of the last batch observed.
    pub(super) fn epoch(&self) -> LeaderEpoch {
        self.epoch
    }

    /// The last entry.
    pub(super) fn last(&self) -> Option<IndexEntry> {
        match self.unsaved.last() {
            Some(entry) => Some(*entry),
            None => self.saved_entry(self.saved.checked_sub(1)?).ok(),
        }
    }

    /// Where batches are to be observed from after [`Index::load`] or [`Index::truncate`].
    pub(super) fn resume_position(&self) -> u64 {
        u64::from(self.span.from)
    }

    /// Takes note of a batch appended at `position`. Every batch must come by, in order.
    pub(super) fn observe(&mut self, position: u64, header: &BatchHeader) {
        let position = u32::try_from(position).expect("a segment rolls before 2 GiB");
        if position - self.span.from >= self.interval_bytes && position > self.span.from {
            self.push(position, header.base_offset);
        }
        self.span.add(header);
        self.max_timestamp = self.max_timestamp.max(header.max_timestamp);
        self.epoch = header.leader_epoch;
    }

    fn push(&mut self, position: u32, base_offset: Offset) {
        let (epoch, max_timestamp) = (self.epoch, self.max_timestamp);
        self.unsaved.push(IndexEntry {
            base_offset,
            position,
            epoch,
            max_timestamp,
            span_crc: self.span.crc,
        });
        self.span = Span { from: position, crc: self.seed };
    }

    /// Ends the index of a segment that gets no more batches.
    pub(super) fn seal(&mut self, size: u64, end: Offset) {
        let position = u32::try_from(size).expect("a segment rolls before 2 GiB");
        if self.last().is_none_or(|last| last.position != position) {
            self.push(position, end);
        }
    }

    /// Whether a page of entries waits to be written.
    pub(super) fn wants_save(&self) -> bool {
        self.unsaved.len() >= UNSAVED_MAX
    }

    /// Writes the entries that are in memory only. Creates the file at the first time.
    pub(super) fn save(&mut self) -> Result<(), LogError> {
        if self.unsaved.is_empty() {
            return Ok(());
        }
        self.write_unsaved().map_err(LogError::io("write", &self.path))
    }

    fn write_unsaved(&mut self) -> io::Result<()> {
        let file = match &self.file {
            Some(file) => file.clone(),
            None => {
                let file = SegmentFile::create(self.disk.clone(), self.pool.clone(), self.path.clone())?;
                file.handle()?.append(0, &[IoSlice::new(&self.identity.encode())]).now_or_later()?;
                self.file.insert(file).clone()
            }
        };
        let bytes: Vec<u8> = self.unsaved.iter().flat_map(|e| e.encode(self.seed)).collect();
        let position = (HEADER_BYTES + self.saved * ENTRY_BYTES) as u64;
        // Cut first: entries of a longer, older index must not seem to follow these.
        file.handle()?.truncate(position)?;
        file.handle()?.append(position, &[IoSlice::new(&bytes)]).now_or_later()?;
        self.saved += self.unsaved.len();
        self.unsaved.clear();
        Ok(())
    }

    /// Where the file is or will be.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Follows a rename that has been made.
    pub(super) fn moved_to(&mut self, path: &Path) {
        self.path = path.to_owned();
        if let Some(file) = &self.file {
            file.moved_to(path);
        }
    }

    /// The file, if one was made.
    pub(super) fn file(&self) -> Option<&Arc<SegmentFile>> {
        self.file.as_ref()
    }

    /// Forgets everything from `position` on. The caller goes on from [`Index::resume_position`].
    pub(super) fn truncate(&mut self, position: u64) {
        while self.unsaved.last().is_some_and(|e| u64::from(e.position) >= position) {
            self.unsaved.pop();
        }
        if self.unsaved.is_empty() {
            while let Some(last) = self.saved.checked_sub(1) {
                match self.saved_entry(last) {
                    Ok(entry) if u64::from(entry.position) < position => break,
                    _ => self.saved = last,
                }
            }
        }
        self.continue_from(self.last());
    }

    /// Whether the file holds more than the entries that count.
    pub(super) fn has_stale_entries(&self) -> bool {
        let len = self.file.as_ref().and_then(|file| file.handle().and_then(|handle| handle.len()).ok());
        len.is_some_and(|len| len > (HEADER_BYTES + self.saved * ENTRY_BYTES) as u64)
    }

    /// Makes the file forget durably what [`Index::truncate`] forgot: once the segment has grown again, an entry
    /// from before the cut could seem to be right.
    pub(super) fn cut_file(&self) -> Result<(), LogError> {
        let Some(file) = &self.file else { return Ok(()) };
        let len = (HEADER_BYTES + self.saved * ENTRY_BYTES) as u64;
        let cut = file.handle().and_then(|handle| {
            handle.truncate(len)?;
            handle.sync_now()
        });
        cut.map_err(LogError::io("cut", &self.path))
    }

    /// The position from which a scan finds the batch that holds `offset`.
    pub(super) fn position_of_offset(&self, offset: Offset) -> u64 {
        self.last_before(|e| e.base_offset <= offset).1
    }

    /// As [`Index::position_of_offset`], with the check of the span that begins there; none where the index ends.
    pub(super) fn span_of_offset(&self, offset: Offset) -> (u64, Option<SpanCheck>) {
        let (next, position) = self.last_before(|e| e.base_offset <= offset);
        let from = u32::try_from(position).expect("entries have positions of 32 bits");
        (position, self.entry(next).map(|until| SpanCheck::new(self.seed, from, &until)))
    }

    /// The last batch boundary at or below `position` that the index knows; 0 if none.
    pub(super) fn boundary_at_or_below(&self, position: u64) -> u64 {
        self.last_before(|e| u64::from(e.position) <= position).1
    }

    /// The check of the last span that is complete, for whoever goes on from its end.
    pub(super) fn last_span(&self) -> Option<SpanCheck> {
        let last = self.len().checked_sub(1)?;
        let from = if last == 0 { 0 } else { self.entry(last - 1)?.position };
        Some(SpanCheck::new(self.seed, from, &self.entry(last)?))
    }

    fn entry(&self, number: usize) -> Option<IndexEntry> {
        match number.checked_sub(self.saved) {
            Some(unsaved) => self.unsaved.get(unsaved).copied(),
            None => self.saved_entry(number).ok(),
        }
    }

    /// The position from which a scan finds the first batch with a timestamp of at least `timestamp`.
    pub(super) fn position_of_timestamp(&self, timestamp: Timestamp) -> u64 {
        self.last_before(|e| e.max_timestamp < timestamp).1
    }

    /// How many entries `is_before` holds for (it holds for a prefix of them), and the position of the last of those;
    /// 0 if for none. A damaged entry costs speed only: the scan then starts at the last good entry before it.
    fn last_before(&self, is_before: impl Fn(&IndexEntry) -> bool) -> (usize, u64) {
        let in_memory = self.unsaved.partition_point(&is_before);
        if in_memory > 0 {
            return (self.saved + in_memory, u64::from(self.unsaved[in_memory - 1].position));
        }
        if let Some(found) = self.last_before_near(self.found.load(Relaxed), &is_before) {
            return found;
        }
        let (mut low, mut high, mut position) = (0, self.saved, 0);
        while high - low > READ_MAX {
            let middle = low + (high - low) / 2;
            match self.saved_entry(middle) {
                Ok(entry) if is_before(&entry) => {
                    position = u64::from(entry.position);
                    low = middle + 1;
                }
                _ => high = middle,
            }
        }
        match self.last_in_block(low, high - low, is_before) {
            Ok(Block { last: Some((number, position)), .. }) => {
                self.found.store(number, Relaxed);
                (number + 1, position)
            }
            Ok(_) | Err(_) => (low, position),
        }
    }

    /// [`Index::last_before`] in one read, if the entries from `first` on show where it is.
    fn last_before_near(
        &self,
        first: usize,
        is_before: impl Fn(&IndexEntry) -> bool,
    ) -> Option<(usize, u64)> {
        let len = self.saved.checked_sub(first)?.min(READ_MAX);
        let block = self.last_in_block(first, len, is_before).ok()?;
        // All that is read lies before: so does the end, if this is it.
        let is_shown = block.has_next || (block.is_exhausted && first + len == self.saved);
        let (number, position) = block.last.filter(|_| is_shown)?;
        self.found.store(number, Relaxed);
        Some((number + 1, position))
    }

    /// Reads a block of saved entries, at most [`READ_MAX`], and looks for the last one that `is_before` holds for. A
    /// damaged one counts as one for which it does not.
    fn last_in_block(
        &self,
        first: usize,
        len: usize,
        is_before: impl Fn(&IndexEntry) -> bool,
    ) -> io::Result<Block> {
        let mut bytes = [0; READ_MAX * ENTRY_BYTES];
        let bytes = &mut bytes[..len * ENTRY_BYTES];
        self.read_saved(first, bytes)?;
        let (entries, _) = bytes.as_chunks::<ENTRY_BYTES>();
        let entry = |bytes: &[u8; ENTRY_BYTES]| IndexEntry::decode(bytes, self.seed);
        let before = |bytes: &[u8; ENTRY_BYTES]| entry(bytes).filter(&is_before);
        let count = entries.partition_point(|bytes| before(bytes).is_some());
        let last = count.checked_sub(1).and_then(|last| Some((last, before(&entries[last])?)));
        Ok(Block {
            last: last.map(|(last, entry)| (first + last, u64::from(entry.position))),
            has_next: entries.get(count).is_some_and(|bytes| entry(bytes).is_some()),
            is_exhausted: count == len,
        })
    }

    fn read_saved(&self, first: usize, bytes: &mut [u8]) -> io::Result<()> {
        let file = self.file.as_ref().ok_or(io::ErrorKind::NotFound)?;
        file.read_exact_at(bytes, (HEADER_BYTES + first * ENTRY_BYTES) as u64)
    }

    fn saved_entry(&self, number: usize) -> io::Result<IndexEntry> {
        let mut bytes = [0; ENTRY_BYTES];
        self.read_saved(number, &mut bytes)?;
        IndexEntry::decode(&bytes, self.seed).ok_or(io::ErrorKind::InvalidData.into())
    }
}
