//! Three brokers, each a process of its own: what acks=all promised outlives `kill -9`, and who comes back catches up.

#[path = "../broker/harness.rs"]
#[allow(dead_code, reason = "shared with the tests of one broker")]
mod harness;

use harness::{Broker, PATIENCE, Serve, lasting_address};
use highwater_core::ids::BrokerId;
use highwater_net_tcp::client::{Cluster as Client, ClusterOptions, Connection, TcpDial};
use highwater_protocol::ErrorCode;
use highwater_protocol::messages::{
    CreatableTopic, CreateTopicsRequest, ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic,
    MetadataRequest, MetadataRequestTopic,
};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// ListOffsets' word for the first offset.
const EARLIEST: i64 = -2;

/// Three nodes, some of them away.
struct Cluster {
    dir: tempfile::TempDir,
    /// By node, from 1: where clients and peers connect.
    addresses: Vec<(String, String)>,
    nodes: Vec<Option<Broker>>,
}

impl Cluster {
    /// Each story of this file has ports of its own.
    fn start(story: u16) -> Self {
        let address = lasting_address(2 + u32::from(story % 2));
        let base: u16 = address.rsplit(':').next().expect("a port").parse().expect("a number");
        let base = base + story / 2 * 10;
        let addresses =
            (0..3).map(|n| (format!("127.0.0.1:{}", base + n), format!("127.0.0.1:{}", base + 3 + n)));
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut cluster = Self { dir, addresses: addresses.collect(), nodes: Vec::from([const { None }; 3]) };
        // Nobody is ready before two of them vote.
        cluster.nodes = (1..=3).map(|node| Some(cluster.serve(node).spawn())).collect();
        cluster.nodes.iter_mut().flatten().for_each(Broker::wait_ready);
        cluster
    }

    fn serve(&self, node: usize) -> Serve {
        let (listen, peer_listen) = &self.addresses[node - 1];
        let voters: Vec<_> =
            (1..).zip(&self.addresses).map(|(id, (_, peer))| format!("{id}@{peer}")).collect();
        let id = node.to_string();
        Serve::at(&self.dir.path().join(&id))
            .listen(listen)
            .args([
                "--node-id",
                &id,
                "--peer-listen",
                peer_listen,
                "--initial-controllers",
                &voters.join(","),
            ])
            .args(["--admin", "127.0.0.1:0"])
            .set("min.insync.replicas=2")
            .set("log.segment.delete.delay.ms=200")
    }

    fn kill(&mut self, node: usize) {
        self.nodes[node - 1].take().expect("it is up").kill();
    }

    fn start_again(&mut self, node: usize) {
        self.nodes[node - 1] = Some(self.serve(node).start());
    }

    fn log_of(&self, node: usize) -> String {
        self.nodes[node - 1].as_ref().expect("it is up").log()
    }

