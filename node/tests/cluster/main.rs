//! Three real processes made by `highwater dev`: what kills, restarts and rolling them costs those who write and read.

mod harness;
mod load;

use harness::DevCluster;
use load::Load;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_leader_costs_no_acknowledged_record() {
    let cluster = DevCluster::start(0, &[]);
    cluster.cli(&["topic", "create", "riders", "--partitions", "1"]);
    cluster.whole();
    let load = Load::start(&cluster.bootstrap(), "riders", 1).await;
    load.go_on(100).await;
    let leader = cluster.leader("riders", 0);
    cluster.node("kill", leader);
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
