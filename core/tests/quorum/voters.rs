//! Who votes changes one at a time (KIP-853).

use crate::cluster::{Cluster, key, voters};
use highwater_core::ids::{BrokerId, Token};
use highwater_core::quorum::{Input, Role, VoterChangeError};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn led(voter_count: i32, observers: i32) -> (Cluster, i32) {
    let mut cluster = Cluster::new(voter_count, observers, 13);
    cluster.run(SECOND * 5);
    let leader = cluster.leader().expect("somebody leads");
    (cluster, leader)
}

fn answer(cluster: &Cluster, at: i32, token: Token) -> Option<Result<(), VoterChangeError>> {
    cluster.node(at).answers.iter().find(|(known, _)| *known == token).map(|(_, result)| *result)
}

#[test]
fn one_node_grows_to_three() {
    let (mut cluster, leader) = led(1, 2);
    for new in [2, 3] {
        let token = cluster.add_voter(BrokerId(leader), key(new));
        assert_eq!(answer(&cluster, leader, token), None, "not before it is committed");
        cluster.run(SECOND);
        assert_eq!(answer(&cluster, leader, token), Some(Ok(())));
        assert!(matches!(cluster.machine(new).role(), Role::Follower(_)));
    }
    assert_eq!(cluster.machine(leader).voters(), &voters([1, 2, 3]));
    assert!(cluster.node(leader).disk.vote.is_some(), "from now on its vote counts for others");
    cluster.crash(BrokerId(leader), true);
    cluster.run(SECOND * 5);
    assert!(cluster.leader().is_some_and(|next| next != leader), "the new voters elect");
}

#[test]
fn refusals_say_why() {
    let (mut cluster, leader) = led(3, 1);
    let cases = [
        (cluster.add_voter(BrokerId(leader), key(leader)), VoterChangeError::Duplicate),
        (cluster.add_voter(BrokerId(leader), key(77)), VoterChangeError::NotCaughtUp),
        (cluster.remove_voter(BrokerId(leader), key(4)), VoterChangeError::Unknown),
    ];
    for (token, error) in cases {
        assert_eq!(answer(&cluster, leader, token), Some(Err(error)));
    }
    let follower = (1..=3).find(|id| *id != leader).expect("three voters");
    let token = cluster.add_voter(BrokerId(follower), key(4));
    assert_eq!(answer(&cluster, follower, token), Some(Err(VoterChangeError::NotLeader)));
    let (mut alone, leader) = led(1, 0);
    let token = alone.remove_voter(BrokerId(leader), key(1));
    assert_eq!(answer(&alone, leader, token), Some(Err(VoterChangeError::LastVoter)));
}

#[test]
fn a_second_change_waits_for_the_first() {
    let (mut cluster, leader) = led(3, 1);
    let first = cluster.add_voter(BrokerId(leader), key(4));
    let other = (1..=3).find(|id| *id != leader).expect("three voters");
    let second = cluster.remove_voter(BrokerId(leader), key(other));
    assert_eq!(answer(&cluster, leader, second), Some(Err(VoterChangeError::Busy)), "CQ-05");
    cluster.run(SECOND);
    assert_eq!(answer(&cluster, leader, first), Some(Ok(())));
}

/// A leader of one, and an observer that the network keeps from it.
fn led_with_a_stranger() -> (Cluster, i32) {
    let (mut cluster, leader) = led(1, 1);
    let (leader_id, stranger) = (BrokerId(leader), BrokerId(2));
    cluster.cut.extend([(leader_id, stranger), (stranger, leader_id)]);
    cluster.run(SECOND * 5);
    (cluster, leader)
}

#[test]
fn a_new_voter_is_waited_for_until_it_has_caught_up() {
    let (mut cluster, leader) = led_with_a_stranger();
    let first = cluster.add_voter_within(BrokerId(leader), key(2), SECOND * 30);
    cluster.run(SECOND * 5);
    let again = cluster.add_voter_within(BrokerId(leader), key(2), SECOND * 30);
    let other = cluster.add_voter_within(BrokerId(leader), key(7), SECOND * 30);
    assert_eq!(answer(&cluster, leader, other), Some(Err(VoterChangeError::Busy)), "one at a time");
    cluster.run(SECOND * 5);
    assert_eq!(answer(&cluster, leader, first), None, "it is cut off");
    assert_eq!(cluster.machine(leader).voters(), &voters([1]), "a majority of two could commit nothing");
    cluster.cut.clear();
    cluster.run(SECOND * 5);
    for token in [first, again] {
        assert_eq!(answer(&cluster, leader, token), Some(Ok(())));
    }
    assert_eq!(cluster.machine(leader).voters(), &voters([1, 2]));
}

