//! A server: accepts on any number of listeners, runs one task per connection, shuts all of them down.

use crate::accepting::{ACCEPT_BACKOFF, AcceptFailure, AcceptTrouble};
use crate::admission::{Admission, Permit};
use crate::close::CloseReason;
use crate::connection::{Connection, Shared};
use crate::counters::Counters;
use crate::limits::Limits;
use crate::listener::Listen;
use crate::lockstep::Places;
use crate::output::BufferPool;
use crate::reply::{ReplyQueue, Signal};
use crate::service::{ConnCtx, ConnId, ConnInfo, Service};
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

/// Large write buffers that are kept for reuse.
const POOLED_BUFFERS_MAX: usize = 16;
/// Noteworthy ends of connections that are logged in full per second; the rest is counted.
const CLOSES_LOGGED_PER_SECOND_MAX: u32 = 20;

/// Serves one [`Service`] on any number of listeners. Cheap to clone; clones are the same server.
pub struct Server<S: Service> {
    inner: Arc<Inner<S>>,
}

struct Inner<S: Service> {
    shared: Arc<Shared<S>>,
    limits: Mutex<Arc<Limits>>,
    admission: Arc<Admission>,
    conn_id_next: AtomicU64,
    /// Every live connection's queue, to reach it from outside.
    live: Mutex<BTreeMap<ConnId, ReplyQueue>>,
    stopping: watch::Sender<bool>,
    close_log: Mutex<LogBudget>,
}

impl<S: Service> Clone for Server<S> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl<S: Service> fmt::Debug for Server<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("counters", &self.counters().snapshot()).finish_non_exhaustive()
    }
}

impl<S: Service> Server<S> {
    /// A server for `service`. `started` is the zero of the clock that requests are stamped with.
    pub fn new(service: Arc<S>, limits: Limits, started: Instant) -> Self {
        let shared = Shared {
            service,
            counters: Counters::default(),
            pool: Arc::new(BufferPool::new(POOLED_BUFFERS_MAX)),
            courtesy: Arc::default(),
            lockstep_places: Arc::new(Places::new(limits.lockstep_connections_max)),
            started,
        };
        Self {
            inner: Arc::new(Inner {
                shared: Arc::new(shared),
                limits: Mutex::new(Arc::new(limits)),
                admission: Arc::default(),
                conn_id_next: AtomicU64::new(1),
                live: Mutex::default(),
                stopping: watch::Sender::new(false),
                close_log: Mutex::default(),
            }),
        }
    }

    /// What the server has seen.
    pub fn counters(&self) -> &Counters {
        &self.inner.shared.counters
    }

    /// Changes the limits for connections to come (and, for [`Limits::connections_max`], at once).
    pub fn update_limits(&self, limits: Limits) {
        *lock(&self.inner.limits) = Arc::new(limits);
        self.inner.admission.reconsider();
    }

