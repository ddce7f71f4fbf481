//! The controller from outside: requests in, records and answers out, and the image that comes of them.

use highwater_core::config::ConfigMap;
use highwater_core::ids::{BrokerEpoch, BrokerId, LeaderEpoch, Offset, PartitionIndex, ProducerId, TopicId};
use highwater_core::metadata::{
    Asker, Controller, Endpoint, MetadataImage, Plan, PlanContext, Record, Registration,
    answer_client_quotas, answer_cluster, answer_config_resources, answer_configs, answer_metadata,
    answer_topic_partitions,
};
use highwater_protocol::messages::*;
use highwater_protocol::{ErrorCode, Uuid};
use proptest::prelude::*;

/// A controller whose appends are committed at once, with its node's settings.
struct Solo {
    controller: Controller,
    fixed: ConfigMap,
    topics_made: u8,
}

const NODE: BrokerId = BrokerId(1);

impl Solo {
    fn new(fixed: &[(&str, &str)]) -> Self {
        let fixed = fixed.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let mut solo = Self { controller: Controller::default(), fixed, topics_made: 0 };
        let cluster = solo.controller.plan_cluster("cluster");
        solo.commit(cluster);
        solo.register(1, [1; 16], false);
        solo
    }

    fn commit<R>(&mut self, plan: Plan<R>) -> R {
        if !plan.records.is_empty() {
            let end = self.controller.appended(plan.records);
            assert!(self.controller.committed(end).is_some());
        }
        self.controller.assert_invariants();
        plan.response
    }

    fn register(&mut self, id: i32, incarnation: [u8; 16], after_unclean_stop: bool) -> BrokerEpoch {
        let endpoints = vec![
            Endpoint { listener: "PLAINTEXT".into(), host: format!("b{id}"), port: 9092 },
            Endpoint { listener: "OUT".into(), host: format!("out{id}"), port: 1 },
        ];
        let registration =
            Registration { id: BrokerId(id), incarnation, endpoints, rack: None, after_unclean_stop };
        let plan = self.controller.plan_register_broker(&registration);
        self.commit(plan)
    }

    fn context(&self) -> PlanContext<'_> {
        PlanContext { node: NODE, fixed: &self.fixed }
    }

    fn create(&mut self, request: CreateTopicsRequest) -> Vec<CreatableTopicResult> {
        let ids: Vec<_> = (0..request.topics.len())
            .map(|_| {
                self.topics_made += 1;
                TopicId([self.topics_made; 16])
            })
            .collect();
        let plan = self.controller.plan_create_topics(self.context(), &request, &ids);
        self.commit(plan).topics
    }

    fn create_one(&mut self, topic: CreatableTopic) -> CreatableTopicResult {
        self.create(CreateTopicsRequest { topics: vec![topic], ..Default::default() }).remove(0)
    }

    fn alter(
        &mut self,
        kind: i8,
        name: &str,
        changes: &[(&str, i8, Option<&str>)],
    ) -> (ErrorCode, Option<String>) {
        let configs = changes
            .iter()
            .map(|(name, operation, value)| IncrementalAlterConfigsRequestAlterableConfig {
                name: (*name).into(),
                config_operation: *operation,
                value: value.map(Into::into),
            })
            .collect();
        let resource = IncrementalAlterConfigsRequestResource {
            resource_type: kind,
            resource_name: name.into(),
            configs,
        };
        let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
        let plan = self.controller.plan_incremental_alter_configs(self.context(), &request);
        let mut response = self.commit(plan);
        let answer = response.responses.remove(0);
        (answer.error_code, answer.error_message)
    }

    fn image(&self) -> &MetadataImage {
        self.controller.image()
    }

    fn asker<'a>(&'a self, listener: &'a str) -> Asker<'a> {
        Asker { listener, node: NODE, fixed: &self.fixed, controller: Some(NODE) }
    }

    fn describe(&self, kind: i8, name: &str) -> DescribeConfigsResult {
        let resource = DescribeConfigsResource {
            resource_type: kind,
            resource_name: name.into(),
            configuration_keys: None,
        };
        let request = DescribeConfigsRequest {
            resources: vec![resource],
            include_synonyms: true,
            include_documentation: true,
        };
        answer_configs(self.image(), self.asker("PLAINTEXT"), &ConfigMap::new(), &request).results.remove(0)
    }

    /// Value and source of one setting.
    fn setting(&self, kind: i8, name: &str, setting: &str) -> (Option<String>, i8) {
        let described = self.describe(kind, name);
        let entry = described.configs.into_iter().find(|config| config.name == setting);
        entry.map(|entry| (entry.value, entry.config_source)).expect("it is described")
    }
}

