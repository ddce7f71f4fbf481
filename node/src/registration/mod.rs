//! Brokers and the active controller: who lives, who may lead, and what leaders want changed.
//!
//! Two cells. [`Membership`] is the broker's side: it drives `core::registration`, which speaks to whichever node is the
//! active controller. [`Desk`] is the controller's side: it answers those who speak, plans with the
//! [controller](crate::controller), and fences whoever has fallen silent. Both run on the control runtime; a node speaks
//! to itself through the same frames as to others. What the sides say is `core::metadata::peer`.
//!
//! The only node of a cluster has nobody to speak to: it registers itself in the flush with which it starts, and both
//! cells are still until another broker registers.

mod desk;
mod membership;
mod report;

pub use desk::Desk;
pub(crate) use desk::session_limits;
pub(crate) use membership::remember;
pub use membership::{Beginning, Membership};

use highwater_core::ids::BrokerId;
use highwater_core::metadata::{BrokerRegistration, MetadataImage};
use highwater_core::transport::{PEER_LISTENER, PeerAddress};

/// Where a broker's peers reach it.
fn peer_address(registration: &BrokerRegistration) -> Option<PeerAddress> {
    let endpoint = registration.endpoint(PEER_LISTENER)?;
    Some(PeerAddress { host: endpoint.host.clone(), port: endpoint.port })
}

/// Whether this node is the only broker that the cluster knows.
fn is_alone(image: &MetadataImage, node: BrokerId) -> bool {
    image.brokers().all(|(id, _)| id == node)
}
