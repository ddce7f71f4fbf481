//! Where one request's answer goes, and in which shape its client expects it.

use super::forward::PeerAnswer;
use crate::controller::NotController;
use crate::throttle::HandlerTime;
use bytes::Bytes;
use highwater_net_tcp::{Part, Reply, ReplyQueue, Slot};
use highwater_protocol::{EncodeError, Message, ResponseHeader};
use std::sync::Arc;
use std::time::Duration;

/// The length in front of an encoded frame, which the connection writes itself.
pub(super) const LENGTH_BYTES: usize = 4;

/// The answer to one request, still to be given. Can be kept and used from anywhere; a connection that is gone
/// ignores it.
#[derive(Debug)]
#[must_use = "a request without an answer blocks its connection"]
pub struct Responder {
    target: Target,
    header: ResponseHeader,
    /// Only while somebody has a quota of handler time.
    handler_time: Option<Arc<HandlerTime>>,
}

/// Whom it reaches first.
#[derive(Debug)]
enum Target {
    /// The client, on its connection here.
    Client { replies: ReplyQueue, slot: Slot },
    /// The node that has forwarded the request.
    Peer(Box<PeerAnswer>),
}

impl Responder {
    /// The answer to the request in `slot`.
    pub fn new(replies: &ReplyQueue, slot: Slot, header: ResponseHeader) -> Self {
        Self { target: Target::Client { replies: replies.clone(), slot }, header, handler_time: None }
    }

    /// The answer to a request that another node has forwarded.
    pub(super) fn to_peer(answer: PeerAnswer, header: ResponseHeader) -> Self {
        Self { target: Target::Peer(Box::new(answer)), header, handler_time: None }
    }

    /// Whether the client is connected here: what is forwarded once is not forwarded again.
    pub(super) const fn is_client(&self) -> bool {
        matches!(self.target, Target::Client { .. })
    }

    /// The same, throttled by the time that its handler takes.
    pub fn timed(self, handler_time: Option<Arc<HandlerTime>>) -> Self {
        Self { handler_time, ..self }
    }

    /// How long the client is to wait for the handler time that this request took. Asked once, by whoever sends a
    /// frame that it encodes itself.
    pub fn handler_throttle(&self) -> Duration {
        self.handler_time.as_ref().map_or(Duration::ZERO, |time| time.throttle())
    }

    /// What stands before the answer.
    pub const fn header(&self) -> ResponseHeader {
        self.header
    }

    /// The version in which the answer will be written.
    pub const fn version(&self) -> i16 {
        self.header.version
    }

    /// Whether nobody waits for the answer any more.
    pub fn is_closed(&self) -> bool {
        match &self.target {
            Target::Client { replies, .. } => replies.is_closed(),
            Target::Peer(_) => false,
        }
    }

    /// Answers.
    pub fn send(self, body: &(impl Message + Clone)) {
        self.send_throttled(body, Duration::ZERO);
    }

    /// Answers with what the controller planned. If it is another node by now, the connection is closed, as when a
    /// controller dies: the client asks again, and the answer to that tells whether it was done.
    pub fn send_planned(self, planned: Result<impl Message + Clone, NotController>) {
        match planned {
            Ok(body) => self.send(&body),
            Err(_) => self.not_controller(),
        }
    }

    /// Another node is the active controller by now.
    pub(super) fn not_controller(self) {
        match self.target {
            Target::Client { .. } => self.refuse(NotController.to_string()),
            Target::Peer(answer) => answer.not_controller(),
        }
    }

    /// Answers with what another node has encoded, from the response header on.
    pub(super) fn send_whole(self, answer: Bytes, throttle: Duration) {
        self.send_parts(answer, Vec::new(), throttle);
    }

    /// Answers at once and mutes the connection for `throttle` (KIP-219), which the body must carry itself.
    pub fn send_throttled(self, body: &(impl Message + Clone), throttle: Duration) {
        let by_time = self.handler_throttle();
        if by_time <= throttle {
            let frame = self.header.frame(body);
            return self.send_frame(frame, throttle);
        }
        let mut body = body.clone();
        body.set_throttle_time_ms(i32::try_from(by_time.as_millis()).unwrap_or(i32::MAX));
        let frame = self.header.frame(&body);
        self.send_frame(frame, by_time);
    }

    /// Answers with a whole frame, its length first.
    pub fn send_frame(self, frame: Result<Bytes, EncodeError>, throttle: Duration) {
        match frame {
            Ok(frame) => {
                self.send_whole(frame.slice(LENGTH_BYTES..), throttle);
            }
            // Only a broken limit elsewhere can make an answer longer than its own length fields.
            Err(error) => self.refuse(error.to_string()),
        }
    }

    /// Answers with `head` (response header and the body's beginning, without the length) and what follows it.
    pub fn send_parts(self, head: Bytes, parts: Vec<Part>, throttle: Duration) {
        match self.target {
            Target::Client { replies, slot } => {
                replies.reply(slot, Reply::with_parts(head, parts).throttled(throttle));
            }
            Target::Peer(answer) if parts.is_empty() => answer.give(head, throttle),
            Target::Peer(answer) => answer.refuse("answers with records are not forwarded".to_owned()),
        }
    }

    /// Says nothing, as for a produce without acks.
    pub fn silent(self, throttle: Duration) {
        if let Target::Client { replies, slot } = self.target {
            replies.reply(slot, Reply::none().throttled(throttle));
        }
    }

    /// Ends the connection once the answers before this one are sent.
    pub fn refuse(self, why: impl Into<std::borrow::Cow<'static, str>>) {
        match self.target {
            Target::Client { replies, slot } => replies.reply(slot, Reply::close(why)),
            Target::Peer(answer) => answer.refuse(why.into().into_owned()),
        }
    }
}
