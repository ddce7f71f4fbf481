//! The machine's disk: files, names, faults, and what survives what.

use super::file::Inode;
use highwater::disk::{
    Completion, DirEntry, DirLock, Disk, DiskFile, EntryKind, OpId, OpenMode, Space, Submitted,
};
use highwater_core::random::SplitMix64;
use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::path::{Component, Path};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The disk's own draws.
#[derive(Clone, Debug)]
pub(super) struct Rng(SplitMix64);

impl Rng {
    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.0.next_u64() % n
    }

    /// Draws nothing for a fault that is switched off, so that switching it on changes nothing before it.
    fn happens(&mut self, permille: u32) -> bool {
        permille > 0 && self.below(1000) < u64::from(permille)
    }
}

/// How often what goes wrong, in thousandths of the operations. All zero by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskFaults {
    /// An append writes a part and fails.
    pub append_error_permille: u32,
    /// A sync fails and drops what was unsynced.
    pub sync_error_permille: u32,
    /// A read gives one wrong bit (the file stays good).
    pub read_flip_permille: u32,
    /// An append or sync answers later.
    pub slow_permille: u32,
    /// Slow operations do not end until this is lifted.
    pub is_stalled: bool,
    /// How many bytes of file contents there is room for.
    pub capacity_bytes: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    File(u64),
    Dir(u64),
}

/// A change of names that has not been synced. A rename is one change: it is never half done.
#[derive(Clone, Debug)]
enum NameChange {
    Add(String, Node),
    Remove(String),
    Rename(String, String, Node),
}

#[derive(Clone, Debug, Default)]
struct Dir {
    seen: BTreeMap<String, Node>,
    durable: BTreeMap<String, Node>,
    unsynced: Vec<NameChange>,
}

impl Dir {
    fn change(&mut self, change: NameChange) {
        apply(&mut self.seen, &change);
        self.unsynced.push(change);
    }

    fn sync(&mut self) {
        for change in std::mem::take(&mut self.unsynced) {
            apply(&mut self.durable, &change);
        }
    }

    fn lose_power(&mut self, rng: &mut Rng) {
        for change in std::mem::take(&mut self.unsynced) {
            if rng.below(2) == 0 {
                apply(&mut self.durable, &change);
            }
        }
        self.seen = self.durable.clone();
    }
}

fn apply(names: &mut BTreeMap<String, Node>, change: &NameChange) {
    match change {
        NameChange::Add(name, node) => {
            names.insert(name.clone(), *node);
        }
        NameChange::Remove(name) => {
            names.remove(name);
        }
        NameChange::Rename(from, to, node) => {
            names.remove(from);
            names.insert(to.clone(), *node);
        }
    }
}

/// What is on the machine's disk and in its page cache.
#[derive(Clone, Debug)]
struct Contents {
    inodes: BTreeMap<u64, Inode>,
    dirs: BTreeMap<u64, Dir>,
    next_inode: u64,
}

const ROOT: u64 = 0;

/// The directory of the metadata log.
const PROMPT_DIR: &str = "__cluster_metadata-0";

#[derive(Debug)]
struct State {
    rng: Rng,
    faults: DiskFaults,
    contents: Contents,
    /// The contents at the freeze, which are what the next incarnation finds.
    frozen: Option<Box<Contents>>,
    freeze_at: Option<u64>,
    ops: u64,
    incarnation: u64,
    boot: u64,
    pending: Vec<(OpId, io::Result<()>)>,
    next_op: u64,
    locks: BTreeMap<String, u64>,
}

/// The disk of one simulated machine, as one incarnation of its node sees it.
#[derive(Clone, Debug)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
    incarnation: u64,
}

