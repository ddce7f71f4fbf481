//! Answers from a committed image.

use super::*;

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
    let twice = ask(&solo, Some(vec![by_id(1), wanted("b"), by_id(1), wanted("b")]), 12).response;
    assert_eq!(twice.topics.len(), 2, "each is answered once");
    let too_old = ask(&solo, Some(vec![by_id(1)]), 11).response;
    assert_eq!(too_old.topics[0].error_code, ErrorCode::InvalidRequest);
    // while nobody is known to be the controller, whoever answers takes what is for it
    let all_topics = MetadataRequest { topics: None, ..Default::default() };
    let asker = Asker { controller: None, ..solo.asker("PLAINTEXT") };
    assert_eq!(answer_metadata(solo.image(), asker, &all_topics, 13).response.controller_id, 1);
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
    for (topic_name, partition_index) in [("b", 0), ("c", -1)] {
        let topics = vec![DescribeTopicPartitionsRequestTopicRequest { name: "c".into() }];
        let cursor = Some(Cursor { topic_name: topic_name.into(), partition_index });
        let request = DescribeTopicPartitionsRequest { topics, cursor, response_partition_limit: 2 };
        let page = answer_topic_partitions(solo.image(), solo.asker("PLAINTEXT"), &request);
        assert_eq!(page.topics[0].error_code, ErrorCode::InvalidRequest, "no answer gave this cursor");
    }
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
    for (endpoint_type, refusal) in
        [(2, ErrorCode::MismatchedEndpointType), (3, ErrorCode::UnsupportedEndpointType)]
    {
        let request = DescribeClusterRequest { endpoint_type, ..Default::default() };
        let cluster = answer_cluster(solo.image(), solo.asker("PLAINTEXT"), &request);
        assert_eq!((cluster.error_code, cluster.brokers.len()), (refusal, 0));
    }
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