    /// Runs a command against the nodes that are up; what it printed.
    fn run(&self, args: &[&str], input: &str) -> String {
        let up = self.nodes.iter().zip(&self.addresses).filter(|(node, _)| node.is_some());
        let bootstrap: Vec<_> = up.map(|(_, (listen, _))| listen.as_str()).collect();
        let mut child = Command::new(env!("CARGO_BIN_EXE_highwater"))
            .args(args)
            .args(["--bootstrap", &bootstrap.join(",")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the command starts");
        let mut stdin = child.stdin.take().expect("standard input is a pipe");
        stdin.write_all(input.as_bytes()).expect("it reads its input");
        drop(stdin);
        let output = child.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).expect("text")
    }

    fn produce(&self, topic: &str, numbers: std::ops::Range<u32>) {
        let input: String = numbers.map(|n| format!("{n}\n")).collect();
        self.run(&["produce", topic], &input);
    }

    /// The same in lines so long that a thousand of them fill the smallest segment.
    fn produce_wide(&self, topic: &str, numbers: std::ops::Range<u32>) {
        let input: String = numbers.map(|n| format!("{n:0>1100}\n")).collect();
        self.run(&["produce", topic], &input);
    }

    /// All numbers of a topic, each once, sorted.
    fn consume(&self, topic: &str) -> Vec<u32> {
        let text = self.run(&["consume", topic, "--from", "earliest"], "");
        let mut numbers: Vec<u32> = text.lines().map(|line| line.parse().expect("a number")).collect();
        numbers.sort_unstable();
        numbers
    }

    /// Waits until every partition of a topic has three replicas in sync.
    fn wait_in_sync(&self, topic: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = self.run(&["topic", "describe", topic, "--json"], "");
            let described: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            let partitions = described.pointer("/topics/0/partitions").and_then(|p| p.as_array());
            let partitions = partitions.unwrap_or_else(|| panic!("no partitions in {text}"));
            let is_whole = |p: &serde_json::Value| p["isr"].as_array().map(Vec::len) == Some(3);
            if partitions.iter().all(is_whole) {
                return;
            }
            assert!(Instant::now() < deadline, "replicas stay out of sync: {text}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The nodes that have a replica of a topic's first partition, or are about to.
    fn replicas(&self, topic: &str) -> Vec<i64> {
        let text = self.run(&["topic", "describe", topic, "--json"], "");
        let described: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let replicas = described.pointer("/topics/0/partitions/0/replicas").and_then(|r| r.as_array());
        let replicas = replicas.unwrap_or_else(|| panic!("no replicas in {text}"));
        replicas.iter().filter_map(serde_json::Value::as_i64).collect()
    }

    /// Who leads a topic's first partition, and in which leader epoch; 0 while nobody does.
    fn leader(&self, topic: &str) -> (usize, i64) {
        let text = self.run(&["topic", "describe", topic, "--json"], "");
        let described: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let partition = described.pointer("/topics/0/partitions/0").unwrap_or_else(|| panic!("{text}"));
        let leader = partition["leader"].as_i64().and_then(|leader| usize::try_from(leader).ok());
        (leader.unwrap_or(0), partition["leader_epoch"].as_i64().unwrap_or(-1))
    }

    /// Waits until a node has logged this; the line.
    fn wait_logged(&self, node: usize, what: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log = self.log_of(node);
            if let Some(line) = log.lines().find(|line| line.contains(what)) {
                return line.to_owned();
            }
            assert!(Instant::now() < deadline, "node {node} does not say {what:?}:\n{log}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Which of the nodes that are up has logged this.
    fn someone_logged(&self, what: &str) -> bool {
        self.nodes.iter().flatten().any(|node| node.log().contains(what))
    }

    /// The sum of a metric's value on all nodes that are up.
    fn metric(&self, name: &str) -> u64 {
        let pages = self.nodes.iter().flatten().map(|node| node.page("/metrics").1);
        let value = |page: &String| {
            let line = page.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|value| value.trim().parse::<u64>().ok())
                .unwrap_or_else(|| panic!("{name}: {page}"))
        };
        pages.collect::<Vec<_>>().iter().map(value).sum()
    }

    /// Waits until a node has nothing of `gone` and `moved` on its disk, under whatever name.
    fn wait_gone(&self, node: usize) {
        let deadline = Instant::now() + PATIENCE;
        let left = || {
            let names = std::fs::read_dir(self.dir.path().join(node.to_string())).expect("a directory");
            let names = names.map(|entry| entry.expect("an entry").file_name().into_string().expect("text"));
            names
                .filter(|name| name.contains("gone") || name.contains("moved") || name.contains("-delete"))
                .collect::<Vec<_>>()
        };
        while !left().is_empty() {
            assert!(Instant::now() < deadline, "these stay: {:?}\n{}", left(), self.log_of(node));
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn topic_dir(&self, node: usize, partition: &str) -> std::path::PathBuf {
        self.dir.path().join(node.to_string()).join(partition)
    }
}

fn topic_id(partition_dir: &Path) -> String {
    std::fs::read_to_string(partition_dir.join("partition.metadata")).expect("the log has an identity")
}

#[test]
fn what_was_promised_outlives_each_node_in_turn() {
    let mut cluster = Cluster::start(0);
    cluster.run(&["topic", "create", "numbers", "--partitions", "3", "--replication-factor", "3"], "");
    cluster.produce("numbers", 0..500);
    for (round, node) in (1..).zip([1, 2, 3]) {
        cluster.kill(node);
        cluster.produce("numbers", round * 500..(round + 1) * 500);
        assert_eq!(cluster.consume("numbers"), (0..(round + 1) * 500).collect::<Vec<_>>());
        cluster.start_again(node);
        cluster.wait_in_sync("numbers");
    }
}

#[test]
fn a_topic_made_anew_meanwhile_has_nothing_of_the_old_one() {
    let mut cluster = Cluster::start(1);
    cluster.run(&["topic", "create", "fresh", "--replication-factor", "3"], "");
    cluster.produce("fresh", 0..100);
    cluster.wait_in_sync("fresh");
    let old = topic_id(&cluster.topic_dir(2, "fresh-0"));
    cluster.kill(2);
    cluster.run(&["topic", "delete", "fresh"], "");
    cluster.run(&["topic", "create", "fresh", "--replication-factor", "3"], "");
    cluster.produce("fresh", 500..520);
    cluster.start_again(2);
    cluster.wait_in_sync("fresh");
    assert_eq!(cluster.consume("fresh"), (500..520).collect::<Vec<_>>());
    assert_ne!(topic_id(&cluster.topic_dir(2, "fresh-0")), old);
    assert!(cluster.log_of(2).contains("removing stray logs of fresh-0"), "{}", cluster.log_of(2));
}

#[test]
fn logs_that_a_node_is_not_to_have_any_more_go_from_its_disk() {
    let mut cluster = Cluster::start(2);
    for topic in ["gone", "moved"] {
        cluster.run(&["topic", "create", topic, "--replication-factor", "3"], "");
        cluster.produce(topic, 0..10);
        cluster.wait_in_sync(topic);
    }
    // While it is away one topic is deleted, and its replica of the other is taken from it.
    cluster.kill(2);
    cluster.run(&["topic", "delete", "gone"], "");
    cluster.run(&["cluster", "reassign", "moved", "--to", "1,3", "--replication-factor", "2"], "");
    assert!(cluster.topic_dir(2, "gone-0").exists() && cluster.topic_dir(2, "moved-0").exists());
    cluster.start_again(2);
    cluster.wait_gone(2);
    let log = cluster.log_of(2);
    assert!(log.contains("removing stray logs of gone-0: their topics were deleted"), "{log}");
    assert!(log.contains("removing stray logs of moved-0: their replicas were moved elsewhere"), "{log}");
    // While it is there its replica is taken from it.
    cluster.run(&["cluster", "reassign", "moved", "--to", "2,3"], "");
    cluster.wait_gone(1);
    assert!(cluster.topic_dir(2, "moved-0").exists());
    assert_eq!(cluster.consume("moved"), (0..10).collect::<Vec<_>>());
    cluster.run(&["topic", "delete", "moved"], "");
    (1..=3).for_each(|node| cluster.wait_gone(node));
}

#[test]
fn a_throttled_move_takes_its_time_and_the_throttle_is_lifted_behind_it() {
    let cluster = Cluster::start(3);
    cluster.run(
        &["topic", "create", "heavy", "--replication-factor", "2", "--config", "min.insync.replicas=1"],
        "",
    );
    let line = "x".repeat(1000);
    let input = format!("{line}\n").repeat(3000);
    cluster.run(&["produce", "heavy"], &input);
    let replicas = cluster.replicas("heavy");
    let other = (1..=3).find(|node| !replicas.contains(node)).expect("one of three has none");
    let to = format!("{},{other}", replicas[0]);
    let begun = Instant::now();
    let args = ["cluster", "reassign", "heavy", "--to", &to, "--throttle", "500000"];
    let during = cluster.run(&[&args[..], &["--no-wait"]].concat(), "");
    assert!(during.contains("on the move"), "{during}");
    let throttled = cluster.run(&["topic", "describe", "heavy", "--json"], "");
    assert!(throttled.contains("follower.replication.throttled.replicas"), "{throttled}");
    // Others are not held up by it.
    cluster.run(&["topic", "create", "light", "--replication-factor", "3"], "");
    cluster.produce("light", 0..100);
    cluster.wait_in_sync("light");
    assert!(
        cluster.replicas("heavy").len() > 2,
        "3 MB at 0.5 MB/s cannot have moved in {:?}",
        begun.elapsed()
    );
    let deadline = Instant::now() + PATIENCE;
    while cluster.replicas("heavy").len() > 2 {
        assert!(Instant::now() < deadline, "it never arrives");
        std::thread::sleep(Duration::from_millis(100));
    }
    // A second of it may come at once.
    assert!(begun.elapsed() >= Duration::from_secs(4), "it came in {:?}", begun.elapsed());
    for side in ["leader", "follower"] {
        let bytes =
            cluster.metric(&format!("highwater_replication_throttled_bytes_total{{side=\"{side}\"}} "));
        assert!(bytes >= 3_000_000, "{side}: {bytes} bytes of 3 MB were throttled");
    }
    let holds = cluster.metric("highwater_replication_throttle_holds_total{side=\"leader\"} ")
        + cluster.metric("highwater_replication_throttle_holds_total{side=\"follower\"} ");
    assert!(holds > 0, "nobody was ever held back");
    cluster.run(&["cluster", "reassign", "--unthrottle"], "");
    let lifted = cluster.run(&["topic", "describe", "heavy", "--json"], "");
    assert!(!lifted.contains("throttled.replicas"), "{lifted}");
}

/// Creates a topic with many partitions, so that taking their roles takes a node a while.
async fn create_wide(broker: &Connection, name: &str) {
    let topic = CreatableTopic {
        name: name.to_owned(),
        num_partitions: 24,
        replication_factor: 3,
        ..Default::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 10_000, ..Default::default() };
    let made = broker.send(&request).await.expect("it answers");
    assert_eq!(made.topics[0].error_code, ErrorCode::None, "{made:?}");
}

/// Which partitions of a topic a node leads, if it knows the topic.
async fn led_by(node: i32, broker: &Connection, topic: &str) -> Vec<i32> {
    let topics = Some(vec![MetadataRequestTopic { name: Some(topic.to_owned()), ..Default::default() }]);
    let request = MetadataRequest { topics, allow_auto_topic_creation: false, ..Default::default() };
    let seen = &broker.send(&request).await.expect("it answers").topics[0];
    assert_eq!(seen.error_code, ErrorCode::None, "node {node} does not know what it made: {seen:?}");
    assert!(seen.partitions.iter().all(|partition| partition.leader_id > 0), "{seen:?}");
    let led = seen.partitions.iter().filter(|partition| partition.leader_id == node);
    led.map(|partition| partition.partition_index).collect()
}

/// What a node says of the first offsets of partitions that it leads.
async fn first_offsets(broker: &Connection, topic: &str, partitions: Vec<i32>) -> Vec<(i32, ErrorCode)> {
    let of_partition = |partition_index| ListOffsetsPartition {
        partition_index,
        current_leader_epoch: -1,
        timestamp: EARLIEST,
    };
    let partitions = partitions.into_iter().map(of_partition).collect();
    let topics = vec![ListOffsetsTopic { name: topic.to_owned(), partitions }];
    let request = ListOffsetsRequest { replica_id: -1, topics, ..Default::default() };
    let told = &broker.send(&request).await.expect("it answers").topics[0].partitions;
    told.iter().map(|partition| (partition.partition_index, partition.error_code)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_says_that_a_topic_is_made_knows_of_it_and_serves_it() {
    let cluster = Cluster::start(4);
    for (node, (listen, _)) in (1..).zip(&cluster.addresses) {
        let client = Client::new(TcpDial::default(), listen, ClusterOptions::default()).expect("an address");
        let broker = client.broker(BrokerId(node)).await.expect("it is up");
        for number in 0..8 {
            let name = format!("by-{node}-{number}");
            create_wide(&broker, &name).await;
            let led = led_by(node, &broker, &name).await;
            assert!(!led.is_empty(), "leaders are spread over the nodes");
            let told = first_offsets(&broker, &name, led).await;
            assert!(told.iter().all(|(_, code)| *code == ErrorCode::None), "node {node}: {told:?}");
        }
    }
}

/// The segments of a log, oldest first.
fn segments(dir: &Path) -> Vec<std::path::PathBuf> {
    let files = std::fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").path());
    let mut segments: Vec<_> = files.filter(|path| path.extension().is_some_and(|e| e == "log")).collect();
    segments.sort();
    segments
}

const SMALL_SEGMENTS: &str = "segment.bytes=1048576";

#[test]
fn a_corrupt_log_is_set_aside_and_its_replica_fetched_anew() {
    let mut cluster = Cluster::start(5);
    cluster.run(&["topic", "create", "worn", "--replication-factor", "3", "--config", SMALL_SEGMENTS], "");
    for part in 0..10 {
        cluster.produce_wide("worn", part * 500..(part + 1) * 500);
    }
    cluster.wait_in_sync("worn");
    let (was, epoch) = cluster.leader("worn");
    cluster.kill(was);
    let before = segments(&cluster.topic_dir(was, "worn-0"));
    assert!(before.len() > 3, "one in the middle: {before:?}");
    let middle = &before[before.len() / 2];
    let whole = std::fs::read(middle).expect("a segment");
    std::fs::write(middle, &whole[..whole.len() / 2]).expect("a segment");
    cluster.produce_wide("worn", 5000..5200);
    let (now, _) = cluster.leader("worn");
    assert!(now != was && now != 0, "{now} leads after {was} in epoch {epoch}");

    cluster.start_again(was);
    let line = cluster.wait_logged(was, "a corrupt log is set aside and its replica fetched anew");
    for part in ["WARN", "worn", "partition=0", "-damaged", "look into the disk"] {
        assert!(line.contains(part), "{part:?} is not in {line:?}");
    }
    let offline = cluster.wait_logged(was, "the partition stays offline");
    let file = middle.file_name().expect("a name").to_str().expect("text");
    assert!(offline.contains("ERROR") && offline.contains(file), "{offline}");
    cluster.wait_in_sync("worn");
    assert!(cluster.someone_logged("the log of a replica has failed"), "the controller tells, too");
    assert!(cluster.someone_logged("a replica whose log failed was made anew"));

    // What was damaged is kept as it was found.
    let names = std::fs::read_dir(cluster.dir.path().join(was.to_string())).expect("a directory");
    let aside = names.map(|entry| entry.expect("an entry").path());
    let aside: Vec<_> = aside.filter(|path| path.to_string_lossy().ends_with("-damaged")).collect();
    assert_eq!(aside.len(), 1, "{aside:?}");
    assert_eq!(std::fs::read(aside[0].join(file)).expect("it is kept"), &whole[..whole.len() / 2]);

    // The new copy is as good as the others: it leads, and has everything.
    cluster.kill(now);
    cluster.produce_wide("worn", 5200..5400);
    assert_eq!(cluster.consume("worn"), (0..5400).collect::<Vec<_>>());
    cluster.start_again(now);
    cluster.wait_in_sync("worn");
    cluster.kill((1..=3).find(|node| *node != was && *node != now).expect("one of three"));
    assert_eq!(cluster.consume("worn"), (0..5400).collect::<Vec<_>>());

    // The copy is damaged again: the first damaged log is in the way, and says what to do.
    cluster.kill(was);
    cluster.nodes[now - 1].take().expect("it is up").kill();
    let again = segments(&cluster.topic_dir(was, "worn-0"));
    let middle = &again[again.len() / 2];
    let whole = std::fs::read(middle).expect("a segment");
    std::fs::write(middle, &whole[..whole.len() / 2]).expect("a segment");
    let spawned: Vec<_> = (1..=3).map(|node| Some(cluster.serve(node).spawn())).collect();
    cluster.nodes = spawned;
    cluster.nodes.iter_mut().flatten().for_each(Broker::wait_ready);
    let line = cluster.wait_logged(was, "a corrupt log is not set aside");
    assert!(line.contains("an earlier damaged log is kept there"), "{line}");
    assert_ne!(cluster.leader("worn").0, was);
    assert_eq!(cluster.consume("worn"), (0..5400).collect::<Vec<_>>());
}

#[test]
fn a_leader_whose_log_fails_gives_up_what_it_leads_and_nothing_else() {
    let mut cluster = Cluster::start(6);
    let create = |topic: &str| {
        cluster.run(&["topic", "create", topic, "--replication-factor", "3", "--config", SMALL_SEGMENTS], "");
        cluster.produce(topic, 0..200);
        cluster.wait_in_sync(topic);
    };
    create("worn");
    create("well");
    let (was, epoch) = cluster.leader("worn");
    // Wherever the log rolls next, the segment's name is taken by something that is no file.
    let dir = cluster.topic_dir(was, "worn-0");
    let taken: Vec<_> = (201..2000).map(|offset| dir.join(format!("{offset:020}.log"))).collect();
    taken.iter().filter(|path| !path.exists()).for_each(|path| std::fs::create_dir(path).expect("a name"));
    for part in 1..8 {
        cluster.produce_wide("worn", part * 200..(part + 1) * 200);
    }
    let (now, later) = cluster.leader("worn");
    assert!(now != was && now != 0 && later > epoch, "{now} leads in {later} after {was} in {epoch}");
    let line = cluster.wait_logged(was, "appending failed; the partition goes offline");
    assert!(line.contains("ERROR") && line.contains("worn-0"), "{line}");
    assert!(cluster.someone_logged("the log of a replica has failed"), "the controller tells, too");
    assert_eq!(cluster.consume("worn"), (0..1600).collect::<Vec<_>>());
    // The process goes on with the others.
    cluster.produce("well", 200..400);
    cluster.wait_in_sync("well");

    // With its disk in order it starts, recovers its log and catches up.
    cluster.kill(was);
    taken.iter().filter(|path| path.is_dir()).for_each(|path| std::fs::remove_dir(path).expect("empty"));
    cluster.start_again(was);
    cluster.wait_in_sync("worn");
    cluster.kill(now);
    cluster.produce_wide("worn", 1600..1800);
    assert_eq!(cluster.consume("worn"), (0..1800).collect::<Vec<_>>());
    assert_eq!(cluster.consume("well"), (0..400).collect::<Vec<_>>());
}
