//! Replication between brokers: this node's fetchers, one per leader, and its sessions, one per follower.
//!
//! ```text
//!  follower                                            leader
//!  fetcher ──── ReplicaFetch: positions that moved ───▶ session ── serve_follower ─▶ partition cells
//!     ▲  │                                                 │  ▲ watches wake it
//!     │  └─ replicate ─▶ partition cells                   │
//!     └────────── ReplicaFetchReply + batches ◀────────────┘
//! ```
//!
//! Machines decide ([`highwater_core::replica`]); here are the two cells around them, each with one task for what time
//! and other cells bring. Partitions have none. What a partition follows, and the ISR that it wants as a leader, comes
//! from its cell as a delivery ([`Replication::follows`], [`Replication::propose`]).

mod cold;
mod follower;
mod isr;
mod leader;
mod report;
mod throttle;

pub use isr::{IsrChannel, IsrOutcome};

use crate::clock::Clock;
use crate::jobs::Jobs;
use crate::node::Node;
use crate::partition::{FollowChange, IsrProposal};
use crate::peers::{FrameHandler, LinkWatcher, Peers};
use follower::FetcherCell;
use highwater_core::config::BrokerConfig;
use highwater_core::ids::{BrokerId, TopicPartition};
use highwater_core::replica::PartitionChange;
use highwater_core::transport::{Frame, FrameKind, LinkEvent, PeerIdentity};
use leader::SessionCell;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use throttle::ReplicationThrottles;
use tokio::runtime::Handle;
use tokio::sync::Notify;

/// Running totals of replication.
#[derive(Debug, Default)]
pub struct ReplicationCounters {
    /// Changes that took replicas out of the ISR of a partition led here.
    pub isr_shrinks: AtomicU64,
    /// Changes that took replicas into the ISR of a partition led here.
    pub isr_expands: AtomicU64,
    /// Proposals that the controller refused.
    pub isr_failures: AtomicU64,
    /// Bytes of batches sent to followers.
    pub bytes_out: AtomicU64,
    /// Bytes of batches taken from leaders.
    pub bytes_in: AtomicU64,
}

/// All replication of a node.
pub struct Replication {
    me: Weak<Replication>,
    clock: Clock,
    peers: Arc<Peers>,
    runtime: Handle,
    node: RwLock<Weak<Node>>,
    fetchers: Mutex<BTreeMap<BrokerId, Arc<FetcherCell>>>,
    sessions: Mutex<BTreeMap<BrokerId, Arc<SessionCell>>>,
    tasks: Mutex<Vec<tokio::task::JoinHandle<()>>>,
    isr: isr::Proposals,
    throttles: ReplicationThrottles,
    /// Reads of batches that are not in memory, for followers.
    cold: Arc<Jobs>,
    counters: ReplicationCounters,
}

impl fmt::Debug for Replication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Replication")
    }
}

impl Replication {
    /// Nothing is replicated yet. Must be made inside of the runtime that its tasks are to run on.
    pub fn new(clock: Clock, peers: Arc<Peers>) -> Arc<Self> {
        Arc::new_cyclic(|me: &Weak<Self>| {
            let handler: Weak<dyn FrameHandler> = me.clone();
            peers.handle(FrameKind::ReplicaFetch, handler.clone());
            peers.handle(FrameKind::ReplicaFetchReply, handler);
            peers.watch_links(me.clone());
            Self {
                me: me.clone(),
                clock,
                peers,
                runtime: Handle::current(),
                node: RwLock::new(Weak::new()),
                fetchers: Mutex::default(),
                sessions: Mutex::default(),
                tasks: Mutex::default(),
                isr: isr::Proposals::default(),
                throttles: ReplicationThrottles::new(),
                cold: Arc::new(Jobs::new()),
                counters: ReplicationCounters::default(),
            }
        })
    }

    /// Whose partitions these are. Said once, before any partition is opened.
    pub fn attach(&self, node: Weak<Node>) {
        *self.node.write().unwrap_or_else(PoisonError::into_inner) = node;
        let reports = self.isr.reports.clone();
        self.spawn(async move { reports.run().await });
    }

    /// The broker's settings may be others.
    pub fn configure(&self, settings: &BrokerConfig) {
        let is_other = self.throttles.configure(settings);
        if is_other {
            let fetchers: Vec<_> = lock(&self.fetchers).values().cloned().collect();
            let sessions: Vec<_> = lock(&self.sessions).values().cloned().collect();
            sessions.iter().for_each(|session| session.unhold());
            fetchers.iter().for_each(|fetcher| fetcher.resume());
        }
    }

    /// The reads that wait for a device; the worker that does them is the node's to start.
    pub const fn cold_reads(&self) -> &Arc<Jobs> {
        &self.cold
    }

    fn node(&self) -> Option<Arc<Node>> {
        self.node.read().unwrap_or_else(PoisonError::into_inner).upgrade()
    }

    /// Running totals.
    pub const fn counters(&self) -> &ReplicationCounters {
        &self.counters
    }

