//! Many runs of one scenario, several at a time; outcomes come in the order of their seeds.

use highwater_sim::direct::{Options, Outcome, Verdict, run};
use highwater_sim::scenario::{Scenario, ScenarioError};
use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Seeds from one up to, and without, another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seeds {
    /// The first.
    pub(crate) from: u64,
    /// Behind the last.
    pub(crate) to: u64,
}

impl Seeds {
    /// How many.
    pub(crate) const fn count(self) -> u64 {
        self.to - self.from
    }
}

impl FromStr for Seeds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (from, to) = text.split_once("..").ok_or("two numbers with .. between them")?;
        let number = |text: &str| text.parse::<u64>().map_err(|error| format!("{text}: {error}"));
        let seeds = Self { from: number(from)?, to: number(to)? };
        if seeds.from < seeds.to { Ok(seeds) } else { Err("the second number is above the first".to_owned()) }
    }
}

/// What is to be run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Batch<'a> {
    /// The scenario; its own seed does not count.
    pub(crate) scenario: &'a Scenario,
    /// The seeds.
    pub(crate) seeds: Seeds,
    /// How many at a time.
    pub(crate) jobs: u16,
    /// How each is watched.
    pub(crate) options: Options,
    /// Whether a failure does not end the batch.
    pub(crate) keeps_going: bool,
}

type Ran = (u64, Result<(Outcome, Duration), ScenarioError>);

impl Batch<'_> {
    /// Runs all; `note` hears of each outcome and the CPU time it took, in the order of the seeds.
    pub(crate) fn run(&self, mut note: impl FnMut(&Outcome, Duration)) -> Result<(), ScenarioError> {
        let next = AtomicU64::new(self.seeds.from);
        let (sender, receiver) = mpsc::channel::<Ran>();
        std::thread::scope(|scope| {
            for _ in 0..self.jobs {
                let (next, sender) = (&next, sender.clone());
                scope.spawn(move || self.work(next, &sender));
            }
            drop(sender);
            let mut early = BTreeMap::new();
            let mut turn = self.seeds.from;
            for (seed, ran) in receiver {
                early.insert(seed, ran);
                while let Some(ran) = early.remove(&turn) {
                    turn += 1;
                    let (outcome, cpu) = match ran {
                        Ok(ran) => ran,
                        Err(error) => {
                            next.store(self.seeds.to, Ordering::Relaxed);
                            return Err(error);
                        }
                    };
                    note(&outcome, cpu);
                    if outcome.verdict != Verdict::Ok && !self.keeps_going {
                        next.store(self.seeds.to, Ordering::Relaxed);
                        return Ok(());
                    }
                }
            }
            Ok(())
        })
    }

    fn work(&self, next: &AtomicU64, sender: &mpsc::Sender<Ran>) {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= self.seeds.to {
                return;
            }
            let scenario = Scenario { seed, ..self.scenario.clone() };
            let (begun, cpu_begun) = (Instant::now(), cpu_time());
            let ran = run(&scenario, self.options).map(|outcome| {
                let cpu = cpu_begun.zip(cpu_time()).map(|(begun, now)| now.saturating_sub(begun));
                (outcome, cpu.unwrap_or_else(|| begun.elapsed()))
            });
            if sender.send((seed, ran)).is_err() {
                return;
            }
        }
    }
}

/// The CPU time of this thread, where the system tells it (Linux).
fn cpu_time() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}
