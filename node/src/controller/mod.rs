//! The controller's cell: the metadata quorum's machine, its log, and the controller that plans on it.
//!
//! ```text
//!  submit(plan) ─▶ Controller plans ─▶ Quorum appends ─▶ log ─▶ flush, followers ─▶ Committed ─▶ Node::apply ─▶ answer
//!  frames, deadlines, links ──────────▶ Quorum ─▶ frames, votes, truncations, snapshots
//! ```
//!
//! Every node has one. On the leader it plans; on the others it follows, and what is committed is carried out there in
//! the same way. What follows from committed records (partitions to open or to delete, settings to put in force)
//! happens in order on the jobs worker, and only then do the answers leave: whoever is told that a topic exists finds
//! its leaders serving.
//!
//! Files: `state` (what is under the lock), `recovery` (the start), `vote_file`, `snapshot` and `pace` (when one is
//! taken), `disk_worker` (the quorum's own syncs), `bootstrap` (who votes in a new cluster).

mod bootstrap;
mod disk_worker;
mod pace;
mod recovery;
mod snapshot;
mod state;
mod telling;
mod vote_file;

pub use bootstrap::{InitialController, InitialControllerError};
pub(crate) use disk_worker::QuorumDisk;
pub use pace::SnapshotConfig;
pub use vote_file::QUORUM_STATE_FILE;

use crate::background::Bell;
use crate::cell::CellLock;
use crate::disk::Completion;
use crate::log::{DataDir, DataDirError, FlushScope, Log, LogError};
use crate::node::Node;
use crate::partition::Shell;
use crate::peers::{FrameHandler, LinkWatcher};
use crate::timers::Timed;
use bytes::{Bytes, BytesMut};
use disk_worker::DiskWork;
use highwater_core::batch;
use highwater_core::guard;
use highwater_core::ids::{BrokerId, DirectoryId, LeaderEpoch, Offset};
use highwater_core::machine::Machine;
use highwater_core::metadata::{Controller, MetadataImage, Plan, RecordError};
use highwater_core::quorum::{
    Input, MESSAGE_VERSION, Message, Quorum, QuorumConfig, QuorumStatus, ReplicaKey, Voter, VoterChangeError,
    VoterSet,
};
use highwater_core::time::{Instant, Now};
use highwater_core::transport::{Class, Frame, FrameKind, LinkEvent, PeerIdentity};
use recovery::Opening;
use state::{After, State, Taking};
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Why the metadata log cannot be used. Fatal to the node: nothing else says what it holds.
#[derive(Debug)]
pub enum MetadataError {
    /// The log fails.
    Log(LogError),
    /// A batch does not read.
    Batch(batch::BatchError),
    /// A record does not decode.
    Record(Offset, RecordError),
    /// A record of the quorum does not decode.
    Control(Offset),
    /// Its epochs are out of order.
    Epochs(Offset),
    /// The directory cannot take note of its cluster.
    DataDir(DataDirError),
    /// The vote cannot be read or written.
    Vote(io::Error),
    /// A snapshot cannot be read or written.
    Snapshot(io::Error),
    /// The log begins here, and the snapshot that it begins with is gone.
    SnapshotMissing(Offset),
}

impl fmt::Display for MetadataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Log(error) => write!(f, "the metadata log cannot be used: {error}"),
            Self::Batch(error) => write!(f, "the metadata log cannot be read: {error}"),
            Self::Record(offset, error) => {
                write!(f, "the metadata log's record at offset {offset} cannot be read: {error}")
            }
            Self::Control(offset) => {
                write!(f, "the metadata log's control batch at offset {offset} cannot be read")
            }
            Self::Epochs(offset) => write!(f, "the metadata log's epochs go back at offset {offset}"),
            Self::DataDir(error) => error.fmt(f),
            Self::Vote(error) => write!(f, "this node's vote cannot be kept ({QUORUM_STATE_FILE}): {error}"),
            Self::Snapshot(error) => write!(f, "snapshots of the metadata cannot be used: {error}"),
            Self::SnapshotMissing(start) => write!(
                f,
                "the metadata log begins at offset {start}, but no readable snapshot reaches that far"
            ),
        }
    }
}

