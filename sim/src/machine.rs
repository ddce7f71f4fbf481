//! A simulated machine: a real node on a simulated disk and network, started, killed and started again. It may be
//! alone or one of a cluster.
//!
//! Kills and power cuts happen here, and right behind each start, before any client is let in again, what the crash
//! left is held against what was there before it.

use crate::check::log::{self, Cut, LogDump};
use crate::check::{coordinator, records};
use crate::client::{BROKER_PORT, World, node_host};
use crate::disk::{DiskFaults, SimDisk};
use crate::history::PartitionKey;
use crate::meta_store::SimMetaStore;
use crate::network::{SimDial, SimListen};
use crate::rng::Rng;
use highwater::broker::Broker;
use highwater::controller::InitialController;
use highwater::log::LogError;
use highwater::node::{Node, NodeSetup, Platform};
use highwater::partition::Partition;
use highwater_core::config::ConfigMap;
use highwater_core::ids::BrokerId;
use highwater_core::metadata::Endpoint;
use highwater_core::replica::{Offline, Role};
use highwater_core::transport::PeerAddress;
use highwater_protocol::Uuid;
use madsim::runtime::{Handle, NodeHandle};
use madsim::task::{JoinError, JoinHandle};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The internal topic that is compacted: its batches change while it lies there.
const COMPACTED: &str = "__consumer_offsets";

/// Where a node of a cluster listens for the others.
const PEER_PORT: u16 = 9192;

/// So much metadata lies between two snapshots, if a run says nothing else.
const SNAPSHOT_BYTES: u32 = 8 << 10;

/// How long a start may take.
const START_TIME_MAX: Duration = Duration::from_secs(10);

/// How an incarnation of the node ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The process dies; the page cache stays.
    Kill,
    /// The machine goes down; what was not synced may be lost.
    PowerCut,
}

/// What a start came to.
#[derive(Debug)]
enum Started {
    Up(Broker),
    Failed(String),
}

/// The machine.
pub struct Machine {
    id: i32,
    ip: IpAddr,
    world: Arc<World>,
    rng: Rng,
    config: ConfigMap,
    disk: SimDisk,
    meta: Arc<SimMetaStore>,
    machine: NodeHandle,
    slot: Arc<Mutex<Option<Started>>>,
    node: Option<Arc<Node>>,
    left: Left,
    is_still: bool,
    incarnation: [u8; 8],
    /// The cluster's controllers; none for a node that is alone.
    controllers: Vec<i32>,
}

/// What the last incarnation left behind, as far as it was seen.
#[derive(Clone, Debug, Default)]
struct Left {
    logs: BTreeMap<PartitionKey, (String, LogDump)>,
    flushed: BTreeMap<PartitionKey, i64>,
    cut: Option<Cut>,
    /// A power cut took what the policy lets it take.
    is_loss: bool,
}

impl std::fmt::Debug for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Machine").field("id", &self.id).field("disk", &self.disk).finish_non_exhaustive()
    }
}

fn key(partition: &Partition) -> PartitionKey {
    (Uuid(partition.id().topic_id.0), partition.id().partition.0)
}

impl Machine {
    /// A machine with an empty disk, not started.
    pub fn new(world: &Arc<World>, mut rng: Rng, id: i32, mut config: ConfigMap) -> Self {
        // So that runs of minutes see snapshots of the metadata come and go.
        let snapshots = "metadata.log.max.record.bytes.between.snapshots".to_owned();
        config.entry(snapshots).or_insert_with(|| SNAPSHOT_BYTES.to_string());
        let ip = node_host(id).parse().expect("a node's host is an address");
        let machine = Handle::current().create_node().name(format!("node-{id}")).ip(ip).build();
        let disk = SimDisk::new(rng.next_u64());
        Self {
            id,
            ip,
            world: world.clone(),
            rng,
            config,
            disk,
            meta: Arc::default(),
            machine,
            slot: Arc::default(),
            node: None,
            left: Left::default(),
            is_still: false,
            incarnation: [0; 8],
            controllers: Vec::new(),
        }
    }

    /// The machine of a node that founds or joins a cluster with these controllers.
    #[must_use]
    pub fn with_controllers(mut self, controllers: &[i32]) -> Self {
        self.controllers = controllers.to_vec();
        self
    }

    /// The node's id.
    pub const fn id(&self) -> i32 {
        self.id
    }

    /// The machine's address.
    pub const fn ip(&self) -> IpAddr {
        self.ip
    }

