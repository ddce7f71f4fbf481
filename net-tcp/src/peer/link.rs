//! One connection behind its hello, and its task: frames in to the handler, frames out of the queue.
//!
//! One hand-written future over one stream, as a client's connection is. Each turn, in this order: take what waits in
//! the queue, write, read and deliver, look at the clock; and park when nothing moved. A turn is bounded, so that a
//! peer that never pauses does not keep others from running.

use super::{PeerCounters, PeerOptions, SendQueue, Shared};
use crate::client::Dial;
use crate::close::CloseReason;
use crate::connection::Timer;
use crate::frame::FrameReader;
use crate::listener::Stream;
use crate::output::Output;
use crate::reply::Part;
use highwater_core::transport::{
    Accepted, Class, Format, Frame, FrameError, FrameKind, Notice, PeerHandler, PeerIdentity, Refusal,
};
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;

/// Steps of one turn before others run.
const STEPS_PER_TURN_MAX: usize = 64;

/// Why a connection ended, or is to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LinkEnd {
    /// The other side closed it.
    PeerClosed,
    /// The other side stops in an orderly way.
    PeerStopping,
    /// The other side says that it cannot go on.
    RefusedByPeer(Refusal),
    /// The socket failed.
    Io(io::ErrorKind),
    /// A frame longer than its class allows, or of negative length.
    FrameLength(i32),
    /// Bytes that are no frame.
    Frame(FrameError),
    /// Nothing was heard.
    Idle,
    /// Nothing could be written.
    WriteStalled,
    /// The peer has another connection in its place, or lives again.
    Superseded,
    /// The peer's address is another one, or none.
    AddressChanged,
    /// This node stops.
    Stopped,
}

impl LinkEnd {
    /// Whether the end came from outside: a process that dies looks so.
    pub(super) const fn is_reset(&self) -> bool {
        matches!(self, Self::PeerClosed | Self::PeerStopping | Self::Io(_))
    }

    /// Whether bytes that are no frame were received.
    pub(super) const fn is_corrupt(&self) -> bool {
        matches!(self, Self::FrameLength(_) | Self::Frame(_))
    }

    /// What the other side is told before the connection is closed.
    fn farewell(&self) -> Option<Notice> {
        match self {
            Self::Stopped => Some(Notice::Stopping),
            Self::FrameLength(_) | Self::Frame(_) => Some(Notice::Refused(Refusal::Malformed)),
            _ => None,
        }
    }
}

impl fmt::Display for LinkEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PeerClosed => f.write_str("the other side closed it"),
            Self::PeerStopping => f.write_str("the other side is stopping"),
            Self::RefusedByPeer(Refusal::Malformed) => {
                f.write_str("the other side received something that is no frame")
            }
            Self::RefusedByPeer(refusal) => write!(f, "the other side refuses it: {refusal}"),
            Self::Io(kind) => write!(f, "socket error: {kind}"),
            Self::FrameLength(length) => {
                write!(f, "a frame of {length} bytes was promised, which its class does not allow")
            }
            Self::Frame(error) => error.fmt(f),
            Self::Idle => f.write_str("nothing was heard on it"),
            Self::WriteStalled => f.write_str("nothing could be written to it"),
            Self::Superseded => f.write_str("a newer one took its place"),
            Self::AddressChanged => f.write_str("the node's address changed"),
            Self::Stopped => f.write_str("this node is stopping"),
        }
    }
}

/// What the clock can bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alarm {
    Close,
    KeepAlive,
    Idle,
    WriteStalled,
}

/// A connection that says why it ends.
struct Closing {
    end: LinkEnd,
    deadline: Instant,
    has_shut_down: bool,
}

pub(super) struct Link<T> {
    stream: T,
    peer: PeerIdentity,
    class: Class,
    format: Format,
    queue: Arc<SendQueue>,
    handler: Weak<dyn PeerHandler>,
    options: PeerOptions,
    counters: Arc<PeerCounters>,
    frames: FrameReader,
    output: Output,
    /// Given to the output and not yet written.
    unwritten_bytes: u64,
    /// Reused between turns.
    taken: Vec<Frame>,
    closing: Option<Closing>,
    read_at: Instant,
    wrote_at: Instant,
    timer: Timer,
}