fn topic(name: &str, partitions: i32, factor: i16) -> CreatableTopic {
    CreatableTopic {
        name: name.into(),
        num_partitions: partitions,
        replication_factor: factor,
        ..Default::default()
    }
}

fn with_config(mut topic: CreatableTopic, name: &str, value: Option<&str>) -> CreatableTopic {
    topic.configs.push(CreatableTopicConfig { name: name.into(), value: value.map(Into::into) });
    topic
}

fn assigned(name: &str, replicas: &[(i32, &[i32])]) -> CreatableTopic {
    let assignments = replicas.iter().map(|(partition_index, brokers)| CreatableReplicaAssignment {
        partition_index: *partition_index,
        broker_ids: brokers.to_vec(),
    });
    CreatableTopic { assignments: assignments.collect(), ..topic(name, -1, -1) }
}

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const GROUP: i8 = 32;

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
        delete(&mut solo, Vec::new(), &["a", "a", "nope"]),
        [
            (name("a"), ErrorCode::None),
            (name("a"), ErrorCode::InvalidRequest),
            (name("nope"), ErrorCode::UnknownTopicOrPartition)
        ]
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
fn settings_are_set_deleted_appended_and_subtracted() {
    let mut solo = Solo::new(&[("log.retention.hours", "1")]);
    solo.create_one(topic("t", 1, 1));
    let ok = (ErrorCode::None, None);
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(solo.setting(TOPIC, "t", "retention.ms"), (text("3600000"), 4));
    assert_eq!(solo.alter(TOPIC, "t", &[("retention.ms", 0, Some("99"))]), ok);
    assert_eq!(solo.setting(TOPIC, "t", "retention.ms"), (text("99"), 1));
    assert_eq!(solo.alter(TOPIC, "t", &[("retention.ms", 1, None)]), ok);
    assert_eq!(solo.setting(TOPIC, "t", "retention.ms"), (text("3600000"), 4));
    assert_eq!(solo.alter(TOPIC, "t", &[("cleanup.policy", 2, Some("compact"))]), ok);
    assert_eq!(solo.setting(TOPIC, "t", "cleanup.policy").0, text("delete,compact"));
    assert_eq!(solo.alter(TOPIC, "t", &[("cleanup.policy", 3, Some("delete"))]), ok);
    assert_eq!(solo.setting(TOPIC, "t", "cleanup.policy").0, text("compact"));
    assert_eq!(solo.alter(GROUP, "g", &[("consumer.session.timeout.ms", 0, Some("50000"))]), ok);
    assert_eq!(solo.setting(GROUP, "g", "consumer.session.timeout.ms"), (text("50000"), 8));
    // a broker's dynamic setting reaches the topics that do not set it
    assert_eq!(solo.alter(BROKER, "", &[("log.retention.ms", 0, Some("77"))]), ok);
    assert_eq!(solo.setting(TOPIC, "t", "retention.ms"), (text("77"), 3));
    assert_eq!(solo.alter(BROKER, "1", &[("log.retention.ms", 0, Some("66"))]), ok);
    assert_eq!(solo.setting(TOPIC, "t", "retention.ms"), (text("66"), 2));
    assert_eq!(solo.image().topic_config(NODE, &solo.fixed, TopicId([1; 16])).retention_ms, Some(66));
}