impl SimDisk {
    /// An empty disk. Everything random about it follows from the seed.
    pub fn new(seed: u64) -> Self {
        let dirs = BTreeMap::from([(ROOT, Dir::default())]);
        let state = State {
            rng: Rng(SplitMix64::new(seed)),
            faults: DiskFaults::default(),
            contents: Contents { inodes: BTreeMap::new(), dirs, next_inode: ROOT + 1 },
            frozen: None,
            freeze_at: None,
            ops: 0,
            incarnation: 0,
            boot: 0,
            pending: Vec::new(),
            next_op: 0,
            locks: BTreeMap::new(),
        };
        Self { state: Arc::new(Mutex::new(state)), incarnation: 0 }
    }

    /// Sets what goes wrong from now on.
    pub fn inject(&self, faults: DiskFaults) {
        self.state().faults = faults;
    }

    /// How many operations that change something there were.
    pub fn ops(&self) -> u64 {
        self.state().ops
    }

    /// How many bytes of file contents there are.
    pub fn used_bytes(&self) -> u64 {
        self.state().contents.inodes.values().map(|inode| inode.len() as u64).sum()
    }

    /// Freezes after `ops` more operations: those that follow answer `Done`, and this incarnation sees their
    /// effects, but the next one finds the disk as it was. So a crash falls between any two operations.
    pub fn freeze_after(&self, ops: u64) {
        let mut state = self.state();
        state.freeze_at = Some(state.ops + ops);
        state.freeze_if_due();
    }

    /// A freeze that has not come yet does not come.
    pub fn freeze_never(&self) {
        self.state().freeze_at = None;
    }

    /// Whether the freeze has come.
    pub fn is_frozen(&self) -> bool {
        self.state().frozen.is_some()
    }

    /// Whether operations may fail.
    pub fn is_failing(&self) -> bool {
        let state = self.state();
        state.faults.append_error_permille > 0 || state.faults.sync_error_permille > 0
    }

    /// The process dies and its page cache stays. Answers the disk for its next incarnation; through this one
    /// nothing is changed any more.
    #[must_use]
    pub fn kill(&self) -> Self {
        self.next_incarnation(|_| {})
    }

    /// The machine goes down: of what was not synced any part may be lost.
    #[must_use]
    pub fn power_cut(&self) -> Self {
        self.next_incarnation(|state| {
            state.boot += 1;
            let State { contents, rng, .. } = state;
            contents.inodes.values_mut().for_each(|inode| inode.lose_power(rng));
            contents.dirs.values_mut().for_each(|dir| dir.lose_power(rng));
        })
    }

    fn next_incarnation(&self, lose: impl FnOnce(&mut State)) -> Self {
        let mut state = self.state();
        if let Some(frozen) = state.frozen.take() {
            state.contents = *frozen;
        }
        state.freeze_at = None;
        state.pending.clear();
        state.locks.clear();
        lose(&mut state);
        state.incarnation += 1;
        Self { state: self.state.clone(), incarnation: state.incarnation }
    }

    /// Rots one bit of a file, on the device and in memory.
    pub fn flip_bit(&self, path: &Path, at: u64, bit: u32) -> io::Result<()> {
        let mut state = self.state();
        let inode = state.contents.file(path)?;
        state.contents.inode_mut(inode).flip(at as usize, bit);
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The contents to change, or `None` for an incarnation that is over: its operations go nowhere.
    fn change<T: Default>(&self, change: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.state();
        if state.incarnation != self.incarnation {
            return Ok(T::default());
        }
        let result = change(&mut state);
        state.ops += 1;
        state.freeze_if_due();
        result
    }

    fn file(&self, path: &Path, inode: u64) -> Arc<dyn DiskFile> {
        // The controller takes no outcome of an append that comes later.
        let is_prompt = path.components().any(|part| part.as_os_str() == PROMPT_DIR);
        Arc::new(SimFile { disk: self.clone(), inode, is_prompt })
    }
}

impl State {
    fn freeze_if_due(&mut self) {
        if self.frozen.is_none() && self.freeze_at.is_some_and(|at| self.ops >= at) {
            self.frozen = Some(Box::new(self.contents.clone()));
        }
    }