    /// The node, if it runs.
    pub const fn node(&self) -> Option<&Arc<Node>> {
        self.node.as_ref()
    }

    /// Notes an event in the trace under this machine's name.
    fn note(&self, event: impl std::fmt::Display) {
        self.world.note(format_args!("node {}: {event}", self.id));
    }

    /// Whether the node runs with a log to which nothing can be written any more.
    pub fn has_failed_log(&self) -> bool {
        let has_failed = |partition: &Arc<Partition>| {
            partition
                .inspect(|replica, _| matches!(replica.role(), Role::Offline(Offline::Storage)))
                .unwrap_or(true)
        };
        self.node.as_ref().is_some_and(|node| node.registry().all().iter().any(has_failed))
    }

    /// The disk as the present incarnation has it.
    pub const fn disk(&self) -> &SimDisk {
        &self.disk
    }

    /// Sets what goes wrong with the disk.
    pub fn inject(&self, faults: DiskFaults) {
        self.note(format_args!("disk: {faults:?}"));
        self.disk.inject(faults);
    }

    /// Starts the node and checks what it finds. Whether it runs.
    pub async fn start(&mut self) -> bool {
        self.note("start");
        let disk = self.disk.clone();
        let config = self.node_config();
        let meta = self.meta.clone();
        let is_alone = self.controllers.is_empty();
        let (ip, world, slot, left) = (self.ip, self.world.clone(), self.slot.clone(), self.left.clone());
        self.machine.spawn(async move {
            let clients = listen(ip, BROKER_PORT, &world, &disk).await;
            let open_peers = match is_alone {
                true => highwater::peers::alone(),
                false => {
                    let listener = listen(ip, PEER_PORT, &world, &disk).await;
                    let dial = SimDial { faults: world.net.clone(), here: ip, disk: Some(disk.clone()) };
                    highwater::peers::over(dial, listener)
                }
            };
            let platform = Platform {
                disk: Arc::new(disk),
                open_meta_store: Box::new(move |_| Ok(meta)),
                open_peers,
                control: tokio::runtime::Handle::current(),
            };
            let started = match Broker::start(config, platform, vec![("PLAINTEXT".to_owned(), clients)]) {
                Ok(broker) => {
                    after_start(&world, broker.node(), &left);
                    Started::Up(broker)
                }
                Err(error) => Started::Failed(error.to_string()),
            };
            *lock(&slot) = Some(started);
            std::future::pending::<()>().await;
        });
        self.wait_for_start().await
    }

    fn node_config(&mut self) -> NodeSetup {
        let seed = self.rng.bytes32();
        self.incarnation.copy_from_slice(&seed[24..]);
        NodeSetup {
            node_id: BrokerId(self.id),
            roles: highwater::config::Roles::default(),
            data_dir: PathBuf::from("/data"),
            cluster_id: None,
            initial_controllers: self.controllers.iter().map(|id| controller(*id)).collect(),
            bootstrap_servers: Vec::new(),
            fixed: self.config.clone(),
            endpoints: vec![Endpoint {
                listener: "PLAINTEXT".to_owned(),
                host: self.ip.to_string(),
                port: BROKER_PORT,
            }],
            peer_address: (!self.controllers.is_empty())
                .then(|| PeerAddress { host: self.ip.to_string(), port: PEER_PORT }),
            open_files_max: *self.rng.pick(&[4, 64]),
            connections_max: usize::MAX,
            seed,
        }
    }

    async fn wait_for_start(&mut self) -> bool {
        let mut waited = Duration::ZERO;
        while waited < START_TIME_MAX {
            tokio::time::sleep(Duration::from_millis(1)).await;
            waited += Duration::from_millis(1);
            match &*lock(&self.slot) {
                None => {}
                Some(Started::Up(broker)) => {
                    self.node = Some(broker.node().clone());
                    return true;
                }
                Some(Started::Failed(error)) => {
                    self.note(format_args!("the node does not start: {error}"));
                    return false;
                }
            }
        }
        self.note("the node does not start in time");
        false
    }

    /// Why the node did not start, if it did not.
    pub fn failure(&self) -> Option<String> {
        match &*lock(&self.slot) {
            Some(Started::Failed(error)) => Some(error.clone()),
            Some(Started::Up(_)) | None => None,
        }
    }

