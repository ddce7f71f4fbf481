//! Coordinators: machines that decide, and whose decisions are records of an internal topic.
//!
//! A [`Coordinator`] has two kinds of state. *Durable* state is what its partition's log says and changes
//! only by [`Coordinator::replay`]. *Volatile* state (waiting joins, deadlines, half-formed generations) is
//! written while planning, never logged, and empty after a reload. A plan returns records, replies and timer
//! changes in a [`Plan`]; it touches nothing else.
//!
//! ```text
//! request -> plan(volatile, durable) -> records -> append + replay -> committed -> reply
//! ```
//!
//! [`CoordinatorShard`] is that loop: one per partition of an internal topic, a [`Machine`](crate::machine::Machine)
//! that lives in the cell of the partition's replica. It knows no group and no transaction, the coordinator
//! knows no log, no offset and no epoch.

pub mod group;
mod plan;
mod shard;
mod timers;

use bytes::Bytes;
use highwater_protocol::ErrorCode;

use crate::batch::varint;
use crate::ids::{PartitionIndex, Token};
use crate::time::Now;

pub use plan::{Plan, PlannedReply, ReplyWhen, TimerChange};
pub use shard::{AppendId, CoordinatorShard, Effect, Input, LoadId, Phase, ShardConfig};

/// One record of an internal topic: what a coordinator decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Names what the record is about; compaction keeps the newest record of each key.
    pub key: Bytes,
    /// The new value; `None` is a tombstone.
    pub value: Option<Bytes>,
}

impl Record {
    /// The record's room in a batch whose records all have one timestamp, rounded up: its place in the batch is not
    /// known yet.
    pub fn bytes(&self) -> usize {
        /// Attributes, the distance of the timestamp and the number of headers; all are 0.
        const ZEROS: usize = 3;
        const PLACE_MAX: usize = 5;
        let field = |bytes: &Bytes| varint::size(bytes.len() as i64) + bytes.len();
        // No value is a length of -1, in one byte.
        let body = ZEROS + PLACE_MAX + field(&self.key) + self.value.as_ref().map_or(1, field);
        varint::size(body as i64) + body
    }
}

/// The size of a v2 batch's header.
const BATCH_HEADER_BYTES: usize = 61;

/// The size of a batch of these records, rounded up.
pub fn batch_bytes<'a>(records: impl IntoIterator<Item = &'a Record>) -> usize {
    BATCH_HEADER_BYTES + records.into_iter().map(Record::bytes).sum::<usize>()
}

/// Why a record of the log was not applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplayError {
    /// A type or version from a newer release, which is skipped as Kafka skips it (KIP-915).
    UnknownType(i16),
    /// Bytes that are not what their type says.
    Malformed(&'static str),
}

/// What a machine over an internal topic decides. Stateless but for its configuration: all state is handed in.
pub trait Coordinator: std::fmt::Debug + Sized {
    /// The state that replaying the log gives. Two equal logs give equal states (O24).
    type Durable: Default + PartialEq + std::fmt::Debug;
    /// The state that dies with the leadership.
    type Volatile: std::fmt::Debug;
    /// What clients and the node ask.
    type Request: std::fmt::Debug;
    /// What they are told.
    type Reply: std::fmt::Debug;
    /// The purposes of timers.
    type Timer: Clone + Ord + std::fmt::Debug;
    /// What an operator should read in the log.
    type Event: std::fmt::Debug;

    /// Applies one record. Accepts whatever compaction can leave: values without what came before them,
    /// tombstones of things never seen.
    fn replay(durable: &mut Self::Durable, record: &Record) -> Result<(), ReplayError>;

    /// Begins the volatile state from a loaded log, with its deadlines.
    fn start(&self, now: Now, durable: &Self::Durable, plan: &mut Plan<Self>) -> Self::Volatile;

    /// Decides on a request. `token` may be answered in this plan or, if kept in the volatile state, in a later one.
    fn plan(
        &self,
        now: Now,
        volatile: &mut Self::Volatile,
        durable: &Self::Durable,
        token: Token,
        request: Self::Request,
        plan: &mut Plan<Self>,
    );

    /// Decides on a deadline that passed. The state may have moved on since it was armed.
    fn plan_timeout(
        &self,
        now: Now,
        volatile: &mut Self::Volatile,
        durable: &Self::Durable,
        timer: Self::Timer,
        plan: &mut Plan<Self>,
    );

    /// Answers every token that the volatile state keeps, as it is about to be dropped.
    fn abandon(volatile: Self::Volatile, error: ErrorCode) -> Vec<(Token, Self::Reply)>;

    /// The answer to a request that is not planned at all.
    fn refuse(request: Self::Request, error: ErrorCode) -> Self::Reply;

    /// Turns an answer whose records were not committed into an error.
    fn fail(reply: Self::Reply, error: ErrorCode) -> Self::Reply;

    /// Panics if the states contradict themselves or each other.
    fn assert_invariants(&self, volatile: &Self::Volatile, durable: &Self::Durable);
}

/// The partition of an internal topic that coordinates a key: Kafka's `Utils.abs(key.hashCode()) % partitions`.
///
/// # Panics
/// If the topic has no partitions.
pub fn partition_for(key: &str, partitions: i32) -> PartitionIndex {
    assert!(partitions > 0, "an internal topic has partitions");
    PartitionIndex(java_abs(java_hash(key)) % partitions)
}

/// Java's `String.hashCode`: over UTF-16 units, wrapping.
fn java_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

/// Kafka's `Utils.abs`: `i32::MIN` has no positive counterpart and counts as zero.
const fn java_abs(n: i32) -> i32 {
    if n == i32::MIN { 0 } else { n.abs() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_hash_as_in_java() {
        // as printed by a JVM
        for (text, hash) in [
            ("", 0),
            ("a", 97),
            ("my-group", -1_906_497_762),
            ("polygenelubricants", i32::MIN),
            ("ünïcode-𝄞", 1_630_114_925),
        ] {
            assert_eq!(java_hash(text), hash, "{text:?}");
        }
    }

    #[test]
    fn a_batch_takes_no_more_room_than_was_reckoned() {
        use crate::batch::{Builder, Codec};
        use crate::time::Timestamp;
        for length in [0, 1, 62, 63, 64, 120, 121, 8_190, 8_191, 8_192, 100_000] {
            for value in [None, Some(length)] {
                let bytes = |length| Bytes::from(vec![7; length]);
                let record = Record { key: bytes(length), value: value.map(bytes) };
                let mut builder = Builder::new(Codec::None);
                for _ in 0..70 {
                    builder.push(Timestamp(5), Some(&record.key), record.value.as_deref(), &[]);
                }
                let (reckoned, real) = (batch_bytes(std::iter::repeat_n(&record, 70)), builder.size_bytes());
                assert!(
                    real <= reckoned && reckoned <= real + 70 * 5,
                    "{length} {value:?}: {real} {reckoned}"
                );
            }
        }
    }

    #[test]
    fn the_smallest_hash_goes_to_partition_zero() {
        assert_eq!(partition_for("polygenelubricants", 50), PartitionIndex(0));
        assert_eq!(partition_for("a", 50), PartitionIndex(47));
    }
}
