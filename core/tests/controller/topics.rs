//! Topics made, deleted and grown.

use super::*;

#[test]
fn a_topic_is_created_with_what_was_asked_for() {
    let mut solo = Solo::new(&[("num.partitions", "3")]);
    let made = solo.create_one(with_config(topic("t", 7, 1), "retention.ms", Some("5")));
    assert_eq!((made.error_code, made.num_partitions, made.replication_factor), (ErrorCode::None, 7, 1));
    let configs = made.configs.expect("version 5 and later");
    let retention = configs.iter().find(|config| config.name == "retention.ms").expect("it is there");
    assert_eq!((retention.value.as_deref(), retention.config_source), (Some("5"), 1));
    assert!(configs.iter().any(|config| config.name == "max.message.bytes" && config.config_source == 5));
    let kept = solo.image().topic("t").expect("it exists");
    assert_eq!((kept.id, kept.partition_count()), (TopicId([1; 16]), 7));
    assert!(kept.partitions.values().all(|state| state.leader == Some(NODE) && state.isr == [NODE]));
    assert_eq!(solo.create_one(topic("defaults", -1, -1)).num_partitions, 3);
    let by_hand = solo.create_one(assigned("by-hand", &[(1, &[1]), (0, &[1])]));
    assert_eq!((by_hand.error_code, by_hand.num_partitions), (ErrorCode::None, 2));
}

#[test]
fn topics_that_cannot_be_are_refused_one_by_one() {
    let mut solo = Solo::new(&[]);
    solo.create_one(topic("old", 1, 1));
    solo.create_one(topic("with.dot", 1, 1));
    let cases = [
        (topic("old", 1, 1), ErrorCode::TopicAlreadyExists, "Topic 'old' already exists."),
        (topic("..", 1, 1), ErrorCode::InvalidTopicException, "Topic name is invalid: '..' is not allowed"),
        (
            topic("with_dot", 1, 1),
            ErrorCode::InvalidTopicException,
            "Topic 'with_dot' collides with existing topic: with.dot",
        ),
        (
            topic("__cluster_metadata", 1, 1),
            ErrorCode::InvalidRequest,
            "Creation of internal topic __cluster_metadata is prohibited.",
        ),
        (
            topic("t", 0, 1),
            ErrorCode::InvalidPartitions,
            "Number of partitions was set to an invalid non-positive value.",
        ),
        (
            topic("t", i32::MAX, 1),
            ErrorCode::InvalidPartitions,
            "A request may create at most 100000 partitions.",
        ),
        (
            topic("t", 1, 0),
            ErrorCode::InvalidReplicationFactor,
            "Replication factor must be larger than 0, or -1 to use the default value.",
        ),
        (
            topic("t", 1, 2),
            ErrorCode::InvalidReplicationFactor,
            "Unable to replicate the partition 2 time(s): The target replication factor of 2 cannot be reached \
             because only 1 broker(s) are registered.",
        ),
        (
            CreatableTopic { num_partitions: 2, ..assigned("t", &[(0, &[1])]) },
            ErrorCode::InvalidRequest,
            "A manual partition assignment was specified, but numPartitions was not set to -1.",
        ),
        (
            assigned("t", &[(0, &[1]), (2, &[1])]),
            ErrorCode::InvalidReplicaAssignment,
            "partitions should be a consecutive 0-based integer sequence",
        ),
        (
            assigned("t", &[(0, &[1]), (0, &[1])]),
            ErrorCode::InvalidReplicaAssignment,
            "Found multiple manual partition assignments for partition 0",
        ),
        (
            assigned("t", &[(0, &[9])]),
            ErrorCode::InvalidReplicaAssignment,
            "The manual partition assignment includes broker 9, but no such broker is registered.",
        ),
        (
            assigned("t", &[(0, &[1, 1])]),
            ErrorCode::InvalidReplicaAssignment,
            "The manual partition assignment includes the broker 1 more than once.",
        ),
        (
            assigned("t", &[(0, &[])]),
            ErrorCode::InvalidReplicaAssignment,
            "The manual partition assignment includes an empty replica list.",
        ),
        (
            with_config(topic("t", 1, 1), "no.such.setting", Some("1")),
            ErrorCode::InvalidConfig,
            "Unknown topic config name: no.such.setting",
        ),
        (
            with_config(topic("t", 1, 1), "retention.ms", Some("soon")),
            ErrorCode::InvalidConfig,
            "Invalid value soon for configuration retention.ms: Not a number of type LONG",
        ),
        (
            with_config(topic("t", 1, 1), "retention.ms", None),
            ErrorCode::InvalidConfig,
            "Null value not supported for topic configs: retention.ms",
        ),
    ];
    let offset = solo.image().offset();
    for (topic, code, message) in cases {
        let result = solo.create_one(topic.clone());
        assert_eq!((result.error_code, result.error_message.as_deref()), (code, Some(message)), "{topic:?}");
    }
    assert_eq!(solo.image().offset(), offset, "nothing was written");
    // one bad topic does not spoil the good ones, and a name twice is refused once
    let topics = vec![topic("bad", 0, 1), topic("good", 1, 1), topic("twice", 1, 1), topic("twice", 1, 1)];
    let results = solo.create(CreateTopicsRequest { topics, ..Default::default() });
    let codes: Vec<_> = results.iter().map(|result| (result.name.as_str(), result.error_code)).collect();
    assert_eq!(
        codes,
        [
            ("bad", ErrorCode::InvalidPartitions),
            ("good", ErrorCode::None),
            ("twice", ErrorCode::InvalidRequest)
        ]
    );
    let colliding = vec![topic("x.y", 1, 1), topic("x_y", 1, 1)];
    let results = solo.create(CreateTopicsRequest { topics: colliding, ..Default::default() });
    assert_eq!(results[1].error_code, ErrorCode::InvalidTopicException);
}

