//! The replies of the group coordinator, and how each says an error.

use highwater_protocol::ErrorCode;
use highwater_protocol::messages::{
    DeletableGroupResult, DeleteGroupsResponse, DescribeGroupsResponse, DescribedGroup, HeartbeatResponse,
    JoinGroupResponse, LeaveGroupResponse, ListGroupsResponse, OffsetCommitResponse, OffsetDeleteResponse,
    OffsetFetchResponseGroup, SyncGroupResponse,
};

use super::GroupRequest;
use super::offsets::commit_refusal;
use crate::ids::Token;

/// What the group coordinator answers, to the request of the same name.
#[derive(Clone, Debug, PartialEq)]
pub enum GroupReply {
    /// The generation.
    JoinGroup(JoinGroupResponse),
    /// The assignment.
    SyncGroup(SyncGroupResponse),
    /// Whether the member still counts.
    Heartbeat(HeartbeatResponse),
    /// What became of each member.
    LeaveGroup(LeaveGroupResponse),
    /// What became of each offset.
    OffsetCommit(OffsetCommitResponse),
    /// One group's offsets.
    OffsetFetch(OffsetFetchResponseGroup),
    /// What became of each offset.
    OffsetDelete(OffsetDeleteResponse),
    /// The groups in full.
    DescribeGroups(DescribeGroupsResponse),
    /// The groups by name.
    ListGroups(ListGroupsResponse),
    /// What became of each group.
    DeleteGroups(DeleteGroupsResponse),
    /// The offsets of deleted topics are gone.
    TopicsDeleted,
}

impl GroupReply {
    /// The same answer, but nothing of it happened.
    pub(super) fn failed(self, error_code: ErrorCode) -> Self {
        match self {
            Self::JoinGroup(_) => Self::JoinGroup(JoinGroupResponse { error_code, ..Default::default() }),
            Self::SyncGroup(_) => Self::SyncGroup(SyncGroupResponse { error_code, ..Default::default() }),
            Self::Heartbeat(_) => Self::Heartbeat(HeartbeatResponse { error_code, ..Default::default() }),
            Self::LeaveGroup(_) => Self::LeaveGroup(LeaveGroupResponse { error_code, ..Default::default() }),
            Self::OffsetCommit(mut answer) => {
                let partitions = answer.topics.iter_mut().flat_map(|topic| &mut topic.partitions);
                partitions.for_each(|partition| partition.error_code = error_code);
                Self::OffsetCommit(answer)
            }
            Self::OffsetFetch(answer) => Self::OffsetFetch(OffsetFetchResponseGroup {
                group_id: answer.group_id,
                error_code,
                ..Default::default()
            }),
            Self::OffsetDelete(_) => {
                Self::OffsetDelete(OffsetDeleteResponse { error_code, ..Default::default() })
            }
            Self::DescribeGroups(answer) => {
                describe_refusal(answer.groups.into_iter().map(|group| group.group_id), error_code)
            }
            Self::ListGroups(_) => Self::ListGroups(ListGroupsResponse { error_code, ..Default::default() }),
            Self::DeleteGroups(answer) => {
                delete_refusal(answer.results.into_iter().map(|result| result.group_id), error_code)
            }
            Self::TopicsDeleted => Self::TopicsDeleted,
        }
    }
}

/// The answer to a request that is not decided on.
pub(super) fn refusal(request: GroupRequest, error_code: ErrorCode) -> GroupReply {
    match request {
        GroupRequest::JoinGroup(_, request) => {
            let member_id = request.member_id;
            GroupReply::JoinGroup(JoinGroupResponse { error_code, member_id, ..Default::default() })
        }
        GroupRequest::SyncGroup(..) => GroupReply::SyncGroup(SyncGroupResponse::default()).failed(error_code),
        GroupRequest::Heartbeat(_) => {
            // Kafka tells a member of a loading group nothing but to go on
            let loading = error_code == ErrorCode::CoordinatorLoadInProgress;
            let error_code = if loading { ErrorCode::None } else { error_code };
            GroupReply::Heartbeat(HeartbeatResponse { error_code, ..Default::default() })
        }
        GroupRequest::LeaveGroup(..) => {
            GroupReply::LeaveGroup(LeaveGroupResponse::default()).failed(error_code)
        }
        GroupRequest::OffsetCommit(_, request) => {
            GroupReply::OffsetCommit(commit_refusal(&request, error_code))
        }
        GroupRequest::OffsetFetch(request) => GroupReply::OffsetFetch(OffsetFetchResponseGroup {
            group_id: request.group_id,
            error_code,
            ..Default::default()
        }),
        GroupRequest::OffsetDelete(_) => {
            GroupReply::OffsetDelete(OffsetDeleteResponse { error_code, ..Default::default() })
        }
        GroupRequest::DescribeGroups(_, request) => describe_refusal(request.groups.into_iter(), error_code),
        GroupRequest::ListGroups(_) => {
            GroupReply::ListGroups(ListGroupsResponse { error_code, ..Default::default() })
        }
        GroupRequest::DeleteGroups(asked) => delete_refusal(asked.into_iter(), error_code),
        GroupRequest::TopicsDeleted(_) => GroupReply::TopicsDeleted,
    }
}

/// The answers to what a member waits for, as its group is dropped.
pub(super) fn abandoned(
    member_id: &str,
    join: Option<Token>,
    sync: Option<Token>,
    error: ErrorCode,
) -> impl Iterator<Item = (Token, GroupReply)> + use<> {
    let joined = JoinGroupResponse {
        error_code: error,
        member_id: member_id.to_owned(),
        ..JoinGroupResponse::default()
    };
    let synced = SyncGroupResponse { error_code: error, ..SyncGroupResponse::default() };
    let join = join.map(|token| (token, GroupReply::JoinGroup(joined)));
    join.into_iter().chain(sync.map(|token| (token, GroupReply::SyncGroup(synced))))
}

fn describe_refusal(groups: impl Iterator<Item = String>, error_code: ErrorCode) -> GroupReply {
    let described = groups.map(|group_id| DescribedGroup { group_id, error_code, ..Default::default() });
    GroupReply::DescribeGroups(DescribeGroupsResponse { groups: described.collect(), ..Default::default() })
}

fn delete_refusal(groups: impl Iterator<Item = String>, error_code: ErrorCode) -> GroupReply {
    let results = groups.map(|group_id| DeletableGroupResult { group_id, error_code });
    GroupReply::DeleteGroups(DeleteGroupsResponse { results: results.collect(), ..Default::default() })
}
