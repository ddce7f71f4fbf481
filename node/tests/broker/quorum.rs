//! The metadata quorum over processes: one node that grows to three, and whoever comes back with an empty disk.

use crate::client::Client;
use crate::harness::{Broker, PATIENCE, Serve};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

pub(crate) fn cli(at: &Broker, words: &[&str]) -> Result<String, String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_highwater"));
    command.args(words).args(["--bootstrap", &at.address().to_string()]);
    let done = command.output().expect("the command starts");
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    match done.status.success() {
        true => Ok(said),
        false => Err(format!("{words:?}: {said}{}", String::from_utf8_lossy(&done.stderr))),
    }
}

pub(crate) fn done(at: &Broker, words: &[&str]) -> String {
    cli(at, words).unwrap_or_else(|error| panic!("{error}\n{}", at.log()))
}

/// Asks until the answer is as wanted.
pub(crate) fn until(at: &Broker, words: &[&str], is_wanted: impl Fn(&str) -> bool) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = cli(at, words);
        match answer {
            Ok(said) if is_wanted(&said) => return said,
            other if Instant::now() > deadline => panic!("{other:?}\n{}", at.log()),
            _ => std::thread::sleep(std::time::Duration::from_millis(50)),
        }
    }
}

/// A node that founds a cluster alone.
fn founder(dir: &Path) -> Serve {
    Serve::at(dir).args(["--peer-listen", "127.0.0.1:0"])
}

/// A node that joins the quorum of another.
fn joining(dir: &Path, id: &str, of: &Broker) -> Serve {
    let controllers = format!("1@{}", of.told("peer").expect("a peer listener"));
    let words = ["--node-id", id, "--peer-listen", "127.0.0.1:0", "--initial-controllers", &controllers];
    Serve::at(dir).args(words)
}

pub(crate) fn voters(said: &str) -> usize {
    said.lines().filter(|line| line.contains(" voter ") || line.contains(" leader ")).count()
}

#[test]
fn one_node_grows_to_three_and_outlives_the_first() {
    let dirs = [(); 3].map(|()| tempfile::tempdir().expect("a directory"));
    let one = founder(dirs[0].path()).start();
    done(&one, &["topic", "create", "before", "--partitions", "2"]);
    let two = joining(dirs[1].path(), "2", &one).start();
    let three = joining(dirs[2].path(), "3", &one).start();
    assert_eq!(one.told("cluster_id"), two.told("cluster_id"), "they have learned the cluster's id");

    // Any node passes the request on to the controller.
    done(&two, &["cluster", "add-voter", "2"]);
    done(&three, &["cluster", "add-voter", "3"]);
    let said = until(&three, &["cluster", "quorum"], |said| voters(said) == 3);
    assert!(said.contains("leader: node 1"), "{said}");

    one.kill();
    let said = until(&two, &["cluster", "quorum"], |said| !said.contains("leader: node 1"));
    assert_eq!(voters(&said), 3, "{said}");
    let topics = done(&three, &["topic", "list"]);
    assert!(topics.contains("before"), "{topics}");
    until(&three, &["topic", "create", "after", "--replication-factor", "2"], |_| true);

    // The first comes back with the same arguments as ever, and follows.
    let one = founder(dirs[0].path()).start();
    until(&one, &["topic", "list"], |said| said.contains("before") && said.contains("after"));
    for node in [one, two, three] {
        node.stop_cleanly();
    }
}

/// Waits until a snapshot of the metadata lies on a node's disk.
fn snapshot_of(dir: &Path, broker: &Broker) {
    let log = dir.join("__cluster_metadata-0");
    let deadline = Instant::now() + PATIENCE;
    let is_there = || {
        let entries = std::fs::read_dir(&log).expect("the metadata log is there");
        entries.flatten().any(|entry| entry.file_name().to_string_lossy().ends_with(".checkpoint"))
    };
    while !is_there() {
        assert!(Instant::now() < deadline, "no snapshot is taken\n{}", broker.log());
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[tokio::test]
async fn snapshots_of_the_metadata_come_by_bytes_and_by_age() {
    for setting in
        ["metadata.log.max.record.bytes.between.snapshots=1000", "metadata.log.max.snapshot.interval.ms=1500"]
    {
        let dir = tempfile::tempdir().expect("a directory");
        let broker = Serve::at(dir.path()).set(setting).start();
        done(&broker, &["topic", "create", "riders", "--partitions", "40"]);
        snapshot_of(dir.path(), &broker);
        let (name, value) = setting.split_once('=').expect("a setting");
        let client = Client::connect(broker.address()).await;
        assert_eq!(client.broker_config("1", name).await.as_deref(), Some(value));
        broker.kill();
        let broker = Serve::at(dir.path()).set(setting).start();
        assert!(done(&broker, &["topic", "list"]).contains("riders"));
        let log = broker.stop_cleanly();
        assert!(!log.contains("ERROR"), "{log}");
    }
}

#[test]
fn a_voter_with_an_empty_disk_waits_to_be_let_in_again() {
    let dirs = [(); 4].map(|()| tempfile::tempdir().expect("a directory"));
    let one = founder(dirs[0].path()).start();
    let two = joining(dirs[1].path(), "2", &one).start();
    done(&one, &["cluster", "add-voter", "2"]);
    let three = joining(dirs[2].path(), "3", &one).start();
    done(&one, &["cluster", "add-voter", "3"]);
    three.kill();
    let three = joining(dirs[3].path(), "3", &one).start();
    let said = until(&one, &["cluster", "quorum"], |said| said.contains("observer"));
    assert_eq!(voters(&said), 3, "the lost disk is a voter still: {said}");
    assert_eq!(three.told("cluster_id"), one.told("cluster_id"));
    for node in [one, two, three] {
        node.stop_cleanly();
    }
}
