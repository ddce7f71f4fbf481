//! Compaction: of each key only the newest record stays, at its own offset.
//!
//! A [`Cleaning`] is one pass over one log. It reads finished segments only and writes copies, so it needs no
//! lock; each finished copy takes its segments' place under the cell's lock ([`Log::swap_cleaned`]).
//!
//! ```text
//! lock:    let mut cleaning = log.plan_cleaning(bound, ..)?
//! no lock: loop { match cleaning.step(bytes)? { More => {}, Swap => lock: log.swap_cleaned(&mut cleaning)?, Done => break } }
//! lock:    log.finish_cleaning(cleaning)
//! ```
//! What stays whatever its keys: control batches (their data may be anywhere, ST-09), everything at or above the
//! bound (high watermark, last stable offset, active segment; design rule 13), and the last batch of each copy
//! and of each live producer, emptied, so that end offsets and sequences are never lost (ST-10). Tombstones stay
//! for `delete.retention.ms` behind the first pass that saw them as newest; the batch says until when (KIP-534).
//!
//! A copy is written as `.cleaned`, synced, renamed to `<base>-<end>.swap`; from then on a crash completes the
//! swap, before it a crash drops the copy.

use super::error::{Corruption, LogError};
use super::file::SegmentFile;
use super::flush::{FlushJob, FlushScope};
use super::index::Index;
use super::scan::{Batches, Checked};
use super::segment::{
    CLEANED_EXTENSION, INDEX_EXTENSION, LOG_EXTENSION, LogContext, Segment, file_name, swap_name,
};
use super::{Log, LogConfig};
use bytes::Bytes;
use highwater_core::batch::{BatchHeader, Builder, Record, records};
use highwater_core::ids::{LeaderEpoch, Offset, TopicPartition};
use highwater_core::time::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How much of a copy is collected before it is written.
const WRITE_BYTES: usize = 1 << 20;

/// What a pass may do and must spare.
#[derive(Clone, Debug)]
pub struct CleaningRules {
    /// Nothing at or above is touched: the lower of high watermark and last stable offset.
    pub bound: Offset,
    /// The last offset of each live idempotent producer: its batch stays, if only emptied.
    pub producer_offsets: BTreeSet<Offset>,
    /// How many keys a pass remembers; more need another pass.
    pub keys_max: usize,
}

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CleaningStep {
    /// The budget is used up; step again.
    More,
    /// A copy is ready: [`Log::swap_cleaned`] comes next.
    Swap,
    /// Everything is cleaned: [`Log::finish_cleaning`] comes next.
    Done,
}

/// What a pass did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CleaningStats {
    /// Bytes of batches read for copying.
    pub bytes_read: u64,
    /// Bytes of batches in the copies.
    pub bytes_written: u64,
    /// Records that went.
    pub records_dropped: u64,
    /// Records that stayed.
    pub records_kept: u64,
}

/// A finished segment as the pass found it.
#[derive(Clone, Debug)]
struct Source {
    base: Offset,
    end: Offset,
    size: u64,
    file: Arc<SegmentFile>,
}

/// The segments that become one, and the copy that takes their place.
#[derive(Debug)]
struct Copy {
    sources: Vec<Source>,
    /// Which source is being read.
    source: usize,
    batches: Option<Batches>,
    file: Arc<SegmentFile>,
    index: Index,
    size: u64,
    buffer: Vec<u8>,
}

/// One pass over one log; see the [module](self).
#[derive(Debug)]
pub struct Cleaning {
    tp: TopicPartition,
    dir: PathBuf,
    context: LogContext,
    config: LogConfig,
    rules: CleaningRules,
    now: Timestamp,
    generation: u64,
    flush: Option<FlushJob>,
    is_flushed: bool,
    /// Dirty segments still to be mapped, and the reader of the first of them.
    unmapped: Vec<Source>,
    mapping: Option<Batches>,
    first_dirty: Offset,
    newest: BTreeMap<u128, Offset>,
    /// Everything below is mapped.
    map_end: Offset,
    all: Vec<Source>,
    is_mapped: bool,
    groups: Vec<Vec<Source>>,
    copy: Option<Copy>,
    stats: CleaningStats,
}

impl Log {
    /// How far the log is clean.
    pub const fn cleaned_through(&self) -> Offset {
        self.cleaned
    }

