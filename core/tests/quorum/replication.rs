//! What is committed, cut and caught up.

use crate::cluster::{Cluster, key};
use highwater_core::ids::{BrokerId, Offset};
use highwater_core::quorum::{Event, Input, Role, VoterSet};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn led(voter_count: i32, observers: i32) -> (Cluster, i32) {
    let mut cluster = Cluster::new(voter_count, observers, 11);
    cluster.run(SECOND * 5);
    let leader = cluster.leader().expect("somebody leads");
    (cluster, leader)
}

fn isolate(cluster: &mut Cluster, id: i32) {
    for other in cluster.nodes.keys().copied().collect::<Vec<_>>() {
        cluster.cut.insert((BrokerId(id), other));
        cluster.cut.insert((other, BrokerId(id)));
    }
}

#[test]
fn a_record_is_committed_once_a_majority_has_it_on_disk() {
    let (mut cluster, leader) = led(3, 1);
    let before = cluster.node(leader).committed;
    assert!(cluster.propose(BrokerId(leader), 1));
    cluster.finish_flush(BrokerId(leader));
    assert_eq!(cluster.node(leader).committed, before, "the leader alone is no majority");
    cluster.settle();
    let end = cluster.machine(leader).log_end();
    assert!(end > before);
    for node in cluster.nodes.values() {
        assert_eq!(node.committed, end, "all hear of it at once, observers too: {}", node.key);
    }
    assert!(matches!(cluster.machine(4).role(), Role::Observer(_)));
}

#[test]
fn a_leader_counts_itself_only_up_to_what_it_flushed() {
    let (mut cluster, leader) = led(2, 0);
    let before = cluster.node(leader).committed;
    let follower = 3 - leader;
    assert!(cluster.propose(BrokerId(leader), 1));
    for _ in 0..20 {
        while !cluster.network.is_empty() {
            cluster.deliver(0);
        }
        cluster.finish_flush(BrokerId(follower));
    }
    assert_eq!(cluster.node(follower).disk.flushed, cluster.machine(leader).log_end());
    assert_eq!(cluster.node(leader).committed, before, "CQ-02");
    cluster.finish_flush(BrokerId(leader));
    assert!(cluster.node(leader).committed > before);
}

#[test]
fn what_only_a_deposed_leader_has_is_cut() {
    let (mut cluster, old) = led(3, 0);
    isolate(&mut cluster, old);
    for value in 0..3 {
        assert!(cluster.propose(BrokerId(old), value));
    }
    cluster.run(SECOND * 10);
    let new = cluster.leader().expect("the others elect one");
    assert_ne!(new, old);
    assert!(cluster.propose(BrokerId(new), 9));
    cluster.cut.clear();
    cluster.run(SECOND * 5);
    assert_eq!(cluster.node(old).disk.log, cluster.node(new).disk.log);
    let is_told = |event: &Event| matches!(event, Event::Truncated { .. });
    assert!(cluster.node(old).events.iter().any(is_told), "an operator is told");
}

#[test]
fn records_of_an_older_epoch_are_committed_with_one_of_the_leaders_own_only() {
    // Raft's figure 8: the record of epoch 1 reaches a majority in epoch 2 and is not committed by that.
    let (mut cluster, old) = led(3, 0);
    let before = cluster.node(old).committed;
    isolate(&mut cluster, old);
    assert!(cluster.propose(BrokerId(old), 1));
    cluster.finish_flush(BrokerId(old));
    cluster.crash(BrokerId(old), false);
    let record_end = cluster.node(old).disk.end();
    for id in (1..=3).filter(|id| *id != old) {
        cluster.crash(BrokerId(id), false);
    }
    cluster.cut.clear();
    let witness = (1..=3).find(|id| *id != old).expect("three voters");
    cluster.restart(BrokerId(old));
    cluster.restart(BrokerId(witness));
    while cluster.leader() != Some(old) {
        cluster.time_out(BrokerId(old));
        cluster.settle_unsynced();
    }
    // The witness takes the old record and the first of the new epoch, and flushes nothing yet.
    cluster.finish_flush(BrokerId(old));
    for _ in 0..10 {
        while !cluster.network.is_empty() {
            cluster.deliver(0);
        }
        cluster.time_out(BrokerId(witness));
    }
    assert!(cluster.machine(old).epoch_before(record_end) < cluster.machine(old).epoch());
    assert_eq!(cluster.node(old).committed, Offset::ZERO.max(cluster.machine(old).log_start().end));
    cluster.settle();
    assert!(cluster.node(old).committed > record_end.max(before), "with the new epoch's own record");
}

