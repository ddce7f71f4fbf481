//! The directory that holds all of a node's logs: its lock, whose it is, and its log directories.

use super::checkpoint::{LastRun, RecoveryPoints};
use super::error::LogError;
use super::identity::{
    self, METADATA_BYTES_MAX, METADATA_FILE, damaged_dir_name, deleted_dir_name, dir_name, is_deleted_dir,
    parse_dir_name,
};
use super::recovery::{Opening, RecoveryReport};
use super::segment::LogContext;
use super::{Log, LogConfig, RECOVERY_POINTS_FILE};
use crate::disk::{DirEntry, DirLock, Disk, EntryKind, OpenMode, Space, read_all, replace_file};
use highwater_core::ids::{BrokerId, DirectoryId, Offset, PartitionIndex, TopicId, TopicPartition};
use highwater_core::planted;
use highwater_core::time::Timestamp;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

/// The version of the directory's layout that this build writes and reads.
pub const FORMAT_VERSION: u32 = 1;

/// Whose directory it is, in the form of Kafka's file of this name.
const PROPERTIES_FILE: &str = "meta.properties";
const PROPERTIES_BYTES_MAX: u64 = 64 * 1024;

/// The controllers that a directory was made with.
const INITIAL_CONTROLLERS: &str = "highwater.initial.controllers";

/// The lock against a second process.
const LOCK_FILE: &str = ".lock";

/// What a node expects of its data directory.
#[derive(Clone, Debug)]
pub struct DataDirConfig {
    /// Where it is. Made if it is missing.
    pub path: PathBuf,
    /// The node's id, which an existing directory must have.
    pub node_id: BrokerId,
    /// The cluster's id, if it is known, which an existing directory must have; a new one gets it.
    pub cluster_id: Option<String>,
    /// The cluster that a new directory founds if none is known; `None` if it is to join one, whose id it then
    /// learns ([`DataDir::join_cluster`]).
    pub cluster_id_if_new: Option<String>,
    /// The id of its own that a new directory gets (KIP-853).
    pub directory_id_if_new: DirectoryId,
    /// The controllers with which a new directory begins, as an operator writes them; empty if it joins a cluster
    /// without knowing any. `None` if its node votes alone.
    pub initial_controllers_if_new: Option<String>,
    /// Below so many available bytes [`DataDir::is_low`] warns.
    pub available_bytes_min: u64,
}

/// Why a data directory cannot be used.
#[derive(Debug)]
pub enum DataDirError {
    /// It cannot be read or written.
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the disk said.
        source: io::Error,
    },
    /// Another process has it.
    InUse(PathBuf),
    /// A newer version made it.
    FormatTooNew {
        /// The directory.
        path: PathBuf,
        /// Its version.
        found: String,
    },
    /// It is somebody's already, and is to be made anew.
    Formatted(PathBuf),
    /// Something else made it.
    Foreign {
        /// The directory.
        path: PathBuf,
        /// How that shows.
        cause: String,
    },
    /// It belongs to another node or cluster.
    WrongOwner {
        /// The directory.
        path: PathBuf,
        /// What differs.
        what: &'static str,
        /// What it says.
        found: String,
        /// What the configuration says.
        wanted: String,
    },
    /// Its recovery points are lost or damaged.
    Corrupt(LogError),
}

impl fmt::Display for DataDirError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { what, path, source } => write!(f, "cannot {what} {}: {source}", path.display()),
            Self::InUse(path) => write!(f, "data directory {} is in use by another process", path.display()),
            Self::FormatTooNew { path, found } => write!(
                f,
                "data directory {} has format version {found}, but this version of highwater knows {FORMAT_VERSION} \
                 at most: use a newer highwater",
                path.display()
            ),
            Self::Formatted(path) => write!(f, "data directory {} is formatted already", path.display()),
            Self::Foreign { path, cause } => {
                write!(f, "{} is not a data directory of highwater: {cause}", path.display())
            }
            Self::WrongOwner { path, what, found, wanted } => write!(
                f,
                "data directory {} belongs to {what} {found}, but {what} {wanted} is configured",
                path.display()
            ),
            Self::Corrupt(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for DataDirError {}

fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DataDirError {
    let path = path.to_owned();
    move |source| DataDirError::Io { what, path, source }
}

/// A log directory that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundLog {
    /// The topic's name at the time the directory was made.
    pub topic: String,
    /// The partition.
    pub partition: PartitionIndex,
    /// The topic's id; `None` if `partition.metadata` is missing or damaged.
    pub topic_id: Option<TopicId>,
}

