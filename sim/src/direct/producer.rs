//! A simulated producer: up to five batches of each partition under way, sent again until they are answered.

use super::contact::{Contact, REQUEST_TIMEOUT};
use super::env::Env;
use super::message::{Request, Response};
use super::network::Place;
use super::queue::{MILLI, Time};
use super::truth::Truth;
use highwater_core::batch::{Builder, Codec, ValidBatch};
use highwater_core::error_code::ErrorCode;
use highwater_core::ids::{Offset, ProducerEpoch, ProducerId, Sequence, TopicPartition};
use highwater_core::replica::{Acks, ProduceError, Produced};
use std::collections::{BTreeMap, VecDeque};

/// `max.in.flight.requests.per.connection`, for which idempotence keeps the order.
const IN_FLIGHT_MAX: u64 = 5;

/// `retry.backoff.ms`
const BACKOFF: Time = 50 * MILLI;

/// What kind of producer it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) is_idempotent: bool,
    pub(crate) acks: Acks,
}

#[derive(Debug)]
struct Outgoing {
    batch: ValidBatch,
    value: u64,
    /// Its place among the batches of its partition.
    number: u64,
    /// The request that is under way, since when, and to whom.
    request: Option<(u64, Time, Place)>,
}

/// The batches of one partition, in their order.
#[derive(Debug, Default)]
struct Lane {
    next_sequence: Sequence,
    /// How many batches were begun.
    begun: u64,
    outgoing: VecDeque<Outgoing>,
    /// After a failure nothing leaves before this, and not before all that is under way is settled.
    retry_at: Option<Time>,
}

impl Lane {
    /// Brokers remember five batches of a producer: none may be begun that is further away from the oldest unanswered.
    fn is_full(&self) -> bool {
        self.outgoing.front().is_some_and(|oldest| self.begun - oldest.number >= IN_FLIGHT_MAX)
    }
}

/// A producer over the partitions of some topics.
#[derive(Debug)]
pub(crate) struct Producer {
    contact: Contact,
    kind: Kind,
    topics: Vec<String>,
    pace: Time,
    id: ProducerId,
    lanes: BTreeMap<TopicPartition, Lane>,
    /// Requests by number.
    waiting: BTreeMap<u64, TopicPartition>,
    is_stopping: bool,
}

impl Producer {
    pub(crate) fn new(contact: Contact, kind: Kind, topics: Vec<String>, pace: Time) -> Self {
        Self {
            contact,
            kind,
            topics,
            pace,
            id: ProducerId::NONE,
            lanes: BTreeMap::new(),
            waiting: BTreeMap::new(),
            is_stopping: false,
        }
    }

    /// Sends nothing new from here on.
    pub(crate) const fn stop(&mut self) {
        self.is_stopping = true;
    }

    /// Whether every batch was answered.
    pub(crate) fn is_settled(&self) -> bool {
        self.lanes.values().all(|lane| lane.outgoing.is_empty())
    }

    /// What it waits for, for people.
    pub(crate) fn waits_for(&self, truth: &Truth) -> String {
        let lane = |(partition, lane): (&TopicPartition, &Lane)| {
            let oldest = lane.outgoing.front()?;
            let name = truth.name_of(*partition);
            let (value, request, leader) = (oldest.value, oldest.request, self.contact.leader(*partition));
            Some(format!(
                "batch {value} for {name}, led by {leader:?}, request {request:?}, {} batches, retry {:?}",
                lane.outgoing.len(),
                lane.retry_at
            ))
        };
        self.lanes.iter().filter_map(lane).collect::<Vec<_>>().join("; ")
    }

    pub(crate) const fn contact(&mut self) -> &mut Contact {
        &mut self.contact
    }

    pub(crate) fn awake(&mut self, env: &mut Env) {
        let partitions: Vec<_> = self.lanes.keys().copied().collect();
        for partition in partitions {
            self.expire(env, partition);
            self.push(env, partition);
        }
        if !self.is_stopping {
            self.begin(env);
        }
        let jitter = self.contact.rng.below(self.pace);
        self.contact.alarm(env, self.pace / 2 + jitter);
    }

