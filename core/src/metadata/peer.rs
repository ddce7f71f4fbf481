//! What a broker and the active controller say to each other: registration, heartbeats, ISR changes, producer ids.
//!
//! Each request carries the incarnation of the process that sends it and a number of its own, and its reply carries
//! both back, so that a reply to an older life or to a request given up is noticed (CQ-10). Who sends is not in the
//! message: the transport knows. A reply tells committed state only (design rule 7).
//!
//! The bytes are postcard behind the version of the frame they travel in. Enums and structs grow at the end only, a
//! changed shape takes a new version, and the tests keep the bytes of each.

use super::records::{Endpoint, FeatureRange};
use crate::ids::{BrokerEpoch, BrokerId, LeaderEpoch, Offset, PartitionEpoch, ProducerId, TopicPartition};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The version of these messages that this release writes, and the newest that it reads.
pub const BROKER_MESSAGE_VERSION: u8 = 0;

/// The most items in one message; more is refused before anything is done with them.
pub const BROKER_MESSAGE_ITEMS_MAX: usize = 10_000;

/// A request of a broker to the active controller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokerRequest {
    /// The process that asks (KIP-380).
    pub incarnation: [u8; 16],
    /// The request's number within that process.
    pub correlation: u64,
    /// What it asks for.
    pub body: BrokerRequestBody,
}

/// What a broker asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BrokerRequestBody {
    /// To be registered, or told the epoch under which it is.
    Register(RegisterBroker),
    /// To be counted among the living.
    Heartbeat(BrokerHeartbeat),
    /// To have the ISR of partitions changed that it leads (KIP-497).
    AlterPartitions {
        /// Its own registration.
        broker_epoch: BrokerEpoch,
        /// The changes, each decided by itself.
        items: Vec<AlterPartition>,
    },
    /// A block of producer ids (KIP-730).
    AllocateProducerIds {
        /// Its own registration.
        broker_epoch: BrokerEpoch,
    },
    /// To have it known which logs failed, and which replicas were made anew after that.
    ReplicaHealth {
        /// Its own registration.
        broker_epoch: BrokerEpoch,
        /// What is to be known, of each replica once.
        items: Vec<ReplicaHealth>,
    },
}

/// How a replica is on the broker that tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaHealth {
    /// Of which partition.
    pub partition: TopicPartition,
    /// Whether its log failed or is corrupt. If not, it was made anew and holds nothing of the log that failed.
    pub is_failed: bool,
    /// How often that has changed in this process. Requests arrive late and twice: what was said before is void.
    pub change: u32,
}

/// A broker's process announces itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterBroker {
    /// Its data directory, which one process at a time can hold.
    pub directory_id: [u8; 16],
    /// How it is reached, by listener; its peers' under the reserved name.
    pub endpoints: Vec<Endpoint>,
    /// `broker.rack`
    pub rack: Option<String>,
    /// The levels of features that it can serve (KIP-584).
    pub features: Vec<FeatureRange>,
    /// The last broker epoch that a process of this directory has heard of, if nothing written since then can be lost:
    /// each stopped in good order, or died alone while its machine went on (KIP-966).
    pub clean_stop_of: Option<BrokerEpoch>,
}

/// A broker says that it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokerHeartbeat {
    /// Its registration.
    pub broker_epoch: BrokerEpoch,
    /// The end of the metadata that it has applied.
    pub metadata_offset: Offset,
    /// It cannot serve, and wants to be fenced.
    pub wants_fence: bool,
    /// It wants to stop, and its partitions to be led by others first (KIP-841).
    pub wants_shutdown: bool,
}

/// A leader wants its partition's ISR changed, if nothing else has changed it since.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlterPartition {
    /// Which partition.
    pub partition: TopicPartition,
    /// The epoch of the leadership that wants it.
    pub leader_epoch: LeaderEpoch,
    /// The registration that it saw.
    pub partition_epoch: PartitionEpoch,
    /// The new ISR, each member with the registration under which it caught up (KIP-903).
    pub isr: Vec<IsrMember>,
}

/// A member of an ISR and the life in which it became one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IsrMember {
    /// Which broker.
    pub id: BrokerId,
    /// Its registration.
    pub epoch: BrokerEpoch,
}

/// The controller's reply to a [`BrokerRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BrokerReply {
    /// Of the process that asked.
    pub incarnation: [u8; 16],
    /// Of the request.
    pub correlation: u64,
    /// The reply itself.
    pub body: BrokerReplyBody,
}

