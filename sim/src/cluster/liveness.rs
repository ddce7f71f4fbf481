//! What must work again once the faults end: every partition led and in sync, a fresh reader finds everything, replicas
//! and metadata become equal.

use super::Cluster;
use crate::client::{Client, To, TopicInfo, World};
use crate::history::PartitionKey;
use bytes::Bytes;
use highwater_core::batch::{self, BatchHeader};
use highwater_core::metadata::MetadataImage;
use highwater_protocol::messages::{
    FetchPartition, FetchRequest, FetchTopic, ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
};
use std::collections::BTreeMap;

/// Ten times the largest time-out of a run, in steps of which nothing is expected.
const STEPS_MAX: u64 = 600;
const STEP_MS: u64 = 100;

const EARLIEST: i64 = -2;
const LATEST: i64 = -1;

impl Cluster {
    /// L1, L2: there is an active controller, and every partition has a leader and all its replicas in sync.
    pub async fn await_health(&mut self) {
        let mut missing = String::new();
        for _ in 0..STEPS_MAX {
            self.pass(STEP_MS).await;
            if self.world.is_stopping() {
                return;
            }
            missing = match self.newest_image() {
                None => "no node has metadata".to_owned(),
                Some(image) => ailing(&image).unwrap_or_default(),
            };
            if missing.is_empty() {
                self.world.note("the cluster is whole");
                return;
            }
        }
        let after = STEPS_MAX * STEP_MS / 1000;
        self.world.history().complain("L2", format_args!("{after} s after the faults ended: {missing}"));
    }

    /// L6, L7: with nobody writing any more, replicas and metadata become equal.
    pub async fn await_equality(&mut self) {
        let mut unequal = String::new();
        for _ in 0..STEPS_MAX {
            tokio::time::sleep(std::time::Duration::from_millis(STEP_MS)).await;
            self.observe();
            unequal = self.inequality().unwrap_or_default();
            if unequal.is_empty() {
                return;
            }
        }
        self.world.history().complain("L6", unequal);
    }

    fn inequality(&self) -> Option<String> {
        let mut ends: BTreeMap<PartitionKey, (i64, i32)> = BTreeMap::new();
        let mut offsets = Vec::new();
        for machine in &self.machines {
            let Some(node) = machine.node() else { continue };
            offsets.push(node.image().offset());
            for partition in node.registry().all() {
                let key = (highwater_protocol::Uuid(partition.id().topic_id.0), partition.id().partition.0);
                let end = partition.inspect(|_, log| log.settled_end().0).ok()?;
                let (known, other) = *ends.entry(key).or_insert((end, machine.id()));
                if known != end {
                    let (topic, id) = (partition.topic(), machine.id());
                    return Some(format!(
                        "{topic} {} ends at {known} on node {other} and at {end} on node {id}",
                        key.1
                    ));
                }
            }
        }
        let first = offsets.first()?;
        (!offsets.iter().all(|offset| offset == first)).then(|| format!("metadata is applied to {offsets:?}"))
    }
}

/// What a partition lacks, if one does.
fn ailing(image: &MetadataImage) -> Option<String> {
    for topic in image.topics() {
        for (partition, state) in topic.partitions.iter() {
            if state.leader.is_none() || state.isr.len() < state.replicas.len() {
                return Some(format!("{} {partition} is {state:?}", topic.name));
            }
        }
    }
    None
}

/// O18, L9: a fresh reader finds every acknowledged record, and nothing that nobody sent.
pub async fn read_everything(mut client: Client, topics: Vec<TopicInfo>) {
    for topic in topics {
        for partition in 0..topic.partitions {
            let Some((start, found)) = read_partition(&mut client, &topic, partition).await else {
                client
                    .world
                    .history()
                    .complain("L9", format_args!("{} {partition} does not read", topic.name));
                return;
            };
            judge(&client.world, &topic, partition, start, &found);
        }
    }
}

fn judge(world: &World, topic: &TopicInfo, partition: i32, start: i64, found: &BTreeMap<i64, Bytes>) {
    let mut history = world.history();
    let Some(known) = history.partitions.remove(&topic.key(partition)) else { return };
    for (offset, value) in known.acked.range(start..) {
        if found.get(offset) != Some(value) {
            let there = found.contains_key(offset);
            let name = &topic.name;
            history.complain(
                "O18",
                format_args!(
                    "{name} {partition}: offset {offset} was acknowledged; is there anything: {there}"
                ),
            );
        }
    }
    if let Some((offset, _)) = found.iter().find(|(_, value)| !known.sent.contains(*value)) {
        history.complain("O17", format_args!("{} {partition}: nobody sent offset {offset}", topic.name));
    }
    history.partitions.insert(topic.key(partition), known);
}

async fn read_partition(
    client: &mut Client,
    topic: &TopicInfo,
    partition: i32,
) -> Option<(i64, BTreeMap<i64, Bytes>)> {
    let mut found = BTreeMap::new();
    for _ in 0..STEPS_MAX {
        if client.world.is_stopping() {
            return Some((i64::MAX, found));
        }
        let Some(start) = list_offset(client, topic, partition, EARLIEST).await else {
            client.pause().await;
            continue;
        };
        let Some(end) = list_offset(client, topic, partition, LATEST).await else {
            client.pause().await;
            continue;
        };
        let mut at = start;
        while at < end {
            let next = read_from(client, topic, partition, at, &mut found).await;
            match next {
                Some(next) if next > at => at = next,
                _ => break,
            }
        }
        if at >= end {
            return Some((start, found));
        }
    }
    None
}

async fn list_offset(client: &mut Client, topic: &TopicInfo, partition: i32, timestamp: i64) -> Option<i64> {
    let asked = ListOffsetsPartition { partition_index: partition, timestamp, ..Default::default() };
    let topics = vec![ListOffsetsTopic { name: topic.name.clone(), partitions: vec![asked] }];
    let request = ListOffsetsRequest { replica_id: -1, topics, timeout_ms: 1000, ..Default::default() };
    let answer = client.ask(To::Leader(topic.key(partition)), &request).await?;
    let found = answer.topics.first()?.partitions.first()?;
    client.heed(found.error_code);
    (!found.error_code.is_error()).then_some(found.offset)
}

async fn read_from(
    client: &mut Client,
    topic: &TopicInfo,
    partition: i32,
    at: i64,
    found: &mut BTreeMap<i64, Bytes>,
) -> Option<i64> {
    let asked =
        FetchPartition { partition, fetch_offset: at, partition_max_bytes: 1 << 20, ..Default::default() };
    let topics = vec![FetchTopic { topic: topic.name.clone(), topic_id: topic.id, partitions: vec![asked] }];
    let request =
        FetchRequest { max_wait_ms: 100, min_bytes: 1, session_epoch: -1, topics, ..Default::default() };
    let answer = client.ask(To::Leader(topic.key(partition)), &request).await?;
    let data = answer.responses.first()?.partitions.first()?;
    client.heed(data.error_code);
    let mut bytes = data.records.clone().unwrap_or_default();
    let mut next = at;
    while let Ok(header) = BatchHeader::parse(&bytes) {
        if header.size_bytes() > bytes.len() {
            break;
        }
        let batch = bytes.split_to(header.size_bytes());
        for record in batch::records(&batch).ok()? {
            let record = record.ok()?;
            found.insert(record.offset.0, record.value.unwrap_or_default());
            next = next.max(record.offset.0 + 1);
        }
    }
    Some(next)
}
