//! The records of `__consumer_offsets` in Kafka's own formats, so that Kafka's tools read our log and we theirs.
//!
//! A key begins with its record type: 0 and 1 an offset commit, 2 a classic group's metadata; others belong to
//! the newer group protocols and are skipped. We write what Kafka 4.3 writes (offsets in version 4, or 1 if
//! they carry their own expiry; groups in version 3) and read every version.

use bytes::Bytes;
use highwater_protocol::Message;
use highwater_protocol::messages::{
    GroupMetadataKey, GroupMetadataValue, OffsetCommitKey, OffsetCommitValue,
};

use crate::coordinator::{Record, ReplayError};
use crate::ids::PartitionIndex;
use crate::time::Timestamp;

/// The longest string of a non-flexible record; longer names are refused at the door.
pub(super) const STRING_BYTES_MAX: usize = i16::MAX as usize;

const OFFSET_KEY: i16 = 1;
const GROUP_KEY: i16 = 2;
const OFFSET_VALUE_WITH_EXPIRY: i16 = 1;
const OFFSET_VALUE: i16 = 4;
const GROUP_VALUE: i16 = 3;

/// A record of the log, understood.
#[derive(Debug)]
pub(super) enum GroupRecord {
    /// A group's last complete generation, or its deletion.
    Group { group_id: String, metadata: Option<GroupMetadataValue> },
    /// A committed offset, or its deletion.
    Offset { group_id: String, topic: String, partition: PartitionIndex, offset: Option<OffsetCommitValue> },
}

/// Understands a record of the log.
pub(super) fn parse(record: &Record) -> Result<GroupRecord, ReplayError> {
    let kind = record.key.first_chunk().map(|bytes| i16::from_be_bytes(*bytes));
    match kind.ok_or(ReplayError::Malformed("a key without a type"))? {
        0..=OFFSET_KEY => {
            let key: OffsetCommitKey = value(&record.key)?;
            Ok(GroupRecord::Offset {
                group_id: key.group,
                topic: key.topic,
                partition: PartitionIndex(key.partition),
                offset: record.value.as_ref().map(value).transpose()?,
            })
        }
        GROUP_KEY => {
            let key: GroupMetadataKey = value(&record.key)?;
            let metadata = record.value.as_ref().map(value).transpose()?;
            Ok(GroupRecord::Group { group_id: key.group, metadata })
        }
        other => Err(ReplayError::UnknownType(other)),
    }
}

fn value<M: Message>(bytes: &Bytes) -> Result<M, ReplayError> {
    match M::from_versioned_bytes(bytes) {
        Ok((message, _)) => Ok(message),
        Err(_) => Err(ReplayError::Malformed("bytes that are not what their type and version say")),
    }
}

/// The record that sets a group's metadata.
pub(super) fn group_record(group_id: &str, metadata: &GroupMetadataValue) -> Record {
    Record { key: group_key(group_id), value: Some(bytes(metadata, GROUP_VALUE)) }
}

/// The record that deletes a group.
pub(super) fn group_tombstone(group_id: &str) -> Record {
    Record { key: group_key(group_id), value: None }
}

/// The record that sets a committed offset.
pub(super) fn offset_record(
    group_id: &str,
    topic: &str,
    partition: PartitionIndex,
    offset: &OffsetCommitValue,
) -> Record {
    let carries_expiry = offset.expire_timestamp != Timestamp::NONE.0;
    let version = if carries_expiry { OFFSET_VALUE_WITH_EXPIRY } else { OFFSET_VALUE };
    Record { key: offset_key(group_id, topic, partition), value: Some(bytes(offset, version)) }
}

/// The record that deletes a committed offset.
pub(super) fn offset_tombstone(group_id: &str, topic: &str, partition: PartitionIndex) -> Record {
    Record { key: offset_key(group_id, topic, partition), value: None }
}

fn group_key(group_id: &str) -> Bytes {
    bytes(&GroupMetadataKey { group: group_id.to_owned() }, GROUP_KEY)
}

