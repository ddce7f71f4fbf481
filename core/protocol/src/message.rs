//! What every declared message can do.

use bytes::Bytes;

use crate::ApiKey;
use crate::field::{Field, Format};
use crate::reader::{DecodeError, Reader};
use crate::schema::VersionRange;
use crate::writer::{EncodeError, Writer};

/// A declared message: a request's or response's body, or a record of an internal topic.
///
/// Derived from the declaration, with `#[kafka(..)]` beside what it speaks of (versions as in Kafka's descriptors:
/// `"3"`, `"0-7"`, `"2+"`):
///
/// | on the struct | |
/// | --- | --- |
/// | `versions = "0-9"` | the versions that are declared; without it the struct is a part of other messages |
/// | `flexible = "6+"` | the versions with compact lengths and tagged fields |
/// | `key = JoinGroup, response = JoinGroupResponse` | makes it a [`Request`] |
///
/// | on a field | |
/// | --- | --- |
/// | `versions = "1+"` | the versions that have the field; without it all, or those in which it is tagged |
/// | `nullable = "7+"` | the versions in which the field, an `Option`, may be null |
/// | `tag = 0, tagged = "12+"` | the versions in which it is a tagged field |
/// | `default = -1` | its value in versions without it; else its type's default |
/// | `records` | bytes that stay a slice of the frame |
///
/// An `Option` without a `default` is none by default. A null that a version cannot express is written as the empty
/// value. A field that a version lacks is not written.
pub trait Message: Field {
    /// The versions that are declared.
    const VERSIONS: VersionRange;
    /// The versions with compact lengths and tagged fields.
    const FLEXIBLE: VersionRange;

    /// Tells the client how long it is throttled, if the message is an answer that can (KIP-219).
    fn set_throttle_time_ms(&mut self, _throttle_time_ms: i32) {}

    /// The layout of a version.
    fn format(version: i16) -> Format {
        Format { version, flexible: Self::FLEXIBLE.contains(version) }
    }

    /// Reads a message of `version`. Bytes after it are left in the reader.
    fn decode(r: &mut Reader<'_>, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(version) {
            return Err(DecodeError::UnsupportedVersion);
        }
        Self::read(r, Self::format(version))
    }

    /// Writes the message as `version` has it.
    fn encode(&self, w: &mut Writer, version: i16) {
        assert!(Self::VERSIONS.contains(version), "version {version} of a message is not declared");
        self.write(w, Self::format(version));
    }

    /// Reads a message that is all of `bytes`, or their beginning.
    fn from_bytes(bytes: &Bytes, version: i16) -> Result<Self, DecodeError> {
        Self::decode(&mut Reader::new(bytes), version)
    }

    /// The message's bytes.
    fn to_bytes(&self, version: i16) -> Result<Bytes, EncodeError> {
        let mut w = Writer::new();
        self.encode(&mut w, version);
        w.finish()
    }

    /// Reads a message after its version as a 16-bit number, as internal topics and consumer protocols have it.
    fn from_versioned_bytes(bytes: &Bytes) -> Result<(Self, i16), DecodeError> {
        let mut r = Reader::new(bytes);
        let version = r.i16()?;
        Ok((Self::decode(&mut r, version)?, version))
    }

    /// The message's bytes after its version as a 16-bit number.
    fn to_versioned_bytes(&self, version: i16) -> Result<Bytes, EncodeError> {
        let mut w = Writer::new();
        w.put_i16(version);
        self.encode(&mut w, version);
        w.finish()
    }
}

/// A message that a client sends.
pub trait Request: Message {
    /// The API that it calls.
    const KEY: ApiKey;
    /// What answers it.
    type Response: Message;
}
