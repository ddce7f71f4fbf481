//! The oracles over three replicas notice: with a guard of replication off, a run breaks the promise that it keeps.
#![cfg(madsim)]

#[allow(dead_code, reason = "what is left over here core's own tests use")]
#[path = "../../core/tests/replication/world.rs"]
mod world;

use highwater_core::guard::{Guard, run as guards};

const STEPS: usize = 600;

/// Runs seeds with a guard off until one of the expected oracles complains, and that seed again with the guard on.
fn found_by(guard: Guard, oracles: &[&str], seeds_max: u64) {
    let mut others = Vec::new();
    for seed in 0..seeds_max {
        guards::begin([guard]);
        let result = std::panic::catch_unwind(|| world::run(seed, STEPS));
        guards::begin([]);
        let Err(panic) = result else { continue };
        let text = panic.downcast_ref::<String>().map_or("", String::as_str);
        if oracles.iter().any(|oracle| text.contains(oracle)) {
            println!("{}: seed {seed}: {text}", guard.name());
            world::run(seed, STEPS);
            return;
        }
        others.push((seed, text.to_owned()));
    }
    panic!("{}: none of {oracles:?} complains in {seeds_max} seeds; others: {others:?}", guard.name());
}

#[test]
fn a_follower_that_cuts_to_its_high_watermark_is_noticed() {
    found_by(Guard::FollowerKeepsTail, &["O7", "O1"], 200);
}

#[test]
fn a_high_watermark_without_the_proposed_is_noticed() {
    found_by(Guard::HighWatermarkMaximalIsr, &["O7", "O1"], 500);
}

#[test]
fn a_high_watermark_below_the_least_isr_is_noticed() {
    found_by(Guard::HighWatermarkMinIsr, &["O7", "O1"], 200);
}

#[test]
fn a_fetch_of_another_epoch_is_noticed() {
    found_by(Guard::FollowerFetchEpoch, &["O7", "O1"], 1000);
}

#[test]
fn an_isr_that_grows_before_the_epoch_start_is_noticed() {
    found_by(Guard::IsrGrowthEpochStart, &["O7", "O1"], 200);
}

#[test]
fn an_answer_to_another_history_is_noticed() {
    found_by(Guard::ReplicaAnswerLastEpoch, &["O7", "O1"], 1000);
}

#[test]
fn a_refusal_that_is_believed_although_a_copy_is_carried_out_is_noticed() {
    found_by(Guard::IsrRefusedCounts, &["O10", "O7", "O1"], 1000);
}
