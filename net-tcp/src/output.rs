//! From finished answers to the socket: small pieces gathered, large ones by reference, files read as the socket
//! takes them.
//!
//! Answers wait in `sources`. A stage is what one write can carry: small pieces and file contents copied side by
//! side into one buffer, large pieces as they are. A stage is filled only when the one before is gone, so that a
//! slow peer holds at most one buffer, whatever was promised to it.

use crate::close::CloseReason;
use crate::listener::Stream;
use crate::reply::{FilePart, Part};
use bytes::{Buf, Bytes};
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

/// Pieces up to this size are copied next to each other: cheaper than one more entry in a vectored write.
const COPIED_BYTES_MAX: usize = 4 << 10;
/// The buffer a connection may keep for itself.
const SMALL_BUFFER_BYTES: usize = 16 << 10;
/// A pooled buffer, and so the largest piece that is read from a file at once.
const LARGE_BUFFER_BYTES: usize = 256 << 10;
/// Entries of one vectored write.
const SLICES_MAX: usize = 32;
/// Smallest rest of a file that is worth a system call of its own where the stream can send files.
const SENT_FILE_BYTES_MIN: u64 = 64 << 10;

/// Large buffers in use by connections that are writing, shared so that idle connections hold none.
#[derive(Debug)]
pub(crate) struct BufferPool {
    free: Mutex<Vec<Vec<u8>>>,
    kept_max: usize,
}

impl BufferPool {
    pub(crate) fn new(kept_max: usize) -> Self {
        Self { free: Mutex::default(), kept_max }
    }

    fn take(&self) -> Vec<u8> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        free.unwrap_or_else(|| vec![0; LARGE_BUFFER_BYTES])
    }

    fn give_back(&self, buffer: Vec<u8>) {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < self.kept_max {
            free.push(buffer);
        }
    }
}

/// What is still to be staged.
enum Source {
    Length(i32),
    Bytes(Bytes),
    File { part: Arc<dyn FilePart>, pos: u64 },
}

/// What is staged and not yet written, in order.
enum Segment {
    /// A range of the buffer.
    Buffered { from: usize, to: usize },
    /// Bytes by reference.
    Shared(Bytes),
    /// The rest of a file that the stream sends by itself; always alone in its stage.
    File { part: Arc<dyn FilePart>, pos: u64 },
}

/// A connection's answers on their way out.
pub(crate) struct Output {
    sources: VecDeque<Source>,
    stage: VecDeque<Segment>,
    buffer: Vec<u8>,
    buffered: usize,
    /// Bytes in sources and stage.
    bytes: u64,
    dirty: bool,
    pool: Arc<BufferPool>,
}

impl Output {
    pub(crate) fn new(pool: Arc<BufferPool>) -> Self {
        Self {
            sources: VecDeque::new(),
            stage: VecDeque::new(),
            buffer: Vec::new(),
            buffered: 0,
            bytes: 0,
            dirty: false,
            pool,
        }
    }

    /// Queues a frame. False, with nothing queued, if it is too long for one.
    #[must_use]
    pub(crate) fn push_frame(&mut self, head: Bytes, parts: Vec<Part>, len: u64) -> bool {
        let Ok(length) = i32::try_from(len) else { return false };
        self.bytes += 4 + len;
        self.sources.push_back(Source::Length(length));
        self.sources.push_back(Source::Bytes(head));
        self.sources.extend(parts.into_iter().map(|part| match part {
            Part::Bytes(bytes) => Source::Bytes(bytes),
            Part::File(part) => Source::File { part, pos: 0 },
        }));
        true
    }

