//! The door for other nodes: where it is, who is let in, and what an operator hears of the rest.

use crate::formation::says;
use crate::harness::{Broker, PATIENCE, Serve};
use crate::quorum::done;
use highwater_core::ids::{BrokerEpoch, BrokerId, Offset};
use highwater_core::metadata::peer::{
    BROKER_MESSAGE_VERSION, BrokerHeartbeat, BrokerRefusal, BrokerReply, BrokerReplyBody, BrokerRequest,
    BrokerRequestBody, RegisterBroker,
};
use highwater_core::metadata::{FORMAT_FEATURE, FORMAT_NEWEST, FeatureRange};
use highwater_core::transport::{
    Class, FORMATS, Format, FormatRange, Frame, FrameKind, Hello, HelloAnswer, LocalPeer, PeerIdentity,
    Refusal,
};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

fn connect(broker: &Broker) -> TcpStream {
    let address: SocketAddr = broker.told("peer").expect("a peer listener").parse().expect("an address");
    let stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    stream
}

/// What node 2 of this cluster says to node 1.
fn hello(cluster_id: &str) -> Hello {
    let identity = PeerIdentity { id: BrokerId(2), incarnation: [7; 16], directory_id: [8; 16] };
    let cluster_id = Some(cluster_id.to_owned());
    LocalPeer { identity, cluster_id, address: None }.hello(BrokerId(1), Class::Control)
}

/// Says hello and hears the answer. The connection lasts as long as the stream.
fn call(broker: &Broker, hello: &Hello) -> (TcpStream, HelloAnswer) {
    let mut stream = connect(broker);
    stream.write_all(&hello.encode()).expect("it listens");
    let mut bytes = Vec::new();
    loop {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("an answer");
        bytes.extend_from_slice(&byte);
        if let Some((answer, ..)) = HelloAnswer::decode(&bytes).expect("an answer") {
            return (stream, answer);
        }
    }
}

#[test]
fn nodes_of_the_cluster_are_let_in() {
    let broker = Serve::ephemeral().args(["--admin", "127.0.0.1:0", "--peer-listen", "127.0.0.1:0"]).start();
    let cluster = broker.told("cluster_id").expect("a cluster id").to_owned();
    let (_stream, answer) = call(&broker, &hello(&cluster));
    assert!(
        matches!(&answer, HelloAnswer::Accepted { cluster_id, from, .. }
            if cluster_id.as_deref() == Some(&*cluster) && from.id == BrokerId(1)),
        "{answer:?}"
    );
    let page = broker.page("/metrics").1;
    assert!(page.contains("highwater_peer_hellos_refused_total 0\n"), "{page}");
    let log = broker.stop_cleanly();
    assert!(!log.contains("WARN"), "{log}");
}

#[test]
fn a_node_of_another_cluster_is_turned_away_and_the_log_says_why() {
    let broker = Serve::ephemeral().start();
    let ours = broker.told("cluster_id").expect("a cluster id").to_owned();
    let (_, answer) = call(&broker, &hello("not-this-one"));
    assert_eq!(answer, HelloAnswer::Refused(Refusal::ForeignCluster { ours: ours.clone() }));
    let log = broker.stop_cleanly();
    assert!(log.contains("node 2 at 127.0.0.1:"), "{log}");
    let why = format!("is turned away: the refusing node belongs to another cluster, {ours}");
    assert!(log.contains(&why), "{log}");
}

#[test]
fn a_release_without_a_common_format_is_turned_away_and_the_log_says_why() {
    let broker = Serve::ephemeral().start();
    let cluster = broker.told("cluster_id").expect("a cluster id").to_owned();
    let formats = FormatRange { min: 200, max: 201 };
    let (_, answer) = call(&broker, &Hello { formats, ..hello(&cluster) });
    assert_eq!(answer, HelloAnswer::Refused(Refusal::UnsupportedFormat { ours: FORMATS }));
    let log = broker.stop_cleanly();
    let why = format!("is turned away: the refusing node speaks frame formats {FORMATS}");
    assert!(log.contains(&why), "{log}");
}

/// The longest frame that anybody may announce is far below this.
const NO_FRAME: [u8; 8] = [0xff; 8];

#[test]
fn a_corrupt_frame_closes_its_connection_and_the_log_says_why() {
    let broker = Serve::ephemeral().start();
    let cluster = broker.told("cluster_id").expect("a cluster id").to_owned();
    let (mut stream, answer) = call(&broker, &hello(&cluster));
    assert!(matches!(answer, HelloAnswer::Accepted { .. }), "{answer:?}");
    stream.write_all(&NO_FRAME).expect("it listens");
    let mut rest = Vec::new();
    // A reset is an end, too.
    let _ = stream.read_to_end(&mut rest);
    // The next one is let in as ever.
    let (_stream, answer) = call(&broker, &hello(&cluster));
    assert!(matches!(answer, HelloAnswer::Accepted { .. }), "{answer:?}");
    drop(stream);
    says(&broker, "the control connection with node 2 is closed: a frame of -1 bytes was promised");
    broker.stop_cleanly();
}

/// What the node answers to a request of a broker.
fn asks(stream: &mut TcpStream, body: BrokerRequestBody) -> BrokerReplyBody {
    let request = BrokerRequest { incarnation: hello("").from.incarnation, correlation: 9, body };
    let frame = Frame {
        kind: FrameKind::BrokerRequest,
        version: BROKER_MESSAGE_VERSION,
        header: request.encode().into(),
        payload: Vec::new(),
    };
    stream.write_all(&Format::V1.encode(&frame)).expect("it listens");
    loop {
        let mut length = [0; 4];
        stream.read_exact(&mut length).expect("a frame");
        let mut bytes = vec![0; usize::try_from(u32::from_be_bytes(length)).expect("a length")];
        stream.read_exact(&mut bytes).expect("a whole frame");
        let frame = Format::V1.decode(bytes.into()).expect("a frame");
        if frame.kind == FrameKind::BrokerReply {
            return BrokerReply::decode(frame.version, &frame.header).expect("a reply").body;
        }
    }
}

