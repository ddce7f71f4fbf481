//! The leader's offset and epoch in front of a batch's shared bytes.

use super::header::TimestampType;
use super::validate::ValidBatch;
use super::{BatchHeader, HEADER_BYTES, PREFIX_BYTES};
use crate::ids::{LeaderEpoch, Offset};
use crate::time::Timestamp;
use bytes::Bytes;

/// A batch as it goes to the log: a head of its own, then bytes shared with the request.
///
/// The two parts are written by one `writev`, so record bytes are never copied.
#[derive(Clone, Debug)]
pub struct StampedBatch {
    /// The batch's header, as the log will hold it.
    pub header: BatchHeader,
    head: [u8; HEADER_BYTES],
    head_len: usize,
    rest: Bytes,
}

impl StampedBatch {
    /// A batch that has its offset and epoch already, as a leader's log holds it.
    pub(super) fn stored(header: BatchHeader, bytes: Bytes) -> Self {
        Self { header, head: [0; HEADER_BYTES], head_len: 0, rest: bytes }
    }

    /// What goes first: the 16-byte prefix, or the whole header if the broker had to change it.
    pub fn head(&self) -> &[u8] {
        &self.head[..self.head_len]
    }

    /// What follows the head.
    pub fn rest(&self) -> &Bytes {
        &self.rest
    }

    /// The size of head and rest.
    pub fn size_bytes(&self) -> usize {
        self.head_len + self.rest.len()
    }
}

/// Gives a batch its offset and epoch, and with `LogAppendTime` its time.
///
/// Offset and epoch lie outside the CRC, so the prefix alone changes. Attributes and max timestamp are under it:
/// with `log_append_time` the header is written anew and the CRC computed again, over the same shared records.
pub fn stamp(
    batch: &ValidBatch,
    base_offset: Offset,
    leader_epoch: LeaderEpoch,
    log_append_time: Option<Timestamp>,
) -> StampedBatch {
    let mut header = BatchHeader { base_offset, leader_epoch, ..*batch.header() };
    let bytes = batch.bytes();
    let head_len = match log_append_time {
        Some(now) => {
            header.attributes = header.attributes.with_timestamp_type(TimestampType::LogAppendTime);
            header.max_timestamp = now;
            header.seal(&bytes[HEADER_BYTES..]);
            HEADER_BYTES
        }
        None if batch.is_header_as_sent() => PREFIX_BYTES,
        None => HEADER_BYTES,
    };
    StampedBatch { header, head: header.encode(), head_len, rest: bytes.slice(head_len..) }
}
