//! A network between nodes in memory, for what madsim's TCP cannot do: frames that are lost, doubled or late one by one,
//! links that are cut one way and in silence, and no connection that would give the trouble away.
//!
//! Frames take the real format on their way. What happens to each is drawn from the run's seed; what may happen is the
//! caller's to say, link by link ([`PeerNet::set_wire`]). A node's transport is [`PeerNet::open`]; the harness tells of
//! deaths ([`PeerNet::crash`]), for nobody else can.

use crate::rng::Rng;
use highwater::peers::{OpenPeers, PeersSetup};
use highwater_core::ids::BrokerId;
use highwater_core::transport::{
    Class, FRAME_LENGTH_BYTES, Format, Frame, LinkEvent, PeerAddress, PeerHandler, PeerIdentity,
    PeerTransport, SendError,
};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// What may wait for one node.
const INBOX_FRAMES_MAX: usize = 20_000;

/// What a link does to frames in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wire {
    /// The least and the most that a frame takes, in microseconds.
    pub delay_us: (u64, u64),
    /// How many of a thousand frames are lost.
    pub lost_permille: u32,
    /// How many of a thousand frames arrive twice.
    pub doubled_permille: u32,
    /// Whether frames of one class may overtake each other.
    pub reorders: bool,
    /// Nothing gets through, and nobody is told.
    pub is_cut: bool,
}

impl Default for Wire {
    fn default() -> Self {
        Self { delay_us: (100, 1_000), lost_permille: 0, doubled_permille: 0, reorders: false, is_cut: false }
    }
}

/// The network of a run.
#[derive(Debug)]
pub struct PeerNet {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    rng: Rng,
    /// Who lives.
    nodes: BTreeMap<BrokerId, Arc<Endpoint>>,
    /// Links that differ from the usual one.
    wires: BTreeMap<(BrokerId, BrokerId), Wire>,
    usual: Wire,
}

/// One life of a node, as the network knows it.
struct Endpoint {
    identity: PeerIdentity,
    handler: Weak<dyn PeerHandler>,
    inbox: Mutex<Inbox>,
    changed: Notify,
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint").field("identity", &self.identity).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Inbox {
    due: BinaryHeap<Reverse<Due>>,
    sequence: u64,
    /// When the last frame of a sender and class arrives.
    last: BTreeMap<(BrokerId, Class), Instant>,
    /// Whose address the node was told.
    addresses: BTreeSet<BrokerId>,
    is_closed: bool,
}

struct Due {
    at: Instant,
    sequence: u64,
    what: Delivery,
}

enum Delivery {
    Frame(PeerIdentity, Class, Frame),
    Link(BrokerId, LinkEvent),
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}

impl PeerNet {
    /// A network whose links are all like this.
    pub fn new(rng: Rng, usual: Wire) -> Arc<Self> {
        let state = State { rng, nodes: BTreeMap::new(), wires: BTreeMap::new(), usual };
        Arc::new(Self { state: Mutex::new(state) })
    }

    /// What the link does from now on to what `from` sends to `to`.
    pub fn set_wire(&self, from: BrokerId, to: BrokerId, wire: Wire) {
        lock(&self.state).wires.insert((from, to), wire);
    }

    /// Loses what `from` sends to `to`, in silence.
    pub fn cut(&self, from: BrokerId, to: BrokerId) {
        let mut state = lock(&self.state);
        let wire = state.wire(from, to);
        state.wires.insert((from, to), Wire { is_cut: true, ..wire });
    }

    /// All links are as usual again.
    pub fn heal(&self) {
        lock(&self.state).wires.clear();
    }

    /// A node died: what is on its way to it is lost, and its machine answers that nobody listens, as far as its
    /// packets get through.
    pub fn crash(&self, id: BrokerId) {
        let mut state = lock(&self.state);
        let Some(dead) = state.nodes.remove(&id) else { return };
        dead.close();
        for other in state.nodes.values().cloned().collect::<Vec<_>>() {
            if other.knows(id) || dead.knows(other.identity.id) {
                state.tell(id, &other, LinkEvent::Reset);
            }
            if other.knows(id) {
                state.tell(id, &other, LinkEvent::Refused);
            }
        }
    }

    /// A node's transport on this network, for [`highwater::node::Platform`].
    pub fn open(self: &Arc<Self>) -> OpenPeers {
        let net = self.clone();
        Box::new(move |setup: PeersSetup| {
            let identity = setup.local.identity;
            net.crash(identity.id);
            let endpoint = Arc::new(Endpoint {
                identity,
                handler: setup.handler,
                inbox: Mutex::default(),
                changed: Notify::new(),
            });
            lock(&net.state).enter(&endpoint);
            let delivering = endpoint.clone();
            setup.control.spawn(async move { delivering.deliver().await });
            Arc::new(NetPeers { net, endpoint })
        })
    }
}

impl State {
    fn wire(&self, from: BrokerId, to: BrokerId) -> Wire {
        self.wires.get(&(from, to)).copied().unwrap_or(self.usual)
    }

    fn enter(&mut self, endpoint: &Arc<Endpoint>) {
        let id = endpoint.identity.id;
        self.nodes.insert(id, endpoint.clone());
        for other in self.nodes.values().cloned().collect::<Vec<_>>() {
            if other.knows(id) {
                self.tell(id, &other, LinkEvent::Up);
            }
        }
    }

    fn delay(&mut self, wire: Wire) -> Duration {
        let (least, most) = wire.delay_us;
        Duration::from_micros(self.rng.within(least, most.max(least)))
    }

