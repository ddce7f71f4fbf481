//! Writes batches: those of the broker itself (coordinators, metadata), of its own client, and of the cleaner.

use super::compression::{self, Codec, Compression};
use super::header::{Attributes, BatchHeader};
use super::records::{Header, Record};
use super::validate::ValidBatch;
use super::{HEADER_BYTES, LENGTH_OVERHEAD_BYTES, varint};
use crate::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence};
use crate::time::Timestamp;

/// Collects records and seals them into one batch.
///
/// Group: [`Builder::new`], [`Builder::idempotent`] and [`Builder::control`] say what kind of batch it is;
/// [`Builder::push`] adds records; [`Builder::build`] seals. [`Builder::retaining`] is for the cleaner, with
/// [`Builder::keep`] instead of `push`.
#[derive(Clone, Debug)]
pub struct Builder {
    header: BatchHeader,
    compression: Compression,
    records: Vec<u8>,
    /// The batch that was there before, whose offsets and times are kept.
    original: Option<BatchHeader>,
}

impl Builder {
    /// An empty batch of a producer without id.
    pub fn new(compression: impl Into<Compression>) -> Self {
        let compression = compression.into();
        Self {
            header: BatchHeader {
                base_offset: Offset::ZERO,
                batch_length: 0,
                leader_epoch: LeaderEpoch::NONE,
                crc: 0,
                attributes: Attributes::default().with_codec(compression.codec),
                last_offset_delta: -1,
                base_timestamp: Timestamp::NONE,
                max_timestamp: Timestamp::NONE,
                producer_id: ProducerId::NONE,
                producer_epoch: ProducerEpoch(-1),
                base_sequence: Sequence(-1),
                record_count: 0,
            },
            compression,
            records: Vec::new(),
            original: None,
        }
    }

    /// A batch that keeps some records of `original`, at their offsets, and everything else its header says.
    ///
    /// The last offset delta stays, so that offsets behind the last kept record are never given again (ST-10). A batch
    /// that is kept for these and for its producer's numbers alone has no codec, which readers would try on nothing, and
    /// the largest timestamp of the original, by which its producer's time is reckoned.
    pub fn retaining(original: &BatchHeader) -> Self {
        let codec = original.attributes.codec().unwrap_or_default();
        let header = BatchHeader { record_count: 0, max_timestamp: Timestamp::NONE, ..*original };
        Self { header, compression: codec.into(), records: Vec::new(), original: Some(*original) }
    }

    /// Numbers the batch for an idempotent producer.
    #[must_use]
    pub const fn idempotent(mut self, id: ProducerId, epoch: ProducerEpoch, base_sequence: Sequence) -> Self {
        self.header.producer_id = id;
        self.header.producer_epoch = epoch;
        self.header.base_sequence = base_sequence;
        self
    }

    /// Makes the batch a marker, which consumers skip.
    #[must_use]
    pub const fn control(mut self) -> Self {
        self.header.attributes = self.header.attributes.control();
        self
    }

    /// Makes the batch part of a transaction.
    #[must_use]
    pub const fn transactional(mut self) -> Self {
        self.header.attributes = self.header.attributes.transactional();
        self
    }

    /// Adds a record behind those already there.
    pub fn push(
        &mut self,
        timestamp: Timestamp,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[Header],
    ) {
        assert!(self.original.is_none(), "a retaining builder takes records with their offsets: keep");
        let index = self.header.record_count;
        if index == 0 {
            self.header.base_timestamp = timestamp;
        }
        self.header.last_offset_delta = index;
        self.put(timestamp, index, key, value, headers);
    }

    /// Adds a record of the original batch. Records must come in the order they had there.
    pub fn keep(&mut self, record: &Record) {
        assert!(self.original.is_some(), "only a retaining builder knows an original: push");
        let delta = i32::try_from(record.offset.0 - self.header.base_offset.0).ok();
        let delta = delta.filter(|d| (0..=self.header.last_offset_delta).contains(d));
        let delta = delta.expect("a record kept lies within its original batch");
        self.put(record.timestamp, delta, record.key.as_deref(), record.value.as_deref(), &record.headers);
    }

