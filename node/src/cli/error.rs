//! What a command tells when it fails.

use std::fmt;
use std::process::ExitCode;

/// A failure in words, with the exit code that it ends with.
#[derive(Debug)]
pub struct CliError {
    message: String,
    /// Wrong flags or settings: nothing was tried.
    is_usage: bool,
}

impl CliError {
    /// Something was tried and failed: exit code 1.
    pub fn new(message: impl fmt::Display) -> Self {
        Self { message: message.to_string(), is_usage: false }
    }

    /// Flags or settings are wrong: exit code 2, as clap's.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self { message: message.to_string(), is_usage: true }
    }

    /// How the process ends.
    pub fn exit_code(&self) -> ExitCode {
        if self.is_usage { ExitCode::from(2) } else { ExitCode::FAILURE }
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CliError {}
