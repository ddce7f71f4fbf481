//! Recovery points: what of each log is known to be on the device, in one checksummed file per data directory.
//!
//! The file also is the clean-shutdown marker: it says whether the last process ended in order, and which page
//! cache it wrote to. It is rewritten as "not clean" before any log is opened (ST-02). It is always replaced
//! whole: write new, sync, rename, sync the directory. Losing it is corruption to report, not point zero.

use super::error::{Corruption, LogError};
use crate::disk::{Disk, read_all, replace_file};
use highwater_core::batch::crc32c;
use highwater_core::ids::{BrokerEpoch, Offset, TopicPartition};
use highwater_core::{guard, planted};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The file's name within the data directory.
pub const RECOVERY_POINTS_FILE: &str = "recovery-points";

const MAGIC: &[u8; 8] = b"HWPOINTS";
/// Version 2 added the broker epoch at the end.
const VERSION: u8 = 2;
const HEADER_BYTES: usize = 13;
/// About 5 million partitions.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// A place in a log's files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RecoveryPlace {
    /// The segment, by its base offset.
    pub segment: Offset,
    /// The position in its file.
    pub position: u64,
}

/// What is known about one log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveryPoint {
    /// The log start: records below it were deleted.
    pub log_start: Offset,
    /// Everything below is on the device: what is missing or bad there is corruption, never a torn tail.
    pub flushed: Offset,
    /// Up to here the files are on the device: offsets are not under the batches' checksums and may rot.
    pub place: RecoveryPlace,
    /// Everything below has been compacted, as far as the topic's policy is that.
    pub cleaned: Offset,
}

/// What the process before left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastRun {
    /// Whether it ended in order, having flushed everything.
    pub was_clean: bool,
    /// Whether the page cache it wrote to is still there: it died, but the machine did not.
    pub is_page_cache_kept: bool,
    /// The registration under which everything was written that is here, if nothing of it can be lost (KIP-966).
    pub broker_epoch: Option<BrokerEpoch>,
    /// The last registration that a process here heard of, whatever was lost since.
    pub known_epoch: Option<BrokerEpoch>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Content {
    is_clean: bool,
    page_cache_id: String,
    points: BTreeMap<TopicPartition, RecoveryPoint>,
    /// The last registration of this directory's broker since when nothing was lost.
    broker_epoch: Option<BrokerEpoch>,
}

/// The recovery points of a data directory. Shared by its logs; a leaf lock.
#[derive(Debug)]
pub struct RecoveryPoints {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    /// The page cache of this process.
    page_cache_id: String,
    content: Mutex<Content>,
    /// What the file says of each log. Held across a write, so that an older content never replaces a newer one.
    written: Mutex<BTreeMap<TopicPartition, Offset>>,
}

impl RecoveryPoints {
    /// Writes the first file of a new data directory.
    pub(super) fn create(disk: Arc<dyn Disk>, dir: &Path) -> Result<(), LogError> {
        let path = dir.join(RECOVERY_POINTS_FILE);
        let bytes = encode(&Content { is_clean: true, ..Content::default() });
        replace_file(&*disk, &path, &bytes).map_err(LogError::io("write", &path))
    }

    /// Reads the file and at once replaces it by one that says "not clean".
    pub(super) fn open(disk: Arc<dyn Disk>, dir: &Path) -> Result<(Arc<Self>, LastRun), LogError> {
        let path = dir.join(RECOVERY_POINTS_FILE);
        let mut content = read_content(&*disk, &path)?;
        let page_cache_id = disk.page_cache_id().map_err(LogError::io("identify the boot of", dir))?;
        let mut last_run = LastRun {
            was_clean: content.is_clean,
            is_page_cache_kept: !page_cache_id.is_empty() && page_cache_id == content.page_cache_id,
            broker_epoch: content.broker_epoch,
            known_epoch: content.broker_epoch,
        };
        let is_complete = guard!(LostTailEndsLife, last_run.was_clean || last_run.is_page_cache_kept);
        if !is_complete {
            // What was not flushed may be gone, and stays gone however this process ends.
            (content.broker_epoch, last_run.broker_epoch) = (None, None);
        }
        let needs_recovery =
            planted!(PageCacheAfterRecovery, false, !content.is_clean && !last_run.is_page_cache_kept);
        content.is_clean = false;
        if !needs_recovery {
            content.page_cache_id.clone_from(&page_cache_id);
        }
        let points =
            Self { disk, path, page_cache_id, content: Mutex::new(content), written: Mutex::default() };
        points.write()?;
        Ok((Arc::new(points), last_run))
    }

    /// What the file says of each log, and whether the last process ended in order. Changes nothing: for looking at
    /// data that may be another process's.
    pub fn read(
        disk: &dyn Disk,
        dir: &Path,
    ) -> Result<(BTreeMap<TopicPartition, RecoveryPoint>, bool), LogError> {
        let content = read_content(disk, &dir.join(RECOVERY_POINTS_FILE))?;
        Ok((content.points, content.is_clean))
    }

