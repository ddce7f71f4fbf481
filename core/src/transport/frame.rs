//! Frames as bytes, and the versions of that format.
//!
//! Format 1, all numbers big-endian, behind a length of four bytes as Kafka's frames have:
//!
//! ```text
//!  kind u8 │ version u8 │ parts u16 │ header length u32 │ part length u32 × parts │ header │ parts, one by one
//! ```
//!
//! The header is the message (postcard, in `version` of its kind); parts are record batches and the like, never
//! encoded again. Header and parts of a received frame are slices of one buffer. Lengths must fill the frame exactly.
//! A format is agreed upon in the hello; kinds and versions of messages are the business of who sends them.

use super::Class;
use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The length in front of a frame, which does not count itself.
pub const FRAME_LENGTH_BYTES: usize = 4;

/// The longest header: a replica fetch that names 50,000 partitions fits.
pub const FRAME_HEADER_BYTES_MAX: usize = 4 << 20;

/// The most parts a frame has.
pub const FRAME_PARTS_MAX: usize = 16 << 10;

/// Bytes before the part lengths.
const FIXED_BYTES: usize = 8;

/// The formats that this build speaks.
pub const FORMATS: FormatRange = FormatRange { min: 1, max: Format::NEWEST.version() };

/// What a frame is about, and so who handles it. Grows at the end only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum FrameKind {
    /// The transport's own ([`super::Notice`]); no handler sees it.
    Link = 0,
    /// A message of the metadata quorum.
    Quorum = 1,
    /// A follower asks a leader for records.
    ReplicaFetch = 2,
    /// The leader's answer.
    ReplicaFetchReply = 3,
    /// A broker asks the active controller.
    BrokerRequest = 4,
    /// The controller's answer.
    BrokerReply = 5,
    /// A client's request that only another node can carry out.
    Forward = 6,
    /// That node's answer.
    ForwardReply = 7,
}

impl FrameKind {
    /// Every kind that handlers see.
    pub const ALL: [Self; 7] = [
        Self::Quorum,
        Self::ReplicaFetch,
        Self::ReplicaFetchReply,
        Self::BrokerRequest,
        Self::BrokerReply,
        Self::Forward,
        Self::ForwardReply,
    ];

    /// The kind of a code, if this build knows it.
    pub const fn of(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::Link,
            1 => Self::Quorum,
            2 => Self::ReplicaFetch,
            3 => Self::ReplicaFetchReply,
            4 => Self::BrokerRequest,
            5 => Self::BrokerReply,
            6 => Self::Forward,
            7 => Self::ForwardReply,
            _ => return None,
        })
    }

    /// The kind's code on the wire.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// As logs and metrics write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Link => "link",
            Self::Quorum => "quorum",
            Self::ReplicaFetch => "replica_fetch",
            Self::ReplicaFetchReply => "replica_fetch_reply",
            Self::BrokerRequest => "broker_request",
            Self::BrokerReply => "broker_reply",
            Self::Forward => "forward",
            Self::ForwardReply => "forward_reply",
        }
    }
}

/// One message to a peer.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    /// What it is about.
    pub kind: FrameKind,
    /// The version of header and payload within the kind.
    pub version: u8,
    /// The message itself, postcard.
    pub header: Bytes,
    /// What the header speaks about, beside it and as it was stored: arrives in the same parts.
    pub payload: Vec<Bytes>,
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let payload: usize = self.payload.iter().map(Bytes::len).sum();
        let (kind, version, header, parts) =
            (self.kind.name(), self.version, self.header.len(), self.payload.len());
        write!(f, "Frame({kind} v{version}, header {header} B, payload {payload} B in {parts})")
    }
}