#[test]
fn a_follower_that_is_too_far_behind_loads_a_snapshot() {
    let (mut cluster, leader) = led(3, 0);
    let behind = (1..=3).find(|id| *id != leader).expect("three voters");
    cluster.crash(BrokerId(behind), true);
    for value in 0..20 {
        assert!(cluster.propose(BrokerId(leader), value));
        cluster.settle();
    }
    cluster.take_snapshot(BrokerId(leader));
    assert!(cluster.machine(leader).log_start().end > cluster.node(behind).disk.end());
    for value in 0..3 {
        cluster.propose(BrokerId(leader), value);
        cluster.settle();
    }
    cluster.restart(BrokerId(behind));
    cluster.run(SECOND * 5);
    assert_eq!(cluster.node(behind).committed, cluster.machine(leader).log_end());
    assert_eq!(cluster.node(behind).disk.start(), cluster.machine(leader).log_start());
    assert_eq!(cluster.machine(behind).voters(), cluster.machine(leader).voters());
    let events = &cluster.node(behind).events;
    assert!(events.iter().any(|event| matches!(event, Event::FetchingSnapshot(_))));
}

#[test]
fn a_snapshot_holds_committed_records_only() {
    let (mut cluster, leader) = led(3, 0);
    isolate(&mut cluster, leader);
    cluster.propose(BrokerId(leader), 1);
    cluster.finish_flush(BrokerId(leader));
    let machine = cluster.machine(leader);
    let uncommitted = highwater_core::quorum::SnapshotId { end: machine.log_end(), epoch: machine.epoch() };
    let start = machine.log_start();
    cluster.input(BrokerId(leader), highwater_core::quorum::Input::SnapshotTaken(uncommitted));
    assert_eq!(cluster.machine(leader).log_start(), start, "CQ-07");
}

#[test]
fn a_sole_voter_shows_observers_only_what_is_flushed() {
    let (mut cluster, leader) = led(1, 1);
    assert_eq!(cluster.node(2).committed, cluster.machine(leader).log_end());
    let before = cluster.node(2).disk.end();
    cluster.propose(BrokerId(leader), 1);
    for _ in 0..20 {
        while !cluster.network.is_empty() {
            cluster.deliver(0);
        }
        cluster.time_out(BrokerId(2));
    }
    assert_eq!(cluster.node(2).disk.end(), before, "after a power cut it could be other data");
    cluster.settle();
    assert!(cluster.node(2).disk.end() > before);
}

#[test]
fn a_voter_that_looks_for_a_leader_acknowledges_flushed_records_only() {
    let (mut cluster, leader) = led(2, 0);
    let follower = BrokerId(3 - leader);
    let before = cluster.node(leader).committed;
    assert!(cluster.propose(BrokerId(leader), 1));
    cluster.finish_flush(BrokerId(leader));
    while !cluster.network.is_empty() {
        cluster.deliver(0);
    }
    assert!(cluster.nodes[&follower].disk.end() > before, "the follower has it in memory");
    // Nothing more reaches the follower; what it says still reaches the leader.
    cluster.cut.insert((BrokerId(leader), follower));
    for _ in 0..200 {
        cluster.time_out(follower);
        while !cluster.network.is_empty() {
            cluster.deliver(0);
        }
    }
    assert_eq!(cluster.node(leader).committed, before);
}

/// `controller.quorum.bootstrap.servers`: the configuration names no voter, only where somebody is.
#[test]
fn a_node_that_knows_no_voter_asks_whom_it_meets() {
    let (mut cluster, leader) = led(3, 0);
    assert!(cluster.propose(BrokerId(leader), 1));
    cluster.settle();
    cluster.add_node(key(9), VoterSet::default());
    cluster.run(SECOND * 5);
    assert_eq!(cluster.machine(9).leader(), None, "it has met nobody");
    let follower = leader % 3 + 1;
    cluster.input(BrokerId(9), Input::LinkUp(BrokerId(follower)));
    cluster.run(SECOND * 5);
    assert_eq!(cluster.machine(9).leader().map(|known| known.id), Some(BrokerId(leader)));
    assert_eq!(cluster.node(9).committed, cluster.node(leader).committed);
    assert_eq!(cluster.machine(9).voters().len(), 3, "from now on it knows them");
}
