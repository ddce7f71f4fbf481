//! Requests that admins' tools send: what is answered, as read from a running Apache Kafka 4.3.1.

use crate::client::Client;
use crate::harness::Serve;
use highwater_protocol::ErrorCode;
use highwater_protocol::messages::*;

async fn delete_records(client: &Client, topic: &str, partition: i32, before: i64) -> (ErrorCode, i64) {
    let partitions = vec![DeleteRecordsPartition { partition_index: partition, offset: before }];
    let topics = vec![DeleteRecordsTopic { name: topic.to_owned(), partitions }];
    let request = DeleteRecordsRequest { topics, timeout_ms: 10_000 };
    let mut answer = client.connection.send(&request).await.unwrap();
    let done = answer.topics.remove(0).partitions.remove(0);
    (done.error_code, done.low_watermark)
}

#[tokio::test]
async fn records_are_deleted_where_a_client_may_do_so() {
    let broker = Serve::ephemeral().set("offsets.topic.num.partitions=1").start();
    let client = Client::connect(broker.address()).await;
    client.create_topic("words", 1, &[]).await;
    client.create_topic("latest", 1, &[("cleanup.policy", "compact")]).await;
    client.append("words", 0, &[b"one", b"two", b"three"]).await.unwrap();
    client.join("readers").await;

    let cases = [
        ("words", 0, 2, (ErrorCode::None, 2)),
        ("words", 0, 1, (ErrorCode::None, 2)),
        ("words", 0, -1, (ErrorCode::None, 3)),
        ("words", 0, 4, (ErrorCode::OffsetOutOfRange, -1)),
        ("words", 0, -2, (ErrorCode::OffsetOutOfRange, -1)),
        ("words", 1, 0, (ErrorCode::UnknownTopicOrPartition, -1)),
        ("nowhere", 0, 0, (ErrorCode::UnknownTopicOrPartition, -1)),
        ("latest", 0, 0, (ErrorCode::PolicyViolation, -1)),
        ("__consumer_offsets", 0, 1, (ErrorCode::InvalidTopicException, -1)),
    ];
    for (topic, partition, before, answer) in cases {
        assert_eq!(delete_records(&client, topic, partition, before).await, answer, "{topic} {before}");
    }
    broker.stop_cleanly();
}

#[tokio::test]
async fn no_transaction_is_known_and_nothing_about_one_is_worth_a_retry() {
    let broker = Serve::ephemeral().start();
    let client = Client::connect(broker.address()).await;
    client.create_topic("words", 1, &[]).await;
    let (id, group) = ("tx".to_owned(), "readers".to_owned());
    let unmapped = ErrorCode::InvalidProducerIdMapping;

    let init = InitProducerIdRequest { transactional_id: Some(id.clone()), ..Default::default() };
    let answer = client.connection.send(&init).await.unwrap();
    assert_eq!(answer.error_code, ErrorCode::TransactionalIdAuthorizationFailed);
    assert_eq!((answer.producer_id, answer.producer_epoch), (-1, -1));

    for verify_only in [false, true] {
        let topics = vec![AddPartitionsToTxnTopic { name: "words".to_owned(), partitions: vec![0] }];
        let transaction = AddPartitionsToTxnTransaction {
            transactional_id: id.clone(),
            verify_only,
            topics,
            ..Default::default()
        };
        let add = AddPartitionsToTxnRequest { transactions: vec![transaction], ..Default::default() };
        let answer = client.connection.send(&add).await.unwrap();
        assert_eq!(answer.error_code, ErrorCode::None);
        let partition = &answer.results_by_transaction[0].topic_results[0].results_by_partition[0];
        assert_eq!(partition.partition_error_code, unmapped);
    }

    let offsets = AddOffsetsToTxnRequest {
        transactional_id: id.clone(),
        group_id: group.clone(),
        ..Default::default()
    };
    assert_eq!(client.connection.send(&offsets).await.unwrap().error_code, unmapped);

    let partitions = vec![TxnOffsetCommitRequestPartition { committed_offset: 1, ..Default::default() }];
    let topics = vec![TxnOffsetCommitRequestTopic { name: "words".to_owned(), partitions }];
    let commit = TxnOffsetCommitRequest {
        transactional_id: id.clone(),
        group_id: group,
        topics,
        ..Default::default()
    };
    let answer = client.connection.send(&commit).await.unwrap();
    assert_eq!(answer.topics[0].partitions[0].error_code, unmapped);

    let end = EndTxnRequest { transactional_id: id, committed: true, ..Default::default() };
    let answer = client.connection.send(&end).await.unwrap();
    assert_eq!((answer.error_code, answer.producer_id, answer.producer_epoch), (unmapped, -1, -1));
    broker.stop_cleanly();
}

#[tokio::test]
async fn what_no_coordinator_could_grant_is_refused_before_one_is_looked_for() {
    // Nobody has a coordinator here yet; a broker that has others is no more than that to an empty name.
    let broker = Serve::ephemeral().start();
    let client = Client::connect(broker.address()).await;
    let join = JoinGroupRequest { session_timeout_ms: 10_000, ..Default::default() };
    assert_eq!(client.connection.send(&join).await.unwrap().error_code, ErrorCode::InvalidGroupId);
    let sync = SyncGroupRequest::default();
    assert_eq!(client.connection.send(&sync).await.unwrap().error_code, ErrorCode::InvalidGroupId);
    let heartbeat = HeartbeatRequest::default();
    assert_eq!(client.connection.send(&heartbeat).await.unwrap().error_code, ErrorCode::InvalidGroupId);
    let leave = LeaveGroupRequest::default();
    assert_eq!(client.connection.send(&leave).await.unwrap().error_code, ErrorCode::InvalidGroupId);

    let join =
        JoinGroupRequest { group_id: "readers".to_owned(), session_timeout_ms: 1, ..Default::default() };
    let answer = client.connection.send(&join).await.unwrap();
    assert_eq!(answer.error_code, ErrorCode::InvalidSessionTimeout);

    let named = HeartbeatRequest { group_id: "readers".to_owned(), ..Default::default() };
    assert_eq!(client.connection.send(&named).await.unwrap().error_code, ErrorCode::CoordinatorNotAvailable);
    broker.stop_cleanly();
}