    /// Every log was opened, and cut where a power cut tore it: from the next write on the file may say that it was
    /// this page cache they were written to. Not before: a crash in the middle of recovery leaves torn logs behind,
    /// which the next start must not take for corruption.
    pub fn logs_are_recovered(&self) {
        lock(&self.content).page_cache_id.clone_from(&self.page_cache_id);
    }

    /// Remembers the registration of the process that writes here from now on. On the device once this returns; a
    /// process that dies before has stopped uncleanly.
    pub fn remember_broker_epoch(&self, epoch: BrokerEpoch) -> Result<(), LogError> {
        if lock(&self.content).broker_epoch.replace(epoch) == Some(epoch) {
            return Ok(());
        }
        self.write()
    }

    /// What is known of a log; `None` if it was made after the last write.
    pub fn point(&self, tp: TopicPartition) -> Option<RecoveryPoint> {
        lock(&self.content).points.get(&tp).copied()
    }

    /// Every log known.
    pub fn all(&self) -> Vec<(TopicPartition, RecoveryPoint)> {
        lock(&self.content).points.iter().map(|(tp, point)| (*tp, *point)).collect()
    }

    /// Notes a log's point; [`RecoveryPoints::write`] makes it last.
    pub fn note(&self, tp: TopicPartition, point: RecoveryPoint) {
        lock(&self.content).points.insert(tp, point);
    }

    /// Forgets a deleted log.
    pub fn forget(&self, tp: TopicPartition) {
        lock(&self.content).points.remove(&tp);
    }

    /// Replaces the file by what is noted now. Returns once it is on the device.
    pub fn write(&self) -> Result<(), LogError> {
        self.write_locked(&mut lock(&self.written))
    }

    fn write_locked(&self, written: &mut BTreeMap<TopicPartition, Offset>) -> Result<(), LogError> {
        let (bytes, flushed) = {
            let content = lock(&self.content);
            let flushed = content.points.iter().map(|(tp, point)| (*tp, point.flushed)).collect();
            (encode(&content), flushed)
        };
        replace_file(&*self.disk, &self.path, &bytes).map_err(LogError::io("write", &self.path))?;
        *written = flushed;
        Ok(())
    }

    /// Writes the file unless it already says that the log is flushed up to `end`.
    pub(super) fn ensure_flushed(&self, tp: TopicPartition, end: Offset) -> Result<(), LogError> {
        let mut written = lock(&self.written);
        if written.get(&tp).is_some_and(|flushed| *flushed >= end) {
            return Ok(());
        }
        self.write_locked(&mut written)
    }

    /// The last write of a process that has flushed and noted every log.
    pub(super) fn write_clean(&self) -> Result<(), LogError> {
        lock(&self.content).is_clean = true;
        let written = self.write();
        lock(&self.content).is_clean = false;
        written
    }

    /// Lowers a log's point on the device before the log is cut below it: a crash between the two must not look
    /// like lost records.
    pub(super) fn lower(&self, tp: TopicPartition, flushed: Offset, end: Offset) -> Result<(), LogError> {
        {
            let mut content = lock(&self.content);
            match content.points.get_mut(&tp) {
                Some(point) if point.flushed > flushed || point.log_start > end => {
                    point.flushed = point.flushed.min(flushed);
                    point.place = point.place.min(RecoveryPlace { segment: flushed, position: 0 });
                    point.log_start = point.log_start.min(end);
                    point.cleaned = point.cleaned.min(end);
                }
                _ => return Ok(()),
            }
        }
        self.write()
    }
}

fn read_content(disk: &dyn Disk, path: &Path) -> Result<Content, LogError> {
    let bytes = match read_all(disk, path, FILE_BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Err(corrupt(
                path,
                "the file is gone, and without it lost records could not be told from a torn tail",
            ));
        }
        Err(e) => return Err(LogError::io("read", path)(e)),
    };
    decode(&bytes).map_err(|cause| corrupt(path, cause))
}

fn corrupt(path: &Path, cause: &str) -> LogError {
    LogError::Corrupt(Corruption {
        path: path.to_owned(),
        position: 0,
        offset: Offset(-1),
        cause: cause.to_owned(),
    })
}

fn encode(content: &Content) -> Vec<u8> {
    let body = postcard::to_allocvec(content).expect("maps, numbers and strings always encode");
    let mut out = Vec::with_capacity(HEADER_BYTES + body.len());
    out.extend_from_slice(MAGIC);
    out.push(VERSION);
    out.extend_from_slice(&crc32c(&body).to_be_bytes());
    out.extend_from_slice(&body);
    out
}

