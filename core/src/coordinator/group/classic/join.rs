//! JoinGroup: who is let into a group, and what that does to it.

use highwater_protocol::ErrorCode;
use highwater_protocol::messages::{JoinGroupRequest, JoinGroupResponse, SyncGroupResponse};

use super::super::records::STRING_BYTES_MAX;
use super::super::{GroupReply, Groups, JoinContext, Turn, records};
use super::{ClassicGroup, ClassicGroupState, Member};
use crate::coordinator::batch_bytes;
use crate::ids::Token;

/// From this version a dynamic member must join twice, with the id of the first answer (KIP-394).
const MEMBER_ID_REQUIRED_VERSION: i16 = 4;
/// From this version a leader that rejoins in vain can be told to assign nothing (KIP-814).
const SKIP_ASSIGNMENT_VERSION: i16 = 9;
/// Kafka's limit on `group.instance.id`.
const INSTANCE_ID_BYTES_MAX: usize = 249;

/// A request to join, with who sent it.
struct Join<'a> {
    token: Token,
    context: &'a JoinContext,
    request: JoinGroupRequest,
}

impl Join<'_> {
    fn reason(&self) -> &str {
        self.request.reason.as_deref().filter(|reason| !reason.is_empty()).unwrap_or("not provided")
    }

    fn member(&self, member_id: String) -> Member {
        Member {
            member_id,
            group_instance_id: self.request.group_instance_id.clone(),
            client_id: self.context.client_id.clone(),
            client_host: self.context.client_host.clone(),
            rebalance_timeout_ms: self.request.rebalance_timeout_ms,
            session_timeout_ms: self.request.session_timeout_ms,
            protocols: self.request.protocols.clone(),
            assignment: Default::default(),
            is_new: true,
            join: None,
            sync: None,
        }
    }

    /// The id of a member that has none: Kafka's form, readable in logs and unique by its last part.
    fn member_id_new(&self) -> String {
        let name = self.request.group_instance_id.as_deref().unwrap_or(&self.context.client_id);
        let name: String = name.chars().take(INSTANCE_ID_BYTES_MAX).collect();
        format!("{name}-{}", JavaUuid(self.context.member_uuid.0))
    }
}

