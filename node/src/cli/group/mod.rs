//! `highwater group`: list, describe and delete groups, and move their offsets.

mod committed;
mod delete;
mod describe;
mod list;
mod reset;

use super::{CliError, Output};
use clap::Subcommand;

/// What to do with groups.
#[derive(Debug, Subcommand)]
pub(super) enum GroupCommand {
    /// List groups
    #[command(alias = "ls")]
    List(list::ListArgs),
    /// Show a group's members, offsets and lag
    Describe(describe::DescribeArgs),
    /// Delete groups that have no members, with their offsets
    #[command(alias = "rm")]
    Delete(delete::DeleteArgs),
    /// Move a group's offsets; shows what it would do unless --execute is given
    ResetOffsets(reset::ResetArgs),
}

/// Runs one of them.
pub(super) fn run(command: &GroupCommand, output: Output) -> Result<(), CliError> {
    match command {
        GroupCommand::List(args) => list::run(args, output),
        GroupCommand::Describe(args) => describe::run(args, output),
        GroupCommand::Delete(args) => delete::run(args, output),
        GroupCommand::ResetOffsets(args) => reset::run(args, output),
    }
}
