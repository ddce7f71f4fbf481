//! The command line: for people first, `--json` for machines.

mod bench;
mod cluster;
mod completions;
mod config;
mod connect;
mod consume;
mod datetime;
mod dev;
mod error;
mod format;
mod group;
mod log;
mod offsets;
mod output;
mod produce;
pub mod serve;
mod sim;
mod topic;

pub use error::CliError;
pub use output::Output;

use clap::{Parser, Subcommand};
use std::io::Write;
use std::process::ExitCode;

/// Highwater: a Kafka-compatible streaming broker in one binary.
#[derive(Debug, Parser)]
#[command(name = "highwater", version, about, long_about = None, propagate_version = true)]
#[command(after_help = "Examples:
  highwater serve                                    one broker on 127.0.0.1:9092, data in ./highwater-data
  highwater serve --ephemeral --listen 127.0.0.1:0   a throw-away broker on a free port, for tests
  highwater format --standalone --data-dir /data     makes a data directory, and says for which cluster
  highwater dev                                      a cluster of three nodes on 127.0.0.1:9092 to 9094
  highwater topic create orders --partitions 3
  highwater produce orders --key-separator : --file orders.txt
  highwater consume orders --tail 10 --follow --format '%p@%o %k=%v\\n'
  highwater group describe billing --json
  highwater cluster nodes
  highwater log verify highwater-data

Commands find a broker at --bootstrap, else $HIGHWATER_BOOTSTRAP, else 127.0.0.1:9092.
Exit codes: 0 done, 1 failed, 2 wrong usage or settings.")]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Print JSON: one document, or one a line where there is no end to wait for
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a broker in the foreground
    Serve(serve::ServeArgs),
    /// Make a data directory for a node that is to be started later
    Format(format::FormatArgs),
    /// Print an id for a new cluster, or for the directory of one of its controllers
    RandomUuid,
    /// Run a cluster on this machine
    Dev(dev::DevArgs),
    /// Kill, stop, start, pause and resume nodes of such a cluster
    DevNode(dev::NodeArgs),
    /// Look at a cluster, and move things about in it
    #[command(subcommand)]
    Cluster(cluster::ClusterCommand),
    /// Create, list, describe, alter and delete topics
    #[command(subcommand)]
    Topic(topic::TopicCommand),
    /// Send lines of standard input or a file as records
    Produce(produce::ProduceArgs),
    /// Print records
    Consume(consume::ConsumeArgs),
    /// List, describe and delete consumer groups, and move their offsets
    #[command(subcommand)]
    Group(group::GroupCommand),
    /// Look at data on the disk: print or verify them
    #[command(subcommand)]
    Log(log::LogCommand),
    /// Measure a broker, alone or against another
    Bench(bench::BenchArgs),
    /// Run the state machines under simulated faults
    Sim(sim::SimArgs),
    /// Explain settings
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Print a completion script for a shell
    Completions(completions::CompletionsArgs),
}

/// Runs the command and says how it ended: 0 is success, 1 a failure that was told, 2 wrong usage or settings.
pub fn run(cli: &Cli) -> ExitCode {
    let output = Output::new(cli.json);
    let outcome = match &cli.command {
        Command::Serve(args) => serve::run(args, output),
        Command::Format(args) => format::run(args, output),
        Command::RandomUuid => format::print_uuid(output),
        Command::Dev(args) => dev::run(args, output),
        Command::DevNode(args) => dev::run_node(args, output),
        Command::Cluster(command) => cluster::run(command, output),
        Command::Topic(command) => topic::run(command, output),
        Command::Produce(args) => produce::run(args, output),
        Command::Consume(args) => consume::run(args, output),
        Command::Group(command) => group::run(command, output),
        Command::Log(command) => log::run(command, output),
        Command::Bench(args) => bench::run(args, output),
        Command::Config(command) => config::run(command, output),
        Command::Sim(args) => return sim::run(args, cli.json),
        Command::Completions(args) => completions::run(args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !error.is_quiet() {
                // With standard error closed, the exit code is left to tell.
                let _ = writeln!(std::io::stderr(), "highwater: {error}");
            }
            error.exit_code()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_flags_contradict_each_other_nowhere() {
        Cli::command().debug_assert();
    }
}
