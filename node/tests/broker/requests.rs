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
