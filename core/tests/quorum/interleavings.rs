//! Arbitrary interleavings of deliveries, losses, duplicates, deadlines, crashes and lost flushes: O39 after each step,
//! and after the faults stop the quorum finds a leader and commits.

use crate::acts::{Act, act, carry_out};
use crate::cluster::Cluster;
use highwater_core::ids::BrokerId;
use proptest::collection::vec;
use proptest::prelude::*;
use std::time::Duration;

fn run(mut cluster: Cluster, acts: &[Act]) {
    for (value, act) in acts.iter().enumerate() {
        carry_out(&mut cluster, *act, value as u64);
    }
    // The faults stop.
    cluster.cut.clear();
    for id in cluster.nodes.keys().copied().collect::<Vec<_>>() {
        cluster.restart(id);
    }
    cluster.run(Duration::from_secs(30));
    let leader = cluster.leader().expect("somebody leads");
    assert!(cluster.propose(BrokerId(leader), u64::MAX), "and is active");
    cluster.run(Duration::from_secs(5));
    let end = cluster.machine(leader).log_end();
    for node in cluster.nodes.values() {
        assert_eq!(node.committed, end, "everything is committed everywhere, on {} too", node.key);
    }
}

fn cases(default: u32) -> ProptestConfig {
    // More by hand: PROPTEST_CASES=20000.
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(default);
    ProptestConfig { cases, max_shrink_iters: 20_000, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn three_voters(seed: u64, acts in vec(act(false), 0..600)) {
        run(Cluster::new(3, 0, seed), &acts);
    }

    #[test]
    fn five_voters(seed: u64, acts in vec(act(false), 0..800)) {
        run(Cluster::new(5, 0, seed), &acts);
    }

    #[test]
    fn voters_come_and_go(seed: u64, acts in vec(act(true), 0..700)) {
        run(Cluster::new(2, 3, seed), &acts);
    }
}
