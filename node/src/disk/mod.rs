//! What storage asks of a disk, and nothing else: every path, recovery and checkpoints included, goes through it.
//!
//! Two implementations run the same code: [`RealDisk`] on the operating system's files, and the simulator's,
//! which loses, tears and reorders what was not synced. The contract both keep:
//!
//! - A written byte is at once what reads see (the page cache). Only a `sync` that answered `Ok` makes it
//!   survive a power cut; until then any subset of the writes may survive, in any order, torn at a sector.
//! - A created, renamed or removed name survives a power cut only after [`Disk::sync_dir`] of its directory.
//! - After a failed sync the unsynced bytes are lost although reads still see them: whoever hears the error must
//!   not trust that file again, and a second sync that succeeds proves nothing (ST-01).
//! - [`Submitted::Pending`] means that the operation is accepted and in order, and reads see it, but its outcome
//!   comes later as a [`Completion`]. Only appends and syncs answer so: they are what waits on a slow device.

mod real;

pub use real::RealDisk;

use std::fmt::Debug;
use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;

/// Names an operation whose outcome is not known yet. Unique within one disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(pub u64);

/// The answer to an operation that a slow device may delay.
#[derive(Debug)]
#[must_use = "an I/O error that nobody hears loses data"]
pub enum Submitted<T, E = io::Error> {
    /// It is over.
    Done(Result<T, E>),
    /// It is in order; [`Disk::completions`] will tell the outcome.
    Pending(OpId),
}

impl<T> Submitted<T> {
    /// The outcome, where the caller cannot wait: a pending operation becomes a `WouldBlock` error.
    pub fn now(self) -> io::Result<T> {
        match self {
            Self::Done(result) => result,
            Self::Pending(_) => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl Submitted<()> {
    /// The outcome as far as it is known, where nothing depends on the rest: for what can be rebuilt.
    pub fn now_or_later(self) -> io::Result<()> {
        match self {
            Self::Done(result) => result,
            Self::Pending(_) => Ok(()),
        }
    }
}

/// The outcome of an operation that was [`Submitted::Pending`].
#[derive(Debug)]
pub struct Completion {
    /// Which operation.
    pub id: OpId,
    /// How it ended.
    pub result: io::Result<()>,
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// An existing file, to read.
    Read,
    /// An existing file, to read and write.
    Write,
    /// A new file; one of that name must not exist.
    CreateNew,
    /// A new or emptied file.
    CreateEmpty,
}

/// What a directory entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// Its name, without the directory.
    pub name: String,
    /// What it is.
    pub kind: EntryKind,
    /// A file's length.
    pub len: u64,
}

/// How full a file system is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Its size.
    pub total: u64,
    /// What an unprivileged process can still use.
    pub available: u64,
}

/// Holds a directory's lock until dropped.
pub trait DirLock: Debug + Send + Sync {}

/// A disk. Object-safe: a node holds one `Arc<dyn Disk>`.
pub trait Disk: Debug + Send + Sync {
    /// Opens a file.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>>;

    /// Renames a file or directory, replacing a file of the new name atomically.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file's name. Open handles stay readable.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Creates a directory whose parent exists; `AlreadyExists` if it is there.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty directory.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;

    /// The directory's entries, sorted by name. Names that are not UTF-8 are none of ours and left out.
    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>>;

    /// Makes the names in a directory survive a power cut.
    fn sync_dir(&self, dir: &Path) -> Submitted<()>;

    /// How full the file system below `path` is.
    fn space(&self, path: &Path) -> io::Result<Space>;

    /// Locks by a file of this path (created if need be) against other processes; `WouldBlock` if another has it.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DirLock>>;

    /// Changes whenever unsynced bytes may have been lost: the boot, for a real machine. A process that died alone
    /// leaves the page cache whole, so recovery may be stricter then.
    fn page_cache_id(&self) -> io::Result<String>;

    /// Takes the outcomes of pending operations that have come since.
    fn completions(&self, out: &mut Vec<Completion>) {
        let _ = out;
    }
}

/// An open file. Positions are explicit: there is no cursor.
#[allow(clippy::len_without_is_empty)] // a length query that can fail, not a container
pub trait DiskFile: Debug + Send + Sync {
    /// Writes `parts` one after another at `position`, all or an error (after which the content there is unknown).
    fn append(&self, position: u64, parts: &[IoSlice<'_>]) -> Submitted<()>;

    /// Reads into `buf` from `position`; 0 at the end of the file.
    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize>;

    /// As [`DiskFile::read_at`] as far as no device is needed; `None` if the bytes are not in memory. Where nobody can
    /// tell they are taken to be.
    fn read_cached_at(&self, buf: &mut [u8], position: u64) -> io::Result<Option<usize>> {
        self.read_at(buf, position).map(Some)
    }

    /// As [`DiskFile::append`] where the caller waits for the outcome: small files and background work.
    fn write_now(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        self.append(position, &[IoSlice::new(bytes)]).now()
    }

    /// As [`DiskFile::sync`] where the caller waits for the outcome.
    fn sync_now(&self) -> io::Result<()> {
        self.sync().now()
    }

    /// The file's length.
    fn len(&self) -> io::Result<u64>;

    /// Makes the file's bytes and length survive a power cut (not its name, see [`Disk::sync_dir`]).
    fn sync(&self) -> Submitted<()>;

    /// Cuts (or extends with zeroes) to `len`.
    fn truncate(&self, len: u64) -> io::Result<()>;

    /// Reserves blocks without changing the length. A hint: an error means only that nothing was reserved.
    fn preallocate(&self, from: u64, len: u64) -> io::Result<()> {
        let _ = (from, len);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Starts writing a range to the device, without waiting and without durability. A hint.
    fn start_writeback(&self, from: u64, len: u64) {
        let _ = (from, len);
    }

    /// The descriptor, for `sendfile`; `None` where there is none.
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }
}

/// Reads exactly `buf.len()` bytes, or `UnexpectedEof`.
pub fn read_exact_at(file: &dyn DiskFile, mut buf: &mut [u8], mut position: u64) -> io::Result<()> {
    while !buf.is_empty() {
        match file.read_at(buf, position)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => {
                buf = &mut buf[n..];
                position += n as u64;
            }
        }
    }
    Ok(())
}

/// Reads a whole file of at most `len_max` bytes.
pub fn read_all(disk: &dyn Disk, path: &Path, len_max: u64) -> io::Result<Vec<u8>> {
    let file = disk.open(path, OpenMode::Read)?;
    let len = file.len()?;
    if len > len_max {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{} is larger than {len_max} bytes", path.display()),
        ));
    }
    let mut bytes = vec![0; usize::try_from(len).expect("bounded by len_max, which fits memory")];
    read_exact_at(&*file, &mut bytes, 0)?;
    Ok(bytes)
}

/// Replaces a small file so that a crash at any moment leaves the old or the new content whole:
/// write new, sync, rename, sync the directory (design rule 11).
pub fn replace_file(disk: &dyn Disk, path: &Path, content: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let file = disk.open(&new, OpenMode::CreateEmpty)?;
    file.write_now(0, content)?;
    file.sync_now()?;
    drop(file);
    disk.rename(&new, path)?;
    let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    disk.sync_dir(dir).now()
}
