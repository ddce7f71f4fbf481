//! Why a batch is refused, in the words and codes a client sees.

use super::header::HeaderError;
use crate::error_code::ErrorCode;

/// One record's fault (KIP-467).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordError {
    /// The record's number within the batch.
    pub index: i32,
    /// What is wrong with it.
    pub message: String,
}

/// Why a produced batch is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BatchError {
    /// The partition's bytes hold no whole batch.
    Missing,
    /// The partition's bytes hold more than one batch.
    Several,
    /// A length field that cannot be.
    Length(i32),
    /// A magic that no version of Kafka has.
    Magic(i8),
    /// A message set of the old formats v0 or v1.
    OldFormat(i8),
    /// The stated CRC is not that of the bytes.
    Crc {
        /// What the header states.
        stated: u32,
    },
    /// A compression id that is none of Kafka's.
    UnknownCodec(i16),
    /// zstd in a request older than version 7 (KIP-110).
    ZstdTooOld,
    /// A base offset other than zero: offsets are the broker's to give.
    BaseOffset(i64),
    /// Larger than `max.message.bytes`.
    TooLarge {
        /// The batch's size.
        size_bytes: usize,
        /// The limit.
        size_bytes_max: usize,
    },
    /// Larger than a segment.
    LargerThanSegment {
        /// The batch's size.
        size_bytes: usize,
        /// The limit.
        size_bytes_max: usize,
    },
    /// Record count and offsets contradict each other.
    Count {
        /// The count in the header.
        count: i32,
        /// The last offset delta in the header.
        last_offset_delta: i32,
    },
    /// A control batch from a client.
    Control,
    /// A transactional batch where none is taken.
    Transactional,
    /// A delete horizon, which only the cleaner may set.
    DeleteHorizon,
    /// Producer id, epoch and sequence that do not belong together.
    Sequence {
        /// The producer's id.
        producer_id: i64,
        /// The producer's epoch.
        producer_epoch: i16,
        /// The batch's first sequence.
        base_sequence: i32,
    },
    /// The producer claims the timestamps are the broker's.
    TimestampType,
    /// The records section does not parse: the record's number and what is wrong.
    Records {
        /// The record at which reading stopped.
        index: i32,
        /// What was found.
        fault: &'static str,
    },
    /// The compressed bytes are not what the codec makes.
    Decompression {
        /// The codec's name.
        codec: &'static str,
    },
    /// Decompression gave more than a batch may hold.
    Bomb {
        /// The limit.
        decompressed_bytes_max: u64,
    },
    /// Records without a key on a compacted topic, or other faults of single records.
    InvalidRecords(Vec<RecordError>),
    /// Records whose timestamps are too far off.
    InvalidTimestamps(Vec<RecordError>),
}

/// How many single-record faults a refusal lists, so that an answer stays small.
pub(crate) const RECORD_ERRORS_MAX: usize = 100;

impl BatchError {
    /// The code a client sees.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Length(_) | Self::Magic(_) | Self::Crc { .. } => ErrorCode::CorruptMessage,
            Self::UnknownCodec(_) | Self::ZstdTooOld => ErrorCode::UnsupportedCompressionType,
            Self::TooLarge { .. } => ErrorCode::MessageTooLarge,
            Self::LargerThanSegment { .. } => ErrorCode::RecordListTooLarge,
            Self::Transactional => ErrorCode::InvalidTxnState,
            Self::TimestampType | Self::InvalidTimestamps(_) => ErrorCode::InvalidTimestamp,
            Self::Missing
            | Self::Several
            | Self::OldFormat(_)
            | Self::BaseOffset(_)
            | Self::Count { .. }
            | Self::Control
            | Self::DeleteHorizon
            | Self::Sequence { .. }
            | Self::Records { .. }
            | Self::Decompression { .. }
            | Self::Bomb { .. }
            | Self::InvalidRecords(_) => ErrorCode::InvalidRecord,
        }
    }

    /// The single records at fault, for the response's `record_errors` (KIP-467).
    pub fn record_errors(&self) -> &[RecordError] {
        match self {
            Self::InvalidRecords(errors) | Self::InvalidTimestamps(errors) => errors,
            _ => &[],
        }
    }
}

impl From<HeaderError> for BatchError {
    fn from(error: HeaderError) -> Self {
        match error {
            HeaderError::Short => Self::Missing,
            HeaderError::Length(length) => Self::Length(length),
            HeaderError::Magic(magic @ (0 | 1)) => Self::OldFormat(magic),
            HeaderError::Magic(magic) => Self::Magic(magic),
        }
    }
}

impl std::fmt::Display for BatchError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Missing => {
                f.write_str("produce requests must have exactly one whole record batch per partition")
            }
            Self::Several => f.write_str("produce requests may have only one record batch per partition"),
            Self::Length(length) => write!(f, "batch length {length} is impossible"),
            Self::Magic(magic) => write!(f, "unknown magic {magic}"),
            Self::OldFormat(magic) => {
                write!(
                    f,
                    "message format with magic {magic} is no longer taken, only record batches with magic 2"
                )
            }
            Self::Crc { stated } => write!(f, "record batch is corrupt (stated crc = {stated})"),
            Self::UnknownCodec(id) => write!(f, "unknown compression type {id}"),
            Self::ZstdTooOld => f.write_str("zstd compression needs produce version 7 or above"),
            Self::BaseOffset(offset) => {
                write!(f, "the base offset of a produced batch should be 0, but it is {offset}")
            }
            Self::TooLarge { size_bytes, size_bytes_max } => write!(
                f,
                "the record batch has {size_bytes} bytes, which exceeds max.message.bytes of {size_bytes_max}"
            ),
            Self::LargerThanSegment { size_bytes, size_bytes_max } => write!(
                f,
                "the record batch has {size_bytes} bytes, which exceeds segment.bytes of {size_bytes_max}"
            ),
            Self::Count { count, last_offset_delta } => write!(
                f,
                "record count {count} and last offset delta {last_offset_delta} contradict each other"
            ),
            Self::Control => f.write_str("clients are not allowed to write control records"),
            Self::Transactional => f.write_str("the batch is transactional but no transaction is open here"),
            Self::DeleteHorizon => f.write_str("clients are not allowed to set a delete horizon"),
            Self::Sequence { producer_id, producer_epoch, base_sequence } => write!(
                f,
                "invalid sequence number {base_sequence} in a record batch with producer id {producer_id} and \
                 epoch {producer_epoch}"
            ),
            Self::TimestampType => {
                f.write_str("a producer should not set the timestamp type to LogAppendTime")
            }
            Self::Records { index, fault } => write!(f, "record {index}: {fault}"),
            Self::Decompression { codec } => write!(f, "the records are not valid {codec} data"),
            Self::Bomb { decompressed_bytes_max } => {
                write!(f, "the records decompress to more than {decompressed_bytes_max} bytes")
            }
            Self::InvalidRecords(errors) => {
                write!(f, "one or more records have been rejected")?;
                errors.first().map_or(Ok(()), |e| write!(f, ": record {}: {}", e.index, e.message))
            }
            Self::InvalidTimestamps(_) => {
                f.write_str("one or more records have been rejected due to invalid timestamp")
            }
        }
    }
}

impl std::error::Error for BatchError {}