/// What the controller replies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BrokerReplyBody {
    /// Another node is the active controller, or none is; nothing was done.
    NotController,
    /// The request as a whole is refused; nothing was done.
    Refused(BrokerRefusal),
    /// The broker is registered.
    Registered {
        /// Under this epoch.
        broker_epoch: BrokerEpoch,
    },
    /// What the committed metadata say of the broker.
    Heartbeat(HeartbeatReply),
    /// What became of each item of an `AlterPartitions`, in the order asked.
    PartitionsAltered(Vec<Result<AlteredPartition, AlterPartitionRefusal>>),
    /// A block of producer ids that nobody else has.
    ProducerIds {
        /// The first of them.
        first: ProducerId,
        /// How many.
        len: i64,
    },
    /// What a `ReplicaHealth` said is committed, as far as there are such partitions.
    ReplicaHealthNoted,
}

/// What the committed metadata say of a broker that lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeartbeatReply {
    /// Whether it has applied its own registration.
    pub is_caught_up: bool,
    /// Whether it is fenced.
    pub is_fenced: bool,
    /// Whether it leads nothing any more, and the others know: it may stop.
    pub may_stop: bool,
}

/// A partition after its ISR was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlteredPartition {
    /// Who leads it.
    pub leader: Option<BrokerId>,
    /// In which epoch.
    pub leader_epoch: LeaderEpoch,
    /// The registration that says so.
    pub partition_epoch: PartitionEpoch,
    /// Its ISR.
    pub isr: Vec<BrokerId>,
}

/// Why a request of a broker is refused as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BrokerRefusal {
    /// No broker of this id is registered.
    NotRegistered,
    /// The broker has registered anew since, or another process has taken its id.
    StaleBrokerEpoch,
    /// Another process of this id, from another directory, lives.
    DuplicateRegistration,
    /// The registration makes no sense.
    InvalidRegistration,
    /// It lacks a feature at the level that the cluster has finalized.
    UnsupportedVersion,
    /// The message has too many items, or is otherwise out of bounds.
    InvalidRequest,
    /// All producer ids are given out.
    NoProducerIds,
}

/// Why the change of one ISR is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AlterPartitionRefusal {
    /// There is no topic of this id.
    UnknownTopicId,
    /// The topic has no such partition.
    UnknownPartition,
    /// The sender knows of newer epochs than the controller.
    NewerEpochs,
    /// A newer leader was elected.
    FencedLeaderEpoch,
    /// The sender does not lead, or the ISR lacks the leader, has strangers in it, or one twice.
    InvalidRequest,
    /// The partition has changed since.
    StalePartitionEpoch,
    /// A member is fenced, stopping, or has restarted since it caught up.
    IneligibleReplica,
}

impl BrokerRequest {
    /// The bytes to send, of [`BROKER_MESSAGE_VERSION`].
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// The request of these bytes.
    pub fn decode(version: u8, bytes: &[u8]) -> Result<Self, MessageError> {
        let request: Self = decode(version, bytes)?;
        let items = match &request.body {
            BrokerRequestBody::Register(register) => register.endpoints.len() + register.features.len(),
            BrokerRequestBody::AlterPartitions { items, .. } => {
                items.len().max(items.iter().map(|item| item.isr.len()).max().unwrap_or(0))
            }
            BrokerRequestBody::ReplicaHealth { items, .. } => items.len(),
            BrokerRequestBody::Heartbeat(_) | BrokerRequestBody::AllocateProducerIds { .. } => 0,
        };
        if items > BROKER_MESSAGE_ITEMS_MAX { Err(MessageError::TooLarge) } else { Ok(request) }
    }

    /// The reply to this request.
    pub const fn reply(&self, body: BrokerReplyBody) -> BrokerReply {
        BrokerReply { incarnation: self.incarnation, correlation: self.correlation, body }
    }
}

impl BrokerReply {
    /// The bytes to send, of [`BROKER_MESSAGE_VERSION`].
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// The reply of these bytes.
    pub fn decode(version: u8, bytes: &[u8]) -> Result<Self, MessageError> {
        decode(version, bytes)
    }
}

fn encode<M: Serialize>(message: &M) -> Vec<u8> {
    postcard::to_extend(message, Vec::new()).expect("messages have nothing that postcard cannot write")
}

