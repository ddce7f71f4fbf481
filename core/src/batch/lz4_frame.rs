//! Whether an LZ4 frame is one that Kafka's clients can read.
//!
//! Decoders differ in what they put up with. Kafka's Java client reads frames of independent blocks only, and to the end
//! mark: a frame that this broker took although it has neither would stop every Java consumer at it. Nothing is
//! decompressed here, and no checksum compared: the decoder does both.

const MAGIC: [u8; 4] = 0x184D_2204_u32.to_le_bytes();
const VERSION: u8 = 0b0100_0000;

/// The bits of the frame's first descriptor byte.
mod flag {
    pub(super) const VERSION: u8 = 0b1100_0000;
    pub(super) const INDEPENDENT: u8 = 0b0010_0000;
    pub(super) const BLOCK_CHECKSUM: u8 = 0b0001_0000;
    pub(super) const CONTENT_SIZE: u8 = 0b0000_1000;
    pub(super) const CONTENT_CHECKSUM: u8 = 0b0000_0100;
    /// One is reserved, the other says that there is a dictionary, which Java knows nothing of.
    pub(super) const UNKNOWN: u8 = 0b0000_0011;
}

/// A block's length in its head; the highest bit says that it is not compressed.
const LENGTH: u32 = 0x7fff_ffff;

/// Whether `bytes` begin with a whole frame of independent blocks.
pub(super) fn is_readable(bytes: &[u8]) -> bool {
    walk(bytes).is_some()
}

/// What lies behind the frame.
fn walk(bytes: &[u8]) -> Option<&[u8]> {
    let (magic, rest) = bytes.split_first_chunk()?;
    let ([flags, _block_size], mut rest) = rest.split_first_chunk()?;
    let has = |bits| flags & bits != 0;
    let is_known = *magic == MAGIC && flags & flag::VERSION == VERSION && !has(flag::UNKNOWN);
    if !is_known || !has(flag::INDEPENDENT) {
        return None;
    }
    let checksum = 1;
    rest = rest.get(if has(flag::CONTENT_SIZE) { 8 } else { 0 } + checksum..)?;
    loop {
        let (length, blocks) = rest.split_first_chunk()?;
        let length = usize::try_from(u32::from_le_bytes(*length) & LENGTH).ok()?;
        if length == 0 {
            return blocks.get(if has(flag::CONTENT_CHECKSUM) { 4 } else { 0 }..);
        }
        rest = blocks.get(length..)?.get(if has(flag::BLOCK_CHECKSUM) { 4 } else { 0 }..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
    use std::io::Write;

    fn frame(info: FrameInfo) -> Vec<u8> {
        let mut encoder = FrameEncoder::with_frame_info(info.block_size(BlockSize::Max64KB), Vec::new());
        let data: Vec<u8> = (0..200_000_u32).flat_map(|n| (n / 3).to_le_bytes()).collect();
        encoder.write_all(&data).expect("memory takes it");
        encoder.finish().expect("memory takes it")
    }

    fn independent() -> FrameInfo {
        FrameInfo::new().block_mode(BlockMode::Independent)
    }

    #[test]
    fn frames_of_independent_blocks_are_read_to_the_end_mark() {
        for info in [
            independent(),
            independent().content_checksum(true),
            independent().block_checksums(true).content_checksum(true),
            independent().content_size(Some(800_000)),
        ] {
            let whole = frame(info);
            assert!(is_readable(&whole));
            for end in 0..whole.len() {
                assert!(!is_readable(&whole[..end]), "cut at {end} of {}", whole.len());
            }
        }
    }

    #[test]
    fn what_java_cannot_read_is_refused() {
        assert!(!is_readable(&frame(FrameInfo::new().block_mode(BlockMode::Linked))));
        let mut legacy = frame(independent());
        legacy[..4].copy_from_slice(&0x184C_2102_u32.to_le_bytes());
        assert!(!is_readable(&legacy));
        for bit in [flag::UNKNOWN & 1, flag::UNKNOWN & 2, flag::VERSION & 0x80] {
            let mut odd = frame(independent());
            odd[4] |= bit;
            assert!(!is_readable(&odd));
        }
    }
}
