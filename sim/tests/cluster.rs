//! Clusters: whole runs of several nodes with faults, in which no oracle may complain.
//!
//! `HIGHWATER_CLUSTER_SEED=n cargo sim --test cluster -- --nocapture` replays one seed with its trace,
//! `HIGHWATER_CLUSTER_SEEDS=a..b` runs a range. With `HIGHWATER_OFF=Guard` a guard is removed,
//! with `HIGHWATER_CLUSTER_NODES=n` all runs have that many nodes, with `HIGHWATER_CLUSTER_PROFILE=power-loss` faults are
//! drawn from that profile, and `HIGHWATER_CLUSTER_MS=n` says how long they go on.
#![cfg(madsim)]

use highwater_core::guard::Guard;
use highwater_core::guard::run::Count;
use highwater_sim::cluster::{ClusterPlan, run};
use highwater_sim::direct::Profile;
use highwater_sim::scenario::Scenario;
use std::collections::BTreeMap;
use std::ops::Range;

fn seeds() -> Range<u64> {
    let number = |text: &str| text.trim().parse::<u64>().expect("seeds are numbers");
    if let Ok(seed) = std::env::var("HIGHWATER_CLUSTER_SEED") {
        let seed = number(&seed);
        return seed..seed + 1;
    }
    match std::env::var("HIGHWATER_CLUSTER_SEEDS") {
        Ok(range) => {
            let (from, to) = range.split_once("..").expect("HIGHWATER_CLUSTER_SEEDS is first..end");
            number(from)..number(to)
        }
        Err(_) => 0..10,
    }
}

fn number_of(variable: &str) -> Option<u64> {
    let number = |text: String| text.parse().unwrap_or_else(|_| panic!("{variable} is a number"));
    std::env::var(variable).ok().map(number)
}

/// Which faults are drawn, as scenarios write it.
fn profile() -> Profile {
    let Ok(name) = std::env::var("HIGHWATER_CLUSTER_PROFILE") else { return Profile::Mixed };
    Scenario::parse(&format!("profile = '{name}'")).unwrap_or_else(|error| panic!("{error}")).profile
}

/// The run of a seed, with what the environment says and otherwise drawn.
fn plan(seed: u64) -> ClusterPlan {
    ClusterPlan {
        off: removed(),
        nodes: number_of("HIGHWATER_CLUSTER_NODES").map(|nodes| nodes as usize),
        trouble_ms: number_of("HIGHWATER_CLUSTER_MS"),
        profile: profile(),
        is_printing: std::env::var_os("HIGHWATER_CLUSTER_SEED").is_some(),
        ..ClusterPlan::of(seed)
    }
}

fn removed() -> Vec<Guard> {
    let Ok(name) = std::env::var("HIGHWATER_OFF") else { return Vec::new() };
    let guard = Guard::ALL.iter().find(|guard| guard.name() == name);
    vec![*guard.unwrap_or_else(|| panic!("{name} is no guard of core/src/guard.rs"))]
}

#[test]
fn no_oracle_complains() {
    let mut counts: BTreeMap<Guard, Count> = BTreeMap::new();
    let mut failures = Vec::new();
    let (mut acked, mut seen) = (0, 0);
    for seed in seeds() {
        let outcome = run(&plan(seed));
        acked += outcome.totals.acked;
        seen += outcome.totals.seen;
        for (guard, count) in &outcome.guards {
            let sum = counts.entry(*guard).or_default();
            sum.accepts += count.accepts;
            sum.rejects += count.rejects;
        }
        if let Some(complaint) = &outcome.complaint {
            println!("seed {seed}: {} {}", complaint.oracle, complaint.what);
            failures.push(outcome.report());
        }
        // Compared between processes: the same seed has the same hash in all (O42).
        println!("seed {seed}: hash {:016x}, {:?}", outcome.hash, outcome.totals);
    }
    print_coverage(&counts);
    println!("{} seeds: {acked} records acknowledged, {seen} read", seeds().count());
    let shown: Vec<_> = failures.iter().take(20).cloned().collect();
    assert!(failures.is_empty(), "{} seeds failed\n{}", failures.len(), shown.join("\n\n"));
    assert!(acked > 0 && seen > 0, "a workload that does nothing would find nothing");
}

/// Reject coverage: a guard that never rejected shows where workload or faults are too weak to need it.
fn print_coverage(counts: &BTreeMap<Guard, Count>) {
    for guard in Guard::ALL {
        match counts.get(guard) {
            Some(Count { accepts, rejects }) if *rejects > 0 => {
                println!("guard {}: {accepts} accepted, {rejects} rejected", guard.name());
            }
            Some(Count { accepts, .. }) => {
                println!("guard {}: {accepts} accepted, NEVER rejected", guard.name())
            }
            None => println!("guard {}: NEVER asked", guard.name()),
        }
    }
}
