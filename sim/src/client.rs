//! A simulated client: connections that it makes again when they break, whom it asks for what, and what all clients of
//! a run share.

use crate::history::{History, PartitionKey};
use crate::network::{NetFaults, SimDial};
use crate::rng::Rng;
use crate::trace::Trace;
use highwater_net_tcp::client::{ClientOptions, Connection};
use highwater_protocol::messages::{FindCoordinatorRequest, MetadataRequest, MetadataResponse};
use highwater_protocol::{ErrorCode, Request, Uuid};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Where every broker listens for clients.
pub const BROKER_PORT: u16 = 9092;

/// The machine that all clients are on.
pub const CLIENTS_HOST: &str = "10.0.1.1";

/// The host of a node.
pub fn node_host(id: i32) -> String {
    format!("10.0.0.{id}")
}

/// What a run's clients, oracles and chaos share.
#[derive(Debug)]
pub struct World {
    history: Mutex<History>,
    trace: Mutex<Trace>,
    /// The hosts of all nodes.
    pub hosts: Vec<String>,
    /// The network.
    pub net: Arc<NetFaults>,
    /// Whether records answered with acks=all survive a power cut.
    pub is_durable: bool,
    is_calm: AtomicBool,
    is_stopping: AtomicBool,
}

impl World {
    /// A world in which nothing has happened.
    pub fn new(nodes: usize, net: Arc<NetFaults>, is_durable: bool, is_printing: bool) -> Arc<Self> {
        Arc::new(Self {
            hosts: (1..).take(nodes).map(node_host).collect(),
            history: Mutex::default(),
            trace: Mutex::new(Trace::new(is_printing)),
            net,
            is_durable,
            is_calm: AtomicBool::new(false),
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

    /// Nothing goes wrong from now on.
    pub fn calm(&self) {
        self.is_calm.store(true, Ordering::Relaxed);
    }

    /// Whether the faults are over.
    pub fn is_calm(&self) -> bool {
        self.is_calm.load(Ordering::Relaxed)
    }

    /// Asks the clients to finish what they do.
    pub fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
    }

    /// Whoever begins now is not asked to end.
    pub fn go_on(&self) {
        self.is_stopping.store(false, Ordering::Relaxed);
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

/// Where a request goes.
#[derive(Clone, Copy, Debug)]
pub enum To<'a> {
    /// Any broker.
    Any,
    /// This broker.
    Broker(i32),
    /// The leader of a partition.
    Leader(PartitionKey),
    /// The coordinator of a group.
    Coordinator(&'a str),
    /// The active controller, or any broker, which forwards it.
    Controller,
}

/// What a client knows of the cluster.
#[derive(Debug, Default)]
struct Routes {
    hosts: BTreeMap<i32, String>,
    /// Who leads, in which epoch.
    leaders: BTreeMap<PartitionKey, (i32, i32)>,
    controller: i32,
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
    /// By host.
    connections: BTreeMap<String, Connection>,
    routes: Option<Routes>,
    /// Who leads each partition in the newest epoch that anybody told of. A broker that is cut off still answers, with
    /// what was true before (KIP-320).
    newest: BTreeMap<PartitionKey, (i32, i32)>,
    coordinators: BTreeMap<String, i32>,
}

impl Client {
    /// A client that connects when it first asks.
    pub fn new(world: &Arc<World>, rng: Rng, name: impl Into<String>) -> Self {
        Self {
            world: world.clone(),
            rng,
            name: name.into(),
            connections: BTreeMap::new(),
            routes: None,
            newest: BTreeMap::new(),
            coordinators: BTreeMap::new(),
        }
    }

    /// Notes an event in the trace under this client's name.
    pub fn note(&self, event: impl Display) {
        self.world.note(format_args!("{}: {event}", self.name));
    }

    /// A live connection to whom the request goes, or after a pause none.
    pub async fn connection(&mut self, to: To<'_>) -> Option<Connection> {
        let host = self.host(to).await?;
        self.connection_to(&host).await
    }

    async fn connection_to(&mut self, host: &str) -> Option<Connection> {
        if let Some(connection) = self.connections.get(host).filter(|c| !c.is_closed()) {
            return Some(connection.clone());
        }
        let here = CLIENTS_HOST.parse().expect("an address");
        let dial = SimDial { faults: self.world.net.clone(), here, disk: None };
        let options = ClientOptions {
            client_id: self.name.clone(),
            connect_max: Duration::from_secs(1),
            request_max: Duration::from_secs(3),
            ..ClientOptions::default()
        };
        if let Ok(connection) = Connection::connect(&dial, host, BROKER_PORT, options).await {
            self.connections.insert(host.to_owned(), connection.clone());
            return Some(connection);
        }
        self.reroute();
        self.pause().await;
        None
    }

    async fn host(&mut self, to: To<'_>) -> Option<String> {
        let broker = match to {
            To::Any => return Some(self.any_host()),
            To::Controller if self.rng.happens(500) => return Some(self.any_host()),
            To::Controller => self.routes().await?.controller,
            To::Broker(broker) => broker,
            To::Leader(key) => self.leader(key).await?.0,
            To::Coordinator(group) => self.coordinator(group).await?,
        };
        let host = self.routes().await?.hosts.get(&broker).cloned();
        if host.is_none() {
            self.reroute();
            self.pause().await;
        }
        host
    }

    fn any_host(&mut self) -> String {
        self.rng.pick(&self.world.hosts).clone()
    }

    /// Who leads a partition, in which epoch; after a pause nobody.
    pub async fn leader(&mut self, key: PartitionKey) -> Option<(i32, i32)> {
        let leader = self.routes().await?.leaders.get(&key).copied().filter(|(leader, _)| *leader >= 0);
        if leader.is_none() {
            self.reroute();
            self.pause().await;
        }
        leader
    }

    async fn routes(&mut self) -> Option<&Routes> {
        if self.routes.is_none() {
            let request =
                MetadataRequest { topics: None, allow_auto_topic_creation: false, ..Default::default() };
            let host = self.any_host();
            let answer = self.ask_host(&host, &request).await?;
            self.routes = Some(Routes::of(&answer, &mut self.newest));
        }
        self.routes.as_ref()
    }

    /// The coordinator of a group; after a pause nobody.
    pub async fn coordinator(&mut self, group: &str) -> Option<i32> {
        if let Some(known) = self.coordinators.get(group) {
            return Some(*known);
        }
        let request =
            FindCoordinatorRequest { coordinator_keys: vec![group.to_owned()], ..Default::default() };
        let host = self.any_host();
        let answer = self.ask_host(&host, &request).await?;
        let found = answer.coordinators.first()?;
        if found.error_code.is_error() {
            self.pause().await;
            return None;
        }
        self.coordinators.insert(group.to_owned(), found.node_id);
        Some(found.node_id)
    }

    /// What is known of the cluster may be old.
    pub fn reroute(&mut self) {
        self.routes = None;
        self.coordinators.clear();
    }

    /// As [`Client::reroute`] if a broker has answered with an error.
    pub fn heed(&mut self, code: ErrorCode) {
        if code.is_error() {
            self.reroute();
        }
    }

    /// Gives all connections up: answers under way are lost.
    pub fn disconnect(&mut self) {
        self.connections.clear();
    }

    /// Asks once; nothing if the answer does not come.
    pub async fn ask<R: Request>(&mut self, to: To<'_>, request: &R) -> Option<R::Response> {
        let host = self.host(to).await?;
        self.ask_host(&host, request).await
    }

    async fn ask_host<R: Request>(&mut self, host: &str, request: &R) -> Option<R::Response> {
        let connection = self.connection_to(host).await?;
        match connection.send(request).await {
            Ok(answer) => Some(answer),
            Err(error) => {
                self.note(format_args!("{} got no answer: {error}", R::KEY));
                self.connections.remove(host);
                self.reroute();
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

impl Routes {
    /// What a broker tells, where nobody told of a newer leader before.
    fn of(answer: &MetadataResponse, newest: &mut BTreeMap<PartitionKey, (i32, i32)>) -> Self {
        let hosts = answer.brokers.iter().map(|broker| (broker.node_id, broker.host.clone())).collect();
        let mut leaders = BTreeMap::new();
        for topic in &answer.topics {
            for partition in &topic.partitions {
                let key = (topic.topic_id, partition.partition_index);
                let told = (partition.leader_id, partition.leader_epoch);
                let known = newest.entry(key).or_insert(told);
                if told.1 >= known.1 {
                    *known = told;
                }
                leaders.insert(key, *known);
            }
        }
        Self { hosts, leaders, controller: answer.controller_id }
    }
}
