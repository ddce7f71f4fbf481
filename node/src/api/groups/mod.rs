//! Consumer groups: requests to the coordinator of their group, in the cell of its partition of `__consumer_offsets`.
//!
//! The topic is made when the first coordinator is looked for. Requests about many groups are split by partition and
//! put together again ([`collect`]).

mod offsets;

pub(super) use offsets::{offset_commit, offset_delete, offset_fetch};

use super::gathering::collect;
use super::{Call, Responder};
use crate::node::Node;
use crate::partition::{GroupReply, GroupRequest, Partition};
use crate::partitions::OFFSETS_TOPIC;
use highwater_core::coordinator::group::JoinContext;
use highwater_core::coordinator::partition_for;
use highwater_core::ids::{BrokerId, TopicId, TopicPartition};
use highwater_core::metadata::MetadataImage;
use highwater_protocol::messages::{
    Coordinator, DeletableGroupResult, DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest,
    DescribeGroupsResponse, DescribedGroup, FindCoordinatorRequest, FindCoordinatorResponse,
    HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
    LeaveGroupResponse, ListGroupsRequest, ListGroupsResponse, SyncGroupRequest, SyncGroupResponse,
};
use highwater_protocol::{ErrorCode, Message, Uuid};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The key types of FindCoordinator.
mod key_type {
    pub(super) const GROUP: i8 = 0;
    pub(super) const TRANSACTION: i8 = 1;
}

/// Finds the coordinators of groups, making `__consumer_offsets` at the first time.
pub(super) fn find_coordinator(call: Call<'_>, request: FindCoordinatorRequest) {
    let listener = call.conn.info.listener.clone();
    let is_group = request.key_type == key_type::GROUP;
    if !is_group || call.node.image().topic(OFFSETS_TOPIC).is_some() {
        let response = coordinators(call.node, &listener, request, call.responder.version());
        return call.responder.send(&response);
    }
    let Some(Call { node, responder, .. }) = call.unless_active() else { return };
    let broker = node.broker_config();
    let then = node.clone();
    node.controller().submit(
        |controller| {
            let configs = [
                ("cleanup.policy", "compact"),
                ("compression.type", "producer"),
                ("segment.bytes", &broker.offsets.topic_segment_bytes.to_string()),
            ];
            controller.plan_internal_topic(
                node.plan_context(),
                OFFSETS_TOPIC,
                broker.offsets.topic_partitions,
                broker.offsets.topic_replication_factor,
                &configs,
                TopicId(node.uuid()),
            )
        },
        move |_: Result<Result<(), ErrorCode>, _>| {
            let response = coordinators(&then, &listener, request, responder.version());
            responder.send(&response);
        },
    );
}

fn coordinators(
    node: &Node,
    listener: &str,
    request: FindCoordinatorRequest,
    version: i16,
) -> FindCoordinatorResponse {
    let is_batched = version >= 4;
    let keys = if is_batched { request.coordinator_keys } else { vec![request.key] };
    let mut found: Vec<Coordinator> =
        keys.into_iter().map(|key| coordinator(node, listener, key, request.key_type)).collect();
    if is_batched {
        return FindCoordinatorResponse { coordinators: found, ..Default::default() };
    }
    let Some(only) = found.pop() else { return FindCoordinatorResponse::default() };
    FindCoordinatorResponse {
        error_code: only.error_code,
        error_message: only.error_message,
        node_id: only.node_id,
        host: only.host,
        port: only.port,
        ..Default::default()
    }
}

fn coordinator(node: &Node, listener: &str, key: String, kind: i8) -> Coordinator {
    let refused = |key, error_code: ErrorCode| Coordinator {
        key,
        node_id: -1,
        port: -1,
        error_code,
        error_message: Some(error_code.name().to_owned()),
        ..Default::default()
    };
    let image = node.image();
    let id = match kind {
        key_type::GROUP => leader_of(&image, &key),
        // Transactions are not served, but this node is where their requests are told so.
        key_type::TRANSACTION => Some(node.id()),
        _ => return refused(key, ErrorCode::InvalidRequest),
    };
    let endpoint = id.and_then(|id| Some((id, image.broker(id)?.endpoint(listener)?)));
    match endpoint {
        None => refused(key, ErrorCode::CoordinatorNotAvailable),
        Some((id, endpoint)) => Coordinator {
            key,
            node_id: id.0,
            host: endpoint.host.clone(),
            port: i32::from(endpoint.port),
            error_code: ErrorCode::None,
            error_message: None,
        },
    }
}