/// Why bytes are no frame, or a frame cannot become bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// It ends before its fixed fields or its part lengths do.
    Truncated,
    /// A kind that this build does not know.
    Kind(u8),
    /// A header beyond [`FRAME_HEADER_BYTES_MAX`].
    HeaderLength(usize),
    /// More parts than [`FRAME_PARTS_MAX`].
    Parts(usize),
    /// A frame beyond [`Class::frame_bytes_max`].
    Length(u64),
    /// Header and parts promise this many bytes and so many are there.
    Fill {
        /// What the lengths add up to.
        promised: u64,
        /// What the frame has.
        present: usize,
    },
    /// The transport's own message does not parse.
    Notice,
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("the frame ends within its lengths"),
            Self::Kind(code) => write!(f, "frame kind {code} is unknown"),
            Self::HeaderLength(bytes) => {
                write!(f, "a header of {bytes} bytes is beyond {FRAME_HEADER_BYTES_MAX}")
            }
            Self::Parts(parts) => write!(f, "{parts} payload parts are more than {FRAME_PARTS_MAX}"),
            Self::Length(bytes) => write!(f, "a frame of {bytes} bytes is beyond its class's limit"),
            Self::Fill { promised, present } => {
                write!(f, "the lengths promise {promised} bytes where {present} are")
            }
            Self::Notice => f.write_str("a link notice does not parse"),
        }
    }
}

impl std::error::Error for FrameError {}

impl Frame {
    /// A frame without payload.
    pub fn new(kind: FrameKind, version: u8, header: impl Into<Bytes>) -> Self {
        Self::with_payload(kind, version, header, Vec::new())
    }

    /// A frame with its payload.
    pub fn with_payload(kind: FrameKind, version: u8, header: impl Into<Bytes>, payload: Vec<Bytes>) -> Self {
        Self { kind, version, header: header.into(), payload }
    }

    /// The bytes it takes on the wire in format 1, its length prefix included: what queues count.
    pub fn wire_bytes(&self) -> u64 {
        let fixed = FRAME_LENGTH_BYTES + FIXED_BYTES + 4 * self.payload.len() + self.header.len();
        self.payload.iter().fold(fixed as u64, |sum, part| sum + part.len() as u64)
    }

    /// Whether the frame keeps to the limits of its class.
    pub fn check(&self, class: Class) -> Result<(), FrameError> {
        if self.header.len() > FRAME_HEADER_BYTES_MAX {
            return Err(FrameError::HeaderLength(self.header.len()));
        }
        if self.payload.len() > FRAME_PARTS_MAX {
            return Err(FrameError::Parts(self.payload.len()));
        }
        let length = self.wire_bytes() - FRAME_LENGTH_BYTES as u64;
        if length > class.frame_bytes_max() as u64 { Err(FrameError::Length(length)) } else { Ok(()) }
    }
}

/// A version of the frame format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// The first.
    V1,
    /// What a build after this one might speak: proves, in tests, that two builds find what both speak.
    #[cfg(test)]
    Next,
}

impl Format {
    /// The newest that this build speaks.
    pub const NEWEST: Self = Self::V1;

    /// The format of a version, if this build speaks it.
    pub const fn of(version: u8) -> Option<Self> {
        match version {
            1 => Some(Self::V1),
            #[cfg(test)]
            2 => Some(Self::Next),
            _ => None,
        }
    }

    /// Its number in a hello.
    pub const fn version(self) -> u8 {
        match self {
            Self::V1 => 1,
            #[cfg(test)]
            Self::Next => 2,
        }
    }

    /// Everything of a frame before its payload, without the length prefix: the payload's parts follow as they are.
    /// The frame has passed [`Frame::check`].
    pub fn encode_head(self, frame: &Frame) -> Bytes {
        let mut head =
            BytesMut::with_capacity(FIXED_BYTES + 4 * frame.payload.len() + frame.header.len() + 1);
        head.put_u8(frame.kind.code());
        head.put_u8(frame.version);
        #[cfg(test)]
        if self == Self::Next {
            // A field more than V1 has.
            head.put_u8(0xee);
        }
        head.put_u16(u16::try_from(frame.payload.len()).expect("a checked frame has few parts"));
        head.put_u32(u32::try_from(frame.header.len()).expect("a checked frame has a short header"));
        for part in &frame.payload {
            head.put_u32(u32::try_from(part.len()).expect("a checked frame has short parts"));
        }
        head.put_slice(&frame.header);
        head.freeze()
    }

