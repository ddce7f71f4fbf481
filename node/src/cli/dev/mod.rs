//! `highwater dev`: a cluster on this machine, one process a node; and `highwater dev-node`, which acts on them.
//!
//! Not a supervisor: a node that dies is told of and stays dead until `highwater dev-node start`.

mod layout;
mod process;
mod verbs;
mod view;

pub(super) use verbs::{NodeArgs, run as run_node};

use super::connect::block_on;
use super::output::note;
use super::{CliError, Output};
use crate::os::ProcessSignal;
use clap::Args;
use layout::Layout;
use process::{NodeProcess, Pid};
use serde::Serialize;
use std::path::PathBuf;
use std::process::{Child, ExitStatus};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep, timeout};

/// How long all nodes together may take until the cluster serves.
const READY_MAX: Duration = Duration::from_secs(90);

/// How long a node may take to stop in good order.
const STOP_MAX: Duration = Duration::from_secs(60);

/// How often the nodes are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Flags of `highwater dev`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  highwater dev
      three nodes on 127.0.0.1:9092 to 9094, data in ./highwater-dev
  highwater dev --nodes 5 --port 19092 --data-dir /tmp/cluster --set num.partitions=6
  highwater dev-node kill 2
      while it runs: what happens when node 2 dies?

Topics have three replicas, of which two must have a record before it is acknowledged, unless --config or --set
say otherwise. Nodes talk to each other a hundred ports above those for clients. Ctrl-C stops all in good order,
a second one at once. A node that dies stays dead: `highwater dev-node start` starts it again.")]
pub(super) struct DevArgs {
    /// How many nodes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=20))]
    nodes: u16,
    /// The first node's port for clients; the others' follow
    #[arg(long, default_value_t = 9092, value_parser = clap::value_parser!(u16).range(1..=65_400))]
    port: u16,
    /// Where all nodes have their data
    #[arg(long, value_name = "DIR", default_value = verbs::DATA_DIR)]
    data_dir: PathBuf,
    /// Settings of all nodes under Kafka's names: `.properties`, or `.toml`
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One setting of all nodes; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

#[derive(Serialize)]
struct Ready {
    bootstrap: String,
    nodes: u16,
    data_dir: PathBuf,
}

/// Runs the cluster until Ctrl-C or SIGTERM.
pub(super) fn run(args: &DevArgs, output: Output) -> Result<(), CliError> {
    let asked = Layout {
        nodes: args.nodes,
        port: args.port,
        config: args.config.clone(),
        set: args.set.clone(),
        dir: args.data_dir.clone(),
    };
    // Wrong settings are told of before anything is made.
    asked.serve_arguments(1)?;
    let layout = asked.make()?;
    for node in nodes(&layout) {
        if let Some(Pid(pid)) = node.running() {
            let (id, dir) = (node.id, layout.dir.display());
            return Err(CliError::new(format!(
                "node {id} of {dir} is running already (process {pid}); \
                 `highwater dev-node stop {id} --data-dir {dir}` stops it"
            )));
        }
    }
    block_on(async { Dev::start(layout)?.run(output).await })
}

fn nodes(layout: &Layout) -> Vec<NodeProcess> {
    layout.ids().map(|id| NodeProcess::of(layout, id)).collect()
}

/// The running cluster.
struct Dev {
    layout: Layout,
    nodes: Vec<NodeProcess>,
    /// The processes begun here that have not been buried; `dev-node start` begins others.
    children: Vec<(u16, Child)>,
    /// Who ran at the last look.
    running: Vec<Option<Pid>>,
}

impl Dev {
    fn start(layout: Layout) -> Result<Self, CliError> {
        let nodes = nodes(&layout);
        let mut dev = Self { running: vec![None; nodes.len()], nodes, layout, children: Vec::new() };
        for at in 0..dev.nodes.len() {
            match dev.nodes[at].spawn(&dev.layout) {
                Ok(child) => dev.children.push((dev.nodes[at].id, child)),
                Err(error) => {
                    dev.kill_all();
                    return Err(error);
                }
            }
            dev.running[at] = dev.nodes[at].running();
        }
        Ok(dev)
    }

