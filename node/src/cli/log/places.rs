//! Which logs and segments a path means.

use super::super::CliError;
use crate::log::parse_dir_name;
use crate::os;
use highwater_core::ids::{Offset, PartitionIndex};
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

/// A partition's directory.
#[derive(Clone, Debug)]
pub(super) struct LogDir {
    pub(super) topic: String,
    pub(super) partition: PartitionIndex,
    pub(super) path: PathBuf,
    /// In the order of their base offsets.
    pub(super) segments: Vec<Segment>,
}

impl LogDir {
    pub(super) fn name(&self) -> String {
        crate::log::dir_name(&self.topic, self.partition)
    }
}

/// A segment file.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) base: Offset,
    pub(super) path: PathBuf,
    pub(super) len: u64,
}

/// What a path is.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// A data directory with its logs.
    DataDir(Vec<LogDir>),
    /// One partition.
    Log(LogDir),
    /// One file.
    Segment(Segment),
}

impl Place {
    pub(super) fn find(path: &Path) -> Result<Self, CliError> {
        let metadata = fs::metadata(path).map_err(|error| failed(path, &error))?;
        if metadata.is_file() {
            return match segment(path, metadata.len()) {
                Some(segment) => Ok(Self::Segment(segment)),
                None => Err(CliError::usage(format!(
                    "{} is no segment: those are named by an offset of 20 digits and end with .log",
                    path.display()
                ))),
            };
        }
        if path.join("meta.properties").is_file() {
            return Ok(Self::DataDir(logs(path)?));
        }
        match log_dir(path)? {
            Some(log) => Ok(Self::Log(log)),
            None => Err(CliError::usage(format!(
                "{} is neither a data directory (it has no meta.properties) nor a partition's (TOPIC-NUMBER)",
                path.display()
            ))),
        }
    }
}

fn failed(path: &Path, error: &io::Error) -> CliError {
    CliError::new(format!("{} cannot be read: {error}", path.display()))
}

fn logs(path: &Path) -> Result<Vec<LogDir>, CliError> {
    let mut logs = Vec::new();
    for entry in fs::read_dir(path).map_err(|error| failed(path, &error))? {
        let entry = entry.map_err(|error| failed(path, &error))?;
        if entry.path().is_dir() {
            logs.extend(log_dir(&entry.path())?);
        }
    }
    logs.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
    Ok(logs)
}

/// A partition's directory, if its name says that it is one.
fn log_dir(path: &Path) -> Result<Option<LogDir>, CliError> {
    // "." has a name, too.
    let full = fs::canonicalize(path).map_err(|error| failed(path, &error))?;
    let name = full.file_name().unwrap_or_default().to_string_lossy();
    let Some((topic, partition)) = parse_dir_name(&name) else { return Ok(None) };
    let mut segments = Vec::new();
    for entry in fs::read_dir(path).map_err(|error| failed(path, &error))? {
        let entry = entry.map_err(|error| failed(path, &error))?;
        // A running broker may have removed it meanwhile.
        let Ok(metadata) = entry.metadata() else { continue };
        segments.extend(segment(&entry.path(), metadata.len()));
    }
    segments.sort_by_key(|segment| segment.base);
    Ok(Some(LogDir { topic: topic.to_owned(), partition, path: path.to_owned(), segments }))
}

fn segment(path: &Path, len: u64) -> Option<Segment> {
    let name = path.file_name()?.to_str()?.strip_suffix(".log")?;
    let is_offset = name.len() == 20 && name.bytes().all(|b| b.is_ascii_digit());
    let base = Offset(name.parse().ok().filter(|_| is_offset)?);
    Some(Segment { base, path: path.to_owned(), len })
}

/// The data directory that a path lies in, if it lies in one.
pub(super) fn data_dir(path: &Path) -> Option<PathBuf> {
    let full = fs::canonicalize(path).ok()?;
    full.ancestors().take(3).find(|dir| dir.join("meta.properties").is_file()).map(Path::to_owned)
}

/// The lock of a data directory.
#[derive(Debug)]
pub(super) enum Lock {
    /// Ours: no broker starts on it before this is dropped.
    Held(#[expect(dead_code, reason = "it is held, not read")] Option<File>),
    /// A broker's.
    Taken,
}

/// Takes the lock without writing anything. A directory without a lock file is nobody's.
pub(super) fn lock(data_dir: &Path) -> Result<Lock, CliError> {
    let path = data_dir.join(".lock");
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Lock::Held(None)),
        Err(error) => return Err(failed(&path, &error)),
    };
    match os::lock_exclusive(file.as_fd()) {
        Ok(()) => Ok(Lock::Held(Some(file))),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Lock::Taken),
        Err(error) => Err(failed(&path, &error)),
    }
}
