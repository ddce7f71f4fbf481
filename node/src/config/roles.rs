//! `process.roles`: what a node is to its cluster.

use highwater_core::config::list;
use std::fmt;

/// What a node is to its cluster. At least one of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roles {
    /// It serves clients and holds partitions.
    pub broker: bool,
    /// It may vote in the quorum of the metadata log, and lead it.
    pub controller: bool,
}

impl Default for Roles {
    fn default() -> Self {
        Self { broker: true, controller: true }
    }
}

impl Roles {
    /// Reads the setting, whose words were checked; empty is both.
    pub(super) fn parse(text: &str) -> Self {
        let has = |role: &str| list(text).any(|word| word == role);
        match list(text).next() {
            Some(_) => Self { broker: has("broker"), controller: has("controller") },
            None => Self::default(),
        }
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.broker, self.controller) {
            (true, false) => "broker",
            (false, _) => "controller",
            (true, true) => "broker,controller",
        })
    }
}
