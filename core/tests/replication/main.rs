//! Three replicas of one partition under any interleaving, any loss, and crashes: nothing promised is ever lost.

#[allow(dead_code, reason = "the steps of a quorum beside it use the rest")]
mod world;

use proptest::prelude::*;
use world::{Counts, World, op, run};

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn what_was_promised_stays(ops in prop::collection::vec((any::<u8>(), any::<u8>()), 1..400)) {
        let mut world = World::new();
        for (kind, choice) in ops {
            world.step(op(kind, choice));
        }
    }
}

#[test]
fn runs_have_what_they_are_about() {
    let mut sum = Counts::default();
    for seed in 0..20 {
        let counts = run(seed, 600);
        sum.add(&counts);
    }
    let Counts { acked, elections, cuts, losses, isr_changes, refusals } = sum;
    let least = [acked, elections, cuts, losses, isr_changes, refusals].into_iter().min();
    assert!(least > Some(10), "a run shows too little: {sum:?}");
}
