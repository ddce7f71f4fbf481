//! The wires: namespaces, a router, and what it drops.
//!
//! ```text
//!  node 1: 10.77.1.2 ─┐
//!  node 2: 10.77.2.2 ─┼─ router (and clients): 10.77.N.1
//!  node 3: 10.77.3.2 ─┘
//! ```

use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// Whether the tests are wanted, and how long troubles are to last.
const WANTED: &str = "HIGHWATER_NETNS";

/// One story at a time: three processes want the machine for themselves.
static TURN: Mutex<()> = Mutex::new(());

/// Set for the half of the test that runs at the router: what the namespaces' names begin with.
const INSIDE: &str = "HIGHWATER_NETNS_LAB";

/// How many nodes a lab has.
pub(crate) const NODES: u8 = 3;

/// The lab, seen from its router.
#[derive(Debug)]
pub(crate) struct Lab {
    name: String,
}

/// Namespaces, deleted with this value.
struct Namespaces {
    name: String,
}

/// Runs a command and tells what it said if it failed.
fn run(words: &str) -> Result<(), String> {
    let mut parts = words.split_whitespace();
    let program = parts.next().expect("a command has a name");
    let output = Command::new(program).args(parts).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{words}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{words}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

impl Namespaces {
    fn make(name: &str) -> Result<Self, String> {
        run(&format!("ip netns add {name}r"))?;
        let made = Self { name: name.to_owned() };
        run(&format!("ip -n {name}r link set lo up"))?;
        for node in 1..=NODES {
            run(&format!("ip netns add {name}n{node}"))?;
            run(&format!("ip -n {name}r link add v{node} type veth peer name eth0 netns {name}n{node}"))?;
            run(&format!("ip -n {name}r addr add 10.77.{node}.1/24 dev v{node}"))?;
            run(&format!("ip -n {name}r link set v{node} up"))?;
            run(&format!("ip -n {name}n{node} addr add 10.77.{node}.2/24 dev eth0"))?;
            run(&format!("ip -n {name}n{node} link set lo up"))?;
            run(&format!("ip -n {name}n{node} link set eth0 up"))?;
            run(&format!("ip -n {name}n{node} route add default via 10.77.{node}.1"))?;
        }
        let forward = format!("ip netns exec {name}r sh -c");
        let mut words: Vec<&str> = forward.split_whitespace().collect();
        words.push("echo 1 > /proc/sys/net/ipv4/ip_forward");
        let status = Command::new(words[0]).args(&words[1..]).status();
        match status {
            Ok(status) if status.success() => Ok(made),
            _ => Err("packets cannot be forwarded".to_owned()),
        }
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        let name = &self.name;
        for node in 1..=NODES {
            // It may be there only in part.
            let _ = run(&format!("ip netns del {name}n{node}"));
        }
        let _ = run(&format!("ip netns del {name}r"));
    }
}

impl Lab {
    /// The lab, for the half of a test that runs at its router. The first half makes the lab, runs the second half,
    /// and gets `None`; so does everybody who did not ask for it.
    pub(crate) fn enter(test: &str) -> Option<Self> {
        if let Ok(name) = std::env::var(INSIDE) {
            return Some(Self { name });
        }
        if std::env::var_os(WANTED).is_none() {
            println!("{test} is not run: {WANTED} is neither short nor long");
            return None;
        }
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let name = format!("hw{}", std::process::id());
        let made =
            Namespaces::make(&name).unwrap_or_else(|why| panic!("root and iproute2 are needed: {why}"));
        let program = std::env::current_exe().expect("a test knows its binary");
        let status = Command::new("ip")
            .args(["netns", "exec", &format!("{name}r")])
            .arg(program)
            .args(["--exact", &format!("stories::{test}"), "--nocapture"])
            .env(INSIDE, &name)
            .status();
        drop(made);
        assert!(status.expect("ip is there").success(), "see above");
        None
    }

    /// Whether troubles last as long as people fear.
    pub(crate) fn is_long() -> bool {
        std::env::var(WANTED).is_ok_and(|wanted| wanted == "long")
    }

    /// What makes a command run on a node's machine.
    pub(crate) fn on(&self, node: u8) -> [String; 4] {
        ["ip", "netns", "exec", &format!("{}n{node}", self.name)].map(str::to_owned)
    }

    /// A node's address.
    pub(crate) fn address(node: u8) -> String {
        format!("10.77.{node}.2")
    }

    /// From now on nothing that `from` sends reaches `to`.
    pub(crate) fn cut(&self, from: u8, to: u8) {
        let (from, to) = (Self::address(from), Self::address(to));
        run(&format!("ip rule add priority 100 from {from} to {to} blackhole"))
            .expect("the router drops packets");
    }

    /// From now on the two do not reach each other.
    pub(crate) fn cut_both(&self, one: u8, other: u8) {
        self.cut(one, other);
        self.cut(other, one);
    }

    /// Everything gets through again.
    pub(crate) fn heal(&self) {
        while run("ip rule del priority 100").is_ok() {}
        for node in 1..=NODES {
            // Most wires are as they should be.
            let _ = run(&format!("tc qdisc del dev v{node} root"));
        }
    }

    /// Makes a node's wire slow and lossy in the direction to it; false if this kernel cannot.
    pub(crate) fn spoil(&self, node: u8) -> bool {
        let spoiled = run(&format!("tc qdisc add dev v{node} root netem delay 40ms 20ms loss 3%"));
        if let Err(why) = &spoiled {
            println!("wires are not spoiled: {why}");
        }
        spoiled.is_ok()
    }
}
