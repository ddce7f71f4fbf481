//! The real connections between nodes on madsim's network: killed, cut off, let in again, and the same each time.
#![cfg(madsim)]

use highwater_core::ids::BrokerId;
use highwater_core::transport::{
    Class, Frame, FrameKind, LinkEvent, LocalPeer, PeerAddress, PeerHandler, PeerIdentity, PeerTransport,
};
use highwater_net_tcp::client::TcpDial;
use highwater_net_tcp::peer::{PeerOptions, PeerParts, TcpPeers};
use highwater_net_tcp::{SocketOptions, TcpListen};
use madsim::net::NetSim;
use madsim::rand::Rng;
use madsim::runtime::{Handle, NodeHandle, Runtime};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;
use tokio::time::sleep;

const NODES: u8 = 3;
const PORT: u16 = 9192;

/// What a run saw, in the order seen.
#[derive(Default)]
struct Trace {
    lines: Vec<String>,
    /// The last number heard, by receiver, sender, its incarnation and class.
    last: BTreeMap<(u8, PeerIdentity, Class), u64>,
    heard: BTreeMap<(u8, BrokerId), u64>,
    links: BTreeMap<(u8, BrokerId, String), u64>,
}

struct Ear {
    node: u8,
    trace: Arc<Mutex<Trace>>,
}

impl PeerHandler for Ear {
    fn received(&self, from: &PeerIdentity, class: Class, frame: Frame) {
        let number = u64::from_be_bytes(frame.header[..].try_into().expect("eight bytes were sent"));
        let mut trace = self.trace.lock().unwrap();
        let last = trace.last.insert((self.node, *from, class), number);
        assert!(last < Some(number), "{} heard {number} of {from:?} after {last:?}", self.node);
        *trace.heard.entry((self.node, from.id)).or_default() += 1;
        trace.lines.push(format!("{} {} {class} {number}", self.node, from.id));
    }

    fn link(&self, peer: BrokerId, link: LinkEvent) {
        let mut trace = self.trace.lock().unwrap();
        *trace.links.entry((self.node, peer, format!("{link:?}"))).or_default() += 1;
        trace.lines.push(format!("{} {peer} {link:?}", self.node));
    }
}

fn ip(node: u8) -> IpAddr {
    IpAddr::from([10, 0, 1, node])
}

/// Runs a node until it is killed: sends to all others, all the time.
async fn run(node: u8, incarnation: u8, trace: Arc<Mutex<Trace>>) {
    let ear = Arc::new(Ear { node, trace });
    let address = SocketAddr::new(ip(node), PORT);
    let listener = TcpListen::bind(address, SocketOptions::default()).await.expect("the one before is dead");
    let identity =
        PeerIdentity { id: BrokerId(node.into()), incarnation: [incarnation; 16], directory_id: [node; 16] };
    let runtime = tokio::runtime::Handle::current();
    let parts = PeerParts {
        local: LocalPeer { identity, cluster_id: Some("c".to_owned()), address: None },
        handler: Arc::downgrade(&ear) as Weak<dyn PeerHandler>,
        control: runtime.clone(),
        bulk: runtime,
        seed: node.into(),
        options: PeerOptions::default(),
        counters: Arc::default(),
    };
    let peers = TcpPeers::start(parts, TcpDial::default(), Some(listener));
    let others: Vec<u8> = (1..=NODES).filter(|other| *other != node).collect();
    for other in &others {
        let at = PeerAddress { host: ip(*other).to_string(), port: PORT };
        peers.set_address(BrokerId((*other).into()), Some(at));
    }
    for number in 0u64.. {
        for other in &others {
            let class = Class::ALL[number as usize % 2];
            let frame = Frame::new(FrameKind::Quorum, 0, number.to_be_bytes().to_vec());
            // Whether it can be sent just now is what the run is about.
            let _ = peers.try_send(BrokerId((*other).into()), class, frame);
        }
        sleep(Duration::from_millis(5)).await;
    }
}

struct Machine {
    handle: NodeHandle,
    incarnation: u8,
}

async fn trouble(trace: Arc<Mutex<Trace>>) {
    let mut rng = madsim::rand::thread_rng();
    let mut machines: Vec<Machine> = (1..=NODES)
        .map(|node| Machine {
            handle: Handle::current().create_node().name(format!("n{node}")).ip(ip(node)).build(),
            incarnation: 0,
        })
        .collect();
    for (at, machine) in machines.iter().enumerate() {
        machine.handle.spawn(run(at as u8 + 1, 0, trace.clone()));
    }
    sleep(Duration::from_secs(1)).await;
    for _ in 0..6 {
        let at = rng.gen_range(0..machines.len());
        let other = (at + rng.gen_range(1..machines.len())) % machines.len();
        let (id, other_id) = (machines[at].handle.id(), machines[other].handle.id());
        match rng.gen_range(0..3) {
            0 => {
                Handle::current().kill(id);
                sleep(Duration::from_millis(rng.gen_range(0..1500))).await;
                Handle::current().restart(id);
                // A handle from before the restart spawns nothing.
                machines[at].handle = Handle::current().get_node(id).expect("it was just restarted");
                machines[at].incarnation += 1;
                let machine = &machines[at];
                machine.handle.spawn(run(at as u8 + 1, machine.incarnation, trace.clone()));
            }
            1 => {
                NetSim::current().clog_link(id, other_id);
                sleep(Duration::from_millis(rng.gen_range(100..9000))).await;
                NetSim::current().unclog_link(id, other_id);
            }
            _ => {
                Handle::current().pause(id);
                sleep(Duration::from_millis(rng.gen_range(100..8000))).await;
                Handle::current().resume(id);
            }
        }
        sleep(Duration::from_millis(rng.gen_range(0..1000))).await;
    }
    // madsim holds what was sent over a cut link back for up to ten seconds after it heals.
    sleep(Duration::from_secs(15)).await;
    let before = trace.lock().unwrap().heard.clone();
    sleep(Duration::from_secs(2)).await;
    let after = trace.lock().unwrap().heard.clone();
    for to in 1..=NODES {
        for from in (1..=NODES).filter(|from| *from != to) {
            let key = (to, BrokerId(from.into()));
            let heard = after[&key] - before[&key];
            assert!(heard > 300, "node {to} heard {heard} frames of node {from} in two quiet seconds");
        }
    }
    for machine in machines {
        Handle::current().kill(machine.handle.id());
    }
    sleep(Duration::from_millis(5)).await;
}

fn lines_of(seed: u64) -> Vec<String> {
    let running = std::thread::spawn(move || {
        let trace = Arc::new(Mutex::new(Trace::default()));
        let mut runtime = Runtime::with_seed_and_config(seed, madsim::Config::default());
        runtime.set_time_limit(Duration::from_secs(300));
        runtime.block_on(trouble(trace.clone()));
        std::mem::take(&mut trace.lock().unwrap().lines)
    });
    running.join().unwrap_or_else(|_| panic!("seed {seed}"))
}

#[test]
fn nodes_find_each_other_again_after_any_trouble() {
    let mut resets = 0;
    for seed in 0..20 {
        resets += lines_of(seed).iter().filter(|line| line.ends_with("Reset")).count();
    }
    assert!(resets > 20, "there was trouble");
}

#[test]
fn a_seed_is_a_run() {
    let first = lines_of(7);
    assert!(first.len() > 10_000);
    assert!(first == lines_of(7), "the same seed gave another run");
}
