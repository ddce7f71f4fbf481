//! Who leads, and when.

use crate::cluster::{Cluster, key, voters, voters_by_id};
use highwater_core::ids::{BrokerId, LeaderEpoch};
use highwater_core::machine::Machine;
use highwater_core::quorum::{Event, Input, Message, Role};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn led(voter_count: i32) -> (Cluster, i32) {
    let mut cluster = Cluster::new(voter_count, 0, 7);
    cluster.run(SECOND * 5);
    let leader = cluster.leader().expect("somebody leads");
    (cluster, leader)
}

#[test]
fn a_sole_voter_leads_at_once_without_a_vote_on_its_disk() {
    let mut cluster = Cluster::new(1, 0, 1);
    let before = cluster.now;
    cluster.time_out(BrokerId(1));
    assert_eq!((cluster.leader(), cluster.now), (Some(1), before));
    cluster.settle();
    assert!(cluster.machine(1).is_active());
    assert_eq!(cluster.node(1).disk.vote, None);
}

#[test]
fn voters_elect_one_of_them_soon() {
    let (cluster, leader) = led(3);
    assert!(cluster.machine(leader).is_active());
    for id in 1..=3 {
        assert_eq!(cluster.machine(id).leader(), Some(key(leader)), "all know it");
        assert_eq!(cluster.machine(id).epoch(), LeaderEpoch(1), "the first election was enough");
    }
}

#[test]
fn a_leader_that_dies_is_replaced_and_the_hint_makes_it_quick() {
    for has_hint in [true, false] {
        let (mut cluster, dead) = led(3);
        cluster.crash(BrokerId(dead), true);
        let died = cluster.now;
        if has_hint {
            for id in (1..=3).filter(|id| *id != dead) {
                cluster.input(BrokerId(id), Input::LinkDown(BrokerId(dead)));
            }
        }
        while cluster.leader().is_none() {
            cluster.run(Duration::from_millis(10));
            assert!(cluster.now.since(died) < SECOND * 10, "somebody must lead");
        }
        let took = cluster.now.since(died);
        let limit = Duration::from_millis(if has_hint { 300 } else { 3000 });
        assert!(took < limit, "{took:?} with a hint: {has_hint}");
        let next = cluster.leader().expect("somebody leads");
        let silent = cluster.machine(next).silent_predecessor();
        assert_eq!(silent, (!has_hint).then_some(BrokerId(dead)), "a dead process is no silent one");
    }
}

#[test]
fn a_leader_that_stops_hands_over() {
    let (mut cluster, leader) = led(3);
    cluster.input(BrokerId(leader), Input::Resign);
    assert!(matches!(cluster.machine(leader).role(), Role::Resigned { .. }));
    cluster.settle();
    cluster.crash(BrokerId(leader), false);
    cluster.run(Duration::from_millis(400));
    let next = cluster.leader().expect("a successor leads soon");
    assert_ne!(next, leader);
    assert_eq!(cluster.machine(next).silent_predecessor(), None, "it said that it would go");
}

#[test]
fn a_restarted_leader_does_not_lead_on_in_its_epoch() {
    let (mut cluster, leader) = led(3);
    let epoch = cluster.machine(leader).epoch();
    cluster.crash(BrokerId(leader), true);
    cluster.restart(BrokerId(leader));
    assert!(matches!(cluster.machine(leader).role(), Role::Resigned { .. }));
    cluster.run(SECOND * 5);
    let next = cluster.leader().expect("somebody leads");
    assert!(cluster.machine(next).epoch() > epoch);
}

#[test]
fn a_voter_that_was_cut_off_alone_disturbs_nobody() {
    let (mut cluster, leader) = led(3);
    let epoch = cluster.machine(leader).epoch();
    let alone = (1..=3).find(|id| *id != leader).expect("three voters");
    for other in (1..=3).filter(|id| *id != alone) {
        cluster.cut.insert((BrokerId(alone), BrokerId(other)));
        cluster.cut.insert((BrokerId(other), BrokerId(alone)));
    }
    cluster.run(SECOND * 20);
    assert!(matches!(cluster.machine(alone).role(), Role::Prospective(_) | Role::Unattached(_)));
    cluster.cut.clear();
    cluster.run(SECOND * 5);
    assert_eq!((cluster.leader(), cluster.machine(leader).epoch()), (Some(leader), epoch), "KIP-996");
    assert_eq!(cluster.machine(alone).leader(), Some(key(leader)));
}