    /// Marks the batch's tombstones as removable from `at` on (KIP-534). Before any record is kept.
    #[must_use]
    pub fn delete_horizon(mut self, at: Timestamp) -> Self {
        assert!(
            self.original.is_some() && self.header.record_count == 0,
            "a horizon is set before the first record is kept"
        );
        self.header.attributes = self.header.attributes.with_delete_horizon();
        self.header.base_timestamp = at;
        self
    }

    /// How many records there are.
    pub const fn len(&self) -> usize {
        self.header.record_count as usize
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.header.record_count == 0
    }

    /// The batch's size so far, were it not compressed.
    pub const fn size_bytes(&self) -> usize {
        HEADER_BYTES + self.records.len()
    }

    /// Seals the batch, which must have a record unless it retains an original's offsets.
    pub fn build(mut self) -> ValidBatch {
        assert!(self.original.is_some() || !self.is_empty(), "a batch has at least one record");
        if let Some(original) = self.original.filter(|_| self.is_empty()) {
            self.compression = Codec::None.into();
            self.header.attributes = original.attributes.with_codec(Codec::None).without_delete_horizon();
            self.header.base_timestamp = Timestamp::NONE;
            self.header.max_timestamp = original.max_timestamp;
        }
        let mut bytes = if self.compression.codec == Codec::None {
            let mut bytes = vec![0; HEADER_BYTES];
            bytes.extend_from_slice(&self.records);
            bytes
        } else {
            compression::compress(
                self.compression,
                &[0; HEADER_BYTES],
                &mut &self.records[..],
                i32::MAX as usize,
            )
            .expect("compressing from memory to memory cannot fail")
        };
        self.header.batch_length = i32::try_from(bytes.len() - LENGTH_OVERHEAD_BYTES)
            .expect("a batch of the broker's own is far smaller than 2 GiB");
        self.header.seal(&bytes[HEADER_BYTES..]);
        bytes[..HEADER_BYTES].copy_from_slice(&self.header.encode());
        ValidBatch::built(self.header, bytes.into())
    }

    fn put(
        &mut self,
        timestamp: Timestamp,
        offset_delta: i32,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[Header],
    ) {
        self.header.max_timestamp = self.header.max_timestamp.max(timestamp);
        self.header.record_count += 1;
        let timestamp_delta = timestamp.0.wrapping_sub(self.header.base_timestamp.0);
        let size = 1
            + varint::size(timestamp_delta)
            + varint::size(i64::from(offset_delta))
            + nullable_size(key)
            + nullable_size(value)
            + varint::size(headers.len() as i64)
            + headers
                .iter()
                .map(|h| nullable_size(Some(&h.key)) + nullable_size(h.value.as_deref()))
                .sum::<usize>();
        let out = &mut self.records;
        out.reserve(size + varint::VARINT_BYTES_MAX);
        varint::put(out, size as i64);
        let body = out.len();
        out.push(0);
        varint::put(out, timestamp_delta);
        varint::put(out, i64::from(offset_delta));
        put_nullable(out, key);
        put_nullable(out, value);
        varint::put(out, headers.len() as i64);
        for header in headers {
            put_nullable(out, Some(&header.key));
            put_nullable(out, header.value.as_deref());
        }
        debug_assert_eq!(out.len() - body, size, "the size was computed right");
    }
}

fn nullable_size(field: Option<&[u8]>) -> usize {
    field.map_or(1, |bytes| varint::size(bytes.len() as i64) + bytes.len())
}

fn put_nullable(out: &mut Vec<u8>, field: Option<&[u8]>) {
    match field {
        None => varint::put(out, -1),
        Some(bytes) => {
            varint::put(out, bytes.len() as i64);
            out.extend_from_slice(bytes);
        }
    }
}
