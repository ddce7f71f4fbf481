//! Clusters: whole runs of several nodes with faults, in which no oracle may complain.
//!
//! `HIGHWATER_CLUSTER_SEED=n cargo sim --test cluster -- --nocapture` replays one seed with its trace,
//! `HIGHWATER_CLUSTER_SEEDS=a..b` runs a range. With `HIGHWATER_OFF=Guard` a guard is removed,
//! with `HIGHWATER_CLUSTER_NODES=n` all runs have that many nodes, with `HIGHWATER_CLUSTER_PROFILE=power-loss` faults are
//! drawn from that profile, and `HIGHWATER_CLUSTER_MS=n` says how long they go on. `HIGHWATER_CLUSTER_SCENARIO=name` runs
//! what that file of `scenarios/` says, and `HIGHWATER_CLUSTER_BLIND=1` leaves out the oracles, to see what they cost.
#![cfg(madsim)]

use highwater_sim::cluster::{ClusterPlan, run};
use highwater_sim::direct::Profile;
use highwater_sim::scenario::Scenario;
use highwater_sim::sweep::Sweep;
use std::path::Path;

fn number_of(variable: &str) -> Option<u64> {
    let number = |text: String| text.parse().unwrap_or_else(|_| panic!("{variable} is a number"));
    std::env::var(variable).ok().map(number)
}

/// Which faults are drawn, as scenarios write it.
fn profile() -> Profile {
    let Ok(name) = std::env::var("HIGHWATER_CLUSTER_PROFILE") else { return Profile::Mixed };
    Scenario::parse(&format!("profile = '{name}'")).unwrap_or_else(|error| panic!("{error}")).profile
}

/// What all runs have in common.
fn told() -> ClusterPlan {
    if let Ok(name) = std::env::var("HIGHWATER_CLUSTER_SCENARIO") {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../scenarios/{name}.toml"));
        let scenario = Scenario::read(&file).unwrap_or_else(|error| panic!("{error}"));
        return ClusterPlan::of_scenario(&scenario);
    }
    ClusterPlan {
        nodes: number_of("HIGHWATER_CLUSTER_NODES").map(|nodes| nodes as usize),
        trouble_ms: number_of("HIGHWATER_CLUSTER_MS"),
        profile: profile(),
        ..ClusterPlan::default()
    }
}

#[test]
fn no_oracle_complains() {
    let sweep = Sweep::asked("HIGHWATER_CLUSTER_SEED", 0..10);
    let told = told();
    // What the environment says, and otherwise drawn.
    let plan = |seed| ClusterPlan {
        seed,
        off: sweep.off.clone(),
        is_blind: std::env::var_os("HIGHWATER_CLUSTER_BLIND").is_some(),
        is_printing: sweep.is_single,
        ..told.clone()
    };
    let summary = sweep.run(|seed| run(&plan(seed)));
    // A guard that never rejected shows where workload or faults are too weak to need it.
    summary.print();
    summary.assert_sound();
    let totals = &summary.totals;
    assert!(totals.acked > 0 && totals.seen > 0, "a workload that does nothing would find nothing");
}