impl Turn<'_> {
    /// Plans a JoinGroup.
    pub(in super::super) fn join(
        &mut self,
        groups: &mut Groups,
        token: Token,
        context: &JoinContext,
        mut request: JoinGroupRequest,
    ) {
        if let Err(error) = self.check_join(&request) {
            return self.refuse_join(token, &request.member_id, error);
        }
        if request.rebalance_timeout_ms < 0 {
            // version 0 has none
            request.rebalance_timeout_ms = request.session_timeout_ms;
        }
        forget_repeated(&mut request);
        let group_id = request.group_id.clone();
        let is_unknown = request.member_id.is_empty();
        if !groups.contains_key(&group_id) && !is_unknown {
            return self.refuse_join(token, &request.member_id, ErrorCode::UnknownMemberId);
        }
        let group = groups.entry(group_id.clone()).or_insert_with(|| ClassicGroup::new(&group_id));
        let join = Join { token, context, request };
        if !self.accepts(group, &join.request.member_id) {
            self.turn_away(group, &join);
        } else if is_unknown {
            self.join_new(group, join);
        } else {
            self.join_known(group, join);
        }
        self.forget_unused(groups, &group_id);
    }

    fn check_join(&self, request: &JoinGroupRequest) -> Result<(), ErrorCode> {
        let session = self.config.session_timeout_ms_min..=self.config.session_timeout_ms_max;
        if request.group_id.is_empty() || request.group_id.len() > STRING_BYTES_MAX {
            return Err(ErrorCode::InvalidGroupId);
        }
        if !session.contains(&request.session_timeout_ms) {
            return Err(ErrorCode::InvalidSessionTimeout);
        }
        let instance_id_bytes = request.group_instance_id.as_ref().map_or(0, String::len);
        let names = request.protocols.iter().map(|protocol| &protocol.name).chain([&request.protocol_type]);
        if instance_id_bytes > INSTANCE_ID_BYTES_MAX
            || names.map(String::len).any(|bytes| bytes > STRING_BYTES_MAX)
        {
            return Err(ErrorCode::InvalidRequest);
        }
        Ok(())
    }

    /// Whether the group has room. While it rebalances only those who joined count, so that a group above the
    /// limit (which may have been lowered) shrinks to it.
    fn accepts(&self, group: &ClassicGroup, member_id: &str) -> bool {
        let members_max = self.config.members_max;
        let known = group.members.get(member_id);
        match group.state {
            ClassicGroupState::Empty => true,
            ClassicGroupState::PreparingRebalance { .. } => {
                known.is_some_and(|member| member.join.is_some()) || group.joined < members_max
            }
            ClassicGroupState::CompletingRebalance | ClassicGroupState::Stable => {
                known.is_some() || group.members.len() < members_max
            }
        }
    }

    fn turn_away(&mut self, group: &mut ClassicGroup, join: &Join<'_>) {
        let member_id = &join.request.member_id;
        if group.pending_join.remove(member_id) {
            self.cancel_session(group, member_id);
        }
        self.remove_member(group, member_id);
        self.refuse_join(join.token, "", ErrorCode::GroupMaxSizeReached);
        self.maybe_complete_join(group);
    }

    fn join_new(&mut self, group: &mut ClassicGroup, join: Join<'_>) {
        if !group.supports(&join.request.protocol_type, &join.request.protocols) {
            return self.refuse_join(join.token, "", ErrorCode::InconsistentGroupProtocol);
        }
        let member_id = join.member_id_new();
        let instance_id = join.request.group_instance_id.as_ref();
        if let Some(holder) = instance_id.and_then(|instance_id| group.static_members.get(instance_id)) {
            let holder = holder.clone();
            self.replace_static_member(group, join, &holder, member_id);
        } else if instance_id.is_none() && join.context.api_version >= MEMBER_ID_REQUIRED_VERSION {
            group.pending_join.insert(member_id.clone());
            self.arm_pending(group, &member_id, join.request.session_timeout_ms);
            self.refuse_join(join.token, &member_id, ErrorCode::MemberIdRequired);
        } else {
            self.add_member(group, join, member_id);
        }
    }

    fn join_known(&mut self, group: &mut ClassicGroup, join: Join<'_>) {
        let member_id = join.request.member_id.clone();
        if !group.supports(&join.request.protocol_type, &join.request.protocols) {
            return self.refuse_join(join.token, &member_id, ErrorCode::InconsistentGroupProtocol);
        }
        if group.pending_join.contains(&member_id) {
            if join.request.group_instance_id.is_some() {
                // a static member is never asked to come back with an id
                return self.refuse_join(join.token, &member_id, ErrorCode::UnknownServerError);
            }
            return self.add_member(group, join, member_id);
        }
        if let Err(error) = group.check_member(&member_id, join.request.group_instance_id.as_deref()) {
            return self.refuse_join(join.token, &member_id, error);
        }
        let changed = group.members[&member_id].protocols != join.request.protocols;
        let cause = match group.state {
            ClassicGroupState::Empty => {
                return self.refuse_join(join.token, &member_id, ErrorCode::UnknownMemberId);
            }
            ClassicGroupState::PreparingRebalance { .. } => "rejoins",
            // a leader rejoins to have something assigned anew that no metadata shows (new partitions)
            ClassicGroupState::Stable if group.is_leader(&member_id) => "rejoins as the leader",
            _ if changed => "changed its metadata",
            // the answer to its join was lost: answer again
            _ => return self.answer_join_again(group, &join),
        };
        group.update(&member_id, &join.request);
        self.park_join(group, &member_id, join.token);
        let cause = format!("{cause}; client reason: {}", join.reason());
        self.rebalance_or_complete(group, &member_id, &cause);
    }

    /// Tells a member the present generation once more. Only a generation without an assignment is told in full
    /// to its leader: a leader that rejoins a stable group wants a new one.
    fn answer_join_again(&mut self, group: &ClassicGroup, join: &Join<'_>) {
        let member_id = join.request.member_id.clone();
        let members = if group.is_leader(&member_id) { group.join_members() } else { Vec::new() };
        let answer = JoinGroupResponse { member_id, members, ..answer_from(group) };
        self.plan.reply_committed(join.token, GroupReply::JoinGroup(answer));
    }

    fn add_member(&mut self, group: &mut ClassicGroup, join: Join<'_>, member_id: String) {
        if group.members.is_empty() {
            group.protocol_type = Some(join.request.protocol_type.clone());
        }
        if let ClassicGroupState::PreparingRebalance { initial: Some(initial) } = &mut group.state {
            initial.member_added = true;
        }
        group.insert(join.member(member_id.clone()));
        group.leader.get_or_insert_with(|| member_id.clone());
        // the member cannot heartbeat while its first join waits, and a closed connection is not noticed here:
        // without this time-out clients that give up and try again would fill the group with the dead
        self.arm_session_for(group, &member_id, self.config.new_member_join_timeout);
        self.park_join(group, &member_id, join.token);
        let instance = match &join.request.group_instance_id {
            Some(instance_id) => format!(" with instance id {instance_id}"),
            None => String::new(),
        };
        let cause = format!("joins as a new member{instance}; client reason: {}", join.reason());
        self.rebalance_or_complete(group, &member_id, &cause);
    }

    /// A static member is back without its member id (KIP-345): it takes over the place under a new one, in
    /// whatever state the group is, and whoever used the old one is fenced.
    fn replace_static_member(
        &mut self,
        group: &mut ClassicGroup,
        join: Join<'_>,
        old_id: &str,
        new_id: String,
    ) {
        let leader_before = group.leader.clone().unwrap_or_default();
        let was_pending = group.pending_sync.contains(old_id);
        self.fence(group, old_id);
        let old = group.take(old_id).expect("an instance id names a member");
        self.cancel_session(group, old_id);
        group.insert(Member {
            member_id: new_id.clone(),
            client_id: join.context.client_id.clone(),
            client_host: join.context.client_host.clone(),
            is_new: false,
            ..old
        });
        if was_pending {
            group.pending_sync.insert(new_id.clone());
        }
        if leader_before == old_id {
            group.leader = Some(new_id.clone());
        }
        group.update(&new_id, &join.request);
        self.arm_session(group, &new_id);
        if group.state == ClassicGroupState::Stable
            && self.keep_generation(group, &join, &new_id, leader_before)
        {
            return;
        }
        self.park_join(group, &new_id, join.token);
        let instance_id = join.request.group_instance_id.as_deref().unwrap_or_default();
        let cause = format!("replaces {old_id} as instance {instance_id}; client reason: {}", join.reason());
        self.rebalance_or_complete(group, &new_id, &cause);
    }

    /// Answers everything that the old holder of an instance id waits for.
    fn fence(&mut self, group: &mut ClassicGroup, member_id: &str) {
        let error_code = ErrorCode::FencedInstanceId;
        let answer =
            JoinGroupResponse { error_code, member_id: member_id.to_owned(), ..JoinGroupResponse::default() };
        self.answer_join(group, member_id, answer);
        self.answer_sync(group, member_id, SyncGroupResponse { error_code, ..SyncGroupResponse::default() });
    }

    /// A static member that is back in a stable group keeps the generation and its assignment, if the group's
    /// protocol stays what it is: only the new member id is logged.
    fn keep_generation(
        &mut self,
        group: &ClassicGroup,
        join: &Join<'_>,
        member_id: &str,
        leader_before: String,
    ) -> bool {
        let record = records::group_record(&group.group_id, &group.to_record());
        if group.select_protocol() != group.protocol || batch_bytes([&record]) > self.config.append_bytes_max
        {
            return false;
        }
        self.plan.append(record);
        let member_id = member_id.to_owned();
        let answer = if join.context.api_version >= SKIP_ASSIGNMENT_VERSION {
            // it may lead again, and then sees the members, but has nothing to assign (KIP-814)
            let leads = group.is_leader(&member_id);
            let members = if leads { group.join_members() } else { Vec::new() };
            JoinGroupResponse { member_id, members, skip_assignment: leads, ..answer_from(group) }
        } else {
            // an older client that is told it leads would assign: tell it of the leader that is gone
            JoinGroupResponse { member_id, leader: leader_before, ..answer_from(group) }
        };
        self.plan.reply_committed(join.token, GroupReply::JoinGroup(answer));
        true
    }

    fn refuse_join(&mut self, token: Token, member_id: &str, error: ErrorCode) {
        self.plan.reply_now(token, GroupReply::JoinGroup(refusal(member_id, error)));
    }
}

/// A JoinGroup answer that is an error.
pub(in super::super) fn refusal(member_id: &str, error: ErrorCode) -> JoinGroupResponse {
    JoinGroupResponse { error_code: error, member_id: member_id.to_owned(), ..JoinGroupResponse::default() }
}

/// What an answer says about the group's present generation.
fn answer_from(group: &ClassicGroup) -> JoinGroupResponse {
    JoinGroupResponse {
        generation_id: group.generation,
        protocol_type: group.protocol_type.clone(),
        protocol_name: group.protocol.clone(),
        leader: group.leader.clone().unwrap_or_default(),
        ..JoinGroupResponse::default()
    }
}

/// A protocol named twice counts once, as it was named first.
fn forget_repeated(request: &mut JoinGroupRequest) {
    let mut seen = std::collections::BTreeSet::new();
    request.protocols.retain(|protocol| seen.insert(protocol.name.clone()));
}

/// A UUID as Java prints it.
struct JavaUuid([u8; 16]);

impl std::fmt::Display for JavaUuid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, byte) in self.0.iter().enumerate() {
            let dash = if matches!(i, 4 | 6 | 8 | 10) { "-" } else { "" };
            write!(f, "{dash}{byte:02x}")?;
        }
        Ok(())
    }
}
