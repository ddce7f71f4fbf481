//! `highwater cluster nodes`

use super::super::connect::ConnectArgs;
use super::super::output::{align_right, table, text};
use super::super::{CliError, Output};
use super::quorum::{self, Role};
use super::state::{self, Partition};
use clap::Args;
use serde::Serialize;

/// Flags of `highwater cluster nodes`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  highwater cluster nodes
  highwater cluster nodes --json | jq '.nodes[] | select(.state != \"active\")'")]
pub(in crate::cli) struct NodesArgs {
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Serialize)]
struct Nodes {
    cluster_id: String,
    /// The active controller; `null` while there is none.
    controller: Option<i32>,
    nodes: Vec<Node>,
}

#[derive(Serialize)]
struct Node {
    id: i32,
    address: String,
    rack: Option<String>,
    /// `active`, `fenced` or `drained`.
    state: &'static str,
    /// What it is in the quorum: `leader`, `voter`, `observer`, or `null` if it is not known there.
    quorum: Option<Role>,
    leads: usize,
    replicas: usize,
    /// Its replicas that are not in sync.
    behind: usize,
}

/// Shows the nodes.
pub(super) fn run(args: &NodesArgs, output: Output) -> Result<(), CliError> {
    let nodes = args.connect.run(|client| async move {
        let brokers = state::brokers(&client).await?;
        let partitions = state::partitions(&client).await?;
        let active = brokers.brokers.iter().filter(|broker| !broker.is_fenced);
        let active: Vec<_> = active.map(|broker| broker.broker_id).collect();
        let drained = state::drained(&client, &active).await;
        // An older cluster need not have a quorum to tell of.
        let quorum = quorum::describe(&client).await.ok();
        let node = |broker: &highwater_protocol::messages::DescribeClusterBroker| {
            let id = broker.broker_id;
            let count = |is: &dyn Fn(&Partition) -> bool| partitions.iter().filter(|p| is(p)).count();
            Node {
                id,
                address: format!("{}:{}", broker.host, broker.port),
                rack: broker.rack.clone(),
                state: match broker.is_fenced {
                    true => "fenced",
                    false if drained.contains(&id) => "drained",
                    false => "active",
                },
                quorum: quorum.as_ref().and_then(|quorum| quorum.role(id)),
                leads: count(&|p| p.leader == Some(id)),
                replicas: count(&|p| p.replicas.contains(&id)),
                behind: count(&|p| p.missing().contains(&id)),
            }
        };
        let nodes = brokers.brokers.iter().map(node).collect();
        // Brokers are told of one of them where the controller is none.
        let controller = quorum.as_ref().and_then(|quorum| quorum.leader).or(brokers.controller);
        Ok(Nodes { cluster_id: brokers.cluster_id, controller, nodes })
    })?;
    output.print(&nodes, human)
}

fn human(nodes: &Nodes) -> String {
    let mut table = table(["NODE", "ADDRESS", "RACK", "STATE", "QUORUM", "LEADS", "REPLICAS", "BEHIND"]);
    align_right(&mut table, &[0, 5, 6, 7]);
    for node in &nodes.nodes {
        table.add_row([
            node.id.to_string(),
            node.address.clone(),
            node.rack.clone().unwrap_or_else(|| "-".to_owned()),
            node.state.to_owned(),
            node.quorum.map_or("-", Role::name).to_owned(),
            node.leads.to_string(),
            node.replicas.to_string(),
            node.behind.to_string(),
        ]);
    }
    let controller = nodes.controller.map_or_else(|| "none".to_owned(), |id| format!("node {id}"));
    format!("cluster {}, active controller: {controller}\n{}", nodes.cluster_id, text(&table))
}
