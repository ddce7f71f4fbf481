//! `highwater log`: look at data as they lie on the disk, without a broker. Nothing here writes.

mod dump;
mod places;
mod verify;
mod walk;

use super::{CliError, Output};
use clap::Subcommand;

/// What to do with data on the disk.
#[derive(Debug, Subcommand)]
pub(super) enum LogCommand {
    /// Print the batches of a segment, of a partition's directory, or of a data directory
    Dump(dump::DumpArgs),
    /// Check every batch, and that none is missing; exits with 1 if the data are corrupt
    Verify(verify::VerifyArgs),
}

/// Runs one of them.
pub(super) fn run(command: &LogCommand, output: Output) -> Result<(), CliError> {
    match command {
        LogCommand::Dump(args) => dump::run(args, output),
        LogCommand::Verify(args) => verify::run(args, output),
    }
}
