//! What a follower and a leader say to each other: fetches that name only what changed, replies that carry batches.
//!
//! A follower has one session with each leader it follows (as KIP-227 for consumers). Its first fetch, sequence 0,
//! names every partition; a later one only those whose position moved, that were added or given up. At most one fetch
//! of a session waits at the leader; a newer one takes its place, and the one before is replied to with nothing. Each
//! answer names the epochs and the offset that it answers, so that a late one is known for what it is (PR-11). Batches
//! travel beside the message, one payload part for each answer that has some, exactly as the leader's log holds them.
//!
//! The bytes are postcard in the frame's version; structs and enums grow at the end only.

use super::EpochEnd;
use crate::error_code::ErrorCode;
use crate::ids::{BrokerEpoch, LeaderEpoch, Offset, TopicPartition};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The version of these messages that this build writes, and the newest that it reads.
pub const REPLICATION_VERSION: u8 = 0;

/// How many partitions one fetch may name; the rest is named by the next.
pub const FETCH_PARTITIONS_MAX: usize = 20_000;

/// Where a follower stands in one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchPosition {
    /// The epoch of the leader it follows.
    pub leader_epoch: LeaderEpoch,
    /// Its log end: what it wants to have next.
    pub offset: Offset,
    /// The end of what it vouches for: the log end, or with `highwater.acks.durable` the flushed end.
    pub safe_end: Offset,
    /// The epoch of its last batch; [`LeaderEpoch::NONE`] of an empty log.
    pub last_epoch: LeaderEpoch,
    /// Its log start.
    pub log_start: Offset,
}

/// A partition in a fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionFetch {
    /// Which.
    pub partition: TopicPartition,
    /// From where.
    pub position: FetchPosition,
}

/// A follower asks a leader for everything new.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaFetch {
    /// The follower's registration.
    pub broker_epoch: BrokerEpoch,
    /// The session; rises within a registration.
    pub session: u64,
    /// The fetch's number in its session; 0 opens it.
    pub sequence: u64,
    /// What was added, or whose position moved.
    pub changed: Vec<PartitionFetch>,
    /// What is not wanted any more.
    pub forgotten: Vec<TopicPartition>,
}

/// The leader's reply: partitions with news only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaFetchReply {
    /// The leader's registration.
    pub broker_epoch: BrokerEpoch,
    /// The fetch's session.
    pub session: u64,
    /// The fetch's number.
    pub sequence: u64,
    /// What there is, or that the session is not known.
    pub body: ReplicaFetchBody,
}

/// What a reply says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReplicaFetchBody {
    /// News, maybe none.
    Answers(Vec<PartitionAnswer>),
    /// The leader does not know the session, or not at this sequence: open another.
    UnknownSession,
}

/// What a leader says of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionAnswer {
    /// Which.
    pub partition: TopicPartition,
    /// The epoch that the fetch named.
    pub leader_epoch: LeaderEpoch,
    /// The offset that the fetch named.
    pub offset: Offset,
    /// The epoch of the last batch that the fetch named: a log that was cut and has grown to the same offset again is
    /// at another position.
    pub last_epoch: LeaderEpoch,
    /// The answer.
    pub outcome: FetchOutcome,
}

/// The answer to a partition's fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FetchOutcome {
    /// The follower's log is a prefix of the leader's; here is what follows.
    Data {
        /// The leader's high watermark.
        high_watermark: Offset,
        /// The leader's log start.
        log_start: Offset,
        /// How many bytes of batches; those of the next payload part, if not 0.
        bytes: u32,
    },
    /// The logs part ways: the largest epoch not above the follower's last, and where the leader's copy of it ends.
    Diverging(EpochEnd),
    /// The position lies outside the leader's log, whose ends were these when it was decided (PR-10).
    OutOfRange {
        /// The leader's log start.
        log_start: Offset,
        /// The leader's log end.
        log_end: Offset,
    },
    /// Refused, with Kafka's error code.
    Refused(i16),
}

impl FetchOutcome {
    /// A refusal.
    pub const fn refused(code: ErrorCode) -> Self {
        Self::Refused(code.code())
    }

    /// The payload part that belongs to the answer has so many bytes; 0 means there is none.
    pub const fn payload_bytes(&self) -> usize {
        match self {
            Self::Data { bytes, .. } => *bytes as usize,
            _ => 0,
        }
    }
}

/// Bytes that are no message of a known version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedMessage;

impl std::fmt::Display for MalformedMessage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("not a replication message of a known version")
    }
}

impl std::error::Error for MalformedMessage {}

