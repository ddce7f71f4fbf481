//! `kill -9` again and again while producers and a consumer group are at work. The machine stays up, so everything
//! that was acknowledged must be there: once, in order, without a gap.

use crate::client::{Client, Membership};
use crate::harness::{Broker, PATIENCE, Serve, lasting_address};
use crate::producer::{Acked, Producer};
use highwater_net_tcp::client::ClientError;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

const PARTITIONS: i32 = 3;
const TOPIC: &str = "numbers";
const GROUP: &str = "readers";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_kills_lose_no_acknowledged_record() {
    survive_kills(30, lasting_address(0), &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_kills_lose_nothing_with_durable_acks() {
    survive_kills(20, lasting_address(1), &["highwater.acks.durable=true"]).await;
}

async fn survive_kills(kills: u64, address: String, settings: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let mut serve = Serve::at(dir.path()).listen(&address).set("group.initial.rebalance.delay.ms=0");
    for setting in settings {
        serve = serve.set(setting);
    }
    let mut broker = serve.start();
    let address = broker.address();
    let client = Client::connect(address).await;
    client.create_topic(TOPIC, PARTITIONS, &[("segment.bytes", "1048576")]).await;
    let member = client.join(GROUP).await;
    let work = Work::begin(address, member).await;

    let mut topics_acked = Vec::new();
    for round in 0..kills {
        // Now soon after the start, now in full flow.
        work.wait_for_progress(&broker, 1 + round * 37 % 150).await;
        let name = format!("made-in-round-{round}");
        let retention = (1_000_000 + round).to_string();
        let client = Client::connect(address).await;
        client.create_topic(&name, 1, &[("retention.ms", &retention)]).await;
        topics_acked.push((name, retention));
        broker.kill();
        broker = serve.start();
    }
    work.wait_for_progress(&broker, 1).await;
    let done = work.end().await;

    let client = Client::connect(address).await;
    for (partition, acked) in (0..).zip(&done.acked) {
        check_partition(&client, partition, acked).await;
    }
    let committed = client.committed(GROUP, TOPIC, 0).await;
    let (least, most) = done.committed;
    assert!(least > 0, "the group commits all the time");
    assert!((least..=most).contains(&committed), "{committed} is not within {least} to {most}");
    let topics = client.topics().await;
    for (name, retention) in topics_acked {
        assert_eq!(topics.get(&name), Some(&1), "{name} is gone");
        assert_eq!(client.topic_config(&name, "retention.ms").await, Some(retention), "{name}");
    }
    let log = broker.stop_cleanly();
    assert!(!log.contains("ERROR"), "{log}");
}

/// Everything acknowledged, and nothing else: each producer waited until all it sent was acknowledged.
async fn check_partition(client: &Client, partition: i32, acked: &[Acked]) {
    let found = client.read_all(TOPIC, partition).await;
    let sent = acked.iter().map(|batch| batch.count).sum::<u64>();
    assert_eq!(u64::try_from(found.len()).unwrap(), sent, "records in partition {partition}");
    for (n, (offset, value)) in (0_i64..).zip(&found) {
        assert_eq!((*offset, value.as_ref()), (n, n.to_string().as_bytes()), "partition {partition}");
    }
    for batch in acked {
        assert_eq!(u64::try_from(batch.base_offset), Ok(batch.first), "the answer names where the batch is");
    }
}

/// Producers and a committing member at work.
struct Work {
    stopping: Arc<AtomicBool>,
    progress: Arc<AtomicU64>,
    producers: Vec<JoinHandle<Vec<Acked>>>,
    committer: JoinHandle<(i64, i64)>,
}

/// What the work came to.
struct Done {
    acked: Vec<Vec<Acked>>,
    /// The last offset whose commit was acknowledged, and the last that was tried.
    committed: (i64, i64),
}

impl Work {
    async fn begin(address: SocketAddr, member: Membership) -> Self {
        let (stopping, progress) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut producers = Vec::new();
        for partition in 0..PARTITIONS {
            let producer = Producer::new(address, TOPIC, partition, progress.clone()).await;
            producers.push(tokio::spawn(producer.run(stopping.clone())));
        }
        let committer = tokio::spawn(commit_on(address, member, stopping.clone()));
        Self { stopping, progress, producers, committer }
    }

    /// Waits until so many more batches are acknowledged.
    async fn wait_for_progress(&self, broker: &Broker, batches: u64) {
        let enough = self.progress.load(Ordering::Relaxed) + batches;
        let deadline = Instant::now() + PATIENCE;
        while self.progress.load(Ordering::Relaxed) < enough {
            let is_at_work = !self.committer.is_finished() && self.producers.iter().all(|p| !p.is_finished());
            assert!(is_at_work, "a producer or the member gave up");
            assert!(Instant::now() < deadline, "nothing is acknowledged any more\n{}", broker.log());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn end(self) -> Done {
        self.stopping.store(true, Ordering::Relaxed);
        let mut acked = Vec::new();
        for producer in self.producers {
            acked.push(producer.await.expect("the producer came to its end"));
        }
        Done { acked, committed: self.committer.await.expect("the member came to its end") }
    }
}

/// Commits rising offsets in one generation: a member keeps its place when the coordinator is rebuilt from its log.
async fn commit_on(address: SocketAddr, member: Membership, stopping: Arc<AtomicBool>) -> (i64, i64) {
    let (mut acked, mut tried) = (0, 0);
    while !stopping.load(Ordering::Relaxed) {
        let Ok(client) = Client::try_connect(address).await else {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        while !stopping.load(Ordering::Relaxed) {
            tried += 1;
            match client.commit(&member, TOPIC, 0, tried).await {
                Ok(()) => acked = tried,
                Err(ClientError::Kafka(code, _)) => {
                    assert!(code.is_retriable(), "the member is refused: {code:?}");
                }
                Err(_) => break,
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    (acked, tried)
}
