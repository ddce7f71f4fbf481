//! A simulated log: batches as opaque handles, a durable end, and what a crash leaves of the rest.
//!
//! Each batch carries a running hash over itself and all before it, so that comparing two logs up to an offset is
//! one comparison (O6). The epoch index that a scan would give is kept up with each append (O11).

use crate::rng::Rng;
use bytes::{Bytes, BytesMut};
use highwater_core::batch::{BatchHeader, HEADER_BYTES, StampedBatch};
use highwater_core::ids::Offset;
use highwater_core::quorum::LogBatch;
use highwater_core::replica::{EpochStart, Epochs, Producers};
use std::collections::VecDeque;

/// What a log keeps of a batch.
pub(crate) trait Batch: Clone {
    fn header(&self) -> &BatchHeader;
}

impl Batch for StampedBatch {
    fn header(&self) -> &BatchHeader {
        &self.header
    }
}

impl Batch for LogBatch {
    fn header(&self) -> &BatchHeader {
        &self.header
    }
}

/// A batch as it lies in a log. All replicas share its records' bytes.
#[derive(Clone, Debug)]
pub(crate) struct Stored<B> {
    pub(crate) batch: B,
    /// Over this batch and all before it.
    pub(crate) chain: u64,
}

/// A batch of a partition's log.
pub(crate) type StoredBatch = Stored<StampedBatch>;

impl<B: Batch> Stored<B> {
    /// With the offset and epoch it was given.
    pub(crate) fn header(&self) -> &BatchHeader {
        self.batch.header()
    }

    fn next(&self) -> Offset {
        self.header().next_offset()
    }
}

/// The batch's bytes from the header on, copied: coordinators replay them.
pub(crate) fn whole(batch: &StampedBatch) -> Bytes {
    let mut bytes = BytesMut::with_capacity(batch.size_bytes());
    bytes.extend_from_slice(batch.head());
    bytes.extend_from_slice(batch.rest());
    bytes.freeze()
}

/// The number that a producer of the simulator wrote into a batch: the first bytes of its first record's value, which
/// always lie in the same place (see `producer`).
pub(crate) fn value_of(batch: &StampedBatch) -> u64 {
    let from = HEADER_BYTES + 7 - batch.head().len();
    let found = batch.rest().get(from..from + 8).and_then(|value| value.try_into().ok());
    found.map_or(0, u64::from_be_bytes)
}

/// The hash of a log in which nothing was written yet.
pub(crate) const CHAIN_EMPTY: u64 = 0xcbf2_9ce4_8422_2325;

/// The hash behind a batch, given the hash before it.
pub(crate) fn chain(before: u64, header: &BatchHeader) -> u64 {
    let mix = |hash: u64, word: u64| {
        let mixed = (hash ^ word).wrapping_mul(0xff51_afd7_ed55_8ccd);
        mixed ^ (mixed >> 32)
    };
    let place = (header.base_offset.0 as u64) ^ ((header.leader_epoch.0 as u64) << 40);
    let body = u64::from(header.crc) ^ ((header.last_offset_delta as u64) << 32);
    mix(mix(before, place), body)
}

/// One partition's log on one node's disk.
#[derive(Clone, Debug)]
pub(crate) struct SimLog<B> {
    start: Offset,
    batches: VecDeque<Stored<B>>,
    /// The hash before the first batch that is kept.
    chain_before: u64,
    /// Where the first batch that is kept begins, and an empty log ends.
    base: Offset,
    flushed: Offset,
    epochs: Epochs,
}

impl<B> Default for SimLog<B> {
    fn default() -> Self {
        Self {
            start: Offset::ZERO,
            batches: VecDeque::new(),
            chain_before: CHAIN_EMPTY,
            base: Offset::ZERO,
            flushed: Offset::ZERO,
            epochs: Epochs::new(),
        }
    }
}

impl<B: Batch> SimLog<B> {
    pub(crate) const fn start(&self) -> Offset {
        self.start
    }

    pub(crate) fn end(&self) -> Offset {
        self.batches.back().map_or(self.base, |last| last.next())
    }

    /// What would survive a power cut.
    pub(crate) const fn flushed(&self) -> Offset {
        self.flushed
    }

    pub(crate) fn batches(&self) -> impl DoubleEndedIterator<Item = &Stored<B>> {
        self.batches.iter()
    }

    /// Adds a batch behind the last one; the hash behind it comes back.
    pub(crate) fn append(&mut self, batch: B) -> u64 {
        let header = *batch.header();
        assert_eq!(header.base_offset, self.end(), "appends are continuous");
        let before = self.batches.back().map_or(self.chain_before, |last| last.chain);
        let chain = chain(before, &header);
        if header.leader_epoch != self.epochs.latest() {
            let rises = self.epochs.assign(header.leader_epoch, header.base_offset);
            assert!(rises, "the epochs of a log rise: {:?} behind {:?}", header, self.epochs.latest());
        }
        self.batches.push_back(Stored { batch, chain });
        chain
    }

    /// Cuts everything from `to` on.
    pub(crate) fn truncate(&mut self, to: Offset) {
        while self.batches.back().is_some_and(|last| last.next() > to) {
            self.batches.pop_back();
        }
        if self.end() > to {
            self.base = to;
        }
        self.flushed = self.flushed.min(self.end());
        self.epochs.truncate_end(self.end());
    }

