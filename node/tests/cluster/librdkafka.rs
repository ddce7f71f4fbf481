//! The three processes as librdkafka meets them, the client below most languages'. Not whether all of the protocol is
//! right for it, but whether its own view of a fail-over and of a silent replica is the one it would have of Kafka.

use crate::harness::{DevCluster, PATIENCE};
use highwater_core::client::partitioner::partition_of_key;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{CommitMode, Consumer, StreamConsumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::timeout;

const RIDERS: i32 = 7;
const PARTITIONS: i32 = 3;

fn client(cluster: &DevCluster) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", cluster.bootstrap());
    config
}

fn producer(cluster: &DevCluster) -> FutureProducer {
    let mut config = client(cluster);
    config.set("enable.idempotence", "true").set("compression.type", "lz4").set("linger.ms", "1");
    config.set("partitioner", "murmur2_random").set("message.timeout.ms", PATIENCE.as_millis().to_string());
    config.create().expect("settings that librdkafka knows")
}

/// Reports the places of all riders, `rounds` times; where each report went, in the order sent.
async fn report(producer: &FutureProducer, topic: &str, rounds: std::ops::Range<i32>) -> Vec<(i32, i64)> {
    let reports = rounds.flat_map(|round| (0..RIDERS).map(move |rider| (rider, round)));
    let sent = reports.map(|(rider, round)| {
        let (key, place) = (format!("rider-{rider}"), round.to_string());
        let headers = OwnedHeaders::new().insert(Header { key: "city", value: Some("Pune") });
        let record = FutureRecord::to(topic).key(&key).payload(&place).headers(headers);
        producer.send_result(record).map_err(|(error, _)| error).expect("there is room in its queue")
    });
    // All are on their way at once: batches, and several of them in flight.
    let sent: Vec<_> = sent.collect();
    let mut places = Vec::new();
    for fate in sent {
        let delivered = fate.await.expect("the producer is there").expect("it is delivered in the end");
        places.push((delivered.partition, delivered.offset));
    }
    places
}

fn member(cluster: &DevCluster, topic: &str) -> StreamConsumer {
    let mut config = client(cluster);
    config
        .set("group.id", "dispatch")
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false");
    let consumer: StreamConsumer = config.create().expect("settings that librdkafka knows");
    consumer.subscribe(&[topic]).expect("a topic's name");
    consumer
}

/// The next report that a member of the group gets: of which rider, the how manieth, and where it lay.
async fn next(consumer: &StreamConsumer) -> (String, i32, (i32, i64)) {
    let received = loop {
        match timeout(PATIENCE, consumer.recv()).await.expect("something comes") {
            Ok(received) => break received,
            // It tells of every connection that is lost and of every answer that is late, and goes on by itself.
            Err(KafkaError::MessageConsumption(
                RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::OperationTimedOut,
            )) => {}
            Err(error) => panic!("{error}"),
        }
    };
    let text = |bytes: Option<&[u8]>| String::from_utf8(bytes.expect("it is there").to_vec()).unwrap();
    let headers: Vec<_> = received.headers().expect("headers").iter().collect();
    assert!(matches!(headers[..], [Header { key: "city", value: Some(b"Pune") }]), "{headers:?}");
    let place = (received.partition(), received.offset());
    (text(received.key()), text(received.payload()).parse().unwrap(), place)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_writes_and_reads_through_the_death_of_a_leader() {
    let cluster = DevCluster::start(3, &[]);
    cluster.cli(&["topic", "create", "places", "--partitions", &PARTITIONS.to_string()]);
    cluster.whole();
    let producer = producer(&cluster);
    let mut written = report(&producer, "places", 0..20).await;
    let leader = cluster.leader("places", 0);
    let ((), more) = tokio::join!(
        async { cluster.node("kill", leader) },
        report(&producer, "places", 20..60), // some of it before, most of it while nobody leads
    );
    written.extend(more);
    for (n, (partition, _)) in written.iter().enumerate() {
        let key = format!("rider-{}", n as i32 % RIDERS);
        assert_eq!(*partition, partition_of_key(key.as_bytes(), PARTITIONS).0, "{key}");
    }

    let first = member(&cluster, "places");
    let mut rounds: BTreeMap<String, i32> = BTreeMap::new();
    for _ in 0..written.len() {
        let (rider, round, place) = next(&first).await;
        let expected = rounds.entry(rider.clone()).or_insert(0);
        assert_eq!(round, *expected, "{rider} at {place:?}: each report once and in order");
        assert!(written.contains(&place), "{rider} {round} lies where its producer was told: {place:?}");
        *expected += 1;
    }
    first.commit_consumer_state(CommitMode::Sync).expect("it is committed");
    drop(first);

    // Whoever comes after it begins where it stopped.
    cluster.node("start", leader);
    let second = member(&cluster, "places");
    report(&producer, "places", 60..61).await;
    for _ in 0..RIDERS {
        let (rider, round, place) = next(&second).await;
        assert_eq!(round, 60, "{rider} at {place:?}");
    }
    drop((second, producer));
    cluster.stop();
}

/// Deletes a partition's records before an offset; the low watermark, or what it says of the partition.
async fn delete(
    admin: &AdminClient<DefaultClientContext>,
    before: i64,
    patience: Duration,
) -> Result<Offset, RDKafkaErrorCode> {
    let mut asked = TopicPartitionList::new();
    asked.add_partition_offset("places", 0, Offset::Offset(before)).unwrap();
    let options = AdminOptions::new().operation_timeout(Some(patience)).request_timeout(Some(PATIENCE));
    let done = admin.delete_records(&asked, &options).await.expect("the leader answers");
    let partition = done.elements().remove(0);
    match partition.error() {
        Ok(()) => Ok(partition.offset()),
        Err(KafkaError::OffsetFetch(code)) => Err(code),
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_told_in_time_of_a_deletion_that_a_replica_has_not_followed() {
    let cluster = DevCluster::start(4, &[]);
    cluster.cli(&["topic", "create", "places", "--partitions", "1"]);
    cluster.whole();
    report(&producer(&cluster), "places", 0..2).await;
    let admin: AdminClient<DefaultClientContext> = client(&cluster).create().expect("settings");
    assert_eq!(delete(&admin, 2, PATIENCE).await, Ok(Offset::Offset(2)));

    let follower = cluster.leader("places", 0) % 3 + 1;
    cluster.node("pause", follower);
    // It stays in the ISR for much longer than that.
    let told = delete(&admin, 5, Duration::from_millis(50)).await;
    assert_eq!(told, Err(RDKafkaErrorCode::RequestTimedOut));
    let told = delete(&admin, 6, PATIENCE).await;
    assert_eq!(told, Ok(Offset::Offset(6)), "outside of the ISR it is not waited for");
    cluster.node("resume", follower);
    cluster.whole();
    assert_eq!(delete(&admin, 7, PATIENCE).await, Ok(Offset::Offset(7)));
    drop(admin);
    cluster.stop();
}
