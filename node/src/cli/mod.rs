//! The command line: for people first, `--json` for machines.

mod error;
pub mod serve;

pub use error::CliError;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Highwater: a Kafka-compatible streaming broker in one binary.
#[derive(Debug, Parser)]
#[command(name = "highwater", version, about, long_about = None, propagate_version = true)]
#[command(after_help = "Examples:
  highwater serve                                    one broker on 127.0.0.1:9092, data in ./highwater-data
  highwater serve --ephemeral --listen 127.0.0.1:0   a throw-away broker on a free port, for tests")]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a broker in the foreground
    Serve(serve::ServeArgs),
}

/// Runs the command and says how it ended: 0 is success, 1 a failure that was told, 2 wrong usage or settings.
pub fn run(cli: &Cli) -> ExitCode {
    let outcome = match &cli.command {
        Command::Serve(args) => serve::run(args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("highwater: {error}");
            error.exit_code()
        }
    }
}
