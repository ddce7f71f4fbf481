//! Nodes with an open ear, a network in memory, and a caller that speaks byte by byte.
#![allow(unreachable_pub, missing_debug_implementations, reason = "a part of the test, not an interface")]

use bytes::Bytes;
use highwater_core::ids::BrokerId;
use highwater_core::transport::{
    Class, FRAME_LENGTH_BYTES, Format, Frame, FrameKind, Hello, HelloAnswer, LinkEvent, LocalPeer, Notice,
    PeerAddress, PeerHandler, PeerIdentity, PeerTransport, SendError,
};
use highwater_net_tcp::client::{Dial, TcpDial};
use highwater_net_tcp::peer::{PeerCounters, PeerCountersSnapshot, PeerOptions, PeerParts, TcpPeers};
use highwater_net_tcp::{Listen, SocketOptions, TcpListen};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Longer than anything takes here: a test that waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a node heard.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    Frame(PeerIdentity, Class, Frame),
    Link(BrokerId, LinkEvent),
}

struct Ear(mpsc::UnboundedSender<Heard>);

impl PeerHandler for Ear {
    fn received(&self, from: &PeerIdentity, class: Class, frame: Frame) {
        let _ = self.0.send(Heard::Frame(*from, class, frame));
    }

    fn link(&self, peer: BrokerId, link: LinkEvent) {
        let _ = self.0.send(Heard::Link(peer, link));
    }
}

/// A node: its transport, and what it heard.
pub struct Node {
    pub id: BrokerId,
    pub identity: PeerIdentity,
    pub address: PeerAddress,
    pub peers: Arc<dyn PeerTransport>,
    counters: Arc<PeerCounters>,
    heard: mpsc::UnboundedReceiver<Heard>,
    /// Kept alive for the transport, which holds it weakly.
    _ear: Arc<Ear>,
}

/// How a node differs from the usual one.
#[derive(Clone)]
pub struct NodePlan {
    pub id: i32,
    pub cluster_id: Option<&'static str>,
    pub incarnation: u8,
    pub directory: u8,
    pub options: PeerOptions,
}

pub fn plan(id: i32) -> NodePlan {
    let options = PeerOptions {
        backoff_max: Duration::from_millis(50),
        refused_backoff: Duration::from_millis(100),
        ..PeerOptions::default()
    };
    NodePlan { id, cluster_id: Some("cluster"), incarnation: 1, directory: id as u8, options }
}

impl NodePlan {
    fn identity(&self) -> PeerIdentity {
        PeerIdentity {
            id: BrokerId(self.id),
            incarnation: [self.incarnation; 16],
            directory_id: [self.directory; 16],
        }
    }

    /// Starts on a free port of the loopback.
    pub async fn start(self) -> Node {
        self.start_at("127.0.0.1:0".parse().expect("an address")).await
    }

    pub async fn start_at(self, address: SocketAddr) -> Node {
        let listener = TcpListen::bind(address, SocketOptions::default()).await.expect("the port is free");
        let bound = listener.local_addr().expect("it is bound");
        self.start_on(TcpDial::default(), listener, bound)
    }

    /// Starts on a network of the caller's choice.
    pub fn start_on<D: Dial, L: Listen>(self, dial: D, listener: L, bound: SocketAddr) -> Node {
        let (sender, heard) = mpsc::unbounded_channel();
        let ear = Arc::new(Ear(sender));
        let counters = Arc::new(PeerCounters::default());
        let identity = self.identity();
        let address = PeerAddress { host: bound.ip().to_string(), port: bound.port() };
        let cluster_id = self.cluster_id.map(str::to_owned);
        let parts = PeerParts {
            local: LocalPeer { identity, cluster_id, address: Some(address.clone()) },
            handler: Arc::downgrade(&ear) as Weak<dyn PeerHandler>,
            control: Handle::current(),
            bulk: Handle::current(),
            seed: self.id as u64,
            options: self.options,
            counters: counters.clone(),
        };
        let peers = TcpPeers::start(parts, dial, Some(listener));
        Node { id: identity.id, identity, address, peers, counters, heard, _ear: ear }
    }
}

impl Node {
    pub fn knows(&self, other: &Node) {
        self.peers.set_address(other.id, Some(other.address.clone()));
    }

    pub fn socket(&self) -> SocketAddr {
        SocketAddr::new(self.address.host.parse().expect("an address"), self.address.port)
    }

    pub fn send(&self, to: &Node, class: Class, frame: Frame) -> Result<(), SendError> {
        self.peers.try_send(to.id, class, frame)
    }

    /// The next thing heard.
    pub async fn hears(&mut self) -> Heard {
        timeout(PATIENCE, self.heard.recv())
            .await
            .expect("something is heard in time")
            .expect("it has an ear")
    }

    /// The next frame; links come and go meanwhile.
    pub async fn hears_frame(&mut self) -> (PeerIdentity, Class, Frame) {
        loop {
            if let Heard::Frame(from, class, frame) = self.hears().await {
                return (from, class, frame);
            }
        }
    }

    /// Waits until this was said of the way to `peer`.
    pub async fn hears_link(&mut self, peer: BrokerId, event: LinkEvent) {
        while self.hears().await != Heard::Link(peer, event) {}
    }

    /// Forgets what was heard so far.
    pub fn forget(&mut self) {
        while self.heard.try_recv().is_ok() {}
    }

    pub fn counts(&self) -> PeerCountersSnapshot {
        self.counters.snapshot()
    }

