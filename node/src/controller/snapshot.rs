//! Snapshots of the metadata image: what lets the metadata log begin anew (KIP-630).
//!
//! A file `<end>-<epoch>.checkpoint` beside the log's segments, named as Kafka's, made of v2 batches, each under its own
//! CRC: a control batch with the voters, the image as records, and a control batch that says that this was all.
//! Written new, synced, renamed, directory synced; one that is being fetched has another name until it was checked.

use crate::disk::{Disk, OpenMode, read_all, read_exact_at, replace_file};
use bytes::Bytes;
use highwater_core::batch::{self, Builder, Codec};
use highwater_core::ids::{LeaderEpoch, Offset};
use highwater_core::metadata::{MetadataImage, Record};
use highwater_core::quorum::{
    ControlRecord, LogBatch, SnapshotHeader, SnapshotId, VoterSet, control_batch, control_records,
};
use highwater_core::time::Timestamp;
use std::io;
use std::path::{Path, PathBuf};

const SUFFIX: &str = ".checkpoint";
/// Of a snapshot that is not whole yet.
const PART_SUFFIX: &str = ".part";
/// Records of one batch.
const BATCH_RECORDS_MAX: usize = 1000;
/// The largest file that is loaded.
const BYTES_MAX: u64 = 4 << 30;

/// A snapshot as it is loaded.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) image: MetadataImage,
    pub(super) voters: Option<VoterSet>,
}

/// Where a snapshot is.
pub(super) fn path(dir: &Path, id: SnapshotId) -> PathBuf {
    dir.join(format!("{:020}-{:010}{SUFFIX}", id.end.0, id.epoch.0))
}

/// Where a snapshot gathers while it is fetched.
pub(super) fn part_path(dir: &Path, id: SnapshotId) -> PathBuf {
    dir.join(format!("{:020}-{:010}{PART_SUFFIX}", id.end.0, id.epoch.0))
}

fn parse_name(name: &str) -> Option<SnapshotId> {
    let (end, epoch) = name.strip_suffix(SUFFIX)?.split_once('-')?;
    Some(SnapshotId { end: Offset(end.parse().ok()?), epoch: LeaderEpoch(epoch.parse().ok()?) })
}

/// The snapshots in a directory, oldest first.
pub(super) fn list(disk: &dyn Disk, dir: &Path) -> io::Result<Vec<SnapshotId>> {
    let mut found: Vec<SnapshotId> =
        disk.list(dir)?.iter().filter_map(|entry| parse_name(&entry.name)).collect();
    found.sort_unstable();
    Ok(found)
}

/// Removes what is older than `keep_from`, and what was never finished.
pub(super) fn remove_below(disk: &dyn Disk, dir: &Path, keep_from: SnapshotId) -> io::Result<()> {
    for entry in disk.list(dir)? {
        let is_old = parse_name(&entry.name).is_some_and(|id| id < keep_from);
        if is_old {
            disk.remove(&dir.join(&entry.name))?;
        }
    }
    Ok(())
}

/// Removes downloads that were never finished: at the start, when none is under way.
pub(super) fn remove_parts(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    for entry in disk.list(dir)?.iter().filter(|entry| entry.name.ends_with(PART_SUFFIX)) {
        disk.remove(&dir.join(&entry.name))?;
    }
    Ok(())
}

/// Writes the image at its offset. Durable when it returns.
pub(super) fn write(
    disk: &dyn Disk,
    dir: &Path,
    id: SnapshotId,
    image: &MetadataImage,
    voters: &VoterSet,
    now: Timestamp,
) -> io::Result<()> {
    assert_eq!(image.offset(), id.end, "a snapshot is named by its end");
    replace_file(disk, &path(dir, id), &encode(id, image, voters, now))
}

fn encode(id: SnapshotId, image: &MetadataImage, voters: &VoterSet, now: Timestamp) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut next = Offset::ZERO;
    let mut put = |batch| {
        let batch = LogBatch::stamped(&batch, next, id.epoch);
        next = batch.header.next_offset();
        bytes.extend_from_slice(&batch.bytes);
    };
    let header = ControlRecord::SnapshotHeader(SnapshotHeader { last_timestamp: now });
    put(control_batch(&[header, ControlRecord::Voters(voters.clone())], now));
    for records in image.snapshot().chunks(BATCH_RECORDS_MAX) {
        let mut builder = Builder::new(Codec::None);
        for record in records {
            builder.push(now, None, Some(&record.encode()), &[]);
        }
        put(builder.build());
    }
    put(control_batch(&[ControlRecord::SnapshotFooter], now));
    bytes
}

