//! `highwater completions`: what a shell needs to complete the command line.

use super::{Cli, CliError};
use clap::{Args, CommandFactory};
use clap_complete::Shell;
use std::io::Write;

/// Flags of `highwater completions`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  highwater completions bash > /etc/bash_completion.d/highwater
  highwater completions zsh > \"${fpath[1]}/_highwater\"
  highwater completions fish > ~/.config/fish/completions/highwater.fish")]
pub(super) struct CompletionsArgs {
    /// Which shell
    shell: Shell,
}

/// Prints the shell's script.
pub(super) fn run(args: &CompletionsArgs) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "highwater", &mut script);
    Ok(std::io::stdout().lock().write_all(&script)?)
}
