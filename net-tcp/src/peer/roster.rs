//! Who is known, where, and connected how. Decides where a frame goes and who may connect; does no IO.

use super::link::LinkEnd;
use super::queue::SendQueue;
use super::{Dialing, QueueLimits};
use highwater_core::ids::BrokerId;
use highwater_core::transport::{
    Accepted, Class, Hello, HelloAnswer, LocalPeer, PeerAddress, PeerIdentity, Refusal, SendError,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::{Notify, watch};

#[derive(Default)]
pub(super) struct Roster {
    peers: BTreeMap<BrokerId, Peer>,
    accepted: usize,
    is_stopped: bool,
}

#[derive(Default)]
struct Peer {
    dialing: Option<Dialed>,
    /// The life of it that was last reached from here.
    reached: Option<[u8; 16]>,
    /// Connections behind their hello, the newest last.
    links: Vec<Link>,
}

/// What this node does to connect to a peer.
struct Dialed {
    address: PeerAddress,
    /// Dropped when the address is no longer the peer's.
    _valid: watch::Sender<()>,
    poke: Arc<Notify>,
    /// The attempt or connection of each class; none in the pause between attempts.
    queues: [Option<Arc<SendQueue>>; 2],
}

struct Link {
    peer: PeerIdentity,
    class: Class,
    is_accepted: bool,
    queue: Arc<SendQueue>,
}

impl Roster {
    /// Where frames to a peer go: to the connection made from here, or, where its address is not known or belongs to an
    /// earlier life of it, to one that the peer has made. So a peer that comes back elsewhere is answered before it can
    /// tell where it is. Other connections of the peer must not step in: frames stuck on one would arrive behind later ones.
    pub(super) fn queue_to(&self, to: BrokerId, class: Class) -> Result<Arc<SendQueue>, SendError> {
        let peer = self.peers.get(&to).ok_or(SendError::UnknownPeer)?;
        let dialed = peer.dialing.as_ref().and_then(|dialed| dialed.queues[class as usize].as_ref());
        let may_answer = |link: &&Link| {
            let is_elsewhere = peer.dialing.is_none() || peer.reached != Some(link.peer.incarnation);
            is_elsewhere && link.is_accepted && link.class == class
        };
        let accepted = peer.links.iter().rev().find(may_answer);
        dialed.or(accepted.map(|link| &link.queue)).cloned().ok_or(SendError::NotConnected)
    }

    /// Notes where a peer is; what is to be dialed, if that is news.
    pub(super) fn set_address(&mut self, id: BrokerId, address: Option<PeerAddress>) -> Option<Dialing> {
        if self.is_stopped {
            return None;
        }
        let peer = self.peers.entry(id).or_default();
        if peer.dialing.as_ref().map(|dialed| &dialed.address) == address.as_ref() {
            self.forget_if_empty(id);
            return None;
        }
        if let Some(before) = peer.dialing.take() {
            before.close(&LinkEnd::AddressChanged);
        }
        let Some(address) = address else {
            self.forget_if_empty(id);
            return None;
        };
        let (sender, valid) = watch::channel(());
        let poke = Arc::new(Notify::new());
        let dialing = Dialing { peer: id, address: address.clone(), valid, poke: poke.clone() };
        peer.dialing = Some(Dialed { address, _valid: sender, poke, queues: [None, None] });
        Some(dialing)
    }

    /// Whether a peer's address is known.
    pub(super) fn is_dialed(&self, id: BrokerId) -> bool {
        self.peers.get(&id).is_some_and(|peer| peer.dialing.is_some())
    }

    /// The peers whose addresses are known, and these.
    pub(super) fn addresses(&self) -> Vec<(BrokerId, PeerAddress)> {
        let address = |peer: &Peer| peer.dialing.as_ref().map(|dialed| dialed.address.clone());
        self.peers.iter().filter_map(|(id, peer)| Some((*id, address(peer)?))).collect()
    }

    /// A peer says where it is; what is to be dialed, if it was looked for elsewhere. One that nobody looks for is left
    /// alone.
    pub(super) fn follow(&mut self, id: BrokerId, address: &PeerAddress) -> Option<Dialing> {
        let dialed = self.peers.get(&id)?.dialing.as_ref()?;
        if dialed.address == *address {
            return None;
        }
        self.set_address(id, Some(address.clone()))
    }

    /// Begins an attempt to connect: from now on frames wait for its outcome. None if the address is void.
    pub(super) fn begin_dial(
        &mut self,
        dialing: &Dialing,
        class: Class,
        limits: QueueLimits,
    ) -> Option<Arc<SendQueue>> {
        let dialed = self.dialed(dialing)?;
        let queue = Arc::new(SendQueue::new(limits));
        dialed.queues[class as usize] = Some(queue.clone());
        Some(queue)
    }

    /// Ends an attempt or the connection it led to.
    pub(super) fn end_dial(&mut self, dialing: &Dialing, class: Class) {
        if let Some(dialed) = self.dialed(dialing) {
            dialed.queues[class as usize] = None;
        }
    }

    /// What is known of this very address; a later one has its own signal.
    fn dialed(&mut self, dialing: &Dialing) -> Option<&mut Dialed> {
        let dialed = self.peers.get_mut(&dialing.peer)?.dialing.as_mut()?;
        Arc::ptr_eq(&dialed.poke, &dialing.poke).then_some(dialed)
    }

    /// Judges a hello and, if it is accepted, enters the connection.
    pub(super) fn accept(
        &mut self,
        local: &LocalPeer,
        hello: &Hello,
        queue: &Arc<SendQueue>,
        accepted_max: usize,
    ) -> Result<Accepted, Refusal> {
        if self.is_stopped {
            return Err(Refusal::Stopping);
        }
        if self.accepted >= accepted_max {
            return Err(Refusal::Busy);
        }
        let accepted = local.accept(hello, self.alive(hello.from.id).as_ref())?;
        self.enter(accepted.peer, hello.class, true, queue);
        Ok(accepted)
    }

    /// Judges the answer to a hello and, if it is good, enters the connection.
    pub(super) fn conclude(
        &mut self,
        local: &LocalPeer,
        to: BrokerId,
        class: Class,
        answer: &HelloAnswer,
        queue: &Arc<SendQueue>,
    ) -> Result<Accepted, (Refusal, bool)> {
        let accepted = local.conclude(to, answer, self.alive(to).as_ref())?;
        self.enter(accepted.peer, class, false, queue);
        self.peers.entry(to).or_default().reached = Some(accepted.peer.incarnation);
        Ok(accepted)
    }

    /// Who of this id is connected.
    fn alive(&self, id: BrokerId) -> Option<PeerIdentity> {
        Some(self.peers.get(&id)?.links.last()?.peer)
    }

    fn enter(&mut self, identity: PeerIdentity, class: Class, is_accepted: bool, queue: &Arc<SendQueue>) {
        let peer = self.peers.entry(identity.id).or_default();
        for old in &peer.links {
            // One process holds a data directory, so that another incarnation on it is its successor; and a peer that
            // connects again has given the connection before up.
            let is_older_life = old.peer.incarnation != identity.incarnation;
            if is_older_life || (old.class == class && old.is_accepted == is_accepted) {
                old.queue.close(LinkEnd::Superseded);
            }
        }
        if let Some(dialed) = &peer.dialing
            && is_accepted
        {
            dialed.poke.notify_waiters();
        }
        self.accepted += usize::from(is_accepted);
        peer.links.push(Link { peer: identity, class, is_accepted, queue: queue.clone() });
    }

    /// Strikes an ended connection out.
    pub(super) fn leave(&mut self, id: BrokerId, queue: &Arc<SendQueue>) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if let Some(at) = peer.links.iter().position(|link| Arc::ptr_eq(&link.queue, queue)) {
            self.accepted -= usize::from(peer.links.remove(at).is_accepted);
        }
        self.forget_if_empty(id);
    }

    /// Whether anyone of this id is connected.
    pub(super) fn is_connected(&self, id: BrokerId) -> bool {
        self.peers.get(&id).is_some_and(|peer| !peer.links.is_empty())
    }

    fn forget_if_empty(&mut self, id: BrokerId) {
        if self.peers.get(&id).is_some_and(|peer| peer.dialing.is_none() && peer.links.is_empty()) {
            self.peers.remove(&id);
        }
    }

    /// Ends everything.
    pub(super) fn stop(&mut self) {
        self.is_stopped = true;
        for peer in self.peers.values_mut() {
            if let Some(dialed) = peer.dialing.take() {
                dialed.close(&LinkEnd::Stopped);
            }
            for link in &peer.links {
                link.queue.close(LinkEnd::Stopped);
            }
        }
    }
}

impl Dialed {
    fn close(&self, end: &LinkEnd) {
        for queue in self.queues.iter().flatten() {
            queue.close(end.clone());
        }
    }
}
