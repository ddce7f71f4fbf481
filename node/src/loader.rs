//! Reads internal topics for coordinators that load, a piece at a time and without their cell's lock.

use crate::background::{Bell, Worker};
use crate::partition::Partition;
use highwater_core::coordinator::LoadId;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The loads that wait.
#[derive(Debug, Default)]
pub struct Loader {
    waiting: Mutex<VecDeque<(Arc<Partition>, LoadId)>>,
    bell: Bell,
}

impl Loader {
    /// No load waits; its [`Worker`] is to be started with [`Loader::bell`].
    pub fn new() -> Self {
        Self::default()
    }

    /// What wakes the loader.
    pub const fn bell(&self) -> &Bell {
        &self.bell
    }

    /// Asks for a partition's records to be handed to its coordinator.
    pub fn request(&self, partition: Arc<Partition>, load: LoadId) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push_back((partition, load));
        self.bell.ring();
    }

    fn next(&self) -> Option<(Arc<Partition>, LoadId)> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

impl Worker for Loader {
    fn turn(&self) -> Option<Duration> {
        while let Some((partition, load)) = self.next() {
            partition.load(load);
        }
        None
    }
}
