//! The admin port: metrics for Prometheus and health for whoever restarts or routes around a broker.
//!
//! It is served from the moment its listener is bound, so that a long recovery shows as "not ready" and not as a dead
//! process. Not a way to administer the cluster: that is Kafka's protocol.

mod health;
mod metrics;
mod process;

use crate::api::NodeService;
use crate::node::Node;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use highwater_net_tcp::{ACCEPT_BACKOFF, AcceptFailure, AcceptTrouble, Server};
use metrics::Metrics;
use process::Process;
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpListener;
use tokio::time::Instant;

/// What the port tells of. Cheap to clone; clones are the same.
#[derive(Clone, Debug)]
pub struct Admin {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    process: Process,
    stage: Mutex<Stage>,
}

/// Where the broker is in its life.
#[derive(Clone, Debug)]
enum Stage {
    /// The data directory is being opened, logs are recovered.
    Starting,
    /// Clients are let in.
    Serving(Arc<Node>, Server<NodeService>),
    /// The orderly end has begun.
    Stopping,
}

impl Default for Admin {
    fn default() -> Self {
        Self::new()
    }
}

impl Admin {
    /// For a broker that is about to start.
    pub fn new() -> Self {
        Self { inner: Arc::new(Inner { process: Process::started(), stage: Mutex::new(Stage::Starting) }) }
    }

    /// The broker lets clients in.
    pub fn serving(&self, node: &Arc<Node>, server: &Server<NodeService>) {
        self.enter(Stage::Serving(node.clone(), server.clone()));
    }

    /// The broker begins to end: no longer ready. Lets go of the node.
    pub fn stopping(&self) {
        self.enter(Stage::Stopping);
    }

    fn enter(&self, stage: Stage) {
        *self.inner.stage.lock().unwrap_or_else(PoisonError::into_inner) = stage;
    }

    fn stage(&self) -> Stage {
        self.inner.stage.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The pages.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/metrics", get(metrics_page))
            .route("/livez", get(live_page))
            .route("/readyz", get(ready_page))
            .with_state(self.clone())
    }

    /// Serves the pages until the task is aborted.
    pub async fn serve(self, listener: TcpListener) -> io::Result<()> {
        axum::serve(Patient(listener, AcceptTrouble::default()), self.router()).await
    }

    /// Everything that is measured, in Prometheus' text form.
    fn metrics(&self) -> Result<String, std::fmt::Error> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Metrics::new(self.inner.process, self.stage())));
        let mut page = String::new();
        text::encode(&mut page, &registry)?;
        Ok(page)
    }
}

/// A listener that outlives failures of accept.
struct Patient(TcpListener, AcceptTrouble);

impl axum::serve::Listener for Patient {
    type Io = tokio::net::TcpStream;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            match self.0.accept().await {
                Ok(accepted) => return accepted,
                Err(error) => {
                    if let Some(before) = self.1.arises(Instant::now()) {
                        tracing::warn!(before, "at the admin port {}", AcceptFailure(&error));
                    }
                    tokio::time::sleep(ACCEPT_BACKOFF).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

async fn metrics_page(State(admin): State<Admin>) -> Response {
    match admin.metrics() {
        Ok(page) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], page).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn live_page() -> &'static str {
    "ok\n"
}

async fn ready_page(State(admin): State<Admin>) -> Response {
    match health::readiness(&admin.stage()) {
        Ok(()) => "ok\n".into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_that_starts_or_stops_is_not_ready_and_still_tells_of_its_process() {
        let admin = Admin::new();
        assert_eq!(health::readiness(&admin.stage()), Err("starting: logs are being opened".to_owned()));
        let page = admin.metrics().expect("a page");
        assert!(page.contains("highwater_build_info{version="), "{page}");
        assert!(page.contains("process_start_time_seconds"), "{page}");
        assert!(page.ends_with("# EOF\n"), "{page}");

        admin.stopping();
        assert_eq!(health::readiness(&admin.stage()), Err("shutting down".to_owned()));
    }
}
