//! Segment files whose descriptors come and go: 10,000 partitions live within a few thousand open files.
//!
//! A [`SegmentFile`] is a path that opens itself when it is used. All of a node's share one [`OpenFiles`], which
//! closes the files that were not used lately when there are more than its limit. Whoever reads holds an
//! `Arc<dyn DiskFile>` meanwhile, so that closing never pulls a descriptor away under a reader.

use crate::disk::{Disk, DiskFile, OpenMode, read_exact_at};
use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// How much [`SegmentFile::rewrite`] holds in memory.
const REWRITE_BYTES: usize = 256 * 1024;

/// The bound on open segment files of one node.
#[derive(Debug)]
pub struct OpenFiles {
    open_max: usize,
    /// Open files in the order opened, for the second-chance sweep. Entries of closed files are dropped lazily.
    open: Mutex<VecDeque<Weak<SegmentFile>>>,
}

impl OpenFiles {
    /// A pool that keeps at most about `open_max` files open.
    pub fn new(open_max: usize) -> Arc<Self> {
        assert!(open_max > 0, "no file could ever be open");
        Arc::new(Self { open_max, open: Mutex::default() })
    }

    /// How many files the pool counts as open.
    pub fn len(&self) -> usize {
        lock(&self.open).len()
    }

    /// Whether no file is open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Counts a file that has just been opened, and closes one that was not used since the sweep last saw it.
    fn admit(&self, file: Weak<SegmentFile>) {
        let mut open = lock(&self.open);
        open.push_back(file);
        // Each file has at most one second chance a sweep, so the loop ends.
        let mut chances = open.len();
        while open.len() > self.open_max && chances > 0 {
            chances -= 1;
            let Some(oldest) = open.pop_front() else { break };
            let Some(file) = oldest.upgrade() else { continue };
            if file.used.swap(false, Ordering::Relaxed) && chances > 0 {
                open.push_back(oldest);
                continue;
            }
            // A file in use by its own thread right now is not worth waiting for, and waiting could deadlock.
            match file.state.try_lock() {
                Ok(mut state) if !state.is_pinned => state.handle = None,
                _ => open.push_back(oldest),
            }
        }
    }
}

#[derive(Debug)]
struct State {
    path: PathBuf,
    handle: Option<Arc<dyn DiskFile>>,
    /// The path no longer leads to this file, so the handle must not go before the last reader.
    is_pinned: bool,
}

/// A file of a log, opened when used.
#[derive(Debug)]
pub struct SegmentFile {
    disk: Arc<dyn Disk>,
    pool: Arc<OpenFiles>,
    state: Mutex<State>,
    used: AtomicBool,
    removed: AtomicBool,
    this: Weak<SegmentFile>,
}

impl SegmentFile {
    /// A file that exists at `path`. Nothing is opened yet.
    pub fn existing(disk: Arc<dyn Disk>, pool: Arc<OpenFiles>, path: PathBuf) -> Arc<Self> {
        Self::with_handle(disk, pool, path, None)
    }

    /// Creates a file at `path`, empty.
    pub fn create(disk: Arc<dyn Disk>, pool: Arc<OpenFiles>, path: PathBuf) -> io::Result<Arc<Self>> {
        let handle = disk.open(&path, OpenMode::CreateEmpty)?;
        let file = Self::with_handle(disk, pool, path, Some(handle));
        file.pool.admit(file.this.clone());
        Ok(file)
    }

