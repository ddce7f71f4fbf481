//! What travels between clients and nodes, and what happens at a given time. Values go as they are: nothing is
//! encoded, record batches are shared handles.

use super::network::Place;
use super::store::StoredBatch;
use bytes::Bytes;
use highwater_core::batch::{StampedBatch, ValidBatch};
use highwater_core::coordinator::group::{GroupReply, GroupRequest};
use highwater_core::ids::{BrokerId, LeaderEpoch, Offset, PartitionIndex, Token, TopicPartition};
use highwater_core::metadata::MetadataImage;
use highwater_core::metadata::peer::{BrokerReply, BrokerRequest};
use highwater_core::quorum::{self, ReplicaKey, VoteRecord};
use highwater_core::replica::{Acks, FetchFrom, ProduceError, Produced, ReplicaFetch, ReplicaFetchReply};
use highwater_protocol::ErrorCode;
use highwater_protocol::messages as wire;
use std::sync::Arc;

/// A message on the simulated network.
#[derive(Debug)]
pub(crate) enum Message {
    /// From a client; its answer names the same number.
    Request { id: u64, order: Order, body: Request },
    /// To a client.
    Response { id: u64, body: Response },
    /// Between replicas of the metadata log.
    Quorum { from: ReplicaKey, message: quorum::Message, payload: Bytes },
    /// From a broker to what it takes for the active controller.
    BrokerRequest(BrokerRequest),
    /// From a controller.
    BrokerReply(BrokerReply),
    /// From a follower to its leader.
    ReplicaFetch(ReplicaFetch),
    /// The answer, with the batches of each answer that has some.
    ReplicaFetchReply { reply: ReplicaFetchReply, parts: Vec<Vec<StampedBatch>> },
    /// A connection to the sender stands, or its process is gone: told by the network.
    Link { is_up: bool },
}

impl Message {
    /// The same message once more: between nodes a network may do that, a client's connection does not.
    pub(crate) fn duplicate(&self) -> Option<Self> {
        Some(match self {
            Self::Request { .. } | Self::Response { .. } => return None,
            Self::Quorum { from, message, payload } => {
                Self::Quorum { from: *from, message: message.clone(), payload: payload.clone() }
            }
            Self::BrokerRequest(request) => Self::BrokerRequest(request.clone()),
            Self::BrokerReply(reply) => Self::BrokerReply(reply.clone()),
            Self::ReplicaFetch(fetch) => Self::ReplicaFetch(fetch.clone()),
            Self::ReplicaFetchReply { reply, parts } => {
                Self::ReplicaFetchReply { reply: reply.clone(), parts: parts.clone() }
            }
            Self::Link { .. } => return None,
        })
    }
}

/// A request's place: which of the client's connections to the node, and where on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) connection: u32,
    pub(crate) number: u32,
}

/// What clients ask.
#[derive(Debug)]
pub(crate) enum Request {
    Metadata,
    Produce { partition: TopicPartition, batch: ValidBatch, acks: Acks },
    Fetch { partition: TopicPartition, from: FetchFrom },
    Latest { partition: TopicPartition, leader_epoch: Option<LeaderEpoch> },
    Group { coordinator: PartitionIndex, request: Box<GroupRequest> },
    Admin(Box<AdminRequest>),
}

/// What operators ask of the active controller.
#[derive(Clone, Debug)]
pub(crate) enum AdminRequest {
    CreateTopics(wire::CreateTopicsRequest),
    DeleteTopics(wire::DeleteTopicsRequest),
    CreatePartitions(wire::CreatePartitionsRequest),
    AlterConfigs(wire::IncrementalAlterConfigsRequest),
    Reassign(wire::AlterPartitionReassignmentsRequest),
    ElectLeaders(wire::ElectLeadersRequest),
    /// Takes a node's vote in the quorum of the metadata log away (KIP-853).
    RemoveVoter(BrokerId),
    /// Gives it one.
    AddVoter(BrokerId),
}

/// What they are told.
#[derive(Debug)]
pub(crate) enum Response {
    Metadata(Arc<MetadataImage>),
    Produce(Result<Produced, ProduceError>),
    Fetch(Result<Fetched, ErrorCode>),
    Latest(Result<(Offset, LeaderEpoch), ErrorCode>),
    Group(Box<GroupReply>),
    /// The code of the first item.
    Admin(ErrorCode),
}

/// What a consumer got.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) batches: Vec<StoredBatch>,
    pub(crate) high_watermark: Offset,
    pub(crate) log_start: Offset,
    /// The consumer's last record is not in this log: it goes back to here.
    pub(crate) diverging: Option<Offset>,
}

/// What is planned to happen.
#[derive(Debug)]
pub(crate) enum Event {
    /// A message arrives.
    Deliver { from: Place, to: Place, message: Message },
    /// Something inside a node, of one life of it, is due.
    Node { node: u16, life: u32, due: Due },
    /// A client looks at its clock.
    Client { client: u16, alarm: u64 },
    /// A fault of the run's plan.
    Fault(u32),
}

/// What may be due in a node.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Due {
    /// A deadline of a partition's machines.
    Cell(TopicPartition),
    /// A flush that covers what was there when it began.
    Flushed { partition: TopicPartition, through: Offset, truncations: u32 },
    /// The outcome of an append that took its time.
    Appended(TopicPartition),
    /// A fetch that has waited long enough.
    FetchWait { partition: TopicPartition, token: Token },
    /// A deadline of the quorum machine.
    Quorum,
    /// A flush of the metadata log that covers what was there when it began.
    QuorumFlushed { through: Offset, cuts: u32 },
    /// A vote is on the device.
    VoteStored(VoteRecord),
    /// A deadline of the broker's lifecycle, or of the controller's sessions.
    Broker,
    /// A deadline of the fetcher from a leader.
    Fetcher(BrokerId),
    /// A deadline of a follower's session.
    Session(BrokerId),
    /// The end of a coordinator's reading of its log.
    Loaded { partition: TopicPartition, load: u64 },
}
