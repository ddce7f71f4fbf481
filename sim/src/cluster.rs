//! The simulated machine: a real broker on a simulated disk and network, started, killed and started again.
//!
//! Kills and power cuts happen here, and right behind each start, before any client is let in again, what the crash
//! left is held against what was there before it.

use crate::check::log::{self, Cut, LogDump};
use crate::check::{coordinator, records};
use crate::client::{BROKER_HOST, BROKER_PORT, World};
use crate::disk::{DiskFaults, SimDisk};
use crate::history::PartitionKey;
use crate::meta_store::SimMetaStore;
use crate::network::SimListen;
use crate::rng::Rng;
use highwater::broker::Broker;
use highwater::node::{Node, NodeSetup, Platform};
use highwater::partition::Partition;
use highwater_core::config::ConfigMap;
use highwater_core::ids::BrokerId;
use highwater_core::metadata::Endpoint;
use highwater_protocol::Uuid;
use madsim::runtime::{Handle, NodeHandle};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The internal topic that is compacted: its batches change while it lies there.
const COMPACTED: &str = "__consumer_offsets";

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
pub struct Cluster {
    world: Arc<World>,
    rng: Rng,
    config: ConfigMap,
    disk: SimDisk,
    meta: Arc<SimMetaStore>,
    machine: NodeHandle,
    slot: Arc<Mutex<Option<Started>>>,
    node: Option<Arc<Node>>,
    left: Left,
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

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("disk", &self.disk).finish_non_exhaustive()
    }
}

fn key(partition: &Partition) -> PartitionKey {
    (Uuid(partition.id().topic_id.0), partition.id().partition.0)
}

impl Cluster {
    /// A machine with an empty disk, not started.
    pub fn new(world: &Arc<World>, mut rng: Rng, config: ConfigMap) -> Self {
        let ip = BROKER_HOST.parse().expect("the broker's host is an address");
        let machine = Handle::current().create_node().name("broker").ip(ip).build();
        let disk = SimDisk::new(rng.next_u64());
        Self {
            world: world.clone(),
            rng,
            config,
            disk,
            meta: Arc::default(),
            machine,
            slot: Arc::default(),
            node: None,
            left: Left::default(),
        }
    }

    /// The disk as the present incarnation has it.
    pub const fn disk(&self) -> &SimDisk {
        &self.disk
    }

    /// Sets what goes wrong with the disk.
    pub fn inject(&self, faults: DiskFaults) {
        self.world.note(format_args!("disk: {faults:?}"));
        self.disk.inject(faults);
    }

    /// Starts the node and checks what it finds. Whether it runs.
    pub async fn start(&mut self) -> bool {
        self.world.note("start");
        let disk = self.disk.clone();
        let config = self.node_config();
        let meta = self.meta.clone();
        let platform = Platform {
            disk: Arc::new(disk.clone()),
            open_meta_store: Box::new(move |_| Ok(meta)),
            open_peers: highwater::peers::alone(),
            control: tokio::runtime::Handle::current(),
        };
        let (world, slot, left) = (self.world.clone(), self.slot.clone(), self.left.clone());
        self.machine.spawn(async move {
            let addr = SocketAddr::new(BROKER_HOST.parse().expect("an address"), BROKER_PORT);
            let listener = SimListen::bind(addr, world.net.clone(), disk).await;
            let listener = listener.expect("nobody else listens: the last incarnation was killed");
            let started = match Broker::start(config, platform, vec![("PLAINTEXT".to_owned(), listener)]) {
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
        NodeSetup {
            node_id: BrokerId(1),
            data_dir: PathBuf::from("/data"),
            cluster_id: None,
            initial_controllers: Vec::new(),
            fixed: self.config.clone(),
            endpoints: vec![Endpoint {
                listener: "PLAINTEXT".to_owned(),
                host: BROKER_HOST.to_owned(),
                port: BROKER_PORT,
            }],
            peer_address: None,
            open_files_max: *self.rng.pick(&[4, 64]),
            seed: self.rng.bytes32(),
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
                    self.world.note(format_args!("the node does not start: {error}"));
                    return false;
                }
            }
        }
        self.world.note("the node does not start in time");
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
        self.world.note("clean stop");
        let Some(Started::Up(broker)) = lock(&self.slot).take() else { return };
        let stopped = self.machine.spawn(async move { broker.shutdown().await });
        match stopped.await {
            Ok(Ok(())) => {
                self.look_at_logs();
                let ends = self.left.logs.iter().map(|(key, (_, dump))| (*key, dump.end));
                self.left.flushed = ends.collect();
            }
            Ok(Err(error)) => self.world.note(format_args!("the stop was not clean: {error}")),
            Err(error) => self.world.note(format_args!("the stop did not end: {error}")),
        }
    }

    /// Ends the present incarnation.
    pub fn end(&mut self, how: End) {
        let is_frozen = self.disk.is_frozen();
        self.world
            .note(format_args!("{how:?} after {} disk operations, frozen {is_frozen}", self.disk.ops()));
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
        let may_lose = how == End::PowerCut && !self.world.is_durable && !(is_clean && !is_frozen);
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
                Err(what) => self.world.note(format_args!("not looked at: {what}")),
            }
        }
        self.left.flushed.retain(|key, _| self.left.logs.contains_key(key));
    }

    /// Stops for a while and goes on, as a process that the operating system does not schedule.
    pub async fn pause(&mut self, ms: u64) {
        self.world.note(format_args!("pause for {ms} ms"));
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

fn check_node(world: &World, node: &Node) {
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
                history.judge("O1", records::acked_records_stay(&known, &dump));
                history.judge("O2", records::seen_records_stay(&known, &dump));
                history.judge("O13", records::deleted_records_stay_away(&known, &dump));
                history.judge("O17", records::only_sent_records(&known, &dump));
                history.judge("O3", records::no_duplicates(topic, &dump));
                history.judge("O4", records::sends_are_in_order(topic, &dump));
                history.partitions.insert(key(&partition), known);
            }
            Err(what) => history.complain("O41", what),
        }
    }
}
