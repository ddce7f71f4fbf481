//! The quorum's own records: control batches, which take an offset in the metadata log and are no metadata.
//!
//! A record's key is Kafka's `(version, type)` of a control record, two big-endian `i16`; its value is the type's
//! enum in postcard. Types that this release does not know are passed over, as Kafka does.

use super::voters::VoterSet;
use crate::batch::{self, BatchHeader, Builder, Codec, ValidBatch, stamp};
use crate::ids::{BrokerId, LeaderEpoch, Offset};
use crate::time::Timestamp;
use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};

/// Kafka's type numbers (`ControlRecordType`).
const LEADER_CHANGE: i16 = 2;
const SNAPSHOT_HEADER: i16 = 3;
const SNAPSHOT_FOOTER: i16 = 4;
const VOTERS: i16 = 6;

/// The version that is written.
const VERSION: i16 = 0;

/// A record of the quorum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlRecord {
    /// The first record of each epoch; once it is committed, everything before is (CQ-01).
    LeaderChange(LeaderChange),
    /// From here on these vote.
    Voters(VoterSet),
    /// A snapshot begins.
    SnapshotHeader(SnapshotHeader),
    /// A snapshot is complete.
    SnapshotFooter,
}

/// See [`ControlRecord::LeaderChange`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaderChange {
    /// Who leads.
    pub leader: BrokerId,
    /// Who could vote.
    pub voters: Vec<BrokerId>,
    /// Who voted for it.
    pub granting: Vec<BrokerId>,
}

/// See [`ControlRecord::SnapshotHeader`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotHeader {
    /// When the last record below was appended.
    pub last_timestamp: Timestamp,
}

/// Why a control batch cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadControlBatch;

impl std::fmt::Display for BadControlBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a control batch of the metadata log cannot be read")
    }
}

impl std::error::Error for BadControlBatch {}

impl ControlRecord {
    const fn kind(&self) -> i16 {
        match self {
            Self::LeaderChange(_) => LEADER_CHANGE,
            Self::Voters(_) => VOTERS,
            Self::SnapshotHeader(_) => SNAPSHOT_HEADER,
            Self::SnapshotFooter => SNAPSHOT_FOOTER,
        }
    }

    fn value(&self) -> Vec<u8> {
        let value = match self {
            Self::LeaderChange(change) => postcard::to_allocvec(change),
            Self::Voters(voters) => postcard::to_allocvec(voters),
            Self::SnapshotHeader(header) => postcard::to_allocvec(header),
            Self::SnapshotFooter => Ok(Vec::new()),
        };
        value.expect("control records have nothing that postcard cannot write")
    }

    fn parse(key: &[u8], value: &[u8]) -> Result<Option<Self>, BadControlBatch> {
        let [_, _, hi, lo] = *key else { return Err(BadControlBatch) };
        fn read<'a, T: Deserialize<'a>>(value: &'a [u8]) -> Result<T, BadControlBatch> {
            // Fields that a later release adds at the end are passed over.
            postcard::take_from_bytes(value).map(|(record, _)| record).map_err(|_| BadControlBatch)
        }
        Ok(Some(match i16::from_be_bytes([hi, lo]) {
            LEADER_CHANGE => Self::LeaderChange(read(value)?),
            VOTERS => Self::Voters(read(value)?),
            SNAPSHOT_HEADER => Self::SnapshotHeader(read(value)?),
            SNAPSHOT_FOOTER => Self::SnapshotFooter,
            _ => return Ok(None),
        }))
    }
}

/// A batch of control records, still without offset and epoch.
pub fn control_batch(records: &[ControlRecord], now: Timestamp) -> ValidBatch {
    let mut builder = Builder::new(Codec::None).control();
    for record in records {
        let mut key = [0; 4];
        key[..2].copy_from_slice(&VERSION.to_be_bytes());
        key[2..].copy_from_slice(&record.kind().to_be_bytes());
        builder.push(now, Some(&key), Some(&record.value()), &[]);
    }
    builder.build()
}

/// The control records of a batch, each with its offset.
pub fn control_records(batch: &Bytes) -> Result<Vec<(Offset, ControlRecord)>, BadControlBatch> {
    let mut found = Vec::new();
    for record in batch::records(batch).map_err(|_| BadControlBatch)? {
        let record = record.map_err(|_| BadControlBatch)?;
        let key = record.key.ok_or(BadControlBatch)?;
        let value = record.value.unwrap_or_default();
        found.extend(ControlRecord::parse(&key, &value)?.map(|control| (record.offset, control)));
    }
    Ok(found)
}

