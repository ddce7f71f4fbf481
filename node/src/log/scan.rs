//! Walking the batches of a segment file, with or without reading their records.

use super::file::SegmentFile;
use crate::disk::{DiskFile, read_exact_at};
use highwater_core::batch::{BatchHeader, HEADER_BYTES, HeaderError, crc_holds};
use highwater_core::ids::{LeaderEpoch, Offset};
use std::io;
use std::sync::Arc;

/// How much one read takes when only headers are wanted.
const HEADERS_WINDOW_BYTES: usize = 8 * 1024;

/// How much one read takes when whole batches are checked.
const BATCHES_WINDOW_BYTES: usize = 1024 * 1024;

/// A batch's header and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Located {
    /// The position of the batch's first byte in its segment.
    pub position: u64,
    /// The batch's header.
    pub header: BatchHeader,
}

impl Located {
    /// The position behind the batch.
    pub const fn end(&self) -> u64 {
        self.position + self.header.size_bytes() as u64
    }
}

/// A reader's window into a file: batches one after another, bytes read in large pieces.
#[derive(Debug)]
struct Window {
    file: Arc<dyn DiskFile>,
    end: u64,
    start: u64,
    bytes: Vec<u8>,
    piece_bytes: usize,
}

impl Window {
    fn new(file: &SegmentFile, end: u64, piece_bytes: usize) -> io::Result<Self> {
        Ok(Self { file: file.handle()?, end, start: 0, bytes: Vec::new(), piece_bytes })
    }

    /// `len` bytes at `position`, which lie before `end`.
    fn bytes_at(&mut self, position: u64, len: usize) -> io::Result<&[u8]> {
        debug_assert!(position + len as u64 <= self.end, "the caller has checked the bounds");
        let held = position >= self.start && position + len as u64 <= self.start + self.bytes.len() as u64;
        if !held {
            let left = usize::try_from(self.end - position).unwrap_or(usize::MAX);
            self.bytes.clear();
            self.bytes.resize(self.piece_bytes.max(len).min(left), 0);
            self.start = position;
            if let Err(e) = read_exact_at(&*self.file, &mut self.bytes, position) {
                self.bytes.clear();
                return Err(e);
            }
        }
        let from = (position - self.start) as usize;
        Ok(&self.bytes[from..from + len])
    }
}

/// The headers of the batches between two batch boundaries of a file that is known to be good.
#[derive(Debug)]
pub struct Headers {
    window: Window,
    position: u64,
}

impl Headers {
    /// The batches from the boundary `from` up to `end`.
    pub(super) fn new(file: &SegmentFile, from: u64, end: u64) -> io::Result<Self> {
        Ok(Self { window: Window::new(file, end, HEADERS_WINDOW_BYTES)?, position: from })
    }
}

impl Iterator for Headers {
    type Item = io::Result<Located>;

    fn next(&mut self) -> Option<Self::Item> {
        let left = self.window.end.saturating_sub(self.position);
        if left == 0 {
            return None;
        }
        let parsed = if left < HEADER_BYTES as u64 {
            Err(invalid(HeaderError::Short))
        } else {
            let bytes = self.window.bytes_at(self.position, HEADER_BYTES);
            bytes.and_then(|bytes| BatchHeader::parse(bytes).map_err(invalid))
        };
        let located = parsed.map(|header| Located { position: self.position, header });
        match &located {
            Ok(batch) => self.position = batch.end(),
            Err(_) => self.position = self.window.end,
        }
        Some(located)
    }
}

fn invalid(error: HeaderError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Why the bytes at a position are not the batch that belongs there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The file ends inside the batch.
    Cut,
    /// No batch header.
    Header(HeaderError),
    /// The CRC in the header is not that of the bytes.
    Crc,
    /// The batch is good but belongs elsewhere: its offset or epoch does not continue what is before it.
    Discontinuous {
        /// The batch's base offset.
        base_offset: Offset,
        /// The batch's epoch.
        epoch: LeaderEpoch,
    },
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cut => f.write_str("the file ends inside a batch"),
            Self::Header(error) => write!(f, "no batch header: {error}"),
            Self::Crc => f.write_str("the batch's bytes do not have its checksum"),
            Self::Discontinuous { base_offset, epoch } => {
                write!(f, "a batch at offset {base_offset} of epoch {epoch} does not belong here")
            }
        }
    }
}