#[test]
fn validate_only_changes_nothing() {
    let mut solo = Solo::new(&[]);
    let request =
        CreateTopicsRequest { topics: vec![topic("t", 3, 1)], validate_only: true, ..Default::default() };
    let result = solo.create(request).remove(0);
    assert_eq!((result.error_code, result.topic_id), (ErrorCode::None, Uuid::ZERO));
    assert!(solo.image().topic("t").is_none());
    solo.create_one(topic("t", 1, 1));
    let more = CreatePartitionsTopic { name: "t".into(), count: 5, assignments: None };
    let request = CreatePartitionsRequest { topics: vec![more], validate_only: true, ..Default::default() };
    assert!(solo.controller.plan_create_partitions(&request).records.is_empty());
}

#[test]
fn topics_are_deleted_by_name_and_id() {
    let mut solo = Solo::new(&[]);
    let delete = |solo: &mut Solo, topics: Vec<DeleteTopicState>, names: &[&str]| {
        let topic_names = names.iter().map(|name| (*name).to_owned()).collect();
        let request = DeleteTopicsRequest { topics, topic_names, ..Default::default() };
        let plan = solo.controller.plan_delete_topics(solo.context(), &request);
        let results = solo.commit(plan).responses;
        results.into_iter().map(|result| (result.name, result.error_code)).collect::<Vec<_>>()
    };
    let state = |name: Option<&str>, id: u8| DeleteTopicState {
        name: name.map(Into::into),
        topic_id: Uuid([id; 16]),
    };
    solo.create_one(with_config(topic("a", 1, 1), "retention.ms", Some("5")));
    solo.create_one(topic("b", 1, 1));
    let name = |name: &str| Some(name.to_owned());
    assert_eq!(
        delete(&mut solo, Vec::new(), &["a", "nope"]),
        [(name("a"), ErrorCode::None), (name("nope"), ErrorCode::UnknownTopicOrPartition)]
    );
    assert_eq!(
        delete(&mut solo, vec![state(None, 2), state(None, 1), state(None, 0), state(Some("b"), 2)], &[]),
        [
            (name("b"), ErrorCode::None),
            (None, ErrorCode::UnknownTopicId),
            (None, ErrorCode::InvalidRequest),
            (name("b"), ErrorCode::InvalidRequest)
        ]
    );
    assert_eq!(solo.image().topic_count(), 0);
    // of the same name, but another topic: nothing of the old one is left
    solo.create_one(topic("a", 1, 1));
    assert_eq!(solo.setting(TOPIC, "a", "retention.ms").1, 5);
    solo.fixed.insert("delete.topic.enable".into(), "false".into());
    assert_eq!(delete(&mut solo, Vec::new(), &["a"]), [(name("a"), ErrorCode::TopicDeletionDisabled)]);
}

