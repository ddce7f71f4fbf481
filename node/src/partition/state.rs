//! What lies behind a partition's lock, and the loop that carries effects out.
//!
//! Storage effects run in the order emitted. While the disk owes the outcome of an append, everything behind it
//! in the queue waits: so do its replies.

use super::coordinator::Shard;
use super::waiter::{Deliveries, FollowChange, IsrProposal, Waiter};
use super::{OpenError, Shell, open};
use crate::disk::{OpId, Submitted};
use crate::log::{Appended, FlushJob, FlushNote, FlushScope, Log, LogError, StartNote};
use highwater_core::batch::StampedBatch;
use highwater_core::coordinator::LoadId;
use highwater_core::ids::{BrokerId, LeaderEpoch, Offset, PartitionEpoch, Token};
use highwater_core::machine::{Machine, Outbox};
use highwater_core::replica::{
    CutReason, Effect, FetchPosition, Input, Leadership, Offline, Producers, Replica, Reply, Role,
};
use highwater_core::time::{Instant, Now};
use std::collections::{BTreeMap, VecDeque};
use std::io;

/// Replica, log and coordinator of one partition.
#[derive(Debug)]
pub(super) struct State {
    pub(super) replica: Replica,
    pub(super) log: Log,
    pub(super) shard: Option<Shard>,
    outbox: Outbox<Effect>,
    queue: VecDeque<Effect>,
    waiters: BTreeMap<Token, Waiter>,
    pub(super) tokens: Tokens,
    /// The earliest deadline that the node's timers know of.
    armed: Option<Instant>,
    /// A flush of everything is asked for and not yet on the flusher's list.
    is_flush_asked: bool,
    /// Likewise of finished segments: recovery then reads the active one only.
    is_seal_asked: bool,
    /// What the flusher, on whose list the cell is, is to sync.
    flush_scope: FlushScope,
    /// The cell is on the flusher's list.
    is_flush_listed: bool,
    load_asked: Option<LoadId>,
    /// The disk owes the outcome of this append, and nobody asks for it yet.
    owed: Option<OpId>,
    /// The log end at the last checkpoint.
    snapshot_end: Offset,
    /// A follower's log start has moved, and the flusher is to have it noted.
    is_start_asked: bool,
    /// The flusher's list has the cell.
    is_start_listed: bool,
    /// A segment was finished since the last checkpoint, and the housekeeper is to know.
    is_roll_untold: bool,
    /// The housekeeper knows.
    is_roll_listed: bool,
    /// Whom the fetchers believe to be followed, and from where.
    follows: (Option<BrokerId>, Option<FetchPosition>),
    /// The log failed, and that was said to whoever is to know.
    is_failure_told: bool,
}

/// Names for those who wait in one cell, each given once.
#[derive(Debug, Default)]
pub(super) struct Tokens(Token);

impl Tokens {
    pub(super) const fn next(&mut self) -> Token {
        self.0.0 += 1;
        self.0
    }
}

impl State {
    pub(super) fn new(replica: Replica, log: Log, shard: Option<Shard>) -> Self {
        Self {
            replica,
            log,
            shard,
            outbox: Outbox::new(),
            queue: VecDeque::new(),
            waiters: BTreeMap::new(),
            tokens: Tokens::default(),
            armed: None,
            is_flush_asked: false,
            is_seal_asked: false,
            flush_scope: FlushScope::Sealed,
            is_flush_listed: false,
            load_asked: None,
            owed: None,
            snapshot_end: Offset(-1),
            is_start_asked: false,
            is_start_listed: false,
            is_roll_untold: false,
            is_roll_listed: false,
            follows: (None, None),
            is_failure_told: false,
        }
    }

    /// A name that nobody in this cell waits under.
    pub(super) fn token(&mut self) -> Token {
        self.tokens.next()
    }

    /// Remembers who waits under a token.
    pub(super) fn wait(&mut self, token: Token, waiter: Waiter) {
        let before = self.waiters.insert(token, waiter);
        assert!(before.is_none(), "a token names one waiter");
    }

    /// How many wait for an answer, and how many for news.
    pub(super) fn waiting(&self) -> (usize, usize) {
        let watching = self.waiters.values().filter(|waiter| matches!(waiter, Waiter::Fetch(..))).count();
        (self.waiters.len() - watching, watching)
    }

    /// Hands one input to the replica. [`State::run`] carries out what follows.
    pub(super) fn input(&mut self, now: Now, input: Input) {
        self.replica.handle(now, input, &mut self.outbox);
    }

