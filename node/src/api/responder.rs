//! Where one request's answer goes, and in which shape its client expects it.

use crate::controller::NotController;
use bytes::Bytes;
use highwater_net_tcp::{Part, Reply, ReplyQueue, Slot};
use highwater_protocol::{EncodeError, Message, ResponseHeader};
use std::time::Duration;

/// The length in front of an encoded frame, which the connection writes itself.
pub(super) const LENGTH_BYTES: usize = 4;

/// The answer to one request, still to be given. Can be kept and used from anywhere; a connection that is gone
/// ignores it.
#[derive(Debug)]
#[must_use = "a request without an answer blocks its connection"]
pub struct Responder {
    replies: ReplyQueue,
    slot: Slot,
    header: ResponseHeader,
}

impl Responder {
    /// The answer to the request in `slot`.
    pub fn new(replies: &ReplyQueue, slot: Slot, header: ResponseHeader) -> Self {
        Self { replies: replies.clone(), slot, header }
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
        self.replies.is_closed()
    }

    /// Answers.
    pub fn send(self, body: &impl Message) {
        self.send_throttled(body, Duration::ZERO);
    }

    /// Answers with what the controller planned. If it is another node by now, the connection is closed, as when a
    /// controller dies: the client asks again, and the answer to that tells whether it was done.
    pub fn send_planned(self, planned: Result<impl Message, NotController>) {
        match planned {
            Ok(body) => self.send(&body),
            Err(error) => self.refuse(error.to_string()),
        }
    }

    /// Answers at once and mutes the connection for `throttle` (KIP-219), which the body must carry itself.
    pub fn send_throttled(self, body: &impl Message, throttle: Duration) {
        let frame = self.header.frame(body);
        self.send_frame(frame, throttle);
    }

    /// Answers with a whole frame, its length first.
    pub fn send_frame(self, frame: Result<Bytes, EncodeError>, throttle: Duration) {
        match frame {
            Ok(frame) => {
                self.replies.reply(self.slot, Reply::new(frame.slice(LENGTH_BYTES..)).throttled(throttle));
            }
            // Only a broken limit elsewhere can make an answer longer than its own length fields.
            Err(error) => self.refuse(error.to_string()),
        }
    }

    /// Answers with `head` (response header and the body's beginning, without the length) and what follows it.
    pub fn send_parts(self, head: Bytes, parts: Vec<Part>, throttle: Duration) {
        self.replies.reply(self.slot, Reply::with_parts(head, parts).throttled(throttle));
    }

    /// Says nothing, as for a produce without acks.
    pub fn silent(self, throttle: Duration) {
        self.replies.reply(self.slot, Reply::none().throttled(throttle));
    }

    /// Ends the connection once the answers before this one are sent.
    pub fn refuse(self, why: impl Into<std::borrow::Cow<'static, str>>) {
        self.replies.reply(self.slot, Reply::close(why));
    }
}
