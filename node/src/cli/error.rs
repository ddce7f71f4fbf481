//! What a command tells when it fails.

use highwater_core::client::producer::FailureCause;
use highwater_net_tcp::client::{ClientError, SendError};
use highwater_protocol::ErrorCode;
use std::fmt;
use std::io;
use std::process::ExitCode;

/// A failure in words, with the exit code that it ends with.
#[derive(Debug)]
pub struct CliError {
    message: String,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Something was tried and failed.
    Failure,
    /// Wrong flags or settings: nothing was tried.
    Usage,
    /// Nobody reads standard output any more, as after `| head`.
    Unread,
}

impl CliError {
    /// Something was tried and failed: exit code 1.
    pub fn new(message: impl fmt::Display) -> Self {
        Self { message: message.to_string(), kind: Kind::Failure }
    }

    /// Flags or settings are wrong: exit code 2, as clap's.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self { message: message.to_string(), kind: Kind::Usage }
    }

    /// A call of the client failed; `what` says what was tried.
    pub fn call(what: impl fmt::Display, error: &ClientError) -> Self {
        Self::new(format!("{what}: {}{}", error_text(error), advice(error)))
    }

    /// A broker refused something with a code and perhaps a message.
    pub fn refused(what: impl fmt::Display, code: ErrorCode, message: Option<String>) -> Self {
        Self::call(what, &ClientError::Kafka(code, message))
    }

    /// What was tried, in front of the message.
    #[must_use]
    pub fn context(mut self, what: impl fmt::Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// Whether there is anything to tell.
    pub fn is_quiet(&self) -> bool {
        self.kind == Kind::Unread
    }

    /// How the process ends.
    pub fn exit_code(&self) -> ExitCode {
        match self.kind {
            Kind::Failure => ExitCode::FAILURE,
            Kind::Usage => ExitCode::from(2),
            Kind::Unread => ExitCode::SUCCESS,
        }
    }
}

impl From<io::Error> for CliError {
    /// Of standard output; files are told of by name.
    fn from(error: io::Error) -> Self {
        let kind = if error.kind() == io::ErrorKind::BrokenPipe { Kind::Unread } else { Kind::Failure };
        Self { message: format!("standard output: {error}"), kind }
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CliError {}

/// A client's error, with the name of a broker's code before its message.
pub(super) fn error_text(error: &ClientError) -> String {
    match error {
        ClientError::Kafka(code, Some(message)) if !message.is_empty() => {
            format!("{message} ({})", code.name())
        }
        ClientError::Kafka(code, _) => code.name().to_owned(),
        // A name that cannot be resolved has no kind of its own in the standard library.
        ClientError::Io(kind) if kind.to_string() == "uncategorized error" => {
            "no connection; the host name may be unknown".to_owned()
        }
        other => other.to_string(),
    }
}

/// What the user can do about it, where that is not plain.
pub(super) fn advice(error: &ClientError) -> &'static str {
    match error {
        ClientError::Kafka(ErrorCode::UnknownTopicOrPartition, _) => {
            "\n  `highwater topic list` shows what there is"
        }
        ClientError::Kafka(ErrorCode::TopicAlreadyExists, _) => "\n  --if-not-exists makes this no error",
        ClientError::Kafka(ErrorCode::NonEmptyGroup | ErrorCode::UnknownMemberId, _) => {
            "\n  stop the group's consumers first; `highwater group describe GROUP` shows them"
        }
        ClientError::Kafka(ErrorCode::GroupIdNotFound, _) => "\n  `highwater group list` shows what there is",
        ClientError::UnsupportedApi(_) => "\n  the broker is too old or too new for this command",
        ClientError::TimedOut => {
            "\n  the broker was reached but did not answer: is it stopped or overloaded?"
        }
        _ => "",
    }
}

/// Why a record was not delivered.
pub(super) fn send_error_text(error: &SendError) -> String {
    match error {
        SendError::Client(error) => format!("{}{}", error_text(error), advice(error)),
        SendError::Delivery(error) => {
            let why = match error.cause {
                FailureCause::Refused(code) => code.name().to_owned(),
                FailureCause::TimedOut => "no broker took it in time".to_owned(),
                FailureCause::Abandoned => "a record before it was lost".to_owned(),
            };
            // Whoever sends it again must know.
            if error.may_be_appended { format!("{why}; it may have been stored all the same") } else { why }
        }
    }
}