#[test]
fn bad_changes_of_settings_are_refused_and_change_nothing() {
    let mut solo = Solo::new(&[]);
    solo.create_one(topic("t", 1, 1));
    let long = "x".repeat(40_000);
    let cases: &[(i8, &str, &[(&str, i8, Option<&str>)], ErrorCode)] = &[
        (TOPIC, "t", &[("segment.bytes", 0, Some("-4"))], ErrorCode::InvalidConfig),
        (TOPIC, "t", &[("no.such", 0, Some("1"))], ErrorCode::InvalidConfig),
        (TOPIC, "t", &[("retention.ms", 2, Some("1"))], ErrorCode::InvalidConfig),
        (TOPIC, "t", &[("retention.ms", 0, None)], ErrorCode::InvalidRequest),
        (TOPIC, "t", &[("retention.ms", 7, Some("1"))], ErrorCode::InvalidRequest),
        (TOPIC, "t", &[("retention.ms", 0, Some("1")), ("retention.ms", 1, None)], ErrorCode::InvalidRequest),
        (TOPIC, "t", &[("leader.replication.throttled.replicas", 0, Some(&long))], ErrorCode::InvalidConfig),
        (TOPIC, "nope", &[("retention.ms", 0, Some("1"))], ErrorCode::UnknownTopicOrPartition),
        (TOPIC, "", &[("retention.ms", 0, Some("1"))], ErrorCode::InvalidRequest),
        (BROKER, "1", &[("num.partitions", 0, Some("2"))], ErrorCode::InvalidRequest),
        (BROKER, "", &[("listeners", 0, Some("PLAINTEXT://:1"))], ErrorCode::InvalidRequest),
        (BROKER, "", &[("log.retention.ms", 0, Some("0"))], ErrorCode::InvalidRequest),
        (BROKER, "9", &[("log.retention.ms", 0, Some("1"))], ErrorCode::BrokerIdNotRegistered),
        (BROKER, "one", &[("log.retention.ms", 0, Some("1"))], ErrorCode::InvalidRequest),
        (GROUP, "", &[("consumer.session.timeout.ms", 0, Some("1"))], ErrorCode::InvalidRequest),
        (GROUP, "g", &[("no.such", 0, Some("1"))], ErrorCode::InvalidConfig),
        (99, "g", &[], ErrorCode::InvalidRequest),
    ];
    let offset = solo.image().offset();
    for (kind, name, changes, code) in cases {
        let (error, message) = solo.alter(*kind, name, changes);
        assert_eq!(error, *code, "{changes:?}: {message:?}");
    }
    assert_eq!(solo.image().offset(), offset);
}

#[test]
fn alter_configs_replaces_what_was_set() {
    let mut solo = Solo::new(&[]);
    let t = with_config(topic("t", 1, 1), "retention.ms", Some("5"));
    solo.create_one(with_config(t, "segment.ms", Some("6")));
    let config = AlterableConfig { name: "segment.ms".into(), value: Some("7".into()) };
    let resource =
        AlterConfigsResource { resource_type: TOPIC, resource_name: "t".into(), configs: vec![config] };
    let request = AlterConfigsRequest { resources: vec![resource.clone()], validate_only: false };
    let plan = solo.controller.plan_alter_configs(solo.context(), &request);
    assert_eq!(plan.records.len(), 2);
    assert_eq!(solo.commit(plan).responses[0].error_code, ErrorCode::None);
    assert_eq!(
        (solo.setting(TOPIC, "t", "retention.ms").1, solo.setting(TOPIC, "t", "segment.ms").1),
        (5, 1)
    );
    let twice = AlterConfigsRequest { resources: vec![resource.clone(), resource], validate_only: false };
    let plan = solo.controller.plan_alter_configs(solo.context(), &twice);
    assert!(plan.records.is_empty());
    assert!(plan.response.responses.iter().all(|response| response.error_code == ErrorCode::InvalidRequest));
}

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
    let stale = solo.controller.plan_stop_broker(NODE, first);
    assert_eq!(stale.response, Err(ErrorCode::StaleBrokerEpoch));
    assert_eq!(
        solo.controller.plan_stop_broker(BrokerId(9), first).response,
        Err(ErrorCode::BrokerIdNotRegistered)
    );
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
    assert_eq!((stale.records, stale.response), (Vec::new(), Err(ErrorCode::StaleBrokerEpoch)));
}

