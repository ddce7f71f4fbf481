//! The producer and the consumer against brokers that keep logs and misbehave as told.

#[path = "common/broker.rs"]
mod broker;

use broker::*;
use bytes::Bytes;
use highwater_core::batch::BatchHeader;
use highwater_core::client::producer::{FailureCause, Lane, NewRecord, Settings};
use highwater_core::ids::{Offset, PartitionIndex};
use highwater_core::time::Timestamp;
use highwater_net_tcp::ApiTable;
use highwater_net_tcp::client::*;
use highwater_protocol::messages::*;
use highwater_protocol::{ErrorCode, RequestBody, ResponseBody, Uuid};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const TOPIC: Uuid = Uuid([7; 16]);

/// A world of two brokers and a topic `t` of two partitions, kept by both.
#[derive(Default)]
struct World {
    logs: [Log; 2],
    leaders: [i32; 2],
    producer_ids: i64,
    /// What goes wrong with the next produce requests, one each.
    faults: Vec<Fault>,
    committed: BTreeMap<i32, i64>,
    generation: i32,
    must_rebalance: bool,
    left: bool,
}

#[derive(Default)]
struct Log {
    start: i64,
    end: i64,
    batches: Vec<(i64, Bytes)>,
    /// Producer id and next sequence.
    producer: (i64, i32),
}

#[derive(Clone, Copy)]
enum Fault {
    None,
    /// Appended, and the connection breaks before the answer.
    LostAnswer,
    /// Another broker leads now.
    Moved,
    Refused(ErrorCode),
}

impl Log {
    fn append(&mut self, bytes: &Bytes) -> Result<i64, ErrorCode> {
        let header = BatchHeader::parse(bytes).unwrap();
        if header.producer_id.0 >= 0 {
            if header.producer_id.0 != self.producer.0 {
                self.producer = (header.producer_id.0, 0);
            }
            let (sequence, end) = (header.base_sequence.0, header.base_sequence.0 + header.record_count);
            if end <= self.producer.1 {
                return Err(ErrorCode::DuplicateSequenceNumber);
            }
            if sequence != self.producer.1 {
                return Err(ErrorCode::OutOfOrderSequenceNumber);
            }
            self.producer.1 = end;
        }
        let base = self.end;
        let mut stored = bytes.to_vec();
        stored[..8].copy_from_slice(&base.to_be_bytes());
        stored[12..16].copy_from_slice(&5_i32.to_be_bytes());
        self.batches.push((base, stored.into()));
        self.end += i64::from(header.record_count);
        Ok(base)
    }
}

impl World {
    fn serve(&mut self, node_id: i32, body: RequestBody) -> Option<ResponseBody> {
        match body {
            RequestBody::Metadata(_) => Some(metadata(2, &self.leaders).into()),
            RequestBody::InitProducerId(_) => {
                self.producer_ids += 1;
                Some(InitProducerIdResponse { producer_id: self.producer_ids, ..Default::default() }.into())
            }
            RequestBody::Produce(request) => self.produce(node_id, &request),
            RequestBody::ListOffsets(request) => Some(self.list_offsets(&request).into()),
            RequestBody::Fetch(request) => Some(self.fetch(node_id, &request).into()),
            body => self.serve_group(body),
        }
    }

    fn produce(
        &mut self,
        node_id: i32,
        request: &highwater_protocol::produce::ProduceView,
    ) -> Option<ResponseBody> {
        let fault = if self.faults.is_empty() { Fault::None } else { self.faults.remove(0) };
        if let Fault::Moved = fault {
            self.leaders = self.leaders.map(|leader| 3 - leader);
        }
        let mut partition_responses = Vec::new();
        for item in request.partitions() {
            let index = item.partition.index;
            let appended = match fault {
                Fault::Refused(code) => Err(code),
                _ if self.leaders[index as usize] != node_id => Err(ErrorCode::NotLeaderOrFollower),
                _ => self.logs[index as usize].append(&item.partition.records.unwrap()),
            };
            let (error_code, base_offset) = appended.map_or_else(|e| (e, -1), |base| (ErrorCode::None, base));
            partition_responses.push(PartitionProduceResponse {
                index,
                error_code,
                base_offset,
                ..Default::default()
            });
        }
        assert!(!matches!(fault, Fault::LostAnswer), "the connection breaks, as the test asked");
        if request.acks == 0 {
            return None;
        }
        let topic = TopicProduceResponse { topic_id: TOPIC, name: "t".into(), partition_responses };
        Some(ProduceResponse { responses: vec![topic], ..Default::default() }.into())
    }

