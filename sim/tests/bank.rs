//! Historical bugs, planted one at a time: the oracle that is meant to notice does so within its budget of seeds, and the
//! seed that shows it gives the same trace again.
#![cfg(sim)]

use highwater_core::guard::Guard;
use highwater_sim::direct::{NetworkFaults, Options, Profile, run, silence};
use highwater_sim::scenario::{Reshape, Scenario, Workload};
use std::collections::BTreeSet;

/// Runs seeds with a guard removed until one of the expected oracles complains.
fn found_by(guard: &str, base: &Scenario, expect: &[&str], seeds_max: u64) {
    let mut others = Vec::new();
    for seed in 0..seeds_max {
        let planted = Scenario { seed, removed: Some(guard.to_owned()), ..base.clone() };
        let outcome = run(&planted, Options::default()).expect("this build has switches");
        let Some(violation) = outcome.violation else { continue };
        if !expect.contains(&violation.oracle) {
            others.push((seed, violation.oracle));
            continue;
        }
        println!("{guard}: seed {seed}: {} {}", violation.oracle, violation.what);
        let again = run(&planted, Options::default()).expect("it ran before");
        assert_eq!(again.trace_hash, outcome.trace_hash, "{guard}: seed {seed} is one run");
        let sound = run(&Scenario { seed, ..base.clone() }, Options::default()).expect("nothing is removed");
        assert_eq!(sound.violation, None, "{guard}: seed {seed} is sound as the code is");
        return;
    }
    panic!("{guard}: none of {expect:?} complains in {seeds_max} seeds; others: {others:?}");
}

fn scenario(profile: Profile) -> Scenario {
    Scenario { profile, ..Scenario::mixed() }
}

/// PR-01 (KIP-101).
#[test]
fn a_follower_that_cuts_its_log_at_its_high_watermark_is_noticed() {
    found_by("FollowerKeepsTail", &scenario(Profile::FastElections), &["O1", "O2", "O7"], 200);
}

/// OF-04 (KAFKA-5600).
#[test]
fn a_committed_offset_read_before_the_log_was_is_noticed() {
    let base = Scenario { workload: Some(Workload::default()), ..scenario(Profile::FastElections) };
    found_by("CoordinatorLoaded", &base, &["O20", "O24"], 2000);
}

/// PR-05 (KIP-497).
#[test]
fn a_high_watermark_that_ignores_the_proposed_isr_is_noticed() {
    found_by("HighWatermarkMaximalIsr", &scenario(Profile::Mixed), &["O1", "O7", "O10"], 2000);
}

/// PR-14 (KAFKA-12686): one copy of a request is refused, another is carried out.
#[test]
fn a_refusal_that_is_believed_although_a_copy_is_carried_out_is_noticed() {
    let network = NetworkFaults {
        drop_permille: 20,
        duplicate_permille: 300,
        tail_permille: 30,
        lost_answer_permille: 0,
    };
    let base = Scenario { network: Some(network), ..scenario(Profile::FastElections) };
    found_by("IsrRefusedCounts", &base, &["O1", "O7", "O10"], 400);
}

/// PR-03 (KIP-320): leaders move and move back while links are slow.
#[test]
fn a_fetch_of_another_epoch_that_counts_is_noticed() {
    let workload = Workload { leader_moves_permille: 500, ..Workload::default() };
    let base = Scenario { workload: Some(workload), ..scenario(Profile::LostAnswers) };
    found_by("FollowerFetchEpoch", &base, &["O1", "O7", "O10"], 200);
}

/// Every guard has to reject in some run, or to have a reason why it cannot here.
#[test]
fn every_guard_rejects_or_has_a_reason() {
    let profiles = [
        Profile::Mixed,
        Profile::FastElections,
        Profile::LostAnswers,
        Profile::PowerLoss,
        Profile::Zombie,
        Profile::OneWay,
        Profile::FailingLogs,
    ];
    let mut silent: BTreeSet<_> =
        Guard::ALL.iter().map(|guard| guard.name()).filter(|name| silence(name).is_none()).collect();
    let workload = Workload { leader_moves_permille: 100, ..Workload::default() };
    for seed in 1000..2200 {
        let profile = profiles[seed as usize % profiles.len()];
        let base = if profile == Profile::FailingLogs { failing_logs() } else { scenario(profile) };
        let run_of = Scenario { seed, workload: Some(workload.clone()), ..base };
        let outcome = run(&run_of, Options::default()).expect("nothing is removed");
        assert_eq!(outcome.violation, None, "seed {seed}, {profile:?}");
        for guard in outcome.guards.iter().filter(|guard| guard.rejects > 0) {
            silent.remove(guard.name);
        }
        if silent.is_empty() {
            return;
        }
    }
    panic!("these never rejected: {silent:?}");
}

/// CQ-02 (KAFKA-10533).
#[test]
fn metadata_acknowledged_before_the_flush_are_noticed() {
    found_by("QuorumLeaderFlushed", &scenario(Profile::PowerLoss), &["O39", "O40", "O5"], 200);
    found_by("QuorumFetchFlushed", &scenario(Profile::PowerLoss), &["O39", "O40", "O5"], 200);
}

/// OF-01 (KIP-447).
#[test]
fn a_commit_of_an_old_generation_is_noticed() {
    let workload = Workload { members: 3, ..Workload::default() };
    let base = Scenario { workload: Some(workload), ..scenario(Profile::Zombie) };
    found_by("GroupGeneration", &base, &["O20", "O21", "O22"], 200);
}

/// CQ-11: what the controller tells is what nobody takes back.
#[test]
fn an_answer_from_metadata_that_are_not_committed_is_noticed() {
    found_by("AnswerCommitted", &scenario(Profile::Mixed), &["O37"], 200);
}

/// CQ-05: voters are removed and added while nodes are killed and cut off, and operators ask again.
#[test]
fn a_second_change_of_voters_before_the_first_is_committed_is_noticed() {
    let base = Scenario { nodes: 4, reshape: vec![Reshape::Voters], ..scenario(Profile::FastElections) };
    found_by("QuorumVoterChangeAlone", &base, &["O39"], 2000);
}

/// Logs of single partitions fail, of a topic of which one copy suffices, too: there the last complete replica may be it.
fn failing_logs() -> Scenario {
    Scenario { reshape: vec![Reshape::Unclean], ..scenario(Profile::FailingLogs) }
}

/// Design rule 11: a log that failed leads nothing and is in no ISR.
#[test]
fn a_failed_log_that_is_counted_on_is_noticed() {
    for guard in ["IsrMemberHealthy", "FailedReplicaLeadsNothing"] {
        found_by(guard, &failing_logs(), &["O1", "O7", "O9"], 400);
    }
}

/// A late copy of a report that a log failed, when the replica has long been made anew.
#[test]
fn a_late_report_of_a_failed_log_that_is_believed_is_noticed() {
    found_by("HealthReportInOrder", &scenario(Profile::FailingLogs), &["L2"], 400);
}
