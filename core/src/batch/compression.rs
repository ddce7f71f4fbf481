//! Kafka's codecs as byte streams: decoding through a small window, encoding into a bounded buffer.

use super::snappy;
use bytes::Buf;
use bytes::Bytes;
use std::io::{self, Read, Write};
use zstd::zstd_safe::{DCtx, ResetDirective};

/// How a batch's records are compressed. The numbers are Kafka's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Codec {
    /// Not at all.
    #[default]
    None,
    /// gzip (RFC 1952).
    Gzip,
    /// Snappy, in xerial's framing as Java writes it or plain as librdkafka does.
    Snappy,
    /// LZ4 frames.
    Lz4,
    /// Zstandard (KIP-110).
    Zstd,
}

impl Codec {
    /// The codec of an id; the id itself if there is none.
    pub const fn from_id(id: i16) -> Result<Self, i16> {
        match id {
            0 => Ok(Self::None),
            1 => Ok(Self::Gzip),
            2 => Ok(Self::Snappy),
            3 => Ok(Self::Lz4),
            4 => Ok(Self::Zstd),
            other => Err(other),
        }
    }

    /// The id in a batch's attributes.
    pub const fn id(self) -> i16 {
        self as i16
    }

    /// The name in `compression.type`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

/// A codec with its level, for bytes that the broker compresses itself.
///
/// `level` is `compression.gzip.level` or `compression.zstd.level` in Kafka's ranges; `None` is the codec's own
/// default. LZ4 has one speed here, so `compression.lz4.level` changes nothing; snappy knows no levels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compression {
    /// Which codec.
    pub codec: Codec,
    /// How hard it tries.
    pub level: Option<i32>,
}

impl From<Codec> for Compression {
    fn from(codec: Codec) -> Self {
        Self { codec, level: None }
    }
}

/// The size of the window that compressed records pass through.
pub(super) const WINDOW_BYTES: usize = 32 << 10;

/// What decompression may make of one batch, whatever a caller allows. Real batches are a few MiB.
pub(super) const DECOMPRESSED_BYTES_MAX: u64 = 512 << 20;

/// A scratch that grew beyond this gives its memory back after use.
const SCRATCH_BYTES_MAX: usize = 8 << 20;

/// Memory that validating compressed batches needs, kept from batch to batch.
///
/// One per worker is enough. Nothing of one batch is visible to the next.
#[derive(Default)]
pub struct Scratch {
    pub(super) window: Vec<u8>,
    block: Vec<u8>,
    zstd: Option<DCtx<'static>>,
}

impl std::fmt::Debug for Scratch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scratch")
            .field("window", &self.window.len())
            .field("block", &self.block.len())
            .finish()
    }
}

impl Scratch {
    /// A scratch that has allocated nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A decoder over `compressed`, and the window its output goes through.
    pub(super) fn decoder(
        &mut self,
        codec: Codec,
        compressed: Bytes,
    ) -> io::Result<(Decoder<'_>, &mut [u8])> {
        self.window.resize(WINDOW_BYTES, 0);
        let decoder = match codec {
            Codec::Zstd => {
                let context = self.zstd.get_or_insert_with(DCtx::create);
                context
                    .reset(ResetDirective::SessionOnly)
                    .map_err(|_| io::Error::other("a zstd context does not reset"))?;
                Decoder::Zstd(zstd::stream::read::Decoder::with_context(compressed.reader(), context))
            }
            Codec::Snappy => Decoder::SnappyLent(snappy::Reader::new(compressed, &mut self.block)),
            other => Decoder::new(other, compressed)?,
        };
        Ok((decoder, &mut self.window))
    }

    /// Gives up what one odd batch made grow.
    pub(super) fn trim(&mut self) {
        if self.block.capacity() > SCRATCH_BYTES_MAX {
            self.block = Vec::new();
        }
        if self.zstd.as_ref().is_some_and(|context| context.sizeof() > SCRATCH_BYTES_MAX) {
            self.zstd = None;
        }
    }
}

/// A stream of decompressed bytes.
pub(super) enum Decoder<'a> {
    Plain(bytes::buf::Reader<Bytes>),
    Gzip(Box<flate2::bufread::MultiGzDecoder<bytes::buf::Reader<Bytes>>>),
    Snappy(snappy::Reader<Vec<u8>>),
    SnappyLent(snappy::Reader<&'a mut Vec<u8>>),
    Lz4(Box<lz4_flex::frame::FrameDecoder<bytes::buf::Reader<Bytes>>>),
    Zstd(zstd::stream::read::Decoder<'a, bytes::buf::Reader<Bytes>>),
}

impl Decoder<'static> {
    /// A decoder that borrows nothing.
    pub(super) fn new(codec: Codec, compressed: Bytes) -> io::Result<Self> {
        Ok(match codec {
            Codec::None => Self::Plain(compressed.reader()),
            Codec::Gzip => Self::Gzip(Box::new(flate2::bufread::MultiGzDecoder::new(compressed.reader()))),
            Codec::Snappy => Self::Snappy(snappy::Reader::new(compressed, Vec::new())),
            Codec::Lz4 => Self::Lz4(Box::new(lz4_flex::frame::FrameDecoder::new(compressed.reader()))),
            Codec::Zstd => Self::Zstd(zstd::stream::read::Decoder::with_buffer(compressed.reader())?),
        })
    }
}

impl Read for Decoder<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(r) => r.read(out),
            Self::Gzip(r) => r.read(out),
            Self::Snappy(r) => r.read(out),
            Self::SnappyLent(r) => r.read(out),
            Self::Lz4(r) => r.read(out),
            Self::Zstd(r) => r.read(out),
        }
    }
}

/// A buffer that refuses to grow beyond its limit.
struct Bounded {
    bytes: Vec<u8>,
    len_max: usize,
}

impl Write for Bounded {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if data.len() > self.len_max - self.bytes.len() {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Compresses everything `plain` gives behind `head`, or says `FileTooLarge` if head and result exceed `len_max`.
pub(super) fn compress(
    compression: Compression,
    head: &[u8],
    plain: &mut impl Read,
    len_max: usize,
) -> io::Result<Vec<u8>> {
    let mut out = Bounded { bytes: Vec::with_capacity(4096), len_max };
    out.write_all(head)?;
    let out = match compression.codec {
        Codec::None => {
            io::copy(plain, &mut out)?;
            out
        }
        Codec::Gzip => {
            let level =
                compression.level.and_then(|level| u32::try_from(level).ok()).filter(|level| *level <= 9);
            let level = level.map_or_else(flate2::Compression::default, flate2::Compression::new);
            let mut encoder = flate2::write::GzEncoder::new(out, level);
            io::copy(plain, &mut encoder)?;
            encoder.finish()?
        }
        Codec::Snappy => {
            snappy::compress(plain, &mut out)?;
            out
        }
        Codec::Lz4 => {
            // Java reads independent blocks only.
            let info = lz4_flex::frame::FrameInfo::new()
                .block_size(lz4_flex::frame::BlockSize::Max64KB)
                .block_mode(lz4_flex::frame::BlockMode::Independent);
            let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(info, out);
            io::copy(plain, &mut encoder)?;
            encoder.finish().map_err(io::Error::from)?
        }
        Codec::Zstd => {
            let level = compression.level.unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL);
            let mut encoder = zstd::stream::write::Encoder::new(out, level)?;
            io::copy(plain, &mut encoder)?;
            encoder.finish()?
        }
    };
    Ok(out.bytes)
}