/// The broker that coordinates a group: it leads the group's partition of `__consumer_offsets`.
fn leader_of(image: &MetadataImage, group_id: &str) -> Option<BrokerId> {
    let topic = image.topic(OFFSETS_TOPIC)?;
    topic.partitions.get(&partition_for(group_id, topic.partition_count()))?.leader
}

/// The partition whose cell coordinates a group.
fn partition_of(node: &Node, group_id: &str) -> Result<Arc<Partition>, ErrorCode> {
    let image = node.image();
    let topic = image.topic(OFFSETS_TOPIC).ok_or(ErrorCode::CoordinatorNotAvailable)?;
    let partition = partition_for(group_id, topic.partition_count());
    let id = TopicPartition { topic_id: topic.id, partition };
    // Whoever leads the partition has a replica.
    node.registry().get(id).ok_or(ErrorCode::NotCoordinator)
}

/// Asks the coordinator for what only a group with a name has. One without is no coordinator's: every broker says so.
fn ask_named<M: Message + Clone>(
    node: &Node,
    group_id: &str,
    request: GroupRequest,
    responder: Responder,
    refused: impl FnOnce(ErrorCode) -> M,
    answer: impl FnOnce(GroupReply) -> Option<M> + Send + 'static,
) {
    match group_id.is_empty() {
        true => responder.send(&refused(ErrorCode::InvalidGroupId)),
        false => ask(node, group_id, request, responder, refused, answer),
    }
}

/// Asks the coordinator of one group and answers with what `answer` makes of its reply.
fn ask<M: Message + Clone>(
    node: &Node,
    group_id: &str,
    request: GroupRequest,
    responder: Responder,
    refused: impl FnOnce(ErrorCode) -> M,
    answer: impl FnOnce(GroupReply) -> Option<M> + Send + 'static,
) {
    match partition_of(node, group_id) {
        Err(code) => responder.send(&refused(code)),
        Ok(partition) => partition.coordinate(
            request,
            Box::new(move |reply| match answer(reply) {
                Some(response) => responder.send(&response),
                None => responder.refuse("the coordinator answered another question"),
            }),
        ),
    }
}

/// Serves JoinGroup.
pub(super) fn join(call: Call<'_>, request: JoinGroupRequest) {
    let context = JoinContext {
        api_version: call.responder.version(),
        client_id: call.client_id().to_owned(),
        client_host: format!("/{}", call.conn.info.peer.ip()),
        member_uuid: Uuid(call.node.uuid()),
    };
    let group_id = request.group_id.clone();
    let member_id = request.member_id.clone();
    let refused = |error_code| JoinGroupResponse { error_code, member_id, ..Default::default() };
    let limits = &call.node.broker_config().group;
    let sessions = limits.session_timeout_ms_min..=limits.session_timeout_ms_max;
    if !group_id.is_empty() && !sessions.contains(&request.session_timeout_ms) {
        // As Kafka, whoever coordinates the group and whether it is loaded: asking again would not help.
        return call.responder.send(&refused(ErrorCode::InvalidSessionTimeout));
    }
    let asked = GroupRequest::JoinGroup(context, request);
    ask_named(call.node, &group_id, asked, call.responder, refused, |reply| match reply {
        GroupReply::JoinGroup(response) => Some(response),
        _ => None,
    });
}

/// Serves SyncGroup.
pub(super) fn sync(call: Call<'_>, request: SyncGroupRequest) {
    let group_id = request.group_id.clone();
    let refused = |error_code| SyncGroupResponse { error_code, ..Default::default() };
    let asked = GroupRequest::SyncGroup(call.responder.version(), request);
    ask_named(call.node, &group_id, asked, call.responder, refused, |reply| match reply {
        GroupReply::SyncGroup(response) => Some(response),
        _ => None,
    });
}

/// Serves Heartbeat.
pub(super) fn heartbeat(call: Call<'_>, request: HeartbeatRequest) {
    let group_id = request.group_id.clone();
    let refused = |error_code| HeartbeatResponse { error_code, ..Default::default() };
    let asked = GroupRequest::Heartbeat(request);
    ask_named(call.node, &group_id, asked, call.responder, refused, |reply| match reply {
        GroupReply::Heartbeat(response) => Some(response),
        _ => None,
    });
}

