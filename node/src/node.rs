//! A node: everything that one broker process (or one simulated one) owns, from its data directory to its sessions.
//!
//! Starting goes in this order: the data directory (which takes the lock and drops the clean-shutdown marker), the
//! metadata log, this broker's registration, the partitions, the workers. Only then are clients let in.

use crate::api::{FetchHub, Forwarder};
use crate::background::{self, Running};
use crate::clock::Clock;
use crate::config::Roles;
use crate::controller::{
    ControllerCell, ControllerSetup, InitialController, MetadataError, StartingController,
};
use crate::counters::Counters;
use crate::disk::Disk;
use crate::flusher::Flusher;
use crate::founding::{
    begin, broker_config_of, check_new, check_roles, incarnation, new_cluster_id, open_data_dir, open_peers,
    peer_endpoint, remembered_controllers,
};
use crate::housekeeping::{Housekeeper, Rolled};
use crate::jobs::Jobs;
use crate::log::{DataDir, DataDirError, FoundLog, LogError};
use crate::meta_store::{MetaStore, MetaStoreError};
use crate::partition::Shell;
use crate::peers::{OpenPeers, Peers};
use crate::producer_ids::ProducerIds;
use crate::registration::{Desk, Membership};
use crate::registry::Registry;
use crate::replication::Replication;
use crate::throttle::Throttles;
use crate::timers::Timers;
use highwater_core::config::{BrokerConfig, ConfigMap};
use highwater_core::fetch::SessionsLimits;
use highwater_core::ids::{BrokerEpoch, BrokerId, Offset};
use highwater_core::metadata::{Asker, Endpoint, METADATA_TOPIC, MetadataImage, PlanContext};
use highwater_core::random;
use highwater_core::transport::PeerAddress;
use highwater_protocol::Features;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::Duration;
use tokio::sync::watch;

/// What a node is started with.
#[derive(Clone, Debug)]
pub struct NodeSetup {
    /// This broker's id.
    pub node_id: BrokerId,
    /// What it is to its cluster.
    pub roles: Roles,
    /// Where its data are.
    pub data_dir: PathBuf,
    /// The cluster's id if it is given, for a new directory to take and an old one to have.
    pub cluster_id: Option<String>,
    /// The controllers of the cluster that this node founds or joins (KIP-853); none if it founds one alone, or knows
    /// them from its directory.
    pub initial_controllers: Vec<InitialController>,
    /// Where it asks for the quorum if it knows nobody of it.
    pub bootstrap_servers: Vec<PeerAddress>,
    /// What file, environment and command line say.
    pub fixed: ConfigMap,
    /// How clients reach it, by listener, with the ports that were really bound.
    pub endpoints: Vec<Endpoint>,
    /// How other nodes reach it, with the port that was really bound; `None` if no node can.
    pub peer_address: Option<PeerAddress>,
    /// How many segment files may be open at once.
    pub open_files_max: usize,
    /// How many clients may be connected at once, whatever `max.connections` says: files that logs need are none of
    /// theirs.
    pub connections_max: usize,
    /// Randomness for ids and sessions; in the simulator it follows from the run's seed.
    pub seed: [u8; 32],
}

/// What a node stands on.
pub struct Platform {
    /// Its disk.
    pub disk: Arc<dyn Disk>,
    /// Opens its store of what can be rebuilt, below the data directory and under its lock.
    pub open_meta_store: OpenMetaStore,
    /// Opens its door to other nodes.
    pub open_peers: OpenPeers,
    /// Where quorum, heartbeats and registration run, so that an append that waits for the disk cannot fence the
    /// node; in the simulator the same runtime as all else.
    pub control: tokio::runtime::Handle,
}

/// Opens the store of what can be rebuilt in a data directory.
pub type OpenMetaStore = Box<dyn FnOnce(&Path) -> Result<Arc<dyn MetaStore>, MetaStoreError> + Send>;

impl fmt::Debug for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Platform").field("disk", &self.disk).finish_non_exhaustive()
    }
}

