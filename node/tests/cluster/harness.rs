//! A local cluster of the binary under test, on ports of its own, which goes with its guard.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Long enough for a loaded machine: whoever waits that long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

const NODES: u16 = 3;

/// A running cluster of three nodes.
#[derive(Debug)]
pub(crate) struct DevCluster {
    dev: Child,
    dir: Option<TempDir>,
    port: u16,
}

impl DevCluster {
    /// A new cluster.
    ///
    /// Tests that run side by side take their ports from different `share`s, 0 to 4.
    pub(crate) fn start(share: u16, args: &[&str]) -> Self {
        Self::spawn(tempfile::tempdir().expect("a directory"), free_ports(share), args)
    }

    /// The cluster that a directory has.
    pub(crate) fn again(dir: TempDir, bootstrap: &str) -> Self {
        let port = bootstrap.split(',').next().and_then(|address| address.rsplit_once(':'));
        let port = port.and_then(|(_, port)| port.parse().ok()).expect("a bootstrap line");
        Self::spawn(dir, port, &[])
    }

    fn spawn(dir: TempDir, port: u16, args: &[&str]) -> Self {
        let said = File::create(dir.path().join("said")).expect("a file for what it says");
        let mut dev = command(dir.path(), "dev")
            .args(["--port", &port.to_string()])
            .args(args)
            .stdout(Stdio::piped())
            .stderr(said)
            .spawn()
            .expect("the binary starts");
        let stdout = dev.stdout.take().expect("standard output is a pipe");
        let cluster = Self { dev, dir: Some(dir), port };
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            let read = BufReader::new(stdout).read_line(&mut line);
            // Nobody listens any more: the test is over.
            let _ = tell.send(read.map(|_| line));
        });
        match told.recv_timeout(PATIENCE) {
            Ok(Ok(line)) if line.starts_with("ready bootstrap=127.0.0.1:") => cluster,
            outcome => panic!("the cluster is not ready: {outcome:?}\n{}", cluster.said()),
        }
    }

    fn dir(&self) -> &Path {
        self.dir.as_ref().expect("it is there until the cluster is stopped").path()
    }

    /// Where clients begin.
    pub(crate) fn bootstrap(&self) -> String {
        let addresses: Vec<_> = (0..NODES).map(|n| format!("127.0.0.1:{}", self.port + n)).collect();
        addresses.join(",")
    }

    /// What `highwater dev` has told on standard error.
    pub(crate) fn said(&self) -> String {
        text(&self.dir().join("said"))
    }

    /// Runs a verb of `dev-node`, which must succeed; what it printed.
    pub(crate) fn verb(&self, words: &[&str]) -> String {
        let mut command = command(self.dir(), "dev-node");
        succeed(command.args(words), self)
    }

    /// A verb about one node.
    pub(crate) fn node(&self, verb: &str, node: i32) {
        self.verb(&[verb, &node.to_string()]);
    }

    /// Kills a node and starts it again with an empty disk.
    pub(crate) fn lose_disk(&self, node: i32) {
        self.node("kill", node);
        let data = self.dir().join(node.to_string()).join("data");
        std::fs::remove_dir_all(data).expect("a dead node's directory can be removed");
        self.node("start", node);
    }

    /// Who leads a partition.
    pub(crate) fn leader(&self, topic: &str, partition: i32) -> i32 {
        let printed = self.verb(&["leader", topic, &partition.to_string()]);
        printed.trim().parse().expect("a node's id")
    }

    /// The documented rolling restart.
    pub(crate) fn roll(&self) {
        self.verb(&["roll"]);
    }

    /// The nodes' processes.
    pub(crate) fn pids(&self) -> Vec<String> {
        (1..=NODES).map(|id| text(&self.dir().join(id.to_string()).join("pid"))).collect()
    }

    /// Runs another command against the cluster, which must succeed; what it printed.
    pub(crate) fn cli(&self, words: &[&str]) -> String {
        let mut command = plain();
        succeed(command.args(words).args(["--bootstrap", &self.bootstrap()]), self)
    }

    /// Waits until every replica is in sync.
    pub(crate) fn whole(&self) {
        self.cli(&["cluster", "under-replicated", "--wait", "100"]);
    }

    /// Stops it as Ctrl-C does, which must end in order; its directory and bootstrap line.
    pub(crate) fn stop(mut self) -> (TempDir, String) {
        let sent = Command::new("kill").args(["-TERM", &self.dev.id().to_string()]).status();
        assert!(sent.expect("kill is there").success());
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.dev.try_wait().expect("it is our child") {
                break status;
            }
            assert!(Instant::now() < deadline, "the cluster does not stop\n{}", self.said());
            std::thread::sleep(Duration::from_millis(20));
        };
        assert_eq!(status.code(), Some(0), "{}", self.said());
        assert!(!self.said().contains("is killed"), "every node stopped in order: {}", self.said());
        let bootstrap = self.bootstrap();
        (self.dir.take().expect("it is taken once"), bootstrap)
    }

    fn logs(&self) -> String {
        let end = |path: PathBuf| {
            let text = text(&path);
            let lines: Vec<&str> = text.lines().collect();
            format!("--- {}\n{}\n", path.display(), lines[lines.len().saturating_sub(60)..].join("\n"))
        };
        (1..=NODES).map(|id| end(self.dir().join(id.to_string()).join("log"))).collect()
    }
}

impl Drop for DevCluster {
    fn drop(&mut self) {
        if self.dir.is_none() {
            return;
        }
        if std::thread::panicking() {
            eprintln!("--- highwater dev said\n{}{}", self.said(), self.logs());
        }
        let _ = self.dev.kill();
        let _ = self.dev.wait();
        for id in 1..=NODES {
            // One that is not there any more is dead enough.
            let _ = command(self.dir(), "dev-node").args(["kill", &id.to_string()]).status();
        }
    }
}

/// A command of the binary, free of the settings of whoever runs the tests.
pub(crate) fn plain() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_highwater"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("HIGHWATER_"))
    {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

fn command(dir: &Path, verb: &str) -> Command {
    let mut command = plain();
    command.arg(verb).arg("--data-dir").arg(dir);
    command
}

fn succeed(command: &mut Command, cluster: &DevCluster) -> String {
    let output = command.output().expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {}\n{said}\n{}", output.status, cluster.said());
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn text(path: &Path) -> String {
    let mut text = Vec::new();
    if let Ok(mut file) = File::open(path) {
        file.read_to_end(&mut text).expect("a file that is open can be read");
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// A port that is free, with the others that a cluster takes. Above those of other tests, below those that systems
/// give to clients.
fn free_ports(share: u16) -> u16 {
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let start = std::process::id();
    let bases = (0..30).map(|n| 30_000 + share * 500 + (start.wrapping_add(n) % 50) as u16 * 10);
    let mut fit = bases.filter(|base| (0..NODES).all(|n| is_free(base + n) && is_free(base + 100 + n)));
    fit.next().expect("some of hundreds of ports are free")
}
