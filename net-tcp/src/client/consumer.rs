//! The consumer: reads the partitions it was given, or those its group gives it.
//!
//! Everything happens in [`Consumer::poll`], except the heartbeats of a group's member. Offsets are those of the next
//! record to read, as everywhere in Kafka.

use super::membership::{Membership, MembershipOptions};
use super::{ClientError, Cluster, Dial, offsets};
use highwater_core::batch::Header;
use highwater_core::client::consumer::{self, Position};
use highwater_core::client::producer::Lane;
use highwater_core::ids::{BrokerId, LeaderEpoch, Offset, PartitionIndex};
use highwater_core::time::Timestamp;
use highwater_protocol::ErrorCode;
use highwater_protocol::messages::{FetchPartition, FetchRequest, FetchResponse, FetchTopic, PartitionData};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How a consumer reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerOptions {
    /// Longest wait of a broker that has nothing yet (`fetch.max.wait.ms`).
    pub fetch_wait_max: Duration,
    /// What is worth an answer before that (`fetch.min.bytes`).
    pub fetch_bytes_min: i32,
    /// Most bytes of one answer (`fetch.max.bytes`).
    pub fetch_bytes_max: i32,
    /// Most bytes of one partition (`max.partition.fetch.bytes`).
    pub partition_bytes_max: i32,
    /// Where to begin in a partition without a committed offset, or with one that is gone (`auto.offset.reset`).
    pub reset: Reset,
    /// How often a group's consumer commits by itself (`auto.commit.interval.ms`); `None` leaves it to
    /// [`Consumer::commit`].
    pub auto_commit: Option<Duration>,
}

impl Default for ConsumerOptions {
    fn default() -> Self {
        Self {
            fetch_wait_max: Duration::from_millis(500),
            fetch_bytes_min: 1,
            fetch_bytes_max: 50 << 20,
            partition_bytes_max: 1 << 20,
            reset: Reset::Latest,
            auto_commit: Some(Duration::from_secs(5)),
        }
    }
}

/// Where to begin without a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// At the first record there is.
    Earliest,
    /// Behind the last record there is.
    Latest,
    /// Nowhere: it is an error.
    Refuse,
}

/// A record that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumedRecord {
    /// Where it was.
    pub lane: Lane,
    /// At which offset.
    pub offset: Offset,
    /// When it happened, by the topic's timestamp type.
    pub timestamp: Timestamp,
    /// Its key.
    pub key: Option<bytes::Bytes>,
    /// Its value; `None` is a tombstone.
    pub value: Option<bytes::Bytes>,
    /// Its headers.
    pub headers: Vec<Header>,
}

/// Reads records from a cluster.
#[derive(Debug)]
pub struct Consumer<D: Dial> {
    cluster: Cluster<D>,
    options: ConsumerOptions,
    /// The partitions read, with the position once it is known.
    positions: BTreeMap<Lane, Option<Position>>,
    group: Option<Group<D>>,
}

#[derive(Debug)]
struct Group<D: Dial> {
    membership: Membership<D>,
    committed_at: Instant,
}

impl<D: Dial> Consumer<D> {
    /// A consumer without a group, of these partitions, each from an offset or from where [`Reset`] says.
    pub fn assign(
        cluster: Cluster<D>,
        options: ConsumerOptions,
        partitions: impl IntoIterator<Item = (Lane, Option<Offset>)>,
    ) -> Self {
        let position = |offset| Position { offset, leader_epoch: LeaderEpoch::NONE };
        let positions = partitions.into_iter().map(|(lane, offset)| (lane, offset.map(position))).collect();
        Self { cluster, options, positions, group: None }
    }

    /// A member of a group, which shares the topics' partitions out among its members.
    pub fn subscribe(
        cluster: Cluster<D>,
        options: ConsumerOptions,
        membership: MembershipOptions,
        topics: impl IntoIterator<Item = String>,
    ) -> Self {
        let membership = Membership::new(cluster.clone(), membership, topics.into_iter().collect());
        let group = Some(Group { membership, committed_at: Instant::now() });
        Self { cluster, options, positions: BTreeMap::new(), group }
    }

    /// The partitions read now, with the next offset of each once it is known.
    pub fn positions(&self) -> impl Iterator<Item = (&Lane, Option<Offset>)> {
        self.positions.iter().map(|(lane, position)| (lane, position.map(|position| position.offset)))
    }

