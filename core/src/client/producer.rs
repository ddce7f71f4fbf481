//! What a producer decides: which records share a batch, when a batch leaves, what a failure means for those behind
//! it. No connection, no clock, no partitioner (see [`super::partitioner`]).
//!
//! Records of one partition leave in the order pushed. Up to `in_flight_max` batches of a partition are under way at
//! once. When one of them fails in a way that may pass, nothing more leaves until all that are under way are settled;
//! then those that failed leave again, first and in their order. With a producer id the broker refuses what would
//! break that order (KIP-98), so every batch keeps its sequence for all its attempts.

use crate::batch::{Builder, Compression, Header};
use crate::ids::{Offset, PartitionIndex, ProducerEpoch, ProducerId, Sequence, Token};
use crate::time::{Instant, Timestamp};
use bytes::Bytes;
use highwater_protocol::ErrorCode;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// How records become batches.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// A batch takes no more records beyond this size (`batch.size`); a single record may exceed it.
    pub batch_bytes_max: usize,
    /// How long a batch that is not full waits for more records (`linger.ms`).
    pub linger: Duration,
    /// Batches of one partition under way at once (`max.in.flight.requests.per.connection`).
    pub in_flight_max: usize,
    /// How long a record may take, with all attempts (`delivery.timeout.ms`).
    pub delivery_max: Duration,
    /// The pause before another attempt (`retry.backoff.ms`).
    pub retry_backoff: Duration,
    /// How batches are compressed (`compression.type`).
    pub compression: Compression,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            batch_bytes_max: 16 << 10,
            linger: Duration::from_millis(5),
            in_flight_max: 5,
            delivery_max: Duration::from_secs(120),
            retry_backoff: Duration::from_millis(100),
            compression: Compression::default(),
        }
    }
}

/// A record to send.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewRecord {
    /// When it happened.
    pub timestamp: Timestamp,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// Its headers.
    pub headers: Vec<Header>,
}

impl NewRecord {
    /// About what it takes in a batch.
    pub fn size_bytes(&self) -> usize {
        let len = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        let headers = self.headers.iter().map(|header| header.key.len() + len(&header.value) + 4);
        len(&self.key) + len(&self.value) + headers.sum::<usize>() + 12
    }
}

/// A partition by its topic's name, as producers know it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lane {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: PartitionIndex,
}

/// A batch's number within its producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BatchId(pub u64);

/// A batch to send now. Answer it with [`Accumulator::settle`].
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Where to.
    pub lane: Lane,
    /// Its number.
    pub id: BatchId,
    /// The sealed batch.
    pub bytes: Bytes,
}

/// What became of a batch that was to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The broker has it.
    Appended {
        /// The first record's offset; −1 if the broker does not say.
        base_offset: Offset,
    },
    /// It never left, for want of a leader or a connection.
    NotSent,
    /// It left, and nobody knows what became of it.
    Unknown,
    /// The broker refused it.
    Refused(ErrorCode),
}

/// Why a record was given up, and whether it may be in the log nevertheless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliveryError {
    /// Why.
    pub cause: FailureCause,
    /// Some attempt was never answered: the record may have been appended. If false, it was not.
    pub may_be_appended: bool,
}

/// Why a record was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureCause {
    /// The broker refused its batch for good.
    Refused(ErrorCode),
    /// Its time ran out.
    TimedOut,
    /// A batch before it was lost, and one more attempt, under a new identity, could append it twice.
    Abandoned,
}

/// A record's fate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The token that was pushed with the record.
    pub token: Token,
    /// Its offset (−1 if the broker does not say), or why it has none.
    pub result: Result<Offset, DeliveryError>,
}

/// Gathers records into batches and follows each batch to its end.
#[derive(Debug)]
pub struct Accumulator {
    settings: Settings,
    identity: Option<(ProducerId, ProducerEpoch)>,
    lanes: BTreeMap<Lane, LaneState>,
    batch_id_next: u64,
    buffered_bytes: usize,
    /// A sequence was lost: nothing leaves until there is a new identity.
    is_broken: bool,
}

#[derive(Debug, Default)]
struct LaneState {
    /// Batches that never left, the last one open for more records. Sequences are given when they leave, so that one
    /// whose time runs out here leaves no gap.
    unsent: VecDeque<Unsent>,
    /// Batches that failed and leave again, before all others.
    retries: VecDeque<Batch>,
    in_flight: VecDeque<Batch>,
    sequence_next: Sequence,
    not_before: Instant,
}

