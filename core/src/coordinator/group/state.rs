//! The durable state: what the log says about groups and their offsets, and nothing else.

use std::collections::BTreeMap;

use highwater_protocol::messages::{GroupMetadataValue, OffsetCommitValue};

use super::records::{GroupRecord, parse};
use crate::coordinator::{Record, ReplayError};
use crate::ids::PartitionIndex;

/// The committed offsets of one group, by topic and partition.
pub type TopicOffsets = BTreeMap<String, BTreeMap<PartitionIndex, OffsetCommitValue>>;

/// What replaying a partition of `__consumer_offsets` gives.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GroupDurable {
    /// The last complete generation of each group.
    pub groups: BTreeMap<String, GroupMetadataValue>,
    /// The committed offsets of each group that has some, whether or not it has members ("simple" groups).
    pub offsets: BTreeMap<String, TopicOffsets>,
}

impl GroupDurable {
    /// Applies one record; later ones win, whatever came before.
    pub(super) fn replay(&mut self, record: &Record) -> Result<(), ReplayError> {
        match parse(record)? {
            GroupRecord::Group { group_id, metadata: Some(metadata) } => {
                self.groups.insert(group_id, metadata);
            }
            GroupRecord::Group { group_id, metadata: None } => {
                self.groups.remove(&group_id);
            }
            GroupRecord::Offset { group_id, topic, partition, offset: Some(offset) } => {
                self.offsets.entry(group_id).or_default().entry(topic).or_default().insert(partition, offset);
            }
            GroupRecord::Offset { group_id, topic, partition, offset: None } => {
                self.remove_offset(&group_id, &topic, partition);
            }
        }
        Ok(())
    }

    /// Leaves no empty maps behind, so that equal contents are equal states.
    fn remove_offset(&mut self, group_id: &str, topic: &str, partition: PartitionIndex) {
        let Some(topics) = self.offsets.get_mut(group_id) else { return };
        let Some(partitions) = topics.get_mut(topic) else { return };
        partitions.remove(&partition);
        if partitions.is_empty() {
            topics.remove(topic);
        }
        if topics.is_empty() {
            self.offsets.remove(group_id);
        }
    }

    /// A group's committed offset for a partition.
    pub fn offset(
        &self,
        group_id: &str,
        topic: &str,
        partition: PartitionIndex,
    ) -> Option<&OffsetCommitValue> {
        self.offsets.get(group_id)?.get(topic)?.get(&partition)
    }

    /// Whether the log knows the group at all.
    pub fn knows(&self, group_id: &str) -> bool {
        self.groups.contains_key(group_id) || self.offsets.contains_key(group_id)
    }
}

#[cfg(test)]
mod tests {
    use super::super::records::{group_tombstone, offset_record, offset_tombstone};
    use super::*;

    #[test]
    fn what_compaction_leaves_is_accepted() {
        let mut durable = GroupDurable::default();
        durable.replay(&group_tombstone("never seen")).unwrap();
        durable.replay(&offset_tombstone("never seen", "t", PartitionIndex(0))).unwrap();
        let offset = OffsetCommitValue { offset: 1, ..OffsetCommitValue::default() };
        durable.replay(&offset_record("g", "t", PartitionIndex(0), &offset)).unwrap();
        assert!(durable.knows("g"));
        durable.replay(&offset_tombstone("g", "t", PartitionIndex(0))).unwrap();
        assert_eq!(durable, GroupDurable::default());
    }
}
