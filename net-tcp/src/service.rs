//! What a server serves: the seam between the wire and a node.

use crate::api_table::ApiTable;
use crate::close::CloseReason;
use crate::reply::{ReplyQueue, Slot};
use bytes::Bytes;
use highwater_core::time::Instant;
use std::collections::VecDeque;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// A connection's number, unique for the life of its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What is known of a connection from its first moment.
#[derive(Clone, Debug)]
pub struct ConnInfo {
    /// The connection's number.
    pub id: ConnId,
    /// Where the client is.
    pub peer: SocketAddr,
    /// The listener that it came through (`PLAINTEXT`, `EXTERNAL`, ..).
    pub listener: Arc<str>,
}

/// A connection as the service sees it. Only its own task touches it, so nothing in here needs a lock.
#[derive(Debug)]
pub struct ConnCtx<T> {
    /// Who is there.
    pub info: ConnInfo,
    /// What the service keeps for the connection: client software, fetch sessions, a principal.
    pub state: T,
}

/// The header of a request, of whatever header version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHeader {
    /// Which API. Always one that the table offers.
    pub api_key: i16,
    /// Its version. Always one that the table serves.
    pub api_version: i16,
    /// The client's number for the request, to be sent back.
    pub correlation_id: i32,
    /// The client's name for itself. One allocation as long as it does not change.
    pub client_id: Option<Arc<str>>,
}

/// A request whose header is parsed and whose API and version are served.
#[derive(Clone, Debug)]
pub struct Request {
    /// Where its answer goes.
    pub slot: Slot,
    /// Its header.
    pub header: RequestHeader,
    /// What follows the header: a slice of the read buffer. Whoever keeps a few bytes of it for long copies them,
    /// or keeps the whole buffer alive.
    pub body: Bytes,
    /// When its last byte was read, on the server's clock.
    pub received_at: Instant,
}

/// The requests that are buffered and may be handled now, in the order received.
///
/// Ends early when an answer throttles the connection or too many answer bytes wait for the peer; what is left
/// is offered again later. So take and handle one at a time.
#[derive(Debug)]
pub struct Requests<'a> {
    pending: &'a mut VecDeque<Request>,
    replies: &'a ReplyQueue,
    reply_bytes_unsent_max: u64,
    taken: usize,
}

impl<'a> Requests<'a> {
    pub(crate) fn new(
        pending: &'a mut VecDeque<Request>,
        replies: &'a ReplyQueue,
        reply_bytes_unsent_max: u64,
    ) -> Self {
        Self { pending, replies, reply_bytes_unsent_max, taken: 0 }
    }

    pub(crate) fn taken(&self) -> usize {
        self.taken
    }
}

impl Iterator for Requests<'_> {
    type Item = Request;

    fn next(&mut self) -> Option<Request> {
        if self.replies.is_throttled() || self.replies.bytes_unsent() >= self.reply_bytes_unsent_max {
            return None;
        }
        let request = self.pending.pop_front()?;
        self.taken += 1;
        Some(request)
    }
}

/// Serves the requests of all connections of a server.
///
/// Every method is called on a connection's own task and must not block. For one connection the calls are
/// `connected`, any number of `handle`, `disconnected`, never two at a time.
pub trait Service: Send + Sync + 'static {
    /// What the service keeps per connection.
    type State: Send + 'static;

    /// What is offered. Asked once per connection.
    fn api_table(&self) -> Arc<ApiTable>;

    /// Whether an address may connect now. If not, the connection is closed after the time in the error.
    fn admits(&self, _peer: IpAddr) -> Result<(), Duration> {
        Ok(())
    }

    /// A connection is there. `replies` is its queue for its whole life.
    fn connected(&self, conn: &ConnInfo, replies: &ReplyQueue) -> Self::State;

    /// Requests are there: all that are buffered, so that one lock or one append can serve many. Each gets
    /// exactly one [`crate::Reply`], during this call or at any time after it.
    fn handle(&self, conn: &mut ConnCtx<Self::State>, batch: &mut Requests<'_>, replies: &ReplyQueue);

    /// The connection is gone; answers that are still to come are no longer wanted.
    ///
    /// Not called when the whole runtime is torn down, nor for a node that the simulator kills.
    fn disconnected(&self, conn: ConnCtx<Self::State>, reason: &CloseReason);
}
