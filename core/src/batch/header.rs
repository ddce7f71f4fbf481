//! The 61 bytes in front of a batch's records.

use super::compression::Codec;
use super::{CRC_FROM, HEADER_BYTES, LENGTH_OVERHEAD_BYTES, MAGIC};
use crate::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence};
use crate::time::Timestamp;

/// Who says when a record happened (KIP-32).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer.
    #[default]
    CreateTime,
    /// The broker, at the append.
    LogAppendTime,
}

/// A batch's attribute bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes(pub i16);

impl Attributes {
    const CODEC: i16 = 0x07;
    const LOG_APPEND_TIME: i16 = 0x08;
    const TRANSACTIONAL: i16 = 0x10;
    const CONTROL: i16 = 0x20;
    const DELETE_HORIZON: i16 = 0x40;

    /// The codec of the records; the unknown id if it is none of Kafka's.
    pub const fn codec(self) -> Result<Codec, i16> {
        Codec::from_id(self.0 & Self::CODEC)
    }

    /// Which clock the timestamps are of.
    pub const fn timestamp_type(self) -> TimestampType {
        if self.0 & Self::LOG_APPEND_TIME == 0 {
            TimestampType::CreateTime
        } else {
            TimestampType::LogAppendTime
        }
    }

    /// Whether the batch belongs to a transaction (KIP-98).
    pub const fn is_transactional(self) -> bool {
        self.0 & Self::TRANSACTIONAL != 0
    }

    /// Whether the batch is a marker, which consumers skip.
    pub const fn is_control(self) -> bool {
        self.0 & Self::CONTROL != 0
    }

    /// Whether the base timestamp is the time from which tombstones may go (KIP-534).
    pub const fn has_delete_horizon(self) -> bool {
        self.0 & Self::DELETE_HORIZON != 0
    }

    /// These attributes with another codec.
    #[must_use]
    pub const fn with_codec(self, codec: Codec) -> Self {
        Self((self.0 & !Self::CODEC) | codec.id())
    }

    /// These attributes with another timestamp type.
    #[must_use]
    pub const fn with_timestamp_type(self, timestamp_type: TimestampType) -> Self {
        match timestamp_type {
            TimestampType::CreateTime => Self(self.0 & !Self::LOG_APPEND_TIME),
            TimestampType::LogAppendTime => Self(self.0 | Self::LOG_APPEND_TIME),
        }
    }

    /// These attributes with the transactional bit set.
    #[must_use]
    pub const fn transactional(self) -> Self {
        Self(self.0 | Self::TRANSACTIONAL)
    }

    /// These attributes with the control bit set.
    #[must_use]
    pub const fn control(self) -> Self {
        Self(self.0 | Self::CONTROL)
    }

    /// These attributes with the delete-horizon bit set.
    #[must_use]
    pub const fn with_delete_horizon(self) -> Self {
        Self(self.0 | Self::DELETE_HORIZON)
    }

    /// These attributes with the delete-horizon bit cleared.
    #[must_use]
    pub const fn without_delete_horizon(self) -> Self {
        Self(self.0 & !Self::DELETE_HORIZON)
    }
}

/// Why bytes are not the beginning of a v2 batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// Fewer bytes than a header has. The bytes may be the beginning of a good one.
    Short,
    /// The length field is smaller than a header.
    Length(i32),
    /// A format that is not served.
    Magic(i8),
}

impl std::fmt::Display for HeaderError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Short => write!(f, "fewer than {HEADER_BYTES} bytes"),
            Self::Length(length) => write!(f, "batch length {length} is less than a batch header's"),
            Self::Magic(magic) => write!(f, "magic {magic} where only {MAGIC} is known"),
        }
    }
}

impl std::error::Error for HeaderError {}

/// A v2 batch header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// The offset of the first record (before compaction).
    pub base_offset: Offset,
    /// The bytes after this field, as on the wire; see [`BatchHeader::size_bytes`].
    pub batch_length: i32,
    /// The epoch of the leader that appended the batch.
    pub leader_epoch: LeaderEpoch,
    /// CRC-32C of everything from the attributes on.
    pub crc: u32,
    /// Codec and flags.
    pub attributes: Attributes,
    /// Last offset minus base offset; compaction keeps it when records go.
    pub last_offset_delta: i32,
    /// What the records' timestamps are relative to.
    pub base_timestamp: Timestamp,
    /// The largest timestamp of the batch.
    pub max_timestamp: Timestamp,
    /// The idempotent producer, or [`ProducerId::NONE`].
    pub producer_id: ProducerId,
    /// The session of the producer.
    pub producer_epoch: ProducerEpoch,
    /// The sequence of the first record; −1 without a producer id.
    pub base_sequence: Sequence,
    /// The number of records in the batch.
    pub record_count: i32,
}

