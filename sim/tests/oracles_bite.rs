//! The oracles notice: with a bug planted, the right one complains within a few seeds.
#![cfg(madsim)]

use highwater_core::guard::Guard;
use highwater_sim::run::{Plan, run};

/// Runs seeds with a guard off until one of the expected oracles complains.
fn found_by(guard: Guard, durable: Option<bool>, expect: &[&str], seeds_max: u64) {
    let mut others = Vec::new();
    for seed in 0..seeds_max {
        let outcome = run(&Plan { seed, off: vec![guard], durable, is_printing: false });
        match outcome.complaint {
            Some(complaint) if expect.contains(&complaint.oracle) => {
                println!("{}: seed {seed}: {} {}", guard.name(), complaint.oracle, complaint.what);
                return;
            }
            Some(complaint) => others.push((seed, complaint)),
            None => {}
        }
    }
    panic!("{}: none of {expect:?} complains in {seeds_max} seeds; others: {others:?}", guard.name());
}

#[test]
fn an_answer_before_the_flush_is_noticed() {
    found_by(Guard::HighWatermarkFlushed, Some(true), &["O1", "O2", "O15"], 100);
}

#[test]
fn a_producer_state_that_is_not_rebuilt_is_noticed() {
    found_by(Guard::ProducersRebuilt, None, &["O15"], 30);
}

#[test]
fn a_committed_offset_read_before_the_log_was_is_noticed() {
    found_by(Guard::CoordinatorLoaded, Some(true), &["O20", "O24"], 200);
}

#[test]
fn runs_exercise_the_guards() {
    let outcome = run(&Plan::of(1));
    let accepts = |guard| outcome.guards.get(&guard).map_or(0, |count| count.accepts);
    for guard in [Guard::ProducerSequenceIsNext, Guard::CoordinatorLoaded, Guard::FetchSessionEpoch] {
        assert!(accepts(guard) > 0, "{} was never asked: {:?}", guard.name(), outcome.guards);
    }
}