#[derive(Debug)]
struct Unsent {
    builder: Builder,
    tokens: Vec<Token>,
    since: Instant,
    size_bytes: usize,
}

#[derive(Debug)]
struct Batch {
    id: BatchId,
    bytes: Bytes,
    tokens: Vec<Token>,
    since: Instant,
    size_bytes: usize,
    /// It is under way no more, and waits for those that are.
    has_failed: bool,
    /// Some attempt may have been appended.
    may_be_appended: bool,
}

impl Accumulator {
    /// A producer, idempotent if it has an identity.
    pub fn new(settings: Settings, identity: Option<(ProducerId, ProducerEpoch)>) -> Self {
        let is_broken = false;
        Self { settings, identity, lanes: BTreeMap::new(), batch_id_next: 0, buffered_bytes: 0, is_broken }
    }

    /// Bytes of records that are not yet delivered.
    pub const fn buffered_bytes(&self) -> usize {
        self.buffered_bytes
    }

    /// Whether every record was delivered or given up.
    pub fn is_empty(&self) -> bool {
        self.lanes
            .values()
            .all(|lane| lane.unsent.is_empty() && lane.retries.is_empty() && lane.in_flight.is_empty())
    }

    /// Takes a record for `lane`. Its fate is told once, with `token`.
    pub fn push(&mut self, now: Instant, lane: &Lane, record: &NewRecord, token: Token) {
        let size_bytes = record.size_bytes();
        let state = match self.lanes.get_mut(lane) {
            Some(state) => state,
            None => self.lanes.entry(lane.clone()).or_default(),
        };
        let is_full = |open: &Unsent| open.builder.size_bytes() + size_bytes > self.settings.batch_bytes_max;
        if state.unsent.back().is_none_or(is_full) {
            let builder = Builder::new(self.settings.compression);
            state.unsent.push_back(Unsent { builder, tokens: Vec::new(), since: now, size_bytes: 0 });
        }
        let open = state.unsent.back_mut().expect("just put there");
        open.builder.push(record.timestamp, record.key.as_deref(), record.value.as_deref(), &record.headers);
        open.tokens.push(token);
        open.size_bytes += size_bytes;
        self.buffered_bytes += size_bytes;
    }

    /// The batches that may leave now. `flushes` does not wait for the linger time.
    pub fn take_ready(&mut self, now: Instant, flushes: bool) -> Vec<Outgoing> {
        let mut ready = Vec::new();
        if self.is_broken {
            return ready;
        }
        for (lane, state) in &mut self.lanes {
            while let Some(batch) =
                state.take_next(now, flushes, &self.settings, self.identity, &mut self.batch_id_next)
            {
                ready.push(Outgoing { lane: lane.clone(), id: batch.id, bytes: batch.bytes.clone() });
                state.in_flight.push_back(batch);
            }
        }
        ready
    }

    /// Hears what became of a batch, and tells what became of its records.
    pub fn settle(&mut self, now: Instant, lane: &Lane, id: BatchId, outcome: Outcome) -> Vec<Delivery> {
        let Some(state) = self.lanes.get_mut(lane) else { return Vec::new() };
        let Some(at) = state.in_flight.iter().position(|batch| batch.id == id && !batch.has_failed) else {
            return Vec::new();
        };
        let may_pass = match outcome {
            Outcome::Appended { .. } => false,
            Outcome::NotSent | Outcome::Unknown => true,
            // Those before it failed or are still under way: it was only early.
            Outcome::Refused(ErrorCode::OutOfOrderSequenceNumber) => at > 0,
            Outcome::Refused(code) => code.is_retriable(),
        };
        let mut deliveries = Vec::new();
        if may_pass {
            let batch = &mut state.in_flight[at];
            batch.has_failed = true;
            batch.may_be_appended |= outcome.may_be_appended();
        } else {
            let batch = state.in_flight.remove(at).expect("its place was just found");
            self.buffered_bytes -= batch.size_bytes;
            let result = match outcome {
                Outcome::Appended { base_offset } => Ok(base_offset),
                // The broker has it already (and, that long ago, forgot where).
                Outcome::Refused(ErrorCode::DuplicateSequenceNumber) => Ok(Offset(-1)),
                Outcome::Refused(code) => Err(FailureCause::Refused(code)),
                Outcome::NotSent | Outcome::Unknown => unreachable!("these may pass"),
            };
            self.is_broken |= result.is_err() && self.identity.is_some();
            batch.deliver(result, &mut deliveries);
        }
        state.requeue_failed(now, self.settings.retry_backoff);
        deliveries
    }

