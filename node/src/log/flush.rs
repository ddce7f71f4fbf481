//! Group commit: what a flusher must sync for a log, noted under the lock, synced without it.
//!
//! ```text
//! cell lock:   job = log.flush_job(All)        what is unsynced now, and the end it reaches to
//! no lock:     job.run(disk)                   fdatasync of segments, fsync of directories
//! cell lock:   log.flushed(&job.note, result)  moves the flushed end, or poisons the log
//! ```

use super::checkpoint::{RecoveryPlace, RecoveryPoint};
use super::error::LogError;
use super::file::SegmentFile;
use super::{Log, identity};
use crate::disk::{Disk, Submitted};
use highwater_core::ids::Offset;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// How much to flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushScope {
    /// Everything appended.
    All,
    /// Finished segments only, as Kafka does after a roll.
    Sealed,
}

/// Something to sync.
#[derive(Clone, Debug)]
pub enum SyncTarget {
    /// A file's bytes.
    File(Arc<SegmentFile>),
    /// A directory's names.
    Dir(PathBuf),
}

impl SyncTarget {
    /// Syncs it, if it needs it.
    pub fn sync(&self, disk: &dyn Disk) -> Submitted<()> {
        match self {
            Self::File(file) => match file.to_sync() {
                Ok(Some(handle)) => handle.sync(),
                Ok(None) => Submitted::Done(Ok(())),
                Err(error) => Submitted::Done(Err(error)),
            },
            Self::Dir(path) => disk.sync_dir(path),
        }
    }

    /// Syncs it, if it needs it, and waits.
    pub fn sync_now(&self, disk: &dyn Disk) -> io::Result<()> {
        match self {
            Self::File(file) => file.to_sync()?.map_or(Ok(()), |handle| handle.sync_now()),
            Self::Dir(path) => disk.sync_dir(path).now(),
        }
    }
}

/// What a job will have made durable. Given back to [`Log::flushed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlushNote {
    /// The end that everything below will be durable.
    pub through: Offset,
    place: RecoveryPlace,
    names_version: u64,
    cuts: u64,
}

/// A log start on its way into the recovery points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartNote {
    /// The start.
    pub start: Offset,
    cuts: u64,
}

/// Syncs that make a log durable up to a noted end.
#[derive(Clone, Debug)]
pub struct FlushJob {
    /// What to give back.
    pub note: FlushNote,
    /// What to sync: files first, then directories.
    pub targets: Vec<SyncTarget>,
    /// Whether finished segments are among them: then it is time to write the recovery points, or the next start
    /// would read those segments again.
    pub seals: bool,
}

impl FlushJob {
    /// Syncs everything where the caller may wait. Stops at the first error.
    pub fn run(&self, disk: &dyn Disk) -> io::Result<()> {
        self.targets.iter().try_for_each(|target| target.sync_now(disk))
    }
}

/// What of a log is durable.
#[derive(Debug)]
pub(super) struct FlushState {
    through: Offset,
    /// Where that is in the files.
    place: RecoveryPlace,
    names_version: u64,
    names_synced: u64,
    /// Counts truncations: a flush noted before one says nothing about what is appended after it.
    cuts: u64,
    /// Whether the directory itself and its identity file may be lost.
    is_new: bool,
}

impl FlushState {
    pub(super) const fn new(through: Offset, place: RecoveryPlace, is_new: bool) -> Self {
        Self { through, place, names_version: 1, names_synced: if is_new { 0 } else { 1 }, cuts: 0, is_new }
    }

    /// Everything below is durable.
    pub(super) const fn through(&self) -> Offset {
        self.through
    }

    /// A name was made or removed in the directory.
    pub(super) const fn names_changed(&mut self) {
        self.names_version += 1;
    }

    /// The log was cut to `end`, which lies in the segment `base`.
    pub(super) fn truncated(&mut self, end: Offset, base: Offset) {
        self.through = self.through.min(end);
        self.place = self.place.min(RecoveryPlace { segment: base.min(end), position: 0 });
        self.cuts += 1;
    }

    /// The log is empty and goes on at `offset`.
    pub(super) const fn restarted(&mut self, offset: Offset) {
        self.through = offset;
        self.place = RecoveryPlace { segment: offset, position: 0 };
        self.cuts += 1;
    }
}

impl Log {
    /// Everything below is on the device.
    pub const fn flushed_through(&self) -> Offset {
        self.flush.through()
    }

    /// Whether [`Log::flush_job`] would have work.
    pub fn is_dirty(&self, scope: FlushScope) -> bool {
        self.poisoned.is_none() && self.flush.through < self.flush_end(scope)
    }

    fn flush_end(&self, scope: FlushScope) -> Offset {
        match scope {
            FlushScope::All => self.end(),
            FlushScope::Sealed => self.active().base,
        }
    }

