//! Request handlers: from decoded requests to answers, one file per family.
//!
//! Handlers run on the connection's own task and never block. Whatever cannot be answered at once (a fetch that
//! waits, a join, a commit to be made durable) keeps its [`Responder`] and is answered by whoever finishes it.

mod cluster;
mod configs;
mod delete_records;
mod fetch;
mod forward;
mod gathering;
mod groups;
mod leaders;
mod log_dirs;
mod metadata;
mod offsets;
mod produce;
mod producers;
mod quorum;
mod quotas;
mod responder;
mod topics;
mod transactions;

pub use fetch::{FetchHub, RegionPart};
pub use forward::Forwarder;
pub use responder::Responder;

use forward::Raw;

use crate::node::Node;
use crate::throttle::HandlerTime;
use highwater_core::time::Instant;
use highwater_net_tcp::{ApiTable, CloseReason, ConnCtx, ConnInfo, ReplyQueue, Request, Requests, Service};
use highwater_protocol::messages::ApiVersionsRequest;
use highwater_protocol::{
    ApiKey, ErrorCode, Features, Reader, RequestBody, ResponseHeader, api_versions_response,
};
use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// The principal of every client without authentication, as Kafka calls it.
const ANONYMOUS: &str = "User:ANONYMOUS";

/// What the node keeps for a connection.
#[derive(Debug)]
pub struct ConnState {
    /// Who the client is; of a forwarded request, who it is to the node that it is connected to.
    pub principal: Cow<'static, str>,
    /// The client's own name and version (KIP-511), if it told.
    pub software: Option<(String, String)>,
    /// Fetches that wait; they end with the connection.
    fetches: Vec<Arc<fetch::Pending>>,
}

impl Default for ConnState {
    fn default() -> Self {
        Self { principal: Cow::Borrowed(ANONYMOUS), software: None, fetches: Vec::new() }
    }
}

impl ConnState {
    /// A client of another node, which vouches for it.
    fn of(principal: &str) -> Self {
        Self { principal: Cow::Owned(principal.to_owned()), ..Self::default() }
    }

    /// Keeps a waiting fetch alive until it is answered or the connection ends.
    fn remember_fetch(&mut self, pending: Arc<fetch::Pending>) {
        self.fetches.retain(|fetch| !fetch.is_over());
        self.fetches.push(pending);
    }
}

/// One request on its way through a handler.
#[derive(Debug)]
pub struct Call<'a> {
    /// The node that serves it.
    pub node: &'a Arc<Node>,
    /// The connection on which it came.
    pub conn: &'a mut ConnCtx<ConnState>,
    /// What the client calls itself.
    pub client_id: Option<Arc<str>>,
    /// When its last byte was read.
    pub received_at: Instant,
    /// Where the answer goes.
    pub responder: Responder,
    /// The request as it came.
    raw: &'a Raw,
}

impl Call<'_> {
    /// The client's name, empty if it has none.
    pub fn client_id(&self) -> &str {
        self.client_id.as_deref().unwrap_or_default()
    }

    /// The user whose quotas hold: the principal without its type.
    pub fn user(&self) -> &str {
        let principal = &*self.conn.state.principal;
        principal.split_once(':').map_or(principal, |(_, user)| user)
    }

    /// When a request that names a time-out is answered at the latest; 0 and less are at once.
    fn deadline(&self, timeout_ms: i32) -> Instant {
        self.received_at + Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0))
    }

    /// Lets the active controller answer, if this node is not it. Gives the call back if it is.
    fn unless_active(self) -> Option<Self> {
        if self.node.controller().is_active() {
            return Some(self);
        }
        match self.responder.is_client() {
            true => {
                let principal = &self.conn.state.principal;
                self.node.forwarder().forward(&self.conn.info, principal, self.raw, self.responder);
            }
            false => self.responder.not_controller(),
        }
        None
    }

    /// The listener on which the request came: addresses in the answer are those of the same one.
    pub fn listener(&self) -> &str {
        &self.conn.info.listener
    }
}