    /// A whole frame in one piece, its length prefix included. Copies: for tests and for what has no payload.
    pub fn encode(self, frame: &Frame) -> Bytes {
        let head = self.encode_head(frame);
        let length = frame.payload.iter().fold(head.len(), |sum, part| sum + part.len());
        let mut bytes = BytesMut::with_capacity(FRAME_LENGTH_BYTES + length);
        bytes.put_u32(u32::try_from(length).expect("a checked frame is short"));
        bytes.put_slice(&head);
        for part in &frame.payload {
            bytes.put_slice(part);
        }
        bytes.freeze()
    }

    /// A frame of its bytes, without the length prefix. Nothing is copied; what is allocated (one handle per part) is
    /// checked against the bytes that are there first.
    pub fn decode(self, bytes: Bytes) -> Result<Frame, FrameError> {
        let mut rest = bytes;
        let fixed = self.split(&mut rest)?;
        let kind = FrameKind::of(fixed.kind).ok_or(FrameError::Kind(fixed.kind))?;
        if fixed.parts > FRAME_PARTS_MAX {
            return Err(FrameError::Parts(fixed.parts));
        }
        if fixed.header_bytes > FRAME_HEADER_BYTES_MAX {
            return Err(FrameError::HeaderLength(fixed.header_bytes));
        }
        if rest.len() < 4 * fixed.parts {
            return Err(FrameError::Truncated);
        }
        let lengths = rest.split_to(4 * fixed.parts);
        let lengths = || lengths.chunks_exact(4).map(|length| u32_of(length) as usize);
        let promised = lengths().fold(fixed.header_bytes as u64, |sum, length| sum + length as u64);
        if promised != rest.len() as u64 {
            return Err(FrameError::Fill { promised, present: rest.len() });
        }
        let header = rest.split_to(fixed.header_bytes);
        let payload = lengths().map(|length| rest.split_to(length)).collect();
        Ok(Frame { kind, version: fixed.version, header, payload })
    }

    fn split(self, rest: &mut Bytes) -> Result<Fixed, FrameError> {
        #[cfg(test)]
        if self == Self::Next {
            if rest.get(2) != Some(&0xee) {
                return Err(FrameError::Truncated);
            }
            let mut without = BytesMut::from(&rest[..2]);
            without.put_slice(&rest[3..]);
            *rest = without.freeze();
        }
        if rest.len() < FIXED_BYTES {
            return Err(FrameError::Truncated);
        }
        let fixed = rest.split_to(FIXED_BYTES);
        Ok(Fixed {
            kind: fixed[0],
            version: fixed[1],
            parts: usize::from(u16::from_be_bytes([fixed[2], fixed[3]])),
            header_bytes: u32_of(&fixed[4..]) as usize,
        })
    }
}

/// The fixed fields.
struct Fixed {
    kind: u8,
    version: u8,
    parts: usize,
    header_bytes: usize,
}

fn u32_of(bytes: &[u8]) -> u32 {
    u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// The formats that a build speaks, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormatRange {
    /// The oldest.
    pub min: u8,
    /// The newest.
    pub max: u8,
}

impl FormatRange {
    /// The newest that both speak.
    pub fn newest_common(self, other: Self) -> Option<u8> {
        let newest = self.max.min(other.max);
        (newest >= self.min.max(other.min)).then_some(newest)
    }
}

impl fmt::Display for FormatRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.min == self.max {
            write!(f, "{}", self.min)
        } else {
            write!(f, "{} to {}", self.min, self.max)
        }
    }
}
