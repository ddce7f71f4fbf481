//! Writing the wire.

use bytes::{BufMut, Bytes, BytesMut};

use crate::reader::Length;

/// Why a message cannot be written in a version: it holds something longer than the length field before it can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncodeError;

impl std::fmt::Display for EncodeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a field is too long to be written")
    }
}

impl std::error::Error for EncodeError {}

/// A growing frame. What cannot be written is remembered and told by [`Writer::finish`], so that the many writes of
/// a message need no check each.
#[derive(Debug, Default)]
pub struct Writer {
    buffer: BytesMut,
    overflowed: bool,
}

impl Writer {
    /// An empty writer.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty writer with room for `n` bytes.
    pub fn with_capacity(n: usize) -> Self {
        Self { buffer: BytesMut::with_capacity(n), overflowed: false }
    }

    /// What has been written.
    pub fn finish(self) -> Result<Bytes, EncodeError> {
        if self.overflowed { Err(EncodeError) } else { Ok(self.buffer.freeze()) }
    }

    /// How many bytes have been written.
    pub fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Whether nothing has been written.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Raw bytes.
    pub fn put(&mut self, bytes: &[u8]) {
        self.buffer.put_slice(bytes);
    }

    /// One byte.
    pub fn put_i8(&mut self, value: i8) {
        self.buffer.put_i8(value);
    }

    /// Two bytes.
    pub fn put_i16(&mut self, value: i16) {
        self.buffer.put_i16(value);
    }

    /// Four bytes.
    pub fn put_i32(&mut self, value: i32) {
        self.buffer.put_i32(value);
    }

    /// Eight bytes.
    pub fn put_i64(&mut self, value: i64) {
        self.buffer.put_i64(value);
    }

    /// An unsigned number of seven bits a byte (KIP-482).
    pub fn put_uvarint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.buffer.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.buffer.put_u8(value as u8);
    }

    /// A length or count; none is null.
    pub fn put_length(&mut self, kind: Length, length: Option<usize>) {
        match (kind, length) {
            (Length::Compact, None) => self.put_uvarint(0),
            (Length::Compact, Some(n)) => {
                let plus_one = n.checked_add(1).and_then(|n| u32::try_from(n).ok());
                let plus_one = self.or_overflow(plus_one);
                self.put_uvarint(plus_one);
            }
            (Length::Short, None) => self.put_i16(-1),
            (Length::Short, Some(n)) => {
                let n = self.or_overflow(i16::try_from(n).ok());
                self.put_i16(n);
            }
            (Length::Int, None) => self.put_i32(-1),
            (Length::Int, Some(n)) => {
                let n = self.or_overflow(i32::try_from(n).ok());
                self.put_i32(n);
            }
        }
    }

    /// One tagged field: its tag, its size, and what `value` writes.
    pub fn put_tagged(&mut self, tag: u32, value: impl FnOnce(&mut Self)) {
        let start = self.buffer.len();
        value(self);
        let value = self.buffer.split_off(start);
        let size = self.or_overflow(u32::try_from(value.len()).ok());
        self.put_uvarint(tag);
        self.put_uvarint(size);
        self.put(&value);
    }

    /// Writes `value` over the four bytes at `at`.
    pub(crate) fn patch_i32(&mut self, at: usize, value: i32) {
        self.buffer[at..at + 4].copy_from_slice(&value.to_be_bytes());
    }

    /// Puts the number of bytes after the first four into the first four, as every frame begins.
    pub(crate) fn patch_frame_length(&mut self, beyond: usize) {
        let length = self.buffer.len().checked_sub(4).and_then(|n| n.checked_add(beyond));
        let length = self.or_overflow(length.and_then(|n| i32::try_from(n).ok()));
        self.patch_i32(0, length);
    }

    fn or_overflow<T: Default>(&mut self, fitted: Option<T>) -> T {
        self.overflowed |= fitted.is_none();
        fitted.unwrap_or_default()
    }
}
