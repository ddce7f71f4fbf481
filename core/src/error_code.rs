//! Kafka's error codes, as machines answer them.

/// The codes that core's machines answer so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i16)]
#[allow(missing_docs)]
pub enum ErrorCode {
    #[default]
    None = 0,
    OffsetOutOfRange = 1,
    CorruptMessage = 2,
    NotLeaderOrFollower = 6,
    MessageTooLarge = 10,
    RecordListTooLarge = 18,
    NotEnoughReplicas = 19,
    NotEnoughReplicasAfterAppend = 20,
    InvalidTimestamp = 32,
    PolicyViolation = 44,
    OutOfOrderSequenceNumber = 45,
    InvalidProducerEpoch = 47,
    InvalidTxnState = 48,
    KafkaStorageError = 56,
    FetchSessionIdNotFound = 70,
    InvalidFetchSessionEpoch = 71,
    FencedLeaderEpoch = 74,
    UnknownLeaderEpoch = 75,
    UnsupportedCompressionType = 76,
    OffsetNotAvailable = 78,
    InvalidRecord = 87,
}
