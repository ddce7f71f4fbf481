//! A simulated client: one connection that it makes again when it breaks, and what all clients of a run share.

use crate::history::{History, PartitionKey};
use crate::network::{NetFaults, SimDial};
use crate::rng::Rng;
use crate::trace::Trace;
use highwater_net_tcp::client::{ClientOptions, Connection};
use highwater_protocol::{Request, Uuid};
use std::fmt::Display;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Where the broker listens.
pub const BROKER_HOST: &str = "10.0.0.1";
/// See [`BROKER_HOST`].
pub const BROKER_PORT: u16 = 9092;

/// What a run's clients, oracles and chaos share.
#[derive(Debug)]
pub struct World {
    history: Mutex<History>,
    trace: Mutex<Trace>,
    /// The network.
    pub net: Arc<NetFaults>,
    /// Whether records answered with acks=all survive a power cut.
    pub is_durable: bool,
    is_stopping: AtomicBool,
}

impl World {
    /// A world in which nothing has happened.
    pub fn new(net: Arc<NetFaults>, is_durable: bool, is_printing: bool) -> Arc<Self> {
        Arc::new(Self {
            history: Mutex::default(),
            trace: Mutex::new(Trace::new(is_printing)),
            net,
            is_durable,
            is_stopping: AtomicBool::new(false),
        })
    }

    /// What happened.
    pub fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes an event in the trace.
    pub fn note(&self, event: impl Display) {
        self.trace().note(event);
    }

    /// The trace.
    pub fn trace(&self) -> MutexGuard<'_, Trace> {
        self.trace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the clients to finish what they do.
    pub fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
    }

    /// Whether clients are to end.
    pub fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Relaxed) || self.history().complaint.is_some()
    }
}

/// A topic that clients use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: Uuid,
    /// How many partitions it has.
    pub partitions: i32,
}

impl TopicInfo {
    /// A partition's place in the history.
    pub const fn key(&self, partition: i32) -> PartitionKey {
        (self.id, partition)
    }
}

/// One client.
#[derive(Debug)]
pub struct Client {
    /// What it shares.
    pub world: Arc<World>,
    /// Its own randomness.
    pub rng: Rng,
    /// How the trace calls it.
    pub name: String,
    connection: Option<Connection>,
}

impl Client {
    /// A client that connects when it first asks.
    pub fn new(world: &Arc<World>, rng: Rng, name: impl Into<String>) -> Self {
        Self { world: world.clone(), rng, name: name.into(), connection: None }
    }

    /// Notes an event in the trace under this client's name.
    pub fn note(&self, event: impl Display) {
        self.world.note(format_args!("{}: {event}", self.name));
    }

    /// A live connection, or after a pause none.
    pub async fn connection(&mut self) -> Option<Connection> {
        if let Some(connection) = self.connection.clone().filter(|c| !c.is_closed()) {
            return Some(connection);
        }
        let dial = SimDial { faults: self.world.net.clone() };
        let options = ClientOptions {
            client_id: self.name.clone(),
            connect_max: Duration::from_secs(1),
            request_max: Duration::from_secs(3),
            ..ClientOptions::default()
        };
        if let Ok(connection) = Connection::connect(&dial, BROKER_HOST, BROKER_PORT, options).await {
            self.connection = Some(connection.clone());
            return Some(connection);
        }
        self.pause().await;
        None
    }

    /// Gives the connection up: answers under way are lost.
    pub fn disconnect(&mut self) {
        self.connection = None;
    }

    /// Asks once; nothing if the answer does not come.
    pub async fn ask<R: Request>(&mut self, request: &R) -> Option<R::Response> {
        let connection = self.connection().await?;
        match connection.send(request).await {
            Ok(answer) => Some(answer),
            Err(error) => {
                self.note(format_args!("{} got no answer: {error}", R::KEY));
                self.disconnect();
                self.pause().await;
                None
            }
        }
    }

    /// A retry's pause.
    pub async fn pause(&mut self) {
        let pause = self.rng.within(5, 60);
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }

    /// Sleeps for a drawn time.
    pub async fn rest(&mut self, ms_from: u64, ms_to: u64) {
        let rest = self.rng.within(ms_from, ms_to);
        tokio::time::sleep(Duration::from_millis(rest)).await;
    }
}
