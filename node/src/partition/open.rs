//! From a log directory to a partition that can lead: recovery, and the checkpoint that shortens it.

use super::coordinator::Shard;
use super::state::State;
use super::{Partition, Shell};
use crate::cell::CellLock;
use crate::log::{DataDir, Log, LogError, RecoveryReport};
use crate::settings;
use highwater_core::config::{BrokerConfig, TopicConfig};
use highwater_core::coordinator::CoordinatorShard;
use highwater_core::coordinator::group::GroupCoordinator;
use highwater_core::ids::{BrokerId, Offset, TopicPartition};
use highwater_core::replica::{CorruptLog, EpochStart, Epochs, Producers, Recovery, Replica};
use highwater_core::{guard, planted};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, RwLock};

/// Why a partition cannot be opened. It stays offline, its files untouched; the node goes on without it.
#[derive(Debug)]
pub enum OpenError {
    /// The log does not open.
    Log(LogError),
    /// Its batches contradict each other.
    Corrupt(CorruptLog),
}

impl OpenError {
    /// Whether what the log holds is wrong, so that another copy of it is the cure; not the device that it is on.
    pub const fn is_corruption(&self) -> bool {
        matches!(self, Self::Corrupt(_) | Self::Log(LogError::Corrupt(_)))
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Log(error) => error.fmt(f),
            Self::Corrupt(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Log(error) => Some(error),
            Self::Corrupt(error) => Some(error),
        }
    }
}

impl From<LogError> for OpenError {
    fn from(error: LogError) -> Self {
        Self::Log(error)
    }
}

/// What a replica derived from its log before `end`. Rebuilt from the log if it is missing or does not fit.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Where the log began. A crash may bring back what was deleted shortly before it, and the epochs of that are not in
    /// here.
    pub start: Offset,
    /// The log end that it covers.
    pub end: Offset,
    /// The epoch index.
    pub epochs: Epochs,
    /// The producer state, as [`Replica::producers_snapshot`] gives it.
    pub producers: Vec<u8>,
    /// The last batch that it covers.
    pub tail: Tail,
}

/// Tells the log that a snapshot was made of from one that a power cut took back and that grew again since: the
/// last batch's offset, epoch and checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tail {
    base_offset: i64,
    epoch: i32,
    crc: u32,
}

impl Tail {
    /// The batch that ends right before `end`. None without one: then nothing proves that a snapshot fits.
    pub fn of(log: &Log, end: Offset) -> Option<Self> {
        // An unreadable batch is for the recovery to report, which reads the log then.
        let header = log.batch_before(end).ok()??;
        Some(Self { base_offset: header.base_offset.0, epoch: header.leader_epoch.0, crc: header.crc })
    }
}

/// A snapshot as it is stored.
#[derive(Serialize, Deserialize)]
struct Stored {
    version: u8,
    start: i64,
    end: i64,
    epochs: Vec<(i32, i64)>,
    producers: Vec<u8>,
    tail: Tail,
}

const SNAPSHOT_VERSION: u8 = 3;

impl Snapshot {
    /// Its bytes for the node's store of what can be rebuilt.
    pub fn encode(&self) -> Vec<u8> {
        let epochs = self.epochs.entries().iter().map(|e| (e.epoch.0, e.start.0)).collect();
        let stored = Stored {
            version: SNAPSHOT_VERSION,
            start: self.start.0,
            end: self.end.0,
            epochs,
            producers: self.producers.clone(),
            tail: self.tail,
        };
        postcard::to_allocvec(&stored).expect("numbers and bytes always encode")
    }

    /// Reads [`Snapshot::encode`]'s bytes; `None` for anything else.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut stored: Stored = postcard::from_bytes(bytes).ok()?;
        if stored.version != SNAPSHOT_VERSION {
            return None;
        }
        let mut epochs = Epochs::new();
        for (epoch, start) in std::mem::take(&mut stored.epochs) {
            let entry = EpochStart { epoch: highwater_core::ids::LeaderEpoch(epoch), start: Offset(start) };
            if !epochs.assign(entry.epoch, entry.start) {
                return None;
            }
        }
        let Stored { start, end, producers, tail, .. } = stored;
        Some(Self { start: Offset(start), end: Offset(end), epochs, producers, tail })
    }
}

/// What it takes to open a partition.
#[derive(Debug)]
pub struct Opening<'a> {
    /// Where the logs are.
    pub data_dir: &'a DataDir,
    /// What cells use.
    pub shell: &'a Arc<Shell>,
    /// This node.
    pub broker: BrokerId,
    /// The topic's name.
    pub topic: Arc<str>,
    /// Topic id and number.
    pub id: TopicPartition,
    /// The topic's effective settings.
    pub config: Arc<TopicConfig>,
    /// The broker's effective settings.
    pub broker_config: Arc<BrokerConfig>,
    /// The last checkpoint, if the store had one.
    pub snapshot: Option<Snapshot>,
    /// The coordinator that lives on the partition, for an internal topic.
    pub coordinator: Option<CoordinatorShard<GroupCoordinator>>,
}

/// An open partition, and what it took.
#[derive(Debug)]
pub struct Opened {
    /// The partition.
    pub partition: Arc<Partition>,
    /// What recovery did to its log.
    pub report: RecoveryReport,
    /// The bytes of those batches whose headers were read to rebuild what the replica derives from them; the records
    /// themselves are not read.
    pub replayed_bytes: u64,
}