impl std::error::Error for MetadataError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Log(error) => Some(error),
            Self::Batch(error) => Some(error),
            Self::Record(_, error) => Some(error),
            Self::Vote(error) | Self::Snapshot(error) => Some(error),
            Self::DataDir(error) => Some(error),
            Self::Control(_) | Self::Epochs(_) | Self::SnapshotMissing(_) => None,
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

/// A sole voter leaves its old epoch, campaigns, stores its vote: more steps than that would be a loop.
const SOLE_STEPS_MAX: usize = 8;

/// No leader is known.
const NOBODY: i32 = -1;

/// The controller of a node.
pub struct ControllerCell {
    shell: Arc<Shell>,
    me: Weak<ControllerCell>,
    /// Who carries out what is committed.
    node: Weak<Node>,
    disk: Bell,
    cell: CellLock<State>,
    /// Whether this node plans. As is who leads, kept outside the lock for those who only ask.
    is_active: AtomicBool,
    leader: AtomicI32,
}

impl fmt::Debug for ControllerCell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ControllerCell")
    }
}

/// What a quorum starts with.
#[derive(Debug)]
pub struct ControllerSetup<'a> {
    /// This node.
    pub node_id: BrokerId,
    /// Where its files are.
    pub data_dir: &'a DataDir,
    /// The controllers of the cluster that it founds or joins.
    pub initial_controllers: &'a [InitialController],
    /// Where it is reached by other nodes, if it is.
    pub peer_endpoints: Vec<highwater_core::metadata::Endpoint>,
    /// Its time-outs.
    pub config: QuorumConfig,
    /// When snapshots are taken.
    pub snapshots: SnapshotConfig,
    /// For jitter.
    pub seed: u64,
    /// The time.
    pub now: Now,
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
    /// Opens the metadata log, or makes it, and replays it. A sole voter leads at once; what it appends is durable
    /// with [`StartingController::commit`].
    pub fn open(setup: ControllerSetup<'_>) -> Result<Self, MetadataError> {
        let now = setup.now;
        let me = ReplicaKey { id: setup.node_id, directory_id: setup.data_dir.directory_id() };
        let bootstrap = bootstrap::voters(&setup, me);
        let ControllerSetup { data_dir, config, snapshots, seed, .. } = setup;
        let mut state = Opening { data_dir, me, config, seed, bootstrap, snapshots, now }.open()?;
        // A sole voter campaigns, stores its vote if it must, and leads.
        for _ in 0..SOLE_STEPS_MAX {
            if !state.quorum.voters().is_sole(me) || state.is_leading() {
                break;
            }
            let after = match state.wants_vote.take() {
                Some(vote) => {
                    let place = state.place();
                    vote_file::write(&*place.disk, &place.data_dir, state.vote_state(vote))
                        .map_err(MetadataError::Vote)?;
                    state.step(now, Input::VoteStored(vote))
                }
                None => state.due(now),
            };
            if let Some(why) = after.halt {
                return Err(MetadataError::Log(LogError::Poisoned { cause: why }));
            }
        }
        Ok(Self { state })
    }

    /// Whether this node alone is the quorum, so that it can plan while it starts.
    pub const fn is_leading(&self) -> bool {
        self.state.is_leading()
    }

    /// Whether this node votes, or would if it were let.
    pub fn votes(&self) -> bool {
        self.state.quorum.is_voter()
    }

    /// Whether nobody is known who votes.
    pub fn knows_nobody(&self) -> bool {
        self.state.quorum.voters().is_empty()
    }

    /// Everything that is known to be committed.
    pub const fn image(&self) -> &Arc<MetadataImage> {
        self.state.controller.image()
    }

    /// Plans, and appends what was planned. The next plan sees it; nobody else does before
    /// [`StartingController::commit`].
    pub fn append<R>(
        &mut self,
        now: Now,
        plan: impl FnOnce(&Controller) -> Plan<R>,
    ) -> Result<R, MetadataError> {
        let Plan { records, response } = plan(&self.state.controller);
        if !records.is_empty() {
            let (_, after) = self.state.propose(now, records);
            if let Some(why) = after.halt {
                return Err(MetadataError::Log(LogError::Poisoned { cause: why }));
            }
        }
        Ok(response)
    }

    /// Commits everything appended, with one flush.
    pub fn commit(&mut self, data_dir: &DataDir, now: Now) -> Result<(), MetadataError> {
        if let Some(job) = self.state.log.flush_job(FlushScope::All) {
            let result = job.run(&*data_dir.context().disk);
            self.state.log.flushed(&job.note, result)?;
        }
        self.state.flushed(now);
        self.state.settle();
        Ok(())
    }

    /// The controller of a node that runs. It hears nothing before [`ControllerCell::start`].
    pub fn run(self, shell: Arc<Shell>, node: Weak<Node>) -> Arc<ControllerCell> {
        Arc::new_cyclic(|me| ControllerCell {
            shell,
            me: me.clone(),
            node,
            disk: Bell::new(),
            is_active: AtomicBool::new(self.state.quorum.is_active()),
            leader: AtomicI32::new(leader_of(&self.state)),
            cell: CellLock::new(self.state),
        })
    }
}

