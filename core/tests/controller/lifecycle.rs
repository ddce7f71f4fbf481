//! Commit, abandon, restart, producer ids, and that an image is the replay of its log.

use super::*;
use highwater_core::metadata::peer::BrokerRefusal;

#[test]
fn what_is_not_committed_is_planned_on_but_not_shown() {
    let mut solo = Solo::new(&[]);
    let before = solo.image().clone();
    let request = CreateTopicsRequest { topics: vec![topic("t", 1, 1)], ..Default::default() };
    let plan =
        |solo: &Solo| solo.controller.plan_create_topics(solo.context(), &request, &[TopicId([9; 16])]);
    let first = plan(&solo);
    let end = solo.controller.appended(first.records.clone());
    assert_eq!(*solo.image(), before, "nobody sees it");
    assert_eq!(
        plan(&solo).response.topics[0].error_code,
        ErrorCode::TopicAlreadyExists,
        "but the next plan does"
    );
    assert!(solo.controller.committed(Offset(end.0 - 1)).is_none(), "half a batch is none");
    solo.controller.assert_invariants();
    solo.controller.abandon();
    assert_eq!(plan(&solo).response.topics[0].error_code, ErrorCode::None, "it never was");
    let end = solo.controller.appended(first.records.clone());
    let committed = solo.controller.committed(end).expect("it is");
    assert_eq!(committed.records, first.records);
    assert!(committed.image.topic("t").is_some());
}

#[test]
fn a_restart_after_an_unclean_stop_is_an_election() {
    let mut solo = Solo::new(&[]);
    solo.create_one(topic("t", 2, 1));
    let epoch = |solo: &Solo| {
        let topic = solo.image().topic("t").expect("it exists");
        topic.partitions.get(&PartitionIndex(1)).expect("it has two").leader_epoch
    };
    let first = solo.image().broker(NODE).expect("registered").epoch;
    let second = solo.register(1, [2; 16], false);
    assert!(second > first);
    assert_eq!(epoch(&solo), LeaderEpoch(0), "a clean stop loses nothing");
    solo.register(1, [3; 16], true);
    assert_eq!(epoch(&solo), LeaderEpoch(1));
}

#[test]
fn producer_ids_are_given_out_once() {
    let mut solo = Solo::new(&[]);
    let epoch = solo.image().broker(NODE).expect("registered").epoch;
    let mut next = ProducerId(0);
    for _ in 0..3 {
        let plan = solo.controller.plan_allocate_producer_ids(NODE, epoch);
        let block = solo.commit(plan).expect("the epoch is right");
        assert_eq!(block.first, next);
        next = ProducerId(block.first.0 + block.len);
    }
    let stale = solo.controller.plan_allocate_producer_ids(NODE, BrokerEpoch(epoch.0 - 1));
    assert_eq!((stale.records, stale.response), (Vec::new(), Err(BrokerRefusal::StaleBrokerEpoch)));
}

#[derive(Clone, Debug)]
enum Step {
    Create(u8, i32, bool),
    Delete(u8),
    Grow(u8, i32),
    Alter(u8, i8, u16),
    Quota(u8, bool),
    Restart(u8, bool),
    Ids,
    Abandon,
    Commit,
}

fn step() -> impl Strategy<Value = Step> {
    let name = 0u8..12;
    prop_oneof![
        4 => (name.clone(), 1i32..6, any::<bool>()).prop_map(|(n, p, c)| Step::Create(n, p, c)),
        2 => name.clone().prop_map(Step::Delete),
        1 => (name.clone(), 1i32..9).prop_map(|(n, p)| Step::Grow(n, p)),
        2 => (name.clone(), 0i8..2, any::<u16>()).prop_map(|(n, o, v)| Step::Alter(n, o, v)),
        1 => (name.clone(), any::<bool>()).prop_map(|(n, r)| Step::Quota(n, r)),
        1 => (name, any::<bool>()).prop_map(|(n, u)| Step::Restart(n, u)),
        1 => Just(Step::Ids),
        1 => Just(Step::Abandon),
        3 => Just(Step::Commit),
    ]
}

