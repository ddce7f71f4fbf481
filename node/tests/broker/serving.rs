//! `highwater serve` as scripts and people use it.

use crate::client::Client;
use crate::harness::Serve;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The values of a partition.
async fn values(client: &Client, topic: &str, partition: i32) -> Vec<String> {
    let records = client.read_all(topic, partition).await;
    records.into_iter().map(|(_, value)| String::from_utf8(value.to_vec()).unwrap()).collect()
}

#[tokio::test]
async fn the_ready_line_has_the_real_addresses_and_serving_starts_at_once() {
    let begun = Instant::now();
    let broker = Serve::ephemeral().args(["--admin", "127.0.0.1:0", "--node-id", "7"]).start();
    let client = Client::connect(broker.address()).await;
    println!("from the start to the first answered request: {:?}", begun.elapsed());

    assert!(broker.ready().starts_with("ready listen=127.0.0.1:"), "{}", broker.ready());
    assert!(broker.ready().ends_with('\n'));
    assert_ne!(broker.address().port(), 0);
    assert_eq!(broker.told("node_id"), Some("7"));
    assert!(broker.told("admin").is_some_and(|address| !address.ends_with(":0")), "{}", broker.ready());
    assert_eq!(client.topics().await.len(), 0);
    broker.stop_cleanly();
}

#[tokio::test]
async fn records_and_a_groups_offsets_outlive_a_stop() {
    let dir = tempfile::tempdir().unwrap();
    let serve = Serve::at(dir.path()).set("group.initial.rebalance.delay.ms=0");
    let broker = serve.start();
    let client = Client::connect(broker.address()).await;
    client.create_topic("words", 2, &[]).await;
    assert_eq!(client.append("words", 0, &[b"one", b"two"]).await, Ok(0));
    assert_eq!(client.append("words", 0, &[b"three"]).await, Ok(2));
    assert_eq!(client.append("words", 1, &[b"eins"]).await, Ok(0));
    let member = client.join("readers").await;
    client.commit(&member, "words", 0, 2).await.unwrap();
    broker.stop_cleanly();

    let broker = serve.start();
    assert!(broker.log().contains("after a clean stop"), "{}", broker.log());
    let client = Client::connect(broker.address()).await;
    assert_eq!(values(&client, "words", 0).await, ["one", "two", "three"]);
    assert_eq!(values(&client, "words", 1).await, ["eins"]);
    assert_eq!(client.committed("readers", "words", 0).await, 2);
    assert_eq!(client.committed("readers", "words", 1).await, -1);
    assert_eq!(client.append("words", 0, &[b"four"]).await, Ok(3));
    broker.stop_cleanly();
}

#[tokio::test]
async fn brokers_side_by_side_do_not_know_each_other() {
    let brokers: Vec<_> = (0..3).map(|_| Serve::ephemeral().start()).collect();
    for (n, broker) in brokers.iter().enumerate() {
        let client = Client::connect(broker.address()).await;
        client.create_topic(&format!("of-broker-{n}"), 1, &[]).await;
    }
    for (n, broker) in brokers.into_iter().enumerate() {
        let topics = Client::connect(broker.address()).await.topics().await;
        assert_eq!(topics.into_keys().collect::<Vec<_>>(), [format!("of-broker-{n}")]);
        broker.stop_cleanly();
    }
}

#[tokio::test]
async fn every_listener_serves_and_tells_its_own_address() {
    let broker = Serve::ephemeral()
        .listen("")
        .set("listeners=INSIDE://127.0.0.1:0,OUTSIDE://127.0.0.1:0")
        .set("listener.security.protocol.map=INSIDE:PLAINTEXT,OUTSIDE:PLAINTEXT")
        .set("inter.broker.listener.name=INSIDE")
        .start();
    let outside = broker.told("listen.OUTSIDE").expect("the second listener is told").parse().unwrap();
    assert_ne!(broker.address(), outside);
    for address in [broker.address(), outside] {
        let client = Client::connect(address).await;
        let request = highwater_protocol::messages::MetadataRequest::default();
        let answer = client.connection.send(&request).await.unwrap();
        let ports: Vec<_> = answer.brokers.iter().map(|broker| broker.port).collect();
        assert_eq!(ports, [i32::from(address.port())]);
    }
    broker.stop_cleanly();
}

#[tokio::test]
async fn an_ephemeral_broker_leaves_nothing_behind() {
    let broker = Serve::ephemeral().start();
    let client = Client::connect(broker.address()).await;
    client.create_topic("words", 1, &[]).await;
    client.append("words", 0, &[b"gone soon"]).await.unwrap();
    let left = ephemeral_dirs(broker.pid());
    assert_eq!(left.len(), 1, "its directory carries its process id");
    broker.stop_cleanly();
    assert!(!left[0].exists(), "{} stays", left[0].display());
}

