//! Jobs that may block on a device and that nobody waits for under a lock: loads, checkpoints, removals.

use crate::background::{Bell, Worker};
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

type Job = Box<dyn FnOnce() + Send>;

/// A queue of jobs, done one after another in the order submitted.
#[derive(Default)]
pub struct Jobs {
    waiting: Mutex<VecDeque<Job>>,
    bell: Bell,
}

impl fmt::Debug for Jobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Jobs({})", self.len())
    }
}

impl Jobs {
    /// No jobs; its [`Worker`] is to be started with [`Jobs::bell`].
    pub fn new() -> Self {
        Self::default()
    }

    /// What wakes the worker.
    pub const fn bell(&self) -> &Bell {
        &self.bell
    }

    /// Adds a job behind those that wait.
    pub fn submit(&self, job: impl FnOnce() + Send + 'static) {
        self.lock().push_back(Box::new(job));
        self.bell.ring();
    }

    /// How many jobs wait.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Job>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Worker for Jobs {
    fn turn(&self) -> Option<Duration> {
        while let Some(job) = { self.lock().pop_front() } {
            job();
        }
        None
    }
}
