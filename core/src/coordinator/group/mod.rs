//! The group coordinator: who consumes together, who assigns, and how far they are.
//!
//! One [`GroupCoordinator`] decides for the groups of one partition of `__consumer_offsets`, inside a
//! [`CoordinatorShard`](super::CoordinatorShard). This file is the door: the closed sets of requests, replies,
//! timers and events, and who decides on each. Groups of the classic protocol live in [`classic`], committed
//! offsets in `offsets`, their records in `records`.
//!
//! It knows no topic but by what requests say of it, and no client but by what the connection says of it.

pub mod classic;
mod config;
mod describe;
mod offsets;
mod records;
mod reply;
mod state;

use std::collections::BTreeMap;

use highwater_protocol::messages::{
    DescribeGroupsRequest, HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, ListGroupsRequest,
    OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequestGroup, SyncGroupRequest,
};
use highwater_protocol::{ErrorCode, Uuid};

use super::{Coordinator, Plan, Record, ReplayError};
use crate::ids::Token;
use crate::time::Now;
use classic::ClassicGroup;

pub use config::GroupConfig;
pub use reply::GroupReply;
pub use state::{GroupDurable, TopicOffsets};

/// Decides for the groups of one partition.
#[derive(Clone, Debug, Default)]
pub struct GroupCoordinator {
    config: GroupConfig,
}

/// The groups with all that is not logged: waiting requests, half-formed generations, pending members.
#[derive(Debug, Default)]
pub struct GroupVolatile {
    groups: Groups,
}

/// The groups by their id.
pub(crate) type Groups = BTreeMap<String, ClassicGroup>;

/// Who sent a JoinGroup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JoinContext {
    /// The version of the request.
    pub api_version: i16,
    /// From the request header; empty if the client has none.
    pub client_id: String,
    /// Where the client connected from, as `/address`.
    pub client_host: String,
    /// Fresh randomness, for the member's id if it needs one.
    pub member_uuid: Uuid,
}

/// A topic that is no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletedTopic {
    /// Its name, which another topic may have by now.
    pub name: String,
    /// Its id, which no other topic ever has.
    pub topic_id: Uuid,
}

/// What the group coordinator is asked. Requests about several groups name those of this partition only.
#[derive(Debug)]
pub enum GroupRequest {
    /// A member enters a rebalance.
    JoinGroup(JoinContext, JoinGroupRequest),
    /// A member wants its assignment; with the request's version.
    SyncGroup(i16, SyncGroupRequest),
    /// A member is alive.
    Heartbeat(HeartbeatRequest),
    /// Members go; with the request's version.
    LeaveGroup(i16, LeaveGroupRequest),
    /// Offsets are written; with the request's version. Each topic has name and id.
    OffsetCommit(i16, OffsetCommitRequest),
    /// One group's offsets are read. Each topic has name and id.
    OffsetFetch(OffsetFetchRequestGroup),
    /// Offsets are deleted.
    OffsetDelete(OffsetDeleteRequest),
    /// Groups are described; with the request's version.
    DescribeGroups(i16, DescribeGroupsRequest),
    /// All groups are listed.
    ListGroups(ListGroupsRequest),
    /// Groups are deleted.
    DeleteGroups(Vec<String>),
    /// The node learned that topics were deleted.
    TopicsDeleted(Vec<DeletedTopic>),
}

/// What the coordinator waits for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GroupTimer {
    /// A member's heartbeat, or a pending member's join.
    Session {
        /// Its group.
        group_id: String,
        /// Its id.
        member_id: String,
    },
    /// The members of a group to join.
    Join {
        /// The group.
        group_id: String,
    },
    /// The members of a group to ask for their assignment.
    Sync {
        /// The group.
        group_id: String,
    },
    /// The next look for expired offsets.
    OffsetExpiry,
}

/// What an operator wants to know of groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupEvent {
    /// A group rebalances.
    RebalanceStarted {
        /// Which.
        group_id: String,
        /// The state it was in.
        state: &'static str,
        /// The generation that ends.
        generation: i32,
        /// How many members it had.
        members: usize,
        /// Who is the reason.
        member_id: String,
        /// Why.
        cause: String,
    },
    /// A generation is complete.
    Stabilized {
        /// Of which group.
        group_id: String,
        /// Which.
        generation: i32,
        /// How many members it has.
        members: usize,
        /// Who assigned.
        leader: String,
    },
    /// The last member is gone.
    Emptied {
        /// Of which group.
        group_id: String,
        /// The generation without members.
        generation: i32,
    },
    /// A group was deleted by request.
    Deleted {
        /// Which.
        group_id: String,
    },
    /// A group without members lost its last offset.
    Expired {
        /// Which.
        group_id: String,
    },
}

impl std::fmt::Display for GroupEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::RebalanceStarted { group_id, state, generation, members, member_id, cause } => write!(
                f,
                "group {group_id} rebalances from {state}, generation {generation}, {members} members: \
                 {member_id} {cause}"
            ),
            Self::Stabilized { group_id, generation, members, leader } => {
                write!(
                    f,
                    "group {group_id} is stable, generation {generation}, {members} members, leader {leader}"
                )
            }
            Self::Emptied { group_id, generation } => {
                write!(f, "group {group_id} is empty, generation {generation}")
            }
            Self::Deleted { group_id } => write!(f, "group {group_id} was deleted"),
            Self::Expired { group_id } => write!(f, "group {group_id} expired with its last offset"),
        }
    }
}