/// Serves LeaveGroup.
pub(super) fn leave(call: Call<'_>, request: LeaveGroupRequest) {
    let group_id = request.group_id.clone();
    let refused = |error_code| LeaveGroupResponse { error_code, ..Default::default() };
    let asked = GroupRequest::LeaveGroup(call.responder.version(), request);
    ask_named(call.node, &group_id, asked, call.responder, refused, |reply| match reply {
        GroupReply::LeaveGroup(response) => Some(response),
        _ => None,
    });
}

/// Groups by the partition that coordinates them, and those that none does with the reason.
type ByPartition = (Vec<(Arc<Partition>, Vec<String>)>, Vec<(String, ErrorCode)>);

fn by_partition(node: &Node, groups: Vec<String>) -> ByPartition {
    let mut found: BTreeMap<TopicPartition, (Arc<Partition>, Vec<String>)> = BTreeMap::new();
    let mut refused = Vec::new();
    for group in groups {
        match partition_of(node, &group) {
            Ok(partition) => {
                found.entry(partition.id()).or_insert_with(|| (partition, Vec::new())).1.push(group);
            }
            Err(code) => refused.push((group, code)),
        }
    }
    (found.into_values().collect(), refused)
}

/// Serves DescribeGroups.
pub(super) fn describe(call: Call<'_>, request: DescribeGroupsRequest) {
    let order = request.groups.clone();
    let (asked, refused) = by_partition(call.node, request.groups);
    let refused: Vec<_> = refused
        .into_iter()
        .map(|(group_id, error_code)| DescribedGroup { group_id, error_code, ..Default::default() })
        .collect();
    let (version, responder) = (call.responder.version(), call.responder);
    let gathering = collect(asked.len(), refused, move |mut groups: Vec<DescribedGroup>| {
        groups.sort_by_key(|group| order.iter().position(|id| *id == group.group_id));
        responder.send(&DescribeGroupsResponse { groups, ..Default::default() });
    });
    for (partition, groups) in asked {
        let part = gathering.clone();
        let include_authorized_operations = request.include_authorized_operations;
        let request = DescribeGroupsRequest { groups, include_authorized_operations };
        partition.coordinate(
            GroupRequest::DescribeGroups(version, request),
            Box::new(move |reply| match reply {
                GroupReply::DescribeGroups(response) => part.complete(response.groups),
                _ => part.complete(Vec::new()),
            }),
        );
    }
}

/// Serves DeleteGroups.
pub(super) fn delete(call: Call<'_>, request: DeleteGroupsRequest) {
    let (asked, refused) = by_partition(call.node, request.groups_names);
    let refused: Vec<_> = refused
        .into_iter()
        .map(|(group_id, error_code)| DeletableGroupResult { group_id, error_code })
        .collect();
    let responder = call.responder;
    let gathering = collect(asked.len(), refused, move |results| {
        responder.send(&DeleteGroupsResponse { results, ..Default::default() });
    });
    for (partition, groups) in asked {
        let part = gathering.clone();
        partition.coordinate(
            GroupRequest::DeleteGroups(groups),
            Box::new(move |reply| match reply {
                GroupReply::DeleteGroups(response) => part.complete(response.results),
                _ => part.complete(Vec::new()),
            }),
        );
    }
}

/// Serves ListGroups: the groups of all partitions that this broker leads. One that loads makes the whole answer retriable, as in Kafka.
pub(super) fn list(call: Call<'_>, request: ListGroupsRequest) {
    let image = call.node.image();
    let partitions = image.topic(OFFSETS_TOPIC).map(|topic| {
        let mut partitions = call.node.registry().of_topic(topic.id);
        let leader = |partition: &Partition| topic.partitions.get(&partition.id().partition)?.leader;
        partitions.retain(|partition| leader(partition) == Some(call.node.id()));
        partitions
    });
    let partitions = partitions.unwrap_or_default();
    let responder = call.responder;
    let gathering = collect(partitions.len(), Vec::new(), move |parts: Vec<ListGroupsResponse>| {
        let mut response = ListGroupsResponse::default();
        for part in parts {
            if part.error_code != ErrorCode::None {
                response.error_code = part.error_code;
            }
            response.groups.extend(part.groups);
        }
        responder.send(&response);
    });
    for partition in partitions {
        let part = gathering.clone();
        partition.coordinate(
            GroupRequest::ListGroups(request.clone()),
            Box::new(move |reply| match reply {
                GroupReply::ListGroups(response) => part.complete(vec![response]),
                _ => part.complete(Vec::new()),
            }),
        );
    }
}