    /// Reads on from `offset`. False if the partition is not one of this consumer's.
    pub fn seek(&mut self, lane: &Lane, offset: Offset) -> bool {
        let position = Position { offset, leader_epoch: LeaderEpoch::NONE };
        match self.positions.get_mut(lane) {
            Some(at) => {
                *at = Some(position);
                true
            }
            None => false,
        }
    }

    /// The next records, perhaps none. Errors that may pass are waited out here; the caller polls again.
    ///
    /// In a group: joins first, and again when the group rebalances. Not cancel-safe: positions may have advanced past
    /// records that a dropped call would have returned.
    pub async fn poll(&mut self) -> Result<Vec<ConsumedRecord>, ClientError> {
        match self.try_poll().await {
            Err(error) if error.is_retriable() => {
                tracing::debug!(%error, "poll");
                for lane in self.positions.keys() {
                    self.cluster.forget(&lane.topic);
                }
                sleep(self.cluster.options().retry_backoff).await;
                Ok(Vec::new())
            }
            result => result,
        }
    }

    /// Commits the positions of a group's consumer: what was returned by [`Consumer::poll`] counts as read.
    pub async fn commit(&mut self) -> Result<(), ClientError> {
        let Some(group) = &mut self.group else { return Ok(()) };
        let positions: BTreeMap<Lane, Position> =
            self.positions.iter().filter_map(|(lane, at)| Some((lane.clone(), (*at)?))).collect();
        group.committed_at = Instant::now();
        group.membership.commit(&positions).await
    }

    /// Commits, if the consumer does so by itself, and leaves the group, so that others need not wait for it.
    pub async fn close(mut self) -> Result<(), ClientError> {
        if self.options.auto_commit.is_some() {
            self.commit().await?;
        }
        match self.group {
            Some(group) => group.membership.leave().await,
            None => Ok(()),
        }
    }

    async fn try_poll(&mut self) -> Result<Vec<ConsumedRecord>, ClientError> {
        self.keep_membership().await?;
        self.find_positions().await?;
        if self.positions.is_empty() {
            sleep(self.options.fetch_wait_max).await;
            return Ok(Vec::new());
        }
        self.fetch().await
    }

    async fn keep_membership(&mut self) -> Result<(), ClientError> {
        let Some(group) = &self.group else { return Ok(()) };
        let is_due = self.options.auto_commit.is_some_and(|every| group.committed_at.elapsed() >= every);
        let must_join = group.membership.must_join();
        if self.options.auto_commit.is_some() && (is_due || must_join) {
            // Before a rebalance as well: another member may read on from here. A refusal shows that it is too late,
            // and the join will tell.
            if let Err(error) = self.commit().await {
                tracing::debug!(%error, "commit");
            }
        }
        let Some(group) = &mut self.group else { return Ok(()) };
        if must_join {
            self.positions.clear();
            let lanes = group.membership.join().await?;
            self.positions = lanes.into_iter().map(|lane| (lane, None)).collect();
        }
        Ok(())
    }

    /// Finds where to begin in partitions without a position: at the committed offset, else where [`Reset`] says.
    async fn find_positions(&mut self) -> Result<(), ClientError> {
        let unknown = |positions: &BTreeMap<Lane, Option<Position>>| -> Vec<Lane> {
            positions.iter().filter(|(_, at)| at.is_none()).map(|(lane, _)| lane.clone()).collect()
        };
        let lanes = unknown(&self.positions);
        if lanes.is_empty() {
            return Ok(());
        }
        if let Some(group) = &mut self.group {
            for (lane, position) in group.membership.committed(&lanes).await? {
                self.positions.insert(lane, Some(position));
            }
        }
        let timestamp = match self.options.reset {
            Reset::Earliest => offsets::EARLIEST,
            Reset::Latest => offsets::LATEST,
            Reset::Refuse if unknown(&self.positions).is_empty() => return Ok(()),
            Reset::Refuse => return Err(ClientError::kafka(ErrorCode::OffsetOutOfRange)),
        };
        for lane in unknown(&self.positions) {
            let found = offsets::list(&self.cluster, &lane, timestamp).await?;
            let position = Position { offset: found.offset, leader_epoch: LeaderEpoch::NONE };
            self.positions.insert(lane, Some(position));
        }
        Ok(())
    }

