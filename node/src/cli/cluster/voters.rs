//! `highwater cluster add-voter`, `remove-voter` and `replace` (KIP-853)

use super::super::connect::{Client, ConnectArgs};
use super::super::{CliError, Output};
use super::NodeArg;
use super::quorum::{self, Member, Quorum, Role};
use super::state::{self, accept, until_none_left};
use crate::config::HostPort;
use clap::Args;
use highwater_protocol::Uuid;
use highwater_protocol::messages::{AddRaftVoterRequest, Listener, RemoveRaftVoterRequest};
use serde::Serialize;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// The listener on which nodes talk to each other.
const PEER_LISTENER: &str = "PEER";

/// How long the quorum may take to take a voter: it first waits until that one has caught up.
const VOTER_MS_MAX: i32 = 60_000;

const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// Flags of `highwater cluster add-voter`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  highwater cluster add-voter 4
      node 4 was started with --initial-controllers naming the others, and follows the quorum")]
pub(in crate::cli) struct AddVoterArgs {
    #[command(flatten)]
    node: NodeArg,
    /// Where the others reach it, if the quorum does not know
    #[arg(long, value_name = "HOST:PORT")]
    address: Option<HostPort>,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// Flags of `highwater cluster remove-voter`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  highwater cluster remove-voter 3")]
pub(in crate::cli) struct RemoveVoterArgs {
    #[command(flatten)]
    node: NodeArg,
    #[command(flatten)]
    connect: ConnectArgs,
}

/// Flags of `highwater cluster replace`.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  rm -r /data/highwater && highwater serve --node-id 3 ..   the disk was lost; the node starts with an empty one
  highwater cluster replace 3

The vote of the lost disk is taken, the new one gets it, and every replica of the node is waited for.")]
pub(in crate::cli) struct ReplaceArgs {
    #[command(flatten)]
    node: NodeArg,
    /// So many seconds may pass until all its replicas are in sync
    #[arg(long, value_name = "SECONDS", default_value_t = 86_400)]
    wait: u64,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Serialize)]
struct Voters {
    voters: Vec<i32>,
}

#[derive(Serialize)]
struct Replaced {
    node: i32,
    votes: bool,
    replicas: usize,
}

/// Makes a node a voter.
pub(super) fn run_add(args: &AddVoterArgs, output: Output) -> Result<(), CliError> {
    let node = args.node.id;
    let voters = args.connect.run(|client| async move {
        let quorum = quorum::describe(&client).await?;
        if !quorum.members.iter().any(|member| member.id == node && votes(member)) {
            let observer = observer(&client, node, Duration::ZERO).await?;
            add(&client, node, observer, args.address.as_ref()).await?;
        }
        voters(&client).await
    })?;
    output.print(&voters, human)
}

/// Takes a node's vote.
pub(super) fn run_remove(args: &RemoveVoterArgs, output: Output) -> Result<(), CliError> {
    let node = args.node.id;
    let voters = args.connect.run(|client| async move {
        let quorum = quorum::describe(&client).await?;
        remove_all_of(&client, &quorum, node).await?;
        voters(&client).await
    })?;
    output.print(&voters, human)
}

/// Gives the vote of a lost disk to the new one of the same node.
pub(super) fn run_replace(args: &ReplaceArgs, output: Output) -> Result<(), CliError> {
    let replaced = args.connect.run(|client| async move { replace(&client, args).await })?;
    output.print(&replaced, |replaced| {
        let vote = if replaced.votes { "votes again" } else { "has no vote" };
        format!(
            "node {} is back: it {vote}, and its {} replicas are in sync\n",
            replaced.node, replaced.replicas
        )
    })
}

async fn replace(client: &Client, args: &ReplaceArgs) -> Result<Replaced, CliError> {
    let node = args.node.id;
    let had_vote =
        quorum::describe(client).await?.members.iter().any(|member| member.id == node && votes(member));
    if had_vote {
        let directory = observer(client, node, Duration::from_secs(30)).await?;
        let quorum = quorum::describe(client).await?;
        remove_all_of(client, &quorum, node).await?;
        add(client, node, directory, None).await?;
    }
    let left = || async {
        let partitions = state::partitions(client).await?;
        Ok(partitions.iter().filter(|partition| partition.missing().contains(&node)).count())
    };
    if !until_none_left("replicas in sync", Duration::from_secs(args.wait), left).await? {
        return Err(CliError::new(format!("node {node} has not all of its replicas yet")));
    }
    let partitions = state::partitions(client).await?;
    let replicas = partitions.iter().filter(|partition| partition.replicas.contains(&node)).count();
    Ok(Replaced { node, votes: had_vote, replicas })
}

fn votes(member: &Member) -> bool {
    member.role != Role::Observer
}

/// The directory of a node that follows the quorum without a vote; waited for so long.
async fn observer(client: &Client, node: i32, at_most: Duration) -> Result<Uuid, CliError> {
    let deadline = Instant::now() + at_most;
    loop {
        let quorum = quorum::describe(client).await?;
        let found = quorum.members.iter().find(|member| member.id == node && !votes(member));
        if let Some(member) = found {
            return Ok(member.directory_id);
        }
        if Instant::now() >= deadline {
            return Err(CliError::new(format!(
                "no node {node} follows the quorum without a vote: is it started, with --initial-controllers naming \
                 the others? `highwater cluster quorum` shows who follows"
            )));
        }
        sleep(LOOK_INTERVAL).await;
    }
}

async fn add(
    client: &Client,
    node: i32,
    directory: Uuid,
    address: Option<&HostPort>,
) -> Result<(), CliError> {
    let what = format!("node {node} is no voter");
    let quorum = quorum::describe(client).await?;
    let known = quorum.addresses.into_iter().find(|(id, _)| *id == node).map(|(_, listeners)| listeners);
    let given = address.map(|address| {
        vec![Listener { name: PEER_LISTENER.to_owned(), host: address.host.clone(), port: address.port }]
    });
    let request = AddRaftVoterRequest {
        timeout_ms: VOTER_MS_MAX,
        voter_id: node,
        voter_directory_id: directory,
        // Where it is known from its registration, the quorum needs none.
        listeners: given.or(known).unwrap_or_default(),
        ..Default::default()
    };
    let failed = |error| CliError::call(&what, &error);
    let answer = client.send_to_controller(&request).await.map_err(failed)?;
    accept(&what, answer.error_code, answer.error_message)
}

/// Takes every vote of a node: it has one for each disk that it voted with.
pub(super) async fn remove_all_of(client: &Client, quorum: &Quorum, node: i32) -> Result<(), CliError> {
    let what = format!("node {node} keeps its vote");
    for member in quorum.members.iter().filter(|member| member.id == node && votes(member)) {
        let request = RemoveRaftVoterRequest {
            voter_id: node,
            voter_directory_id: member.directory_id,
            ..Default::default()
        };
        let failed = |error| CliError::call(&what, &error);
        let answer = client.send_to_controller(&request).await.map_err(failed)?;
        accept(&what, answer.error_code, answer.error_message)?;
    }
    Ok(())
}

async fn voters(client: &Client) -> Result<Voters, CliError> {
    let quorum = quorum::describe(client).await?;
    Ok(Voters {
        voters: quorum.members.iter().filter(|member| votes(member)).map(|member| member.id).collect(),
    })
}

fn human(voters: &Voters) -> String {
    format!("voters: {}\n", super::partitions::ids(&voters.voters))
}