    /// Gives up what has taken too long. Call when [`Accumulator::next_timeout`] is due.
    pub fn handle_timeout(&mut self, now: Instant) -> Vec<Delivery> {
        let mut deliveries = Vec::new();
        let delivery_max = self.settings.delivery_max;
        let is_late = |since: Instant| since + delivery_max <= now;
        for state in self.lanes.values_mut() {
            while let Some(batch) = state.retries.pop_front_if(|batch| is_late(batch.since)) {
                self.buffered_bytes -= batch.size_bytes;
                self.is_broken |= self.identity.is_some();
                batch.deliver(Err(FailureCause::TimedOut), &mut deliveries);
            }
            while let Some(unsent) = state.unsent.pop_front_if(|unsent| is_late(unsent.since)) {
                self.buffered_bytes -= unsent.size_bytes;
                let error = DeliveryError { cause: FailureCause::TimedOut, may_be_appended: false };
                let late = |token| Delivery { token, result: Err(error) };
                deliveries.extend(unsent.tokens.into_iter().map(late));
            }
        }
        deliveries
    }

    /// When something is due without any input: a linger time, a pause before a retry, a record's time.
    pub fn next_timeout(&self) -> Option<Instant> {
        let of_lane = |state: &LaneState| {
            let oldest = [state.retries.front().map(|b| b.since), state.unsent.front().map(|u| u.since)];
            let expiry = oldest.into_iter().flatten().min().map(|since| since + self.settings.delivery_max);
            let is_open = !self.is_broken && state.has_room(&self.settings);
            let departure = match (state.retries.front(), state.unsent.front()) {
                (Some(_), _) => Some(state.not_before),
                (None, Some(unsent)) => Some(state.not_before.max(unsent.since + self.settings.linger)),
                (None, None) => None,
            };
            expiry.into_iter().chain(departure.filter(|_| is_open)).min()
        };
        self.lanes.values().filter_map(of_lane).min()
    }

    /// Whether a new identity is needed, and nothing is under way any more that would mix with it.
    pub fn wants_identity(&self) -> bool {
        self.is_broken && self.lanes.values().all(|state| state.in_flight.is_empty())
    }

    /// Begins anew with another identity: sequences start over. Batches that left under the old one are given up.
    pub fn renew_identity(&mut self, identity: (ProducerId, ProducerEpoch)) -> Vec<Delivery> {
        assert!(self.wants_identity(), "batches are under way with the old identity");
        let mut deliveries = Vec::new();
        for state in self.lanes.values_mut() {
            state.sequence_next = Sequence(0);
            for batch in state.retries.drain(..) {
                self.buffered_bytes -= batch.size_bytes;
                batch.deliver(Err(FailureCause::Abandoned), &mut deliveries);
            }
        }
        self.identity = Some(identity);
        self.is_broken = false;
        deliveries
    }
}

impl LaneState {
    fn has_room(&self, settings: &Settings) -> bool {
        self.in_flight.len() < settings.in_flight_max.max(1)
            && !self.in_flight.iter().any(|batch| batch.has_failed)
    }

    fn take_next(
        &mut self,
        now: Instant,
        flushes: bool,
        settings: &Settings,
        identity: Option<(ProducerId, ProducerEpoch)>,
        batch_id_next: &mut u64,
    ) -> Option<Batch> {
        if !self.has_room(settings) || now < self.not_before {
            return None;
        }
        if let Some(batch) = self.retries.pop_front() {
            return Some(batch);
        }
        let is_closed = self.unsent.len() > 1;
        let unsent = self.unsent.pop_front_if(|unsent| {
            let is_full = unsent.builder.size_bytes() >= settings.batch_bytes_max;
            flushes || is_closed || is_full || unsent.since + settings.linger <= now
        })?;
        let mut builder = unsent.builder;
        if let Some((id, epoch)) = identity {
            let records = i32::try_from(builder.len()).expect("a batch counts its records in 31 bits");
            builder = builder.idempotent(id, epoch, self.sequence_next);
            self.sequence_next = self.sequence_next.plus(records);
        }
        let id = BatchId(*batch_id_next);
        *batch_id_next += 1;
        Some(Batch {
            id,
            bytes: builder.build().bytes().clone(),
            tokens: unsent.tokens,
            since: unsent.since,
            size_bytes: unsent.size_bytes,
            has_failed: false,
            may_be_appended: false,
        })
    }

