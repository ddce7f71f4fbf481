//! The rows: what load each one is.

use super::super::CliError;
use super::Shape;
use super::load::{Prepared, Socket, prepare};
use super::report::{Meter, Sample};
use super::target::Target;
use bytes::Bytes;
use clap::ValueEnum;
use highwater_core::batch::{BatchHeader, Builder, Codec};
use highwater_protocol::messages::{
    FetchPartition, FetchRequest, FetchResponse, FetchTopic, PartitionProduceData, ProduceRequest,
    ProduceResponse, TopicProduceData,
};
use std::time::{Duration, Instant};

/// One kind of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Row {
    /// Large batches, 5 requests in flight
    Batches,
    /// Requests of one record, one at a time
    #[value(name = "produce-1")]
    Produce1,
    /// Requests of one record, 32 in flight
    #[value(name = "produce-32")]
    Produce32,
    /// Reading back large batches
    Fetch,
    /// From the send of a record until a waiting fetch has it
    Latency,
}

/// As many as an idempotent producer may have (KIP-98).
const BATCHES_IN_FLIGHT: usize = 5;

impl Row {
    pub(super) const ALL: [Self; 5] =
        [Self::Batches, Self::Produce1, Self::Produce32, Self::Fetch, Self::Latency];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Batches => "batches",
            Self::Produce1 => "produce-1",
            Self::Produce32 => "produce-32",
            Self::Fetch => "fetch",
            Self::Latency => "latency",
        }
    }

    /// Runs it once.
    pub(super) fn run(self, target: &Target, shape: Shape) -> Result<Sample, CliError> {
        match self {
            Self::Batches => produce(target, shape, batches(shape), BATCHES_IN_FLIGHT),
            Self::Produce1 => produce(target, shape, one_record(shape), 1),
            Self::Produce32 => produce(target, shape, one_record(shape), 32),
            Self::Fetch => fetch(target, shape),
            Self::Latency => latency(target, shape),
        }
    }
}

/// Bytes that compress about as well as text does, the same in every run.
fn value(n: usize, seed: usize) -> Vec<u8> {
    let mut state = seed as u64 ^ 0x9e37_79b9_7f4a_7c15;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        b'a' + ((state >> 33) % 16) as u8
    };
    (0..n).map(next).collect()
}

fn batch(records: usize, record_bytes: usize, codec: Codec) -> Bytes {
    let mut builder = Builder::new(codec);
    let now = crate::clock::Clock::wall();
    for i in 0..records {
        builder.push(now, None, Some(&value(record_bytes, i)), &[]);
    }
    builder.build().bytes().clone()
}

fn batches(shape: Shape) -> (Bytes, usize) {
    (batch(shape.batch_records, shape.record_bytes, shape.codec), shape.batch_records)
}

fn one_record(shape: Shape) -> (Bytes, usize) {
    (batch(1, shape.record_bytes, Codec::None), 1)
}

fn produce_request(target: &Target, records: Bytes) -> Result<Prepared, CliError> {
    let data = PartitionProduceData { index: 0, records: Some(records) };
    let topic = TopicProduceData {
        name: target.topic.clone(),
        topic_id: target.topic_id,
        partition_data: vec![data],
    };
    let request =
        ProduceRequest { acks: -1, timeout_ms: 30_000, topic_data: vec![topic], ..Default::default() };
    prepare(&request, target.produce_version)
}

fn fetch_request(target: &Target, offset: i64, wait: Duration) -> Result<Prepared, CliError> {
    let partition =
        FetchPartition { fetch_offset: offset, partition_max_bytes: 1 << 20, ..Default::default() };
    let topic =
        FetchTopic { topic: target.topic.clone(), topic_id: target.topic_id, partitions: vec![partition] };
    let request = FetchRequest {
        max_wait_ms: i32::try_from(wait.as_millis()).unwrap_or(i32::MAX),
        min_bytes: 1,
        topics: vec![topic],
        ..Default::default()
    };
    prepare(&request, target.fetch_version)
}

/// The base offset that a batch got.
fn appended(answer: ProduceResponse) -> Result<i64, CliError> {
    let partition = answer.responses.into_iter().flat_map(|topic| topic.partition_responses).next();
    let partition = partition.unwrap_or_default();
    match partition.error_code.is_error() {
        true => Err(CliError::refused("a batch was refused", partition.error_code, partition.error_message)),
        false => Ok(partition.base_offset),
    }
}

