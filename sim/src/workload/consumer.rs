//! Consumers that assign partitions to themselves and read them over and over, with a fetch session or without.

use super::reading::{EARLIEST, LATEST, Listed, list_offset};
use crate::check::records;
use crate::client::{Client, To, TopicInfo};
use bytes::Bytes;
use highwater_core::batch::{self, BatchHeader};
use highwater_protocol::ErrorCode;
use highwater_protocol::messages::{
    FetchPartition, FetchRequest, FetchResponse, FetchTopic, ForgottenTopic, PartitionData,
};
use std::collections::BTreeMap;

/// A consumer of all partitions of a topic.
#[derive(Debug)]
pub struct Consumer {
    client: Client,
    topic: TopicInfo,
    /// Where each partition is read next; a partition without a position asks for the earliest offset first.
    positions: BTreeMap<i32, Position>,
    has_session: bool,
    /// One with each broker.
    sessions: BTreeMap<i32, Session>,
}

/// A fetch session, if its id is not 0.
#[derive(Debug, Default)]
struct Session {
    id: i32,
    epoch: i32,
    /// What it believes of each partition: position and leader epoch.
    known: BTreeMap<i32, (i64, i32)>,
}

#[derive(Clone, Copy, Debug)]
struct Position {
    offset: i64,
    /// The power cuts that had taken something when the position was taken.
    losses: u64,
}

/// What was known when a request left.
struct Asked {
    losses: u64,
    crashes: u64,
    known: BTreeMap<i32, Known>,
}

/// What clients had been told of a partition.
#[derive(Clone, Debug, Default)]
struct Known {
    latest_in: BTreeMap<i32, i64>,
    high_watermark: (i32, i64),
    removed_in: BTreeMap<i32, i64>,
    /// The leader epoch that the request names.
    leader_epoch: i32,
}

impl Consumer {
    /// A consumer of a topic.
    pub fn new(client: Client, topic: TopicInfo, has_session: bool) -> Self {
        Self { client, topic, positions: BTreeMap::new(), has_session, sessions: BTreeMap::new() }
    }

    /// Reads until the run stops.
    pub async fn run(mut self) {
        while !self.client.world.is_stopping() {
            for partition in 0..self.topic.partitions {
                if !self.positions.contains_key(&partition) {
                    self.position(partition).await;
                }
            }
            self.fetch().await;
            if self.client.rng.happens(30) {
                self.positions.clear();
            }
            self.client.rest(0, 10).await;
        }
    }

    fn asked(&self) -> Asked {
        let mut history = self.client.world.history();
        let mut known = BTreeMap::new();
        for partition in 0..self.topic.partitions {
            let of = history.partition(self.topic.key(partition));
            let of_partition = Known {
                latest_in: of.latest_in.clone(),
                high_watermark: of.high_watermark,
                removed_in: of.removed_in.clone(),
                leader_epoch: -1,
            };
            known.insert(partition, of_partition);
        }
        Asked { losses: history.losses, crashes: history.totals.crashes, known }
    }

    /// Takes the earliest offset as position, and looks at the latest.
    async fn position(&mut self, partition: i32) {
        let asked = self.asked();
        let Some(latest) = self.list_offset(partition, LATEST).await else { return };
        self.told_latest(partition, latest, &asked);
        let asked = self.asked();
        let Some(earliest) = self.list_offset(partition, EARLIEST).await else { return };
        self.told_earliest(partition, earliest, &asked);
        self.positions.insert(partition, Position { offset: earliest.offset, losses: asked.losses });
    }

    async fn list_offset(&mut self, partition: i32, timestamp: i64) -> Option<Listed> {
        list_offset(&mut self.client, &self.topic, partition, timestamp).await
    }

    /// O5: a leader's latest offset is not below what any leader up to its own epoch had told. One that was deposed and
    /// does not know it may be behind those after it, for clients that know it neither.
    fn told_latest(&self, partition: i32, told: Listed, asked: &Asked) {
        let mut history = self.client.world.history();
        if history.losses != asked.losses {
            return;
        }
        let before = asked.known.get(&partition).map(|known| known.latest_in.range(..=told.leader_epoch));
        let floor = before.into_iter().flatten().map(|(_, latest)| *latest).max().unwrap_or(0);
        history.judge("O5", records::never_decreases(&self.topic.name, "latest offset", floor, told.offset));
        history.partition(self.topic.key(partition)).told_latest(told.leader_epoch, told.offset);
    }

