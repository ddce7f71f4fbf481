//! `highwater topic delete`

use super::super::connect::ConnectArgs;
use super::super::{CliError, Output};
use super::TIMEOUT_MS;
use clap::Args;
use highwater_protocol::ErrorCode;
use highwater_protocol::messages::{DeleteTopicState, DeleteTopicsRequest};
use serde::Serialize;

/// Flags of `highwater topic delete`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  highwater topic delete orders
  highwater topic delete orders payments --if-exists")]
pub(in crate::cli) struct DeleteArgs {
    /// Names of the topics
    #[arg(required = true, value_name = "TOPIC")]
    topics: Vec<String>,
    /// A topic that is not there is no error
    #[arg(long)]
    if_exists: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Serialize)]
struct Deleted {
    deleted: Vec<String>,
    /// Those that were not there.
    missing: Vec<String>,
}

/// Deletes topics. Tells of all that could not be deleted; the others are.
pub(super) fn run(args: &DeleteArgs, output: Output) -> Result<(), CliError> {
    let state = |name: &String| DeleteTopicState { name: Some(name.clone()), ..Default::default() };
    let request = DeleteTopicsRequest {
        topics: args.topics.iter().map(state).collect(),
        topic_names: args.topics.clone(),
        timeout_ms: TIMEOUT_MS,
    };
    let answer = args.connect.run(|cluster| async move {
        let failed = |error| CliError::call("no topic was deleted", &error);
        cluster.send_to_controller(&request).await.map_err(failed)
    })?;
    let mut outcome = Deleted { deleted: Vec::new(), missing: Vec::new() };
    let mut failures = Vec::new();
    for result in answer.responses {
        let name = result.name.unwrap_or_default();
        match result.error_code {
            ErrorCode::None => outcome.deleted.push(name),
            ErrorCode::UnknownTopicOrPartition if args.if_exists => outcome.missing.push(name),
            code => {
                let what = format!("topic {name} was not deleted");
                failures.push(CliError::refused(what, code, result.error_message).to_string());
            }
        }
    }
    if failures.len() < args.topics.len() {
        output.print(&outcome, |outcome| {
            let deleted = outcome.deleted.iter().map(|name| format!("topic {name} deleted\n"));
            deleted.chain(outcome.missing.iter().map(|name| format!("topic {name} is not there\n"))).collect()
        })?;
    }
    if failures.is_empty() { Ok(()) } else { Err(CliError::new(failures.join("\n"))) }
}
