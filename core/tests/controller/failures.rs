//! Stories of logs that fail on a broker that goes on without them.

use super::cluster::{End, T, Trio, story};
use super::*;
use highwater_core::ids::TopicPartition;
use highwater_core::metadata::peer::{AlterPartitionRefusal, BrokerRefusal, ReplicaHealth};

#[test]
fn a_failed_log_leads_nothing_and_is_in_no_isr_until_it_is_made_anew() {
    story(&[
        ("fails 1", "2 23 -"),
        ("fails 3", "2 2 -"),
        ("beats 1", "2 2 -"),
        ("mends 1, isr 12", "2 12 -"),
        ("silent 2", "1 1 2"),
        ("fails 1", "0 - 2"),
        ("beats 2", "2 2 -"),
    ]);
}

/// As with Kafka's last member of an ISR: what the failed log still has may be all there is.
#[test]
fn the_last_complete_replica_stays_eligible_and_leads_in_its_next_life_only() {
    story(&[
        ("isr 1, silent 23", "1 1 23"),
        ("crashed 2, crashed 3, beats 2, beats 3", "1 1 -"),
        ("fails 1", "0 - 1"),
        ("mends 1, beats 1", "0 - 1"),
        ("returns 1", "0 - 1"),
        ("fails 1, beats 1", "0 - 1"),
        ("returns 1, beats 1", "1 1 -"),
    ]);
}

#[test]
fn where_anyone_may_lead_nobody_waits_for_a_failed_log() {
    let mut trio = Trio::with_topic();
    trio.solo.alter(TOPIC, "t", &[("unclean.leader.election.enable", 0, Some("true"))]);
    let alone = trio.item(&[1]);
    trio.alter(1, alone).expect("it is as it should be");
    trio.fence(&[2, 3]);
    for id in [2, 3] {
        trio.join(id, 2, End::Unclean, false).expect("nobody holds the id");
    }
    trio.beat(3).expect("it is registered");
    assert_eq!(trio.told(), "1 1 -");
    trio.health(1, true).expect("it is registered");
    assert_eq!(trio.told(), "3 3 -");
    assert_eq!(trio.elect(0), ErrorCode::PreferredLeaderNotAvailable, "its log failed");
    trio.health(3, true).expect("it is registered");
    assert_eq!(trio.told(), "0 - 3", "neither of the two that failed");
    trio.beat(2).expect("it is registered");
    assert_eq!(trio.told(), "2 2 -");
}

/// Otherwise what the leader knew of the failed log's progress would let the empty one in its place join the ISR.
#[test]
fn whoever_leads_after_a_failure_does_so_in_a_new_epoch() {
    let mut trio = Trio::with_topic();
    let (before, late) = (trio.state().leader_epoch, trio.item(&[1, 2, 3]));
    trio.health(3, true).expect("it is registered");
    assert_eq!(trio.told(), "1 12 -");
    assert!(trio.state().leader_epoch > before, "the same leader, in a new epoch");
    assert_eq!(trio.alter(1, late), Err(AlterPartitionRefusal::FencedLeaderEpoch));
    let with_failed = trio.item(&[1, 2, 3]);
    assert_eq!(trio.alter(1, with_failed), Err(AlterPartitionRefusal::IneligibleReplica));
    let state = trio.state();
    let partition = TopicPartition { topic_id: T, partition: PartitionIndex(0) };
    let told = ReplicaHealth { partition, is_failed: true, change: trio.reports };
    trio.report(3, told).expect("it is registered");
    assert_eq!(trio.state(), state, "told twice, done once");
    trio.health(3, false).expect("it is registered");
    assert_eq!(trio.state(), state, "the mended replica has to catch up first");
    let with_mended = trio.item(&[1, 2, 3]);
    assert_eq!(trio.alter(1, with_mended), Ok(()));
    let state = trio.state();
    trio.report(3, told).expect("it is registered");
    assert_eq!(trio.state(), state, "a late copy of the report of a failure that is over");
}

#[test]
fn failures_are_told_by_the_registered_life_and_of_its_own_replicas() {
    let mut trio = Trio::with_topic();
    let partition = TopicPartition { topic_id: T, partition: PartitionIndex(0) };
    let items = [ReplicaHealth { partition, is_failed: true, change: 1 }];
    let context = trio.solo.context();
    let old = BrokerEpoch(trio.epoch(1).0 - 1);
    let stale = trio.solo.controller.plan_replica_health(context, BrokerId(1), old, &items);
    assert_eq!((stale.records.len(), stale.response), (0, Err(BrokerRefusal::StaleBrokerEpoch)));
    let gone = TopicPartition { topic_id: TopicId([9; 16]), ..partition };
    let unknown = [ReplicaHealth { partition: gone, is_failed: true, change: 1 }];
    let plan = trio.solo.controller.plan_replica_health(context, BrokerId(1), trio.epoch(1), &unknown);
    assert_eq!((plan.records.len(), plan.response), (0, Ok(())), "the topic was deleted");
    trio.health(4, true).expect("it is registered");
    assert_eq!(trio.told(), "1 123 -", "4 holds no replica");
    trio.health(1, true).expect("it is registered");
    let request = highwater_protocol::messages::MetadataRequest { topics: None, ..Default::default() };
    let answer = answer_metadata(trio.solo.image(), trio.solo.asker("PLAINTEXT"), &request, 12);
    assert_eq!(answer.response.topics[0].partitions[0].offline_replicas, [1], "clients see it");
}
