//! Consumer groups: members that rebalance and commit, and a client that uses committed offsets as a register.

use crate::check::coordinator;
use crate::client::{Client, To, TopicInfo};
use bytes::Bytes;
use highwater_protocol::ErrorCode;
use highwater_protocol::messages::{
    HeartbeatRequest, JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse, LeaveGroupRequest,
    MemberIdentity, OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
    OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics, SyncGroupRequest,
    SyncGroupRequestAssignment,
};

const PROTOCOL: &str = "sim";

/// A member of a group.
#[derive(Debug)]
pub struct Member {
    pub(super) client: Client,
    pub(super) group: String,
    pub(super) topic: TopicInfo,
    pub(super) member_id: String,
    committed: i64,
}

impl Member {
    /// A member that has not joined.
    pub const fn new(client: Client, group: String, topic: TopicInfo) -> Self {
        Self { client, group, topic, member_id: String::new(), committed: 0 }
    }

    /// Joins, works and joins again until the run stops.
    pub async fn run(mut self) {
        while !self.client.world.is_stopping() {
            let losses = self.client.world.history().losses;
            if let Some(joined) = self.join().await
                && let Some(assigned) = self.sync(&joined).await
            {
                self.own(losses, joined.generation_id, &assigned);
                self.work(joined.generation_id, &assigned).await;
            }
            self.client.pause().await;
        }
    }

    pub(super) async fn join(&mut self) -> Option<JoinGroupResponse> {
        let protocol = JoinGroupRequestProtocol { name: PROTOCOL.into(), metadata: Bytes::from_static(b"m") };
        let request = JoinGroupRequest {
            group_id: self.group.clone(),
            session_timeout_ms: 1000,
            rebalance_timeout_ms: 2000,
            member_id: self.member_id.clone(),
            protocol_type: "consumer".into(),
            protocols: vec![protocol],
            ..Default::default()
        };
        let answer = self.client.ask(To::Coordinator(&self.group), &request).await?;
        match answer.error_code {
            ErrorCode::None => {
                self.member_id = answer.member_id.clone();
                Some(answer)
            }
            ErrorCode::MemberIdRequired => {
                self.member_id = answer.member_id;
                None
            }
            code => {
                if code == ErrorCode::UnknownMemberId {
                    self.member_id.clear();
                }
                self.client.note(format_args!("join {}: {code}", self.group));
                self.client.heed(code);
                None
            }
        }
    }

    /// The leader hands the partitions out in turn, as bytes that only we read.
    pub(super) async fn sync(&mut self, joined: &JoinGroupResponse) -> Option<Vec<i32>> {
        let members = &joined.members;
        let share = |place: usize| {
            let of_member = |partition: &u8| usize::from(*partition) % members.len() == place;
            (0..self.topic.partitions as u8).filter(of_member).collect::<Vec<u8>>()
        };
        let assignments = members.iter().enumerate().map(|(place, member)| SyncGroupRequestAssignment {
            member_id: member.member_id.clone(),
            assignment: share(place).into(),
        });
        let request = SyncGroupRequest {
            group_id: self.group.clone(),
            generation_id: joined.generation_id,
            member_id: self.member_id.clone(),
            protocol_type: Some("consumer".into()),
            protocol_name: Some(PROTOCOL.into()),
            assignments: assignments.collect(),
            ..Default::default()
        };
        let answer = self.client.ask(To::Coordinator(&self.group), &request).await?;
        if answer.error_code.is_error() {
            self.client.note(format_args!("sync {}: {}", self.group, answer.error_code));
            self.client.heed(answer.error_code);
            return None;
        }
        Some(answer.assignment.iter().map(|partition| i32::from(*partition)).collect())
    }

    /// O22: notes what was assigned, which nobody else may have in this generation.
    pub(super) fn own(&self, losses: u64, generation: i32, assigned: &[i32]) {
        self.client.note(format_args!("{} generation {generation}: {assigned:?}", self.group));
        let mut history = self.client.world.history();
        history.totals.generations += 1;
        if history.losses != losses {
            return;
        }
        let member = &self.member_id;
        let verdict =
            coordinator::one_owner_per_partition(&mut history, &self.group, generation, member, assigned);
        history.judge("O22", verdict);
    }

    async fn work(&mut self, generation: i32, assigned: &[i32]) {
        let turns = self.client.rng.within(3, 30);
        for _ in 0..turns {
            if self.client.world.is_stopping() || self.heartbeat(generation).await != Some(ErrorCode::None) {
                return;
            }
            self.committed += 1;
            let offsets: Vec<_> = assigned.iter().map(|p| (*p, self.committed)).collect();
            let request = commit(&self.group, &self.topic, &offsets, generation, &self.member_id);
            let answer = self.client.ask(To::Coordinator(&self.group), &request).await;
            let code = answer.as_ref().and_then(|a| a.topics.first()?.partitions.first());
            if code.is_some_and(|p| p.error_code == ErrorCode::None) {
                self.client.world.history().totals.commits += 1;
            }
            self.client.rest(10, 120).await;
        }
        if self.client.rng.happens(500) {
            self.leave().await;
        }
    }

