//! O42: a run is a function of its seed. The same seed gives the same trace twice in one process, and in another one.
#![cfg(madsim)]

use highwater_sim::cluster::{self, ClusterPlan};
use highwater_sim::run::{Plan, run};
use std::process::Command;

/// Of runs of one node, and of runs of several.
const SEEDS: [u64; 4] = [2, 3, 5, 7];
const CLUSTER_SEEDS: [u64; 3] = [1, 2, 3];
const ASK: &str = "HIGHWATER_HASH_OF";

fn hashes() -> String {
    let alone = SEEDS.iter().map(|seed| (seed, run(&Plan::of(*seed)).hash));
    let several = CLUSTER_SEEDS.iter().map(|seed| (seed, cluster::run(&ClusterPlan::of(*seed)).hash));
    alone.chain(several).map(|(seed, hash)| format!("{seed}={hash:016x}")).collect::<Vec<_>>().join(" ")
}

/// In the child process this prints; in an ordinary run it has nothing to say.
#[test]
fn child_prints_its_hashes() {
    if std::env::var_os(ASK).is_some() {
        println!("hashes: {}", hashes());
    }
}

#[test]
fn a_seed_gives_one_trace_in_every_process() {
    let first = hashes();
    let mut distinct: Vec<_> = first.split(['=', ' ']).skip(1).step_by(2).collect();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), SEEDS.len() + CLUSTER_SEEDS.len(), "other seeds are other runs: {first}");
    assert_eq!(first, hashes(), "twice in this process");
    let child = Command::new(std::env::current_exe().expect("this test is a file"))
        .args(["--exact", "child_prints_its_hashes", "--nocapture", "--test-threads=1"])
        .env(ASK, "1")
        .output()
        .expect("this test starts again");
    let stdout = String::from_utf8_lossy(&child.stdout);
    let line = stdout.lines().find_map(|line| line.split_once("hashes: ").map(|(_, hashes)| hashes));
    assert_eq!(line, Some(first.as_str()), "in another process\n{stdout}");
}
