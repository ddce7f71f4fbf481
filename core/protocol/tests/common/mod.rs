//! Shared by the tests: every declared message as a pair of functions over bytes, and bytes made from the schemas.
#![allow(dead_code, reason = "each test uses its part of it")]

use bytes::{BufMut, Bytes};
use highwater_protocol::field::Format;
use highwater_protocol::messages::*;
use highwater_protocol::schema::{FieldSchema, Schema, Type, VersionRange};
use highwater_protocol::{ApiKey, DecodeError, ErrorCode, Message, Reader};

/// Longer than a length of one byte can say.
const LONG: &str = match std::str::from_utf8(&[b'x'; 200]) {
    Ok(text) => text,
    Err(_) => panic!("x is UTF-8"),
};

/// One declared message.
pub(crate) struct Codec {
    pub(crate) name: &'static str,
    /// The API that it belongs to, if it does.
    pub(crate) key: Option<ApiKey>,
    pub(crate) is_request: bool,
    pub(crate) ty: Type,
    pub(crate) versions: VersionRange,
    pub(crate) flexible: VersionRange,
    /// Reads a message and writes it again.
    pub(crate) recode: fn(&Bytes, i16) -> Result<Recoded, DecodeError>,
    /// Reads a message and drops it.
    pub(crate) decode: fn(&Bytes, i16) -> Result<(), DecodeError>,
}

/// What became of a message that was read and written again.
pub(crate) struct Recoded {
    pub(crate) bytes: Bytes,
    /// How many bytes were left over when it was read.
    pub(crate) left_over: usize,
}

impl Codec {
    fn of<M: Message>(key: Option<ApiKey>, is_request: bool) -> Self {
        let Type::Struct(schema) = M::TYPE else { panic!("a message is a struct") };
        Self {
            name: schema.name,
            key,
            is_request,
            ty: M::TYPE,
            versions: M::VERSIONS,
            flexible: M::FLEXIBLE,
            recode: |bytes, version| {
                let mut r = Reader::new(bytes);
                let message = M::decode(&mut r, version)?;
                let bytes =
                    message.to_bytes(version).expect("what was read in a version can be written in it");
                Ok(Recoded { bytes, left_over: r.remaining() })
            },
            decode: |bytes, version| M::from_bytes(bytes, version).map(drop),
        }
    }

    pub(crate) fn format(&self, version: i16) -> Format {
        Format { version, flexible: self.flexible.contains(version) }
    }
}

macro_rules! codecs_of_apis {
    (
        served { $($name:ident($request:ident -> $body:ident, $response:ident),)* }
        declared { $($other:ident($other_request:ident, $other_response:ident),)* }
    ) => {
        fn codecs_of_apis() -> Vec<Codec> {
            vec![
                $(
                    Codec::of::<$request>(Some(ApiKey::$name), true),
                    Codec::of::<$response>(Some(ApiKey::$name), false),
                )*
                $(
                    Codec::of::<$other_request>(Some(ApiKey::$other), true),
                    Codec::of::<$other_response>(Some(ApiKey::$other), false),
                )*
            ]
        }
    };
}

highwater_protocol::for_each_api!(codecs_of_apis);

/// Every declared message.
pub(crate) fn codecs() -> Vec<Codec> {
    let mut codecs = codecs_of_apis();
    codecs.extend([
        Codec::of::<OffsetCommitKey>(None, false),
        Codec::of::<OffsetCommitValue>(None, false),
        Codec::of::<GroupMetadataKey>(None, false),
        Codec::of::<GroupMetadataValue>(None, false),
        Codec::of::<ConsumerProtocolSubscription>(None, false),
        Codec::of::<ConsumerProtocolAssignment>(None, false),
        Codec::of::<TransactionLogKey>(None, false),
        Codec::of::<TransactionLogValue>(None, false),
    ]);
    codecs
}

/// Where choices come from: bytes, then zeroes. Fewer or smaller bytes make a smaller message, so failures shrink.
pub(crate) struct Choices<'a>(pub(crate) &'a [u8]);

impl Choices<'_> {
    fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }
}

/// Writes a well-formed message by its schema alone, knowing nothing of the code that the derive macro made.
pub(crate) struct Wire<'a> {
    pub(crate) out: Vec<u8>,
    pub(crate) format: Format,
    pub(crate) choices: Choices<'a>,
    /// Whether each flexible struct ends in a tagged field that nobody knows.
    pub(crate) unknown_tags: bool,
    /// Counts the arrays down to the one that is made long, and says how long.
    long_array: Option<(usize, usize)>,
}

impl<'a> Wire<'a> {
    pub(crate) fn message(codec: &Codec, version: i16, choices: &'a [u8], unknown_tags: bool) -> Vec<u8> {
        let format = codec.format(version);
        let choices = Choices(choices);
        let mut wire = Self { out: Vec::new(), format, choices, unknown_tags, long_array: None };
        wire.value(&codec.ty, false, false);
        wire.out
    }