/// One decision: what it may look at, and the plan it writes.
pub(crate) struct Turn<'a> {
    config: &'a GroupConfig,
    now: Now,
    durable: &'a GroupDurable,
    plan: &'a mut Plan<GroupCoordinator>,
}

impl Turn<'_> {
    /// Drops a group that has come to nothing: no members, none announced, nothing in the log.
    fn forget_unused(&self, groups: &mut Groups, group_id: &str) {
        let unused = groups.get(group_id).is_some_and(ClassicGroup::is_unused);
        if unused && !self.durable.knows(group_id) && self.plan.records().is_empty() {
            groups.remove(group_id);
        }
    }
}

impl GroupCoordinator {
    /// A coordinator with these limits.
    pub fn new(config: GroupConfig) -> Self {
        Self { config }
    }
}

impl GroupVolatile {
    /// A group as it is now.
    pub fn group(&self, group_id: &str) -> Option<&ClassicGroup> {
        self.groups.get(group_id)
    }

    /// The groups there are, in order.
    pub fn group_ids(&self) -> impl Iterator<Item = &str> {
        self.groups.keys().map(String::as_str)
    }
}

impl Coordinator for GroupCoordinator {
    type Durable = GroupDurable;
    type Volatile = GroupVolatile;
    type Request = GroupRequest;
    type Reply = GroupReply;
    type Timer = GroupTimer;
    type Event = GroupEvent;

    fn replay(durable: &mut GroupDurable, record: &Record) -> Result<(), ReplayError> {
        durable.replay(record)
    }

    fn start(&self, now: Now, durable: &GroupDurable, plan: &mut Plan<Self>) -> GroupVolatile {
        let mut groups = Groups::new();
        for (group_id, value) in &durable.groups {
            groups.insert(group_id.clone(), ClassicGroup::from_record(group_id, value));
        }
        for group_id in durable.offsets.keys() {
            groups.entry(group_id.clone()).or_insert_with(|| ClassicGroup::new(group_id));
        }
        let mut turn = Turn { config: &self.config, now, durable, plan };
        turn.arm_expiry();
        for group in groups.values_mut() {
            turn.resume(group);
        }
        GroupVolatile { groups }
    }

    fn plan(
        &self,
        now: Now,
        volatile: &mut GroupVolatile,
        durable: &GroupDurable,
        token: Token,
        request: GroupRequest,
        plan: &mut Plan<Self>,
    ) {
        let groups = &mut volatile.groups;
        let mut turn = Turn { config: &self.config, now, durable, plan };
        match request {
            GroupRequest::JoinGroup(context, request) => turn.join(groups, token, &context, request),
            GroupRequest::SyncGroup(version, request) => turn.sync(groups, token, version, request),
            GroupRequest::Heartbeat(request) => turn.heartbeat(groups, token, &request),
            GroupRequest::LeaveGroup(version, request) => turn.leave(groups, token, version, request),
            GroupRequest::OffsetCommit(version, request) => {
                turn.commit_offsets(groups, token, version, &request);
            }
            GroupRequest::OffsetFetch(request) => turn.fetch_offsets(token, request),
            GroupRequest::OffsetDelete(request) => turn.delete_offsets(groups, token, &request),
            GroupRequest::DescribeGroups(version, request) => {
                turn.describe(groups, token, version, request);
            }
            GroupRequest::ListGroups(request) => turn.list(groups, token, &request),
            GroupRequest::DeleteGroups(asked) => turn.delete(groups, token, asked),
            GroupRequest::TopicsDeleted(topics) => turn.delete_offsets_of_topics(token, &topics),
        }
    }

    fn plan_timeout(
        &self,
        now: Now,
        volatile: &mut GroupVolatile,
        durable: &GroupDurable,
        timer: GroupTimer,
        plan: &mut Plan<Self>,
    ) {
        let groups = &mut volatile.groups;
        let mut turn = Turn { config: &self.config, now, durable, plan };
        let group_id = match &timer {
            GroupTimer::OffsetExpiry => return turn.expire_offsets(groups),
            GroupTimer::Session { group_id, .. }
            | GroupTimer::Join { group_id }
            | GroupTimer::Sync { group_id } => group_id,
        };
        let Some(group) = groups.get_mut(group_id) else { return };
        match &timer {
            GroupTimer::Session { member_id, .. } => turn.session_expired(group, member_id),
            GroupTimer::Join { .. } => turn.join_expired(group),
            GroupTimer::Sync { .. } => turn.sync_expired(group),
            GroupTimer::OffsetExpiry => unreachable!("returned above"),
        }
        turn.forget_unused(groups, group_id);
    }

    fn abandon(volatile: GroupVolatile, error: ErrorCode) -> Vec<(Token, GroupReply)> {
        let waiting = volatile.groups.into_values().flat_map(ClassicGroup::into_waiting);
        waiting.flat_map(|(member_id, join, sync)| reply::abandoned(&member_id, join, sync, error)).collect()
    }

    fn refuse(request: GroupRequest, error: ErrorCode) -> GroupReply {
        reply::refusal(request, error)
    }

    fn fail(reply: GroupReply, error: ErrorCode) -> GroupReply {
        reply.failed(error)
    }

    fn assert_invariants(&self, volatile: &GroupVolatile, durable: &GroupDurable) {
        for (group_id, group) in &volatile.groups {
            assert_eq!(*group_id, group.group_id);
            group.assert_invariants();
            group.assert_logged(durable.groups.get(group_id));
        }
        for group_id in durable.groups.keys().chain(durable.offsets.keys()) {
            assert!(volatile.groups.contains_key(group_id), "what is logged of {group_id} has a group");
        }
    }
}