/// Reads and checks a snapshot.
pub(super) fn read(disk: &dyn Disk, path: &Path, id: SnapshotId) -> io::Result<Loaded> {
    let bytes = Bytes::from(read_all(disk, path, BYTES_MAX)?);
    decode(bytes, id)
        .map_err(|cause| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {cause}", path.display())))
}

fn decode(bytes: Bytes, id: SnapshotId) -> Result<Loaded, String> {
    let mut records = Vec::new();
    let mut voters = None;
    let mut is_complete = false;
    for batch in LogBatch::split(bytes) {
        let batch = batch.map_err(|_| "a batch's checksum is wrong".to_owned())?;
        if is_complete {
            return Err("something follows its end".to_owned());
        }
        if batch.header.attributes.is_control() {
            for (_, control) in control_records(&batch.bytes).map_err(|error| error.to_string())? {
                match control {
                    ControlRecord::Voters(set) => voters = Some(set).filter(|set| !set.is_empty()),
                    ControlRecord::SnapshotFooter => is_complete = true,
                    ControlRecord::SnapshotHeader(_) | ControlRecord::LeaderChange(_) => {}
                }
            }
            continue;
        }
        for record in batch::records(&batch.bytes).map_err(|error| error.to_string())? {
            let value = record.map_err(|error| error.to_string())?.value.unwrap_or_default();
            records.push(Record::decode(&value).map_err(|error| error.to_string())?);
        }
    }
    match is_complete {
        true => Ok(Loaded { image: MetadataImage::restore(&records, id.end), voters }),
        false => Err("it is cut off".to_owned()),
    }
}

/// A piece of a snapshot for a follower, and the whole file's size; `None` if there is no such file (any more).
pub(super) fn read_piece(
    disk: &dyn Disk,
    dir: &Path,
    id: SnapshotId,
    position: u64,
    bytes_max: usize,
) -> Option<(u64, Bytes)> {
    let file = disk.open(&path(dir, id), OpenMode::Read).ok()?;
    let size = file.len().ok()?;
    let len = usize::try_from(size.checked_sub(position)?).unwrap_or(usize::MAX).min(bytes_max);
    let mut piece = vec![0; len];
    read_exact_at(&*file, &mut piece, position).ok()?;
    Some((size, piece.into()))
}

/// Writes a piece of a snapshot that is being fetched; position 0 begins anew.
pub(super) fn write_piece(
    disk: &dyn Disk,
    dir: &Path,
    id: SnapshotId,
    position: u64,
    piece: &[u8],
) -> io::Result<()> {
    let mode = if position == 0 { OpenMode::CreateEmpty } else { OpenMode::Write };
    disk.open(&part_path(dir, id), mode)?.write_now(position, piece)
}

/// Checks a snapshot that was fetched, makes it durable and loads it.
pub(super) fn install(disk: &dyn Disk, dir: &Path, id: SnapshotId) -> io::Result<Loaded> {
    let part = part_path(dir, id);
    let loaded = read(disk, &part, id)?;
    disk.open(&part, OpenMode::Write)?.sync_now()?;
    disk.rename(&part, &path(dir, id))?;
    disk.sync_dir(dir).now()?;
    Ok(loaded)
}

#[cfg(all(test, not(madsim)))]
mod tests {
    use super::*;
    use crate::disk::RealDisk;
    use highwater_core::ids::{BrokerId, DirectoryId, TopicId};
    use highwater_core::quorum::Voter;

    fn image() -> MetadataImage {
        let topics = (0..2500u16).map(|n| {
            let mut id = [0; 16];
            id[..2].copy_from_slice(&n.to_be_bytes());
            Record::Topic { id: TopicId(id), name: format!("t{n}") }
        });
        let mut image = MetadataImage::default().replayed(&topics.collect::<Vec<_>>());
        image.pass(7);
        image
    }

    fn voters() -> VoterSet {
        let voter = Voter { directory_id: DirectoryId([3; 16]), endpoints: Vec::new() };
        VoterSet::new([(BrokerId(1), voter)])
    }

    #[test]
    fn a_snapshot_reads_back_and_damage_anywhere_shows() {
        let dir = tempfile::tempdir().unwrap();
        let image = image();
        let id = SnapshotId { end: image.offset(), epoch: LeaderEpoch(4) };
        write(&RealDisk, dir.path(), id, &image, &voters(), Timestamp(9)).unwrap();
        assert_eq!(list(&RealDisk, dir.path()).unwrap(), [id]);
        let loaded = read(&RealDisk, &path(dir.path(), id), id).unwrap();
        assert_eq!((loaded.image, loaded.voters), (image, Some(voters())));

        let good = Bytes::from(std::fs::read(path(dir.path(), id)).unwrap());
        for at in (0..good.len()).step_by(997) {
            assert!(decode(good.slice(..at), id).is_err(), "cut at {at}");
        }
        let mut bad = good.to_vec();
        let middle = bad.len() / 2;
        bad[middle] ^= 1;
        assert!(decode(bad.into(), id).is_err());
    }

    #[test]
    fn pieces_make_the_snapshot_again_on_another_node() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let image = image();
        let id = SnapshotId { end: image.offset(), epoch: LeaderEpoch(4) };
        write(&RealDisk, from.path(), id, &image, &voters(), Timestamp(9)).unwrap();
        let mut position = 0;
        loop {
            let (size, piece) = read_piece(&RealDisk, from.path(), id, position, 10_000).unwrap();
            write_piece(&RealDisk, to.path(), id, position, &piece).unwrap();
            position += piece.len() as u64;
            if position == size {
                break;
            }
        }
        assert_eq!(install(&RealDisk, to.path(), id).unwrap().image, image);
        assert_eq!(list(&RealDisk, to.path()).unwrap(), [id]);
        let newer = SnapshotId { end: id.end.plus(1), epoch: id.epoch };
        remove_below(&RealDisk, to.path(), newer).unwrap();
        assert_eq!(list(&RealDisk, to.path()).unwrap(), []);
    }
}
