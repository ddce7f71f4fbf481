//! `highwater produce`: lines of standard input or a file become records.

mod input;
mod tally;

use super::connect::{Client, ConnectArgs};
use super::error::{error_text, send_error_text};
use super::output::{bytes, count, note, progress};
use super::{CliError, Output};
use bytes::Bytes;
use clap::{Args, ValueEnum};
use highwater_core::batch::{Codec, Header};
use highwater_core::client::producer::{NewRecord, Settings};
use highwater_core::ids::PartitionIndex;
use highwater_core::time::Timestamp;
use highwater_net_tcp::client::{Acks, ClientError, Producer, ProducerOptions, TcpDial};
use highwater_protocol::ErrorCode;
use indicatif::ProgressBar;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};
use tally::{Summary, Tally};
use tokio::sync::mpsc;

/// How long a topic may be unknown: one that was just made is known to the broker that said so, and to the others in a
/// moment.
const UNKNOWN_MAX: Duration = Duration::from_secs(1);
const UNKNOWN_BACKOFF: Duration = Duration::from_millis(50);

/// Flags of `highwater produce`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  echo hello | highwater produce greetings
  highwater produce orders --key-separator : --file orders.txt --compression zstd
  highwater produce images --key cat --raw --file cat.jpg --header type=image/jpeg
  seq 1000000 | highwater produce load --rate 5000

