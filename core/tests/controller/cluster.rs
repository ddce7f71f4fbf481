//! Stories of a cluster: brokers that come, fall silent, stop and return; leaders, ISR and ELR that follow.

use super::*;
use highwater_core::ids::{PartitionEpoch, TopicPartition};
use highwater_core::metadata::peer::{
    AlterPartition, AlterPartitionRefusal, BrokerHeartbeat, BrokerRefusal, IsrMember, ReplicaHealth,
};
use highwater_core::metadata::{
    BrokerState, ConfigResource, FORMAT_FEATURE, FORMAT_NEWEST, PartitionState, answer_reassignments,
};
use highwater_core::registration::incarnation;

/// A controller with brokers whose processes are numbered: the incarnation is broker and life.
pub(super) struct Trio {
    pub(super) solo: Solo,
    /// How often something was said of the health of replicas.
    pub(super) reports: u32,
}

/// How a broker's last process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Clean,
    Unclean,
    /// And with another directory.
    Wiped,
}

pub(super) const T: TopicId = TopicId([1; 16]);

impl Trio {
    pub(super) fn new(brokers: i32, fixed: &[(&str, &str)]) -> Self {
        let fixed = fixed.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let mut solo = Solo { controller: Controller::default(), fixed, topics_made: 0 };
        let cluster = solo.controller.plan_cluster("cluster", &[(FORMAT_FEATURE, FORMAT_NEWEST)]);
        solo.commit(cluster);
        let mut trio = Self { solo, reports: 0 };
        for id in 1..=brokers {
            trio.join(id, 1, End::Clean, false).expect("nobody has the id");
            trio.beat(id).expect("it is registered");
        }
        trio
    }

    /// A topic of one partition on brokers 1, 2 and 3, with `min.insync.replicas` 2.
    pub(super) fn with_topic() -> Self {
        let mut trio = Self::new(4, &[("min.insync.replicas", "2")]);
        let made = trio.solo.create_one(assigned("t", &[(0, &[1, 2, 3])]));
        assert_eq!(made.error_code, ErrorCode::None);
        trio
    }

    pub(super) fn registration(&self, id: i32, life: u8, end: End) -> Registration {
        let known = self.solo.controller.latest().broker(BrokerId(id));
        let announced = RegisterBroker {
            directory_id: [u8::from(end == End::Wiped) * life + 100; 16],
            endpoints: Vec::new(),
            rack: None,
            features: vec![FeatureRange { name: FORMAT_FEATURE.into(), min: 1, max: FORMAT_NEWEST }],
            clean_stop_of: known.map(|known| known.epoch).filter(|_| end == End::Clean),
        };
        let mut incarnation = [life; 16];
        incarnation[0] = u8::try_from(id).expect("few brokers");
        Registration { id: BrokerId(id), incarnation, announced }
    }

    pub(super) fn join(
        &mut self,
        id: i32,
        life: u8,
        end: End,
        is_alive: bool,
    ) -> Result<BrokerEpoch, BrokerRefusal> {
        let registration = self.registration(id, life, end);
        let plan = self.solo.controller.plan_register_broker(self.solo.context(), &registration, is_alive);
        self.solo.commit(plan)
    }

    /// Asks for a level of [`FORMAT_FEATURE`]; 1 is an upgrade, 2 a safe downgrade, 3 an unsafe one.
    pub(super) fn finalize(&mut self, level: i16, upgrade_type: i8) -> ErrorCode {
        let key = FeatureUpdateKey {
            feature: FORMAT_FEATURE.into(),
            max_version_level: level,
            upgrade_type,
            ..Default::default()
        };
        let request = UpdateFeaturesRequest { feature_updates: vec![key], ..Default::default() };
        let plan = self.solo.controller.plan_update_features(&request);
        self.solo.commit(plan).error_code
    }

    /// The cluster was found by a release whose newest level was this one.
    pub(super) fn found_at(&mut self, level: i16) {
        let records = vec![Record::Feature { name: FORMAT_FEATURE.into(), level }];
        self.solo.commit(Plan { records, response: () });
    }

    pub(super) fn epoch(&self, id: i32) -> BrokerEpoch {
        self.solo.image().broker(BrokerId(id)).map_or(BrokerEpoch(-1), |broker| broker.epoch)
    }

