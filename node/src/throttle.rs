//! Client quotas in force (KIP-13, KIP-219, KIP-546): measures what clients use and says how long to mute them.
//!
//! Without any quota set, which is the rule, a request costs one relaxed load here and no lock.

use crate::node::Node;
use highwater_core::config::BrokerConfig;
use highwater_core::metadata::MetadataImage;
use highwater_core::quota::{Client, QuotaKind, QuotaTable, Quotas};
use highwater_core::time::Instant;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Who a client is while there is no authentication.
const ANONYMOUS: &str = "ANONYMOUS";

/// All quotas of a node.
#[derive(Debug)]
pub struct Throttles {
    are_any: AtomicBool,
    are_requests_timed: AtomicBool,
    quotas: Mutex<Quotas>,
}

impl Throttles {
    /// The quotas of the image.
    pub fn new(config: &BrokerConfig, image: &MetadataImage) -> Self {
        let quotas = Mutex::new(Quotas::new(config.quota_window, config.controller_quota_window));
        let throttles =
            Self { are_any: AtomicBool::new(false), are_requests_timed: AtomicBool::new(false), quotas };
        throttles.configure(config, image);
        throttles
    }

    /// Takes the limits of a newer image.
    pub fn configure(&self, _config: &BrokerConfig, image: &MetadataImage) {
        let table = QuotaTable::new(image.quotas());
        self.are_any.store(!table.is_empty(), Ordering::Relaxed);
        self.are_requests_timed.store(table.has(QuotaKind::Request), Ordering::Relaxed);
        self.lock().set_table(Arc::new(table));
    }

    fn lock(&self) -> MutexGuard<'_, Quotas> {
        self.quotas.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn are_any(&self) -> bool {
        self.are_any.load(Ordering::Relaxed)
    }

    /// Counts bytes, and says how long the client is to wait.
    pub fn bytes(&self, now: Instant, kind: QuotaKind, client_id: &str, bytes: u64) -> Duration {
        if !self.are_any() {
            return Duration::ZERO;
        }
        // Rates are of bytes a second: 2^53 of them are counted exactly.
        #[allow(clippy::cast_precision_loss, reason = "see above")]
        let amount = bytes as f64;
        self.lock().record(now, kind, client(client_id), amount)
    }

    /// As if the bytes had not been: the answer went out without them.
    pub fn take_back(&self, now: Instant, kind: QuotaKind, client_id: &str, bytes: u64) {
        #[allow(clippy::cast_precision_loss, reason = "as in bytes")]
        let amount = bytes as f64;
        self.lock().unrecord(now, kind, client(client_id), amount);
    }

    /// Counts a new connection of an address; one that comes too soon is to be closed after the time in the error.
    pub fn admit_connection(&self, now: Instant, address: IpAddr) -> Result<(), Duration> {
        if !self.are_any() {
            return Ok(());
        }
        self.lock().admit_connection(now, address)
    }

    /// Whether anybody has a limit of handler time (`request_percentage`): only then requests are timed.
    pub fn are_requests_timed(&self) -> bool {
        self.are_requests_timed.load(Ordering::Relaxed)
    }

    /// Counts the time a request took of its handler.
    fn request(&self, now: Instant, client_id: &str, took: Duration) -> Duration {
        self.lock().record_request(now, client(client_id), took)
    }

    /// Whether a client may make so many partitions come and go now (KIP-599); if not, when.
    pub fn admit_mutations(
        &self,
        now: Instant,
        user: &str,
        client_id: &str,
        partitions: f64,
    ) -> Result<(), Duration> {
        if !self.are_any() {
            return Ok(());
        }
        self.lock().admit_mutations(now, Client { user, id: client_id }, partitions)
    }
}

/// The clock on one request's handler (KIP-124).
#[derive(Debug)]
pub struct HandlerTime {
    node: Arc<Node>,
    client_id: Option<Arc<str>>,
    began: Instant,
    /// How long the handler took, once it has returned (0 before); the answer may come much later.
    took_ns: AtomicU64,
}

impl HandlerTime {
    /// The handler begins.
    pub fn begin(node: &Arc<Node>, client_id: Option<Arc<str>>) -> Arc<Self> {
        let began = node.clock().mono();
        Arc::new(Self { node: node.clone(), client_id, began, took_ns: AtomicU64::new(0) })
    }

    /// The handler has returned, with or without an answer.
    pub fn end(&self) {
        let took = self.node.clock().mono().since(self.began);
        self.took_ns.store(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).max(1), Ordering::Relaxed);
    }

    /// Counts the time that the request took so far: how long its client is to wait. Asked once, for the answer.
    pub fn throttle(&self) -> Duration {
        let now = self.node.clock().mono();
        let took = match self.took_ns.load(Ordering::Relaxed) {
            0 => now.since(self.began),
            ns => Duration::from_nanos(ns),
        };
        self.node.throttles().request(now, self.client_id.as_deref().unwrap_or_default(), took)
    }
}

const fn client(id: &str) -> Client<'_> {
    Client { user: ANONYMOUS, id }
}