The producer is idempotent: what is sent again after a lost answer is stored once. --acks 1 and --acks 0 give that up.")]
pub(super) struct ProduceArgs {
    /// The topic
    topic: String,
    /// Read from here instead of standard input
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The key of every record
    #[arg(short, long, conflicts_with = "key_separator")]
    key: Option<String>,
    /// What is before this in a line is the key; a line without it has none
    #[arg(short = 'K', long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    key_separator: Option<String>,
    /// A header of every record; may be repeated
    #[arg(short = 'H', long = "header", value_name = "NAME=VALUE", value_parser = parse_header)]
    headers: Vec<(String, String)>,
    /// Send to this partition [default: by key, else in turn batch by batch]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,
    /// The whole input is one record
    #[arg(long, conflicts_with = "key_separator")]
    raw: bool,
    /// An empty value is sent as null, which deletes its key in a compacted topic
    #[arg(short = 'Z', long)]
    empty_as_null: bool,
    /// At most so many records a second
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// Who must have a record before it counts as delivered
    #[arg(short, long, value_enum, default_value_t)]
    acks: AcksArg,
    /// How batches are compressed
    #[arg(short = 'z', long, value_enum, default_value_t)]
    compression: CodecArg,
    /// How long a record waits for others to share its batch
    #[arg(long, value_name = "MS", default_value_t = 5)]
    linger_ms: u64,
    /// Most bytes of a batch
    #[arg(long, value_name = "BYTES", default_value_t = 128 << 10, value_parser = clap::value_parser!(u32).range(1..1 << 30))]
    batch_bytes: u32,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum AcksArg {
    /// All in-sync replicas
    #[default]
    All,
    /// The leader
    #[value(name = "1")]
    Leader,
    /// Nobody
    #[value(name = "0")]
    None,
}

/// The codecs by their names in `compression.type`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum CodecArg {
    #[default]
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl CodecArg {
    pub(super) fn codec(self) -> Codec {
        match self {
            Self::None => Codec::None,
            Self::Gzip => Codec::Gzip,
            Self::Snappy => Codec::Snappy,
            Self::Lz4 => Codec::Lz4,
            Self::Zstd => Codec::Zstd,
        }
    }
}

fn parse_header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Sends the input's records and waits until each is delivered or given up.
pub(super) fn run(args: &ProduceArgs, output: Output) -> Result<(), CliError> {
    let input = input::Input::open(args.file.as_deref())?;
    let summary = args.connect.run(|cluster| async move { produce(args, input, cluster).await })?;
    output.print(&summary, |summary| human(&args.topic, summary))?;
    match summary.failed {
        0 => Ok(()),
        failed => {
            let failed = count(failed, "record was", "records were");
            let first = summary.error.unwrap_or_default();
            Err(CliError::new(format!("{failed} not delivered to {}: {first}", args.topic)))
        }
    }
}

async fn produce(args: &ProduceArgs, input: input::Input, cluster: Client) -> Result<Summary, CliError> {
    check_topic(args, &cluster).await?;
    let producer = Producer::new(cluster, options(args)).await;
    let producer = producer.map_err(|error| CliError::call("no producer id", &error))?;
    let bar = progress(input.len, "{spinner} {msg}  {binary_bytes} in {elapsed}, {binary_bytes_per_sec}");
    let started = Instant::now();
    // Bounds what is remembered of records on their way; the producer itself bounds their bytes.
    let (in_flight, deliveries) = mpsc::channel(10_000);
    let tally = tokio::spawn(Tally::default().run(deliveries));
    let sent = send_all(args, input, &producer, &in_flight, &bar).await;
    drop(in_flight);
    producer.flush().await;
    bar.finish_and_clear();
    let tally =
        tally.await.map_err(|error| CliError::new(format!("deliveries were not counted: {error}")))?;
    sent?;
    Ok(tally.summary(&args.topic, started.elapsed()))
}

/// A topic that is missing, or too small for `--partition`, is better told of before anything is read.
async fn check_topic(args: &ProduceArgs, cluster: &Client) -> Result<(), CliError> {
    let begun = Instant::now();
    let topic = loop {
        let topic = match cluster.refresh(Some(&[&args.topic])).await {
            Ok(_) => cluster.topic(&args.topic).await,
            Err(error) => Err(error),
        };
        let is_unknown = matches!(topic, Err(ClientError::Kafka(ErrorCode::UnknownTopicOrPartition, _)));
        if !is_unknown || begun.elapsed() >= UNKNOWN_MAX {
            break topic;
        }
        tokio::time::sleep(UNKNOWN_BACKOFF).await;
    };
    let topic = topic.map_err(|error| match &error {
        ClientError::Kafka(ErrorCode::UnknownTopicOrPartition, _) => CliError::new(format!(
            "there is no topic {}\n  `highwater topic create {}` makes one",
            args.topic, args.topic
        )),
        other => CliError::new(format!("topic {}: {}", args.topic, error_text(other))),
    })?;
    let partitions = topic.partitions.len();
    match args.partition {
        Some(partition) if !topic.partitions.contains_key(&PartitionIndex(partition)) => {
            Err(CliError::usage(format!(
                "--partition {partition}: topic {} has {}, the first of which is 0",
                args.topic,
                count(partitions as u64, "partition", "partitions")
            )))
        }
        _ => Ok(()),
    }
}

fn options(args: &ProduceArgs) -> ProducerOptions {
    let acks = match args.acks {
        AcksArg::All => Acks::All,
        AcksArg::Leader => Acks::Leader,
        AcksArg::None => Acks::None,
    };
    let nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().subsec_nanos();
    ProducerOptions {
        settings: Settings {
            batch_bytes_max: args.batch_bytes as usize,
            linger: Duration::from_millis(args.linger_ms),
            compression: args.compression.codec().into(),
            ..Settings::default()
        },
        idempotent: acks == Acks::All,
        acks,
        // Short runs would otherwise all begin with the same partition.
        partitioner_seed: u64::from(nanos),
        ..ProducerOptions::default()
    }
}

async fn send_all(
    args: &ProduceArgs,
    input: input::Input,
    producer: &Producer<TcpDial>,
    in_flight: &mpsc::Sender<tally::Sent>,
    bar: &ProgressBar,
) -> Result<(), CliError> {
    let mut pace = args.rate.map(Pace::new);
    let mut values = input.values(args.raw);
    let mut records = 0;
    while let Some(chunk) = values.recv().await {
        for line in chunk? {
            if let Some(pace) = &mut pace {
                pace.wait().await;
            }
            let record = record(args, line);
            let size_bytes = record.size_bytes();
            let partition = args.partition.map(PartitionIndex);
            match producer.send(&args.topic, partition, record).await {
                Ok(sent) => {
                    // The tally ends only after this side has.
                    let _ = in_flight.send(tally::Sent { in_flight: sent, size_bytes }).await;
                }
                Err(error) => {
                    let what = format!("record {} was not sent", records + 1);
                    return Err(CliError::new(format!("{what}: {}", send_error_text(&error))));
                }
            }
            records += 1;
            bar.inc(size_bytes as u64);
        }
        bar.set_message(count(records, "record", "records"));
    }
    Ok(())
}

fn record(args: &ProduceArgs, line: Bytes) -> NewRecord {
    let (key, value) = match (&args.key, &args.key_separator) {
        (Some(key), _) => (Some(Bytes::copy_from_slice(key.as_bytes())), line),
        (None, Some(separator)) => split(line, separator.as_bytes()),
        (None, None) => (None, line),
    };
    let headers = args.headers.iter();
    let headers = headers.map(|(key, value)| Header {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Some(Bytes::copy_from_slice(value.as_bytes())),
    });
    NewRecord {
        timestamp: now(),
        key,
        value: Some(value).filter(|value| !(args.empty_as_null && value.is_empty())),
        headers: headers.collect(),
    }
}

/// Cuts a line at the first separator.
fn split(line: Bytes, separator: &[u8]) -> (Option<Bytes>, Bytes) {
    match line.windows(separator.len()).position(|window| window == separator) {
        Some(at) => (Some(line.slice(..at)), line.slice(at + separator.len()..)),
        None => (None, line),
    }
}

fn now() -> Timestamp {
    crate::clock::Clock::wall()
}

/// Spreads records evenly over time.
struct Pace {
    per_second: f64,
    started: Instant,
    sent: u64,
}

impl Pace {
    fn new(per_second: u32) -> Self {
        Self { per_second: f64::from(per_second), started: Instant::now(), sent: 0 }
    }

