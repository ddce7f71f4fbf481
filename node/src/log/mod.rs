//! The partition log: Kafka's own. A directory per partition, segments of record batches stored as the client
//! sent them, a sparse index beside each segment.
//!
//! What it is not: it knows no high watermark, no producers and no replicas, and takes no decisions. The replica
//! (`highwater_core::replica`) decides, and the shell calls this under the cell's lock.
//!
//! | to do | call |
//! | --- | --- |
//! | open or make | [`DataDir::open_log`] |
//! | write | [`Log::append`], and [`Log::complete`] if it answered `Pending` |
//! | read | [`Log::read`], [`Log::batches_from`], [`Log::offset_for_timestamp`], [`Log::max_timestamp_offset`] |
//! | make durable | [`Log::flush_job`] under the lock, [`FlushJob::run`] outside, [`Log::flushed`] under the lock |
//! | cut | [`Log::truncate_to`], [`Log::advance_log_start`], [`Log::retention_cut`] |
//! | compact | [`Log::plan_cleaning`], [`Cleaning::step`] outside the lock, [`Log::swap_cleaned`] |
//!
//! Files: [`segment`] and [`index`] (one segment), [`scan`] (walking batches), [`recovery`] (opening), [`flush`],
//! [`cleaner`], [`checkpoint`] (recovery points), [`data_dir`] (the directory of all logs), [`file`] (descriptors).
//!
//! **Invariant.** After a write or sync error nothing is appended any more ([`LogError::Poisoned`]), and nothing
//! below the recovery point is ever cut away because it does not parse (ST-01, ST-05, ST-06).

mod checkpoint;
mod cleaner;
mod config;
mod data_dir;
mod error;
mod file;
mod flush;
mod identity;
mod index;
mod read;
mod recovery;
mod scan;
mod segment;

pub use checkpoint::{LastRun, RECOVERY_POINTS_FILE, RecoveryPlace, RecoveryPoint, RecoveryPoints};
pub use cleaner::{Cleaning, CleaningRules, CleaningStats, CleaningStep};
pub use config::LogConfig;
pub use data_dir::{DataDir, DataDirConfig, DataDirError, FORMAT_VERSION, FoundLog, FoundOwner, read_owner};
pub use error::{Corruption, LogError};
pub use file::{FileRegion, OpenFiles, SegmentFile};
pub use flush::{FlushJob, FlushNote, FlushScope, StartNote, SyncTarget};
// The command line is no part of a simulated node.
#[cfg(not(madsim))]
pub(crate) use index::{FoundIndex, IndexFile};

pub use identity::{
    METADATA_FILE, decode as decode_partition_metadata, dir_name, parse_dir_name, parse_topic_id,
};
pub use read::{BatchesFrom, ReadPlan, TimestampOffset};
pub use recovery::{CutTail, RecoveryReport};
pub use scan::{Fault, Headers, Located};
pub use segment::{LogContext, SegmentStats};

use crate::disk::{OpId, Submitted};
use highwater_core::batch::BatchHeader;
use highwater_core::ids::{LeaderEpoch, Offset, TopicPartition};
use highwater_core::retention::{RetentionLimits, SegmentSummary, retention};
use highwater_core::time::Timestamp;
use segment::Segment;
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How many of the newest batches' places are kept in memory: consumers at the tail never touch the index.
const RECENT_MAX: usize = 32;

/// One partition's log.
#[derive(Debug)]
pub struct Log {
    tp: TopicPartition,
    dir: PathBuf,
    context: LogContext,
    points: Arc<RecoveryPoints>,
    config: LogConfig,
    /// In the order of offsets; the last one is active. Never empty.
    segments: Vec<Segment>,
    log_start: Offset,
    /// Up to here of each key only the newest record is left.
    cleaned: Offset,
    /// The epoch of the last batch.
    epoch: LeaderEpoch,
    flush: flush::FlushState,
    recent: VecDeque<Located>,
    pending: Option<PendingAppend>,
    poisoned: Option<String>,
    /// The topic was deleted: syncs that are still under way may find nothing, and nobody waits for them.
    is_deleted: bool,
    /// Removed segments whose files wait for `file.delete.delay.ms`.
    doomed: VecDeque<Doomed>,
    generation: u64,
}

