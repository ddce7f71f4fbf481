//! SyncGroup: the leader brings the assignment, everyone takes theirs.

use std::collections::BTreeMap;

use bytes::Bytes;
use highwater_protocol::ErrorCode;
use highwater_protocol::messages::{SyncGroupRequest, SyncGroupRequestAssignment, SyncGroupResponse};

use super::super::{GroupEvent, GroupReply, GroupTimer, Groups, Turn, records};
use super::{ClassicGroup, ClassicGroupState};
use crate::coordinator::batch_bytes;
use crate::ids::Token;

/// From this version the client says the protocol it believes in (KIP-559).
const PROTOCOL_NAMED_VERSION: i16 = 5;

impl Turn<'_> {
    /// Plans a SyncGroup.
    pub(in super::super) fn sync(
        &mut self,
        groups: &mut Groups,
        token: Token,
        api_version: i16,
        request: SyncGroupRequest,
    ) {
        let names_missing = request.protocol_type.is_none() || request.protocol_name.is_none();
        if request.group_id.is_empty() {
            return self.refuse_sync(token, ErrorCode::InvalidGroupId);
        }
        if api_version >= PROTOCOL_NAMED_VERSION && names_missing {
            return self.refuse_sync(token, ErrorCode::InconsistentGroupProtocol);
        }
        let Some(group) = groups.get_mut(&request.group_id) else {
            return self.refuse_sync(token, ErrorCode::UnknownMemberId);
        };
        if let Err(error) = check_sync(group, &request) {
            return self.refuse_sync(token, error);
        }
        match group.state {
            ClassicGroupState::Empty => self.refuse_sync(token, ErrorCode::UnknownMemberId),
            ClassicGroupState::PreparingRebalance { .. } => {
                self.refuse_sync(token, ErrorCode::RebalanceInProgress);
            }
            ClassicGroupState::CompletingRebalance => {
                self.synced(group, &request.member_id);
                self.park_sync(group, &request.member_id, token);
                if group.is_leader(&request.member_id) {
                    self.assign(group, &request.member_id, request.assignments);
                }
            }
            // also the answer to whose first answer was lost
            ClassicGroupState::Stable => {
                self.synced(group, &request.member_id);
                let answer = assignment_of(group, &request.member_id);
                self.plan.reply_committed(token, GroupReply::SyncGroup(answer));
            }
        }
    }

    fn synced(&mut self, group: &mut ClassicGroup, member_id: &str) {
        group.pending_sync.remove(member_id);
        if group.pending_sync.is_empty() {
            self.plan.cancel(GroupTimer::Sync { group_id: group.group_id.clone() });
        }
    }

    fn park_sync(&mut self, group: &mut ClassicGroup, member_id: &str, token: Token) {
        let again =
            SyncGroupResponse { error_code: ErrorCode::RebalanceInProgress, ..SyncGroupResponse::default() };
        self.answer_sync(group, member_id, again);
        group.members.get_mut(member_id).expect("a member syncs").sync = Some(token);
    }

    /// The leader has spoken: the generation is logged, and everyone who waits is told once it is committed.
    fn assign(
        &mut self,
        group: &mut ClassicGroup,
        leader: &str,
        assignments: Vec<SyncGroupRequestAssignment>,
    ) {
        let mut given: BTreeMap<String, Bytes> =
            assignments.into_iter().map(|given| (given.member_id, given.assignment)).collect();
        for member in group.members.values_mut() {
            member.assignment = given.remove(&member.member_id).unwrap_or_default();
        }
        let record = records::group_record(&group.group_id, &group.to_record());
        if batch_bytes([&record]) > self.config.append_bytes_max {
            // Kafka fails the append and rebalances; so do we, without trying
            self.refuse_assignment(group, ErrorCode::UnknownServerError);
            return self.prepare_rebalance(group, leader, "assigned more than one record can hold");
        }
        self.plan.append(record);
        self.transition(group, ClassicGroupState::Stable);
        self.plan.event(GroupEvent::Stabilized {
            group_id: group.group_id.clone(),
            generation: group.generation,
            members: group.members.len(),
            leader: leader.to_owned(),
        });
        for member_id in group.members.keys().cloned().collect::<Vec<_>>() {
            let token = group.members.get_mut(&member_id).expect("the key of a member").sync.take();
            if let Some(token) = token {
                let answer = assignment_of(group, &member_id);
                self.plan.reply_committed(token, GroupReply::SyncGroup(answer));
                // its session did not end while it waited, but begins again now
                self.arm_session(group, &member_id);
            }
        }
    }

    fn refuse_sync(&mut self, token: Token, error: ErrorCode) {
        let answer = SyncGroupResponse { error_code: error, ..SyncGroupResponse::default() };
        self.plan.reply_now(token, GroupReply::SyncGroup(answer));
    }
}

fn check_sync(group: &ClassicGroup, request: &SyncGroupRequest) -> Result<(), ErrorCode> {
    group.check_member(&request.member_id, request.group_instance_id.as_deref())?;
    group.check_generation(request.generation_id)?;
    let differs = |theirs: &Option<String>, ours: &Option<String>| theirs.is_some() && theirs != ours;
    if differs(&request.protocol_type, &group.protocol_type)
        || differs(&request.protocol_name, &group.protocol)
    {
        return Err(ErrorCode::InconsistentGroupProtocol);
    }
    Ok(())
}

fn assignment_of(group: &ClassicGroup, member_id: &str) -> SyncGroupResponse {
    SyncGroupResponse {
        protocol_type: group.protocol_type.clone(),
        protocol_name: group.protocol.clone(),
        assignment: group.members[member_id].assignment.clone(),
        ..SyncGroupResponse::default()
    }
}