fn offset_key(group_id: &str, topic: &str, partition: PartitionIndex) -> Bytes {
    let key = OffsetCommitKey { group: group_id.to_owned(), topic: topic.to_owned(), partition: partition.0 };
    bytes(&key, OFFSET_KEY)
}

fn bytes(message: &impl Message, version: i16) -> Bytes {
    message.to_versioned_bytes(version).expect("requests with strings too long for a record are refused")
}

#[cfg(test)]
mod tests {
    use super::*;
    use highwater_protocol::Uuid;
    use highwater_protocol::messages::MemberMetadata;

    fn hex(bytes: &Bytes) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn offset() -> OffsetCommitValue {
        OffsetCommitValue {
            offset: 7,
            leader_epoch: 3,
            metadata: "note".to_owned(),
            commit_timestamp: 0x11,
            expire_timestamp: -1,
            topic_id: Uuid([9; 16]),
        }
    }

    #[test]
    fn an_offset_is_written_as_kafka_writes_it() {
        let record = offset_record("g", "t", PartitionIndex(2), &offset());
        assert_eq!(hex(&record.key), "00010001670001740000000".to_owned() + "2");
        assert_eq!(
            hex(&record.value.unwrap()),
            concat!(
                "0004",
                "0000000000000007",
                "00000003",
                "056e6f7465",
                "0000000000000011",
                "01",
                "00",
                "10",
                "09090909090909090909090909090909"
            )
        );
    }

    #[test]
    fn an_offset_with_its_own_expiry_keeps_to_version_1() {
        let record = offset_record(
            "g",
            "t",
            PartitionIndex(2),
            &OffsetCommitValue { expire_timestamp: 0x22, ..offset() },
        );
        assert_eq!(
            hex(&record.value.unwrap()),
            concat!("0001", "0000000000000007", "00046e6f7465", "0000000000000011", "0000000000000022")
        );
    }

    #[test]
    fn a_group_is_written_as_kafka_writes_it() {
        let metadata = GroupMetadataValue {
            protocol_type: "consumer".to_owned(),
            generation: 5,
            protocol: Some("range".to_owned()),
            leader: None,
            current_state_timestamp: 0x33,
            members: vec![MemberMetadata {
                member_id: "m".to_owned(),
                group_instance_id: None,
                client_id: "c".to_owned(),
                client_host: "/h".to_owned(),
                rebalance_timeout: 1,
                session_timeout: 2,
                subscription: Bytes::from_static(b"s"),
                assignment: Bytes::new(),
            }],
        };
        let record = group_record("g", &metadata);
        assert_eq!(hex(&record.key), "0002000167");
        assert_eq!(
            hex(record.value.as_ref().unwrap()),
            concat!(
                "0003",
                "0008636f6e73756d6572",
                "00000005",
                "000572616e6765",
                "ffff",
                "0000000000000033",
                "00000001",
                "00016d",
                "ffff",
                "000163",
                "00022f68",
                "00000001",
                "00000002",
                "0000000173",
                "00000000"
            )
        );
        match parse(&record).unwrap() {
            GroupRecord::Group { group_id, metadata: Some(parsed) } => {
                assert_eq!((group_id.as_str(), parsed), ("g", metadata));
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn other_types_are_told_apart_from_damage() {
        let record = |key: &'static [u8], value: Option<&'static [u8]>| Record {
            key: Bytes::from_static(key),
            value: value.map(Bytes::from_static),
        };
        assert_eq!(parse(&record(b"\0\x03\0\x01g", None)).unwrap_err(), ReplayError::UnknownType(3));
        assert!(matches!(parse(&record(b"\0", None)), Err(ReplayError::Malformed(_))));
        assert!(matches!(parse(&record(b"\0\x02\0\x09g", None)), Err(ReplayError::Malformed(_))));
        assert!(matches!(
            parse(&record(b"\0\x02\0\x01g", Some(b"\0\x03\0"))),
            Err(ReplayError::Malformed(_))
        ));
        assert!(matches!(parse(&record(b"\0\x02\0\x01g", Some(b"\0\x63"))), Err(ReplayError::Malformed(_))));
    }
}
