//! The direct driver: a seed is one run in every process, sound seeds are sound, exit codes mean what they say.
#![cfg(not(madsim))]

use highwater_sim::direct::{Options, Outcome, Profile, Verdict, run};
use highwater_sim::scenario::{Reshape, Scenario, Tier, Workload};
use std::path::Path;
use std::process::{Command, Output};

fn of_seed(scenario: &Scenario, seed: u64) -> Outcome {
    let scenario = Scenario { seed, ..scenario.clone() };
    run(&scenario, Options::default()).expect("the scenario removes no guard")
}

fn is_sound(scenario: &Scenario, seed: u64) -> Outcome {
    let outcome = of_seed(scenario, seed);
    assert_eq!(outcome.violation, None, "seed {seed}: highwater sim run --seed {seed} --story");
    outcome
}

fn simulator(args: &[&str]) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut command = Command::new(env!("CARGO_BIN_EXE_highwater-sim"));
    command.current_dir(root).args(args).output().expect("the simulator starts")
}

#[test]
fn a_seed_gives_one_trace_in_every_process() {
    let told = || {
        let output = simulator(&["run", "--seeds", "3..6", "--jobs", "2", "--keep-going", "--json"]);
        String::from_utf8(output.stdout).expect("JSON is text")
    };
    let hashes = |text: &str| -> Vec<String> {
        let hash = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).expect("each line is JSON");
            line["trace_hash"].as_str().expect("each run has a hash").to_owned()
        };
        text.lines().map(hash).collect()
    };
    let first = hashes(&told());
    assert_eq!(first.len(), 3);
    assert_eq!(first, hashes(&told()), "in two processes");
    let here: Vec<_> =
        (3..6).map(|seed| format!("{:016x}", of_seed(&Scenario::mixed(), seed).trace_hash)).collect();
    assert_eq!(first, here, "and in this one");
    assert!(first[0] != first[1] && first[1] != first[2], "other seeds are other runs: {first:?}");
}

#[test]
fn the_mixed_workload_is_sound_and_does_something() {
    let mut sum = (0, 0, 0, 0, 0);
    for seed in 120..132 {
        let totals = is_sound(&Scenario::mixed(), seed).totals;
        sum = (
            sum.0 + totals.acked,
            sum.1 + totals.read,
            sum.2 + totals.commits,
            sum.3 + totals.crashes,
            sum.4 + totals.elections,
        );
    }
    assert!(sum.0 > 1000 && sum.1 > 1000 && sum.2 > 10 && sum.3 > 5 && sum.4 > 20, "{sum:?}");
}

/// Point by point interleavings of messages, time-outs, crashes and lost flushes over five voters and one partition of
/// three replicas, with every oracle looking after each step.
#[test]
fn five_voters_and_three_replicas_hold_for_a_million_steps() {
    const STEPS: u64 = 1_000_000;
    let workload =
        Workload { consumers: 1, groups: 0, pace_us: 4_000, churn_permille: 0, ..Workload::default() };
    let base =
        Scenario { nodes: 5, partitions: 1, seconds: 20, workload: Some(workload), ..Scenario::mixed() };
    let profiles = [Profile::FastElections, Profile::PowerLoss, Profile::Mixed, Profile::LostAnswers];
    let (mut steps, mut seed) = (0, 0);
    while steps < STEPS {
        let profile = profiles[seed as usize % profiles.len()];
        steps += is_sound(&Scenario { profile, ..base.clone() }, seed).totals.events;
        seed += 1;
    }
    println!("{steps} steps in {seed} runs");
}

#[test]
fn exit_codes_tell_what_went_wrong() {
    assert_eq!(simulator(&["run", "--seed", "100"]).status.code(), Some(0));
    assert_eq!(simulator(&["run", "--seeds", "7..7"]).status.code(), Some(2), "no seeds at all");
    assert_eq!(simulator(&["run", "no-such-scenario"]).status.code(), Some(1));
    let removed = simulator(&["run", "--removed", "FollowerKeepsTail"]);
    assert_eq!(removed.status.code(), Some(1), "this build has no switches");
    let told = String::from_utf8_lossy(&removed.stderr).into_owned();
    assert!(told.contains(".cargo/sim.toml"), "it tells how to build one that has: {told}");
}

#[test]
fn every_scenario_of_the_direct_tier_holds() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    let entries = std::fs::read_dir(dir).expect("the folder of scenarios");
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|e| e == "toml"));
    files.sort();
    let mut count = 0;
    for file in files {
        let mut scenario = Scenario::read(&file).unwrap_or_else(|error| panic!("{error}"));
        if !scenario.tier.contains(&Tier::Direct) {
            continue;
        }
        count += 1;
        scenario.removed = None; // `bank.rs` removes it
        let outcome = of_seed(&scenario, scenario.seed);
        assert_eq!(outcome.verdict, Verdict::Ok, "{}: {:?}", file.display(), outcome.violation);
        let is_reshaped = !scenario.reshape.is_empty() || scenario.clients().partitions_permille > 0;
        // one lost vote is taken away and given anew
        let least = if scenario.reshape == [Reshape::LostVoters] { 2 } else { 3 };
        assert!(!is_reshaped || outcome.totals.reshaped >= least, "{}: nothing changed", file.display());
    }
    assert!(count > 5, "the scenarios are where they should be");
}
