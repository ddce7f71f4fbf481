//! The node's door to other nodes: one transport out, frames in to whoever handles their kind.
//!
//! Not a protocol: what frames say is the business of the cells that send and handle them. A cell plugs in with
//! [`Peers::handle`] (one handler per [`FrameKind`]) and [`Peers::watch_links`], and sends with [`Peers::send`]; it does
//! all three with nothing but its [`crate::partition::Shell`] at hand.
//!
//! - A handler is called without any lock held, on the control runtime for control frames and on the main runtime for
//!   bulk frames, one frame after the other for one connection. It locks its cell, hands the message to its machine and
//!   returns; it never blocks.
//! - Sending blocks nobody and promises nothing: machines retry by their time-outs. A frame to the node itself comes
//!   back through the same handlers, from another task. Send after the cell is unlocked, as all effects for others.
//! - A cell that answers a message checks whom it is from: [`PeerIdentity`] names node, process and data directory.
//! - Frames of a kind that nobody handles (yet) are dropped and counted.

mod alone;
mod network;

pub use alone::alone;
pub use network::{over, over_with};

use highwater_core::ids::BrokerId;
use highwater_core::transport::{
    Class, Frame, FrameKind, LinkEvent, LocalPeer, PeerAddress, PeerHandler, PeerIdentity, PeerTransport,
    SendError,
};
use highwater_net_tcp::peer::PeerCounters;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use tokio::runtime::Handle;

/// Handles every frame of a kind.
pub trait FrameHandler: Send + Sync {
    /// A frame arrived from `from`.
    fn received(&self, from: &PeerIdentity, frame: Frame);
}

/// Hears what happens to the ways to peers.
pub trait LinkWatcher: Send + Sync {
    /// Something happened to the way to `peer`: a hint, see [`LinkEvent`].
    fn link(&self, peer: BrokerId, link: LinkEvent);
}

/// What a node's transport is made of.
#[derive(Clone)]
pub struct PeersSetup {
    /// Who this node is.
    pub local: LocalPeer,
    /// Where control connections live; in the simulator the same as `bulk`.
    pub control: Handle,
    /// Where bulk connections live.
    pub bulk: Handle,
    /// For the jitter of pauses.
    pub seed: u64,
    /// Who hears what arrives.
    pub handler: Weak<dyn PeerHandler>,
    /// What the transport counts into.
    pub counters: Arc<PeerCounters>,
}

impl fmt::Debug for PeersSetup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeersSetup").field("local", &self.local).finish_non_exhaustive()
    }
}

/// Makes a node's transport, on a network of the maker's choice. Listening starts here.
pub type OpenPeers = Box<dyn FnOnce(PeersSetup) -> Arc<dyn PeerTransport> + Send>;

/// Who hears what. Stands before the transport does, so that nothing is missed that arrives with the first connection.
#[derive(Default)]
struct Dispatch {
    handlers: RwLock<Handlers>,
    unhandled: AtomicU64,
}

#[derive(Default)]
struct Handlers {
    /// By the kind's code.
    frames: Vec<Option<Weak<dyn FrameHandler>>>,
    links: Vec<Weak<dyn LinkWatcher>>,
}

/// A node's way to all others.
pub struct Peers {
    transport: Arc<dyn PeerTransport>,
    counters: Arc<PeerCounters>,
    dispatch: Arc<Dispatch>,
    /// Where the configuration says that peers are.
    placed: Mutex<BTreeMap<BrokerId, PeerAddress>>,
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Peers")
    }
}

impl Peers {
    /// Opens the door. Nothing is handled yet.
    pub fn open(open: OpenPeers, local: LocalPeer, control: Handle, bulk: Handle, seed: u64) -> Arc<Self> {
        let dispatch = Arc::new(Dispatch::default());
        let handler: Weak<dyn PeerHandler> = Arc::downgrade(&dispatch) as Weak<dyn PeerHandler>;
        let counters = Arc::new(PeerCounters::default());
        let setup = PeersSetup { local, control, bulk, seed, handler, counters: counters.clone() };
        Arc::new(Self { transport: open(setup), counters, dispatch, placed: Mutex::default() })
    }

    /// From now on frames of this kind go to `handler`, as long as it lives.
    pub fn handle(&self, kind: FrameKind, handler: Weak<dyn FrameHandler>) {
        assert_ne!(kind, FrameKind::Link, "the transport's own frames are not for handlers");
        let mut handlers = self.dispatch.handlers.write().unwrap_or_else(PoisonError::into_inner);
        let at = usize::from(kind.code());
        if handlers.frames.len() <= at {
            handlers.frames.resize(at + 1, None);
        }
        handlers.frames[at] = Some(handler);
    }

    /// From now on `watcher` hears what happens to links, as long as it lives.
    pub fn watch_links(&self, watcher: Weak<dyn LinkWatcher>) {
        self.dispatch.handlers.write().unwrap_or_else(PoisonError::into_inner).links.push(watcher);
    }

    /// Sends a frame, or says why it did not.
    pub fn send(&self, to: BrokerId, class: Class, frame: Frame) -> Result<(), SendError> {
        self.transport.try_send(to, class, frame)
    }

    /// Tells where the configuration says that a peer listens.
    pub fn place(&self, peer: BrokerId, address: PeerAddress) {
        self.placed.lock().unwrap_or_else(PoisonError::into_inner).insert(peer, address.clone());
        self.transport.set_address(peer, Some(address));
    }

    /// Tells where the configuration says that some node listens, without its id.
    pub fn find(&self, at: PeerAddress) {
        self.transport.find(at);
    }

    /// Tells where a peer listened when the metadata on this node's disk were written: long ago perhaps, so that the
    /// configuration knows better.
    pub fn recall(&self, peer: BrokerId, address: Option<PeerAddress>) {
        let is_placed = self.placed.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&peer);
        if !is_placed {
            self.transport.set_address(peer, address);
        }
    }

    /// Tells where a peer listens now, or that it is gone; then it is where the configuration says, if it does.
    pub fn set_address(&self, peer: BrokerId, address: Option<PeerAddress>) {
        let placed = || self.placed.lock().unwrap_or_else(PoisonError::into_inner).get(&peer).cloned();
        self.transport.set_address(peer, address.or_else(placed));
    }

    /// The transport itself.
    pub fn transport(&self) -> &Arc<dyn PeerTransport> {
        &self.transport
    }

    /// What the transport has counted.
    pub fn counters(&self) -> &PeerCounters {
        &self.counters
    }

    /// Frames of kinds that nobody handled.
    pub fn unhandled(&self) -> u64 {
        self.dispatch.unhandled.load(Relaxed)
    }
}

impl PeerHandler for Dispatch {
    fn received(&self, from: &PeerIdentity, _class: Class, frame: Frame) {
        let handler = {
            let handlers = self.handlers.read().unwrap_or_else(PoisonError::into_inner);
            handlers.frames.get(usize::from(frame.kind.code())).cloned().flatten()
        };
        match handler.and_then(|handler| handler.upgrade()) {
            Some(handler) => handler.received(from, frame),
            None => {
                self.unhandled.fetch_add(1, Relaxed);
            }
        }
    }

    fn link(&self, peer: BrokerId, link: LinkEvent) {
        let watchers = {
            let handlers = self.handlers.read().unwrap_or_else(PoisonError::into_inner);
            handlers.links.clone()
        };
        for watcher in watchers.iter().filter_map(Weak::upgrade) {
            watcher.link(peer, link);
        }
    }
}

#[cfg(all(test, not(madsim)))]
mod tests;
