//! Every file of `scenarios/`: what was found once is found again if its guard is removed, and not otherwise.
//!
//! `HIGHWATER_SCENARIO=name cargo sim --test scenarios -- --nocapture` runs one of them, with its trace.
#![cfg(madsim)]

use highwater_core::guard::Guard;
use highwater_sim::cluster::{self, ClusterPlan};
use highwater_sim::history::Totals;
use highwater_sim::run::{Plan, run};
use highwater_sim::scenario::{Reshape, Scenario, Tier};
use std::path::Path;

/// How many seeds behind the named one may stand in for it.
const SEEDS_MAX: u64 = 200;

fn guard(name: &str) -> Guard {
    let found = Guard::ALL.iter().find(|guard| guard.name() == name);
    *found.unwrap_or_else(|| panic!("{name} is no guard of core/src/guard.rs"))
}

fn finds(scenario: &Scenario, guard: Guard) -> bool {
    let seeds = scenario.seed..scenario.seed + SEEDS_MAX;
    seeds.into_iter().any(|seed| {
        let plan = Plan { seed, off: vec![guard], durable: scenario.durable, is_printing: false };
        let complaint = run(&plan).complaint;
        complaint.is_some_and(|complaint| scenario.expect.iter().any(|oracle| oracle == complaint.oracle))
    })
}

/// The one that is asked for.
fn only() -> Option<String> {
    std::env::var("HIGHWATER_SCENARIO").ok()
}

/// Every scenario of a tier, with the name of its file; or the one that is asked for, if it is of that tier.
fn of_tier(tier: Tier) -> Vec<(String, Scenario)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    let entries = std::fs::read_dir(dir).expect("the folder of scenarios");
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|e| e == "toml"));
    files.sort();
    let read = files.into_iter().map(|file| {
        let scenario = Scenario::read(&file).unwrap_or_else(|error| panic!("{error}"));
        (file.display().to_string(), scenario)
    });
    let mut of_tier: Vec<_> = read.filter(|(_, scenario)| scenario.tier.contains(&tier)).collect();
    assert!(of_tier.len() >= 3, "the scenarios are where they should be");
    if let Some(name) = only() {
        of_tier.retain(|(file, _)| Path::new(file).file_stem().is_some_and(|stem| *stem == *name));
    }
    of_tier
}

#[test]
fn what_was_found_once_is_found_again() {
    for (file, scenario) in of_tier(Tier::Madsim) {
        let sound = run(&Plan { durable: scenario.durable, ..Plan::of(scenario.seed) });
        assert_eq!(sound.complaint, None, "{file}\n{}", sound.report());
        let Some(removed) = &scenario.removed else { continue };
        assert!(finds(&scenario, guard(removed)), "{file}: without {removed} nobody complains");
    }
}

#[test]
fn a_cluster_lives_through_what_is_told_of_it() {
    let mut failures = Vec::new();
    for (file, scenario) in of_tier(Tier::Cluster) {
        let plan = ClusterPlan { is_printing: only().is_some(), ..ClusterPlan::of_scenario(&scenario) };
        let outcome = cluster::run(&plan);
        println!("{file}: hash {:016x}, {:?}", outcome.hash, outcome.totals);
        if outcome.complaint.is_some() {
            failures.push(format!("{file}\n{}", outcome.report()));
        }
        assert!(outcome.totals.acked > 0 || outcome.complaint.is_some(), "{file}: nothing was written");
        if outcome.complaint.is_none() {
            did_what_it_says(&file, &scenario, &outcome.totals);
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

/// A scenario in which the operator achieves nothing shows nothing.
fn did_what_it_says(file: &str, scenario: &Scenario, totals: &Totals) {
    for kind in &scenario.reshape {
        let count = match kind {
            Reshape::Replicas => totals.moves,
            Reshape::Unclean => totals.unclean_elections,
            Reshape::Voters | Reshape::LostVoters => totals.voter_changes,
            Reshape::Leaders => continue,
        };
        assert!(count > 0, "{file}: {kind:?} came to nothing: {totals:?}");
    }
}