    /// Plans a pass if it is worth it (Kafka's rules: dirty ratio and compaction lags). Finished segments below
    /// the bound only.
    pub fn plan_cleaning(&mut self, rules: CleaningRules, now: Timestamp) -> Option<Cleaning> {
        if !self.config.is_compact_policy || self.poisoned.is_some() {
            return None;
        }
        let all = self.cleanable(rules.bound, now);
        let first_dirty = self.cleaned.max(self.log_start);
        let dirty: Vec<Source> = all.iter().filter(|s| s.end > first_dirty).cloned().collect();
        let bytes = |sources: &[Source]| sources.iter().map(|s| s.size).sum::<u64>();
        let (dirty_bytes, all_bytes) = (bytes(&dirty), bytes(&all));
        // More than the ratio, as in Kafka: at 1 it never is, which is how a log is kept from being cleaned.
        let least = u128::from(all_bytes) * u128::from(self.config.dirty_billionths_min);
        let is_dirty_enough = u128::from(dirty_bytes) * 1_000_000_000 > least;
        if dirty_bytes == 0 || !(is_dirty_enough || self.is_overdue(&dirty, now)) {
            return None;
        }
        Some(Cleaning {
            tp: self.tp,
            dir: self.dir.clone(),
            context: self.context.clone(),
            config: self.config.clone(),
            generation: self.generation,
            flush: self.flush_job(FlushScope::Sealed),
            is_flushed: false,
            unmapped: dirty.into_iter().rev().collect(),
            mapping: None,
            first_dirty,
            newest: BTreeMap::new(),
            map_end: first_dirty,
            all,
            is_mapped: false,
            groups: Vec::new(),
            copy: None,
            stats: CleaningStats::default(),
            rules,
            now,
        })
    }

    /// The finished segments below the bound whose records are older than `min.compaction.lag.ms`.
    fn cleanable(&self, bound: Offset, now: Timestamp) -> Vec<Source> {
        let finished = &self.segments[..self.segments.len() - 1];
        let is_settled = |s: &&Segment| {
            let lag_ms = self.config.compaction_lag_ms_min;
            s.end <= bound && (lag_ms == 0 || now.ms_since(s.stats(false).max_timestamp) >= lag_ms)
        };
        let settled = finished.iter().take_while(is_settled);
        let sources =
            settled.map(|s| Source { base: s.base, end: s.end, size: s.size, file: s.file.clone() });
        sources.collect()
    }

    /// Whether records have waited longer than `max.compaction.lag.ms` (KIP-354).
    fn is_overdue(&self, dirty: &[Source], now: Timestamp) -> bool {
        let Some(first) = dirty.first() else { return false };
        let segment = self.segments.iter().find(|s| s.base == first.base);
        let oldest = segment.and_then(|s| s.headers(0).ok()?.next()?.ok());
        oldest
            .is_some_and(|batch| now.ms_since(batch.header.max_timestamp) > self.config.compaction_lag_ms_max)
    }

    /// Puts a finished copy in its segments' place. `false` if the log has changed there meanwhile (truncation,
    /// retention), and the copy was dropped.
    pub fn swap_cleaned(&mut self, cleaning: &mut Cleaning) -> Result<bool, LogError> {
        self.check_writable()?;
        let Some(copy) = cleaning.copy.take() else { return Ok(false) };
        self.generation = self.generation.max(cleaning.generation);
        if let Some(job) = cleaning.flush.take() {
            self.flushed(&job.note, Ok(()))?;
        }
        let Some(first) = self.position_of(&copy.sources) else {
            let dropped = copy.discard(&self.context);
            return self.poison_on_error(dropped).map(|()| false);
        };
        let swapped = self.swap_files(copy, first, cleaning.now);
        self.poison_on_error(swapped).map(|()| true)
    }

    /// Where the sources are among the segments, if they still are, and flushed.
    fn position_of(&self, sources: &[Source]) -> Option<usize> {
        let base = sources.first()?.base;
        let first = self.segments.iter().position(|s| s.base == base)?;
        let present = self.segments[first..self.segments.len() - 1].iter();
        let same = present.zip(sources).filter(|(s, source)| Arc::ptr_eq(&s.file, &source.file)).count();
        let is_flushed = sources.last()?.end <= self.flush.through();
        (same == sources.len() && is_flushed).then_some(first)
    }

