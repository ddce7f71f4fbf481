//! What a setting is: its name, type, default, range, and what this broker does with it.
//!
//! Definitions are data (`tables/`); nothing here knows a particular setting.

use std::fmt;

/// One setting that a Kafka user may write down.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Definition {
    /// Its name, as in Kafka's documentation.
    pub name: &'static str,
    /// The type of its value.
    pub kind: Kind,
    /// The value if nobody sets one; `None` is Kafka's `null`.
    pub default: Option<&'static str>,
    /// Which values of the type are allowed.
    pub valid: Valid,
    /// How much a user should care.
    pub importance: Importance,
    /// Whether a running broker takes a new value.
    pub update: Update,
    /// What this broker does with it.
    pub class: Class,
    /// What it means, in a sentence.
    pub doc: &'static str,
}

/// The types of Kafka's settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`.
    Boolean,
    /// Text.
    String,
    /// 32 bits.
    Int,
    /// 16 bits.
    Short,
    /// 64 bits.
    Long,
    /// A floating-point number.
    Double,
    /// Words separated by commas.
    List,
    /// The name of a Java class.
    Class,
    /// Text that is never shown.
    Password,
}

impl Kind {
    /// The number of the type in a DescribeConfigs answer (KIP-569).
    pub const fn wire(self) -> i8 {
        match self {
            Self::Boolean => 1,
            Self::String => 2,
            Self::Int => 3,
            Self::Short => 4,
            Self::Long => 5,
            Self::Double => 6,
            Self::List => 7,
            Self::Class => 8,
            Self::Password => 9,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Boolean => "BOOLEAN",
            Self::String => "STRING",
            Self::Int => "INT",
            Self::Short => "SHORT",
            Self::Long => "LONG",
            Self::Double => "DOUBLE",
            Self::List => "LIST",
            Self::Class => "CLASS",
            Self::Password => "PASSWORD",
        })
    }
}

/// Which values of a setting's type are allowed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Valid {
    /// Every one.
    Any,
    /// Numbers from this one on.
    AtLeast(i64),
    /// Numbers from the first to the second, both allowed.
    Between(i64, i64),
    /// Floating-point numbers from 0 to this one.
    Fraction(f64),
    /// These words; for a list, each of its words.
    OneOf(&'static [&'static str]),
    /// These words in any case.
    OneOfIgnoringCase(&'static [&'static str]),
    /// Text of at least one character.
    NonEmpty,
    /// gzip's levels, or −1 for its own default.
    GzipLevel,
    /// `*`, or `partition:broker` pairs.
    ThrottledReplicas,
    /// `earliest`, `latest` or `by_duration:` and an ISO 8601 duration (KIP-1106).
    OffsetReset,
    /// `PARAMETER=PATTERN` words that pick clients (KIP-714).
    ClientMatch,
}

/// How much a user should care about a setting, in Kafka's opinion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Importance {
    /// Rarely needed.
    Low,
    /// Worth knowing.
    Medium,
    /// Look at it first.
    High,
}

/// Whether a running broker takes a new value (KIP-226).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Update {
    /// Only at start.
    ReadOnly,
    /// For one broker at a time.
    PerBroker,
    /// For one broker, or for all at once.
    ClusterWide,
}

/// What this broker does with a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// It has the effect that Kafka's documentation says.
    Implemented,
    /// Kafka knows it; here it is kept and shown, and has no effect yet.
    Accepted,
    /// Any value but the default is an error: going on without its effect would be unsafe.
    Refused,
}

impl Class {
    /// The word for it in `config explain`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Implemented => "implemented",
            Self::Accepted => "accepted",
            Self::Refused => "refused",
        }
    }
}

impl Definition {
    /// Whether its value is never shown.
    pub const fn is_sensitive(&self) -> bool {
        matches!(self.kind, Kind::Password)
    }
}

/// Declares a table of [`Definition`]s: name, kind, default, valid, importance, update, class, doc.
macro_rules! definitions {
    ($(#[$meta:meta])* $table:ident: $(
        $name:literal, $kind:ident, $default:expr, $valid:expr, $importance:ident, $update:ident, $class:ident,
        $doc:literal;
    )*) => {
        $(#[$meta])*
        pub(in crate::config) const $table: &[crate::config::Definition] = &[$(crate::config::Definition {
            name: $name,
            kind: crate::config::Kind::$kind,
            default: $default,
            valid: $valid,
            importance: crate::config::Importance::$importance,
            update: crate::config::Update::$update,
            class: crate::config::Class::$class,
            doc: $doc,
        },)*];
    };
}
pub(crate) use definitions;