    fn heartbeat(&mut self, id: i32, wants_shutdown: bool, offset: Offset) -> Result<bool, BrokerRefusal> {
        let heartbeat = BrokerHeartbeat {
            broker_epoch: self.epoch(id),
            metadata_offset: offset,
            wants_fence: false,
            wants_shutdown,
        };
        let plan = self.solo.controller.plan_heartbeat(self.solo.context(), BrokerId(id), &heartbeat);
        self.solo.commit(plan).map(|reply| reply.is_fenced)
    }

    pub(super) fn beat(&mut self, id: i32) -> Result<bool, BrokerRefusal> {
        self.heartbeat(id, false, self.solo.image().offset())
    }

    pub(super) fn stop(&mut self, id: i32) {
        self.heartbeat(id, true, self.solo.image().offset()).expect("it is registered");
    }

    pub(super) fn fence(&mut self, ids: &[i32]) {
        let ids: Vec<_> = ids.iter().copied().map(BrokerId).collect();
        let plan = self.solo.controller.plan_fence_brokers(self.solo.context(), &ids);
        self.solo.commit(plan);
    }

    pub(super) fn state(&self) -> PartitionState {
        let id = TopicPartition { topic_id: T, partition: PartitionIndex(0) };
        self.solo.image().partition(id).expect("it exists").clone()
    }

    /// `leader isr elr`, 0 for nobody.
    pub(super) fn told(&self) -> String {
        let state = self.state();
        let digits = |ids: &[BrokerId]| match ids {
            [] => "-".to_owned(),
            ids => ids.iter().map(ToString::to_string).collect(),
        };
        format!("{} {} {}", state.leader.map_or(0, |l| l.0), digits(&state.isr), digits(&state.elr))
    }

    /// What the leader asks for: its ISR, each member in its present life.
    pub(super) fn item(&self, isr: &[i32]) -> AlterPartition {
        let state = self.state();
        AlterPartition {
            partition: TopicPartition { topic_id: T, partition: PartitionIndex(0) },
            leader_epoch: state.leader_epoch,
            partition_epoch: state.partition_epoch,
            isr: isr.iter().map(|id| IsrMember { id: BrokerId(*id), epoch: self.epoch(*id) }).collect(),
        }
    }

    pub(super) fn alter(&mut self, sender: i32, item: AlterPartition) -> Result<(), AlterPartitionRefusal> {
        let epoch = self.epoch(sender);
        let plan = self.solo.controller.plan_alter_partitions(
            self.solo.context(),
            BrokerId(sender),
            epoch,
            std::slice::from_ref(&item),
        );
        let results = self.solo.commit(plan).expect("the sender is registered");
        results.into_iter().next().expect("one for each item").map(drop)
    }

    /// A broker tells that its log failed, or that it made the replica anew.
    pub(super) fn health(&mut self, id: i32, is_failed: bool) -> Result<(), BrokerRefusal> {
        let partition = TopicPartition { topic_id: T, partition: PartitionIndex(0) };
        self.reports += 1;
        let item = ReplicaHealth { partition, is_failed, change: self.reports };
        self.report(id, item)
    }

    pub(super) fn report(&mut self, id: i32, item: ReplicaHealth) -> Result<(), BrokerRefusal> {
        let (epoch, items) = (self.epoch(id), [item]);
        let plan = self.solo.controller.plan_replica_health(self.solo.context(), BrokerId(id), epoch, &items);
        self.solo.commit(plan)
    }

    pub(super) fn elect(&mut self, election_type: i8) -> ErrorCode {
        let topic_partitions =
            vec![ElectLeadersRequestTopicPartitions { topic: "t".into(), partitions: vec![0] }];
        let request = ElectLeadersRequest {
            election_type,
            topic_partitions: Some(topic_partitions),
            ..Default::default()
        };
        let plan = self.solo.controller.plan_elect_leaders(self.solo.context(), &request);
        let response = self.solo.commit(plan);
        response
            .replica_election_results
            .first()
            .map_or(response.error_code, |topic| topic.partition_result[0].error_code)
    }

    fn reassign(&mut self, replicas: Option<&[i32]>) -> ErrorCode {
        let partitions =
            vec![ReassignablePartition { partition_index: 0, replicas: replicas.map(<[i32]>::to_vec) }];
        let topics = vec![ReassignableTopic { name: "t".into(), partitions }];
        let request = AlterPartitionReassignmentsRequest { topics, ..Default::default() };
        let plan = self.solo.controller.plan_alter_reassignments(self.solo.context(), &request);
        self.solo.commit(plan).responses[0].partitions[0].error_code
    }
}

