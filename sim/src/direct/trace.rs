//! What happened in a run: hashed whole (O42), and told in words when a run is replayed for its report.

use super::queue::{SECOND, Time};
use std::fmt::{Display, Write};

/// The hash of a run's events and, while it is recorded, its story.
#[derive(Debug)]
pub(crate) struct Trace {
    hash: u64,
    is_recording: bool,
    lines: Vec<String>,
}

/// How many lines of a story are kept: its end is what matters.
const LINES_MAX: usize = 20_000;

impl Trace {
    pub(crate) const fn new(is_recording: bool) -> Self {
        Self { hash: 0xcbf2_9ce4_8422_2325, is_recording, lines: Vec::new() }
    }

    /// Takes an event into the hash.
    pub(crate) fn mix(&mut self, words: [u64; 2]) {
        for word in words {
            let mixed = (self.hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            self.hash = mixed ^ (mixed >> 29);
        }
    }

    /// Tells something that a reader of the story wants to know. Costs nothing unless a story is recorded.
    pub(crate) fn tell(&mut self, now: Time, who: impl Display, what: impl Display) {
        if !self.is_recording {
            return;
        }
        if self.lines.len() >= 2 * LINES_MAX {
            self.lines.drain(..LINES_MAX);
        }
        let mut line = String::new();
        let (seconds, rest) = (now / SECOND, now % SECOND / 1000);
        write!(line, "{seconds:>4}.{rest:06}  {who:<9} {what}").expect("a string takes what is written");
        self.lines.push(line);
    }

    /// Whether a story is recorded.
    pub(crate) const fn is_recording(&self) -> bool {
        self.is_recording
    }

    pub(crate) const fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn into_lines(self) -> Vec<String> {
        self.lines
    }
}
