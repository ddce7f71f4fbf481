//! What the quorum's cell holds, and how its machine's effects are carried out under the lock. What concerns anybody
//! else is gathered in [`After`] and delivered once the lock is given back.

use super::pace::Pace;
use super::recovery::Place;
use super::snapshot;
use super::telling::Teller;
use super::vote_file::{self, VoteState};
use super::{MetadataError, NotController};
use crate::disk::{OpId, Submitted};
use crate::log::{Log, LogError};
use bytes::Bytes;
use highwater_core::batch;
use highwater_core::ids::{BrokerId, Offset, Token};
use highwater_core::machine::{Machine, Outbox};
use highwater_core::metadata::{Committed, Controller, MetadataImage, Record};
use highwater_core::quorum::{
    Effect, Event, Input, LogBatch, MESSAGE_VERSION, Message, Quorum, Role, SnapshotId, VoteRecord,
    VoterChangeError, VoterSet,
};
use highwater_core::time::{Instant, Now};
use highwater_core::transport::{Frame, FrameKind};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::io;

/// The most bytes of records in one answer to a fetch (`controller.quorum.fetch.max.bytes`).
const FETCH_BYTES_MAX: usize = 1 << 20;
/// The most bytes of a snapshot in one answer (`controller.quorum.fetch.snapshot.max.bytes`).
const PIECE_BYTES_MAX: usize = 1 << 20;
/// The answer to a plan, given once it is committed and carried out, or once it is clear that this node cannot tell.
pub(super) type Then = Box<dyn FnOnce(Result<(), NotController>) + Send>;
/// The answer to a change of voters.
pub(super) type VoterThen = Box<dyn FnOnce(Result<(), VoterChangeError>) + Send>;

/// The quorum's cell.
pub(super) struct State {
    pub(super) quorum: Quorum,
    pub(super) log: Log,
    pub(super) controller: Controller,
    place: Place,
    outbox: Outbox<Effect>,
    /// Storage effects behind an append whose outcome the disk still owes.
    queued: VecDeque<Effect>,
    /// Answers, each with the log end that must be committed first.
    waiting: VecDeque<(Offset, Then)>,
    /// Operators who wait for a change of voters.
    changes: BTreeMap<Token, VoterThen>,
    next_token: u64,
    /// Whether the machine asked for a flush.
    pub(super) wants_flush: bool,
    /// What the machine wants stored.
    pub(super) wants_vote: Option<VoteRecord>,
    /// A snapshot that was fetched and waits for the machine to take it.
    loaded: Option<(SnapshotId, MetadataImage)>,
    /// When a snapshot is due.
    pub(super) snapshots: Pace,
    /// Peers whose connection was reset, and that did not answer since.
    reset: BTreeSet<BrokerId>,
    was_leading: bool,
    was_active: bool,
    teller: Teller,
    /// The earliest deadline that is armed.
    pub(super) armed: Option<Instant>,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("quorum", &self.quorum).finish_non_exhaustive()
    }
}

/// What follows outside the lock.
#[derive(Default)]
pub(super) struct After {
    pub(super) frames: Vec<(BrokerId, Frame)>,
    /// What was committed, and who waits for it: in the order of the steps.
    pub(super) committed: Vec<Committed>,
    pub(super) ready: Vec<(Then, Result<(), NotController>)>,
    pub(super) voter_answers: Vec<(VoterThen, Result<(), VoterChangeError>)>,
    pub(super) voters: Option<VoterSet>,
    /// Whether this node has just become the active controller.
    pub(super) is_elected: bool,
    pub(super) install: Option<SnapshotId>,
    pub(super) take: Option<Taking>,
    /// Whether files of the log's beginning can go.
    pub(super) cleanup: bool,
    pub(super) halt: Option<String>,
}

/// A snapshot to write.
pub(super) struct Taking {
    pub(super) id: SnapshotId,
    pub(super) image: std::sync::Arc<MetadataImage>,
    pub(super) voters: VoterSet,
}

impl State {
    pub(super) fn new(
        quorum: Quorum,
        log: Log,
        controller: Controller,
        place: Place,
        snapshots: Pace,
    ) -> Self {
        Self {
            quorum,
            log,
            controller,
            place,
            outbox: Outbox::new(),
            queued: VecDeque::new(),
            waiting: VecDeque::new(),
            changes: BTreeMap::new(),
            next_token: 0,
            wants_flush: false,
            wants_vote: None,
            loaded: None,
            snapshots,
            reset: BTreeSet::new(),
            was_leading: false,
            was_active: false,
            teller: Teller::default(),
            armed: None,
        }
    }

    pub(super) const fn place(&self) -> &Place {
        &self.place
    }