/// Runs a story: words of what happens, and what the partition is then.
pub(super) fn story(lines: &[(&str, &str)]) {
    let mut trio = Trio::with_topic();
    let mut life = 1;
    for (at, (events, expect)) in lines.iter().enumerate() {
        for event in events.split(", ") {
            let (verb, rest) = event.split_once(' ').unwrap_or((event, ""));
            let ids: Vec<i32> =
                rest.bytes().filter(u8::is_ascii_digit).map(|d| i32::from(d - b'0')).collect();
            match verb {
                "" => {}
                "silent" => trio.fence(&ids),
                "stops" => trio.stop(ids[0]),
                "returns" | "crashed" | "wiped" => {
                    life += 1;
                    let end = match verb {
                        "returns" => End::Clean,
                        "crashed" => End::Unclean,
                        _ => End::Wiped,
                    };
                    trio.join(ids[0], life, end, false).expect("nobody holds the id");
                }
                "fails" => trio.health(ids[0], true).expect("it is registered"),
                "mends" => trio.health(ids[0], false).expect("it is registered"),
                "beats" => drop(trio.beat(ids[0]).expect("it is registered")),
                "isr" => {
                    let leader = trio.state().leader.expect("somebody leads").0;
                    let item = trio.item(&ids);
                    trio.alter(leader, item).unwrap_or_else(|why| panic!("line {at}: {why}"));
                }
                other => panic!("no such verb: {other}"),
            }
        }
        assert_eq!(trio.told(), *expect, "line {at}: {events}");
    }
}

#[test]
fn a_leader_that_falls_silent_is_replaced_in_one_batch_and_returns_as_a_follower() {
    story(&[
        ("", "1 123 -"),
        ("silent 1", "2 23 -"),
        ("crashed 1", "2 23 -"),
        ("beats 1", "2 23 -"),
        ("isr 123", "2 123 -"),
        ("silent 12", "3 3 12"),
        ("silent 3", "0 - 123"),
    ]);
}

#[test]
fn below_the_minimum_whoever_leaves_stays_eligible_and_above_it_nobody_is() {
    story(&[
        ("isr 1", "1 1 23"),
        ("silent 1", "2 2 13"),
        ("isr 23", "2 23 -"),
        ("silent 3", "2 2 3"),
        ("silent 2", "0 - 23"),
        ("returns 3", "0 - 23"),
        ("beats 3", "3 3 2"),
        ("returns 2, beats 2, isr 23", "3 23 -"),
    ]);
}

/// The last replica standing loses its tail in a power cut: the others, who have everything that was acknowledged, lead.
#[test]
fn whoever_crashed_leads_only_if_there_is_nobody_else() {
    story(&[("isr 1", "1 1 23"), ("crashed 1", "2 2 3"), ("beats 1", "2 2 3"), ("isr 12", "2 12 -")]);
    // All crashed, so the last one to return leads: each has what was acknowledged, unless too many lost power at once.
    story(&[
        ("silent 123", "0 - 123"),
        ("crashed 1", "0 - 23"),
        ("crashed 2", "0 - 3"),
        ("beats 1, beats 2", "0 - 3"),
        ("crashed 3", "0 - 3"),
        ("beats 3", "3 3 -"),
        ("isr 123", "3 123 -"),
    ]);
    story(&[
        ("silent 23", "1 1 23"),
        ("wiped 2, wiped 3", "1 1 -"),
        ("wiped 1", "0 - -"),
        ("beats 1", "0 - -"),
    ]);
}

#[test]
fn a_broker_that_stops_hands_over_and_comes_back_complete() {
    story(&[
        ("stops 1", "2 23 -"),
        ("stops 2", "3 3 2"),
        ("stops 3", "0 - 23"),
        ("silent 123", "0 - 23"),
        ("returns 2, beats 2", "2 2 3"),
        ("returns 3", "2 2 3"),
        ("beats 3, isr 23", "2 23 -"),
    ]);
}

#[test]
fn a_stopping_broker_is_not_let_in_again_before_it_registers() {
    let mut trio = Trio::with_topic();
    trio.stop(1);
    assert_eq!(trio.beat(1), Ok(false));
    assert_eq!(trio.solo.image().broker(BrokerId(1)).map(|b| b.state), Some(BrokerState::Stopping));
    trio.fence(&[1]);
    trio.stop(1);
    assert_eq!(trio.solo.image().broker(BrokerId(1)).map(|b| b.state), Some(BrokerState::Fenced));
}