    fn swap_files(&mut self, mut copy: Copy, first: usize, now: Timestamp) -> Result<(), LogError> {
        let (base, end) = copy.range();
        // The copy lies below the recovery point on the device: there recovery knows that gaps are no tail.
        self.note_point();
        self.points.ensure_flushed(self.tp, end)?;
        let disk = self.context.disk.clone();
        let rename = |from: &Path, to: &Path| disk.rename(from, to).map_err(LogError::io("rename", from));
        let sync_dir = |dir: &Path| disk.sync_dir(dir).now().map_err(LogError::io("sync", dir));
        let swap = self.dir.join(swap_name(base, end));
        rename(&copy.file.path(), &swap)?;
        sync_dir(&self.dir)?;
        let old: Vec<Segment> = self.segments.drain(first..first + copy.sources.len()).collect();
        for segment in &old {
            // Whoever reads the old file goes on reading it.
            let _ = segment.file.pin();
            self.remove_files(segment)?;
        }
        sync_dir(&self.dir)?;
        let path = self.dir.join(file_name(base, LOG_EXTENSION));
        rename(&swap, &path)?;
        copy.file.moved_to(&path);
        let index_path = self.dir.join(file_name(base, INDEX_EXTENSION));
        rename(copy.index.path(), &index_path)?;
        copy.index.moved_to(&index_path);
        self.flush.names_changed();
        let segment = Segment::with_files(base, end, copy.size, copy.file, copy.index, now);
        self.segments.insert(first, segment);
        Ok(())
    }

    /// Ends a pass that is done: the next one begins behind it.
    pub fn finish_cleaning(&mut self, cleaning: Cleaning) -> CleaningStats {
        self.cleaned = self.cleaned.max(cleaning.map_end).min(self.end());
        self.note_point();
        cleaning.stats
    }
}

impl Copy {
    fn range(&self) -> (Offset, Offset) {
        (self.sources[0].base, self.sources[self.sources.len() - 1].end)
    }

