//! The network between nodes in memory: it does what it is told to, link by link, and the same each time.
#![cfg(madsim)]

use highwater::peers::{FrameHandler, LinkWatcher, Peers};
use highwater_core::ids::BrokerId;
use highwater_core::transport::{
    Class, Frame, FrameKind, LinkEvent, LocalPeer, PeerAddress, PeerIdentity, SendError,
};
use highwater_sim::peer_net::{PeerNet, Wire};
use highwater_sim::rng::Rng;
use madsim::runtime::Runtime;
use std::future::Future;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::sleep;

/// A node that notes what it hears.
struct Node {
    id: BrokerId,
    peers: Arc<Peers>,
    ear: Arc<Ear>,
}

#[derive(Default)]
struct Ear(Mutex<Vec<String>>);

impl FrameHandler for Ear {
    fn received(&self, from: &PeerIdentity, frame: Frame) {
        let text = String::from_utf8_lossy(&frame.header).into_owned();
        self.0.lock().unwrap().push(format!("{}: {text}", from.id));
    }
}

impl LinkWatcher for Ear {
    fn link(&self, peer: BrokerId, link: LinkEvent) {
        self.0.lock().unwrap().push(format!("{peer} {link:?}"));
    }
}

impl Node {
    fn start(net: &Arc<PeerNet>, id: i32, incarnation: u8) -> Self {
        let identity =
            PeerIdentity { id: BrokerId(id), incarnation: [incarnation; 16], directory_id: [id as u8; 16] };
        let local = LocalPeer { identity, cluster_id: None, address: None };
        let peers = Peers::open(net.open(), local, Handle::current(), Handle::current(), 0);
        let ear = Arc::new(Ear::default());
        peers.handle(FrameKind::Quorum, Arc::downgrade(&ear) as Weak<dyn FrameHandler>);
        peers.watch_links(Arc::downgrade(&ear) as Weak<dyn LinkWatcher>);
        Self { id: BrokerId(id), peers, ear }
    }

    fn knows(&self, id: i32) {
        let address = PeerAddress { host: "anywhere".to_owned(), port: 1 };
        self.peers.set_address(BrokerId(id), Some(address));
    }

    fn say(&self, to: &Self, text: &str) -> Result<(), SendError> {
        let frame = Frame::new(FrameKind::Quorum, 0, text.as_bytes().to_vec());
        self.peers.send(to.id, Class::Control, frame)
    }

    /// What was heard since it was asked last, once all is quiet.
    async fn heard(&self) -> Vec<String> {
        sleep(Duration::from_millis(50)).await;
        std::mem::take(&mut *self.ear.0.lock().unwrap())
    }
}

fn run<T: Send + 'static>(
    seed: u64,
    story: impl FnOnce(Rng) -> std::pin::Pin<Box<dyn Future<Output = T>>> + Send + 'static,
) -> T {
    let running = std::thread::spawn(move || {
        Runtime::with_seed_and_config(seed, madsim::Config::default()).block_on(story(Rng::new(seed)))
    });
    running.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

async fn pair(net: &Arc<PeerNet>) -> (Node, Node) {
    let (one, two) = (Node::start(net, 1, 1), Node::start(net, 2, 1));
    one.knows(2);
    two.knows(1);
    one.heard().await;
    two.heard().await;
    (one, two)
}

#[test]
fn a_good_network_keeps_everything_in_order() {
    run(1, |rng| {
        Box::pin(async move {
            let net = PeerNet::new(rng, Wire::default());
            let (one, two) = pair(&net).await;
            let numbers: Vec<String> = (0..200).map(|number| format!("1: {number}")).collect();
            for number in 0..200 {
                one.say(&two, &number.to_string()).expect("they know each other");
            }
            assert_eq!(two.heard().await, numbers);
            one.say(&one, "to myself").expect("it is there");
            assert_eq!(one.heard().await, ["1: to myself"]);
        })
    });
}

#[test]
fn a_cut_is_one_way_and_silent() {
    run(2, |rng| {
        Box::pin(async move {
            let net = PeerNet::new(rng, Wire::default());
            let (one, two) = pair(&net).await;
            net.cut(one.id, two.id);
            one.say(&two, "lost").expect("nobody can tell");
            two.say(&one, "heard").expect("nobody can tell");
            assert_eq!((one.heard().await, two.heard().await), (vec!["2: heard".to_owned()], Vec::new()));
            net.heal();
            one.say(&two, "heard").expect("all is well");
            assert_eq!(two.heard().await, ["1: heard"]);
        })
    });
}

#[test]
fn frames_are_lost_doubled_and_overtaken_as_often_as_was_asked_for() {
    let story = |rng: Rng| -> std::pin::Pin<Box<dyn Future<Output = Vec<String>>>> {
        Box::pin(async move {
            let net = PeerNet::new(rng, Wire::default());
            let (one, two) = pair(&net).await;
            let bad = Wire { lost_permille: 200, doubled_permille: 200, reorders: true, ..Wire::default() };
            net.set_wire(one.id, two.id, bad);
            for number in 0..1000 {
                one.say(&two, &number.to_string()).expect("they know each other");
            }
            two.heard().await
        })
    };
    let heard = run(3, story);
    let different: std::collections::BTreeSet<&String> = heard.iter().collect();
    assert!((750..850).contains(&different.len()), "{} of 1000 arrived", different.len());
    let doubled = heard.len() - different.len();
    assert!((120..200).contains(&doubled), "{doubled} of about 800 arrived twice");
    let sent_before: Vec<u32> = heard.iter().map(|text| text[3..].parse().expect("a number")).collect();
    assert!(!sent_before.is_sorted(), "some were overtaken");
    assert_eq!(heard, run(3, story), "and the same each time");
}

#[test]
fn the_dead_are_told_of_and_may_come_back() {
    run(4, |rng| {
        Box::pin(async move {
            let net = PeerNet::new(rng, Wire::default());
            let (one, two) = pair(&net).await;
            two.say(&one, "my last").expect("they know each other");
            one.say(&two, "on its way").expect("they know each other");
            net.crash(two.id);
            let heard = one.heard().await;
            assert_eq!(heard.len(), 3, "{heard:?}");
            assert!(heard.contains(&"2: my last".to_owned()) && heard.contains(&"2 Refused".to_owned()));
            assert_eq!(two.heard().await, [""; 0], "what was on its way is lost");
            assert_eq!(one.say(&two, "?"), Err(SendError::NotConnected));
            assert_eq!(two.say(&one, "?"), Err(SendError::Stopped), "it is dead");
            let two = Node::start(&net, 2, 2);
            assert_eq!(one.heard().await, ["2 Up"]);
            one.say(&two, "welcome").expect("it is back");
            assert_eq!(two.heard().await, ["1: welcome"]);
        })
    });
}

#[test]
fn who_was_never_told_of_a_node_does_not_reach_it() {
    run(5, |rng| {
        Box::pin(async move {
            let net = PeerNet::new(rng, Wire::default());
            let (one, two) = (Node::start(&net, 1, 1), Node::start(&net, 2, 1));
            assert_eq!(one.say(&two, "?"), Err(SendError::UnknownPeer));
            two.knows(1);
            assert_eq!(one.heard().await, ["2 Up"]);
            one.say(&two, "an answer").expect("it called");
            assert!(two.heard().await.contains(&"1: an answer".to_owned()));
        })
    });
}