/// Why a node does not start.
#[derive(Debug)]
pub enum StartError {
    /// Its data directory cannot be used.
    DataDir(DataDirError),
    /// Its metadata log cannot be used.
    Metadata(MetadataError),
    /// The log directories cannot be listed.
    Logs(LogError),
    /// The store of what can be rebuilt can neither be opened nor replaced.
    MetaStore(MetaStoreError),
    /// Its roles do not fit what its directory says of the quorum.
    Roles(String),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DataDir(error) => error.fmt(f),
            Self::Metadata(error) => error.fmt(f),
            Self::Logs(error) => error.fmt(f),
            Self::MetaStore(error) => error.fmt(f),
            Self::Roles(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::DataDir(error) => Some(error),
            Self::Metadata(error) => Some(error),
            Self::Logs(error) => Some(error),
            Self::MetaStore(error) => Some(error),
            Self::Roles(_) => None,
        }
    }
}

impl From<DataDirError> for StartError {
    fn from(error: DataDirError) -> Self {
        Self::DataDir(error)
    }
}

impl From<MetadataError> for StartError {
    fn from(error: MetadataError) -> Self {
        Self::Metadata(error)
    }
}

impl From<LogError> for StartError {
    fn from(error: LogError) -> Self {
        Self::Logs(error)
    }
}

/// One broker.
pub struct Node {
    me: Weak<Node>,
    config: NodeSetup,
    shell: Arc<Shell>,
    data_dir: Arc<DataDir>,
    meta_store: Arc<dyn MetaStore>,
    image: RwLock<Arc<MetadataImage>>,
    /// The metadata below this offset are carried out: replicas are here and have their roles. The image is ahead.
    applied: watch::Sender<Offset>,
    broker_config: watch::Sender<Arc<BrokerConfig>>,
    registry: Registry,
    controller: Arc<ControllerCell>,
    membership: Arc<Membership>,
    desk: Arc<Desk>,
    fetches: Arc<FetchHub>,
    forwarder: Arc<Forwarder>,
    producer_ids: ProducerIds,
    throttles: Throttles,
    counters: Counters,
    random: AtomicU64,
    /// The metadata have told what is here, and it is open.
    are_logs_open: AtomicBool,
    workers: Mutex<Vec<Running>>,
    /// Why the node must end, once something says so.
    halted: watch::Sender<Option<String>>,
    timers_tasks: Mutex<Vec<tokio::task::JoinHandle<()>>>,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("id", &self.config.node_id).finish_non_exhaustive()
    }
}

impl Node {
    /// Opens the data directory and everything in it, registers the broker and starts its workers. Blocks.
    pub fn start(mut config: NodeSetup, platform: Platform) -> Result<Arc<Self>, StartError> {
        let clock = Clock::start();
        let now = clock.now();
        let layers_now = broker_config_of(&config.fixed);
        check_new(&config, &*platform.disk)?;
        let data_dir = open_data_dir(&config, &platform.disk, &layers_now)?;
        if config.initial_controllers.is_empty() {
            config.initial_controllers = remembered_controllers(&data_dir)?;
        }
        let meta_store = (platform.open_meta_store)(data_dir.path()).map_err(StartError::MetaStore)?;
        let random = u64::from_le_bytes(config.seed[..8].try_into().expect("eight bytes"));
        let mut starting = StartingController::open(ControllerSetup {
            node_id: config.node_id,
            data_dir: &data_dir,
            initial_controllers: &config.initial_controllers,
            peer_endpoints: peer_endpoint(&config).into_iter().collect(),
            config: crate::settings::quorum_config(&config.fixed),
            snapshots: crate::settings::snapshot_config(&config.fixed),
            seed: random,
            now,
        })?;
        check_roles(&config, &starting)?;
        let asked = if starting.knows_nobody() { config.bootstrap_servers.clone() } else { Vec::new() };
        if starting.knows_nobody() && asked.is_empty() {
            tracing::warn!(
                "no controller of the cluster is known: name them with --initial-controllers; the node waits for one to call"
            );
        }
        let beginning = begin(&config, &data_dir, &mut starting, now)?;
        let peers = open_peers(&config, &data_dir, platform.open_peers, &platform.control, random);
        let shell = Arc::new(Shell {
            replication: Replication::new(clock, peers.clone()),
            clock,
            timers: Arc::new(Timers::new(clock)),
            control_timers: Arc::new(Timers::new(clock)),
            peers,
            flusher: Arc::new(Flusher::new(platform.disk.clone(), data_dir.recovery_points().clone())),
            jobs: Arc::new(Jobs::new()),
            rolled: Rolled::new(),
        });
        let image = starting.image().clone();
        let broker_config = Arc::new(image.broker_config(config.node_id, &config.fixed));
        let sessions = SessionsLimits {
            sessions_max: usize::try_from(broker_config.fetch_sessions_max).unwrap_or(0),
            ..SessionsLimits::default()
        };
        let node = Arc::new_cyclic(|me: &Weak<Self>| Self {
            me: me.clone(),
            controller: starting.run(shell.clone(), me.clone()),
            membership: Membership::new(beginning, shell.clone(), me.clone()),
            desk: Desk::new(config.node_id, shell.clone(), me.clone()),
            forwarder: Forwarder::new(shell.clone(), me.clone()),
            shell,
            data_dir: Arc::new(data_dir),
            meta_store,
            registry: Registry::new(),
            fetches: FetchHub::new(sessions, random),
            producer_ids: ProducerIds::new(),
            throttles: Throttles::new(&broker_config, &image),
            counters: Counters::default(),
            random: AtomicU64::new(random),
            are_logs_open: AtomicBool::new(false),
            workers: Mutex::default(),
            halted: watch::Sender::new(None),
            timers_tasks: Mutex::default(),
            applied: watch::Sender::new(image.offset()),
            image: RwLock::new(image),
            broker_config: watch::Sender::new(broker_config),
            config,
        });
        node.shell.replication.attach(node.me.clone());
        node.shell.replication.configure(&node.broker_config());
        node.membership.carry_isr_changes();
        if !node.roles().broker {
            node.leave_logs_alone()?;
        } else if node.is_present(&node.image()) {
            node.open_partitions()?;
        }
        node.start_workers(&platform.control);
        for server in asked {
            tracing::info!("no controller of the cluster is known: asking at {server}");
            node.shell.peers.find(server);
        }
        let image = node.image();
        node.desk.started(&image);
        node.membership.applied(&image);
        node.refill_producer_ids();
        Ok(node)
    }