fn decode<M: DeserializeOwned>(version: u8, bytes: &[u8]) -> Result<M, MessageError> {
    if version > BROKER_MESSAGE_VERSION {
        return Err(MessageError::Version(version));
    }
    match postcard::take_from_bytes(bytes) {
        Ok((message, [])) => Ok(message),
        _ => Err(MessageError::Malformed),
    }
}

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageError {
    /// Written by a newer release.
    Version(u8),
    /// Of an unknown kind, cut off, or followed by more.
    Malformed,
    /// More items than [`BROKER_MESSAGE_ITEMS_MAX`].
    TooLarge,
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => {
                write!(f, "a message of version {version}, this release knows {BROKER_MESSAGE_VERSION}")
            }
            Self::Malformed => f.write_str("a message that cannot be read"),
            Self::TooLarge => write!(f, "a message of more than {BROKER_MESSAGE_ITEMS_MAX} items"),
        }
    }
}

impl std::error::Error for MessageError {}

impl fmt::Display for BrokerRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotRegistered => "the broker is not registered",
            Self::StaleBrokerEpoch => "the broker has registered anew since",
            Self::DuplicateRegistration => {
                "another broker of this node id, from another data directory, lives"
            }
            Self::InvalidRegistration => "the registration makes no sense",
            Self::UnsupportedVersion => "the broker lacks a feature level that the cluster has finalized",
            Self::InvalidRequest => "the request is out of bounds",
            Self::NoProducerIds => "all producer ids are given out",
        })
    }
}

