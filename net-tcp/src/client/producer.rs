//! The producer: partitions, batches and sends records, and tells each one's fate.
//!
//! One task drives the [`Accumulator`], which decides everything; one task per broker sends its requests in the order
//! decided. Handles are cheap to clone; what they sent is delivered or given up even if they are dropped.

use super::{ClientError, Cluster, Dial, Pending};
use highwater_core::client::partitioner::Partitioner;
use highwater_core::client::producer::{
    Accumulator, BatchId, Delivery, DeliveryError, Lane, NewRecord, Outcome, Outgoing, Settings,
};
use highwater_core::ids::{BrokerId, Offset, PartitionIndex, ProducerEpoch, ProducerId, Token};
use highwater_core::time::Instant as CoreInstant;
use highwater_protocol::messages::{
    InitProducerIdRequest, PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData,
};
use highwater_protocol::{ErrorCode, Uuid};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

/// How a producer sends.
#[derive(Clone, Debug)]
pub struct ProducerOptions {
    /// Batching and retries.
    pub settings: Settings,
    /// Whether the broker is to refuse duplicates and disorder (`enable.idempotence`). Needs `acks` of all.
    pub idempotent: bool,
    /// Who must have a record before it counts as delivered (`acks`).
    pub acks: Acks,
    /// Bytes of records under way at once (`buffer.memory`); beyond it sending waits.
    pub buffer_bytes_max: u32,
    /// What the choice of partitions follows from, for records without a key.
    pub partitioner_seed: u64,
}

/// Who must have a record before it counts as delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    /// Nobody: sent is delivered.
    None,
    /// The leader.
    Leader,
    /// All in-sync replicas.
    All,
}

impl Acks {
    const fn code(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Leader => 1,
            Self::All => -1,
        }
    }
}

impl Default for ProducerOptions {
    fn default() -> Self {
        Self {
            settings: Settings::default(),
            idempotent: true,
            acks: Acks::All,
            buffer_bytes_max: 32 << 20,
            partitioner_seed: 0,
        }
    }
}

/// Sends records to a cluster.
#[derive(Debug)]
pub struct Producer<D> {
    inner: Arc<Inner<D>>,
}

#[derive(Debug)]
struct Inner<D> {
    cluster: Cluster<D>,
    options: ProducerOptions,
    partitioners: Mutex<BTreeMap<String, Partitioner>>,
    room: Arc<Semaphore>,
    commands: mpsc::UnboundedSender<Command>,
}

#[derive(Debug)]
enum Command {
    Send { lane: Lane, record: NewRecord, fate: Fate },
    Flush(oneshot::Sender<()>),
}

/// Where a record's fate is told.
#[derive(Debug)]
struct Fate {
    told: oneshot::Sender<Result<RecordMetadata, DeliveryError>>,
    partition: PartitionIndex,
    _room: OwnedSemaphorePermit,
}

/// Where a delivered record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordMetadata {
    /// Its partition.
    pub partition: PartitionIndex,
    /// Its offset; −1 if the broker did not say (no acks, or a duplicate of long ago).
    pub offset: Offset,
}

/// A record on its way. Waiting for it is optional.
#[derive(Debug)]
pub struct InFlight(oneshot::Receiver<Result<RecordMetadata, DeliveryError>>);

impl InFlight {
    /// Waits for the record's fate.
    pub async fn delivered(self) -> Result<RecordMetadata, SendError> {
        self.0.await.map_err(|_| SendError::Client(ClientError::Closed))?.map_err(SendError::Delivery)
    }
}

/// Why a record was not sent or not delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendError {
    /// It was not taken: no such topic or partition, or the cluster cannot be reached.
    Client(ClientError),
    /// It was taken and given up.
    Delivery(DeliveryError),
}

impl std::fmt::Display for SendError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Client(error) => error.fmt(f),
            Self::Delivery(error) => write!(f, "not delivered: {:?}", error.cause),
        }
    }
}

impl std::error::Error for SendError {}

impl From<ClientError> for SendError {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

impl<D> Clone for Producer<D> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl<D: Dial> Producer<D> {
    /// A producer; an idempotent one gets its identity first.
    pub async fn new(cluster: Cluster<D>, options: ProducerOptions) -> Result<Self, ClientError> {
        let identity = if options.idempotent { Some(identify(&cluster).await?) } else { None };
        let (commands, queue) = mpsc::unbounded_channel();
        let driver = Driver::new(cluster.clone(), &options, identity);
        tokio::spawn(driver.run(queue));
        let room = Arc::new(Semaphore::new(options.buffer_bytes_max as usize));
        Ok(Self {
            inner: Arc::new(Inner { cluster, options, partitioners: Mutex::default(), room, commands }),
        })
    }

