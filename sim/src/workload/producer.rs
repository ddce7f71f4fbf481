//! Producers: idempotent ones that send again until they know, and plain ones that do not.

use crate::client::{Client, To, TopicInfo};
use bytes::Bytes;
use highwater_core::batch::{Builder, Codec};
use highwater_core::ids::{ProducerEpoch, ProducerId, Sequence};
use highwater_core::time::Timestamp;
use highwater_net_tcp::client::Connection;
use highwater_protocol::ErrorCode;
use highwater_protocol::messages::{
    InitProducerIdRequest, PartitionProduceData, PartitionProduceResponse, ProduceRequest, TopicProduceData,
};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// As many as `max.in.flight.requests.per.connection` allows an idempotent producer.
const IN_FLIGHT_MAX: u64 = 5;

/// Between two windows, on average.
const USUAL_REST: Duration = Duration::from_millis(10);

/// A batch that is to be sent, or was and is not answered for.
#[derive(Clone, Debug)]
struct Batch {
    base_sequence: i32,
    values: Vec<Bytes>,
    attempts: u32,
}

/// What came of a batch.
#[derive(Debug)]
enum Outcome {
    Acked,
    /// The broker says that another batch should come first, or that it knows the producer no more.
    Refused(ErrorCode),
    /// Unknown or not now: send again.
    Again,
}

/// A producer.
#[derive(Debug)]
pub struct Producer {
    client: Client,
    topic: TopicInfo,
    is_idempotent: bool,
    /// The time from one batch to the next, on average. If there is none, that from one window to the next is 10 ms.
    pace: Option<Duration>,
    session: Option<Session>,
    number: u64,
}

#[derive(Debug)]
struct Session {
    id: ProducerId,
    epoch: ProducerEpoch,
    sequences: BTreeMap<i32, i32>,
    /// The power cuts that had taken something when the session began.
    losses: u64,
}

impl Producer {
    /// A producer to a topic.
    pub const fn new(client: Client, topic: TopicInfo, is_idempotent: bool) -> Self {
        Self { client, topic, is_idempotent, pace: None, session: None, number: 0 }
    }

    /// Another pace than the usual one.
    #[must_use]
    pub fn paced(self, pace: Duration) -> Self {
        Self { pace: Some(pace), ..self }
    }

    /// Produces until the run stops.
    pub async fn run(mut self) {
        while !self.client.world.is_stopping() {
            if self.is_idempotent && self.session.is_none() {
                self.begin_session().await;
                continue;
            }
            let partition = self.client.rng.below(self.topic.partitions as u64) as i32;
            let count = self.client.rng.within(1, IN_FLIGHT_MAX);
            let mut window: VecDeque<Batch> = (0..count).map(|_| self.batch(partition)).collect();
            while !window.is_empty() && !self.client.world.is_stopping() {
                self.send(partition, &mut window).await;
                if !self.is_idempotent {
                    break;
                }
            }
            let batches = if self.is_idempotent { count as u32 } else { 1 };
            let mean = self.pace.map_or(USUAL_REST, |pace| pace * batches);
            self.client.rest(0, 2 * mean.as_millis() as u64).await;
        }
    }

    async fn begin_session(&mut self) {
        let losses = self.client.world.history().losses;
        let request = InitProducerIdRequest {
            transaction_timeout_ms: 60_000,
            producer_id: -1,
            producer_epoch: -1,
            ..Default::default()
        };
        let Some(answer) = self.client.ask(To::Any, &request).await else { return };
        if answer.error_code.is_error() {
            return self.client.pause().await;
        }
        self.client.note(format_args!("producer id {}", answer.producer_id));
        self.session = Some(Session {
            id: ProducerId(answer.producer_id),
            epoch: ProducerEpoch(answer.producer_epoch),
            sequences: BTreeMap::new(),
            losses,
        });
    }

    fn batch(&mut self, partition: i32) -> Batch {
        let count = self.client.rng.within(1, 3);
        let mut values = Vec::new();
        for _ in 0..count {
            self.number += 1;
            let padding = self.client.rng.within(1, 200) as usize;
            let value = format!("{}-{}.{}", self.client.name, self.number, "x".repeat(padding));
            values.push(Bytes::from(value));
        }
        let mut base_sequence = -1;
        if let Some(session) = &mut self.session {
            let next = session.sequences.entry(partition).or_default();
            base_sequence = *next;
            *next += count as i32;
        }
        let key = self.topic.key(partition);
        self.client.world.history().partition(key).sent.extend(values.iter().cloned());
        Batch { base_sequence, values, attempts: 0 }
    }

