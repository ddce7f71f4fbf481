//! What a consumer decides: who of a group reads what (the range assignor), and which of the fetched records are new.
//!
//! No connection and no clock. The group's protocol is [`highwater_protocol::messages`]' classic one.

use crate::batch::{self, BatchError, BatchHeader, Record};
use crate::ids::{LeaderEpoch, Offset, PartitionIndex};
use bytes::{Buf, Bytes};
use std::collections::BTreeMap;

/// Partitions by topic.
pub type Assignment = BTreeMap<String, Vec<PartitionIndex>>;

/// A member as the assignor sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscriber {
    /// Its member id.
    pub member_id: String,
    /// Its static id (KIP-345): static members sort by it, and before the others, so that restarts move nothing.
    pub instance_id: Option<String>,
    /// What it wants to read.
    pub topics: Vec<String>,
}

/// Kafka's `range` assignor: each topic's partitions in one run per member, the first members getting one more where
/// they do not divide. `partitions` tells how many each topic has; topics it does not name are left out.
pub fn assign_ranges(
    subscribers: &[Subscriber],
    partitions: &BTreeMap<String, i32>,
) -> BTreeMap<String, Assignment> {
    let mut assignments: BTreeMap<String, Assignment> =
        subscribers.iter().map(|member| (member.member_id.clone(), Assignment::new())).collect();
    for (topic, &count) in partitions {
        let mut members: Vec<&Subscriber> =
            subscribers.iter().filter(|member| member.topics.contains(topic)).collect();
        members.sort_by_key(|member| (member.instance_id.is_none(), &member.instance_id, &member.member_id));
        let Some(each) = usize::try_from(count).ok().and_then(|count| count.checked_div(members.len()))
        else {
            continue;
        };
        let extra = count as usize % members.len();
        let mut next = 0..count;
        for (index, member) in members.iter().enumerate() {
            let run: Vec<_> =
                next.by_ref().take(each + usize::from(index < extra)).map(PartitionIndex).collect();
            if !run.is_empty() {
                let assignment = assignments.get_mut(&member.member_id).expect("made for every member above");
                assignment.insert(topic.clone(), run);
            }
        }
    }
    assignments
}

/// Where a consumer is in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The next offset to read.
    pub offset: Offset,
    /// The epoch of the last batch read, so that the leader can tell whether it was truncated (KIP-320).
    pub leader_epoch: LeaderEpoch,
}

/// What a fetch brought of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The records at the position and beyond, without control records.
    pub records: Vec<Record>,
    /// The position behind them. Beyond the last record where the log has none to show (control batches, compaction).
    pub position: Position,
}

