//! The operating system's files. Every call answers at once: appends go to the page cache, and syncs are made
//! by a thread that may wait.

use super::{DirEntry, DirLock, Disk, DiskFile, EntryKind, OpenMode, Space, Submitted};
use crate::os;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// The disk of the machine this process runs on.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

#[derive(Debug)]
struct RealFile(File);

/// The lock lives as long as its descriptor.
#[derive(Debug)]
struct RealLock(#[allow(dead_code)] File);

impl DirLock for RealLock {}

impl Disk for RealDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        match mode {
            OpenMode::Read => options.read(true),
            OpenMode::Write => options.read(true).write(true),
            OpenMode::CreateNew => options.read(true).write(true).create_new(true),
            OpenMode::CreateEmpty => options.read(true).write(true).create(true).truncate(true),
        };
        Ok(Arc::new(RealFile(options.open(path)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let kind = entry.file_type()?;
            if kind.is_dir() {
                entries.push(DirEntry { name, kind: EntryKind::Dir, len: 0 });
            } else if kind.is_file() {
                entries.push(DirEntry { name, kind: EntryKind::File, len: entry.metadata()?.len() });
            }
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn sync_dir(&self, dir: &Path) -> Submitted<()> {
        Submitted::Done(File::open(dir).and_then(|dir| dir.sync_all()))
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        os::space(path).map(|(total, available)| Space { total, available })
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DirLock>> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        os::lock_exclusive(file.as_fd())?;
        Ok(Box::new(RealLock(file)))
    }

    fn page_cache_id(&self) -> io::Result<String> {
        // Elsewhere than on Linux nobody tells the boot: an empty id means "assume that the cache was lost".
        match fs::read_to_string("/proc/sys/kernel/random/boot_id") {
            Ok(id) => Ok(id.trim().to_owned()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            Err(e) => Err(e),
        }
    }
}

impl DiskFile for RealFile {
    fn append(&self, position: u64, parts: &[IoSlice<'_>]) -> Submitted<()> {
        Submitted::Done(write_all_at(self.0.as_fd(), position, parts))
    }

    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        loop {
            match self.0.read_at(buf, position) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    fn read_cached_at(&self, buf: &mut [u8], position: u64) -> io::Result<Option<usize>> {
        match os::read_cached_at(self.0.as_fd(), buf, position) {
            // tmpfs, for one: taken for memory, lest every read goes the long way.
            Err(error) if error.kind() == io::ErrorKind::Unsupported => self.read_at(buf, position).map(Some),
            read => read,
        }
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn sync(&self) -> Submitted<()> {
        Submitted::Done(self.0.sync_data())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn preallocate(&self, from: u64, len: u64) -> io::Result<()> {
        os::preallocate(self.0.as_fd(), from, len)
    }

    fn start_writeback(&self, from: u64, len: u64) {
        // A hint: whatever keeps the pages from being written shows itself at the sync.
        let _ = os::start_writeback(self.0.as_fd(), from, len);
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.0.as_fd())
    }
}

/// One `pwritev` in the usual case; more only after a short write.
fn write_all_at(fd: BorrowedFd<'_>, position: u64, parts: &[IoSlice<'_>]) -> io::Result<()> {
    let total: usize = parts.iter().map(|p| p.len()).sum();
    let mut written = os::write_vectored_at(fd, parts, position)?;
    while written < total {
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        let mut rest: Vec<IoSlice<'_>> = parts.iter().map(|p| IoSlice::new(p)).collect();
        let mut rest = &mut rest[..];
        IoSlice::advance_slices(&mut rest, written);
        let more = os::write_vectored_at(fd, rest, position + written as u64)?;
        if more == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        written += more;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{read_all, replace_file};

    #[test]
    fn parts_land_one_after_another_and_reads_see_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let file = RealDisk.open(&path, OpenMode::CreateNew).unwrap();
        let parts: Vec<Vec<u8>> = (0..3000u32).map(|i| i.to_be_bytes().to_vec()).collect();
        let slices: Vec<IoSlice<'_>> = parts.iter().map(|p| IoSlice::new(p)).collect();
        file.append(2, &slices).now().unwrap();
        assert_eq!(file.len().unwrap(), 2 + 12_000);
        let bytes = read_all(&RealDisk, &path, 1 << 20).unwrap();
        assert_eq!(bytes[2..], parts.concat()[..]);
        assert!(
            read_all(&RealDisk, &path, 100).is_err(),
            "a file beyond the limit is refused before it is read"
        );
    }

    #[test]
    fn a_replaced_file_has_the_new_content_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("small");
        replace_file(&RealDisk, &path, b"a long first version").unwrap();
        replace_file(&RealDisk, &path, b"second").unwrap();
        assert_eq!(read_all(&RealDisk, &path, 100).unwrap(), b"second");
        assert_eq!(RealDisk.list(dir.path()).unwrap().len(), 1);
    }

    #[test]
    fn a_second_lock_is_refused_until_the_first_ends() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".lock");
        let first = RealDisk.lock(&path).unwrap();
        assert_eq!(RealDisk.lock(&path).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(first);
        RealDisk.lock(&path).unwrap();
    }

    #[test]
    fn preallocating_leaves_the_length() {
        let dir = tempfile::tempdir().unwrap();
        let file = RealDisk.open(&dir.path().join("f"), OpenMode::CreateNew).unwrap();
        match file.preallocate(0, 1 << 20) {
            Ok(()) | Err(_) => assert_eq!(file.len().unwrap(), 0),
        }
        assert!(RealDisk.space(dir.path()).unwrap().available > 0);
    }
}
