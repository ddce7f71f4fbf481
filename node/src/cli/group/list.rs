//! `highwater group list`

use super::super::connect::{Client, ConnectArgs};
use super::super::output::{table, text};
use super::super::{CliError, Output};
use clap::Args;
use highwater_core::ids::BrokerId;
use highwater_net_tcp::client::ClientError;
use highwater_protocol::messages::ListGroupsRequest;
use serde::Serialize;
use std::cell::Cell;

/// Flags of `highwater group list`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  highwater group list
  highwater group list --state Empty --json | jq -r '.groups[].group'")]
pub(in crate::cli) struct ListArgs {
    /// Only groups whose name has this in it
    #[arg(value_name = "TEXT")]
    filter: Option<String>,
    /// Only groups in this state: Empty, PreparingRebalance, CompletingRebalance or Stable
    #[arg(long)]
    state: Option<String>,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Serialize)]
struct Listing {
    groups: Vec<ListedGroup>,
}

#[derive(Serialize)]
struct ListedGroup {
    group: String,
    state: String,
    #[serde(rename = "type")]
    group_type: String,
    protocol_type: String,
    coordinator: i32,
}

/// Lists the groups of every broker.
pub(super) fn run(args: &ListArgs, output: Output) -> Result<(), CliError> {
    let mut groups = args.connect.run(|cluster| async move {
        let request =
            ListGroupsRequest { states_filter: args.state.iter().cloned().collect(), ..Default::default() };
        let asked = Cell::new(None);
        let listed = cluster.retry(|| list(&cluster, &request, &asked)).await;
        listed.map_err(|error| match asked.get() {
            Some(broker) => CliError::call(format!("the groups of broker {broker} cannot be listed"), &error),
            None => CliError::call("the brokers cannot be listed", &error),
        })
    })?;
    groups.retain(|group| {
        args.filter.as_ref().is_none_or(|filter| group.group.contains(filter.as_str()))
            // Brokers before version 4 do not filter.
            && args.state.as_ref().is_none_or(|state| group.state.eq_ignore_ascii_case(state))
    });
    groups.sort_by(|a, b| a.group.cmp(&b.group));
    output.print(&Listing { groups }, human)
}

/// Asks every broker there is, beginning anew after an error that passes: the groups of one that dies go to others, and
/// whoever has just become a coordinator does not know them for a moment. `asked` is whom it asked last.
async fn list(
    cluster: &Client,
    request: &ListGroupsRequest,
    asked: &Cell<Option<BrokerId>>,
) -> Result<Vec<ListedGroup>, ClientError> {
    asked.set(None);
    let mut groups = Vec::new();
    for broker in cluster.refresh(Some(&[])).await?.brokers {
        let coordinator = BrokerId(broker.node_id);
        asked.set(Some(coordinator));
        let answer = cluster.send_to(coordinator, request).await?;
        if answer.error_code.is_error() {
            return Err(ClientError::kafka(answer.error_code));
        }
        groups.extend(answer.groups.into_iter().map(|group| ListedGroup {
            group: group.group_id,
            state: group.group_state,
            group_type: group.group_type,
            protocol_type: group.protocol_type,
            coordinator: coordinator.0,
        }));
    }
    Ok(groups)
}

fn human(listing: &Listing) -> String {
    if listing.groups.is_empty() {
        return "no groups\n".to_owned();
    }
    let mut table = table(["GROUP", "STATE", "TYPE", "COORDINATOR"]);
    for group in &listing.groups {
        table.add_row([&group.group, &group.state, &group.group_type, &group.coordinator.to_string()]);
    }
    text(&table)
}