fn leader_of(state: &State) -> i32 {
    state.quorum.leader().map_or(NOBODY, |leader| leader.id.0)
}

impl ControllerCell {
    /// Lets it hear peers and deadlines, and tells the transport where the voters are. Answers its worker, which is to
    /// be started.
    pub(crate) fn start(&self, initial: &[InitialController]) -> Arc<QuorumDisk> {
        for controller in initial {
            self.shell.peers.place(controller.id, controller.address());
        }
        let me: Weak<Self> = self.me.clone();
        self.shell.peers.handle(FrameKind::Quorum, me.clone());
        self.shell.peers.watch_links(me.clone());
        let voters = self.cell.lock().map(|state| state.quorum.voters().clone()).unwrap_or_default();
        self.meet(&voters, initial);
        // Whatever was decided while the node started is delivered, and the first deadline is armed.
        self.with(|_, _| After::default());
        self.disk.ring();
        Arc::new(QuorumDisk::new(me, self.disk.clone()))
    }

    /// Whether this node plans: it leads the quorum and has everything before its epoch committed.
    pub fn is_active(&self) -> bool {
        self.is_active.load(Ordering::Acquire)
    }

    /// Who leads the quorum, as far as this node knows.
    pub fn active_controller(&self) -> Option<BrokerId> {
        match self.leader.load(Ordering::Acquire) {
            NOBODY => None,
            id => Some(BrokerId(id)),
        }
    }

    /// Whose silence made this node the leader of the quorum, if it leads.
    pub fn silent_predecessor(&self) -> Option<BrokerId> {
        self.cell.lock().ok().and_then(|state| state.quorum.silent_predecessor())
    }

    /// Whether this node leads the quorum and was followed so lately that nobody else can lead it.
    pub fn is_followed(&self) -> bool {
        let now = self.shell.clock.mono();
        self.cell.lock().is_ok_and(|state| state.quorum.is_followed(now))
    }

    /// The quorum as this node sees it.
    pub fn status(&self) -> Option<QuorumStatus> {
        let now = self.shell.clock.mono();
        self.cell.lock().ok().map(|state| state.quorum.describe(now))
    }

    /// How far this node has the metadata committed.
    pub fn committed_offset(&self) -> Option<Offset> {
        self.cell.lock().ok().map(|state| state.controller.image().offset())
    }

    /// The voters, committed or not.
    pub fn voters(&self) -> VoterSet {
        self.cell.lock().map(|state| state.quorum.voters().clone()).unwrap_or_default()
    }

    /// The newest epoch heard of.
    pub fn epoch(&self) -> Option<LeaderEpoch> {
        self.cell.lock().ok().map(|state| state.quorum.epoch())
    }

    /// Looks at the quorum and its log together, for oracles that compare them (O39); `None` if the cell is broken.
    pub fn inspect<R>(&self, look: impl FnOnce(&Quorum, &Log) -> R) -> Option<R> {
        let state = self.cell.lock().ok()?;
        Some(look(&state.quorum, &state.log))
    }

