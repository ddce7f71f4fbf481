//! What may happen to a quorum: deliveries, losses, duplicates, deadlines, crashes and lost flushes.

use crate::cluster::{Cluster, key};
use highwater_core::ids::BrokerId;
use proptest::prelude::*;
use std::time::Duration;

/// What can happen. Numbers choose among what is there.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    Deliver(u8),
    DeliverMany(u8),
    Duplicate(u8),
    Drop(u8),
    TimeOut(u8),
    FinishFlush(u8),
    FinishVote(u8),
    Crash(u8, bool),
    Restart(u8),
    Propose(u8),
    Snapshot(u8),
    LinkDown(u8, u8),
    LinkUp(u8, u8),
    Cut(u8, u8),
    Heal,
    AddVoter(u8, u8),
    RemoveVoter(u8, u8),
}

pub(crate) fn act(with_voters: bool) -> impl Strategy<Value = Act> {
    let n = any::<u8>;
    prop_oneof![
        30 => n().prop_map(Act::Deliver),
        20 => n().prop_map(Act::DeliverMany),
        3 => n().prop_map(Act::Duplicate),
        4 => n().prop_map(Act::Drop),
        10 => n().prop_map(Act::TimeOut),
        14 => n().prop_map(Act::FinishFlush),
        10 => n().prop_map(Act::FinishVote),
        2 => (n(), any::<bool>()).prop_map(|(id, power)| Act::Crash(id, power)),
        4 => n().prop_map(Act::Restart),
        8 => n().prop_map(Act::Propose),
        2 => n().prop_map(Act::Snapshot),
        1 => (n(), n()).prop_map(|(a, b)| Act::LinkDown(a, b)),
        1 => (n(), n()).prop_map(|(a, b)| Act::LinkUp(a, b)),
        1 => (n(), n()).prop_map(|(a, b)| Act::Cut(a, b)),
        1 => Just(Act::Heal),
        2 => (n(), n()).prop_map(move |(a, b)| if with_voters { Act::AddVoter(a, b) } else { Act::Propose(a) }),
        2 => (n(), n()).prop_map(move |(a, b)| if with_voters { Act::RemoveVoter(a, b) } else { Act::Propose(a) }),
    ]
}

fn id(cluster: &Cluster, n: u8) -> BrokerId {
    let count = i32::try_from(cluster.nodes.len()).expect("few nodes");
    BrokerId(i32::from(n) % count + 1)
}

pub(crate) fn carry_out(cluster: &mut Cluster, act: Act, value: u64) {
    let at = |cluster: &Cluster, n: u8| match cluster.network.len() {
        0 => None,
        len => Some(usize::from(n) % len),
    };
    match act {
        Act::Deliver(n) => {
            if let Some(at) = at(cluster, n) {
                cluster.deliver(at);
            }
        }
        Act::DeliverMany(n) => {
            for _ in 0..n % 8 {
                if !cluster.network.is_empty() {
                    cluster.deliver(0);
                }
            }
        }
        Act::Duplicate(n) => {
            if let Some(at) = at(cluster, n) {
                cluster.duplicate(at);
            }
        }
        Act::Drop(n) => {
            if let Some(at) = at(cluster, n) {
                cluster.network.remove(at);
            }
        }
        Act::TimeOut(n) => cluster.time_out(id(cluster, n)),
        Act::FinishFlush(n) => cluster.finish_flush(id(cluster, n)),
        Act::FinishVote(n) => cluster.finish_vote(id(cluster, n)),
        Act::Crash(n, power) => cluster.crash(id(cluster, n), power),
        Act::Restart(n) => cluster.restart(id(cluster, n)),
        Act::Propose(n) => {
            let at = cluster.leader().filter(|_| n % 4 != 0).map_or(id(cluster, n), BrokerId);
            cluster.propose(at, value);
        }
        Act::Snapshot(n) => cluster.take_snapshot(id(cluster, n)),
        Act::LinkDown(a, b) => {
            let peer = id(cluster, b);
            cluster.input(id(cluster, a), highwater_core::quorum::Input::LinkDown(peer));
        }
        Act::LinkUp(a, b) => {
            let peer = id(cluster, b);
            cluster.input(id(cluster, a), highwater_core::quorum::Input::LinkUp(peer));
        }
        Act::Cut(a, b) => {
            let link = (id(cluster, a), id(cluster, b));
            cluster.cut.insert(link);
        }
        Act::Heal => cluster.cut.clear(),
        Act::AddVoter(a, b) => {
            let at = cluster.leader().map_or(id(cluster, a), BrokerId);
            let new = id(cluster, b);
            cluster.add_voter_within(at, key(new.0), Duration::from_secs(1));
        }
        Act::RemoveVoter(a, b) => {
            let at = cluster.leader().map_or(id(cluster, a), BrokerId);
            let gone = id(cluster, b);
            cluster.remove_voter(at, key(gone.0));
        }
    }
}
