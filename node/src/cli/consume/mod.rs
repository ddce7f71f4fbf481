//! `highwater consume`: prints records, up to the end there is now or for ever.

mod format;
mod start;

use super::connect::{Client, ConnectArgs};
use super::offsets::{self, Place};
use super::output::note;
use super::{CliError, Output};
use clap::Args;
use format::Format;
pub(super) use format::RecordJson;
use highwater_core::client::producer::Lane;
use highwater_core::ids::{Offset, PartitionIndex};
use highwater_net_tcp::client::{
    ConsumedRecord, Consumer, ConsumerOptions, MembershipOptions, Reset, TcpDial,
};
use start::From;
use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Flags of `highwater consume`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  highwater consume orders
      everything there is, value by value, then exits
  highwater consume orders --tail 10 -f
      the last ten of each partition, and what comes
  highwater consume orders --from 2026-11-22T19:30:00Z --format '%T %p@%o %k=%v\\n'
  highwater consume orders --group billing --from earliest --count 100
      as a member of a group, whose offsets are committed for what was printed
  highwater consume orders --json | jq .value

--format takes %t topic, %p partition, %o offset, %T timestamp in ms, %D date and time, %k key, %v (or %s) value,
%h headers, %K and %S lengths of key and value (-1: null), %% a percent sign, and \\n \\t \\r \\0 \\\\ \\xNN.")]
pub(super) struct ConsumeArgs {
    /// The topics
    #[arg(required = true, value_name = "TOPIC")]
    topics: Vec<String>,
    /// Where to begin: earliest, latest, an offset, or a time such as 2026-11-22T19:30:00Z or @1763840000000 (ms); in
    /// a group only where it has committed nothing [default: earliest; latest with --follow]
    #[arg(long, value_name = "WHERE")]
    from: Option<From>,
    /// Begin so many records before the end of each partition
    #[arg(long, value_name = "N", conflicts_with_all = ["from", "group"])]
    tail: Option<u32>,
    /// Wait for more at the end instead of exiting
    #[arg(short, long)]
    follow: bool,
    /// Exit after so many records
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Only these partitions
    #[arg(short, long, value_name = "N", value_delimiter = ',', conflicts_with = "group")]
    partition: Vec<i32>,
    /// Read as a member of this group
    #[arg(short, long)]
    group: Option<String>,
    /// How a record is printed
    #[arg(long, value_name = "FORMAT", default_value = "%v\\n")]
    format: Format,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// Prints records.
pub(super) fn run(args: &ConsumeArgs, output: Output) -> Result<(), CliError> {
    if args.group.is_some() && !matches!(args.from, None | Some(From::Earliest | From::Latest)) {
        return Err(CliError::usage(
            "a group begins at its committed offsets: --from takes earliest or latest here\n  \
             `highwater group reset-offsets` moves a group to an offset or a time",
        ));
    }
    args.connect.run(|cluster| async move { consume(args, output, cluster).await })
}

async fn consume(args: &ConsumeArgs, output: Output, cluster: Client) -> Result<(), CliError> {
    let places = places(args, &cluster).await?;
    let ends = offsets::list(&cluster, &places, offsets::LATEST).await?;
    let consumer = match &args.group {
        Some(group) => join(args, group, cluster),
        None => assign(args, &places, &ends, cluster).await?,
    };
    let mut reading = Reading {
        consumer,
        ends: if args.follow { None } else { Some(ends) },
        left: args.count.unwrap_or(u64::MAX),
        printer: Printer {
            format: &args.format,
            is_json: output.is_json(),
            out: BufWriter::new(io::stdout()),
        },
        interrupted: interrupted(),
    };
    let read = reading.run(args.group.is_some()).await;
    if args.group.is_some() {
        // What was printed is committed even if printing failed later on.
        let closed = match reading.consumer.commit().await {
            Ok(()) => reading.consumer.close().await,
            Err(error) => Err(error),
        };
        read?;
        return closed.map_err(|error| CliError::call("the group was not left in order", &error));
    }
    read
}

/// The partitions that can be read, in order.
async fn places(args: &ConsumeArgs, cluster: &Client) -> Result<Vec<Place>, CliError> {
    let mut places = Vec::new();
    for name in &args.topics {
        let failed = |error| CliError::call(format!("topic {name}"), &error);
        cluster.refresh(Some(&[name])).await.map_err(failed)?;
        let topic = cluster.topic(name).await.map_err(failed)?;
        for wanted in &args.partition {
            if !topic.partitions.contains_key(&PartitionIndex(*wanted)) {
                let last = topic.partitions.len() - 1;
                return Err(CliError::usage(format!("--partition {wanted}: topic {name} has 0 to {last}")));
            }
        }
        let is_wanted = |index: i32| args.partition.is_empty() || args.partition.contains(&index);
        let indexes = topic.partitions.keys().filter(|index| is_wanted(index.0));
        places.extend(indexes.map(|index| Place::new(name, index.0)));
    }
    Ok(places)
}

fn join(args: &ConsumeArgs, group: &str, cluster: Client) -> Consumer<TcpDial> {
    let reset = match args.from {
        Some(From::Latest) => Reset::Latest,
        Some(_) => Reset::Earliest,
        None if args.follow => Reset::Latest,
        None => Reset::Earliest,
    };
    // Committed is what was printed, not what was fetched.
    let options = ConsumerOptions { reset, auto_commit: None, ..ConsumerOptions::default() };
    let membership =
        MembershipOptions { session_max: Duration::from_secs(10), ..MembershipOptions::of_group(group) };
    Consumer::subscribe(cluster, options, membership, args.topics.iter().cloned())
}

async fn assign(
    args: &ConsumeArgs,
    places: &[Place],
    ends: &BTreeMap<Place, i64>,
    cluster: Client,
) -> Result<Consumer<TcpDial>, CliError> {
    let begins = start::begins(args.from, args.tail, args.follow, places, ends, &cluster).await?;
    let lane = |place: &Place| Lane { topic: place.topic.as_str().into(), partition: place.partition };
    let lanes: Vec<_> = begins.iter().map(|(place, offset)| (lane(place), Some(Offset(*offset)))).collect();
    let options = ConsumerOptions { reset: Reset::Earliest, auto_commit: None, ..ConsumerOptions::default() };
    Ok(Consumer::assign(cluster, options, lanes))
}

struct Reading<'a> {
    consumer: Consumer<TcpDial>,
    /// Where to stop in each partition; `None` with `--follow`.
    ends: Option<BTreeMap<Place, i64>>,
    left: u64,
    printer: Printer<'a>,
    interrupted: Arc<AtomicBool>,
}