    /// Empties the log; it goes on at `at`. `chain_before` is the hash of what is committed before that.
    pub(crate) fn reset(&mut self, at: Offset, chain_before: Option<u64>) {
        let chain_before = chain_before.unwrap_or_default();
        *self = Self { start: at, base: at, flushed: at, chain_before, ..Self::default() };
    }

    /// Moves the log start; whole batches before it go.
    pub(crate) fn advance_start(&mut self, to: Offset) {
        self.start = self.start.max(to);
        while self.batches.front().is_some_and(|first| first.next() <= self.start) {
            let first = self.batches.pop_front().expect("the front was looked at");
            self.chain_before = first.chain;
            self.base = first.next();
        }
        self.epochs.truncate_start(self.start);
    }

    /// A flush that covered everything before `through` has come back.
    pub(crate) fn mark_flushed(&mut self, through: Offset) {
        self.flushed = self.flushed.max(through.min(self.end()));
    }

    /// The power went: of what was not flushed, a prefix stays that the generator draws.
    pub(crate) fn lose_power(&mut self, rng: &mut Rng) {
        let first = self.batches.partition_point(|batch| batch.next() <= self.flushed);
        let unflushed = self.batches.len() - first;
        let kept = match rng.below(3) {
            0 => 0,
            1 => unflushed,
            _ => rng.below(unflushed as u64 + 1) as usize,
        };
        if first + kept < self.batches.len() {
            let to = self.batches[first + kept].header().base_offset;
            self.truncate(to);
        }
        self.flushed = self.end();
    }

    /// The place of the first batch that ends behind `offset`. Nearly everybody asks for the log's end.
    pub(crate) fn position(&self, offset: Offset) -> usize {
        for back in 0..3 {
            let Some(before) = self.batches.len().checked_sub(back + 1) else { break };
            if self.batches[before].next() <= offset {
                return before + 1;
            }
        }
        self.batches.partition_point(|batch| batch.next() <= offset)
    }

    /// Batches from `from` to `end`, as many as fit, at least one if there is one.
    pub(crate) fn read(&self, from: Offset, end: Offset, batches_max: usize) -> Vec<Stored<B>> {
        let at = self.position(from);
        let readable = self.batches.iter().skip(at).take(batches_max);
        readable.take_while(|batch| batch.next() <= end).cloned().collect()
    }

    /// The hash of everything before `offset`; none if no batch begins or ends there or it is not kept.
    pub(crate) fn chain_at(&self, offset: Offset) -> Option<u64> {
        if offset < self.base && self.batches.front().is_none_or(|first| offset < first.header().base_offset)
        {
            return None;
        }
        let at = self.position(offset);
        match at.checked_sub(1) {
            Some(before) => {
                let before = &self.batches[before];
                (before.next() == offset).then_some(before.chain)
            }
            None => {
                let begins = self.batches.front().map_or(self.base, |first| first.header().base_offset);
                (begins == offset).then_some(self.chain_before)
            }
        }
    }

    /// The epoch index that a scan of the log gives.
    pub(crate) fn scanned_epochs(&self) -> &[EpochStart] {
        self.epochs.entries()
    }

    /// The producer state that a scan of the log gives.
    pub(crate) fn scanned_producers(&self) -> Producers {
        let mut producers = Producers::new();
        for batch in &self.batches {
            producers.observe(batch.header());
        }
        producers
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use highwater_core::batch::{Builder, Codec, stamp};
    use highwater_core::ids::LeaderEpoch;
    use highwater_core::time::Timestamp;

    fn log(values: &[(i32, u8)]) -> SimLog<StampedBatch> {
        let mut log = SimLog::default();
        for (epoch, value) in values {
            let mut builder = Builder::new(Codec::None);
            builder.push(Timestamp(1), None, Some(&[*value]), &[]);
            log.append(stamp(&builder.build(), log.end(), LeaderEpoch(*epoch), None));
        }
        log
    }

    #[test]
    fn equal_prefixes_have_equal_hashes() {
        let (a, b) = (log(&[(0, 1), (0, 2), (1, 3)]), log(&[(0, 1), (0, 2), (2, 3)]));
        assert_eq!(a.chain_at(Offset(2)), b.chain_at(Offset(2)));
        assert_ne!(a.chain_at(Offset(3)), b.chain_at(Offset(3)), "another epoch is another batch");
        assert_eq!(a.chain_at(Offset(4)), None);
        let mut c = a.clone();
        c.advance_start(Offset(2));
        assert_eq!(c.chain_at(Offset(2)), a.chain_at(Offset(2)));
        assert_eq!(c.chain_at(Offset(1)), None, "what is gone cannot be compared");
        c.truncate(Offset(2));
        assert_eq!((c.end(), c.chain_at(Offset(2))), (Offset(2), a.chain_at(Offset(2))));
    }

    #[test]
    fn a_power_cut_takes_only_what_was_not_flushed() {
        for seed in 0..50 {
            let mut log = log(&[(0, 1), (0, 2), (0, 3), (1, 4)]);
            log.mark_flushed(Offset(2));
            log.lose_power(&mut Rng::new(seed));
            assert!(log.end() >= Offset(2) && log.end() <= Offset(4));
            assert_eq!(log.flushed(), log.end(), "what is found after a start is on the device");
        }
    }
}
