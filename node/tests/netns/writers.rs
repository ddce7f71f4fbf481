//! Producers with acks=all that write all the time and remember what they were told, and the reckoning at the end.

use crate::nodes::{Nodes, eventually};
use highwater_core::client::producer::{Lane, NewRecord, Settings};
use highwater_core::ids::{BrokerId, Offset, PartitionIndex};
use highwater_core::time::Timestamp;
use highwater_net_tcp::client::{
    ClientOptions, Cluster, ClusterOptions, Consumer, ConsumerOptions, Producer, ProducerOptions, Reset,
    TcpDial,
};
use highwater_protocol::ErrorCode;
use highwater_protocol::messages::{CreatableTopic, CreatableTopicConfig, CreateTopicsRequest};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

pub(crate) const TOPIC: &str = "ledger";
pub(crate) const PARTITIONS: i32 = 3;

/// What one writer knows of its partition.
#[derive(Debug, Default)]
struct Told {
    /// Offsets of records that were acknowledged, by their number.
    acknowledged: BTreeMap<u64, i64>,
    /// Numbers given out so far.
    written: u64,
}

/// One writer per partition.
pub(crate) struct Writers {
    told: Vec<Arc<Mutex<Told>>>,
    tasks: Vec<JoinHandle<()>>,
    is_stopping: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
}

pub(crate) fn cluster() -> Cluster<TcpDial> {
    // Patient enough for an election, not so patient that a node that is cut off is waited for.
    let client = ClientOptions {
        client_id: "ledger".to_owned(),
        connect_max: Duration::from_secs(2),
        request_max: Duration::from_secs(5),
        ..ClientOptions::default()
    };
    let options = ClusterOptions { client, ..ClusterOptions::default() };
    Cluster::new(TcpDial::default(), &Nodes::bootstrap(), options).expect("the addresses are right")
}

/// Makes the topic that is written to, on all nodes.
pub(crate) async fn create_topic(cluster: &Cluster<TcpDial>) {
    let config = CreatableTopicConfig { name: "min.insync.replicas".into(), value: Some("2".into()) };
    let topic = CreatableTopic {
        name: TOPIC.into(),
        num_partitions: PARTITIONS,
        replication_factor: 3,
        configs: vec![config],
        ..Default::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 10_000, ..Default::default() };
    eventually("the topic is made", Duration::from_secs(30), async || {
        match cluster.send_to_controller(&request).await {
            Ok(answer) => {
                matches!(answer.topics[0].error_code, ErrorCode::None | ErrorCode::TopicAlreadyExists)
            }
            Err(_) => false,
        }
    })
    .await;
}

/// Who leads a partition, as some node says now.
pub(crate) async fn leader(cluster: &Cluster<TcpDial>, partition: i32) -> u8 {
    cluster.forget(TOPIC);
    let mut leader = None;
    eventually("there is a leader", Duration::from_secs(20), async || {
        cluster.forget(TOPIC);
        let Ok(topic) = cluster.topic(TOPIC).await else { return false };
        leader = topic.partitions.get(&PartitionIndex(partition)).and_then(|partition| partition.leader);
        leader.is_some()
    })
    .await;
    let BrokerId(id) = leader.expect("it was just found");
    u8::try_from(id).expect("ids are small here")
}

/// Who is the active controller, as some node says now.
pub(crate) async fn controller(cluster: &Cluster<TcpDial>) -> u8 {
    let answer = cluster.refresh(Some(&[])).await.expect("some node answers");
    u8::try_from(answer.controller_id).expect("there is a controller")
}

impl Writers {
    pub(crate) async fn start() -> Self {
        let is_stopping = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicU64::new(0));
        let mut writers = Self { told: Vec::new(), tasks: Vec::new(), is_stopping, acknowledged };
        for partition in 0..PARTITIONS {
            let told = Arc::<Mutex<Told>>::default();
            writers.told.push(told.clone());
            let (stopping, count) = (writers.is_stopping.clone(), writers.acknowledged.clone());
            writers.tasks.push(tokio::spawn(write(partition, told, stopping, count)));
        }
        writers.progress(100, Duration::from_secs(30)).await;
        writers
    }

    /// Waits until so many more were acknowledged; how long it took.
    pub(crate) async fn progress(&self, more: u64, at_most: Duration) -> Duration {
        let goal = self.acknowledged.load(SeqCst) + more;
        let what = format!("{more} more records are acknowledged");
        eventually(&what, at_most, async || self.acknowledged.load(SeqCst) >= goal).await
    }

    /// Waits until every partition takes records again; how long it took.
    pub(crate) async fn all_progress(&self, at_most: Duration) -> Duration {
        let counts = || -> Vec<usize> {
            self.told.iter().map(|told| told.lock().unwrap().acknowledged.len()).collect()
        };
        let before = counts();
        eventually("every partition is written to", at_most, async || {
            counts().iter().zip(&before).all(|(now, before)| *now > before + 5)
        })
        .await
    }

    /// Ends, and holds what can be read against what was acknowledged.
    pub(crate) async fn reckon(self) {
        self.is_stopping.store(true, SeqCst);
        for task in self.tasks {
            tokio::time::timeout(Duration::from_secs(150), task).await.expect("it ends").expect("it is well");
        }
        let mut total = 0;
        for (partition, told) in (0..).zip(&self.told) {
            let Told { acknowledged, written } = std::mem::take(&mut *told.lock().unwrap());
            let newest = acknowledged.values().max().copied().unwrap_or(-1);
            total += acknowledged.len();
            let read = read(partition, newest).await;
            check(partition, &acknowledged, written, &read);
        }
        println!("{total} acknowledged records are all there, in order");
    }
}

