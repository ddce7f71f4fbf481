//! A running broker: a node with a server in front of it.
//!
//! The same for a process and for the simulator; only disk, listeners and threads differ.

use crate::api::NodeService;
use crate::log::LogError;
use crate::node::{DRAIN_TIME_MAX, HAND_OVER_TIME_MAX, Node, NodeSetup, Platform, StartError};
use highwater_core::config::BrokerConfig;
use highwater_net_tcp::{Limits, Listen, ListenerLimits, Server};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// A node that serves clients.
#[derive(Debug)]
pub struct Broker {
    node: Arc<Node>,
    server: Server<NodeService>,
    accepting: Vec<tokio::task::JoinHandle<()>>,
    following_settings: tokio::task::JoinHandle<()>,
}

impl Broker {
    /// Starts the node and lets clients in on these listeners, each with its name.
    pub fn start<L: Listen>(
        config: NodeSetup,
        platform: Platform,
        listeners: Vec<(String, L)>,
    ) -> Result<Self, StartError> {
        let connections_max = config.connections_max;
        let node = Node::start(config, platform)?;
        let service = Arc::new(NodeService::new(node.clone()));
        let server =
            Server::new(service, limits(&node.broker_config(), connections_max), node.clock().started());
        let accepting = listeners
            .into_iter()
            .map(|(name, listener)| {
                let server = server.clone();
                tokio::spawn(async move { server.serve(&name, listener).await })
            })
            .collect();
        let following_settings =
            tokio::spawn(follow_settings(node.broker_config_changes(), connections_max, server.clone()));
        Ok(Self { node, server, accepting, following_settings })
    }

    /// The node.
    pub const fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// The server.
    pub const fn server(&self) -> &Server<NodeService> {
        &self.server
    }

    /// The orderly end: others lead what this broker led, clients get the answers they wait for, everything is flushed, the directory is marked clean.
    pub async fn shutdown(self) -> Result<(), LogError> {
        if self.node.broker_config().controlled_shutdown {
            self.node.membership().leave(HAND_OVER_TIME_MAX).await;
        }
        self.following_settings.abort();
        self.server.shutdown(DRAIN_TIME_MAX).await;
        for accepting in self.accepting {
            // It has ended, or panicked and said so.
            let _ = accepting.await;
        }
        wait_for_disk(&self.node).await;
        self.node.shutdown()
    }
}

/// Puts limits in force that are changed while the broker runs (KIP-226).
async fn follow_settings(
    mut settings: watch::Receiver<Arc<BrokerConfig>>,
    connections_max: usize,
    server: Server<NodeService>,
) {
    while settings.changed().await.is_ok() {
        let config = settings.borrow_and_update().clone();
        server.update_limits(limits(&config, connections_max));
    }
}

/// What a slow disk owes is waited for; a log of which it still owes something afterwards is not closed in order.
async fn wait_for_disk(node: &Node) {
    let until = node.clock().mono() + DRAIN_TIME_MAX;
    while !node.shell().flusher.is_settled() && node.clock().mono() < until {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The limits of connections, of which there may be `connections_max` at the most.
fn limits(config: &BrokerConfig, connections_max: usize) -> Limits {
    let size = |value: i32| usize::try_from(value).unwrap_or(0);
    let listeners = config.listener_limits.iter().map(|(name, own)| {
        let none = ListenerLimits::default();
        let own = ListenerLimits {
            connections_max: own.connections_max.map_or(none.connections_max, size),
            connections_per_second_max: own
                .connection_creation_rate_max
                .map_or(none.connections_per_second_max, size),
        };
        (name.clone(), own)
    });
    let defaults = Limits::default();
    let idle_max = match config.connections_idle_ms_max {
        Some(ms) => Duration::from_millis(u64::try_from(ms).unwrap_or(0)),
        None => Duration::from_secs(u64::from(u32::MAX)),
    };
    Limits {
        request_bytes_max: size(config.request_bytes_max),
        idle_max,
        write_stall_max: idle_max.min(defaults.write_stall_max),
        lockstep_wait_max: Duration::from_micros(config.busy_poll_micros),
        lockstep_connections_max: spare_cores(),
        connections_max: size(config.connections_max).min(connections_max),
        connections_per_second_max: size(config.connection_creation_rate_max),
        connection_rate_window: config.quota_window,
        listeners: listeners.collect(),
        connections_per_ip_max: size(config.connections_per_ip_max),
        connections_per_ip_overrides: config
            .connections_per_ip_overrides
            .iter()
            .map(|(ip, max)| (*ip, size(*max)))
            .collect(),
        ..defaults
    }
}

/// Cores that may wait for clients while others work. None in the simulator, where waiting awake is waiting for ever.
fn spare_cores() -> usize {
    if cfg!(madsim) { 0 } else { std::thread::available_parallelism().map_or(0, |cores| cores.get() / 2) }
}
