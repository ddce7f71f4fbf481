//! What stands before every request's and response's body, and whole frames.

use bytes::Bytes;

use crate::api::Api;
use crate::message::{Message, Request};
use crate::reader::{DecodeError, Length, Reader};
use crate::text::Text;
use crate::writer::{EncodeError, Writer};
use crate::{API_TABLE, ApiKey};

/// What a request begins with (header versions 1 and 2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHeader {
    /// The API that is called.
    pub key: ApiKey,
    /// The version of the request, and of its response.
    pub version: i16,
    /// The client's number for the request, given back with the response.
    pub correlation_id: i32,
    /// What the client calls itself.
    pub client_id: Option<Text>,
}

/// What a response needs of its request to be written (header versions 0 and 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseHeader {
    /// The API that was called.
    pub key: ApiKey,
    /// The version of the request.
    pub version: i16,
    /// The request's number.
    pub correlation_id: i32,
}

/// Why a frame is not a request that is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// The bytes are no such request: close the connection.
    Malformed(DecodeError),
    /// A key or version that is not served: close the connection.
    Unsupported {
        /// The key, as the client gave it.
        key: i16,
        /// The version, as the client gave it.
        version: i16,
    },
    /// An unknown version of ApiVersions, the one such error that is answered, so that client and broker can agree
    /// on another: send [`crate::api_versions_unsupported`] and keep the connection (KIP-511).
    UnsupportedApiVersions {
        /// The request's number.
        correlation_id: i32,
    },
}

impl From<DecodeError> for RequestError {
    fn from(error: DecodeError) -> Self {
        Self::Malformed(error)
    }
}

impl std::fmt::Display for RequestError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Malformed(error) => write!(f, "malformed request: {error}"),
            Self::Unsupported { key, version } => match ApiKey::from_code(*key) {
                Some(name) => write!(f, "{name} ({key}) version {version} is not served"),
                None => write!(f, "API key {key} is not served"),
            },
            Self::UnsupportedApiVersions { .. } => f.write_str("unknown version of ApiVersions"),
        }
    }
}

impl std::error::Error for RequestError {}

impl RequestHeader {
    /// Reads the header of a request that is served.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, RequestError> {
        let (key, version, correlation_id) = (r.i16()?, r.i16()?, r.i32()?);
        let served = API_TABLE.iter().find(|api| api.key.code() == key && api.advertised.is_some());
        let Some(api) = served.filter(|api| api.versions.contains(version)) else {
            return Err(match key == ApiKey::ApiVersions.code() {
                true => RequestError::UnsupportedApiVersions { correlation_id },
                false => RequestError::Unsupported { key, version },
            });
        };
        // the client id kept its old length when headers became flexible (KIP-482)
        let client_id = match r.length(Length::Short)? {
            Some(n) => Some(Text::read(r, n)?),
            None => None,
        };
        if api.flexible.contains(version) {
            r.skip_tagged_fields()?;
        }
        Ok(Self { key: api.key, version, correlation_id, client_id })
    }

    /// What the response needs of this.
    pub fn response(&self) -> ResponseHeader {
        ResponseHeader { key: self.key, version: self.version, correlation_id: self.correlation_id }
    }
}

impl ResponseHeader {
    /// Begins a frame: room for its length, then the header.
    pub(crate) fn begin_frame(&self) -> Writer {
        let mut w = Writer::with_capacity(128);
        w.put_i32(0);
        w.put_i32(self.correlation_id);
        if has_response_tags(self.key, self.version) {
            w.put_uvarint(0);
        }
        w
    }

    /// A whole response frame, its length first.
    pub fn frame(&self, body: &impl Message) -> Result<Bytes, EncodeError> {
        let mut w = self.begin_frame();
        body.encode(&mut w, self.version);
        w.patch_frame_length(0);
        w.finish()
    }
}

/// A whole request frame, its length first: the client's side.
pub fn request_frame<R: Request>(
    request: &R,
    version: i16,
    correlation_id: i32,
    client_id: Option<&str>,
) -> Result<Bytes, EncodeError> {
    let mut w = Writer::with_capacity(128);
    w.put_i32(0);
    w.put_i16(R::KEY.code());
    w.put_i16(version);
    w.put_i32(correlation_id);
    w.put_length(Length::Short, client_id.map(str::len));
    w.put(client_id.unwrap_or_default().as_bytes());
    if R::FLEXIBLE.contains(version) {
        w.put_uvarint(0);
    }
    request.encode(&mut w, version);
    w.patch_frame_length(0);
    w.finish()
}

/// Reads the response to an `R` from a frame without its length: its correlation id and body. The client's side.
pub fn decode_response<R: Request>(frame: &Bytes, version: i16) -> Result<(i32, R::Response), DecodeError> {
    let mut r = Reader::new(frame);
    let correlation_id = r.i32()?;
    if has_response_tags(R::KEY, version) {
        r.skip_tagged_fields()?;
    }
    Ok((correlation_id, R::Response::decode(&mut r, version)?))
}

/// Flexible versions have tagged fields in the header, except those of ApiVersions: its response must be readable
/// by clients that do not know yet what the broker speaks (KIP-511).
fn has_response_tags(key: ApiKey, version: i16) -> bool {
    key != ApiKey::ApiVersions && Api::of(key).is_some_and(|api| api.flexible.contains(version))
}
