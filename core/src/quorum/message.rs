//! What the replicas of the metadata log say to one another. All one-way; answers name what they answer.
//!
//! The sender (node, incarnation, directory) and the cluster are known from the connection's hello. A message is
//! its enum in postcard; batches and pieces of snapshots travel beside it as the frame's payload. Variants and fields
//! are only added at the end: the tests keep the bytes of each kind.

use super::voters::ReplicaKey;
use crate::ids::{BrokerId, DirectoryId, LeaderEpoch, Offset};
use serde::{Deserialize, Serialize};

/// The frame-format version of what [`Message::encode`] writes.
pub const MESSAGE_VERSION: u8 = 0;

/// A snapshot: the replay of everything below `end`, whose last record is of `epoch`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SnapshotId {
    /// Exclusive.
    pub end: Offset,
    /// Of the last record below `end`.
    pub epoch: LeaderEpoch,
}

/// One message between replicas of the metadata log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// A prospective or candidate asks for a vote (KIP-595, KIP-996).
    Vote(VoteRequest),
    /// The answer.
    VoteReply(VoteReply),
    /// A new leader announces itself to a voter.
    BeginEpoch(BeginEpoch),
    /// A leader that stops hands over.
    EndEpoch(EndEpoch),
    /// A follower or observer asks for what comes next; its offset acknowledges all below.
    Fetch(FetchRequest),
    /// The answer; batches are in the payload.
    FetchReply(FetchReply),
    /// A follower that is behind the log's beginning asks for a piece of a snapshot (KIP-630).
    SnapshotFetch(SnapshotFetch),
    /// The answer; the piece is in the payload.
    SnapshotChunk(SnapshotChunk),
}

/// See [`Message::Vote`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoteRequest {
    /// The epoch asked for; of a pre-vote the one the asker is in.
    pub epoch: LeaderEpoch,
    /// Whether nothing is promised by the answer (KIP-996).
    pub is_pre_vote: bool,
    /// Which disk is meant; the one of a replaced node must not answer for it.
    pub to: DirectoryId,
    /// The end of the asker's log.
    pub end: Offset,
    /// The epoch of its last record.
    pub last_epoch: LeaderEpoch,
}

/// See [`Message::VoteReply`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoteReply {
    /// The epoch of the one who answers.
    pub epoch: LeaderEpoch,
    /// The leader it knows in that epoch.
    pub leader: Option<ReplicaKey>,
    /// Which request is answered.
    pub asked_epoch: LeaderEpoch,
    /// As asked.
    pub is_pre_vote: bool,
    /// Whether the vote is given.
    pub is_granted: bool,
}

/// See [`Message::BeginEpoch`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BeginEpoch {
    /// In which the sender leads.
    pub epoch: LeaderEpoch,
    /// Which disk is meant.
    pub to: DirectoryId,
}

/// See [`Message::EndEpoch`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndEpoch {
    /// In which the sender led.
    pub epoch: LeaderEpoch,
    /// Who should lead next, the best first.
    pub successors: Vec<BrokerId>,
}

/// See [`Message::Fetch`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchRequest {
    /// The sender's epoch.
    pub epoch: LeaderEpoch,
    /// Named by the answer.
    pub correlation: u64,
    /// The sender's log end; everything below is flushed.
    pub offset: Offset,
    /// The epoch of its last record.
    pub last_epoch: LeaderEpoch,
    /// As far as the sender knows; a newer one is worth an answer.
    pub high_watermark: Offset,
}

/// See [`Message::FetchReply`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchReply {
    /// The epoch of the one who answers.
    pub epoch: LeaderEpoch,
    /// The leader it knows in that epoch.
    pub leader: Option<ReplicaKey>,
    /// Which request is answered.
    pub correlation: u64,
    /// What became of it.
    pub outcome: FetchOutcome,
}

/// What a fetch came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FetchOutcome {
    /// The batches in the payload, maybe none, follow the offset asked for.
    Records {
        /// The leader's.
        high_watermark: Offset,
    },
    /// The logs differ before the offset asked for.
    Diverging {
        /// The largest epoch of the leader's log that is not above the one asked for.
        epoch: LeaderEpoch,
        /// Where that ends in the leader's log.
        end: Offset,
    },
    /// The offset asked for lies before the leader's log: fetch this first.
    Snapshot {
        /// The newest one.
        id: SnapshotId,
    },
    /// The one asked does not lead, or the epochs differ.
    NotLeader,
}