    /// Begins a new batch for some partition.
    fn begin(&mut self, env: &mut Env) {
        let Some(image) = self.contact.image() else { return self.contact.refresh(env) };
        let pick = self.contact.rng.clone().next_u64();
        let topic = &self.topics[pick as usize % self.topics.len()];
        let Some(topic) = image.topic(topic) else { return self.contact.refresh(env) };
        let count = topic.partitions.len() as u64;
        let topic_id = topic.id;
        if count == 0 {
            return;
        }
        let index = self.contact.rng.below(count);
        let partition =
            TopicPartition { topic_id, partition: highwater_core::ids::PartitionIndex(index as i32) };
        if self.lanes.get(&partition).is_some_and(Lane::is_full) {
            return;
        }
        let records = 1 + self.contact.rng.below(3) as i32;
        let value = env.fresh();
        if self.kind.is_idempotent && self.id == ProducerId::NONE {
            self.id = ProducerId(env.fresh() as i64);
        }
        let lane = self.lanes.entry(partition).or_default();
        let mut builder = Builder::new(Codec::None);
        if self.kind.is_idempotent {
            builder = builder.idempotent(self.id, ProducerEpoch(0), lane.next_sequence);
            lane.next_sequence = lane.next_sequence.plus(records);
        }
        let wall = env.clock().wall;
        for _ in 0..records {
            builder.push(wall, Some(&[index as u8]), Some(&value.to_be_bytes()), &[]);
        }
        let outgoing = Outgoing { batch: builder.build(), value, number: lane.begun, request: None };
        lane.begun += 1;
        lane.outgoing.push_back(outgoing);
        self.push(env, partition);
    }

    /// Sends what may leave now.
    fn push(&mut self, env: &mut Env, partition: TopicPartition) {
        let Some(lane) = self.lanes.get_mut(&partition) else { return };
        if let Some(at) = lane.retry_at {
            let is_under_way = lane.outgoing.iter().any(|outgoing| outgoing.request.is_some());
            if is_under_way || env.now < at {
                return;
            }
            lane.retry_at = None;
        }
        if lane.outgoing.iter().all(|outgoing| outgoing.request.is_some()) {
            return;
        }
        let Some((leader, _)) = self.contact.leader(partition) else {
            if self.contact.image().is_some_and(|image| image.topic_by_id(partition.topic_id).is_none()) {
                // the topic is gone for good: an id is never given again
                self.lanes.remove(&partition);
                return;
            }
            return self.contact.refresh(env);
        };
        let is_elsewhere = |outgoing: &Outgoing| outgoing.request.is_some_and(|(_, _, to)| to != leader);
        if lane.outgoing.iter().any(is_elsewhere) {
            return; // what is under way to another leader comes first: a new one would take a later sequence for the first
        }
        for outgoing in &mut lane.outgoing {
            if outgoing.request.is_none() {
                let batch = outgoing.batch.clone();
                let request = Request::Produce { partition, batch, acks: self.kind.acks };
                let id = self.contact.ask(env, leader, request);
                outgoing.request = Some((id, env.now, leader));
                self.waiting.insert(id, partition);
            }
        }
    }

    /// Gives up connections on which something was not answered in time.
    fn expire(&mut self, env: &mut Env, partition: TopicPartition) {
        let Some(lane) = self.lanes.get(&partition) else { return };
        let late = |outgoing: &Outgoing| {
            let (_, since, to) = outgoing.request?;
            (env.now >= since + REQUEST_TIMEOUT).then_some(to)
        };
        if let Some(node) = lane.outgoing.iter().find_map(late) {
            self.reset(env, node);
        }
    }

    /// A connection broke: every request on it may or may not have arrived.
    pub(crate) fn reset(&mut self, env: &mut Env, node: Place) {
        self.contact.reconnect(node);
        for lane in self.lanes.values_mut() {
            for outgoing in &mut lane.outgoing {
                if let Some((id, ..)) = outgoing.request.take_if(|(_, _, to)| *to == node) {
                    self.waiting.remove(&id);
                    lane.retry_at = Some(env.now + BACKOFF);
                }
            }
        }
        self.contact.refresh(env);
    }

