//! Answers, and the queue that brings them from anywhere into the order of their requests.

use crate::close::CloseReason;
use crate::courtesy::{Courtesy, Turn};
use bytes::{Buf, Bytes};
use std::any::Any;
use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::time::Instant;

/// A request's place in its connection's order, from 0. With the [`ReplyQueue`] it names one answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u64);

/// A stretch of a file that belongs to an answer, read only when the socket can take it.
///
/// `Any` is a supertrait so that a [`crate::Stream`] which sends files by itself can look for its own type.
pub trait FilePart: Any + Send + Sync {
    /// How many bytes the stretch has. All of them are promised to the peer: a file that turns out shorter
    /// costs the connection.
    fn len(&self) -> u64;

    /// Whether there is nothing to send.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads at `pos`, counted from the beginning of the stretch, into `buf`. May read less, but not nothing.
    fn read_at(&self, pos: u64, buf: &mut [u8]) -> io::Result<usize>;

    /// As [`FilePart::read_at`], for files whose bytes may have to be brought in first: `Pending` parks the
    /// connection until the waker is woken.
    fn poll_read_at(&self, _cx: &mut Context<'_>, pos: u64, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(self.read_at(pos, buf))
    }
}

/// A piece of an answer behind its head.
#[derive(Clone)]
pub enum Part {
    /// Bytes in memory, never copied if they are many.
    Bytes(Bytes),
    /// Bytes in a file.
    File(Arc<dyn FilePart>),
}

impl Part {
    fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(file) => file.len(),
        }
    }
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "Bytes({})", bytes.len()),
            Self::File(file) => write!(f, "File({})", file.len()),
        }
    }
}

/// What becomes of one request.
#[derive(Debug)]
pub struct Reply {
    pub(crate) kind: ReplyKind,
    pub(crate) throttle: Option<Duration>,
}

#[derive(Debug)]
pub(crate) enum ReplyKind {
    Send { head: Bytes, parts: Vec<Part>, len: u64 },
    None,
    Close(CloseReason),
}

impl Reply {
    /// An answer all in memory: response header and body, without the length.
    pub fn new(head: impl Into<Bytes>) -> Self {
        Self::with_parts(head, Vec::new())
    }

    /// An answer of `head` (response header and the body's beginning, without the length) and what follows it.
    pub fn with_parts(head: impl Into<Bytes>, parts: Vec<Part>) -> Self {
        let head = head.into();
        let len = parts.iter().fold(head.len() as u64, |sum, part| sum.saturating_add(part.len()));
        Self { kind: ReplyKind::Send { head, parts, len }, throttle: None }
    }

    /// As [`Reply::with_parts`] for a frame as the protocol crate writes it, its 4-byte length first. The length is
    /// dropped and made anew.
    pub fn framed(mut head: Bytes, parts: Vec<Part>) -> Self {
        head.advance(head.len().min(4));
        Self::with_parts(head, parts)
    }

    /// No answer, as for a produce without acks. The slot is done nevertheless.
    pub fn none() -> Self {
        Self { kind: ReplyKind::None, throttle: None }
    }

    /// Ends the connection when this request's turn comes, with the answers before it sent: what Kafka does
    /// with a body that does not parse, and with a failed produce without acks.
    pub fn close(why: impl Into<Cow<'static, str>>) -> Self {
        Self::close_for(CloseReason::Service(why.into()))
    }

    pub(crate) fn close_for(reason: CloseReason) -> Self {
        Self { kind: ReplyKind::Close(reason), throttle: None }
    }

    /// Sends the answer at once and reads nothing more from the connection for `time` (KIP-219). The answer
    /// must carry the time itself, as `throttle_time_ms`.
    #[must_use]
    pub fn throttled(mut self, time: Duration) -> Self {
        self.throttle = (!time.is_zero()).then_some(time);
        self
    }

    /// The bytes of the answer without its length prefix.
    pub fn len(&self) -> u64 {
        match &self.kind {
            ReplyKind::Send { len, .. } => *len,
            ReplyKind::None | ReplyKind::Close(_) => 0,
        }
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes of the answer with its length prefix.
    pub(crate) fn frame_bytes(&self) -> u64 {
        match &self.kind {
            ReplyKind::Send { len, .. } => len.saturating_add(4),
            ReplyKind::None | ReplyKind::Close(_) => 0,
        }
    }
}

/// What ends a connection from outside of its task.
#[derive(Clone, Debug)]
pub(crate) enum Signal {
    /// Close now, for this reason.
    Close(CloseReason),
    /// Take no more requests; close when those taken are answered, or at the deadline.
    Drain(Instant),
}

/// Brings answers to one connection. Cheap to clone; every method may be called from anywhere, at any time,
/// never blocks, and does nothing once the connection is gone.
#[derive(Clone)]
pub struct ReplyQueue {
    shared: Arc<Shared>,
}

struct Shared {
    courtesy: Arc<Courtesy>,
    state: Mutex<State>,
    /// Bytes of answers that are finished and not yet written.
    bytes_unsent: AtomicU64,
    /// An answer that mutes the connection waits to be sent.
    throttled: AtomicBool,
}

#[derive(Default)]
struct State {
    /// The slot at the front of `slots`.
    first: u64,
    /// One entry per request that is not yet answered on the wire; filled when its answer is finished.
    slots: VecDeque<Option<Reply>>,
    signal: Option<Signal>,
    closed: bool,
    /// The connection's task, if and only if it is parked.
    parked: Option<Waker>,
    /// The turn of the task that was parked and is woken.
    turn: Option<Turn>,
}

impl State {
    fn has_news(&self) -> bool {
        self.signal.is_some() || matches!(self.slots.front(), Some(Some(_)))
    }
}

impl fmt::Debug for ReplyQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("ReplyQueue")
            .field("first", &state.first)
            .field("waiting", &state.slots.len())
            .field("closed", &state.closed)
            .finish()
    }
}

