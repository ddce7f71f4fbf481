//! A member of a group of the classic protocol: join, sync, heartbeat, commit, leave.
//!
//! Eager: all partitions are given up before each join. The member that the coordinator makes leader assigns with
//! [`assign_ranges`]. A task per generation sends the heartbeats and notes when the generation ends; whoever owns the
//! membership looks with [`Membership::must_join`] and joins again.

use super::{ClientError, Cluster, Connection, Dial};
use highwater_core::client::consumer::{Assignment, Position, Subscriber, assign_ranges};
use highwater_core::client::producer::Lane;
use highwater_core::ids::{LeaderEpoch, Offset, PartitionIndex};
use highwater_protocol::messages::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription, ConsumerProtocolTopicPartition,
    HeartbeatRequest, JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse, LeaveGroupRequest,
    MemberIdentity, OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
    SyncGroupRequest, SyncGroupRequestAssignment,
};
use highwater_protocol::{ErrorCode, Message};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::sleep;

const PROTOCOL_TYPE: &str = "consumer";
const PROTOCOL: &str = "range";
/// The version of subscriptions and assignments that every client reads.
const CONSUMER_PROTOCOL_VERSION: i16 = 0;

/// How a member takes part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MembershipOptions {
    /// The group (`group.id`).
    pub group_id: String,
    /// A name that outlives restarts (`group.instance.id`, KIP-345).
    pub instance_id: Option<String>,
    /// Silence after which the coordinator takes the member for dead (`session.timeout.ms`).
    pub session_max: Duration,
    /// How long a rebalance waits for this member (`max.poll.interval.ms`).
    pub rebalance_max: Duration,
    /// Between two heartbeats (`heartbeat.interval.ms`).
    pub heartbeat_interval: Duration,
}

impl MembershipOptions {
    /// Kafka's defaults for a group.
    pub fn of_group(group_id: impl Into<String>) -> Self {
        Self {
            group_id: group_id.into(),
            instance_id: None,
            session_max: Duration::from_secs(45),
            rebalance_max: Duration::from_secs(300),
            heartbeat_interval: Duration::from_secs(3),
        }
    }
}

#[derive(Debug)]
pub(super) struct Membership<D: Dial> {
    cluster: Cluster<D>,
    options: MembershipOptions,
    topics: Vec<String>,
    /// A connection of its own: a join may take as long as the slowest member, and answers come in order.
    coordinator: Option<Connection>,
    member_id: String,
    generation: Option<Generation>,
}

#[derive(Debug)]
struct Generation {
    id: i32,
    /// Set when the coordinator no longer knows the generation, or cannot be asked.
    is_over: Arc<AtomicBool>,
    /// Dropped with the generation, which ends the heartbeats.
    _heartbeats: oneshot::Sender<()>,
}

impl<D: Dial> Membership<D> {
    pub(super) fn new(cluster: Cluster<D>, options: MembershipOptions, topics: Vec<String>) -> Self {
        Self { cluster, options, topics, coordinator: None, member_id: String::new(), generation: None }
    }

    /// Whether there is no generation to read in.
    pub(super) fn must_join(&self) -> bool {
        self.generation.as_ref().is_none_or(|generation| generation.is_over.load(Relaxed))
    }

    /// Joins until a generation stands, and tells which partitions are this member's.
    pub(super) async fn join(&mut self) -> Result<Vec<Lane>, ClientError> {
        self.generation = None;
        loop {
            let coordinator = self.coordinator().await?;
            match self.try_join(&coordinator).await {
                Ok((generation_id, assignment)) => {
                    self.begin_generation(coordinator, generation_id);
                    return Ok(lanes(&assignment));
                }
                // The coordinator gave an id to join with (KIP-394); or another member joined meanwhile.
                Err(ClientError::Kafka(ErrorCode::MemberIdRequired | ErrorCode::RebalanceInProgress, _)) => {}
                Err(ClientError::Kafka(ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration, _)) => {
                    self.member_id.clear();
                }
                Err(error) => {
                    self.coordinator = None;
                    return Err(error);
                }
            }
        }
    }