/// Serves a node's clients.
#[derive(Debug)]
pub struct NodeService {
    node: Arc<Node>,
    table: Arc<ApiTable>,
}

impl NodeService {
    /// A service in front of `node`.
    pub fn new(node: Arc<Node>) -> Self {
        Self { node, table: Arc::new(ApiTable::served()) }
    }

    fn handle_one(&self, conn: &mut ConnCtx<ConnState>, request: Request, replies: &ReplyQueue) {
        let Request { slot, header, body, received_at } = request;
        let key = ApiKey::from_code(header.api_key).expect("the table offers declared keys only");
        let shape =
            ResponseHeader { key, version: header.api_version, correlation_id: header.correlation_id };
        let throttles = self.node.throttles();
        let timed =
            throttles.are_requests_timed().then(|| HandlerTime::begin(&self.node, header.client_id.clone()));
        let responder = Responder::new(replies, slot, shape).timed(timed.clone());
        self.node.counters().count_request(key);
        serve(&self.node, conn, &Raw { header, body }, received_at, responder);
        if let Some(timed) = timed {
            timed.end();
        }
    }
}

/// Carries out one request, of a client or of another node for its client.
fn serve(
    node: &Arc<Node>,
    conn: &mut ConnCtx<ConnState>,
    raw: &Raw,
    received_at: Instant,
    responder: Responder,
) {
    let ResponseHeader { key, version, .. } = responder.header();
    let mut call = Call { node, conn, client_id: raw.header.client_id.clone(), received_at, responder, raw };
    if forward::is_for_controller(key) {
        match call.unless_active() {
            Some(active) => call = active,
            None => return,
        }
    }
    let mut reader = Reader::new(&raw.body);
    match RequestBody::decode(&mut reader, key, version) {
        Ok(body) => {
            if reader.remaining() > 0 {
                // librdkafka has sent a byte too many; Kafka tolerates it as well.
                let bytes = reader.remaining();
                tracing::debug!(api = key.name(), version, bytes, "bytes after the request");
            }
            dispatch(call, body);
        }
        Err(error) => call.responder.refuse(format!("{} version {version}: {error}", key.name())),
    }
}

impl Service for NodeService {
    type State = ConnState;

    fn api_table(&self) -> Arc<ApiTable> {
        self.table.clone()
    }

    fn admits(&self, peer: IpAddr) -> Result<(), Duration> {
        self.node.throttles().admit_connection(self.node.clock().mono(), peer)
    }

    fn connected(&self, _conn: &ConnInfo, _replies: &ReplyQueue) -> ConnState {
        ConnState::default()
    }

    fn handle(&self, conn: &mut ConnCtx<ConnState>, batch: &mut Requests<'_>, replies: &ReplyQueue) {
        for request in batch {
            self.handle_one(conn, request, replies);
        }
    }

    fn disconnected(&self, conn: ConnCtx<ConnState>, _reason: &CloseReason) {
        for fetch in conn.state.fetches {
            fetch.cancel();
        }
    }
}