    /// A high watermark that a leader tells in the epoch that it was asked under.
    fn told_high_watermark(&self, partition: i32, told: i64, asked: &Asked) {
        let mut history = self.client.world.history();
        let Some(before) = asked.known.get(&partition).filter(|_| history.losses == asked.losses) else {
            return;
        };
        let (epoch, floor) = before.high_watermark;
        if epoch == before.leader_epoch {
            history.judge("O5", records::never_decreases(&self.topic.name, "high watermark", floor, told));
        }
        let known = history.partition(self.topic.key(partition));
        known.told_latest(before.leader_epoch, told);
        known.high_watermark = known.high_watermark.max((before.leader_epoch, told));
    }

    /// O13: records whose deletion was acknowledged are not there again, for leaders from the one that deleted them on. One
    /// that was deposed and does not know it still has them.
    fn told_earliest(&self, partition: i32, told: Listed, asked: &Asked) {
        let mut history = self.client.world.history();
        if history.losses == asked.losses {
            let before =
                asked.known.get(&partition).map(|known| known.removed_in.range(..=told.leader_epoch));
            let floor = before.into_iter().flatten().map(|(_, removed)| *removed).max().unwrap_or(0);
            history.judge("O13", records::never_decreases(&self.topic.name, "log start", floor, told.offset));
        }
    }

    /// Fetches from one of the brokers that lead something.
    async fn fetch(&mut self) {
        let mut asked = self.asked();
        let mut led: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
        let partitions: Vec<i32> = self.positions.keys().copied().collect();
        for partition in partitions {
            let Some((leader, epoch)) = self.client.leader(self.topic.key(partition)).await else { return };
            asked.known.entry(partition).or_default().leader_epoch = epoch;
            led.entry(leader).or_default().push(partition);
        }
        let leaders: Vec<i32> = led.keys().copied().collect();
        if leaders.is_empty() {
            return;
        }
        let leader = *self.client.rng.pick(&leaders);
        let request = self.request(leader, &led[&leader], &asked);
        let Some(answer) = self.client.ask(To::Broker(leader), &request).await else {
            self.sessions.remove(&leader);
            return;
        };
        if answer.error_code.is_error() {
            self.client.note(format_args!("fetch session: {}", answer.error_code));
            self.sessions.remove(&leader);
            return self.client.pause().await;
        }
        let session = self.sessions.entry(leader).or_default();
        if self.has_session && answer.session_id != 0 {
            session.id = answer.session_id;
            session.epoch += 1;
        } else {
            self.sessions.remove(&leader);
        }
        self.take(leader, &answer, &asked).await;
    }

    fn request(&mut self, leader: i32, led: &[i32], asked: &Asked) -> FetchRequest {
        let session = self.sessions.entry(leader).or_default();
        if session.id == 0 {
            session.known.clear();
        }
        // A partition that has moved away is no longer this broker's.
        let gone: Vec<i32> = session.known.keys().filter(|known| !led.contains(known)).copied().collect();
        session.known.retain(|partition, _| led.contains(partition));
        let mut partitions = Vec::new();
        for partition in led {
            let (position, epoch) = (self.positions[partition], asked.known[partition].leader_epoch);
            let wanted = (position.offset, epoch);
            if session.known.insert(*partition, wanted) == Some(wanted) && session.id != 0 {
                continue;
            }
            partitions.push(FetchPartition {
                partition: *partition,
                current_leader_epoch: epoch,
                fetch_offset: position.offset,
                partition_max_bytes: *self.client.rng.pick(&[1, 300, 4096, 1 << 20]),
                ..Default::default()
            });
        }
        let (session_id, session_epoch) = (session.id, if self.has_session { session.epoch } else { -1 });
        let (topic, topic_id) = (self.topic.name.clone(), self.topic.id);
        let forgotten = ForgottenTopic { topic: topic.clone(), topic_id, partitions: gone };
        let topic = FetchTopic { topic, topic_id, partitions };
        FetchRequest {
            max_wait_ms: self.client.rng.within(0, 300) as i32,
            min_bytes: self.client.rng.within(0, 500) as i32,
            max_bytes: *self.client.rng.pick(&[1, 2000, 1 << 20]),
            session_id,
            session_epoch,
            topics: if topic.partitions.is_empty() { Vec::new() } else { vec![topic] },
            forgotten_topics_data: if forgotten.partitions.is_empty() { Vec::new() } else { vec![forgotten] },
            ..Default::default()
        }
    }

