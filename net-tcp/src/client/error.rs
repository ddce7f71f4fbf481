//! Why a call of the client failed.

use highwater_protocol::{ApiKey, DecodeError, EncodeError, ErrorCode};
use std::fmt;
use std::io;

/// Why a call failed, and by [`ClientError::is_retriable`] whether another attempt may help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientError {
    /// The broker cannot be reached, or the connection broke.
    Io(io::ErrorKind),
    /// No answer within the request time-out. Whether the request took effect is unknown.
    TimedOut,
    /// The connection is closed.
    Closed,
    /// The broker does not offer the API in a version that the client speaks.
    UnsupportedApi(ApiKey),
    /// An answer that does not parse.
    Decode(DecodeError),
    /// A request that no frame can hold.
    Encode(EncodeError),
    /// An answer to something that was not asked.
    Correlation,
    /// A frame longer than any answer may be.
    FrameLength(i32),
    /// The broker refused, with its code and message.
    Kafka(ErrorCode, Option<String>),
    /// An address that is not `host:port`.
    Address(String),
}

impl ClientError {
    /// A broker's refusal without a message.
    pub fn kafka(code: ErrorCode) -> Self {
        Self::Kafka(code, None)
    }

    /// Whether the same call may succeed later, perhaps on another broker.
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Io(_) | Self::TimedOut | Self::Closed | Self::Correlation | Self::FrameLength(_) => true,
            Self::Kafka(code, _) => code.is_retriable(),
            Self::UnsupportedApi(_) | Self::Decode(_) | Self::Encode(_) | Self::Address(_) => false,
        }
    }

    /// Whether the request may have taken effect although no answer came.
    pub const fn is_indeterminate(&self) -> bool {
        matches!(self, Self::Io(_) | Self::TimedOut | Self::Closed | Self::Correlation | Self::FrameLength(_))
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(kind) => write!(f, "connection failed: {kind}"),
            Self::TimedOut => f.write_str("no answer in time"),
            Self::Closed => f.write_str("the connection is closed"),
            Self::UnsupportedApi(key) => write!(f, "the broker offers no usable version of {key}"),
            Self::Decode(error) => write!(f, "the answer does not parse: {error}"),
            Self::Encode(error) => write!(f, "the request cannot be written: {error}"),
            Self::Correlation => f.write_str("an answer to another request"),
            Self::FrameLength(length) => write!(f, "an answer of {length} bytes"),
            Self::Kafka(code, Some(message)) => write!(f, "{code}: {message}"),
            Self::Kafka(code, None) => write!(f, "{code}"),
            Self::Address(address) => write!(f, "{address:?} is not host:port"),
        }
    }
}

impl std::error::Error for ClientError {}

impl From<io::Error> for ClientError {
    fn from(error: io::Error) -> Self {
        Self::Io(error.kind())
    }
}

impl From<DecodeError> for ClientError {
    fn from(error: DecodeError) -> Self {
        Self::Decode(error)
    }
}

impl From<EncodeError> for ClientError {
    fn from(error: EncodeError) -> Self {
        Self::Encode(error)
    }
}
