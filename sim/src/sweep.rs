//! Sweeps: the runs of a range of seeds, what they came to together, and how fast that was.
//!
//! Which seeds, and which guard is removed, the environment may say; see `sim/tests/seeds.rs` and `sim/tests/cluster.rs`,
//! which are the sweeps there are.

use crate::history::Totals;
use crate::run::Outcome;
use highwater_core::guard::Guard;
use highwater_core::guard::run::Count;
use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

/// How many failures are shown with the end of their traces.
const SHOWN_MAX: usize = 20;

/// What is swept.
#[derive(Clone, Debug)]
pub struct Sweep {
    /// The seeds.
    pub seeds: Range<u64>,
    /// The guards that are switched off.
    pub off: Vec<Guard>,
    /// Whether one seed was asked for, to be seen with its trace.
    pub is_single: bool,
}

/// What the runs came to.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// How many runs there were.
    pub runs: u64,
    /// What happened how often in all of them.
    pub totals: Totals,
    /// How often each guard held and did not.
    pub guards: BTreeMap<Guard, Count>,
    /// The reports of those that an oracle complained of.
    pub failures: Vec<String>,
    /// The simulated time of all of them.
    pub simulated: Duration,
    /// What arrived over connections.
    pub delivered: u64,
    /// The CPU time that it took.
    pub cpu: Duration,
}

fn number(text: &str) -> u64 {
    text.trim().parse().unwrap_or_else(|_| panic!("a seed is a number, not {text:?}"))
}

impl Sweep {
    /// What the environment asks for: `{variable}=n` for one seed, `{variable}S=a..b` for a range, else `unless`; and
    /// `HIGHWATER_OFF=Guard`.
    pub fn asked(variable: &str, unless: Range<u64>) -> Self {
        let single = std::env::var(variable).ok().map(|seed| number(&seed));
        let range = std::env::var(format!("{variable}S")).ok().map(|range| {
            let (from, to) = range.split_once("..").unwrap_or_else(|| panic!("{variable}S is first..end"));
            number(from)..number(to)
        });
        let seeds = single.map(|seed| seed..seed + 1).or(range).unwrap_or(unless);
        Self { seeds, off: removed(), is_single: single.is_some() }
    }

    /// Runs all of them, one after the other. Says of each what it came to: the same seed has the same hash in every
    /// process (O42).
    pub fn run(&self, run: impl Fn(u64) -> Outcome) -> Summary {
        let cpu_time = || highwater::os::cpu_time().unwrap_or_default();
        let begun = cpu_time();
        let mut summary = Summary::default();
        for seed in self.seeds.clone() {
            summary.add(&run(seed));
        }
        summary.cpu = cpu_time().saturating_sub(begun);
        summary
    }
}

fn removed() -> Vec<Guard> {
    let Ok(name) = std::env::var("HIGHWATER_OFF") else { return Vec::new() };
    let guard = Guard::ALL.iter().find(|guard| guard.name() == name);
    vec![*guard.unwrap_or_else(|| panic!("{name} is no guard of core/src/guard.rs"))]
}

impl Summary {
    fn add(&mut self, outcome: &Outcome) {
        self.runs += 1;
        self.totals.add(&outcome.totals);
        self.simulated += outcome.simulated;
        self.delivered += outcome.delivered;
        for (guard, count) in &outcome.guards {
            let sum = self.guards.entry(*guard).or_default();
            sum.accepts += count.accepts;
            sum.rejects += count.rejects;
        }
        if let Some(complaint) = &outcome.complaint {
            println!("seed {}: {} {}", outcome.seed, complaint.oracle, complaint.what);
            self.failures.push(outcome.report());
        }
        println!("seed {}: hash {:016x}, {:?}", outcome.seed, outcome.hash, outcome.totals);
    }

    /// Tells what was done, how fast, and which guards rejected.
    pub fn print(&self) {
        for guard in Guard::ALL {
            let name = guard.name();
            match self.guards.get(guard) {
                Some(Count { accepts, rejects: 0 }) => {
                    println!("guard {name}: {accepts} accepted, NEVER rejected");
                }
                Some(Count { accepts, rejects }) => {
                    println!("guard {name}: {accepts} accepted, {rejects} rejected");
                }
                None => println!("guard {name}: NEVER asked"),
            }
        }
        println!("{} seeds: {:?}", self.runs, self.totals);
        let (simulated, cpu) = (self.simulated.as_secs_f64(), self.cpu.as_secs_f64());
        println!(
            "{} messages and {simulated:.1} simulated seconds in {cpu:.1} CPU seconds: {:.0} messages and {:.1} simulated \
             seconds for each",
            self.delivered,
            self.delivered as f64 / cpu.max(0.01),
            simulated / cpu.max(0.01)
        );
    }

    /// Panics, with the ends of their traces, if an oracle complained of any.
    pub fn assert_sound(&self) {
        let shown: Vec<_> = self.failures.iter().take(SHOWN_MAX).cloned().collect();
        assert!(self.failures.is_empty(), "{} seeds failed\n{}", self.failures.len(), shown.join("\n\n"));
    }
}
