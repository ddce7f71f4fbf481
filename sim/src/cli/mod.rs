//! The command line of the direct driver.

mod batch;
mod report;

use batch::{Batch, Seeds};
use clap::{Args, Parser, Subcommand};
use highwater_sim::direct::{Options, Outcome, Verdict, run as run_scenario, shrink};
use highwater_sim::scenario::Scenario;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Runs Highwater's state machines under simulated faults.
#[derive(Debug, Parser)]
#[command(name = "highwater-sim", version, about, long_about = None)]
#[command(after_help = "Examples:
  highwater sim run                                  the mixed workload, seed 0
  highwater sim run --seeds 0..2000 --jobs 4         many seeds; every failing one is told
  highwater sim run leader-crash --seed 7 --story    what happened, line by line
  highwater sim run --seed 4711 --shrink small.toml  a failing seed, made as small as it goes

SCENARIO is a file, or the name of one in ./scenarios.
Exit codes: 0 nothing is wrong, 1 something else failed, 2 wrong usage, 10 safety was violated, 11 something did not
come right after the faults had ended, 12 a machine's assertion failed. Of several runs the worst counts.")]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a scenario
    Run(RunArgs),
}

#[derive(Debug, Args)]
struct RunArgs {
    /// What to run: a file, or the name of one in ./scenarios; the mixed workload if nothing is said
    scenario: Option<String>,
    /// The seed, instead of the scenario's own
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Seeds from A up to, and without, B
    #[arg(long, value_name = "A..B")]
    seeds: Option<Seeds>,
    /// How many runs at a time
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=512))]
    jobs: u16,
    /// Print JSON: one object for each seed, a line each
    #[arg(long)]
    json: bool,
    /// Take a guard out, as `removed` in a scenario does (in builds that can)
    #[arg(long, value_name = "GUARD")]
    removed: Option<String>,
    /// Tell what happened, line by line
    #[arg(long)]
    story: bool,
    /// Make the first failing run smaller, and write it as a scenario
    #[arg(long, value_name = "FILE")]
    shrink: Option<PathBuf>,
    /// Let no oracle look, to see what they cost
    #[arg(long)]
    no_oracles: bool,
    /// Go on after a failing seed (with --seeds)
    #[arg(long)]
    keep_going: bool,
}

/// Runs the command and says how it ended.
pub(crate) fn run(cli: &Cli) -> ExitCode {
    let Command::Run(args) = &cli.command;
    match run_all(args) {
        Ok(worst) => ExitCode::from(exit_code(worst)),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "highwater-sim: {error}");
            ExitCode::from(1)
        }
    }
}

const fn exit_code(worst: Verdict) -> u8 {
    match worst {
        Verdict::Ok => 0,
        Verdict::Safety => 10,
        Verdict::Liveness => 11,
        Verdict::Crash => 12,
    }
}

fn run_all(args: &RunArgs) -> Result<Verdict, Box<dyn std::error::Error>> {
    // a machine's assertion is caught and told as the run's outcome
    std::panic::set_hook(Box::new(|_| {}));
    let mut scenario = find(args.scenario.as_deref())?;
    if let Some(removed) = &args.removed {
        scenario.removed = Some(removed.clone());
        scenario.removed_guard()?;
    }
    let seeds = match (args.seed, args.seeds) {
        (Some(seed), _) => Seeds { from: seed, to: seed + 1 },
        (None, Some(seeds)) => seeds,
        (None, None) => Seeds { from: scenario.seed, to: scenario.seed + 1 },
    };
    let options = Options { is_checking: !args.no_oracles, is_recording: false };
    let batch = Batch { scenario: &scenario, seeds, jobs: args.jobs, options, keeps_going: args.keep_going };
    let mut tally = report::Tally::new(seeds, args.json);
    let mut first_failure: Option<Outcome> = None;
    batch.run(|outcome, cpu| {
        tally.note(outcome, cpu);
        if outcome.verdict != Verdict::Ok && first_failure.is_none() {
            first_failure = Some(outcome.clone());
        }
    })?;
    tally.finish();
    if let Some(failed) = &first_failure {
        explain(args, failed)?;
    } else if args.story {
        let scenario = Scenario { seed: seeds.from, ..scenario };
        tell(&run_scenario(&scenario, Options { is_recording: true, ..options })?, usize::MAX)?;
    }
    Ok(tally.worst())
}

/// Tells the story of a failed run, and makes it smaller if that was asked for.
fn explain(args: &RunArgs, failed: &Outcome) -> Result<(), Box<dyn std::error::Error>> {
    let recording = Options { is_checking: true, is_recording: true };
    let Some(file) = &args.shrink else {
        if !args.json {
            let lines = if args.story { usize::MAX } else { 40 };
            tell(&run_scenario(&failed.scenario, recording)?, lines)?;
        }
        return Ok(());
    };
    let mut err = std::io::stderr();
    let shrunk = shrink(failed, 400, |best, runs| {
        let faults = best.faults.as_ref().map_or(0, Vec::len);
        let _ = writeln!(err, "shrinking: {runs} runs, {faults} faults, {} s", best.seconds);
    })?;
    let again = run_scenario(&shrunk.scenario, recording)?;
    std::fs::write(file, shrunk.scenario.to_text())?;
    if !args.json {
        tell(&again, usize::MAX)?;
        writeln!(std::io::stdout(), "written to {} after {} runs", file.display(), shrunk.runs)?;
    }
    Ok(())
}

fn tell(outcome: &Outcome, lines_max: usize) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let skipped = outcome.story.len().saturating_sub(lines_max);
    if skipped > 0 {
        writeln!(out, "  ... {skipped} lines before; --story shows them")?;
    }
    for line in &outcome.story[skipped..] {
        writeln!(out, "  {line}")?;
    }
    if let Some(violation) = &outcome.violation {
        writeln!(out, "{} {}", violation.oracle, violation.what)?;
    }
    Ok(())
}

fn find(name: Option<&str>) -> Result<Scenario, Box<dyn std::error::Error>> {
    let Some(name) = name else { return Ok(Scenario::mixed()) };
    let direct = Path::new(name);
    if direct.is_file() {
        return Ok(Scenario::read(direct)?);
    }
    let named = Path::new("scenarios").join(format!("{name}.toml"));
    if named.is_file() {
        return Ok(Scenario::read(&named)?);
    }
    Err(format!("there is no scenario {name}: neither a file nor {}", named.display()).into())
}