fn ephemeral_dirs(pid: u32) -> Vec<PathBuf> {
    let prefix = format!("highwater-{pid}-");
    let entries = std::fs::read_dir(std::env::temp_dir()).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| file_name(path).starts_with(&prefix)).collect()
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[tokio::test]
async fn a_signal_at_any_moment_of_the_start_ends_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let serve = Serve::at(dir.path());
    let broker = serve.start();
    let client = Client::connect(broker.address()).await;
    client.create_topic("many", 200, &[]).await;
    client.append("many", 0, &[b"kept"]).await.unwrap();
    broker.stop_cleanly();

    for round in 0..8 {
        let mut broker = serve.spawn();
        std::thread::sleep(Duration::from_millis(round * 12));
        broker.terminate();
        // Before the process is itself it dies of the signal; from then on it ends in order.
        let status = broker.wait_end();
        assert!(status.code().is_none_or(|code| code == 0), "{status}\n{}", broker.log());
    }
    let broker = serve.start();
    let client = Client::connect(broker.address()).await;
    assert_eq!(values(&client, "many", 0).await, ["kept"]);
    broker.stop_cleanly();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_under_load_answers_or_drops_but_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let serve = Serve::at(dir.path());
    let broker = serve.start();
    let client = Client::connect(broker.address()).await;
    client.create_topic("words", 1, &[]).await;
    let load = tokio::spawn(async move {
        let mut acked = 0;
        while let Ok(answer) = client.produce("words", 0, crate::client::batch_of(&[b"word"])).await {
            if answer.error_code != highwater_protocol::ErrorCode::None {
                break;
            }
            assert_eq!(answer.base_offset, acked);
            acked += 1;
        }
        acked
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    broker.stop_cleanly();
    let acked = load.await.unwrap();
    assert!(acked > 0, "there was load");

    let broker = serve.start();
    assert!(broker.log().contains("after a clean stop"), "{}", broker.log());
    let client = Client::connect(broker.address()).await;
    let found = i64::try_from(client.read_all("words", 0).await.len()).unwrap();
    assert!(found >= acked, "{acked} were acknowledged, {found} are there");
    broker.stop_cleanly();
}

#[test]
fn a_disk_below_the_low_water_mark_is_warned_of_once() {
    let broker = Serve::ephemeral()
        .set("highwater.disk.free.bytes.min=9000000000000000000")
        .set("log.initial.task.delay.ms=1")
        .set("log.retention.check.interval.ms=1")
        .start();
    let deadline = Instant::now() + crate::harness::PATIENCE;
    while !broker.log().contains("the disk is nearly full") {
        assert!(Instant::now() < deadline, "{}", broker.log());
        std::thread::sleep(Duration::from_millis(5));
    }
    let log = broker.stop_cleanly();
    assert_eq!(log.matches("the disk is nearly full").count(), 1, "{log}");
}

#[test]
fn wrong_usage_and_unknown_settings_are_told_with_what_was_meant() {
    let dir = tempfile::tempdir().unwrap();
    let toml = dir.path().join("broker.toml");
    std::fs::write(&toml, "\"log.retention.hors\" = 24\n").unwrap();
    let toml = toml.display().to_string();
    let cases: &[(&[&str], &str)] = &[
        (&["--no-such-flag"], "--no-such-flag"),
        (&["--set", "log.retention.hors=24"], "log.retention.hours"),
        (&["--set", "retention.ms=24"], "log.retention.ms"),
        (&["--set", "num.partitions=many"], "num.partitions"),
        (&["--config", &toml], "log.retention.hours"),
        (&["--config", "/nowhere/broker.properties"], "/nowhere/broker.properties"),
    ];
    for (args, hint) in cases {
        let (code, said) = Serve::at(&dir.path().join("data")).args(args.iter().copied()).refused();
        assert_eq!(code, Some(2), "{args:?}: {said}");
        assert!(said.contains(hint), "{args:?}: {said}");
        assert!(!dir.path().join("data").exists(), "{args:?}: nothing is begun");
    }
}

/// Kafka's own advice is a limit of 100,000 files. Where there are few, it is clients that wait, not logs that fail.
#[tokio::test]
async fn more_clients_than_files_wait_and_cost_no_log() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Serve::at(dir.path()).under(&["sh", "-c", "ulimit -n 256; exec \"$@\"", "sh"]).start();
    let client = Client::connect(broker.address()).await;
    let connect = || std::net::TcpStream::connect(broker.address()).expect("the backlog takes it");
    let flood: Vec<_> = (0..120).map(|_| connect()).collect();
    let begun = Instant::now();
    while !broker.log().contains("as many connections as may be") {
        assert!(begun.elapsed() < Duration::from_secs(20), "{}", broker.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    client.create_topic("under-pressure", 8, &[]).await;
    for partition in 0..8 {
        assert_eq!(client.append("under-pressure", partition, &[b"one"]).await, Ok(0));
    }
    drop(flood);
    let next = Client::connect(broker.address()).await;
    assert_eq!(values(&next, "under-pressure", 7).await, ["one"]);
    let log = broker.log();
    assert_eq!(log.matches("as many connections as may be").count(), 1, "{log}");
    assert!(!log.contains("Too many open files"), "{log}");
    broker.stop_cleanly();
}
