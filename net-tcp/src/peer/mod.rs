//! Connections between nodes: [`PeerTransport`] over TCP, or over whatever `Listen` and `Dial` make of it.
//!
//! ```text
//!             ┌ dialer(control) ─┐ hello        ┌───────────┐
//!  try_send ─>│ dialer(bulk)     │──────> link <┤ the other │
//!   by queue  └ listener ────────┘ answer       └───────────┘
//! ```
//!
//! Per peer there are two connections that this node made (one per [`Class`]) and two that the peer made. A node sends
//! on its own if it knows the peer's address, else on the peer's; it receives on all. A [`link`] is one connection
//! behind its hello, and one task: it reads, hands frames to the handler, and writes what waits in its queue with one
//! flush per batch, payload by reference.
//!
//! Memory is bounded on both sides: queues by bytes and frames, reading by the frame that is under way, whose buffer
//! grows with what has arrived. What a peer sends is checked and refused, never asserted; whoever refuses says why,
//! to its own log and to the other side, and closes.
//!
//! What is queued when a connection ends is lost, as the contract of [`highwater_core::transport`] has it.
//!
//! [`Class`]: highwater_core::transport::Class

mod call;
mod counters;
mod dialer;
mod finder;
mod handshake;
mod link;
mod listener;
mod options;
mod queue;
mod roster;

pub use counters::{PeerCounters, PeerCountersSnapshot};
pub use options::{PeerOptions, QueueLimits};

use crate::client::Dial;
use crate::listener::Listen;
use crate::output::BufferPool;
use crate::server::LogBudget;
use highwater_core::ids::BrokerId;
use highwater_core::random::SplitMix64;
use highwater_core::transport::{
    CLUSTER_ID_BYTES_MAX, Class, Frame, FrameKind, LinkEvent, LocalPeer, PeerAddress, PeerHandler,
    PeerIdentity, PeerTransport, SendError,
};
use link::LinkEnd;
use queue::SendQueue;
use roster::Roster;
use std::fmt;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// Large write buffers that are kept for reuse.
const POOLED_BUFFERS_MAX: usize = 8;

/// What a transport is made with, beside its network.
#[derive(Clone)]
pub struct PeerParts {
    /// Who this node is.
    pub local: LocalPeer,
    /// Who hears what arrives; a transport whose handler is gone closes its connections.
    pub handler: Weak<dyn PeerHandler>,
    /// Where control connections, hellos and the listener run.
    pub control: Handle,
    /// Where bulk connections run.
    pub bulk: Handle,
    /// For the jitter of pauses.
    pub seed: u64,
    /// Limits and time-outs.
    pub options: PeerOptions,
    /// What the transport counts into.
    pub counters: Arc<PeerCounters>,
}

impl fmt::Debug for PeerParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerParts").field("local", &self.local).finish_non_exhaustive()
    }
}

/// A node's connections to all others. Dropping it is [`PeerTransport::stop`].
pub struct TcpPeers<D: Dial> {
    shared: Arc<Shared<D>>,
}

/// What all tasks of a transport share.
struct Shared<D> {
    dial: D,
    id: BrokerId,
    local: Mutex<LocalPeer>,
    handler: Weak<dyn PeerHandler>,
    control: Handle,
    bulk: Handle,
    options: PeerOptions,
    counters: Arc<PeerCounters>,
    pool: Arc<BufferPool>,
    roster: Mutex<Roster>,
    /// What the node sends to itself, by class.
    own: [Arc<SendQueue>; 2],
    /// True once the transport stops; every task watches it.
    stopping: watch::Sender<bool>,
    /// SplitMix64 of the seed, for jitter.
    random: Mutex<SplitMix64>,
    refusal_log: Mutex<LogBudget>,
}

impl<D: Dial> fmt::Debug for TcpPeers<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpPeers").field("id", &self.shared.id).finish_non_exhaustive()
    }
}

impl<D: Dial> TcpPeers<D> {
    /// Starts to listen, if there is a listener, and to connect to whoever [`PeerTransport::set_address`] tells of.
    pub fn start<L: Listen>(parts: PeerParts, dial: D, listener: Option<L>) -> Arc<Self> {
        let PeerParts { local, handler, control, bulk, seed, options, counters } = parts;
        let shared = Arc::new(Shared {
            dial,
            id: local.identity.id,
            local: Mutex::new(local),
            handler,
            control,
            bulk,
            counters,
            pool: Arc::new(BufferPool::new(POOLED_BUFFERS_MAX)),
            roster: Mutex::default(),
            own: Class::ALL.map(|class| Arc::new(SendQueue::new(options.queue(class)))),
            options,
            stopping: watch::Sender::new(false),
            random: Mutex::new(SplitMix64::new(seed)),
            refusal_log: Mutex::default(),
        });
        for class in Class::ALL {
            let looping = shared.clone();
            shared.runtime(class).spawn(async move { looping.deliver_own(class).await });
        }
        if let Some(listener) = listener {
            let listening = shared.clone();
            shared.control.spawn(async move { listening.listen(listener).await });
        }
        Arc::new(Self { shared })
    }