impl fmt::Display for AlterPartitionRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownTopicId => "the topic is gone",
            Self::UnknownPartition => "there is no such partition",
            Self::NewerEpochs => "the controller is behind",
            Self::FencedLeaderEpoch => "a newer leader was elected",
            Self::InvalidRequest => "the change makes no sense",
            Self::StalePartitionEpoch => "the partition has changed since",
            Self::IneligibleReplica => "a member is fenced, stopping, or restarted",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::records::at;
    use super::*;
    use crate::ids::TopicId;
    use proptest::prelude::*;

    fn requests() -> Vec<BrokerRequest> {
        let endpoint = Endpoint { listener: "PEER".into(), host: "::1".into(), port: 9192 };
        let register = RegisterBroker {
            directory_id: [8; 16],
            endpoints: vec![endpoint],
            rack: Some("r".into()),
            features: vec![FeatureRange { name: "f".into(), min: 1, max: 30 }],
            clean_stop_of: Some(BrokerEpoch(5)),
        };
        let heartbeat = BrokerHeartbeat {
            broker_epoch: BrokerEpoch(5),
            metadata_offset: Offset(300),
            wants_fence: false,
            wants_shutdown: true,
        };
        let item = AlterPartition {
            partition: at(TopicId([7; 16]), 3),
            leader_epoch: LeaderEpoch(2),
            partition_epoch: PartitionEpoch(4),
            isr: vec![IsrMember { id: BrokerId(1), epoch: BrokerEpoch(5) }],
        };
        let bodies = [
            BrokerRequestBody::Register(register),
            BrokerRequestBody::Heartbeat(heartbeat),
            BrokerRequestBody::AlterPartitions { broker_epoch: BrokerEpoch(5), items: vec![item] },
            BrokerRequestBody::AllocateProducerIds { broker_epoch: BrokerEpoch(5) },
            BrokerRequestBody::ReplicaHealth {
                broker_epoch: BrokerEpoch(5),
                items: vec![ReplicaHealth { partition: at(TopicId([7; 16]), 3), is_failed: true, change: 1 }],
            },
        ];
        bodies.map(|body| BrokerRequest { incarnation: [9; 16], correlation: 300, body }).into()
    }

    fn replies() -> Vec<BrokerReply> {
        let altered = AlteredPartition {
            leader: Some(BrokerId(1)),
            leader_epoch: LeaderEpoch(2),
            partition_epoch: PartitionEpoch(5),
            isr: vec![BrokerId(1), BrokerId(2)],
        };
        let heartbeat = HeartbeatReply { is_caught_up: true, is_fenced: false, may_stop: true };
        let bodies = [
            BrokerReplyBody::NotController,
            BrokerReplyBody::Refused(BrokerRefusal::DuplicateRegistration),
            BrokerReplyBody::Registered { broker_epoch: BrokerEpoch(5) },
            BrokerReplyBody::Heartbeat(heartbeat),
            BrokerReplyBody::PartitionsAltered(vec![
                Ok(altered),
                Err(AlterPartitionRefusal::IneligibleReplica),
            ]),
            BrokerReplyBody::ProducerIds { first: ProducerId(1000), len: 1000 },
            BrokerReplyBody::ReplicaHealthNoted,
        ];
        bodies.map(|body| BrokerReply { incarnation: [9; 16], correlation: 300, body }).into()
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    /// Bytes that released versions send. Lines are added here, never changed.
    const GOLDEN_REQUESTS: &[&str] = &[
        "{9}ac0200{8}010450454552033a3a31e84701017201016602 3c010a",
        "{9}ac02010ad8040001",
        "{9}ac02020a01{7}06040801020a",
        "{9}ac02030a",
        "{9}ac02040a01{7}060101",
    ];
    const GOLDEN_REPLIES: &[&str] = &[
        "{9}ac0200",
        "{9}ac020102",
        "{9}ac02020a",
        "{9}ac0203010001",
        "{9}ac0204020001 02040a020204 0106",
        "{9}ac0205d00fd00f",
        "{9}ac0206",
    ];

    fn golden(line: &str) -> String {
        let ids = [("{7}", "07"), ("{8}", "08"), ("{9}", "09")];
        ids.iter().fold(line.replace(' ', ""), |line, (id, byte)| line.replace(id, &byte.repeat(16)))
    }

    #[test]
    fn bytes_of_released_versions_are_read_and_written() {
        let requests = requests();
        assert_eq!(requests.len(), GOLDEN_REQUESTS.len());
        for (request, line) in requests.iter().zip(GOLDEN_REQUESTS) {
            assert_eq!(hex(&request.encode()), golden(line), "{request:?}");
            assert_eq!(BrokerRequest::decode(0, &request.encode()).as_ref(), Ok(request));
        }
        let replies = replies();
        assert_eq!(replies.len(), GOLDEN_REPLIES.len());
        for (reply, line) in replies.iter().zip(GOLDEN_REPLIES) {
            assert_eq!(hex(&reply.encode()), golden(line), "{reply:?}");
            assert_eq!(BrokerReply::decode(0, &reply.encode()).as_ref(), Ok(reply));
        }
    }

    #[test]
    fn newer_cut_and_overlong_messages_are_refused() {
        for request in requests() {
            let mut bytes = request.encode();
            assert_eq!(BrokerRequest::decode(1, &bytes), Err(MessageError::Version(1)));
            bytes.push(0);
            assert_eq!(BrokerRequest::decode(0, &bytes), Err(MessageError::Malformed), "{request:?}");
            bytes.truncate(bytes.len() - 2);
            assert_eq!(BrokerRequest::decode(0, &bytes), Err(MessageError::Malformed), "{request:?}");
        }
        let item = match requests().remove(2).body {
            BrokerRequestBody::AlterPartitions { items, .. } => items[0].clone(),
            other => panic!("the third sample changes partitions: {other:?}"),
        };
        let items = vec![item; BROKER_MESSAGE_ITEMS_MAX + 1];
        let body = BrokerRequestBody::AlterPartitions { broker_epoch: BrokerEpoch(1), items };
        let long = BrokerRequest { incarnation: [0; 16], correlation: 0, body };
        assert_eq!(BrokerRequest::decode(0, &long.encode()), Err(MessageError::TooLarge));
    }

    #[test]
    fn a_promise_of_many_items_costs_nothing() {
        // An AlterPartitions of 2^63 items, of which none follows.
        let mut bytes = vec![9; 16];
        bytes.extend([1, 2, 10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]);
        assert_eq!(BrokerRequest::decode(0, &bytes), Err(MessageError::Malformed));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(
            bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0usize..200, with in any::<u8>(),
        ) {
            let _ = BrokerRequest::decode(0, &bytes);
            let _ = BrokerReply::decode(0, &bytes);
            for mut bytes in requests().iter().map(BrokerRequest::encode) {
                let at = at % bytes.len();
                bytes[at] = with;
                if let Ok(request) = BrokerRequest::decode(0, &bytes) {
                    prop_assert_eq!(BrokerRequest::decode(0, &request.encode()), Ok(request));
                }
            }
        }
    }
}
