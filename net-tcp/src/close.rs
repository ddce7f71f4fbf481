//! Why a connection ended.

use highwater_protocol::ApiKey;
use std::borrow::Cow;
use std::fmt;
use std::io;

/// The cause of a connection's end, as logged and counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The peer closed its side.
    PeerClosed,
    /// The socket failed.
    Io(io::ErrorKind),
    /// A length prefix below zero or above `socket.request.max.bytes`.
    FrameLength(i32),
    /// A frame whose header does not parse.
    Header,
    /// A request of an API that is not offered, or in a version that is not.
    UnsupportedApi {
        /// The API key asked for.
        api_key: i16,
        /// The version asked for.
        api_version: i16,
    },
    /// Nothing was asked for too long.
    Idle,
    /// A frame was begun and not finished in time.
    FrameStalled,
    /// The peer did not read its answers.
    WriteStalled,
    /// The service refused to go on, with its reason (a malformed body, a failed produce without acks).
    Service(Cow<'static, str>),
    /// A part of an answer could not be read from its file.
    FilePart(io::ErrorKind),
    /// An answer of 2 GiB or more, which no frame can carry.
    ReplyTooLarge,
    /// The server shuts down.
    Shutdown,
    /// The connection's task panicked.
    Panic,
}

impl CloseReason {
    /// How many kinds of reason there are.
    pub const KINDS: usize = 13;

    /// The reason's place in a table of counters.
    pub const fn kind(&self) -> usize {
        match self {
            Self::PeerClosed => 0,
            Self::Io(_) => 1,
            Self::FrameLength(_) => 2,
            Self::Header => 3,
            Self::UnsupportedApi { .. } => 4,
            Self::Idle => 5,
            Self::FrameStalled => 6,
            Self::WriteStalled => 7,
            Self::Service(_) => 8,
            Self::FilePart(_) => 9,
            Self::ReplyTooLarge => 10,
            Self::Shutdown => 11,
            Self::Panic => 12,
        }
    }

    /// The name of a kind, as a metric's label.
    pub const fn kind_name(kind: usize) -> &'static str {
        const NAMES: [&str; CloseReason::KINDS] = [
            "peer_closed",
            "io",
            "frame_length",
            "header",
            "unsupported_api",
            "idle",
            "frame_stalled",
            "write_stalled",
            "service",
            "file_part",
            "reply_too_large",
            "shutdown",
            "panic",
        ];
        NAMES[kind]
    }

    /// Whether an operator should hear of it: the peer broke the rules, or we did.
    pub const fn is_noteworthy(&self) -> bool {
        !matches!(self, Self::PeerClosed | Self::Io(_) | Self::Idle | Self::Shutdown)
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PeerClosed => f.write_str("the peer closed"),
            Self::Io(kind) => write!(f, "socket error: {kind}"),
            Self::FrameLength(length) => {
                write!(f, "request of {length} bytes is outside of 0 to socket.request.max.bytes")
            }
            Self::Header => f.write_str("the request header does not parse"),
            Self::UnsupportedApi { api_key, api_version } => {
                let name = ApiKey::from_code(*api_key).map_or("unknown", ApiKey::name);
                write!(
                    f,
                    "request for api key {api_key} ({name}) in version {api_version}, which is not offered"
                )
            }
            Self::Idle => f.write_str("idle for longer than connections.max.idle.ms"),
            Self::FrameStalled => f.write_str("a request was begun and not finished"),
            Self::WriteStalled => f.write_str("the peer does not read its answers"),
            Self::Service(why) => f.write_str(why),
            Self::FilePart(kind) => write!(f, "reading a part of the answer failed: {kind}"),
            Self::ReplyTooLarge => f.write_str("the answer does not fit a frame"),
            Self::Shutdown => f.write_str("the server shuts down"),
            Self::Panic => f.write_str("the connection's task panicked"),
        }
    }
}
