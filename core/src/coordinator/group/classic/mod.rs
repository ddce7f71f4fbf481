//! A group of the classic protocol: its members and where its rebalance stands.
//!
//! ```text
//!            first join                all joined / time-out            leader's SyncGroup
//!   Empty ───────────────> Preparing ─────────────────────> Completing ─────────────────> Stable
//!     ^                    Rebalance <───────────────────── Rebalance                       │
//!     │  nobody left        │  ^     join, leave, failure                                   │
//!     └─────────────────────┘  └────────────────────────────────────────────────────────────┘
//! ```
//!
//! This file keeps the members, their votes and their waiting requests in step with each other; the
//! neighbours decide: [`join`], [`sync`], [`membership`] (heartbeat, leave) and [`rebalance`].

mod join;
mod membership;
mod rebalance;
mod sync;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use highwater_protocol::messages::{
    ConsumerProtocolSubscription, GroupMetadataValue, JoinGroupRequest, JoinGroupRequestProtocol,
    JoinGroupResponseMember, MemberMetadata,
};
use highwater_protocol::{ErrorCode, Message, Reader};

use crate::guard;
use crate::ids::Token;
use crate::time::Timestamp;

/// The protocol type of consumers, whose subscriptions the coordinator can read.
const CONSUMER: &str = "consumer";

/// Where a classic group's rebalance stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClassicGroupState {
    /// No members; perhaps offsets.
    Empty,
    /// Waiting for the members to join.
    PreparingRebalance {
        /// Set if the group was empty: then more members are waited for even when all known ones have joined.
        initial: Option<InitialDelay>,
    },
    /// A generation is formed; waiting for its leader's assignment.
    CompletingRebalance,
    /// Every member can have its assignment.
    Stable,
}

impl ClassicGroupState {
    /// Kafka's name of the state.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance { .. } => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
        }
    }
}

/// How long an empty group's first rebalance still waits for more members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitialDelay {
    delay: Duration,
    remaining: Duration,
    member_added: bool,
}

/// A member of a classic group.
#[derive(Clone, Debug)]
pub struct Member {
    pub(super) member_id: String,
    pub(super) group_instance_id: Option<String>,
    pub(super) client_id: String,
    pub(super) client_host: String,
    pub(super) rebalance_timeout_ms: i32,
    pub(super) session_timeout_ms: i32,
    pub(super) protocols: Vec<JoinGroupRequestProtocol>,
    pub(super) assignment: Bytes,
    /// Has not yet seen its member id, so it cannot heartbeat: its waiting join expires, too.
    is_new: bool,
    join: Option<Token>,
    sync: Option<Token>,
}

impl Member {
    fn metadata(&self, protocol: &str) -> Bytes {
        let offered = self.protocols.iter().find(|offered| offered.name == protocol);
        offered.map(|offered| offered.metadata.clone()).unwrap_or_default()
    }

    /// What the member described itself as under the group's protocol, or nothing before there is one.
    pub(super) fn metadata_of(&self, protocol: Option<&str>) -> Bytes {
        protocol.map(|protocol| self.metadata(protocol)).unwrap_or_default()
    }

    fn vote<'a>(&'a self, candidates: &BTreeSet<&str>) -> Option<&'a str> {
        self.protocols.iter().map(|protocol| protocol.name.as_str()).find(|name| candidates.contains(name))
    }

    /// A member that waits for the coordinator is alive, however long it takes (unless it is new).
    fn is_waiting(&self) -> bool {
        !self.is_new && (self.join.is_some() || self.sync.is_some())
    }

    fn session_timeout(&self) -> Duration {
        millis(self.session_timeout_ms)
    }
}

/// A time-out from the wire; a negative one has passed already.
fn millis(ms: i32) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

/// A group of the classic protocol. Volatile, all of it: the log has its last complete generation.
#[derive(Clone, Debug)]
pub struct ClassicGroup {
    pub(super) group_id: String,
    pub(super) state: ClassicGroupState,
    pub(super) state_timestamp: Timestamp,
    pub(super) generation: i32,
    pub(super) protocol_type: Option<String>,
    pub(super) protocol: Option<String>,
    pub(super) leader: Option<String>,
    pub(super) members: BTreeMap<String, Member>,
    static_members: BTreeMap<String, String>,
    /// Were given a member id and have not come back with it (KIP-394).
    pending_join: BTreeSet<String>,
    /// Were told the generation and have not asked for its assignment.
    pending_sync: BTreeSet<String>,
    subscribed_topics: Option<BTreeSet<String>>,
    /// How many members offer each protocol.
    offers: BTreeMap<String, usize>,
    /// How many members wait for an answer to their join.
    joined: usize,
}