    pub(super) async fn heartbeat(&mut self, generation_id: i32) -> Option<ErrorCode> {
        let request = HeartbeatRequest {
            group_id: self.group.clone(),
            generation_id,
            member_id: self.member_id.clone(),
            ..Default::default()
        };
        let code = self.client.ask(To::Coordinator(&self.group), &request).await?.error_code;
        self.client.heed(code);
        if code == ErrorCode::UnknownMemberId {
            self.member_id.clear();
        }
        Some(code)
    }

    pub(super) async fn leave(&mut self) {
        let member = MemberIdentity { member_id: self.member_id.clone(), ..Default::default() };
        let request =
            LeaveGroupRequest { group_id: self.group.clone(), members: vec![member], ..Default::default() };
        if self.client.ask(To::Coordinator(&self.group), &request).await.is_some() {
            self.client.note(format_args!("left {}", self.group));
            self.member_id.clear();
        }
    }
}

/// A commit of offsets by partition.
pub(super) fn commit(
    group: &str,
    topic: &TopicInfo,
    offsets: &[(i32, i64)],
    generation: i32,
    member_id: &str,
) -> OffsetCommitRequest {
    let partitions = offsets.iter().map(|(partition, offset)| OffsetCommitRequestPartition {
        partition_index: *partition,
        committed_offset: *offset,
        ..Default::default()
    });
    let topic = OffsetCommitRequestTopic {
        name: topic.name.clone(),
        topic_id: topic.id,
        partitions: partitions.collect(),
    };
    OffsetCommitRequest {
        group_id: group.to_owned(),
        generation_id_or_member_epoch: generation,
        member_id: member_id.to_owned(),
        topics: vec![topic],
        ..Default::default()
    }
}

/// A question for committed offsets.
pub(super) fn offset_fetch(group: &str, topic: &TopicInfo, partitions: &[i32]) -> OffsetFetchRequest {
    let topic = OffsetFetchRequestTopics {
        name: topic.name.clone(),
        topic_id: topic.id,
        partition_indexes: partitions.to_vec(),
    };
    let group = OffsetFetchRequestGroup {
        group_id: group.to_owned(),
        topics: Some(vec![topic]),
        ..Default::default()
    };
    OffsetFetchRequest { groups: vec![group], ..Default::default() }
}

/// Commits rising offsets for a group without members, one at a time, and reads them back (O20).
#[derive(Debug)]
pub struct RegisterClient {
    client: Client,
    group: String,
    topic: TopicInfo,
    next: i64,
}

impl RegisterClient {
    /// A client of a group that is its alone.
    pub const fn new(client: Client, group: String, topic: TopicInfo) -> Self {
        Self { client, group, topic, next: 1 }
    }

    /// Commits and reads until the run stops.
    pub async fn run(mut self) {
        while !self.client.world.is_stopping() {
            if self.client.rng.happens(500) {
                self.commit().await;
            } else {
                self.read().await;
            }
            self.client.rest(0, 40).await;
        }
    }

    async fn commit(&mut self) {
        let offset = self.next;
        self.next += 1;
        let key = (self.group.clone(), 0);
        let losses = {
            let mut history = self.client.world.history();
            let register = history.registers.entry(key.clone()).or_default();
            register.unknown.insert(offset);
            register.sent.insert(offset);
            history.losses
        };
        let request = commit(&self.group, &self.topic, &[(0, offset)], -1, "");
        let answer = self.client.ask(To::Coordinator(&self.group), &request).await;
        let code = answer.and_then(|a| Some(a.topics.first()?.partitions.first()?.error_code));
        self.client.note(format_args!("commit {} {offset}: {code:?}", self.group));
        self.client.heed(code.unwrap_or_default());
        let mut history = self.client.world.history();
        if history.losses != losses {
            return;
        }
        if code == Some(ErrorCode::None) {
            history.totals.commits += 1;
            let register = history.registers.entry(key).or_default();
            register.unknown.remove(&offset);
            register.acked = Some(offset);
        }
    }

    async fn read(&mut self) {
        let key = (self.group.clone(), 0);
        let (losses, acked, unknown) = {
            let mut history = self.client.world.history();
            let losses = history.losses;
            let register = history.registers.entry(key.clone()).or_default();
            (losses, register.acked, register.unknown.clone())
        };
        let request = offset_fetch(&self.group, &self.topic, &[0]);
        let Some(answer) = self.client.ask(To::Coordinator(&self.group), &request).await else { return };
        let Some(group) = answer.groups.first() else { return };
        if group.error_code.is_error() {
            return self.client.heed(group.error_code);
        }
        let found = group.topics.first().and_then(|t| t.partitions.first());
        if found.is_some_and(|found| found.error_code.is_error()) {
            return;
        }
        let read = found.map_or(-1, |found| found.committed_offset);
        self.client.note(format_args!("committed {}: {read}", self.group));
        let mut history = self.client.world.history();
        if history.losses != losses {
            return;
        }
        let then = crate::history::Register { acked, unknown, ..Default::default() };
        let now = history.registers.entry(key).or_default();
        let verdict = coordinator::committed_offset_is_known(&self.group, &then, now, read);
        history.judge("O20", verdict);
    }
}
