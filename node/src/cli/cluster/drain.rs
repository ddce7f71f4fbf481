//! `highwater cluster drain`, `undrain` and `decommission`

use super::super::connect::{Client, ConnectArgs};
use super::super::output::{count, note};
use super::super::{CliError, Output};
use super::state::{self, BROKER_RESOURCE, DRAINED, accept, until_none_left};
use super::{NodeArg, leaders, quorum, reassign, voters};
use clap::Args;
use highwater_protocol::messages::{
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsRequestAlterableConfig,
    IncrementalAlterConfigsRequestResource, UnregisterBrokerRequest,
};
use serde::Serialize;
use std::time::Duration;

/// Set, and deleted, in IncrementalAlterConfigs (KIP-339).
const SET: i8 = 0;
const DELETE: i8 = 1;

/// How long replicas are waited for that leave a node.
const MOVES_MAX: Duration = Duration::from_secs(24 * 3600);

/// Flags of `highwater cluster drain`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  highwater cluster drain 2 && ssh node2 systemctl restart highwater && highwater cluster undrain 2")]
pub(in crate::cli) struct DrainArgs {
    #[command(flatten)]
    node: NodeArg,
    /// So many seconds may pass until it leads nothing
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    wait: u64,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// Flags of `highwater cluster undrain`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  highwater cluster undrain 2")]
pub(in crate::cli) struct UndrainArgs {
    #[command(flatten)]
    node: NodeArg,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// Flags of `highwater cluster decommission`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  highwater cluster decommission 4     moves everything away, and takes its vote if it has one
  ..stop the node..
  highwater cluster decommission 4     forgets it

May be repeated at any time: what is done already is not done again.")]
pub(in crate::cli) struct DecommissionArgs {
    #[command(flatten)]
    node: NodeArg,
    /// Show how many partitions would move, and do nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Serialize)]
struct Drained {
    node: i32,
    drained: bool,
    /// Partitions that it still leads, or leads again.
    leads: usize,
}

#[derive(Serialize)]
struct Decommissioned {
    node: i32,
    /// Partitions that moved away, or would.
    partitions: usize,
    dry_run: bool,
    /// Whether the cluster has forgotten the node.
    unregistered: bool,
}

/// Takes the leaders away.
pub(super) fn run_drain(args: &DrainArgs, output: Output) -> Result<(), CliError> {
    let node = args.node.id;
    let drained = args.connect.run(|client| async move {
        check_known(&client, node).await?;
        set_drained(&client, node, true).await?;
        hand_over(&client, node, Duration::from_secs(args.wait)).await?;
        Ok(Drained { node, drained: true, leads: leads(&client, node).await? })
    })?;
    output.print(&drained, |drained| match drained.leads {
        0 => format!("node {node} is drained: it leads nothing\n"),
        _ => String::new(),
    })?;
    match drained.leads {
        0 => Ok(()),
        left => Err(CliError::new(format!(
            "node {node} still leads {}: there is no other replica in sync, or none at all; \
             `highwater topic describe` shows which",
            count(left as u64, "partition", "partitions")
        ))),
    }
}

/// Gives them back.
pub(super) fn run_undrain(args: &UndrainArgs, output: Output) -> Result<(), CliError> {
    let node = args.node.id;
    let drained = args.connect.run(|client| async move {
        check_known(&client, node).await?;
        set_drained(&client, node, false).await?;
        leaders::rebalance_quietly(&client).await?;
        Ok(Drained { node, drained: false, leads: leads(&client, node).await? })
    })?;
    output.print(&drained, |drained| {
        let leads = count(drained.leads as u64, "partition", "partitions");
        format!("node {node} is no longer drained and leads {leads}\n")
    })
}

/// Moves everything away and forgets the node.
pub(super) fn run_decommission(args: &DecommissionArgs, output: Output) -> Result<(), CliError> {
    let node = args.node.id;
    let done = args.connect.run(|client| async move { decommission(&client, node, args.dry_run).await })?;
    output.print(&done, |done| {
        let partitions = count(done.partitions as u64, "partition", "partitions");
        match (done.dry_run, done.unregistered) {
            (true, _) => format!("{partitions} would move away from node {node}\n"),
            (false, true) => format!("node {node} is forgotten\n"),
            (false, false) => format!(
                "{partitions} moved; node {node} holds nothing any more: stop it, and repeat this command to forget it\n"
            ),
        }
    })
}

async fn decommission(client: &Client, node: i32, dry_run: bool) -> Result<Decommissioned, CliError> {
    let is_fenced = check_known(client, node).await?;
    let all = state::partitions(client).await?;
    let held: Vec<_> = all.iter().filter(|partition| partition.replicas.contains(&node)).cloned().collect();
    let to = reassign::usable(client, &[node]).await?;
    let moves = reassign::spread_over(&all, &held, &to, None)?;
    let done = Decommissioned { node, partitions: moves.len(), dry_run, unregistered: false };
    if dry_run {
        return Ok(done);
    }
    if !is_fenced {
        set_drained(client, node, true).await?;
    }
    if !moves.is_empty() {
        note(format!(
            "moving {} away from node {node}",
            count(moves.len() as u64, "partition", "partitions")
        ));
        reassign::carry_out(client, &moves).await?;
        if !reassign::wait(client, &moves, MOVES_MAX).await? {
            return Err(CliError::new(format!("node {node} still holds partitions")));
        }
    }
    // Only a cluster with a quorum of its own can tell.
    if let Ok(quorum) = quorum::describe(client).await {
        voters::remove_all_of(client, &quorum, node).await?;
    }
    if !check_known(client, node).await? {
        return Ok(done);
    }
    set_drained(client, node, false).await?;
    unregister(client, node).await?;
    Ok(Decommissioned { unregistered: true, ..done })
}

async fn unregister(client: &Client, node: i32) -> Result<(), CliError> {
    let what = format!("node {node} is not forgotten");
    let failed = |error| CliError::call(&what, &error);
    let request = UnregisterBrokerRequest { broker_id: node };
    let answer = client.send_to_controller(&request).await.map_err(failed)?;
    accept(&what, answer.error_code, answer.error_message)
}

/// Whether a registered broker is fenced; an error for one that nobody knows.
async fn check_known(client: &Client, node: i32) -> Result<bool, CliError> {
    let brokers = state::brokers(client).await?.brokers;
    let known = brokers.iter().find(|broker| broker.broker_id == node);
    known.map(|broker| broker.is_fenced).ok_or_else(|| {
        CliError::new(format!("no broker {node} is registered; `highwater cluster nodes` shows who is"))
    })
}

async fn set_drained(client: &Client, node: i32, is_drained: bool) -> Result<(), CliError> {
    let what = format!("node {node} cannot be drained");
    let config = IncrementalAlterConfigsRequestAlterableConfig {
        name: DRAINED.to_owned(),
        config_operation: if is_drained { SET } else { DELETE },
        value: is_drained.then(|| "true".to_owned()),
    };
    let resource = IncrementalAlterConfigsRequestResource {
        resource_type: BROKER_RESOURCE,
        resource_name: node.to_string(),
        configs: vec![config],
    };
    let request = IncrementalAlterConfigsRequest { resources: vec![resource], ..Default::default() };
    let failed = |error| CliError::call(&what, &error);
    let answer = client.send_to_controller(&request).await.map_err(failed)?;
    for response in answer.responses {
        accept(&what, response.error_code, response.error_message)?;
    }
    Ok(())
}

async fn leads(client: &Client, node: i32) -> Result<usize, CliError> {
    let partitions = state::partitions(client).await?;
    Ok(partitions.iter().filter(|partition| partition.leader == Some(node)).count())
}

/// Waits until it leads nothing that another replica in sync could lead.
async fn hand_over(client: &Client, node: i32, at_most: Duration) -> Result<bool, CliError> {
    let left = || async {
        let partitions = state::partitions(client).await?;
        let movable =
            partitions.iter().filter(|p| p.leader == Some(node) && p.isr.iter().any(|id| *id != node));
        Ok(movable.count())
    };
    until_none_left("leaders handed over", at_most, left).await
}
