//! `highwater dev-node`: what can be done to one node of a local cluster. Each verb succeeds where nothing is left
//! to do, and acts only on processes that the directory names and that began when it says.

use super::super::connect::block_on;
use super::super::output::note;
use super::super::{CliError, Output};
use super::layout::Layout;
use super::process::{NodeProcess, Pid};
use super::view;
use crate::os::ProcessSignal;
use clap::{Args, Subcommand};
use serde::Serialize;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Where a local cluster is if nothing is said.
pub(super) const DATA_DIR: &str = "highwater-dev";

/// How long a killed process may take to be gone.
const KILL_MAX: Duration = Duration::from_secs(10);
/// How long a node may take to stop in good order, before it is killed.
const STOP_MAX: Duration = Duration::from_secs(60);
/// How long a node may take from its start until the cluster counts on it.
const START_MAX: Duration = Duration::from_secs(90);
/// How long a leader is looked for.
const LEADER_MAX: Duration = Duration::from_secs(30);
/// How long a restarted node may take to catch up.
const CATCH_UP_MAX: Duration = Duration::from_secs(300);

const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Flags of `highwater dev-node`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  highwater dev-node leader orders 0
  highwater dev-node kill 2
  highwater dev-node start 2
  highwater dev-node roll
      restarts every node in turn, each once the one before has caught up: producers and consumers see nothing

All verbs are for the cluster that `highwater dev` made at --data-dir.")]
pub(in crate::cli) struct NodeArgs {
    #[command(subcommand)]
    verb: Verb,
    /// Where the cluster is
    #[arg(long, global = true, value_name = "DIR", default_value = DATA_DIR)]
    data_dir: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// SIGKILL: no chance to do anything
    Kill(Node),
    /// Stop in good order: leaders are handed over first
    Stop(Node),
    /// Start with the data it had; returns when it serves
    Start(Node),
    /// SIGSTOP: it neither answers nor dies
    Pause(Node),
    /// Let a paused node go on
    Resume(Node),
    /// Print the id of the node that leads a partition
    Leader {
        /// The topic
        topic: String,
        /// The partition
        partition: i32,
    },
    /// Restart every node in turn, each once the one before has caught up
    Roll,
    /// Print each node's process and address
    Status,
}

#[derive(Debug, Args)]
struct Node {
    /// The node's id
    #[arg(value_name = "N")]
    id: u16,
}

#[derive(Serialize)]
struct Leader {
    leader: i32,
}

#[derive(Serialize)]
struct Status {
    nodes: Vec<NodeStatus>,
}

#[derive(Serialize)]
struct NodeStatus {
    id: u16,
    address: String,
    /// `null` if it does not run.
    pid: Option<u32>,
}

/// Does what the verb says.
pub(in crate::cli) fn run(args: &NodeArgs, output: Output) -> Result<(), CliError> {
    let layout = Layout::open(&args.data_dir)?;
    let node = |node: &Node| {
        let known = layout.ids().any(|id| id == node.id);
        known.then(|| NodeProcess::of(&layout, node.id)).ok_or_else(|| {
            let (id, dir) = (node.id, layout.dir.display());
            CliError::usage(format!("{dir} has nodes 1 to {}, and no node {id}", layout.nodes))
        })
    };
    match &args.verb {
        Verb::Kill(id) => kill(&node(id)?),
        Verb::Stop(id) => stop(&node(id)?),
        Verb::Start(id) => block_on(start(&layout, &node(id)?)),
        Verb::Pause(id) => tell_running(&node(id)?, ProcessSignal::Stop),
        Verb::Resume(id) => tell_running(&node(id)?, ProcessSignal::Continue),
        Verb::Leader { topic, partition } => {
            let leader = block_on(leader(&layout, topic, *partition))?;
            output.print(&Leader { leader }, |found| format!("{}\n", found.leader))
        }
        Verb::Roll => block_on(roll(&layout)),
        Verb::Status => output.print(&status(&layout), human),
    }
}

fn kill(node: &NodeProcess) -> Result<(), CliError> {
    let Some(pid) = node.running() else { return Ok(()) };
    node.signal(pid, ProcessSignal::Kill)?;
    match node.wait_gone(pid, KILL_MAX) {
        true => Ok(()),
        false => Err(CliError::new(format!("node {} (process {}) does not die", node.id, pid.0))),
    }
}