    /// One fetch from each leader, all at once.
    async fn fetch(&mut self) -> Result<Vec<ConsumedRecord>, ClientError> {
        let mut begun = Vec::new();
        for (leader, request) in self.fetch_requests().await? {
            begun.push(self.cluster.broker(leader).await?.begin(&request).await?);
        }
        let mut records = Vec::new();
        let mut failed = None;
        for pending in begun {
            let read = match pending.answer().await {
                Ok(answer) => self.take_answer(answer, &mut records),
                Err(error) => Err(error),
            };
            // What the others brought is taken all the same.
            failed = read.err().or(failed);
        }
        match failed {
            Some(error) if records.is_empty() => Err(error),
            _ => Ok(records),
        }
    }

    async fn fetch_requests(&self) -> Result<BTreeMap<BrokerId, FetchRequest>, ClientError> {
        let mut requests = BTreeMap::new();
        for (lane, position) in &self.positions {
            let Some(position) = position else { continue };
            let topic = self.cluster.topic(&lane.topic).await?;
            let (leader, leader_epoch) = self.cluster.leader(&lane.topic, lane.partition).await?;
            let request = requests.entry(leader).or_insert_with(|| FetchRequest {
                max_wait_ms: i32::try_from(self.options.fetch_wait_max.as_millis()).unwrap_or(i32::MAX),
                min_bytes: self.options.fetch_bytes_min,
                max_bytes: self.options.fetch_bytes_max,
                ..Default::default()
            });
            if request.topics.last().is_none_or(|last| *last.topic != *lane.topic) {
                let name = lane.topic.to_string();
                request.topics.push(FetchTopic { topic: name, topic_id: topic.id, partitions: Vec::new() });
            }
            let partitions = &mut request.topics.last_mut().expect("just put there").partitions;
            partitions.push(FetchPartition {
                partition: lane.partition.0,
                current_leader_epoch: leader_epoch.0,
                fetch_offset: position.offset.0,
                last_fetched_epoch: position.leader_epoch.0,
                partition_max_bytes: self.options.partition_bytes_max,
                ..Default::default()
            });
        }
        Ok(requests)
    }

    fn take_answer(
        &mut self,
        answer: FetchResponse,
        records: &mut Vec<ConsumedRecord>,
    ) -> Result<(), ClientError> {
        if answer.error_code.is_error() {
            return Err(ClientError::kafka(answer.error_code));
        }
        let mut failed = None;
        for topic in answer.responses {
            // From version 13 on topics have ids instead of names (KIP-516).
            let named = (!topic.topic.is_empty()).then_some(topic.topic);
            let Some(name) = named.or_else(|| self.cluster.topic_name(topic.topic_id)) else { continue };
            for partition in topic.partitions {
                let lane = Lane {
                    topic: name.as_str().into(),
                    partition: PartitionIndex(partition.partition_index),
                };
                failed = self.take_partition(lane, partition, records).err().or(failed);
            }
        }
        failed.map_or(Ok(()), Err)
    }

    fn take_partition(
        &mut self,
        lane: Lane,
        data: PartitionData,
        records: &mut Vec<ConsumedRecord>,
    ) -> Result<(), ClientError> {
        let Some(at) = self.positions.get_mut(&lane) else { return Ok(()) };
        let Some(position) = *at else { return Ok(()) };
        match data.error_code {
            ErrorCode::None => {}
            ErrorCode::OffsetOutOfRange => {
                // The log begins later now, or was truncated: start over where `Reset` says.
                *at = None;
                return match self.options.reset {
                    Reset::Refuse => Err(ClientError::kafka(ErrorCode::OffsetOutOfRange)),
                    _ => Ok(()),
                };
            }
            code => {
                self.cluster.forget(&lane.topic);
                return Err(ClientError::kafka(code));
            }
        }
        if data.diverging_epoch.end_offset >= 0 {
            // What was read beyond this offset is not in the log any more (KIP-595, KIP-320).
            let offset = Offset(data.diverging_epoch.end_offset).min(position.offset);
            *at = Some(Position { offset, leader_epoch: LeaderEpoch::NONE });
            return Ok(());
        }
        let fetched = consumer::read(data.records.unwrap_or_default(), position)
            .map_err(|error| ClientError::Kafka(ErrorCode::CorruptMessage, Some(error.to_string())))?;
        *at = Some(fetched.position);
        records.extend(fetched.records.into_iter().map(|record| ConsumedRecord {
            lane: lane.clone(),
            offset: record.offset,
            timestamp: record.timestamp,
            key: record.key,
            value: record.value,
            headers: record.headers,
        }));
        Ok(())
    }
}