    /// How many wait for a commit.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len() + self.changes.len()
    }

    pub(super) const fn is_leading(&self) -> bool {
        matches!(self.quorum.role(), Role::Leader(_))
    }

    /// Hands an input to the machine and carries out what follows.
    pub(super) fn step(&mut self, now: Now, input: Input) -> After {
        self.quorum.handle(now, input, &mut self.outbox);
        self.carry_out(now)
    }

    /// A deadline of the machine has passed.
    pub(super) fn due(&mut self, now: Now) -> After {
        self.quorum.handle_timeout(now, &mut self.outbox);
        self.carry_out(now)
    }

    /// Appends what was planned; the log end behind it.
    pub(super) fn propose(&mut self, now: Now, records: Vec<Record>) -> (Offset, After) {
        let mut builder = batch::Builder::new(batch::Codec::None);
        for record in &records {
            builder.push(now.wall, None, Some(&record.encode()), &[]);
        }
        let end = self.controller.appended(records);
        self.quorum.handle(now, Input::Propose(builder.build()), &mut self.outbox);
        assert_eq!(self.quorum.log_end(), end, "the metadata log has one offset per record");
        (end, self.carry_out(now))
    }

    pub(super) fn wait_for(&mut self, end: Offset, then: Then) {
        self.waiting.push_back((end, then));
    }

    pub(super) fn voter_token(&mut self, then: VoterThen) -> Token {
        self.next_token += 1;
        let token = Token(self.next_token);
        self.changes.insert(token, then);
        token
    }

    /// The disk told the outcome of a pending append.
    pub(super) fn completed(&mut self, now: Now, id: OpId, result: io::Result<()>) -> After {
        let mut after = After::default();
        if self.log.pending() == Some(id) {
            match self.log.complete(id, result) {
                Ok(_) => self.store_queued(now, &mut after),
                Err(error) => after.halt = Some(error.to_string()),
            }
        }
        after
    }

    /// Whether the log is to be flushed now. One that has failed never is again (ST-01), and no flush reaches what waits
    /// behind an append whose outcome the disk owes; that outcome rings again. The machine asks whenever it is told of a
    /// flush that did not reach its end, so a worker that went on asking here would never rest, nor end with its node.
    pub(super) fn take_wanted_flush(&mut self) -> bool {
        if self.log.poisoned().is_some() {
            self.wants_flush = false;
        }
        self.log.pending().is_none() && std::mem::take(&mut self.wants_flush)
    }

    /// A flush is done.
    pub(super) fn flushed(&mut self, now: Now) -> After {
        self.step(now, Input::Flushed { through: self.log.flushed_through() })
    }

    /// What happened to the way to a peer; an input for the machine if it says anything.
    pub(super) fn link_reset(&mut self, peer: BrokerId) {
        self.reset.insert(peer);
    }

    /// A peer's machine refuses connections: dead, if there was one before.
    pub(super) fn link_refused(&mut self, now: Now, peer: BrokerId) -> After {
        match self.reset.remove(&peer) {
            true => self.step(now, Input::LinkDown(peer)),
            false => After::default(),
        }
    }

    pub(super) fn link_up(&mut self, now: Now, peer: BrokerId) -> After {
        self.reset.remove(&peer);
        self.step(now, Input::LinkUp(peer))
    }

    /// The shell has loaded a snapshot that was fetched.
    pub(super) fn installed(
        &mut self,
        now: Now,
        id: SnapshotId,
        loaded: io::Result<snapshot::Loaded>,
    ) -> After {
        match loaded {
            Ok(loaded) => {
                self.loaded = Some((id, loaded.image));
                let after = self.step(now, Input::SnapshotInstalled { id, voters: loaded.voters });
                self.loaded = None;
                after
            }
            Err(error) => {
                tracing::warn!(%error, "a fetched snapshot of the metadata is not usable; it is fetched again");
                self.step(now, Input::SnapshotRejected(id))
            }
        }
    }

    /// A snapshot was written, or could not be.
    pub(super) fn snapshot_taken(&mut self, now: Now, id: SnapshotId, result: io::Result<()>) -> After {
        match result {
            Ok(()) => {
                self.snapshots.taken(now.mono);
                self.step(now, Input::SnapshotTaken(id))
            }
            Err(error) => {
                let again = self.snapshots.failed(now.mono);
                tracing::error!(%error, again_in = ?again, "no snapshot of the metadata was written; the log keeps growing");
                After::default()
            }
        }
    }

    /// Drops the files of what left the log's beginning.
    pub(super) fn remove_doomed(&mut self, now: Now) {
        if let Err(error) = self.log.remove_doomed(now.wall) {
            tracing::warn!(%error, "files of the metadata log's beginning stay");
        }
    }

    /// What followed while the node started is over: nobody was there to be told.
    pub(super) fn settle(&mut self) {
        self.snapshots.settle();
        self.wants_flush = false;
    }

    /// What the vote file is to hold.
    pub(super) fn vote_state(&self, vote: VoteRecord) -> VoteState {
        VoteState { vote, committed: self.controller.image().offset() }
    }

    /// The orderly end.
    pub(super) fn close(&mut self) -> Result<(), LogError> {
        self.log.close()?;
        let vote = self.quorum.vote();
        if !self.quorum.voters().is_sole(self.quorum.me())
            && let Err(error) =
                vote_file::write(&*self.place.disk, &self.place.data_dir, self.vote_state(vote))
        {
            tracing::warn!(%error, "how far the metadata is committed was not stored; the next start waits to hear it");
        }
        Ok(())
    }

    fn carry_out(&mut self, now: Now) -> After {
        let mut after = After::default();
        if self.is_leading() && !self.was_leading {
            // Plans must see everything that the log holds, committed or not.
            let end = self.log.end();
            if let Err(error) = self.catch_up(end) {
                after.halt = Some(error.to_string());
            }
        }
        let mut effects: Vec<Effect> = self.outbox.drain().collect();
        for effect in effects.drain(..) {
            self.carry_out_one(now, effect, &mut after);
        }
        if self.was_leading && !self.is_leading() {
            self.controller.abandon();
            after.ready.extend(self.waiting.drain(..).map(|(_, then)| (then, Err(NotController))));
        }
        self.was_leading = self.is_leading();
        let is_active = self.quorum.is_active();
        if is_active && !self.was_active {
            tracing::info!(epoch = self.quorum.epoch().0, "this node is the active controller");
            after.is_elected = true;
        }
        self.was_active = is_active;
        self.consider_snapshot(now, &mut after);
        #[cfg(any(debug_assertions, sim))]
        self.quorum.assert_invariants();
        after
    }

    fn carry_out_one(&mut self, now: Now, effect: Effect, after: &mut After) {
        match effect {
            Effect::Send { to, message } => after.frames.push((to, frame(&message, Vec::new()))),
            Effect::SendRecords { to, reply, from, until } => match self.records(from, until) {
                Ok(records) => after.frames.push((to, frame(&Message::FetchReply(reply), records))),
                Err(error) => after.halt = Some(error.to_string()),
            },
            Effect::SendChunk { to, mut chunk } => {
                let disk = &*self.place.disk;
                let piece = snapshot::read_piece(
                    disk,
                    &self.place.log_dir,
                    chunk.id,
                    chunk.position,
                    PIECE_BYTES_MAX,
                );
                let (size, bytes) =
                    piece.map_or((None, Vec::new()), |(size, bytes)| (Some(size), vec![bytes]));
                chunk.size = size;
                after.frames.push((to, frame(&Message::SnapshotChunk(chunk), bytes)));
            }
            Effect::Append(_)
            | Effect::Truncate { .. }
            | Effect::Reset(_)
            | Effect::AdvanceLogStart(_)
            | Effect::WriteSnapshot { .. }
            | Effect::InstallSnapshot(_) => {
                self.queued.push_back(effect);
                self.store_queued(now, after);
            }
            Effect::Flush => self.wants_flush = true,
            Effect::StoreVote(vote) => self.wants_vote = Some(vote),
            Effect::Committed { through } => self.commit(through, after),
            Effect::VoterChange { token, result } => {
                after.voter_answers.extend(self.changes.remove(&token).map(|then| (then, result)));
            }
            Effect::Log(event) => {
                if let Event::Voters(voters) = &event {
                    after.voters = Some(voters.clone());
                }
                self.teller.tell(&event);
            }
            Effect::Halt(why) => after.halt = Some(why.to_owned()),
        }
    }

    /// Carries out storage effects in the order emitted, up to one that the disk has not finished.
    fn store_queued(&mut self, now: Now, after: &mut After) {
        while self.log.pending().is_none()
            && let Some(effect) = self.queued.pop_front()
        {
            if let Err(error) = self.store(now, effect, after) {
                after.halt = Some(error.to_string());
            }
        }
    }

    fn store(&mut self, now: Now, effect: Effect, after: &mut After) -> Result<(), MetadataError> {
        match effect {
            Effect::Append(batch) => self.append(now, &batch)?,
            Effect::Truncate { to } => {
                let end = self.log.truncate_to(to, now.wall)?;
                assert_eq!(end, to, "the metadata log is cut at a batch boundary");
            }
            Effect::Reset(id) => {
                self.log.reset_to(id.end, now.wall)?;
                let (loaded, image) =
                    self.loaded.take().expect("a snapshot is loaded before the log begins at it");
                assert_eq!(loaded, id, "the snapshot that was loaded is the one the machine takes");
                after.committed.push(self.controller.restore(image));
                self.snapshots.installed(now.mono);
                after.cleanup = true;
            }
            Effect::AdvanceLogStart(id) => {
                self.log.roll(now.wall)?;
                self.log.advance_log_start(id.end, now.wall)?;
                after.cleanup = true;
            }
            Effect::WriteSnapshot { id, position, bytes } => {
                snapshot::write_piece(&*self.place.disk, &self.place.log_dir, id, position, &bytes)
                    .map_err(MetadataError::Snapshot)?;
            }
            Effect::InstallSnapshot(id) => after.install = Some(id),
            other => unreachable!("{other:?} is no storage effect"),
        }
        Ok(())
    }

    fn append(&mut self, now: Now, batch: &LogBatch) -> Result<(), MetadataError> {
        self.snapshots.appended(batch.header.size_bytes() as u64);
        if self.is_leading() && batch.header.attributes.is_control() {
            self.controller.passed(i64::from(batch.header.last_offset_delta) + 1);
        }
        match self.log.append(&batch.header, &batch.bytes, &[], now.wall) {
            Submitted::Done(appended) => {
                appended?;
            }
            Submitted::Pending(_) => {}
        }
        Ok(())
    }

    /// Whole batches of a range of the log, as many as fit one frame.
    fn records(&self, from: Offset, until: Offset) -> Result<Vec<Bytes>, LogError> {
        let (mut records, mut sum) = (Vec::new(), 0);
        for located in self.log.batches_from(from) {
            let header = located?.header;
            if header.base_offset >= until || (sum > 0 && sum + header.size_bytes() > FETCH_BYTES_MAX) {
                break;
            }
            let Some(bytes) = self.log.read_batch(header.base_offset)? else { break };
            sum += bytes.len();
            records.push(bytes.into());
        }
        Ok(records)
    }

    /// Lets the controller's state see the log up to `end`.
    pub(super) fn catch_up(&mut self, end: Offset) -> Result<(), MetadataError> {
        let from = self.controller.latest().offset();
        if from >= end {
            return Ok(());
        }
        for located in self.log.batches_from(from) {
            let header = located?.header;
            if header.base_offset >= end {
                break;
            }
            if header.attributes.is_control() {
                self.controller.passed(i64::from(header.last_offset_delta) + 1);
                continue;
            }
            let Some(bytes) = self.log.read_batch(header.base_offset)? else { continue };
            let mut records = Vec::new();
            for record in batch::records(&bytes.into()).map_err(MetadataError::Batch)? {
                let record = record.map_err(MetadataError::Batch)?;
                let value = record.value.unwrap_or_default();
                let decoded = Record::decode(&value).map_err(|e| MetadataError::Record(record.offset, e))?;
                records.push(decoded);
            }
            self.controller.appended(records);
        }
        Ok(())
    }

    /// Everything below `through` is committed. What cannot be applied ends the node: a standby that went on without
    /// it would lead with incomplete state one day (CQ-08).
    fn commit(&mut self, through: Offset, after: &mut After) {
        if let Err(error) = self.catch_up(through) {
            after.halt = Some(error.to_string());
            return;
        }
        after.committed.extend(self.controller.committed(through));
        while self.waiting.front().is_some_and(|(end, _)| *end <= through) {
            after.ready.extend(self.waiting.pop_front().map(|(_, then)| (then, Ok(()))));
        }
    }

    /// Whether something is committed that the newest snapshot does not hold, and the quorum knows that it is: a node
    /// that has just started remembers more than it has heard.
    fn has_news(&self) -> bool {
        let newest = self.quorum.snapshot().unwrap_or(self.quorum.log_start());
        let offset = self.controller.image().offset();
        offset > newest.end && offset <= self.quorum.high_watermark()
    }

    /// When time alone makes a snapshot due.
    pub(super) fn snapshot_due(&self) -> Option<Instant> {
        self.snapshots.due_at().filter(|_| self.has_news())
    }

    /// Takes a snapshot if enough has gathered behind the last one, or it is old.
    fn consider_snapshot(&mut self, now: Now, after: &mut After) {
        if !self.has_news() || !self.snapshots.is_due(now.mono) {
            return;
        }
        self.snapshots.begun();
        let image = self.controller.image();
        let end = image.offset();
        let id = SnapshotId { end, epoch: self.quorum.epoch_before(end) };
        let voters = self.quorum.voters_at(end).clone();
        after.take = Some(Taking { id, image: image.clone(), voters });
    }
}

fn frame(message: &Message, payload: Vec<Bytes>) -> Frame {
    Frame::with_payload(FrameKind::Quorum, MESSAGE_VERSION, message.encode(), payload)
}
