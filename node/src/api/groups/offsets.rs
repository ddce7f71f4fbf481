//! OffsetCommit (8), OffsetFetch (9) and OffsetDelete (47): how far groups are.
//!
//! The coordinator keeps topics by name and id. Older requests name them, newer ones (version 10) give their ids, so
//! each is completed from the image on the way in, and what the image does not know is refused here.

use super::{Call, ask, ask_named, partition_of};
use crate::api::gathering::collect;
use crate::node::Node;
use crate::partition::{GroupReply, GroupRequest, Partition};
use highwater_core::guard;
use highwater_core::ids::{PartitionIndex, TopicId};
use highwater_core::metadata::{MetadataImage, Topic};
use highwater_protocol::messages::{
    OffsetCommitRequest, OffsetCommitRequestTopic, OffsetCommitResponse, OffsetCommitResponsePartition,
    OffsetCommitResponseTopic, OffsetDeleteRequest, OffsetDeleteResponse, OffsetDeleteResponsePartition,
    OffsetDeleteResponseTopic, OffsetFetchRequest, OffsetFetchRequestGroup, OffsetFetchRequestTopics,
    OffsetFetchResponse, OffsetFetchResponseGroup, OffsetFetchResponsePartition,
    OffsetFetchResponsePartitions, OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use highwater_protocol::{ErrorCode, Uuid};
use std::sync::Arc;

/// The first version of OffsetCommit and OffsetFetch that gives topic ids.
const IDS_SINCE: i16 = 10;

/// Serves OffsetCommit.
pub(in crate::api) fn offset_commit(call: Call<'_>, mut request: OffsetCommitRequest) {
    let image = call.node.image();
    let uses_ids = call.responder.version() >= IDS_SINCE;
    let mut refused = Vec::new();
    let mut known = Vec::new();
    for mut topic in std::mem::take(&mut request.topics) {
        let found =
            if uses_ids { image.topic_by_id(TopicId(topic.topic_id.0)) } else { image.topic(&topic.name) };
        let Some(found) = found else {
            let code = if uses_ids { ErrorCode::UnknownTopicId } else { ErrorCode::UnknownTopicOrPartition };
            refused.push(refusal(&topic, code));
            continue;
        };
        topic.name = found.name.to_string();
        topic.topic_id = Uuid(found.id.0);
        let (here, elsewhere): (Vec<_>, Vec<_>) =
            topic.partitions.into_iter().partition(|p| has_partition(found, p.partition_index));
        topic.partitions = elsewhere;
        if !topic.partitions.is_empty() {
            refused.push(refusal(&topic, ErrorCode::UnknownTopicOrPartition));
        }
        topic.partitions = here;
        if !topic.partitions.is_empty() {
            known.push(topic);
        }
    }
    request.topics = known;
    if request.topics.is_empty() && !refused.is_empty() {
        return call.responder.send(&OffsetCommitResponse { topics: refused, ..Default::default() });
    }
    let group_id = request.group_id.clone();
    let topics: Vec<_> = request.topics.clone();
    let refuse = move |code| OffsetCommitResponse {
        topics: topics.iter().map(|topic| refusal(topic, code)).collect(),
        ..Default::default()
    };
    let asked = GroupRequest::OffsetCommit(call.responder.version(), request);
    ask(call.node, &group_id, asked, call.responder, refuse, move |reply| match reply {
        GroupReply::OffsetCommit(mut response) => {
            merge(&mut response.topics, refused);
            Some(response)
        }
        _ => None,
    });
}

fn has_partition(topic: &Topic, index: i32) -> bool {
    topic.partitions.contains_key(&PartitionIndex(index))
}

fn refusal(topic: &OffsetCommitRequestTopic, error_code: ErrorCode) -> OffsetCommitResponseTopic {
    let refuse = |index: i32| OffsetCommitResponsePartition { partition_index: index, error_code };
    OffsetCommitResponseTopic {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partitions: topic.partitions.iter().map(|p| refuse(p.partition_index)).collect(),
    }
}

/// Adds refused partitions to the answer of the topic they belong to.
fn merge(topics: &mut Vec<OffsetCommitResponseTopic>, refused: Vec<OffsetCommitResponseTopic>) {
    for more in refused {
        match topics.iter_mut().find(|t| t.name == more.name && t.topic_id == more.topic_id) {
            Some(topic) => topic.partitions.extend(more.partitions),
            None => topics.push(more),
        }
    }
}

/// Serves OffsetFetch: one group (below version 8) or several.
pub(in crate::api) fn offset_fetch(call: Call<'_>, request: OffsetFetchRequest) {
    let image = call.node.image();
    let version = call.responder.version();
    let mut groups = request.groups;
    if version < 8 {
        groups = vec![OffsetFetchRequestGroup {
            group_id: request.group_id,
            member_epoch: -1,
            topics: request.topics.map(|topics| {
                let by_name = topics.into_iter().map(|topic| OffsetFetchRequestTopics {
                    name: topic.name,
                    partition_indexes: topic.partition_indexes,
                    ..Default::default()
                });
                by_name.collect()
            }),
            ..Default::default()
        }];
    }
    let responder = call.responder;
    let order: Vec<String> = groups.iter().map(|group| group.group_id.clone()).collect();
    let gathering = collect(groups.len(), Vec::new(), move |mut groups: Vec<OffsetFetchResponseGroup>| {
        groups.sort_by_key(|group| order.iter().position(|id| *id == group.group_id));
        responder.send(&fetched(groups, version));
    });
    for mut group in groups {
        let part = gathering.clone();
        let unknown = complete(&image, &mut group, version);
        let are_all_asked = group.topics.is_none();
        let image = image.clone();
        match readable_partition_of(call.node, &group.group_id) {
            Err(error_code) => {
                let group_id = group.group_id;
                part.complete(vec![OffsetFetchResponseGroup { group_id, error_code, ..Default::default() }]);
            }
            Ok(partition) => partition.coordinate(
                GroupRequest::OffsetFetch(group),
                Box::new(move |reply| match reply {
                    GroupReply::OffsetFetch(mut answer) => {
                        if are_all_asked {
                            answer.topics.retain_mut(|topic| is_current(&image, topic));
                            merge_equal(&mut answer.topics);
                        }
                        if answer.error_code == ErrorCode::None {
                            answer.topics.extend(unknown);
                        }
                        part.complete(vec![answer]);
                    }
                    _ => part.complete(Vec::new()),
                }),
            ),
        }
    }
}

/// The partition of a group that is coordinated here, unless somebody else may coordinate it by now: a process that stood
/// still, or is cut off, does not know of commits that its successor took.
fn readable_partition_of(node: &Node, group_id: &str) -> Result<Arc<Partition>, ErrorCode> {
    let partition = partition_of(node, group_id)?;
    let may_tell = guard!(CoordinatorLease, node.membership().holds_lease());
    if may_tell { Ok(partition) } else { Err(ErrorCode::NotCoordinator) }
}

/// Gives each topic its other name. Topics of unknown ids are taken out and answered as such.
fn complete(
    image: &Arc<MetadataImage>,
    group: &mut OffsetFetchRequestGroup,
    version: i16,
) -> Vec<OffsetFetchResponseTopics> {
    let mut unknown = Vec::new();
    let Some(topics) = &mut group.topics else { return unknown };
    topics.retain_mut(|topic| {
        if version < IDS_SINCE {
            // A deleted topic's offsets are gone with it: a name that is not known simply has none.
            topic.topic_id = image.topic(&topic.name).map_or(Uuid::ZERO, |known| Uuid(known.id.0));
            return true;
        }
        if let Some(known) = image.topic_by_id(TopicId(topic.topic_id.0)) {
            topic.name = known.name.to_string();
            return true;
        }
        let refuse = |index: &i32| OffsetFetchResponsePartitions {
            partition_index: *index,
            committed_offset: -1,
            committed_leader_epoch: -1,
            metadata: Some(String::new()),
            error_code: ErrorCode::UnknownTopicId,
        };
        unknown.push(OffsetFetchResponseTopics {
            topic_id: topic.topic_id,
            partitions: topic.partition_indexes.iter().map(refuse).collect(),
            ..Default::default()
        });
        false
    });
    unknown
}

/// Whether offsets are those of the topic that has this name now (OF-06); completes the topic's id.
fn is_current(image: &MetadataImage, topic: &mut OffsetFetchResponseTopics) -> bool {
    let Some(known) = image.topic(&topic.name) else { return false };
    let id = Uuid(known.id.0);
    let is_current = topic.topic_id == Uuid::ZERO || topic.topic_id == id;
    topic.topic_id = id;
    is_current
}

/// Makes one of the entries of a topic: offsets that older releases kept without the topic's id come apart from the others.
fn merge_equal(topics: &mut Vec<OffsetFetchResponseTopics>) {
    topics.dedup_by(|later, first| {
        let is_same = later.name == first.name;
        if is_same {
            first.partitions.append(&mut later.partitions);
            first.partitions.sort_by_key(|partition| partition.partition_index);
        }
        is_same
    });
}

/// The answer in the shape of its version: below 8 there is one group, without a name.
fn fetched(mut groups: Vec<OffsetFetchResponseGroup>, version: i16) -> OffsetFetchResponse {
    if version >= 8 {
        return OffsetFetchResponse { groups, ..Default::default() };
    }
    let Some(group) = groups.pop() else { return OffsetFetchResponse::default() };
    let partition = |p: OffsetFetchResponsePartitions| OffsetFetchResponsePartition {
        partition_index: p.partition_index,
        committed_offset: p.committed_offset,
        committed_leader_epoch: p.committed_leader_epoch,
        metadata: p.metadata,
        // Version 1 has no error of the group: each partition carries it.
        error_code: if group.error_code == ErrorCode::None { p.error_code } else { group.error_code },
    };
    let topic = |t: OffsetFetchResponseTopics| OffsetFetchResponseTopic {
        name: t.name,
        partitions: t.partitions.into_iter().map(partition).collect(),
    };
    OffsetFetchResponse {
        topics: group.topics.into_iter().map(topic).collect(),
        error_code: group.error_code,
        ..Default::default()
    }
}

/// Serves OffsetDelete (KIP-496).
pub(in crate::api) fn offset_delete(call: Call<'_>, mut request: OffsetDeleteRequest) {
    let image = call.node.image();
    let mut unknown = Vec::new();
    for topic in &mut request.topics {
        let known = image.topic(&topic.name);
        let is_known = |index: i32| known.is_some_and(|topic| has_partition(topic, index));
        let (here, elsewhere): (Vec<_>, Vec<_>) =
            std::mem::take(&mut topic.partitions).into_iter().partition(|p| is_known(p.partition_index));
        topic.partitions = here;
        if !elsewhere.is_empty() {
            let refuse = |index: i32| OffsetDeleteResponsePartition {
                partition_index: index,
                error_code: ErrorCode::UnknownTopicOrPartition,
            };
            unknown.push(OffsetDeleteResponseTopic {
                name: topic.name.clone(),
                partitions: elsewhere.iter().map(|p| refuse(p.partition_index)).collect(),
            });
        }
    }
    request.topics.retain(|topic| !topic.partitions.is_empty());
    let group_id = request.group_id.clone();
    let refused = |error_code| OffsetDeleteResponse { error_code, ..Default::default() };
    let asked = GroupRequest::OffsetDelete(request);
    ask_named(call.node, &group_id, asked, call.responder, refused, move |reply| match reply {
        GroupReply::OffsetDelete(mut response) => {
            if response.error_code == ErrorCode::None {
                for more in unknown {
                    match response.topics.iter_mut().find(|topic| topic.name == more.name) {
                        Some(topic) => topic.partitions.extend(more.partitions),
                        None => response.topics.push(more),
                    }
                }
            }
            Some(response)
        }
        _ => None,
    });
}
