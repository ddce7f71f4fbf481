//! Reading the wire, bounded: every length is checked against the bytes that are left before anything is allocated.
//!
//! Nothing here knows a message; see [`crate::field`] for the types and the derive macro for their order.

use bytes::Bytes;

use crate::ErrorCode;

/// Why bytes are not the message they claim to be. The peer that sent them cannot be answered; close its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// A field, length or count reaches beyond the bytes that are left.
    Truncated,
    /// A negative length that does not mean null, or a null where the version allows none.
    NullNotAllowed,
    /// A length below −1.
    NegativeLength,
    /// A variable-length integer of more bits than its type has.
    VarintTooLong,
    /// A string that is not UTF-8.
    InvalidUtf8,
    /// The decoded message would take far more memory than its bytes justify; see [`Reader::memory_max`].
    TooLarge,
    /// The message is not declared for this version.
    UnsupportedVersion,
}

impl std::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Truncated => "a length reaches beyond the end of the message",
            Self::NullNotAllowed => "null where this version allows none",
            Self::NegativeLength => "a length below -1",
            Self::VarintTooLong => "a variable-length integer that is too long",
            Self::InvalidUtf8 => "a string that is not UTF-8",
            Self::TooLarge => "a message that takes too much memory",
            Self::UnsupportedVersion => "a version that is not supported",
        })
    }
}

impl std::error::Error for DecodeError {}

/// A position in a frame. Strings and bytes are copied out of it, except records, which stay slices of the frame.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    frame: &'a Bytes,
    position: usize,
    end: usize,
    memory_left: usize,
}

impl<'a> Reader<'a> {
    /// Reads `frame` from its start.
    pub fn new(frame: &'a Bytes) -> Self {
        Self { frame, position: 0, end: frame.len(), memory_left: Self::memory_max(frame.len()) }
    }

    /// Reads `frame` from `position`.
    pub(crate) fn at(frame: &'a Bytes, position: usize) -> Self {
        Self { position, ..Self::new(frame) }
    }

    /// The whole frame.
    pub(crate) fn frame(&self) -> &'a Bytes {
        self.frame
    }

    /// How much memory the arrays decoded from a frame of `len` bytes may take in all.
    ///
    /// An element of empty fields is up to 32 times as large in memory as on the wire, so a count within the bytes
    /// that are left is not yet harmless. A message with real contents stays below 4 times its bytes; small ones
    /// may take what they like, since their number is bounded by the connections.
    pub const fn memory_max(len: usize) -> usize {
        let (small, large) = (32 * len + 4096, 4 * len + (16 << 20));
        if small < large { small } else { large }
    }

    /// How many bytes are left. After a request's body a few are tolerated: librdkafka 2.16.0 sends one too many
    /// after AlterUserScramCredentials, and Kafka accepts it.
    pub fn remaining(&self) -> usize {
        self.end - self.position
    }

    /// How many bytes have been read.
    pub fn position(&self) -> usize {
        self.position
    }

    /// The next `n` bytes.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], DecodeError> {
        if n > self.remaining() {
            return Err(DecodeError::Truncated);
        }
        let taken = &self.frame[self.position..self.position + n];
        self.position += n;
        Ok(taken)
    }

    /// The next `n` bytes as a slice that shares the frame's memory.
    pub fn take_shared(&mut self, n: usize) -> Result<Bytes, DecodeError> {
        let start = self.position;
        self.take(n)?;
        Ok(self.frame.slice(start..start + n))
    }

    /// The next `N` bytes.
    pub fn take_array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    /// A boolean: any byte but zero is true.
    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        Ok(self.i8()? != 0)
    }

    /// One byte.
    pub fn i8(&mut self) -> Result<i8, DecodeError> {
        Ok(i8::from_be_bytes(self.take_array()?))
    }

    /// Two bytes.
    pub fn i16(&mut self) -> Result<i16, DecodeError> {
        Ok(i16::from_be_bytes(self.take_array()?))
    }

    /// Four bytes.
    pub fn i32(&mut self) -> Result<i32, DecodeError> {
        Ok(i32::from_be_bytes(self.take_array()?))
    }

    /// Eight bytes.
    pub fn i64(&mut self) -> Result<i64, DecodeError> {
        Ok(i64::from_be_bytes(self.take_array()?))
    }

    /// An error code; one that a newer Kafka has given out is an unknown error here, as in Kafka's own clients.
    pub fn error_code(&mut self) -> Result<ErrorCode, DecodeError> {
        Ok(ErrorCode::from_code(self.i16()?).unwrap_or(ErrorCode::UnknownServerError))
    }

    /// An unsigned number of seven bits a byte, at most 32 bits in all (KIP-482).
    pub fn uvarint(&mut self) -> Result<u32, DecodeError> {
        let mut value = 0u32;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.take_array()?;
            if shift == 28 && byte > 0x0f {
                return Err(DecodeError::VarintTooLong);
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeError::VarintTooLong)
    }

    /// A length or count: none for null, else at most what is left.
    pub fn length(&mut self, kind: Length) -> Result<Option<usize>, DecodeError> {
        let length = match kind {
            Length::Compact => i64::from(self.uvarint()?) - 1,
            Length::Short => i64::from(self.i16()?),
            Length::Int => i64::from(self.i32()?),
        };
        match usize::try_from(length) {
            Ok(n) if n <= self.remaining() => Ok(Some(n)),
            Ok(_) => Err(DecodeError::Truncated),
            Err(_) if length == -1 => Ok(None),
            Err(_) => Err(DecodeError::NegativeLength),
        }
    }

    /// UTF-8 text, borrowed from the frame.
    pub fn text(&mut self, n: usize) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.take(n)?).map_err(|_| DecodeError::InvalidUtf8)
    }

    /// The tagged fields that end a flexible struct (KIP-482). `known` reads the value of a tag and says whether
    /// it knew it; what it leaves unread of the value is skipped, and it cannot read further than the value.
    pub fn tagged_fields(
        &mut self,
        mut known: impl FnMut(u32, &mut Self) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        for _ in 0..self.uvarint()? {
            let tag = self.uvarint()?;
            let size = self.uvarint()? as usize;
            if size > self.remaining() {
                return Err(DecodeError::Truncated);
            }
            let value_end = self.position + size;
            let outer_end = std::mem::replace(&mut self.end, value_end);
            known(tag, self)?;
            self.end = outer_end;
            self.position = value_end;
        }
        Ok(())
    }

    /// Skips the tagged fields of a struct that knows none.
    pub fn skip_tagged_fields(&mut self) -> Result<(), DecodeError> {
        self.tagged_fields(|_, _| Ok(()))
    }

    /// Takes `bytes` off what this frame's arrays may occupy, before they are allocated.
    pub(crate) fn charge(&mut self, bytes: usize) -> Result<(), DecodeError> {
        self.memory_left = self.memory_left.checked_sub(bytes).ok_or(DecodeError::TooLarge)?;
        Ok(())
    }
}

/// How a length is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// One more than the length as an unsigned varint, 0 for null: all lengths of flexible versions.
    Compact,
    /// 16 bits, −1 for null: strings of other versions.
    Short,
    /// 32 bits, −1 for null: bytes and arrays of other versions.
    Int,
}