    /// Once all that were under way are settled, those that failed go first.
    fn requeue_failed(&mut self, now: Instant, backoff: Duration) {
        if self.in_flight.is_empty() || !self.in_flight.iter().all(|batch| batch.has_failed) {
            return;
        }
        self.not_before = now + backoff;
        while let Some(mut batch) = self.in_flight.pop_back() {
            batch.has_failed = false;
            self.retries.push_front(batch);
        }
    }
}

impl Outcome {
    fn may_be_appended(self) -> bool {
        // The latter two tell of a batch in the leader's log that too few replicas have in time.
        matches!(
            self,
            Self::Unknown
                | Self::Refused(ErrorCode::RequestTimedOut | ErrorCode::NotEnoughReplicasAfterAppend)
        )
    }
}

impl Batch {
    fn deliver(self, result: Result<Offset, FailureCause>, deliveries: &mut Vec<Delivery>) {
        let may_be_appended = self.may_be_appended;
        let result = result.map_err(|cause| DeliveryError { cause, may_be_appended });
        for (delta, token) in (0..).zip(self.tokens) {
            let at = |base: Offset| if base.0 < 0 { base } else { base.plus(delta) };
            deliveries.push(Delivery { token, result: result.map(at) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::BatchHeader;
    use proptest::prelude::*;

    const IDENTITY: (ProducerId, ProducerEpoch) = (ProducerId(7), ProducerEpoch(0));

    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
    }

    fn lane(partition: i32) -> Lane {
        Lane { topic: "t".into(), partition: PartitionIndex(partition) }
    }

    fn record(len: usize) -> NewRecord {
        NewRecord { value: Some(vec![b'x'; len].into()), timestamp: Timestamp(1), ..NewRecord::default() }
    }

    fn idempotent(settings: Settings) -> Accumulator {
        Accumulator::new(settings, Some(IDENTITY))
    }

    /// Pushes records that fill a batch each.
    fn push_batches(accumulator: &mut Accumulator, tokens: std::ops::Range<u64>) {
        for token in tokens {
            accumulator.push(at(0), &lane(0), &record(16 << 10), Token(token));
        }
    }

    fn sequence(outgoing: &Outgoing) -> i32 {
        BatchHeader::parse(&outgoing.bytes).unwrap().base_sequence.0
    }

    fn appended(base_offset: i64) -> Outcome {
        Outcome::Appended { base_offset: Offset(base_offset) }
    }

    #[test]
    fn records_wait_for_company_until_the_linger_time() {
        let mut accumulator = idempotent(Settings::default());
        for token in 0..3 {
            accumulator.push(at(token), &lane(0), &record(10), Token(token));
        }
        assert!(accumulator.take_ready(at(4), false).is_empty());
        assert_eq!(accumulator.next_timeout(), Some(at(5)));
        let ready = accumulator.take_ready(at(5), false);
        let [outgoing] = &ready[..] else { panic!("one batch of three records: {ready:?}") };
        assert_eq!(BatchHeader::parse(&outgoing.bytes).unwrap().record_count, 3);
        let delivered = accumulator.settle(at(6), &outgoing.lane, outgoing.id, appended(40));
        let expected = (0..3).map(|n| Delivery { token: Token(n), result: Ok(Offset(40 + n as i64)) });
        assert_eq!(delivered, expected.collect::<Vec<_>>());
        assert!(accumulator.is_empty());
        assert_eq!(accumulator.buffered_bytes(), 0);
    }

    #[test]
    fn full_batches_and_flushes_do_not_wait() {
        let mut accumulator = idempotent(Settings::default());
        push_batches(&mut accumulator, 0..2);
        accumulator.push(at(0), &lane(1), &record(1), Token(9));
        assert_eq!(accumulator.take_ready(at(0), false).len(), 2);
        assert_eq!(accumulator.take_ready(at(0), true).len(), 1);
    }

    #[test]
    fn a_failure_holds_back_what_is_behind_it_and_order_is_kept() {
        let mut accumulator = idempotent(Settings::default());
        push_batches(&mut accumulator, 0..7);
        let first = accumulator.take_ready(at(0), true);
        assert_eq!(first.iter().map(sequence).collect::<Vec<_>>(), [0, 1, 2, 3, 4], "five under way");
        let mut settle = |n: usize, outcome| accumulator.settle(at(1), &lane(0), first[n].id, outcome);
        assert_eq!(settle(0, appended(0)).len(), 1);
        assert!(settle(1, Outcome::Unknown).is_empty());
        assert!(
            settle(2, Outcome::Refused(ErrorCode::OutOfOrderSequenceNumber)).is_empty(),
            "it was only early"
        );
        assert!(settle(4, Outcome::Refused(ErrorCode::OutOfOrderSequenceNumber)).is_empty());
        assert!(accumulator.take_ready(at(500), true).is_empty(), "one is still under way");
        accumulator.settle(at(500), &lane(0), first[3].id, Outcome::NotSent);
        assert!(accumulator.take_ready(at(599), true).is_empty(), "the pause before another attempt");
        let again = accumulator.take_ready(at(600), true);
        assert_eq!(again.iter().map(sequence).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
        assert_eq!(again[0].bytes, first[1].bytes, "another attempt is the same batch");
    }

    #[test]
    fn a_duplicate_is_a_success() {
        let mut accumulator = idempotent(Settings::default());
        push_batches(&mut accumulator, 0..1);
        let sent = accumulator.take_ready(at(0), true);
        let outcome = Outcome::Refused(ErrorCode::DuplicateSequenceNumber);
        let delivered = accumulator.settle(at(1), &lane(0), sent[0].id, outcome);
        assert_eq!(delivered, [Delivery { token: Token(0), result: Ok(Offset(-1)) }]);
        assert!(!accumulator.wants_identity());
    }

    #[test]
    fn a_lost_sequence_needs_a_new_identity() {
        let mut accumulator = idempotent(Settings::default());
        push_batches(&mut accumulator, 0..7);
        let sent = accumulator.take_ready(at(0), true);
        let refused = Outcome::Refused(ErrorCode::MessageTooLarge);
        assert_eq!(accumulator.settle(at(1), &lane(0), sent[0].id, refused).len(), 1);
        assert!(!accumulator.wants_identity(), "four are under way");
        for batch in &sent[1..] {
            accumulator.settle(at(1), &lane(0), batch.id, Outcome::Unknown);
        }
        assert!(accumulator.take_ready(at(1000), true).is_empty());
        assert!(accumulator.wants_identity());
        let given_up = accumulator.renew_identity((ProducerId(8), ProducerEpoch(0)));
        let abandoned = DeliveryError { cause: FailureCause::Abandoned, may_be_appended: true };
        assert!(given_up.iter().all(|delivery| delivery.result == Err(abandoned)));
        assert_eq!(given_up.len(), 4);
        let next = accumulator.take_ready(at(1000), true);
        assert_eq!(next.iter().map(sequence).collect::<Vec<_>>(), [0, 1], "what never left is numbered anew");
        assert_eq!(BatchHeader::parse(&next[0].bytes).unwrap().producer_id, ProducerId(8));
    }

    #[test]
    fn what_takes_too_long_is_given_up() {
        let mut accumulator =
            idempotent(Settings { delivery_max: Duration::from_secs(1), ..Settings::default() });
        push_batches(&mut accumulator, 0..2);
        let sent = accumulator.take_ready(at(0), false);
        accumulator.settle(at(1), &lane(0), sent[0].id, Outcome::NotSent);
        accumulator.push(at(500), &lane(1), &record(1), Token(9));
        assert_eq!(accumulator.handle_timeout(at(999)), []);
        accumulator.settle(at(999), &lane(0), sent[1].id, Outcome::NotSent);
        let late = accumulator.handle_timeout(at(1000));
        assert_eq!(late.iter().map(|delivery| delivery.token.0).collect::<Vec<_>>(), [0, 1]);
        assert!(accumulator.wants_identity(), "their sequences are lost");
        assert_eq!(accumulator.next_timeout(), Some(at(1500)));
        assert_eq!(accumulator.handle_timeout(at(1500)).len(), 1);
        assert!(accumulator.is_empty());
    }

    /// A partition that accepts sequences as a broker does.
    #[derive(Default)]
    struct Log {
        sequence_next: i32,
        producer_id: i64,
        tokens: Vec<u64>,
    }

    impl Log {
        fn append(&mut self, bytes: &Bytes) -> Outcome {
            let header = BatchHeader::parse(bytes).unwrap();
            if header.producer_id.0 != self.producer_id {
                (self.producer_id, self.sequence_next) = (header.producer_id.0, 0);
            }
            let sequence = header.base_sequence.0;
            if sequence + header.record_count <= self.sequence_next {
                return Outcome::Refused(ErrorCode::DuplicateSequenceNumber);
            }
            if sequence != self.sequence_next {
                return Outcome::Refused(ErrorCode::OutOfOrderSequenceNumber);
            }
            let base = self.tokens.len() as i64;
            self.sequence_next += header.record_count;
            for record in crate::batch::records(bytes).unwrap() {
                self.tokens.push(u64::from_be_bytes(record.unwrap().value.unwrap()[..8].try_into().unwrap()));
            }
            appended(base)
        }
    }

    proptest! {
        /// Whatever is lost, refused or late: every record has one fate, none is in the log twice, all are in order,
        /// and those told delivered are where they were told to be.
        #[test]
        fn every_record_has_one_fate(steps in prop::collection::vec((0..8_u8, 0..4_u8), 1..200)) {
            let mut accumulator = idempotent(Settings { batch_bytes_max: 100, ..Settings::default() });
            let (mut log, mut out, mut fates) = (Log::default(), Vec::<Outgoing>::new(), Vec::new());
            let (mut now, mut pushed, mut identity) = (0, 0, 7);
            let quiet = (0..40_u8).map(|n| (if n % 2 == 0 { 2 } else { 3 }, 0));
            for (step, index) in steps.into_iter().chain(quiet.collect::<Vec<_>>().into_iter().cycle().take(4000)) {
                if pushed > 0 && accumulator.is_empty() && out.is_empty() && step >= 2 {
                    continue;
                }
                now += 60;
                match step {
                    0 | 1 => {
                        let value = Bytes::from([&u64::to_be_bytes(pushed)[..], &[0; 20]].concat());
                        let record = NewRecord { value: Some(value), timestamp: Timestamp(1), ..NewRecord::default() };
                        accumulator.push(at(now), &lane(0), &record, Token(pushed));
                        pushed += 1;
                    }
                    2 => out.extend(accumulator.take_ready(at(now), true)),
                    // Requests arrive in the order sent; answers may come in any.
                    _ if out.is_empty() => {}
                    3 | 4 => {
                        let sent = out.remove(0);
                        let outcome = log.append(&sent.bytes);
                        fates.extend(accumulator.settle(at(now), &sent.lane, sent.id, outcome));
                    }
                    5 => {
                        let sent = out.remove(0);
                        log.append(&sent.bytes);
                        fates.extend(accumulator.settle(at(now), &sent.lane, sent.id, Outcome::Unknown));
                    }
                    6 => {
                        let sent = out.remove(0);
                        let code = if index == 0 { ErrorCode::MessageTooLarge } else { ErrorCode::NotLeaderOrFollower };
                        fates.extend(accumulator.settle(at(now), &sent.lane, sent.id, Outcome::Refused(code)));
                    }
                    _ => {
                        let sent = out.remove(0);
                        fates.extend(accumulator.settle(at(now), &sent.lane, sent.id, Outcome::NotSent));
                    }
                }
                if accumulator.wants_identity() {
                    identity += 1;
                    fates.extend(accumulator.renew_identity((ProducerId(identity), ProducerEpoch(0))));
                }
            }
            prop_assert!(accumulator.is_empty());
            prop_assert_eq!(accumulator.buffered_bytes(), 0);
            prop_assert!(log.tokens.is_sorted_by(|a, b| a < b), "in order, none twice: {:?}", log.tokens);
            let mut told: Vec<u64> = fates.iter().map(|fate| fate.token.0).collect();
            told.sort_unstable();
            prop_assert_eq!(told, (0..pushed).collect::<Vec<_>>(), "one fate each");
            for fate in fates {
                match fate.result {
                    Ok(Offset(-1)) => prop_assert!(log.tokens.contains(&fate.token.0)),
                    Ok(offset) => prop_assert_eq!(log.tokens[offset.0 as usize], fate.token.0),
                    Err(error) if error.may_be_appended => {}
                    Err(_) => prop_assert!(!log.tokens.contains(&fate.token.0)),
                }
            }
        }
    }
}
