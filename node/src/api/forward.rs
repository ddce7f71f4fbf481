//! Requests that only the active controller can carry out, sent there as the client wrote them.
//!
//! ```text
//!  client ─▶ this node ──Forward{header; body as it came}──▶ active controller: the same handler
//!         ◀─ this node ◀──ForwardReply{offset; answer}──────
//! ```
//!
//! Not a proxy for anything else: produce, fetch and groups are refused with the leader's name, as Kafka does. A request
//! waits here until a controller is known and has answered; it is sent again when the controller changes or its
//! connection breaks, as an admin client would do, and given up when the time of a request is over. An answer is passed
//! on once this node has applied the metadata that it speaks of, so that the client's next question here sees them.

use super::{ConnState, Responder};
use crate::cell::CellLock;
use crate::node::Node;
use crate::partition::Shell;
use crate::peers::{FrameHandler, LinkWatcher};
use crate::timers::Timed;
use bytes::Bytes;
use highwater_core::ids::{BrokerId, Offset};
use highwater_core::time::Instant;
use highwater_core::transport::{Class, Frame, FrameKind, LinkEvent, PeerIdentity};
use highwater_net_tcp::{ConnCtx, ConnId, ConnInfo, RequestHeader};
use highwater_protocol::{ApiKey, ResponseHeader};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// The version of both messages that is written and read.
const VERSION: u8 = 0;
/// The most requests that wait for a controller; each connection has a bound of its own as well.
const WAITING_MAX: usize = 10_000;
/// How long to wait before a controller is tried that could not be reached.
const RETRY_BACKOFF: Duration = Duration::from_millis(50);
/// How long a controller may take before it is asked again: its answer may be lost.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
/// How long an answer waits for the metadata that it speaks of.
const APPLY_TIME_MAX: Duration = Duration::from_secs(2);

/// What stands before the body of a forwarded request. Fields are only added at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ForwardRequest {
    /// Named by the reply.
    correlation: u64,
    api_key: i16,
    api_version: i16,
    /// The client's own number.
    client_correlation: i32,
    client_id: Option<String>,
    /// The listener by which the client came: addresses in the answer are of the same one.
    listener: String,
    /// Where the client is.
    client_address: IpAddr,
    /// Who the client is; everybody is `User:ANONYMOUS` without authentication.
    principal: String,
}

/// What stands before a forwarded request's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ForwardReply {
    correlation: u64,
    outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Outcome {
    /// The payload is the answer, from its header on.
    Answer {
        /// For how long the client's connection is muted (KIP-219).
        throttle_ms: u32,
        /// The metadata below this offset are what it speaks of.
        offset: Offset,
    },
    /// The one asked is not the active controller.
    NotController,
    /// The client's connection is to be closed.
    Refused { why: String },
}

/// Whether a request goes to the active controller before anything else is done with it.
pub(super) const fn is_for_controller(key: ApiKey) -> bool {
    matches!(
        key,
        ApiKey::CreateTopics
            | ApiKey::DeleteTopics
            | ApiKey::CreatePartitions
            | ApiKey::AlterConfigs
            | ApiKey::IncrementalAlterConfigs
            | ApiKey::AlterClientQuotas
            | ApiKey::ElectLeaders
            | ApiKey::AlterPartitionReassignments
            | ApiKey::UpdateFeatures
            | ApiKey::UnregisterBroker
            | ApiKey::DescribeQuorum
            | ApiKey::AddRaftVoter
            | ApiKey::RemoveRaftVoter
    )
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(super) struct Raw {
    /// Its header.
    pub(super) header: RequestHeader,
    /// What follows the header.
    pub(super) body: Bytes,
}

/// A request that waits for the active controller.
struct Waiting {
    responder: Responder,
    message: ForwardRequest,
    body: Bytes,
    /// Whom it was sent to, if it was.
    asked: Option<BrokerId>,
    next_at: Instant,
    gives_up_at: Instant,
}

/// An answer that waits for the metadata it speaks of.
struct Answered {
    responder: Responder,
    answer: Bytes,
    throttle: Duration,
    offset: Offset,
    until: Instant,
}

#[derive(Default)]
struct State {
    next: u64,
    waiting: BTreeMap<u64, Waiting>,
    answered: Vec<Answered>,
    armed: Option<Instant>,
}

/// The requests of a node's clients that are with the active controller, and those of other nodes' clients that are
/// here because this node is it.
pub struct Forwarder {
    me: Weak<Self>,
    shell: Arc<Shell>,
    node: Weak<Node>,
    cell: CellLock<State>,
}

impl fmt::Debug for Forwarder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Forwarder")
    }
}

