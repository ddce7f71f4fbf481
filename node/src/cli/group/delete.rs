//! `highwater group delete`

use super::super::connect::ConnectArgs;
use super::super::{CliError, Output};
use super::committed;
use clap::Args;
use highwater_protocol::ErrorCode;
use highwater_protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse};
use serde::Serialize;

/// Flags of `highwater group delete`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  highwater group delete billing
  highwater group delete billing --if-exists")]
pub(in crate::cli) struct DeleteArgs {
    /// Names of the groups
    #[arg(required = true, value_name = "GROUP")]
    groups: Vec<String>,
    /// A group that is not there is no error
    #[arg(long)]
    if_exists: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Default, Serialize)]
struct Deleted {
    deleted: Vec<String>,
    /// Those that were not there.
    missing: Vec<String>,
}

/// Deletes groups. Tells of all that could not be deleted; the others are.
pub(super) fn run(args: &DeleteArgs, output: Output) -> Result<(), CliError> {
    let (outcome, failures) = args.connect.run(|cluster| async move {
        let mut outcome = Deleted::default();
        let mut failures = Vec::new();
        for group in &args.groups {
            let what = format!("group {group} was not deleted");
            let request = DeleteGroupsRequest { groups_names: vec![group.clone()] };
            let codes = |answer: &DeleteGroupsResponse| {
                answer.results.iter().map(|result| result.error_code).collect()
            };
            let answer = committed::ask(&cluster, group, &request, codes).await;
            let answer = answer.map_err(|error| CliError::call(&what, &error))?;
            match codes(&answer).first().copied().unwrap_or(ErrorCode::UnknownServerError) {
                ErrorCode::None => outcome.deleted.push(group.clone()),
                ErrorCode::GroupIdNotFound if args.if_exists => outcome.missing.push(group.clone()),
                code => failures.push(CliError::refused(what, code, None).to_string()),
            }
        }
        Ok((outcome, failures))
    })?;
    if failures.len() < args.groups.len() {
        output.print(&outcome, |outcome| {
            let deleted = outcome.deleted.iter().map(|name| format!("group {name} deleted\n"));
            deleted.chain(outcome.missing.iter().map(|name| format!("group {name} is not there\n"))).collect()
        })?;
    }
    if failures.is_empty() { Ok(()) } else { Err(CliError::new(failures.join("\n"))) }
}