fn fetched(answer: FetchResponse) -> Result<Bytes, CliError> {
    let partition =
        answer.responses.into_iter().flat_map(|topic| topic.partitions).next().unwrap_or_default();
    for code in [answer.error_code, partition.error_code] {
        if code.is_error() {
            return Err(CliError::refused("a fetch was refused", code, None));
        }
    }
    Ok(partition.records.unwrap_or_default())
}

/// The offset behind the last whole batch, and how many records and bytes those are.
fn followed(mut data: &[u8], mut offset: i64) -> (i64, u64, u64) {
    let (mut records, mut bytes) = (0, 0);
    while let Ok(header) = BatchHeader::parse(data)
        && header.size_bytes() <= data.len()
    {
        offset = header.next_offset().0;
        records += u64::try_from(header.record_count).unwrap_or(0);
        bytes += header.size_bytes() as u64;
        data = &data[header.size_bytes()..];
    }
    (offset, records, bytes)
}

fn produce(
    target: &Target,
    shape: Shape,
    (batch, records): (Bytes, usize),
    in_flight: usize,
) -> Result<Sample, CliError> {
    let bytes = batch.len() as u64;
    let request = produce_request(target, batch)?;
    let mut socket = Socket::connect(target)?;
    // The first requests find caches and buffers cold.
    let warm = Instant::now() + shape.duration / 10;
    socket.pump::<ProduceRequest>(&request, in_flight, warm, |answer, _| appended(answer).map(drop))?;
    let mut meter = Meter::start(target.pid);
    let until = Instant::now() + shape.duration;
    socket.pump::<ProduceRequest>(&request, in_flight, until, |answer, took| {
        appended(answer)?;
        meter.count(records as u64, bytes, took);
        Ok(())
    })?;
    Ok(meter.stop())
}

/// Reads a stretch of large batches over and over.
fn fetch(target: &Target, shape: Shape) -> Result<Sample, CliError> {
    const STRETCH_BYTES: usize = 64 << 20;
    let (batch, _) = batches(shape);
    let write = produce_request(target, batch.clone())?;
    let mut socket = Socket::connect(target)?;
    let begin = appended(socket.call::<ProduceRequest>(&write)?)?;
    let mut end = begin;
    for _ in 0..STRETCH_BYTES.div_ceil(batch.len()) {
        end = appended(socket.call::<ProduceRequest>(&write)?)?;
    }
    let mut meter = Meter::start(target.pid);
    let until = Instant::now() + shape.duration;
    let mut offset = begin;
    while Instant::now() < until {
        let request = fetch_request(target, offset, Duration::from_millis(500))?;
        let at = Instant::now();
        let data = fetched(socket.call::<FetchRequest>(&request)?)?;
        let took = at.elapsed();
        let (next, records, bytes) = followed(&data, offset);
        meter.count(records, bytes, took);
        offset = if next > end || next == offset { begin } else { next };
    }
    Ok(meter.stop())
}

/// One record at a time; a fetch waits for it on a connection of its own.
fn latency(target: &Target, shape: Shape) -> Result<Sample, CliError> {
    let (batch, _) = one_record(shape);
    let bytes = batch.len() as u64;
    let write = produce_request(target, batch)?;
    let mut writer = Socket::connect(target)?;
    let mut reader = Socket::connect(target)?;
    let mut offset = appended(writer.call::<ProduceRequest>(&write)?)? + 1;
    let mut meter = Meter::start(target.pid);
    let until = Instant::now() + shape.duration;
    while Instant::now() < until {
        let waiting = fetch_request(target, offset, Duration::from_secs(10))?;
        reader.send(&waiting)?;
        // So that the fetch waits when the record comes.
        std::thread::sleep(Duration::from_millis(1));
        let at = Instant::now();
        writer.send(&write)?;
        let answer = reader.answer()?;
        let took = at.elapsed();
        let decoded = highwater_protocol::decode_response::<FetchRequest>(&answer, waiting.version);
        let data = fetched(decoded.map_err(CliError::new)?.1)?;
        offset = followed(&data, offset).0;
        meter.count(1, bytes, took);
        writer.answer()?;
    }
    Ok(meter.stop())
}