/// A segment that is no longer part of the log.
#[derive(Debug)]
struct Doomed {
    segment: Segment,
    due: Timestamp,
}

/// What an append did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The offset of the batch's first record.
    pub base_offset: Offset,
    /// The log end now.
    pub end: Offset,
    /// Whether a segment was finished: it is time to flush it ([`FlushScope::Sealed`]).
    pub has_rolled: bool,
}

/// An append whose outcome the disk owes.
#[derive(Clone, Copy, Debug)]
struct PendingAppend {
    id: OpId,
    appended: Appended,
    /// Where the batch lies in the active segment.
    position: u64,
}

impl Log {
    /// The topic id and partition.
    pub const fn topic_partition(&self) -> TopicPartition {
        self.tp
    }

    /// The log's directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The settings in force.
    pub const fn config(&self) -> &LogConfig {
        &self.config
    }

    /// Puts other settings in force, from the next append on.
    pub fn reconfigure(&mut self, config: LogConfig) {
        self.config = config;
    }

    /// The first offset that may be read.
    pub const fn log_start(&self) -> Offset {
        self.log_start
    }

    /// The offset that the next record gets.
    pub fn end(&self) -> Offset {
        self.active().end
    }

    /// The leader epoch of the last batch ever appended, or [`LeaderEpoch::NONE`].
    pub const fn epoch_last(&self) -> LeaderEpoch {
        self.epoch
    }

    /// The bytes of all batches on disk.
    pub fn size_bytes(&self) -> u64 {
        self.segments.iter().map(|s| s.size).sum()
    }