    async fn run(mut self, output: Output) -> Result<(), CliError> {
        let hear =
            |kind| signal(kind).map_err(|error| CliError::new(format!("signals cannot be heard: {error}")));
        let (mut interrupt, mut terminate) = (hear(SignalKind::interrupt())?, hear(SignalKind::terminate())?);
        let stop = async {
            tokio::select! {
                biased;
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        };
        let outcome = tokio::select! {
            biased;
            () = stop => Ok(()),
            failed = self.serve(output) => failed,
        };
        if outcome.is_err() {
            self.kill_all();
            return outcome;
        }
        note("stopping; Ctrl-C again stops at once");
        tokio::select! {
            biased;
            _ = interrupt.recv() => self.kill_all(),
            _ = terminate.recv() => self.kill_all(),
            () = self.stop_all() => {}
        }
        Ok(())
    }

    /// Waits until the cluster serves, says so, and watches it. Returns only with an error.
    async fn serve(&mut self, output: Output) -> Result<(), CliError> {
        let begun = Instant::now();
        while !self.is_serving().await {
            self.check_started(begun)?;
            sleep(LOOK_INTERVAL).await;
        }
        let Layout { nodes, dir, .. } = &self.layout;
        let ready = Ready { bootstrap: self.layout.bootstrap(), nodes: *nodes, data_dir: dir.clone() };
        output.print(&ready, |ready| {
            let Ready { bootstrap, nodes, data_dir } = ready;
            format!("ready bootstrap={bootstrap} nodes={nodes} data_dir={}\n", data_dir.display())
        })?;
        loop {
            self.look();
            sleep(LOOK_INTERVAL).await;
        }
    }

    /// Whether every node serves and knows that all others do.
    async fn is_serving(&self) -> bool {
        for node in &self.nodes {
            let known = match node.is_ready() {
                true => view::brokers(&self.layout, node.id).await,
                false => return false,
            };
            if self.layout.ids().any(|id| !known.contains(&i32::from(id))) {
                return false;
            }
        }
        true
    }

    /// A cluster that does not come up is no cluster.
    fn check_started(&mut self, begun: Instant) -> Result<(), CliError> {
        for (id, child) in &mut self.children {
            if let Ok(Some(status)) = child.try_wait() {
                let node = NodeProcess::of(&self.layout, *id);
                return Err(CliError::new(format!(
                    "node {id} did not start ({status}):\n{}",
                    node.log_end()
                )));
            }
        }
        if begun.elapsed() < READY_MAX {
            return Ok(());
        }
        let unready: Vec<_> = self.nodes.iter().filter(|node| !node.is_ready()).collect();
        let node = unready.first().copied().unwrap_or(&self.nodes[0]);
        Err(CliError::new(format!(
            "the cluster does not serve after {} s; the log of node {} ends with\n{}",
            READY_MAX.as_secs(),
            node.id,
            node.log_end()
        )))
    }

    /// Tells of nodes that died, and of those that were started again.
    fn look(&mut self) {
        let dir = self.layout.dir.display();
        for (at, node) in self.nodes.iter().enumerate() {
            let status =
                self.children.iter_mut().find(|(id, _)| *id == node.id).and_then(|(_, child)| bury(child));
            if status.is_some() {
                self.children.retain(|(id, _)| *id != node.id);
            }
            let running = node.running();
            match (self.running[at], running) {
                (Some(Pid(pid)), None) => {
                    let how =
                        status.map_or_else(|| "is gone".to_owned(), |status| format!("has ended ({status})"));
                    note(format!(
                        "node {id} (process {pid}) {how}; `highwater dev-node start {id} --data-dir {dir}` starts it again",
                        id = node.id
                    ));
                }
                (before, Some(Pid(pid))) if before != running => {
                    note(format!("node {} is process {pid}", node.id));
                }
                _ => {}
            }
            self.running[at] = running;
        }
    }

    /// One after another while a majority is left, so that each hands its partitions over; then the rest at once.
    async fn stop_all(&mut self) {
        let running = |nodes: &[NodeProcess]| -> Vec<(NodeProcess, Pid)> {
            nodes.iter().filter_map(|node| Some((node.clone(), node.running()?))).collect()
        };
        let majority = self.nodes.len() / 2 + 1;
        let mut left = running(&self.nodes);
        while left.len() > majority {
            let Some((node, pid)) = left.pop() else { break };
            self.stop(&[(node, pid)]).await;
        }
        self.stop(&left).await;
    }

    async fn stop(&mut self, nodes: &[(NodeProcess, Pid)]) {
        for (node, pid) in nodes {
            // A paused node hears nothing before it is resumed.
            for told in [ProcessSignal::Terminate, ProcessSignal::Continue] {
                if let Err(error) = node.signal(*pid, told) {
                    note(error);
                }
            }
        }
        let gone = async {
            while nodes.iter().any(|(node, pid)| node.running() == Some(*pid)) {
                self.children.retain_mut(|(_, child)| bury(child).is_none());
                sleep(LOOK_INTERVAL).await;
            }
        };
        if timeout(STOP_MAX, gone).await.is_err() {
            for (node, pid) in nodes.iter().filter(|(node, pid)| node.running() == Some(*pid)) {
                note(format!("node {} does not stop and is killed", node.id));
                let _ = node.signal(*pid, ProcessSignal::Kill);
            }
        }
    }

    fn kill_all(&mut self) {
        for node in &self.nodes {
            if let Some(pid) = node.running()
                && let Err(error) = node.signal(pid, ProcessSignal::Kill)
            {
                note(error);
            }
        }
        for (_, mut child) in self.children.drain(..) {
            // It was killed just now, or had ended.
            let _ = child.wait();
        }
    }
}

/// How a child ended, if it has.
fn bury(child: &mut Child) -> Option<ExitStatus> {
    child.try_wait().ok().flatten()
}