fn decode(bytes: &[u8]) -> Result<Content, &'static str> {
    let Some((header, body)) = bytes.split_at_checked(HEADER_BYTES) else {
        return Err("the file is too short");
    };
    if header[..8] != MAGIC[..] {
        return Err("the file is of another kind");
    }
    if !matches!(header[8], 1 | VERSION) {
        return Err("the file is of another version");
    }
    if header[9..] != crc32c(body).to_be_bytes() {
        return Err("the checksum does not match");
    }
    let content = match header[8] {
        1 => postcard::from_bytes(&[body, &[0]].concat()),
        _ => postcard::from_bytes(body),
    };
    content.map_err(|_| "the content does not parse")
}

/// A panic elsewhere while the lock was held leaves the map whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;
    use highwater_core::ids::{PartitionIndex, TopicId};

    fn tp(n: u8) -> TopicPartition {
        TopicPartition { topic_id: TopicId([n; 16]), partition: PartitionIndex(i32::from(n)) }
    }

    fn point(at: i64) -> RecoveryPoint {
        RecoveryPoint { flushed: Offset(at), ..RecoveryPoint::default() }
    }

    #[test]
    fn only_an_orderly_end_is_clean() {
        let dir = tempfile::tempdir().unwrap();
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        RecoveryPoints::create(disk.clone(), dir.path()).unwrap();
        let (points, last) = RecoveryPoints::open(disk.clone(), dir.path()).unwrap();
        assert!(last.was_clean);
        points.note(tp(1), point(10));
        points.write().unwrap();

        let (points, last) = RecoveryPoints::open(disk.clone(), dir.path()).unwrap();
        assert!(!last.was_clean, "the marker goes before anything is opened");
        assert!(last.is_page_cache_kept);
        assert_eq!(points.point(tp(1)), Some(point(10)));
        points.write_clean().unwrap();

        let (_, last) = RecoveryPoints::open(disk.clone(), dir.path()).unwrap();
        assert!(last.was_clean);
        let (_, last) = RecoveryPoints::open(disk, dir.path()).unwrap();
        assert!(!last.was_clean);
    }

    #[test]
    fn a_life_is_remembered_until_something_may_be_lost() {
        let dir = tempfile::tempdir().unwrap();
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        RecoveryPoints::create(disk.clone(), dir.path()).unwrap();
        let open = || RecoveryPoints::open(disk.clone(), dir.path()).unwrap();
        let (points, last) = open();
        assert_eq!(last.broker_epoch, None);
        points.remember_broker_epoch(BrokerEpoch(7)).unwrap();
        let (points, last) = open();
        assert_eq!(last.broker_epoch, Some(BrokerEpoch(7)), "the process died, the machine did not");
        points.write_clean().unwrap();
        assert_eq!(open().1.broker_epoch, Some(BrokerEpoch(7)));

        // The machine died: its next boot has another page cache.
        lock(&points.content).page_cache_id = "another boot".to_owned();
        points.write().unwrap();
        assert_eq!(open().1.broker_epoch, None);
        assert_eq!(open().1.broker_epoch, None, "what is lost does not come back");
    }

    #[test]
    fn files_of_version_1_are_read() {
        let mut old = encode(&Content { is_clean: true, ..Content::default() });
        assert_eq!(old.pop(), Some(0), "no broker epoch");
        old[8] = 1;
        let crc = crc32c(&old[HEADER_BYTES..]).to_be_bytes();
        old[9..HEADER_BYTES].copy_from_slice(&crc);
        assert!(decode(&old).is_ok_and(|content| content.is_clean && content.broker_epoch.is_none()));
    }

    #[test]
    fn a_lost_or_damaged_file_is_reported() {
        let dir = tempfile::tempdir().unwrap();
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let gone = RecoveryPoints::open(disk.clone(), dir.path()).unwrap_err();
        assert!(gone.to_string().contains("the file is gone"), "{gone}");

        RecoveryPoints::create(disk.clone(), dir.path()).unwrap();
        let (points, _) = RecoveryPoints::open(disk.clone(), dir.path()).unwrap();
        points.note(tp(1), point(10));
        points.write().unwrap();
        let path = dir.path().join(RECOVERY_POINTS_FILE);
        let good = std::fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            assert!(decode(&bad).is_err(), "a flipped bit in byte {at} goes unnoticed");
            assert!(decode(&good[..at]).is_err(), "a file cut at {at} goes unnoticed");
        }
    }

    #[test]
    fn a_point_is_lowered_on_the_device_before_a_cut() {
        let dir = tempfile::tempdir().unwrap();
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        RecoveryPoints::create(disk.clone(), dir.path()).unwrap();
        let (points, _) = RecoveryPoints::open(disk.clone(), dir.path()).unwrap();
        points.note(tp(1), point(10));
        points.note(tp(2), point(20));
        points.write().unwrap();
        points.lower(tp(2), Offset(15), Offset(17)).unwrap();
        let (points, _) = RecoveryPoints::open(disk, dir.path()).unwrap();
        assert_eq!(points.all(), [(tp(1), point(10)), (tp(2), point(15))]);
    }
}