impl Forwarder {
    /// How many requests wait for the active controller, or for the metadata that its answer speaks of (O43).
    pub fn waiting(&self) -> usize {
        self.cell.lock().map_or(0, |state| state.waiting.len() + state.answered.len())
    }

    /// Nothing is under way.
    pub fn new(shell: Arc<Shell>, node: Weak<Node>) -> Arc<Self> {
        let forwarder = Arc::new_cyclic(|me: &Weak<Self>| Self {
            me: me.clone(),
            shell,
            node,
            cell: CellLock::new(State::default()),
        });
        let me = &forwarder.me;
        forwarder.shell.peers.handle(FrameKind::Forward, me.clone());
        forwarder.shell.peers.handle(FrameKind::ForwardReply, me.clone());
        forwarder.shell.peers.watch_links(me.clone());
        forwarder
    }

    /// Sends a client's request to the active controller, now or once one is known.
    pub(super) fn forward(&self, conn: &ConnInfo, principal: &str, raw: &Raw, responder: Responder) {
        let Some(node) = self.node.upgrade() else { return responder.refuse("the node stops") };
        let now = self.shell.clock.mono();
        let limit = u64::try_from(node.broker_config().request_timeout_ms).unwrap_or(0);
        let message = ForwardRequest {
            correlation: 0,
            api_key: raw.header.api_key,
            api_version: raw.header.api_version,
            client_correlation: raw.header.correlation_id,
            client_id: raw.header.client_id.as_deref().map(str::to_owned),
            listener: conn.listener.to_string(),
            client_address: conn.peer.ip(),
            principal: principal.to_owned(),
        };
        let waiting = Waiting {
            responder,
            message,
            body: raw.body.clone(),
            asked: None,
            next_at: now,
            gives_up_at: now + Duration::from_millis(limit),
        };
        let Ok(mut state) = self.cell.lock() else { return };
        if state.waiting.len() >= WAITING_MAX {
            drop(state);
            return waiting.responder.refuse("too many requests wait for the active controller");
        }
        state.next += 1;
        let correlation = state.next;
        let message = ForwardRequest { correlation, ..waiting.message };
        state.waiting.insert(correlation, Waiting { message, ..waiting });
        drop(state);
        self.turn(&node);
    }

    /// Another node may be the active controller now.
    pub(crate) fn controller_changed(&self) {
        let Some(node) = self.node.upgrade() else { return };
        let controller = node.controller().active_controller();
        let now = self.shell.clock.mono();
        if let Ok(mut state) = self.cell.lock() {
            for waiting in state.waiting.values_mut().filter(|waiting| waiting.asked != controller) {
                waiting.next_at = now;
            }
        }
        self.turn(&node);
    }

    /// More of the metadata may be carried out: passes on the answers that waited for it.
    pub(crate) fn applied(&self, node: &Node) {
        // Not the image's: that is published before replicas are opened and have their roles.
        let offset = node.applied_offset();
        let now = self.shell.clock.mono();
        let Ok(mut state) = self.cell.lock() else { return };
        let is_due = |answered: &mut Answered| answered.offset <= offset || answered.until <= now;
        let due: Vec<Answered> = state.answered.extract_if(.., is_due).collect();
        drop(state);
        for answered in due {
            answered.responder.send_whole(answered.answer, answered.throttle);
        }
    }

