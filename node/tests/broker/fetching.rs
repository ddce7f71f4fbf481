//! How long a fetch waits, and how much it is given, as read from a running Apache Kafka 4.3.1.

use crate::client::{Client, FETCH_VERSION};
use crate::harness::{PATIENCE, Serve};
use bytes::Bytes;
use highwater_protocol::ErrorCode;
use highwater_protocol::messages::{
    DeleteTopicState, DeleteTopicsRequest, FetchPartition, FetchRequest, FetchResponse, FetchTopic,
};
use std::time::Duration;

/// Longer than any test's patience: a fetch that waits this long fails it.
const FOR_EVER_MS: i32 = 600_000;

/// Reads partition 0 of these topics from their beginning.
fn fetch(topics: &[&str], change: impl FnOnce(&mut FetchRequest, &mut FetchPartition)) -> FetchRequest {
    let mut request = FetchRequest { max_wait_ms: FOR_EVER_MS, min_bytes: 1, ..FetchRequest::default() };
    let mut partition = FetchPartition { partition_max_bytes: 1 << 20, ..FetchPartition::default() };
    change(&mut request, &mut partition);
    let topic = |name: &&str| FetchTopic {
        topic: (*name).to_owned(),
        partitions: vec![partition.clone()],
        ..FetchTopic::default()
    };
    request.topics = topics.iter().map(topic).collect();
    request
}

async fn answered(client: &Client, request: &FetchRequest) -> FetchResponse {
    let answer = async { client.connection.begin_in(request, FETCH_VERSION).await?.answer().await };
    tokio::time::timeout(PATIENCE, answer).await.expect("it does not wait").expect("an answer")
}

/// For each topic the code, and how many bytes it gave.
fn told(answer: &FetchResponse) -> Vec<(&str, ErrorCode, usize)> {
    let each = answer.responses.iter().map(|topic| (topic.topic.as_str(), &topic.partitions[0]));
    each.map(|(topic, p)| (topic, p.error_code, p.records.as_ref().map_or(0, Bytes::len))).collect()
}

#[tokio::test]
async fn whoever_asks_for_no_bytes_gets_one_batch() {
    let broker = Serve::ephemeral().start();
    let client = Client::connect(broker.address()).await;
    client.create_topic("t", 1, &[]).await;
    for value in [b"one", b"two"] {
        client.append("t", 0, &[value]).await.unwrap();
    }
    let one = answered(&client, &fetch(&["t"], |request, _| request.max_bytes = 1)).await;
    let [(_, ErrorCode::None, one_batch)] = told(&one)[..] else { panic!("{one:?}") };
    assert!(one_batch > 0);
    let limits: [fn(&mut FetchRequest, &mut FetchPartition); 3] = [
        |request, _| request.max_bytes = 0,
        |_, partition| partition.partition_max_bytes = 0,
        |request, partition| (request.max_bytes, partition.partition_max_bytes) = (0, 0),
    ];
    for limit in limits {
        let answer = answered(&client, &fetch(&["t"], limit)).await;
        assert_eq!(told(&answer), [("t", ErrorCode::None, one_batch)]);
    }
    broker.stop_cleanly();
}

#[tokio::test]
async fn nobody_waits_for_more_than_is_given_at_once_or_for_nothing() {
    let broker = Serve::ephemeral().start();
    let client = Client::connect(broker.address()).await;
    client.create_topic("t", 1, &[]).await;
    client.append("t", 0, &[&[7; 5000]]).await.unwrap();
    let answer = answered(
        &client,
        &fetch(&["t"], |request, _| (request.min_bytes, request.max_bytes) = (1 << 20, 2000)),
    )
    .await;
    assert!(matches!(told(&answer)[..], [("t", ErrorCode::None, 5000..)]), "{answer:?}");
    for unknown in [&[][..], &["nowhere"]] {
        let answer = answered(&client, &fetch(unknown, |_, _| {})).await;
        assert!(told(&answer).iter().all(|told| told.1 == ErrorCode::UnknownTopicOrPartition));
        assert_eq!(answer.responses.len(), unknown.len());
    }
    broker.stop_cleanly();
}

/// A consumer that has not heard yet that a topic is gone would ask again and again.
#[tokio::test]
async fn an_unknown_topic_does_not_keep_a_fetch_from_waiting_for_another() {
    let broker = Serve::ephemeral().start();
    let client = Client::connect(broker.address()).await;
    client.create_topic("t", 1, &[]).await;
    client.create_topic("gone", 1, &[]).await;
    let reader = Client::connect(broker.address()).await;
    let request = fetch(&["nowhere", "t"], |request, _| request.min_bytes = 5000);
    let waiting = tokio::spawn(async move { answered(&reader, &request).await });
    while !waiting.is_finished() {
        client.append("t", 0, &[&[7; 500]]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let answer = waiting.await.unwrap();
    let told = told(&answer);
    assert_eq!(told[0], ("nowhere", ErrorCode::UnknownTopicOrPartition, 0));
    assert!(
        matches!(told[1], ("t", ErrorCode::None, 5000..)),
        "it waited for all that it asked for: {told:?}"
    );

    // A topic that goes while it is waited for is told at once.
    let reader = Client::connect(broker.address()).await;
    let request = fetch(&["gone"], |_, _| {});
    let waiting = tokio::spawn(async move { answered(&reader, &request).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let topics = vec![DeleteTopicState { name: Some("gone".to_owned()), ..Default::default() }];
    let delete = DeleteTopicsRequest { topics, timeout_ms: 10_000, ..Default::default() };
    client.connection.send(&delete).await.unwrap();
    let answer = waiting.await.unwrap();
    assert_ne!(answer.responses[0].partitions[0].error_code, ErrorCode::None);
    broker.stop_cleanly();
}