fn stop(node: &NodeProcess) -> Result<(), CliError> {
    let Some(pid) = node.running() else { return Ok(()) };
    node.signal(pid, ProcessSignal::Terminate)?;
    // A paused node hears nothing before it is resumed.
    node.signal(pid, ProcessSignal::Continue)?;
    if node.wait_gone(pid, STOP_MAX) {
        return Ok(());
    }
    note(format!("node {} does not stop after {} s and is killed", node.id, STOP_MAX.as_secs()));
    kill(node)
}

async fn start(layout: &Layout, node: &NodeProcess) -> Result<(), CliError> {
    let mut child = match node.running() {
        Some(_) => None,
        None => Some(node.spawn(layout)?),
    };
    let deadline = Instant::now() + START_MAX;
    loop {
        if let Some(Ok(Some(status))) = child.as_mut().map(std::process::Child::try_wait) {
            return Err(CliError::new(format!(
                "node {} did not start ({status}):\n{}",
                node.id,
                node.log_end()
            )));
        }
        if node.is_ready() && view::brokers(layout, node.id).await.contains(&i32::from(node.id)) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(CliError::new(format!(
                "node {} does not serve after {} s; its log ends with\n{}",
                node.id,
                START_MAX.as_secs(),
                node.log_end()
            )));
        }
        sleep(LOOK_INTERVAL).await;
    }
}

fn tell_running(node: &NodeProcess, signal: ProcessSignal) -> Result<(), CliError> {
    match node.running() {
        Some(pid) => node.signal(pid, signal),
        None => Err(CliError::new(format!("node {} is not running", node.id))),
    }
}

/// Asks the nodes in turn until one of them knows a leader.
async fn leader(layout: &Layout, topic: &str, partition: i32) -> Result<i32, CliError> {
    let deadline = Instant::now() + LEADER_MAX;
    loop {
        for id in layout.ids().filter(|id| NodeProcess::of(layout, *id).running().is_some()) {
            let Ok(answer) = view::metadata(layout, id, Some(&[topic])).await else { continue };
            let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
            let mut led = partitions.filter(|p| p.partition_index == partition && p.leader_id >= 0);
            if let Some(found) = led.next() {
                return Ok(found.leader_id);
            }
        }
        if Instant::now() >= deadline {
            return Err(CliError::new(format!("no node knows a leader of {topic}-{partition}")));
        }
        sleep(LOOK_INTERVAL).await;
    }
}

/// Restarts the nodes one by one, the active controller last: it need not move more than once.
async fn roll(layout: &Layout) -> Result<(), CliError> {
    let mut controller = None;
    for id in layout.ids() {
        if let Ok(answer) = view::metadata(layout, id, Some(&[])).await {
            controller = u16::try_from(answer.controller_id).ok();
            break;
        }
    }
    let others = layout.ids().filter(|id| Some(*id) != controller);
    for id in others.chain(controller) {
        let node = NodeProcess::of(layout, id);
        note(format!("restarting node {id}"));
        stop(&node)?;
        start(layout, &node).await?;
        caught_up(layout, id).await?;
    }
    note("all nodes are restarted and every replica is in sync");
    Ok(())
}

/// Waits until no partition misses a replica: only then may the next node go.
async fn caught_up(layout: &Layout, node: u16) -> Result<(), CliError> {
    let deadline = Instant::now() + CATCH_UP_MAX;
    loop {
        let behind = view::partitions_behind(layout, node).await;
        match behind {
            Ok(0) => return Ok(()),
            Ok(behind) if Instant::now() >= deadline => {
                return Err(CliError::new(format!(
                    "{behind} partitions still miss a replica; the rest is not restarted"
                )));
            }
            Err(error) if Instant::now() >= deadline => {
                return Err(CliError::call(format!("node {node} does not answer"), &error));
            }
            _ => sleep(LOOK_INTERVAL).await,
        }
    }
}

fn status(layout: &Layout) -> Status {
    let nodes = layout.ids().map(|id| {
        let (host, port) = layout.address(id);
        let pid = NodeProcess::of(layout, id).running().map(|Pid(pid)| pid);
        NodeStatus { id, address: format!("{host}:{port}"), pid }
    });
    Status { nodes: nodes.collect() }
}

fn human(status: &Status) -> String {
    let mut table = super::super::output::table(["NODE", "ADDRESS", "PROCESS"]);
    for node in &status.nodes {
        let pid = node.pid.map_or_else(|| "not running".to_owned(), |pid| pid.to_string());
        table.add_row([node.id.to_string(), node.address.clone(), pid]);
    }
    super::super::output::text(&table)
}
