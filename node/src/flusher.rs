//! Group commit: one flusher per data directory syncs what has gathered since its last turn.
//!
//! A cell with bytes to sync enters the list once. The flusher notes each log's end under the cell's lock,
//! gives the lock back, syncs, and then tells the cell how far it got. Appends go on meanwhile, and all that
//! arrive during one sync share the next.

use crate::background::{Bell, Worker};
use crate::disk::Disk;
use crate::log::{FlushJob, FlushNote, RecoveryPoints};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Something whose bytes can be made durable: a cell with a log.
pub trait Flush: Send + Sync {
    /// Notes what is to be synced; `None` if nothing is. From here on new bytes enter the list again.
    fn flush_job(&self) -> Option<FlushJob>;

    /// The job's outcome.
    fn flushed(&self, note: &FlushNote, result: io::Result<()>);
}

/// The list of cells that wait for a sync.
#[derive(Debug)]
pub struct Flusher {
    disk: Arc<dyn Disk>,
    points: Arc<RecoveryPoints>,
    waiting: Mutex<Waiting>,
    bell: Bell,
}

#[derive(Default)]
struct Waiting(Vec<Arc<dyn Flush>>);

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Waiting({})", self.0.len())
    }
}

impl Flusher {
    /// An empty list; its [`Worker`] is to be started with [`Flusher::bell`].
    pub fn new(disk: Arc<dyn Disk>, points: Arc<RecoveryPoints>) -> Self {
        Self { disk, points, waiting: Mutex::default(), bell: Bell::new() }
    }

    /// What wakes the flusher.
    pub const fn bell(&self) -> &Bell {
        &self.bell
    }

    /// Puts a cell on the list. The cell itself sees to it that it is there once.
    pub fn request(&self, cell: Arc<dyn Flush>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let was_empty = waiting.0.is_empty();
        waiting.0.push(cell);
        drop(waiting);
        if was_empty {
            self.bell.ring();
        }
    }
}

impl Worker for Flusher {
    fn turn(&self) -> Option<Duration> {
        let mut seals = false;
        loop {
            let cells = std::mem::take(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner).0);
            if cells.is_empty() {
                break;
            }
            for cell in cells {
                if let Some(job) = cell.flush_job() {
                    let result = job.run(&*self.disk);
                    cell.flushed(&job.note, result);
                    seals |= job.seals;
                }
            }
        }
        // Finished segments are rare, and whoever waits for a sync has been told already.
        if seals && let Err(error) = self.points.write() {
            tracing::error!(%error, "recovery points were not written; the next start reads more");
        }
        None
    }
}