    async fn try_join(&mut self, coordinator: &Connection) -> Result<(i32, Assignment), ClientError> {
        let subscription = ConsumerProtocolSubscription { topics: self.topics.clone(), ..Default::default() };
        let metadata = subscription.to_versioned_bytes(CONSUMER_PROTOCOL_VERSION)?;
        let joined = coordinator
            .send(&JoinGroupRequest {
                group_id: self.options.group_id.clone(),
                session_timeout_ms: millis(self.options.session_max),
                rebalance_timeout_ms: millis(self.options.rebalance_max),
                member_id: self.member_id.clone(),
                group_instance_id: self.options.instance_id.clone(),
                protocol_type: PROTOCOL_TYPE.into(),
                protocols: vec![JoinGroupRequestProtocol { name: PROTOCOL.into(), metadata }],
                ..Default::default()
            })
            .await?;
        if joined.error_code == ErrorCode::MemberIdRequired {
            self.member_id.clone_from(&joined.member_id);
        }
        refused(joined.error_code)?;
        self.member_id.clone_from(&joined.member_id);
        let is_leader = joined.leader == joined.member_id;
        let assignments = if is_leader { self.assign(&joined).await? } else { Vec::new() };
        let synced = coordinator
            .send(&SyncGroupRequest {
                group_id: self.options.group_id.clone(),
                generation_id: joined.generation_id,
                member_id: self.member_id.clone(),
                group_instance_id: self.options.instance_id.clone(),
                protocol_type: Some(PROTOCOL_TYPE.into()),
                protocol_name: Some(PROTOCOL.into()),
                assignments,
            })
            .await?;
        refused(synced.error_code)?;
        let mut assignment = Assignment::new();
        if !synced.assignment.is_empty() {
            let (assigned, _) = ConsumerProtocolAssignment::from_versioned_bytes(&synced.assignment)?;
            for topic in assigned.assigned_partitions {
                assignment.insert(topic.topic, topic.partitions.into_iter().map(PartitionIndex).collect());
            }
        }
        Ok((joined.generation_id, assignment))
    }

    /// The leader's work: what every member reads.
    async fn assign(
        &self,
        joined: &JoinGroupResponse,
    ) -> Result<Vec<SyncGroupRequestAssignment>, ClientError> {
        let mut subscribers = Vec::new();
        for member in &joined.members {
            let (subscription, _) = ConsumerProtocolSubscription::from_versioned_bytes(&member.metadata)?;
            subscribers.push(Subscriber {
                member_id: member.member_id.clone(),
                instance_id: member.group_instance_id.clone(),
                topics: subscription.topics,
            });
        }
        let mut partitions = BTreeMap::new();
        for topic in subscribers.iter().flat_map(|subscriber| &subscriber.topics) {
            if !partitions.contains_key(topic) {
                let count = self.cluster.topic(topic).await?.partitions.len();
                partitions.insert(topic.clone(), i32::try_from(count).unwrap_or(i32::MAX));
            }
        }
        let assigned = assign_ranges(&subscribers, &partitions).into_iter();
        assigned
            .map(|(member_id, assignment)| {
                let topic_partition = |(topic, partitions): (String, Vec<PartitionIndex>)| {
                    let partitions = partitions.into_iter().map(|partition| partition.0).collect();
                    ConsumerProtocolTopicPartition { topic, partitions }
                };
                let assigned_partitions = assignment.into_iter().map(topic_partition).collect();
                let assignment = ConsumerProtocolAssignment { assigned_partitions, ..Default::default() };
                let assignment = assignment.to_versioned_bytes(CONSUMER_PROTOCOL_VERSION)?;
                Ok(SyncGroupRequestAssignment { member_id, assignment })
            })
            .collect()
    }