impl<T: Stream> Link<T> {
    /// A connection whose hello is done.
    pub(super) fn new<D: Dial>(
        shared: &Shared<D>,
        stream: T,
        accepted: Accepted,
        class: Class,
        queue: Arc<SendQueue>,
    ) -> Self {
        let now = Instant::now();
        Self {
            stream,
            peer: accepted.peer,
            class,
            format: accepted.format,
            queue,
            handler: shared.handler.clone(),
            options: shared.options.clone(),
            counters: shared.counters.clone(),
            frames: FrameReader::new(class.frame_bytes_max(), shared.options.read_bytes_max),
            output: Output::new(shared.pool.clone()),
            unwritten_bytes: 0,
            taken: Vec::new(),
            closing: None,
            read_at: now,
            wrote_at: now,
            timer: Timer::default(),
        }
    }

    /// Carries frames until the connection ends, and says why it did.
    pub(super) async fn run(mut self) -> LinkEnd {
        let end = poll_fn(|cx| self.poll(cx)).await;
        // Whoever looks for a way to the peer must not find this one any more.
        self.queue.close(end.clone());
        let lost = self.queue.clear() as u64;
        self.counters.frames_lost.fetch_add(lost, Relaxed);
        if end.is_corrupt() {
            self.counters.frames_corrupt.fetch_add(1, Relaxed);
        }
        end
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<LinkEnd> {
        for _ in 0..STEPS_PER_TURN_MAX {
            match self.step(cx) {
                Ok(Poll::Ready(())) => {}
                Ok(Poll::Pending) if self.rests(cx) => return Poll::Pending,
                Ok(Poll::Pending) => {}
                Err(end) => return Poll::Ready(end),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// One step; `Pending` if there was nothing to do.
    fn step(&mut self, cx: &mut Context<'_>) -> Result<Poll<()>, LinkEnd> {
        let now = Instant::now();
        self.take_queued(now);
        self.write(cx, now)?;
        let moved = match self.poll_read(cx, now)? {
            Poll::Pending => self.poll_clock(cx, now)?,
            read => read,
        };
        Ok(moved)
    }

    /// Whether there is nothing to do before the task is woken. Of a connection that is closing the queue has nothing
    /// more to tell: it would say again and again that it has ended.
    fn rests(&self, cx: &Context<'_>) -> bool {
        self.closing.is_some() || self.queue.park(cx.waker(), self.takes_frames())
    }

    /// Whether the writer has room; if not, the queue is where frames wait.
    fn takes_frames(&self) -> bool {
        self.unwritten_bytes < self.options.write_bytes_max
    }

    fn take_queued(&mut self, now: Instant) {
        if self.closing.is_some() {
            return;
        }
        let room = self.options.write_bytes_max.saturating_sub(self.unwritten_bytes);
        let mut taken = std::mem::take(&mut self.taken);
        let end = self.queue.take(room, &mut taken);
        self.counters.frames_out.fetch_add(taken.len() as u64, Relaxed);
        for frame in taken.drain(..) {
            self.push(frame, now);
        }
        self.taken = taken;
        if let Some(end) = end {
            self.close(end, now);
        }
    }

    /// Queues a frame for writing.
    fn push(&mut self, frame: Frame, now: Instant) {
        if self.output.is_empty() {
            self.wrote_at = now;
        }
        let head = self.format.encode_head(&frame);
        let length = frame.payload.iter().fold(head.len() as u64, |sum, part| sum + part.len() as u64);
        let parts = frame.payload.into_iter().map(Part::Bytes).collect();
        self.unwritten_bytes += 4 + length;
        assert!(self.output.push_frame(head, parts, length), "a checked frame is far below 2 GiB");
    }

    fn write(&mut self, cx: &mut Context<'_>, now: Instant) -> Result<(), LinkEnd> {
        if self.output.is_empty() {
            return self.shut_down(cx);
        }
        let mut wrote = 0;
        let polled = self.output.poll_write(cx, &mut self.stream, &mut wrote);
        if wrote > 0 {
            self.wrote_at = now;
            self.unwritten_bytes -= wrote;
            self.counters.bytes_out.fetch_add(wrote, Relaxed);
        }
        match polled {
            Poll::Ready(Ok(())) => {
                self.counters.flushes.fetch_add(1, Relaxed);
                self.wrote_at = now;
                self.shut_down(cx)
            }
            Poll::Ready(Err(reason)) => Err(self.broken(&reason)),
            Poll::Pending => Ok(()),
        }
    }

    /// Once the farewell is written, says that nothing follows it.
    fn shut_down(&mut self, cx: &mut Context<'_>) -> Result<(), LinkEnd> {
        let Some(closing) = self.closing.as_mut().filter(|closing| !closing.has_shut_down) else {
            return Ok(());
        };
        match Pin::new(&mut self.stream).poll_shutdown(cx) {
            Poll::Ready(Ok(())) => closing.has_shut_down = true,
            Poll::Ready(Err(_)) => return Err(closing.end.clone()),
            Poll::Pending => {}
        }
        Ok(())
    }

    /// The stream failed: the end, unless a better reason was there before.
    fn broken(&self, reason: &CloseReason) -> LinkEnd {
        match (&self.closing, reason) {
            (Some(closing), _) => closing.end.clone(),
            (None, CloseReason::Io(kind)) => LinkEnd::Io(*kind),
            (None, CloseReason::FrameLength(length)) => LinkEnd::FrameLength(*length),
            (None, _) => LinkEnd::Io(io::ErrorKind::Other),
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, now: Instant) -> Result<Poll<()>, LinkEnd> {
        let read = match self.frames.poll_read(cx, &mut self.stream) {
            Poll::Pending => return Ok(Poll::Pending),
            Poll::Ready(Ok(read)) => read,
            Poll::Ready(Err(error)) => return Err(self.broken(&CloseReason::Io(error.kind()))),
        };
        if read == 0 {
            let closing = self.closing.take();
            return Err(closing.map_or(LinkEnd::PeerClosed, |closing| closing.end));
        }
        self.read_at = now;
        self.counters.bytes_in.fetch_add(read as u64, Relaxed);
        if self.closing.is_some() {
            // Read, so that closing does not take the farewell back; and dropped.
            self.frames = FrameReader::new(self.class.frame_bytes_max(), self.options.read_bytes_max);
        } else if let Err(end) = self.deliver() {
            self.close(end, now);
        }
        Ok(Poll::Ready(()))
    }

    /// Hands whole frames on.
    fn deliver(&mut self) -> Result<(), LinkEnd> {
        loop {
            let bytes = match self.frames.next_frame() {
                Ok(Some(bytes)) => bytes,
                Ok(None) => return Ok(()),
                Err(reason) => return Err(self.broken(&reason)),
            };
            let frame = self.format.decode(bytes).map_err(LinkEnd::Frame)?;
            self.counters.frames_in.fetch_add(1, Relaxed);
            if frame.kind == FrameKind::Link {
                match Notice::decode(&frame).map_err(LinkEnd::Frame)? {
                    Some(Notice::Stopping) => return Err(LinkEnd::PeerStopping),
                    Some(Notice::Refused(refusal)) => return Err(LinkEnd::RefusedByPeer(refusal)),
                    Some(Notice::KeepAlive) | None => {}
                }
                continue;
            }
            let Some(handler) = self.handler.upgrade() else { return Err(LinkEnd::Stopped) };
            handler.received(&self.peer, self.class, frame);
        }
    }

    /// Takes no more frames in either direction; says why, if the other side should know.
    fn close(&mut self, end: LinkEnd, now: Instant) {
        self.queue.close(end.clone());
        let farewell = end.farewell();
        let linger = if farewell.is_some() { self.options.linger_max } else { Duration::ZERO };
        if let Some(notice) = farewell {
            self.push(notice.frame(), now);
        }
        self.closing = Some(Closing { end, deadline: now + linger, has_shut_down: false });
    }

    /// Acts on a deadline that has passed, or waits for the next.
    fn poll_clock(&mut self, cx: &mut Context<'_>, now: Instant) -> Result<Poll<()>, LinkEnd> {
        let (deadline, alarm) = self.next_alarm();
        if deadline > now {
            return Ok(self.timer.poll_until(cx, deadline));
        }
        match alarm {
            Alarm::Close => {
                let closing = self.closing.take().expect("its deadline rang");
                return Err(closing.end);
            }
            Alarm::Idle => return Err(LinkEnd::Idle),
            Alarm::WriteStalled => return Err(LinkEnd::WriteStalled),
            Alarm::KeepAlive => {
                self.push(Notice::KeepAlive.frame(), now);
                self.frames.release();
                self.output.release();
            }
        }
        Ok(Poll::Ready(()))
    }

    fn next_alarm(&self) -> (Instant, Alarm) {
        if let Some(closing) = &self.closing {
            return (closing.deadline, Alarm::Close);
        }
        let idle = (self.read_at + self.options.idle_max, Alarm::Idle);
        let write = if self.output.is_empty() {
            (self.wrote_at + self.options.keep_alive, Alarm::KeepAlive)
        } else {
            (self.wrote_at + self.options.idle_max, Alarm::WriteStalled)
        };
        if write.0 < idle.0 { write } else { idle }
    }
}
