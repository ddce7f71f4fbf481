//! What a partition remembers of its idempotent producers (KIP-98, KIP-360).
//!
//! Derived from the batches of the log and nothing else, on every replica alike, so that a snapshot and the tail
//! behind it give what a full scan gives (O15). Checked by the leader only, before it gives an offset.

use crate::batch::BatchHeader;
use crate::guard;
use crate::ids::{Offset, ProducerEpoch, ProducerId, Sequence};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// How many batches of a producer can still be answered when they are sent again: as many as a client may have
/// in flight (`max.in.flight.requests.per.connection`).
pub const RETAINED_BATCHES_MAX: usize = 5;

/// A batch that a producer may send again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetainedBatch {
    /// The sequence of its first record.
    pub base_sequence: Sequence,
    /// The sequence of its last record.
    pub last_sequence: Sequence,
    /// The offset of its first record.
    pub base_offset: Offset,
    /// The offset of its last record.
    pub last_offset: Offset,
    /// Its largest timestamp.
    pub timestamp: Timestamp,
}

/// One producer's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Producer {
    /// The newest session that wrote here.
    pub epoch: ProducerEpoch,
    /// The newest batches of that session, oldest first.
    pub batches: VecDeque<RetainedBatch>,
    /// The largest timestamp of the last batch; decides when the state expires.
    pub last_timestamp: Timestamp,
    /// The first offset of the transaction that is open, if one is.
    pub open_transaction: Option<Offset>,
}

impl Producer {
    /// The sequence of the newest batch; −1 if none is remembered.
    pub fn last_sequence(&self) -> Sequence {
        self.batches.back().map_or(Sequence(-1), |batch| batch.last_sequence)
    }

    /// The offset of the newest batch's last record; none if none is remembered.
    pub fn last_offset(&self) -> Option<Offset> {
        self.batches.back().map(|batch| batch.last_offset)
    }
}

/// What a batch is to the producer state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// New: append it.
    Append,
    /// One of the last five, sent again: answer as the first time.
    Duplicate(RetainedBatch),
}

/// Why a producer's batch is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SequenceError {
    /// A session older than the newest: INVALID_PRODUCER_EPOCH.
    StaleEpoch {
        /// The batch's session.
        epoch: ProducerEpoch,
        /// The newest session seen.
        newest: ProducerEpoch,
    },
    /// Not the sequence that comes next: OUT_OF_ORDER_SEQUENCE_NUMBER.
    OutOfOrder {
        /// The batch's first sequence.
        base_sequence: Sequence,
        /// The last sequence of the batch before; −1 if the session is new.
        last_sequence: Sequence,
    },
}

/// The producers of one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Producers {
    producers: BTreeMap<ProducerId, Producer>,
}

/// The version of [`Producers::snapshot`]'s bytes.
const SNAPSHOT_VERSION: u8 = 1;

#[derive(Serialize, Deserialize)]
struct Snapshot {
    /// Covers the log before this offset.
    end: Offset,
    producers: Vec<(ProducerId, Producer)>,
}

/// A snapshot's bytes are not one. The state is then rebuilt from the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotError;

impl std::fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("not a producer-state snapshot of a known version")
    }
}

impl std::error::Error for SnapshotError {}

