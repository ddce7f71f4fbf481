//! Committed offsets: who may write them, and how they are read.
//!
//! Topics come in with their name *and* their id, whichever of the two the client sent: the node resolves one
//! from the other, and refuses what it does not know before a request gets here. An offset belongs to the
//! topic it was committed for and is none for a later topic of the same name (OF-06).

mod removal;

use highwater_protocol::messages::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponse,
    OffsetCommitResponsePartition, OffsetCommitResponseTopic, OffsetCommitValue, OffsetFetchRequestGroup,
    OffsetFetchRequestTopics, OffsetFetchResponseGroup, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopics,
};
use highwater_protocol::{ErrorCode, Uuid};

use super::classic::{ClassicGroup, ClassicGroupState};
use super::records::STRING_BYTES_MAX;
use super::{GroupReply, Groups, Turn, records};
use crate::coordinator::{Record, batch_bytes};
use crate::guard;
use crate::ids::{PartitionIndex, Token};
use crate::time::Timestamp;

/// From this version a commit to a group that is not there says so; before, it is a wrong generation.
const GROUP_ID_NOT_FOUND_VERSION: i16 = 9;
/// "No offset" in an answer.
const NO_OFFSET: i64 = -1;

impl Turn<'_> {
    /// Plans an OffsetCommit.
    pub(super) fn commit_offsets(
        &mut self,
        groups: &mut Groups,
        token: Token,
        api_version: i16,
        request: &OffsetCommitRequest,
    ) {
        if let Err(error) = self.check_commit(groups, api_version, request) {
            return self.refuse_commit(token, request, error);
        }
        let (records, answer) = self.offset_records(request);
        if batch_bytes(&records) > self.config.append_bytes_max {
            return self.refuse_commit(token, request, ErrorCode::InvalidCommitOffsetSize);
        }
        if !records.is_empty() {
            let group_id = &request.group_id;
            groups.entry(group_id.clone()).or_insert_with(|| ClassicGroup::new(group_id));
        }
        records.into_iter().for_each(|record| self.plan.append(record));
        self.plan.reply_committed(token, GroupReply::OffsetCommit(answer));
    }

    fn refuse_commit(&mut self, token: Token, request: &OffsetCommitRequest, error: ErrorCode) {
        self.plan.reply_now(token, GroupReply::OffsetCommit(commit_refusal(request, error)));
    }

    fn check_commit(
        &mut self,
        groups: &Groups,
        api_version: i16,
        request: &OffsetCommitRequest,
    ) -> Result<(), ErrorCode> {
        if request.group_id.len() > STRING_BYTES_MAX {
            return Err(ErrorCode::InvalidGroupId);
        }
        let generation = request.generation_id_or_member_epoch;
        let Some(group) = groups.get(&request.group_id) else {
            return match generation {
                // not a member of anything: a group that only keeps offsets comes into being
                ..0 => Ok(()),
                _ if api_version >= GROUP_ID_NOT_FOUND_VERSION => Err(ErrorCode::GroupIdNotFound),
                _ => Err(ErrorCode::IllegalGeneration),
            };
        };
        if generation < 0 && group.is_empty() {
            return Ok(());
        }
        let instance_id = request.group_instance_id.as_deref();
        if generation < 0 && request.member_id.is_empty() && instance_id.is_none() {
            // neither a member nor an administrator of an empty group
            return Err(ErrorCode::UnknownMemberId);
        }
        group.check_member(&request.member_id, instance_id)?;
        group.check_generation(generation)?;
        match group.state {
            // its assignment is not known yet; the member learns of it by its next request
            ClassicGroupState::CompletingRebalance => Err(ErrorCode::RebalanceInProgress),
            _ => {
                self.arm_session(group, &request.member_id);
                Ok(())
            }
        }
    }

    fn offset_records(&self, request: &OffsetCommitRequest) -> (Vec<Record>, OffsetCommitResponse) {
        let mut records = Vec::new();
        let mut topics = Vec::with_capacity(request.topics.len());
        for topic in &request.topics {
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for partition in &topic.partitions {
                let outcome = self.offset_record(request, topic, partition);
                partitions.push(OffsetCommitResponsePartition {
                    partition_index: partition.partition_index,
                    error_code: outcome.as_ref().err().copied().unwrap_or_default(),
                });
                records.extend(outcome.ok());
            }
            topics.push(OffsetCommitResponseTopic {
                name: topic.name.clone(),
                topic_id: topic.topic_id,
                partitions,
            });
        }
        (records, OffsetCommitResponse { topics, ..OffsetCommitResponse::default() })
    }

    fn offset_record(
        &self,
        request: &OffsetCommitRequest,
        topic: &OffsetCommitRequestTopic,
        partition: &OffsetCommitRequestPartition,
    ) -> Result<Record, ErrorCode> {
        let metadata = partition.committed_metadata.clone().unwrap_or_default();
        if metadata.encode_utf16().count() > self.config.offset_metadata_max
            || metadata.len() > STRING_BYTES_MAX
        {
            return Err(ErrorCode::OffsetMetadataTooLarge);
        }
        if topic.name.len() > STRING_BYTES_MAX {
            return Err(ErrorCode::UnknownTopicOrPartition);
        }
        let expire_timestamp = match request.retention_time_ms {
            -1 => Timestamp::NONE.0,
            retention_ms => self.now.wall.0.saturating_add(retention_ms),
        };
        let offset = OffsetCommitValue {
            offset: partition.committed_offset,
            leader_epoch: partition.committed_leader_epoch,
            metadata,
            commit_timestamp: self.now.wall.0,
            expire_timestamp,
            topic_id: topic.topic_id,
        };
        let index = PartitionIndex(partition.partition_index);
        Ok(records::offset_record(&request.group_id, &topic.name, index, &offset))
    }

    /// Plans an OffsetFetch of one group. Offsets that a transaction has staged do not exist yet, so that every
    /// offset is stable.
    pub(super) fn fetch_offsets(&mut self, token: Token, request: OffsetFetchRequestGroup) {
        let topics = match request.topics {
            Some(topics) => {
                topics.into_iter().map(|topic| self.fetch_topic(&request.group_id, topic)).collect()
            }
            None => self.fetch_all(&request.group_id),
        };
        let answer =
            OffsetFetchResponseGroup { group_id: request.group_id, topics, error_code: ErrorCode::None };
        self.plan.reply_committed(token, GroupReply::OffsetFetch(answer));
    }

    fn fetch_topic(&self, group_id: &str, topic: OffsetFetchRequestTopics) -> OffsetFetchResponseTopics {
        let fetch = |partition_index| {
            let offset = self.durable.offset(group_id, &topic.name, PartitionIndex(partition_index));
            let offset = offset.filter(|offset| is_of_topic(offset, topic.topic_id));
            fetched(PartitionIndex(partition_index), offset)
        };
        let partitions = topic.partition_indexes.iter().copied().map(fetch).collect();
        OffsetFetchResponseTopics { name: topic.name, topic_id: topic.topic_id, partitions }
    }

    /// Every committed offset, each topic id with its own entry: a name may have offsets of two topics.
    fn fetch_all(&self, group_id: &str) -> Vec<OffsetFetchResponseTopics> {
        let mut topics: Vec<OffsetFetchResponseTopics> = Vec::new();
        for (name, partitions) in self.durable.offsets.get(group_id).into_iter().flatten() {
            for (partition, offset) in partitions {
                let told = fetched(*partition, Some(offset));
                match topics.iter_mut().find(|t| t.name == *name && t.topic_id == offset.topic_id) {
                    Some(topic) => topic.partitions.push(told),
                    None => topics.push(OffsetFetchResponseTopics {
                        name: name.clone(),
                        topic_id: offset.topic_id,
                        partitions: vec![told],
                    }),
                }
            }
        }
        topics
    }
}