    /// What it has counted.
    pub fn counters(&self) -> &Arc<PeerCounters> {
        &self.shared.counters
    }
}

impl<D: Dial> PeerTransport for TcpPeers<D> {
    fn try_send(&self, to: BrokerId, class: Class, frame: Frame) -> Result<(), SendError> {
        assert_ne!(frame.kind, FrameKind::Link, "the transport's own frames are not for others to send");
        let shared = &*self.shared;
        let sent = match frame.check(class) {
            Err(_) => Err(SendError::TooLarge),
            Ok(()) => shared.queue_to(to, class).and_then(|queue| queue.push(frame)),
        };
        if sent.is_err() {
            shared.counters.frames_not_sent.fetch_add(1, Relaxed);
        }
        sent
    }

    fn set_address(&self, peer: BrokerId, address: Option<PeerAddress>) {
        if peer == self.shared.id {
            return;
        }
        let dialing = lock(&self.shared.roster).set_address(peer, address);
        if let Some(dialing) = dialing {
            self.shared.dial_both(&dialing);
        }
    }

    fn find(&self, at: PeerAddress) {
        let finding = self.shared.clone();
        self.shared.control.spawn(async move { finding.find(at).await });
    }

    fn set_cluster_id(&self, cluster_id: &str) {
        assert!(cluster_id.len() <= CLUSTER_ID_BYTES_MAX, "a cluster id fits a hello");
        lock(&self.shared.local).cluster_id = Some(cluster_id.to_owned());
    }

    fn stop(&self) {
        if !self.shared.stopping.send_replace(true) {
            lock(&self.shared.roster).stop();
            for queue in &self.shared.own {
                queue.close(LinkEnd::Stopped);
            }
        }
    }
}

impl<D: Dial> Drop for TcpPeers<D> {
    fn drop(&mut self) {
        self.stop();
    }
}

impl<D: Dial> Shared<D> {
    const fn runtime(&self, class: Class) -> &Handle {
        match class {
            Class::Control => &self.control,
            Class::Bulk => &self.bulk,
        }
    }

    /// Keeps both connections to an address.
    fn dial_both(self: &Arc<Self>, dialing: &Dialing) {
        for class in Class::ALL {
            let (shared, dialing) = (self.clone(), dialing.clone());
            self.runtime(class).spawn(async move { shared.keep_dialing(dialing, class).await });
        }
    }

    /// The queue that leads to a peer.
    fn queue_to(&self, to: BrokerId, class: Class) -> Result<Arc<SendQueue>, SendError> {
        if self.is_stopping() {
            return Err(SendError::Stopped);
        }
        if to == self.id {
            return Ok(self.own[class as usize].clone());
        }
        lock(&self.roster).queue_to(to, class)
    }

    fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// Returns when the transport stops.
    async fn stopped(&self) {
        let mut stopping = self.stopping.subscribe();
        // Its sender lives in `self`.
        let _ = stopping.wait_for(|stopping| *stopping).await;
    }

    fn local(&self) -> LocalPeer {
        lock(&self.local).clone()
    }

    fn tell_link(&self, peer: BrokerId, event: LinkEvent) {
        if let Some(handler) = self.handler.upgrade()
            && !self.is_stopping()
        {
            handler.link(peer, event);
        }
    }

    /// Brings what the node sends to itself back to it.
    async fn deliver_own(&self, class: Class) {
        let queue = &self.own[class as usize];
        let me = self.local().identity;
        let mut frames = Vec::new();
        while queue.wait(&mut frames).await {
            for frame in frames.drain(..) {
                let Some(handler) = self.handler.upgrade() else { return };
                handler.received(&me, class, frame);
            }
            // A node that talks to itself without end lets others run.
            tokio::task::yield_now().await;
        }
    }

    /// A pause between half of `at_most` and all of it.
    fn jittered(&self, at_most: Duration) -> Duration {
        let half = at_most / 2;
        let spread = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX).saturating_add(1);
        half + Duration::from_nanos(lock(&self.random).next_u64() % spread)
    }

    /// Warns of something a peer did, unless it does it all the time.
    fn warn(&self, what: fmt::Arguments<'_>) {
        if let Some(suppressed) = lock(&self.refusal_log).spend(Instant::now()) {
            tracing::warn!(suppressed, "{what}");
        }
    }
}

/// An address that is being connected to. Ends when the roster drops its side.
#[derive(Clone)]
struct Dialing {
    peer: BrokerId,
    address: PeerAddress,
    /// Closed once the address is no longer the peer's.
    valid: watch::Receiver<()>,
    /// Cuts the pause between attempts short: the peer was heard of.
    poke: Arc<Notify>,
}

/// A word for logs.
struct Who<'a>(&'a PeerIdentity);

impl fmt::Display for Who<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {}", self.0.id)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing under these locks can panic half-way.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