    pub(super) fn lead(&mut self, now: Now, leadership: Leadership) {
        let epoch = leadership.leader_epoch;
        self.input(now, Input::Lead(leadership));
        if let Some(shard) = &mut self.shard {
            shard.lead(now, epoch);
        }
    }

    pub(super) fn forget(&mut self, now: Now, token: Token) {
        self.waiters.remove(&token);
        self.input(now, Input::Forget { token });
    }

    /// A deadline of this cell has passed; stale ones do nothing.
    pub(super) fn due(&mut self, now: Now, at: Instant) {
        if self.armed == Some(at) {
            self.armed = None;
        }
        self.replica.handle_timeout(now, &mut self.outbox);
        if let Some(shard) = &mut self.shard {
            shard.handle_timeout(now);
        }
    }

    /// Another leader than the coordinator here was loaded under, or none: it is another broker's now.
    pub(super) fn follow(
        &mut self,
        now: Now,
        leader: Option<BrokerId>,
        leader_epoch: LeaderEpoch,
        partition_epoch: PartitionEpoch,
    ) {
        self.input(now, Input::Follow { leader, leader_epoch, partition_epoch });
        if self.replica.leader_epoch().is_none()
            && let Some(shard) = &mut self.shard
        {
            shard.resign(now);
        }
    }

    /// Notes whom the replica follows and from where, if that has changed.
    fn note_following(&mut self, deliveries: &mut Deliveries) {
        let Role::Follower(follower) = self.replica.role() else {
            if let Some(left) = self.follows.0.take() {
                self.follows.1 = None;
                deliveries.follow(FollowChange { left: Some(left), at: None });
            }
            return;
        };
        let position = self.replica.fetch_position();
        let at = position.map(|(_, position)| position);
        let moved = follower.leader != self.follows.0 || (at.is_some() && at != self.follows.1);
        if moved {
            let left = self.follows.0.filter(|known| Some(*known) != follower.leader);
            self.follows = (follower.leader, at);
            deliveries.follow(FollowChange { left, at: position });
        }
    }

    /// The machines' next deadline, if the timers do not know of it or an earlier one yet.
    pub(super) fn deadline_to_arm(&mut self) -> Option<Instant> {
        let shard = self.shard.as_ref().and_then(Shard::next_timeout);
        let next = [self.replica.next_timeout(), shard].into_iter().flatten().min()?;
        if self.armed.is_some_and(|armed| armed <= next) {
            return None;
        }
        self.armed = Some(next);
        Some(next)
    }

    /// Whether the cell is to enter the flusher's list now.
    pub(super) fn take_flush_request(&mut self) -> bool {
        if std::mem::take(&mut self.is_flush_asked) {
            self.flush_scope = FlushScope::All;
        } else if !std::mem::take(&mut self.is_seal_asked) {
            return false;
        }
        !std::mem::replace(&mut self.is_flush_listed, true)
    }

    /// Whether the cell is to enter the flusher's list of those whose log start is to outlive a crash.
    pub(super) fn take_start_request(&mut self) -> bool {
        std::mem::take(&mut self.is_start_asked) && !std::mem::replace(&mut self.is_start_listed, true)
    }

    /// The cell leaves that list: what is to be noted now.
    pub(super) const fn start_note(&mut self) -> StartNote {
        self.is_start_listed = false;
        self.log.start_note()
    }

    /// The log start was noted.
    pub(super) fn start_kept(&mut self, now: Now, note: &StartNote) {
        if self.log.is_start_kept(note) {
            self.input(now, Input::LogStartKept { through: note.start });
        }
    }

    /// Whether the cell is to enter the housekeeper's list of those that finished a segment.
    pub(super) fn take_roll(&mut self) -> bool {
        std::mem::take(&mut self.is_roll_untold) && !std::mem::replace(&mut self.is_roll_listed, true)
    }

    /// The load that the coordinator asks for.
    pub(super) fn take_load_request(&mut self) -> Option<LoadId> {
        self.load_asked.take()
    }

    /// The append whose outcome is to be asked for.
    pub(super) const fn take_owed(&mut self) -> Option<OpId> {
        self.owed.take()
    }

    /// The cell leaves the flusher's list: what is to be synced now.
    pub(super) fn flush_begins(&mut self) -> Option<FlushJob> {
        self.is_flush_listed = false;
        let scope = std::mem::replace(&mut self.flush_scope, FlushScope::Sealed);
        if self.log.pending().is_some() {
            // Nobody knows yet what there is to sync; the append's outcome brings the cell back to the list.
            match scope {
                FlushScope::All => self.is_flush_asked = true,
                FlushScope::Sealed => self.is_seal_asked = true,
            }
            return None;
        }
        self.log.flush_job(scope)
    }

