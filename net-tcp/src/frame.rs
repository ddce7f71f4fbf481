//! From bytes to frames to request headers, in one buffer whose size follows the bytes that really arrived.
//!
//! A length prefix is a promise and costs nothing: the buffer grows with what was received, by doubling. Only a
//! connection that has sent frames of some size gets room for the next one of that size at once, so that a busy
//! producer's frames are read into place, without a second copy.

use crate::api_table::{API_VERSIONS, ApiRange, ApiTable};
use crate::close::CloseReason;
use crate::service::RequestHeader;
use bytes::{Buf, Bytes, BytesMut};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt};

/// First size of a read buffer.
const READ_BYTES_MIN: usize = 4 << 10;
/// Largest frame whose like is given room at once.
const TRUSTED_BYTES_MAX: usize = 4 << 20;
const PREFIX: usize = 4;

#[derive(Debug)]
pub(crate) struct FrameReader {
    buf: BytesMut,
    frame_bytes_max: usize,
    read_bytes_max: usize,
    /// How much to offer the next read when no frame is known to be under way.
    read_bytes: usize,
    /// The longest frame received since the buffer was last released, up to [`TRUSTED_BYTES_MAX`].
    trusted_bytes: usize,
    /// Released, and nothing read since: memory is held only while the stream is asked.
    quiet: bool,
}

impl FrameReader {
    pub(crate) fn new(frame_bytes_max: usize, read_bytes_max: usize) -> Self {
        Self {
            buf: BytesMut::new(),
            frame_bytes_max,
            read_bytes_max: read_bytes_max.max(READ_BYTES_MIN),
            read_bytes: READ_BYTES_MIN,
            trusted_bytes: 0,
            quiet: true,
        }
    }

    /// Reads what the stream has, once. `Ready(0)` is its end.
    pub(crate) fn poll_read<S>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
    ) -> Poll<std::io::Result<usize>>
    where
        S: AsyncRead + Unpin,
    {
        self.make_room();
        let room = self.buf.capacity() - self.buf.len();
        let read = pin!(stream.read_buf(&mut self.buf)).poll(cx);
        match read {
            Poll::Ready(Ok(n)) => {
                self.quiet = false;
                if n == room {
                    self.read_bytes = (self.read_bytes * 2).min(self.read_bytes_max);
                }
            }
            Poll::Pending if self.quiet => self.reallocate(self.buf.len()),
            _ => {}
        }
        read
    }

    /// Takes bytes that were read elsewhere.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buf.extend_from_slice(bytes);
    }

    /// The next whole frame, without its length.
    pub(crate) fn next_frame(&mut self) -> Result<Option<Bytes>, CloseReason> {
        let Some(frame_bytes) = self.frame_bytes()? else { return Ok(None) };
        if self.buf.len() < PREFIX + frame_bytes {
            return Ok(None);
        }
        self.trusted_bytes = self.trusted_bytes.max(frame_bytes.min(TRUSTED_BYTES_MAX));
        self.buf.advance(PREFIX);
        Ok(Some(self.buf.split_to(frame_bytes).freeze()))
    }

    /// Whether a frame was begun.
    pub(crate) fn is_partial(&self) -> bool {
        !self.buf.is_empty()
    }

    /// Whether there is memory to release.
    pub(crate) fn is_spacious(&self) -> bool {
        !self.quiet
    }

    /// Gives the buffer's memory back, except for what is in it.
    pub(crate) fn release(&mut self) {
        self.quiet = true;
        self.read_bytes = READ_BYTES_MIN;
        self.trusted_bytes = 0;
        self.reallocate(self.buf.len());
    }

    /// The length of the frame that begins the buffer, once its prefix is there.
    fn frame_bytes(&self) -> Result<Option<usize>, CloseReason> {
        let Some(prefix) = self.buf.first_chunk::<PREFIX>() else { return Ok(None) };
        let length = i32::from_be_bytes(*prefix);
        match usize::try_from(length) {
            Ok(bytes) if bytes <= self.frame_bytes_max => Ok(Some(bytes)),
            _ => Err(CloseReason::FrameLength(length)),
        }
    }

    fn make_room(&mut self) {
        let have = self.buf.len();
        let room = self.buf.capacity() - have;
        match self.frame_bytes() {
            Ok(Some(frame_bytes)) if PREFIX + frame_bytes > have + room => {
                let whole = PREFIX + frame_bytes;
                let trusted = whole.min(PREFIX + self.trusted_bytes);
                if room < self.read_bytes / 2 || have + room < trusted {
                    self.reserve(whole.min(trusted.max(2 * have).max(have + self.read_bytes)) - have);
                }
            }
            Ok(Some(frame_bytes)) if PREFIX + frame_bytes > have => {}
            _ if room < self.read_bytes / 2 => self.reserve(self.read_bytes),
            _ => {}
        }
    }

    /// Room for `additional` bytes: in this buffer if no slice of it is alive, else in a new one.
    fn reserve(&mut self, additional: usize) {
        if !self.buf.try_reclaim(additional) {
            self.reallocate(self.buf.len() + additional);
        }
    }

    /// A buffer of exactly this capacity with the same content (`BytesMut` alone would double).
    fn reallocate(&mut self, capacity: usize) {
        let mut buf = BytesMut::with_capacity(capacity);
        buf.extend_from_slice(&self.buf);
        self.buf = buf;
    }
}

