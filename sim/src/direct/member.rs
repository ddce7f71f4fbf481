//! A simulated group member: joins, syncs, heartbeats, reads what it is assigned, commits, and leaves now and then.

use super::consumer::Reader;
use super::contact::{Contact, REQUEST_TIMEOUT};
use super::env::{Env, node_of};
use super::groups::CommitId;
use super::message::{Request, Response};
use super::network::Place;
use super::queue::{MILLI, Time};
use bytes::Bytes;
use highwater_core::coordinator::group::{GroupReply, GroupRequest, JoinContext};
use highwater_core::coordinator::partition_for;
use highwater_core::error_code::ErrorCode;
use highwater_core::ids::{LeaderEpoch, Offset, PartitionIndex, TopicId, TopicPartition};
use highwater_protocol::Uuid;
use highwater_protocol::messages as wire;

/// The topic that committed offsets are kept in.
pub(crate) const OFFSETS_TOPIC: &str = "__consumer_offsets";

const PROTOCOL: &str = "sim";
const TICK: Time = 50 * MILLI;
const HEARTBEAT: Time = 300 * MILLI;
const SESSION_MS: i32 = 1500;
/// Longer than [`REQUEST_TIMEOUT`]: a join waits for the others.
const JOIN_TIMEOUT: Time = 5_000 * MILLI;

/// What the member waits for, or does.
#[derive(Debug)]
enum Phase {
    Outside,
    Joining {
        request: u64,
        since: Time,
    },
    Syncing {
        request: u64,
        since: Time,
    },
    /// Asks where the group stands in what it was assigned.
    Resuming {
        request: u64,
        since: Time,
        retries: u32,
    },
    Working,
}

/// A commit that is under way.
#[derive(Debug)]
struct Commit {
    request: u64,
    since: Time,
    id: CommitId,
    offsets: Vec<(i32, i64)>,
    /// A later generation was known to somebody when it left.
    is_stale: bool,
}

/// A member of a group that reads one topic.
#[derive(Debug)]
pub(crate) struct Member {
    contact: Contact,
    group: String,
    topic: String,
    topic_id: TopicId,
    partitions: i32,
    member_id: String,
    generation: i32,
    phase: Phase,
    assigned: Vec<i32>,
    reader: Reader,
    commit: Option<Commit>,
    heartbeat: Option<u64>,
    heartbeat_at: Time,
    commit_at: Time,
    uuids: u64,
    may_leave: bool,
    /// What it would have committed in its last generation: an application that is slow to stop may try later.
    leftover: Option<(i32, Vec<(i32, i64)>)>,
}

impl Member {
    pub(crate) fn new(contact: Contact, group: String, topic: String) -> Self {
        Self {
            contact,
            group,
            topic,
            topic_id: TopicId::ZERO,
            partitions: 0,
            member_id: String::new(),
            generation: -1,
            phase: Phase::Outside,
            assigned: Vec::new(),
            reader: Reader::default(),
            commit: None,
            heartbeat: None,
            heartbeat_at: 0,
            commit_at: 0,
            uuids: 0,
            may_leave: true,
            leftover: None,
        }
    }

    pub(crate) const fn contact(&mut self) -> &mut Contact {
        &mut self.contact
    }

    /// Stays from here on.
    pub(crate) const fn settle_down(&mut self) {
        self.may_leave = false;
    }

    /// Whether it has an assignment, perhaps an empty one, and works.
    pub(crate) const fn is_working(&self) -> bool {
        matches!(self.phase, Phase::Working)
    }

    /// Its group, its generation and what it is assigned.
    pub(crate) fn assignment(&self) -> (&str, i32, &[i32]) {
        (&self.group, self.generation, &self.assigned)
    }

    /// A connection broke; what was asked on it times out.
    pub(crate) fn reset(&mut self, node: Place) {
        self.contact.reconnect(node);
    }

    pub(crate) fn awake(&mut self, env: &mut Env) {
        self.expire(env);
        match self.phase {
            Phase::Outside => self.join(env),
            Phase::Working => self.work(env),
            _ => {}
        }
        let jitter = self.contact.rng.below(TICK / 2);
        self.contact.alarm(env, TICK + jitter);
    }

    fn expire(&mut self, env: &mut Env) {
        let late = match self.phase {
            Phase::Joining { since, .. } => env.now >= since + JOIN_TIMEOUT,
            Phase::Syncing { since, .. } | Phase::Resuming { since, .. } => {
                env.now >= since + REQUEST_TIMEOUT
            }
            Phase::Outside | Phase::Working => false,
        };
        if late {
            self.step_out(env);
        }
        if self.commit.as_ref().is_some_and(|commit| env.now >= commit.since + REQUEST_TIMEOUT) {
            self.commit = None;
            self.contact.refresh(env);
        }
        if self.heartbeat.is_some() && env.now >= self.heartbeat_at + REQUEST_TIMEOUT {
            self.heartbeat = None;
            self.contact.refresh(env);
        }
    }