impl ClassicGroup {
    /// A group without members, protocol or history.
    pub(super) fn new(group_id: &str) -> Self {
        Self {
            group_id: group_id.to_owned(),
            state: ClassicGroupState::Empty,
            state_timestamp: Timestamp::NONE,
            generation: 0,
            protocol_type: None,
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            static_members: BTreeMap::new(),
            pending_join: BTreeSet::new(),
            pending_sync: BTreeSet::new(),
            subscribed_topics: None,
            offers: BTreeMap::new(),
            joined: 0,
        }
    }

    /// The group as the log left it.
    pub(super) fn from_record(group_id: &str, value: &GroupMetadataValue) -> Self {
        let mut group = Self::new(group_id);
        group.generation = value.generation;
        group.state_timestamp = Timestamp(value.current_state_timestamp);
        group.protocol_type = Some(value.protocol_type.clone()).filter(|name| !name.is_empty());
        group.protocol.clone_from(&value.protocol);
        for member in &value.members {
            group.add_loaded(member);
        }
        // a leader that is no member would be asked for an assignment for ever
        group.leader = value.leader.clone().filter(|leader| group.members.contains_key(leader));
        if group.leader.is_none() {
            group.leader = group.members.keys().next().cloned();
        }
        if !group.members.is_empty() {
            group.state = ClassicGroupState::Stable;
        }
        group.subscribed_topics = group.compute_subscribed_topics();
        group
    }

    fn add_loaded(&mut self, loaded: &MemberMetadata) {
        // whoever wrote this record: two members of one id cannot be told apart
        let instance_id = loaded.group_instance_id.as_ref();
        if self.members.contains_key(&loaded.member_id)
            || instance_id.is_some_and(|instance_id| self.static_members.contains_key(instance_id))
        {
            return;
        }
        let protocol = self.protocol.get_or_insert_default().clone();
        let timeout = loaded.rebalance_timeout;
        self.insert(Member {
            member_id: loaded.member_id.clone(),
            group_instance_id: loaded.group_instance_id.clone(),
            client_id: loaded.client_id.clone(),
            client_host: loaded.client_host.clone(),
            rebalance_timeout_ms: if timeout == -1 { loaded.session_timeout } else { timeout },
            session_timeout_ms: loaded.session_timeout,
            protocols: vec![JoinGroupRequestProtocol {
                name: protocol,
                metadata: loaded.subscription.clone(),
            }],
            assignment: loaded.assignment.clone(),
            is_new: false,
            join: None,
            sync: None,
        });
    }