    /// Notes how far the logs are flushed; what a freeze will hide later must have been seen before it.
    pub fn observe(&mut self) {
        let Some(node) = &self.node else { return };
        if self.disk.is_frozen() {
            return;
        }
        for partition in node.registry().all() {
            if let Ok(flushed) = partition.inspect(|_, log| log.flushed_through().0) {
                self.left.flushed.insert(key(&partition), flushed);
            }
        }
    }

    /// Stops the node in an orderly way, as SIGTERM does; then everything must be on the device.
    pub async fn stop(&mut self) {
        if let Some(stopping) = self.begin_stop() {
            let outcome = stopping.await;
            self.has_stopped(outcome);
        }
    }

    /// Asks the node, if it runs, to stop.
    pub fn begin_stop(&mut self) -> Option<JoinHandle<Result<(), LogError>>> {
        self.note("clean stop");
        let Some(Started::Up(broker)) = lock(&self.slot).take() else { return None };
        Some(self.machine.spawn(async move { broker.shutdown().await }))
    }

    /// What came of a stop.
    pub fn has_stopped(&mut self, outcome: Result<Result<(), LogError>, JoinError>) {
        match outcome {
            // What a frozen disk answered is gone with this incarnation, and so is a stop that took it for done.
            Ok(Ok(())) if self.disk.is_frozen() => self.note("the disk was frozen before the stop was done"),
            Ok(Ok(())) => {
                self.look_at_logs();
                let ends = self.left.logs.iter().map(|(key, (_, dump))| (*key, dump.end));
                self.left.flushed = ends.collect();
            }
            Ok(Err(error)) => self.note(format_args!("the stop was not clean: {error}")),
            Err(error) => self.note(format_args!("the stop did not end: {error}")),
        }
    }

    /// Ends the present incarnation.
    pub fn end(&mut self, how: End) {
        let is_frozen = self.disk.is_frozen();
        self.go_on();
        self.note(format_args!("{how:?} after {} disk operations, frozen {is_frozen}", self.disk.ops()));
        self.observe();
        self.look_at_logs();
        Handle::current().kill(self.machine.id());
        *lock(&self.slot) = None;
        self.node = None;
        let is_clean =
            self.left.logs.iter().all(|(key, (_, dump))| self.left.flushed.get(key) == Some(&dump.end));
        self.disk = match how {
            End::Kill => self.disk.kill(),
            End::PowerCut => self.disk.power_cut(),
        };
        if how == End::PowerCut || self.rng.happens(500) {
            self.meta.crash();
        }
        if self.rng.happens(50) {
            self.meta.wipe();
        }
        let is_whole = how == End::Kill && !is_frozen;
        // What one of several loses, the others hold: within the budget nothing that was promised may be lost.
        let is_alone = self.world.hosts.len() == 1;
        let may_lose = is_alone && how == End::PowerCut && !self.world.is_durable && (is_frozen || !is_clean);
        self.left.cut = Some(if is_whole { Cut::Nothing } else { Cut::Unflushed });
        self.left.is_loss |= may_lose;
        let mut history = self.world.history();
        history.totals.crashes += 1;
        history.totals.frozen += u64::from(is_frozen);
        history.losses += u64::from(may_lose);
        drop(history);
        Handle::current().restart(self.machine.id());
        self.machine = Handle::current().get_node(self.machine.id()).expect("the machine is still there");
    }

    /// What was seen of this incarnation is settled: the next one is held against it only.
    pub fn settle(&mut self) {
        self.left = Left::default();
        self.observe();
    }

    fn look_at_logs(&mut self) {
        let Some(node) = &self.node else { return };
        self.left.logs.clear();
        for partition in node.registry().all() {
            match LogDump::of(&partition) {
                Ok(dump) => {
                    self.left.logs.insert(key(&partition), (partition.topic().to_string(), dump));
                }
                Err(what) => self.note(format_args!("not looked at: {what}")),
            }
        }
        self.left.flushed.retain(|key, _| self.left.logs.contains_key(key));
    }

    /// Stops for a while and goes on, as a process that the operating system does not schedule.
    pub async fn pause(&mut self, ms: u64) {
        self.note(format_args!("pause for {ms} ms"));
        Handle::current().pause(self.machine.id());
        tokio::time::sleep(Duration::from_millis(ms)).await;
        Handle::current().resume(self.machine.id());
    }

    /// Holds the running node against everything known (O1, O2, O3, O4, O13, O15, O17, O24).
    pub fn check(&self) {
        if let Some(node) = &self.node {
            check_node(&self.world, node);
        }
    }

    /// The process stands still.
    pub fn stand_still(&mut self) {
        self.note("stands still");
        self.is_still = true;
        Handle::current().pause(self.machine.id());
    }

