//! Settings and quotas, altered and described.

use super::*;

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
    type Change<'a> = (&'a str, i8, Option<&'a str>);
    let cases: &[(i8, &str, &[Change<'_>], ErrorCode)] = &[
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
        (CLIENT_METRICS, "", &[("interval.ms", 0, Some("100"))], ErrorCode::InvalidRequest),
        (CLIENT_METRICS, "m", &[("no.such", 0, Some("1"))], ErrorCode::InvalidRequest),
        (CLIENT_METRICS, "m", &[("interval.ms", 0, Some("99"))], ErrorCode::InvalidRequest),
        (CLIENT_METRICS, "m", &[("interval.ms", 0, Some("3600001"))], ErrorCode::InvalidRequest),
        (CLIENT_METRICS, "m", &[("interval.ms", 0, Some("soon"))], ErrorCode::InvalidConfig),
        (CLIENT_METRICS, "m", &[("match", 0, Some("rider=1"))], ErrorCode::InvalidConfig),
        (CLIENT_METRICS, "m", &[("interval.ms", 2, Some("100"))], ErrorCode::InvalidConfig),
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
fn groups_stay_within_the_brokers_bounds() {
    let mut solo = Solo::new(&[("group.consumer.min.session.timeout.ms", "3000")]);
    let cases = [
        (
            "consumer.session.timeout.ms",
            "2999",
            Some("greater than or equal to group.consumer.min.session.timeout.ms"),
        ),
        (
            "consumer.session.timeout.ms",
            "60001",
            Some("less than or equal to group.consumer.max.session.timeout.ms"),
        ),
        ("consumer.session.timeout.ms", "5000", Some("greater than consumer.heartbeat.interval.ms")),
        ("consumer.session.timeout.ms", "5001", None),
        ("consumer.heartbeat.interval.ms", "5001", Some("greater than consumer.heartbeat.interval.ms")),
        ("consumer.heartbeat.interval.ms", "4999", Some("group.consumer.min.heartbeat.interval.ms")),
        ("share.delivery.count.limit", "11", Some("group.share.max.delivery.count.limit")),
        ("streams.num.standby.replicas", "3", Some("group.streams.max.standby.replicas")),
        ("streams.num.standby.replicas", "2", None),
        ("share.auto.offset.reset", "earliest", None),
    ];
    for (name, value, refusal) in cases {
        let (code, message) = solo.alter(GROUP, "g", &[(name, 0, Some(value))]);
        match refusal {
            None => assert_eq!((code, message), (ErrorCode::None, None), "{name}={value}"),
            Some(why) => {
                assert_eq!(code, ErrorCode::InvalidConfig, "{name}={value}");
                assert!(message.as_ref().is_some_and(|message| message.contains(why)), "{message:?}");
            }
        }
    }
}

/// A subscription is there while something is set for it.
#[test]
fn subscriptions_of_metrics_are_made_described_listed_and_removed() {
    let mut solo = Solo::new(&[]);
    let ok = (ErrorCode::None, None);
    let listed = |solo: &Solo| -> Vec<String> {
        let answer = answer_config_resources(solo.image(), &ListConfigResourcesRequest::default(), 0);
        assert!(answer.config_resources.iter().all(|resource| resource.resource_type == CLIENT_METRICS));
        answer.config_resources.into_iter().map(|resource| resource.resource_name).collect()
    };
    let described = |solo: &Solo| -> Vec<(String, Option<String>, i8)> {
        let configs = solo.describe(CLIENT_METRICS, "m").configs.into_iter();
        configs.map(|config| (config.name, config.value, config.config_source)).collect()
    };
    let set = |name: &str, value: &str, source| (name.to_owned(), Some(value.to_owned()), source);
    let nothing = [set("interval.ms", "300000", 5), set("match", "", 5), set("metrics", "", 5)];
    assert_eq!((listed(&solo), described(&solo)), (vec![], nothing.to_vec()));
    let made =
        solo.alter(CLIENT_METRICS, "m", &[("metrics", 0, Some("a.,b.")), ("interval.ms", 0, Some("100"))]);
    assert_eq!(made, ok);
    assert_eq!(solo.alter(CLIENT_METRICS, "m", &[("match", 2, Some("client_id=rider-.*"))]), ok);
    assert_eq!(listed(&solo), ["m"]);
    let all =
        [set("interval.ms", "100", 7), set("match", "client_id=rider-.*", 7), set("metrics", "a.,b.", 7)];
    assert_eq!(described(&solo), all);
    let gone = ["interval.ms", "match", "metrics"].map(|name| (name, 1, None));
    assert_eq!(solo.alter(CLIENT_METRICS, "m", &gone), ok);
    assert_eq!((listed(&solo), described(&solo)), (vec![], nothing.to_vec()));
}

#[test]
fn synonyms_say_what_else_was_set() {
    let mut solo = Solo::new(&[("log.cleaner.threads", "4")]);
    let ok = (ErrorCode::None, None);
    assert_eq!(solo.alter(BROKER, "", &[("log.cleaner.threads", 0, Some("2"))]), ok);
    assert_eq!(solo.alter(CLIENT_METRICS, "m", &[("interval.ms", 0, Some("100"))]), ok);
    let synonyms = |kind, name, setting: &str| -> Vec<(String, i8)> {
        let described = solo.describe(kind, name);
        let entry = described.configs.into_iter().find(|config| config.name == setting);
        let synonyms = entry.expect("it is described").synonyms;
        synonyms.into_iter().map(|s| (s.value.expect("it is no secret"), s.source)).collect()
    };
    let said = |synonyms: &[(&str, i8)]| -> Vec<(String, i8)> {
        synonyms.iter().map(|(value, source)| ((*value).to_owned(), *source)).collect()
    };
    assert_eq!(synonyms(BROKER, "1", "log.cleaner.threads"), said(&[("2", 3), ("4", 4), ("1", 5)]));
    // of all brokers nothing is known but what was set for all
    assert_eq!(synonyms(BROKER, "", "log.cleaner.threads"), said(&[("2", 3)]));
    // a group's setting has a broker's behind it, or its own default
    assert_eq!(synonyms(GROUP, "g", "share.session.timeout.ms"), said(&[("45000", 5)]));
    assert_eq!(synonyms(GROUP, "g", "share.auto.offset.reset"), said(&[("latest", 5)]));
    assert_eq!(synonyms(CLIENT_METRICS, "m", "interval.ms"), said(&[("100", 7)]));
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
        (&user, "producer_byte_rate", 1e19),
        (&user, "producer_byte_rate", 1.999_999_9),
        (&user, "producer_byte_rate", f64::NAN),
    ] {
        assert_eq!(alter(parts, key, value, false), ErrorCode::InvalidRequest, "{parts:?} {key} {value}");
    }
    assert_eq!(alter(&user, "consumer_byte_rate", 0.0, true), ErrorCode::None, "there is nothing to remove");
    assert_eq!(alter(&user, "no_such_rate", 0.0, true), ErrorCode::None, "nor here");
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
        (CLIENT_METRICS, "", ErrorCode::InvalidRequest),
        (8, "1", ErrorCode::None),
        (77, "1", ErrorCode::InvalidRequest),
    ] {
        assert_eq!(solo.describe(kind, name).error_code, code, "{kind} {name}");
    }
    assert!(solo.describe(BROKER, "").configs.is_empty(), "nothing is set for all brokers");
}
