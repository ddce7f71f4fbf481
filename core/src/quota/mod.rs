//! Client quotas (KIP-13, KIP-55, KIP-124, KIP-599, KIP-612): who may do how much, and how long to wait after more.
//!
//! [`QuotaTable`] says which limit holds for whom, [`Quotas`] measures and answers throttle times. Muting the
//! connection for that time is the shell's part; so is measuring sizes and handler times.
//! [`ReplicationQuota`] is no client's: it holds back replicas that catch up (KIP-73).

mod rate;
mod replication;
mod table;
mod tracker;

pub use rate::{Rate, TokenBucket};
pub use replication::ReplicationQuota;
pub use table::{Limit, QuotaTable, Sharer};
pub use tracker::{Client, Quotas};

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum QuotaKind {
    /// `producer_byte_rate`: bytes per second.
    Produce,
    /// `consumer_byte_rate`: bytes per second.
    Fetch,
    /// `request_percentage`: handler time, in percent of one thread.
    Request,
    /// `controller_mutation_rate`: partitions made or deleted per second.
    ControllerMutation,
    /// `connection_creation_rate`: new connections per second of an address.
    ConnectionCreation,
}

impl QuotaKind {
    /// The kind of a quota's key.
    pub fn from_key(key: &str) -> Option<Self> {
        Some(match key {
            "producer_byte_rate" => Self::Produce,
            "consumer_byte_rate" => Self::Fetch,
            "request_percentage" => Self::Request,
            "controller_mutation_rate" => Self::ControllerMutation,
            "connection_creation_rate" => Self::ConnectionCreation,
            _ => return None,
        })
    }

    /// The key in requests and records.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Produce => "producer_byte_rate",
            Self::Fetch => "consumer_byte_rate",
            Self::Request => "request_percentage",
            Self::ControllerMutation => "controller_mutation_rate",
            Self::ConnectionCreation => "connection_creation_rate",
        }
    }
}
