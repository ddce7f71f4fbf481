//! `process.roles`: nodes that are only controllers, and nodes that are only brokers.

use crate::client::Client;
use crate::formation::says;
use crate::harness::{Broker, Serve, lasting_addresses};
use crate::quorum::{cli, done, until, voters};
use bytes::Bytes;
use highwater_protocol::messages::MetadataRequest;

/// Controllers 1 to 3 and broker 4.
struct Apart {
    dirs: [tempfile::TempDir; 4],
    peers: [String; 3],
}

impl Apart {
    fn new(part: usize) -> Self {
        let dirs = [(); 4].map(|()| tempfile::tempdir().expect("a directory"));
        Self { dirs, peers: lasting_addresses(3, part) }
    }

    fn controllers(&self) -> String {
        let named = (1..).zip(&self.peers).map(|(id, peer)| format!("{id}@{peer}"));
        named.collect::<Vec<_>>().join(",")
    }

    fn controller(&self, n: usize) -> Serve {
        let id = (n + 1).to_string();
        Serve::at(self.dirs[n].path())
            .listen("")
            .args(["--node-id", &id, "--peer-listen", &self.peers[n], "--initial-controllers"])
            .args([&*self.controllers()])
            .set("process.roles=controller")
    }

    fn broker(&self) -> Serve {
        Serve::at(self.dirs[3].path())
            .args(["--node-id", "4", "--initial-controllers", &self.controllers()])
            .set("process.roles=broker")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn controllers_apart_from_the_broker_that_serves() {
    let apart = Apart::new(4);
    let mut controllers: Vec<Broker> = (0..3).map(|n| apart.controller(n).spawn()).collect();
    controllers.iter_mut().for_each(Broker::wait_ready);
    assert!(
        controllers.iter().all(|node| node.told("listen").is_none()),
        "clients have nothing to ask there"
    );
    let broker = apart.broker().start();

    let said = until(&broker, &["cluster", "quorum"], |said| said.contains("observer"));
    assert_eq!(voters(&said), 3, "{said}");
    let nodes = done(&broker, &["cluster", "nodes", "--json"]);
    let nodes: serde_json::Value = serde_json::from_str(&nodes).expect("one document");
    let ids: Vec<_> =
        nodes["nodes"].as_array().expect("nodes").iter().map(|node| node["id"].as_i64()).collect();
    assert_eq!(ids, [Some(4)], "no controller is registered as a broker: {nodes}");
    assert!(nodes["controller"].as_i64().is_some_and(|id| id <= 3), "{nodes}");

    let client = Client::connect(broker.address()).await;
    let metadata = client.connection.send(&MetadataRequest::default()).await.expect("metadata");
    assert_eq!(
        metadata.controller_id, 4,
        "clients take what is for the controller to a broker that they know"
    );
    client.create_topic("riders", 2, &[]).await;
    assert_eq!(client.append("riders", 0, &[b"one", b"two"]).await, Ok(0));
    assert_eq!(client.read_all("riders", 0).await, [(0, Bytes::from("one")), (1, Bytes::from("two"))]);

    // The broker cannot be made a voter.
    let error = cli(&broker, &["cluster", "add-voter", "4"]).expect_err("it is no controller");
    assert!(error.contains("does not play the role of a controller"), "{error}");

    // The controller's death costs no record and no topic.
    let leader = usize::try_from(nodes["controller"].as_i64().expect("an id") - 1).expect("a place");
    controllers.remove(leader).kill();
    until(&broker, &["topic", "create", "after"], |_| true);
    drop(client);
    for node in [broker].into_iter().chain(controllers) {
        let log = node.stop_cleanly();
        assert!(!log.contains("stray log"), "{log}");
    }
    let mut again: Vec<Broker> = (0..3).map(|n| apart.controller(n).spawn()).collect();
    again.iter_mut().for_each(Broker::wait_ready);
    let broker = apart.broker().start();
    let client = Client::connect(broker.address()).await;
    assert_eq!(client.topics().await.len(), 2);
    assert_eq!(client.read_all("riders", 0).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_controller_alone_carries_brokers() {
    let apart = Apart::new(5);
    let alone = format!("1@{}", apart.peers[0]);
    let controller = Serve::at(apart.dirs[0].path())
        .listen("")
        .args(["--peer-listen", &apart.peers[0]])
        .set("process.roles=controller")
        .start();
    let brokers = [1, 2].map(|n| {
        let id = (n + 1).to_string();
        Serve::at(apart.dirs[n].path())
            .args(["--node-id", &id, "--initial-controllers", &alone])
            .set("process.roles=broker")
            .start()
    });
    done(&brokers[0], &["topic", "create", "riders", "--replication-factor", "2"]);
    let nodes = done(&brokers[1], &["cluster", "nodes"]);
    assert!(!nodes.contains("fenced"), "{nodes}");
    for node in brokers.into_iter().chain([controller]) {
        node.stop_cleanly();
    }
}

#[test]
fn a_broker_alone_needs_controllers_and_does_not_vote() {
    let dir = tempfile::tempdir().expect("a directory");
    let (code, log) = Serve::at(dir.path()).set("process.roles=broker").refused();
    assert_eq!(code, Some(1));
    assert!(log.contains("process.roles=broker needs the controllers of a cluster"), "{log}");
    assert!(!dir.path().join("meta.properties").exists(), "the directory is as empty as before");

    let dir = tempfile::tempdir().expect("a directory");
    Serve::at(dir.path()).start().stop_cleanly();
    let (code, log) = Serve::at(dir.path()).set("process.roles=broker").refused();
    assert_eq!(code, Some(1));
    assert!(log.contains("does not let node 1 vote, but it is one of the controllers that do"), "{log}");

    // As a controller it goes on, and what it held as a broker stays.
    let node = Serve::at(dir.path()).listen("").set("process.roles=controller").start();
    says(&node, "this node is the active controller");
    node.stop_cleanly();
    Serve::at(dir.path()).start().stop_cleanly();
}