#[test]
fn a_new_voter_that_does_not_catch_up_in_time_is_given_up() {
    let (mut cluster, leader) = led_with_a_stranger();
    let token = cluster.add_voter_within(BrokerId(leader), key(2), SECOND * 3);
    cluster.run(SECOND * 2);
    assert_eq!(answer(&cluster, leader, token), None);
    cluster.run(SECOND * 2);
    assert_eq!(answer(&cluster, leader, token), Some(Err(VoterChangeError::NotCaughtUp)));
    cluster.cut.clear();
    cluster.run(SECOND * 5);
    assert_eq!(cluster.machine(leader).voters(), &voters([1]), "nobody waits for it any more");
}

#[test]
fn who_waits_for_a_new_voter_hears_that_its_leader_stood_down() {
    let (mut cluster, leader) = led_with_a_stranger();
    let token = cluster.add_voter_within(BrokerId(leader), key(2), SECOND * 30);
    cluster.input(BrokerId(leader), Input::Resign);
    assert_eq!(answer(&cluster, leader, token), Some(Err(VoterChangeError::NotLeader)));
}

#[test]
fn no_change_before_a_commit_of_the_leaders_own_epoch() {
    let (mut cluster, old) = led(3, 0);
    cluster.crash(BrokerId(old), false);
    while cluster.leader().is_none() {
        for id in (1..=3).filter(|id| *id != old) {
            cluster.time_out(BrokerId(id));
            cluster.settle_unsynced();
        }
    }
    let new = cluster.leader().expect("just elected");
    assert!(!cluster.machine(new).is_active());
    let token = cluster.remove_voter(BrokerId(new), key(old));
    assert_eq!(answer(&cluster, new, token), Some(Err(VoterChangeError::Busy)), "CQ-05");
}

#[test]
fn a_leader_that_removes_itself_goes_once_that_is_committed() {
    let (mut cluster, leader) = led(3, 0);
    let token = cluster.remove_voter(BrokerId(leader), key(leader));
    assert!(matches!(cluster.machine(leader).role(), Role::Leader(_)), "not before");
    cluster.run(SECOND * 5);
    assert_eq!(answer(&cluster, leader, token), Some(Ok(())));
    let next = cluster.leader().expect("one of the others leads");
    assert_ne!(next, leader);
    assert_eq!(cluster.machine(next).voters().len(), 2);
    assert!(matches!(cluster.machine(leader).role(), Role::Observer(_)));
}

#[test]
fn a_replaced_disk_is_added_as_another_voter() {
    let (mut cluster, leader) = led(3, 0);
    let replaced = (1..=3).find(|id| *id != leader).expect("three voters");
    cluster.wipe(BrokerId(replaced), 99, voters([1, 2, 3]));
    cluster.run(SECOND * 3);
    let new = cluster.node(replaced).key;
    let early = cluster.add_voter(BrokerId(leader), new);
    assert_eq!(answer(&cluster, leader, early), Some(Err(VoterChangeError::Duplicate)), "the old one first");
    let removed = cluster.remove_voter(BrokerId(leader), key(replaced));
    cluster.run(SECOND * 3);
    assert_eq!(answer(&cluster, leader, removed), Some(Ok(())));
    let added = cluster.add_voter(BrokerId(leader), new);
    cluster.run(SECOND * 3);
    assert_eq!(answer(&cluster, leader, added), Some(Ok(())));
    assert!(matches!(cluster.machine(replaced).role(), Role::Follower(_)));
}

#[test]
fn a_leader_whose_removal_only_its_own_log_has_still_helps_to_elect() {
    let (mut cluster, leader) = led(2, 0);
    let other = 3 - leader;
    cluster.remove_voter(BrokerId(leader), key(leader));
    cluster.finish_flush(BrokerId(leader));
    cluster.crash(BrokerId(leader), false);
    cluster.network.clear();
    cluster.restart(BrokerId(leader));
    cluster.run(SECOND * 20);
    assert_eq!(cluster.leader(), Some(other), "the other has the removal by now, and leads alone");
    assert!(cluster.machine(other).is_active());
    assert!(matches!(cluster.machine(leader).role(), Role::Observer(_)));
}