    /// Sends what is due, gives up what is overdue.
    fn turn(&self, node: &Arc<Node>) {
        let now = self.shell.clock.mono();
        let controller = node.controller().active_controller();
        let (mut sends, mut here, mut over) = (Vec::new(), Vec::new(), Vec::new());
        let Ok(mut state) = self.cell.lock() else { return };
        let is_over =
            |_: &u64, waiting: &mut Waiting| waiting.gives_up_at <= now || waiting.responder.is_closed();
        over.extend(state.waiting.extract_if(.., is_over).map(|(_, waiting)| waiting));
        if node.controller().is_active() {
            let is_due = |_: &u64, waiting: &mut Waiting| waiting.next_at <= now;
            here.extend(state.waiting.extract_if(.., is_due).map(|(_, waiting)| waiting));
        }
        for waiting in state.waiting.values_mut().filter(|waiting| waiting.next_at <= now) {
            waiting.next_at = now + RETRY_BACKOFF;
            if let Some(to) = controller.filter(|to| *to != node.id()) {
                sends.push((to, waiting.message.correlation, waiting.frame()));
            }
        }
        self.arm(&mut state);
        drop(state);
        for waiting in over {
            waiting.responder.refuse("the active controller did not answer in time");
        }
        for waiting in here {
            serve(node, &waiting.message, &waiting.body, waiting.responder);
        }
        for (to, correlation, frame) in sends {
            let is_sent = self.shell.peers.send(to, Class::Bulk, frame).is_ok();
            if let (true, Ok(mut state)) = (is_sent, self.cell.lock())
                && let Some(waiting) = state.waiting.get_mut(&correlation)
            {
                waiting.asked = Some(to);
                waiting.next_at = now + ANSWER_TIME_MAX;
            }
        }
    }

    fn arm(&self, state: &mut State) {
        let waiting = state.waiting.values().map(|waiting| waiting.next_at.min(waiting.gives_up_at));
        let answered = state.answered.iter().map(|answered| answered.until);
        if let Some(next) = waiting.chain(answered).min()
            && state.armed.is_none_or(|armed| next < armed)
        {
            state.armed = Some(next);
            let me: Weak<dyn Timed> = self.me.clone();
            self.shell.timers.arm(next, me);
        }
    }

    fn answered(&self, node: &Node, reply: ForwardReply, payload: Vec<Bytes>) {
        let now = self.shell.clock.mono();
        let Ok(mut state) = self.cell.lock() else { return };
        if reply.outcome == Outcome::NotController {
            if let Some(waiting) = state.waiting.get_mut(&reply.correlation) {
                waiting.asked = None;
                waiting.next_at = now + RETRY_BACKOFF;
                self.arm(&mut state);
            }
            return;
        }
        // An answer to a request that was answered already, or given up, finds nobody.
        let Some(waiting) = state.waiting.remove(&reply.correlation) else { return };
        let responder = waiting.responder;
        match reply.outcome {
            Outcome::Answer { throttle_ms, offset } => {
                let throttle = Duration::from_millis(u64::from(throttle_ms));
                let answer = payload.into_iter().next().unwrap_or_default();
                let until = now + APPLY_TIME_MAX;
                state.answered.push(Answered { responder, answer, throttle, offset, until });
                self.arm(&mut state);
                drop(state);
                self.applied(node);
            }
            Outcome::Refused { why } => {
                drop(state);
                responder.refuse(why);
            }
            Outcome::NotController => unreachable!("handled above"),
        }
    }

    fn forwarded(&self, node: &Arc<Node>, from: BrokerId, request: &ForwardRequest, body: &Bytes) {
        let answer = PeerAnswer { node: node.clone(), to: from, correlation: request.correlation };
        if !node.controller().is_active() {
            return answer.not_controller();
        }
        match ApiKey::from_code(request.api_key) {
            Some(key) => {
                let (version, correlation_id) = (request.api_version, request.client_correlation);
                let header = ResponseHeader { key, version, correlation_id };
                serve(node, request, body, Responder::to_peer(answer, header));
            }
            None => answer.refuse(format!("request {} is not served", request.api_key)),
        }
    }
}

impl Waiting {
    fn frame(&self) -> Frame {
        let header = postcard::to_allocvec(&self.message).expect("nothing that postcard cannot write");
        Frame::with_payload(FrameKind::Forward, VERSION, header, vec![self.body.clone()])
    }
}

/// Carries out a request as if its client were connected here.
fn serve(node: &Arc<Node>, request: &ForwardRequest, body: &Bytes, responder: Responder) {
    let info = ConnInfo {
        id: ConnId(u64::MAX),
        peer: SocketAddr::new(request.client_address, 0),
        listener: request.listener.as_str().into(),
    };
    let mut conn = ConnCtx { info, state: ConnState::of(&request.principal) };
    let header = RequestHeader {
        api_key: request.api_key,
        api_version: request.api_version,
        correlation_id: request.client_correlation,
        client_id: request.client_id.as_deref().map(Arc::from),
    };
    super::serve(node, &mut conn, &Raw { header, body: body.clone() }, node.clock().mono(), responder);
}

