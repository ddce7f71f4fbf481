//! ListOffsets (2) and OffsetForLeaderEpoch (23): where times and epochs are in a log.

use super::Call;
use highwater_core::ids::LeaderEpoch;
use highwater_core::replica::Isolation;
use highwater_protocol::ErrorCode;
use highwater_protocol::messages::{
    EpochEndOffset, ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest,
    ListOffsetsResponse, ListOffsetsTopicResponse, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
    OffsetForLeaderTopicResult,
};
use highwater_protocol::topics::TopicRef;
use std::collections::BTreeSet;

/// Answers ListOffsets.
pub(super) fn list(call: Call<'_>, request: ListOffsetsRequest) {
    let isolation = match request.isolation_level {
        1 => Isolation::ReadCommitted,
        _ => Isolation::ReadUncommitted,
    };
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut seen = BTreeSet::new();
        let doubled: BTreeSet<i32> =
            topic.partitions.iter().map(|p| p.partition_index).filter(|p| !seen.insert(*p)).collect();
        let answer = |asked: &ListOffsetsPartition| {
            let listed = if doubled.contains(&asked.partition_index) {
                Err(ErrorCode::InvalidRequest)
            } else {
                list_one(&call, &topic.name, asked, isolation)
            };
            listed.unwrap_or_else(|error_code| ListOffsetsPartitionResponse {
                partition_index: asked.partition_index,
                error_code,
                timestamp: -1,
                offset: -1,
                leader_epoch: -1,
            })
        };
        let partitions = topic.partitions.iter().map(answer).collect();
        topics.push(ListOffsetsTopicResponse { name: topic.name, partitions });
    }
    call.responder.send(&ListOffsetsResponse { topics, ..Default::default() });
}

fn list_one(
    call: &Call<'_>,
    topic: &str,
    asked: &ListOffsetsPartition,
    isolation: Isolation,
) -> Result<ListOffsetsPartitionResponse, ErrorCode> {
    if !is_served(asked.timestamp, call.responder.version()) {
        return Err(ErrorCode::UnsupportedVersion);
    }
    let partition = call.node.registry().find(TopicRef::Name(topic), asked.partition_index)?;
    let current = (asked.current_leader_epoch >= 0).then_some(LeaderEpoch(asked.current_leader_epoch));
    let listed = partition.list_offset(asked.timestamp, isolation, current)?;
    Ok(ListOffsetsPartitionResponse {
        partition_index: asked.partition_index,
        timestamp: listed.timestamp.0,
        offset: listed.offset.0,
        leader_epoch: listed.leader_epoch.0,
        ..Default::default()
    })
}

/// Special timestamps came one by one: −3 with version 7 (KIP-734), −4 with 8 (KIP-405), −5 with 9 (KIP-1005), −6 with
/// 11 (KIP-1023).
const fn is_served(timestamp: i64, version: i16) -> bool {
    match timestamp {
        -3 => version >= 7,
        -4 => version >= 8,
        -5 => version >= 9,
        -6 => version >= 11,
        _ => true,
    }
}

/// Answers OffsetForLeaderEpoch.
pub(super) fn for_leader_epoch(call: Call<'_>, request: OffsetForLeaderEpochRequest) {
    let mut topics = Vec::with_capacity(request.topics.len());
    for topic in request.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for asked in topic.partitions {
            let current =
                (asked.current_leader_epoch >= 0).then_some(LeaderEpoch(asked.current_leader_epoch));
            let end = call
                .node
                .registry()
                .find(TopicRef::Name(&topic.topic), asked.partition)
                .and_then(|partition| partition.epoch_end(LeaderEpoch(asked.leader_epoch), current));
            partitions.push(match end {
                Ok(end) => EpochEndOffset {
                    partition: asked.partition,
                    leader_epoch: end.epoch.0,
                    end_offset: end.end.0,
                    ..Default::default()
                },
                Err(error_code) => EpochEndOffset {
                    error_code,
                    partition: asked.partition,
                    leader_epoch: -1,
                    end_offset: -1,
                },
            });
        }
        topics.push(OffsetForLeaderTopicResult { topic: topic.topic, partitions });
    }
    call.responder.send(&OffsetForLeaderEpochResponse { topics, ..Default::default() });
}