    fn list_offsets(&self, request: &ListOffsetsRequest) -> ListOffsetsResponse {
        let partition = &request.topics[0].partitions[0];
        let log = &self.logs[partition.partition_index as usize];
        let offset = if partition.timestamp == -2 { log.start } else { log.end };
        let partitions = vec![ListOffsetsPartitionResponse { offset, ..Default::default() }];
        let topics = vec![ListOffsetsTopicResponse { name: "t".into(), partitions }];
        ListOffsetsResponse { topics, ..Default::default() }
    }

    fn fetch(&self, node_id: i32, request: &highwater_protocol::fetch::FetchView) -> FetchResponse {
        let mut partitions = Vec::new();
        for item in request.partitions() {
            let (index, offset) = (item.partition.partition, item.partition.fetch_offset);
            let log = &self.logs[index as usize];
            let mut data =
                PartitionData { partition_index: index, high_watermark: log.end, ..Default::default() };
            if self.leaders[index as usize] != node_id {
                data.error_code = ErrorCode::NotLeaderOrFollower;
            } else if offset < log.start || offset > log.end {
                data.error_code = ErrorCode::OffsetOutOfRange;
            } else {
                let first = log.batches.partition_point(|(base, _)| *base <= offset).saturating_sub(1);
                // Two batches at a time, so that reading takes several fetches.
                let some = log.batches[first..].iter().take(2);
                data.records = Some(some.flat_map(|(_, bytes)| bytes.to_vec()).collect());
            }
            partitions.push(data);
        }
        let topic = FetchableTopicResponse { topic_id: TOPIC, topic: "t".into(), partitions };
        FetchResponse { responses: vec![topic], ..Default::default() }
    }

    fn serve_group(&mut self, body: RequestBody) -> Option<ResponseBody> {
        match body {
            RequestBody::FindCoordinator(_) => {
                let found = Coordinator { node_id: 2, host: "b2".into(), port: 9092, ..Default::default() };
                Some(FindCoordinatorResponse { coordinators: vec![found], ..Default::default() }.into())
            }
            RequestBody::JoinGroup(request) if request.member_id.is_empty() => {
                let error_code = ErrorCode::MemberIdRequired;
                Some(JoinGroupResponse { error_code, member_id: "m".into(), ..Default::default() }.into())
            }
            RequestBody::JoinGroup(request) => {
                self.generation += 1;
                self.must_rebalance = false;
                let metadata = request.protocols[0].metadata.clone();
                let member =
                    JoinGroupResponseMember { member_id: "m".into(), metadata, ..Default::default() };
                Some(
                    JoinGroupResponse {
                        generation_id: self.generation,
                        leader: "m".into(),
                        member_id: "m".into(),
                        members: vec![member],
                        protocol_name: Some("range".into()),
                        ..Default::default()
                    }
                    .into(),
                )
            }
            RequestBody::SyncGroup(request) => {
                let assignment = request.assignments[0].assignment.clone();
                Some(SyncGroupResponse { assignment, ..Default::default() }.into())
            }
            RequestBody::Heartbeat(_) => {
                let error_code =
                    if self.must_rebalance { ErrorCode::RebalanceInProgress } else { ErrorCode::None };
                Some(HeartbeatResponse { error_code, ..Default::default() }.into())
            }
            RequestBody::OffsetCommit(request) => {
                let topic = &request.topics[0];
                let mut partitions = Vec::new();
                for partition in &topic.partitions {
                    self.committed.insert(partition.partition_index, partition.committed_offset);
                    let partition_index = partition.partition_index;
                    partitions.push(OffsetCommitResponsePartition { partition_index, ..Default::default() });
                }
                let topics =
                    vec![OffsetCommitResponseTopic { name: "t".into(), topic_id: TOPIC, partitions }];
                Some(OffsetCommitResponse { topics, ..Default::default() }.into())
            }
            RequestBody::OffsetFetch(request) => {
                let asked = &request.groups[0].topics.as_ref().unwrap()[0];
                let partition = |index: &i32| OffsetFetchResponsePartitions {
                    partition_index: *index,
                    committed_offset: self.committed.get(index).copied().unwrap_or(-1),
                    ..Default::default()
                };
                let partitions = asked.partition_indexes.iter().map(partition).collect();
                let topics =
                    vec![OffsetFetchResponseTopics { name: "t".into(), topic_id: TOPIC, partitions }];
                let group = OffsetFetchResponseGroup { group_id: "g".into(), topics, ..Default::default() };
                Some(OffsetFetchResponse { groups: vec![group], ..Default::default() }.into())
            }
            RequestBody::LeaveGroup(_) => {
                self.left = true;
                let members = vec![MemberResponse { member_id: "m".into(), ..Default::default() }];
                Some(LeaveGroupResponse { members, ..Default::default() }.into())
            }
            _ => None,
        }
    }
}