    fn submit(&mut self, result: io::Result<()>) -> Submitted<()> {
        if !self.rng.happens(self.faults.slow_permille) {
            return Submitted::Done(result);
        }
        self.next_op += 1;
        let id = OpId(self.next_op);
        self.pending.push((id, result));
        Submitted::Pending(id)
    }

    fn sync(&mut self, inode: u64) -> io::Result<()> {
        let fails = self.rng.happens(self.faults.sync_error_permille);
        let inode = self.contents.inode_mut(inode);
        if fails {
            inode.fail_sync();
            return Err(io::Error::other("injected sync error"));
        }
        inode.sync();
        Ok(())
    }

    fn append(&mut self, inode: u64, at: usize, bytes: &[u8]) -> io::Result<()> {
        let used: usize = self.contents.inodes.values().map(Inode::len).sum();
        let len = self.contents.inode_mut(inode).len();
        let more = (at + bytes.len()).saturating_sub(len);
        let room = self.faults.capacity_bytes.map_or(usize::MAX, |c| (c as usize).saturating_sub(used));
        if more > room {
            let fits = bytes.len() - (more - room).min(bytes.len());
            self.contents.inode_mut(inode).write(at, &bytes[..fits]);
            return Err(io::ErrorKind::StorageFull.into());
        }
        if self.rng.happens(self.faults.append_error_permille) {
            let part = self.rng.below(bytes.len() as u64 + 1) as usize;
            self.contents.inode_mut(inode).write(at, &bytes[..part]);
            return Err(io::Error::other("injected write error"));
        }
        self.contents.inode_mut(inode).write(at, bytes);
        Ok(())
    }
}

impl Contents {
    fn inode_mut(&mut self, inode: u64) -> &mut Inode {
        self.inodes.get_mut(&inode).expect("inodes are never removed while they have a name or a handle")
    }

    fn dir_mut(&mut self, dir: u64) -> &mut Dir {
        self.dirs.get_mut(&dir).expect("a directory node has its directory")
    }

    fn lookup(&self, path: &Path) -> io::Result<Node> {
        let mut node = Node::Dir(ROOT);
        for component in path.components() {
            let Component::Normal(name) = component else { continue };
            let Node::Dir(dir) = node else { return Err(io::ErrorKind::NotADirectory.into()) };
            let name = name.to_str().ok_or(io::ErrorKind::InvalidInput)?;
            node = *self.dirs[&dir].seen.get(name).ok_or(io::ErrorKind::NotFound)?;
        }
        Ok(node)
    }