impl Opening<'_> {
    /// Opens the log, or makes it, and rebuilds what the replica derives from it.
    pub fn open(self) -> Result<Opened, OpenError> {
        let now = self.shell.clock.now();
        let log_config = settings::log_config(&self.config, self.id);
        let (log, report) = self.data_dir.open_log(&self.topic, self.id, log_config, now.wall)?;
        if let Some(cut) = &report.cut {
            tracing::warn!(topic = %self.topic, partition = self.id.partition.0, "{cut}");
        }
        let (mut recovery, from) = begin(self.snapshot, &log);
        let mut replayed_bytes = 0;
        if from < log.end() {
            for batch in log.batches_from(from) {
                let mut header = batch?.header;
                header.producer_id =
                    planted!(ProducersRebuilt, highwater_core::ids::ProducerId::NONE, header.producer_id);
                recovery.observe(&header).map_err(OpenError::Corrupt)?;
                replayed_bytes += header.size_bytes() as u64;
            }
        }
        let mut recovered = recovery.finish(log.flushed_through(), log.log_start());
        // Compaction may have emptied the tail: the end is the log's to know (ST-10).
        recovered.log_end = log.end();
        let settings = settings::replica_settings(&self.config, &self.broker_config);
        let replica = Replica::new(self.id, self.broker, settings, recovered);
        let shard = self.coordinator.map(Shard::new);
        let partition = Arc::new_cyclic(|me| Partition {
            id: self.id,
            topic: self.topic,
            shell: self.shell.clone(),
            me: me.clone(),
            config: RwLock::new(self.config),
            cell: CellLock::new(State::new(replica, log, shard)),
            is_break_told: AtomicBool::new(false),
        });
        Ok(Opened { partition, report, replayed_bytes })
    }
}

/// The producer state of a whole log, derived from it (O15).
pub(super) fn producers_of(log: &Log) -> Result<Producers, OpenError> {
    let mut recovery = Recovery::from_log_start(log.log_start());
    if log.log_start() < log.end() {
        for batch in log.batches_from(log.log_start()) {
            recovery.observe(&batch?.header).map_err(OpenError::Corrupt)?;
        }
    }
    Ok(recovery.finish(log.flushed_through(), log.log_start()).producers)
}

/// Where to begin reading: behind the checkpoint if it fits the log, else at the log's start.
fn begin(snapshot: Option<Snapshot>, log: &Log) -> (Recovery, Offset) {
    let (log_start, log_end) = (log.log_start(), log.end());
    // A checkpoint of more than the log holds, or of another batch, was made before a power cut took the tail.
    if let Some(snapshot) = snapshot.filter(|s| s.end <= log_end && s.end >= log_start && fits(s, log))
        && let Ok((producers, end)) = Producers::from_snapshot(&snapshot.producers)
        && end == snapshot.end
    {
        let recovery = Recovery::from_checkpoint(log_start, end, snapshot.epochs, (producers, end));
        return (recovery, end);
    }
    (Recovery::from_log_start(log_start), log_start)
}

/// Whether the log still holds the batch that the snapshot ends with, and does not begin before it.
fn fits(snapshot: &Snapshot, log: &Log) -> bool {
    let is_of_tail = Tail::of(log, snapshot.end) == Some(snapshot.tail);
    guard!(SnapshotFitsLog, is_of_tail && snapshot.start <= log.log_start())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Submitted;
    use crate::log::LogConfig;
    use highwater_core::batch::{Builder, Codec, stamp};
    use highwater_core::ids::{LeaderEpoch, PartitionIndex, TopicId};
    use highwater_core::time::Timestamp;

    const NOW: Timestamp = Timestamp(1_000);

    /// Three records, the first of leader epoch 1 and the others of 2.
    fn log(path: &std::path::Path) -> Log {
        let dir = DataDir::of_a_test(path);
        let id = TopicPartition { topic_id: TopicId([1; 16]), partition: PartitionIndex(0) };
        let (mut log, _) = dir.open_log("t", id, LogConfig::default(), NOW).expect("a new log");
        for (offset, epoch) in [(0, 1), (1, 2), (2, 2)] {
            let mut builder = Builder::new(Codec::None);
            builder.push(NOW, None, Some(b"value"), &[]);
            let batch = stamp(&builder.build(), Offset(offset), LeaderEpoch(epoch), None);
            let appended = log.append(&batch.header, batch.head(), batch.rest(), NOW);
            assert!(matches!(appended, Submitted::Done(Ok(_))), "the disk works");
        }
        log
    }

    #[test]
    fn a_checkpoint_of_a_log_that_has_got_back_what_was_deleted_is_not_used() {
        let dir = tempfile::tempdir().expect("a directory");
        let log = log(dir.path());
        let snapshot = |start: i64, entries: &[(i32, i64)]| {
            let mut epochs = Epochs::new();
            entries.iter().for_each(|(e, s)| assert!(epochs.assign(LeaderEpoch(*e), Offset(*s))));
            let tail = Tail::of(&log, log.end()).expect("there are batches");
            let producers = Producers::new().snapshot(log.end());
            let made = Snapshot { start: Offset(start), end: log.end(), epochs, producers, tail };
            Snapshot::decode(&made.encode()).expect("its own bytes")
        };
        let (_, from) = begin(Some(snapshot(0, &[(1, 0), (2, 1)])), &log);
        assert_eq!(from, log.end(), "it covers everything");
        // Records 0 and 1 were deleted when it was made; the crash came before that was noted.
        let (_, from) = begin(Some(snapshot(2, &[(2, 2)])), &log);
        assert_eq!(from, Offset(0), "the epochs of records 0 and 1 are to be read from the log");
    }
}
