//! One connection's task: reads frames, hands them to the service in batches, writes answers in order.
//!
//! It is one hand-written future over one stream, not two halves and channels: a batch that the service answers
//! at once is read, handled and written without a wake-up in between. Each turn, in this order: take finished
//! answers, write, close if it is time, hand over buffered requests, read, look at the clock; and park when
//! nothing moved.
//!
//! Bounded memory: nothing is read while too many requests or too many answer bytes wait, and buffers of a
//! connection that falls silent are given back.

use crate::close::CloseReason;
use crate::counters::Counters;
use crate::courtesy::{Courtesy, Moment, Turn};
use crate::frame::{Frame, FrameReader, HeaderParser};
use crate::limits::Limits;
use crate::listener::Stream;
use crate::lockstep::{Lockstep, Places, SMALL_BYTES};
use crate::output::{BufferPool, Output};
use crate::reply::{Reply, ReplyKind, ReplyQueue, Signal};
use crate::service::{ConnCtx, Request, Requests, Service};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io::ErrorKind;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// How long answers already finished, or about to be, may take to leave before a connection that broke the rules
/// is closed.
const LINGER: Duration = Duration::from_secs(1);
/// How often a socket is asked in one turn that its task stays awake for.
const AWAKE_READS_MAX: u32 = 16;
/// A connection silent for this long gives its buffers back.
const RELEASE_AFTER: Duration = Duration::from_secs(1);

/// What every connection of a server shares.
pub(crate) struct Shared<S> {
    pub(crate) service: Arc<S>,
    pub(crate) counters: Counters,
    pub(crate) pool: Arc<BufferPool>,
    pub(crate) lockstep_places: Arc<Places>,
    pub(crate) courtesy: Arc<Courtesy>,
    /// The zero of the clock that requests are stamped with.
    pub(crate) started: Instant,
}

impl<S> Shared<S> {
    /// A moment on the server's clock.
    pub(crate) fn instant(&self, at: Instant) -> highwater_core::time::Instant {
        let nanos = at.saturating_duration_since(self.started).as_nanos();
        highwater_core::time::Instant::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// What the clock can bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alarm {
    Close,
    Unmute,
    WriteStalled,
    FrameStalled,
    Idle,
    Release,
}

/// A connection that takes no more requests.
struct Closing {
    reason: CloseReason,
    deadline: Instant,
    /// Whether requests that the service still has are waited for.
    awaits_replies: bool,
}

pub(crate) struct Connection<T, S: Service> {
    stream: T,
    shared: Arc<Shared<S>>,
    limits: Arc<Limits>,
    ctx: ConnCtx<S::State>,
    queue: ReplyQueue,
    headers: HeaderParser,
    frames: FrameReader,
    /// Requests parsed and not yet taken by the service.
    pending: VecDeque<Request>,
    output: Output,
    /// Reused between turns.
    finished: Vec<Reply>,
    lockstep: Lockstep,
    /// Held while this task is polled because an answer woke it.
    turn: Option<Turn>,
    closing: Option<Closing>,
    muted_until: Option<Instant>,
    read_at: Instant,
    wrote_at: Instant,
    timer: Timer,
}

impl<T: Stream, S: Service> Connection<T, S> {
    pub(crate) fn new(
        stream: T,
        shared: Arc<Shared<S>>,
        limits: Arc<Limits>,
        ctx: ConnCtx<S::State>,
        queue: ReplyQueue,
    ) -> Self {
        let now = Instant::now();
        Self {
            stream,
            headers: HeaderParser::new(shared.service.api_table()),
            frames: FrameReader::new(limits.request_bytes_max, limits.read_buffer_bytes_max),
            output: Output::new(shared.pool.clone()),
            lockstep: Lockstep::new(shared.lockstep_places.clone(), limits.lockstep_wait_max),
            shared,
            turn: None,
            limits,
            ctx,
            queue,
            pending: VecDeque::new(),
            finished: Vec::new(),
            closing: None,
            muted_until: None,
            read_at: now,
            wrote_at: now,
            timer: Timer::default(),
        }
    }