impl ReplyQueue {
    /// `courtesy` is one for all queues of a server.
    pub(crate) fn new(courtesy: Arc<Courtesy>) -> Self {
        Self {
            shared: Arc::new(Shared {
                courtesy,
                state: Mutex::default(),
                bytes_unsent: AtomicU64::new(0),
                throttled: AtomicBool::new(false),
            }),
        }
    }

    /// Answers the request in `slot`. Answers may be finished in any order; they leave in the order of the
    /// requests. A second answer to a request is dropped, as is one to a dead connection.
    pub fn reply(&self, slot: Slot, reply: Reply) {
        let mut state = self.lock();
        if state.closed {
            return;
        }
        let Some(index) = slot.0.checked_sub(state.first).and_then(|at| usize::try_from(at).ok()) else {
            return;
        };
        let Some(entry @ None) = state.slots.get_mut(index) else { return };
        self.shared.bytes_unsent.fetch_add(reply.frame_bytes(), Relaxed);
        if reply.throttle.is_some() {
            self.shared.throttled.store(true, Relaxed);
        }
        *entry = Some(reply);
        if index == 0 {
            self.wake(state);
        }
    }

    /// Ends the connection now, without regard to answers that wait.
    pub fn close(&self, why: impl Into<Cow<'static, str>>) {
        self.signal(Signal::Close(CloseReason::Service(why.into())));
    }

    /// Whether the connection is gone, and answers are no longer wanted.
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let mut state = self.lock();
        if !state.closed {
            state.signal = Some(signal);
            self.wake(state);
        }
    }

    /// Makes room for the answer to one more request.
    pub(crate) fn open_slot(&self) -> Slot {
        let mut state = self.lock();
        state.slots.push_back(None);
        Slot(state.first + state.slots.len() as u64 - 1)
    }

    /// Requests whose answer is not yet taken.
    pub(crate) fn waiting(&self) -> usize {
        self.lock().slots.len()
    }

    /// Moves the finished answers at the front to `finished`, and says what arrived from outside, and whether it woke the
    /// task.
    pub(crate) fn take(&self, finished: &mut Vec<Reply>) -> (Option<Signal>, Option<Turn>) {
        let mut state = self.lock();
        state.parked = None;
        while let Some(Some(_)) = state.slots.front() {
            finished.extend(state.slots.pop_front().flatten());
            state.first += 1;
        }
        (state.signal.take(), state.turn.take())
    }

    /// Leaves the waker to be woken by news; false if there is news already.
    pub(crate) fn park(&self, waker: &Waker) -> bool {
        let mut state = self.lock();
        if state.has_news() {
            return false;
        }
        match &mut state.parked {
            Some(parked) => parked.clone_from(waker),
            parked => *parked = Some(waker.clone()),
        }
        true
    }

    /// Bytes of finished answers that are not yet written.
    pub(crate) fn bytes_unsent(&self) -> u64 {
        self.shared.bytes_unsent.load(Relaxed)
    }

    /// Notes that answers of so many bytes are written.
    pub(crate) fn mark_sent(&self, bytes: u64) {
        self.shared.bytes_unsent.fetch_sub(bytes, Relaxed);
    }

    /// Whether an answer waits that will mute the connection.
    pub(crate) fn is_throttled(&self) -> bool {
        self.shared.throttled.load(Relaxed)
    }

    /// Notes that the connection is muted, so that the next throttle can show.
    pub(crate) fn clear_throttled(&self) {
        self.shared.throttled.store(false, Relaxed);
    }

    /// Drops all answers, those to come included.
    pub(crate) fn shut(&self) {
        let gone = {
            let mut state = self.lock();
            state.closed = true;
            state.parked = None;
            (std::mem::take(&mut state.slots), state.turn.take())
        };
        // Outside of the lock: a part's drop may close a file, a turn's wakes others.
        drop(gone);
    }

    /// Wakes the task if it is parked, after giving the lock back.
    fn wake(&self, mut state: MutexGuard<'_, State>) {
        if let Some(waker) = state.parked.take() {
            state.turn = Some(self.shared.courtesy.woken());
            drop(state);
            waker.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code below the lock can panic half-way; a poisoned lock still holds a whole state.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
