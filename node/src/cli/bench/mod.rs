//! `highwater bench`: load on a broker, alone or turn about with another one.
//!
//! What is measured is the broker, so that the load costs as little as possible: requests are built once and written
//! to sockets of this thread's own, and answers are looked at only as far as their error codes.

mod load;
mod report;
mod rows;
mod target;

use super::connect::{self, ConnectArgs};
use super::output::progress;
use super::produce::CodecArg;
use super::{CliError, Output};
use clap::Args;
use report::{Report, Sample};
use rows::Row;
use std::time::Duration;
use target::Target;

/// Flags of `highwater bench`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  highwater bench
      all rows on 127.0.0.1:9092, in a topic that is deleted afterwards
  highwater bench --row produce-1 --row produce-32 --seconds 10 --pid $(pgrep -x highwater)
      two rows, with the CPU time that the broker took
  highwater bench --against 127.0.0.1:9093 --rounds 5
      the same rows turn about on another broker, and the ratio of the medians

Rows: batches (large batches, several in flight), produce-1 and produce-32 (requests of one record, 1 and 32 in
flight), fetch (reading back what `batches` wrote), latency (from the send of a record until a waiting fetch has it).
Client and brokers share this machine's CPUs: numbers compare brokers, they are not a broker's limit.")]
pub(super) struct BenchArgs {
    /// Only these rows; may be repeated
    #[arg(long = "row", value_enum)]
    rows: Vec<Row>,
    /// How long a row takes in each round
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// How often each row is run; the medians are told
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Bytes of a record's value
    #[arg(long, value_name = "BYTES", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..1 << 20))]
    record_bytes: u32,
    /// Records of a large batch
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..100_000))]
    batch_records: u32,
    /// How large batches are compressed
    #[arg(short = 'z', long, value_enum, default_value_t)]
    compression: CodecArg,
    /// The broker's process, to tell its CPU time
    #[arg(long)]
    pid: Option<u32>,
    /// Another Kafka-compatible broker to compare with
    #[arg(long, value_name = "HOST:PORT")]
    against: Option<String>,
    /// The other broker's process
    #[arg(long, value_name = "PID", requires = "against")]
    against_pid: Option<u32>,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// What all rows have in common.
#[derive(Clone, Copy, Debug)]
struct Shape {
    duration: Duration,
    record_bytes: usize,
    batch_records: usize,
    codec: highwater_core::batch::Codec,
}

/// Runs every row, `--rounds` times on each broker in turn.
pub(super) fn run(args: &BenchArgs, output: Output) -> Result<(), CliError> {
    let (pid, against_pid) = (args.pid, args.against_pid);
    let shape = Shape {
        duration: Duration::from_secs(args.seconds),
        record_bytes: args.record_bytes as usize,
        batch_records: args.batch_records as usize,
        codec: args.compression.codec(),
    };
    for pid in [pid, against_pid].into_iter().flatten() {
        report::cpu_ms(pid).map_err(|error| CliError::usage(format!("--pid {pid}: {error}")))?;
    }
    let rows = if args.rows.is_empty() { Row::ALL.to_vec() } else { args.rows.clone() };
    connect::block_on(async {
        let mut targets =
            vec![Target::prepare(args.connect.connect().await?, &args.connect.bootstrap, pid).await?];
        if let Some(address) = &args.against {
            let prepared = match connect::reach(address, "--against").await {
                Ok(cluster) => Target::prepare(cluster, address, against_pid).await,
                Err(error) => Err(error),
            };
            match prepared {
                Ok(target) => targets.push(target),
                Err(error) => {
                    clean_up(&targets).await?;
                    return Err(error);
                }
            }
        }
        let measured = measure(args.rounds, &rows, &targets, shape);
        let cleaned = clean_up(&targets).await;
        let report = measured?;
        output.print(&report, Report::human)?;
        cleaned
    })
}

fn measure(rounds: u32, rows: &[Row], targets: &[Target], shape: Shape) -> Result<Report, CliError> {
    let steps = u64::from(rounds) * (rows.len() * targets.len()) as u64;
    let bar = progress(Some(steps), "{bar:30} {pos} of {len}, {elapsed}  {msg}");
    let mut samples: Vec<Vec<Vec<Sample>>> = vec![vec![Vec::new(); targets.len()]; rows.len()];
    for _ in 0..rounds {
        for (row, of_row) in rows.iter().zip(&mut samples) {
            for (target, of_target) in targets.iter().zip(of_row) {
                bar.set_message(format!("{} on {}", row.name(), target.address));
                // The load is written with blocking sockets.
                let sample = tokio::task::block_in_place(|| row.run(target, shape));
                of_target.push(
                    sample.map_err(|error| {
                        error.context(format!("row {} on {}", row.name(), target.address))
                    })?,
                );
                bar.inc(1);
            }
        }
    }
    bar.finish_and_clear();
    let addresses = targets.iter().map(|target| target.address.clone()).collect();
    Ok(Report::new(rounds, addresses, rows, &samples))
}

async fn clean_up(targets: &[Target]) -> Result<(), CliError> {
    for target in targets {
        target.delete_topic().await?;
    }
    Ok(())
}