/// An open data directory. The lock lasts as long as this value.
#[derive(Debug)]
pub struct DataDir {
    context: LogContext,
    path: PathBuf,
    node_id: BrokerId,
    directory_id: DirectoryId,
    /// None until the cluster that it joins is known.
    cluster_id: RwLock<Option<String>>,
    initial_controllers: Option<String>,
    available_bytes_min: u64,
    points: Arc<RecoveryPoints>,
    last_run: LastRun,
    _lock: Box<dyn DirLock>,
}

#[cfg(test)]
impl DataDir {
    /// The directory of a node that is alone, on the real disk.
    pub(crate) fn of_a_test(path: &Path) -> Self {
        let context = LogContext { disk: Arc::new(crate::disk::RealDisk), files: super::OpenFiles::new(8) };
        let config = DataDirConfig {
            path: path.to_owned(),
            node_id: BrokerId(1),
            cluster_id: None,
            cluster_id_if_new: Some("the-cluster".to_owned()),
            directory_id_if_new: DirectoryId([7; 16]),
            initial_controllers_if_new: None,
            available_bytes_min: 0,
        };
        Self::open(context, &config).expect("a directory of our own")
    }
}

impl DataDir {
    /// Opens or makes the directory. From here on until [`DataDir::close`] it counts as not closed in order.
    pub fn open(context: LogContext, config: &DataDirConfig) -> Result<Self, DataDirError> {
        let disk = &*context.disk;
        let path = config.path.clone();
        create_dirs(disk, &path)?;
        let lock = disk.lock(&path.join(LOCK_FILE)).map_err(|source| match source.kind() {
            io::ErrorKind::WouldBlock => DataDirError::InUse(path.clone()),
            _ => io_error("lock", &path)(source),
        })?;
        let owner = match read_properties(disk, &path)? {
            Some(properties) => properties.check(disk, &path, config)?,
            None => format(&context.disk, config)?,
        };
        if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            // Who made the directory may have been killed before its name was durable. Best effort: the parent may
            // belong to somebody else.
            let _ = disk.sync_dir(parent).now();
        }
        let (points, last_run) =
            RecoveryPoints::open(context.disk.clone(), &path).map_err(DataDirError::Corrupt)?;
        let available_bytes_min = config.available_bytes_min;
        Ok(Self {
            context,
            path,
            node_id: config.node_id,
            directory_id: owner.directory_id,
            cluster_id: RwLock::new(owner.cluster_id),
            initial_controllers: owner.initial_controllers,
            available_bytes_min,
            points,
            last_run,
            _lock: lock,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The cluster it belongs to; `None` if that is not known yet.
    pub fn cluster_id(&self) -> Option<String> {
        self.cluster_id.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The directory's own id, drawn when it was made.
    pub const fn directory_id(&self) -> DirectoryId {
        self.directory_id
    }

    /// The controllers with which it began; empty if it joins a cluster and knew none. `None` if its node votes alone,
    /// as in every directory of the releases before clusters.
    pub fn initial_controllers(&self) -> Option<&str> {
        self.initial_controllers.as_deref()
    }

    /// Makes a directory for a node that is to be started later; one that is somebody's already is left as it is.
    pub fn format(context: LogContext, config: &DataDirConfig) -> Result<Self, DataDirError> {
        match read_owner(&*context.disk, &config.path)? {
            Some(_) => Err(DataDirError::Formatted(config.path.clone())),
            None => {
                let dir = Self::open(context, config)?;
                dir.mark_clean().map_err(DataDirError::Corrupt)?;
                Ok(dir)
            }
        }
    }

    /// Takes the id of the cluster that a directory without one has joined. Durable when it returns; a directory of
    /// a cluster keeps to it.
    pub fn join_cluster(&self, cluster_id: &str) -> Result<(), DataDirError> {
        let mut known = self.cluster_id.write().unwrap_or_else(PoisonError::into_inner);
        match known.as_deref() {
            Some(same) if same == cluster_id => return Ok(()),
            Some(other) => {
                return Err(DataDirError::WrongOwner {
                    path: self.path.clone(),
                    what: "cluster",
                    found: other.to_owned(),
                    wanted: cluster_id.to_owned(),
                });
            }
            None => {}
        }
        let owner = Owner {
            cluster_id: Some(cluster_id.to_owned()),
            directory_id: self.directory_id,
            initial_controllers: self.initial_controllers.clone(),
        };
        owner.write(&*self.context.disk, &self.path, self.node_id)?;
        *known = owner.cluster_id;
        Ok(())
    }

    /// How the process before ended.
    pub const fn last_run(&self) -> &LastRun {
        &self.last_run
    }

    /// What the logs share.
    pub const fn context(&self) -> &LogContext {
        &self.context
    }

    /// The recovery points; the shell writes them every minute or so, after retention, and before it answers
    /// DeleteRecords.
    pub const fn recovery_points(&self) -> &Arc<RecoveryPoints> {
        &self.points
    }

    /// How full the file system is.
    pub fn space(&self) -> io::Result<Space> {
        self.context.disk.space(&self.path)
    }

    /// Whether less is available than the low-water mark asks for.
    pub fn is_low(&self) -> io::Result<bool> {
        Ok(self.space()?.available < self.available_bytes_min)
    }

    /// The log directories, by name. Other names are left alone.
    pub fn logs(&self) -> Result<Vec<FoundLog>, LogError> {
        let entries = self.context.disk.list(&self.path).map_err(LogError::io("list", &self.path))?;
        let dirs = entries.iter().filter(|e| e.kind == EntryKind::Dir);
        let found = dirs.filter_map(|entry| {
            let (topic, partition) = parse_dir_name(&entry.name)?;
            let metadata = self.path.join(&entry.name).join(METADATA_FILE);
            let text = read_all(&*self.context.disk, &metadata, METADATA_BYTES_MAX);
            let topic_id = text.ok().and_then(|text| identity::decode(&text));
            Some(FoundLog { topic: topic.to_owned(), partition, topic_id })
        });
        Ok(found.collect())
    }

    /// Opens a partition's log, or makes it if there is none (and never was one with flushed records: that would
    /// be corruption).
    pub fn open_log(
        &self,
        topic: &str,
        tp: TopicPartition,
        config: LogConfig,
        now: Timestamp,
    ) -> Result<(Log, RecoveryReport), LogError> {
        let dir = self.path.join(dir_name(topic, tp.partition));
        let disk = &*self.context.disk;
        let is_new = match disk.create_dir(&dir) {
            Ok(()) => true,
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => false,
            Err(e) => return Err(LogError::io("create", &dir)(e)),
        };
        self.check_identity(&dir, tp)?;
        let (context, points, last_run) = (&self.context, &self.points, &self.last_run);
        Opening { context, dir, tp, config, points, last_run, is_new, now }.open()
    }

    /// Checks that the directory is this topic's, not that of another of its name. An unreadable identity beside
    /// records is corruption; without records it is what a crash right after the creation leaves.
    fn check_identity(&self, dir: &Path, tp: TopicPartition) -> Result<(), LogError> {
        let disk = &*self.context.disk;
        let path = dir.join(METADATA_FILE);
        let text = match read_all(disk, &path, METADATA_BYTES_MAX) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(LogError::io("read", &path)(e)),
        };
        let cause = match identity::decode(&text) {
            Some(found) if found == tp.topic_id => return self.renew_identity(&path, tp, &text),
            Some(found) => format!("the directory belongs to topic id {found}, not {}", tp.topic_id),
            None => {
                let entries = disk.list(dir).map_err(LogError::io("list", dir))?;
                let has_records = entries.iter().any(|e| e.name.ends_with(".log") && e.len > 0);
                let was_flushed = self.points.point(tp).is_some_and(|p| p.flushed > p.log_start);
                if !has_records || !was_flushed {
                    self.remove_unnamed(dir, &entries)?;
                    let file =
                        disk.open(&path, OpenMode::CreateEmpty).map_err(LogError::io("create", &path))?;
                    let text = identity::encode(tp.topic_id);
                    return file.write_now(0, text.as_bytes()).map_err(LogError::io("write", &path));
                }
                "the topic id is missing or damaged beside flushed records".to_owned()
            }
        };
        let offset = Offset(-1);
        Err(LogError::Corrupt(super::Corruption { path, position: 0, offset, cause }))
    }

    /// Files without an identity may be those of a deleted topic of this name, whose directory a power cut gave its old
    /// name back. They were never flushed as this topic's, so nothing that must stay goes with them. They are gone for
    /// good before an identity says whose directory it is (ST-07, PR-15).
    fn remove_unnamed(&self, dir: &Path, entries: &[DirEntry]) -> Result<(), LogError> {
        let disk = &*self.context.disk;
        let unnamed = entries.iter().filter(|e| e.kind == EntryKind::File && e.name != METADATA_FILE);
        let unnamed: Vec<_> = unnamed.filter(|_| planted!(UnnamedRecordsRemoved, false, true)).collect();
        if unnamed.is_empty() {
            return Ok(());
        }
        tracing::warn!(
            dir = %dir.display(),
            files = unnamed.len(),
            "removing files that no topic id says whose they are; nothing of them was ever flushed"
        );
        for entry in unnamed {
            let path = dir.join(&entry.name);
            disk.remove(&path).map_err(LogError::io("remove", &path))?;
        }
        disk.sync_dir(dir).now().map_err(LogError::io("sync", dir))
    }

    /// An identity that was never flushed may read well and yet not be on the device after a failed sync; as with the
    /// batches themselves (ST-01), it is written once more. In place: the bytes do not change, whatever a crash does.
    fn renew_identity(&self, path: &Path, tp: TopicPartition, text: &[u8]) -> Result<(), LogError> {
        let is_durable = self.points.point(tp).is_some_and(|point| point.flushed > Offset::ZERO);
        if is_durable || self.last_run.was_clean {
            return Ok(());
        }
        let file = self.context.disk.open(path, OpenMode::Write).map_err(LogError::io("open", path))?;
        file.write_now(0, text).map_err(LogError::io("write", path))
    }

    /// Takes a log out of service: its directory gets a name of its own at once, so that a topic of the same name
    /// can be made. The files go with [`DataDir::remove_deleted`].
    pub fn delete_log(&self, log: &mut Log) -> Result<(), LogError> {
        let to = self.path.join(deleted_dir_name(log.topic_partition()));
        self.context.disk.rename(log.dir(), &to).map_err(LogError::io("rename", log.dir()))?;
        log.moved_to(&to);
        self.points.forget(log.topic_partition());
        Ok(())
    }

    /// As [`DataDir::delete_log`], for a directory that nobody has opened: a stray one, whose topic is gone.
    pub fn delete_stray(&self, found: &FoundLog) -> Result<(), LogError> {
        let from = self.path.join(dir_name(&found.topic, found.partition));
        let topic_id = found.topic_id.unwrap_or_default();
        let tp = TopicPartition { topic_id, partition: found.partition };
        let to = self.path.join(deleted_dir_name(tp));
        self.points.forget(tp);
        self.context.disk.rename(&from, &to).map_err(LogError::io("rename", &from))
    }

    /// Takes a corrupt log that nobody has opened out of the way, so that a new one can be made, and gives back where
    /// it is then. It is kept for the operator: nothing here removes it. One is kept of each partition, so that a device
    /// that damages whatever it holds is not filled with copies.
    ///
    /// What is known of its flushed records is forgotten first, and for good: after a crash in between, the log that is
    /// opened under the old name may be cut where it is damaged.
    pub fn set_aside(&self, topic: &str, tp: TopicPartition) -> Result<PathBuf, LogError> {
        let disk = &*self.context.disk;
        let from = self.path.join(dir_name(topic, tp.partition));
        let to = self.path.join(damaged_dir_name(tp));
        if disk.list(&to).is_ok() {
            let taken = io::Error::new(io::ErrorKind::AlreadyExists, "an earlier damaged log is kept there");
            return Err(LogError::io("set the damaged log aside as", &to)(taken));
        }
        self.points.forget(tp);
        self.points.write()?;
        disk.rename(&from, &to).map_err(LogError::io("rename", &from))?;
        disk.sync_dir(&self.path).now().map_err(LogError::io("sync", &self.path))?;
        Ok(to)
    }

    /// The directories that wait for their removal; call [`DataDir::remove_deleted`] for each once
    /// `file.delete.delay.ms` has passed, or at the start.
    pub fn deleted(&self) -> Result<Vec<PathBuf>, LogError> {
        let entries = self.context.disk.list(&self.path).map_err(LogError::io("list", &self.path))?;
        let deleted = entries.into_iter().filter(|e| e.kind == EntryKind::Dir && is_deleted_dir(&e.name));
        Ok(deleted.map(|e| self.path.join(e.name)).collect())
    }

    /// Removes a deleted log's files and directory.
    pub fn remove_deleted(&self, dir: &Path) -> Result<(), LogError> {
        let disk = &*self.context.disk;
        for entry in disk.list(dir).map_err(LogError::io("list", dir))? {
            let path = dir.join(entry.name);
            disk.remove(&path).map_err(LogError::io("remove", &path))?;
        }
        disk.remove_dir(dir).map_err(LogError::io("remove", dir))
    }

    /// The end of an orderly shutdown, after [`Log::close`] of every log: the next start trusts the directory.
    /// Not to be called if a log is poisoned, failed to open or failed to close.
    pub fn close(self) -> Result<(), LogError> {
        self.mark_clean()
    }

    /// As [`DataDir::close`], for a directory whose lock others still hold on to.
    pub fn mark_clean(&self) -> Result<(), LogError> {
        self.points.write_clean()
    }
}

impl Log {
    /// Follows a rename of the directory.
    fn moved_to(&mut self, dir: &Path) {
        for segment in self.segments.iter().chain(self.doomed.iter().map(|d| &d.segment)) {
            let path = segment.file.path();
            if let Some(name) = path.file_name() {
                segment.file.moved_to(&dir.join(name));
            }
        }
        self.is_deleted = true;
        self.poisoned.get_or_insert_with(|| "the log was deleted".to_owned());
        self.dir = dir.to_owned();
    }
}

/// Makes a directory and those above it.
fn create_dirs(disk: &dyn Disk, path: &Path) -> Result<(), DataDirError> {
    match disk.create_dir(path) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            disk.list(path).map(|_| ()).map_err(io_error("read the data directory", path))
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => {
                create_dirs(disk, parent)?;
                disk.create_dir(path).map_err(io_error("create the data directory", path))
            }
            _ => Err(io_error("create the data directory", path)(e)),
        },
        Err(e) => Err(io_error("create the data directory", path)(e)),
    }
}

