//! The controller's cell: plans in, records to the metadata log, answers once they are durable.
//!
//! One voter for now, this node: a record is committed when its flush is done. The metadata log is a partition log
//! of its own directory. What follows from committed records (partitions to open or to delete, settings to put in
//! force) happens in order on the jobs worker, and only then do the answers leave: whoever is told that a topic
//! exists finds its leaders serving.

use crate::cell::CellLock;
use crate::disk::Submitted;
use crate::flusher::Flush;
use crate::log::{DataDir, FlushJob, FlushNote, FlushScope, Log, LogConfig, LogError};
use crate::node::Node;
use crate::partition::Shell;
use highwater_core::batch::{self, Builder, Codec, stamp};
use highwater_core::ids::{BrokerId, LeaderEpoch, Offset, PartitionIndex, TopicId, TopicPartition};
use highwater_core::metadata::{
    Committed, Controller, METADATA_TOPIC, MetadataImage, Plan, Record, RecordError,
};
use highwater_core::time::Timestamp;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::{Arc, Weak};

/// The metadata topic's id, as Kafka's.
const METADATA_TOPIC_ID: TopicId = TopicId([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

/// The epoch of the one voter.
const EPOCH: LeaderEpoch = LeaderEpoch(1);

/// Why the metadata log cannot be used. Fatal to the node: nothing else says what it holds.
#[derive(Debug)]
pub enum MetadataError {
    /// The log fails.
    Log(LogError),
    /// A batch does not read.
    Batch(batch::BatchError),
    /// A record does not decode.
    Record(Offset, RecordError),
}

impl fmt::Display for MetadataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Log(error) => write!(f, "the metadata log cannot be used: {error}"),
            Self::Batch(error) => write!(f, "the metadata log cannot be read: {error}"),
            Self::Record(offset, error) => {
                write!(f, "the metadata log's record at offset {offset} cannot be read: {error}")
            }
        }
    }
}

impl std::error::Error for MetadataError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Log(error) => Some(error),
            Self::Batch(error) => Some(error),
            Self::Record(_, error) => Some(error),
        }
    }
}

impl From<LogError> for MetadataError {
    fn from(error: LogError) -> Self {
        Self::Log(error)
    }
}

/// This node is not the active controller, or ceased to be before what was planned was committed. Whether it will be
/// is not known then: who retries must be able to find it done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotController;

impl fmt::Display for NotController {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this node is not the active controller")
    }
}

impl std::error::Error for NotController {}

type Then = Box<dyn FnOnce() + Send>;

struct State {
    controller: Controller,
    log: Log,
    /// Answers, each with the log end that must be committed first.
    waiting: VecDeque<(Offset, Then)>,
    is_flush_listed: bool,
}

/// The controller of a node.
pub struct ControllerCell {
    shell: Arc<Shell>,
    me: Weak<ControllerCell>,
    /// Who carries out what is committed. Set once, when the node is complete.
    node: Weak<Node>,
    cell: CellLock<State>,
}

impl fmt::Debug for ControllerCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ControllerCell")
    }
}

/// The controller while a node starts: nothing runs beside it, so several plans share one flush.
pub struct StartingController {
    state: State,
}

impl fmt::Debug for StartingController {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StartingController")
    }
}

impl StartingController {
    /// Opens the metadata log, or makes it, and replays it.
    pub fn open(data_dir: &DataDir, now: Timestamp) -> Result<Self, MetadataError> {
        let id = TopicPartition { topic_id: METADATA_TOPIC_ID, partition: PartitionIndex(0) };
        let config = LogConfig { is_delete_policy: false, ..LogConfig::default() };
        let (log, report) = data_dir.open_log(METADATA_TOPIC, id, config, now)?;
        if let Some(cut) = report.cut {
            tracing::warn!("metadata log: {cut}");
        }
        let controller = Controller::new(replay(&log)?);
        Ok(Self { state: State { controller, log, waiting: VecDeque::new(), is_flush_listed: false } })
    }

    /// Everything that is committed.
    pub const fn image(&self) -> &Arc<MetadataImage> {
        self.state.controller.image()
    }

    /// Plans, and appends what was planned. The next plan sees it; nobody else does before
    /// [`StartingController::commit`].
    pub fn append<R>(
        &mut self,
        now: Timestamp,
        plan: impl FnOnce(&Controller) -> Plan<R>,
    ) -> Result<R, MetadataError> {
        let Plan { records, response } = plan(&self.state.controller);
        if !records.is_empty() {
            self.state.append(records, now)?;
        }
        Ok(response)
    }

    /// Commits everything appended, with one flush.
    pub fn commit(&mut self, data_dir: &DataDir) -> Result<(), MetadataError> {
        if let Some(job) = self.state.log.flush_job(FlushScope::All) {
            let result = job.run(&*data_dir.context().disk);
            self.state.log.flushed(&job.note, result)?;
        }
        self.state.controller.committed(self.state.log.end());
        Ok(())
    }