fn dispatch(call: Call<'_>, body: RequestBody) {
    match body {
        RequestBody::Produce(request) => produce::handle(call, &request),
        RequestBody::Fetch(request) => fetch::handle(call, &request),
        RequestBody::ListOffsets(request) => offsets::list(call, request),
        RequestBody::OffsetForLeaderEpoch(request) => offsets::for_leader_epoch(call, request),
        RequestBody::DeleteRecords(request) => delete_records::handle(call, request),
        RequestBody::InitProducerId(request) => producers::init_producer_id(call, &request),
        RequestBody::DescribeProducers(request) => producers::describe(call, request),
        RequestBody::AddPartitionsToTxn(request) => transactions::add_partitions(call, request),
        RequestBody::AddOffsetsToTxn(request) => transactions::add_offsets(call, &request),
        RequestBody::EndTxn(request) => transactions::end(call, &request),
        RequestBody::TxnOffsetCommit(request) => transactions::commit_offsets(call, request),
        RequestBody::Metadata(request) => metadata::handle(call, request),
        RequestBody::DescribeTopicPartitions(request) => metadata::describe_topic_partitions(call, &request),
        RequestBody::DescribeCluster(request) => cluster::describe(call, &request),
        RequestBody::FindCoordinator(request) => groups::find_coordinator(call, request),
        RequestBody::JoinGroup(request) => groups::join(call, request),
        RequestBody::SyncGroup(request) => groups::sync(call, request),
        RequestBody::Heartbeat(request) => groups::heartbeat(call, request),
        RequestBody::LeaveGroup(request) => groups::leave(call, request),
        RequestBody::OffsetCommit(request) => groups::offset_commit(call, request),
        RequestBody::OffsetFetch(request) => groups::offset_fetch(call, request),
        RequestBody::OffsetDelete(request) => groups::offset_delete(call, request),
        RequestBody::DescribeGroups(request) => groups::describe(call, request),
        RequestBody::ListGroups(request) => groups::list(call, request),
        RequestBody::DeleteGroups(request) => groups::delete(call, request),
        RequestBody::CreateTopics(request) => topics::create(call, request),
        RequestBody::DeleteTopics(request) => topics::delete(call, request),
        RequestBody::CreatePartitions(request) => topics::create_partitions(call, request),
        RequestBody::DescribeConfigs(request) => configs::describe(call, request),
        RequestBody::AlterConfigs(request) => configs::alter(call, request),
        RequestBody::IncrementalAlterConfigs(request) => configs::alter_incrementally(call, request),
        RequestBody::ListConfigResources(request) => configs::list_resources(call, &request),
        RequestBody::DescribeClientQuotas(request) => quotas::describe(call, &request),
        RequestBody::AlterClientQuotas(request) => quotas::alter(call, request),
        RequestBody::DescribeLogDirs(request) => log_dirs::describe(call, request),
        RequestBody::AlterReplicaLogDirs(request) => log_dirs::alter(call, &request),
        RequestBody::ElectLeaders(request) => leaders::elect(call, request),
        RequestBody::AlterPartitionReassignments(request) => leaders::reassign(call, request),
        RequestBody::ListPartitionReassignments(request) => leaders::list_reassignments(call, &request),
        RequestBody::UpdateFeatures(request) => cluster::update_features(call, request),
        RequestBody::UnregisterBroker(request) => cluster::unregister_broker(call, &request),
        RequestBody::DescribeQuorum(request) => quorum::describe(call, &request),
        RequestBody::AddRaftVoter(request) => quorum::add_voter(call, request),
        RequestBody::RemoveRaftVoter(request) => quorum::remove_voter(call, &request),
        RequestBody::ApiVersions(request) => api_versions(call, request),
    }
}

/// ApiVersions (18): what is served, and who asks (KIP-511).
fn api_versions(call: Call<'_>, request: ApiVersionsRequest) {
    let version = call.responder.version();
    if version >= 3 {
        let (name, software_version) = (request.client_software_name, request.client_software_version);
        if !is_software_name(&name) || !is_software_name(&software_version) {
            let mut answer = api_versions_response(version, &Features::default());
            answer.error_code = ErrorCode::InvalidRequest;
            return call.responder.send(&answer);
        }
        call.conn.state.software = Some((name, software_version));
    }
    call.responder.send(&api_versions_response(version, &call.node.features()));
}

/// What Kafka takes for a client's name or version: it becomes a metric's label.
fn is_software_name(text: &str) -> bool {
    let edge = |c: char| c.is_ascii_alphanumeric();
    text.starts_with(edge) && text.ends_with(edge) && text.chars().all(|c| edge(c) || matches!(c, '-' | '.'))
}