    fn request(&mut self, partition: i32, batch: &Batch, acks: i16) -> ProduceRequest {
        let codec = *self.client.rng.pick(&[Codec::None, Codec::None, Codec::Lz4]);
        let mut builder = Builder::new(codec);
        if let Some(session) = &self.session {
            builder = builder.idempotent(session.id, session.epoch, Sequence(batch.base_sequence));
        }
        let now = highwater::clock::Clock::wall();
        for value in &batch.values {
            builder.push(Timestamp(now.0), Some(self.client.name.as_bytes()), Some(value), &[]);
        }
        let records = builder.build().bytes().clone();
        ProduceRequest {
            acks,
            timeout_ms: 2000,
            topic_data: vec![TopicProduceData {
                name: self.topic.name.clone(),
                topic_id: self.topic.id,
                partition_data: vec![PartitionProduceData { index: partition, records: Some(records) }],
            }],
            ..Default::default()
        }
    }

    /// Sends all that is left of a window, pipelined, and removes from its front what was acknowledged.
    async fn send(&mut self, partition: i32, window: &mut VecDeque<Batch>) {
        let losses = self.client.world.history().losses;
        let acks = if self.is_idempotent || self.client.rng.happens(500) { -1 } else { 1 };
        let leader = To::Leader(self.topic.key(partition));
        let Some(connection) = self.client.connection(leader).await else { return };
        let answers = self.exchange(&connection, partition, window, acks).await;
        // How many batches at the front have to be sent again.
        let mut left = 0;
        for answer in answers {
            let outcome = match answer {
                None => Outcome::Again,
                Some(answer) => self.outcome(partition, &window[left], &answer, losses, acks),
            };
            match outcome {
                Outcome::Acked if left == 0 => {
                    window.pop_front();
                }
                Outcome::Refused(code) if left == 0 && self.is_idempotent => {
                    self.end_session(partition, &window[0], code);
                    window.clear();
                    return;
                }
                Outcome::Acked | Outcome::Refused(_) | Outcome::Again => left += 1,
            }
        }
        if !window.is_empty() {
            self.client.world.history().totals.retries += 1;
            self.client.reroute();
            self.client.pause().await;
        }
    }

    async fn exchange(
        &mut self,
        connection: &Connection,
        partition: i32,
        window: &mut VecDeque<Batch>,
        acks: i16,
    ) -> Vec<Option<PartitionProduceResponse>> {
        let mut pending = Vec::new();
        for batch in window.iter_mut() {
            let request = self.request(partition, batch, acks);
            batch.attempts += 1;
            match connection.begin(&request).await {
                Ok(sent) => pending.push(sent),
                Err(_) => break,
            }
        }
        if self.client.rng.happens(20) {
            // A client that gives its connection up with requests under way.
            self.client.note("hangs up");
            self.client.disconnect();
        }
        let mut answers = Vec::new();
        for sent in pending {
            let answer = sent.answer().await.ok();
            let of_partition = answer.and_then(|a| a.responses.into_iter().next());
            answers.push(of_partition.and_then(|t| t.partition_responses.into_iter().next()));
        }
        answers
    }

    fn outcome(
        &self,
        partition: i32,
        batch: &Batch,
        answer: &PartitionProduceResponse,
        losses: u64,
        acks: i16,
    ) -> Outcome {
        let code = answer.error_code;
        self.client.note(format_args!(
            "{} {partition} sequence {} x{} acks {acks}: {code} at {}",
            self.topic.name,
            batch.base_sequence,
            batch.values.len(),
            answer.base_offset
        ));
        match code {
            ErrorCode::None => {
                let mut history = self.client.world.history();
                if history.losses == losses && acks == -1 {
                    history.totals.acked += batch.values.len() as u64;
                    let key = self.topic.key(partition);
                    let known = history.partition(key);
                    for (offset, value) in (answer.base_offset..).zip(&batch.values) {
                        known.acked.insert(offset, value.clone());
                    }
                    history.acknowledged((key, answer.base_offset + batch.values.len() as i64 - 1));
                }
                Outcome::Acked
            }
            ErrorCode::DuplicateSequenceNumber => Outcome::Acked,
            ErrorCode::OutOfOrderSequenceNumber
            | ErrorCode::InvalidProducerEpoch
            | ErrorCode::UnknownProducerId => Outcome::Refused(code),
            _ => Outcome::Again,
        }
    }

    /// The broker does not take the first batch that is not acknowledged: it has forgotten something. It may, after a
    /// power cut that its policy does not survive.
    fn end_session(&mut self, partition: i32, batch: &Batch, code: ErrorCode) {
        let Some(session) = self.session.take() else { return };
        let mut history = self.client.world.history();
        history.totals.sessions_lost += 1;
        if history.losses == session.losses {
            let (name, sequence) = (&self.topic.name, batch.base_sequence);
            history.complain(
                "O15",
                format_args!(
                    "{name} {partition}: producer {} sends sequence {sequence}, which comes next, and is told {code}",
                    session.id
                ),
            );
        }
    }
}