    /// The controller of a node that runs.
    pub fn run(self, shell: Arc<Shell>, node: Weak<Node>) -> Arc<ControllerCell> {
        Arc::new_cyclic(|me| ControllerCell { shell, me: me.clone(), node, cell: CellLock::new(self.state) })
    }
}

/// The image that the log's records give.
fn replay(log: &Log) -> Result<MetadataImage, MetadataError> {
    let mut image = MetadataImage::default();
    for located in log.batches_from(log.log_start()) {
        let header = located?.header;
        let Some(bytes) = log.read_batch(header.base_offset)? else { continue };
        for record in batch::records(&bytes.into()).map_err(MetadataError::Batch)? {
            let record = record.map_err(MetadataError::Batch)?;
            let value = record.value.unwrap_or_default();
            let decoded = Record::decode(&value).map_err(|e| MetadataError::Record(record.offset, e))?;
            image.replay(&decoded);
        }
    }
    Ok(image)
}

impl State {
    /// Appends records as one batch; the log end behind them.
    fn append(&mut self, records: Vec<Record>, now: Timestamp) -> Result<Offset, LogError> {
        let mut builder = Builder::new(Codec::None);
        for record in &records {
            builder.push(now, None, Some(&record.encode()), &[]);
        }
        let stamped = stamp(&builder.build(), self.log.end(), EPOCH, None);
        match self.log.append(&stamped.header, stamped.head(), stamped.rest(), now) {
            Submitted::Done(appended) => {
                let end = self.controller.appended(records);
                assert_eq!(appended?.end, end, "the metadata log has one offset per record");
                Ok(end)
            }
            Submitted::Pending(_) => unreachable!("the metadata log's disk answers appends at once"),
        }
    }
}

impl ControllerCell {
    /// Whether this node plans: it leads the quorum and has everything before its epoch committed.
    pub const fn is_active(&self) -> bool {
        true
    }

    /// Who plans, as far as this node knows.
    pub fn active_controller(&self) -> Option<BrokerId> {
        Some(self.node.upgrade()?.id())
    }

    /// Plans, and calls `then` with the answer once what was planned is committed and carried out here; with
    /// [`NotController`] on a node that does not plan, or that ceases to before the commit. If the metadata log fails,
    /// `then` is never called: the node is about to end.
    pub fn submit<R: Send + 'static>(
        &self,
        plan: impl FnOnce(&Controller) -> Plan<R>,
        then: impl FnOnce(Result<R, NotController>) + Send + 'static,
    ) {
        let Ok(mut state) = self.cell.lock() else { return };
        let Plan { records, response } = plan(&state.controller);
        if records.is_empty() {
            drop(state);
            return then(Ok(response));
        }
        match state.append(records, self.shell.clock.now().wall) {
            Ok(end) => {
                state.waiting.push_back((end, Box::new(move || then(Ok(response)))));
                let is_listed = std::mem::replace(&mut state.is_flush_listed, true);
                drop(state);
                if let (false, Some(me)) = (is_listed, self.me.upgrade()) {
                    self.shell.flusher.request(me);
                }
            }
            Err(error) => {
                drop(state);
                self.halt(&error);
            }
        }
    }

    /// Flushes and closes the metadata log, at the end.
    pub fn close(&self) -> Result<(), LogError> {
        match self.cell.lock() {
            Ok(mut state) => state.log.close(),
            Err(broken) => Err(LogError::Poisoned { cause: broken.to_string() }),
        }
    }

    fn halt(&self, error: &LogError) {
        tracing::error!(%error, "the metadata log failed; the node ends");
        if let Some(node) = self.node.upgrade() {
            node.halt(format!("the metadata log failed: {error}"));
        }
    }

    fn carry_out(&self, committed: Committed, ready: Vec<Then>) {
        let node = self.node.clone();
        self.shell.jobs.submit(move || {
            if let Some(node) = node.upgrade() {
                node.apply(&committed);
            }
            for then in ready {
                then();
            }
        });
    }
}

impl Flush for ControllerCell {
    fn flush_job(&self) -> Option<FlushJob> {
        let mut state = self.cell.lock().ok()?;
        state.is_flush_listed = false;
        state.log.flush_job(FlushScope::All)
    }

    fn flushed(&self, note: &FlushNote, result: io::Result<()>) {
        let Ok(mut state) = self.cell.lock() else { return };
        let through = match state.log.flushed(note, result) {
            Ok(through) => through,
            Err(error) => {
                drop(state);
                return self.halt(&error);
            }
        };
        let Some(committed) = state.controller.committed(through) else { return };
        let mut ready = Vec::new();
        while state.waiting.front().is_some_and(|(end, _)| *end <= through) {
            ready.extend(state.waiting.pop_front().map(|(_, then)| then));
        }
        drop(state);
        self.carry_out(committed, ready);
    }
}
