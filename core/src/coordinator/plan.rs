//! What a coordinator decided: records, replies, timer changes and events, in the order decided.

use super::{Coordinator, Record};
use crate::ids::Token;
use crate::time::Instant;

/// When a planned reply may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyWhen {
    /// At once: it tells nothing that only the log makes true (heartbeats, refusals, volatile state).
    Now,
    /// Once all that is replayed so far, this plan's records included, is committed.
    Committed,
}

/// A reply of a plan.
#[derive(Debug)]
pub struct PlannedReply<R> {
    /// Who waits for it.
    pub token: Token,
    /// What they are told.
    pub reply: R,
    /// When.
    pub when: ReplyWhen,
}

/// A change of the shard's deadlines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TimerChange<T> {
    /// Sets or moves the deadline of this purpose.
    Arm(T, Instant),
    /// Forgets it.
    Cancel(T),
}

/// The outcome of one decision. The shard carries it out as a whole.
#[derive(Debug)]
pub struct Plan<C: Coordinator> {
    pub(super) records: Vec<Record>,
    pub(super) replies: Vec<PlannedReply<C::Reply>>,
    pub(super) timers: Vec<TimerChange<C::Timer>>,
    pub(super) events: Vec<C::Event>,
}

impl<C: Coordinator> Default for Plan<C> {
    fn default() -> Self {
        Self { records: Vec::new(), replies: Vec::new(), timers: Vec::new(), events: Vec::new() }
    }
}

impl<C: Coordinator> Plan<C> {
    /// Adds a record. The records of one plan are appended as one batch, as long as they fit into one.
    pub fn append(&mut self, record: Record) {
        self.records.push(record);
    }

    /// Answers at once.
    pub fn reply_now(&mut self, token: Token, reply: C::Reply) {
        self.replies.push(PlannedReply { token, reply, when: ReplyWhen::Now });
    }

    /// Answers when the state that the answer was made from is committed.
    pub fn reply_committed(&mut self, token: Token, reply: C::Reply) {
        self.replies.push(PlannedReply { token, reply, when: ReplyWhen::Committed });
    }

    /// Sets or moves a deadline.
    pub fn arm(&mut self, timer: C::Timer, at: Instant) {
        self.timers.push(TimerChange::Arm(timer, at));
    }

    /// Forgets a deadline.
    pub fn cancel(&mut self, timer: C::Timer) {
        self.timers.push(TimerChange::Cancel(timer));
    }

    /// Tells the operator.
    pub fn event(&mut self, event: C::Event) {
        self.events.push(event);
    }

    /// The records decided so far.
    pub fn records(&self) -> &[Record] {
        &self.records
    }
}