#[test]
fn registrations_by_life_directory_and_epoch() {
    let mut trio = Trio::with_topic();
    let first = trio.epoch(1);
    assert_eq!(trio.join(1, 1, End::Clean, true), Ok(first), "the same life keeps its epoch");
    assert_eq!(trio.told(), "1 123 -", "and what it leads");
    assert_eq!(
        trio.join(1, 2, End::Wiped, true),
        Err(BrokerRefusal::DuplicateRegistration),
        "another directory, while this one lives"
    );
    let second = trio.join(1, 2, End::Unclean, true).expect("the same directory: the one before is gone");
    assert!(second > first);
    assert_eq!(trio.told(), "2 23 -");
    trio.fence(&[1]);
    assert!(trio.join(1, 3, End::Wiped, true).is_ok(), "whoever is fenced can be replaced");
    let stale = BrokerHeartbeat {
        broker_epoch: second,
        metadata_offset: Offset(1000),
        wants_fence: false,
        wants_shutdown: false,
    };
    let plan = trio.solo.controller.plan_heartbeat(trio.solo.context(), BrokerId(1), &stale);
    assert_eq!((plan.records.len(), plan.response), (0, Err(BrokerRefusal::StaleBrokerEpoch)));
    let nobody = trio.solo.controller.plan_heartbeat(trio.solo.context(), BrokerId(9), &stale);
    assert_eq!(nobody.response, Err(BrokerRefusal::NotRegistered));
}

/// Design rule 5: the request of a process that ended long ago would make of the one that runs one that lost something.
#[test]
fn a_late_request_to_register_ends_no_registration() {
    let mut trio = Trio::with_topic();
    let register = |trio: &mut Trio, remembered, drawn| {
        let mut registration = trio.registration(1, 1, End::Unclean);
        registration.incarnation = incarnation(remembered, [drawn; 8]);
        let plan = trio.solo.controller.plan_register_broker(trio.solo.context(), &registration, true);
        trio.solo.commit(plan)
    };
    let first = trio.epoch(1);
    let second = register(&mut trio, Some(first), 2).expect("its directory knows the first");
    let late = |trio: &mut Trio| register(trio, None, 1);
    assert!(late(&mut trio).is_ok(), "nobody counts on the second before it is let in");
    let third = register(&mut trio, Some(second), 3).expect("its directory knows the second");
    trio.beat(1).expect("it is registered");
    let alone = trio.item(&[1, 2, 3]);
    trio.alter(2, alone).expect("all are active");
    assert_eq!(trio.told(), "2 123 -");
    assert_eq!(late(&mut trio), Err(BrokerRefusal::DuplicateRegistration));
    assert_eq!(register(&mut trio, Some(first), 2), Err(BrokerRefusal::DuplicateRegistration));
    assert_eq!((trio.told().as_str(), trio.epoch(1)), ("2 123 -", third));
    // Of the third nothing is heard any more, though nobody has fenced it: its directory may not remember it.
    let mut forgetful = trio.registration(1, 1, End::Unclean);
    forgetful.incarnation = incarnation(None, [4; 8]);
    let plan = trio.solo.controller.plan_register_broker(trio.solo.context(), &forgetful, false);
    assert!(plan.response.is_ok_and(|epoch| epoch > third));
    trio.fence(&[1]);
    assert!(late(&mut trio).is_ok(), "it may be a directory that could not remember");
    assert!(register(&mut trio, Some(third), 4).is_ok(), "whoever runs registers anew");
}

#[test]
fn a_broker_is_let_in_once_it_has_applied_its_registration() {
    let mut trio = Trio::with_topic();
    trio.join(1, 2, End::Clean, false).expect("nobody holds the id");
    let epoch = trio.epoch(1);
    assert_eq!(trio.heartbeat(1, false, Offset(epoch.0 - 1)), Ok(true));
    assert_eq!(trio.heartbeat(1, false, Offset(epoch.0)), Ok(false));
}

#[test]
fn a_broker_without_a_finalized_feature_does_not_register() {
    let mut trio = Trio::new(1, &[]);
    let records = vec![Record::Feature { name: "metadata.version".into(), level: 30 }];
    trio.solo.commit(Plan { records, response: () });
    let mut registration = trio.registration(2, 1, End::Clean);
    let context = trio.solo.context();
    let refused = trio.solo.controller.plan_register_broker(context, &registration, false);
    assert_eq!(refused.response, Err(BrokerRefusal::UnsupportedVersion));
    registration.announced.features.push(FeatureRange { name: "metadata.version".into(), min: 7, max: 30 });
    assert!(trio.solo.controller.plan_register_broker(context, &registration, false).response.is_ok());
}