fn world() -> (Arc<Mutex<World>>, Cluster<Town>) {
    let world = Arc::new(Mutex::new(World { leaders: [1, 2], ..World::default() }));
    let town = Town::build(2, ApiTable::served(), {
        let world = world.clone();
        // A fault panics while it holds the lock.
        move |node_id, body| world.lock().unwrap_or_else(|e| e.into_inner()).serve(node_id, body)
    });
    (world, town.cluster("b1:9092"))
}

fn look<T>(world: &Mutex<World>, at: impl FnOnce(&mut World) -> T) -> T {
    at(&mut world.lock().unwrap_or_else(|e| e.into_inner()))
}

fn value(number: usize) -> NewRecord {
    let value = Some(Bytes::from(number.to_string()));
    NewRecord { timestamp: Timestamp(1), value, ..NewRecord::default() }
}

fn producer_options() -> ProducerOptions {
    let settings = Settings {
        batch_bytes_max: 200,
        linger: Duration::ZERO,
        retry_backoff: Duration::from_millis(1),
        ..Settings::default()
    };
    ProducerOptions { settings, ..ProducerOptions::default() }
}

async fn read_all(cluster: &Cluster<Town>, count: usize) -> Vec<Vec<String>> {
    let options = ConsumerOptions {
        reset: Reset::Earliest,
        fetch_wait_max: Duration::from_millis(1),
        ..ConsumerOptions::default()
    };
    let lanes =
        [0, 1].map(|partition| (Lane { topic: "t".into(), partition: PartitionIndex(partition) }, None));
    let mut consumer = Consumer::assign(cluster.clone(), options, lanes);
    let mut read = vec![Vec::new(), Vec::new()];
    while read.iter().map(Vec::len).sum::<usize>() < count {
        for record in consumer.poll().await.unwrap() {
            let partition: &mut Vec<String> = &mut read[record.lane.partition.0 as usize];
            assert_eq!(record.offset, Offset(partition.len() as i64));
            partition.push(String::from_utf8(record.value.unwrap().to_vec()).unwrap());
        }
    }
    read
}

#[tokio::test]
async fn what_is_sent_is_read_back_in_order_through_every_fault() {
    let (world, cluster) = world();
    let faults = [Fault::None, Fault::LostAnswer, Fault::Moved, Fault::Refused(ErrorCode::NotEnoughReplicas)];
    look(&world, |world| world.faults = faults.iter().cycle().take(24).copied().collect());
    let producer = Producer::new(cluster.clone(), producer_options()).await.unwrap();
    let mut sent = Vec::new();
    for number in 0..200 {
        let partition = Some(PartitionIndex(number as i32 % 2));
        sent.push(producer.send("t", partition, value(number)).await.unwrap());
        if number % 10 == 0 {
            // Now and then all is answered, so that not all leave at once.
            producer.flush().await;
        }
    }
    producer.flush().await;
    for record in sent {
        record.delivered().await.unwrap();
    }
    let read = read_all(&cluster, 200).await;
    for (partition, values) in read.iter().enumerate() {
        let expected: Vec<String> = (0..200).filter(|n| n % 2 == partition).map(|n| n.to_string()).collect();
        assert_eq!(*values, expected, "each once and in order in partition {partition}");
    }
}

#[tokio::test]
async fn keys_keep_their_partition_and_others_spread() {
    let (_, cluster) = world();
    let producer = Producer::new(cluster.clone(), producer_options()).await.unwrap();
    let mut sent = Vec::new();
    for number in 0..100 {
        let key = (number < 50).then(|| Bytes::from_static(b"k"));
        sent.push(producer.send("t", None, NewRecord { key, ..value(number) }).await.unwrap());
    }
    producer.flush().await;
    let mut partitions = Vec::new();
    for record in sent {
        partitions.push(record.delivered().await.unwrap().partition.0);
    }
    assert!(partitions[..50].iter().all(|partition| *partition == partitions[0]));
    assert!(partitions[50..].contains(&0) && partitions[50..].contains(&1));
    let asked = producer.send("t", Some(PartitionIndex(2)), value(0)).await;
    assert!(matches!(
        asked,
        Err(SendError::Client(ClientError::Kafka(ErrorCode::UnknownTopicOrPartition, _)))
    ));
}

#[tokio::test]
async fn a_batch_refused_for_good_is_told_and_the_next_goes_on() {
    let (world, cluster) = world();
    look(&world, |world| world.faults = vec![Fault::Refused(ErrorCode::MessageTooLarge)]);
    let producer = Producer::new(cluster.clone(), producer_options()).await.unwrap();
    let first = producer.send("t", Some(PartitionIndex(0)), value(0)).await.unwrap();
    let SendError::Delivery(error) = first.delivered().await.unwrap_err() else { panic!("it was sent") };
    assert_eq!(
        (error.cause, error.may_be_appended),
        (FailureCause::Refused(ErrorCode::MessageTooLarge), false)
    );
    let second = producer.send("t", Some(PartitionIndex(0)), value(1)).await.unwrap();
    assert_eq!(second.delivered().await.unwrap().offset, Offset(0));
    assert_eq!(look(&world, |world| world.producer_ids), 2, "a lost sequence needs a new identity");
}

