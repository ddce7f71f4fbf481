//! `highwater-sim`: the direct driver's command line; `highwater sim run` starts it.
//!
//! Exit codes: 0 nothing is wrong, 1 something else failed, 2 wrong usage, 10 an oracle of safety complained, 11 a run
//! did not come right after its faults, 12 a machine's assertion failed. Of several runs, the worst counts.

mod cli;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run(&cli::Cli::parse())
}
