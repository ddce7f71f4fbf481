//! `highwater topic alter`

use super::super::connect::{Client, ConnectArgs};
use super::super::{CliError, Output};
use super::{TIMEOUT_MS, configs, parse_config};
use clap::Args;
use highwater_protocol::messages::{CreatePartitionsRequest, CreatePartitionsTopic};
use serde::Serialize;

/// Flags of `highwater topic alter`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  highwater topic alter orders --config retention.ms=3600000
  highwater topic alter orders --unset retention.ms
  highwater topic alter orders --partitions 12 --dry-run

More partitions move keys: records of one key that come later may be in another partition than those before.")]
pub(in crate::cli) struct AlterArgs {
    /// Name of the topic
    topic: String,
    /// How many partitions there shall be; never fewer than there are
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
    /// A setting; may be repeated
    #[arg(short, long = "config", value_name = "NAME=VALUE", value_parser = parse_config)]
    configs: Vec<(String, String)>,
    /// Go back to the broker's value of a setting; may be repeated
    #[arg(short, long = "unset", value_name = "NAME")]
    unset: Vec<String>,
    /// Only ask whether it could be done
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Serialize)]
struct Altered<'a> {
    topic: &'a str,
    dry_run: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    partitions: Option<i32>,
    set: std::collections::BTreeMap<&'a str, &'a str>,
    unset: &'a [String],
}

/// Changes settings first, then the number of partitions.
pub(super) fn run(args: &AlterArgs, output: Output) -> Result<(), CliError> {
    if args.partitions.is_none() && args.configs.is_empty() && args.unset.is_empty() {
        return Err(CliError::usage("nothing to alter: give --partitions, --config or --unset"));
    }
    args.connect.run(|cluster| async move {
        if !args.configs.is_empty() || !args.unset.is_empty() {
            configs::alter(&cluster, &args.topic, &args.configs, &args.unset, args.dry_run).await?;
        }
        match args.partitions {
            Some(partitions) => add_partitions(&cluster, &args.topic, partitions, args.dry_run).await,
            None => Ok(()),
        }
    })?;
    let altered = Altered {
        topic: &args.topic,
        dry_run: args.dry_run,
        partitions: args.partitions,
        set: args.configs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
        unset: &args.unset,
    };
    output.print(&altered, human)
}

async fn add_partitions(cluster: &Client, topic: &str, count: i32, dry_run: bool) -> Result<(), CliError> {
    let request = CreatePartitionsRequest {
        topics: vec![CreatePartitionsTopic { name: topic.into(), count, assignments: None }],
        timeout_ms: TIMEOUT_MS,
        validate_only: dry_run,
    };
    let what = format!("topic {topic} did not get {count} partitions");
    let answer = cluster.send_to_controller(&request).await.map_err(|error| CliError::call(&what, &error))?;
    match answer.results.into_iter().next() {
        Some(result) if result.error_code.is_error() => {
            Err(CliError::refused(what, result.error_code, result.error_message))
        }
        _ => Ok(()),
    }
}

fn human(altered: &Altered<'_>) -> String {
    let verb = if altered.dry_run { "could be altered" } else { "altered" };
    let mut changes: Vec<String> = altered.partitions.iter().map(|n| format!("{n} partitions")).collect();
    changes.extend(altered.set.iter().map(|(name, value)| format!("{name}={value}")));
    changes.extend(altered.unset.iter().map(|name| format!("{name} unset")));
    format!("topic {} {verb}: {}\n", altered.topic, changes.join(", "))
}