    /// Serves until the connection ends, and says why it did.
    pub(crate) async fn run(mut self) -> (ConnCtx<S::State>, CloseReason) {
        let reason = poll_fn(|cx| {
            let polled = self.poll(cx);
            self.turn = None;
            polled
        })
        .await;
        (self.ctx, reason)
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<CloseReason> {
        loop {
            let now = Instant::now();
            if let Err(reason) = self.answer(cx, now) {
                return Poll::Ready(reason);
            }
            if let Some(closing) = self.closing.take_if(|closing| {
                self.output.is_empty() && !(closing.awaits_replies && self.queue.waiting() > 0)
            }) {
                return Poll::Ready(closing.reason);
            }
            let moment = self.shared.courtesy.now();
            if self.hand_over(now) {
                if self.lets_others_first(moment, cx) {
                    return Poll::Pending;
                }
                continue;
            }
            let moved = match self.poll_read(cx, now) {
                Poll::Pending => self.poll_clock(cx, now),
                read => read,
            };
            match moved {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(reason)) => return Poll::Ready(reason),
                Poll::Pending if self.stays_awake(now) => {
                    if !self.read_awake() {
                        step_back(cx);
                        return Poll::Pending;
                    }
                }
                Poll::Pending if self.queue.park(cx.waker()) => return Poll::Pending,
                Poll::Pending => {}
            }
        }
    }

    /// Whether what was just handed over woke other connections, whose answers leave before those to it. Only for one small
    /// request: a pipeline has more to do than to wait for a turn.
    fn lets_others_first(&self, before: Moment, cx: &Context<'_>) -> bool {
        self.lockstep.is_asked() && self.shared.courtesy.waits(before, cx.waker())
    }

    /// Whether the client's next request may come so soon that sleeping until then costs more.
    fn stays_awake(&mut self, now: Instant) -> bool {
        let is_between_requests = self.output.is_empty()
            && !self.frames.is_partial()
            && self.closing.is_none()
            && self.muted_until.is_none()
            && self.queue.waiting() == 0;
        is_between_requests && self.lockstep.stays_awake(now)
    }