    /// A node that is no broker opens no logs. What it left here when it was one is nothing to sweep away, and after an
    /// unclean stop nothing to call clean: it is to be recovered once it is a broker again.
    fn leave_logs_alone(&self) -> Result<(), LogError> {
        let is_log = |found: &FoundLog| found.topic != METADATA_TOPIC;
        if self.data_dir.last_run().was_clean || !self.data_dir.logs()?.iter().any(is_log) {
            self.logs_are_open();
        }
        Ok(())
    }

    fn start_workers(&self, control: &tokio::runtime::Handle) {
        let shell = &self.shell;
        let housekeeper = Arc::new(Housekeeper::new(self.me.clone()));
        let cold = self.replication().cold_reads();
        let running = [
            background::start("hw-flusher", shell.flusher.clone(), shell.flusher.bell()),
            background::start("hw-jobs", shell.jobs.clone(), shell.jobs.bell()),
            background::start("hw-housekeeper", housekeeper, shell.rolled.bell()),
            background::start("hw-cold-reads", cold.clone(), cold.bell()),
        ];
        let quorum = self.controller.start(&self.config.initial_controllers);
        let quorum_bell = quorum.bell().clone();
        let quorum = background::start("hw-quorum", quorum, &quorum_bell);
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        workers.extend(running);
        workers.push(quorum);
        drop(workers);
        let (timers, control_timers) = (shell.timers.clone(), shell.control_timers.clone());
        let tasks = [
            tokio::spawn(async move { timers.run().await }),
            control.spawn(async move { control_timers.run().await }),
        ];
        self.timers_tasks.lock().unwrap_or_else(PoisonError::into_inner).extend(tasks);
    }

    /// This broker's id.
    pub const fn id(&self) -> BrokerId {
        self.config.node_id
    }

    /// What it is to its cluster.
    pub const fn roles(&self) -> Roles {
        self.config.roles
    }

    /// The epoch of this process's registration; −1, which nobody takes, before there is one.
    pub fn broker_epoch(&self) -> BrokerEpoch {
        self.membership.epoch().unwrap_or(BrokerEpoch(-1))
    }

    /// This process as a member of the cluster.
    pub const fn membership(&self) -> &Arc<Membership> {
        &self.membership
    }

    /// Where brokers speak to the active controller.
    pub const fn desk(&self) -> &Arc<Desk> {
        &self.desk
    }

    /// Drawn anew by every process (KIP-380).
    pub(crate) fn incarnation(&self) -> [u8; 16] {
        incarnation(&self.config, &self.data_dir)
    }

    /// Whether the logs are open: not before the metadata are as new as this process.
    pub fn are_logs_open(&self) -> bool {
        self.are_logs_open.load(Ordering::Acquire)
    }

