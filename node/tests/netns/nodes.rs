//! The processes: started on their machines, killed, stopped, and their logs held against each other.

use crate::harness::{Broker, Serve};
use crate::lab::{Lab, NODES};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Where clients connect.
const PORT: u16 = 9092;
/// Where nodes connect.
const PEER_PORT: u16 = 9192;

/// A cluster of one process per machine.
pub(crate) struct Nodes {
    lab: Lab,
    dir: TempDir,
    running: Vec<Option<Broker>>,
}

impl Nodes {
    /// Starts all of them on blank disks.
    pub(crate) fn start(lab: Lab) -> Self {
        let dir = TempDir::new().expect("a temporary directory");
        let mut nodes = Self { lab, dir, running: Vec::new() };
        let spawned: Vec<Broker> = (1..=NODES).map(|node| nodes.serve(node).spawn()).collect();
        for mut broker in spawned {
            broker.wait_ready();
            nodes.running.push(Some(broker));
        }
        nodes
    }

    pub(crate) fn lab(&self) -> &Lab {
        &self.lab
    }

    fn data_dir(&self, node: u8) -> PathBuf {
        self.dir.path().join(node.to_string())
    }

    fn serve(&self, node: u8) -> Serve {
        let address = Lab::address(node);
        let voters: Vec<String> =
            (1..=NODES).map(|voter| format!("{voter}@{}:{PEER_PORT}", Lab::address(voter))).collect();
        let wrapper = self.lab.on(node);
        let wrapper: Vec<&str> = wrapper.iter().map(String::as_str).collect();
        let (id, voters) = (node.to_string(), voters.join(","));
        let peer = format!("{address}:{PEER_PORT}");
        Serve::at(&self.data_dir(node))
            .under(&wrapper)
            .listen(&format!("{address}:{PORT}"))
            .args(["--node-id", &id, "--peer-listen", &peer, "--initial-controllers", &voters])
            .set("highwater.disk.free.bytes.min=0")
            // Who is not cut off from the controller leaves the in-sync replicas by this; Kafka's half a minute is
            // longer than a short trouble.
            .set("replica.lag.time.max.ms=4000")
    }

    /// Where a client begins.
    pub(crate) fn bootstrap() -> String {
        let addresses: Vec<String> =
            (1..=NODES).map(|node| format!("{}:{PORT}", Lab::address(node))).collect();
        addresses.join(",")
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self, node: u8) {
        self.running[usize::from(node) - 1].take().expect("it runs").kill();
    }

    /// Starts one that was killed, on its old disk.
    pub(crate) fn restart(&mut self, node: u8) {
        let mut broker = self.serve(node).spawn();
        broker.wait_ready();
        self.running[usize::from(node) - 1] = Some(broker);
    }

    /// Stops a process in the middle of whatever it does, for a while.
    pub(crate) async fn freeze(&self, node: u8, time: Duration) {
        let pid = self.running[usize::from(node) - 1].as_ref().expect("it runs").pid().to_string();
        let signal = |name: &str| {
            let sent = Command::new("kill").args([name, &pid]).status().expect("kill is there");
            assert!(sent.success());
        };
        signal("-STOP");
        tokio::time::sleep(time).await;
        signal("-CONT");
    }

    /// Stops everything in order, and compares what each of them holds of a partition.
    pub(crate) fn stop_and_compare(mut self, topic: &str, partitions: i32) {
        for broker in self.running.iter().flatten() {
            broker.terminate();
        }
        for broker in self.running.drain(..).flatten() {
            let (code, log) = wait(broker);
            assert_eq!(code, Some(0), "{log}");
        }
        for partition in 0..partitions {
            let logs: Vec<_> = (1..=NODES).map(|node| self.batches(node, topic, partition)).collect();
            let shortest = logs.iter().map(Vec::len).min().expect("there are nodes");
            assert!(shortest > 0, "{topic}-{partition} is empty somewhere");
            for (other, log) in logs.iter().enumerate() {
                for (at, (ours, theirs)) in logs[0].iter().zip(log).enumerate() {
                    assert_eq!(ours, theirs, "batch {at} of {topic}-{partition} on node {}", other + 1);
                }
            }
        }
    }

    /// The batches of a log, each as text, whatever segment they are in.
    fn batches(&self, node: u8, topic: &str, partition: i32) -> Vec<String> {
        let dir = self.data_dir(node).join(format!("{topic}-{partition}"));
        let dumped = Command::new(env!("CARGO_BIN_EXE_highwater"))
            .args(["log", "dump", "--records", "--json"])
            .arg(&dir)
            .output()
            .expect("the binary runs");
        assert!(dumped.status.success(), "{}", String::from_utf8_lossy(&dumped.stderr));
        let text = String::from_utf8(dumped.stdout).expect("JSON is text");
        let batch = |line: &str| {
            let mut batch: serde_json::Value = serde_json::from_str(line).expect("a line is JSON");
            let fields = batch.as_object_mut().expect("a batch");
            fields.remove("segment");
            fields.remove("position");
            batch.to_string()
        };
        text.lines().map(batch).collect()
    }
}

/// As the harness does, but with a patience for many.
fn wait(mut broker: Broker) -> (Option<i32>, String) {
    let status = broker.wait_end();
    (status.code(), broker.log())
}

/// How long a trouble lasts: beyond every time-out, or as long as people fear.
pub(crate) fn trouble(long: Duration) -> Duration {
    if Lab::is_long() { long } else { Duration::from_secs(6).min(long) }
}

/// Waits until `holds` says so, at most this long; how long it took.
pub(crate) async fn eventually(
    what: &str,
    at_most: Duration,
    mut holds: impl AsyncFnMut() -> bool,
) -> Duration {
    let begun = Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < at_most, "{what}: not within {at_most:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    begun.elapsed()
}
