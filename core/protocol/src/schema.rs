//! The declarations as data: what the derive macro knows of each message, for tests, fuzzing and tools.

/// Versions from `min` to `max`, both included; empty if `min > max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionRange {
    /// The first version.
    pub min: i16,
    /// The last version; `i16::MAX` for "and all after it".
    pub max: i16,
}

impl VersionRange {
    /// Every version.
    pub const ALL: Self = Self { min: 0, max: i16::MAX };
    /// No version.
    pub const NONE: Self = Self { min: 1, max: 0 };

    /// The versions from `min` to `max`, both included.
    pub const fn new(min: i16, max: i16) -> Self {
        Self { min, max }
    }

    /// Whether `version` is one of them.
    pub const fn contains(self, version: i16) -> bool {
        self.min <= version && version <= self.max
    }

    /// Each of them in turn.
    pub fn iter(self) -> impl DoubleEndedIterator<Item = i16> + Clone {
        self.min..=self.max
    }
}

/// A field's type on the wire.
#[derive(Clone, Copy, Debug)]
pub enum Type {
    /// One byte, 0 or 1.
    Bool,
    /// One byte.
    Int8,
    /// Two bytes.
    Int16,
    /// Two bytes, one of Kafka's error codes.
    ErrorCode,
    /// Two bytes, unsigned.
    Uint16,
    /// Four bytes.
    Int32,
    /// Four bytes, unsigned.
    Uint32,
    /// Eight bytes.
    Int64,
    /// Eight bytes, IEEE 754.
    Float64,
    /// Sixteen bytes.
    Uuid,
    /// A length and UTF-8.
    String,
    /// A length and bytes.
    Bytes,
    /// A count and elements.
    Array(&'static Type),
    /// Fields in their order.
    Struct(&'static Schema),
}

/// One struct.
#[derive(Clone, Copy, Debug)]
pub struct Schema {
    /// The struct's name.
    pub name: &'static str,
    /// Its fields in wire order.
    pub fields: &'static [FieldSchema],
}

/// One field.
#[derive(Clone, Copy, Debug)]
pub struct FieldSchema {
    /// The field's name.
    pub name: &'static str,
    /// Its type.
    pub ty: Type,
    /// The versions that have it.
    pub versions: VersionRange,
    /// The versions in which it may be null.
    pub nullable: VersionRange,
    /// Its tag, and the versions in which it is a tagged field.
    pub tag: Option<(u32, VersionRange)>,
}
