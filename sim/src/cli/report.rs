//! What is printed of a batch: a line for each seed, progress of long ones, and the sum.

use super::batch::Seeds;
use highwater_sim::direct::{GuardCount, Outcome, Totals, Verdict, silence};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// One run, as `--json` prints it.
#[derive(Serialize)]
struct Line<'a> {
    seed: u64,
    trace_hash: String,
    verdict: Verdict,
    oracle: Option<&'a str>,
    what: Option<&'a str>,
    simulated_seconds: f64,
    cpu_seconds: f64,
    totals: Totals,
}

/// Adds up the runs of a batch and prints.
#[derive(Debug)]
pub(crate) struct Tally {
    seeds: Seeds,
    is_json: bool,
    worst: Verdict,
    runs: u64,
    failed: BTreeMap<&'static str, u64>,
    totals: Totals,
    simulated: Duration,
    cpu: Duration,
    guards: BTreeMap<&'static str, (u64, u64)>,
    told_at: Instant,
}

/// More seeds than this are not told one by one.
const LINES_MAX: u64 = 20;

impl Tally {
    /// Nothing has run yet.
    pub(crate) fn new(seeds: Seeds, is_json: bool) -> Self {
        Self {
            seeds,
            is_json,
            worst: Verdict::Ok,
            runs: 0,
            failed: BTreeMap::new(),
            totals: Totals::default(),
            simulated: Duration::ZERO,
            cpu: Duration::ZERO,
            guards: BTreeMap::new(),
            told_at: Instant::now(),
        }
    }

    /// The worst verdict.
    pub(crate) const fn worst(&self) -> Verdict {
        self.worst
    }

    /// Takes a run in and prints its line.
    pub(crate) fn note(&mut self, outcome: &Outcome, cpu: Duration) {
        self.runs += 1;
        self.cpu += cpu;
        self.simulated += Duration::from_nanos(outcome.simulated_ns);
        self.add(&outcome.totals);
        for GuardCount { name, accepts, rejects } in &outcome.guards {
            let counted = self.guards.entry(name).or_default();
            (counted.0, counted.1) = (counted.0 + accepts, counted.1 + rejects);
        }
        if let Some(violation) = &outcome.violation {
            *self.failed.entry(violation.oracle).or_default() += 1;
        }
        if severity(outcome.verdict) > severity(self.worst) {
            self.worst = outcome.verdict;
        }
        if self.is_json {
            self.print_json(outcome, cpu);
        } else if self.seeds.count() <= LINES_MAX || outcome.verdict != Verdict::Ok {
            print_line(outcome);
        }
        self.progress();
    }

    fn add(&mut self, totals: &Totals) {
        let sum = &mut self.totals;
        sum.delivered += totals.delivered;
        sum.events += totals.events;
        sum.acked += totals.acked;
        sum.read += totals.read;
        sum.commits += totals.commits;
        sum.generations += totals.generations;
        sum.admin += totals.admin;
        sum.elections += totals.elections;
        sum.crashes += totals.crashes;
        sum.faults += totals.faults;
    }

    fn print_json(&self, outcome: &Outcome, cpu: Duration) {
        let line = Line {
            seed: outcome.seed,
            trace_hash: format!("{:016x}", outcome.trace_hash),
            verdict: outcome.verdict,
            oracle: outcome.violation.as_ref().map(|violation| violation.oracle),
            what: outcome.violation.as_ref().map(|violation| violation.what.as_str()),
            simulated_seconds: Duration::from_nanos(outcome.simulated_ns).as_secs_f64(),
            cpu_seconds: cpu.as_secs_f64(),
            totals: outcome.totals,
        };
        let text = serde_json::to_string(&line).expect("numbers and text always serialize");
        // with standard output closed, the exit code is left to tell
        let _ = writeln!(std::io::stdout(), "{text}");
    }

    fn progress(&mut self) {
        let err = std::io::stderr();
        if self.seeds.count() <= LINES_MAX
            || !err.is_terminal()
            || self.told_at.elapsed() < Duration::from_secs(1)
        {
            return;
        }
        self.told_at = Instant::now();
        let failed: u64 = self.failed.values().sum();
        let _ = write!(&err, "\r{} of {} seeds, {failed} failed ", self.runs, self.seeds.count());
    }

    /// Prints the sum of a batch for people.
    pub(crate) fn finish(&self) {
        if self.is_json {
            return;
        }
        let mut out = std::io::stdout().lock();
        let _ = self.print_sum(&mut out);
    }

    fn print_sum(&self, out: &mut impl Write) -> std::io::Result<()> {
        let totals = &self.totals;
        let cpu = self.cpu.as_secs_f64().max(1e-9);
        let per_cpu_second = totals.delivered as f64 / cpu;
        let simulated = self.simulated.as_secs_f64();
        writeln!(
            out,
            "{} runs: {} messages, {simulated:.0} simulated seconds, {cpu:.1} CPU seconds: {per_cpu_second:.0} messages \
             and {:.0} simulated seconds per CPU second",
            self.runs,
            totals.delivered,
            simulated / cpu
        )?;
        writeln!(
            out,
            "{} faults, {} crashes, {} elections; {} records acknowledged, {} read, {} commits, {} generations, {} \
             administrative requests",
            totals.faults,
            totals.crashes,
            totals.elections,
            totals.acked,
            totals.read,
            totals.commits,
            totals.generations,
            totals.admin
        )?;
        for (oracle, count) in &self.failed {
            writeln!(out, "{oracle}: {count} runs")?;
        }
        if !self.guards.is_empty() && self.seeds.count() > 1 {
            self.print_guards(out)?;
        }
        Ok(())
    }

    fn print_guards(&self, out: &mut impl Write) -> std::io::Result<()> {
        writeln!(out, "guards, with how often each held and did not:")?;
        for (name, (accepts, rejects)) in &self.guards {
            writeln!(out, "  {name:<32} {accepts:>12} {rejects:>10}")?;
        }
        writeln!(out, "guards that never rejected, and why:")?;
        for (name, _) in self.guards.iter().filter(|(_, (_, rejects))| *rejects == 0) {
            writeln!(
                out,
                "  {name:<32} {}",
                silence(name).unwrap_or("TOO WEAK A WORKLOAD, OR TOO FEW SEEDS")
            )?;
        }
        Ok(())
    }
}

const fn severity(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Ok => 0,
        Verdict::Liveness => 1,
        Verdict::Crash => 2,
        Verdict::Safety => 3,
    }
}

fn print_line(outcome: &Outcome) {
    let verdict = match outcome.verdict {
        Verdict::Ok => "ok",
        Verdict::Safety => "SAFETY",
        Verdict::Liveness => "LIVENESS",
        Verdict::Crash => "CRASH",
    };
    let what =
        outcome.violation.as_ref().map(|violation| format!(" {}: {}", violation.oracle, violation.what));
    let (seed, hash) = (outcome.seed, outcome.trace_hash);
    let line = format!("seed {seed:<8} {hash:016x} {verdict}{}", what.unwrap_or_default());
    let _ = writeln!(std::io::stdout(), "{line}");
}
