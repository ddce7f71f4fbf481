//! Snappy in both forms that producers send: xerial's framing (Java, sarama) and one plain block (librdkafka).

use bytes::{Buf, Bytes};
use std::borrow::BorrowMut;
use std::io::{self, Read, Write};

/// What Java's `SnappyOutputStream` writes first: a magic, its version and the oldest compatible one.
const XERIAL_MAGIC: &[u8; 8] = b"\x82SNAPPY\0";
const XERIAL_HEADER: &[u8; 16] = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";

/// The plain bytes of one chunk that we write, as Java's default.
const CHUNK_BYTES: usize = 32 << 10;

/// A copy element takes three bytes and makes at most 64, so no block grows by more than this.
const EXPANSION_MAX: usize = 22;

/// Decompresses block by block into one reused buffer, its own or a lent one.
pub(super) struct Reader<B> {
    rest: Bytes,
    framed: bool,
    block: B,
    at: usize,
}

impl<B: BorrowMut<Vec<u8>>> Reader<B> {
    /// Reads `compressed` through `block`, whose contents do not matter.
    pub(super) fn new(mut compressed: Bytes, mut block: B) -> Self {
        let framed = compressed.len() >= XERIAL_HEADER.len() && compressed.starts_with(XERIAL_MAGIC);
        if framed {
            compressed.advance(XERIAL_HEADER.len());
        }
        block.borrow_mut().clear();
        Self { rest: compressed, framed, block, at: 0 }
    }

    /// Decompresses the next block; false at the end.
    fn fill(&mut self) -> io::Result<bool> {
        if self.rest.is_empty() {
            return Ok(false);
        }
        let chunk = if self.framed { self.split_chunk()? } else { std::mem::take(&mut self.rest) };
        let size = snap::raw::decompress_len(&chunk).map_err(io::Error::other)?;
        if size > chunk.len().saturating_mul(EXPANSION_MAX) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let block = self.block.borrow_mut();
        block.resize(size, 0);
        snap::raw::Decoder::new().decompress(&chunk, block).map_err(io::Error::other)?;
        self.at = 0;
        Ok(true)
    }

    fn split_chunk(&mut self) -> io::Result<Bytes> {
        if self.rest.starts_with(XERIAL_MAGIC) && self.rest.len() >= XERIAL_HEADER.len() {
            self.rest.advance(XERIAL_HEADER.len()); // streams may be concatenated
        }
        let size = self.rest.try_get_i32().map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let size = usize::try_from(size).map_err(|_| io::ErrorKind::InvalidData)?;
        if size == 0 || size > self.rest.len() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(self.rest.split_to(size))
    }
}

impl<B: BorrowMut<Vec<u8>>> Read for Reader<B> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.at == self.block.borrow().len() {
            if !self.fill()? {
                return Ok(0);
            }
        }
        let block = &self.block.borrow()[self.at..];
        let n = out.len().min(block.len());
        out[..n].copy_from_slice(&block[..n]);
        self.at += n;
        Ok(n)
    }
}

/// Writes `plain` in xerial's framing.
pub(super) fn compress(plain: &mut impl Read, out: &mut impl Write) -> io::Result<()> {
    out.write_all(XERIAL_HEADER)?;
    let mut encoder = snap::raw::Encoder::new();
    let mut chunk = Vec::with_capacity(CHUNK_BYTES);
    loop {
        chunk.clear();
        plain.take(CHUNK_BYTES as u64).read_to_end(&mut chunk)?;
        if chunk.is_empty() {
            return Ok(());
        }
        let packed = encoder.compress_vec(&chunk).map_err(io::Error::other)?;
        let size = i32::try_from(packed.len()).expect("32 KiB compress to less than 2 GiB");
        out.write_all(&size.to_be_bytes())?;
        out.write_all(&packed)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(compressed: &[u8]) -> io::Result<Vec<u8>> {
        let mut plain = Vec::new();
        Reader::new(Bytes::copy_from_slice(compressed), Vec::new()).read_to_end(&mut plain)?;
        Ok(plain)
    }

    #[test]
    fn both_forms_read_back() {
        let plain: Vec<u8> = (0..100_000u32).flat_map(|i| (i / 7).to_le_bytes()).collect();
        let mut framed = Vec::new();
        compress(&mut &plain[..], &mut framed).unwrap();
        assert_eq!(read(&framed).unwrap(), plain);
        assert_eq!(read(&snap::raw::Encoder::new().compress_vec(&plain).unwrap()).unwrap(), plain);
        assert_eq!(read(&[&framed[..], &framed].concat()).unwrap(), [&plain[..], &plain].concat());
    }

    #[test]
    fn a_lying_size_allocates_nothing() {
        assert!(read(b"\xff\xff\xff\xff\x0f\x00").is_err(), "4 GiB out of six bytes");
        assert!(read(b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01\x7f\xff\xff\xff\0").is_err(), "a chunk of 2 GiB");
        assert!(read(b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01\0\0\0\x05\0").is_err(), "a chunk cut short");
    }
}
