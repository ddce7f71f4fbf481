//! Heartbeat and LeaveGroup: how a member stays, and how it goes.

use highwater_protocol::ErrorCode;
use highwater_protocol::messages::{
    HeartbeatRequest, HeartbeatResponse, LeaveGroupRequest, LeaveGroupResponse, MemberIdentity,
    MemberResponse,
};

use super::super::{GroupReply, Groups, Turn};
use super::{ClassicGroup, ClassicGroupState};
use crate::ids::Token;

/// Before this version a request names one member, and its answer has one error.
const BATCH_VERSION: i16 = 3;

impl Turn<'_> {
    /// Plans a Heartbeat. It changes nothing that is logged and is answered at once.
    pub(in super::super) fn heartbeat(&mut self, groups: &Groups, token: Token, request: &HeartbeatRequest) {
        let error_code = self.heartbeat_error(groups, request).err().unwrap_or_default();
        let answer = HeartbeatResponse { error_code, ..HeartbeatResponse::default() };
        self.plan.reply_now(token, GroupReply::Heartbeat(answer));
    }

    fn heartbeat_error(&mut self, groups: &Groups, request: &HeartbeatRequest) -> Result<(), ErrorCode> {
        if request.group_id.is_empty() {
            return Err(ErrorCode::InvalidGroupId);
        }
        let group = groups.get(&request.group_id).ok_or(ErrorCode::UnknownMemberId)?;
        group.check_member(&request.member_id, request.group_instance_id.as_deref())?;
        group.check_generation(request.generation_id)?;
        if !group.members.contains_key(&request.member_id) {
            return Err(ErrorCode::UnknownMemberId);
        }
        self.arm_session(group, &request.member_id);
        match group.state {
            ClassicGroupState::PreparingRebalance { .. } => Err(ErrorCode::RebalanceInProgress),
            _ => Ok(()),
        }
    }

    /// Plans a LeaveGroup.
    pub(in super::super) fn leave(
        &mut self,
        groups: &mut Groups,
        token: Token,
        api_version: i16,
        mut request: LeaveGroupRequest,
    ) {
        if api_version < BATCH_VERSION {
            let member_id = std::mem::take(&mut request.member_id);
            request.members = vec![MemberIdentity { member_id, ..MemberIdentity::default() }];
        }
        let answer = if request.group_id.is_empty() {
            LeaveGroupResponse { error_code: ErrorCode::InvalidGroupId, ..LeaveGroupResponse::default() }
        } else {
            let members = self.leave_all(groups, &request);
            let one_error = members.first().map_or(ErrorCode::None, |member| member.error_code);
            let error_code = if api_version < BATCH_VERSION { one_error } else { ErrorCode::None };
            LeaveGroupResponse { error_code, members, ..LeaveGroupResponse::default() }
        };
        self.plan.reply_committed(token, GroupReply::LeaveGroup(answer));
    }

    fn leave_all(&mut self, groups: &mut Groups, request: &LeaveGroupRequest) -> Vec<MemberResponse> {
        let answer = |member: &MemberIdentity, error_code| MemberResponse {
            member_id: member.member_id.clone(),
            group_instance_id: member.group_instance_id.clone(),
            error_code,
        };
        let Some(group) = groups.get_mut(&request.group_id) else {
            return request.members.iter().map(|m| answer(m, ErrorCode::UnknownMemberId)).collect();
        };
        let mut left = Vec::new();
        let mut answers = Vec::with_capacity(request.members.len());
        for member in &request.members {
            let outcome = self.leave_one(group, member);
            answers.push(answer(member, outcome.as_ref().err().copied().unwrap_or_default()));
            left.extend(outcome.ok());
        }
        if !left.is_empty() {
            self.rebalance_without(group, &left.join(", "), request);
        }
        self.forget_unused(groups, &request.group_id);
        answers
    }

    /// Takes a member out and says its id. Administrators name static members by their instance id alone.
    fn leave_one(&mut self, group: &mut ClassicGroup, member: &MemberIdentity) -> Result<String, ErrorCode> {
        let instance_id = member.group_instance_id.as_deref();
        let mut member_id = member.member_id.clone();
        if member_id.is_empty() {
            let holder = instance_id.and_then(|instance_id| group.static_members.get(instance_id));
            member_id.clone_from(holder.ok_or(ErrorCode::UnknownMemberId)?);
        } else if group.pending_join.remove(&member_id) {
            self.cancel_session(group, &member_id);
            return Ok(member_id);
        } else {
            group.check_member(&member_id, instance_id)?;
        }
        self.remove_member(group, &member_id);
        Ok(member_id)
    }

    fn rebalance_without(&mut self, group: &mut ClassicGroup, left: &str, request: &LeaveGroupRequest) {
        match group.state {
            ClassicGroupState::Stable | ClassicGroupState::CompletingRebalance => {
                let reason = request.members.iter().find_map(|member| member.reason.as_deref());
                let cause = format!("left; client reason: {}", reason.unwrap_or("not provided"));
                self.prepare_rebalance(group, left, &cause);
            }
            // an empty first rebalance has nothing to wait for
            ClassicGroupState::PreparingRebalance { .. } if group.members.is_empty() => {
                self.complete_if_all_joined(group);
            }
            ClassicGroupState::PreparingRebalance { .. } => self.maybe_complete_join(group),
            ClassicGroupState::Empty => {}
        }
    }
}
