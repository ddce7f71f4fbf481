//! An idempotent producer that never stops, and what must be true of all that was acknowledged to it.

use crate::harness::PATIENCE;
use bytes::Bytes;
use highwater_core::client::producer::{Lane, NewRecord, Settings};
use highwater_core::ids::PartitionIndex;
use highwater_core::time::Timestamp;
use highwater_net_tcp::client::{
    Cluster, ClusterOptions, Consumer, ConsumerOptions, Producer, ProducerOptions, Reset, TcpDial,
};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

/// How long a record may take, fail-overs included.
const DELIVERY_MAX: Duration = Duration::from_secs(100);

/// What was acknowledged: of each record its partition and offset.
type Acked = Arc<Mutex<BTreeMap<u64, (i32, i64)>>>;

/// The running producer.
#[derive(Debug)]
pub(crate) struct Load {
    topic: String,
    partitions: i32,
    acked: Acked,
    stop: Arc<AtomicBool>,
    sender: JoinHandle<()>,
}

/// All that was acknowledged.
#[derive(Debug)]
pub(crate) struct Sent {
    topic: String,
    partitions: i32,
    acked: BTreeMap<u64, (i32, i64)>,
}

fn cluster(bootstrap: &str) -> Cluster<TcpDial> {
    let options = ClusterOptions { call_max: PATIENCE, ..ClusterOptions::default() };
    Cluster::new(TcpDial::default(), bootstrap, options).expect("an address")
}

impl Load {
    /// Begins to send numbers to the partitions of a topic in turn.
    pub(crate) async fn start(bootstrap: &str, topic: &str, partitions: i32) -> Self {
        let settings = Settings { delivery_max: DELIVERY_MAX, linger: Duration::ZERO, ..Settings::default() };
        let options = ProducerOptions { settings, ..ProducerOptions::default() };
        let producer = Producer::new(cluster(bootstrap), options).await.expect("an identity");
        let (acked, stop) = (Acked::default(), Arc::new(AtomicBool::new(false)));
        let sender = tokio::spawn(send(producer, topic.to_owned(), partitions, acked.clone(), stop.clone()));
        Self { topic: topic.to_owned(), partitions, acked, stop, sender }
    }

    /// Waits until so many more records are acknowledged.
    pub(crate) async fn go_on(&self, more: usize) {
        let goal = self.acked.lock().unwrap().len() + more;
        let deadline = Instant::now() + PATIENCE;
        while self.acked.lock().unwrap().len() < goal {
            assert!(
                Instant::now() < deadline && !self.sender.is_finished(),
                "nothing is acknowledged any more"
            );
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Ends it once everything sent is acknowledged.
    pub(crate) async fn finish(self) -> Sent {
        self.stop.store(true, Ordering::Relaxed);
        self.sender.await.expect("every record was acknowledged");
        let acked = std::mem::take(&mut *self.acked.lock().unwrap());
        Sent { topic: self.topic, partitions: self.partitions, acked }
    }
}

async fn send(
    producer: Producer<TcpDial>,
    topic: String,
    partitions: i32,
    acked: Acked,
    stop: Arc<AtomicBool>,
) {
    let mut fates = Vec::new();
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let partition = PartitionIndex(i32::try_from(number).expect("not so many") % partitions);
        let record = NewRecord {
            timestamp: Timestamp(1_700_000_000_000),
            key: None,
            value: Some(Bytes::from(number.to_string())),
            headers: Vec::new(),
        };
        let fate = producer.send(&topic, Some(partition), record).await.expect("it is taken");
        let acked = acked.clone();
        fates.push(tokio::spawn(async move {
            let place = fate.delivered().await.expect("it is delivered in the end");
            acked.lock().unwrap().insert(number, (partition.0, place.offset.0));
        }));
        number += 1;
        sleep(Duration::from_millis(4)).await;
    }
    for fate in fates {
        fate.await.expect("it is delivered in the end");
    }
}

impl Sent {
    /// Every acknowledged record is there, once, in order, at the offset that was told.
    pub(crate) async fn check(self, bootstrap: &str) {
        let lanes = (0..self.partitions).map(|partition| Lane {
            topic: self.topic.as_str().into(),
            partition: PartitionIndex(partition),
        });
        let options = ConsumerOptions { reset: Reset::Earliest, ..ConsumerOptions::default() };
        let mut consumer = Consumer::assign(cluster(bootstrap), options, lanes.map(|lane| (lane, None)));
        let mut found = BTreeMap::new();
        let mut newest: BTreeMap<i32, u64> = BTreeMap::new();
        let read = async {
            while found.len() < self.acked.len() {
                for record in consumer.poll().await.expect("records") {
                    let value = record.value.expect("no tombstones here");
                    let number: u64 = std::str::from_utf8(&value).unwrap().parse().unwrap();
                    let place = (record.lane.partition.0, record.offset.0);
                    let before = found.insert(number, place);
                    assert_eq!(before, None, "record {number} is there twice, again at {place:?}");
                    let before = newest.insert(place.0, number);
                    assert!(
                        before.is_none_or(|before| before < number),
                        "record {number} comes behind {before:?}"
                    );
                }
            }
        };
        let is_complete = timeout(PATIENCE, read).await.is_ok();
        let lost: Vec<_> = self.acked.iter().filter(|(number, _)| !found.contains_key(number)).collect();
        assert!(is_complete && lost.is_empty(), "acknowledged records are lost: {lost:?}");
        // A duplicate of long ago is acknowledged without its offset.
        let moved = self.acked.iter().find(|(number, place)| place.1 >= 0 && found[number] != **place);
        assert_eq!(moved, None, "an offset changed after it was acknowledged");
    }
}