#[test]
fn quotas_are_kept_and_found() {
    let mut solo = Solo::new(&[]);
    let entity = |parts: &[(&str, Option<&str>)]| -> Vec<EntityData> {
        parts
            .iter()
            .map(|(kind, name)| EntityData { entity_type: (*kind).into(), entity_name: name.map(Into::into) })
            .collect()
    };
    let mut alter = |parts: &[(&str, Option<&str>)], key: &str, value: f64, remove| {
        let ops = vec![OpData { key: key.into(), value, remove }];
        let entries = vec![AlterClientQuotasRequestEntryData { entity: entity(parts), ops }];
        let request = AlterClientQuotasRequest { entries, validate_only: false };
        let plan = solo.controller.plan_alter_client_quotas(&request);
        solo.commit(plan).entries[0].error_code
    };
    let user = [("user", Some("u"))];
    assert_eq!(alter(&user, "producer_byte_rate", 12345678.0, false), ErrorCode::None);
    assert_eq!(
        alter(&[("client-id", Some("c")), ("user", None)], "request_percentage", 0.5, false),
        ErrorCode::None
    );
    assert_eq!(alter(&[("ip", Some("::1"))], "connection_creation_rate", 5.0, false), ErrorCode::None);
    for (parts, key, value) in [
        (&[][..], "producer_byte_rate", 1.0),
        (&[("group", None)], "producer_byte_rate", 1.0),
        (&[("user", Some(""))], "producer_byte_rate", 1.0),
        (&[("user", None), ("user", Some("u"))], "producer_byte_rate", 1.0),
        (&[("user", None), ("ip", None)], "connection_creation_rate", 1.0),
        (&[("ip", Some("here"))], "connection_creation_rate", 1.0),
        (&[("ip", None)], "producer_byte_rate", 1.0),
        (&user, "connection_creation_rate", 1.0),
        (&user, "no_such_rate", 1.0),
        (&user, "producer_byte_rate", 1.5),
        (&user, "producer_byte_rate", 0.0),
        (&user, "producer_byte_rate", f64::NAN),
    ] {
        assert_eq!(alter(parts, key, value, false), ErrorCode::InvalidRequest, "{parts:?} {key} {value}");
    }
    assert_eq!(alter(&user, "consumer_byte_rate", 0.0, true), ErrorCode::None, "there is nothing to remove");
    let find = |components: &[(&str, i8, Option<&str>)], strict| {
        let components = components
            .iter()
            .map(|(kind, match_type, name)| ComponentData {
                entity_type: (*kind).into(),
                match_type: *match_type,
                r#match: name.map(Into::into),
            })
            .collect();
        let request = DescribeClientQuotasRequest { components, strict };
        answer_client_quotas(solo.image(), &request)
    };
    let found = find(&[("user", 0, Some("u"))], true).entries.expect("no error");
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].values, [ValueData { key: "producer_byte_rate".into(), value: 12345678.0 }]);
    let count =
        |components: &[(&str, i8, Option<&str>)], strict| find(components, strict).entries.map(|e| e.len());
    assert_eq!(count(&[], false), Some(3));
    assert_eq!(count(&[], true), Some(0));
    assert_eq!(count(&[("user", 2, None)], false), Some(2));
    assert_eq!(count(&[("user", 1, None)], false), Some(1));
    assert_eq!(count(&[("user", 1, None)], true), Some(0));
    assert_eq!(find(&[("user", 0, None)], false).error_code, ErrorCode::InvalidRequest);
    assert_eq!(find(&[("group", 0, Some("g"))], false).error_code, ErrorCode::UnsupportedVersion);
}