impl Reading<'_> {
    const COMMIT_EVERY: Duration = Duration::from_secs(1);
    /// How long a member without any partition waits for one before it gives up.
    const IDLE_MAX: Duration = Duration::from_secs(10);

    async fn run(&mut self, in_group: bool) -> Result<(), CliError> {
        let mut committed_at = Instant::now();
        let mut assigned_at = Instant::now();
        while self.left > 0 && !self.interrupted.load(Relaxed) {
            if self.is_at_end(in_group) {
                break;
            }
            let records = self.consumer.poll().await;
            let records = records.map_err(|error| CliError::call("records cannot be read", &error))?;
            self.print(records)?;
            if self.consumer.positions().next().is_some() {
                assigned_at = Instant::now();
            } else if self.ends.is_some() && assigned_at.elapsed() > Self::IDLE_MAX {
                note("the group's other members have all partitions");
                break;
            }
            if in_group && committed_at.elapsed() > Self::COMMIT_EVERY {
                committed_at = Instant::now();
                // A rebalance may be under way; the next commit, or the one at the end, will do.
                if let Err(error) = self.consumer.commit().await {
                    note(format!("offsets were not committed: {error}"));
                }
            }
        }
        self.printer.flush()
    }

    /// Whether every partition has been read to the end it had when the command began.
    fn is_at_end(&self, in_group: bool) -> bool {
        let Some(ends) = &self.ends else { return false };
        let mut positions = self.consumer.positions().peekable();
        if positions.peek().is_none() {
            return !in_group;
        }
        positions.all(|(lane, position)| {
            let end = ends.get(&place(lane)).copied().unwrap_or(0);
            position.is_some_and(|position| position.0 >= end)
        })
    }

    fn print(&mut self, records: Vec<ConsumedRecord>) -> Result<(), CliError> {
        let mut unread: BTreeMap<Lane, Offset> = BTreeMap::new();
        for record in records {
            let is_behind = |ends: &BTreeMap<Place, i64>| {
                ends.get(&place(&record.lane)).is_some_and(|end| record.offset.0 >= *end)
            };
            if self.left == 0 || self.ends.as_ref().is_some_and(is_behind) {
                unread.entry(record.lane).or_insert(record.offset);
                continue;
            }
            self.printer.print(&record)?;
            self.left -= 1;
        }
        // The group's next reader begins with them.
        for (lane, offset) in unread {
            self.consumer.seek(&lane, offset);
        }
        self.printer.flush()
    }
}

fn place(lane: &Lane) -> Place {
    Place { topic: lane.topic.to_string(), partition: lane.partition }
}

struct Printer<'a> {
    format: &'a Format,
    is_json: bool,
    out: BufWriter<io::Stdout>,
}

impl Printer<'_> {
    fn print(&mut self, record: &ConsumedRecord) -> Result<(), CliError> {
        if self.is_json {
            super::output::json_line(&mut self.out, &RecordJson::new(record))
        } else {
            Ok(self.format.write(&mut self.out, record)?)
        }
    }

    fn flush(&mut self) -> Result<(), CliError> {
        Ok(self.out.flush()?)
    }
}

/// Becomes true at Ctrl-C or SIGTERM. A second one ends the process at once.
fn interrupted() -> Arc<AtomicBool> {
    use tokio::signal::unix::{SignalKind, signal};
    let flag = Arc::new(AtomicBool::new(false));
    let raised = flag.clone();
    tokio::spawn(async move {
        // Without a handler the signal ends the process as ever.
        let Ok(mut terminate) = signal(SignalKind::terminate()) else { return };
        loop {
            tokio::select! {
                biased;
                _ = terminate.recv() => {}
                interrupt = tokio::signal::ctrl_c() => if interrupt.is_err() { return },
            }
            if raised.swap(true, Relaxed) {
                std::process::exit(130);
            }
        }
    });
    flag
}