/// What the next bytes turned out to be.
#[derive(Debug)]
pub(super) enum Checked<'a> {
    /// A good batch and its bytes.
    Batch(Located, &'a [u8]),
    /// Something else.
    Bad(Fault),
    /// The end of the file.
    End,
}

/// The batches of a file that may hold anything: header, CRC and continuity are checked.
#[derive(Debug)]
pub(super) struct Batches {
    window: Window,
    /// Where the next batch is expected.
    pub(super) position: u64,
    /// The least offset it may have.
    pub(super) offset: Offset,
    /// The least epoch it may have.
    pub(super) epoch: LeaderEpoch,
}

impl Batches {
    /// The batches from the boundary `from` up to `end`, continuing a log at `offset` in `epoch`.
    pub(super) fn new(
        file: &SegmentFile,
        from: u64,
        end: u64,
        offset: Offset,
        epoch: LeaderEpoch,
    ) -> io::Result<Self> {
        Ok(Self { window: Window::new(file, end, BATCHES_WINDOW_BYTES)?, position: from, offset, epoch })
    }

    /// Checks the next batch and steps over it if it is good.
    pub(super) fn next(&mut self) -> io::Result<Checked<'_>> {
        let position = self.position;
        let left = self.window.end.saturating_sub(position);
        if left == 0 {
            return Ok(Checked::End);
        }
        if left < HEADER_BYTES as u64 {
            return Ok(Checked::Bad(Fault::Cut));
        }
        let header = match BatchHeader::parse(self.window.bytes_at(position, HEADER_BYTES)?) {
            Ok(header) => header,
            Err(error) => return Ok(Checked::Bad(Fault::Header(error))),
        };
        if header.size_bytes() as u64 > left {
            return Ok(Checked::Bad(Fault::Cut));
        }
        let continues = header.base_offset >= self.offset
            && header.leader_epoch >= self.epoch
            && header.last_offset_delta >= 0
            && header.next_offset() > header.base_offset;
        let bytes = self.window.bytes_at(position, header.size_bytes())?;
        if !crc_holds(bytes) {
            return Ok(Checked::Bad(Fault::Crc));
        }
        if !continues {
            let (base_offset, epoch) = (header.base_offset, header.leader_epoch);
            return Ok(Checked::Bad(Fault::Discontinuous { base_offset, epoch }));
        }
        self.position += header.size_bytes() as u64;
        self.offset = header.next_offset();
        self.epoch = header.leader_epoch;
        Ok(Checked::Batch(Located { position, header }, bytes))
    }
}

impl Batches {
    /// Undoes the step over the batch just returned; `offset` was expected there.
    pub(super) fn step_back(&mut self, batch: &Located, offset: Offset) {
        self.position = batch.position;
        self.offset = offset;
    }
}

/// How far behind a bad batch a good one is looked for.
const CONTINUATION_BYTES_MAX: u64 = 64 << 20;

/// The position of a good batch at or behind `from` that can only have been appended after a bad one at `offset`.
/// Lengths cannot be trusted here, so every position is tried.
pub(super) fn continuation(
    file: &SegmentFile,
    from: u64,
    end: u64,
    offset: Offset,
    epoch: LeaderEpoch,
) -> io::Result<Option<u64>> {
    let end = end.min(from.saturating_add(CONTINUATION_BYTES_MAX));
    let mut window = Window::new(file, end, BATCHES_WINDOW_BYTES)?;
    let mut position = from;
    while position + HEADER_BYTES as u64 <= end {
        let piece = (end - position).min(BATCHES_WINDOW_BYTES as u64) as usize;
        let candidates: Vec<(u64, usize)> = window
            .bytes_at(position, piece)?
            .windows(HEADER_BYTES)
            .enumerate()
            .filter_map(|(i, bytes)| {
                let header = BatchHeader::parse(bytes).ok()?;
                let continues = header.base_offset > offset
                    && header.base_offset.0 - offset.0 <= i64::from(i32::MAX)
                    && header.leader_epoch >= epoch
                    && header.last_offset_delta >= 0;
                let at = position + i as u64;
                (continues && at + header.size_bytes() as u64 <= end).then(|| (at, header.size_bytes()))
            })
            .collect();
        for (at, size) in candidates {
            if crc_holds(window.bytes_at(at, size)?) {
                return Ok(Some(at));
            }
        }
        position += (piece - HEADER_BYTES + 1) as u64;
    }
    Ok(None)
}