    fn discard(self, context: &LogContext) -> Result<(), LogError> {
        for path in [self.file.path(), self.index.path().to_owned()] {
            match context.disk.remove(&path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(LogError::io("remove", &path)(e));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn put(&mut self, header: &BatchHeader, bytes: &[u8]) -> Result<(), LogError> {
        self.index.observe(self.size, header);
        self.size += bytes.len() as u64;
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= WRITE_BYTES { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> Result<(), LogError> {
        let at = self.size - self.buffer.len() as u64;
        let written = self.file.handle().and_then(|file| file.write_now(at, &self.buffer));
        self.buffer.clear();
        written.map_err(LogError::io("write", &self.file.path()))
    }

    fn finish(&mut self) -> Result<(), LogError> {
        self.write()?;
        let (_, end) = self.range();
        self.index.seal(self.size, end);
        self.index.save()?;
        let files = [Some(&self.file), self.index.file()];
        for file in files.into_iter().flatten() {
            let synced = file.handle().and_then(|handle| handle.sync_now());
            synced.map_err(LogError::io("sync", &file.path()))?;
        }
        Ok(())
    }
}

impl Cleaning {
    /// Which log this is about.
    pub const fn topic_partition(&self) -> TopicPartition {
        self.tp
    }

    /// Goes on until about `bytes_max` bytes have been read, a copy is ready or everything is done.
    ///
    /// After an error the pass is over; drop it. The log itself was not touched.
    pub fn step(&mut self, bytes_max: u64) -> Result<CleaningStep, LogError> {
        if !self.is_flushed {
            if let Some(job) = &self.flush {
                job.run(&*self.context.disk).map_err(LogError::io("sync", &self.dir))?;
            }
            self.is_flushed = true;
        }
        let mut left = bytes_max;
        while !self.is_mapped {
            if left == 0 {
                return Ok(CleaningStep::More);
            }
            let read = self.map_batch()?;
            left = left.saturating_sub(read);
        }
        loop {
            if left == 0 {
                return Ok(CleaningStep::More);
            }
            match &mut self.copy {
                None => match self.groups.pop() {
                    None => return Ok(CleaningStep::Done),
                    Some(sources) => self.copy = Some(self.begin_copy(sources)?),
                },
                Some(_) => match self.copy_batch()? {
                    Some(read) => left = left.saturating_sub(read),
                    None => return Ok(CleaningStep::Swap),
                },
            }
        }
    }

    /// Takes the keys of the next dirty batch into the map; answers the bytes read.
    fn map_batch(&mut self) -> Result<u64, LogError> {
        let Some(source) = self.unmapped.last().cloned() else {
            self.end_map();
            return Ok(0);
        };
        let batches = match &mut self.mapping {
            Some(batches) => batches,
            None => self.mapping.insert(source.batches()?),
        };
        match batches.next().map_err(LogError::io("read", &source.file.path()))? {
            Checked::Batch(batch, _) if batch.header.last_offset() < self.first_dirty => {
                Ok(batch.header.size_bytes() as u64)
            }
            Checked::Batch(batch, bytes) => {
                let size = bytes.len() as u64;
                if !batch.header.attributes.is_control() {
                    let keys = keys(bytes)
                        .map_err(|cause| source.corrupt(batch.position, batch.header.base_offset, cause))?;
                    if self.newest.len() + keys.len() > self.rules.keys_max && !self.newest.is_empty() {
                        // The rest is for another pass.
                        self.unmapped.clear();
                        self.end_map();
                        return Ok(size);
                    }
                    self.newest.extend(keys);
                }
                self.map_end = batch.header.next_offset();
                Ok(size)
            }
            Checked::Bad(fault) => {
                let (position, offset) = (batches.position, batches.offset);
                Err(source.corrupt(position, offset, fault.to_string()))
            }
            Checked::End => {
                self.map_end = self.map_end.max(source.end);
                self.unmapped.pop();
                self.mapping = None;
                Ok(0)
            }
        }
    }

    /// Groups small neighbours into one copy each.
    fn end_map(&mut self) {
        self.is_mapped = true;
        self.mapping = None;
        let mut groups: Vec<Vec<Source>> = Vec::new();
        for source in self.all.drain(..).take_while(|s| s.base < self.map_end) {
            let fits = groups.last().is_some_and(|group| {
                let bytes: u64 = group.iter().map(|s| s.size).sum();
                bytes + source.size <= u64::from(self.config.segment_bytes)
                    && source.end.0 - group[0].base.0 <= i64::from(i32::MAX)
            });
            match groups.last_mut() {
                Some(group) if fits => group.push(source),
                _ => groups.push(vec![source]),
            }
        }
        groups.reverse();
        self.groups = groups;
    }

    fn begin_copy(&mut self, sources: Vec<Source>) -> Result<Copy, LogError> {
        self.generation += 1;
        let base = sources[0].base;
        let path = |extension| self.dir.join(file_name(base, &format!("{extension}.{CLEANED_EXTENSION}")));
        let (disk, files) = (self.context.disk.clone(), self.context.files.clone());
        let log_path = path(LOG_EXTENSION);
        let file = SegmentFile::create(disk.clone(), files.clone(), log_path.clone())
            .map_err(LogError::io("create", &log_path))?;
        let identity = Segment::identity(self.tp, base, self.generation);
        let index =
            Index::new(disk, files, path(INDEX_EXTENSION), identity, self.config.index_interval_bytes);
        Ok(Copy { sources, source: 0, batches: None, file, index, size: 0, buffer: Vec::new() })
    }

    /// Copies what stays of the next batch; answers the bytes read, `None` at the end of the last source.
    fn copy_batch(&mut self) -> Result<Option<u64>, LogError> {
        let Some(mut copy) = self.copy.take() else { return Ok(None) };
        let copied = self.copy_batch_into(&mut copy);
        self.copy = Some(copy);
        copied
    }

    fn copy_batch_into(&mut self, copy: &mut Copy) -> Result<Option<u64>, LogError> {
        let Some(source) = copy.sources.get(copy.source).cloned() else {
            copy.finish()?;
            return Ok(None);
        };
        let (_, group_end) = copy.range();
        let batches = match &mut copy.batches {
            Some(batches) => batches,
            None => copy.batches.insert(source.batches()?),
        };
        let is_last_source = copy.source + 1 == copy.sources.len();
        match batches.next().map_err(LogError::io("read", &source.file.path()))? {
            Checked::Batch(batch, bytes) => {
                let size = bytes.len() as u64;
                let is_last =
                    is_last_source && (batch.end() == source.size || batch.header.next_offset() == group_end);
                let bytes = Bytes::copy_from_slice(bytes);
                let kept = self
                    .filter(&batch.header, &bytes, is_last)
                    .map_err(|cause| source.corrupt(batch.position, batch.header.base_offset, cause))?;
                self.stats.bytes_read += size;
                if let Some((header, bytes)) = kept {
                    self.stats.bytes_written += bytes.len() as u64;
                    copy.put(&header, &bytes)?;
                }
                Ok(Some(size))
            }
            Checked::Bad(fault) => {
                let (position, offset) = (batches.position, batches.offset);
                Err(source.corrupt(position, offset, fault.to_string()))
            }
            Checked::End => {
                copy.batches = None;
                copy.source += 1;
                Ok(Some(0))
            }
        }
    }

    /// What stays of a batch.
    fn filter(
        &mut self,
        header: &BatchHeader,
        bytes: &Bytes,
        is_last: bool,
    ) -> Result<Option<(BatchHeader, Bytes)>, String> {
        if header.attributes.is_control() || header.base_offset >= self.map_end {
            return Ok(Some((*header, bytes.clone())));
        }
        let is_expired = header.attributes.has_delete_horizon() && header.base_timestamp <= self.now;
        let mut kept = Vec::new();
        let mut count = 0;
        for record in records(bytes).map_err(|e| e.to_string())? {
            let record = record.map_err(|e| e.to_string())?;
            count += 1;
            if self.stays(&record, is_expired) {
                kept.push(record);
            }
        }
        self.stats.records_kept += kept.len() as u64;
        self.stats.records_dropped += (count - kept.len()) as u64;
        let needs_horizon =
            !header.attributes.has_delete_horizon() && kept.iter().any(|record| record.value.is_none());
        if kept.len() == count && !needs_horizon && count > 0 {
            return Ok(Some((*header, bytes.clone())));
        }
        let must_stay = is_last || self.rules.producer_offsets.contains(&header.last_offset());
        if kept.is_empty() && !must_stay {
            return Ok(None);
        }
        let mut builder = Builder::retaining(header);
        if needs_horizon {
            let retention_ms = self.config.delete_retention_ms;
            builder = builder.delete_horizon(Timestamp(self.now.0.saturating_add(retention_ms)));
        }
        kept.iter().for_each(|record| builder.keep(record));
        let batch = builder.build();
        Ok(Some((*batch.header(), batch.bytes().clone())))
    }

    /// Whether a record is the newest of its key and no tombstone whose time is over.
    fn stays(&self, record: &Record, is_expired: bool) -> bool {
        // A record without a key has no place in a compacted log; Kafka's cleaner drops it, too.
        let Some(key) = &record.key else { return false };
        let is_newest = self.newest.get(&hash(key)).is_none_or(|newest| record.offset >= *newest);
        is_newest && !(is_expired && record.value.is_none())
    }
}

impl Source {
    fn batches(&self) -> Result<Batches, LogError> {
        let epoch = LeaderEpoch(i32::MIN);
        Batches::new(&self.file, 0, self.size, self.base, epoch)
            .map_err(LogError::io("read", &self.file.path()))
    }

    fn corrupt(&self, position: u64, offset: Offset, cause: String) -> LogError {
        LogError::Corrupt(Corruption { path: self.file.path(), position, offset, cause })
    }
}

/// The keys of a batch and the last offset of each.
fn keys(batch: &[u8]) -> Result<Vec<(u128, Offset)>, String> {
    let batch = Bytes::copy_from_slice(batch);
    let mut keys = Vec::new();
    for record in records(&batch).map_err(|e| e.to_string())? {
        let record = record.map_err(|e| e.to_string())?;
        if let Some(key) = &record.key {
            keys.push((hash(key), record.offset));
        }
    }
    Ok(keys)
}

/// 128 bits stand for a key, as in Kafka's offset map: two keys that share them would be taken for one.
fn hash(key: &[u8]) -> u128 {
    let half = |seed: u8| {
        let mut hasher = DefaultHasher::new();
        hasher.write_u8(seed);
        hasher.write(key);
        u128::from(hasher.finish())
    };
    (half(0) << 64) | half(1)
}
