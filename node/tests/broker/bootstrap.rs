//! Kafka's own settings of the quorum: `controller.quorum.voters` and `controller.quorum.bootstrap.servers`.

use crate::formation::says;
use crate::harness::{Broker, Serve, lasting_addresses};
use crate::quorum::{done, until, voters};
use std::path::Path;

/// A node as its properties say, in the words of Kafka's files.
fn node(dir: &Path, properties: &str) -> Serve {
    let file = dir.join("server.properties");
    let data = dir.join("data");
    std::fs::write(&file, format!("log.dirs={}\n{properties}", data.display())).expect("a file");
    let file = file.to_str().expect("a plain path").to_owned();
    // The file says where to listen.
    Serve::default().listen("").args(["--config", &file])
}

const LISTENERS: &str = "controller.listener.names=CONTROLLER\n\
    listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n";

#[test]
fn three_nodes_form_a_cluster_by_kafkas_voters() {
    let dirs = [(); 5].map(|()| tempfile::tempdir().expect("a directory"));
    let controllers: [String; 3] = lasting_addresses(3, 8);
    let named: Vec<_> = (1..).zip(&controllers).map(|(id, at): (i32, _)| format!("{id}@{at}")).collect();
    let quorum = format!("controller.quorum.voters={}\n{LISTENERS}", named.join(","));
    let combined = |n: usize| {
        let (id, controller) = (n + 1, &controllers[n]);
        let listeners = format!("listeners=PLAINTEXT://127.0.0.1:0,CONTROLLER://{controller}\n");
        node(dirs[n].path(), &format!("process.roles=broker,controller\nnode.id={id}\n{listeners}{quorum}"))
    };
    let mut nodes: Vec<Broker> = (0..3).map(|n| combined(n).spawn()).collect();
    nodes.iter_mut().for_each(Broker::wait_ready);
    assert_eq!(nodes[0].told("cluster_id"), nodes[2].told("cluster_id"));
    assert_eq!(
        nodes[1].told("peer"),
        Some(controllers[1].as_str()),
        "nodes meet where Kafka's controllers do"
    );
    let said = until(&nodes[0], &["cluster", "quorum"], |said| voters(said) == 3);
    assert!(!said.contains("observer"), "{said}");

    // A broker without a vote has the same line.
    let broker = format!("process.roles=broker\nnode.id=4\nlisteners=PLAINTEXT://127.0.0.1:0\n{quorum}");
    let broker = node(dirs[3].path(), &broker).start();
    done(&broker, &["topic", "create", "riders", "--partitions", "4", "--replication-factor", "2"]);
    assert_eq!(voters(&done(&broker, &["cluster", "quorum"])), 3);

    // So has one that is told of a single controller, and not of the one that leads.
    let leads = |node: &Broker| done(node, &["cluster", "quorum", "--json"]);
    let leader =
        (1..=3).find(|id| leads(&nodes[0]).contains(&format!("\"leader\":{id},"))).expect("there is one");
    let asked = &controllers[leader % 3];
    let newcomer = format!(
        "process.roles=broker\nnode.id=5\nlisteners=PLAINTEXT://127.0.0.1:0\n\
         controller.quorum.bootstrap.servers={asked}\n{LISTENERS}"
    );
    let newcomer = node(dirs[4].path(), &newcomer).start();
    assert!(done(&newcomer, &["topic", "list"]).contains("riders"));
    newcomer.stop_cleanly();

    // The same lines do for the next start.
    nodes.remove(2).stop_cleanly();
    nodes.push(combined(2).start());
    until(&nodes[2], &["topic", "list"], |said| said.contains("riders"));
    for node in nodes.into_iter().chain([broker]) {
        node.stop_cleanly();
    }
}

#[test]
fn a_node_finds_the_quorum_by_addresses_without_ids() {
    let dirs = [(); 3].map(|()| tempfile::tempdir().expect("a directory"));
    let [founder, nobody] = lasting_addresses(3, 9);
    let found = || Serve::at(dirs[0].path()).args(["--node-id", "1", "--peer-listen", &founder]);
    let bootstrap = format!("controller.quorum.bootstrap.servers={nobody},{founder}\n");
    let joiner = |n: usize, roles: &str| {
        let id = n + 1;
        let roles = format!("process.roles={roles}\nnode.id={id}\nlisteners=PLAINTEXT://127.0.0.1:0\n");
        node(dirs[n].path(), &format!("{roles}{bootstrap}"))
    };

    // Nobody is there yet: it founds nothing, and waits.
    let mut two = joiner(1, "broker,controller").spawn();
    says(&two, &format!("nobody is found at {founder}"));
    let one = found().start();
    two.wait_ready();
    says(&two, &format!("node 1 is found at {founder}"));
    assert_eq!(one.told("cluster_id"), two.told("cluster_id"));
    let three = joiner(2, "broker").start();
    until(&one, &["cluster", "quorum"], |said| said.matches("observer").count() == 2);
    done(&one, &["cluster", "add-voter", "2"]);
    until(&three, &["cluster", "quorum"], |said| voters(said) == 2);
    assert!(!one.log().contains("is turned away"), "who only asks for a name is no news: {}", one.log());

    // Once it knows the voters it asks nobody.
    two.stop_cleanly();
    let two = joiner(1, "broker,controller").start();
    assert!(!two.log().contains("asking at"), "{}", two.log());
    for node in [three, two, one] {
        node.stop_cleanly();
    }
}

/// Kafka's own server.properties names the node itself.
#[test]
fn a_node_that_is_told_of_nobody_but_itself_founds_a_cluster() {
    let dir = tempfile::tempdir().expect("a directory");
    let [own] = lasting_addresses(3, 7);
    let port = own.rsplit(':').next().expect("a port");
    for quorum in [
        format!("controller.quorum.bootstrap.servers=localhost:{port}\n"),
        format!("controller.quorum.voters=1@{own}\n"),
    ] {
        let dir = dir.path().join(if quorum.contains("voters") { "voters" } else { "bootstrap" });
        std::fs::create_dir(&dir).expect("a directory");
        let listeners = format!("listeners=PLAINTEXT://127.0.0.1:0,CONTROLLER://{own}\n{LISTENERS}");
        let text = format!("process.roles=broker,controller\nnode.id=1\n{listeners}{quorum}");
        for _ in 0..2 {
            let node = node(&dir, &text).start();
            assert_eq!(node.told("peer"), Some(own.as_str()));
            done(&node, &["topic", "list"]);
            node.stop_cleanly();
        }
    }
}
