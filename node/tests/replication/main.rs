//! Three brokers, each a process of its own: what acks=all promised outlives `kill -9`, and who comes back catches up.

#[path = "../broker/harness.rs"]
#[allow(dead_code, reason = "shared with the tests of one broker")]
mod harness;

use harness::{Broker, PATIENCE, Serve, lasting_address};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Three nodes, some of them away.
struct Cluster {
    dir: tempfile::TempDir,
    /// By node, from 1: where clients and peers connect.
    addresses: Vec<(String, String)>,
    nodes: Vec<Option<Broker>>,
}

impl Cluster {
    fn start(share: u32) -> Self {
        let base: u16 = lasting_address(share).rsplit(':').next().expect("a port").parse().expect("a number");
        let addresses =
            (0..3).map(|n| (format!("127.0.0.1:{}", base + n), format!("127.0.0.1:{}", base + 3 + n)));
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut cluster = Self { dir, addresses: addresses.collect(), nodes: Vec::from([const { None }; 3]) };
        // Nobody is ready before two of them vote.
        cluster.nodes = (1..=3).map(|node| Some(cluster.serve(node).spawn())).collect();
        cluster.nodes.iter_mut().flatten().for_each(Broker::wait_ready);
        cluster
    }

    fn serve(&self, node: usize) -> Serve {
        let (listen, peer_listen) = &self.addresses[node - 1];
        let voters: Vec<_> =
            (1..).zip(&self.addresses).map(|(id, (_, peer))| format!("{id}@{peer}")).collect();
        let id = node.to_string();
        Serve::at(&self.dir.path().join(&id))
            .listen(listen)
            .args([
                "--node-id",
                &id,
                "--peer-listen",
                peer_listen,
                "--initial-controllers",
                &voters.join(","),
            ])
            .set("min.insync.replicas=2")
    }

    fn kill(&mut self, node: usize) {
        self.nodes[node - 1].take().expect("it is up").kill();
    }

    fn start_again(&mut self, node: usize) {
        self.nodes[node - 1] = Some(self.serve(node).start());
    }

    fn log_of(&self, node: usize) -> String {
        self.nodes[node - 1].as_ref().expect("it is up").log()
    }

    /// Runs a command against the nodes that are up; what it printed.
    fn run(&self, args: &[&str], input: &str) -> String {
        let up = self.nodes.iter().zip(&self.addresses).filter(|(node, _)| node.is_some());
        let bootstrap: Vec<_> = up.map(|(_, (listen, _))| listen.as_str()).collect();
        let mut child = Command::new(env!("CARGO_BIN_EXE_highwater"))
            .args(args)
            .args(["--bootstrap", &bootstrap.join(",")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the command starts");
        let mut stdin = child.stdin.take().expect("standard input is a pipe");
        stdin.write_all(input.as_bytes()).expect("it reads its input");
        drop(stdin);
        let output = child.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).expect("text")
    }

    fn produce(&self, topic: &str, numbers: std::ops::Range<u32>) {
        let input: String = numbers.map(|n| format!("{n}\n")).collect();
        self.run(&["produce", topic], &input);
    }

    /// All numbers of a topic, each once, sorted.
    fn consume(&self, topic: &str) -> Vec<u32> {
        let text = self.run(&["consume", topic, "--from", "earliest"], "");
        let mut numbers: Vec<u32> = text.lines().map(|line| line.parse().expect("a number")).collect();
        numbers.sort_unstable();
        numbers
    }

    /// Waits until every partition of a topic has three replicas in sync.
    fn wait_in_sync(&self, topic: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = self.run(&["topic", "describe", topic, "--json"], "");
            let described: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            let partitions = described.pointer("/topics/0/partitions").and_then(|p| p.as_array());
            let partitions = partitions.unwrap_or_else(|| panic!("no partitions in {text}"));
            let is_whole = |p: &serde_json::Value| p["isr"].as_array().map(Vec::len) == Some(3);
            if partitions.iter().all(is_whole) {
                return;
            }
            assert!(Instant::now() < deadline, "replicas stay out of sync: {text}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn topic_dir(&self, node: usize, partition: &str) -> std::path::PathBuf {
        self.dir.path().join(node.to_string()).join(partition)
    }
}

fn topic_id(partition_dir: &Path) -> String {
    std::fs::read_to_string(partition_dir.join("partition.metadata")).expect("the log has an identity")
}

#[test]
fn what_was_promised_outlives_each_node_in_turn() {
    let mut cluster = Cluster::start(2);
    cluster.run(&["topic", "create", "numbers", "--partitions", "3", "--replication-factor", "3"], "");
    cluster.produce("numbers", 0..500);
    for (round, node) in (1..).zip([1, 2, 3]) {
        cluster.kill(node);
        cluster.produce("numbers", round * 500..(round + 1) * 500);
        assert_eq!(cluster.consume("numbers"), (0..(round + 1) * 500).collect::<Vec<_>>());
        cluster.start_again(node);
        cluster.wait_in_sync("numbers");
    }
}

#[test]
fn a_topic_made_anew_meanwhile_has_nothing_of_the_old_one() {
    let mut cluster = Cluster::start(3);
    cluster.run(&["topic", "create", "fresh", "--replication-factor", "3"], "");
    cluster.produce("fresh", 0..100);
    cluster.wait_in_sync("fresh");
    let old = topic_id(&cluster.topic_dir(2, "fresh-0"));
    cluster.kill(2);
    cluster.run(&["topic", "delete", "fresh"], "");
    cluster.run(&["topic", "create", "fresh", "--replication-factor", "3"], "");
    cluster.produce("fresh", 500..520);
    cluster.start_again(2);
    cluster.wait_in_sync("fresh");
    assert_eq!(cluster.consume("fresh"), (500..520).collect::<Vec<_>>());
    assert_ne!(topic_id(&cluster.topic_dir(2, "fresh-0")), old);
    assert!(cluster.log_of(2).contains("removing a stray log"), "{}", cluster.log_of(2));
}
