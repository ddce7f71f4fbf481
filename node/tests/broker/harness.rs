//! Starts and stops brokers. Each is a process of its own on a port of its own, and dies with its guard.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use tempfile::NamedTempFile;

/// Long enough for a loaded machine: whoever waits that long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How a broker is to be started.
#[derive(Clone, Debug, Default)]
pub(crate) struct Serve {
    wrapper: Vec<String>,
    args: Vec<String>,
    listen: Option<String>,
}

impl Serve {
    /// With its data in this directory.
    pub(crate) fn at(dir: &Path) -> Self {
        Self::default().args(["--data-dir", &dir.display().to_string()])
    }

    /// With a directory that goes with it.
    pub(crate) fn ephemeral() -> Self {
        Self::default().args(["--ephemeral"])
    }

    pub(crate) fn args<'a>(mut self, args: impl IntoIterator<Item = &'a str>) -> Self {
        self.args.extend(args.into_iter().map(str::to_owned));
        self
    }

    pub(crate) fn set(self, setting: &str) -> Self {
        self.args(["--set", setting])
    }

    /// On this address instead of a free port.
    pub(crate) fn listen(mut self, address: &str) -> Self {
        self.listen = Some(address.to_owned());
        self
    }

    /// As the last arguments of another command, which must become the broker by `exec`.
    pub(crate) fn under(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(|&word| word.to_owned()).collect();
        self
    }

    fn command(&self, log: &NamedTempFile) -> Command {
        let binary = env!("CARGO_BIN_EXE_highwater");
        let mut words = self.wrapper.iter().map(String::as_str).chain([binary, "serve"]);
        let mut command = Command::new(words.next().expect("there is the binary at least"));
        command.args(words).args(&self.args);
        match self.listen.as_deref() {
            Some("") => {}
            address => {
                command.args(["--listen", address.unwrap_or("127.0.0.1:0")]);
            }
        }
        // Settings of whoever runs the tests are not ours.
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("HIGHWATER_"))
        {
            command.env_remove(name);
        }
        let log = log.reopen().expect("the log file can be opened again");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        command
    }

    /// Starts it, and waits until it serves.
    pub(crate) fn start(&self) -> Broker {
        let mut broker = self.spawn();
        broker.wait_ready();
        broker
    }

    /// Starts it, and does not wait.
    pub(crate) fn spawn(&self) -> Broker {
        let log = NamedTempFile::new().expect("a temporary file");
        let child = self.command(&log).spawn().expect("the command starts");
        Broker { child, log, ready: String::new() }
    }

    /// Starts one that cannot serve; answers its exit code and what it said.
    pub(crate) fn refused(&self) -> (Option<i32>, String) {
        let mut broker = self.spawn();
        let status = broker.wait_end();
        let mut said = String::new();
        let stdout = broker.child.stdout.as_mut().expect("standard output is a pipe");
        stdout.read_to_string(&mut said).expect("standard output is text");
        assert_eq!(said, "", "nothing is ready");
        (status.code(), broker.log())
    }
}

/// A running broker. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Broker {
    child: Child,
    log: NamedTempFile,
    ready: String,
}

impl Broker {
    /// Waits for the ready line.
    pub(crate) fn wait_ready(&mut self) {
        let stdout = self.child.stdout.take().expect("standard output is a pipe");
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            let read = BufReader::new(stdout).read_line(&mut line);
            // Nobody listens any more: the test is over.
            let _ = tell.send(read.map(|_| line));
        });
        match told.recv_timeout(PATIENCE) {
            Ok(Ok(line)) if line.starts_with("ready ") => self.ready = line,
            outcome => panic!("the broker is not ready: {outcome:?}\n{}", self.log()),
        }
    }

    /// The ready line.
    pub(crate) fn ready(&self) -> &str {
        &self.ready
    }

    /// A value of the ready line.
    pub(crate) fn told(&self, key: &str) -> Option<&str> {
        let pairs = self.ready.split_whitespace().filter_map(|word| word.split_once('='));
        pairs.filter(|(k, _)| *k == key).map(|(_, value)| value).next()
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        let told = self.told("listen").unwrap_or_else(|| panic!("no listen= in {:?}", self.ready));
        told.parse().expect("an address")
    }

    /// What it has logged so far.
    pub(crate) fn log(&self) -> String {
        let mut text = String::new();
        let mut file = File::open(self.log.path()).expect("the log file is there");
        file.read_to_string(&mut text).expect("the log is text");
        text
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL: no chance to do anything.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it was running");
        self.child.wait().expect("it is our child");
    }

    /// SIGTERM, without waiting.
    pub(crate) fn terminate(&self) {
        let pid = self.pid().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().expect("kill is there");
        assert!(sent.success());
    }

    /// SIGTERM, and the exit code with everything that was logged.
    pub(crate) fn stop(mut self) -> (Option<i32>, String) {
        self.terminate();
        let status = self.wait_end();
        (status.code(), self.log())
    }

    /// SIGTERM, which must end it in order.
    pub(crate) fn stop_cleanly(self) -> String {
        let (code, log) = self.stop();
        assert_eq!(code, Some(0), "{log}");
        log
    }

    /// Waits until it has ended by itself.
    pub(crate) fn wait_end(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                return status;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("the broker does not end\n{}", self.log());
    }

    /// One page of the admin port: its status and body.
    pub(crate) fn page(&self, path: &str) -> (u16, String) {
        let address: SocketAddr = self.told("admin").expect("an admin port").parse().expect("an address");
        http_page(address, path)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- log of the broker {}\n{}---", self.child.id(), self.log());
        }
    }
}

pub(crate) fn http_page(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("the admin port answers");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        .expect("it takes a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    let status = answer.split_whitespace().nth(1).and_then(|code| code.parse().ok());
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (status.expect("an HTTP status"), body.to_owned())
}

/// An address for a broker that is to be started on it again and again. Below the ports that systems give to those
/// who connect: a client that retries must not connect to itself, nor another test take the port meanwhile. Tests
/// that run side by side choose from different `share`s, 0 to 3.
pub(crate) fn lasting_address(share: u32) -> String {
    free_addresses(share).next().expect("one of thousands of ports is free")
}

/// As [`lasting_address`], several of them for tests that choose from different `part`s, 0 to 9, of a share.
#[allow(dead_code, reason = "not every test that shares this needs several")]
pub(crate) fn lasting_addresses<const N: usize>(share: u32, part: usize) -> [String; N] {
    let mut free = free_addresses(share).skip(part * 100);
    std::array::from_fn(|_| free.next().expect("some of thousands of ports are free"))
}

fn free_addresses(share: u32) -> impl Iterator<Item = String> {
    let (first, count) = (12_000 + share * 4_500, 4_500);
    let start = std::process::id().wrapping_mul(31);
    let ports = (0..count).map(move |n| first + start.wrapping_add(n) % count);
    ports
        .map(|port| format!("127.0.0.1:{port}"))
        .filter(|address| TcpListener::bind(address.as_str()).is_ok())
}