    fn begin_generation(&mut self, coordinator: Connection, id: i32) {
        let request = HeartbeatRequest {
            group_id: self.options.group_id.clone(),
            generation_id: id,
            member_id: self.member_id.clone(),
            group_instance_id: self.options.instance_id.clone(),
        };
        let is_over = Arc::new(AtomicBool::new(false));
        let (ends, ended) = oneshot::channel();
        let (over, interval) = (is_over.clone(), self.options.heartbeat_interval);
        tokio::spawn(async move {
            tokio::select! {
                biased;
                _ = ended => {}
                () = send_heartbeats(&coordinator, &request, interval, &over) => over.store(true, Relaxed),
            }
        });
        self.generation = Some(Generation { id, is_over, _heartbeats: ends });
    }

    /// The group's committed offsets of these partitions, as far as there are any.
    pub(super) async fn committed(&mut self, lanes: &[Lane]) -> Result<Vec<(Lane, Position)>, ClientError> {
        let mut by_topic: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
        for lane in lanes {
            by_topic.entry(&lane.topic).or_default().push(lane.partition.0);
        }
        let (mut older, mut newer) = (Vec::new(), Vec::new());
        for (name, partition_indexes) in by_topic {
            let topic_id = self.cluster.topic(name).await?.id;
            let name = name.to_string();
            older.push(OffsetFetchRequestTopic {
                name: name.clone(),
                partition_indexes: partition_indexes.clone(),
            });
            newer.push(OffsetFetchRequestTopics { name, topic_id, partition_indexes });
        }
        let group_id = self.options.group_id.clone();
        let group = OffsetFetchRequestGroup {
            group_id: group_id.clone(),
            member_id: None,
            topics: Some(newer),
            ..Default::default()
        };
        let request =
            OffsetFetchRequest { group_id, topics: Some(older), groups: vec![group], require_stable: true };
        let answer = self.coordinator().await?.send(&request).await?;
        // Before version 8 there is one error for all, since then one per group.
        let codes = answer.groups.iter().map(|group| group.error_code);
        codes.chain([answer.error_code]).try_for_each(|code| self.heed(code))?;
        let mut found = Vec::new();
        let mut take = |topic: &str, partition, code, offset, epoch| {
            refused(code)?;
            if offset >= 0 {
                let lane = Lane { topic: topic.into(), partition: PartitionIndex(partition) };
                found.push((lane, Position { offset: Offset(offset), leader_epoch: LeaderEpoch(epoch) }));
            }
            Ok::<(), ClientError>(())
        };
        for topic in &answer.topics {
            for p in &topic.partitions {
                take(
                    &topic.name,
                    p.partition_index,
                    p.error_code,
                    p.committed_offset,
                    p.committed_leader_epoch,
                )?;
            }
        }
        for group in &answer.groups {
            for topic in &group.topics {
                // From version 10 on topics have ids instead of names.
                let name = match topic.name.is_empty() {
                    true => self.cluster.topic_name(topic.topic_id).unwrap_or_default(),
                    false => topic.name.clone(),
                };
                for p in &topic.partitions {
                    take(
                        &name,
                        p.partition_index,
                        p.error_code,
                        p.committed_offset,
                        p.committed_leader_epoch,
                    )?;
                }
            }
        }
        Ok(found)
    }

    /// Commits positions in the present generation.
    pub(super) async fn commit(&mut self, positions: &BTreeMap<Lane, Position>) -> Result<(), ClientError> {
        let Some(generation) = &self.generation else { return Ok(()) };
        if positions.is_empty() {
            return Ok(());
        }
        let generation_id = generation.id;
        let mut topics: Vec<OffsetCommitRequestTopic> = Vec::new();
        for (lane, position) in positions {
            if topics.last().is_none_or(|topic| *topic.name != *lane.topic) {
                let topic_id = self.cluster.topic(&lane.topic).await?.id;
                let name = lane.topic.to_string();
                topics.push(OffsetCommitRequestTopic { name, topic_id, partitions: Vec::new() });
            }
            let partitions = &mut topics.last_mut().expect("just put there").partitions;
            partitions.push(OffsetCommitRequestPartition {
                partition_index: lane.partition.0,
                committed_offset: position.offset.0,
                committed_leader_epoch: position.leader_epoch.0,
                committed_metadata: None,
            });
        }
        let request = OffsetCommitRequest {
            group_id: self.options.group_id.clone(),
            generation_id_or_member_epoch: generation_id,
            member_id: self.member_id.clone(),
            group_instance_id: self.options.instance_id.clone(),
            topics,
            ..Default::default()
        };
        let answer = self.coordinator().await?.send(&request).await?;
        let mut codes = answer.topics.iter().flat_map(|topic| &topic.partitions).map(|p| p.error_code);
        codes.try_for_each(|code| self.heed(code))
    }