    /// Whether everything queued has reached the stream.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes == 0 && !self.dirty
    }

    /// Bytes of buffer held.
    pub(crate) fn capacity(&self) -> usize {
        self.buffer.len()
    }

    /// Gives the memory of an empty output back.
    pub(crate) fn release(&mut self) {
        if self.bytes == 0 {
            self.return_buffer();
            self.buffer = Vec::new();
            self.sources.shrink_to(0);
            self.stage.shrink_to(0);
        }
    }

    /// Writes until all is written and flushed, or the stream takes no more. `wrote` counts what it took.
    pub(crate) fn poll_write<S: Stream>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut S,
        wrote: &mut u64,
    ) -> Poll<Result<(), CloseReason>> {
        while self.bytes > 0 {
            if self.stage.is_empty() {
                ready!(self.poll_fill_stage(cx, stream)).map_err(|e| CloseReason::FilePart(e.kind()))?;
            }
            if self.stage.is_empty() {
                // Only empty pieces were left.
                assert_eq!(self.bytes, 0, "bytes are promised that no piece holds");
                break;
            }
            let n = ready!(self.poll_write_stage(cx, stream)).map_err(|e| CloseReason::Io(e.kind()))?;
            if n == 0 {
                return Poll::Ready(Err(CloseReason::Io(io::ErrorKind::WriteZero)));
            }
            *wrote += n as u64;
            self.dirty = true;
            self.advance(n);
        }
        if self.dirty {
            ready!(Pin::new(stream).poll_flush(cx)).map_err(|e| CloseReason::Io(e.kind()))?;
            self.dirty = false;
            self.return_buffer();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_fill_stage<S: Stream>(&mut self, cx: &mut Context<'_>, stream: &S) -> Poll<io::Result<()>> {
        self.buffered = 0;
        while let Some(source) = self.sources.front_mut() {
            match source {
                &mut Source::Length(length) => {
                    if !self.copy_in(&length.to_be_bytes()) {
                        break;
                    }
                    self.sources.pop_front();
                }
                Source::Bytes(bytes) if bytes.len() <= COPIED_BYTES_MAX => {
                    let bytes = bytes.clone();
                    if !self.copy_in(&bytes) {
                        break;
                    }
                    self.sources.pop_front();
                }
                Source::Bytes(_) => {
                    if self.stage.len() >= SLICES_MAX {
                        break;
                    }
                    let Some(Source::Bytes(bytes)) = self.sources.pop_front() else {
                        unreachable!("seen above")
                    };
                    self.stage.push_back(Segment::Shared(bytes));
                }
                Source::File { part, pos } if *pos >= part.len() => {
                    self.sources.pop_front();
                }
                Source::File { part, pos } if is_sent(stream, &**part, *pos) => {
                    if self.stage.is_empty() {
                        self.stage.push_back(Segment::File { part: part.clone(), pos: *pos });
                        self.sources.pop_front();
                    }
                    break;
                }
                Source::File { .. } => {
                    let full = ready!(self.poll_read_file(cx))?;
                    if full {
                        break;
                    }
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads from the file in front into what is left of the buffer; true if the stage is full then.
    fn poll_read_file(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if self.buffer.len() < LARGE_BUFFER_BYTES {
            self.enlarge_buffer();
        }
        let Some(Source::File { part, pos }) = self.sources.front_mut() else {
            unreachable!("called for a file in front")
        };
        let room = LARGE_BUFFER_BYTES - self.buffered;
        let piece = usize::try_from(part.len() - *pos).map_or(room, |left| left.min(room));
        if piece == 0 {
            return Poll::Ready(Ok(true));
        }
        match part.poll_read_at(cx, *pos, &mut self.buffer[self.buffered..][..piece]) {
            // What is staged already can go while the file is brought in.
            Poll::Pending if !self.stage.is_empty() => Poll::Ready(Ok(true)),
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(e)) => Poll::Ready(Err(e)),
            Poll::Ready(Ok(0)) => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            Poll::Ready(Ok(n)) => {
                assert!(n <= piece, "a file part read more than was asked for");
                *pos += n as u64;
                self.note_buffered(n);
                Poll::Ready(Ok(false))
            }
        }
    }

    /// Stages a small piece by copying; false if the buffer has no room for it in this stage.
    fn copy_in(&mut self, piece: &[u8]) -> bool {
        let needed = self.buffered + piece.len();
        if needed > self.buffer.len() {
            if self.buffer.len() < SMALL_BUFFER_BYTES && needed <= SMALL_BUFFER_BYTES {
                let size = needed.next_power_of_two().clamp(1 << 10, SMALL_BUFFER_BYTES);
                self.buffer.resize(size, 0);
            } else if self.buffer.len() < LARGE_BUFFER_BYTES && needed <= LARGE_BUFFER_BYTES {
                self.enlarge_buffer();
            } else {
                return false;
            }
        }
        self.buffer[self.buffered..needed].copy_from_slice(piece);
        self.note_buffered(piece.len());
        true
    }

    /// Changes to a pooled buffer.
    fn enlarge_buffer(&mut self) {
        let mut large = self.pool.take();
        large[..self.buffered].copy_from_slice(&self.buffer[..self.buffered]);
        self.buffer = large;
    }

    /// Gives a pooled buffer back.
    fn return_buffer(&mut self) {
        if self.buffer.len() == LARGE_BUFFER_BYTES {
            self.pool.give_back(std::mem::take(&mut self.buffer));
        }
        self.buffered = 0;
    }

    /// Puts the next `n` bytes of the buffer into the stage.
    fn note_buffered(&mut self, n: usize) {
        let from = self.buffered;
        self.buffered += n;
        match self.stage.back_mut() {
            Some(Segment::Buffered { to, .. }) => *to += n,
            _ if n == 0 => {}
            _ => self.stage.push_back(Segment::Buffered { from, to: from + n }),
        }
    }

    fn poll_write_stage<S: Stream>(&self, cx: &mut Context<'_>, stream: &mut S) -> Poll<io::Result<usize>> {
        let stream = Pin::new(stream);
        match self.stage.front() {
            Some(Segment::File { part, pos }) => stream.poll_send_file(cx, &**part, *pos, part.len() - *pos),
            Some(_) if self.stage.len() > 1 && stream.is_write_vectored() => {
                let mut slices = [IoSlice::new(&[]); SLICES_MAX];
                let mut count = 0;
                for (slice, segment) in slices.iter_mut().zip(&self.stage) {
                    *slice = IoSlice::new(self.memory(segment));
                    count += 1;
                }
                stream.poll_write_vectored(cx, &slices[..count])
            }
            Some(segment) if self.is_sent_file_next(&*stream) => {
                stream.poll_write_before_file(cx, self.memory(segment))
            }
            Some(segment) => stream.poll_write(cx, self.memory(segment)),
            None => unreachable!("the stage was filled before"),
        }
    }

    /// Whether a file that the stream sends by itself follows what is staged.
    fn is_sent_file_next<S: Stream>(&self, stream: &S) -> bool {
        matches!(self.sources.front(), Some(Source::File { part, pos }) if is_sent(stream, &**part, *pos))
    }

    fn memory<'a>(&'a self, segment: &'a Segment) -> &'a [u8] {
        match segment {
            Segment::Buffered { from, to } => &self.buffer[*from..*to],
            Segment::Shared(bytes) => bytes,
            Segment::File { .. } => unreachable!("a file is alone in its stage"),
        }
    }

    /// Takes `n` written bytes off the stage.
    fn advance(&mut self, mut n: usize) {
        assert!(n as u64 <= self.bytes, "a stream took more than it was given");
        self.bytes -= n as u64;
        while n > 0 {
            let segment = self.stage.front_mut().expect("no more was written than was staged");
            let done = match segment {
                Segment::Buffered { from, to } => {
                    let step = n.min(*to - *from);
                    *from += step;
                    n -= step;
                    from == to
                }
                Segment::Shared(bytes) => {
                    let step = n.min(bytes.len());
                    bytes.advance(step);
                    n -= step;
                    bytes.is_empty()
                }
                Segment::File { part, pos } => {
                    *pos += n as u64;
                    n = 0;
                    *pos == part.len()
                }
            };
            if done {
                self.stage.pop_front();
            }
        }
    }
}

/// Whether the stream is to send the rest of a file by itself.
fn is_sent<S: Stream>(stream: &S, part: &dyn FilePart, pos: u64) -> bool {
    part.len() - pos >= SENT_FILE_BYTES_MIN && stream.sends_files(part)
}

impl Drop for Output {
    fn drop(&mut self) {
        self.return_buffer();
    }
}