#[test]
fn isr_changes_are_compare_and_set() {
    let mut trio = Trio::with_topic();
    let late = trio.item(&[1, 2, 3]);
    let small = trio.item(&[1, 2]);
    assert_eq!(trio.alter(1, small.clone()), Ok(()));
    assert_eq!(trio.alter(1, small), Err(AlterPartitionRefusal::StalePartitionEpoch), "a request sent twice");
    assert_eq!(trio.alter(1, late.clone()), Err(AlterPartitionRefusal::StalePartitionEpoch));
    trio.fence(&[1]);
    trio.beat(1).expect("it is back at once");
    assert_eq!(trio.told(), "2 2 1");
    assert_eq!(trio.alter(1, late), Err(AlterPartitionRefusal::FencedLeaderEpoch), "a deposed leader");
    let of_a_follower = trio.item(&[1, 2]);
    assert_eq!(trio.alter(1, of_a_follower), Err(AlterPartitionRefusal::InvalidRequest));
    let before_restart = trio.item(&[1, 2]);
    trio.join(1, 2, End::Unclean, false).expect("nobody holds the id");
    assert_eq!(trio.told(), "2 2 -", "what it caught up with may be gone");
    let mut item = AlterPartition { partition_epoch: trio.state().partition_epoch, ..before_restart };
    assert_eq!(trio.alter(2, item.clone()), Err(AlterPartitionRefusal::IneligibleReplica), "it is fenced");
    trio.beat(1).expect("it is registered");
    assert_eq!(
        trio.alter(2, item.clone()),
        Err(AlterPartitionRefusal::IneligibleReplica),
        "it has restarted"
    );
    item.isr[0].epoch = trio.epoch(1);
    assert_eq!(trio.alter(2, item), Ok(()));
    for (isr, why) in [(&[1, 3][..], "without the leader"), (&[2, 2], "one twice"), (&[2, 4], "a stranger")] {
        let item = trio.item(isr);
        assert_eq!(trio.alter(2, item), Err(AlterPartitionRefusal::InvalidRequest), "{why}");
    }
    let newer = AlterPartition { partition_epoch: PartitionEpoch(99), ..trio.item(&[2]) };
    assert_eq!(trio.alter(2, newer), Err(AlterPartitionRefusal::NewerEpochs));
    let mut unknown = trio.item(&[2]);
    unknown.partition.partition = PartitionIndex(9);
    assert_eq!(trio.alter(2, unknown), Err(AlterPartitionRefusal::UnknownPartition));
}

#[test]
fn one_request_changes_a_partition_once() {
    let mut trio = Trio::with_topic();
    let items = [trio.item(&[1, 2]), trio.item(&[1, 3])];
    let epoch = trio.epoch(1);
    let plan = trio.solo.controller.plan_alter_partitions(trio.solo.context(), NODE, epoch, &items);
    let results = trio.solo.commit(plan).expect("the sender is registered");
    assert!(results[0].is_ok());
    assert_eq!(results[1], Err(AlterPartitionRefusal::StalePartitionEpoch));
}

#[test]
fn elections_on_request() {
    let mut trio = Trio::with_topic();
    assert_eq!(trio.elect(0), ErrorCode::ElectionNotNeeded);
    trio.fence(&[1]);
    assert_eq!(trio.elect(0), ErrorCode::PreferredLeaderNotAvailable);
    trio.beat(1).expect("it is registered");
    let all = trio.item(&[1, 2, 3]);
    trio.alter(2, all).expect("it is as it should be");
    assert_eq!((trio.elect(0), trio.told().as_str()), (ErrorCode::None, "1 123 -"));
    trio.fence(&[2, 3]);
    trio.fence(&[1]);
    trio.solo.commit(trio.solo.controller.plan_fence_brokers(trio.solo.context(), &[]));
    assert_eq!(trio.told(), "0 - 123");
    assert_eq!(trio.elect(1), ErrorCode::EligibleLeadersNotAvailable);
    trio.join(1, 2, End::Wiped, false).expect("nobody holds the id");
    trio.beat(1).expect("it is registered");
    assert_eq!(trio.told(), "0 - 23", "a blank broker leads nothing by itself");
    let before = trio.state();
    assert_eq!((trio.elect(1), trio.told().as_str()), (ErrorCode::None, "1 1 -"));
    assert!(trio.state().is_unclean_election(&before));
    assert_eq!(trio.elect(1), ErrorCode::ElectionNotNeeded);
    assert_eq!(trio.elect(7), ErrorCode::InvalidRequest);
}

