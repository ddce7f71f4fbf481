//! One node by itself, started by `highwater serve` on free ports. Killed when dropped.

use crate::harness::{PATIENCE, plain};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc;

/// A running node.
#[derive(Debug)]
pub(crate) struct Serving {
    child: Child,
    log: PathBuf,
    id: u16,
    /// Where it serves clients.
    pub(crate) client: String,
    peer: String,
}

impl Serving {
    /// Starts a node with its data below `dir`: one that founds a cluster, or one that joins that of another.
    pub(crate) fn start(dir: &Path, id: u16, joins: Option<&Self>) -> Self {
        let log = dir.join(format!("log-{id}"));
        let mut command = plain();
        command.args(["serve", "--node-id", &id.to_string(), "--listen", "127.0.0.1:0"]);
        command.arg("--data-dir").arg(dir.join(id.to_string()));
        if let Some(other) = joins {
            command.args(["--initial-controllers", &format!("{}@{}", other.id, other.peer)]);
        }
        let stderr = File::create(&log).expect("a file for the log");
        let mut child = command.stdout(Stdio::piped()).stderr(stderr).spawn().expect("the binary starts");
        let stdout = child.stdout.take().expect("standard output is a pipe");
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            let read = BufReader::new(stdout).read_line(&mut line);
            // Nobody listens any more: the test is over.
            let _ = tell.send(read.map(|_| line));
        });
        let mut node = Self { child, log, id, client: String::new(), peer: String::new() };
        let ready = match told.recv_timeout(PATIENCE) {
            Ok(Ok(line)) if line.starts_with("ready ") => line,
            outcome => panic!("node {id} is not ready: {outcome:?}"),
        };
        let told = |key: &str| {
            let words = ready.split_whitespace().filter_map(|word| word.split_once('='));
            words.filter(|(k, _)| *k == key).map(|(_, value)| value.to_owned()).next().expect("an address")
        };
        (node.client, node.peer) = (told("listen"), told("peer"));
        node
    }

    /// Runs a command against brokers, which must succeed; what it printed.
    pub(crate) fn cli(&self, words: &[&str], bootstrap: &str) -> String {
        let output = plain().args(words).args(["--bootstrap", bootstrap]).output().expect("the binary runs");
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            eprintln!("--- log of node {}\n{log}---", self.id);
        }
    }
}