    /// Goes back to joining.
    fn step_out(&mut self, env: &mut Env) {
        self.phase = Phase::Outside;
        let offsets = self.offsets();
        if !offsets.is_empty() {
            self.leftover = Some((self.generation, offsets));
        }
        self.reader.clear();
        self.assigned.clear();
        self.contact.refresh(env);
    }

    /// Tells what this member did, in the run's story.
    fn tell(&self, env: &mut Env, what: std::fmt::Arguments<'_>) {
        let who = format_args!("client {}", self.contact.place);
        env.trace.tell(env.now, who, format_args!("{} {what}", self.group));
    }

    fn coordinator(&self) -> Option<(Place, PartitionIndex)> {
        let topic = self.contact.image()?.topic(OFFSETS_TOPIC)?;
        let index = partition_for(&self.group, topic.partition_count());
        let state = topic.partitions.get(&index)?;
        Some((node_of(state.leader?) as Place, index))
    }

    fn ask(&mut self, env: &mut Env, request: GroupRequest) -> Option<u64> {
        let (to, coordinator) = self.coordinator()?;
        Some(self.contact.ask(env, to, Request::Group { coordinator, request: Box::new(request) }))
    }

    fn join(&mut self, env: &mut Env) {
        let Some(topic) = self.contact.image().and_then(|image| image.topic(&self.topic)) else {
            return self.contact.refresh(env);
        };
        self.topic_id = topic.id;
        self.partitions = topic.partition_count();
        self.uuids += 1;
        let mut uuid = [0; 16];
        uuid[..8].copy_from_slice(&u64::from(self.contact.place).to_be_bytes());
        uuid[8..].copy_from_slice(&self.uuids.to_be_bytes());
        let context = JoinContext {
            api_version: 9,
            client_id: format!("m{}", self.contact.place),
            client_host: "/10.0.0.1".to_owned(),
            member_uuid: Uuid(uuid),
        };
        let protocol =
            wire::JoinGroupRequestProtocol { name: PROTOCOL.into(), metadata: Bytes::from_static(b"m") };
        let request = wire::JoinGroupRequest {
            group_id: self.group.clone(),
            session_timeout_ms: SESSION_MS,
            rebalance_timeout_ms: 2000,
            member_id: self.member_id.clone(),
            protocol_type: "consumer".into(),
            protocols: vec![protocol],
            ..Default::default()
        };
        match self.ask(env, GroupRequest::JoinGroup(context, request)) {
            Some(request) => self.phase = Phase::Joining { request, since: env.now },
            None => self.contact.refresh(env),
        }
    }

    /// The leader hands the partitions out in turn, as bytes that only members here read.
    fn sync(&mut self, env: &mut Env, joined: &wire::JoinGroupResponse) {
        let members = &joined.members;
        let share = |place: usize| {
            let of_member = |partition: &u8| usize::from(*partition) % members.len() == place;
            (0..self.partitions as u8).filter(of_member).collect::<Vec<u8>>()
        };
        let assignments =
            members.iter().enumerate().map(|(place, member)| wire::SyncGroupRequestAssignment {
                member_id: member.member_id.clone(),
                assignment: share(place).into(),
            });
        let request = wire::SyncGroupRequest {
            group_id: self.group.clone(),
            generation_id: joined.generation_id,
            member_id: self.member_id.clone(),
            protocol_type: Some("consumer".into()),
            protocol_name: Some(PROTOCOL.into()),
            assignments: assignments.collect(),
            ..Default::default()
        };
        match self.ask(env, GroupRequest::SyncGroup(5, request)) {
            Some(request) => self.phase = Phase::Syncing { request, since: env.now },
            None => self.step_out(env),
        }
    }

    /// Asks for the group's committed offsets.
    fn resume(&mut self, env: &mut Env, retries: u32) {
        let topics = wire::OffsetFetchRequestTopics {
            name: self.topic.clone(),
            topic_id: Uuid(self.topic_id.0),
            partition_indexes: self.assigned.clone(),
        };
        let request = wire::OffsetFetchRequestGroup {
            group_id: self.group.clone(),
            member_id: None,
            member_epoch: -1,
            topics: Some(vec![topics]),
        };
        match self.ask(env, GroupRequest::OffsetFetch(request)) {
            Some(request) => {
                env.truth.groups.asked(request, &self.group, &self.assigned);
                self.phase = Phase::Resuming { request, since: env.now, retries };
            }
            None => self.step_out(env),
        }
    }

