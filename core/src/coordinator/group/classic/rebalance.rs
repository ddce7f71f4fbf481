//! The rebalance itself: begin it, wait for the members, form the next generation.

use std::time::Duration;

use highwater_protocol::ErrorCode;
use highwater_protocol::messages::{JoinGroupResponse, SyncGroupResponse};

use super::super::{GroupEvent, GroupReply, GroupTimer, Turn, records};
use super::{ClassicGroup, ClassicGroupState, InitialDelay, millis};
use crate::ids::Token;

/// How long to wait at least for the first of a group's silent members; they may have allowed no time at all.
const REJOIN_WAIT_MIN: Duration = Duration::from_secs(1);

impl Turn<'_> {
    /// Takes up a group that was loaded: every member has its whole session time to show itself.
    pub(in super::super) fn resume(&mut self, group: &mut ClassicGroup) {
        for member_id in group.members.keys() {
            self.arm_session(group, member_id);
        }
        if group.members.len() > self.config.members_max {
            self.prepare_rebalance(group, "the group", "is over group.max.size, which was lowered");
        }
    }

    /// Begins a rebalance where none is under way, else sees whether the present one can go on.
    pub(super) fn rebalance_or_complete(&mut self, group: &mut ClassicGroup, member_id: &str, cause: &str) {
        if matches!(group.state, ClassicGroupState::PreparingRebalance { .. }) {
            self.maybe_complete_join(group);
        } else {
            self.prepare_rebalance(group, member_id, cause);
        }
    }

    /// Begins a rebalance. `member_id` and `cause` say who made it necessary, and why.
    pub(super) fn prepare_rebalance(&mut self, group: &mut ClassicGroup, member_id: &str, cause: &str) {
        if group.state == ClassicGroupState::CompletingRebalance {
            self.refuse_assignment(group, ErrorCode::RebalanceInProgress);
        }
        group.pending_sync.clear();
        self.plan.cancel(GroupTimer::Sync { group_id: group.group_id.clone() });
        self.plan.event(GroupEvent::RebalanceStarted {
            group_id: group.group_id.clone(),
            state: group.state.name(),
            generation: group.generation,
            members: group.members.len(),
            member_id: member_id.to_owned(),
            cause: cause.to_owned(),
        });
        let initial = group.is_empty().then(|| {
            // the group is new: give more members time to join, so that the first generation is not the
            // first of many (KIP-134)
            let delay = self.config.initial_rebalance_delay;
            let remaining = group.rebalance_timeout().saturating_sub(delay);
            InitialDelay { delay, remaining, member_added: false }
        });
        let delay = initial.as_ref().map(|initial| initial.delay);
        self.transition(group, ClassicGroupState::PreparingRebalance { initial });
        match delay {
            Some(delay) => self.arm_join(group, delay),
            None if group.all_joined() => self.complete_join(group),
            None => self.arm_join(group, group.rebalance_timeout()),
        }
    }

    /// Forms the generation if everyone is there, unless this is the first: that waits its time.
    pub(super) fn maybe_complete_join(&mut self, group: &mut ClassicGroup) {
        if group.state == (ClassicGroupState::PreparingRebalance { initial: None }) && group.all_joined() {
            self.complete_join(group);
        }
    }

    /// The time to join is over.
    pub(in super::super) fn join_expired(&mut self, group: &mut ClassicGroup) {
        let ClassicGroupState::PreparingRebalance { initial } = &mut group.state else { return };
        if let Some(initial) = initial
            && initial.member_added
            && !initial.remaining.is_zero()
        {
            let delay = self.config.initial_rebalance_delay.min(initial.remaining);
            let remaining = initial.remaining.saturating_sub(initial.delay);
            *initial = InitialDelay { delay, remaining, member_added: false };
            return self.arm_join(group, delay);
        }
        self.complete_join(group);
    }

    /// Forms the next generation of those who joined. Static members may be missing: they keep their place
    /// until their session ends.
    pub(super) fn complete_join(&mut self, group: &mut ClassicGroup) {
        self.plan.cancel(GroupTimer::Join { group_id: group.group_id.clone() });
        let absent = group.members.values().filter(|m| m.join.is_none() && m.group_instance_id.is_none());
        for member_id in absent.map(|member| member.member_id.clone()).collect::<Vec<_>>() {
            self.remove_member(group, &member_id);
        }
        if group.members.is_empty() {
            return self.become_empty(group);
        }
        if !elect_leader(group) {
            // nobody but silent static members: wait until they come back or their sessions end
            return self.arm_join(group, group.rebalance_timeout().max(REJOIN_WAIT_MIN));
        }
        next_generation(group);
        let protocol = group.select_protocol();
        // members are let in only if all of them share a protocol
        group.protocol = Some(protocol.expect("the members of a group have a protocol in common"));
        group.subscribed_topics = group.compute_subscribed_topics();
        self.transition(group, ClassicGroupState::CompletingRebalance);
        self.answer_joined(group);
        let timeout = self.now.mono + group.rebalance_timeout();
        self.plan.arm(GroupTimer::Sync { group_id: group.group_id.clone() }, timeout);
    }

    fn become_empty(&mut self, group: &mut ClassicGroup) {
        next_generation(group);
        group.protocol = None;
        group.subscribed_topics = group.compute_subscribed_topics();
        self.transition(group, ClassicGroupState::Empty);
        self.plan.append(records::group_record(&group.group_id, &group.to_record()));
        self.plan
            .event(GroupEvent::Emptied { group_id: group.group_id.clone(), generation: group.generation });
    }

    fn answer_joined(&mut self, group: &mut ClassicGroup) {
        let mut told = group.join_members();
        let answer = JoinGroupResponse {
            generation_id: group.generation,
            protocol_type: group.protocol_type.clone(),
            protocol_name: group.protocol.clone(),
            leader: group.leader.clone().unwrap_or_default(),
            ..JoinGroupResponse::default()
        };
        group.pending_sync = group.members.keys().cloned().collect();
        for member_id in group.members.keys().cloned().collect::<Vec<_>>() {
            let members = if group.is_leader(&member_id) { std::mem::take(&mut told) } else { Vec::new() };
            let answer = JoinGroupResponse { member_id: member_id.clone(), members, ..answer.clone() };
            self.answer_join(group, &member_id, answer);
            self.arm_session(group, &member_id);
            group.members.get_mut(&member_id).expect("the key of a member").is_new = false;
        }
    }

    /// The time to ask for the assignment is over: who did not is taken out.
    pub(in super::super) fn sync_expired(&mut self, group: &mut ClassicGroup) {
        let syncing =
            matches!(group.state, ClassicGroupState::CompletingRebalance | ClassicGroupState::Stable);
        if !syncing || group.pending_sync.is_empty() {
            return;
        }
        let absent = std::mem::take(&mut group.pending_sync);
        for member_id in &absent {
            self.remove_member(group, member_id);
        }
        let names = absent.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        self.prepare_rebalance(group, &names, "did not ask for the assignment in time");
    }

    /// A member was silent for its session time-out.
    pub(in super::super) fn session_expired(&mut self, group: &mut ClassicGroup, member_id: &str) {
        if group.pending_join.remove(member_id) {
            return self.complete_if_all_joined(group);
        }
        let Some(member) = group.members.get(member_id) else { return };
        if !member.is_waiting() {
            self.remove_and_rebalance(group, member_id, "was silent for its session time-out");
        }
    }

    /// Takes a member out and goes on without it.
    fn remove_and_rebalance(&mut self, group: &mut ClassicGroup, member_id: &str, cause: &str) {
        self.remove_member(group, member_id);
        match group.state {
            ClassicGroupState::Stable | ClassicGroupState::CompletingRebalance => {
                self.prepare_rebalance(group, member_id, cause);
            }
            _ => self.complete_if_all_joined(group),
        }
    }

    /// Goes on as soon as nobody is missing, even in a group's first rebalance: someone was given up on.
    pub(super) fn complete_if_all_joined(&mut self, group: &mut ClassicGroup) {
        if matches!(group.state, ClassicGroupState::PreparingRebalance { .. }) && group.all_joined() {
            self.complete_join(group);
        }
    }

    /// Takes a member out; whatever it waits for is answered with `UNKNOWN_MEMBER_ID`, so that it starts anew if
    /// it is still there.
    pub(super) fn remove_member(&mut self, group: &mut ClassicGroup, member_id: &str) {
        let error = ErrorCode::UnknownMemberId;
        let answer = JoinGroupResponse { error_code: error, ..JoinGroupResponse::default() };
        self.answer_join(group, member_id, answer);
        self.answer_sync(group, member_id, SyncGroupResponse { error_code: error, ..Default::default() });
        group.take(member_id);
        self.cancel_session(group, member_id);
    }

    /// Tells everyone who waits for the assignment that there will be none.
    pub(super) fn refuse_assignment(&mut self, group: &mut ClassicGroup, error: ErrorCode) {
        for member_id in group.members.keys().cloned().collect::<Vec<_>>() {
            group.members.get_mut(&member_id).expect("the key of a member").assignment = Default::default();
            let answer = SyncGroupResponse { error_code: error, ..Default::default() };
            if self.answer_sync(group, &member_id, answer) {
                self.arm_session(group, &member_id);
            }
        }
    }

    /// Answers a member's waiting join, if it has one.
    pub(super) fn answer_join(
        &mut self,
        group: &mut ClassicGroup,
        member_id: &str,
        answer: JoinGroupResponse,
    ) {
        let Some(member) = group.members.get_mut(member_id) else { return };
        if let Some(token) = member.join.take() {
            group.joined -= 1;
            self.plan.reply_now(token, GroupReply::JoinGroup(answer));
        }
    }

    /// Answers a member's waiting sync with an error, if it has one.
    pub(super) fn answer_sync(
        &mut self,
        group: &mut ClassicGroup,
        member_id: &str,
        answer: SyncGroupResponse,
    ) -> bool {
        let token = group.members.get_mut(member_id).and_then(|member| member.sync.take());
        if let Some(token) = token {
            self.plan.reply_now(token, GroupReply::SyncGroup(answer));
        }
        token.is_some()
    }

    /// Lets a join wait. An older one of the same member is answered: its client has given up on it.
    pub(super) fn park_join(&mut self, group: &mut ClassicGroup, member_id: &str, token: Token) {
        let again = JoinGroupResponse {
            error_code: ErrorCode::RebalanceInProgress,
            member_id: member_id.to_owned(),
            ..JoinGroupResponse::default()
        };
        self.answer_join(group, member_id, again);
        let member = group.members.get_mut(member_id).expect("a member joins");
        member.join = Some(token);
        group.joined += 1;
    }

    pub(super) fn transition(&self, group: &mut ClassicGroup, state: ClassicGroupState) {
        group.state = state;
        group.state_timestamp = self.now.wall;
    }

    pub(in super::super) fn arm_session(&mut self, group: &ClassicGroup, member_id: &str) {
        let timeout = group.members[member_id].session_timeout();
        self.arm_session_for(group, member_id, timeout);
    }

    pub(super) fn arm_session_for(&mut self, group: &ClassicGroup, member_id: &str, timeout: Duration) {
        let (group_id, member_id) = (group.group_id.clone(), member_id.to_owned());
        self.plan.arm(GroupTimer::Session { group_id, member_id }, self.now.mono + timeout);
    }

    pub(super) fn arm_pending(&mut self, group: &ClassicGroup, member_id: &str, session_timeout_ms: i32) {
        self.arm_session_for(group, member_id, millis(session_timeout_ms));
    }

    pub(in super::super) fn cancel_session(&mut self, group: &ClassicGroup, member_id: &str) {
        let (group_id, member_id) = (group.group_id.clone(), member_id.to_owned());
        self.plan.cancel(GroupTimer::Session { group_id, member_id });
    }

    fn arm_join(&mut self, group: &ClassicGroup, timeout: Duration) {
        let group_id = group.group_id.clone();
        self.plan.arm(GroupTimer::Join { group_id }, self.now.mono + timeout);
    }
}

/// Sees to it that the leader is one of those who joined; false if nobody did.
fn elect_leader(group: &mut ClassicGroup) -> bool {
    let joined = |member_id: &String| group.members.get(member_id).is_some_and(|m| m.join.is_some());
    if !group.leader.as_ref().is_some_and(joined) {
        let Some(leader) = group.members.values().find(|member| member.join.is_some()) else { return false };
        group.leader = Some(leader.member_id.clone());
    }
    true
}

/// Generations only grow; at the end of the numbers they begin again, as none of the old ones is alive.
fn next_generation(group: &mut ClassicGroup) {
    group.generation = group.generation.checked_add(1).unwrap_or(0);
}