#[test]
fn metadata_says_what_exists_and_what_to_create() {
    let mut solo = Solo::new(&[]);
    solo.create_one(topic("b", 1, 1));
    solo.create_one(topic("a", 2, 1));
    let wanted = |name: &str| MetadataRequestTopic { name: Some(name.into()), ..Default::default() };
    let by_id = |id: u8| MetadataRequestTopic { name: None, topic_id: Uuid([id; 16]) };
    let ask = |solo: &Solo, topics: Option<Vec<MetadataRequestTopic>>, version| {
        let request = MetadataRequest { topics, ..Default::default() };
        answer_metadata(solo.image(), solo.asker("PLAINTEXT"), &request, version)
    };
    let names = |answer: &MetadataResponse| -> Vec<_> {
        answer.topics.iter().map(|topic| (topic.name.clone().unwrap_or_default(), topic.error_code)).collect()
    };
    let all = ask(&solo, None, 13).response;
    assert_eq!(names(&all), [("a".into(), ErrorCode::None), ("b".into(), ErrorCode::None)]);
    assert_eq!((all.controller_id, all.cluster_id.as_deref()), (1, Some("cluster")));
    assert_eq!((all.brokers[0].host.as_str(), all.brokers[0].port), ("b1", 9092));
    assert_eq!(names(&ask(&solo, Some(Vec::new()), 0).response).len(), 2, "version 0 has no null");
    assert_eq!(names(&ask(&solo, Some(Vec::new()), 1).response), []);
    let some = ask(&solo, Some(vec![wanted("a"), wanted("no"), wanted("no/good"), by_id(1), by_id(7)]), 12);
    assert_eq!(
        names(&some.response),
        [
            ("a".into(), ErrorCode::None),
            ("no".into(), ErrorCode::UnknownTopicOrPartition),
            ("no/good".into(), ErrorCode::InvalidTopicException),
            ("b".into(), ErrorCode::None),
            (String::new(), ErrorCode::UnknownTopicId)
        ]
    );
    assert_eq!(some.auto_create, ["no"]);
    // through another listener other addresses are told, through an unknown one no leader
    let request = MetadataRequest { topics: None, ..Default::default() };
    let out = answer_metadata(solo.image(), solo.asker("out"), &request, 13).response;
    assert_eq!(out.brokers[0].host, "out1");
    let nowhere = answer_metadata(solo.image(), solo.asker("NOWHERE"), &request, 13).response;
    assert_eq!((nowhere.brokers.len(), nowhere.topics[0].partitions[0].leader_id), (0, -1));
    assert_eq!(nowhere.topics[0].partitions[0].error_code, ErrorCode::ListenerNotFound);
    solo.fixed.insert("auto.create.topics.enable".into(), "false".into());
    assert!(ask(&solo, Some(vec![wanted("no")]), 12).auto_create.is_empty());
}

