//! Opening a log: what a crash may have left is cut, what it cannot have left is reported.
//!
//! Below the recovery point everything is on the device, so whatever is missing or does not parse there is
//! corruption: the log stays closed and nothing is cut (ST-06). Above it batches are walked one by one, with
//! header, CRC and continuity of offset and epoch. At the first bad one:
//!
//! - The process died but the machine did not: the page cache was written in order, so only the very last write
//!   can be torn. A good batch behind a bad one is corruption.
//! - The machine went down: unsynced blocks reach the device in any order, so a hole is what a power cut leaves.
//!   The log ends in front of it, and the report says how much was cut.
//!
//! Only the bytes above the recovery point are read.

use super::checkpoint::{LastRun, RecoveryPlace, RecoveryPoint, RecoveryPoints};
use super::error::{Corruption, LogError};
use super::file::SegmentFile;
use super::flush::FlushState;
use super::index::{FoundIndex, HEADER_BYTES, Index, IndexFile};
use super::scan::{Batches, Checked, Fault, Headers, continuation};
use super::segment::{
    CLEANED_EXTENSION, INDEX_EXTENSION, LOG_EXTENSION, LogContext, Segment, file_name, parse_file_name,
    parse_swap_name,
};
use super::{Log, LogConfig};
use crate::disk::DirEntry;
use highwater_core::batch::BatchHeader;
use highwater_core::ids::{LeaderEpoch, Offset, TopicPartition};
use highwater_core::time::Timestamp;
use highwater_core::{guard, planted};
use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What recovery did to a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// How many bytes of batches were read and checked.
    pub bytes_read: u64,
    /// How many indexes that were damaged or gone were rebuilt from their segments. One that a small active
    /// segment never had is none of them.
    pub indexes_rebuilt: usize,
    /// The torn tail, if there was one.
    pub cut: Option<CutTail>,
}

/// A torn tail that was cut away. Nothing in it was ever flushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CutTail {
    /// The segment file in which the log ends now.
    pub path: PathBuf,
    /// Where it ends in the file.
    pub position: u64,
    /// Where it ends in the log.
    pub end: Offset,
    /// How many bytes went, later segments included.
    pub bytes: u64,
    /// What was found there.
    pub fault: Fault,
}

impl std::fmt::Display for CutTail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { path, position, end, bytes, fault } = self;
        write!(
            f,
            "cut {bytes} unflushed bytes from {} at byte {position} (offset {end}): {fault}",
            path.display()
        )
    }
}

/// What it takes to open a log.
#[derive(Debug)]
pub(super) struct Opening<'a> {
    pub(super) context: &'a LogContext,
    pub(super) dir: PathBuf,
    pub(super) tp: TopicPartition,
    pub(super) config: LogConfig,
    pub(super) points: &'a Arc<RecoveryPoints>,
    pub(super) last_run: &'a LastRun,
    /// Whether the directory has just been made.
    pub(super) is_new: bool,
    pub(super) now: Timestamp,
}

/// What is known of a segment's index file before it is looked for.
struct IndexDue<'a> {
    /// The segment is finished: its index was written.
    is_due: bool,
    /// Counts those that are made anew.
    rebuilt: &'a mut usize,
}

/// Where a walk through a segment's batches ended.
struct Walk {
    base: Offset,
    index: Index,
    position: u64,
    end: Offset,
    epoch: LeaderEpoch,
    fault: Option<Fault>,
    bytes_read: u64,
}