    /// The segments' figures, oldest first.
    pub fn segments(&self) -> impl DoubleEndedIterator<Item = SegmentStats> + ExactSizeIterator + '_ {
        let active = self.segments.len() - 1;
        self.segments.iter().enumerate().map(move |(i, s)| s.stats(i == active))
    }

    /// Why the log refuses to be written, if it does.
    pub fn poisoned(&self) -> Option<&str> {
        self.poisoned.as_deref()
    }

    /// The append whose outcome the disk still owes.
    pub const fn pending(&self) -> Option<OpId> {
        match self.pending {
            Some(PendingAppend { id, .. }) => Some(id),
            None => None,
        }
    }

    /// The end of everything whose append is known to have succeeded.
    pub fn settled_end(&self) -> Offset {
        self.pending.map_or_else(|| self.end(), |pending| pending.appended.base_offset)
    }

    fn active(&self) -> &Segment {
        self.segments.last().expect("a log has at least one segment")
    }

    fn active_mut(&mut self) -> &mut Segment {
        self.segments.last_mut().expect("a log has at least one segment")
    }

    /// Writes a batch behind the last one: `head` and then `rest`, together exactly the batch of this header.
    /// The bytes go to the page cache by one call and are not copied.
    ///
    /// `Pending` means that the batch is in order but its outcome is not known: hold what depends on it, append
    /// nothing more, and call [`Log::complete`] when the disk has told. After an error the log is poisoned.
    pub fn append(
        &mut self,
        header: &BatchHeader,
        head: &[u8],
        rest: &[u8],
        now: Timestamp,
    ) -> Submitted<Appended, LogError> {
        assert_eq!(head.len() + rest.len(), header.size_bytes(), "head and rest are the batch of the header");
        assert!(self.pending.is_none(), "one append at a time: the shell queues while one is pending");
        match self.append_checked(header, head, rest, now) {
            Ok((appended, None)) => Submitted::Done(Ok(appended)),
            Ok((appended, Some(id))) => {
                let position = self.active().size - header.size_bytes() as u64;
                self.pending = Some(PendingAppend { id, appended, position });
                Submitted::Pending(id)
            }
            Err(error) => Submitted::Done(Err(error)),
        }
    }

    fn append_checked(
        &mut self,
        header: &BatchHeader,
        head: &[u8],
        rest: &[u8],
        now: Timestamp,
    ) -> Result<(Appended, Option<OpId>), LogError> {
        self.check_writable()?;
        let end = self.end();
        if header.base_offset < end || header.leader_epoch < self.epoch || header.last_offset_delta < 0 {
            let (base_offset, epoch) = (header.base_offset, header.leader_epoch);
            return Err(LogError::OutOfOrder { base_offset, epoch, end, epoch_last: self.epoch });
        }
        let has_rolled = self.active().should_roll(header, &self.config, now);
        if has_rolled {
            // A segment begins where the one before ends. Only a leap that the offsets of one segment cannot span
            // leaves a gap.
            let is_leap = header.last_offset().0 - end.0 > i64::from(i32::MAX);
            self.roll_to(if is_leap { header.base_offset } else { end }, now)?;
        }
        let config = self.config.clone();
        let position = self.active().size;
        let written = self.active_mut().append(header, head, rest, &config);
        let pending = self.poison_on_error(written)?;
        self.epoch = header.leader_epoch;
        self.remember(Located { position, header: *header });
        let appended = Appended { base_offset: header.base_offset, end: self.end(), has_rolled };
        Ok((appended, pending))
    }

    /// Takes the outcome of an append that was `Pending`.
    pub fn complete(&mut self, id: OpId, result: io::Result<()>) -> Result<Appended, LogError> {
        let pending = self.pending.take().expect("only a pending append has an outcome to come");
        assert_eq!(pending.id, id, "the outcome is that of the pending append");
        if result.is_err() {
            self.recent.clear();
            self.active_mut().withdraw(pending.position, pending.appended.base_offset);
        }
        let written = result.map_err(LogError::io("append to", &self.active().file.path()));
        self.poison_on_error(written)?;
        Ok(pending.appended)
    }

    fn remember(&mut self, batch: Located) {
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(batch);
    }

    /// Finishes the active segment, if it has batches, and begins another: retention and cleaning touch finished
    /// ones only.
    pub fn roll(&mut self, now: Timestamp) -> Result<(), LogError> {
        self.check_writable()?;
        if self.active().size == 0 {
            return Ok(());
        }
        self.roll_to(self.end(), now)
    }

    /// Begins a segment at `base`, which is the log end or beyond.
    fn roll_to(&mut self, base: Offset, now: Timestamp) -> Result<(), LogError> {
        let rolled = self.roll_files(base, now);
        self.poison_on_error(rolled)
    }

    fn roll_files(&mut self, base: Offset, now: Timestamp) -> Result<(), LogError> {
        self.recent.clear();
        if self.active().size == 0 {
            return self.replace_segments(self.segments.len() - 1, base, now);
        }
        self.active_mut().seal(base)?;
        self.add_segment(base, now)
    }

    /// Removes the files of the segments from the `keep`th on, newest first, so that what a crash leaves is a prefix.
    /// The segments stay in the list: it is never empty, whatever the disk says.
    fn remove_segments(&mut self, keep: usize) -> Result<(), LogError> {
        for at in (keep..self.segments.len()).rev() {
            // Whoever reads it holds its file open; the name may be given again at once.
            let _ = self.segments[at].file.pin();
            let paths = self.segments[at].removal(&self.dir);
            self.remove_paths(&paths)?;
        }
        Ok(())
    }

    /// The segments from the `keep`th on give way to an empty one.
    fn replace_segments(&mut self, keep: usize, base: Offset, now: Timestamp) -> Result<(), LogError> {
        self.remove_segments(keep)?;
        self.put_in_place(keep, base, now)
    }

    /// An empty segment takes the place of those from the `keep`th on, whose files are removed.
    fn put_in_place(&mut self, keep: usize, base: Offset, now: Timestamp) -> Result<(), LogError> {
        let end = self.segments.len();
        self.add_segment(base, now)?;
        self.segments.drain(keep..end);
        Ok(())
    }

    fn add_segment(&mut self, base: Offset, now: Timestamp) -> Result<(), LogError> {
        self.generation += 1;
        let identity = Segment::identity(self.tp, base, self.generation);
        let segment = Segment::create(&self.context, &self.dir, identity, &self.config, now)?;
        self.segments.push(segment);
        self.flush.names_changed();
        Ok(())
    }

    fn remove_files(&mut self, segment: &Segment) -> Result<(), LogError> {
        let paths = segment.removal(&self.dir);
        self.remove_paths(&paths)
    }

    fn remove_paths(&mut self, paths: &[PathBuf]) -> Result<(), LogError> {
        for path in paths {
            match self.context.disk.remove(path) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(LogError::io("remove", path)(e)),
            }
        }
        self.flush.names_changed();
        Ok(())
    }

    fn check_writable(&self) -> Result<(), LogError> {
        match &self.poisoned {
            Some(cause) => Err(LogError::Poisoned { cause: cause.clone() }),
            None => Ok(()),
        }
    }

    /// Synchronously: the next call must find the log poisoned (ST-05).
    fn poison_on_error<T>(&mut self, result: Result<T, LogError>) -> Result<T, LogError> {
        if let Err(error) = &result
            && self.poisoned.is_none()
        {
            self.poisoned = Some(error.to_string());
        }
        result
    }

    /// Cuts the log so that it ends at `offset`, or at the beginning of the batch that holds it. Answers the new
    /// end, and returns once the cut is on the device: records that were cut must not come back behind new ones.
    /// Cutting below the recovery point first lowers the point.
    pub fn truncate_to(&mut self, offset: Offset, now: Timestamp) -> Result<Offset, LogError> {
        self.check_writable()?;
        assert!(self.pending.is_none(), "the shell queues while an append is pending");
        if offset >= self.end() {
            return Ok(self.end());
        }
        let cut = self.truncate_files(offset.max(Offset::ZERO), now);
        self.poison_on_error(cut)?;
        Ok(self.end())
    }

    fn truncate_files(&mut self, offset: Offset, now: Timestamp) -> Result<(), LogError> {
        let holder = self.segments.iter().rposition(|s| s.base <= offset).unwrap_or(0);
        let located = self.segments[holder].locate(offset)?;
        let end = match located {
            Some(batch) => offset.min(batch.header.base_offset),
            None => offset,
        };
        // Recovery relies on a batch, or a segment's beginning, at the recovery point.
        self.points.lower(self.tp, end.min(self.segments[holder].base), end)?;
        self.flush.truncated(end, self.segments[holder].base);
        self.recent.clear();
        self.remove_segments(holder + 1)?;
        self.segments.truncate(holder + 1);
        let segment = self.active_mut();
        if end < segment.base {
            // The whole log is cut away (a replica that starts over below its first segment).
            self.replace_segments(0, end, now)?;
        } else {
            let position = located.map_or(segment.size, |batch| batch.position);
            let covered = segment.truncate(position, end)?;
            let path = segment.file.path();
            segment.file.handle().and_then(|f| f.sync_now()).map_err(LogError::io("sync", &path))?;
            let base = self.active().base;
            self.flush.truncated(covered, base);
        }
        self.context.disk.sync_dir(&self.dir).now().map_err(LogError::io("sync", &self.dir))?;
        self.log_start = self.log_start.min(end);
        self.cleaned = self.cleaned.min(end);
        self.epoch = self.last_epoch()?;
        Ok(())
    }

    /// The epoch of the last batch, looked for from the end.
    fn last_epoch(&self) -> Result<LeaderEpoch, LogError> {
        let newest = self.segments.iter().rev().find(|s| s.size > 0);
        Ok(newest.map_or(LeaderEpoch::NONE, |segment| segment.index.epoch()))
    }

    /// Empties the log and lets it go on at `offset`: a follower whose leader's log starts beyond its own end.
    pub fn reset_to(&mut self, offset: Offset, now: Timestamp) -> Result<(), LogError> {
        self.check_writable()?;
        let reset = self.reset_files(offset, now);
        self.poison_on_error(reset)
    }

    fn reset_files(&mut self, offset: Offset, now: Timestamp) -> Result<(), LogError> {
        let start = self.log_start.min(offset);
        self.points.lower(self.tp, start, start)?;
        self.recent.clear();
        self.remove_segments(0)?;
        // The old names must be gone for good before the recovery point says that the log begins here.
        self.context.disk.sync_dir(&self.dir).now().map_err(LogError::io("sync", &self.dir))?;
        let place = RecoveryPlace { segment: offset, position: 0 };
        let point = RecoveryPoint { log_start: offset, flushed: offset, place, cleaned: offset };
        self.points.note(self.tp, point);
        self.points.write()?;
        self.put_in_place(0, offset, now)?;
        self.flush.restarted(offset);
        self.log_start = offset;
        self.cleaned = offset;
        self.epoch = LeaderEpoch::NONE;
        Ok(())
    }

    /// Moves the log start up (DeleteRecords, retention) and takes the segments below it out of the log. Their
    /// files go later, see [`Log::remove_doomed`]. Never moves down. The new start outlives a crash once
    /// [`RecoveryPoints::write`] has returned.
    pub fn advance_log_start(&mut self, to: Offset, now: Timestamp) -> Result<(), LogError> {
        if to > self.end() {
            return Err(LogError::OutOfRange { offset: to, start: self.log_start, end: self.end() });
        }
        if to <= self.log_start {
            return Ok(());
        }
        if self.active().size > 0 && to == self.end() {
            self.roll(now)?;
        }
        self.log_start = to;
        self.note_point();
        let due = Timestamp(now.0.saturating_add(self.config.file_delete_delay_ms));
        let below = self.segments[..self.segments.len() - 1].iter().take_while(|s| s.end <= to).count();
        for segment in self.segments.drain(..below) {
            self.doomed.push_back(Doomed { segment, due });
        }
        Ok(())
    }

    /// Whether segments have left the log whose files are still there.
    pub fn has_doomed(&self) -> bool {
        !self.doomed.is_empty()
    }

    /// Removes the files of segments that left the log long enough ago, oldest first. Answers when to call again.
    ///
    /// The recovery points must have been written since: else a crash could bring back some of the segments
    /// without those between them.
    pub fn remove_doomed(&mut self, now: Timestamp) -> Result<Option<Timestamp>, LogError> {
        while let Some(doomed) = self.doomed.front() {
            if doomed.due > now {
                return Ok(Some(doomed.due));
            }
            let doomed = self.doomed.pop_front().expect("the front was there");
            self.remove_files(&doomed.segment)?;
        }
        Ok(None)
    }

    /// How far retention lets the log start move; `None` if everything may stay. Only offsets below `bound` (the
    /// high watermark) may go. Pass the answer to [`Log::advance_log_start`].
    pub fn retention_cut(&self, bound: Offset, now: Timestamp) -> Option<Offset> {
        let segments: Vec<_> = self
            .segments()
            .map(|segment| SegmentSummary {
                base_offset: segment.base,
                next_offset: segment.end,
                size_bytes: segment.bytes,
                max_timestamp: segment.max_timestamp,
            })
            .collect();
        let limits = match self.config.is_delete_policy {
            true => RetentionLimits {
                age_ms_max: self.config.retention_ms,
                size_bytes_max: self.config.retention_bytes,
            },
            false => RetentionLimits::default(),
        };
        let retention = retention(&segments, self.log_start, bound, now, limits)?;
        Some(retention.log_start).filter(|cut| *cut > self.log_start)
    }

    /// Takes note of log start and flushed end for the next write of the recovery points.
    fn note_point(&self) {
        self.points.note(self.tp, self.recovery_point());
    }
}
