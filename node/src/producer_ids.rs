//! Producer ids given out by this node, from blocks that the controller reserved (KIP-730).

use highwater_core::ids::ProducerId;
use highwater_core::metadata::ProducerIdBlock;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// When fewer are left, the next block is asked for.
const LEFT_MIN: i64 = 500;

/// The ids that are left.
#[derive(Debug, Default)]
pub struct ProducerIds {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Next id and end of each block.
    blocks: VecDeque<(i64, i64)>,
    is_asked: bool,
}

impl ProducerIds {
    /// No ids yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An id that nobody has; `None` while the next block is on its way.
    pub fn take(&self) -> Option<ProducerId> {
        let mut inner = self.lock();
        let (next, end) = inner.blocks.front_mut()?;
        let id = *next;
        *next += 1;
        if *next == *end {
            inner.blocks.pop_front();
        }
        Some(ProducerId(id))
    }

    /// Whether a block is to be asked for now. Says so once per block.
    pub fn wants_block(&self) -> bool {
        let mut inner = self.lock();
        let left: i64 = inner.blocks.iter().map(|(next, end)| end - next).sum();
        let wants = left < LEFT_MIN && !inner.is_asked;
        inner.is_asked |= wants;
        wants
    }

    /// The block asked for, or none if the controller refused.
    pub fn fill(&self, block: Option<ProducerIdBlock>) {
        let mut inner = self.lock();
        inner.is_asked = false;
        if let Some(block) = block {
            inner.blocks.push_back((block.first.0, block.first.0 + block.len));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_from_blocks_and_the_next_is_asked_for_in_time() {
        let ids = ProducerIds::new();
        assert_eq!(ids.take(), None);
        assert!(ids.wants_block() && !ids.wants_block());
        ids.fill(Some(ProducerIdBlock { first: ProducerId(1000), len: 1000 }));
        assert!(!ids.wants_block(), "there are enough");
        let taken: Vec<i64> = std::iter::from_fn(|| ids.take()).map(|id| id.0).collect();
        assert_eq!(taken, (1000..2000).collect::<Vec<_>>());
        assert!(ids.wants_block());
        ids.fill(None);
        assert!(ids.wants_block(), "a refusal is no answer");
    }
}