#[test]
fn a_stale_broker_epoch_is_refused_and_the_log_says_why() {
    let broker = Serve::ephemeral().start();
    let cluster = broker.told("cluster_id").expect("a cluster id").to_owned();
    let (mut stream, _) = call(&broker, &hello(&cluster));
    let heartbeat = |epoch| {
        BrokerRequestBody::Heartbeat(BrokerHeartbeat {
            broker_epoch: BrokerEpoch(epoch),
            metadata_offset: Offset(0),
            wants_fence: false,
            wants_shutdown: false,
        })
    };
    let stranger = asks(&mut stream, heartbeat(1));
    assert_eq!(stranger, BrokerReplyBody::Refused(BrokerRefusal::NotRegistered));
    // Its own registration is of another epoch than the one it speaks with.
    let feature = |name: &str, min, max| FeatureRange { name: name.to_owned(), min, max };
    let features = vec![feature("metadata.version", 7, 30), feature(FORMAT_FEATURE, 1, FORMAT_NEWEST)];
    let registration = RegisterBroker {
        directory_id: hello("").from.directory_id,
        endpoints: Vec::new(),
        rack: None,
        features,
        clean_stop_of: None,
    };
    let registered = asks(&mut stream, BrokerRequestBody::Register(registration));
    let BrokerReplyBody::Registered { broker_epoch } = registered else { panic!("{registered:?}") };
    let stale = asks(&mut stream, heartbeat(broker_epoch.0 - 1));
    assert_eq!(stale, BrokerReplyBody::Refused(BrokerRefusal::StaleBrokerEpoch));
    drop(stream);
    let (_, log) = broker.stop();
    assert!(log.contains("a broker's request is refused; it has to register anew"), "{log}");
    assert!(log.contains("broker=2"), "{log}");
}

#[test]
fn a_second_node_with_a_living_nodes_id_is_turned_away_and_both_logs_say_why() {
    let dirs = [(); 3].map(|()| tempfile::tempdir().expect("a directory"));
    let one = Serve::at(dirs[0].path()).start();
    let controllers = format!("1@{}", one.told("peer").expect("a peer listener"));
    let second =
        |n: usize| Serve::at(dirs[n].path()).args(["--node-id", "2", "--initial-controllers", &controllers]);
    let two = second(1).start();
    let twin = second(2).spawn();
    let deadline = Instant::now() + PATIENCE;
    let why = "another node with id 2 is alive, on the data directory with id";
    while !(one.log().contains(why) && twin.log().contains(why)) {
        assert!(Instant::now() < deadline, "{}\n---\n{}", one.log(), twin.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(one.log().contains("is turned away: another node with id 2"), "{}", one.log());
    assert!(
        twin.log().contains("cannot be used: it refuses this node: another node with id 2"),
        "{}",
        twin.log()
    );
    assert_eq!(twin.ready(), "", "it never serves");
    let nodes = done(&one, &["cluster", "nodes"]);
    assert!(!nodes.contains("fenced"), "the living one goes on: {nodes}");
    for node in [two, one] {
        node.stop_cleanly();
    }
}

#[test]
fn a_node_started_for_another_cluster_is_refused_and_both_logs_say_why() {
    let dirs = [(); 2].map(|()| tempfile::tempdir().expect("a directory"));
    let one = Serve::at(dirs[0].path()).start();
    // Its directory belongs to a cluster of its own.
    Serve::at(dirs[1].path()).args(["--node-id", "2"]).start().stop_cleanly();
    let peer = one.told("peer").expect("a peer listener");
    let controllers = format!("1@{peer}");
    let foreign = Serve::at(dirs[1].path()).args(["--initial-controllers", &controllers]).start();
    let deadline = Instant::now() + PATIENCE;
    let why = "the refusing node belongs to another cluster";
    while !(one.log().contains(why) && foreign.log().contains(why)) {
        assert!(Instant::now() < deadline, "{}\n---\n{}", one.log(), foreign.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    let nodes = done(&one, &["cluster", "nodes", "--json"]);
    assert!(!nodes.contains("\"id\":2"), "{nodes}");
    one.stop_cleanly();
}

#[test]
fn a_kafka_client_at_the_wrong_port_is_closed_and_the_log_says_why() {
    let broker = Serve::ephemeral().start();
    let mut stream = connect(&broker);
    stream.write_all(&[0, 0, 0, 0x20, 0, 18, 0, 3]).expect("it listens");
    let mut rest = Vec::new();
    // A reset is an end, too.
    let _ = stream.read_to_end(&mut rest);
    assert!(rest.is_empty(), "{rest:?}");
    let log = broker.stop_cleanly();
    assert!(log.contains("to the peer listener is closed: it begins with [00, 00, 00, 20]"), "{log}");
}

#[test]
fn a_door_that_cannot_be_opened_ends_the_start() {
    let first = Serve::ephemeral().start();
    let taken = first.told("peer").expect("a peer listener").to_owned();
    let (code, log) = Serve::ephemeral().args(["--peer-listen", &taken]).refused();
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains(&format!("listener PEER cannot listen on {taken}")), "{log}");
}