#[tokio::test]
async fn without_acks_sent_is_delivered() {
    let (world, cluster) = world();
    for (acks, offset) in [(Acks::Leader, 0), (Acks::None, -1)] {
        let options = ProducerOptions { acks, idempotent: false, ..producer_options() };
        let producer = Producer::new(cluster.clone(), options).await.unwrap();
        let sent = producer.send("t", Some(PartitionIndex(1)), value(0)).await.unwrap();
        assert_eq!(sent.delivered().await.unwrap().offset, Offset(offset));
    }
    while look(&world, |world| world.logs[1].end) < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(look(&world, |world| world.producer_ids), 0);
}

#[tokio::test]
async fn what_a_dropped_producer_took_is_still_sent() {
    let (world, cluster) = world();
    let options = ProducerOptions {
        settings: Settings { linger: Duration::from_secs(600), ..producer_options().settings },
        ..producer_options()
    };
    let producer = Producer::new(cluster.clone(), options).await.unwrap();
    let sent = producer.send("t", Some(PartitionIndex(0)), value(0)).await.unwrap();
    drop(producer);
    assert_eq!(sent.delivered().await.unwrap().offset, Offset(0));
    assert_eq!(look(&world, |world| world.logs[0].end), 1);
}

#[tokio::test]
async fn an_offset_that_is_gone_is_reset_or_refused() {
    let (world, cluster) = world();
    let producer = Producer::new(cluster.clone(), producer_options()).await.unwrap();
    for number in 0..40 {
        producer.send("t", Some(PartitionIndex(0)), value(number)).await.unwrap();
    }
    producer.flush().await;
    look(&world, |world| {
        let log = &mut world.logs[0];
        log.batches.remove(0);
        log.start = log.batches[0].0;
    });
    let lane = Lane { topic: "t".into(), partition: PartitionIndex(0) };
    let options = |reset| ConsumerOptions { reset, ..ConsumerOptions::default() };
    let start = look(&world, |world| world.logs[0].start);
    let mut consumer =
        Consumer::assign(cluster.clone(), options(Reset::Earliest), [(lane.clone(), Some(Offset(0)))]);
    let first = loop {
        if let Some(record) = consumer.poll().await.unwrap().first() {
            break record.offset;
        }
    };
    assert_eq!(first, Offset(start));
    let mut strict = Consumer::assign(cluster, options(Reset::Refuse), [(lane, Some(Offset(0)))]);
    assert_eq!(strict.poll().await.unwrap_err(), ClientError::kafka(ErrorCode::OffsetOutOfRange));
}

#[tokio::test]
async fn a_group_member_joins_commits_and_rejoins() {
    let (world, cluster) = world();
    let producer = Producer::new(cluster.clone(), producer_options()).await.unwrap();
    for number in 0..20 {
        producer.send("t", Some(PartitionIndex(number as i32 % 2)), value(number)).await.unwrap();
    }
    producer.flush().await;
    look(&world, |world| world.committed.insert(0, 3));
    let options = ConsumerOptions {
        reset: Reset::Earliest,
        fetch_wait_max: Duration::from_millis(1),
        ..ConsumerOptions::default()
    };
    let membership = MembershipOptions {
        heartbeat_interval: Duration::from_millis(5),
        ..MembershipOptions::of_group("g")
    };
    let mut consumer = Consumer::subscribe(cluster, options, membership, ["t".to_string()]);
    let mut read = Vec::new();
    while read.len() < 17 {
        read.extend(consumer.poll().await.unwrap());
    }
    let of = |partition| read.iter().filter(|record| record.lane.partition.0 == partition).count();
    assert_eq!((of(0), of(1)), (7, 10), "from the committed offset, and from the start where there is none");
    look(&world, |world| world.must_rebalance = true);
    while look(&world, |world| world.generation) < 2 {
        assert_eq!(consumer.poll().await.unwrap(), []);
    }
    assert_eq!(look(&world, |world| world.committed.clone()), BTreeMap::from([(0, 10), (1, 10)]));
    producer.send("t", Some(PartitionIndex(1)), value(99)).await.unwrap();
    producer.flush().await;
    let mut again = Vec::new();
    while again.is_empty() {
        again = consumer.poll().await.unwrap();
    }
    assert_eq!(again[0].value, value(99).value, "nothing is read twice after a rebalance");
    consumer.close().await.unwrap();
    assert!(look(&world, |world| world.left && world.committed[&1] == 11));
}
