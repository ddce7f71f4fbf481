//! What goes wrong between machines, and that nothing acknowledged is lost by it.

use crate::harness::Serve;
use crate::lab::{Lab, NODES};
use crate::nodes::{Nodes, trouble};
use crate::writers::{PARTITIONS, TOPIC, Writers, cluster, controller, create_topic, leader};
use highwater_net_tcp::client::{Cluster, TcpDial};
use std::process::Command;
use std::time::Duration;

/// How long a partition may be without a leader. An operator's patience, not a promise.
const TAKEOVER_MAX: Duration = Duration::from_secs(15);

/// How long a node that comes back may need to be one of the others again.
const RETURN_MAX: Duration = Duration::from_secs(40);

async fn begin(lab: Lab) -> (Nodes, Cluster<TcpDial>, Writers) {
    let nodes = Nodes::start(lab);
    let cluster = cluster();
    create_topic(&cluster).await;
    let writers = Writers::start().await;
    (nodes, cluster, writers)
}

/// The end of every story: all is well again, nothing is lost, and all copies are the same.
async fn end(nodes: Nodes, writers: Writers) {
    nodes.lab().heal();
    writers.all_progress(RETURN_MAX).await;
    writers.progress(500, RETURN_MAX).await;
    writers.reckon().await;
    // Followers fetch what the last acknowledgements did not wait for.
    tokio::time::sleep(Duration::from_secs(2)).await;
    nodes.stop_and_compare(TOPIC, PARTITIONS);
}

fn others(node: u8) -> impl Iterator<Item = u8> {
    (1..=NODES).filter(move |other| *other != node)
}

/// The old leader still hears its clients; what it takes it cannot acknowledge.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_is_cut_off_from_both_others() {
    let Some(lab) = Lab::enter("a_leader_is_cut_off_from_both_others") else { return };
    let (nodes, cluster, writers) = begin(lab).await;
    let old = leader(&cluster, 0).await;
    for other in others(old) {
        nodes.lab().cut_both(old, other);
    }
    let took = writers.all_progress(TAKEOVER_MAX).await;
    println!("written to again after {took:?}");
    tokio::time::sleep(trouble(Duration::from_secs(30))).await;
    end(nodes, writers).await;
}

/// What the active controller sends is lost; what it hears still seems fine.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_hears_the_controller() {
    let Some(lab) = Lab::enter("nobody_hears_the_controller") else { return };
    let (nodes, cluster, writers) = begin(lab).await;
    let mute = controller(&cluster).await;
    for other in others(mute) {
        nodes.lab().cut(mute, other);
    }
    let took = writers.all_progress(TAKEOVER_MAX).await;
    println!("written to again after {took:?}");
    tokio::time::sleep(trouble(Duration::from_secs(30))).await;
    end(nodes, writers).await;
}

/// The active controller speaks, and hears nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_controller_hears_nobody() {
    let Some(lab) = Lab::enter("the_controller_hears_nobody") else { return };
    let (nodes, cluster, writers) = begin(lab).await;
    let deaf = controller(&cluster).await;
    for other in others(deaf) {
        nodes.lab().cut(other, deaf);
    }
    let took = writers.all_progress(TAKEOVER_MAX).await;
    println!("written to again after {took:?}");
    tokio::time::sleep(trouble(Duration::from_secs(30))).await;
    end(nodes, writers).await;
}

/// Two nodes do not reach each other, and both reach the third. Nobody is in a minority; writes go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_lose_each_other() {
    let Some(lab) = Lab::enter("two_nodes_lose_each_other") else { return };
    let (nodes, cluster, writers) = begin(lab).await;
    let third = controller(&cluster).await;
    let pair: Vec<u8> = others(third).collect();
    nodes.lab().cut_both(pair[0], pair[1]);
    let took = writers.all_progress(TAKEOVER_MAX).await;
    println!("written to again after {took:?}");
    tokio::time::sleep(trouble(Duration::from_secs(30))).await;
    end(nodes, writers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaders_are_killed_one_after_the_other() {
    let Some(lab) = Lab::enter("leaders_are_killed_one_after_the_other") else { return };
    let (mut nodes, cluster, writers) = begin(lab).await;
    for partition in 0..PARTITIONS {
        let victim = leader(&cluster, partition).await;
        nodes.kill(victim);
        let took = writers.all_progress(TAKEOVER_MAX).await;
        println!("written to again {took:?} after node {victim} was killed");
        nodes.restart(victim);
        writers.progress(300, RETURN_MAX).await;
        // Back among the in-sync replicas before the next one goes: with two gone, nobody could write.
        tokio::time::sleep(Duration::from_secs(4)).await;
    }
    end(nodes, writers).await;
}

/// A process that does not run for a while wakes up and believes that no time has passed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_sleeps_and_wakes_up() {
    let Some(lab) = Lab::enter("a_leader_sleeps_and_wakes_up") else { return };
    let (nodes, cluster, writers) = begin(lab).await;
    let sleeper = leader(&cluster, 0).await;
    let asleep = nodes.freeze(sleeper, trouble(Duration::from_secs(30)));
    let (took, ()) = tokio::join!(writers.all_progress(TAKEOVER_MAX), asleep);
    println!("written to again {took:?} after node {sleeper} fell asleep");
    let took = writers.all_progress(TAKEOVER_MAX).await;
    println!("and {took:?} after it woke up");
    end(nodes, writers).await;
}

/// Slow and lossy wires: nobody is cut off, so nobody is to be given up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wires_are_bad() {
    let Some(lab) = Lab::enter("wires_are_bad") else { return };
    if !lab.spoil(1) {
        return;
    }
    lab.heal();
    let (nodes, _, writers) = begin(lab).await;
    for node in 1..=NODES {
        nodes.lab().spoil(node);
    }
    tokio::time::sleep(trouble(Duration::from_secs(30))).await;
    writers.all_progress(RETURN_MAX).await;
    end(nodes, writers).await;
}

/// If cuts did not cut, every other story would be a tale of fair weather.
#[test]
fn cuts_cut_and_healing_heals() {
    let Some(lab) = Lab::enter("cuts_cut_and_healing_heals") else { return };
    let address = format!("{}:9092", Lab::address(1));
    let wrapper = lab.on(1);
    let wrapper: Vec<&str> = wrapper.iter().map(String::as_str).collect();
    let _broker = Serve::ephemeral().under(&wrapper).listen(&address).start();
    let answers = |node: u8| {
        let [ip, words @ ..] = lab.on(node);
        let asked = Command::new(ip)
            .args(words)
            .args(["timeout", "3", env!("CARGO_BIN_EXE_highwater"), "topic", "list", "--bootstrap", &address])
            .output();
        asked.expect("ip is there").status.success()
    };
    assert!(answers(2) && answers(3), "all is well");
    lab.cut(2, 1);
    assert!(!answers(2) && answers(3), "what 2 says is lost");
    lab.heal();
    assert!(answers(2), "and no more");
    lab.cut(1, 2);
    assert!(!answers(2) && answers(3), "what 2 is told is lost");
    lab.heal();
    assert!(answers(2), "and no more");
}
