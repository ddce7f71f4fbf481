//! One node's process: started, found again by whoever has the directory, and told to stop.

use super::super::CliError;
use super::layout::Layout;
use crate::os::{self, ProcessSignal};
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How often a process is looked at while somebody waits for it.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// How much of a log is told of a node that did not start.
const LOG_LINES_MAX: usize = 12;

/// A node's place and whatever runs there.
#[derive(Clone, Debug)]
pub(super) struct NodeProcess {
    pub(super) id: u16,
    place: PathBuf,
}

/// A process that is certainly the node's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pid(pub(super) u32);

impl NodeProcess {
    pub(super) fn of(layout: &Layout, id: u16) -> Self {
        Self { id, place: layout.place(id) }
    }

    /// The node's process, if it runs (or is paused).
    pub(super) fn running(&self) -> Option<Pid> {
        let pid: u32 = read(&self.place.join("pid"))?.parse().ok()?;
        let began: u64 = read(&self.place.join("start"))?.parse().ok()?;
        (began_at(pid)? == began).then_some(Pid(pid))
    }

    /// Starts the node and notes its process. It goes on without whoever started it.
    pub(super) fn spawn(&self, layout: &Layout) -> Result<Child, CliError> {
        let failed = |error: io::Error| CliError::new(format!("node {} cannot be started: {error}", self.id));
        let binary = std::env::current_exe().map_err(failed)?;
        let out = File::create(self.place.join("out")).map_err(failed)?;
        let log = File::options().append(true).create(true).open(self.place.join("log")).map_err(failed)?;
        let child = Command::new(binary)
            .args(layout.serve_arguments(self.id)?)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(log)
            // Ctrl-C is for the command that started it, which stops the nodes in good order.
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        let began = began_at(child.id()).unwrap_or(0);
        write(&self.place.join("start"), &began.to_string()).map_err(failed)?;
        write(&self.place.join("pid"), &child.id().to_string()).map_err(failed)?;
        Ok(child)
    }

    /// Whether the node has said that it is ready since it was started.
    pub(super) fn is_ready(&self) -> bool {
        read(&self.place.join("out")).is_some_and(|text| text.starts_with("ready"))
    }

    /// The end of its log.
    pub(super) fn log_end(&self) -> String {
        let text = std::fs::read(self.place.join("log")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text[text.len().saturating_sub(16 << 10)..]);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES_MAX)..].join("\n")
    }

    /// Tells the process something.
    pub(super) fn signal(&self, pid: Pid, signal: ProcessSignal) -> Result<(), CliError> {
        match os::signal(pid.0, signal) {
            // It has just ended.
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
            result => result
                .map_err(|error| CliError::new(format!("node {} (process {}): {error}", self.id, pid.0))),
        }
    }

    /// Waits until the process is gone; false if it is still there after that time.
    pub(super) fn wait_gone(&self, pid: Pid, at_most: Duration) -> bool {
        let deadline = Instant::now() + at_most;
        while self.running() == Some(pid) {
            if Instant::now() >= deadline {
                return false;
            }
            std::thread::sleep(LOOK_INTERVAL);
        }
        true
    }
}

fn read(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    std::fs::write(path, format!("{text}\n"))
}

/// When a live process began, in the system's own count; `None` for one that is gone, or waits to be buried.
fn began_at(pid: u32) -> Option<u64> {
    life(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The same of what `/proc/PID/stat` holds. A process whose first thread is dead holds its ports and its directory until
/// the last of its threads is.
fn life(stat: &str) -> Option<u64> {
    // The name in front may hold anything, brackets too.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let is_dead = matches!(fields.next()?, "Z" | "X" | "x");
    let threads: u32 = fields.nth(16)?.parse().ok()?;
    let began = fields.nth(1)?.parse().ok()?;
    (!is_dead || threads > 1).then_some(began)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> (tempfile::TempDir, NodeProcess) {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().to_owned();
        (dir, NodeProcess { id: 1, place })
    }

    #[test]
    fn a_process_is_the_nodes_only_if_it_began_when_the_node_did() {
        let (_dir, node) = place();
        assert_eq!(node.running(), None);
        let me = std::process::id();
        write(&node.place.join("pid"), &me.to_string()).unwrap();
        write(&node.place.join("start"), &began_at(me).unwrap().to_string()).unwrap();
        assert_eq!(node.running(), Some(Pid(me)));
        write(&node.place.join("start"), "1").unwrap();
        assert_eq!(node.running(), None, "somebody else's by now");
    }

    #[test]
    fn a_dead_child_is_gone_before_it_is_buried() {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        assert!(began_at(child.id()).is_some());
        child.kill().unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while began_at(child.id()).is_some() {
            assert!(Instant::now() < deadline);
            std::thread::sleep(LOOK_INTERVAL);
        }
        child.wait().unwrap();
    }

    #[test]
    fn a_process_lives_as_long_as_one_of_its_threads() {
        let stat = |state: &str, threads: u32| {
            format!("7 (a (b) c) {state} 1 7 7 0 -1 4194304 9 0 0 0 1 2 0 0 20 0 {threads} 0 4711 0 0\n")
        };
        assert_eq!(life(&stat("S", 3)), Some(4711));
        assert_eq!(life(&stat("Z", 2)), Some(4711), "its first thread is dead, another one holds its ports");
        assert_eq!(life(&stat("Z", 1)), None);
        assert_eq!(life(&stat("X", 0)), None);
    }

    #[test]
    fn readiness_and_the_end_of_the_log_are_read_from_files() {
        let (_dir, node) = place();
        assert!(!node.is_ready());
        std::fs::write(node.place.join("out"), "ready listen=127.0.0.1:1\n").unwrap();
        assert!(node.is_ready());
        let lines: String = (0..100).map(|n| format!("line {n}\n")).collect();
        std::fs::write(node.place.join("log"), lines).unwrap();
        assert!(node.log_end().starts_with("line 88\n") && node.log_end().ends_with("line 99"));
    }
}
