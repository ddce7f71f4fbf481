//! Every limit of the server side, in one place, with Kafka's defaults where Kafka has the limit.

use highwater_core::config::QuotaWindow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// What one server and each of its connections may use. Durations and sizes are upper bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest request frame (`socket.request.max.bytes`).
    pub request_bytes_max: usize,
    /// Requests of one connection that may wait for their answer to be sent; beyond it nothing is read.
    pub requests_in_flight_max: usize,
    /// Bytes of finished replies of one connection that may wait for the peer to read them; beyond it no
    /// request is handed to the service and nothing is read. One reply may exceed it alone.
    pub reply_bytes_unsent_max: u64,
    /// Largest buffer for pipelined small requests; a connection gets it only by filling smaller ones.
    pub read_buffer_bytes_max: usize,
    /// A connection that asks nothing, or does not finish a frame it began, is closed after this time without
    /// a byte (`connections.max.idle.ms`). A request that waits in the service keeps its connection.
    pub idle_max: Duration,
    /// A connection whose peer takes no byte of a waiting answer for this time is closed.
    pub write_stall_max: Duration,
    /// How long a connection stays awake for the next request of a client that asks one thing after another without
    /// a pause; zero for never.
    pub lockstep_wait_max: Duration,
    /// Connections that may do so at once. Fixed when the server is made.
    pub lockstep_connections_max: usize,
    /// Connections at once; beyond it new ones wait in the listen backlog (`max.connections`).
    pub connections_max: usize,
    /// New connections per second; beyond it accepting waits (`max.connection.creation.rate`).
    pub connections_per_second_max: usize,
    /// Over which time that is measured (`quota.window.*`).
    pub connection_rate_window: QuotaWindow,
    /// Limits of single listeners, by name, beside those of all together.
    pub listeners: BTreeMap<String, ListenerLimits>,
    /// Connections of one address at once; beyond it new ones are dropped (`max.connections.per.ip`).
    pub connections_per_ip_max: usize,
    /// Exceptions to [`Limits::connections_per_ip_max`] (`max.connections.per.ip.overrides`).
    pub connections_per_ip_overrides: BTreeMap<IpAddr, usize>,
}

/// What one listener may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListenerLimits {
    /// As [`Limits::connections_max`] (`listener.name.NAME.max.connections`).
    pub connections_max: usize,
    /// As [`Limits::connections_per_second_max`] (`listener.name.NAME.max.connection.creation.rate`).
    pub connections_per_second_max: usize,
}

impl Default for ListenerLimits {
    fn default() -> Self {
        Self { connections_max: UNLIMITED, connections_per_second_max: UNLIMITED }
    }
}

/// Kafka's largest number for any of these, and its default.
pub(crate) const UNLIMITED: usize = i32::MAX as usize;

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_bytes_max: 100 << 20,
            requests_in_flight_max: 256,
            reply_bytes_unsent_max: 4 << 20,
            read_buffer_bytes_max: 64 << 10,
            idle_max: Duration::from_secs(600),
            write_stall_max: Duration::from_secs(600),
            lockstep_wait_max: Duration::ZERO,
            lockstep_connections_max: 0,
            connections_max: UNLIMITED,
            connections_per_second_max: UNLIMITED,
            connection_rate_window: QuotaWindow { count: 11, seconds: 1 },
            listeners: BTreeMap::new(),
            connections_per_ip_max: UNLIMITED,
            connections_per_ip_overrides: BTreeMap::new(),
        }
    }
}

impl Limits {
    /// What this listener may have.
    pub fn of_listener(&self, name: &str) -> ListenerLimits {
        self.listeners.get(name).copied().unwrap_or_default()
    }

    /// How many connections `ip` may have at once.
    pub fn connections_max_of(&self, ip: IpAddr) -> usize {
        self.connections_per_ip_overrides
            .get(&ip.to_canonical())
            .copied()
            .unwrap_or(self.connections_per_ip_max)
    }
}