/// Registers a life of broker 1 that knows of the registration `since` as the last under which it wrote, and lost nothing
/// since then.
fn register_since(trio: &mut Trio, life: u8, since: BrokerEpoch) -> BrokerEpoch {
    let mut registration = trio.registration(1, life, End::Clean);
    registration.announced.clean_stop_of = Some(since);
    let plan = trio.solo.controller.plan_register_broker(trio.solo.context(), &registration, false);
    trio.solo.commit(plan).expect("nobody holds the id")
}

#[test]
fn a_registration_that_nobody_heard_of_costs_no_place() {
    let mut trio = Trio::with_topic();
    trio.fence(&[2]);
    trio.fence(&[1]);
    trio.fence(&[3]);
    assert_eq!(trio.told(), "0 - 13");
    let first = trio.epoch(1);
    let unheard = register_since(&mut trio, 2, first);
    let heard = register_since(&mut trio, 3, first);
    assert!(first < unheard && unheard < heard);
    assert_eq!(
        trio.told(),
        "0 - 13",
        "what broker 1 was counted on for it wrote under its first registration"
    );
    register_since(&mut trio, 4, heard);
    assert_eq!(trio.told(), "0 - 13", "it had heard of that one");
    trio.join(3, 2, End::Unclean, false).expect("nobody holds the id");
    trio.beat(3).expect("it is registered");
    assert_eq!(trio.told(), "0 - 1", "who lost power must not lead in its place");
    trio.beat(1).expect("it is registered");
    assert_eq!(trio.told(), "1 1 -");

    // Now something is promised on the word of its present registration: a disk as of before is an old one.
    trio.beat(3).expect("it is registered");
    let both = trio.item(&[1, 3]);
    trio.alter(1, both).expect("it is as it should be");
    register_since(&mut trio, 5, heard);
    assert_eq!(trio.told(), "3 3 -");
}

#[test]
fn a_lower_minimum_empties_the_elr_in_the_same_batch() {
    let mut trio = Trio::with_topic();
    let item = trio.item(&[1]);
    trio.alter(1, item).expect("it is as it should be");
    assert_eq!(trio.told(), "1 1 23");
    trio.solo.alter(TOPIC, "t", &[("min.insync.replicas", 0, Some("1"))]);
    assert_eq!(trio.told(), "1 1 -");
}

#[test]
fn anyone_leads_as_soon_as_that_is_allowed() {
    let mut trio = Trio::with_topic();
    trio.fence(&[2, 3]);
    trio.fence(&[1]);
    trio.join(2, 2, End::Wiped, false).expect("nobody holds the id");
    trio.beat(2).expect("it is registered");
    assert_eq!(trio.told(), "0 - 13");
    trio.solo.alter(TOPIC, "t", &[("unclean.leader.election.enable", 0, Some("true"))]);
    assert_eq!(trio.told(), "2 2 -");
}

#[test]
fn leaders_are_brought_back_and_drained_away() {
    let mut trio = Trio::with_topic();
    trio.fence(&[1]);
    trio.beat(1).expect("it is registered");
    let all = trio.item(&[1, 2, 3]);
    trio.alter(2, all).expect("it is as it should be");
    let plan = trio.solo.controller.plan_rebalance_leaders(trio.solo.context());
    assert_eq!((trio.solo.commit(plan), trio.told().as_str()), (1, "1 123 -"));
    trio.solo.alter(BROKER, "1", &[("highwater.broker.drained", 0, Some("true"))]);
    assert_eq!(trio.told(), "2 123 -");
    let plan = trio.solo.controller.plan_rebalance_leaders(trio.solo.context());
    assert_eq!(trio.solo.commit(plan), 0, "it would be drained again");
    let made = trio.solo.create_one(topic("new", 12, 3));
    assert_eq!(made.error_code, ErrorCode::None);
    let new = trio.solo.image().topic("new").expect("it exists");
    assert!(new.partitions.values().all(|state| !state.replicas.contains(&BrokerId(1))));
    trio.solo.alter(BROKER, "1", &[("highwater.broker.drained", 1, None)]);
    let plan = trio.solo.controller.plan_rebalance_leaders(trio.solo.context());
    assert_eq!(trio.solo.commit(plan), 1);
}