    /// Looks for the next request a few times; true if some of it is there. Asking the socket is quicker than a turn of
    /// the runtime, and finds what another worker, asleep at the sockets' events, would have to be woken for.
    fn read_awake(&mut self) -> bool {
        let mut buf = [0; SMALL_BYTES];
        for _ in 0..AWAKE_READS_MAX {
            match self.stream.read_now(&mut buf) {
                Ok(n @ 1..) => {
                    self.frames.push(&buf[..n]);
                    self.received(n, Instant::now());
                    return true;
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => std::hint::spin_loop(),
                // For the next read to tell, which does not come too late.
                Ok(0) | Err(_) => return false,
            }
        }
        false
    }

    fn received(&mut self, n: usize, now: Instant) {
        self.read_at = now;
        self.lockstep.received(now);
        self.shared.counters.bytes_in.fetch_add(n as u64, Relaxed);
    }

    /// Takes what others left in the queue and writes what the peer takes.
    fn answer(&mut self, cx: &mut Context<'_>, now: Instant) -> Result<(), CloseReason> {
        let (signal, turn) = self.queue.take(&mut self.finished);
        self.turn = self.turn.take().or(turn);
        match signal {
            Some(Signal::Close(reason)) => return Err(reason),
            Some(Signal::Drain(deadline)) => self.drain(deadline),
            None => {}
        }
        let mut finished = std::mem::take(&mut self.finished);
        self.shared.counters.replies.fetch_add(finished.len() as u64, Relaxed);
        for reply in finished.drain(..) {
            self.take_reply(reply, now)?;
        }
        self.finished = finished;
        self.write(cx, now)
    }

    fn take_reply(&mut self, reply: Reply, now: Instant) -> Result<(), CloseReason> {
        if self.closing.as_ref().is_some_and(|closing| !closing.awaits_replies) {
            self.queue.mark_sent(reply.frame_bytes());
            return Ok(());
        }
        if let Some(time) = reply.throttle {
            self.shared.counters.throttles.fetch_add(1, Relaxed);
            self.muted_until = self.muted_until.max(now.checked_add(time));
            self.queue.clear_throttled();
        }
        match reply.kind {
            ReplyKind::Send { head, parts, len } => {
                if self.output.is_empty() {
                    self.wrote_at = now;
                }
                if !self.output.push_frame(head, parts, len) {
                    return Err(CloseReason::ReplyTooLarge);
                }
            }
            ReplyKind::None => {}
            ReplyKind::Close(reason) => self.refuse(reason, now, false),
        }
        Ok(())
    }

    fn write(&mut self, cx: &mut Context<'_>, now: Instant) -> Result<(), CloseReason> {
        let mut wrote = 0;
        let polled = self.output.poll_write(cx, &mut self.stream, &mut wrote);
        if wrote > 0 {
            self.wrote_at = now;
            self.lockstep.wrote(wrote);
            self.queue.mark_sent(wrote);
            self.shared.counters.bytes_out.fetch_add(wrote, Relaxed);
        }
        match polled {
            Poll::Ready(result) => result,
            Poll::Pending => Ok(()),
        }
    }

    /// Takes no more requests, and closes when the service has answered those it has.
    fn drain(&mut self, deadline: Instant) {
        if self.closing.is_none() {
            // The service never saw these: nobody else answers their slots.
            for request in self.pending.drain(..) {
                self.queue.reply(request.slot, Reply::none());
            }
            self.closing = Some(Closing { reason: CloseReason::Shutdown, deadline, awaits_replies: true });
        }
    }

    /// Takes no more requests, and closes shortly, with what is finished by then sent.
    fn refuse(&mut self, reason: CloseReason, now: Instant, awaits_replies: bool) {
        if !awaits_replies {
            self.pending.clear();
        }
        self.closing = Some(Closing { reason, deadline: now + LINGER, awaits_replies });
    }

    /// Parses whole frames as far as the limits allow and calls the service; true if anything came of it.
    fn hand_over(&mut self, now: Instant) -> bool {
        if self.muted_until.is_some() {
            return false;
        }
        let was_open = self.closing.is_none();
        self.parse(now);
        if self.pending.is_empty() {
            return was_open && self.closing.is_some();
        }
        self.lockstep.asked(self.pending.len(), self.pending[0].body.len());
        let mut batch = Requests::new(&mut self.pending, &self.queue, self.limits.reply_bytes_unsent_max);
        self.shared.service.handle(&mut self.ctx, &mut batch, &self.queue);
        let taken = batch.taken();
        self.shared.counters.requests.fetch_add(taken as u64, Relaxed);
        self.shared.counters.batches.fetch_add(u64::from(taken > 0), Relaxed);
        taken > 0 || (was_open && self.closing.is_some())
    }

    fn parse(&mut self, now: Instant) {
        if self.closing.is_some() || !self.frames.is_partial() {
            return;
        }
        let room = self.requests_in_flight_max().saturating_sub(self.queue.waiting());
        for _ in 0..room {
            let frame = match self.frames.next_frame() {
                Ok(None) => return,
                Ok(Some(bytes)) => self.headers.parse(bytes),
                Err(reason) => Err(reason),
            };
            match frame {
                Ok(Frame::Request(header, body)) => {
                    let received_at = self.shared.instant(now);
                    self.pending.push_back(Request {
                        slot: self.queue.open_slot(),
                        header,
                        body,
                        received_at,
                    });
                }
                Ok(Frame::UnsupportedApiVersions { correlation_id }) => {
                    let answer = self.headers.apis().unsupported_version_answer(correlation_id);
                    self.queue.reply(self.queue.open_slot(), Reply::new(answer));
                }
                // The requests before it are served; nothing behind it can be trusted.
                Err(reason) => return self.refuse(reason, now, true),
            }
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<Result<(), CloseReason>> {
        if !self.may_read() {
            // The peer is not to blame for what it cannot send.
            self.read_at = now;
            return Poll::Pending;
        }
        self.frames.poll_read(cx, &mut self.stream).map(|read| match read {
            Ok(0) => {
                self.refuse(CloseReason::PeerClosed, now, false);
                Ok(())
            }
            Ok(n) => {
                self.received(n, now);
                Ok(())
            }
            Err(e) => Err(CloseReason::Io(e.kind())),
        })
    }

    fn may_read(&self) -> bool {
        self.closing.is_none()
            && self.muted_until.is_none()
            && self.pending.is_empty()
            && self.queue.waiting() < self.requests_in_flight_max()
            && self.queue.bytes_unsent() < self.limits.reply_bytes_unsent_max
    }

    fn requests_in_flight_max(&self) -> usize {
        self.limits.requests_in_flight_max.max(1)
    }

    /// Acts on a deadline that has passed, or waits for the next.
    fn poll_clock(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<Result<(), CloseReason>> {
        let Some((deadline, alarm)) = self.next_alarm() else { return Poll::Pending };
        if deadline <= now {
            return Poll::Ready(self.ring(alarm));
        }
        self.timer.poll_until(cx, deadline).map(Ok)
    }

    /// The first deadline; `None` while all depends on the service.
    fn next_alarm(&self) -> Option<(Instant, Alarm)> {
        let active_at = self.read_at.max(self.wrote_at);
        let after = |since: Instant, time: Duration, alarm| Some((since.checked_add(time)?, alarm));
        let waits_for_peer = if !self.output.is_empty() {
            after(self.wrote_at, self.limits.write_stall_max, Alarm::WriteStalled)
        } else if !self.may_read() {
            None
        } else if self.frames.is_partial() {
            after(self.read_at, self.limits.idle_max, Alarm::FrameStalled)
        } else if self.queue.waiting() == 0 {
            after(active_at, self.limits.idle_max, Alarm::Idle)
        } else {
            None
        };
        let holds_buffers =
            self.frames.is_spacious() || (self.output.is_empty() && self.output.capacity() > 0);
        let release = if holds_buffers { after(active_at, RELEASE_AFTER, Alarm::Release) } else { None };
        let close = self.closing.as_ref().map(|closing| (closing.deadline, Alarm::Close));
        let unmute = self.muted_until.map(|until| (until, Alarm::Unmute));
        [waits_for_peer, release, close, unmute].into_iter().flatten().min_by_key(|(deadline, _)| *deadline)
    }

    fn ring(&mut self, alarm: Alarm) -> Result<(), CloseReason> {
        match alarm {
            Alarm::Close => return Err(self.closing.take().expect("its deadline rang").reason),
            Alarm::WriteStalled => return Err(CloseReason::WriteStalled),
            Alarm::FrameStalled => return Err(CloseReason::FrameStalled),
            Alarm::Idle => return Err(CloseReason::Idle),
            Alarm::Unmute => self.muted_until = None,
            Alarm::Release => {
                self.frames.release();
                self.output.release();
            }
        }
        Ok(())
    }
}

/// To be polled again when every task that is ready, and the events of sockets, had their turn. Waking oneself would call
/// a second worker each time; this does so only if it is asleep and nobody looks for work. (A pipe as a bell, which
/// calls nobody, was tried: 1.4x less CPU for a client in lockstep, but twice its p99, and nothing end to end.)
fn step_back(cx: &mut Context<'_>) {
    let first = pin!(tokio::task::yield_now()).poll(cx);
    assert!(first.is_pending(), "the first poll is the yield");
}

/// One timer that is moved rarely: a deadline that recedes is armed again only when the earlier one has rung, and a
/// timer that is armed is not polled again (a simulated one would be entered into the heap each time).
#[derive(Default)]
pub(crate) struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
    waker: Option<Waker>,
}

impl Timer {
    /// `Ready` at `deadline` or before it.
    pub(crate) fn poll_until(&mut self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if sleep.deadline() > deadline || sleep.is_elapsed() {
            sleep.as_mut().reset(deadline);
            self.waker = None;
        }
        if self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            return Poll::Pending;
        }
        self.waker = Some(cx.waker().clone());
        sleep.as_mut().poll(cx)
    }
}