    /// What the log shall know of the group.
    pub(super) fn to_record(&self) -> GroupMetadataValue {
        let member = |member: &Member| MemberMetadata {
            member_id: member.member_id.clone(),
            group_instance_id: member.group_instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            rebalance_timeout: member.rebalance_timeout_ms,
            session_timeout: member.session_timeout_ms,
            subscription: member.metadata_of(self.protocol.as_deref()),
            assignment: member.assignment.clone(),
        };
        GroupMetadataValue {
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            current_state_timestamp: self.state_timestamp.0,
            members: self.members.values().map(member).collect(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.state == ClassicGroupState::Empty
    }

    /// Nothing would be lost if the group were forgotten, as far as the group knows.
    pub(super) fn is_unused(&self) -> bool {
        self.is_empty() && self.pending_join.is_empty()
    }

    pub(super) fn uses_consumer_protocol(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER)
    }

    /// Whether members may be reading the topic. An unreadable subscription of consumers may be to anything.
    pub(super) fn is_subscribed_to(&self, topic: &str) -> bool {
        match &self.subscribed_topics {
            Some(topics) => topics.contains(topic),
            None => self.uses_consumer_protocol(),
        }
    }

    pub(super) fn knows_subscription(&self) -> bool {
        self.subscribed_topics.is_some()
    }

    /// Those who were given a member id and have not come back with it.
    pub(super) fn pending_members(&self) -> impl Iterator<Item = &str> {
        self.pending_join.iter().map(String::as_str)
    }

    /// Where the rebalance stands.
    pub fn state(&self) -> &ClassicGroupState {
        &self.state
    }

    /// The present generation.
    pub fn generation(&self) -> i32 {
        self.generation
    }

    fn is_leader(&self, member_id: &str) -> bool {
        self.leader.as_deref() == Some(member_id)
    }

    fn all_joined(&self) -> bool {
        self.joined == self.members.len() && self.pending_join.is_empty()
    }

    /// The longest of the members' rebalance time-outs.
    fn rebalance_timeout(&self) -> Duration {
        millis(self.members.values().map(|member| member.rebalance_timeout_ms).max().unwrap_or(0))
    }

    fn insert(&mut self, member: Member) {
        for protocol in &member.protocols {
            *self.offers.entry(protocol.name.clone()).or_default() += 1;
        }
        self.joined += usize::from(member.join.is_some());
        if let Some(instance_id) = &member.group_instance_id {
            self.static_members.insert(instance_id.clone(), member.member_id.clone());
        }
        self.pending_join.remove(&member.member_id);
        let replaced = self.members.insert(member.member_id.clone(), member);
        assert!(replaced.is_none(), "member ids are unique");
    }

    /// Takes a member out with everything that counts it. Its waiting requests are the caller's to answer.
    fn take(&mut self, member_id: &str) -> Option<Member> {
        self.pending_sync.remove(member_id);
        let member = self.members.remove(member_id)?;
        self.withdraw_offers(&member);
        self.joined -= usize::from(member.join.is_some());
        if let Some(instance_id) = &member.group_instance_id {
            self.static_members.remove(instance_id);
        }
        if self.is_leader(member_id) {
            self.leader = self.members.keys().next().cloned();
        }
        Some(member)
    }

    fn withdraw_offers(&mut self, member: &Member) {
        for protocol in &member.protocols {
            let count = self.offers.get_mut(&protocol.name).expect("every offer of a member is counted");
            *count -= 1;
            if *count == 0 {
                self.offers.remove(&protocol.name);
            }
        }
    }

    /// Takes over what a member that joins again says of itself.
    fn update(&mut self, member_id: &str, request: &JoinGroupRequest) {
        let mut member = self.members.remove(member_id).expect("a member is updated");
        self.withdraw_offers(&member);
        for protocol in &request.protocols {
            *self.offers.entry(protocol.name.clone()).or_default() += 1;
        }
        member.protocols.clone_from(&request.protocols);
        member.rebalance_timeout_ms = request.rebalance_timeout_ms;
        member.session_timeout_ms = request.session_timeout_ms;
        self.members.insert(member_id.to_owned(), member);
    }

    /// A protocol that the joiner offers and all members offer, under the group's protocol type.
    fn supports(&self, protocol_type: &str, protocols: &[JoinGroupRequestProtocol]) -> bool {
        if self.is_empty() {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        let everyone = self.members.len();
        self.protocol_type.as_deref() == Some(protocol_type)
            && protocols.iter().any(|own| self.offers.get(&own.name).copied().unwrap_or(0) == everyone)
    }

    /// The protocol with most votes; each member votes for the first of its own that all members offer. Among
    /// equals the leader's vote counts, then the name.
    fn select_protocol(&self) -> Option<String> {
        let everyone = self.members.len();
        let common = self.offers.iter().filter(|(_, count)| **count == everyone);
        let candidates: BTreeSet<&str> = common.map(|(name, _)| name.as_str()).collect();
        let mut votes = BTreeMap::<&str, usize>::new();
        for member in self.members.values() {
            *votes.entry(member.vote(&candidates)?).or_default() += 1;
        }
        let leader = self.leader.as_ref().and_then(|leader| self.members.get(leader));
        let leaders = leader.and_then(|leader| leader.vote(&candidates));
        let best = votes.into_iter().rev().max_by_key(|(name, count)| (*count, Some(*name) == leaders))?;
        Some(best.0.to_owned())
    }

    /// The topics that consumers named, as far as their subscriptions can be read: version 0 is the beginning
    /// of every version.
    fn compute_subscribed_topics(&self) -> Option<BTreeSet<String>> {
        if !self.uses_consumer_protocol() {
            return None;
        }
        if self.members.is_empty() {
            return Some(BTreeSet::new());
        }
        let protocol = self.protocol.as_deref()?;
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            let metadata = member.metadata(protocol);
            let mut reader = Reader::new(&metadata);
            reader.i16().ok().filter(|version| *version >= 0)?;
            topics.extend(ConsumerProtocolSubscription::decode(&mut reader, 0).ok()?.topics);
        }
        Some(topics)
    }

    /// All members, as a leader is told them.
    fn join_members(&self) -> Vec<JoinGroupResponseMember> {
        let protocol = self.protocol.as_deref();
        let told = |member: &Member| JoinGroupResponseMember {
            member_id: member.member_id.clone(),
            group_instance_id: member.group_instance_id.clone(),
            metadata: member.metadata_of(protocol),
        };
        self.members.values().map(told).collect()
    }

    /// Whether a request speaks for a member: by its id, and if it names an instance id, as its present holder.
    pub(super) fn check_member(&self, member_id: &str, instance_id: Option<&str>) -> Result<(), ErrorCode> {
        if let Some(instance_id) = instance_id {
            let holder = self.static_members.get(instance_id).ok_or(ErrorCode::UnknownMemberId)?;
            if !guard!(GroupInstanceId, holder == member_id) {
                return Err(ErrorCode::FencedInstanceId);
            }
        }
        if self.members.contains_key(member_id) { Ok(()) } else { Err(ErrorCode::UnknownMemberId) }
    }

    /// Whether a request speaks of the present generation.
    pub(super) fn check_generation(&self, generation: i32) -> Result<(), ErrorCode> {
        // OF-01: a member that slept through a rebalance must not act for its old assignment
        if !guard!(GroupGeneration, generation == self.generation) {
            return Err(ErrorCode::IllegalGeneration);
        }
        Ok(())
    }

    /// Every waiting request, for a group that is being dropped.
    pub(super) fn into_waiting(self) -> impl Iterator<Item = (String, Option<Token>, Option<Token>)> {
        self.members.into_values().map(|member| (member.member_id, member.join, member.sync))
    }

    pub(super) fn assert_invariants(&self) {
        let members = || self.members.values();
        let waiting_join = members().filter(|member| member.join.is_some()).count();
        let waiting_sync = members().filter(|member| member.sync.is_some()).count();
        assert_eq!(self.joined, waiting_join, "waiting joins are counted");
        for (protocol, count) in &self.offers {
            let offering = members()
                .flat_map(|member| &member.protocols)
                .filter(|offered| &offered.name == protocol)
                .count();
            assert_eq!(*count, offering, "offers of {protocol} are counted");
        }
        let statics = members().filter(|member| member.group_instance_id.is_some()).count();
        assert_eq!(self.static_members.len(), statics, "one member per instance id (GC-01)");
        for (instance_id, member_id) in &self.static_members {
            let named = self.members[member_id].group_instance_id.as_ref();
            assert_eq!(named, Some(instance_id), "an instance id names its member");
        }
        assert_eq!(self.leader.is_some(), !self.members.is_empty(), "members have a leader");
        assert!(self.leader.iter().all(|leader| self.members.contains_key(leader)), "the leader is a member");
        assert!(self.pending_sync.iter().all(|id| self.members.contains_key(id)), "members sync");
        assert!(!self.pending_join.iter().any(|id| self.members.contains_key(id)), "joined once");
        let preparing = matches!(self.state, ClassicGroupState::PreparingRebalance { .. });
        let completing = self.state == ClassicGroupState::CompletingRebalance;
        let stable = self.state == ClassicGroupState::Stable;
        assert!(preparing || waiting_join == 0, "joins wait for a rebalance only");
        assert!(completing || waiting_sync == 0, "syncs wait for the leader only");
        assert!(completing || stable || self.pending_sync.is_empty(), "a generation syncs");
        assert!(!self.is_empty() || self.members.is_empty(), "empty is empty");
        assert!(preparing || self.is_empty() || !self.members.is_empty(), "a generation has members");
        assert!(!completing && !stable || self.protocol.is_some(), "a generation has a protocol");
    }

    /// What members and operators were told of as settled is in the log, word for word.
    pub(super) fn assert_logged(&self, logged: Option<&GroupMetadataValue>) {
        if self.state != ClassicGroupState::Stable {
            return;
        }
        let logged = logged.expect("a stable group is logged");
        assert_eq!(logged.generation, self.generation, "the generation of {} is logged", self.group_id);
        assert!(
            logged
                .members
                .iter()
                .map(|member| (&member.member_id, &member.assignment))
                .eq(self.members.values().map(|member| (&member.member_id, &member.assignment))),
            "the assignment of {} is logged",
            self.group_id
        );
    }
}