    pub(super) fn flushed(&mut self, now: Now, note: &FlushNote, result: io::Result<()>) {
        match self.log.flushed(note, result) {
            Ok(through) => self.input(now, Input::Flushed { through }),
            Err(error) => {
                self.report(&error, "syncing the log failed; the partition goes offline");
                self.input(now, Input::FlushFailed);
            }
        }
    }

    /// The producer state and epochs as of the log's end.
    pub(super) fn snapshot(&self) -> Option<open::Snapshot> {
        let producers = self.replica.producers_snapshot()?;
        let end = self.replica.log_end();
        let tail = open::Tail::of(&self.log, end)?;
        let (start, epochs) = (self.replica.log_start(), self.replica.epochs().clone());
        Some(open::Snapshot { start, end, epochs, producers, tail })
    }

    /// Whether the log has grown since the last checkpoint.
    pub(super) fn take_snapshot_due(&mut self) -> bool {
        let end = self.replica.log_end();
        self.is_roll_listed = false;
        std::mem::replace(&mut self.snapshot_end, end) != end
    }

    /// The partition ends: its topic was deleted, or the node stops.
    pub(super) fn resign(&mut self, shell: &Shell) {
        let now = shell.clock.now();
        if let Some(shard) = &mut self.shard {
            shard.resign(now);
        }
        if let Some(epoch) = self.replica.leader_epoch() {
            let partition_epoch = highwater_core::ids::PartitionEpoch(i32::MAX);
            self.input(now, Input::Follow { leader: None, leader_epoch: epoch.next(), partition_epoch });
        }
    }

    /// Carries out effects until there are none, or until the disk owes an outcome.
    pub(super) fn run(&mut self, shell: &Shell, deliveries: &mut Deliveries) {
        let now = shell.clock.now();
        loop {
            self.queue.extend(self.outbox.drain());
            if self.log.pending().is_some() {
                return;
            }
            if let Some(effect) = self.queue.pop_front() {
                self.carry_out(now, effect, deliveries);
            } else if !self.run_shard(now, deliveries) {
                break;
            }
        }
        self.note_following(deliveries);
        let has_failed = matches!(self.replica.role(), Role::Offline(Offline::Storage));
        if has_failed && !std::mem::replace(&mut self.is_failure_told, true) {
            deliveries.fail();
        }
        #[cfg(debug_assertions)]
        self.assert_invariants();
    }

    fn carry_out(&mut self, now: Now, effect: Effect, deliveries: &mut Deliveries) {
        let is_answer = matches!(effect, Effect::Reply { .. } | Effect::Wake { .. });
        if !is_answer && matches!(self.replica.role(), Role::Offline(Offline::Deleted)) {
            return; // the name and the recovery point may be those of another log by now
        }
        match effect {
            Effect::Append(batch) => self.append(now, &batch),
            Effect::AdvanceLogStart { to } => self.advance_log_start(now, to),
            Effect::Truncate { to, rebuilds_producers, reason } => {
                self.truncate(now, to, rebuilds_producers, reason);
            }
            Effect::StartOver { at, reason } => self.start_over(now, at, reason),
            Effect::ProposeIsr { leader_epoch, partition_epoch, isr } => {
                deliveries.propose_isr(IsrProposal { leader_epoch, partition_epoch, isr });
            }
            Effect::Flush { .. } => self.is_flush_asked = true,
            Effect::Wake { token } => {
                let waiter = self.waiters.remove(&token);
                deliveries.wake(waiter);
            }
            Effect::Reply { token, reply } => match self.waiters.remove(&token) {
                Some(Waiter::Append(id, records)) => self.shard_appended(now, id, records, reply),
                waiter => deliveries.reply(token, waiter, reply),
            },
        }
    }

    /// Cuts the log, and derives anew what it derived from the part that went (design rule 12).
    fn truncate(&mut self, now: Now, to: Offset, rebuilds_producers: bool, reason: CutReason) {
        let before = self.log.end();
        let cut = self.log.truncate_to(to, now.wall).map_err(OpenError::Log);
        let cut = cut.and_then(|end| {
            let producers = rebuilds_producers.then(|| open::producers_of(&self.log)).transpose()?;
            Ok((end, producers))
        });
        match cut {
            Ok((end, producers)) => {
                self.report_cut(before, end, reason);
                self.input(now, Input::Truncated { end, producers });
            }
            Err(error) => {
                tracing::error!(dir = %self.log.dir().display(), %error, "cutting the log failed; the partition goes offline");
                self.input(now, Input::AppendFailed);
            }
        }
    }

