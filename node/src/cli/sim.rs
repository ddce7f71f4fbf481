//! `highwater sim`: starts the simulator, a binary of its own that lies beside this one.

use clap::Args;
use std::io::Write;
use std::process::{Command, ExitCode};

/// The name of the simulator's binary.
const SIMULATOR: &str = "highwater-sim";

/// Everything behind `sim` is the simulator's.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(super) struct SimArgs {
    /// Such as: run [SCENARIO] [--seed N | --seeds A..B] [--jobs J] [--json]; `highwater sim --help` tells all
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    args: Vec<String>,
}

/// Runs the simulator; its exit code is this command's, too.
pub(super) fn run(args: &SimArgs, is_json: bool) -> ExitCode {
    let sibling = std::env::current_exe().ok().and_then(|own| Some(own.parent()?.join(SIMULATOR)));
    let program = sibling.filter(|path| path.is_file()).unwrap_or_else(|| SIMULATOR.into());
    let mut command = Command::new(&program);
    command.args(&args.args);
    if is_json && !args.args.iter().any(|arg| arg == "--json") {
        command.arg("--json");
    }
    match command.status() {
        Ok(status) => {
            status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, Into::into)
        }
        Err(error) => {
            let _ = writeln!(
                std::io::stderr(),
                "highwater: the simulator {} cannot be started: {error}; build it with \
                 `cargo build --release -p highwater-sim`",
                program.display()
            );
            ExitCode::FAILURE
        }
    }
}
