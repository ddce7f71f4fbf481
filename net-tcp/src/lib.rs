//! Transport over TCP: Kafka framing and connections for clients, frames between nodes ([`peer`]).
//!
//! The server side turns bytes into requests and replies into bytes; what a request means is the business of
//! a [`Service`]. Nothing here knows a node, a partition or a topic.
//!
//! ```text
//!  Listen ──accept──> Server ──spawn──> connection task ──handle(batch)──> Service
//!                       │                │  ▲                                │
//!                    admission        frames │ replies, in request order     │ reply(slot, ..), now or later
//!                                            └──────── ReplyQueue <──────────┘
//! ```
//!
//! One task owns a connection: it reads, hands every request that is already buffered to the service in one
//! call, and answers all that is finished with one write. A stream is anything that is `AsyncRead` and
//! `AsyncWrite` (see [`Stream`]), so that simulated networks carry clients, too.

#![forbid(unsafe_code)]

mod accepting;
mod admission;
mod api_table;
pub mod client;
mod close;
mod connection;
mod counters;
mod courtesy;
mod frame;
mod limits;
mod listener;
mod lockstep;
mod output;
pub mod peer;
mod reply;
mod server;
mod service;

pub use accepting::{ACCEPT_BACKOFF, AcceptFailure, AcceptTrouble};
pub use api_table::{ApiRange, ApiTable};
pub use close::CloseReason;
pub use counters::{Counters, CountersSnapshot};
pub use limits::{Limits, ListenerLimits};
pub use listener::{Listen, SocketOptions, Stream, TcpListen};
pub use reply::{FilePart, Part, Reply, ReplyQueue, Slot};
pub use server::Server;
pub use service::{ConnCtx, ConnId, ConnInfo, Request, RequestHeader, Requests, Service};
