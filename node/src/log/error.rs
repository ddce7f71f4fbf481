//! What can go wrong with a log, and what the operator reads then.

use highwater_core::ids::{LeaderEpoch, Offset};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why a log refused or failed an operation.
#[derive(Debug)]
pub enum LogError {
    /// The disk failed. After a failed write or sync the log is poisoned.
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the disk said.
        source: io::Error,
    },
    /// An earlier write or sync failed, so that nobody knows what the file holds (ST-01, ST-05).
    Poisoned {
        /// The earlier failure.
        cause: String,
    },
    /// A batch that does not continue the log.
    OutOfOrder {
        /// The batch's base offset.
        base_offset: Offset,
        /// The batch's leader epoch.
        epoch: LeaderEpoch,
        /// The log's end.
        end: Offset,
        /// The log's last epoch.
        epoch_last: LeaderEpoch,
    },
    /// An offset outside the log.
    OutOfRange {
        /// What was asked for.
        offset: Offset,
        /// The log start.
        start: Offset,
        /// The log end.
        end: Offset,
    },
    /// Bytes that must be there are not, or are not what was written (ST-06). Nothing was cut.
    Corrupt(Corruption),
}

/// Where a log contradicts itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corruption {
    /// The file.
    pub path: PathBuf,
    /// The position of the first bad batch in it.
    pub position: u64,
    /// The offset that was expected there.
    pub offset: Offset,
    /// What is wrong.
    pub cause: String,
}

impl LogError {
    /// Wraps the disk's answer.
    pub(super) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { what, path, source }
    }

    /// Whether the cause is a full disk or quota.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Io { source, .. }
            if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }
}

impl fmt::Display for Corruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} is corrupt at byte {} (offset {}): {}",
            self.path.display(),
            self.position,
            self.offset,
            self.cause
        )
    }
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { what, path, source } => write!(f, "cannot {what} {}: {source}", path.display()),
            Self::Poisoned { cause } => write!(f, "the log is offline since an earlier failure: {cause}"),
            Self::OutOfOrder { base_offset, epoch, end, epoch_last } => write!(
                f,
                "a batch at offset {base_offset} of epoch {epoch} does not continue a log that ends at {end} in \
                 epoch {epoch_last}"
            ),
            Self::OutOfRange { offset, start, end } => {
                write!(f, "offset {offset} is outside the log, which has {start} to {end}")
            }
            Self::Corrupt(corruption) => corruption.fmt(f),
        }
    }
}

impl std::error::Error for LogError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
