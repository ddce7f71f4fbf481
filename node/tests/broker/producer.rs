//! An idempotent producer with five batches in flight that outlives its broker, as Kafka's own clients do.

use crate::client::{Client, PRODUCE_VERSION, produce_request};
use bytes::Bytes;
use highwater_core::batch::{Builder, Codec};
use highwater_core::ids::{ProducerEpoch, ProducerId, Sequence};
use highwater_core::time::Timestamp;
use highwater_net_tcp::client::ClientError;
use highwater_protocol::ErrorCode;
use highwater_protocol::messages::{InitProducerIdRequest, ProduceResponse};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// What idempotence allows (`max.in.flight.requests.per.connection`).
const IN_FLIGHT_MAX: usize = 5;

/// How long it waits for a broker that is not there.
const BACKOFF: Duration = Duration::from_millis(5);

/// A batch that was acknowledged: where the broker put it, and which values it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Acked {
    pub(crate) base_offset: i64,
    pub(crate) first: u64,
    pub(crate) count: u64,
}

/// Writes the numbers from 0 on to one partition.
#[derive(Debug)]
pub(crate) struct Producer {
    address: SocketAddr,
    topic: String,
    partition: i32,
    id: (ProducerId, ProducerEpoch),
    next: u64,
    unacked: VecDeque<Batch>,
    acked: Vec<Acked>,
    /// Batches acknowledged by all producers, for whoever waits for progress.
    progress: Arc<AtomicU64>,
}

#[derive(Clone, Debug)]
struct Batch {
    first: u64,
    count: u64,
    bytes: Bytes,
}

/// Why a connection is given up.
enum Break {
    /// It broke, or the broker asks to try again: everything unacknowledged is sent again.
    Retry,
    /// Nothing is left to send.
    Done,
}

impl Producer {
    /// Gets itself a producer id.
    pub(crate) async fn new(
        address: SocketAddr,
        topic: &str,
        partition: i32,
        progress: Arc<AtomicU64>,
    ) -> Self {
        let client = Client::connect(address).await;
        let request =
            InitProducerIdRequest { transaction_timeout_ms: -1, ..InitProducerIdRequest::default() };
        let id = loop {
            let answer = client.connection.send(&request).await.expect("a producer id");
            match answer.error_code {
                ErrorCode::None => {
                    break (ProducerId(answer.producer_id), ProducerEpoch(answer.producer_epoch));
                }
                code => assert!(code.is_retriable(), "no producer id: {code:?}"),
            }
            tokio::time::sleep(BACKOFF).await;
        };
        let (unacked, acked) = (VecDeque::new(), Vec::new());
        Self { address, topic: topic.to_owned(), partition, id, next: 0, unacked, acked, progress }
    }

    /// Produces until told to stop, then until everything is acknowledged.
    pub(crate) async fn run(mut self, stopping: Arc<AtomicBool>) -> Vec<Acked> {
        loop {
            let Ok(client) = Client::try_connect(self.address).await else {
                tokio::time::sleep(BACKOFF).await;
                continue;
            };
            match self.speak(&client, &stopping).await {
                Break::Retry => tokio::time::sleep(BACKOFF).await,
                Break::Done => return self.acked,
            }
        }
    }

    async fn speak(&mut self, client: &Client, stopping: &AtomicBool) -> Break {
        let mut in_flight = VecDeque::new();
        loop {
            while in_flight.len() < IN_FLIGHT_MAX {
                if in_flight.len() == self.unacked.len() {
                    if stopping.load(Ordering::Relaxed) {
                        break;
                    }
                    self.make_batch();
                }
                let batch = self.unacked[in_flight.len()].bytes.clone();
                let request = produce_request(&self.topic, self.partition, batch);
                match client.connection.begin_in(&request, PRODUCE_VERSION).await {
                    Ok(pending) => in_flight.push_back(pending),
                    Err(_) => return Break::Retry,
                }
            }
            let Some(first) = in_flight.pop_front() else { return Break::Done };
            if !self.take(first.answer().await) {
                return Break::Retry;
            }
        }
    }

    /// Takes the answer to the oldest batch; whether the connection can be used on.
    fn take(&mut self, answer: Result<ProduceResponse, ClientError>) -> bool {
        let Ok(answer) = answer else { return false };
        let answer = &answer.responses[0].partition_responses[0];
        match answer.error_code {
            ErrorCode::None => {
                let batch = self.unacked.pop_front().expect("an answer belongs to a batch");
                let Batch { first, count, .. } = batch;
                self.acked.push(Acked { base_offset: answer.base_offset, first, count });
                self.progress.fetch_add(1, Ordering::Relaxed);
                true
            }
            code => {
                assert!(code.is_retriable(), "{}-{} refuses: {code:?}", self.topic, self.partition);
                false
            }
        }
    }

    fn make_batch(&mut self) {
        let (first, count) = (self.next, 1 + self.next % 7);
        let sequence = Sequence(i32::try_from(first).expect("a test sends fewer than 2^31"));
        let mut builder = Builder::new(Codec::None).idempotent(self.id.0, self.id.1, sequence);
        for n in first..first + count {
            builder.push(Timestamp(1_700_000_000_000), None, Some(n.to_string().as_bytes()), &[]);
        }
        let bytes = builder.build().bytes().clone();
        self.unacked.push_back(Batch { first, count, bytes });
        self.next += count;
    }
}
