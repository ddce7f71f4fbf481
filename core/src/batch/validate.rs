//! What a produced batch must be before anything is locked for it.
//!
//! The order and the outcome of the checks are those of Kafka's `ProduceRequest.validateRecords`, `UnifiedLog`
//! and `LogValidator`; what they take on trust (record lengths, what a codec makes of its input) is checked, too.

use super::compression::{self, Codec, Compression, DECOMPRESSED_BYTES_MAX, Decoder, Scratch};
use super::error::{BatchError, RECORD_ERRORS_MAX, RecordError};
use super::header::{BatchHeader, TimestampType, crc_holds};
use super::scan::{ByteSource, Fault, RecordShape, Slice, Stream, pass_record};
use super::{HEADER_BYTES, LENGTH_OVERHEAD_BYTES, lz4_frame};
use crate::ids::{Offset, ProducerId, Sequence};
use crate::time::Timestamp;
use bytes::Bytes;
use std::io::{ErrorKind, Read};

/// Whether the broker compresses anew (`compression.type`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Recompression {
    /// `producer`: what was sent is kept.
    #[default]
    Keep,
    /// Batches in another codec are compressed anew with this one.
    To(Compression),
}

/// What a topic and a request demand of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// The wall clock, for the two timestamp limits.
    pub now: Timestamp,
    /// `max.message.bytes`.
    pub batch_bytes_max: usize,
    /// `segment.bytes`: a batch never spans segments.
    pub segment_bytes_max: usize,
    /// What a compressed batch may become; never more than 512 MiB.
    pub decompressed_bytes_max: u64,
    /// Whether `cleanup.policy` has `compact`, so that each record needs a key.
    pub is_compacted: bool,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms` (KIP-937).
    pub timestamp_before_ms_max: i64,
    /// `message.timestamp.after.max.ms` (KIP-937).
    pub timestamp_after_ms_max: i64,
    /// `compression.type` and its level.
    pub recompression: Recompression,
    /// Whether the request's version knows zstd: produce 7 and above (KIP-110).
    pub takes_zstd: bool,
    /// Whether a transactional batch is taken here.
    pub takes_transactional: bool,
}

impl Default for Rules {
    /// Kafka's defaults for a topic.
    fn default() -> Self {
        Self {
            now: Timestamp(0),
            batch_bytes_max: 1_048_588,
            segment_bytes_max: 1 << 30,
            decompressed_bytes_max: DECOMPRESSED_BYTES_MAX,
            is_compacted: false,
            timestamp_type: TimestampType::CreateTime,
            timestamp_before_ms_max: i64::MAX,
            timestamp_after_ms_max: 3_600_000,
            recompression: Recompression::Keep,
            takes_zstd: true,
            takes_transactional: false,
        }
    }
}

/// A batch that may be appended: every count, length and sum in it was checked.
#[derive(Clone, Debug)]
pub struct ValidBatch {
    header: BatchHeader,
    bytes: Bytes,
    is_header_as_sent: bool,
}

impl ValidBatch {
    /// A batch that the broker itself has built.
    pub(super) fn built(header: BatchHeader, bytes: Bytes) -> Self {
        debug_assert_eq!(header.size_bytes(), bytes.len());
        Self { header, bytes, is_header_as_sent: true }
    }

    /// The header as it will be stored, but for base offset and leader epoch; see [`super::stamp`].
    pub const fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The whole batch, shared with the request it came in.
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The size of the batch in the log.
    pub const fn size_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Whether the header in [`ValidBatch::bytes`] needs no change under the CRC.
    pub(super) const fn is_header_as_sent(&self) -> bool {
        self.is_header_as_sent
    }
}

/// Checks a produce request's bytes for one partition. Pure; shares the bytes, copies none.
pub fn validate(bytes: Bytes, rules: &Rules) -> Result<ValidBatch, BatchError> {
    validate_with(&mut Scratch::new(), bytes, rules)
}

/// [`validate`] with memory kept from batch to batch, for callers that see many compressed ones.
pub fn validate_with(scratch: &mut Scratch, bytes: Bytes, rules: &Rules) -> Result<ValidBatch, BatchError> {
    let header = check_header(&bytes, rules)?;
    let codec = header.attributes.codec().map_err(BatchError::UnknownCodec)?;
    let records = bytes.slice(HEADER_BYTES..);
    let checked = check_records(scratch, codec, &records, &header, rules);
    scratch.trim();
    let max_timestamp = checked?;
    let batch = match rules.recompression {
        Recompression::To(target) if target.codec != codec => {
            recompress(header, codec, records, target, max_timestamp, rules)?
        }
        _ => settle(header, bytes, max_timestamp),
    };
    if batch.size_bytes() > rules.segment_bytes_max {
        return Err(BatchError::LargerThanSegment {
            size_bytes: batch.size_bytes(),
            size_bytes_max: rules.segment_bytes_max,
        });
    }
    Ok(batch)
}

/// Everything that the first 61 bytes and the CRC tell.
fn check_header(bytes: &Bytes, rules: &Rules) -> Result<BatchHeader, BatchError> {
    let header = BatchHeader::parse(bytes)?;
    match header.size_bytes() {
        size if size > bytes.len() => return Err(BatchError::Missing),
        size if size < bytes.len() => return Err(BatchError::Several),
        _ => {}
    }
    if header.attributes.codec() == Ok(Codec::Zstd) && !rules.takes_zstd {
        return Err(BatchError::ZstdTooOld);
    }
    if header.base_offset != Offset::ZERO {
        return Err(BatchError::BaseOffset(header.base_offset.0));
    }
    if header.size_bytes() > rules.batch_bytes_max {
        return Err(too_large(header.size_bytes(), rules));
    }
    if !crc_holds(bytes) {
        return Err(BatchError::Crc { stated: header.crc });
    }
    let (count, last_offset_delta) = (header.record_count, header.last_offset_delta);
    if count <= 0 || last_offset_delta != count - 1 {
        return Err(BatchError::Count { count, last_offset_delta });
    }
    check_flags(&header, rules)?;
    Ok(header)
}

/// What a client may say of itself in attributes and producer fields.
fn check_flags(header: &BatchHeader, rules: &Rules) -> Result<(), BatchError> {
    let attributes = header.attributes;
    if attributes.is_control() {
        return Err(BatchError::Control);
    }
    if attributes.has_delete_horizon() {
        return Err(BatchError::DeleteHorizon);
    }
    // Where the time is the client's, the claim is dropped, as Kafka does.
    let are_both_brokers = rules.timestamp_type == TimestampType::LogAppendTime;
    if are_both_brokers && attributes.timestamp_type() == TimestampType::LogAppendTime {
        return Err(BatchError::TimestampType);
    }
    if attributes.is_transactional() && !rules.takes_transactional {
        return Err(BatchError::Transactional);
    }
    let named = header.has_producer_id();
    let consistent = if named {
        header.base_sequence >= Sequence(0) && header.producer_epoch.0 >= 0
    } else {
        header.producer_id == ProducerId::NONE && !attributes.is_transactional()
    };
    if !consistent {
        return Err(BatchError::Sequence {
            producer_id: header.producer_id.0,
            producer_epoch: header.producer_epoch.0,
            base_sequence: header.base_sequence.0,
        });
    }
    Ok(())
}

/// Walks the records, decompressing through the scratch's window if need be, and gives their largest timestamp.
fn check_records(
    scratch: &mut Scratch,
    codec: Codec,
    records: &Bytes,
    header: &BatchHeader,
    rules: &Rules,
) -> Result<Timestamp, BatchError> {
    let mut check =
        RecordCheck { header, rules, max_timestamp: Timestamp::NONE, errors: RecordErrors::default() };
    let walked = if codec == Codec::None {
        check.walk(&mut Slice { bytes: records, at: 0 })
    } else if codec == Codec::Lz4 && !lz4_frame::is_readable(records) {
        Err((0, Fault::Decompression))
    } else {
        let limit = rules.decompressed_bytes_max.min(DECOMPRESSED_BYTES_MAX);
        match scratch.decoder(codec, records.clone()) {
            Err(_) => Err((0, Fault::Decompression)),
            Ok((decoder, window)) => check.walk(&mut Stream::new(decoder, window, limit)),
        }
    };
    walked.map_err(|(index, fault)| match fault {
        Fault::Format(fault) => BatchError::Records { index, fault },
        Fault::Decompression => BatchError::Decompression { codec: codec.name() },
        Fault::Bomb => BatchError::Bomb { decompressed_bytes_max: rules.decompressed_bytes_max },
    })?;
    check.errors.into_result()?;
    Ok(check.max_timestamp)
}

/// One walk over a batch's records.
struct RecordCheck<'a> {
    header: &'a BatchHeader,
    rules: &'a Rules,
    max_timestamp: Timestamp,
    errors: RecordErrors,
}

impl RecordCheck<'_> {
    fn walk<S: ByteSource>(&mut self, source: &mut S) -> Result<(), (i32, Fault)> {
        let count = self.header.record_count;
        for index in 0..count {
            let shape = pass_record(source).map_err(|fault| (index, fault))?;
            if shape.offset_delta != index {
                return Err((index, Fault::Format("offset deltas do not count up from 0")));
            }
            self.record(index, &shape);
        }
        match source.at_end() {
            Ok(true) => Ok(()),
            Ok(false) => Err((count, Fault::Format("bytes are left behind the last record"))),
            Err(fault) => Err((count, fault)),
        }
    }

    fn record(&mut self, index: i32, shape: &RecordShape) {
        if self.rules.is_compacted && !shape.has_key {
            return self
                .errors
                .push(index, false, || "Compacted topic cannot accept message without key".into());
        }
        let timestamp = Timestamp(self.header.base_timestamp.0.wrapping_add(shape.timestamp_delta));
        self.max_timestamp = self.max_timestamp.max(timestamp);
        let Rules { now, timestamp_before_ms_max: before, timestamp_after_ms_max: after, .. } = *self.rules;
        let checked = self.rules.timestamp_type == TimestampType::CreateTime && timestamp != Timestamp::NONE;
        if checked && (now.ms_since(timestamp) > before || timestamp.ms_since(now) > after) {
            let (from, to) = (now.0.saturating_sub(before), now.0.saturating_add(after));
            self.errors.push(index, true, || {
                format!("Timestamp {} is out of range. It should be within [{from}, {to}]", timestamp.0)
            });
        }
    }
}

/// The faults of single records, one of each. A wrong timestamp decides the code of all, wherever it is (as Kafka's
/// `processRecordErrors`).
#[derive(Default)]
struct RecordErrors {
    errors: Vec<RecordError>,
    is_timestamp: bool,
}

impl RecordErrors {
    fn push(&mut self, index: i32, is_timestamp: bool, message: impl FnOnce() -> String) {
        self.is_timestamp |= is_timestamp;
        let listed = self.errors.last().is_some_and(|last| last.index == index);
        if !listed && self.errors.len() < RECORD_ERRORS_MAX {
            self.errors.push(RecordError { index, message: message() });
        }
    }

    fn into_result(self) -> Result<(), BatchError> {
        match self.errors {
            errors if errors.is_empty() => Ok(()),
            errors if self.is_timestamp => Err(BatchError::InvalidTimestamps(errors)),
            errors => Err(BatchError::InvalidRecords(errors)),
        }
    }
}

/// Keeps the batch as sent, but for a timestamp type or a max timestamp that do not hold.
///
/// With `LogAppendTime` both are set when the batch is stamped.
fn settle(header: BatchHeader, bytes: Bytes, max_timestamp: Timestamp) -> ValidBatch {
    let attributes = header.attributes.with_timestamp_type(TimestampType::CreateTime);
    let mut settled = BatchHeader { attributes, max_timestamp, ..header };
    let is_header_as_sent = settled == header;
    if !is_header_as_sent {
        settled.seal(&bytes[HEADER_BYTES..]);
    }
    ValidBatch { header: settled, bytes, is_header_as_sent }
}

/// Writes the same records with the topic's codec.
fn recompress(
    header: BatchHeader,
    codec: Codec,
    records: Bytes,
    target: Compression,
    max_timestamp: Timestamp,
    rules: &Rules,
) -> Result<ValidBatch, BatchError> {
    let plain =
        Decoder::new(codec, records).map_err(|_| BatchError::Decompression { codec: codec.name() })?;
    let mut plain = plain.take(rules.decompressed_bytes_max.min(DECOMPRESSED_BYTES_MAX));
    let mut bytes = compression::compress(target, &[0; HEADER_BYTES], &mut plain, rules.batch_bytes_max)
        .map_err(|error| match error.kind() {
            ErrorKind::FileTooLarge => too_large(rules.batch_bytes_max + 1, rules),
            _ => BatchError::Decompression { codec: codec.name() },
        })?;
    let attributes =
        header.attributes.with_codec(target.codec).with_timestamp_type(TimestampType::CreateTime);
    let batch_length =
        i32::try_from(bytes.len() - LENGTH_OVERHEAD_BYTES).map_err(|_| too_large(bytes.len(), rules))?;
    let mut header = BatchHeader { attributes, batch_length, max_timestamp, ..header };
    header.seal(&bytes[HEADER_BYTES..]);
    bytes[..HEADER_BYTES].copy_from_slice(&header.encode());
    Ok(ValidBatch::built(header, bytes.into()))
}

fn too_large(size_bytes: usize, rules: &Rules) -> BatchError {
    BatchError::TooLarge { size_bytes, size_bytes_max: rules.batch_bytes_max }
}
