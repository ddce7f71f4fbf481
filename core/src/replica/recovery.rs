//! Rebuilds what a replica derives from its log, batch by batch.

use super::epochs::Epochs;
use super::producers::Producers;
use crate::batch::BatchHeader;
use crate::ids::Offset;
use crate::planted;

/// A batch of the log that cannot stand where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CorruptLog {
    /// The batch's base offset.
    pub base_offset: Offset,
    /// What is wrong.
    pub fault: &'static str,
}

impl std::fmt::Display for CorruptLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "batch at offset {}: {}", self.base_offset, self.fault)
    }
}

impl std::error::Error for CorruptLog {}

/// A log as found at start, and what was derived from it.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// The first offset that is kept.
    pub log_start: Offset,
    /// The offset behind the last batch.
    pub log_end: Offset,
    /// The end of what is known to be flushed.
    pub flushed: Offset,
    /// The last checkpoint of the high watermark; may lag, and is taken as a lower bound only.
    pub high_watermark: Offset,
    /// The epoch index of the whole log.
    pub epochs: Epochs,
    /// The producers as of the log's end.
    pub producers: Producers,
}

/// Reads a log's batch headers in order.
///
/// The epoch index needs every batch, or the part of it that was checkpointed; the producer state needs those
/// behind its snapshot. Both may be given more than they need.
#[derive(Clone, Debug, Default)]
pub struct Recovery {
    log_start: Offset,
    log_end: Offset,
    epochs: Epochs,
    producers: Producers,
    producers_end: Offset,
}

impl Recovery {
    /// Begins at the start of a log without any checkpoint.
    pub fn from_log_start(log_start: Offset) -> Self {
        Self { log_start, log_end: log_start, producers_end: log_start, ..Self::default() }
    }

    /// Begins behind a checkpoint: an epoch index and a producer state that both cover the log before `at`.
    ///
    /// A snapshot of producers that is older than `at` is legal; the batches between are then to be observed, too.
    pub fn from_checkpoint(
        log_start: Offset,
        at: Offset,
        epochs: Epochs,
        producers: (Producers, Offset),
    ) -> Self {
        let (producers, producers_end) = producers;
        Self { log_start, log_end: at.max(log_start), epochs, producers, producers_end }
    }

    /// Takes the next batch of the log.
    pub fn observe(&mut self, batch: &BatchHeader) -> Result<(), CorruptLog> {
        let corrupt = |fault| Err(CorruptLog { base_offset: batch.base_offset, fault });
        if batch.last_offset_delta < 0 {
            return corrupt("its last offset lies before its first");
        }
        // records may have been deleted up to the middle of the first batch (KIP-107)
        let is_cut_by_start = batch.base_offset < self.log_start && self.log_end == self.log_start;
        let is_cut_by_start = planted!(LogStartInsideBatch, false, is_cut_by_start);
        if batch.base_offset >= self.log_end || is_cut_by_start {
            self.log_end = self.log_end.max(batch.next_offset());
        } else if batch.next_offset() > self.log_end {
            return corrupt("it overlaps the batch before");
        }
        // an index that covers this batch already is not contradicted by it
        let is_indexed = self.epochs.epoch_of(batch.base_offset) == Some(batch.leader_epoch);
        if !is_indexed && !self.epochs.assign(batch.leader_epoch, batch.base_offset.max(self.log_start)) {
            return corrupt("its leader epoch is older than that of the batch before");
        }
        if batch.next_offset() > self.producers_end {
            self.producers.observe(batch);
            self.producers_end = batch.next_offset();
        }
        Ok(())
    }

    /// The log's end, as far as it was observed.
    pub const fn log_end(&self) -> Offset {
        self.log_end
    }

    /// What a replica starts from. `high_watermark` is the checkpoint, `flushed` what the log knows to be safe.
    pub fn finish(self, flushed: Offset, high_watermark: Offset) -> Recovered {
        let Self { log_start, log_end, mut epochs, producers, .. } = self;
        epochs.truncate_start(log_start);
        Recovered { log_start, log_end, flushed: flushed.min(log_end), high_watermark, epochs, producers }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{Builder, Codec};
    use crate::ids::{LeaderEpoch, ProducerEpoch, ProducerId, Sequence};
    use crate::time::Timestamp;

    fn batch(base_offset: i64, sequence: i32, records: i32) -> BatchHeader {
        let mut builder =
            Builder::new(Codec::None).idempotent(ProducerId(7), ProducerEpoch(0), Sequence(sequence));
        (0..records).for_each(|_| builder.push(Timestamp(1), None, Some(b"value"), &[]));
        let header = *builder.build().header();
        BatchHeader { base_offset: Offset(base_offset), leader_epoch: LeaderEpoch(1), ..header }
    }

    #[test]
    fn a_log_that_starts_inside_a_batch_is_whole() {
        let mut recovery = Recovery::from_log_start(Offset(2));
        recovery.observe(&batch(0, 0, 5)).unwrap();
        recovery.observe(&batch(5, 5, 1)).unwrap();
        let recovered = recovery.finish(Offset(0), Offset(2));
        assert_eq!((recovered.log_start, recovered.log_end), (Offset(2), Offset(6)));
        let (_, producer) = recovered.producers.iter().next().expect("the producer is known");
        assert_eq!(producer.batches.len(), 2, "the cut batch may be sent again, too");
    }

    #[test]
    fn a_batch_that_overlaps_another_is_corruption() {
        let mut recovery = Recovery::from_log_start(Offset(0));
        recovery.observe(&batch(0, 0, 5)).unwrap();
        assert!(recovery.observe(&batch(3, 5, 5)).is_err());
    }
}
