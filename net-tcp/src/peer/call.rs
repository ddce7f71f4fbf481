//! Connecting to an address and saying hello: what dialing a peer and asking who is there have in common.

use super::Shared;
use super::handshake::{self, HandshakeError};
use crate::client::Dial;
use highwater_core::ids::BrokerId;
use highwater_core::transport::{Hello, HelloAnswer, PeerAddress};
use std::fmt;
use std::io;
use tokio::time::timeout;

/// Why nobody answered.
#[derive(Debug)]
pub(super) enum CallError {
    /// Nothing could be connected to.
    Connect(io::Error),
    /// It takes too long.
    TimedOut(&'static str),
    /// Whoever is there does not speak as a node.
    Handshake(HandshakeError),
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(error) => error.fmt(f),
            Self::TimedOut(what) => write!(f, "{what} takes too long"),
            Self::Handshake(error) => error.fmt(f),
        }
    }
}

/// A new connection, and what was answered to the hello on it.
pub(super) struct Called<S> {
    pub(super) stream: S,
    pub(super) answer: HelloAnswer,
    /// Where others are, if that was told.
    pub(super) others: Vec<(BrokerId, PeerAddress)>,
}

impl<D: Dial> Shared<D> {
    /// Connects to an address and says hello.
    pub(super) async fn call(&self, at: &PeerAddress, hello: &Hello) -> Result<Called<D::Stream>, CallError> {
        let stream = timeout(self.options.connect_max, self.dial.dial(&at.host, at.port)).await;
        let mut stream =
            stream.map_err(|_| CallError::TimedOut("connecting"))?.map_err(CallError::Connect)?;
        let answer = timeout(self.options.hello_max, handshake::call(&mut stream, hello)).await;
        let answer = answer.map_err(|_| CallError::TimedOut("the answer to the hello"))?;
        let (answer, others) = answer.map_err(CallError::Handshake)?;
        Ok(Called { stream, answer, others })
    }
}