impl Opening<'_> {
    /// Opens the log, mending what a crash can have left.
    pub(super) fn open(self) -> Result<(Log, RecoveryReport), LogError> {
        let mut files = self.list()?;
        self.finish_swaps(&mut files)?;
        let known = self.points.point(self.tp);
        self.remove_below_start(&mut files, known)?;
        let point = self.settle_start(&mut files, known)?;
        let mut report = RecoveryReport::default();
        let is_nothing_flushed = point.flushed <= point.log_start;
        let mut segments = match self.open_segments(&files, point, &mut report) {
            // Names of removed segments came back, those of new ones were lost: nothing of it was ever flushed.
            Err(LogError::Corrupt(_)) if is_nothing_flushed && !self.last_run.is_page_cache_kept => {
                Vec::new()
            }
            segments => segments?,
        };
        if is_nothing_flushed && segments.last().is_none_or(|active| active.end < point.log_start) {
            // All records had been deleted, and the segment that was to follow was not flushed.
            segments.clear();
            self.remove_all(&mut files)?;
        }
        if segments.is_empty() {
            segments.push(self.create_first(point.log_start)?);
        }
        if !self.last_run.was_clean {
            self.renew_tail(&segments, point)?;
        }
        let active = segments.last_mut().expect("one has just been made if there was none");
        active.load_first_timestamp()?;
        let end = active.end;
        if end < point.flushed {
            let cause =
                format!("the log ends here, but everything up to {} was on the device", point.flushed);
            return Err(self.corrupt(&active.file, active.size, end, cause));
        }
        let epoch = segments.iter().rev().find(|s| s.size > 0).map_or(LeaderEpoch::NONE, |s| s.index.epoch());
        let generation = segments.iter().map(|s| s.index.generation()).max().unwrap_or(0);
        // Names that a killed process made may never have been synced, however old they are.
        // Those of a log that never held a record are not synced at an orderly end either.
        let has_held_records = guard!(LogNamesOnceSynced, end > Offset::ZERO);
        let are_names_synced = known.is_some() && !self.is_new && has_held_records && self.last_run.was_clean;
        let log = Log {
            tp: self.tp,
            dir: self.dir,
            context: self.context.clone(),
            points: self.points.clone(),
            config: self.config,
            segments,
            log_start: point.log_start.min(end),
            cleaned: point.cleaned.min(end),
            epoch,
            flush: FlushState::new(point.flushed.min(end), point.place, !are_names_synced),
            recent: VecDeque::new(),
            pending: None,
            poisoned: None,
            is_deleted: false,
            doomed: VecDeque::new(),
            generation,
        };
        log.note_point();
        Ok((log, report))
    }

    /// The segment files and their lengths. What an unfinished cleaning left goes.
    fn list(&self) -> Result<BTreeMap<Offset, u64>, LogError> {
        let entries = self.context.disk.list(&self.dir).map_err(LogError::io("list", &self.dir))?;
        let mut files = BTreeMap::new();
        for DirEntry { name, len, .. } in &entries {
            if let Some(base) = parse_file_name(name, LOG_EXTENSION) {
                files.insert(base, *len);
            } else if name.ends_with(CLEANED_EXTENSION) {
                self.remove(&self.dir.join(name))?;
            }
        }
        Ok(files)
    }

    /// Finishes swaps of cleaned segments: the cleaned file was whole and durable when it got its swap name.
    fn finish_swaps(&self, files: &mut BTreeMap<Offset, u64>) -> Result<(), LogError> {
        let entries = self.context.disk.list(&self.dir).map_err(LogError::io("list", &self.dir))?;
        for DirEntry { name, len, .. } in &entries {
            let Some((base, end)) = parse_swap_name(name) else { continue };
            // The crash may have come between the removals of an old segment's files.
            self.remove(&self.dir.join(file_name(base, INDEX_EXTENSION)))?;
            let replaced: Vec<Offset> = files.range(base..end).map(|(b, _)| *b).collect();
            for old in replaced {
                self.remove(&self.dir.join(file_name(old, INDEX_EXTENSION)))?;
                self.remove(&self.dir.join(file_name(old, LOG_EXTENSION)))?;
                files.remove(&old);
            }
            self.sync_dir()?;
            let to = self.dir.join(file_name(base, LOG_EXTENSION));
            self.context.disk.rename(&self.dir.join(name), &to).map_err(LogError::io("rename to", &to))?;
            files.insert(base, *len);
            self.sync_dir()?;
        }
        Ok(())
    }

    /// Finishes what retention or DeleteRecords began.
    fn remove_below_start(
        &self,
        files: &mut BTreeMap<Offset, u64>,
        known: Option<RecoveryPoint>,
    ) -> Result<(), LogError> {
        let Some(point) = known else { return Ok(()) };
        let bases: Vec<Offset> = files.keys().copied().collect();
        for pair in bases.windows(2) {
            if pair[1] <= point.log_start {
                self.remove(&self.dir.join(file_name(pair[0], LOG_EXTENSION)))?;
                self.remove(&self.dir.join(file_name(pair[0], INDEX_EXTENSION)))?;
                files.remove(&pair[0]);
            }
        }
        Ok(())
    }

    /// The recovery point, given where the files begin. Where nothing was ever flushed, a power cut may have taken
    /// the name of the first segment and left later ones: those go, too.
    fn settle_start(
        &self,
        files: &mut BTreeMap<Offset, u64>,
        known: Option<RecoveryPoint>,
    ) -> Result<RecoveryPoint, LogError> {
        // A log that begins above zero has a recovery point.
        let point = known.unwrap_or_default();
        let begins_well = match files.keys().next() {
            Some(first) => *first <= point.log_start,
            None => point.flushed <= point.log_start,
        };
        if begins_well {
            return Ok(point);
        }
        if point.flushed <= point.log_start && !self.last_run.is_page_cache_kept {
            self.remove_all(files)?;
            return Ok(point);
        }
        let first = files.keys().next().map_or("no segment".to_owned(), |first| first.to_string());
        Err(LogError::Corrupt(Corruption {
            path: self.dir.clone(),
            position: 0,
            offset: point.log_start,
            cause: format!("the log must begin at {}, but its files begin at {first}", point.log_start),
        }))
    }

    fn remove_all(&self, files: &mut BTreeMap<Offset, u64>) -> Result<(), LogError> {
        while let Some((base, _)) = files.pop_last() {
            self.remove(&self.dir.join(file_name(base, LOG_EXTENSION)))?;
            self.remove(&self.dir.join(file_name(base, INDEX_EXTENSION)))?;
        }
        Ok(())
    }

    fn create_first(&self, base: Offset) -> Result<Segment, LogError> {
        let identity = Segment::identity(self.tp, base, 1);
        Segment::create(self.context, &self.dir, identity, &self.config, self.now)
    }

    fn open_segments(
        &self,
        files: &BTreeMap<Offset, u64>,
        point: RecoveryPoint,
        report: &mut RecoveryReport,
    ) -> Result<Vec<Segment>, LogError> {
        let mut segments: Vec<Segment> = Vec::with_capacity(files.len());
        let mut later = files.iter().peekable();
        let mut epoch = LeaderEpoch::NONE;
        while let Some((&base, &len)) = later.next() {
            let next_base = later.peek().map(|(next, _)| **next);
            let file = self.file(base, LOG_EXTENSION);
            if let Some(segment) = self.open_trusted(base, len, next_base, point, &file) {
                epoch = epoch.max(segment.index.epoch());
                segments.push(segment);
                continue;
            }
            let reach = next_base.map_or(point.flushed, |next| next.min(point.flushed));
            let index_file = IndexDue { is_due: next_base.is_some(), rebuilt: &mut report.indexes_rebuilt };
            let walk = self.walk((base, len), (point.flushed, reach), epoch, &file, index_file)?;
            report.bytes_read += walk.bytes_read;
            let later_bytes: u64 = later.clone().map(|(_, len)| *len).sum();
            let fault = walk.fault.clone().or_else(|| self.gap(&walk, next_base, point));
            epoch = walk.epoch;
            match fault {
                None => {
                    let end = next_base.map_or(walk.end, |next| next.max(walk.end));
                    segments.push(self.segment(
                        base,
                        end,
                        walk.position,
                        file,
                        walk.index,
                        next_base.is_some(),
                    )?);
                }
                Some(fault) => {
                    self.check_cut(&walk, &fault, len, later_bytes, point, &file)?;
                    let cut = (walk.position, walk.end);
                    let mut segment = self.segment(base, walk.end, walk.position, file, walk.index, false)?;
                    self.cut(&mut segment, later.map(|(base, _)| *base).collect())?;
                    let bytes = len - cut.0 + later_bytes;
                    let path = segment.file.path();
                    report.cut = Some(CutTail { path, position: cut.0, end: cut.1, bytes, fault });
                    segments.push(segment);
                    break;
                }
            }
        }
        Ok(segments)
    }

    /// A finished segment wholly below the recovery point whose index is complete needs no reading.
    fn open_trusted(
        &self,
        base: Offset,
        len: u64,
        next_base: Option<Offset>,
        point: RecoveryPoint,
        file: &Arc<SegmentFile>,
    ) -> Option<Segment> {
        let end = next_base.filter(|next| *next <= point.flushed)?;
        let index = self.load_index(base, len)?;
        let seal = index.last()?;
        let is_whole = u64::from(seal.position) == len && seal.base_offset == end;
        is_whole.then(|| Segment::with_files(base, end, len, file.clone(), index, self.now))
    }

    /// Walks a segment's batches, from near the recovery point if its index leads there. A walk by an index must
    /// get as far as `reach`.
    fn walk(
        &self,
        (base, len): (Offset, u64),
        (flushed, reach): (Offset, Offset),
        epoch: LeaderEpoch,
        file: &Arc<SegmentFile>,
        index_file: IndexDue<'_>,
    ) -> Result<Walk, LogError> {
        if let Some(mut index) = self.load_index(base, len) {
            // Entries above the recovery point may be older than the batches there.
            let position = index.position_of_offset(Offset(flushed.0 - 1));
            index.truncate(position + 1);
            self.check_last_span(&index, len, file)?;
            if !self.is_page_cache_whole() && index.has_stale_entries() {
                // Of batches that the power cut took: others come to stand where these seem to be.
                index.cut_file()?;
            }
            let walk = self.walk_from(base, len, flushed, epoch, file, index)?;
            if walk.end >= reach {
                return Ok(walk);
            }
            // The index leads astray, or the segment is bad: only reading all of it tells.
        }
        self.check_index_is_own(base)?;
        let has_been = index_file.is_due || self.file(base, INDEX_EXTENSION).handle().is_ok();
        *index_file.rebuilt += usize::from(len > 0 && has_been);
        let identity = Segment::identity(self.tp, base, 0);
        let index = Index::new(
            self.context.disk.clone(),
            self.context.files.clone(),
            self.dir.join(file_name(base, INDEX_EXTENSION)),
            identity,
            self.config.index_interval_bytes,
        );
        self.walk_from(base, len, flushed, epoch, file, index)
    }

    /// Whether all that was written before this start is there, flushed or not.
    fn is_page_cache_whole(&self) -> bool {
        self.last_run.was_clean || self.last_run.is_page_cache_kept
    }

    /// Refuses a segment whose batches before the walk are not those that were appended, such as those of another
    /// partition: a misdirected write leaves every batch with a good CRC (O41).
    fn check_last_span(&self, index: &Index, len: u64, file: &Arc<SegmentFile>) -> Result<(), LogError> {
        let Some(mut check) = index.last_span().filter(|_| self.is_page_cache_whole()) else { return Ok(()) };
        let from = check.from();
        let headers = Headers::new(file, from, len).map_err(LogError::io("read", &file.path()))?;
        for batch in headers {
            // What is no batch is for the walk to report.
            let Ok(batch) = batch else { return Ok(()) };
            if !check.covers(batch.position) {
                break;
            }
            check.add(&batch.header);
        }
        if check.holds() {
            return Ok(());
        }
        let cause = "the batches from here on are not those that were appended here".to_owned();
        Err(self.corrupt(file, from, index.base(), cause))
    }

    /// An index of another partition came here with its segment, or in its place.
    fn check_index_is_own(&self, base: Offset) -> Result<(), LogError> {
        let file = self.file(base, INDEX_EXTENSION);
        let mut header = [0; HEADER_BYTES];
        if !self.is_page_cache_whole() || file.read_exact_at(&mut header, 0).is_err() {
            return Ok(());
        }
        let FoundIndex::Foreign(other) = IndexFile::find(&header, self.tp, base) else { return Ok(()) };
        let (topic_id, partition) = (other.topic_id, other.partition);
        let cause =
            format!("this is the index of partition {partition} of topic {topic_id}, not of this log");
        Err(self.corrupt(&file, 0, base, cause))
    }

    fn walk_from(
        &self,
        base: Offset,
        len: u64,
        flushed: Offset,
        epoch: LeaderEpoch,
        file: &Arc<SegmentFile>,
        mut index: Index,
    ) -> Result<Walk, LogError> {
        let from = index.resume_position();
        let mut offset = index.last().map_or(base, |entry| entry.base_offset);
        let epoch = epoch.max(index.epoch());
        let read_error = |e| LogError::io("read", &file.path())(e);
        let mut batches = Batches::new(file, from, len, offset, epoch).map_err(read_error)?;
        let fault = loop {
            match batches.next().map_err(read_error)? {
                Checked::Batch(batch, _) if is_leap(&batch.header, base, offset, flushed) => {
                    let (base_offset, epoch) = (batch.header.base_offset, batch.header.leader_epoch);
                    batches.step_back(&batch, offset);
                    break Some(Fault::Discontinuous { base_offset, epoch });
                }
                Checked::Batch(batch, _) => {
                    index.observe(batch.position, &batch.header);
                    offset = batch.header.next_offset();
                }
                Checked::Bad(fault) => break Some(fault),
                Checked::End => break None,
            }
        };
        let end = offset;
        let bytes_read = batches.position - from;
        Ok(Walk { base, epoch: batches.epoch, position: batches.position, end, index, fault, bytes_read })
    }

    /// Whether the next segment fails to continue this one.
    fn gap(&self, walk: &Walk, next_base: Option<Offset>, point: RecoveryPoint) -> Option<Fault> {
        let next = next_base?;
        let is_gap_possible = next <= point.flushed || self.last_run.is_page_cache_kept;
        // A cleaned segment may end before the next begins, and nothing that was lost explains a gap otherwise.
        let continues = next == walk.end || (next > walk.end && is_gap_possible);
        (!continues).then_some(Fault::Discontinuous { base_offset: next, epoch: LeaderEpoch::NONE })
    }

    /// Refuses to cut what a crash cannot have damaged.
    fn check_cut(
        &self,
        walk: &Walk,
        fault: &Fault,
        len: u64,
        later_bytes: u64,
        point: RecoveryPoint,
        file: &Arc<SegmentFile>,
    ) -> Result<(), LogError> {
        let place = RecoveryPlace { segment: walk.base, position: walk.position };
        if walk.end < point.flushed || place < point.place {
            let cause = format!("{fault}; everything up to {} was on the device", point.flushed);
            return Err(self.corrupt(file, walk.position, walk.end, cause));
        }
        if self.last_run.was_clean || self.last_run.is_page_cache_kept {
            // A whole batch in the wrong place was not torn, either.
            let is_whole = matches!(fault, Fault::Discontinuous { .. });
            let next = continuation(file, walk.position + 1, len, walk.end, walk.epoch)
                .map_err(LogError::io("read", &file.path()))?;
            if is_whole || next.is_some() || later_bytes > 0 {
                let cause = format!("{fault}; good batches follow, so this is no torn tail");
                return Err(self.corrupt(file, walk.position, walk.end, cause));
            }
        }
        Ok(())
    }

    /// Writes what lies above the recovery point once more. The process before may have died of a failed sync, which
    /// leaves pages that read well, count as clean and are not on the device: a sync would answer `Ok` for them and
    /// write nothing (ST-01). Written again they are dirty, and the next sync means what it says. Whether the page cache is
    /// the old one is not asked: a disk that fails may have kept that from being noted, too.
    fn renew_tail(&self, segments: &[Segment], point: RecoveryPoint) -> Result<(), LogError> {
        let is_doubtful = |s: &&Segment| s.end > point.flushed && s.size > 0;
        let doubtful = segments.iter().filter(is_doubtful);
        for segment in doubtful.filter(|_| planted!(TailRenewed, false, true)) {
            let is_split = segment.base == point.place.segment;
            let from = if is_split { point.place.position.min(segment.size) } else { 0 };
            segment.file.rewrite(from, segment.size).map_err(LogError::io("write", &segment.file.path()))?;
        }
        Ok(())
    }

    fn cut(&self, segment: &mut Segment, later: Vec<Offset>) -> Result<(), LogError> {
        // Newest first: a crash meanwhile leaves a prefix with a tail, as before.
        for base in later.into_iter().rev() {
            self.remove(&self.dir.join(file_name(base, LOG_EXTENSION)))?;
            self.remove(&self.dir.join(file_name(base, INDEX_EXTENSION)))?;
        }
        segment.truncate(segment.size, segment.end)?;
        // What was cut must not come back behind what is appended next.
        let path = segment.file.path();
        segment.file.handle().and_then(|f| f.sync_now()).map_err(LogError::io("sync", &path))?;
        self.sync_dir()
    }

    fn segment(
        &self,
        base: Offset,
        end: Offset,
        size: u64,
        file: Arc<SegmentFile>,
        index: Index,
        is_sealed: bool,
    ) -> Result<Segment, LogError> {
        let mut segment = Segment::with_files(base, end, size, file, index, self.now);
        if is_sealed {
            segment.seal(end)?;
        }
        Ok(segment)
    }

    fn load_index(&self, base: Offset, len: u64) -> Option<Index> {
        let (disk, files) = (self.context.disk.clone(), self.context.files.clone());
        let path = self.dir.join(file_name(base, INDEX_EXTENSION));
        Index::load(disk, files, path, self.tp, base, self.config.index_interval_bytes, len)
    }

    fn file(&self, base: Offset, extension: &str) -> Arc<SegmentFile> {
        let path = self.dir.join(file_name(base, extension));
        SegmentFile::existing(self.context.disk.clone(), self.context.files.clone(), path)
    }

    fn remove(&self, path: &Path) -> Result<(), LogError> {
        match self.context.disk.remove(path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            result => result.map_err(LogError::io("remove", path)),
        }
    }

    fn sync_dir(&self) -> Result<(), LogError> {
        self.context.disk.sync_dir(&self.dir).now().map_err(LogError::io("sync", &self.dir))
    }

    fn corrupt(&self, file: &SegmentFile, position: u64, offset: Offset, cause: String) -> LogError {
        LogError::Corrupt(Corruption { path: file.path(), position, offset, cause })
    }
}

/// Whether a batch's offset leaps where no log does: beyond what a segment spans, or over the recovery point, at
/// which a batch ends in every log. The CRC does not cover the offset, so this is what rot of it looks like.
fn is_leap(header: &BatchHeader, base: Offset, expected: Offset, flushed: Offset) -> bool {
    let is_over_point = expected < flushed && header.base_offset >= flushed;
    is_over_point || header.last_offset().0 - base.0 > i64::from(i32::MAX)
}
