//! What happened in a run, in order: hashed whole (O42), and its end kept for the report of a failure.

use std::collections::VecDeque;
use std::fmt::Display;
use std::time::Duration;
use tokio::time::Instant;

/// How many of the last lines are kept.
const KEPT_MAX: usize = 60;

/// The events of a run.
#[derive(Debug)]
pub struct Trace {
    begun: Instant,
    /// When the last event was noted, from the begin.
    last: Duration,
    hash: u64,
    kept: VecDeque<String>,
    is_printing: bool,
}

impl Trace {
    /// An empty trace that begins now. `is_printing` shows every line as it is noted.
    pub fn new(is_printing: bool) -> Self {
        Self {
            begun: Instant::now(),
            last: Duration::ZERO,
            hash: 0xcbf2_9ce4_8422_2325,
            kept: VecDeque::new(),
            is_printing,
        }
    }

    /// Notes an event at the present simulated time.
    pub fn note(&mut self, event: impl Display) {
        self.last = self.begun.elapsed();
        let line = format!("{:>12.6} {event}", self.last.as_secs_f64());
        for byte in line.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        if self.is_printing {
            println!("{line}");
        }
        if self.kept.len() == KEPT_MAX {
            self.kept.pop_front();
        }
        self.kept.push_back(line);
    }

    /// FNV-1a over all lines so far.
    pub const fn hash(&self) -> u64 {
        self.hash
    }

    /// The simulated time up to the last event.
    pub const fn simulated(&self) -> Duration {
        self.last
    }

    /// The last lines.
    pub fn tail(&self) -> Vec<String> {
        self.kept.iter().cloned().collect()
    }
}