    fn with_handle(
        disk: Arc<dyn Disk>,
        pool: Arc<OpenFiles>,
        path: PathBuf,
        handle: Option<Arc<dyn DiskFile>>,
    ) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            disk,
            pool,
            state: Mutex::new(State { path, handle, is_pinned: false }),
            used: AtomicBool::new(true),
            removed: AtomicBool::new(false),
            this: this.clone(),
        })
    }

    /// The open file; opens it if need be.
    pub fn handle(&self) -> io::Result<Arc<dyn DiskFile>> {
        self.used.store(true, Ordering::Relaxed);
        let opened = {
            let mut state = lock(&self.state);
            if let Some(handle) = &state.handle {
                return Ok(handle.clone());
            }
            let handle = self.disk.open(&state.path, OpenMode::Write)?;
            state.handle = Some(handle.clone());
            handle
        };
        self.pool.admit(self.this.clone());
        Ok(opened)
    }

    /// Where the file is.
    pub fn path(&self) -> PathBuf {
        lock(&self.state).path.clone()
    }

    /// Whether a descriptor is held now.
    pub fn is_open(&self) -> bool {
        lock(&self.state).handle.is_some()
    }

    /// Follows a rename that has been made.
    pub(super) fn moved_to(&self, path: &Path) {
        lock(&self.state).path = path.to_owned();
    }

    /// Its log is about to remove it: whoever comes later must not take it for lost.
    pub(super) fn remove_begins(&self) {
        self.removed.store(true, Ordering::Release);
    }

    /// The open file, if its bytes are to be made durable. One that its log has removed meanwhile, or is about to, and
    /// that nobody holds open needs no sync: nothing of it is to outlive a crash.
    pub(super) fn to_sync(&self) -> io::Result<Option<Arc<dyn DiskFile>>> {
        match self.handle() {
            Err(_) if self.removed.load(Ordering::Acquire) => Ok(None),
            opened => opened.map(Some),
        }
    }

    /// Opens the file for good, before its path is removed or given to another: readers that hold this file go on.
    pub(super) fn pin(&self) -> io::Result<()> {
        let handle = self.handle()?;
        let mut state = lock(&self.state);
        state.handle = Some(handle);
        state.is_pinned = true;
        Ok(())
    }

    /// Writes the bytes of a range over themselves, so that their pages are dirty and the next sync writes them.
    pub(super) fn rewrite(&self, from: u64, until: u64) -> io::Result<()> {
        let handle = self.handle()?;
        let mut piece = vec![0; REWRITE_BYTES];
        let mut at = from;
        while at < until {
            let len = usize::try_from(until - at).map_or(REWRITE_BYTES, |left| left.min(REWRITE_BYTES));
            read_exact_at(&*handle, &mut piece[..len], at)?;
            handle.write_now(at, &piece[..len])?;
            at += len as u64;
        }
        Ok(())
    }

    /// Reads exactly `buf.len()` bytes at `position`.
    pub fn read_exact_at(&self, buf: &mut [u8], position: u64) -> io::Result<()> {
        read_exact_at(&*self.handle()?, buf, position)
    }
}

/// A range of a segment file: bytes that a response carries without anybody having read them yet.
#[derive(Clone, Debug)]
pub struct FileRegion {
    /// The file; holding it keeps its bytes readable for the time of `file.delete.delay.ms` at least.
    pub file: Arc<SegmentFile>,
    /// The first byte.
    pub from: u64,
    /// How many bytes.
    pub len: usize,
}

impl FileRegion {
    /// Reads the region into `buf`, which has its length.
    pub fn read_into(&self, buf: &mut [u8]) -> io::Result<()> {
        assert_eq!(buf.len(), self.len, "the buffer is made for the region");
        self.file.read_exact_at(buf, self.from)
    }

    /// Reads the region into `buf` if all of it is in memory; `false` if the device would be needed.
    pub fn read_cached_into(&self, buf: &mut [u8]) -> io::Result<bool> {
        assert_eq!(buf.len(), self.len, "the buffer is made for the region");
        let handle = self.file.handle()?;
        let mut read = 0;
        while read < buf.len() {
            match handle.read_cached_at(&mut buf[read..], self.from + read as u64)? {
                None => return Ok(false),
                Some(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Some(n) => read += n,
            }
        }
        Ok(true)
    }

    /// Runs `send` with the file's descriptor, as `sendfile` wants it; `None` where there is no descriptor.
    pub fn with_descriptor<T>(&self, send: impl FnOnce(BorrowedFd<'_>) -> T) -> io::Result<Option<T>> {
        let handle = self.file.handle()?;
        Ok(handle.descriptor().map(send))
    }
}

/// A panic elsewhere while the lock was held leaves these small states whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;
    use std::io::IoSlice;

    #[test]
    fn files_beyond_the_limit_are_closed_and_open_themselves_again() {
        let dir = tempfile::tempdir().unwrap();
        let pool = OpenFiles::new(4);
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let files: Vec<_> = (0..20)
            .map(|i| {
                let file =
                    SegmentFile::create(disk.clone(), pool.clone(), dir.path().join(i.to_string())).unwrap();
                file.handle().unwrap().append(0, &[IoSlice::new(&[i as u8])]).now().unwrap();
                file
            })
            .collect();
        assert!(files.iter().filter(|f| f.is_open()).count() <= 4);
        for (i, file) in files.iter().enumerate() {
            let mut byte = [0];
            file.read_exact_at(&mut byte, 0).unwrap();
            assert_eq!(byte[0], i as u8);
        }
        assert!(files.iter().filter(|f| f.is_open()).count() <= 4);
    }

    #[test]
    fn a_reader_of_a_removed_file_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let pool = OpenFiles::new(2);
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let path = dir.path().join("old");
        let file = SegmentFile::create(disk.clone(), pool.clone(), path.clone()).unwrap();
        file.handle().unwrap().append(0, &[IoSlice::new(b"kept")]).now().unwrap();
        file.pin().unwrap();
        disk.remove(&path).unwrap();
        for i in 0..5 {
            let other = dir.path().join(format!("other{i}"));
            let other = SegmentFile::create(disk.clone(), pool.clone(), other).unwrap();
            other.handle().unwrap();
        }
        let mut bytes = [0; 4];
        FileRegion { file, from: 0, len: 4 }.read_into(&mut bytes).unwrap();
        assert_eq!(&bytes, b"kept");
    }
}