/// A batch of the metadata log as it is stored, header first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogBatch {
    /// Its header.
    pub header: BatchHeader,
    /// All of it.
    pub bytes: Bytes,
}

impl LogBatch {
    /// A batch of the leader's, at its place in the log.
    pub fn stamped(batch: &ValidBatch, base: Offset, epoch: LeaderEpoch) -> Self {
        let stamped = stamp(batch, base, epoch, None);
        let mut bytes = BytesMut::with_capacity(stamped.size_bytes());
        bytes.extend_from_slice(stamped.head());
        bytes.extend_from_slice(stamped.rest());
        Self { header: stamped.header, bytes: bytes.freeze() }
    }

    /// The whole batches at the front of `bytes`. What follows the last whole one is left out, as a leader may cut a
    /// reply anywhere; a batch that is whole and wrong ends the list with `Err`.
    pub fn split(mut bytes: Bytes) -> impl Iterator<Item = Result<Self, BadBatch>> {
        let mut is_over = false;
        std::iter::from_fn(move || {
            if is_over {
                return None;
            }
            let header = match BatchHeader::parse(&bytes) {
                Ok(header) if header.size_bytes() <= bytes.len() => header,
                Ok(_) | Err(batch::HeaderError::Short) => return None,
                Err(_) => {
                    is_over = true;
                    return Some(Err(BadBatch));
                }
            };
            let batch = bytes.split_to(header.size_bytes());
            let is_sound =
                batch::crc_holds(&batch) && header.last_offset_delta >= 0 && header.base_offset.0 >= 0;
            is_over = !is_sound;
            Some(if is_sound { Ok(Self { header, bytes: batch }) } else { Err(BadBatch) })
        })
    }
}

/// A peer sent bytes that are no batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadBatch;

#[cfg(test)]
mod tests {
    use super::super::voters::Voter;
    use super::*;
    use crate::ids::DirectoryId;
    use crate::metadata::Endpoint;

    fn samples() -> Vec<ControlRecord> {
        let endpoint = Endpoint { listener: "PEER".into(), host: "h".into(), port: 9 };
        let voter = Voter { directory_id: DirectoryId([7; 16]), endpoints: vec![endpoint] };
        vec![
            ControlRecord::LeaderChange(LeaderChange {
                leader: BrokerId(1),
                voters: vec![BrokerId(1), BrokerId(2)],
                granting: vec![BrokerId(1)],
            }),
            ControlRecord::Voters(VoterSet::new([(BrokerId(1), voter)])),
            ControlRecord::SnapshotHeader(SnapshotHeader { last_timestamp: Timestamp(5) }),
            ControlRecord::SnapshotFooter,
        ]
    }

    #[test]
    fn control_records_read_back() {
        let batch = control_batch(&samples(), Timestamp(1));
        let batch = LogBatch::stamped(&batch, Offset(10), LeaderEpoch(3));
        assert!(batch.header.attributes.is_control());
        let read = control_records(&batch.bytes).expect("it was just written");
        let offsets: Vec<i64> = read.iter().map(|(offset, _)| offset.0).collect();
        assert_eq!(offsets, [10, 11, 12, 13]);
        assert_eq!(read.into_iter().map(|(_, record)| record).collect::<Vec<_>>(), samples());
    }

    #[test]
    fn values_of_released_versions() {
        let golden = ["0202020401 02", "0102{7}010450454552016809", "0a", ""];
        for (record, golden) in samples().iter().zip(golden) {
            let hex: String = record.value().iter().map(|b| format!("{b:02x}")).collect();
            assert_eq!(hex, golden.replace("{7}", &"07".repeat(16)).replace(' ', ""), "{record:?}");
        }
    }

    #[test]
    fn a_reply_that_is_cut_keeps_its_whole_batches_and_a_damaged_one_is_refused() {
        let batch = control_batch(&samples(), Timestamp(1));
        let one = LogBatch::stamped(&batch, Offset(0), LeaderEpoch(1));
        let two = LogBatch::stamped(&batch, Offset(4), LeaderEpoch(1));
        let mut both = BytesMut::from(&one.bytes[..]);
        both.extend_from_slice(&two.bytes);
        let cut = both.clone().freeze().slice(..both.len() - 1);
        assert_eq!(LogBatch::split(cut).collect::<Vec<_>>(), [Ok(one.clone())]);
        let last = both.len() - 1;
        both[last] ^= 1;
        assert_eq!(LogBatch::split(both.freeze()).collect::<Vec<_>>(), [Ok(one), Err(BadBatch)]);
    }
}
