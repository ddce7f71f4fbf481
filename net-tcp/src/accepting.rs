//! Connections that cannot be accepted: a pause, and a line in the log now and then, not one for each attempt.

use std::fmt;
use std::io;
use std::time::Duration;
use tokio::time::Instant;

/// How long a listener rests after a failed accept: the usual cause, too many open files, does not go by faster.
pub const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);
/// How long nothing more is said of a trouble that goes on, or comes back.
const QUIET: Duration = Duration::from_secs(30);

/// The errors of a process, and of a machine, that has as many files open as it may.
const OUT_OF_FILES: [i32; 2] = [24, 23];

/// What a listener remembers of connections that it could not accept.
#[derive(Debug, Default)]
pub struct AcceptTrouble {
    said: Option<Instant>,
    unsaid: u64,
}

impl AcceptTrouble {
    /// Notes a connection that is not accepted, if there is one; whether to tell, and how often it was not told since.
    pub fn arises(&mut self, now: Instant) -> Option<u64> {
        if self.said.is_some_and(|said| now.saturating_duration_since(said) < QUIET) {
            self.unsaid += 1;
            return None;
        }
        self.said = Some(now);
        Some(std::mem::take(&mut self.unsaid))
    }
}

/// A failed accept, in words that say what to do.
#[derive(Debug)]
pub struct AcceptFailure<'a>(pub &'a io::Error);

impl fmt::Display for AcceptFailure<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a connection cannot be accepted: {}", self.0)?;
        match self.0.raw_os_error() {
            Some(code) if OUT_OF_FILES.contains(&code) => f.write_str(
                "; whoever connects waits until others leave: raise the limit of open files (ulimit -n, or LimitNOFILE= of \
                 a service)",
            ),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_is_told_once_in_a_while() {
        let (mut trouble, begun) = (AcceptTrouble::default(), Instant::now());
        let told: Vec<_> = (0..601).filter_map(|n| trouble.arises(begun + n * ACCEPT_BACKOFF)).collect();
        assert_eq!(told, [0, 299, 299]);
    }

    #[test]
    fn a_lack_of_files_comes_with_what_to_do() {
        let said = |error: io::Error| AcceptFailure(&error).to_string();
        let full = said(io::Error::from_raw_os_error(24));
        assert!(full.contains("(os error 24)") && full.contains("ulimit -n"), "{full}");
        let reset = said(io::Error::from(io::ErrorKind::ConnectionReset));
        assert_eq!(reset, "a connection cannot be accepted: connection reset");
    }
}
