//! `highwater topic`: create, list, describe, alter and delete topics.

mod alter;
mod configs;
mod create;
mod delete;
mod describe;
mod list;

use super::{CliError, Output};
use clap::Subcommand;

/// What to do with topics.
#[derive(Debug, Subcommand)]
pub(super) enum TopicCommand {
    /// Create topics
    Create(create::CreateArgs),
    /// List topics
    #[command(alias = "ls")]
    List(list::ListArgs),
    /// Show a topic's partitions, offsets and settings
    Describe(describe::DescribeArgs),
    /// Add partitions, change settings
    Alter(alter::AlterArgs),
    /// Delete topics with their records
    #[command(alias = "rm")]
    Delete(delete::DeleteArgs),
}

/// Runs one of them.
pub(super) fn run(command: &TopicCommand, output: Output) -> Result<(), CliError> {
    match command {
        TopicCommand::Create(args) => create::run(args, output),
        TopicCommand::List(args) => list::run(args, output),
        TopicCommand::Describe(args) => describe::run(args, output),
        TopicCommand::Alter(args) => alter::run(args, output),
        TopicCommand::Delete(args) => delete::run(args, output),
    }
}

/// Reads `NAME=VALUE`.
fn parse_config(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE, such as retention.ms=3600000".to_owned()),
    }
}

/// How long the controller may take.
const TIMEOUT_MS: i32 = 15_000;