/// What an admin client shows as the operations that it may do (KIP-430): all, as nothing is forbidden here.
#[tokio::test]
async fn groups_tell_what_may_be_done_with_them_if_asked() {
    let broker = Serve::ephemeral().set("offsets.topic.num.partitions=1").start();
    let client = Client::connect(broker.address()).await;
    client.join("readers").await;
    for (include_authorized_operations, known) in [(true, 3400), (false, i32::MIN)] {
        for (version, unknown) in [(3, known), (5, known), (6, i32::MIN)] {
            let groups = vec!["readers".to_owned(), "nobody".to_owned()];
            let request = DescribeGroupsRequest { groups, include_authorized_operations };
            let answer = client.connection.begin_in(&request, version).await.unwrap().answer().await.unwrap();
            let told: Vec<_> = answer.groups.iter().map(|group| group.authorized_operations).collect();
            assert_eq!(told, [known, unknown], "version {version}");
        }
    }
    broker.stop_cleanly();
}

/// Releases before topic ids, and commits with a retention, keep offsets without the id of their topic.
#[tokio::test]
async fn a_topic_has_one_entry_in_an_answer_about_offsets() {
    let broker = Serve::ephemeral().set("offsets.topic.num.partitions=1").start();
    let client = Client::connect(broker.address()).await;
    client.create_topic("words", 3, &[]).await;
    client.join("somebody else").await; // from then on there are coordinators
    let commit = |partitions: &[i32], retention_time_ms| OffsetCommitRequest {
        group_id: "readers".to_owned(),
        generation_id_or_member_epoch: -1,
        retention_time_ms,
        topics: vec![OffsetCommitRequestTopic {
            name: "words".to_owned(),
            partitions: partitions
                .iter()
                .map(|index| OffsetCommitRequestPartition {
                    partition_index: *index,
                    committed_offset: i64::from(*index),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        }],
        ..Default::default()
    };
    for (request, version) in [(commit(&[0, 1, 2], -1), 9), (commit(&[1], 3_600_000), 2)] {
        let sent = client.connection.begin_in(&request, version).await.unwrap();
        assert_eq!(sent.answer().await.unwrap().topics[0].partitions[0].error_code, ErrorCode::None);
    }
    for version in [7, 9, 10] {
        let all = OffsetFetchRequestGroup { group_id: "readers".into(), topics: None, ..Default::default() };
        let request = OffsetFetchRequest {
            group_id: "readers".to_owned(),
            topics: None,
            groups: vec![all],
            ..Default::default()
        };
        let answer = client.connection.begin_in(&request, version).await.unwrap().answer().await.unwrap();
        let told: Vec<Vec<(i32, i64)>> = if version < 8 {
            let partitions = |t: &OffsetFetchResponseTopic| {
                t.partitions.iter().map(|p| (p.partition_index, p.committed_offset)).collect()
            };
            answer.topics.iter().map(partitions).collect()
        } else {
            let partitions = |t: &OffsetFetchResponseTopics| {
                t.partitions.iter().map(|p| (p.partition_index, p.committed_offset)).collect()
            };
            answer.groups[0].topics.iter().map(partitions).collect()
        };
        assert_eq!(told, [[(0, 0), (1, 1), (2, 2)]], "version {version}");
    }
    let delete = |group_id: &str, partitions: &[i32]| OffsetDeleteRequest {
        group_id: group_id.to_owned(),
        topics: vec![OffsetDeleteRequestTopic {
            name: "words".to_owned(),
            partitions: partitions
                .iter()
                .map(|index| OffsetDeleteRequestPartition { partition_index: *index })
                .collect(),
        }],
    };
    let answer = client.connection.send(&delete("readers", &[99, 0])).await.unwrap();
    let told: Vec<_> =
        answer.topics[0].partitions.iter().map(|p| (p.partition_index, p.error_code)).collect();
    assert_eq!(answer.topics.len(), 1);
    assert_eq!(told, [(0, ErrorCode::None), (99, ErrorCode::UnknownTopicOrPartition)]);
    let answer = client.connection.send(&delete("", &[0])).await.unwrap();
    assert_eq!(answer.error_code, ErrorCode::InvalidGroupId);
    broker.stop_cleanly();
}

/// An id without its epoch is of no producer (KIP-360).
#[tokio::test]
async fn half_a_producers_identity_is_none() {
    let broker = Serve::ephemeral().start();
    let client = Client::connect(broker.address()).await;
    for (producer_id, producer_epoch) in [(7, -1), (-1, 0)] {
        let request = InitProducerIdRequest { producer_id, producer_epoch, ..Default::default() };
        let answer = client.connection.send(&request).await.unwrap();
        assert_eq!((answer.error_code, answer.producer_id), (ErrorCode::InvalidRequest, -1));
    }
    broker.stop_cleanly();
}
