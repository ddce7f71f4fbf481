//! What every simulated client has: a place, randomness of its own, and what it knows of the cluster.

use super::env::{Env, node_of};
use super::message::{Event, Message, Order, Request};
use super::network::Place;
use super::queue::{MILLI, Time};
use crate::rng::Rng;
use highwater_core::ids::{LeaderEpoch, TopicPartition};
use highwater_core::metadata::MetadataImage;
use std::sync::Arc;

/// How long an answer is waited for before the client tries again, as `request.timeout.ms`.
pub(crate) const REQUEST_TIMEOUT: Time = 2_000 * MILLI;

/// How soon metadata may be asked for again.
const REFRESH_PAUSE: Time = 50 * MILLI;

/// A client's side of its connections.
#[derive(Debug)]
pub(crate) struct Contact {
    pub(crate) place: Place,
    pub(crate) rng: Rng,
    nodes: usize,
    image: Option<Arc<MetadataImage>>,
    refreshed_at: Option<Time>,
    /// The place of the next request to each node.
    orders: Vec<Order>,
    /// Since when each node has been asked things and has said nothing.
    silent_since: Vec<Option<Time>>,
}

impl Contact {
    pub(crate) fn new(place: Place, nodes: usize, rng: Rng) -> Self {
        Self {
            place,
            rng,
            nodes,
            image: None,
            refreshed_at: None,
            orders: vec![Order::default(); nodes],
            silent_since: vec![None; nodes],
        }
    }

    /// A node has said something.
    pub(crate) fn heard(&mut self, node: Place) {
        self.silent_since[node as usize] = None;
    }

    /// Gives a connection up, with every request on it, for a new one.
    pub(crate) fn reconnect(&mut self, node: Place) {
        let order = &mut self.orders[node as usize];
        *order = Order { connection: order.connection + 1, number: 0 };
        self.silent_since[node as usize] = None;
    }

    /// The newest metadata that any node told.
    pub(crate) fn image(&self) -> Option<&Arc<MetadataImage>> {
        self.image.as_ref()
    }

    /// Takes metadata, unless they are older than what is known.
    pub(crate) fn learn(&mut self, image: Arc<MetadataImage>) {
        if self.image.as_ref().is_none_or(|known| known.offset() < image.offset()) {
            self.image = Some(image);
        }
    }

    /// Asks some node for metadata, not too often.
    pub(crate) fn refresh(&mut self, env: &mut Env) {
        if self.refreshed_at.is_some_and(|at| env.now < at + REFRESH_PAUSE) {
            return;
        }
        self.refreshed_at = Some(env.now);
        let to = self.any_node();
        self.ask(env, to, Request::Metadata);
    }

    pub(crate) fn any_node(&mut self) -> Place {
        self.rng.below(self.nodes as u64) as Place
    }

    /// Who leads a partition, and in which epoch, as far as this client knows.
    pub(crate) fn leader(&self, partition: TopicPartition) -> Option<(Place, LeaderEpoch)> {
        let state = self.image.as_ref()?.partition(partition)?;
        Some((node_of(state.leader?) as Place, state.leader_epoch))
    }

    /// Sends a request; its number comes back.
    pub(crate) fn ask(&mut self, env: &mut Env, to: Place, body: Request) -> u64 {
        let id = env.fresh();
        let next = &mut self.orders[to as usize];
        let order = *next;
        next.number += 1;
        self.silent_since[to as usize].get_or_insert(env.now);
        env.send(self.place, to, Message::Request { id, order, body });
        id
    }

    /// Looks at the clock again after a while. Connections to nodes that have been silent for too long are given up.
    pub(crate) fn alarm(&mut self, env: &mut Env, after: Time) {
        for node in 0..self.nodes {
            if self.silent_since[node].is_some_and(|since| env.now >= since + REQUEST_TIMEOUT) {
                self.reconnect(node as Place);
            }
        }
        let client = self.place;
        env.queue.push(env.now + after, Event::Client { client, alarm: 0 });
    }
}
