//! Three real processes made by `highwater dev`: what kills, restarts and rolling them costs those who write and read.

mod harness;
mod librdkafka;
mod load;
mod serve;

use harness::DevCluster;
use load::Load;
use serve::Serving;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_leader_costs_no_acknowledged_record() {
    let cluster = DevCluster::start(0, &[]);
    cluster.cli(&["topic", "create", "riders", "--partitions", "1"]);
    cluster.whole();
    let load = Load::start(&cluster.bootstrap(), "riders", 1).await;
    load.go_on(100).await;
    let leader = cluster.leader("riders", 0);
    cluster.node("kill", leader);
    // The metadata have the dead one among the brokers yet.
    assert_eq!(cluster.cli(&["group", "list"]), "no groups\n");
    load.go_on(100).await;
    assert_ne!(cluster.leader("riders", 0), leader);
    cluster.node("start", leader);
    cluster.whole();
    load.go_on(20).await;
    load.finish().await.check(&cluster.bootstrap()).await;
    assert!(
        cluster.said().contains(&format!("node {leader} (process ")),
        "a death is told of: {}",
        cluster.said()
    );
    cluster.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_is_one_command_and_costs_nothing() {
    let cluster = DevCluster::start(1, &["--set", "num.partitions=3"]);
    cluster.cli(&["topic", "create", "riders"]);
    cluster.whole();
    let load = Load::start(&cluster.bootstrap(), "riders", 3).await;
    load.go_on(50).await;
    let before = cluster.pids();
    cluster.roll();
    let after = cluster.pids();
    assert!(before.iter().zip(&after).all(|(before, after)| before != after), "{before:?} {after:?}");
    load.go_on(50).await;
    load.finish().await.check(&cluster.bootstrap()).await;

    // The whole cluster stops in good order and comes again with everything.
    let (dir, bootstrap) = cluster.stop();
    let cluster = DevCluster::again(dir, &bootstrap);
    let topics = cluster.cli(&["topic", "list", "--json"]);
    assert!(topics.contains("\"riders\""), "{topics}");
    cluster.whole();
    cluster.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_lost_its_disk_is_taken_back_under_its_id() {
    let cluster = DevCluster::start(2, &[]);
    cluster.cli(&["topic", "create", "riders", "--partitions", "3"]);
    cluster.whole();
    let load = Load::start(&cluster.bootstrap(), "riders", 3).await;
    load.go_on(100).await;
    cluster.lose_disk(3);
    cluster.cli(&["cluster", "replace", "3"]);
    load.go_on(20).await;
    let nodes = cluster.cli(&["cluster", "nodes"]);
    assert!(!nodes.contains("fenced") && !nodes.contains("observer"), "{nodes}");
    // What the new disk holds is as good as what the others hold.
    cluster.node("kill", 1);
    load.finish().await.check(&cluster.bootstrap()).await;
    cluster.node("start", 1);
    cluster.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_single_node_grows_to_three_and_may_then_die() {
    let dir = tempfile::tempdir().unwrap();
    // A directory of one broker, as it was before there was a cluster: records, and how far a group has read.
    let one = Serving::start(dir.path(), 1, None);
    one.cli(&["topic", "create", "early", "--partitions", "2"], &one.client);
    let early = Load::start(&one.client, "early", 2).await;
    early.go_on(60).await;
    let early = early.finish().await;
    let move_to = |partition: &str, offset: &str| {
        let scope = format!("early:{partition}");
        let words =
            ["group", "reset-offsets", "readers", "--topic", &scope, "--to-offset", offset, "--execute"];
        one.cli(&words, &one.client);
    };
    move_to("0", "17");
    move_to("1", "23");
    drop(one);

    let one = Serving::start(dir.path(), 1, None);
    let alone = one.client.clone();
    one.cli(&["topic", "create", "riders", "--partitions", "3"], &alone);
    let load = Load::start(&alone, "riders", 3).await;
    load.go_on(50).await;

    let [two, three] = [2, 3].map(|id| Serving::start(dir.path(), id, Some(&one)));
    let all = [&one, &two, &three].map(|node| node.client.clone()).join(",");
    one.cli(&["cluster", "add-voter", "2"], &alone);
    one.cli(&["cluster", "add-voter", "3"], &alone);
    for topic in ["riders", "early", "__consumer_offsets"] {
        one.cli(&["cluster", "reassign", topic, "--replication-factor", "3"], &alone);
    }
    one.cli(&["cluster", "under-replicated", "--wait", "100"], &alone);
    load.go_on(50).await;
    let sent = load.finish().await;

    drop(one);
    sent.check(&all).await;
    early.check(&all).await;
    let group = two.cli(&["group", "describe", "readers", "--json"], &all);
    let group: serde_json::Value = serde_json::from_str(&group).expect("one document");
    let offsets = group["groups"][0]["partitions"].as_array().expect("partitions").iter();
    let offsets: Vec<_> =
        offsets.map(|at| (at["partition"].as_i64(), at["committed_offset"].as_i64())).collect();
    assert_eq!(offsets, [(Some(0), Some(17)), (Some(1), Some(23))], "{group}");
}
