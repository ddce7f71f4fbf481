//! How each type of field is read and written.
//!
//! Nesting needs no limit of its own: no message contains itself, so its depth is that of its declaration.

use bytes::Bytes;

use crate::reader::{DecodeError, Length, Reader};
use crate::schema::Type;
use crate::writer::Writer;
use crate::{ErrorCode, Uuid};

/// How a message is laid out: its version, and whether that is one with compact lengths and tagged fields (KIP-482).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// The message's version.
    pub version: i16,
    /// Whether lengths are compact and structs end in tagged fields.
    pub flexible: bool,
}

impl Format {
    const fn string_length(self) -> Length {
        if self.flexible { Length::Compact } else { Length::Short }
    }

    const fn other_length(self) -> Length {
        if self.flexible { Length::Compact } else { Length::Int }
    }
}

/// A type that can be a field, an element of an array, or a whole message.
pub trait Field: Sized {
    /// The type on the wire.
    const TYPE: Type;

    /// Reads one.
    fn read(r: &mut Reader<'_>, format: Format) -> Result<Self, DecodeError>;

    /// Writes it.
    fn write(&self, w: &mut Writer, format: Format);

    /// The fewest bytes that one can take.
    fn size_min(format: Format) -> usize;
}

/// A field that can be null, as `Option`.
pub trait Nullable: Field + Default {
    /// Reads one that may be null.
    fn read_nullable(r: &mut Reader<'_>, format: Format) -> Result<Option<Self>, DecodeError>;

    /// Writes one where null was possible.
    fn write_nullable(&self, w: &mut Writer, format: Format);

    /// Writes null.
    fn write_null(w: &mut Writer, format: Format);
}

macro_rules! number {
    ($($type:ty, $wire:ident;)*) => {$(
        impl Field for $type {
            const TYPE: Type = Type::$wire;

            fn read(r: &mut Reader<'_>, _: Format) -> Result<Self, DecodeError> {
                Ok(Self::from_be_bytes(r.take_array()?))
            }

            fn write(&self, w: &mut Writer, _: Format) {
                w.put(&self.to_be_bytes());
            }

            fn size_min(_: Format) -> usize {
                size_of::<Self>()
            }
        }
    )*};
}

number! {
    i8, Int8;
    i16, Int16;
    u16, Uint16;
    i32, Int32;
    u32, Uint32;
    i64, Int64;
    f64, Float64;
}

impl Field for bool {
    const TYPE: Type = Type::Bool;

    fn read(r: &mut Reader<'_>, _: Format) -> Result<Self, DecodeError> {
        r.bool()
    }

    fn write(&self, w: &mut Writer, _: Format) {
        w.put_i8(i8::from(*self));
    }

    fn size_min(_: Format) -> usize {
        1
    }
}

impl Field for ErrorCode {
    const TYPE: Type = Type::ErrorCode;

    fn read(r: &mut Reader<'_>, _: Format) -> Result<Self, DecodeError> {
        r.error_code()
    }

    fn write(&self, w: &mut Writer, _: Format) {
        w.put_i16(self.code());
    }

    fn size_min(_: Format) -> usize {
        2
    }
}

impl Field for Uuid {
    const TYPE: Type = Type::Uuid;

    fn read(r: &mut Reader<'_>, _: Format) -> Result<Self, DecodeError> {
        Ok(Self(r.take_array()?))
    }

    fn write(&self, w: &mut Writer, _: Format) {
        w.put(&self.0);
    }

    fn size_min(_: Format) -> usize {
        16
    }
}

/// Lengths before contents: null is a length of its own, so reading and writing differ only in what null means.
macro_rules! nullable_by_length {
    ($length:ident) => {
        fn read(r: &mut Reader<'_>, format: Format) -> Result<Self, DecodeError> {
            Self::read_nullable(r, format)?.ok_or(DecodeError::NullNotAllowed)
        }

        fn write(&self, w: &mut Writer, format: Format) {
            self.write_nullable(w, format);
        }

        fn size_min(format: Format) -> usize {
            match format.$length() {
                Length::Compact => 1,
                Length::Short => 2,
                Length::Int => 4,
            }
        }
    };
}

impl Field for String {
    const TYPE: Type = Type::String;
    nullable_by_length!(string_length);
}

impl Nullable for String {
    fn read_nullable(r: &mut Reader<'_>, format: Format) -> Result<Option<Self>, DecodeError> {
        let Some(n) = r.length(format.string_length())? else { return Ok(None) };
        Ok(Some(r.text(n)?.to_owned()))
    }

    fn write_nullable(&self, w: &mut Writer, format: Format) {
        w.put_length(format.string_length(), Some(self.len()));
        w.put(self.as_bytes());
    }

    fn write_null(w: &mut Writer, format: Format) {
        w.put_length(format.string_length(), None);
    }
}

/// Copied out of the frame: what a coordinator keeps for hours must not keep a whole frame alive.
impl Field for Bytes {
    const TYPE: Type = Type::Bytes;
    nullable_by_length!(other_length);
}

impl Nullable for Bytes {
    fn read_nullable(r: &mut Reader<'_>, format: Format) -> Result<Option<Self>, DecodeError> {
        let Some(n) = r.length(format.other_length())? else { return Ok(None) };
        Ok(Some(Self::copy_from_slice(r.take(n)?)))
    }

    fn write_nullable(&self, w: &mut Writer, format: Format) {
        w.put_length(format.other_length(), Some(self.len()));
        w.put(self);
    }

    fn write_null(w: &mut Writer, format: Format) {
        w.put_length(format.other_length(), None);
    }
}

/// Record batches, or null: a slice that shares the frame's memory, so that records are never copied.
pub fn read_records(r: &mut Reader<'_>, format: Format) -> Result<Option<Bytes>, DecodeError> {
    match r.length(format.other_length())? {
        Some(n) => r.take_shared(n).map(Some),
        None => Ok(None),
    }
}

impl<T: Field> Field for Vec<T> {
    const TYPE: Type = Type::Array(&T::TYPE);
    nullable_by_length!(other_length);
}

impl<T: Field> Nullable for Vec<T> {
    fn read_nullable(r: &mut Reader<'_>, format: Format) -> Result<Option<Self>, DecodeError> {
        let Some(n) = r.length(format.other_length())? else { return Ok(None) };
        if n > r.remaining() / T::size_min(format).max(1) {
            return Err(DecodeError::Truncated);
        }
        r.charge(n.saturating_mul(size_of::<T>()))?;
        let mut elements = Self::with_capacity(n);
        for _ in 0..n {
            elements.push(T::read(r, format)?);
        }
        Ok(Some(elements))
    }

    fn write_nullable(&self, w: &mut Writer, format: Format) {
        w.put_length(format.other_length(), Some(self.len()));
        for element in self {
            element.write(w, format);
        }
    }

    fn write_null(w: &mut Writer, format: Format) {
        w.put_length(format.other_length(), None);
    }
}
