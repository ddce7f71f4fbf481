//! Produce (0): batches to partitions.
//!
//! Every batch is checked before its partition's lock is taken, and its bytes go to the log as the client sent
//! them. A request whose partitions all answer at once is answered without ever being kept; only one that waits
//! (for replicas, or for the disk under `highwater.acks.durable`) becomes a [`Pending`].

use super::gathering::{Answer, Gathering};
use super::{Call, Responder};
use crate::partition::{Partition, Waiter};
use crate::registration::Membership;
use crate::settings::batch_rules;
use bytes::Bytes;
use highwater_core::batch::{BatchError, Scratch, ValidBatch, validate_with};
use highwater_core::quota::QuotaKind;
use highwater_core::replica::{Acks, ProduceError, Produced};
use highwater_protocol::messages::{
    BatchIndexAndErrorMessage, PartitionProduceData, PartitionProduceResponse,
};
use highwater_protocol::produce::{ProduceResponseWriter, ProduceView};
use highwater_protocol::topics::{InTopic, TopicRef};
use highwater_protocol::{ErrorCode, Uuid};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// The one client that may write to internal topics, as in Kafka.
const ADMIN_CLIENT_ID: &str = "__admin_client";

/// Serves a produce request.
pub(super) fn handle(call: Call<'_>, request: &ProduceView) {
    let acks = match request.acks {
        0 | 1 => Acks::Leader,
        -1 => Acks::All,
        _ => return refuse_all(call, request, ErrorCode::InvalidRequiredAcks),
    };
    if request.transactional_id.is_some() {
        // Transactions are not served, and InitProducerId said so; nobody can have begun one.
        return refuse_all(call, request, ErrorCode::TransactionalIdAuthorizationFailed);
    }
    let mut answers = Answers::begin(request);
    let mut scratch = Scratch::new();
    let mut bytes = 0;
    let mut waiting: Option<Arc<Gathering<Pending>>> = None;
    for asked in request.partitions() {
        bytes += asked.partition.records.as_ref().map_or(0, Bytes::len);
        let index = answers.add(&asked);
        let done = match prepare(&call, &asked, &mut scratch) {
            Ok((partition, batch)) => partition.produce(batch, acks, || {
                let pending = waiting.get_or_insert_with(Gathering::new).clone();
                pending.expect_one();
                Waiter::Produced(Box::new(move |result| pending.complete((index, result))))
            }),
            Err(refusal) => {
                call.node.counters().produce_errors.fetch_add(1, Relaxed);
                answers.refuse(index, &refusal);
                continue;
            }
        };
        if let Some(result) = done {
            if result.is_err() {
                call.node.counters().produce_errors.fetch_add(1, Relaxed);
            }
            answers.complete(call.node.membership(), index, result);
        }
    }
    call.node.counters().bytes_in.fetch_add(bytes as u64, Relaxed);
    let now = call.node.clock().mono();
    let throttle = call.node.throttles().bytes(now, QuotaKind::Produce, call.client_id(), bytes as u64);
    let deadline = call.deadline(request.timeout_ms);
    let finish = Finish { responder: call.responder, is_silent: request.acks == 0, throttle };
    match waiting {
        None => finish.send(answers),
        Some(pending) => {
            let pended = Pending { membership: call.node.membership().clone(), finish, answers };
            pending.start_until(pended, deadline, call.node.timers());
        }
    }
}

/// Why a batch does not reach its partition.
enum Refusal {
    Code(ErrorCode),
    Batch(BatchError),
}

/// Finds the partition and checks the batch, without any lock.
fn prepare(
    call: &Call<'_>,
    asked: &InTopic<'_, PartitionProduceData>,
    scratch: &mut Scratch,
) -> Result<(Arc<Partition>, ValidBatch), Refusal> {
    let found = call.node.registry().find(asked.topic, asked.partition.index);
    let partition = found.map_err(Refusal::Code)?;
    if highwater_core::metadata::is_internal(partition.topic()) && call.client_id() != ADMIN_CLIENT_ID {
        return Err(Refusal::Code(ErrorCode::InvalidTopicException));
    }
    let rules = batch_rules(&partition.config(), call.node.clock().now().wall, call.responder.version());
    let bytes = asked.partition.records.clone().unwrap_or_default();
    let batch = validate_with(scratch, bytes, &rules).map_err(Refusal::Batch)?;
    Ok((partition, batch))
}

/// Answers every partition with one error; without acks the connection ends instead, as Kafka's does.
fn refuse_all(call: Call<'_>, request: &ProduceView, code: ErrorCode) {
    let mut answers = Answers::begin(request);
    for asked in request.partitions() {
        let index = answers.add(&asked);
        answers.refuse(index, &Refusal::Code(code));
    }
    let throttle = Duration::ZERO;
    Finish { responder: call.responder, is_silent: request.acks == 0, throttle }.send(answers);
}

