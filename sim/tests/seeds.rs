//! Seeds: whole runs with faults, in which no oracle may complain.
//!
//! `HIGHWATER_SEED=n cargo sim -- --nocapture` replays one seed with its trace, `HIGHWATER_SEEDS=a..b` runs a range.
//! With `HIGHWATER_OFF=Guard` a guard is removed: the seeds that then fail are the ones that need it.
#![cfg(madsim)]

use highwater_core::guard::Guard;
use highwater_sim::history::Totals;
use highwater_sim::run::{Outcome, Plan, run};
use std::ops::Range;

fn seeds() -> Range<u64> {
    let number = |text: &str| text.trim().parse::<u64>().expect("seeds are numbers");
    if let Ok(seed) = std::env::var("HIGHWATER_SEED") {
        let seed = number(&seed);
        return seed..seed + 1;
    }
    match std::env::var("HIGHWATER_SEEDS") {
        Ok(range) => {
            let (from, to) = range.split_once("..").expect("HIGHWATER_SEEDS is first..end");
            number(from)..number(to)
        }
        Err(_) => 0..200,
    }
}

fn removed() -> Vec<Guard> {
    let Ok(name) = std::env::var("HIGHWATER_OFF") else { return Vec::new() };
    let guard = Guard::ALL.iter().find(|guard| guard.name() == name);
    vec![*guard.unwrap_or_else(|| panic!("{name} is no guard of core/src/guard.rs"))]
}

fn add(totals: &mut Totals, run: &Outcome) {
    let more = &run.totals;
    totals.acked += more.acked;
    totals.seen += more.seen;
    totals.retries += more.retries;
    totals.crashes += more.crashes;
    totals.frozen += more.frozen;
    totals.commits += more.commits;
    totals.generations += more.generations;
    totals.admin += more.admin;
    totals.sessions_lost += more.sessions_lost;
}

#[test]
fn no_oracle_complains() {
    let seeds = seeds();
    let is_printing = std::env::var_os("HIGHWATER_SEED").is_some();
    let mut totals = Totals::default();
    let mut failures = Vec::new();
    for seed in seeds.clone() {
        let outcome = run(&Plan { is_printing, off: removed(), ..Plan::of(seed) });
        add(&mut totals, &outcome);
        if outcome.complaint.is_some() {
            failures.push(outcome.report());
        }
        if is_printing {
            println!("seed {seed}: hash {:016x}, {:?}", outcome.hash, outcome.totals);
        }
    }
    println!("{} seeds: {totals:?}", seeds.end - seeds.start);
    let shown: Vec<_> = failures.iter().take(20).cloned().collect();
    assert!(failures.is_empty(), "{} seeds failed\n{}", failures.len(), shown.join("\n\n"));
    if seeds.end - seeds.start >= 100 {
        // A workload that does nothing would find nothing.
        let Totals { acked, seen, retries, crashes, frozen, commits, generations, admin, .. } = totals;
        for (what, count) in [("acked", acked), ("seen", seen), ("crashes", crashes), ("commits", commits)] {
            assert!(count > 100, "only {count} {what} in all runs: {totals:?}");
        }
        for (what, count) in
            [("retries", retries), ("frozen", frozen), ("generations", generations), ("admin", admin)]
        {
            assert!(count > 10, "only {count} {what} in all runs: {totals:?}");
        }
    }
}