    async fn take(&mut self, leader: i32, answer: &FetchResponse, asked: &Asked) {
        for partition in answer.responses.iter().flat_map(|topic| &topic.partitions) {
            let index = partition.partition_index;
            let Some(position) = self.positions.get(&index).copied() else { continue };
            match partition.error_code {
                ErrorCode::None => {
                    self.told_high_watermark(index, partition.high_watermark, asked);
                    let leader_epoch = asked.known.get(&index).map_or(-1, |known| known.leader_epoch);
                    let start = Listed { offset: partition.log_start_offset, leader_epoch };
                    self.told_earliest(index, start, asked);
                    self.read(index, position, partition, asked);
                }
                ErrorCode::OffsetOutOfRange => self.reset(index, position, asked).await,
                code => {
                    self.client.note(format_args!("fetch {} {index} from {leader}: {code}", self.topic.name));
                    self.client.heed(code);
                    self.client.pause().await;
                }
            }
        }
    }

    /// O19: a position is out of range only if it lies outside of the log.
    async fn reset(&mut self, partition: i32, position: Position, asked: &Asked) {
        self.positions.remove(&partition);
        let Some(latest) = self.list_offset(partition, LATEST).await else { return };
        let Some(earliest) = self.list_offset(partition, EARLIEST).await else { return };
        self.client.note(format_args!("{} {partition}: reset at {}", self.topic.name, position.offset));
        self.told_earliest(partition, earliest, asked);
        let (earliest, latest) = (earliest.offset, latest.offset);
        let mut history = self.client.world.history();
        // A log start that nobody was promised (retention's, a deletion's without an answer) falls back in a crash, as
        // Kafka's does, which is checkpointed later.
        let may_be_back = history.totals.crashes != asked.crashes;
        let is_inside = (earliest..=latest).contains(&position.offset);
        if history.losses == position.losses && is_inside && !may_be_back {
            history.complain(
                "O19",
                format_args!(
                    "{} {partition}: offset {} is out of range, and the log is {earliest} to {latest}",
                    self.topic.name, position.offset
                ),
            );
        }
    }

    fn read(&mut self, partition: i32, position: Position, data: &PartitionData, asked: &Asked) {
        let mut bytes = data.records.clone().unwrap_or_default();
        let mut next = position.offset;
        let mut read = Vec::new();
        let verdict = take_batches(&mut bytes, &mut next, &mut read);
        let mut history = self.client.world.history();
        if history.losses != asked.losses || history.losses != position.losses {
            drop(history);
            self.positions.remove(&partition);
            return;
        }
        history.judge("O41", verdict.map_err(|what| format!("{} {partition}: {what}", self.topic.name)));
        let offsets = read.iter().map(|(offset, _)| *offset);
        history.judge("O16", records::none_is_skipped(&self.topic.name, position.offset, offsets));
        let high_watermark = data.high_watermark;
        if next > high_watermark && next > position.offset {
            let name = &self.topic.name;
            history
                .complain("O2", format_args!("{name} {partition}: read to {next} beyond {high_watermark}"));
        }
        let key = self.topic.key(partition);
        for (offset, value) in read {
            let known = history.partition(key);
            let verdict = records::readers_agree(known, offset, &value);
            known.seen.insert(offset, value);
            history.judge("O2", verdict);
            history.totals.seen += 1;
        }
        drop(history);
        if next != position.offset {
            self.client.note(format_args!("read {} {partition} to {next}", self.topic.name));
        }
        self.positions.insert(partition, Position { offset: next, ..position });
    }
}

/// Reads whole batches; a last one that is cut off is left out, as clients do (KIP-74).
fn take_batches(bytes: &mut Bytes, next: &mut i64, read: &mut Vec<(i64, Bytes)>) -> Result<(), String> {
    while let Ok(header) = BatchHeader::parse(bytes) {
        if header.size_bytes() > bytes.len() {
            return Ok(());
        }
        let batch = bytes.split_to(header.size_bytes());
        if !batch::crc_holds(&batch) {
            return Err(format!("the batch at offset {} was served with a bad checksum", header.base_offset));
        }
        for record in batch::records(&batch).map_err(|e| e.to_string())? {
            let record = record.map_err(|e| e.to_string())?;
            if record.offset.0 < *next {
                continue;
            }
            *next = record.offset.0 + 1;
            read.push((record.offset.0, record.value.unwrap_or_default()));
        }
    }
    Ok(())
}