/// What becomes of each partition of a request, in the request's order.
#[derive(Debug)]
struct Answers {
    topics: Vec<(TopicName, usize)>,
    partitions: Vec<PartitionProduceResponse>,
}

/// A topic as the request named it, kept beyond the request's frame.
#[derive(Debug)]
enum TopicName {
    Name(String),
    Id(Uuid),
}

impl Answers {
    fn begin(request: &ProduceView) -> Self {
        Self { topics: Vec::with_capacity(request.topic_count().min(64)), partitions: Vec::new() }
    }

    /// Makes room for a partition's answer; its place.
    fn add(&mut self, asked: &InTopic<'_, PartitionProduceData>) -> usize {
        if self.topics.last().is_none_or(|_| self.topics.len() <= asked.topic_index) {
            let name = match asked.topic {
                TopicRef::Name(name) => TopicName::Name(name.to_owned()),
                TopicRef::Id(id) => TopicName::Id(id),
            };
            self.topics.push((name, 0));
        }
        if let Some((_, count)) = self.topics.last_mut() {
            *count += 1;
        }
        self.partitions.push(PartitionProduceResponse {
            index: asked.partition.index,
            error_code: ErrorCode::RequestTimedOut,
            base_offset: -1,
            ..Default::default()
        });
        self.partitions.len() - 1
    }

    fn refuse(&mut self, index: usize, refusal: &Refusal) {
        let answer = &mut self.partitions[index];
        match refusal {
            Refusal::Code(code) => answer.error_code = *code,
            Refusal::Batch(error) => {
                answer.error_code = error.code();
                answer.error_message = Some(error.to_string());
                let faults = error.record_errors().iter();
                answer.record_errors = faults
                    .map(|fault| BatchIndexAndErrorMessage {
                        batch_index: fault.index,
                        batch_index_error_message: Some(fault.message.clone()),
                    })
                    .collect();
            }
        }
    }

    fn complete(&mut self, membership: &Membership, index: usize, result: Result<Produced, ProduceError>) {
        let answer = &mut self.partitions[index];
        match result {
            Ok(produced) => {
                answer.error_code = ErrorCode::None;
                answer.base_offset = produced.base_offset.0;
                answer.log_append_time_ms = produced.log_append_time.0;
                answer.log_start_offset = produced.log_start.0;
            }
            Err(error) => {
                let error = error.told(|| membership.holds_lease());
                answer.error_code = error.code;
                answer.error_message = (!error.message.is_empty()).then_some(error.message);
            }
        }
    }

    fn first_error(&self) -> Option<&PartitionProduceResponse> {
        self.partitions.iter().find(|p| p.error_code != ErrorCode::None)
    }
}

/// How a request's answer leaves.
#[derive(Debug)]
struct Finish {
    responder: Responder,
    /// acks=0: no answer. An error can only be told by closing.
    is_silent: bool,
    throttle: Duration,
}

impl Finish {
    fn send(mut self, answers: Answers) {
        self.throttle = self.throttle.max(self.responder.handler_throttle());
        if self.is_silent {
            return match answers.first_error() {
                None => self.responder.silent(self.throttle),
                Some(failed) => {
                    self.responder
                        .refuse(format!("produce without acks failed: {}", failed.error_code.name()));
                }
            };
        }
        let header = self.responder.header();
        let mut writer = ProduceResponseWriter::new(header, answers.topics.len());
        let mut partitions = answers.partitions.iter();
        for (topic, count) in &answers.topics {
            let topic = match topic {
                TopicName::Name(name) => TopicRef::Name(name),
                TopicName::Id(id) => TopicRef::Id(*id),
            };
            writer.topic(topic, *count);
            for partition in partitions.by_ref().take(*count) {
                writer.partition(partition);
            }
        }
        let throttle_ms = i32::try_from(self.throttle.as_millis()).unwrap_or(i32::MAX);
        let frame = writer.finish(throttle_ms, &Vec::new());
        self.responder.send_frame(frame, self.throttle);
    }
}

/// A request some of whose partitions cannot answer yet. What is missing when its time is over keeps
/// REQUEST_TIMED_OUT, though it may be appended.
struct Pending {
    membership: Arc<Membership>,
    finish: Finish,
    answers: Answers,
}

impl Answer for Pending {
    type Part = (usize, Result<Produced, ProduceError>);

    fn add(&mut self, (index, result): Self::Part) {
        self.answers.complete(&self.membership, index, result);
    }

    fn finish(self) {
        self.finish.send(self.answers);
    }
}