/// Where the answer to another node's client goes.
#[derive(Debug)]
pub(super) struct PeerAnswer {
    node: Arc<Node>,
    to: BrokerId,
    correlation: u64,
}

impl PeerAnswer {
    pub(super) fn give(self, answer: Bytes, throttle: Duration) {
        let throttle_ms = u32::try_from(throttle.as_millis()).unwrap_or(u32::MAX);
        let offset = self.node.image().offset();
        self.say(Outcome::Answer { throttle_ms, offset }, vec![answer]);
    }

    pub(super) fn not_controller(self) {
        self.say(Outcome::NotController, Vec::new());
    }

    pub(super) fn refuse(self, why: String) {
        self.say(Outcome::Refused { why }, Vec::new());
    }

    fn say(&self, outcome: Outcome, payload: Vec<Bytes>) {
        let reply = ForwardReply { correlation: self.correlation, outcome };
        let header = postcard::to_allocvec(&reply).expect("nothing that postcard cannot write");
        let frame = Frame::with_payload(FrameKind::ForwardReply, VERSION, header, payload);
        // Whoever is not reached asks again.
        let _ = self.node.peers().send(self.to, Class::Bulk, frame);
    }
}

impl FrameHandler for Forwarder {
    fn received(&self, from: &PeerIdentity, frame: Frame) {
        let Some(node) = self.node.upgrade() else { return };
        let is_known = frame.version == VERSION;
        let unreadable =
            || tracing::warn!(from = from.id.0, "a forwarded request cannot be read; it is dropped");
        if frame.kind == FrameKind::Forward {
            match postcard::take_from_bytes::<ForwardRequest>(&frame.header) {
                Ok((request, _)) if is_known => {
                    let body = frame.payload.into_iter().next().unwrap_or_default();
                    self.forwarded(&node, from.id, &request, &body);
                }
                _ => unreadable(),
            }
        } else {
            match postcard::take_from_bytes::<ForwardReply>(&frame.header) {
                Ok((reply, _)) if is_known => self.answered(&node, reply, frame.payload),
                _ => unreadable(),
            }
        }
    }
}

impl LinkWatcher for Forwarder {
    fn link(&self, peer: BrokerId, link: LinkEvent) {
        let Some(node) = self.node.upgrade() else { return };
        if link != LinkEvent::Reset {
            return;
        }
        let now = self.shell.clock.mono();
        if let Ok(mut state) = self.cell.lock() {
            for waiting in state.waiting.values_mut().filter(|waiting| waiting.asked == Some(peer)) {
                waiting.asked = None;
                waiting.next_at = now + RETRY_BACKOFF;
            }
            self.arm(&mut state);
        }
        self.turn(&node);
    }
}

impl Timed for Forwarder {
    fn due(&self, _at: Instant) {
        let Some(node) = self.node.upgrade() else { return };
        if let Ok(mut state) = self.cell.lock() {
            state.armed = None;
        }
        self.turn(&node);
        self.applied(&node);
        if let Ok(mut state) = self.cell.lock() {
            self.arm(&mut state);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn bytes_that_other_releases_read() {
        let request = ForwardRequest {
            correlation: 300,
            api_key: 19,
            api_version: 7,
            client_correlation: -1,
            client_id: Some("c".to_owned()),
            listener: "L".to_owned(),
            client_address: Ipv4Addr::LOCALHOST.into(),
            principal: "P".to_owned(),
        };
        let bytes = postcard::to_allocvec(&request).unwrap();
        assert_eq!(hex(&bytes), "ac02260e01010163014c007f0000010150");
        assert_eq!(postcard::from_bytes::<ForwardRequest>(&bytes), Ok(request));
        let golden = [
            (Outcome::Answer { throttle_ms: 1, offset: Offset(5) }, "0500010a"),
            (Outcome::NotController, "0501"),
            (Outcome::Refused { why: "w".to_owned() }, "05020177"),
        ];
        for (outcome, golden) in golden {
            let reply = ForwardReply { correlation: 5, outcome };
            let bytes = postcard::to_allocvec(&reply).unwrap();
            assert_eq!(hex(&bytes), golden);
            assert_eq!(postcard::from_bytes::<ForwardReply>(&bytes), Ok(reply));
        }
    }
}
