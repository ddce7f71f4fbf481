//! DescribeGroups, ListGroups, DeleteGroups: groups as operators see them.

use std::collections::BTreeSet;

use bytes::Bytes;
use highwater_protocol::ErrorCode;
use highwater_protocol::messages::{
    DeletableGroupResult, DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse,
    DescribedGroup, DescribedGroupMember, ListGroupsRequest, ListGroupsResponse, ListedGroup,
};

use super::classic::{ClassicGroup, ClassicGroupState, Member};
use super::{GroupEvent, GroupReply, Groups, Turn, records};
use crate::ids::Token;

/// From this version a group that is not there is an error; before, it is dead (KIP-1043).
const GROUP_ID_NOT_FOUND_VERSION: i16 = 6;
/// What may be done with a group where nothing is forbidden, as Kafka's bits: READ, DELETE, DESCRIBE, DESCRIBE_CONFIGS
/// and ALTER_CONFIGS (KIP-430).
const GROUP_OPERATIONS: i32 = 3400;
/// Kafka's name of this kind of group.
const CLASSIC: &str = "classic";

impl Turn<'_> {
    /// Plans a DescribeGroups.
    pub(super) fn describe(
        &mut self,
        groups: &Groups,
        token: Token,
        api_version: i16,
        request: DescribeGroupsRequest,
    ) {
        let with_operations = request.include_authorized_operations;
        let described = request.groups.into_iter().map(|group_id| {
            let mut described = match groups.get(&group_id) {
                Some(group) => described(group),
                None => not_found(group_id, api_version),
            };
            if with_operations && described.error_code == ErrorCode::None {
                described.authorized_operations = GROUP_OPERATIONS;
            }
            described
        });
        let answer =
            DescribeGroupsResponse { groups: described.collect(), ..DescribeGroupsResponse::default() };
        self.plan.reply_committed(token, GroupReply::DescribeGroups(answer));
    }

    /// Plans a ListGroups: the groups of this partition that pass both filters (KIP-518, KIP-848).
    pub(super) fn list(&mut self, groups: &Groups, token: Token, request: &ListGroupsRequest) {
        let lower = |names: &[String]| names.iter().map(|name| name.to_lowercase()).collect::<BTreeSet<_>>();
        let (states, types) = (lower(&request.states_filter), lower(&request.types_filter));
        let passes = |filter: &BTreeSet<String>, name: &str| {
            filter.is_empty() || filter.contains(&name.to_lowercase())
        };
        let listed = groups
            .values()
            .filter(|group| passes(&states, group.state.name()) && passes(&types, CLASSIC))
            .map(listed)
            .collect();
        let answer = ListGroupsResponse { groups: listed, ..ListGroupsResponse::default() };
        self.plan.reply_committed(token, GroupReply::ListGroups(answer));
    }

    /// Plans a DeleteGroups (KIP-229).
    pub(super) fn delete(&mut self, groups: &mut Groups, token: Token, asked: Vec<String>) {
        let results = asked
            .into_iter()
            .map(|group_id| {
                let error_code = self.delete_one(groups, &group_id).err().unwrap_or_default();
                DeletableGroupResult { group_id, error_code }
            })
            .collect();
        let answer = DeleteGroupsResponse { results, ..DeleteGroupsResponse::default() };
        self.plan.reply_committed(token, GroupReply::DeleteGroups(answer));
    }

    fn delete_one(&mut self, groups: &mut Groups, group_id: &str) -> Result<(), ErrorCode> {
        let group = groups.get(group_id).ok_or(ErrorCode::GroupIdNotFound)?;
        if !group.is_empty() {
            return Err(ErrorCode::NonEmptyGroup);
        }
        self.delete_all_offsets(group_id);
        if self.durable.groups.contains_key(group_id) {
            self.plan.append(records::group_tombstone(group_id));
        }
        for member_id in group.pending_members() {
            self.cancel_session(group, member_id);
        }
        groups.remove(group_id);
        self.plan.event(GroupEvent::Deleted { group_id: group_id.to_owned() });
        Ok(())
    }
}

fn described(group: &ClassicGroup) -> DescribedGroup {
    let protocol = group.protocol.as_deref().filter(|_| group.state == ClassicGroupState::Stable);
    DescribedGroup {
        group_id: group.group_id.clone(),
        group_state: group.state.name().to_owned(),
        protocol_type: group.protocol_type.clone().unwrap_or_default(),
        protocol_data: protocol.unwrap_or_default().to_owned(),
        members: group.members.values().map(|member| described_member(member, protocol)).collect(),
        ..DescribedGroup::default()
    }
}

/// A member with its assignment; its metadata only where the protocol they are meant for is settled.
fn described_member(member: &Member, protocol: Option<&str>) -> DescribedGroupMember {
    DescribedGroupMember {
        member_id: member.member_id.clone(),
        group_instance_id: member.group_instance_id.clone(),
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        member_metadata: protocol.map_or_else(Bytes::new, |protocol| member.metadata_of(Some(protocol))),
        member_assignment: member.assignment.clone(),
    }
}

fn not_found(group_id: String, api_version: i16) -> DescribedGroup {
    let dead = DescribedGroup { group_state: "Dead".to_owned(), ..DescribedGroup::default() };
    if api_version < GROUP_ID_NOT_FOUND_VERSION {
        return DescribedGroup { group_id, ..dead };
    }
    DescribedGroup {
        error_code: ErrorCode::GroupIdNotFound,
        error_message: Some(format!("Group {group_id} not found.")),
        group_id,
        ..dead
    }
}

fn listed(group: &ClassicGroup) -> ListedGroup {
    ListedGroup {
        group_id: group.group_id.clone(),
        protocol_type: group.protocol_type.clone().unwrap_or_default(),
        group_state: group.state.name().to_owned(),
        group_type: CLASSIC.to_owned(),
    }
}
