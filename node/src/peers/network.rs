//! The transport of a node on a network: real sockets, or simulated ones.

use super::{OpenPeers, PeersSetup};
use highwater_net_tcp::Listen;
use highwater_net_tcp::client::Dial;
use highwater_net_tcp::peer::{PeerOptions, PeerParts, TcpPeers};

/// Listens on `listener` and connects by `dial`.
pub fn over<D: Dial, L: Listen>(dial: D, listener: L) -> OpenPeers {
    over_with(dial, listener, PeerOptions::default())
}

/// As [`over`], with limits and time-outs of the caller's choice.
pub fn over_with<D: Dial, L: Listen>(dial: D, listener: L, options: PeerOptions) -> OpenPeers {
    Box::new(move |setup: PeersSetup| {
        let PeersSetup { local, control, bulk, seed, handler, counters } = setup;
        let parts = PeerParts { local, handler, control, bulk, seed, options, counters };
        TcpPeers::start(parts, dial, Some(listener))
    })
}