    /// Accepts connections from `listener`, known to clients as `name`, until [`Server::shutdown`].
    pub async fn serve<L: Listen>(&self, name: &str, mut listener: L) {
        let name: Arc<str> = name.into();
        let mut stopping = self.inner.stopping.subscribe();
        let mut trouble = AcceptTrouble::default();
        loop {
            let accepted = tokio::select! {
                biased;
                _ = stopping.wait_for(|stopping| *stopping) => return,
                accepted = self.accept(&mut listener, &name, &mut trouble) => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let pace = self.pace(&name);
                    if !pace.is_zero() {
                        tokio::select! {
                            biased;
                            _ = stopping.wait_for(|stopping| *stopping) => return,
                            () = sleep(pace) => {}
                        }
                    }
                    self.admit(stream, peer, &name);
                }
                Err(error) => {
                    self.counters().accept_errors.fetch_add(1, Relaxed);
                    if let Some(before) = trouble.arises(Instant::now()) {
                        tracing::warn!(listener = %name, before, "{}", AcceptFailure(&error));
                    }
                    tokio::select! {
                        biased;
                        _ = stopping.wait_for(|stopping| *stopping) => return,
                        () = sleep(ACCEPT_BACKOFF) => {}
                    }
                }
            }
        }
    }

    /// Stops accepting, lets every connection finish the requests it has for at most `grace`, and closes all.
    /// Returns when the last connection's task is done.
    pub async fn shutdown(&self, grace: Duration) {
        let deadline = Instant::now() + grace;
        self.inner.stopping.send_replace(true);
        for queue in lock(&self.inner.live).values() {
            queue.signal(Signal::Drain(deadline));
        }
        // Connections close by themselves at the deadline; the rest is for tasks that are busy just then.
        if timeout(grace + Duration::from_secs(1), self.inner.admission.empty()).await.is_err() {
            tracing::warn!("some connections did not end in time");
        }
    }

    async fn accept<L: Listen>(
        &self,
        listener: &mut L,
        name: &str,
        trouble: &mut AcceptTrouble,
    ) -> std::io::Result<(L::Stream, SocketAddr)> {
        let limits = || lock(&self.inner.limits).clone();
        if !self.inner.admission.has_room(name, &limits())
            && let Some(before) = trouble.arises(Instant::now())
        {
            let open = self.counters().snapshot().connections_open();
            tracing::warn!(
                listener = %name, open, before,
                "there are as many connections as may be: whoever connects waits until others leave; raise max.connections, \
                 or the limit of open files (ulimit -n), of which clients have a part"
            );
        }
        self.inner.admission.room(name, limits).await;
        listener.accept().await
    }

    /// How long a connection that was just accepted waits before it is let in, and all behind it.
    fn pace(&self, listener: &Arc<str>) -> Duration {
        let now = self.inner.shared.instant(Instant::now());
        self.inner.admission.pace(now, listener, &lock(&self.inner.limits).clone())
    }

    fn admit<T: crate::Stream>(&self, stream: T, peer: SocketAddr, listener: &Arc<str>) {
        let limits = lock(&self.inner.limits).clone();
        let Some(permit) = self.inner.admission.admit(peer.ip(), listener, &limits) else {
            self.counters().connections_refused.fetch_add(1, Relaxed);
            if let Some(suppressed) = lock(&self.inner.close_log).spend(Instant::now()) {
                tracing::warn!(%peer, suppressed, "connection dropped: max.connections.per.ip is reached");
            }
            return;
        };
        if let Err(held) = self.inner.shared.service.admits(peer.ip()) {
            self.counters().connections_throttled.fetch_add(1, Relaxed);
            tracing::debug!(%peer, ?held, "connection comes too soon after others of its address and is closed");
            let mut stopping = self.inner.stopping.subscribe();
            tokio::spawn(async move {
                // Closed late, so that a client that connects again at once is slowed down (KIP-612).
                tokio::select! {
                    biased;
                    _ = stopping.wait_for(|stopping| *stopping) => {}
                    () = sleep(held) => {}
                }
                drop((stream, permit));
            });
            return;
        }
        let id = ConnId(self.inner.conn_id_next.fetch_add(1, Relaxed));
        let info = ConnInfo { id, peer, listener: listener.clone() };
        let server = self.clone();
        tokio::spawn(async move { server.run(stream, info, permit, limits).await });
    }

    async fn run<T: crate::Stream>(&self, stream: T, info: ConnInfo, permit: Permit, limits: Arc<Limits>) {
        let queue = ReplyQueue::new(self.inner.shared.courtesy.clone());
        let presence = Presence::enter(self, info.id, queue.clone(), permit);
        tracing::debug!(conn = %info.id, peer = %info.peer, listener = %info.listener, "connected");
        let state = self.inner.shared.service.connected(&info, &queue);
        let ctx = ConnCtx { info, state };
        let connection = Connection::new(stream, self.inner.shared.clone(), limits, ctx, queue);
        let (ctx, reason) = connection.run().await;
        presence.leave(ctx, &reason);
    }

    fn log_close(&self, info: &ConnInfo, reason: &CloseReason) {
        let ConnInfo { id, peer, listener } = info;
        if !reason.is_noteworthy() {
            tracing::debug!(conn = %id, %peer, %listener, %reason, "connection closed");
        } else if let Some(suppressed) = lock(&self.inner.close_log).spend(Instant::now()) {
            tracing::warn!(conn = %id, %peer, %listener, suppressed, "connection closed: {reason}");
        }
    }
}

/// A connection's entry in its server's books, struck out however its task ends.
struct Presence<S: Service> {
    server: Server<S>,
    id: ConnId,
    queue: ReplyQueue,
    _permit: Permit,
    left: bool,
}

impl<S: Service> Presence<S> {
    fn enter(server: &Server<S>, id: ConnId, queue: ReplyQueue, permit: Permit) -> Self {
        server.counters().connections_accepted.fetch_add(1, Relaxed);
        lock(&server.inner.live).insert(id, queue.clone());
        if *server.inner.stopping.borrow() {
            // Accepted while the server began to stop: shutdown may have looked before it was listed.
            queue.signal(Signal::Close(CloseReason::Shutdown));
        }
        Self { server: server.clone(), id, queue, _permit: permit, left: false }
    }

    fn leave(mut self, ctx: ConnCtx<S::State>, reason: &CloseReason) {
        self.left = true;
        // First, so that the service finds nobody answering while it forgets the connection.
        self.queue.shut();
        self.server.log_close(&ctx.info, reason);
        self.server.counters().count_closed(reason);
        self.server.inner.shared.service.disconnected(ctx, reason);
    }
}

impl<S: Service> Drop for Presence<S> {
    fn drop(&mut self) {
        lock(&self.server.inner.live).remove(&self.id);
        if !self.left {
            self.queue.shut();
            let panicked = std::thread::panicking();
            let reason = if panicked { CloseReason::Panic } else { CloseReason::Shutdown };
            self.server.counters().count_closed(&reason);
        }
    }
}

/// So many log lines per second, so that a flood of bad peers does not become a flood of lines.
#[derive(Debug, Default)]
pub(crate) struct LogBudget {
    second: Option<Instant>,
    spent: u32,
    suppressed: u64,
}

impl LogBudget {
    /// Whether a line may be written; with how many were not since the last one.
    pub(crate) fn spend(&mut self, now: Instant) -> Option<u64> {
        if self.second.is_none_or(|second| now.saturating_duration_since(second) >= Duration::from_secs(1)) {
            self.second = Some(now);
            self.spent = 0;
        }
        if self.spent < CLOSES_LOGGED_PER_SECOND_MAX {
            self.spent += 1;
            Some(std::mem::take(&mut self.suppressed))
        } else {
            self.suppressed += 1;
            None
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing under these locks can panic half-way.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
