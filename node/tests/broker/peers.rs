//! The door for other nodes: where it is, who is let in, and what an operator hears of the rest.

use crate::harness::{Broker, PATIENCE, Serve};
use highwater_core::ids::BrokerId;
use highwater_core::transport::{Class, Hello, HelloAnswer, LocalPeer, PeerIdentity, Refusal};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

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
        if let Some((answer, _)) = HelloAnswer::decode(&bytes).expect("an answer") {
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
