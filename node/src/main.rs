//! The `highwater` command.

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    highwater::cli::run(&highwater::cli::Cli::parse())
}