#[derive(Debug)]
struct Properties {
    format: Option<String>,
    cluster_id: Option<String>,
    node_id: Option<String>,
    directory_id: Option<String>,
    initial_controllers: Option<String>,
}

/// Whose a directory is, as it says itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoundOwner {
    /// The node.
    pub node_id: Option<BrokerId>,
    /// The cluster, if it has one yet.
    pub cluster_id: Option<String>,
    /// Its own id, in text.
    pub directory_id: Option<String>,
}

/// Whose a directory is; `None` if it is nobody's yet. Changes nothing.
pub fn read_owner(disk: &dyn Disk, dir: &Path) -> Result<Option<FoundOwner>, DataDirError> {
    let found = read_properties(disk, dir)?;
    Ok(found.map(|found| FoundOwner {
        node_id: found.node_id.and_then(|id| id.parse().ok()).map(BrokerId),
        cluster_id: found.cluster_id,
        directory_id: found.directory_id,
    }))
}

/// Whose directory it is.
struct Owner {
    cluster_id: Option<String>,
    directory_id: DirectoryId,
    initial_controllers: Option<String>,
}

impl Owner {
    fn write(&self, disk: &dyn Disk, dir: &Path, node_id: BrokerId) -> Result<(), DataDirError> {
        let cluster = self.cluster_id.as_ref().map(|id| format!("cluster.id={id}\n")).unwrap_or_default();
        let controllers = self.initial_controllers.as_ref();
        let controllers =
            controllers.map(|named| format!("{INITIAL_CONTROLLERS}={named}\n")).unwrap_or_default();
        let text = format!(
            "version=1\n{cluster}node.id={node_id}\ndirectory.id={}\n{controllers}highwater.format={FORMAT_VERSION}\n",
            self.directory_id
        );
        let path = dir.join(PROPERTIES_FILE);
        replace_file(disk, &path, text.as_bytes()).map_err(io_error("write", &path))
    }
}