    fn dir(&self, path: &Path) -> io::Result<u64> {
        match self.lookup(path)? {
            Node::Dir(dir) => Ok(dir),
            Node::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn file(&self, path: &Path) -> io::Result<u64> {
        match self.lookup(path)? {
            Node::File(inode) => Ok(inode),
            Node::Dir(_) => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    fn parent(&self, path: &Path) -> io::Result<(u64, String)> {
        let dir = self.dir(path.parent().ok_or(io::ErrorKind::InvalidInput)?)?;
        let name = path.file_name().and_then(|n| n.to_str()).ok_or(io::ErrorKind::InvalidInput)?;
        Ok((dir, name.to_owned()))
    }

    fn fresh(&mut self) -> u64 {
        self.next_inode += 1;
        self.next_inode
    }

    fn create(&mut self, path: &Path) -> io::Result<u64> {
        let (dir, name) = self.parent(path)?;
        let inode = self.fresh();
        self.inodes.insert(inode, Inode::default());
        self.dir_mut(dir).change(NameChange::Add(name, Node::File(inode)));
        Ok(inode)
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    inode: u64,
    /// Appends are never owed.
    is_prompt: bool,
}

#[derive(Debug)]
struct SimLock {
    disk: SimDisk,
    path: String,
    id: u64,
}

impl DirLock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        if state.locks.get(&self.path) == Some(&self.id) {
            state.locks.remove(&self.path);
        }
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let existing = self.state().contents.file(path);
        let inode = match (mode, existing) {
            (OpenMode::Read | OpenMode::Write, existing) => existing?,
            (OpenMode::CreateNew, Ok(_)) => return Err(io::ErrorKind::AlreadyExists.into()),
            (OpenMode::CreateEmpty, Ok(inode)) => {
                self.change(|state| {
                    state.contents.inode_mut(inode).cut(0);
                    Ok(())
                })?;
                inode
            }
            (_, Err(e)) if e.kind() == io::ErrorKind::NotFound => {
                self.change(|state| state.contents.create(path))?
            }
            (_, Err(e)) => return Err(e),
        };
        Ok(self.file(path, inode))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(|state| {
            let node = state.contents.lookup(from)?;
            let (from_dir, from) = state.contents.parent(from)?;
            let (to_dir, to) = state.contents.parent(to)?;
            if from_dir == to_dir {
                state.contents.dir_mut(from_dir).change(NameChange::Rename(from, to, node));
            } else {
                state.contents.dir_mut(to_dir).change(NameChange::Add(to, node));
                state.contents.dir_mut(from_dir).change(NameChange::Remove(from));
            }
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.change(|state| {
            state.contents.file(path)?;
            let (dir, name) = state.contents.parent(path)?;
            state.contents.dir_mut(dir).change(NameChange::Remove(name));
            Ok(())
        })
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.change(|state| {
            if state.contents.lookup(path).is_ok() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            let (dir, name) = state.contents.parent(path)?;
            let new = state.contents.fresh();
            state.contents.dirs.insert(new, Dir::default());
            state.contents.dir_mut(dir).change(NameChange::Add(name, Node::Dir(new)));
            Ok(())
        })
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.change(|state| {
            let dir = state.contents.dir(path)?;
            if !state.contents.dirs[&dir].seen.is_empty() {
                return Err(io::ErrorKind::DirectoryNotEmpty.into());
            }
            let (parent, name) = state.contents.parent(path)?;
            state.contents.dir_mut(parent).change(NameChange::Remove(name));
            Ok(())
        })
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let state = self.state();
        let dir = state.contents.dir(dir)?;
        let entries = state.contents.dirs[&dir].seen.iter().map(|(name, node)| match node {
            Node::File(inode) => {
                let len = state.contents.inodes[inode].len() as u64;
                DirEntry { name: name.clone(), kind: EntryKind::File, len }
            }
            Node::Dir(_) => DirEntry { name: name.clone(), kind: EntryKind::Dir, len: 0 },
        });
        Ok(entries.collect())
    }

    fn sync_dir(&self, dir: &Path) -> Submitted<()> {
        Submitted::Done(self.change(|state| {
            let dir = state.contents.dir(dir)?;
            if state.rng.happens(state.faults.sync_error_permille) {
                return Err(io::Error::other("injected sync error"));
            }
            state.contents.dir_mut(dir).sync();
            Ok(())
        }))
    }

    fn space(&self, _path: &Path) -> io::Result<Space> {
        let state = self.state();
        let used: usize = state.contents.inodes.values().map(Inode::len).sum();
        let total = state.faults.capacity_bytes.unwrap_or(u64::MAX);
        Ok(Space { total, available: total.saturating_sub(used as u64) })
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DirLock>> {
        let mut state = self.state();
        let path = path.display().to_string();
        if state.locks.contains_key(&path) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        state.next_op += 1;
        let id = state.next_op;
        state.locks.insert(path.clone(), id);
        Ok(Box::new(SimLock { disk: self.clone(), path, id }))
    }

    fn page_cache_id(&self) -> io::Result<String> {
        Ok(format!("boot-{}", self.state().boot))
    }

    fn completions(&self, out: &mut Vec<Completion>) {
        let mut state = self.state();
        if state.faults.is_stalled || state.incarnation != self.incarnation {
            return;
        }
        let pending = std::mem::take(&mut state.pending);
        for (id, result) in pending {
            if state.rng.below(2) == 0 {
                out.push(Completion { id, result });
            } else {
                state.pending.push((id, result));
            }
        }
    }
}

impl DiskFile for SimFile {
    fn append(&self, position: u64, parts: &[IoSlice<'_>]) -> Submitted<()> {
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        let mut submitted = None;
        let result = self.disk.change(|state| {
            let result = state.append(self.inode, position as usize, &bytes);
            submitted = Some(if self.is_prompt { Submitted::Done(result) } else { state.submit(result) });
            Ok(())
        });
        submitted.unwrap_or(Submitted::Done(result))
    }

    fn read_at(&self, buf: &mut [u8], position: u64) -> io::Result<usize> {
        let mut state = self.disk.state();
        if state.incarnation != self.disk.incarnation {
            return Err(io::Error::other("this incarnation of the node is over"));
        }
        let n = state.contents.inodes[&self.inode].read(buf, position as usize);
        let permille = state.faults.read_flip_permille;
        if n > 0 && state.rng.happens(permille) {
            let at = state.rng.below(n as u64) as usize;
            buf[at] ^= 1 << state.rng.below(8);
        }
        Ok(n)
    }

    /// Pages come and go: what lies at some places is not in memory, so that whoever can wait does.
    fn read_cached_at(&self, buf: &mut [u8], position: u64) -> io::Result<Option<usize>> {
        const COLD_ONE_IN: u64 = 5;
        if (position / 64 + self.inode).is_multiple_of(COLD_ONE_IN) {
            return Ok(None);
        }
        self.read_at(buf, position).map(Some)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.state().contents.inodes[&self.inode].len() as u64)
    }

    fn sync(&self) -> Submitted<()> {
        let mut submitted = None;
        let result = self.disk.change(|state| {
            let result = state.sync(self.inode);
            submitted = Some(state.submit(result));
            Ok(())
        });
        submitted.unwrap_or(Submitted::Done(result))
    }

    fn write_now(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        self.disk.change(|state| state.append(self.inode, position as usize, bytes))
    }

    fn sync_now(&self) -> io::Result<()> {
        self.disk.change(|state| state.sync(self.inode))
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.disk.change(|state| {
            let inode = state.contents.inode_mut(self.inode);
            if inode.len() != len as usize {
                inode.cut(len as usize);
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(disk: &SimDisk, path: &str, at: u64, bytes: &[u8]) {
        let file = disk.open(Path::new(path), OpenMode::Write);
        let file = file.or_else(|_| disk.open(Path::new(path), OpenMode::CreateNew)).unwrap();
        file.append(at, &[IoSlice::new(bytes)]).now().unwrap();
    }

    fn sync(disk: &SimDisk, path: &str) {
        disk.open(Path::new(path), OpenMode::Read).unwrap().sync().now().unwrap();
        disk.sync_dir(Path::new("/")).now().unwrap();
    }

    fn read(disk: &SimDisk, path: &str) -> Option<Vec<u8>> {
        highwater::disk::read_all(disk, Path::new(path), 1 << 20).ok()
    }

    #[test]
    fn what_is_synced_survives_and_what_is_not_may_do_anything() {
        let (mut lost, mut torn, mut kept, mut nameless) = (0, 0, 0, 0);
        for seed in 0..1000 {
            let disk = SimDisk::new(seed);
            write(&disk, "/f", 0, &[1; 600]);
            sync(&disk, "/f");
            write(&disk, "/f", 600, &[2; 2000]);
            write(&disk, "/g", 0, &[3; 10]);
            let disk = disk.power_cut();
            let f = read(&disk, "/f").expect("the name was synced");
            assert_eq!(f[..600], [1; 600]);
            match f[600..].iter().filter(|b| **b == 2).count() {
                0 => lost += 1,
                2000 => kept += 1,
                _ => torn += 1,
            }
            nameless += usize::from(read(&disk, "/g").is_none());
        }
        assert!(lost > 100 && torn > 100 && kept > 100 && nameless > 300, "{lost} {torn} {kept} {nameless}");
    }

    #[test]
    fn a_kill_loses_nothing() {
        let disk = SimDisk::new(1);
        write(&disk, "/f", 0, b"unsynced");
        let next = disk.kill();
        assert_eq!(read(&next, "/f").unwrap(), b"unsynced");
        assert_eq!(disk.page_cache_id().unwrap(), next.page_cache_id().unwrap());
        write(&disk, "/f", 0, b"zombie");
        assert_eq!(read(&next, "/f").unwrap(), b"unsynced", "an incarnation that is over changes nothing");
        assert_ne!(next.power_cut().page_cache_id().unwrap(), disk.kill().page_cache_id().unwrap() + "x");
    }

    #[test]
    fn a_failed_sync_drops_the_writes_for_good() {
        let disk = SimDisk::new(1);
        write(&disk, "/f", 0, b"first");
        sync(&disk, "/f");
        write(&disk, "/f", 0, b"later");
        disk.inject(DiskFaults { sync_error_permille: 1000, ..DiskFaults::default() });
        assert!(disk.open(Path::new("/f"), OpenMode::Read).unwrap().sync().now().is_err());
        disk.inject(DiskFaults::default());
        sync(&disk, "/f");
        assert_eq!(read(&disk, "/f").unwrap(), b"later", "reads do not show it");
        assert_eq!(read(&disk.power_cut(), "/f").unwrap(), b"first");
    }

    #[test]
    fn a_frozen_disk_answers_but_keeps_nothing() {
        let disk = SimDisk::new(1);
        write(&disk, "/f", 0, b"aa");
        disk.freeze_after(1);
        write(&disk, "/f", 2, b"bb");
        assert!(disk.is_frozen());
        write(&disk, "/f", 4, b"cc");
        disk.rename(Path::new("/f"), Path::new("/g")).unwrap();
        assert_eq!(read(&disk, "/g").unwrap(), b"aabbcc");
        let disk = disk.kill();
        assert_eq!(read(&disk, "/f").unwrap(), b"aabb");
    }

    #[test]
    fn a_rename_is_never_half_done() {
        for seed in 0..200 {
            let disk = SimDisk::new(seed);
            write(&disk, "/f", 0, b"old");
            sync(&disk, "/f");
            write(&disk, "/new", 0, b"new");
            disk.open(Path::new("/new"), OpenMode::Read).unwrap().sync().now().unwrap();
            disk.rename(Path::new("/new"), Path::new("/f")).unwrap();
            let found = read(&disk.power_cut(), "/f").unwrap();
            assert!(found == b"old" || found == b"new");
        }
    }

    #[test]
    fn a_full_disk_takes_what_fits_and_says_so() {
        let disk = SimDisk::new(1);
        disk.inject(DiskFaults { capacity_bytes: Some(10), ..DiskFaults::default() });
        let file = disk.open(Path::new("/f"), OpenMode::CreateNew).unwrap();
        file.append(0, &[IoSlice::new(&[1; 8])]).now().unwrap();
        let error = file.append(8, &[IoSlice::new(&[2; 8])]).now().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(file.len().unwrap(), 10);
        assert_eq!(disk.space(Path::new("/")).unwrap().available, 0);
    }

    #[test]
    fn slow_operations_end_when_the_stall_is_over() {
        let disk = SimDisk::new(1);
        let slow = DiskFaults { slow_permille: 1000, is_stalled: true, ..DiskFaults::default() };
        disk.inject(slow.clone());
        let file = disk.open(Path::new("/f"), OpenMode::CreateNew).unwrap();
        let Submitted::Pending(id) = file.append(0, &[IoSlice::new(b"x")]) else { panic!("it is slow") };
        let mut done = Vec::new();
        disk.completions(&mut done);
        assert!(done.is_empty());
        disk.inject(DiskFaults { is_stalled: false, ..slow });
        while done.is_empty() {
            disk.completions(&mut done);
        }
        assert_eq!(done[0].id, id);
    }
}