    /// Waits until the counters look so.
    pub async fn counts_until(&self, what: &str, holds: impl Fn(&PeerCountersSnapshot) -> bool) {
        let looking = async {
            while !holds(&self.counts()) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        if timeout(PATIENCE, looking).await.is_err() {
            panic!("{what}: {:?}", self.counts());
        }
    }
}

/// Two nodes that know each other and are connected both ways.
pub async fn pair() -> (Node, Node) {
    let (mut one, mut two) = (plan(1).start().await, plan(2).start().await);
    one.knows(&two);
    two.knows(&one);
    for node in [&mut one, &mut two] {
        node.counts_until("two connections each way", |counts| counts.links_open() == 4).await;
        node.forget();
    }
    (one, two)
}

pub fn frame(text: &str) -> Frame {
    Frame::new(FrameKind::Quorum, 0, text.as_bytes().to_vec())
}

pub fn payload(parts: Vec<Bytes>) -> Frame {
    Frame::with_payload(FrameKind::ReplicaFetchReply, 3, &b"head"[..], parts)
}

/// A network in memory, by port. Streams carry 64 KiB at a time.
#[derive(Clone, Default)]
pub struct MemoryNet {
    silent: Arc<Mutex<BTreeSet<u16>>>,
    listeners: Arc<Mutex<BTreeMap<u16, mpsc::UnboundedSender<DuplexStream>>>>,
}

pub struct MemoryListen {
    port: u16,
    incoming: mpsc::UnboundedReceiver<DuplexStream>,
}

impl MemoryNet {
    /// From now on nothing answers at this port, not even a refusal.
    pub fn silence(&self, port: u16) -> PeerAddress {
        self.silent.lock().unwrap().insert(port);
        PeerAddress { host: address(port).ip().to_string(), port }
    }

    pub fn listen(&self, port: u16) -> (MemoryListen, SocketAddr) {
        let (sender, incoming) = mpsc::unbounded_channel();
        self.listeners.lock().unwrap().insert(port, sender);
        (MemoryListen { port, incoming }, address(port))
    }
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::new([10, 0, 0, 1].into(), port)
}

impl Dial for MemoryNet {
    type Stream = DuplexStream;

    async fn dial(&self, _host: &str, port: u16) -> io::Result<DuplexStream> {
        if self.silent.lock().unwrap().contains(&port) {
            std::future::pending::<()>().await;
        }
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        let listener = self.listeners.lock().unwrap().get(&port).cloned();
        let listener = listener.ok_or(io::ErrorKind::ConnectionRefused)?;
        listener.send(theirs).map_err(|_| io::ErrorKind::ConnectionRefused)?;
        Ok(ours)
    }
}

impl Listen for MemoryListen {
    type Stream = DuplexStream;

    async fn accept(&mut self) -> io::Result<(DuplexStream, SocketAddr)> {
        match self.incoming.recv().await {
            Some(stream) => Ok((stream, address(1))),
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(address(self.port))
    }
}

/// A caller that says what the test wants, and nothing by itself.
pub struct Caller {
    pub stream: TcpStream,
}

impl Caller {
    pub async fn connect(node: &Node) -> Self {
        Self { stream: TcpStream::connect(node.socket()).await.expect("it listens") }
    }

    /// Connects and says the hello of `plan`'s node; what is answered.
    pub async fn hello(node: &Node, plan: &NodePlan, class: Class) -> (Self, HelloAnswer) {
        let cluster_id = plan.cluster_id.map(str::to_owned);
        let hello = LocalPeer { identity: plan.identity(), cluster_id, address: None }.hello(node.id, class);
        Self::say_hello(node, &hello).await
    }

    pub async fn say_hello(node: &Node, hello: &Hello) -> (Self, HelloAnswer) {
        let mut caller = Self::connect(node).await;
        caller.say(&hello.encode()).await;
        let answer = caller.answer().await;
        (caller, answer)
    }

    pub async fn say(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("it listens");
    }

    async fn answer(&mut self) -> HelloAnswer {
        let mut bytes = Vec::new();
        loop {
            if let Some((answer, ..)) = HelloAnswer::decode(&bytes).expect("an answer") {
                return answer;
            }
            let byte = timeout(PATIENCE, self.stream.read_u8()).await.expect("an answer in time");
            bytes.push(byte.expect("an answer before the end"));
        }
    }

    /// The next frame, the notices of a link included; `None` at the end of the connection.
    pub async fn frame(&mut self) -> Option<Frame> {
        let length = timeout(PATIENCE, self.stream.read_u32()).await.expect("a frame in time").ok()?;
        let mut bytes = vec![0; length as usize];
        self.stream.read_exact(&mut bytes).await.ok()?;
        Some(Format::V1.decode(bytes.into()).expect("a frame"))
    }

    /// The next notice that is no keep-alive; `None` at the end of the connection.
    pub async fn notice(&mut self) -> Option<Notice> {
        loop {
            let notice = Notice::decode(&self.frame().await?).expect("a notice").expect("of this release");
            if notice != Notice::KeepAlive {
                return Some(notice);
            }
        }
    }

    /// Reads on until the other side closes.
    pub async fn is_closed(&mut self) {
        let mut rest = Vec::new();
        // A reset is an end, too.
        let _ = timeout(PATIENCE, self.stream.read_to_end(&mut rest)).await.expect("the end in time");
    }
}

/// A frame's bytes without its length.
pub fn content(frame: &Frame) -> Bytes {
    Format::V1.encode(frame).slice(FRAME_LENGTH_BYTES..)
}