/// Whether an offset was committed for this topic, as far as both ids are known.
fn is_of_topic(offset: &OffsetCommitValue, topic_id: Uuid) -> bool {
    let unknown = offset.topic_id == Uuid::ZERO || topic_id == Uuid::ZERO;
    guard!(OffsetTopicId, unknown || offset.topic_id == topic_id)
}

fn fetched(partition: PartitionIndex, offset: Option<&OffsetCommitValue>) -> OffsetFetchResponsePartitions {
    OffsetFetchResponsePartitions {
        partition_index: partition.0,
        committed_offset: offset.map_or(NO_OFFSET, |offset| offset.offset),
        committed_leader_epoch: offset.map_or(-1, |offset| offset.leader_epoch),
        metadata: Some(offset.map(|offset| offset.metadata.clone()).unwrap_or_default()),
        error_code: ErrorCode::None,
    }
}

/// An answer with one error for every partition.
pub(super) fn commit_refusal(request: &OffsetCommitRequest, error_code: ErrorCode) -> OffsetCommitResponse {
    let partition = |partition: &OffsetCommitRequestPartition| OffsetCommitResponsePartition {
        partition_index: partition.partition_index,
        error_code,
    };
    let topic = |topic: &OffsetCommitRequestTopic| OffsetCommitResponseTopic {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partitions: topic.partitions.iter().map(partition).collect(),
    };
    OffsetCommitResponse {
        topics: request.topics.iter().map(topic).collect(),
        ..OffsetCommitResponse::default()
    }
}