    async fn wait(&mut self) {
        let due = self.started + Duration::from_secs_f64(self.sent as f64 / self.per_second);
        self.sent += 1;
        let left = due.saturating_duration_since(Instant::now());
        // Timers are a millisecond coarse; what is earlier than that goes at once.
        if left > Duration::from_millis(1) {
            tokio::time::sleep(left).await;
        }
    }
}

fn human(topic: &str, summary: &Summary) -> String {
    if summary.records == 0 && summary.failed == 0 {
        note("the input was empty");
    }
    let mut out = format!(
        "{} ({}) delivered to {topic} in {:.2} s\n",
        count(summary.records, "record", "records"),
        bytes(summary.bytes),
        summary.elapsed_ms as f64 / 1000.0
    );
    for p in &summary.partitions {
        let offsets = match (p.first_offset, p.last_offset) {
            (Some(first), Some(last)) if first == last => format!(", offset {first}"),
            (Some(first), Some(last)) => format!(", offsets {first} to {last}"),
            _ => String::new(),
        };
        let records = count(p.records, "record", "records");
        out.push_str(&format!("  partition {}: {records}{offsets}\n", p.partition));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_at_the_first_separator() {
        let cut = |line: &'static str, separator: &str| {
            let (key, value) = split(Bytes::from_static(line.as_bytes()), separator.as_bytes());
            (
                key.map(|key| String::from_utf8(key.to_vec()).unwrap()),
                String::from_utf8(value.to_vec()).unwrap(),
            )
        };
        assert_eq!(cut("a:b:c", ":"), (Some("a".into()), "b:c".into()));
        assert_eq!(cut("a=>b", "=>"), (Some("a".into()), "b".into()));
        assert_eq!(cut(":b", ":"), (Some(String::new()), "b".into()), "an empty key is a key");
        assert_eq!(cut("abc", ":"), (None, "abc".into()));
        assert_eq!(cut("", "=>"), (None, String::new()));
    }
}
