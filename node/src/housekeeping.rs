//! What is done to logs while nobody asks: retention, removal of deleted files, checkpoints, compaction, disk space.
//!
//! One worker, away from requests. A turn looks at all partitions only when `log.retention.check.interval.ms` (five
//! minutes by default) has passed, as Kafka's does; in between it touches those that have something to do.

use crate::background::{Bell, Worker};
use crate::node::Node;
use crate::partition::Partition;
use highwater_core::time::Instant;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

/// The longest time between two writes of recovery points and checkpoints: a simulated run is over in less than
/// Kafka's minute (`log.flush.offset.checkpoint.interval.ms`).
const CHECKPOINT_INTERVAL_MAX: Duration =
    if cfg!(sim) { Duration::from_millis(150) } else { Duration::from_secs(3600) };

/// Checkpoints of finished segments are written no oftener: small segments must not keep the disk busy.
const ROLLED_INTERVAL: Duration = Duration::from_millis(if cfg!(sim) { 10 } else { 1000 });

/// The partitions that finished a segment since their last checkpoint, and the housekeeper's bell. As in Kafka,
/// such a partition gets its checkpoint soon: the next start then replays the active segment only.
#[derive(Debug, Default)]
pub struct Rolled {
    partitions: Mutex<Vec<Weak<Partition>>>,
    bell: Bell,
}

impl Rolled {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// What wakes the housekeeper.
    pub const fn bell(&self) -> &Bell {
        &self.bell
    }

    /// Puts a partition on the list. Its cell sees to it that it is there once.
    pub fn push(&self, partition: Weak<Partition>) {
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner).push(partition);
        self.bell.ring();
    }

    fn take(&self) -> Vec<Weak<Partition>> {
        std::mem::take(&mut self.partitions.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn is_empty(&self) -> bool {
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

/// The worker.
#[derive(Debug)]
pub struct Housekeeper {
    node: Weak<Node>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    retention_at: Option<Instant>,
    cleaning_at: Option<Instant>,
    checkpoint_at: Option<Instant>,
    /// When checkpoints of finished segments may be written again.
    rolled_at: Instant,
    /// Deleted directories with the time at which their files go.
    doomed: Vec<(Instant, PathBuf)>,
    is_disk_low: bool,
}

impl Housekeeper {
    /// A worker for `node`.
    pub fn new(node: Weak<Node>) -> Self {
        Self { node, state: Mutex::default() }
    }
}

impl Worker for Housekeeper {
    fn turn(&self) -> Option<Duration> {
        let node = self.node.upgrade()?;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        Some(state.turn(&node))
    }
}

impl State {
    fn turn(&mut self, node: &Node) -> Duration {
        let config = node.broker_config();
        let now = node.clock().mono();
        let initial = millis(config.log_initial_task_delay_ms);
        let retention_interval = millis(config.log_retention_check_interval_ms);
        if *self.retention_at.get_or_insert(now + initial) <= now {
            Self::retain(node);
            self.watch_disk(node);
            self.retention_at = Some(now + retention_interval);
        }
        let backoff = millis(config.log_cleaner_backoff_ms);
        if *self.cleaning_at.get_or_insert(now + initial) <= now {
            if config.log_cleaner {
                crate::cleaning::clean(node);
            }
            self.cleaning_at = Some(node.clock().mono() + backoff);
        }
        let checkpoint_interval = millis(i64::from(config.log_flush_checkpoint_interval_ms));
        let checkpoint_interval = checkpoint_interval.min(CHECKPOINT_INTERVAL_MAX);
        if *self.checkpoint_at.get_or_insert(now + checkpoint_interval) <= now {
            write_points(node);
            checkpoint(node, &node.registry().all());
            self.checkpoint_at = Some(now + checkpoint_interval);
        }
        let has_rolled = !node.shell().rolled.is_empty();
        if has_rolled && self.rolled_at <= now {
            let partitions: Vec<_> = node.shell().rolled.take().iter().filter_map(Weak::upgrade).collect();
            checkpoint(node, &partitions);
            self.rolled_at = now + ROLLED_INTERVAL;
        }
        self.remove_deleted(node, now);
        let next = [self.retention_at, self.cleaning_at, self.checkpoint_at].into_iter().flatten();
        let next =
            next.chain(self.doomed.iter().map(|(at, _)| *at)).chain(has_rolled.then_some(self.rolled_at));
        next.min()
            .map_or(checkpoint_interval, |at| at.since(node.clock().mono()))
            .max(Duration::from_millis(1))
    }

    /// Moves log starts as retention asks, and removes the files of segments that went long enough ago.
    fn retain(node: &Node) {
        let wall = node.clock().now().wall;
        let partitions = node.registry().all();
        let mut has_cut = false;
        for partition in &partitions {
            // A broken cell keeps its files.
            has_cut |= partition.retain(wall).unwrap_or(false);
        }
        let has_doomed = partitions.iter().any(|p| p.with_log(|log| log.has_doomed()).unwrap_or(false));
        if has_cut || has_doomed {
            // The new log starts first: else a crash could bring back some of the segments and not others.
            if !write_points(node) {
                return;
            }
            for partition in &partitions {
                if let Ok(Err(error)) = partition.with_log(|log| log.remove_doomed(wall)) {
                    tracing::warn!(topic = %partition.topic(), %error, "files of deleted segments stay");
                }
            }
        }
    }

    /// Warns once when the disk falls below the low-water mark, and once when it is above again.
    fn watch_disk(&mut self, node: &Node) {
        match node.data_dir().is_low() {
            Ok(true) if !self.is_disk_low => {
                let available = node.data_dir().space().map_or(0, |space| space.available);
                tracing::warn!(dir = %node.data_dir().path().display(), available, "the disk is nearly full: free space, or lower retention");
                self.is_disk_low = true;
            }
            Ok(false) if self.is_disk_low => {
                tracing::info!(dir = %node.data_dir().path().display(), "the disk has room again");
                self.is_disk_low = false;
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "the disk does not say how full it is"),
        }
    }

    /// Removes the directories of deleted replicas, after the broker's `file.delete.delay.ms` (as in Kafka not the
    /// topic's own, which may be gone): a time a delay in which whoever still reads them finishes.
    fn remove_deleted(&mut self, node: &Node, now: Instant) {
        let delay = millis(node.broker_config().log_delete_delay_ms);
        match node.data_dir().deleted() {
            Ok(dirs) => {
                self.doomed.retain(|(_, dir)| dirs.contains(dir));
                for dir in dirs {
                    if !self.doomed.iter().any(|(_, known)| *known == dir) {
                        self.doomed.push((now + delay, dir));
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "deleted topics could not be looked for"),
        }
        for (_, dir) in self.doomed.extract_if(.., |(at, _)| *at <= now) {
            if let Err(error) = node.data_dir().remove_deleted(&dir) {
                tracing::warn!(dir = %dir.display(), %error, "files of a deleted topic stay");
            }
        }
    }
}

fn millis(ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0).max(1))
}

fn write_points(node: &Node) -> bool {
    match node.data_dir().recovery_points().write() {
        Ok(()) => true,
        Err(error) => {
            tracing::error!(%error, "recovery points were not written");
            false
        }
    }
}

/// Bounds what the next start reads, should this process end badly.
fn checkpoint(node: &Node, partitions: &[Arc<Partition>]) {
    for partition in partitions {
        if partition.take_snapshot_due() {
            node.store_snapshot(partition);
        }
    }
    if let Err(error) = node.meta_store().flush() {
        tracing::warn!(%error, "checkpoints were not stored");
    }
}