/// Writes numbers until told to stop.
async fn write(partition: i32, told: Arc<Mutex<Told>>, stopping: Arc<AtomicBool>, count: Arc<AtomicU64>) {
    let settings =
        Settings { linger: Duration::ZERO, delivery_max: Duration::from_secs(120), ..Settings::default() };
    let options = ProducerOptions { settings, ..ProducerOptions::default() };
    let producer = Producer::new(cluster(), options).await.expect("a producer id");
    let mut waiting = Vec::new();
    while !stopping.load(SeqCst) {
        let number = {
            let mut told = told.lock().unwrap();
            told.written += 1;
            told.written - 1
        };
        let value = Some(format!("{partition}:{number}").into());
        let record = NewRecord { timestamp: now(), value, ..NewRecord::default() };
        if let Ok(sent) = producer.send(TOPIC, Some(PartitionIndex(partition)), record).await {
            let (told, count) = (told.clone(), count.clone());
            waiting.push(tokio::spawn(async move {
                if let Ok(metadata) = sent.delivered().await {
                    told.lock().unwrap().acknowledged.insert(number, metadata.offset.0);
                    count.fetch_add(1, SeqCst);
                }
            }));
        }
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    for sent in waiting {
        sent.await.expect("it only waits");
    }
}

/// Records of long ago would be gone with the first round of retention.
fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("it is after 1970");
    Timestamp(i64::try_from(since.as_millis()).expect("for a while"))
}

/// Everything that a partition has, up to this offset at least: offset and value.
async fn read(partition: i32, through: i64) -> Vec<(i64, String)> {
    let lane = Lane { topic: TOPIC.into(), partition: PartitionIndex(partition) };
    let options = ConsumerOptions { reset: Reset::Earliest, auto_commit: None, ..ConsumerOptions::default() };
    let mut consumer = Consumer::assign(cluster(), options, [(lane, Some(Offset(0)))]);
    let mut read = Vec::new();
    let begun = Instant::now();
    while read.last().is_none_or(|(offset, _)| *offset < through) {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "partition {partition} cannot be read to {through}: {:?}",
            read.last()
        );
        let Ok(records) = consumer.poll().await else { continue };
        for record in records {
            let value = record.value.expect("every record has a value");
            read.push((record.offset.0, String::from_utf8(value.to_vec()).expect("it is text")));
        }
    }
    read
}

/// Every acknowledged record is where it was said to be, once; all are in the order written; nobody else's are there.
fn check(partition: i32, acknowledged: &BTreeMap<u64, i64>, written: u64, read: &[(i64, String)]) {
    let at: BTreeMap<i64, &str> = read.iter().map(|(offset, value)| (*offset, value.as_str())).collect();
    assert_eq!(at.len(), read.len(), "an offset was read twice");
    for (number, offset) in acknowledged {
        // A duplicate of long ago is acknowledged without its offset.
        if *offset >= 0 {
            let expected = format!("{partition}:{number}");
            assert_eq!(
                at.get(offset).copied(),
                Some(expected.as_str()),
                "partition {partition}, offset {offset}"
            );
        }
    }
    let numbers: Vec<u64> = read
        .iter()
        .map(|(_, value)| {
            let (of, number) = value.split_once(':').expect("a value of ours");
            assert_eq!(of, partition.to_string());
            number.parse().expect("a number")
        })
        .collect();
    assert!(
        numbers.windows(2).all(|pair| pair[0] < pair[1]),
        "partition {partition} is out of order: {numbers:?}"
    );
    assert!(numbers.iter().all(|number| *number < written));
    let there: std::collections::BTreeSet<u64> = numbers.into_iter().collect();
    let missing: Vec<_> = acknowledged.keys().filter(|number| !there.contains(number)).collect();
    assert!(missing.is_empty(), "partition {partition} has lost {missing:?}");
}
