//! How committed offsets go: by request, by age, with their topic, with their group.

use highwater_protocol::messages::{
    OffsetCommitValue, OffsetDeleteRequest, OffsetDeleteRequestTopic, OffsetDeleteResponse,
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use highwater_protocol::{ErrorCode, Uuid};

use super::super::classic::{ClassicGroup, ClassicGroupState};
use super::super::{DeletedTopic, GroupEvent, GroupReply, GroupTimer, Groups, Turn, records};
use crate::guard;
use crate::ids::{PartitionIndex, Token};
use crate::time::Timestamp;

/// From when an offset's age counts.
#[derive(Clone, Copy)]
enum AgeFrom {
    Commit,
    /// The time the group became empty; the commit's if that is not known.
    Emptied(Timestamp),
}

impl Turn<'_> {
    /// Plans an OffsetDelete (KIP-496).
    pub(in super::super) fn delete_offsets(
        &mut self,
        groups: &Groups,
        token: Token,
        request: &OffsetDeleteRequest,
    ) {
        let answer = match deletable(groups, &request.group_id) {
            Ok(group) => {
                let topics =
                    request.topics.iter().map(|topic| self.delete_topic_offsets(group, topic)).collect();
                OffsetDeleteResponse { topics, ..OffsetDeleteResponse::default() }
            }
            Err(error_code) => OffsetDeleteResponse { error_code, ..OffsetDeleteResponse::default() },
        };
        self.plan.reply_committed(token, GroupReply::OffsetDelete(answer));
    }

    fn delete_topic_offsets(
        &mut self,
        group: &ClassicGroup,
        topic: &OffsetDeleteRequestTopic,
    ) -> OffsetDeleteResponseTopic {
        let subscribed = group.is_subscribed_to(&topic.name);
        let error_code = if subscribed { ErrorCode::GroupSubscribedToTopic } else { ErrorCode::None };
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for partition in &topic.partitions {
            let partition = PartitionIndex(partition.partition_index);
            if !subscribed && self.durable.offset(&group.group_id, &topic.name, partition).is_some() {
                self.plan.append(records::offset_tombstone(&group.group_id, &topic.name, partition));
            }
            partitions.push(OffsetDeleteResponsePartition { partition_index: partition.0, error_code });
        }
        OffsetDeleteResponseTopic { name: topic.name.clone(), partitions }
    }

    /// Plans the removal of the offsets of topics that were deleted (OF-06). Those of a topic that was created
    /// again under the same name stay.
    pub(in super::super) fn delete_offsets_of_topics(&mut self, token: Token, topics: &[DeletedTopic]) {
        for (group_id, offsets) in &self.durable.offsets {
            for topic in topics {
                for (partition, offset) in offsets.get(&topic.name).into_iter().flatten() {
                    if offset.topic_id == Uuid::ZERO || offset.topic_id == topic.topic_id {
                        self.plan.append(records::offset_tombstone(group_id, &topic.name, *partition));
                    }
                }
            }
        }
        self.plan.reply_committed(token, GroupReply::TopicsDeleted);
    }

    /// Takes all offsets of a group that is being deleted.
    pub(in super::super) fn delete_all_offsets(&mut self, group_id: &str) {
        for (topic, partitions) in self.durable.offsets.get(group_id).into_iter().flatten() {
            for partition in partitions.keys() {
                self.plan.append(records::offset_tombstone(group_id, topic, *partition));
            }
        }
    }

    /// Expires offsets that are too old, and groups that have nothing left. Runs again after the interval.
    pub(in super::super) fn expire_offsets(&mut self, groups: &mut Groups) {
        self.arm_expiry();
        let mut emptied = Vec::new();
        for group in groups.values() {
            if self.expire_group_offsets(group) && group.is_unused() {
                emptied.push(group.group_id.clone());
            }
        }
        for group_id in emptied {
            if self.durable.groups.contains_key(&group_id) {
                self.plan.append(records::group_tombstone(&group_id));
            }
            groups.remove(&group_id);
            self.plan.event(GroupEvent::Expired { group_id });
        }
    }

    pub(in super::super) fn arm_expiry(&mut self) {
        let at = self.now.mono + self.config.offsets_retention_check_interval;
        self.plan.arm(GroupTimer::OffsetExpiry, at);
    }

    /// Whether nothing of the group's offsets is left.
    fn expire_group_offsets(&mut self, group: &ClassicGroup) -> bool {
        let Some(topics) = self.durable.offsets.get(&group.group_id) else { return true };
        let Some(age_from) = age_from(group) else { return false };
        let mut all_expired = true;
        for (topic, partitions) in topics {
            let subscribed = group.is_subscribed_to(topic);
            for (partition, offset) in partitions {
                if !subscribed && self.is_expired(offset, age_from) {
                    self.plan.append(records::offset_tombstone(&group.group_id, topic, *partition));
                } else {
                    all_expired = false;
                }
            }
        }
        all_expired
    }

    fn is_expired(&self, offset: &OffsetCommitValue, age_from: AgeFrom) -> bool {
        let now = self.now.wall;
        if offset.expire_timestamp != Timestamp::NONE.0 {
            return now.0 >= offset.expire_timestamp;
        }
        let from = match age_from {
            AgeFrom::Emptied(at) if at != Timestamp::NONE => at,
            _ => Timestamp(offset.commit_timestamp),
        };
        let retention_ms = i64::try_from(self.config.offsets_retention.as_millis()).unwrap_or(i64::MAX);
        now.ms_since(from) >= retention_ms
    }
}

fn deletable<'a>(groups: &'a Groups, group_id: &str) -> Result<&'a ClassicGroup, ErrorCode> {
    let group = groups.get(group_id).ok_or(ErrorCode::GroupIdNotFound)?;
    // only of consumers is it known which topics they still read
    if !group.is_empty() && !group.uses_consumer_protocol() {
        return Err(ErrorCode::NonEmptyGroup);
    }
    Ok(group)
}

/// When a group's offsets begin to age; `None` while nobody can say which are in use (KIP-211). A group that
/// rebalances has no subscription for the moment, and must not lose its offsets for that (OF-05).
fn age_from(group: &ClassicGroup) -> Option<AgeFrom> {
    if group.protocol_type.is_none() {
        return Some(AgeFrom::Commit);
    }
    if group.is_empty() {
        return Some(AgeFrom::Emptied(group.state_timestamp));
    }
    let readable = group.uses_consumer_protocol() && group.knows_subscription();
    guard!(OffsetExpiryStable, readable && group.state == ClassicGroupState::Stable)
        .then_some(AgeFrom::Commit)
}
