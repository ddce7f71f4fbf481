//! Our own small Kafka client, for the command line and the simulator.
//!
//! It speaks to any Kafka-compatible broker. What it decides (partitioning, batching, assignment) is in
//! `core::client`; here are the connections and the waiting.
//!
//! - [`Connection`]: one broker, pipelined requests by type;
//! - [`Cluster`]: bootstrap, metadata, connections by broker, retries;
//! - [`Producer`] and [`Consumer`] on top of it.

mod cluster;
mod connection;
mod consumer;
mod error;
mod membership;
pub mod offsets;
mod producer;

pub use cluster::{BrokerAddress, Cluster, ClusterOptions, Partition, Topic};
pub use connection::{ClientOptions, Connection, Pending};
pub use consumer::{ConsumedRecord, Consumer, ConsumerOptions, Reset};
pub use error::ClientError;
pub use membership::MembershipOptions;
pub use producer::{Acks, InFlight, Producer, ProducerOptions, RecordMetadata, SendError};

use crate::listener::{SocketOptions, Stream};
use std::future::Future;
use std::io;
use tokio::net::TcpStream;

/// How a client reaches a broker.
pub trait Dial: Send + Sync + 'static {
    /// What a connection lives on.
    type Stream: Stream;

    /// Connects to an address as a broker advertises it.
    fn dial(&self, host: &str, port: u16) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

/// Connects by TCP.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpDial {
    /// What is set on each socket.
    pub options: SocketOptions,
}

impl Dial for TcpDial {
    type Stream = TcpStream;

    async fn dial(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        let stream = TcpStream::connect((host, port)).await?;
        self.options.apply(&stream)?;
        Ok(stream)
    }
}