fn decode<T: DeserializeOwned>(version: u8, bytes: &[u8]) -> Result<T, MalformedMessage> {
    if version != REPLICATION_VERSION {
        return Err(MalformedMessage);
    }
    match postcard::take_from_bytes(bytes) {
        Ok((message, [])) => Ok(message),
        _ => Err(MalformedMessage),
    }
}

impl ReplicaFetch {
    /// The message's bytes.
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_allocvec(self).expect("numbers and lists in memory always serialize")
    }

    /// Reads a message; one that names too many partitions is refused.
    pub fn decode(version: u8, bytes: &[u8]) -> Result<Self, MalformedMessage> {
        let fetch: Self = decode(version, bytes)?;
        if fetch.changed.len() > FETCH_PARTITIONS_MAX || fetch.forgotten.len() > FETCH_PARTITIONS_MAX {
            return Err(MalformedMessage);
        }
        Ok(fetch)
    }
}

impl ReplicaFetchReply {
    /// The message's bytes.
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_allocvec(self).expect("numbers and lists in memory always serialize")
    }

    /// Reads a message.
    pub fn decode(version: u8, bytes: &[u8]) -> Result<Self, MalformedMessage> {
        decode(version, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{PartitionIndex, TopicId};

    fn fetch() -> ReplicaFetch {
        let partition = TopicPartition { topic_id: TopicId([7; 16]), partition: PartitionIndex(3) };
        let position = FetchPosition {
            leader_epoch: LeaderEpoch(5),
            offset: Offset(300),
            safe_end: Offset(299),
            last_epoch: LeaderEpoch(-1),
            log_start: Offset(0),
        };
        ReplicaFetch {
            broker_epoch: BrokerEpoch(9),
            session: 2,
            sequence: 0,
            changed: vec![PartitionFetch { partition, position }],
            forgotten: vec![partition],
        }
    }

    fn replies() -> Vec<ReplicaFetchReply> {
        let partition = TopicPartition { topic_id: TopicId([7; 16]), partition: PartitionIndex(3) };
        let outcomes = [
            FetchOutcome::Data { high_watermark: Offset(4), log_start: Offset(1), bytes: 200 },
            FetchOutcome::Diverging(EpochEnd { epoch: LeaderEpoch(2), end: Offset(70) }),
            FetchOutcome::OutOfRange { log_start: Offset(5), log_end: Offset(6) },
            FetchOutcome::refused(ErrorCode::FencedLeaderEpoch),
        ];
        let answers = outcomes.map(|outcome| PartitionAnswer {
            partition,
            leader_epoch: LeaderEpoch(5),
            offset: Offset(300),
            last_epoch: LeaderEpoch(4),
            outcome,
        });
        let bodies = [ReplicaFetchBody::Answers(answers.into()), ReplicaFetchBody::UnknownSession];
        bodies
            .map(|body| ReplicaFetchReply { broker_epoch: BrokerEpoch(9), session: 2, sequence: 1, body })
            .into()
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    /// Bytes that released versions send. Lines are added here, never changed.
    #[test]
    fn released_bytes_stay_readable() {
        let topic = "07".repeat(16);
        assert_eq!(hex(&fetch().encode()), format!("12020001{topic}060ad804d604010001{topic}06"));
        let at = format!("{topic}060ad80408");
        let answers = format!("120201000 4{at}000802c801{at}0104 8c01{at}020a0c{at}039401").replace(' ', "");
        let golden = [answers, "12020101".to_owned()];
        for (reply, golden) in replies().iter().zip(golden) {
            assert_eq!(hex(&reply.encode()), golden);
            assert_eq!(ReplicaFetchReply::decode(0, &reply.encode()).as_ref(), Ok(reply));
        }
        assert_eq!(ReplicaFetch::decode(0, &fetch().encode()), Ok(fetch()));
    }

    #[test]
    fn cut_overlong_and_newer_messages_are_refused() {
        let bytes = fetch().encode();
        assert_eq!(ReplicaFetch::decode(1, &bytes), Err(MalformedMessage));
        for len in 0..bytes.len() {
            assert_eq!(ReplicaFetch::decode(0, &bytes[..len]), Err(MalformedMessage));
        }
        let long = [&bytes[..], &[0]].concat();
        assert_eq!(ReplicaFetch::decode(0, &long), Err(MalformedMessage));
        let many =
            ReplicaFetch { forgotten: vec![fetch().forgotten[0]; FETCH_PARTITIONS_MAX + 1], ..fetch() };
        assert_eq!(ReplicaFetch::decode(0, &many.encode()), Err(MalformedMessage));
    }
}