    pub(crate) fn answered(&mut self, env: &mut Env, id: u64, response: Response) {
        match response {
            Response::Metadata(image) => self.contact.learn(image),
            Response::Produce(result) => {
                let Some(partition) = self.waiting.remove(&id) else { return };
                match result {
                    Ok(produced) => self.appended(env, partition, id, produced),
                    Err(error) => self.refused(env, partition, id, &error),
                }
                self.push(env, partition);
            }
            _ => {}
        }
    }

    fn appended(&mut self, env: &mut Env, partition: TopicPartition, id: u64, produced: Produced) {
        let Some(lane) = self.lanes.get_mut(&partition) else { return };
        let place = lane.outgoing.iter().position(|outgoing| outgoing.request.is_some_and(|(r, ..)| r == id));
        let Some(outgoing) = place.and_then(|place| lane.outgoing.remove(place)) else { return };
        if self.kind.acks == Acks::All {
            env.totals.acked += u64::from(outgoing.batch.header().record_count.unsigned_abs());
            env.truth.acked(partition, produced.base_offset, outgoing.value);
        }
    }

    fn refused(&mut self, env: &mut Env, partition: TopicPartition, id: u64, error: &ProduceError) {
        let Some(lane) = self.lanes.get_mut(&partition) else { return };
        let is_this = |outgoing: &Outgoing| outgoing.request.is_some_and(|(request, ..)| request == id);
        let is_first = lane.outgoing.front().is_some_and(is_this);
        if let Some(outgoing) = lane.outgoing.iter_mut().find(|outgoing| is_this(outgoing)) {
            outgoing.request = None;
        }
        lane.retry_at = Some(env.now + BACKOFF);
        match error.code {
            // those behind a lost one are out of order until it has arrived; the first of all cannot be
            ErrorCode::OutOfOrderSequenceNumber if is_first => self.begin_session(env, partition, error),
            ErrorCode::InvalidProducerEpoch | ErrorCode::UnknownProducerId => {
                self.begin_session(env, partition, error);
            }
            ErrorCode::NotEnoughReplicas | ErrorCode::OutOfOrderSequenceNumber => {}
            _ => self.contact.refresh(env),
        }
    }

    /// The broker refuses what this session sends: all of it is given up, and a new session begins.
    fn begin_session(&mut self, env: &mut Env, partition: TopicPartition, error: &ProduceError) {
        if env.trace.is_recording() {
            let what = format!("a batch for {} is refused: {}", env.truth.name_of(partition), error.message);
            env.trace.tell(env.now, format_args!("client {}", self.contact.place), what);
        }
        let is_excused = env.truth.partition(partition).is_none_or(|known| known.is_excused);
        // A producer that is not known yet may begin anywhere (KIP-360): if its first batch is refused for want of
        // replicas and its second is not, the first cannot follow any more (KAFKA-14359).
        let lane = self.lanes.get(&partition);
        let is_first = lane.is_none_or(|lane| lane.outgoing.front().is_none_or(|oldest| oldest.number == 0));
        if !is_excused && !is_first {
            let what = format!("a producer's next batch is refused: {:?} {}", error.code, error.message);
            env.truth.complain("O3", what);
        }
        self.id = ProducerId::NONE;
        self.lanes.clear();
        self.waiting.clear();
    }
}

impl super::truth::Truth {
    /// A producer was told that its batch is committed at an offset (O1).
    pub(crate) fn acked(&mut self, partition: TopicPartition, base: Offset, value: u64) {
        let Some(known) = self.partition(partition) else { return };
        let verdict = match known.committed_at(base) {
            Some(entry) if entry.value == value => Ok(()),
            Some(entry) => Err(format!(
                "{}: offset {base} was acknowledged for batch {value} and holds batch {}",
                known.name, entry.value
            )),
            None => Err(format!(
                "{}: batch {value} was acknowledged at offset {base}, where none is committed",
                known.name
            )),
        };
        if !known.is_excused {
            self.judge("O1", verdict);
        }
    }
}
