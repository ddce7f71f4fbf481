//! What a node finds of the metadata log when it starts: positions, epochs, voters, the newest snapshot, and the image
//! as far as it is known to be committed.

use super::pace::{Pace, SnapshotConfig};
use super::state::State;
use super::vote_file::{self, VoteState};
use super::{MetadataError, snapshot};
use crate::disk::Disk;
use crate::log::{DataDir, Log, LogConfig};
use highwater_core::ids::{LeaderEpoch, Offset, PartitionIndex, TopicId, TopicPartition};
use highwater_core::metadata::{Controller, METADATA_TOPIC, MetadataImage};
use highwater_core::quorum::{
    ControlRecord, Quorum, QuorumConfig, Recovered, ReplicaKey, SnapshotId, VoterHistory, VoterSet,
    control_records,
};
use highwater_core::replica::Epochs;
use highwater_core::time::Now;
use std::path::PathBuf;
use std::sync::Arc;

/// The metadata topic's id, as Kafka's.
const METADATA_TOPIC_ID: TopicId = TopicId([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

/// What a quorum cell is opened with.
#[derive(Debug)]
pub(super) struct Opening<'a> {
    pub(super) data_dir: &'a DataDir,
    pub(super) me: ReplicaKey,
    pub(super) config: QuorumConfig,
    pub(super) seed: u64,
    /// The voters, for a log that does not tell.
    pub(super) bootstrap: VoterSet,
    pub(super) snapshots: SnapshotConfig,
    pub(super) now: Now,
}

/// Where quorum files are.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) disk: Arc<dyn Disk>,
    /// The data directory: the vote is here.
    pub(super) data_dir: PathBuf,
    /// The log's directory: snapshots are here.
    pub(super) log_dir: PathBuf,
}

impl Opening<'_> {
    pub(super) fn open(self) -> Result<State, MetadataError> {
        let id = TopicPartition { topic_id: METADATA_TOPIC_ID, partition: PartitionIndex(0) };
        let config = LogConfig { is_delete_policy: false, file_delete_delay_ms: 0, ..LogConfig::default() };
        let (mut log, report) = self.data_dir.open_log(METADATA_TOPIC, id, config, self.now.wall)?;
        if let Some(cut) = report.cut {
            tracing::warn!("metadata log: {cut}");
        }
        let place = Place {
            disk: self.data_dir.context().disk.clone(),
            data_dir: self.data_dir.path().to_owned(),
            log_dir: log.dir().to_owned(),
        };
        let vote = vote_file::read(&*place.disk, &place.data_dir).map_err(MetadataError::Vote)?;
        snapshot::remove_parts(&*place.disk, &place.log_dir).map_err(MetadataError::Snapshot)?;
        let loaded = newest_snapshot(&place, log.log_start())?;
        if let Some((id, _)) = &loaded
            && id.end > log.end()
        {
            // A snapshot was installed, and the node stopped before the log was begun anew behind it.
            log.reset_to(id.end, self.now.wall)?;
        }
        let base = self.base(&log, loaded)?;
        let Scanned { epochs, voters, has_voters: has_voters_record, bytes } = scan(&log, &base)?;
        let VoteState { vote: record, committed } = vote.unwrap_or_default();
        let recovered = Recovered {
            vote: vote.map(|_| record),
            start: base.start,
            snapshot: base.snapshot,
            end: log.end(),
            flushed: log.flushed_through(),
            epochs,
            voters,
            has_voters_record,
        };
        let quorum = Quorum::new(self.me, self.config, self.seed, recovered, self.now);
        let snapshots = Pace::new(self.snapshots, bytes, self.now.mono);
        let mut state = State::new(quorum, log, Controller::new(base.image), place, snapshots);
        let is_sole = state.quorum.voters().is_sole(self.me);
        let known = if is_sole { state.log.end() } else { committed.min(state.log.end()) };
        state.catch_up(known)?;
        state.controller.committed(known);
        Ok(state)
    }

    fn base(&self, log: &Log, loaded: Option<(SnapshotId, snapshot::Loaded)>) -> Result<Base, MetadataError> {
        let bootstrap = self.bootstrap.clone();
        let Some((id, loaded)) = loaded else {
            if log.log_start() > Offset::ZERO {
                return Err(MetadataError::SnapshotMissing(log.log_start()));
            }
            let start = SnapshotId { end: Offset::ZERO, epoch: LeaderEpoch::NONE };
            let image = MetadataImage::default();
            return Ok(Base { start, snapshot: None, image, voters: bootstrap, has_voters: false });
        };
        let has_voters = loaded.voters.is_some();
        let voters = loaded.voters.unwrap_or(bootstrap);
        // Whatever the log holds before the snapshot is not needed any more.
        Ok(Base { start: id, snapshot: Some(id), image: loaded.image, voters, has_voters })
    }
}

/// Where the replay begins.
struct Base {
    start: SnapshotId,
    snapshot: Option<SnapshotId>,
    image: MetadataImage,
    voters: VoterSet,
    has_voters: bool,
}

/// The newest snapshot that is whole. One that is damaged is passed over if an older one still reaches the log.
fn newest_snapshot(
    place: &Place,
    log_start: Offset,
) -> Result<Option<(SnapshotId, snapshot::Loaded)>, MetadataError> {
    let disk = &*place.disk;
    let found = snapshot::list(disk, &place.log_dir).map_err(MetadataError::Snapshot)?;
    for id in found.into_iter().rev().take_while(|id| id.end >= log_start) {
        match snapshot::read(disk, &snapshot::path(&place.log_dir, id), id) {
            Ok(loaded) => return Ok(Some((id, loaded))),
            Err(error) => {
                tracing::error!(%error, "a snapshot of the metadata is damaged; an older one is tried");
            }
        }
    }
    Ok(None)
}

/// What the log tells behind its base.
struct Scanned {
    epochs: Epochs,
    voters: VoterHistory,
    has_voters: bool,
    /// How much of it there is.
    bytes: u64,
}

fn scan(log: &Log, base: &Base) -> Result<Scanned, MetadataError> {
    let mut epochs = Epochs::new();
    let mut voters = VoterHistory::new(base.voters.clone());
    let mut has_voters = base.has_voters;
    let mut bytes = 0;
    for located in log.batches_from(base.start.end) {
        let header = located?.header;
        if header.base_offset < base.start.end {
            continue;
        }
        if !epochs.assign(header.leader_epoch, header.base_offset) {
            return Err(MetadataError::Epochs(header.base_offset));
        }
        bytes += header.size_bytes() as u64;
        if !header.attributes.is_control() {
            continue;
        }
        let Some(batch) = log.read_batch(header.base_offset)? else { continue };
        for (offset, record) in
            control_records(&batch.into()).map_err(|_| MetadataError::Control(header.base_offset))?
        {
            if let ControlRecord::Voters(set) = record {
                voters.push(offset, set);
                has_voters = true;
            }
        }
    }
    Ok(Scanned { epochs, voters, has_voters, bytes })
}