    fn start_over(&mut self, now: Now, at: Offset, reason: CutReason) {
        let (start, end) = (self.log.log_start(), self.log.end());
        match self.log.reset_to(at, now.wall) {
            Ok(()) => {
                if start < end {
                    self.report_cut(end, start, reason);
                }
                self.input(now, Input::Truncated { end: at, producers: Some(Producers::new()) });
            }
            Err(error) => {
                self.report(&error, "emptying the log failed; the partition goes offline");
                self.input(now, Input::AppendFailed);
            }
        }
    }

    /// Tells the operator what of this replica's log is gone, and why.
    fn report_cut(&self, before: Offset, end: Offset, reason: CutReason) {
        let records = before.0 - end.0;
        let why = match reason {
            CutReason::Diverged { .. } => "the leader's log parts from it there",
            CutReason::BehindLogStart => "the leader's log begins behind its end",
            CutReason::BeyondLogEnd => "the leader's log ends before it",
            CutReason::WithinBatch => "the leader's log begins inside of a batch",
        };
        tracing::warn!(dir = %self.log.dir().display(), records, end = end.0, "a replica's log was cut: {why}");
    }

    fn append(&mut self, now: Now, batch: &StampedBatch) {
        match self.log.append(&batch.header, batch.head(), batch.rest(), now.wall) {
            Submitted::Done(result) => self.append_done(now, result),
            Submitted::Pending(id) => self.owed = Some(id),
        }
    }

    /// The outcome of an append that a slow disk owed.
    pub(super) fn appended(&mut self, now: Now, id: OpId, result: io::Result<()>) {
        let outcome = self.log.complete(id, result);
        self.append_done(now, outcome);
    }

    fn append_done(&mut self, now: Now, result: Result<Appended, LogError>) {
        match result {
            Ok(appended) => {
                self.is_seal_asked |= appended.has_rolled;
                self.is_roll_untold |= appended.has_rolled;
                self.input(now, Input::Appended { through: appended.end });
            }
            Err(error) => {
                self.report(&error, "appending failed; the partition goes offline");
                self.input(now, Input::AppendFailed);
            }
        }
    }

    fn advance_log_start(&mut self, now: Now, to: Offset) {
        if let Err(error) = self.log.advance_log_start(to, now.wall) {
            self.report(&error, "moving the log start failed; the partition goes offline");
            return self.input(now, Input::AppendFailed);
        }
        // A leader's own is noted by whoever asked for it, before anybody is answered.
        self.is_start_asked |= matches!(self.replica.role(), Role::Follower(_));
    }

    fn shard_appended(
        &mut self,
        now: Now,
        id: highwater_core::coordinator::AppendId,
        records: usize,
        reply: Reply,
    ) {
        let (Some(shard), Reply::Produced(result)) = (&mut self.shard, reply) else {
            panic!("a coordinator's append is answered as a produce")
        };
        shard.append_done(now, id, records, result);
    }

    /// Lets the coordinator see the high watermark and carries out what it asks. Whether it asked for something.
    fn run_shard(&mut self, now: Now, deliveries: &mut Deliveries) -> bool {
        let Some(shard) = &mut self.shard else { return false };
        shard.see_high_watermark(now, self.replica.high_watermark());
        let Some(asked) = shard.next_effect() else { return false };
        self.carry_out_shard(now, asked, deliveries);
        true
    }

    fn carry_out_shard(
        &mut self,
        now: Now,
        asked: super::coordinator::GroupEffect,
        deliveries: &mut Deliveries,
    ) {
        use highwater_core::coordinator::Effect;
        match asked {
            Effect::Load { load } => self.load_asked = Some(load),
            Effect::Append { id, epoch, records } => {
                let token = self.token();
                self.wait(token, Waiter::Append(id, records.len()));
                let batch = super::coordinator::batch_of(&records, now.wall);
                let acks = highwater_core::replica::Acks::All;
                self.input(now, Input::Produce { token, batch, acks, leader_epoch: Some(epoch) });
            }
            Effect::Reply { token, reply } => {
                let waiter = self.waiters.remove(&token);
                deliveries.group(waiter, reply);
            }
            Effect::Event(event) => super::coordinator::tell(&event),
            Effect::ReplayFailed(error) => {
                tracing::error!(dir = %self.log.dir().display(), ?error, "a record of an internal topic was not applied");
            }
        }
    }

    fn report(&self, error: &LogError, what: &str) {
        tracing::error!(dir = %self.log.dir().display(), %error, "{what}");
    }

    #[cfg(debug_assertions)]
    fn assert_invariants(&self) {
        self.replica.assert_invariants();
        if let Some(shard) = &self.shard {
            shard.assert_invariants();
        }
    }
}
