//! Group commit: one flusher per data directory syncs what has gathered since its last turn.
//!
//! A cell with bytes to sync enters the list once. The flusher notes each log's end under the cell's lock,
//! gives the lock back, syncs, and then tells the cell how far it got. Appends go on meanwhile, and all that
//! arrive during one sync share the next.
//!
//! A slow disk may owe the outcome of a sync or an append ([`Submitted::Pending`]). The flusher asks for such outcomes
//! as long as any is owed, and brings them to their cells. Real files never owe anything.

use crate::background::{Bell, Worker};
use crate::disk::{Completion, Disk, OpId, Submitted};
use crate::log::{FlushJob, FlushNote, RecoveryPoints, StartNote};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often the disk is asked while it owes something.
const OWED_INTERVAL: Duration = Duration::from_millis(1);

/// When log starts that could not be noted are tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Something whose bytes can be made durable: a cell with a log.
pub trait Flush: Send + Sync {
    /// Notes what is to be synced; `None` if nothing is. From here on new bytes enter the list again.
    fn flush_job(&self) -> Option<FlushJob>;

    /// The job's outcome.
    fn flushed(&self, note: &FlushNote, result: io::Result<()>);

    /// The log start that is to be noted; `None` if it is no more.
    fn start_note(&self) -> Option<StartNote> {
        None
    }

    /// The recovery points have been written since.
    fn start_kept(&self, note: &StartNote) {
        let _ = note;
    }

    /// The outcome of an append that the disk owed ([`Flusher::expect`]). A cell that never expects one hears nothing.
    fn appended(&self, id: OpId, result: io::Result<()>) {
        let _ = (id, result);
    }
}

/// The list of cells that wait for a sync.
#[derive(Debug)]
pub struct Flusher {
    disk: Arc<dyn Disk>,
    points: Arc<RecoveryPoints>,
    waiting: Mutex<Waiting>,
    /// Cells whose log start has moved and is to outlive a crash.
    starts: Mutex<Waiting>,
    owed: Mutex<Owed>,
    bell: Bell,
}

#[derive(Default)]
struct Waiting(Vec<Arc<dyn Flush>>);

/// What the disk owes, and to whom.
#[derive(Default)]
struct Owed {
    appends: BTreeMap<OpId, Arc<dyn Flush>>,
    syncs: BTreeMap<OpId, UnderWay>,
}

/// A job of which one sync is owed: those behind it wait.
struct UnderWay {
    cell: Arc<dyn Flush>,
    job: FlushJob,
    next: usize,
}

impl std::fmt::Debug for Owed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Owed({} appends, {} syncs)", self.appends.len(), self.syncs.len())
    }
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Waiting({})", self.0.len())
    }
}

impl Flusher {
    /// An empty list; its [`Worker`] is to be started with [`Flusher::bell`].
    pub fn new(disk: Arc<dyn Disk>, points: Arc<RecoveryPoints>) -> Self {
        Self {
            disk,
            points,
            waiting: Mutex::default(),
            starts: Mutex::default(),
            owed: Mutex::default(),
            bell: Bell::new(),
        }
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

    /// Has a cell's log start noted, which is told once it is.
    pub fn keep_start(&self, cell: Arc<dyn Flush>) {
        self.starts.lock().unwrap_or_else(PoisonError::into_inner).0.push(cell);
        self.bell.ring();
    }

    /// Writes the recovery points if a log start is to be kept. Whether another turn is to try again.
    fn keep_starts(&self) -> bool {
        let cells = std::mem::take(&mut self.starts.lock().unwrap_or_else(PoisonError::into_inner).0);
        let noted: Vec<_> =
            cells.into_iter().filter_map(|cell| cell.start_note().map(|note| (cell, note))).collect();
        if noted.is_empty() {
            return false;
        }
        if let Err(error) = self.points.write() {
            tracing::error!(%error, "log starts were not noted; it is tried again");
            let mut starts = self.starts.lock().unwrap_or_else(PoisonError::into_inner);
            starts.0.extend(noted.into_iter().map(|(cell, _)| cell));
            return true;
        }
        noted.iter().for_each(|(cell, note)| cell.start_kept(note));
        false
    }

    /// The disk owes the outcome of a cell's append.
    pub fn expect(&self, id: OpId, cell: Arc<dyn Flush>) {
        self.owed().appends.insert(id, cell);
        self.bell.ring();
    }

    /// Whether the disk owes nothing.
    pub fn is_settled(&self) -> bool {
        let owed = self.owed();
        owed.appends.is_empty() && owed.syncs.is_empty()
    }

    fn owed(&self) -> MutexGuard<'_, Owed> {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings what the disk owed and now tells. Whether finished segments were synced.
    fn settle(&self) -> bool {
        if self.is_settled() {
            return false;
        }
        let mut outcomes = Vec::new();
        self.disk.completions(&mut outcomes);
        let mut seals = false;
        for Completion { id, result } in outcomes {
            let append = self.owed().appends.remove(&id);
            if let Some(cell) = append {
                cell.appended(id, result);
                continue;
            }
            let sync = self.owed().syncs.remove(&id);
            match (sync, result) {
                (Some(UnderWay { cell, job, next }), Ok(())) => seals |= self.sync(cell, job, next),
                (Some(UnderWay { cell, job, .. }), Err(error)) => cell.flushed(&job.note, Err(error)),
                // Whoever asked is gone.
                (None, _) => {}
            }
        }
        seals
    }

    /// Syncs what a job names, from target `next` on, and tells its cell. Whether finished segments were synced.
    fn sync(&self, cell: Arc<dyn Flush>, job: FlushJob, next: usize) -> bool {
        for (at, target) in job.targets.iter().enumerate().skip(next) {
            match target.sync(&*self.disk) {
                Submitted::Done(Ok(())) => {}
                Submitted::Done(Err(error)) => {
                    cell.flushed(&job.note, Err(error));
                    return false;
                }
                Submitted::Pending(id) => {
                    self.owed().syncs.insert(id, UnderWay { cell, job, next: at + 1 });
                    return false;
                }
            }
        }
        cell.flushed(&job.note, Ok(()));
        job.seals
    }
}

impl Worker for Flusher {
    fn turn(&self) -> Option<Duration> {
        let mut seals = self.settle();
        loop {
            let cells = std::mem::take(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner).0);
            if cells.is_empty() {
                break;
            }
            for cell in cells {
                if let Some(job) = cell.flush_job() {
                    seals |= self.sync(cell, job, 0);
                }
            }
        }
        // Finished segments are rare, and whoever waits for a sync has been told already.
        if seals && let Err(error) = self.points.write() {
            tracing::error!(%error, "recovery points were not written; the next start reads more");
        }
        let is_start_owed = self.keep_starts();
        match self.is_settled() {
            false => Some(OWED_INTERVAL),
            true => is_start_owed.then_some(RETRY_INTERVAL),
        }
    }
}
