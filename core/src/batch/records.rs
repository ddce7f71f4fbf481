//! Reads the records of a stored batch, for replay, timestamp lookups and compaction.

use super::HEADER_BYTES;
use super::compression::{Codec, DECOMPRESSED_BYTES_MAX, Decoder, WINDOW_BYTES};
use super::error::BatchError;
use super::header::{BatchHeader, TimestampType};
use super::scan::{ByteSource, Fault, Slice, Stream};
use crate::ids::Offset;
use crate::time::Timestamp;
use bytes::Bytes;

/// A record header (KIP-82).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its key, UTF-8 by convention. Keys may repeat.
    pub key: Bytes,
    /// Its value.
    pub value: Option<Bytes>,
}

/// One record of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where it is in its partition.
    pub offset: Offset,
    /// When it happened, by the batch's timestamp type.
    pub timestamp: Timestamp,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value; `None` is a tombstone on compacted topics.
    pub value: Option<Bytes>,
    /// Its headers, in order.
    pub headers: Vec<Header>,
}

/// The records of one batch. Ends behind the first error.
pub struct Records {
    header: BatchHeader,
    codec: Codec,
    source: Source,
    index: i32,
}

enum Source {
    Plain(Bytes),
    Stream(Box<Stream<'static, Vec<u8>>>),
}

impl std::fmt::Debug for Records {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Records")
            .field("header", &self.header)
            .field("index", &self.index)
            .finish_non_exhaustive()
    }
}

/// The records of a whole batch as stored, its header first. Bytes behind the batch are not looked at.
///
/// Keys and values of an uncompressed batch share its bytes. Compressed records come out one at a time, each in
/// a buffer of its own, never more than 512 MiB in all. The CRC is not checked: see [`super::crc_holds`].
pub fn records(batch: &Bytes) -> Result<Records, BatchError> {
    let header = BatchHeader::parse(batch)?;
    if header.size_bytes() > batch.len() {
        return Err(BatchError::Missing);
    }
    let codec = header.attributes.codec().map_err(BatchError::UnknownCodec)?;
    let bytes = batch.slice(HEADER_BYTES..header.size_bytes());
    let source = if codec == Codec::None {
        Source::Plain(bytes)
    } else {
        let decoder =
            Decoder::new(codec, bytes).map_err(|_| BatchError::Decompression { codec: codec.name() })?;
        Source::Stream(Box::new(Stream::new(decoder, vec![0; WINDOW_BYTES], DECOMPRESSED_BYTES_MAX)))
    };
    Ok(Records { header, codec, source, index: 0 })
}

impl Records {
    /// The header of the batch.
    pub const fn batch(&self) -> &BatchHeader {
        &self.header
    }

    fn read(&mut self) -> Result<Record, Fault> {
        let body = match &mut self.source {
            Source::Plain(bytes) => {
                let mut slice = Slice { bytes, at: 0 };
                let size = record_size(&mut slice)?;
                let at = slice.at;
                slice.skip(size)?;
                let taken = bytes.split_to(at + size as usize);
                taken.slice(at..)
            }
            Source::Stream(stream) => {
                let size = record_size(stream.as_mut())?;
                Bytes::from(stream.take(size)?)
            }
        };
        parse_record(&self.header, &body)
    }
}

impl Iterator for Records {
    type Item = Result<Record, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.index >= self.header.record_count {
            return None;
        }
        let index = self.index;
        self.index += 1;
        Some(self.read().map_err(|fault| {
            self.index = self.header.record_count;
            match fault {
                Fault::Format(fault) => BatchError::Records { index, fault },
                Fault::Decompression => BatchError::Decompression { codec: self.codec.name() },
                Fault::Bomb => BatchError::Bomb { decompressed_bytes_max: DECOMPRESSED_BYTES_MAX },
            }
        }))
    }
}

fn record_size(source: &mut impl ByteSource) -> Result<u64, Fault> {
    let size = source.varint()?;
    let size = u64::try_from(size).map_err(|_| Fault::Format("a record's length is negative"))?;
    if !source.may_hold(size) {
        return Err(Fault::Format("a record is longer than its batch"));
    }
    Ok(size)
}

fn parse_record(batch: &BatchHeader, body: &Bytes) -> Result<Record, Fault> {
    let mut source = Slice { bytes: body, at: 0 };
    source.byte()?;
    let timestamp_delta = source.varlong()?;
    let offset_delta = source.varint()?;
    let key = nullable(&mut source, body)?;
    let value = nullable(&mut source, body)?;
    let header_count = source.varint()?;
    // each header has at least two bytes, so a count cannot ask for more room than the record has
    if header_count < 0 || header_count as usize > body.len() / 2 {
        return Err(Fault::Format("a record's header count is impossible"));
    }
    let mut headers = Vec::with_capacity(header_count as usize);
    for _ in 0..header_count {
        let key = nullable(&mut source, body)?.ok_or(Fault::Format("a header has no key"))?;
        headers.push(Header { key, value: nullable(&mut source, body)? });
    }
    if !source.at_end()? {
        return Err(Fault::Format("a record's length is not that of its fields"));
    }
    let timestamp = match batch.attributes.timestamp_type() {
        TimestampType::CreateTime => Timestamp(batch.base_timestamp.0.wrapping_add(timestamp_delta)),
        TimestampType::LogAppendTime => batch.max_timestamp,
    };
    let offset = Offset(batch.base_offset.0.wrapping_add(i64::from(offset_delta)));
    Ok(Record { offset, timestamp, key, value, headers })
}

fn nullable(source: &mut Slice<'_>, body: &Bytes) -> Result<Option<Bytes>, Fault> {
    match source.varint()? {
        -1 => Ok(None),
        n => {
            let n = u64::try_from(n).map_err(|_| Fault::Format("a field's length is below -1"))?;
            let from = source.at;
            source.skip(n)?;
            Ok(Some(body.slice(from..source.at)))
        }
    }
}
