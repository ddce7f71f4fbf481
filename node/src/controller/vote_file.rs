//! `quorum-state`: the replica's epoch and vote, the one promise that must survive every crash (design rule 6).
//!
//! ```text
//!  "HWQS" │ version u8 │ postcard of VoteState │ CRC-32C of everything before, big-endian
//! ```
//!
//! Replaced as a whole: write new, sync, rename, sync the directory. A damaged file is reported, never taken for "no
//! vote yet": a second vote in the same epoch could elect two leaders.

use crate::disk::{Disk, read_all, replace_file};
use highwater_core::batch::crc32c;
use highwater_core::ids::Offset;
use highwater_core::quorum::VoteRecord;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;

/// The file's name in the data directory.
pub const QUORUM_STATE_FILE: &str = "quorum-state";

const MAGIC: [u8; 4] = *b"HWQS";
const VERSION: u8 = 0;
const BYTES_MAX: u64 = 4096;

/// What is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct VoteState {
    pub(super) vote: VoteRecord,
    /// Everything below was committed at some time: spares the next start from waiting to hear so.
    pub(super) committed: Offset,
}

/// Reads it; `None` if there never was one.
pub(super) fn read(disk: &dyn Disk, data_dir: &Path) -> io::Result<Option<VoteState>> {
    let path = data_dir.join(QUORUM_STATE_FILE);
    let bytes = match read_all(disk, &path, BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let damaged = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let (content, crc) =
        bytes.split_last_chunk::<4>().ok_or_else(|| damaged("the file with this node's vote is cut off"))?;
    if u32::from_be_bytes(*crc) != crc32c(content) {
        return Err(damaged("the file with this node's vote is damaged"));
    }
    let body =
        content.strip_prefix(&MAGIC).ok_or_else(|| damaged("the file with this node's vote is none"))?;
    match body.split_first() {
        Some((&VERSION, fields)) => match postcard::take_from_bytes(fields) {
            Ok((state, _)) => Ok(Some(state)),
            Err(_) => Err(damaged("the file with this node's vote cannot be read")),
        },
        _ => Err(damaged("the file with this node's vote was written by a newer release")),
    }
}

/// Replaces it. Durable when it returns.
pub(super) fn write(disk: &dyn Disk, data_dir: &Path, state: VoteState) -> io::Result<()> {
    let mut bytes = MAGIC.to_vec();
    bytes.push(VERSION);
    let mut bytes =
        postcard::to_extend(&state, bytes).expect("a vote has nothing that postcard cannot write");
    let crc = crc32c(&bytes);
    bytes.extend_from_slice(&crc.to_be_bytes());
    replace_file(disk, &data_dir.join(QUORUM_STATE_FILE), &bytes)
}

#[cfg(all(test, not(madsim)))]
mod tests {
    use super::*;
    use crate::disk::RealDisk;
    use highwater_core::ids::{BrokerId, DirectoryId, LeaderEpoch};
    use highwater_core::quorum::ReplicaKey;

    #[test]
    fn a_vote_reads_back_and_damage_is_no_blank_vote() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(&RealDisk, dir.path()).unwrap(), None);
        let voted_for = Some(ReplicaKey { id: BrokerId(2), directory_id: DirectoryId([7; 16]) });
        let vote = VoteRecord { epoch: LeaderEpoch(300), voted_for };
        let state = VoteState { vote, committed: Offset(70) };
        write(&RealDisk, dir.path(), state).unwrap();
        assert_eq!(read(&RealDisk, dir.path()).unwrap(), Some(state));

        let path = dir.path().join(QUORUM_STATE_FILE);
        let good = std::fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x20;
            std::fs::write(&path, &bad).unwrap();
            assert!(read(&RealDisk, dir.path()).is_err(), "byte {at}");
            std::fs::write(&path, &good[..at]).unwrap();
            assert!(read(&RealDisk, dir.path()).is_err(), "cut at {at}");
        }
    }
}