#[test]
fn a_reassignment_goes_over_both_sets_and_can_be_cancelled() {
    let mut trio = Trio::with_topic();
    assert_eq!(trio.reassign(None), ErrorCode::NoReassignmentInProgress);
    assert_eq!(trio.reassign(Some(&[])), ErrorCode::InvalidReplicaAssignment);
    assert_eq!(trio.reassign(Some(&[4, 9])), ErrorCode::InvalidReplicaAssignment);
    assert_eq!(trio.reassign(Some(&[4, 4])), ErrorCode::InvalidReplicaAssignment);
    assert_eq!(trio.reassign(Some(&[4, 3, 2])), ErrorCode::None);
    let ids = |state: &[BrokerId]| state.iter().map(|id| id.0).collect::<Vec<_>>();
    let state = trio.state();
    assert_eq!(
        (ids(&state.replicas), ids(&state.adding), ids(&state.removing)),
        (vec![4, 3, 2, 1], vec![4], vec![1])
    );
    let listed = answer_reassignments(trio.solo.image(), &ListPartitionReassignmentsRequest::default());
    assert_eq!(listed.topics[0].partitions[0].adding_replicas, [4]);
    assert_eq!(trio.reassign(None), ErrorCode::None);
    assert_eq!(ids(&trio.state().replicas), [3, 2, 1]);
    assert_eq!(trio.reassign(Some(&[4, 3, 2])), ErrorCode::None);
    let epoch = trio.state().leader_epoch;
    let caught_up = trio.item(&[4, 3, 2, 1]);
    trio.alter(1, caught_up).expect("it is as it should be");
    let state = trio.state();
    assert_eq!((ids(&state.replicas), state.is_reassigned()), (vec![4, 3, 2], false));
    assert_eq!((state.leader, state.leader_epoch), (Some(BrokerId(4)), epoch.next()));
    let listed = answer_reassignments(trio.solo.image(), &ListPartitionReassignmentsRequest::default());
    assert!(listed.topics.is_empty());
}

#[test]
fn a_topic_is_made_while_a_broker_is_away() {
    let mut trio = Trio::new(3, &[]);
    trio.fence(&[2]);
    assert_eq!(trio.solo.create_one(topic("t", 6, 3)).error_code, ErrorCode::None);
    for state in trio.solo.image().topic("t").expect("it exists").partitions.values() {
        assert_eq!(state.replicas.len(), 3);
        assert!(!state.isr.contains(&BrokerId(2)) && state.isr.len() == 2);
    }
    assert_eq!(trio.solo.create_one(topic("u", 1, 4)).error_code, ErrorCode::InvalidReplicationFactor);
}

#[test]
fn a_broker_that_is_forgotten_leaves_isr_and_elr() {
    let mut trio = Trio::with_topic();
    trio.solo.alter(BROKER, "1", &[("highwater.broker.drained", 0, Some("true"))]);
    let plan = trio.solo.controller.plan_unregister_broker(trio.solo.context(), BrokerId(1));
    trio.solo.commit(plan).expect("it is registered");
    assert_eq!(trio.told(), "2 23 -");
    assert!(trio.solo.image().broker(BrokerId(1)).is_none());
    assert!(trio.solo.image().config(&ConfigResource::Broker(BrokerId(1))).is_empty());
    let again = trio.solo.controller.plan_unregister_broker(trio.solo.context(), BrokerId(1));
    assert_eq!(again.response, Err(BrokerRefusal::NotRegistered));
}

#[derive(Clone, Debug)]
enum Event {
    Fence(u8),
    Beat(i32),
    Stop(i32),
    Join(i32, u8),
    Isr(u8),
    Old(usize),
    Elect(i8),
    Reassign(u8),
    Cancel,
    Drain(i32, bool),
    MinIsr(u8),
}

fn event() -> impl Strategy<Value = Event> {
    let id = 1i32..=4;
    prop_oneof![
        2 => (0u8..16).prop_map(Event::Fence),
        5 => id.clone().prop_map(Event::Beat),
        1 => id.clone().prop_map(Event::Stop),
        3 => (id.clone(), 0u8..3).prop_map(|(id, end)| Event::Join(id, end)),
        5 => (0u8..16).prop_map(Event::Isr),
        2 => (0usize..8).prop_map(Event::Old),
        1 => (0i8..2).prop_map(Event::Elect),
        2 => (1u8..16).prop_map(Event::Reassign),
        1 => Just(Event::Cancel),
        1 => (id, any::<bool>()).prop_map(|(id, on)| Event::Drain(id, on)),
        1 => (1u8..4).prop_map(Event::MinIsr),
    ]
}

