//! Clusters made by `highwater format`, and who may not found one.

use crate::client::Client;
use crate::harness::{Broker, PATIENCE, Serve, lasting_addresses};
use crate::quorum::{done, until, voters};
use highwater_protocol::messages::{AddRaftVoterRequest, Listener, RemoveRaftVoterRequest};
use highwater_protocol::{ErrorCode, Uuid};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// Runs a command that needs no broker.
fn run(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_highwater"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("HIGHWATER_"))
    {
        command.env_remove(name);
    }
    command.args(words).output().expect("the command starts")
}

fn format(dir: &Path, words: &[&str]) -> Output {
    let dir = dir.to_str().expect("a plain path");
    run(&[&["format", "--data-dir", dir], words].concat())
}

fn formatted(dir: &Path, words: &[&str]) -> Value {
    let output = format(dir, &[words, &["--json"]].concat());
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("one document")
}

fn refused(output: &Output, code: i32, part: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.contains(part), "{said}");
}

fn random_uuid() -> String {
    let output = run(&["random-uuid"]);
    String::from_utf8(output.stdout).expect("text").trim().to_owned()
}

/// Waits for a line in a log.
pub(crate) fn says(broker: &Broker, part: &str) {
    let deadline = Instant::now() + PATIENCE;
    while !broker.log().contains(part) {
        assert!(Instant::now() < deadline, "'{part}' is not in the log\n{}", broker.log());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Three directories, formatted to found a cluster together.
struct Three {
    dirs: [tempfile::TempDir; 3],
    peers: [String; 3],
    cluster_id: String,
}

impl Three {
    fn formatted(part: usize) -> Self {
        let dirs = [(); 3].map(|()| tempfile::tempdir().expect("a directory"));
        let three = Self { dirs, peers: lasting_addresses(3, part), cluster_id: random_uuid() };
        for (n, dir) in three.dirs.iter().enumerate() {
            let id = (n + 1).to_string();
            let controllers = three.controllers();
            let words = ["--cluster-id", &three.cluster_id, "--node-id", &id];
            formatted(dir.path(), &[&words[..], &["--initial-controllers", &controllers]].concat());
        }
        three
    }

    fn controllers(&self) -> String {
        let named = (1..).zip(&self.peers).map(|(id, peer)| format!("{id}@{peer}"));
        named.collect::<Vec<_>>().join(",")
    }

    /// A node as an operator starts it once its directory is formatted.
    fn serve(&self, n: usize) -> Serve {
        Serve::at(self.dirs[n].path()).args(["--peer-listen", &self.peers[n]])
    }

    fn start(&self) -> [Broker; 3] {
        let mut nodes = [0, 1, 2].map(|n| self.serve(n).spawn());
        nodes.iter_mut().for_each(Broker::wait_ready);
        nodes
    }
}

#[test]
fn a_formatted_directory_says_whose_it_is_and_is_left_alone() {
    let root = tempfile::tempdir().expect("a directory");
    let dir = root.path().join("data");
    let id = random_uuid();
    assert_eq!(id.len(), 22, "as Kafka's: {id}");
    let told = formatted(&dir, &["--standalone", "--cluster-id", &id, "--node-id", "7"]);
    assert_eq!(
        (&told["cluster_id"], &told["node_id"], &told["formatted"], &told["standalone"]),
        (&Value::from(id.as_str()), &Value::from(7), &Value::from(true), &Value::from(true)),
        "{told}"
    );

    refused(&format(&dir, &["--standalone"]), 1, "is formatted already; --ignore-formatted leaves it");
    let again = formatted(&dir, &["--standalone", "--ignore-formatted"]);
    assert_eq!((&again["formatted"], &again["node_id"]), (&Value::from(false), &Value::from(7)), "{again}");
    assert_eq!((&again["cluster_id"], &again["directory_id"]), (&told["cluster_id"], &told["directory_id"]));

    // The directory tells the node's id, too.
    let broker = Serve::at(&dir).start();
    assert_eq!((broker.told("cluster_id"), broker.told("node_id")), (Some(id.as_str()), Some("7")));
    let log = broker.stop_cleanly();
    assert!(!log.contains("WARN"), "{log}");
    let (code, log) = Serve::at(&dir).args(["--node-id", "8"]).refused();
    assert_eq!(code, Some(1));
    assert!(log.contains("belongs to node 7, but node 8 is configured"), "{log}");
}

#[test]
fn what_could_never_start_is_not_formatted() {
    let root = tempfile::tempdir().expect("a directory");
    let dir = root.path().join("data");
    refused(&format(&dir, &["--cluster-id", "c"]), 2, "--standalone");
    refused(&format(&dir, &["--no-initial-controllers"]), 2, "--cluster-id");
    refused(&format(&dir, &["--standalone", "--cluster-id", "a b"]), 2, "'a b' is no cluster id");
    let twice = ["--cluster-id", "c", "--initial-controllers", "1@a:1,1@b:1"];
    refused(&format(&dir, &twice), 2, "names a node twice");
    let observer = ["--standalone", "--set", "process.roles=broker"];
    refused(&format(&dir, &observer), 2, "cannot vote alone");
    assert!(!dir.exists(), "nothing was made");
    std::fs::create_dir(&dir).expect("a directory");
    std::fs::write(dir.join("holiday.jpg"), b"x").expect("a file");
    refused(&format(&dir, &["--standalone"]), 1, "it has holiday.jpg but no meta.properties");
}

#[test]
fn three_formatted_nodes_find_each_other_without_being_told_again() {
    let three = Three::formatted(0);
    let nodes = three.start();
    for node in &nodes {
        assert_eq!(node.told("cluster_id"), Some(three.cluster_id.as_str()));
    }
    let said = until(&nodes[0], &["cluster", "quorum"], |said| voters(said) == 3);
    assert!(!said.contains("observer"), "{said}");
    done(&nodes[1], &["topic", "create", "riders", "--replication-factor", "3"]);
    nodes.into_iter().for_each(|node| drop(node.stop_cleanly()));
    let nodes = three.start();
    until(&nodes[2], &["topic", "list"], |said| said.contains("riders"));
    nodes.into_iter().for_each(|node| drop(node.stop_cleanly()));
}

#[test]
fn a_wiped_disk_neither_votes_nor_founds_its_cluster_again() {
    let three = Three::formatted(1);
    let [one, two, three_] = three.start();
    until(&one, &["cluster", "quorum"], |said| voters(said) == 3);
    done(&one, &["topic", "create", "riders", "--replication-factor", "2"]);
    three_.kill();
    std::fs::remove_dir_all(three.dirs[2].path()).expect("a dead node's directory can be removed");

    // Nobody named to it: it is a node of another cluster, with which nobody speaks, whatever its id.
    let stray = three.serve(2).args(["--node-id", "3"]).start();
    assert_ne!(stray.told("cluster_id"), Some(three.cluster_id.as_str()));
    says(&stray, "founded a new cluster");
    says(&stray, "is turned away: the refusing node belongs to another cluster");
    says(&one, "cannot be used: it refuses this node: the refusing node belongs to another cluster");
    stray.kill();
    std::fs::remove_dir_all(three.dirs[2].path()).expect("a dead node's directory can be removed");

    // Formatted anew for its cluster: it follows, but its vote went with the disk.
    let controllers = three.controllers();
    let words = ["--cluster-id", &three.cluster_id, "--node-id", "3", "--initial-controllers", &controllers];
    formatted(three.dirs[2].path(), &words);
    let wiped = three.serve(2).start();
    let said = until(&one, &["cluster", "quorum"], |said| said.contains("observer"));
    assert_eq!(voters(&said), 3, "the lost disk is a voter still: {said}");
    let elections = |node: &Broker| node.log().matches("elected as the controller").count();
    let before = elections(&two);
    one.kill();
    // Two of three voters are gone now: the one that is left and an empty disk are no majority.
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!((elections(&two), elections(&wiped)), (before, 0), "an empty disk has voted");
    assert!(!wiped.log().contains("asking for votes"), "{}", wiped.log());
    let one = three.serve(0).start();
    until(&one, &["topic", "list"], |said| said.contains("riders"));
    until(&wiped, &["topic", "list"], |said| said.contains("riders"));
}

/// A request for a vote, with a listener if it names where the node is.
fn add_voter(id: i32, directory_id: Uuid, at: Option<&str>, timeout_ms: i32) -> AddRaftVoterRequest {
    let listener = at.and_then(|at| at.parse::<SocketAddr>().ok()).map(|at| Listener {
        name: "PEER".to_owned(),
        host: at.ip().to_string(),
        port: at.port(),
    });
    AddRaftVoterRequest {
        voter_id: id,
        voter_directory_id: directory_id,
        listeners: listener.into_iter().collect(),
        timeout_ms,
        ..AddRaftVoterRequest::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voter_is_waited_for_until_it_is_started_and_has_caught_up() {
    let dirs = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
    let [peer, second_peer] = lasting_addresses(3, 3);
    let one = Serve::at(dirs[0].path()).args(["--peer-listen", &peer]).start();
    let id = one.told("cluster_id").expect("a cluster").to_owned();
    let controllers = format!("1@{peer}");
    let words = ["--cluster-id", &id, "--node-id", "2", "--initial-controllers", &controllers];
    let told = formatted(dirs[1].path(), &words);
    let directory_id: Uuid = told["directory_id"].as_str().expect("an id").parse().expect("an id");

    let client = Client::connect(one.address()).await;
    let early = client.connection.send(&add_voter(2, directory_id, Some(&second_peer), 200)).await;
    assert_eq!(early.expect("an answer").error_code, ErrorCode::RequestTimedOut, "nobody is there");
    let request = add_voter(2, directory_id, Some(&second_peer), 20_000);
    let adding = tokio::spawn(async move { client.connection.send(&request).await });
    let two = Serve::at(dirs[1].path()).args(["--peer-listen", &second_peer]).start();
    let added = adding.await.expect("it does not panic").expect("an answer");
    assert_eq!((added.error_code, added.error_message), (ErrorCode::None, None));
    assert_eq!(voters(&done(&two, &["cluster", "quorum"])), 2);
    for node in [two, one] {
        node.stop_cleanly();
    }
}

#[tokio::test]
async fn changes_of_voters_are_refused_as_kafka_refuses_them() {
    let one = Serve::ephemeral().start();
    let client = Client::connect(one.address()).await;
    let quorum: Value =
        serde_json::from_str(&done(&one, &["cluster", "quorum", "--json"])).expect("a document");
    let own: Uuid = quorum["members"][0]["directory_id"].as_str().expect("an id").parse().expect("an id");
    let (other, nowhere) = (Uuid([7; 16]), Some("127.0.0.1:1"));
    let adds = [
        (add_voter(1, other, nowhere, 0), ErrorCode::DuplicateVoter),
        (add_voter(-1, other, nowhere, 0), ErrorCode::InvalidRequest),
        (add_voter(9, Uuid::default(), nowhere, 0), ErrorCode::InvalidRequest),
        (add_voter(9, other, None, 0), ErrorCode::InvalidRequest),
        (add_voter(9, other, nowhere, 0), ErrorCode::RequestTimedOut),
        (
            AddRaftVoterRequest { cluster_id: Some("x".to_owned()), ..add_voter(9, other, nowhere, 0) },
            ErrorCode::InconsistentClusterId,
        ),
    ];
    for (request, code) in adds {
        let answer = client.connection.send(&request).await.expect("an answer");
        assert_eq!(answer.error_code, code, "{request:?}: {:?}", answer.error_message);
    }
    let removes = [
        (1, own, ErrorCode::VoterNotFound),
        (1, other, ErrorCode::VoterNotFound),
        (5, other, ErrorCode::VoterNotFound),
        (5, Uuid::default(), ErrorCode::InvalidRequest),
    ];
    for (voter_id, voter_directory_id, code) in removes {
        let request =
            RemoveRaftVoterRequest { voter_id, voter_directory_id, ..RemoveRaftVoterRequest::default() };
        let answer = client.connection.send(&request).await.expect("an answer");
        assert_eq!(answer.error_code, code, "{request:?}: {:?}", answer.error_message);
    }
    one.stop_cleanly();
}

#[test]
fn a_node_that_joins_remembers_whom_to_ask() {
    let founder_dir = tempfile::tempdir().expect("a directory");
    let dir = tempfile::tempdir().expect("a directory");
    let [peer] = lasting_addresses(3, 2);
    let found = || Serve::at(founder_dir.path()).args(["--peer-listen", &peer]);
    let one = found().start();
    let id = one.told("cluster_id").expect("a cluster").to_owned();
    formatted(dir.path(), &["--cluster-id", &id, "--node-id", "2", "--no-initial-controllers"]);
    let stray = Serve::at(dir.path()).spawn();
    says(&stray, "no controller of the cluster is known: name them with --initial-controllers");
    stray.kill();
    let controllers = format!("1@{peer}");
    let two = Serve::at(dir.path()).args(["--initial-controllers", &controllers]).start();
    two.kill();
    one.kill();
    let one = found().start();
    let two = Serve::at(dir.path()).start();
    until(&one, &["cluster", "quorum"], |said| said.contains("observer"));
    for node in [two, one] {
        node.stop_cleanly();
    }
}