    /// Every log that is here was recovered.
    pub(crate) fn logs_are_open(&self) {
        self.data_dir.recovery_points().logs_are_recovered();
        self.are_logs_open.store(true, Ordering::Release);
    }

    /// What file, environment and command line say.
    pub const fn fixed(&self) -> &ConfigMap {
        &self.config.fixed
    }

    /// The node's clocks.
    pub fn clock(&self) -> &Clock {
        &self.shell.clock
    }

    /// The node's deadlines.
    pub fn timers(&self) -> &Timers {
        &self.shell.timers
    }

    /// How other nodes reach it.
    pub const fn peer_address(&self) -> Option<&PeerAddress> {
        self.config.peer_address.as_ref()
    }

    /// The way to other nodes.
    pub fn peers(&self) -> &Arc<Peers> {
        &self.shell.peers
    }

    /// Copying from leaders, and serving followers.
    pub fn replication(&self) -> &Arc<Replication> {
        &self.shell.replication
    }

    /// Jobs that may block.
    pub fn jobs(&self) -> &Jobs {
        &self.shell.jobs
    }

    /// What cells use.
    pub const fn shell(&self) -> &Arc<Shell> {
        &self.shell
    }

    /// The partitions of this node.
    pub const fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The fetch sessions.
    pub const fn fetches(&self) -> &Arc<FetchHub> {
        &self.fetches
    }

    /// Requests that are with the active controller.
    pub const fn forwarder(&self) -> &Arc<Forwarder> {
        &self.forwarder
    }

    /// The data directory.
    pub const fn data_dir(&self) -> &Arc<DataDir> {
        &self.data_dir
    }

    /// The store of what can be rebuilt.
    pub const fn meta_store(&self) -> &Arc<dyn MetaStore> {
        &self.meta_store
    }

    /// The controller.
    pub const fn controller(&self) -> &Arc<ControllerCell> {
        &self.controller
    }

    /// Producer ids.
    pub const fn producer_ids(&self) -> &ProducerIds {
        &self.producer_ids
    }

    /// Client quotas.
    pub const fn throttles(&self) -> &Throttles {
        &self.throttles
    }

    /// Running totals.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The committed metadata.
    pub fn image(&self) -> Arc<MetadataImage> {
        self.image.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts a newer image in force.
    pub(crate) fn publish(&self, image: Arc<MetadataImage>) {
        let broker_config = image.broker_config(self.config.node_id, &self.config.fixed);
        self.broker_config.send_if_modified(|now| {
            let is_other = **now != broker_config;
            if is_other {
                *now = Arc::new(broker_config);
            }
            is_other
        });
        *self.image.write().unwrap_or_else(PoisonError::into_inner) = image;
    }

    /// Below which offset the metadata are not only in the image, but carried out: replicas are here and have their
    /// roles.
    pub fn applied_offset(&self) -> Offset {
        *self.applied.borrow()
    }

    /// Waits until the metadata are carried out up to `offset`.
    pub async fn until_applied(&self, offset: Offset) {
        let mut applied = self.applied.subscribe();
        // The node goes on for as long as it is waited for.
        let _ = applied.wait_for(|applied| *applied >= offset).await;
    }

    /// The metadata below this offset are carried out now.
    pub(crate) fn carried_out(&self, offset: Offset) {
        self.applied.send_replace(offset);
        self.forwarder.applied(self);
    }

    /// The broker's effective settings.
    pub fn broker_config(&self) -> Arc<BrokerConfig> {
        self.broker_config.borrow().clone()
    }

    /// Tells when the broker's effective settings change.
    pub fn broker_config_changes(&self) -> watch::Receiver<Arc<BrokerConfig>> {
        self.broker_config.subscribe()
    }

    /// `fetch.max.bytes`.
    pub fn fetch_bytes_max(&self) -> usize {
        usize::try_from(self.broker_config().fetch_bytes_max).unwrap_or(0)
    }

    /// Whose defaults the controller's plans start from.
    pub fn plan_context(&self) -> PlanContext<'_> {
        PlanContext { node: self.config.node_id, fixed: &self.config.fixed }
    }

    /// Who answers from the image to a client of this listener.
    pub fn asker<'a>(&'a self, listener: &'a str) -> Asker<'a> {
        let node = self.config.node_id;
        // Clients know brokers only; any of them carries to the controller what is for it.
        let is_broker = |id: BrokerId| self.image().broker(id).is_some();
        let controller = self.controller.active_controller().map(|id| if is_broker(id) { id } else { node });
        Asker { listener, node, fixed: &self.config.fixed, controller }
    }