    fn work(&mut self, env: &mut Env) {
        self.reader.poll(env, &mut self.contact);
        // what it would commit was fixed before it slept: whoever wakes up in an old generation tries it first
        if env.now >= self.commit_at && self.commit.is_none() {
            self.commit_at = env.now + 100 * MILLI + self.contact.rng.below(400 * MILLI);
            self.commit(env);
        }
        if env.now >= self.heartbeat_at + HEARTBEAT && self.heartbeat.is_none() {
            let request = wire::HeartbeatRequest {
                group_id: self.group.clone(),
                generation_id: self.generation,
                member_id: self.member_id.clone(),
                ..Default::default()
            };
            self.heartbeat_at = env.now;
            self.heartbeat = self.ask(env, GroupRequest::Heartbeat(request));
        }
        if self.may_leave && self.contact.rng.happens(5) {
            self.leave(env);
        }
    }

    fn leave(&mut self, env: &mut Env) {
        let member = wire::MemberIdentity { member_id: self.member_id.clone(), ..Default::default() };
        let request = wire::LeaveGroupRequest {
            group_id: self.group.clone(),
            members: vec![member],
            ..Default::default()
        };
        self.ask(env, GroupRequest::LeaveGroup(5, request));
        self.member_id.clear();
        self.step_out(env);
    }

    /// The epoch of the record before an offset that it stands at (KIP-320).
    fn epoch_before(&self, index: i32, offset: i64) -> Option<LeaderEpoch> {
        let partition = TopicPartition { topic_id: self.topic_id, partition: PartitionIndex(index) };
        let position =
            self.reader.positions.get(&partition).filter(|position| position.offset.0 == offset)?;
        position.last_epoch.max(position.least_epoch)
    }

    /// How far it has read.
    fn offsets(&self) -> Vec<(i32, i64)> {
        let positions = self.reader.positions.iter();
        positions.map(|(partition, position)| (partition.partition.0, position.offset.0)).collect()
    }

    fn commit(&mut self, env: &mut Env) {
        let offsets = self.offsets();
        if !offsets.is_empty() {
            let id = env.truth.groups.next_commit(self.generation);
            env.truth.groups.sent(&self.group, id, &offsets);
            self.commit_of(env, id, offsets);
        }
    }

    /// Commits what belongs to the generation before: nobody may take that (OF-01).
    fn commit_leftover(&mut self, env: &mut Env) {
        if let Some((generation, offsets)) = self.leftover.take()
            && generation < self.generation
            && self.commit.is_none()
            && self.contact.rng.happens(400)
        {
            let id = env.truth.groups.next_commit(generation);
            self.commit_of(env, id, offsets);
        }
    }

    fn commit_of(&mut self, env: &mut Env, id: CommitId, offsets: Vec<(i32, i64)>) {
        let generation = id.generation;
        let partitions = offsets.iter().map(|(index, offset)| wire::OffsetCommitRequestPartition {
            partition_index: *index,
            committed_offset: *offset,
            committed_leader_epoch: self.epoch_before(*index, *offset).map_or(-1, |epoch| epoch.0),
            ..Default::default()
        });
        let topic = wire::OffsetCommitRequestTopic {
            name: self.topic.clone(),
            topic_id: Uuid(self.topic_id.0),
            partitions: partitions.collect(),
        };
        let request = wire::OffsetCommitRequest {
            group_id: self.group.clone(),
            generation_id_or_member_epoch: generation,
            member_id: self.member_id.clone(),
            topics: vec![topic],
            ..Default::default()
        };
        let Some(request) = self.ask(env, GroupRequest::OffsetCommit(9, request)) else {
            return self.contact.refresh(env);
        };
        self.tell(env, format_args!("commits {offsets:?} in generation {generation}, request {request}"));
        let is_stale = env.truth.groups.newest_generation(&self.group) > generation;
        let since = env.now;
        self.commit = Some(Commit { request, since, id, offsets, is_stale });
    }

    pub(crate) fn answered(&mut self, env: &mut Env, id: u64, response: Response) {
        match response {
            Response::Metadata(image) => self.contact.learn(image),
            Response::Fetch(result) => self.reader.answered(env, &mut self.contact, id, result),
            Response::Group(reply) => self.group_answered(env, id, *reply),
            _ => {}
        }
    }