    /// How many wait for a commit: plans, and changes of voters (O43).
    pub fn waiting(&self) -> usize {
        self.cell.lock().map_or(0, |state| state.waiting())
    }

    /// Plans, and calls `then` with the answer once what was planned, and all that it was planned on, is committed and carried
    /// out here (CQ-11); with
    /// [`NotController`] on a node that does not plan, or that ceases to before the commit. If the metadata log fails,
    /// `then` is never called: the node is about to end.
    pub fn submit<R: Send + 'static>(
        &self,
        plan: impl FnOnce(&Controller) -> Plan<R>,
        then: impl FnOnce(Result<R, NotController>) + Send + 'static,
    ) {
        let mut at_once = None;
        self.with(|state, now| {
            if !state.quorum.is_active() {
                at_once = Some((then, Err(NotController)));
                return After::default();
            }
            let Plan { records, response } = plan(&state.controller);
            // An answer without records of its own rests on those before it: on some that are not committed, perhaps.
            let end = state.quorum.log_end().plus(records.len() as i64);
            if records.is_empty() && guard!(AnswerCommitted, state.quorum.high_watermark() >= end) {
                at_once = Some((then, Ok(response)));
                return After::default();
            }
            state.wait_for(end, Box::new(move |outcome| then(outcome.map(|()| response))));
            if records.is_empty() {
                return After::default();
            }
            let (appended, after) = state.propose(now, records);
            assert_eq!(appended, end, "one offset per record");
            after
        });
        if let Some((then, answer)) = at_once {
            then(answer);
        }
    }

    /// Adds a voter (KIP-853), which may take `wait` to catch up. The answer comes once the change is committed.
    pub fn add_voter(
        &self,
        id: BrokerId,
        voter: Voter,
        wait: Duration,
        then: impl FnOnce(Result<(), VoterChangeError>) + Send + 'static,
    ) {
        self.with(|state, now| {
            let token = state.voter_token(Box::new(then));
            state.step(now, Input::AddVoter { token, id, voter, wait })
        });
    }

    /// Removes a voter (KIP-853). The answer comes once the change is committed.
    pub fn remove_voter(
        &self,
        id: BrokerId,
        directory_id: DirectoryId,
        then: impl FnOnce(Result<(), VoterChangeError>) + Send + 'static,
    ) {
        self.with(|state, now| {
            let token = state.voter_token(Box::new(then));
            let voter = ReplicaKey { id, directory_id };
            state.step(now, Input::RemoveVoter { token, voter })
        });
    }

    /// A voter was registered at this address: if it leads, this node writes down that it moved.
    pub(crate) fn voter_is_at(&self, id: BrokerId, endpoints: Vec<highwater_core::metadata::Endpoint>) {
        self.with(|state, now| {
            let Some(known) = state.quorum.voters().get(id).cloned() else { return After::default() };
            if endpoints.is_empty() || known.endpoints == endpoints || !state.quorum.is_active() {
                return After::default();
            }
            let voter = Voter { endpoints, ..known };
            state.step(now, Input::UpdateVoter { id, voter })
        });
    }

    /// The outcome of an append that the disk had not finished.
    pub fn completed(&self, completion: Completion) {
        self.with(|state, now| state.completed(now, completion.id, completion.result));
    }

    /// Stands down before the node stops, so that another controller is found at once.
    pub fn resign(&self) {
        self.with(|state, now| state.step(now, Input::Resign));
    }

    /// Flushes and closes the metadata log, at the end.
    pub fn close(&self) -> Result<(), LogError> {
        match self.cell.lock() {
            Ok(mut state) => state.close(),
            Err(broken) => Err(LogError::Poisoned { cause: broken.to_string() }),
        }
    }

    /// One step under the lock, and what follows from it.
    fn with(&self, step: impl FnOnce(&mut State, Now) -> After) {
        let now = self.shell.clock.now();
        let mut state = match self.cell.lock() {
            Ok(state) => state,
            Err(broken) => return self.halt(&broken.to_string()),
        };
        let mut after = step(&mut state, now);
        let is_active = state.quorum.is_active();
        let leader = leader_of(&state);
        let is_other = self.is_active.swap(is_active, Ordering::AcqRel) != is_active;
        let is_other = self.leader.swap(leader, Ordering::AcqRel) != leader || is_other;
        let wants_disk = state.wants_flush || state.wants_vote.is_some();
        let due = state.quorum.next_timeout().into_iter().chain(state.snapshot_due()).min();
        let arm = due.filter(|due| state.armed.is_none_or(|armed| *due < armed));
        state.armed = arm.or(state.armed);
        // Under the lock, so that what is committed is carried out in the order committed.
        self.carry_out(&mut after);
        drop(state);
        if wants_disk {
            self.disk.ring();
        }
        if let Some(at) = arm {
            let me: Weak<Self> = self.me.clone();
            self.shell.control_timers.arm(at, me);
        }
        self.deliver(after);
        if is_other && let Some(node) = self.node.upgrade() {
            node.desk().controller_changed();
            node.membership().controller_changed();
            node.forwarder().controller_changed();
        }
    }

    /// Hands what was committed, and the answers that waited for it, to the jobs worker.
    fn carry_out(&self, after: &mut After) {
        let (committed, ready) = (std::mem::take(&mut after.committed), std::mem::take(&mut after.ready));
        let is_elected = std::mem::take(&mut after.is_elected);
        if committed.is_empty() && ready.is_empty() && !is_elected {
            return;
        }
        let node = self.node.clone();
        self.shell.jobs.submit(move || {
            if let Some(node) = node.upgrade() {
                for committed in &committed {
                    node.apply(committed);
                }
                if is_elected {
                    node.elected();
                }
            }
            for (then, outcome) in ready {
                then(outcome);
            }
        });
    }

    fn deliver(&self, after: After) {
        for (to, frame) in after.frames {
            // Whoever is not reached asks again, or is asked again.
            let _ = self.shell.peers.send(to, Class::Control, frame);
        }
        for (then, result) in after.voter_answers {
            then(result);
        }
        if let Some(voters) = after.voters {
            self.meet(&voters, &[]);
        }
        if let Some(id) = after.install {
            let me = self.me.clone();
            self.shell.jobs.submit(move || {
                let Some(cell) = me.upgrade() else { return };
                let Some(place) = cell.place() else { return };
                let loaded = snapshot::install(&*place.disk, &place.log_dir, id);
                cell.with(|state, now| state.installed(now, id, loaded));
            });
        }
        if let Some(taking) = after.take {
            self.take_snapshot(taking);
        }
        if after.cleanup {
            self.clean_up();
        }
        if let Some(why) = after.halt {
            self.halt(&why);
        }
    }

    fn place(&self) -> Option<recovery::Place> {
        self.cell.lock().ok().map(|state| state.place().clone())
    }

    fn take_snapshot(&self, taking: Taking) {
        let me = self.me.clone();
        self.shell.jobs.submit(move || {
            let Some(cell) = me.upgrade() else { return };
            let Some(place) = cell.place() else { return };
            let Taking { id, image, voters } = taking;
            let now = cell.shell.clock.now().wall;
            let written = snapshot::write(&*place.disk, &place.log_dir, id, &image, &voters, now);
            if written.is_ok() {
                tracing::info!(end = id.end.0, epoch = id.epoch.0, "a snapshot of the metadata was taken");
            }
            cell.with(|state, now| state.snapshot_taken(now, id, written));
        });
    }

    /// Removes what lies before the log's new beginning. The beginning is made durable first.
    fn clean_up(&self) {
        let (me, node) = (self.me.clone(), self.node.clone());
        self.shell.jobs.submit(move || {
            let (Some(cell), Some(node)) = (me.upgrade(), node.upgrade()) else { return };
            if let Err(error) = node.data_dir().recovery_points().write() {
                return tracing::error!(%error, "the metadata log's beginning was not stored; its old files stay");
            }
            let Ok(mut state) = cell.cell.lock() else { return };
            state.remove_doomed(cell.shell.clock.now());
            let (start, place) = (state.quorum.log_start(), state.place().clone());
            drop(state);
            if let Err(error) = snapshot::remove_below(&*place.disk, &place.log_dir, start) {
                tracing::warn!(%error, "older snapshots of the metadata stay");
            }
        });
    }

    /// Tells the transport where voters are that the configuration does not place.
    fn meet(&self, voters: &VoterSet, placed: &[InitialController]) {
        let own = self.node.upgrade().map(|node| node.id());
        for (id, voter) in voters.iter().filter(|(id, _)| Some(*id) != own) {
            let is_placed = placed.iter().any(|controller| controller.id == id);
            if let (false, Some(endpoint)) = (is_placed, voter.endpoints.first()) {
                self.shell.peers.recall(id, Some(bootstrap::address(endpoint)));
            }
        }
    }

    fn disk_work(&self) -> Option<DiskWork> {
        let mut state = self.cell.lock().ok()?;
        let vote = state.wants_vote.take().map(|vote| (vote, state.vote_state(vote)));
        let wants_flush = state.take_wanted_flush();
        if vote.is_none() && !wants_flush {
            return None;
        }
        let flush = if wants_flush { state.log.flush_job(FlushScope::All) } else { None };
        drop(state);
        if wants_flush && flush.is_none() {
            // Everything is on the device already; the machine waits to hear so.
            self.with(|state, now| state.flushed(now));
        }
        Some(DiskWork { vote, flush })
    }

    fn make_durable(&self, work: DiskWork) {
        let Some(place) = self.place() else { return };
        if let Some((vote, state)) = work.vote {
            match vote_file::write(&*place.disk, &place.data_dir, state) {
                Ok(()) => self.with(|state, now| state.step(now, Input::VoteStored(vote))),
                Err(error) => return self.halt(&MetadataError::Vote(error).to_string()),
            }
        }
        let Some(job) = work.flush else { return };
        let result = job.run(&*place.disk);
        self.with(|state, now| match state.log.flushed(&job.note, result) {
            Ok(_) => state.flushed(now),
            Err(error) => After { halt: Some(error.to_string()), ..After::default() },
        });
        if job.seals
            && let Some(node) = self.node.upgrade()
            && let Err(error) = node.data_dir().recovery_points().write()
        {
            tracing::error!(%error, "recovery points were not written; the next start reads more");
        }
    }

    fn halt(&self, why: &str) {
        tracing::error!(why, "the metadata log failed; the node ends");
        if let Some(node) = self.node.upgrade() {
            node.halt(format!("the metadata log failed: {why}"));
        }
    }
}