    /// Leaves the group. A static member stays in it: it is expected back.
    pub(super) async fn leave(mut self) -> Result<(), ClientError> {
        self.generation = None;
        if self.member_id.is_empty() || self.options.instance_id.is_some() {
            return Ok(());
        }
        let request = LeaveGroupRequest {
            group_id: self.options.group_id.clone(),
            member_id: self.member_id.clone(),
            members: vec![MemberIdentity {
                member_id: self.member_id.clone(),
                group_instance_id: None,
                reason: Some("the consumer is being closed".into()),
            }],
        };
        let answer = self.coordinator().await?.send(&request).await?;
        refused(answer.error_code)?;
        match answer.members.first().map(|member| member.error_code) {
            // The coordinator gave it up before.
            Some(ErrorCode::UnknownMemberId) | None => Ok(()),
            Some(code) => refused(code),
        }
    }

    /// Turns a code into an error, and forgets what it shows to be over.
    fn heed(&mut self, code: ErrorCode) -> Result<(), ClientError> {
        match code {
            ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable => self.coordinator = None,
            ErrorCode::UnknownMemberId
            | ErrorCode::IllegalGeneration
            | ErrorCode::RebalanceInProgress
            | ErrorCode::FencedInstanceId => self.generation = None,
            _ => {}
        }
        refused(code)
    }

    async fn coordinator(&mut self) -> Result<Connection, ClientError> {
        if let Some(coordinator) = self.coordinator.as_ref().filter(|connection| !connection.is_closed()) {
            return Ok(coordinator.clone());
        }
        let broker = self.cluster.coordinator(&self.options.group_id).await?;
        let mut options = self.cluster.options().client.clone();
        // A join is answered when the slowest member has joined.
        options.request_max = options.request_max.max(self.options.rebalance_max + Duration::from_secs(5));
        let coordinator = self.cluster.dedicated(broker, options).await?;
        self.coordinator = Some(coordinator.clone());
        Ok(coordinator)
    }
}

/// Sends heartbeats until one is refused for good or not answered.
///
/// In a rebalance they go on: they keep the member in the group until its owner gets to join again, which may take as
/// long as [`MembershipOptions::rebalance_max`].
async fn send_heartbeats(
    coordinator: &Connection,
    request: &HeartbeatRequest,
    interval: Duration,
    is_over: &AtomicBool,
) {
    loop {
        sleep(interval).await;
        match coordinator.send(request).await.map(|answer| answer.error_code) {
            Ok(ErrorCode::None) => {}
            Ok(ErrorCode::RebalanceInProgress) => is_over.store(true, Relaxed),
            Ok(code) => {
                tracing::debug!(group = request.group_id, %code, "the generation is over");
                return;
            }
            Err(error) => {
                tracing::debug!(group = request.group_id, %error, "heartbeat");
                return;
            }
        }
    }
}

fn lanes(assignment: &Assignment) -> Vec<Lane> {
    let of_topic = |(topic, partitions): (&String, &Vec<PartitionIndex>)| {
        let topic: Arc<str> = topic.as_str().into();
        partitions.iter().map(move |&partition| Lane { topic: topic.clone(), partition }).collect::<Vec<_>>()
    };
    assignment.iter().flat_map(of_topic).collect()
}

fn refused(code: ErrorCode) -> Result<(), ClientError> {
    if code.is_error() { Err(ClientError::kafka(code)) } else { Ok(()) }
}

fn millis(time: Duration) -> i32 {
    i32::try_from(time.as_millis()).unwrap_or(i32::MAX)
}
