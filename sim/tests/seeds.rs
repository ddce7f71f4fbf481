//! Seeds: whole runs with faults, in which no oracle may complain.
//!
//! `HIGHWATER_SEED=n cargo sim -- --nocapture` replays one seed with its trace, `HIGHWATER_SEEDS=a..b` runs a range.
//! With `HIGHWATER_OFF=Guard` a guard is removed: the seeds that then fail are the ones that need it.
#![cfg(madsim)]

use highwater_sim::history::Totals;
use highwater_sim::run::{Plan, run};
use highwater_sim::sweep::Sweep;

#[test]
fn no_oracle_complains() {
    let sweep = Sweep::asked("HIGHWATER_SEED", 0..200);
    let plan = |seed| Plan { is_printing: sweep.is_single, off: sweep.off.clone(), ..Plan::of(seed) };
    let summary = sweep.run(|seed| run(&plan(seed)));
    summary.print();
    summary.assert_sound();
    if summary.runs >= 100 {
        // A workload that does nothing would find nothing.
        let Totals { acked, seen, retries, crashes, frozen, commits, generations, admin, .. } =
            summary.totals;
        for (what, count) in [("acked", acked), ("seen", seen), ("crashes", crashes), ("commits", commits)] {
            assert!(count > 100, "only {count} {what} in all runs: {:?}", summary.totals);
        }
        for (what, count) in
            [("retries", retries), ("frozen", frozen), ("generations", generations), ("admin", admin)]
        {
            assert!(count > 10, "only {count} {what} in all runs: {:?}", summary.totals);
        }
    }
}