    /// What must be synced for everything appended so far to be durable; `None` if it is.
    pub fn flush_job(&mut self, scope: FlushScope) -> Option<FlushJob> {
        let through = self.flush_end(scope);
        let are_names_synced = self.flush.names_synced == self.flush.names_version;
        if self.poisoned.is_some() || (self.flush.through >= through && are_names_synced) {
            return None;
        }
        let unsynced = |s: &&super::Segment| s.end > self.flush.through && s.base < through && s.size > 0;
        let mut targets: Vec<SyncTarget> =
            self.segments.iter().filter(unsynced).map(|s| SyncTarget::File(s.file.clone())).collect();
        // A finished segment's index with its segment: it spares the next start a look at all its batches.
        let sealed = self.segments[..self.segments.len() - 1].iter().filter(unsynced);
        let seals = sealed.clone().next().is_some();
        targets.extend(sealed.filter_map(|s| s.index.file()).map(|file| SyncTarget::File(file.clone())));
        if self.flush.is_new {
            let path = self.dir.join(identity::METADATA_FILE);
            let (disk, files) = (self.context.disk.clone(), self.context.files.clone());
            targets.push(SyncTarget::File(SegmentFile::existing(disk, files, path)));
        }
        if !are_names_synced {
            targets.push(SyncTarget::Dir(self.dir.clone()));
        }
        if let (true, Some(parent)) = (self.flush.is_new, self.dir.parent()) {
            targets.push(SyncTarget::Dir(parent.to_owned()));
        }
        let position =
            if through < self.end() || scope == FlushScope::Sealed { 0 } else { self.active().size };
        let place = RecoveryPlace { segment: self.active().base, position };
        let note =
            FlushNote { through, place, names_version: self.flush.names_version, cuts: self.flush.cuts };
        Some(FlushJob { note, targets, seals })
    }

    /// Takes the outcome of a job. An error poisons the log: the kernel has dropped the bytes and a second sync
    /// would lie (ST-01). Answers the flushed end.
    pub fn flushed(&mut self, note: &FlushNote, result: io::Result<()>) -> Result<Offset, LogError> {
        if self.is_deleted {
            return Ok(self.flush.through);
        }
        let synced = result.map_err(LogError::io("sync", &self.dir));
        self.poison_on_error(synced)?;
        self.check_writable()?;
        if note.cuts == self.flush.cuts {
            self.flush.through = self.flush.through.max(note.through);
            self.flush.place = self.flush.place.max(note.place);
            self.flush.names_synced = self.flush.names_synced.max(note.names_version);
            self.flush.is_new = false;
            self.note_point();
        }
        Ok(self.flush.through)
    }

    /// Flushes everything and writes the indexes out, where the caller may wait: the last thing before an orderly
    /// end, after which [`super::DataDir::close`] may call the directory clean.
    pub fn close(&mut self) -> Result<(), LogError> {
        self.check_writable()?;
        if self.pending.is_some() {
            // The end would not be orderly: recovery is to look at what became of it.
            let cause = "the disk still owes the outcome of an append".to_owned();
            return Err(LogError::Poisoned { cause });
        }
        if self.is_blank() {
            // Nothing is lost with its names: the next start makes them again.
            self.note_point();
            return Ok(());
        }
        for segment in &mut self.segments {
            segment.index.save()?;
        }
        if let Some(job) = self.flush_job(FlushScope::All) {
            let result = job.run(&*self.context.disk);
            self.flushed(&job.note, result)?;
        }
        // Indexes can be rebuilt, but a clean start trusts their last entry: make them durable as well.
        for file in self.segments.iter().filter_map(|s| s.index.file()) {
            SyncTarget::File(file.clone())
                .sync_now(&*self.context.disk)
                .map_err(LogError::io("sync", &file.path()))?;
        }
        self.note_point();
        Ok(())
    }

    /// Whether it never had a record.
    fn is_blank(&self) -> bool {
        matches!(self.segments.as_slice(), [only] if only.base == Offset::ZERO && only.end == Offset::ZERO)
    }

    /// The log start that the recovery points hold once they are written; see [`Log::is_start_kept`].
    pub const fn start_note(&self) -> StartNote {
        StartNote { start: self.log_start, cuts: self.flush.cuts }
    }

    /// Whether a note that was written since is still about this log: cutting it may have lowered its start.
    pub const fn is_start_kept(&self, note: &StartNote) -> bool {
        note.cuts == self.flush.cuts && !self.is_deleted
    }

    /// What the recovery points hold of this log once they are written.
    pub const fn recovery_point(&self) -> RecoveryPoint {
        RecoveryPoint {
            log_start: self.log_start,
            flushed: self.flush.through,
            place: self.flush.place,
            cleaned: self.cleaned,
        }
    }
}
