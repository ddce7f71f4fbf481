//! How nodes reach each other: what a frame is, who sends it, and the two traits between a node and its network.
//!
//! No socket and no future is in here. A node owns one [`PeerTransport`] and is its [`PeerHandler`]; the transport is
//! TCP, the same TCP code on a simulated network, or an in-memory network of the simulator.
//!
//! ```text
//!  machine ──effect──> shell ──try_send(to, class, frame)──> PeerTransport ~~~~~> the other node's PeerTransport
//!                        ▲                                                                 │
//!                        └───────────── received(from, class, frame), link(peer, event) ◀──┘
//! ```
//!
//! **The contract.** Messages are one-way. Of two frames of one class to one peer the first sent arrives first, if
//! both arrive; any of them may be lost, at any time, without notice: machines retry by their time-outs. Nothing
//! blocks, every queue is bounded. A frame that arrives is whole, as it was sent, and from the process that its
//! [`PeerIdentity`] names. What a frame *says* may still be old: epochs in the header are for that.

mod frame;
mod hello;
mod notice;

pub use frame::{
    FORMATS, FRAME_HEADER_BYTES_MAX, FRAME_LENGTH_BYTES, FRAME_PARTS_MAX, Format, FormatRange, Frame,
    FrameError, FrameKind,
};
pub use hello::{
    Accepted, Answered, CLUSTER_ID_BYTES_MAX, HELLO_BYTES_MAX, Hello, HelloAnswer, HelloError, LocalPeer,
    Refusal, hello_bytes,
};
pub use notice::Notice;

use crate::ids::BrokerId;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The listener name under which a registration has a broker's [`PeerAddress`]. Reserved: no client ever sees it.
pub const PEER_LISTENER: &str = "PEER";

/// Whom a hello is for that only asks who is there: no node has this id, so that the answer is a refusal that names the
/// one that it reached.
pub const WHOEVER: BrokerId = BrokerId(-1);

/// Which of the two connections to a peer a frame takes, so that heartbeats never wait behind records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Class {
    /// Quorum, heartbeats, registration: small and urgent, handled on the control runtime.
    Control,
    /// Replication and forwarded requests.
    Bulk,
}

impl Class {
    /// Both classes.
    pub const ALL: [Self; 2] = [Self::Control, Self::Bulk];

    /// The longest frame of the class, its length prefix not counted. A longer one is not sent, and a peer that
    /// promises one is refused. Bulk carries whole client requests and batches, whose own limit
    /// (`socket.request.max.bytes`) is 100 MiB.
    pub const fn frame_bytes_max(self) -> usize {
        match self {
            Self::Control => 16 << 20,
            Self::Bulk => 128 << 20,
        }
    }

    /// As logs and metrics write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Bulk => "bulk",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Who is at the other end: which node, which life of it, on which data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PeerIdentity {
    /// The node's id.
    pub id: BrokerId,
    /// Drawn anew by every process (KIP-380).
    pub incarnation: [u8; 16],
    /// Drawn once when the data directory was formatted (KIP-853): a node with a new disk is another replica.
    pub directory_id: [u8; 16],
}

/// Where a peer listens for other nodes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PeerAddress {
    /// A name or an address, without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// Why a frame was not taken. It will not be sent later either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// Nobody said where the peer is, and it has not connected to us.
    UnknownPeer,
    /// There is no connection just now; one is being tried for.
    NotConnected,
    /// So much waits for this peer already that one more frame would break the bound.
    QueueFull,
    /// The frame is beyond a limit of its class or of the format.
    TooLarge,
    /// The transport is stopping.
    Stopped,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownPeer => "no address of this node is known",
            Self::NotConnected => "there is no connection to this node",
            Self::QueueFull => "too much waits for this node already",
            Self::TooLarge => "the frame is too large",
            Self::Stopped => "the transport is stopping",
        })
    }
}

impl std::error::Error for SendError {}

/// What happened to the way to a peer. Hints: a link can be up and the peer dead, and the reverse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// A connection stands: frames can be sent. Said once per connection, so that more than one may come.
    Up,
    /// A connection that stood was ended by the other side or by the network.
    Reset,
    /// The peer's machine answers and says that nobody listens there. After [`LinkEvent::Reset`], a strong hint that
    /// the process died.
    Refused,
}

/// A node's way to all others. Shared; no call ever blocks.
pub trait PeerTransport: Send + Sync {
    /// Sends a frame, or says why it did not. A frame to the node itself comes back to its own handler, later and
    /// from another task, so that a machine need not know where its peer is.
    fn try_send(&self, to: BrokerId, class: Class, frame: Frame) -> Result<(), SendError>;

    /// Tells where a peer listens, or that it is gone. Connections are made and made again from then on, whether or
    /// not anything is sent; an address that is the same as before changes nothing.
    fn set_address(&self, peer: BrokerId, address: Option<PeerAddress>);

    /// Tells where some node listens of which nobody knows the id: it is asked for until it is known, and has the address
    /// from then on, if none was told for it meanwhile.
    fn find(&self, at: PeerAddress) {
        // A network of tests knows its nodes.
        let _ = at;
    }

    /// Tells which cluster the node belongs to, once a node that had none has learned it.
    fn set_cluster_id(&self, cluster_id: &str);

    /// Says goodbye to all and closes, soon; returns at once. Nothing is sent or received afterwards.
    fn stop(&self);
}

/// Who hears what comes from other nodes. Called from the transport's tasks, without any lock held: control frames on
/// the control runtime, bulk frames on the other. Must not block.
pub trait PeerHandler: Send + Sync {
    /// A frame arrived. Frames of one class from one connection come one after the other.
    fn received(&self, from: &PeerIdentity, class: Class, frame: Frame);

    /// Something happened to the way to a peer.
    fn link(&self, peer: BrokerId, link: LinkEvent);
}