#[test]
fn topic_partitions_come_in_pages() {
    let mut solo = Solo::new(&[]);
    for (name, partitions) in [("a", 3), ("b", 1), ("c", 4)] {
        solo.create_one(topic(name, partitions, 1));
    }
    let mut cursor = None;
    let mut seen = Vec::new();
    for _ in 0..10 {
        let request =
            DescribeTopicPartitionsRequest { topics: Vec::new(), response_partition_limit: 2, cursor };
        let page = answer_topic_partitions(solo.image(), solo.asker("PLAINTEXT"), &request);
        let count: usize = page.topics.iter().map(|topic| topic.partitions.len()).sum();
        assert!(count <= 2);
        for topic in &page.topics {
            let name = topic.name.clone().expect("it has a name");
            seen.extend(
                topic.partitions.iter().map(|partition| format!("{name}{}", partition.partition_index)),
            );
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, ["a0", "a1", "a2", "b0", "c0", "c1", "c2", "c3"]);
    let names =
        ["c", "nope", "a"].map(|name| DescribeTopicPartitionsRequestTopicRequest { name: name.into() });
    let request = DescribeTopicPartitionsRequest { topics: names.into(), ..Default::default() };
    let page = answer_topic_partitions(solo.image(), solo.asker("PLAINTEXT"), &request);
    let answered: Vec<_> =
        page.topics.iter().map(|topic| (topic.name.as_deref(), topic.error_code)).collect();
    assert_eq!(
        answered,
        [
            (Some("a"), ErrorCode::None),
            (Some("c"), ErrorCode::None),
            (Some("nope"), ErrorCode::UnknownTopicOrPartition)
        ]
    );
}

#[test]
fn configs_are_described_with_source_synonyms_type_and_words() {
    let solo = Solo::new(&[("log.segment.bytes", "2000000"), ("ssl.keystore.password", "secret")]);
    let described = solo.describe(BROKER, "1");
    assert_eq!(described.error_code, ErrorCode::None);
    let entry = |name: &str| described.configs.iter().find(|config| config.name == name).expect("described");
    let segment = entry("log.segment.bytes");
    assert_eq!(
        (segment.value.as_deref(), segment.config_source, segment.config_type),
        (Some("2000000"), 4, 3)
    );
    assert!(!segment.read_only && entry("num.partitions").read_only);
    let synonyms: Vec<_> = segment.synonyms.iter().map(|s| (s.value.as_deref(), s.source)).collect();
    assert_eq!(synonyms, [(Some("2000000"), 4), (Some("1073741824"), 5)]);
    assert!(segment.documentation.as_ref().is_some_and(|doc| !doc.is_empty()));
    let password = entry("ssl.keystore.password");
    assert!(password.is_sensitive && password.value.is_none());
    assert!(password.synonyms.iter().all(|synonym| synonym.value.is_none()), "nor in a synonym");
    for (kind, name, code) in [
        (BROKER, "2", ErrorCode::InvalidRequest),
        (BROKER, "x", ErrorCode::InvalidRequest),
        (TOPIC, "nope", ErrorCode::UnknownTopicOrPartition),
        (TOPIC, "n/a", ErrorCode::InvalidTopicException),
        (GROUP, "", ErrorCode::InvalidRequest),
        (8, "1", ErrorCode::None),
        (77, "1", ErrorCode::InvalidRequest),
    ] {
        assert_eq!(solo.describe(kind, name).error_code, code, "{kind} {name}");
    }
    assert!(solo.describe(BROKER, "").configs.is_empty(), "nothing is set for all brokers");
}

#[test]
fn clusters_and_resources_are_described() {
    let mut solo = Solo::new(&[]);
    solo.create_one(topic("t", 1, 1));
    let request = DescribeClusterRequest { endpoint_type: 1, ..Default::default() };
    let cluster = answer_cluster(solo.image(), solo.asker("PLAINTEXT"), &request);
    assert_eq!(
        (cluster.cluster_id.as_str(), cluster.controller_id, cluster.brokers.len()),
        ("cluster", 1, 1)
    );
    assert_eq!(cluster.cluster_authorized_operations, i32::MIN);
    let controllers = DescribeClusterRequest { endpoint_type: 2, ..Default::default() };
    let cluster = answer_cluster(solo.image(), solo.asker("PLAINTEXT"), &controllers);
    assert_eq!(cluster.error_code, ErrorCode::MismatchedEndpointType);
    let list = |types: &[i8], version| {
        let request = ListConfigResourcesRequest { resource_types: types.to_vec() };
        let answer = answer_config_resources(solo.image(), &request, version);
        (
            answer.error_code,
            answer.config_resources.into_iter().map(|r| (r.resource_type, r.resource_name)).collect(),
        )
    };
    let found = |found: &[(i8, &str)]| -> (ErrorCode, Vec<(i8, String)>) {
        (ErrorCode::None, found.iter().map(|(kind, name)| (*kind, (*name).to_owned())).collect())
    };
    assert_eq!(list(&[], 1), found(&[(TOPIC, "t"), (BROKER, "1"), (8, "1")]));
    assert_eq!(list(&[BROKER], 1), found(&[(BROKER, "1")]));
    assert_eq!(list(&[], 0), found(&[]));
    assert_eq!(list(&[1], 1), (ErrorCode::UnsupportedVersion, Vec::new()));
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
fn plan_step(solo: &mut Solo, step: &Step, at: usize) -> Vec<Record> {
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
            let registration = Registration {
                id: NODE,
                incarnation: [*n; 16],
                endpoints: Vec::new(),
                rack: None,
                after_unclean_stop: *after_unclean_stop,
            };
            solo.controller.plan_register_broker(&registration).records
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
                    let records = plan_step(&mut solo, step, at);
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