fn read_properties(disk: &dyn Disk, dir: &Path) -> Result<Option<Properties>, DataDirError> {
    let path = dir.join(PROPERTIES_FILE);
    let text = match read_all(disk, &path, PROPERTIES_BYTES_MAX) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(io_error("read", &path)(e)),
    };
    let text = String::from_utf8_lossy(&text);
    let field = |name: &str| {
        let mut pairs = text.lines().filter_map(|line| line.trim().split_once('='));
        pairs.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim().to_owned())
    };
    Ok(Some(Properties {
        format: field("highwater.format"),
        cluster_id: field("cluster.id"),
        node_id: field("node.id"),
        directory_id: field("directory.id"),
        initial_controllers: field(INITIAL_CONTROLLERS),
    }))
}

impl Properties {
    /// Answers whose it is. A directory of the releases before clusters gets its id now.
    fn check(self, disk: &dyn Disk, dir: &Path, config: &DataDirConfig) -> Result<Owner, DataDirError> {
        let foreign = |cause: &str| DataDirError::Foreign { path: dir.to_owned(), cause: cause.to_owned() };
        let format = self.format.ok_or_else(|| foreign("its meta.properties has no highwater.format"))?;
        match format.parse::<u32>() {
            Ok(FORMAT_VERSION) => {}
            Ok(n) if n > FORMAT_VERSION => {
                return Err(DataDirError::FormatTooNew { path: dir.to_owned(), found: format });
            }
            _ => return Err(foreign(&format!("highwater.format={format} is no version"))),
        }
        let node_id = self.node_id.ok_or_else(|| foreign("its meta.properties has no node.id"))?;
        let wrong = |what, found: &str, wanted: String| {
            Err(DataDirError::WrongOwner { path: dir.to_owned(), what, found: found.to_owned(), wanted })
        };
        if node_id != config.node_id.to_string() {
            return wrong("node", &node_id, config.node_id.to_string());
        }
        if let (Some(wanted), Some(found)) = (&config.cluster_id, &self.cluster_id)
            && wanted != found
        {
            return wrong("cluster", found, wanted.clone());
        }
        let directory_id = match &self.directory_id {
            Some(text) => identity::parse_topic_id(text).map(|id| DirectoryId(id.0)),
            None => None,
        };
        if self.directory_id.is_some() && directory_id.is_none() {
            return Err(foreign("the directory.id in its meta.properties is none"));
        }
        let had_cluster = self.cluster_id.is_some();
        let owner = Owner {
            cluster_id: self.cluster_id.or_else(|| config.cluster_id.clone()),
            directory_id: directory_id.unwrap_or(config.directory_id_if_new),
            initial_controllers: self.initial_controllers,
        };
        if directory_id.is_none() || (owner.cluster_id.is_some() && !had_cluster) {
            owner.write(disk, dir, config.node_id)?;
        }
        Ok(owner)
    }
}

/// Makes an empty directory ours. `meta.properties` comes last: without it a crash meanwhile is a fresh start.
fn format(disk: &Arc<dyn Disk>, config: &DataDirConfig) -> Result<Owner, DataDirError> {
    let dir = &config.path;
    let entries = disk.list(dir).map_err(io_error("read the data directory", dir))?;
    let is_ours = |name: &str| {
        // `lost+found` is what a fresh file system's root has.
        name == LOCK_FILE
            || name == "lost+found"
            || name.starts_with(RECOVERY_POINTS_FILE)
            || name == "meta.new"
    };
    if let Some(other) = entries.iter().find(|e| !is_ours(&e.name)) {
        let cause = format!("it has {} but no {PROPERTIES_FILE}", other.name);
        return Err(DataDirError::Foreign { path: dir.clone(), cause });
    }
    RecoveryPoints::create(disk.clone(), dir).map_err(DataDirError::Corrupt)?;
    let owner = Owner {
        cluster_id: config.cluster_id.clone().or_else(|| config.cluster_id_if_new.clone()),
        directory_id: config.directory_id_if_new,
        initial_controllers: config.initial_controllers_if_new.clone(),
    };
    owner.write(&**disk, dir, config.node_id)?;
    Ok(owner)
}