impl BatchHeader {
    /// Reads the first 61 bytes. Checks length and magic only: see [`crc_holds`] and [`super::validate`].
    pub fn parse(bytes: &[u8]) -> Result<Self, HeaderError> {
        let Some(bytes) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(HeaderError::Short);
        };
        let batch_length = i32::from_be_bytes(field(bytes, 8));
        let magic = i8::from_be_bytes(field(bytes, 16));
        if magic != MAGIC {
            return Err(HeaderError::Magic(magic));
        }
        if batch_length < (HEADER_BYTES - LENGTH_OVERHEAD_BYTES) as i32 {
            return Err(HeaderError::Length(batch_length));
        }
        Ok(Self {
            base_offset: Offset(i64::from_be_bytes(field(bytes, 0))),
            batch_length,
            leader_epoch: LeaderEpoch(i32::from_be_bytes(field(bytes, 12))),
            crc: u32::from_be_bytes(field(bytes, 17)),
            attributes: Attributes(i16::from_be_bytes(field(bytes, 21))),
            last_offset_delta: i32::from_be_bytes(field(bytes, 23)),
            base_timestamp: Timestamp(i64::from_be_bytes(field(bytes, 27))),
            max_timestamp: Timestamp(i64::from_be_bytes(field(bytes, 35))),
            producer_id: ProducerId(i64::from_be_bytes(field(bytes, 43))),
            producer_epoch: ProducerEpoch(i16::from_be_bytes(field(bytes, 51))),
            base_sequence: Sequence(i32::from_be_bytes(field(bytes, 53))),
            record_count: i32::from_be_bytes(field(bytes, 57)),
        })
    }

    /// The header's bytes, with the CRC as it stands in [`BatchHeader::crc`].
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[0..8].copy_from_slice(&self.base_offset.0.to_be_bytes());
        out[8..12].copy_from_slice(&self.batch_length.to_be_bytes());
        out[12..16].copy_from_slice(&self.leader_epoch.0.to_be_bytes());
        out[16] = MAGIC as u8;
        out[17..21].copy_from_slice(&self.crc.to_be_bytes());
        out[21..23].copy_from_slice(&self.attributes.0.to_be_bytes());
        out[23..27].copy_from_slice(&self.last_offset_delta.to_be_bytes());
        out[27..35].copy_from_slice(&self.base_timestamp.0.to_be_bytes());
        out[35..43].copy_from_slice(&self.max_timestamp.0.to_be_bytes());
        out[43..51].copy_from_slice(&self.producer_id.0.to_be_bytes());
        out[51..53].copy_from_slice(&self.producer_epoch.0.to_be_bytes());
        out[53..57].copy_from_slice(&self.base_sequence.0.to_be_bytes());
        out[57..61].copy_from_slice(&self.record_count.to_be_bytes());
        out
    }

    /// Sets the CRC to that of this header in front of these records (as stored, compressed or not).
    pub fn seal(&mut self, records: &[u8]) {
        let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
        digest.update(&self.encode()[CRC_FROM..]);
        digest.update(records);
        self.crc = digest.finalize() as u32;
    }

    /// The size of the whole batch, header included.
    pub const fn size_bytes(&self) -> usize {
        LENGTH_OVERHEAD_BYTES + self.batch_length as usize
    }

    /// The offset of the last record (before compaction).
    pub const fn last_offset(&self) -> Offset {
        Offset(self.base_offset.0.saturating_add(self.last_offset_delta as i64))
    }

    /// The offset behind the batch.
    pub const fn next_offset(&self) -> Offset {
        Offset(self.base_offset.0.saturating_add(self.last_offset_delta as i64 + 1))
    }

    /// The sequence of the last record.
    pub const fn last_sequence(&self) -> Sequence {
        if self.base_sequence.0 < 0 {
            self.base_sequence
        } else {
            self.base_sequence.plus(self.last_offset_delta)
        }
    }

    /// Whether an idempotent producer wrote the batch (KIP-98).
    pub const fn has_producer_id(&self) -> bool {
        self.producer_id.0 >= 0
    }
}

/// CRC-32C (Castagnoli), the checksum of batches.
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

/// Whether a whole batch's bytes have the CRC that its header states. False for bytes too short to say.
pub fn crc_holds(batch: &[u8]) -> bool {
    batch.len() >= HEADER_BYTES && u32::from_be_bytes(field(batch, 17)) == crc32c(&batch[CRC_FROM..])
}

/// `N` bytes at `at`. The callers check the bounds first.
fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("the slice has N bytes by construction")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> BatchHeader {
        BatchHeader {
            base_offset: Offset(0x0102_0304_0506),
            batch_length: 49,
            leader_epoch: LeaderEpoch(7),
            crc: 0xdead_beef,
            attributes: Attributes(0).with_codec(Codec::Lz4).transactional(),
            last_offset_delta: 4,
            base_timestamp: Timestamp(1000),
            max_timestamp: Timestamp(1004),
            producer_id: ProducerId(9),
            producer_epoch: ProducerEpoch(3),
            base_sequence: Sequence(i32::MAX - 1),
            record_count: 5,
        }
    }

    #[test]
    fn a_header_reads_back_as_written() {
        assert_eq!(BatchHeader::parse(&header().encode()), Ok(header()));
    }

    #[test]
    fn offsets_and_sequences_follow_from_the_last_delta() {
        let h = header();
        assert_eq!(h.last_offset(), Offset(0x0102_0304_050a));
        assert_eq!(h.next_offset(), Offset(0x0102_0304_050b));
        assert_eq!(h.last_sequence(), Sequence(2), "the sequence wraps past i32::MAX to 0");
        assert_eq!(h.size_bytes(), 61);
    }

    #[test]
    fn other_bytes_are_refused() {
        let good = header().encode();
        assert_eq!(BatchHeader::parse(&good[..60]), Err(HeaderError::Short));
        let mut old = good;
        old[16] = 1;
        assert_eq!(BatchHeader::parse(&old), Err(HeaderError::Magic(1)));
        let mut short = good;
        short[8..12].copy_from_slice(&48i32.to_be_bytes());
        assert_eq!(BatchHeader::parse(&short), Err(HeaderError::Length(48)));
    }

    #[test]
    fn the_crc_is_castagnolis() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        let mut h = header();
        h.seal(b"");
        assert!(crc_holds(&h.encode()));
        h.max_timestamp = Timestamp(0);
        assert!(!crc_holds(&h.encode()));
    }
}
