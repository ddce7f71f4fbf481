//! The transport of a node that is told to have no peers.

use super::OpenPeers;
use highwater_core::ids::BrokerId;
use highwater_core::transport::{Class, Frame, PeerAddress, PeerTransport, SendError};
use std::sync::Arc;

/// Opens no door at all.
pub fn alone() -> OpenPeers {
    Box::new(|_| Arc::new(Alone))
}

struct Alone;

impl PeerTransport for Alone {
    fn try_send(&self, _to: BrokerId, _class: Class, _frame: Frame) -> Result<(), SendError> {
        Err(SendError::UnknownPeer)
    }

    fn set_address(&self, _peer: BrokerId, _address: Option<PeerAddress>) {}

    fn set_cluster_id(&self, _cluster_id: &str) {}

    fn stop(&self) {}
}
