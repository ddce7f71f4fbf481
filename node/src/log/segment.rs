//! One segment: a file of batches, its index, and what is known about both without reading them.

use super::LogConfig;
use super::error::{Corruption, LogError};
use super::file::{OpenFiles, SegmentFile};
use super::index::{Index, IndexIdentity, SpanCheck};
use super::scan::{Headers, Located};
use crate::disk::{Disk, OpId, Submitted};
use highwater_core::batch::BatchHeader;
use highwater_core::ids::{Offset, TopicPartition};
use highwater_core::time::Timestamp;
use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Extension of a file of batches.
pub(super) const LOG_EXTENSION: &str = "log";
/// Extension of a segment's index.
pub(super) const INDEX_EXTENSION: &str = "index";

/// What files of a cleaning that has not been decided end with.
pub(super) const CLEANED_EXTENSION: &str = "cleaned";
/// Extension of a cleaned file that is to replace the segments in its name's range.
const SWAP_EXTENSION: &str = "swap";

/// How much is written between two hints to the kernel to start writing back: late enough that small logs cost
/// no extra call, early enough that dirty pages never pile up to where writers are throttled.
const WRITEBACK_BYTES: u64 = 8 << 20;

/// `00000000000000000042.log` and the like.
pub(super) fn file_name(base: Offset, extension: &str) -> String {
    format!("{:020}.{extension}", base.0)
}

/// The base offset in a file name with this extension.
pub(super) fn parse_file_name(name: &str, extension: &str) -> Option<Offset> {
    let digits = name.strip_suffix(extension)?.strip_suffix('.')?;
    if digits.len() != 20 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().map(Offset)
}

/// The name of a cleaned file that replaces the segments from `base` to `end`.
pub(super) fn swap_name(base: Offset, end: Offset) -> String {
    format!("{:020}-{:020}.{SWAP_EXTENSION}", base.0, end.0)
}

/// The range in the name of a cleaned file.
pub(super) fn parse_swap_name(name: &str) -> Option<(Offset, Offset)> {
    let (base, end) = name.strip_suffix(SWAP_EXTENSION)?.strip_suffix('.')?.split_once('-')?;
    Some((Offset(base.parse().ok()?), Offset(end.parse().ok()?)))
}

/// What a node's logs share.
#[derive(Clone, Debug)]
pub struct LogContext {
    /// The disk.
    pub disk: Arc<dyn Disk>,
    /// The bound on open segment files.
    pub files: Arc<OpenFiles>,
}

/// A segment's figures, for retention and reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentStats {
    /// The offset in the file's name.
    pub base: Offset,
    /// The offset behind the last one.
    pub end: Offset,
    /// The bytes of batches.
    pub bytes: u64,
    /// The largest timestamp of its batches, or when it was made if none has one.
    pub max_timestamp: Timestamp,
    /// Whether batches are still appended to it.
    pub is_active: bool,
}

#[derive(Debug)]
pub(super) struct Segment {
    pub(super) base: Offset,
    pub(super) end: Offset,
    pub(super) size: u64,
    pub(super) file: Arc<SegmentFile>,
    pub(super) index: Index,
    pub(super) created: Timestamp,
    /// The timestamp of the first batch, from which `segment.ms` counts.
    pub(super) first_timestamp: Option<Timestamp>,
    preallocated: u64,
    written_back: u64,
}

impl Segment {
    /// Makes the files of a new segment.
    pub(super) fn create(
        context: &LogContext,
        dir: &Path,
        identity: IndexIdentity,
        config: &LogConfig,
        now: Timestamp,
    ) -> Result<Self, LogError> {
        let path = dir.join(file_name(identity.base, LOG_EXTENSION));
        let file = SegmentFile::create(context.disk.clone(), context.files.clone(), path.clone())
            .map_err(LogError::io("create", &path))?;
        let index_path = dir.join(file_name(identity.base, INDEX_EXTENSION));
        let index = Index::new(
            context.disk.clone(),
            context.files.clone(),
            index_path,
            identity,
            config.index_interval_bytes,
        );
        Ok(Self::with_files(identity.base, identity.base, 0, file, index, now))
    }

    pub(super) fn with_files(
        base: Offset,
        end: Offset,
        size: u64,
        file: Arc<SegmentFile>,
        index: Index,
        created: Timestamp,
    ) -> Self {
        Self {
            base,
            end,
            size,
            file,
            index,
            created,
            first_timestamp: None,
            preallocated: 0,
            written_back: size,
        }
    }