    /// A message in which the arrays are empty, but for those around and of array number `index`, which has `length`
    /// elements; none if there is no such array.
    pub(crate) fn long_array(codec: &Codec, version: i16, index: usize, length: usize) -> Option<Vec<u8>> {
        let mut wire = Self {
            out: Vec::new(),
            format: codec.format(version),
            choices: Choices(&[]),
            unknown_tags: false,
            long_array: Some((index, length)),
        };
        wire.value(&codec.ty, false, false);
        wire.long_array.is_none().then_some(wire.out)
    }

    /// `filled` values differ from every default, as tagged fields with their default are not written.
    fn value(&mut self, ty: &Type, nullable: bool, filled: bool) {
        let null = nullable && !filled && self.choices.byte() % 4 == 1;
        match ty {
            Type::Bool => {
                let value = u8::from(filled) | self.choices.byte() & 1;
                self.out.put_u8(value);
            }
            Type::Int8 => self.number(1, filled),
            Type::Int16 | Type::Uint16 => self.number(2, filled),
            Type::Int32 | Type::Uint32 => self.number(4, filled),
            Type::Int64 => self.number(8, filled),
            Type::Uuid => self.number(16, filled),
            Type::Float64 => {
                let value = f64::from(self.choices.byte()) + if filled { 1.5 } else { 0.5 };
                self.out.put_f64(value);
            }
            Type::ErrorCode => {
                // the first two are −1 and 0
                let least = if filled { 2 } else { 0 };
                let codes = &ErrorCode::ALL[least..];
                let code = codes[usize::from(self.choices.byte()) % codes.len()];
                self.out.put_i16(code.code());
            }
            Type::String => self.string(null, filled),
            Type::Bytes => {
                let long_array = self.long_array.take();
                let n = self.count(null, filled);
                self.long_array = long_array;
                for _ in 0..n {
                    let byte = self.choices.byte();
                    self.out.put_u8(byte);
                }
            }
            Type::Array(element) => {
                for _ in 0..self.count(null, filled) {
                    self.value(element, false, filled);
                }
            }
            Type::Struct(schema) => {
                if nullable {
                    self.out.put_i8(if null { -1 } else { 1 });
                }
                if !null {
                    self.fields(schema, filled);
                }
            }
        }
    }

    fn number(&mut self, bytes: usize, filled: bool) {
        if filled {
            self.out.put_bytes(0, bytes - 1);
            let value = 1 + self.choices.byte() % 100;
            return self.out.put_u8(value);
        }
        for _ in 0..bytes {
            let byte = self.choices.byte();
            self.out.put_u8(byte);
        }
    }

    fn string(&mut self, null: bool, filled: bool) {
        let words = ["", "a", "group-1", "ümläut", "日本", LONG];
        let word = words[usize::from(self.choices.byte()) % words.len()];
        let word = if filled { "filled" } else { word };
        match (self.format.flexible, null) {
            (true, true) => self.uvarint(0),
            (true, false) => self.uvarint(word.len() as u32 + 1),
            (false, true) => self.out.put_i16(-1),
            (false, false) => self.out.put_i16(word.len() as i16),
        }
        if !null {
            self.out.put_slice(word.as_bytes());
        }
    }

    fn count(&mut self, null: bool, filled: bool) -> usize {
        let n = usize::from(self.choices.byte() % 3).max(usize::from(filled));
        let n = match self.long_array {
            Some((0, length)) => {
                self.long_array = None;
                length
            }
            Some((index, length)) => {
                self.long_array = Some((index - 1, length));
                1
            }
            None => n,
        };
        match (self.format.flexible, null) {
            (true, true) => self.uvarint(0),
            (true, false) => self.uvarint(n as u32 + 1),
            (false, true) => self.out.put_i32(-1),
            (false, false) => self.out.put_i32(n as i32),
        }
        if null { 0 } else { n }
    }

    fn uvarint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.out.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.out.put_u8(value as u8);
    }

    fn fields(&mut self, schema: &Schema, filled: bool) {
        let version = self.format.version;
        let is_tagged = |f: &FieldSchema| f.tag.is_some_and(|(_, versions)| versions.contains(version));
        let nullable = |f: &FieldSchema| f.nullable.contains(version);
        for field in schema.fields.iter().filter(|f| f.versions.contains(version) && !is_tagged(f)) {
            self.value(&field.ty, nullable(field), filled);
        }
        if !self.format.flexible {
            return;
        }
        let mut tagged: Vec<_> =
            schema.fields.iter().filter_map(|f| Some((f.tag?.0, f)).filter(|_| is_tagged(f))).collect();
        tagged.sort_by_key(|(tag, _)| *tag);
        tagged.retain(|_| self.choices.byte() % 2 == 1);
        self.uvarint(tagged.len() as u32 + u32::from(self.unknown_tags));
        for (tag, field) in tagged {
            let outer = std::mem::take(&mut self.out);
            self.value(&field.ty, nullable(field), true);
            let value = std::mem::replace(&mut self.out, outer);
            self.uvarint(tag);
            self.uvarint(value.len() as u32);
            self.out.extend(value);
        }
        if self.unknown_tags {
            self.out.extend(b"\xe8\x07\x03abc");
        }
    }
}
