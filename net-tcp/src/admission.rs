//! Who may connect and when: `max.connections`, `max.connections.per.ip` and `max.connection.creation.rate`, for all
//! listeners together and for single ones, with Kafka's behaviour (KIP-402, KIP-612).
//!
//! At a limit of connections, or of new ones per second, nothing is accepted, and clients wait in the listen
//! backlog. At an address's own limit the new connection is dropped.

use crate::limits::Limits;
use highwater_core::config::QuotaWindow;
use highwater_core::quota::Rate;
use highwater_core::time::Instant;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
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
    per_listener: BTreeMap<Arc<str>, usize>,
    /// Of all listeners together, and of those that have a rate of their own.
    pace: Pace,
    listener_paces: BTreeMap<Arc<str>, Pace>,
}

/// How fast connections come, measured only while that is limited.
#[derive(Debug, Default)]
struct Pace {
    rate: Option<Rate>,
}

impl Pace {
    /// Counts a connection; how long nothing more may be accepted.
    fn record(&mut self, now: Instant, per_second_max: usize, window: QuotaWindow) -> Duration {
        if per_second_max == crate::limits::UNLIMITED {
            self.rate = None;
            return Duration::ZERO;
        }
        let rate = self.rate.get_or_insert_with(|| Rate::new(window));
        rate.record(now, 1.0);
        // Kafka's bound: a burst delays by a window at the most, and is then paced by the next connection.
        let longest = Duration::from_secs(u64::try_from(window.seconds).unwrap_or(1));
        let per_second_max = u32::try_from(per_second_max).unwrap_or(u32::MAX);
        rate.throttle(now, f64::from(per_second_max)).min(longest)
    }
}

/// One connection's place. Dropping it makes room.
#[derive(Debug)]
pub(crate) struct Permit {
    admission: Arc<Admission>,
    ip: IpAddr,
    listener: Arc<str>,
}

impl Admission {
    /// Waits until another connection may be accepted on a listener.
    pub(crate) async fn room(&self, listener: &str, limits: impl Fn() -> Arc<Limits>) {
        self.wait_until(|census| census.has_room(listener, &limits())).await;
    }

    /// Whether another connection may be accepted on a listener now.
    pub(crate) fn has_room(&self, listener: &str, limits: &Limits) -> bool {
        self.census().has_room(listener, limits)
    }

    /// Waits until no connection is left.
    pub(crate) async fn empty(&self) {
        self.wait_until(|census| census.total == 0).await;
    }

    /// Counts a connection that comes; it is to be let in after this time.
    pub(crate) fn pace(&self, now: Instant, listener: &Arc<str>, limits: &Limits) -> Duration {
        let mut census = self.census();
        let window = limits.connection_rate_window;
        let all = census.pace.record(now, limits.connections_per_second_max, window);
        let Some(own) = limits.listeners.get(&**listener) else { return all };
        let pace = census.listener_paces.entry(listener.clone()).or_default();
        all.max(pace.record(now, own.connections_per_second_max, window))
    }

    /// A place for a connection from `ip`, unless that address has as many as it may.
    pub(crate) fn admit(
        self: &Arc<Self>,
        ip: IpAddr,
        listener: &Arc<str>,
        limits: &Limits,
    ) -> Option<Permit> {
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
        *census.per_listener.entry(listener.clone()).or_default() += 1;
        Some(Permit { admission: self.clone(), ip, listener: listener.clone() })
    }

    async fn wait_until(&self, holds: impl Fn(&Census) -> bool) {
        loop {
            let left = self.left.notified();
            tokio::pin!(left);
            // Registered before the look, so that a connection that leaves in between is noticed.
            left.as_mut().enable();
            if holds(&self.census()) {
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

impl Census {
    fn has_room(&self, listener: &str, limits: &Limits) -> bool {
        self.total < limits.connections_max.max(1)
            && self.of(listener) < limits.of_listener(listener).connections_max.max(1)
    }

    fn of(&self, listener: &str) -> usize {
        self.per_listener.get(listener).copied().unwrap_or(0)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut census = self.admission.census();
        census.total -= 1;
        if let Some(count) = census.per_listener.get_mut(&self.listener) {
            *count -= 1;
        }
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
    use crate::limits::ListenerLimits;
    use std::pin::pin;
    use std::task::{Context, Waker};

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn listener() -> Arc<str> {
        "PLAINTEXT".into()
    }

    #[test]
    fn an_address_has_its_own_limit() {
        let limits = Limits {
            connections_per_ip_max: 2,
            connections_per_ip_overrides: BTreeMap::from([(ip("10.0.0.9"), 0), (ip("10.0.0.8"), 3)]),
            ..Limits::default()
        };
        let admission = Arc::new(Admission::default());
        let admit = |from: &str| admission.admit(ip(from), &listener(), &limits);
        let first = admit("10.0.0.1").unwrap();
        let _second = admit("::ffff:10.0.0.1").unwrap();
        assert!(admit("10.0.0.1").is_none(), "mapped addresses are the same address");
        assert!(admit("10.0.0.9").is_none());
        let _others = [(); 3].map(|()| admit("10.0.0.8").unwrap());
        assert!(admit("10.0.0.8").is_none());
        drop(first);
        assert!(admit("10.0.0.1").is_some(), "who leaves makes room");
        assert!(!admission.census().per_ip.contains_key(&ip("10.0.0.9")), "refusals leave nothing behind");
    }

    /// Whether it need not wait.
    fn is_ready(future: impl Future) -> bool {
        pin!(future).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn a_listener_has_its_own_limit() {
        let own = ListenerLimits { connections_max: 1, ..ListenerLimits::default() };
        let limits = Arc::new(Limits { listeners: [("OUT".to_owned(), own)].into(), ..Limits::default() });
        let admission = Arc::new(Admission::default());
        let permit = admission.admit(ip("10.0.0.1"), &"OUT".into(), &limits).unwrap();
        let has_room = |name| is_ready(admission.room(name, || limits.clone()));
        assert!(!has_room("OUT"), "it is full");
        assert!(has_room("IN"), "another is not");
        drop(permit);
        assert!(has_room("OUT"), "who leaves makes room");
    }

    #[test]
    fn connections_are_let_in_at_a_pace() {
        let at = |ms: u64| Instant::from_nanos(ms * 1_000_000);
        let own = ListenerLimits { connections_per_second_max: 1, ..ListenerLimits::default() };
        let mut limits = Limits {
            connections_per_second_max: 2,
            listeners: [("OUT".to_owned(), own)].into(),
            ..Limits::default()
        };
        let (admission, out) = (Admission::default(), Arc::from("OUT"));
        for _ in 0..10 {
            assert_eq!(admission.pace(at(0), &out, &limits), Duration::ZERO, "a burst of ten windows' worth");
        }
        assert_eq!(admission.pace(at(0), &out, &limits), Duration::from_secs(1), "a window, and no longer");
        for _ in 0..9 {
            assert_eq!(admission.pace(at(0), &listener(), &limits), Duration::ZERO, "another listener");
        }
        assert!(admission.pace(at(0), &listener(), &limits) > Duration::ZERO, "all have a limit together");
        limits.connections_per_second_max = crate::limits::UNLIMITED;
        assert_eq!(admission.pace(at(0), &listener(), &limits), Duration::ZERO, "the limit was lifted");
    }
}
