//! Who may connect: `max.connections` and `max.connections.per.ip`, with Kafka's behaviour.
//!
//! At the total limit nothing is accepted, and clients wait in the listen backlog. At an address's own limit the
//! new connection is dropped.

use crate::limits::Limits;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Counts the connections of one server.
#[derive(Debug, Default)]
pub(crate) struct Admission {
    census: Mutex<Census>,
    left: Notify,
}

#[derive(Debug, Default)]
struct Census {
    total: usize,
    per_ip: BTreeMap<IpAddr, usize>,
}

/// One connection's place. Dropping it makes room.
#[derive(Debug)]
pub(crate) struct Permit {
    admission: Arc<Admission>,
    ip: IpAddr,
}

impl Admission {
    /// Waits until another connection may be accepted.
    pub(crate) async fn room(&self, limits: impl Fn() -> Arc<Limits>) {
        self.wait_until(|total| total < limits().connections_max.max(1)).await;
    }

    /// Waits until no connection is left.
    pub(crate) async fn empty(&self) {
        self.wait_until(|total| total == 0).await;
    }

    /// A place for a connection from `ip`, unless that address has as many as it may.
    pub(crate) fn admit(self: &Arc<Self>, ip: IpAddr, limits: &Limits) -> Option<Permit> {
        let ip = ip.to_canonical();
        let mut census = self.census();
        let count = census.per_ip.entry(ip).or_default();
        if *count >= limits.connections_max_of(ip) {
            if *count == 0 {
                census.per_ip.remove(&ip);
            }
            return None;
        }
        *count += 1;
        census.total += 1;
        Some(Permit { admission: self.clone(), ip })
    }

    async fn wait_until(&self, holds: impl Fn(usize) -> bool) {
        loop {
            let left = self.left.notified();
            tokio::pin!(left);
            // Registered before the look, so that a connection that leaves in between is noticed.
            left.as_mut().enable();
            if holds(self.census().total) {
                return;
            }
            left.await;
        }
    }

    /// Looks again, as when a limit was changed.
    pub(crate) fn reconsider(&self) {
        self.left.notify_waiters();
    }

    fn census(&self) -> MutexGuard<'_, Census> {
        self.census.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut census = self.admission.census();
        census.total -= 1;
        if let Some(count) = census.per_ip.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                census.per_ip.remove(&self.ip);
            }
        }
        drop(census);
        self.admission.reconsider();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_own_limit() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let limits = Limits {
            connections_per_ip_max: 2,
            connections_per_ip_overrides: BTreeMap::from([(ip("10.0.0.9"), 0), (ip("10.0.0.8"), 3)]),
            ..Limits::default()
        };
        let admission = Arc::new(Admission::default());
        let first = admission.admit(ip("10.0.0.1"), &limits).unwrap();
        let _second = admission.admit(ip("::ffff:10.0.0.1"), &limits).unwrap();
        assert!(admission.admit(ip("10.0.0.1"), &limits).is_none(), "mapped addresses are the same address");
        assert!(admission.admit(ip("10.0.0.9"), &limits).is_none());
        let _others = [(); 3].map(|()| admission.admit(ip("10.0.0.8"), &limits).unwrap());
        assert!(admission.admit(ip("10.0.0.8"), &limits).is_none());
        drop(first);
        assert!(admission.admit(ip("10.0.0.1"), &limits).is_some(), "who leaves makes room");
        assert!(!admission.census().per_ip.contains_key(&ip("10.0.0.9")), "refusals leave nothing behind");
    }
}