    /// It goes on, with old timers.
    pub fn go_on(&mut self) {
        if std::mem::take(&mut self.is_still) {
            self.note("goes on");
            Handle::current().resume(self.machine.id());
        }
    }

    /// Whether it stands still.
    pub const fn is_still(&self) -> bool {
        self.is_still
    }

    /// What was drawn for the node that runs, or ran last: the end of its incarnation id.
    pub const fn incarnation(&self) -> [u8; 8] {
        self.incarnation
    }

    /// A new, empty disk takes the place of the old one. The node must not run.
    pub fn wipe(&mut self) {
        assert!(self.node.is_none(), "a disk is replaced while the node does not run");
        self.note("gets an empty disk");
        self.disk = SimDisk::new(self.rng.next_u64());
        self.meta = Arc::default();
        self.left = Left::default();
    }
}

/// A controller that a cluster begins with.
fn controller(id: i32) -> InitialController {
    InitialController { id: BrokerId(id), host: node_host(id), port: PEER_PORT, directory_id: None }
}

async fn listen(ip: IpAddr, port: u16, world: &World, disk: &SimDisk) -> SimListen {
    let listener = SimListen::bind(SocketAddr::new(ip, port), world.net.clone(), disk.clone()).await;
    listener.expect("nobody else listens: the last incarnation was killed")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs in the node's first task, before any client can be answered.
fn after_start(world: &World, node: &Node, left: &Left) {
    for (key, (topic, before)) in &left.logs {
        let id = highwater_core::ids::TopicPartition {
            topic_id: highwater_core::ids::TopicId(key.0.0),
            partition: highwater_core::ids::PartitionIndex(key.1),
        };
        if node.image().topic_by_id(id.topic_id).is_none() {
            continue;
        }
        let Some(partition) = node.registry().get(id) else {
            let entry = node.registry().entry(id);
            if entry.is_none() && world.hosts.len() > 1 {
                continue; // one of several opens what it holds once it hears what that is
            }
            world.history().complain("O40", format_args!("{topic} {} does not open: {entry:?}", key.1));
            continue;
        };
        let after = match LogDump::of(&partition) {
            Ok(after) => after,
            Err(what) => {
                world.history().complain("O40", what);
                continue;
            }
        };
        let (start, end) = (after.start, after.end);
        world.note(format_args!(
            "{topic} {}: {start} to {end}, was {} to {}",
            key.1, before.start, before.end
        ));
        let flushed = left.flushed.get(key).copied().unwrap_or(0);
        let mut history = world.history();
        if let Some(cut) = left.cut.filter(|_| topic != COMPACTED) {
            history.judge("O40", log::log_is_a_prefix(topic, before, &after, cut, flushed));
        }
        if left.is_loss {
            history.lose_from(*key, after.end);
        }
    }
    if left.is_loss {
        let mut history = world.history();
        history.lose_groups();
        // Requests that left while the node was down still expect what is gone now.
        history.losses += 1;
    }
    check_node(world, node);
}

/// What a node holds by itself. Whether everything acknowledged is there can be asked of one that is alone only.
pub fn check_node(world: &World, node: &Node) {
    let is_alone = world.hosts.len() == 1;
    for partition in node.registry().all() {
        let topic = partition.topic();
        let dump = LogDump::of(&partition);
        let producers = partition.inspect(|replica, log| log::producers_match_scan(topic, replica, log));
        let groups = coordinator::state_is_the_logs_replay(&partition);
        let mut history = world.history();
        history.judge("O24", groups);
        if &**topic == COMPACTED {
            continue;
        }
        match producers {
            Ok(verdict) => history.judge("O15", verdict),
            Err(broken) => history.complain("panic", format_args!("{topic}: {broken}")),
        }
        match dump {
            Ok(dump) => {
                let known = history.partitions.remove(&key(&partition));
                let Some(known) = known else { continue };
                if is_alone {
                    history.judge("O1", records::acked_records_stay(&known, &dump));
                    history.judge("O2", records::seen_records_stay(&known, &dump));
                    history.judge("O13", records::deleted_records_stay_away(&known, &dump));
                }
                history.judge("O17", records::only_sent_records(&known, &dump));
                history.judge("O3", records::no_duplicates(topic, &dump));
                history.judge("O4", records::sends_are_in_order(topic, &dump));
                history.partitions.insert(key(&partition), known);
            }
            Err(what) => history.complain("O41", what),
        }
    }
}