    /// This node has become the active controller. The first one founds the cluster.
    pub(crate) fn elected(&self) {
        let cluster_id = self.data_dir.cluster_id().unwrap_or_else(|| new_cluster_id(&self.config.seed));
        let features = crate::features::FINALIZED;
        self.controller.submit(move |controller| controller.plan_cluster(&cluster_id, features), |_| {});
    }

    /// The metadata say which cluster this is.
    pub(crate) fn join_cluster(&self, cluster_id: &str) {
        match self.data_dir.join_cluster(cluster_id) {
            Ok(()) => self.shell.peers.transport().set_cluster_id(cluster_id),
            Err(error) => self.halt(error.to_string()),
        }
    }

    /// The features that ApiVersions tells of (KIP-584).
    pub fn features(&self) -> Features {
        crate::features::of(&self.image())
    }

    /// Asks the controller for the next block of producer ids, if it is time.
    pub fn refill_producer_ids(&self) {
        if !self.producer_ids.wants_block() {
            return;
        }
        let Some(epoch) = self.membership.epoch().filter(|_| self.controller.is_active()) else {
            return self.membership.want_producer_ids();
        };
        let node = self.me.clone();
        let id = self.config.node_id;
        self.controller.submit(
            move |controller| controller.plan_allocate_producer_ids(id, epoch),
            move |block| {
                let Some(node) = node.upgrade() else { return };
                match block {
                    Ok(block) => node.producer_ids.fill(block.ok()),
                    Err(_) => node.membership.want_producer_ids(),
                }
            },
        );
    }

    /// Sixteen random bytes: a topic's id, a member's.
    pub fn uuid(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        for half in bytes.chunks_mut(8) {
            half.copy_from_slice(&self.random_u64().to_le_bytes());
        }
        // Version 4, variant 1, as Kafka's Uuid.randomUuid.
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        bytes
    }

    /// The next number that follows from the node's seed.
    fn random_u64(&self) -> u64 {
        let before = self.random.fetch_add(random::STEP, Ordering::Relaxed);
        random::mix(before.wrapping_add(random::STEP))
    }

    /// The node cannot go on; whoever runs it ends it and says why.
    pub fn halt(&self, why: String) {
        self.halted.send_if_modified(|halted| halted.is_none().then(|| *halted = Some(why)).is_some());
    }

    /// Why the node must end, if it must.
    pub fn halt_reason(&self) -> Option<String> {
        self.halted.borrow().clone()
    }

    /// Waits until the node must end.
    pub async fn halted(&self) -> String {
        let mut halted = self.halted.subscribe();
        loop {
            if let Some(why) = halted.borrow_and_update().clone() {
                return why;
            }
            if halted.changed().await.is_err() {
                return "the node is gone".to_owned();
            }
        }
    }

    /// Rings for housekeeping now.
    pub fn ring_housekeeper(&self) {
        self.shell.rolled.bell().ring();
    }

    /// The orderly end: everyone who waits is answered, everything is flushed, checkpoints are written, and the
    /// directory is marked clean. Blocks. Clients must be gone, or going.
    pub fn shutdown(&self) -> Result<(), LogError> {
        self.shell.replication.stop();
        for partition in self.registry.all() {
            partition.resign();
        }
        self.controller.resign();
        self.shell.peers.transport().stop();
        for worker in self.workers.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            worker.stop();
        }
        for task in self.timers_tasks.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            task.abort();
        }
        self.close_partitions()?;
        self.controller.close()?;
        if let Err(error) = self.meta_store.flush() {
            tracing::warn!(%error, "checkpoints were not stored; the next start reads the logs instead");
        }
        if !self.are_logs_open() {
            // What was not even looked at cannot be called clean.
            return Ok(());
        }
        let (_, offline) = self.registry.counts();
        if offline > 0 {
            tracing::warn!(
                offline,
                "partitions are offline, so the directory is not marked as cleanly closed"
            );
            return Ok(());
        }
        self.data_dir.mark_clean()
    }
}

/// How long a clean stop waits for clients to be answered.
pub const DRAIN_TIME_MAX: Duration = Duration::from_secs(5);

/// How long a clean stop waits until others lead what this node led.
pub const HAND_OVER_TIME_MAX: Duration = Duration::from_secs(8);