/// Reads the batches of a fetch answer from `position` on.
///
/// A leader gives whole batches, so that those of the first one may lie before the position; the last one may be cut
/// off by the size limit and is left for the next fetch. A batch whose sum is wrong is an error and nothing of it is
/// told (the records before it are lost for this call; they come again with the next fetch).
pub fn read(mut data: Bytes, position: Position) -> Result<Fetched, BatchError> {
    let mut fetched = Fetched { records: Vec::new(), position };
    while let Ok(header) = BatchHeader::parse(&data) {
        let size = header.size_bytes();
        if size > data.len() {
            break;
        }
        let last = header.base_offset.plus(i64::from(header.last_offset_delta));
        if last >= fetched.position.offset {
            if !batch::crc_holds(&data[..size]) {
                return Err(BatchError::Crc { stated: header.crc });
            }
            if !header.attributes.is_control() {
                for record in batch::records(&data.slice(..size))? {
                    let record = record?;
                    if record.offset >= fetched.position.offset {
                        fetched.records.push(record);
                    }
                }
            }
            fetched.position = Position { offset: last.plus(1), leader_epoch: header.leader_epoch };
        }
        data.advance(size);
    }
    Ok(fetched)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Builder;
    use crate::batch::Codec;
    use crate::ids::{ProducerEpoch, ProducerId, Sequence};
    use crate::time::Timestamp;

    fn member(id: &str, instance: Option<&str>, topics: &[&str]) -> Subscriber {
        Subscriber {
            member_id: id.into(),
            instance_id: instance.map(Into::into),
            topics: topics.iter().map(|topic| (*topic).into()).collect(),
        }
    }

    fn shown(assignments: BTreeMap<String, Assignment>) -> String {
        let of_member = |(member, assignment): (String, Assignment)| {
            let topics = assignment.into_iter().map(|(topic, partitions)| {
                format!(" {topic}{:?}", partitions.iter().map(|partition| partition.0).collect::<Vec<_>>())
            });
            member + ":" + &topics.collect::<String>()
        };
        assignments.into_iter().map(of_member).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn ranges() {
        let check = |members: &[Subscriber], topics: &[(&str, i32)], expected: &str| {
            let counts = topics.iter().map(|(topic, count)| ((*topic).into(), *count)).collect();
            assert_eq!(shown(assign_ranges(members, &counts)), expected);
        };
        let pair = [member("b", None, &["t", "u"]), member("a", None, &["t"])];
        check(&pair, &[("t", 3), ("u", 2)], "a: t[0, 1]; b: t[2] u[0, 1]");
        check(&pair, &[("t", 1)], "a: t[0]; b:");
        check(&pair, &[("other", 4)], "a:; b:");
        check(&[], &[("t", 3)], "");
        let fixed =
            [member("a", None, &["t"]), member("z", Some("1"), &["t"]), member("y", Some("2"), &["t"])];
        check(&fixed, &[("t", 5)], "a: t[4]; y: t[2, 3]; z: t[0, 1]");
    }

    fn batch(base: i64, values: &[&'static str], codec: Codec, control: bool) -> Vec<u8> {
        let mut builder = Builder::new(codec);
        if control {
            builder =
                builder.control().transactional().idempotent(ProducerId(1), ProducerEpoch(0), Sequence(-1));
        }
        for value in values {
            builder.push(Timestamp(1), None, Some(value.as_bytes()), &[]);
        }
        let mut bytes = builder.build().bytes().to_vec();
        // What the log does: base offset and epoch lie outside of the sum.
        bytes[..8].copy_from_slice(&base.to_be_bytes());
        bytes[12..16].copy_from_slice(&9_i32.to_be_bytes());
        bytes
    }

    fn from(offset: i64) -> Position {
        Position { offset: Offset(offset), leader_epoch: LeaderEpoch::NONE }
    }

    fn values(fetched: &Fetched) -> Vec<(i64, String)> {
        let value = |record: &Record| String::from_utf8(record.value.clone().unwrap().to_vec()).unwrap();
        fetched.records.iter().map(|record| (record.offset.0, value(record))).collect()
    }

    #[test]
    fn a_fetch_begins_at_the_position_and_ends_at_the_last_whole_batch() {
        let mut data = batch(10, &["a", "b", "c"], Codec::None, false);
        data.extend(batch(13, &["marker"], Codec::None, true));
        data.extend(batch(14, &["d", "e"], Codec::Lz4, false));
        let whole = data.len();
        data.extend(batch(16, &["cut"], Codec::None, false));
        data.truncate(data.len() - 1);
        let fetched = read(data.clone().into(), from(11)).unwrap();
        let expected =
            [(11, "b"), (12, "c"), (14, "d"), (15, "e")].map(|(at, value)| (at, value.to_string()));
        assert_eq!(values(&fetched), expected);
        assert_eq!(fetched.position, Position { offset: Offset(16), leader_epoch: LeaderEpoch(9) });
        let marker_last = batch(13, &["marker"], Codec::None, true);
        let fetched = read(marker_last.into(), from(13)).unwrap();
        assert_eq!(
            (fetched.records.len(), fetched.position.offset),
            (0, Offset(14)),
            "markers are passed over"
        );
        assert_eq!(read(Bytes::new(), from(5)).unwrap().position, from(5));
        data[whole - 1] ^= 1;
        assert!(matches!(read(data.into(), from(11)), Err(BatchError::Crc { .. })));
    }
}