fn members(bits: u8) -> Vec<i32> {
    (1..=4).filter(|id| bits & (1 << (id - 1)) != 0).collect()
}

/// O9 and O38, and that epochs count what they are for.
fn check(trio: &Trio, before: &MetadataImage) -> Result<(), TestCaseError> {
    let image = trio.solo.image();
    let state = trio.state();
    let is_active =
        |id: &BrokerId| image.broker(*id).is_some_and(|broker| broker.state == BrokerState::Active);
    prop_assert!(state.isr.iter().all(|id| state.replicas.contains(id) && is_active(id)), "{:?}", state);
    prop_assert!(state.elr.iter().all(|id| state.replicas.contains(id) && !state.isr.contains(id)));
    let resource = ConfigResource::Topic(T);
    let isr_min = image.config(&resource).get("min.insync.replicas").map_or(2, |v| v.parse().unwrap_or(2));
    prop_assert!(state.isr.len() < isr_min.min(state.replicas.len()) || state.elr.is_empty(), "{:?}", state);
    prop_assert!(state.leader.is_none_or(|leader| state.isr.contains(&leader)));
    prop_assert!(state.leader.is_some() || state.isr.is_empty(), "a member of the ISR leads: {:?}", state);
    for (id, broker) in before.brokers() {
        let now = image.broker(id).map_or(BrokerEpoch(-1), |now| now.epoch);
        prop_assert!(now >= broker.epoch, "the epoch of a broker went back");
    }
    let id = TopicPartition { topic_id: T, partition: PartitionIndex(0) };
    let was = before.partition(id).expect("it is there from the start");
    prop_assert!(state.partition_epoch >= was.partition_epoch && state.leader_epoch >= was.leader_epoch);
    prop_assert!(state.leader == was.leader || state.leader_epoch > was.leader_epoch);
    prop_assert!(state == *was || state.partition_epoch > was.partition_epoch);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn whatever_happens_the_isr_is_alive_and_the_epochs_rise(
        events in prop::collection::vec(event(), 1..80),
    ) {
        let mut trio = Trio::with_topic();
        let mut old: Vec<(i32, AlterPartition)> = Vec::new();
        let mut life = 1;
        for event in events {
            let before = trio.solo.image().clone();
            let leader = trio.state().leader.map(|leader| leader.0);
            let mut crashed = None;
            match event {
                Event::Fence(bits) => trio.fence(&members(bits)),
                Event::Beat(id) => drop(trio.beat(id)),
                Event::Stop(id) => trio.stop(id),
                Event::Join(id, end) => {
                    life += 1;
                    let end = [End::Clean, End::Unclean, End::Wiped][usize::from(end)];
                    crashed = Some((BrokerId(id), end)).filter(|(_, end)| *end != End::Clean);
                    trio.join(id, life, end, false).expect("nobody is said to live");
                }
                Event::Isr(bits) => {
                    let Some(leader) = leader else { continue };
                    let item = trio.item(&members(bits));
                    old.push((leader, item.clone()));
                    let _ = trio.alter(leader, item);
                }
                Event::Old(back) => {
                    let Some((sender, item)) = old.iter().rev().nth(back).cloned() else { continue };
                    let is_current = item.partition_epoch == trio.state().partition_epoch;
                    prop_assert!(trio.alter(sender, item).is_err() || is_current);
                }
                Event::Elect(kind) => drop(trio.elect(kind)),
                Event::Reassign(bits) => drop(trio.reassign(Some(&members(bits)))),
                Event::Cancel => drop(trio.reassign(None)),
                Event::Drain(id, on) => {
                    let value = on.to_string();
                    trio.solo.alter(BROKER, &id.to_string(), &[("highwater.broker.drained", 0, Some(&value))]);
                }
                Event::MinIsr(min) => {
                    let value = min.to_string();
                    trio.solo.alter(TOPIC, "t", &[("min.insync.replicas", 0, Some(&value))]);
                }
            }
            check(&trio, &before)?;
            if let Some((id, end)) = crashed {
                let state = trio.state();
                let candidates = state.isr.len() + state.elr.len();
                let counts = state.isr.contains(&id) || state.elr.contains(&id);
                prop_assert!(!counts || (candidates == 1 && end == End::Unclean), "{:?} {:?}", id, state);
            }
        }
    }
}