impl Producers {
    /// No producers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.producers.is_empty()
    }

    /// All producers, by id.
    pub fn iter(&self) -> impl Iterator<Item = (ProducerId, &Producer)> {
        self.producers.iter().map(|(id, producer)| (*id, producer))
    }

    /// What to do with a client's batch, as Kafka's `ProducerAppendInfo` decides.
    ///
    /// A producer that is not known may start anywhere (KIP-360): its state may have expired here. A new epoch of
    /// a known producer starts at 0.
    pub fn check(&self, batch: &BatchHeader) -> Result<Verdict, SequenceError> {
        let known = self.producers.get(&batch.producer_id).filter(|_| batch.has_producer_id());
        let Some(known) = known else {
            return Ok(Verdict::Append);
        };
        let (epoch, base_sequence) = (batch.producer_epoch, batch.base_sequence);
        if epoch == known.epoch {
            let again = known
                .batches
                .iter()
                .find(|b| b.base_sequence == base_sequence && b.last_sequence == batch.last_sequence());
            if let Some(again) = again {
                return Ok(Verdict::Duplicate(*again));
            }
        }
        if !guard!(ProducerEpochNotStale, epoch >= known.epoch) {
            return Err(SequenceError::StaleEpoch { epoch, newest: known.epoch });
        }
        // an epoch that a marker began has no batch yet: it, too, starts at 0
        let last_sequence = if epoch == known.epoch { known.last_sequence() } else { Sequence(-1) };
        let next = if last_sequence == Sequence(-1) { Sequence(0) } else { last_sequence.plus(1) };
        if !guard!(ProducerSequenceIsNext, base_sequence == next) {
            return Err(SequenceError::OutOfOrder { base_sequence, last_sequence });
        }
        Ok(Verdict::Append)
    }

    /// Takes note of a batch of the log. The batches must come in the order of the log, each once.
    pub fn observe(&mut self, batch: &BatchHeader) {
        if !batch.has_producer_id() {
            return;
        }
        let producer = self.producers.entry(batch.producer_id).or_insert_with(|| Producer {
            epoch: batch.producer_epoch,
            batches: VecDeque::new(),
            last_timestamp: Timestamp::NONE,
            open_transaction: None,
        });
        if producer.epoch != batch.producer_epoch {
            producer.epoch = batch.producer_epoch;
            producer.batches.clear();
        }
        producer.last_timestamp = batch.max_timestamp;
        if batch.attributes.is_control() {
            producer.open_transaction = None;
            return;
        }
        if batch.attributes.is_transactional() {
            producer.open_transaction.get_or_insert(batch.base_offset);
        }
        if producer.batches.len() == RETAINED_BATCHES_MAX {
            producer.batches.pop_front();
        }
        producer.batches.push_back(RetainedBatch {
            base_sequence: batch.base_sequence,
            last_sequence: batch.last_sequence(),
            base_offset: batch.base_offset,
            last_offset: batch.last_offset(),
            timestamp: batch.max_timestamp,
        });
    }

    /// Whether what lies at or behind `offset` has left a mark here. Else a log cut there has the same producers.
    pub fn wrote_at_or_behind(&self, offset: Offset) -> bool {
        // a marker leaves no batch: with a transaction closed, or an epoch begun by one, the log is to be asked
        self.producers.values().any(|producer| producer.last_offset().is_none_or(|last| last >= offset))
    }

    /// The first offset of the oldest open transaction.
    pub fn first_unstable_offset(&self) -> Option<Offset> {
        self.producers.values().filter_map(|producer| producer.open_transaction).min()
    }

    /// Forgets producers that were silent for `expiration_ms` and have no transaction open
    /// (`producer.id.expiration.ms`).
    pub fn expire(&mut self, now: Timestamp, expiration_ms: i64) {
        self.producers.retain(|_, producer| {
            producer.open_transaction.is_some() || now.ms_since(producer.last_timestamp) < expiration_ms
        });
    }

    /// The state as bytes; `end` is the offset behind the last batch observed.
    pub fn snapshot(&self, end: Offset) -> Vec<u8> {
        let producers = self.producers.iter().map(|(id, producer)| (*id, producer.clone())).collect();
        postcard::to_extend(&Snapshot { end, producers }, vec![SNAPSHOT_VERSION])
            .expect("numbers and lists in memory always serialize")
    }

    /// The state that [`Producers::snapshot`] wrote, and the offset from which batches are still to be observed.
    pub fn from_snapshot(bytes: &[u8]) -> Result<(Self, Offset), SnapshotError> {
        let [SNAPSHOT_VERSION, body @ ..] = bytes else { return Err(SnapshotError) };
        let (snapshot, rest) = postcard::take_from_bytes::<Snapshot>(body).map_err(|_| SnapshotError)?;
        let lists_fit = snapshot.producers.iter().all(|(_, p)| p.batches.len() <= RETAINED_BATCHES_MAX);
        if !rest.is_empty() || !lists_fit {
            return Err(SnapshotError);
        }
        Ok((Self { producers: snapshot.producers.into_iter().collect() }, snapshot.end))
    }

    /// Panics if a producer's batches contradict each other.
    pub fn assert_invariants(&self) {
        for (id, producer) in &self.producers {
            assert!(producer.batches.len() <= RETAINED_BATCHES_MAX, "producer {id} remembers five batches");
            for (a, b) in producer.batches.iter().zip(producer.batches.iter().skip(1)) {
                assert!(a.last_offset < b.base_offset, "producer {id}: batches rise in offset");
            }
        }
    }
}