    fn group_answered(&mut self, env: &mut Env, id: u64, reply: GroupReply) {
        match reply {
            GroupReply::JoinGroup(joined) => {
                if matches!(self.phase, Phase::Joining { request, .. } if request == id) {
                    self.joined(env, joined);
                }
            }
            GroupReply::SyncGroup(synced) => {
                if matches!(self.phase, Phase::Syncing { request, .. } if request == id) {
                    self.synced(env, &synced);
                }
            }
            GroupReply::OffsetFetch(fetched) => {
                if let Phase::Resuming { request, retries, .. } = self.phase
                    && request == id
                {
                    self.resumed(env, id, &fetched, retries);
                }
            }
            GroupReply::Heartbeat(answer) => {
                let is_awaited = self.heartbeat.take_if(|asked| *asked == id).is_some();
                self.heard(env, if is_awaited { answer.error_code } else { ErrorCode::None });
            }
            GroupReply::OffsetCommit(answer) => {
                let Some(commit) = self.commit.take_if(|commit| commit.request == id) else { return };
                let first = answer.topics.first().and_then(|topic| topic.partitions.first());
                let code = first.map_or(ErrorCode::None, |partition| partition.error_code);
                let is_current = commit.id.generation == self.generation;
                self.tell(env, format_args!("is told {code:?} of the commit of request {id}"));
                if code == ErrorCode::None {
                    env.totals.commits += 1;
                    let Commit { id, offsets, is_stale, .. } = commit;
                    let verdict = env.truth.groups.acked(&self.group, id, &offsets, is_stale);
                    env.truth.judge_pair(verdict);
                }
                self.heard(env, if is_current { code } else { ErrorCode::None });
            }
            _ => {}
        }
    }

    fn joined(&mut self, env: &mut Env, joined: wire::JoinGroupResponse) {
        match joined.error_code {
            ErrorCode::None => {
                self.member_id.clone_from(&joined.member_id);
                self.generation = joined.generation_id;
                self.sync(env, &joined);
            }
            ErrorCode::MemberIdRequired => {
                self.member_id = joined.member_id;
                self.phase = Phase::Outside;
            }
            ErrorCode::UnknownMemberId => {
                self.member_id.clear();
                self.phase = Phase::Outside;
            }
            _ => self.step_out(env),
        }
    }

    fn synced(&mut self, env: &mut Env, synced: &wire::SyncGroupResponse) {
        if synced.error_code != ErrorCode::None {
            return self.step_out(env);
        }
        self.assigned = synced.assignment.iter().map(|partition| i32::from(*partition)).collect();
        env.totals.generations += 1;
        self.tell(env, format_args!("generation {}: owns {:?}", self.generation, self.assigned));
        let verdict = env.truth.groups.owns(&self.group, self.generation, &self.member_id, &self.assigned);
        env.truth.judge("O22", verdict);
        self.commit_leftover(env);
        if self.assigned.is_empty() {
            self.phase = Phase::Working;
        } else {
            self.resume(env, 0);
        }
    }

    fn resumed(&mut self, env: &mut Env, id: u64, fetched: &wire::OffsetFetchResponseGroup, retries: u32) {
        if fetched.error_code != ErrorCode::None {
            if retries > 20 {
                return self.step_out(env);
            }
            // loading, or moved: asked again at once, which is what finds half-loaded coordinators
            self.contact.refresh(env);
            return self.resume(env, retries + 1);
        }
        let partitions = fetched.topics.iter().flat_map(|topic| &topic.partitions);
        let partitions: Vec<_> = partitions.collect();
        let read: Vec<_> = partitions.iter().map(|p| (p.partition_index, p.committed_offset)).collect();
        self.tell(env, format_args!("is told of commits {read:?}"));
        let verdict = env.truth.groups.read(id, &self.group, &read);
        env.truth.judge("O20", verdict);
        for found in partitions {
            let index = PartitionIndex(found.partition_index);
            let partition = TopicPartition { topic_id: self.topic_id, partition: index };
            let epoch = Some(LeaderEpoch(found.committed_leader_epoch)).filter(|epoch| epoch.0 >= 0);
            self.reader.resume(partition, Offset(found.committed_offset.max(0)), epoch);
        }
        self.phase = Phase::Working;
        self.heartbeat_at = env.now;
    }

    /// What a heartbeat or a commit says of the membership.
    fn heard(&mut self, env: &mut Env, code: ErrorCode) {
        if !matches!(self.phase, Phase::Working) {
            return;
        }
        match code {
            ErrorCode::None => {}
            ErrorCode::UnknownMemberId | ErrorCode::FencedInstanceId => {
                self.member_id.clear();
                self.step_out(env);
            }
            ErrorCode::RebalanceInProgress | ErrorCode::IllegalGeneration => self.step_out(env),
            _ => self.contact.refresh(env),
        }
    }
}
