//! One-shot watches of one partition: who is woken once there is more to read.

use crate::ids::{Offset, Token};
use crate::replica::Isolation;

#[derive(Clone, Copy, Debug)]
struct Watch {
    token: Token,
    beyond: Offset,
    isolation: Isolation,
}

/// A follower's watch.
#[derive(Clone, Copy, Debug)]
struct ReplicaWatch {
    token: Token,
    end_beyond: Offset,
    high_watermark_beyond: Offset,
}

/// The watches on one partition.
///
/// Most watches wait at the same end and fire together, so a plain list is walked; an idle partition has none
/// of its memory touched.
#[derive(Debug, Default)]
pub struct Watches {
    list: Vec<Watch>,
    replicas: Vec<ReplicaWatch>,
}

impl Watches {
    /// Adds a watch, which must not be due already.
    pub fn add(&mut self, token: Token, beyond: Offset, isolation: Isolation) {
        self.list.push(Watch { token, beyond, isolation });
    }

    /// Adds a follower's watch, which must not be due already.
    pub fn add_replica(&mut self, token: Token, end_beyond: Offset, high_watermark_beyond: Offset) {
        self.replicas.push(ReplicaWatch { token, end_beyond, high_watermark_beyond });
    }

    /// Fires the followers' watches that the log's end has passed.
    pub fn log_grew(&mut self, log_end: Offset, mut wake: impl FnMut(Token)) {
        self.replicas.retain(|watch| {
            if log_end > watch.end_beyond {
                wake(watch.token);
            }
            log_end <= watch.end_beyond
        });
    }

    /// Removes the watches of a token.
    pub fn remove(&mut self, token: Token) {
        self.replicas.retain(|watch| watch.token != token);
        self.list.retain(|watch| watch.token != token);
    }

    /// Fires the watches that the readable ends have passed.
    pub fn advance(
        &mut self,
        high_watermark: Offset,
        last_stable_offset: Offset,
        mut wake: impl FnMut(Token),
    ) {
        self.list.retain(|watch| {
            let end = match watch.isolation {
                Isolation::ReadUncommitted => high_watermark,
                Isolation::ReadCommitted => last_stable_offset,
            };
            if end > watch.beyond {
                wake(watch.token);
            }
            end <= watch.beyond
        });
        self.replicas.retain(|watch| {
            let is_due = high_watermark > watch.high_watermark_beyond;
            if is_due {
                wake(watch.token);
            }
            !is_due
        });
    }

    /// Fires all watches: there is an error to be found.
    pub fn wake_all(&mut self, mut wake: impl FnMut(Token)) {
        self.list.drain(..).for_each(|watch| wake(watch.token));
        self.replicas.drain(..).for_each(|watch| wake(watch.token));
    }

    /// Whether no one watches.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty() && self.replicas.is_empty()
    }

    /// Panics if a watch should have fired.
    pub fn assert_invariants(&self, high_watermark: Offset) {
        let due =
            |watch: &Watch| watch.isolation == Isolation::ReadUncommitted && watch.beyond < high_watermark;
        assert!(!self.list.iter().any(due), "a watch that is due has fired");
    }
}