    /// Whether the next batch of this size belongs into another segment (Kafka's `LogSegment.shouldRoll`).
    pub(super) fn should_roll(&self, header: &BatchHeader, config: &LogConfig, now: Timestamp) -> bool {
        if self.size == 0 {
            // Only the offsets can make an empty segment unfit.
            return header.last_offset().0 - self.base.0 > i64::from(i32::MAX);
        }
        let waited_ms = match self.first_timestamp {
            Some(first) if first.0 >= 0 && header.max_timestamp.0 >= 0 => {
                header.max_timestamp.ms_since(first)
            }
            _ => now.ms_since(self.created),
        };
        self.size + header.size_bytes() as u64 > u64::from(config.segment_bytes)
            || waited_ms > config.segment_ms
            || self.index.len() >= config.index_entries_max()
            || header.last_offset().0 - self.base.0 > i64::from(i32::MAX)
    }

    /// Writes a batch behind the last one.
    pub(super) fn append(
        &mut self,
        header: &BatchHeader,
        head: &[u8],
        rest: &[u8],
        config: &LogConfig,
    ) -> Result<Option<OpId>, LogError> {
        let file = self.file.clone();
        let path = || file.path();
        let handle = file.handle().map_err(|e| LogError::io("open", &path())(e))?;
        self.preallocate(&*handle, header.size_bytes() as u64, config);
        let submitted = handle.append(self.size, &[IoSlice::new(head), IoSlice::new(rest)]);
        let pending = match submitted {
            Submitted::Done(result) => {
                result.map_err(|e| LogError::io("append to", &path())(e))?;
                None
            }
            Submitted::Pending(id) => Some(id),
        };
        self.index.observe(self.size, header);
        self.size += header.size_bytes() as u64;
        self.end = header.next_offset();
        self.first_timestamp.get_or_insert(header.max_timestamp);
        if self.size - self.written_back >= WRITEBACK_BYTES {
            handle.start_writeback(self.written_back, self.size - self.written_back);
            self.written_back = self.size;
        }
        if self.index.wants_save() {
            self.index.save()?;
        }
        Ok(pending)
    }

    /// The last append has failed after all: the segment ends where it began.
    pub(super) fn withdraw(&mut self, position: u64, end: Offset) {
        self.index.truncate(position);
        self.size = position;
        self.end = end;
    }

    /// Reserves blocks ahead of a segment that keeps growing, so that a sync need not journal every extension.
    fn preallocate(&mut self, handle: &dyn crate::disk::DiskFile, more: u64, config: &LogConfig) {
        let step = u64::from(config.preallocate_bytes);
        if step == 0 || self.size < 1 << 20 || self.size + more <= self.preallocated {
            return;
        }
        let from = self.preallocated.max(self.size);
        let until = (self.size + more.max(step)).min(u64::from(config.segment_bytes)).max(self.size + more);
        // A hint: on a file system that cannot, do not ask again for this segment.
        self.preallocated = match handle.preallocate(from, until - from) {
            Ok(()) => until,
            Err(_) => u64::MAX,
        };
    }

    /// Ends the segment: no batch follows, its index is complete and blocks beyond its end are given back.
    pub(super) fn seal(&mut self, end: Offset) -> Result<(), LogError> {
        self.end = end;
        self.index.seal(self.size, end);
        self.index.save()?;
        if self.preallocated > self.size && self.preallocated != u64::MAX {
            let path = self.file.path();
            self.file.handle().and_then(|f| f.truncate(self.size)).map_err(LogError::io("cut", &path))?;
        }
        self.preallocated = 0;
        Ok(())
    }

    /// The headers from the batch boundary `from` to the segment's end.
    pub(super) fn headers(&self, from: u64) -> Result<Headers, LogError> {
        Headers::new(&self.file, from, self.size).map_err(|e| self.read_error(e))
    }

    /// The first batch whose last offset is not below `offset`.
    pub(super) fn locate(&self, offset: Offset) -> Result<Option<Located>, LogError> {
        let (from, check) = self.index.span_of_offset(offset);
        let is_wanted = |batch: &Located| batch.header.last_offset() >= offset;
        let Some(mut check) = check else { return self.find(from, is_wanted) };
        // The span's other headers are in the piece that is read anyway.
        let mut found = None;
        for batch in self.headers(from)? {
            let batch = batch.map_err(|e| self.read_error(e))?;
            if !check.covers(batch.position) {
                found = found.or_else(|| is_wanted(&batch).then_some(batch));
                self.check_span(&check, offset)?;
                return match found {
                    Some(_) => Ok(found),
                    None => self.find(batch.end(), is_wanted),
                };
            }
            check.add(&batch.header);
            found = found.or_else(|| is_wanted(&batch).then_some(batch));
            if found.is_some() && !check.covers(batch.end()) {
                // A large batch is a span by itself: the header behind it is far away and not needed.
                break;
            }
        }
        self.check_span(&check, offset)?;
        Ok(found)
    }