    /// Sends a record: to `partition` if given, else by its key, else to a partition that changes from batch to batch.
    /// Waits while too much is under way. Records of one partition keep the order of these calls.
    pub async fn send(
        &self,
        topic: &str,
        partition: Option<PartitionIndex>,
        record: NewRecord,
    ) -> Result<InFlight, SendError> {
        let inner = &self.inner;
        let size_bytes = record.size_bytes();
        let permits = u32::try_from(size_bytes)
            .map_or(inner.options.buffer_bytes_max, |n| n.min(inner.options.buffer_bytes_max));
        let room = inner.room.clone().acquire_many_owned(permits.max(1)).await;
        let room = room.map_err(|_| ClientError::Closed)?;
        let partitions = inner.cluster.topic(topic).await?.partitions.len() as i32;
        let partition = self.choose(topic, partition, &record, partitions)?;
        let lane = Lane { topic: topic.into(), partition };
        let (told, fate) = oneshot::channel();
        let fate_told = Fate { told, partition, _room: room };
        let command = Command::Send { lane, record, fate: fate_told };
        inner.commands.send(command).map_err(|_| ClientError::Closed)?;
        Ok(InFlight(fate))
    }

    /// Sends what waits for company, and waits until everything sent so far is delivered or given up.
    pub async fn flush(&self) {
        let (done, flushed) = oneshot::channel();
        if self.inner.commands.send(Command::Flush(done)).is_ok() {
            // A driver that is gone has nothing left to flush.
            let _ = flushed.await;
        }
    }

    fn choose(
        &self,
        topic: &str,
        asked: Option<PartitionIndex>,
        record: &NewRecord,
        partitions: i32,
    ) -> Result<PartitionIndex, ClientError> {
        let options = &self.inner.options;
        let mut partitioners = self.inner.partitioners.lock().unwrap_or_else(PoisonError::into_inner);
        if !partitioners.contains_key(topic) {
            let partitioner = Partitioner::new(options.settings.batch_bytes_max, options.partitioner_seed);
            partitioners.insert(topic.into(), partitioner);
        }
        let partitioner = partitioners.get_mut(topic).expect("just put there");
        let chosen = partitioner.partition(asked, record.key.as_deref(), record.size_bytes(), partitions);
        chosen.map_err(|e| ClientError::Kafka(ErrorCode::UnknownTopicOrPartition, Some(e.to_string())))
    }
}

async fn identify<D: Dial>(cluster: &Cluster<D>) -> Result<(ProducerId, ProducerEpoch), ClientError> {
    let request = InitProducerIdRequest { transaction_timeout_ms: i32::MAX, ..Default::default() };
    cluster
        .retry(|| async {
            let answer = cluster.any().await?.send(&request).await?;
            match answer.error_code {
                ErrorCode::None => Ok((ProducerId(answer.producer_id), ProducerEpoch(answer.producer_epoch))),
                code => Err(ClientError::kafka(code)),
            }
        })
        .await
}

/// What became of one batch.
struct Settled {
    lane: Lane,
    id: BatchId,
    outcome: Outcome,
}

/// The batches for one broker that leave in one request.
struct Shipment {
    batches: Vec<(Outgoing, Uuid)>,
}

struct Driver<D> {
    cluster: Cluster<D>,
    accumulator: Accumulator,
    acks: Acks,
    started: Instant,
    token_next: u64,
    fates: BTreeMap<Token, Fate>,
    flushes: Vec<oneshot::Sender<()>>,
    /// One queue per broker, so that one that is down holds up no other.
    brokers: BTreeMap<BrokerId, mpsc::UnboundedSender<Shipment>>,
    settled: mpsc::UnboundedSender<Settled>,
    settlements: mpsc::UnboundedReceiver<Settled>,
}

impl<D: Dial> Driver<D> {
    fn new(
        cluster: Cluster<D>,
        options: &ProducerOptions,
        identity: Option<(ProducerId, ProducerEpoch)>,
    ) -> Self {
        let (settled, settlements) = mpsc::unbounded_channel();
        Self {
            cluster,
            accumulator: Accumulator::new(options.settings, identity),
            acks: options.acks,
            started: Instant::now(),
            token_next: 0,
            fates: BTreeMap::new(),
            flushes: Vec::new(),
            brokers: BTreeMap::new(),
            settled,
            settlements,
        }
    }

