//! Every file of `scenarios/`: what was found once is found again if its guard is removed, and not otherwise.
#![cfg(madsim)]

use highwater_core::guard::Guard;
use highwater_sim::run::{Plan, run};
use highwater_sim::scenario::{Scenario, Tier};
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

#[test]
fn what_was_found_once_is_found_again() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    let entries = std::fs::read_dir(dir).expect("the folder of scenarios");
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|e| e == "toml"));
    files.sort();
    assert!(files.len() >= 3, "the scenarios are where they should be");
    for file in files {
        let scenario = Scenario::read(&file).unwrap_or_else(|error| panic!("{error}"));
        if !scenario.tier.contains(&Tier::Madsim) {
            continue;
        }
        let sound = run(&Plan { durable: scenario.durable, ..Plan::of(scenario.seed) });
        assert_eq!(sound.complaint, None, "{}\n{}", file.display(), sound.report());
        let Some(removed) = &scenario.removed else { continue };
        assert!(finds(&scenario, guard(removed)), "{}: without {removed} nobody complains", file.display());
    }
}
