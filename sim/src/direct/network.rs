//! The simulated network: when a message arrives, if it does, and whether it does so twice.
//!
//! Links are one-way. Between nodes, messages overtake each other and come twice; a client's connection keeps its
//! order, as TCP does.

use super::queue::{MICRO, MILLI, Time};
use crate::rng::Rng;

/// A place that sends and receives: nodes from 0 on, clients behind them.
pub(crate) type Place = u16;

/// How the network of a run behaves while nothing in particular is wrong with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkFaults {
    /// Of a thousand messages between nodes, so many are lost.
    pub drop_permille: u32,
    /// So many arrive twice, the second perhaps much later.
    pub duplicate_permille: u32,
    /// So many take ten to a thousand times as long.
    pub tail_permille: u32,
    /// Of a thousand answers to clients, so many are lost.
    pub lost_answer_permille: u32,
}

/// Nothing is under way for longer: what follows on a client's connection would wait as long.
const DELAY_MAX: Time = 3_000 * MILLI;

/// What becomes of a message.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fate {
    /// When it arrives.
    pub(crate) at: Option<Time>,
    /// When it arrives again.
    pub(crate) again: Option<Time>,
}

#[derive(Debug)]
pub(crate) struct Network {
    rng: Rng,
    places: usize,
    nodes: usize,
    faults: NetworkFaults,
    is_healed: bool,
    latency: Time,
    /// One flag for each ordered pair of nodes.
    cut: Vec<bool>,
    /// One factor for each node: slow links take so many times as long.
    slow: Vec<u32>,
    /// When the last message of a client's connection arrives.
    last: Vec<Time>,
    pub(crate) sent: u64,
    pub(crate) lost: u64,
}

impl Network {
    pub(crate) fn new(mut rng: Rng, nodes: usize, places: usize, faults: NetworkFaults) -> Self {
        let latency = *rng.pick(&[100 * MICRO, 300 * MICRO, MILLI]);
        Self {
            rng,
            places,
            nodes,
            faults,
            is_healed: false,
            latency,
            cut: vec![false; places * places],
            slow: vec![1; nodes],
            last: vec![0; places * places],
            sent: 0,
            lost: 0,
        }
    }

    const fn link(&self, from: Place, to: Place) -> usize {
        from as usize * self.places + to as usize
    }

    /// Cuts or mends one direction of a link.
    pub(crate) fn set_cut(&mut self, from: Place, to: Place, is_cut: bool) {
        let link = self.link(from, to);
        self.cut[link] = is_cut;
    }

    pub(crate) fn is_cut(&self, from: Place, to: Place) -> bool {
        self.cut[self.link(from, to)]
    }

    /// Makes everything from and to a node take so many times as long.
    pub(crate) fn set_slow(&mut self, node: usize, factor: u32) {
        self.slow[node] = factor;
    }

    /// Ends every fault for good.
    pub(crate) fn heal(&mut self) {
        self.is_healed = true;
        self.cut.fill(false);
        self.slow.fill(1);
    }

    /// Decides about a message.
    pub(crate) fn fate(&mut self, now: Time, from: Place, to: Place) -> Fate {
        self.sent += 1;
        let link = self.link(from, to);
        let is_client = from as usize >= self.nodes || to as usize >= self.nodes;
        let draw = self.rng.next_u64();
        let (delay, rest) = self.delay(draw, from, to);
        if self.cut[link] {
            self.lost += 1;
            return Fate::default();
        }
        if is_client {
            let is_lost = !self.is_healed
                && to as usize >= self.nodes
                && (rest % 1000) < u64::from(self.faults.lost_answer_permille);
            if is_lost {
                self.lost += 1;
                return Fate::default();
            }
            let at = (now + delay).max(self.last[link] + 1);
            self.last[link] = at;
            return Fate { at: Some(at), again: None };
        }
        if self.is_healed {
            return Fate { at: Some(now + delay), again: None };
        }
        let (drop, duplicate) = (rest % 1000, (rest >> 12) % 1000);
        if drop < u64::from(self.faults.drop_permille) {
            self.lost += 1;
            return Fate::default();
        }
        let again = (duplicate < u64::from(self.faults.duplicate_permille)).then(|| {
            let scale = *self.rng.pick(&[MILLI, 30 * MILLI, 3000 * MILLI]);
            now + delay + self.rng.below(scale)
        });
        Fate { at: Some(now + delay), again }
    }

    /// A base, an exponential part, and for a few a heavy tail. Unused bits come back.
    fn delay(&mut self, draw: u64, from: Place, to: Place) -> (Time, u64) {
        // the trailing zeros of a random word are geometric: the integer cousin of an exponential
        let geometric = u64::from((draw as u16).trailing_zeros());
        let fraction = (draw >> 16) & 0xff;
        let mut delay = self.latency / 2 + self.latency * geometric / 4 + self.latency * fraction / 1024;
        let tail = (draw >> 24) % 1000;
        if !self.is_healed && tail < u64::from(self.faults.tail_permille) {
            delay *= *self.rng.pick(&[10, 100, 1000]);
        }
        for place in [from, to] {
            delay *= u64::from(self.slow.get(place as usize).copied().unwrap_or(1));
        }
        (delay.min(DELAY_MAX), draw >> 36)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_is_one_way_and_healing_ends_all_faults() {
        let faults = NetworkFaults { drop_permille: 1000, ..NetworkFaults::default() };
        let mut network = Network::new(Rng::new(1), 2, 3, faults);
        assert!(network.fate(0, 0, 1).at.is_none(), "everything between nodes is dropped");
        assert!(network.fate(0, 2, 0).at.is_some(), "a client's connection only delays");
        network.set_cut(2, 0, true);
        assert!(network.fate(0, 2, 0).at.is_none());
        assert!(network.fate(0, 0, 2).at.is_some());
        network.heal();
        assert!(network.fate(0, 2, 0).at.is_some() && network.fate(0, 0, 1).at.is_some());
    }

    #[test]
    fn a_clients_messages_keep_their_order() {
        let faults = NetworkFaults { tail_permille: 300, ..NetworkFaults::default() };
        let mut network = Network::new(Rng::new(7), 1, 2, faults);
        let arrivals: Vec<_> = (0..500).filter_map(|now| network.fate(now, 1, 0).at).collect();
        assert!(arrivals.is_sorted() && arrivals.len() == 500);
    }
}