    /// Runs until every handle is dropped and everything sent has its fate.
    async fn run(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        let mut is_open = true;
        while is_open || !self.accumulator.is_empty() {
            let due = self.accumulator.next_timeout().map(|at| self.started + at.since(CoreInstant::ZERO));
            tokio::select! {
                biased;
                () = sleep_until(due.unwrap_or(self.started)), if due.is_some() => {}
                settled = self.settlements.recv() => self.settle(settled),
                command = commands.recv(), if is_open => match command {
                    Some(command) => self.take(command, &mut commands),
                    None => is_open = false,
                },
            }
            let late = self.accumulator.handle_timeout(self.now());
            self.tell(late);
            if self.accumulator.wants_identity() {
                self.renew_identity().await;
            }
            self.ship(!is_open);
            if self.accumulator.is_empty() {
                for flush in self.flushes.drain(..) {
                    // Whoever flushed may have stopped waiting.
                    let _ = flush.send(());
                }
            }
        }
    }

    fn now(&self) -> CoreInstant {
        let nanos = self.started.elapsed().as_nanos();
        CoreInstant::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Takes a command, and those that wait behind it, so that records that were sent together leave together.
    fn take(&mut self, command: Command, more: &mut mpsc::UnboundedReceiver<Command>) {
        const COMMANDS_MAX: usize = 1000;
        let now = self.now();
        let mut next = Some(command);
        for _ in 0..COMMANDS_MAX {
            match next {
                Some(Command::Send { lane, record, fate }) => {
                    let token = Token(self.token_next);
                    self.token_next += 1;
                    self.fates.insert(token, fate);
                    self.accumulator.push(now, &lane, &record, token);
                }
                Some(Command::Flush(done)) => self.flushes.push(done),
                None => return,
            }
            next = more.try_recv().ok();
        }
        if let Some(command) = next {
            self.take(command, more);
        }
    }

    fn settle(&mut self, settled: Option<Settled>) {
        let now = self.now();
        let mut next = settled;
        while let Some(Settled { lane, id, outcome }) = next {
            let deliveries = self.accumulator.settle(now, &lane, id, outcome);
            self.tell(deliveries);
            next = self.settlements.try_recv().ok();
        }
    }

    fn tell(&mut self, deliveries: Vec<Delivery>) {
        for Delivery { token, result } in deliveries {
            if let Some(fate) = self.fates.remove(&token) {
                let partition = fate.partition;
                // Waiting is optional.
                let _ = fate.told.send(result.map(|offset| RecordMetadata { partition, offset }));
            }
        }
    }

    async fn renew_identity(&mut self) {
        match identify(&self.cluster).await {
            Ok(identity) => {
                let given_up = self.accumulator.renew_identity(identity);
                self.tell(given_up);
            }
            // Asked for again when the next record or time-out comes.
            Err(error) => tracing::warn!(%error, "no new producer id"),
        }
    }

    /// Sends what may leave, one request per leader.
    fn ship(&mut self, closes: bool) {
        let flushes = closes || !self.flushes.is_empty();
        let mut shipments: BTreeMap<BrokerId, Shipment> = BTreeMap::new();
        for outgoing in self.accumulator.take_ready(self.now(), flushes) {
            match self.cluster.known_leader(&outgoing.lane.topic, outgoing.lane.partition) {
                Some((leader, topic_id)) => {
                    let shipment = shipments.entry(leader).or_insert(Shipment { batches: Vec::new() });
                    if shipment.batches.iter().any(|(other, _)| other.lane == outgoing.lane) {
                        // One batch per partition and request: Kafka refuses more.
                        let full =
                            std::mem::replace(shipment, Shipment { batches: vec![(outgoing, topic_id)] });
                        self.send_to(leader, full);
                    } else {
                        shipment.batches.push((outgoing, topic_id));
                    }
                }
                None => self.look_up(outgoing),
            }
        }
        for (leader, shipment) in shipments {
            self.send_to(leader, shipment);
        }
    }

    fn send_to(&mut self, leader: BrokerId, shipment: Shipment) {
        let queue = self.brokers.entry(leader).or_insert_with(|| {
            let (queue, shipments) = mpsc::unbounded_channel();
            let (cluster, settled, acks) = (self.cluster.clone(), self.settled.clone(), self.acks);
            tokio::spawn(async move { serve_broker(&cluster, leader, acks, shipments, settled).await });
            queue
        });
        assert!(queue.send(shipment).is_ok(), "a broker's task lives as long as its queue");
    }

    /// Asks who leads, and has the batch tried again then.
    fn look_up(&self, outgoing: Outgoing) {
        let (cluster, settled) = (self.cluster.clone(), self.settled.clone());
        tokio::spawn(async move {
            let Outgoing { lane, id, .. } = outgoing;
            if let Err(error) = cluster.refresh(Some(&[&lane.topic])).await {
                tracing::debug!(topic = %lane.topic, %error, "looking for a leader");
            }
            // The producer may be gone.
            let _ = settled.send(Settled { lane, id, outcome: Outcome::NotSent });
        });
    }
}

/// Sends one broker's requests in order. Answers are waited for elsewhere, so that several are under way.
async fn serve_broker<D: Dial>(
    cluster: &Cluster<D>,
    broker: BrokerId,
    acks: Acks,
    mut shipments: mpsc::UnboundedReceiver<Shipment>,
    settled: mpsc::UnboundedSender<Settled>,
) {
    while let Some(Shipment { batches }) = shipments.recv().await {
        let request = produce_request(&batches, acks, cluster.options().client.request_max);
        let begun = match cluster.broker(broker).await {
            Ok(connection) if acks == Acks::None => connection.send_unanswered(&request).map(|()| None),
            Ok(connection) => connection.begin(&request).await.map(Some),
            Err(error) => Err(error),
        };
        match begun {
            Ok(Some(pending)) => {
                let settled = settled.clone();
                let cluster = cluster.clone();
                tokio::spawn(async move { answer(&cluster, pending, batches, &settled).await });
            }
            Ok(None) => settle_all(&settled, batches, Outcome::Appended { base_offset: Offset(-1) }),
            Err(error) => {
                tracing::debug!(%broker, %error, "produce not sent");
                forget_topics(cluster, &batches);
                settle_all(&settled, batches, Outcome::NotSent);
            }
        }
    }
}

async fn answer<D: Dial>(
    cluster: &Cluster<D>,
    pending: Pending<ProduceRequest>,
    batches: Vec<(Outgoing, Uuid)>,
    settled: &mpsc::UnboundedSender<Settled>,
) {
    let answer = match pending.answer().await {
        Ok(answer) => answer,
        Err(error) => {
            tracing::debug!(%error, "produce without an answer");
            forget_topics(cluster, &batches);
            return settle_all(settled, batches, Outcome::Unknown);
        }
    };
    for (Outgoing { lane, id, .. }, topic_id) in batches {
        let outcome = outcome_of(&answer, &lane, topic_id);
        if !matches!(outcome, Outcome::Appended { .. }) {
            cluster.forget(&lane.topic);
        }
        // The producer may be gone.
        let _ = settled.send(Settled { lane, id, outcome });
    }
}

fn outcome_of(answer: &ProduceResponse, lane: &Lane, topic_id: Uuid) -> Outcome {
    let topics = answer.responses.iter();
    // From version 13 on topics have ids instead of names (KIP-516).
    let mut topics = topics
        .filter(|topic| *topic.name == *lane.topic || (topic.name.is_empty() && topic.topic_id == topic_id));
    let partition = topics.find_map(|topic| {
        topic.partition_responses.iter().find(|partition| partition.index == lane.partition.0)
    });
    match partition {
        Some(partition) if partition.error_code.is_error() => Outcome::Refused(partition.error_code),
        Some(partition) => Outcome::Appended { base_offset: Offset(partition.base_offset) },
        None => Outcome::Unknown,
    }
}

/// Whatever failed, the leaders may be others by now.
fn forget_topics<D: Dial>(cluster: &Cluster<D>, batches: &[(Outgoing, Uuid)]) {
    for (Outgoing { lane, .. }, _) in batches {
        cluster.forget(&lane.topic);
    }
}

fn settle_all(settled: &mpsc::UnboundedSender<Settled>, batches: Vec<(Outgoing, Uuid)>, outcome: Outcome) {
    for (Outgoing { lane, id, .. }, _) in batches {
        // The producer may be gone.
        let _ = settled.send(Settled { lane, id, outcome });
    }
}

fn produce_request(batches: &[(Outgoing, Uuid)], acks: Acks, timeout: Duration) -> ProduceRequest {
    let mut topics: BTreeMap<&str, TopicProduceData> = BTreeMap::new();
    for (Outgoing { lane, bytes, .. }, topic_id) in batches {
        let topic = topics.entry(&lane.topic).or_insert_with(|| TopicProduceData {
            name: lane.topic.to_string(),
            topic_id: *topic_id,
            ..Default::default()
        });
        let data = PartitionProduceData { index: lane.partition.0, records: Some(bytes.clone()) };
        topic.partition_data.push(data);
    }
    ProduceRequest {
        transactional_id: None,
        acks: acks.code(),
        timeout_ms: i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX),
        topic_data: topics.into_values().collect(),
    }
}
