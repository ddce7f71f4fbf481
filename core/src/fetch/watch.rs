//! One-shot watches of one partition: who is woken once there is more to read.

use crate::ids::{Offset, Token};
use crate::replica::Isolation;

#[derive(Clone, Copy, Debug)]
struct Watch {
    token: Token,
    beyond: Offset,
    isolation: Isolation,
}

/// The watches on one partition.
///
/// Most watches wait at the same end and fire together, so a plain list is walked; an idle partition has none
/// of its memory touched.
#[derive(Debug, Default)]
pub struct Watches {
    list: Vec<Watch>,
}

impl Watches {
    /// Adds a watch, which must not be due already.
    pub fn add(&mut self, token: Token, beyond: Offset, isolation: Isolation) {
        self.list.push(Watch { token, beyond, isolation });
    }

    /// Removes the watches of a token.
    pub fn remove(&mut self, token: Token) {
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
    }

    /// Fires all watches: there is an error to be found.
    pub fn wake_all(&mut self, mut wake: impl FnMut(Token)) {
        self.list.drain(..).for_each(|watch| wake(watch.token));
    }

    /// Whether no one watches.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Panics if a watch should have fired.
    pub fn assert_invariants(&self, high_watermark: Offset) {
        let due =
            |watch: &Watch| watch.isolation == Isolation::ReadUncommitted && watch.beyond < high_watermark;
        assert!(!self.list.iter().any(due), "a watch that is due has fired");
    }
}
