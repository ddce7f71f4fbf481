//! Historical bugs, planted one at a time in whole nodes: the oracle that is meant to notice does so within its budget of
//! seeds, the seed that shows it gives the same trace again, and is sound as the code is.
//!
//! `bank.rs` has the same of the machines alone, with more of the bank. Whole nodes cost a hundred times more, so each
//! bug has a bias of the faults here that leads to it in a few seeds.
#![cfg(madsim)]

use highwater_core::guard::Guard;
use highwater_sim::cluster::{ClusterPlan, run};
use highwater_sim::direct::{Fault, PlannedFault, Profile};
use highwater_sim::scenario::Reshape;
use std::ops::Range;

fn guard(name: &str) -> Guard {
    let found = Guard::ALL.iter().find(|guard| guard.name() == name);
    *found.unwrap_or_else(|| panic!("{name} is no guard of core/src/guard.rs"))
}

/// Three nodes that go wrong for some seconds, and nobody who moves replicas about.
fn plan(profile: Profile, seconds: u64) -> ClusterPlan {
    ClusterPlan {
        nodes: Some(3),
        durable: Some(false),
        trouble_ms: Some(seconds * 1000),
        profile,
        reshape: Some(Vec::new()),
        ..ClusterPlan::default()
    }
}

/// Runs seeds with a guard removed, or some with a `+` between, until one of the expected oracles complains.
fn found_by(removed: &str, base: &ClusterPlan, expect: &[&str], seeds: Range<u64>) {
    let mut others = Vec::new();
    for seed in seeds.clone() {
        let planted = ClusterPlan { seed, off: removed.split('+').map(guard).collect(), ..base.clone() };
        let outcome = run(&planted);
        let Some(complaint) = outcome.complaint else { continue };
        if !expect.contains(&complaint.oracle) {
            others.push((seed, complaint.oracle));
            continue;
        }
        println!("{removed}: seed {seed}: {} {}", complaint.oracle, complaint.what);
        let again = run(&planted);
        assert_eq!(again.hash, outcome.hash, "{removed}: seed {seed} is one run");
        let sound = run(&ClusterPlan { seed, ..base.clone() });
        assert_eq!(sound.complaint, None, "{removed}: seed {seed} is sound as the code is");
        return;
    }
    panic!("{removed}: none of {expect:?} complains in seeds {seeds:?}; others: {others:?}");
}

/// PR-01 (KIP-101).
#[test]
fn a_follower_that_cuts_its_log_at_its_high_watermark_is_noticed() {
    found_by("FollowerKeepsTail", &plan(Profile::FastElections, 8), &["O1", "O2", "O7"], 0..20);
}

/// PR-05 (KIP-497).
#[test]
fn a_high_watermark_that_ignores_the_proposed_isr_is_noticed() {
    found_by("HighWatermarkMaximalIsr", &plan(Profile::OneWay, 8), &["O1", "O7", "O10"], 0..20);
}

/// PR-06 (KIP-966).
#[test]
fn a_last_replica_that_leads_although_it_lost_records_is_noticed() {
    // O20: what is lost may be a commit.
    let expect = ["O1", "O7", "O9", "O14", "O20"];
    found_by("EligibleLeadersKept", &plan(Profile::PowerLoss, 8), &expect, 20..40);
}

/// While one node is cut off, the second loses power and what it has not flushed, and the third dies: the first two elect
/// a leader who has everything that was committed only if nobody counted what was not flushed.
fn tails_lost_beside_a_lonely_node(rounds: u64) -> Vec<PlannedFault> {
    let round = |round: u64| {
        let at_ms = 1500 + round * 2000;
        let node = (round % 3 + 1) as usize;
        let (lonely, last) = if round.is_multiple_of(2) {
            (node % 3 + 1, (node + 1) % 3 + 1)
        } else {
            ((node + 1) % 3 + 1, node % 3 + 1)
        };
        let fault = |after_ms: u64, fault: Fault| PlannedFault { at_ms: at_ms + after_ms, fault };
        [
            fault(0, Fault::Isolate { node: lonely, is_cut: true }),
            fault(300, Fault::PowerCut { node }),
            fault(300, Fault::Kill { node: last }),
            fault(310, Fault::Isolate { node: lonely, is_cut: false }),
            fault(320, Fault::Start { node }),
            fault(1000, Fault::Start { node: last }),
        ]
    };
    (0..rounds).flat_map(round).collect()
}

/// CQ-02 (KAFKA-10533).
#[test]
fn metadata_acknowledged_before_the_flush_are_noticed() {
    let base = ClusterPlan {
        faults: Some(tails_lost_beside_a_lonely_node(6)),
        lies_in_wait: true,
        reshape: Some(vec![Reshape::Replicas, Reshape::Leaders]),
        ..plan(Profile::None, 14)
    };
    // About one seed in fifty shows it, of the leader that counts itself and of the follower that answers for itself.
    found_by("QuorumLeaderFlushed", &base, &["O39", "O40", "O5"], 0..500);
    found_by("QuorumFetchFlushed", &base, &["O39", "O40", "O5"], 0..500);
}

/// KIP-107, KIP-966: a deletion does not wait for whoever is out of the ISR, and with too few inside of it he may be elected.
#[test]
fn a_leader_that_brings_deleted_records_back_is_noticed() {
    let base = ClusterPlan { profile: Profile::Zombie, ..ClusterPlan::default() };
    found_by("DeletionMinIsr", &base, &["O13"], 1_900..1_920);
}

/// All of three nodes die, the last one with its power and what it had not flushed. Of the two that lost nothing one is let
/// in, and dies again at about that time, each round a little later.
fn deaths_right_after_a_registration(rounds: u64) -> Vec<PlannedFault> {
    let round = |round: u64| {
        let at_ms = 1500 + round * 5500;
        let (last, witness) = ((round % 3 + 1) as usize, ((round + 1) % 3 + 1) as usize);
        let other = ((round + 2) % 3 + 1) as usize;
        let operations = (1 + round % 6) as u32;
        let fault = |after_ms: u64, fault: Fault| PlannedFault { at_ms: at_ms + after_ms, fault };
        [
            fault(0, Fault::Kill { node: other }),
            fault(1000, Fault::Kill { node: witness }),
            fault(1100, Fault::PowerCut { node: last }),
            fault(1110, Fault::Start { node: other }),
            fault(1120, Fault::Start { node: witness }),
            fault(1220 + 25 * round, Fault::DieAfter { node: witness, operations, loses_power: false }),
            fault(2500, Fault::Start { node: witness }),
            fault(3500, Fault::Start { node: last }),
        ]
    };
    (0..rounds).flat_map(round).collect()
}

/// PR-06 (KIP-966): who is let in and dies before its disk knows of it counts as one that lost records. That it is not
/// believed while its earlier life counts as active makes the bug rarer still.
#[test]
fn a_broker_let_in_before_its_disk_knows_of_it_is_noticed() {
    let base = ClusterPlan { faults: Some(deaths_right_after_a_registration(8)), ..plan(Profile::None, 46) };
    let removed = "LetInOnceRemembered+RegistrationNotLate";
    found_by(removed, &base, &["O1", "O7", "O14", "O20"], 80..100);
}

/// OF-01 (KIP-447).
#[test]
fn a_commit_of_an_old_generation_is_noticed() {
    found_by("GroupGeneration", &plan(Profile::Zombie, 8), &["O20", "O21", "O22"], 0..20);
}