    /// A replica follows another leader, or stands elsewhere. Called without any cell's lock.
    pub fn follows(&self, partition: TopicPartition, change: FollowChange) {
        if let Some(left) = change.left
            && let Some(fetcher) = lock(&self.fetchers).get(&left).cloned()
        {
            fetcher.tell(PartitionChange::Unfollow { partition });
        }
        if let Some((leader, position)) = change.at
            && let Some(fetcher) = self.fetcher(leader)
        {
            fetcher.tell(PartitionChange::Follow { partition, position });
        }
    }

    /// The fetcher for a leader; none while the node ends.
    fn fetcher(&self, leader: BrokerId) -> Option<Arc<FetcherCell>> {
        let node = self.node()?;
        let mut fetchers = lock(&self.fetchers);
        if let Some(fetcher) = fetchers.get(&leader) {
            return Some(fetcher.clone());
        }
        let fetcher = FetcherCell::new(self.me.clone(), leader, &node);
        fetchers.insert(leader, fetcher.clone());
        drop(fetchers);
        let task = fetcher.clone();
        self.spawn(async move { task.run().await });
        Some(fetcher)
    }

    /// A follower's session; none while the node ends.
    fn session(&self, follower: BrokerId) -> Option<Arc<SessionCell>> {
        let node = self.node()?;
        let mut sessions = lock(&self.sessions);
        if let Some(session) = sessions.get(&follower) {
            return Some(session.clone());
        }
        let session = SessionCell::new(self.me.clone(), follower, &node);
        sessions.insert(follower, session.clone());
        drop(sessions);
        let task = session.clone();
        self.spawn(async move { task.run().await });
        Some(session)
    }

    fn spawn(&self, task: impl std::future::Future<Output = ()> + Send + 'static) {
        let task = self.runtime.spawn(task);
        lock(&self.tasks).push(task);
    }

    /// A leader wants another ISR. Called without any cell's lock.
    pub fn propose(&self, partition: TopicPartition, proposal: IsrProposal) {
        if let Some(node) = self.node() {
            self.isr.propose(&node, partition, proposal);
        }
    }

    /// The log of a replica here has failed: the controller is to know. Called without any cell's lock.
    pub fn log_failed(&self, partition: TopicPartition) {
        if let Some(node) = self.node() {
            node.membership().log_failed(partition);
        }
    }

    /// Through whom proposals reach the controller. Those made before are made again in time.
    pub fn set_isr_channel(&self, channel: Weak<dyn IsrChannel>) {
        self.isr.set_channel(channel);
    }

    /// What became of proposals.
    pub fn isr_answered(&self, outcomes: Vec<IsrOutcome>) {
        if let Some(node) = self.node() {
            self.isr.answered(&node, &self.counters, outcomes);
        }
    }

    /// The ISR of a partition that this broker leads is another.
    pub fn isr_changed(&self, partition: TopicPartition, before: &[BrokerId], after: &[BrokerId]) {
        if let Some(node) = self.node() {
            self.isr.changed(&node, &self.counters, partition, before, after);
        }
    }

    /// This broker has a new registration, or was let in again: its leaders are to hear of every replica it holds.
    pub fn registered(&self) {
        let fetchers: Vec<_> = lock(&self.fetchers).values().cloned().collect();
        fetchers.iter().for_each(|fetcher| fetcher.registered());
    }

    /// Running totals of the throttles (KIP-73), of the leader's side and the follower's: bytes that counted against the
    /// limit, and how often replicas were held back for it.
    pub fn throttled(&self) -> [(u64, u64); 2] {
        [self.throttles.leading.totals(), self.throttles.following.totals()]
    }

    /// How many partitions are followed here, and how many are followed by others from here.
    pub fn partitions(&self) -> (usize, usize) {
        let fetchers: Vec<_> = lock(&self.fetchers).values().cloned().collect();
        let sessions: Vec<_> = lock(&self.sessions).values().cloned().collect();
        let followed = fetchers.iter().map(|fetcher| fetcher.partitions()).sum();
        (followed, sessions.iter().map(|session| session.partitions()).sum())
    }

    /// Ends all tasks. Nothing is fetched or served any more.
    pub fn stop(&self) {
        lock(&self.tasks).drain(..).for_each(|task| task.abort());
    }
}

impl FrameHandler for Replication {
    fn received(&self, from: &PeerIdentity, frame: Frame) {
        match frame.kind {
            FrameKind::ReplicaFetch => {
                if let Some(session) = self.session(from.id) {
                    session.received(&frame);
                }
            }
            FrameKind::ReplicaFetchReply => {
                let fetcher = lock(&self.fetchers).get(&from.id).cloned();
                if let Some(fetcher) = fetcher {
                    fetcher.received(&frame);
                }
            }
            _ => {}
        }
    }
}

impl LinkWatcher for Replication {
    fn link(&self, peer: BrokerId, link: LinkEvent) {
        let fetcher = lock(&self.fetchers).get(&peer).cloned();
        if let Some(fetcher) = fetcher {
            fetcher.link(link);
        }
    }
}

/// Waits for the bell, or until the deadline if there is one.
async fn rest(bell: &Notify, deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(at) => {
            tokio::select! {
                biased;
                () = bell.notified() => {}
                () = tokio::time::sleep_until(at) => {}
            }
        }
        None => bell.notified().await,
    }
}

/// The setting of so many milliseconds.
fn millis(ms: i32) -> std::time::Duration {
    std::time::Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

/// A panic elsewhere while the lock was held leaves these maps whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