impl Timed for ControllerCell {
    fn due(&self, _at: Instant) {
        self.with(|state, now| {
            state.armed = None;
            state.due(now)
        });
    }
}

impl FrameHandler for ControllerCell {
    fn received(&self, from: &PeerIdentity, frame: Frame) {
        let message = (frame.version == MESSAGE_VERSION).then(|| Message::decode(&frame.header)).flatten();
        let Some(message) = message else {
            let (from, version) = (from.id.0, frame.version);
            return tracing::warn!(
                from,
                version,
                "a message of the metadata quorum cannot be read; it is dropped"
            );
        };
        let payload = joined(frame.payload);
        let from = ReplicaKey { id: from.id, directory_id: DirectoryId(from.directory_id) };
        self.with(|state, now| state.step(now, Input::Received { from, message, payload }));
    }
}

/// The parts of a payload in one piece; without a copy if it is one.
fn joined(mut payload: Vec<Bytes>) -> Bytes {
    if payload.len() <= 1 {
        return payload.pop().unwrap_or_default();
    }
    let mut all = BytesMut::with_capacity(payload.iter().map(Bytes::len).sum());
    for part in payload {
        all.extend_from_slice(&part);
    }
    all.freeze()
}

impl LinkWatcher for ControllerCell {
    fn link(&self, peer: BrokerId, link: LinkEvent) {
        self.with(|state, now| match link {
            LinkEvent::Up => state.link_up(now, peer),
            LinkEvent::Reset => {
                state.link_reset(peer);
                After::default()
            }
            LinkEvent::Refused => state.link_refused(now, peer),
        });
    }
}

#[cfg(all(test, not(madsim)))]
mod tests;