    /// What happened to the link with `from` reaches `to`, if packets do.
    fn tell(&mut self, from: BrokerId, to: &Endpoint, event: LinkEvent) {
        let wire = self.wire(from, to.identity.id);
        if !wire.is_cut {
            let at = Instant::now() + self.delay(wire);
            to.put(at, Delivery::Link(from, event));
        }
    }

    /// Sends a frame on its way, or loses it.
    fn carry(&mut self, from: &Endpoint, to: &Endpoint, class: Class, frame: &Frame) {
        let own = from.identity.id == to.identity.id;
        let wire = if own { Wire::default() } else { self.wire(from.identity.id, to.identity.id) };
        if wire.is_cut || self.rng.happens(wire.lost_permille) {
            return;
        }
        let copies = if self.rng.happens(wire.doubled_permille) { 2 } else { 1 };
        for _ in 0..copies {
            let at = Instant::now() + self.delay(wire);
            let bytes = Format::V1.encode(frame).slice(FRAME_LENGTH_BYTES..);
            let frame = Format::V1.decode(bytes).expect("it was just encoded");
            let at = if wire.reorders { at } else { to.after_last(from.identity.id, class, at) };
            to.put(at, Delivery::Frame(from.identity, class, frame));
        }
    }
}

impl Endpoint {
    fn knows(&self, peer: BrokerId) -> bool {
        lock(&self.inbox).addresses.contains(&peer)
    }

    /// The moment, or that of the frame before it of the same sender and class.
    fn after_last(&self, from: BrokerId, class: Class, at: Instant) -> Instant {
        let mut inbox = lock(&self.inbox);
        let last = inbox.last.entry((from, class)).or_insert(at);
        *last = (*last).max(at);
        *last
    }

    fn put(&self, at: Instant, what: Delivery) {
        let mut inbox = lock(&self.inbox);
        if inbox.is_closed || inbox.due.len() >= INBOX_FRAMES_MAX {
            return;
        }
        inbox.sequence += 1;
        let sequence = inbox.sequence;
        inbox.due.push(Reverse(Due { at, sequence, what }));
        drop(inbox);
        self.changed.notify_one();
    }

    fn close(&self) {
        let mut inbox = lock(&self.inbox);
        inbox.is_closed = true;
        inbox.due.clear();
        drop(inbox);
        self.changed.notify_one();
    }

    /// Hands over what is due, until the node dies or stops.
    async fn deliver(&self) {
        loop {
            let next = {
                let mut inbox = lock(&self.inbox);
                if inbox.is_closed {
                    return;
                }
                match inbox.due.peek() {
                    Some(Reverse(due)) if due.at <= Instant::now() => Ok(inbox.due.pop()),
                    Some(Reverse(due)) => Err(Some(due.at)),
                    None => Err(None),
                }
            };
            match next {
                Ok(due) => {
                    let (Some(Reverse(due)), Some(handler)) = (due, self.handler.upgrade()) else { return };
                    match due.what {
                        Delivery::Frame(from, class, frame) => handler.received(&from, class, frame),
                        Delivery::Link(peer, event) => handler.link(peer, event),
                    }
                }
                Err(Some(at)) => {
                    tokio::select! {
                        biased;
                        () = self.changed.notified() => {}
                        () = sleep_until(at) => {}
                    }
                }
                Err(None) => self.changed.notified().await,
            }
        }
    }
}

/// A node's side of the network.
struct NetPeers {
    net: Arc<PeerNet>,
    endpoint: Arc<Endpoint>,
}

impl PeerTransport for NetPeers {
    fn try_send(&self, to: BrokerId, class: Class, frame: Frame) -> Result<(), SendError> {
        frame.check(class).map_err(|_| SendError::TooLarge)?;
        if lock(&self.endpoint.inbox).is_closed {
            return Err(SendError::Stopped);
        }
        let mut state = lock(&self.net.state);
        let me = self.endpoint.identity.id;
        let Some(other) = state.nodes.get(&to).cloned() else {
            let is_known = self.endpoint.knows(to);
            return Err(if is_known { SendError::NotConnected } else { SendError::UnknownPeer });
        };
        if to != me && !self.endpoint.knows(to) && !other.knows(me) {
            return Err(SendError::UnknownPeer);
        }
        state.carry(&self.endpoint, &other, class, &frame);
        Ok(())
    }

    fn set_address(&self, peer: BrokerId, address: Option<PeerAddress>) {
        let me = self.endpoint.identity.id;
        if peer == me {
            return;
        }
        let is_news = {
            let mut inbox = lock(&self.endpoint.inbox);
            match address {
                Some(_) => inbox.addresses.insert(peer),
                None => {
                    inbox.addresses.remove(&peer);
                    false
                }
            }
        };
        if !is_news {
            return;
        }
        let mut state = lock(&self.net.state);
        let other = state.nodes.get(&peer).cloned();
        let event = if other.is_some() { LinkEvent::Up } else { LinkEvent::Refused };
        state.tell(peer, &self.endpoint, event);
        if let Some(other) = other {
            state.tell(me, &other, LinkEvent::Up);
        }
    }

    fn set_cluster_id(&self, _cluster_id: &str) {}

    fn stop(&self) {
        let mut state = lock(&self.net.state);
        let id = self.endpoint.identity.id;
        // A later life may have its place already.
        if state.nodes.get(&id).is_some_and(|known| Arc::ptr_eq(known, &self.endpoint)) {
            state.nodes.remove(&id);
            for other in state.nodes.values().cloned().collect::<Vec<_>>() {
                if other.knows(id) {
                    state.tell(id, &other, LinkEvent::Reset);
                    state.tell(id, &other, LinkEvent::Refused);
                }
            }
        }
        drop(state);
        self.endpoint.close();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
