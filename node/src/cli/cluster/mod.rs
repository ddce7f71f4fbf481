//! `highwater cluster`: who is in a cluster, what is amiss, and moving things about. All by Kafka's own requests, so
//! that it works on any Kafka-compatible cluster; only draining is ours.

mod drain;
mod leaders;
mod nodes;
mod partitions;
mod quorum;
mod reassign;
mod spread;
mod state;
mod throttle;
mod voters;

use super::{CliError, Output};
use clap::{Args, Subcommand};

/// Commands about a cluster.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  highwater cluster nodes
      who is there, who is fenced or drained, and what each leads and holds
  highwater cluster under-replicated --wait 60
      done as soon as every replica is in sync, a failure after a minute
  highwater cluster drain 2
      before maintenance: node 2 leads nothing any more; undrain gives its partitions back
  highwater cluster decommission 4
      its replicas go to the others, and then it is forgotten
  highwater cluster replace 3
      node 3 came back with an empty disk: makes it a voter again and waits for its replicas")]
pub(super) enum ClusterCommand {
    /// Who is in the cluster
    Nodes(nodes::NodesArgs),
    /// The quorum that keeps the metadata: who leads, who votes, who is behind
    Quorum(quorum::QuorumArgs),
    /// How leaders are spread over the brokers
    Leaders(leaders::LeadersArgs),
    /// Partitions that miss replicas or a leader
    UnderReplicated(partitions::UnderReplicatedArgs),
    /// Take all leaders from a broker, and let it get no new replicas
    Drain(drain::DrainArgs),
    /// End the draining of a broker, and give its partitions back
    Undrain(drain::UndrainArgs),
    /// Move everything away from a broker, and forget it once it is stopped
    Decommission(drain::DecommissionArgs),
    /// Take a node back that comes with an empty disk under its old id
    Replace(voters::ReplaceArgs),
    /// Make a node that follows the quorum a voter
    AddVoter(voters::AddVoterArgs),
    /// Take a voter's vote
    RemoveVoter(voters::RemoveVoterArgs),
    /// Let each partition be led by its first replica again
    RebalanceLeaders(leaders::RebalanceArgs),
    /// Move replicas to other brokers, or follow and cancel such moves
    Reassign(reassign::ReassignArgs),
}

/// The node that a command is about.
#[derive(Clone, Copy, Debug, Args)]
pub(in crate::cli) struct NodeArg {
    /// The node's id
    #[arg(value_name = "NODE")]
    id: i32,
}

/// Runs one of them.
pub(super) fn run(command: &ClusterCommand, output: Output) -> Result<(), CliError> {
    match command {
        ClusterCommand::Nodes(args) => nodes::run(args, output),
        ClusterCommand::Quorum(args) => quorum::run(args, output),
        ClusterCommand::Leaders(args) => leaders::run(args, output),
        ClusterCommand::UnderReplicated(args) => partitions::run(args, output),
        ClusterCommand::Drain(args) => drain::run_drain(args, output),
        ClusterCommand::Undrain(args) => drain::run_undrain(args, output),
        ClusterCommand::Decommission(args) => drain::run_decommission(args, output),
        ClusterCommand::Replace(args) => voters::run_replace(args, output),
        ClusterCommand::AddVoter(args) => voters::run_add(args, output),
        ClusterCommand::RemoveVoter(args) => voters::run_remove(args, output),
        ClusterCommand::RebalanceLeaders(args) => leaders::run_rebalance(args, output),
        ClusterCommand::Reassign(args) => reassign::run(args, output),
    }
}