/// Plans a step on the latest image.
fn plan_step(solo: &Solo, step: &Step, at: usize) -> Vec<Record> {
    let name = |n: u8| format!("topic.{n}");
    match step {
        Step::Create(n, partitions, config) => {
            let mut topic = topic(&name(*n), *partitions, 1);
            if *config {
                topic = with_config(topic, "retention.ms", Some("5"));
            }
            let request = CreateTopicsRequest { topics: vec![topic], ..Default::default() };
            let id = TopicId((at as u128 + 1).to_be_bytes());
            solo.controller.plan_create_topics(solo.context(), &request, &[id]).records
        }
        Step::Delete(n) => {
            let request = DeleteTopicsRequest { topic_names: vec![name(*n)], ..Default::default() };
            solo.controller.plan_delete_topics(solo.context(), &request).records
        }
        Step::Grow(n, count) => {
            let topics = vec![CreatePartitionsTopic { name: name(*n), count: *count, assignments: None }];
            solo.controller
                .plan_create_partitions(&CreatePartitionsRequest { topics, ..Default::default() })
                .records
        }
        Step::Alter(n, operation, value) => {
            let config = IncrementalAlterConfigsRequestAlterableConfig {
                name: "segment.ms".into(),
                config_operation: *operation,
                value: Some((i32::from(*value) + 1).to_string()),
            };
            let resource = IncrementalAlterConfigsRequestResource {
                resource_type: TOPIC,
                resource_name: name(*n),
                configs: vec![config],
            };
            let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
            solo.controller.plan_incremental_alter_configs(solo.context(), &request).records
        }
        Step::Quota(n, remove) => {
            let entity = vec![EntityData { entity_type: "user".into(), entity_name: Some(name(*n)) }];
            let ops = vec![OpData { key: "producer_byte_rate".into(), value: 7.0, remove: *remove }];
            let entries = vec![AlterClientQuotasRequestEntryData { entity, ops }];
            solo.controller
                .plan_alter_client_quotas(&AlterClientQuotasRequest { entries, validate_only: false })
                .records
        }
        Step::Restart(n, after_unclean_stop) => {
            let before = solo.controller.latest().broker(NODE).map(|registration| registration.epoch);
            let announced = RegisterBroker {
                directory_id: [1; 16],
                endpoints: Vec::new(),
                rack: None,
                features: Vec::new(),
                clean_stop_of: before.filter(|_| !after_unclean_stop),
            };
            let registration = Registration { id: NODE, incarnation: [*n; 16], announced };
            solo.controller.plan_register_only_broker(&registration).records
        }
        Step::Ids => {
            let epoch = solo.controller.latest().broker(NODE).expect("registered").epoch;
            solo.controller.plan_allocate_producer_ids(NODE, epoch).records
        }
        Step::Abandon | Step::Commit => Vec::new(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn the_image_is_the_replay_of_the_log(steps in prop::collection::vec(step(), 1..120)) {
        let mut solo = Solo::new(&[]);
        // What a disk would hold: bytes, of which those beyond the commit may go.
        let mut log: Vec<Vec<u8>> = Vec::new();
        let base = solo.image().clone();
        for (at, step) in steps.iter().enumerate() {
            let committed = usize::try_from(solo.image().offset().0 - base.offset().0).expect("it is ahead");
            match step {
                Step::Abandon => {
                    solo.controller.abandon();
                    log.truncate(committed);
                }
                Step::Commit => {
                    let end = solo.controller.latest().offset();
                    let _ = solo.controller.committed(end);
                }
                step => {
                    let records = plan_step(&solo, step, at);
                    if !records.is_empty() {
                        log.extend(records.iter().map(Record::encode));
                        solo.controller.appended(records);
                    }
                }
            }
            solo.controller.assert_invariants();
        }
        let records: Vec<_> = log.iter().map(|bytes| Record::decode(bytes).expect("written above")).collect();
        prop_assert_eq!(&base.replayed(&records), solo.controller.latest());
        let snapshot = solo.controller.latest().snapshot();
        let restored = MetadataImage::restore(&snapshot, solo.controller.latest().offset());
        prop_assert_eq!(&restored, solo.controller.latest());
        restored.assert_invariants();
    }
}

#[test]
fn ten_thousand_topics_share_what_does_not_change() {
    let mut solo = Solo::new(&[]);
    let mut images = Vec::new();
    for i in 0..10_000u32 {
        let request =
            CreateTopicsRequest { topics: vec![topic(&format!("t-{i}"), 1, 1)], ..Default::default() };
        let id = TopicId((u128::from(i) + 1).to_be_bytes());
        let plan = solo.controller.plan_create_topics(solo.context(), &request, &[id]);
        let end = solo.controller.appended(plan.records);
        let committed = solo.controller.committed(end).expect("it is");
        // readers hold old images while new ones are made
        if i % 100 == 0 {
            images.push(committed.image);
        }
    }
    assert_eq!(solo.image().topic_count(), 10_000);
    assert!(images.iter().zip((1..).step_by(100)).all(|(image, count)| image.topic_count() == count));
    solo.controller.assert_invariants();
}