/// What a frame turned out to be.
#[derive(Debug)]
pub(crate) enum Frame {
    /// A request to hand on.
    Request(RequestHeader, Bytes),
    /// ApiVersions in a version that is not served: answered here.
    UnsupportedApiVersions { correlation_id: i32 },
}

/// Parses headers and knows what is served.
#[derive(Debug)]
pub(crate) struct HeaderParser {
    apis: Arc<ApiTable>,
    /// The client id of the request before, which is that of the next, too.
    client_id: Option<Arc<str>>,
}

impl HeaderParser {
    pub(crate) fn new(apis: Arc<ApiTable>) -> Self {
        Self { apis, client_id: None }
    }

    pub(crate) fn apis(&self) -> &ApiTable {
        &self.apis
    }

    pub(crate) fn parse(&mut self, mut frame: Bytes) -> Result<Frame, CloseReason> {
        let api_key = frame.try_get_i16().map_err(|_| CloseReason::Header)?;
        let api_version = frame.try_get_i16().map_err(|_| CloseReason::Header)?;
        let correlation_id = frame.try_get_i32().map_err(|_| CloseReason::Header)?;
        let Some(&ApiRange { flexible_min, .. }) = self.apis.serving(api_key, api_version) else {
            // The rest of a header of an unknown version is unknown, too.
            return if api_key == API_VERSIONS && self.apis.range(API_VERSIONS).is_some() {
                Ok(Frame::UnsupportedApiVersions { correlation_id })
            } else {
                Err(CloseReason::UnsupportedApi { api_key, api_version })
            };
        };
        let client_id = self.parse_client_id(&mut frame).ok_or(CloseReason::Header)?;
        if api_version >= flexible_min {
            skip_tagged_fields(&mut frame).ok_or(CloseReason::Header)?;
        }
        Ok(Frame::Request(RequestHeader { api_key, api_version, correlation_id, client_id }, frame))
    }

    /// A client id is a string with a 16-bit length, flexible header or not (KIP-482 left it alone).
    fn parse_client_id(&mut self, frame: &mut Bytes) -> Option<Option<Arc<str>>> {
        let length = frame.try_get_i16().ok()?;
        if length == -1 {
            return Some(None);
        }
        let length = usize::try_from(length).ok().filter(|length| *length <= frame.len())?;
        let bytes = frame.split_to(length);
        match &self.client_id {
            Some(known) if known.as_bytes() == bytes => {}
            // As Java does: what is not UTF-8 is replaced, not refused.
            _ => self.client_id = Some(String::from_utf8_lossy(&bytes).into()),
        }
        Some(self.client_id.clone())
    }
}

/// Passes over tagged fields (KIP-482); none of a request header is known yet.
fn skip_tagged_fields(frame: &mut Bytes) -> Option<()> {
    let count = unsigned_varint(frame)?;
    for _ in 0..count {
        let _tag = unsigned_varint(frame)?;
        let length = unsigned_varint(frame)? as usize;
        if length > frame.len() {
            return None;
        }
        frame.advance(length);
    }
    Some(())
}

fn unsigned_varint(frame: &mut Bytes) -> Option<u32> {
    let mut value = 0;
    for shift in (0..35).step_by(7) {
        let byte = frame.try_get_u8().ok()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return u32::try_from(value).ok();
        }
    }
    None
}