/// See [`Message::SnapshotFetch`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotFetch {
    /// The sender's epoch.
    pub epoch: LeaderEpoch,
    /// Named by the answer.
    pub correlation: u64,
    /// Which snapshot.
    pub id: SnapshotId,
    /// From which byte on.
    pub position: u64,
}

/// See [`Message::SnapshotChunk`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotChunk {
    /// The epoch of the one who answers.
    pub epoch: LeaderEpoch,
    /// Which request is answered.
    pub correlation: u64,
    /// Which snapshot.
    pub id: SnapshotId,
    /// Where the piece in the payload begins.
    pub position: u64,
    /// The whole file's size; `None` if the sender does not have it any more.
    pub size: Option<u64>,
}

impl Message {
    /// The bytes that travel.
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_allocvec(self).expect("messages have nothing that postcard cannot write")
    }

    /// The message of these bytes; `None` if they are none.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        match postcard::take_from_bytes(bytes) {
            Ok((message, [])) => Some(message),
            _ => None,
        }
    }

    /// The sender's epoch.
    pub const fn epoch(&self) -> LeaderEpoch {
        match self {
            Self::Vote(m) => m.epoch,
            Self::VoteReply(m) => m.epoch,
            Self::BeginEpoch(m) => m.epoch,
            Self::EndEpoch(m) => m.epoch,
            Self::Fetch(m) => m.epoch,
            Self::FetchReply(m) => m.epoch,
            Self::SnapshotFetch(m) => m.epoch,
            Self::SnapshotChunk(m) => m.epoch,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Vec<Message> {
        let (epoch, to) = (LeaderEpoch(3), DirectoryId([7; 16]));
        let leader = Some(ReplicaKey { id: BrokerId(2), directory_id: to });
        let id = SnapshotId { end: Offset(9), epoch: LeaderEpoch(2) };
        let reply =
            |outcome| Message::FetchReply(FetchReply { epoch, leader: None, correlation: 5, outcome });
        vec![
            Message::Vote(VoteRequest {
                epoch,
                is_pre_vote: true,
                to,
                end: Offset(10),
                last_epoch: LeaderEpoch(2),
            }),
            Message::VoteReply(VoteReply {
                epoch,
                leader,
                asked_epoch: LeaderEpoch(4),
                is_pre_vote: false,
                is_granted: true,
            }),
            Message::BeginEpoch(BeginEpoch { epoch, to }),
            Message::EndEpoch(EndEpoch { epoch, successors: vec![BrokerId(1), BrokerId(3)] }),
            Message::Fetch(FetchRequest {
                epoch,
                correlation: 300,
                offset: Offset(10),
                last_epoch: LeaderEpoch(2),
                high_watermark: Offset(8),
            }),
            reply(FetchOutcome::Records { high_watermark: Offset(8) }),
            reply(FetchOutcome::Diverging { epoch: LeaderEpoch(1), end: Offset(4) }),
            reply(FetchOutcome::Snapshot { id }),
            reply(FetchOutcome::NotLeader),
            Message::SnapshotFetch(SnapshotFetch { epoch, correlation: 5, id, position: 128 }),
            Message::SnapshotChunk(SnapshotChunk {
                epoch,
                correlation: 5,
                id,
                position: 128,
                size: Some(256),
            }),
        ]
    }

    /// Bytes that other releases send. Lines are added here, never changed.
    const GOLDEN: &[&str] = &[
        "000601{7}1404",
        "01060104{7}080001",
        "0206{7}",
        "0306020206",
        "0406ac02140410",
        "050600050010",
        "050600 05010208",
        "05060005021204",
        "0506000503",
        "06060512048001",
        "070605120480010180 02",
    ];

    #[test]
    fn bytes_of_released_versions_are_read_and_written() {
        let samples = samples();
        let hex = |m: &Message| m.encode().iter().map(|b| format!("{b:02x}")).collect::<String>();
        assert_eq!(samples.len(), GOLDEN.len());
        for (message, golden) in samples.iter().zip(GOLDEN) {
            assert_eq!(hex(message), golden.replace("{7}", &"07".repeat(16)).replace(' ', ""), "{message:?}");
            assert_eq!(Message::decode(&message.encode()).as_ref(), Some(message));
        }
    }

    #[test]
    fn what_is_no_message_is_refused() {
        assert_eq!(Message::decode(&[]), None);
        assert_eq!(Message::decode(&[99]), None);
        for message in samples() {
            let mut bytes = message.encode();
            bytes.push(0);
            assert_eq!(Message::decode(&bytes), None, "{message:?}");
            assert_eq!(Message::decode(&bytes[..bytes.len() - 2]), None, "{message:?}");
        }
    }
}