#[test]
fn a_leader_without_a_majority_stands_down() {
    let (mut cluster, leader) = led(3);
    for other in (1..=3).filter(|id| *id != leader) {
        cluster.cut.insert((BrokerId(other), BrokerId(leader)));
    }
    cluster.run(SECOND * 4);
    assert!(!cluster.machine(leader).is_active(), "it cannot know what the others do");
    let why = cluster.node(leader).events.iter().any(|event| matches!(event, Event::Resigned { .. }));
    assert!(why, "and an operator is told");
}

#[test]
fn a_leader_that_is_not_followed_vouches_for_nobody_long_before_it_stands_down() {
    let (mut cluster, leader) = led(3);
    for _ in 0..50 {
        cluster.run(Duration::from_millis(100));
        assert!(cluster.machine(leader).is_followed(cluster.now), "followers ask again all the time");
    }
    for other in (1..=3).filter(|id| *id != leader) {
        assert!(!cluster.machine(other).is_followed(cluster.now), "who does not lead is not followed");
        cluster.cut.insert((BrokerId(other), BrokerId(leader)));
    }
    cluster.run(SECOND);
    assert!(cluster.machine(leader).is_active() && !cluster.machine(leader).is_followed(cluster.now));
    let (alone, _) = led(1);
    assert!(alone.machine(1).is_followed(alone.now + SECOND * 100), "nobody else can be elected");
}

#[test]
fn nothing_is_said_of_a_vote_before_it_is_stored() {
    let mut cluster = Cluster::new(3, 0, 3);
    while cluster.nodes.values().all(|node| node.voting.is_none()) {
        let ids: Vec<BrokerId> = cluster.nodes.keys().copied().collect();
        let due = |id: &BrokerId| cluster.nodes[id].machine.as_ref().and_then(Machine::next_timeout);
        let next = ids.iter().min_by_key(|id| due(id)).copied().expect("three nodes");
        cluster.time_out(next);
        while !cluster.network.is_empty() {
            cluster.deliver(0);
        }
    }
    let candidate = cluster.nodes.values().find(|node| node.voting.is_some()).expect("one votes").key;
    let asks = |cluster: &Cluster| {
        let is_real = |m: &Message| matches!(m, Message::Vote(vote) if !vote.is_pre_vote);
        cluster.network.iter().any(|packet| packet.from == candidate && is_real(&packet.message))
    };
    assert!(!asks(&cluster), "a candidate's own vote must be on its disk first");
    cluster.finish_vote(candidate.id);
    assert!(asks(&cluster));
}

#[test]
fn without_known_disks_everybody_must_agree_and_the_first_leader_writes_the_disks_down() {
    let mut cluster = Cluster::with(voters_by_id([1, 2, 3]), 3, 5);
    cluster.crash(BrokerId(3), true);
    cluster.run(SECOND * 20);
    assert_eq!(cluster.leader(), None, "node 3 might have the log of this cluster");
    cluster.restart(BrokerId(3));
    cluster.run(SECOND * 10);
    let leader = cluster.leader().expect("now all agree");
    assert_eq!(cluster.machine(leader).voters(), &voters([1, 2, 3]));
}

#[test]
fn a_wiped_majority_founds_no_second_history() {
    let mut cluster = Cluster::with(voters_by_id([1, 2, 3]), 3, 5);
    cluster.run(SECOND * 10);
    let leader = cluster.leader().expect("somebody leads");
    assert!(cluster.propose(BrokerId(leader), 1));
    cluster.settle();
    cluster.wipe(BrokerId(1), 91, voters_by_id([1, 2, 3]));
    cluster.wipe(BrokerId(2), 92, voters_by_id([1, 2, 3]));
    cluster.run(SECOND * 30);
    let lost = [1, 2].iter().any(|id| cluster.leader() == Some(*id));
    assert!(!lost, "who has nothing leads nobody");
}

#[test]
fn a_wiped_voter_comes_back_as_an_observer_whatever_its_arguments_say() {
    let mut cluster = Cluster::with(voters_by_id([1, 2, 3]), 3, 5);
    cluster.run(SECOND * 10);
    let leader = cluster.leader().expect("somebody leads");
    let wiped = (1..=3).find(|id| *id != leader).expect("three voters");
    cluster.propose(BrokerId(leader), 1);
    cluster.settle();
    cluster.wipe(BrokerId(wiped), 99, voters_by_id([1, 2, 3]));
    cluster.run(SECOND * 10);
    assert!(matches!(cluster.machine(wiped).role(), Role::Observer(_)), "CQ-09");
    assert_eq!(cluster.node(wiped).committed, cluster.machine(leader).log_end(), "it follows all the same");
}