/// As in Kafka: somebody made a mistake, and what is deleted is gone.
#[test]
fn a_topic_that_is_named_twice_is_kept() {
    let mut solo = Solo::new(&[]);
    let by_name = |name: &str| DeleteTopicState { name: Some(name.into()), topic_id: Uuid::ZERO };
    let by_id = |id: u8| DeleteTopicState { name: None, topic_id: Uuid([id; 16]) };
    for name in ["a", "b"] {
        solo.create_one(topic(name, 1, 1));
    }
    for (topics, why, named) in [
        (vec![by_name("a"), by_name("a")], "Duplicate topic name.", Some("a")),
        (vec![by_name("nope"), by_name("nope")], "Duplicate topic name.", Some("nope")),
        (vec![by_id(1), by_id(1), by_id(1)], "Duplicate topic id.", None),
        (vec![by_id(9), by_id(9)], "Duplicate topic id.", None),
        (
            vec![by_name("a"), by_id(1)],
            "The provided topic name maps to an ID that was already supplied.",
            Some("a"),
        ),
        (
            vec![by_id(1), by_name("a")],
            "The provided topic name maps to an ID that was already supplied.",
            Some("a"),
        ),
    ] {
        let request = DeleteTopicsRequest { topics, ..Default::default() };
        let plan = solo.controller.plan_delete_topics(solo.context(), &request);
        let responses = solo.commit(plan).responses;
        let said: Vec<_> =
            responses.iter().map(|r| (r.name.as_deref(), r.error_code, r.error_message.as_deref())).collect();
        assert_eq!(said, [(named, ErrorCode::InvalidRequest, Some(why))]);
        assert_eq!(solo.image().topic_count(), 2);
    }
    let topics = vec![by_name("a"), by_id(1), by_name("a")];
    let request = DeleteTopicsRequest { topics, ..Default::default() };
    let plan = solo.controller.plan_delete_topics(solo.context(), &request);
    assert_eq!((plan.records.len(), plan.response.responses.len()), (0, 2), "each has an answer");
    let topics = vec![by_name("a"), by_name("b"), by_name("a")];
    let request = DeleteTopicsRequest { topics, ..Default::default() };
    let plan = solo.controller.plan_delete_topics(solo.context(), &request);
    solo.commit(plan);
    assert!(solo.image().topic("a").is_some() && solo.image().topic("b").is_none(), "the others are deleted");
}

#[test]
fn partitions_are_added_never_taken() {
    let mut solo = Solo::new(&[]);
    solo.create_one(topic("t", 3, 1));
    let mut grow = |name: &str, count, assignments: Option<&[i32]>| {
        let assignments = assignments.map(|brokers| {
            brokers.iter().map(|id| CreatePartitionsAssignment { broker_ids: vec![*id] }).collect()
        });
        let topics = vec![CreatePartitionsTopic { name: name.into(), count, assignments }];
        let plan =
            solo.controller.plan_create_partitions(&CreatePartitionsRequest { topics, ..Default::default() });
        let result = solo.commit(plan).results.remove(0);
        (result.error_code, result.error_message)
    };
    let refused = |code, message: &str| (code, Some(message.to_owned()));
    assert_eq!(
        grow("t", 3, None),
        refused(ErrorCode::InvalidPartitions, "Topic already has 3 partition(s).")
    );
    assert_eq!(
        grow("t", 2, None),
        refused(
            ErrorCode::InvalidPartitions,
            "The topic t currently has 3 partition(s); 2 would not be an increase."
        )
    );
    assert_eq!(grow("nope", 2, None).0, ErrorCode::UnknownTopicOrPartition);
    assert_eq!(
        grow("t", 5, Some(&[1])),
        refused(
            ErrorCode::InvalidReplicaAssignment,
            "Attempted to add 2 additional partition(s), but only 1 assignment(s) were specified."
        )
    );
    assert_eq!(grow("t", 5, Some(&[1, 1])), (ErrorCode::None, None));
    assert_eq!(grow("t", 9, None), (ErrorCode::None, None));
    assert_eq!(solo.image().topic("t").map(|topic| topic.partition_count()), Some(9));
}

#[test]
fn internal_topics_make_do_with_the_brokers_there_are() {
    let mut solo = Solo::new(&[]);
    let plan = |solo: &Solo| {
        let configs = [("cleanup.policy", "compact"), ("compression.type", "producer")];
        let id = TopicId([9; 16]);
        solo.controller.plan_internal_topic(solo.context(), "__consumer_offsets", 50, 3, &configs, id)
    };
    let first = plan(&solo);
    assert_eq!(solo.commit(first), Ok(()));
    let again = plan(&solo);
    assert_eq!((again.records.len(), again.response), (0, Ok(())));
    let request = MetadataRequest { topics: None, ..Default::default() };
    let answer = answer_metadata(solo.image(), solo.asker("PLAINTEXT"), &request, 13).response;
    assert!(answer.topics[0].is_internal);
    assert_eq!(
        (answer.topics[0].partitions.len(), answer.topics[0].partitions[0].replica_nodes.len()),
        (50, 1)
    );
}