    /// Refuses batches that are not those that were appended here: a write that was meant for another place.
    pub(super) fn check_span(&self, check: &SpanCheck, offset: Offset) -> Result<(), LogError> {
        if check.holds() {
            return Ok(());
        }
        Err(LogError::Corrupt(Corruption {
            path: self.file.path(),
            position: check.from(),
            offset,
            cause: "the batches from here on are not those that were appended here".to_owned(),
        }))
    }

    /// The first batch whose largest timestamp is not below `timestamp`.
    pub(super) fn locate_timestamp(&self, timestamp: Timestamp) -> Result<Option<Located>, LogError> {
        if self.index.max_timestamp() < timestamp {
            return Ok(None);
        }
        self.find(self.index.position_of_timestamp(timestamp), |batch| {
            batch.header.max_timestamp >= timestamp
        })
    }

    fn find(&self, from: u64, wanted: impl Fn(&Located) -> bool) -> Result<Option<Located>, LogError> {
        for batch in self.headers(from)? {
            let batch = batch.map_err(|e| self.read_error(e))?;
            if wanted(&batch) {
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }

    /// One batch's bytes.
    pub(super) fn read_batch(&self, batch: &Located) -> Result<Vec<u8>, LogError> {
        let mut bytes = vec![0; batch.header.size_bytes()];
        self.file.read_exact_at(&mut bytes, batch.position).map_err(|e| self.read_error(e))?;
        Ok(bytes)
    }

    /// Cuts the segment at a batch boundary, after which it ends at `end`. Answers where its last batch ends, which
    /// in a compacted log may be earlier.
    pub(super) fn truncate(&mut self, position: u64, end: Offset) -> Result<Offset, LogError> {
        assert!(position <= self.size, "a cut lies within the segment");
        let path = self.file.path();
        self.index.truncate(position);
        self.index.cut_file()?;
        self.file.handle().and_then(|f| f.truncate(position)).map_err(LogError::io("cut", &path))?;
        self.size = position;
        self.end = end;
        self.preallocated = 0;
        self.written_back = self.written_back.min(position);
        if position == 0 {
            self.first_timestamp = None;
        }
        self.reindex()
    }

    /// Shows the index the batches from where it stands to the segment's end; answers where the last one ends.
    fn reindex(&mut self) -> Result<Offset, LogError> {
        let mut end = self.base;
        for batch in self.headers(self.index.resume_position())? {
            let batch = batch.map_err(|e| self.read_error(e))?;
            self.index.observe(batch.position, &batch.header);
            end = batch.header.next_offset();
        }
        Ok(end)
    }

    /// Reads the timestamp that `segment.ms` counts from.
    pub(super) fn load_first_timestamp(&mut self) -> Result<(), LogError> {
        let first = self.headers(0)?.next().transpose().map_err(|e| self.read_error(e))?;
        self.first_timestamp = first.map(|batch| batch.header.max_timestamp);
        Ok(())
    }

    pub(super) fn stats(&self, is_active: bool) -> SegmentStats {
        let largest = self.index.max_timestamp();
        SegmentStats {
            base: self.base,
            end: self.end,
            bytes: self.size,
            max_timestamp: if largest == Timestamp::NONE { self.created } else { largest },
            is_active,
        }
    }

    pub(super) fn read_error(&self, error: std::io::Error) -> LogError {
        LogError::io("read", &self.file.path())(error)
    }

    /// What is to be removed, now, in this order: an index must not outlive its segment.
    pub(super) fn removal(&self, dir: &Path) -> [PathBuf; 2] {
        self.file.remove_begins();
        self.index.file().into_iter().for_each(|file| file.remove_begins());
        [INDEX_EXTENSION, LOG_EXTENSION].map(|extension| dir.join(file_name(self.base, extension)))
    }

    /// The identity of the index of a segment at `base`.
    pub(super) const fn identity(partition: TopicPartition, base: Offset, generation: u64) -> IndexIdentity {
        IndexIdentity { partition, base, generation }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_are_kafkas() {
        assert_eq!(file_name(Offset(42), LOG_EXTENSION), "00000000000000000042.log");
        assert_eq!(parse_file_name("00000000000000000042.log", "log"), Some(Offset(42)));
        for other in [
            "42.log",
            "00000000000000000042.index",
            "0000000000000000004x.log",
            "00000000000000000042.log.swap",
        ] {
            assert_eq!(parse_file_name(other, "log"), None, "{other}");
        }
    }
}
