//! Batches for a follower that are not in memory: read away from the runtime, while the others it follows go on.
//!
//! ```text
//!  plan ─▶ all in memory? ── yes ──────────────────────────────▶ reply
//!               └─ no ─▶ a job reads it ─▶ ready ─▶ wakes the session ─▶ the same plan again ─▶ reply
//! ```
//!
//! A session's cold reads are bounded by a reply's size; what exceeds that waits its turn.

use crate::log::ReadPlan;
use bytes::{Bytes, BytesMut};
use highwater_core::fetch::Slot;
use highwater_core::ids::{LeaderEpoch, Offset, TopicPartition};
use highwater_core::replica::PartitionAnswer;
use std::collections::BTreeMap;
use std::io;

/// Where a follower stands: what is read is good for this place only.
type Position = (LeaderEpoch, Offset);

/// What is, or was, read for one session.
#[derive(Debug, Default)]
pub(super) struct ColdReads {
    under_way: BTreeMap<TopicPartition, usize>,
    /// What was read and for which position, until the session takes it.
    ready: BTreeMap<TopicPartition, (Position, io::Result<Bytes>)>,
    /// Under way and ready.
    bytes: usize,
    /// Partitions that wait for others to be done.
    queued: Vec<Slot>,
}

impl ColdReads {
    /// Begins to read; `false` if another reading has to end first: [`Self::done`] of that one names `slot`.
    pub(super) fn begin(
        &mut self,
        slot: Slot,
        answer: &PartitionAnswer,
        bytes: usize,
        bytes_max: usize,
    ) -> bool {
        let partition = answer.partition;
        let is_full = !self.under_way.is_empty() && self.bytes + bytes > bytes_max;
        if is_full || self.under_way.contains_key(&partition) {
            self.queued.push(slot);
            return false;
        }
        self.under_way.insert(partition, bytes);
        self.bytes += bytes;
        true
    }

    /// Takes what was read. The partitions that waited for it may be tried again.
    pub(super) fn done(&mut self, answer: &PartitionAnswer, read: io::Result<Bytes>) -> Vec<Slot> {
        if self.under_way.remove(&answer.partition).is_some() {
            self.ready.insert(answer.partition, (position(answer), read));
        }
        self.sum();
        std::mem::take(&mut self.queued)
    }

    /// What was read for an answer. What was read for another position of the partition is thrown away.
    pub(super) fn take(&mut self, answer: &PartitionAnswer) -> Option<io::Result<Bytes>> {
        let (known, read) = self.ready.remove(&answer.partition)?;
        self.sum();
        (known == position(answer)).then_some(read)
    }

    /// The partition is not followed any more.
    pub(super) fn forget(&mut self, partition: TopicPartition) {
        self.ready.remove(&partition);
        self.sum();
    }

    /// The session is another: nobody asks for what is ready.
    pub(super) fn clear(&mut self) {
        self.ready.clear();
        self.queued.clear();
        self.sum();
    }

    fn sum(&mut self) {
        let ready = self.ready.values().map(|(_, read)| read.as_ref().map_or(0, Bytes::len));
        self.bytes = self.under_way.values().sum::<usize>() + ready.sum::<usize>();
    }
}

const fn position(answer: &PartitionAnswer) -> Position {
    (answer.leader_epoch, answer.offset)
}

/// The bytes of a plan if all of them are in memory.
pub(super) fn read_cached(plan: &ReadPlan) -> io::Result<Option<Bytes>> {
    let mut bytes = BytesMut::zeroed(plan.bytes);
    let mut filled = 0;
    for region in &plan.regions {
        if !region.read_cached_into(&mut bytes[filled..filled + region.len])? {
            return Ok(None);
        }
        filled += region.len;
    }
    Ok(Some(bytes.freeze()))
}

/// The bytes of a plan, which may take as long as a device takes.
pub(super) fn read(plan: &ReadPlan) -> io::Result<Bytes> {
    let mut bytes = BytesMut::zeroed(plan.bytes);
    let mut filled = 0;
    for region in &plan.regions {
        region.read_into(&mut bytes[filled..filled + region.len])?;
        filled += region.len;
    }
    Ok(bytes.freeze())
}

#[cfg(test)]
mod tests {
    use super::*;
    use highwater_core::ids::{PartitionIndex, TopicId};
    use highwater_core::replica::FetchOutcome;

    fn answer(index: i32, offset: i64) -> PartitionAnswer {
        PartitionAnswer {
            partition: TopicPartition { topic_id: TopicId([1; 16]), partition: PartitionIndex(index) },
            leader_epoch: LeaderEpoch(1),
            offset: Offset(offset),
            last_epoch: LeaderEpoch(1),
            outcome: FetchOutcome::Data { high_watermark: Offset(0), log_start: Offset(0), bytes: 10 },
        }
    }

    #[test]
    fn what_was_read_is_for_one_position_and_taken_once() {
        let mut cold = ColdReads::default();
        let at = answer(0, 5);
        assert!(cold.begin(Slot(0), &at, 10, 100));
        assert!(cold.take(&at).is_none(), "it is still being read");
        cold.done(&at, Ok(Bytes::from_static(b"0123456789")));
        let read = cold.take(&at).expect("it is there").expect("it was read");
        assert_eq!(read, "0123456789");
        assert!(cold.take(&at).is_none());
        assert!(cold.begin(Slot(0), &at, 10, 100));
        cold.done(&at, Ok(Bytes::from_static(b"0123456789")));
        assert!(cold.take(&answer(0, 6)).is_none(), "the follower stands elsewhere");
        assert_eq!(cold.bytes, 0);
    }

    #[test]
    fn more_than_a_reply_waits_its_turn() {
        let mut cold = ColdReads::default();
        let (one, two) = (answer(1, 0), answer(2, 0));
        assert!(cold.begin(Slot(1), &one, 500, 100), "one is read, however large");
        assert!(!cold.begin(Slot(2), &two, 10, 100));
        assert!(!cold.begin(Slot(1), &one, 500, 100), "nothing is read twice at once");
        let waited = cold.done(&one, Err(io::ErrorKind::UnexpectedEof.into()));
        assert_eq!(waited, [Slot(2), Slot(1)]);
        assert!(cold.begin(Slot(2), &two, 10, 100));
        assert!(cold.take(&one).expect("it is known").is_err());
    }

    #[test]
    fn a_follower_that_went_leaves_nothing_behind() {
        let mut cold = ColdReads::default();
        for index in 0..3 {
            assert!(cold.begin(Slot(0), &answer(index, 0), 10, 100));
            cold.done(&answer(index, 0), Ok(Bytes::from_static(b"0123456789")));
        }
        cold.forget(answer(0, 0).partition);
        assert!(cold.take(&answer(0, 0)).is_none());
        assert_eq!(cold.bytes, 20);
        cold.clear();
        assert!(cold.take(&answer(1, 0)).is_none());
        assert_eq!(cold.bytes, 0);
    }
}
