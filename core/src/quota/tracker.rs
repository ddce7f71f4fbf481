//! The rates of those who have a limit.

use super::QuotaKind;
use super::rate::{Rate, TokenBucket};
use super::table::{Limit, QuotaTable, Sharer};
use crate::config::QuotaWindow;
use crate::time::Instant;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// A generation of rates ends after this time, or when it is full: what was not used in two of them is forgotten.
/// Kafka forgets after an hour, too.
const GENERATION: Duration = Duration::from_secs(1800);

/// How many rates a generation holds. Client ids are the clients' to invent, so memory must not follow their number.
const GENERATION_RATES_MAX: usize = 10_000;

/// Who is asking.
#[derive(Clone, Copy, Debug)]
pub struct Client<'a> {
    /// The authenticated user; Kafka's word for none is `ANONYMOUS`.
    pub user: &'a str,
    /// The client id of the request; none is empty.
    pub id: &'a str,
}

#[derive(Clone, Debug)]
enum Meter {
    Rate(Rate),
    Bucket(TokenBucket),
}

/// Measures and limits. Costs nothing while there are no quotas.
#[derive(Debug)]
pub struct Quotas {
    table: Arc<QuotaTable>,
    window: QuotaWindow,
    controller_window: QuotaWindow,
    young: BTreeMap<(QuotaKind, Sharer), Meter>,
    old: BTreeMap<(QuotaKind, Sharer), Meter>,
    began: Instant,
}

impl Quotas {
    /// No limits yet. The windows are the broker's `quota.window.*` and `controller.quota.window.*`.
    pub fn new(window: QuotaWindow, controller_window: QuotaWindow) -> Self {
        Self {
            table: Arc::default(),
            window,
            controller_window,
            young: BTreeMap::new(),
            old: BTreeMap::new(),
            began: Instant::ZERO,
        }
    }

    /// Takes the limits of a new image. What was measured stays.
    pub fn set_table(&mut self, table: Arc<QuotaTable>) {
        self.table = table;
        if self.table.is_empty() {
            self.young.clear();
            self.old.clear();
        }
    }

    /// Whether nobody has a limit: a caller may then spare the measuring.
    pub fn is_idle(&self) -> bool {
        self.table.is_empty()
    }

    /// How many rates are kept.
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Whether no rate is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Records what a client did, and answers how long it is to wait: `throttle_time_ms`, and how long its
    /// connection stays muted. For [`QuotaKind::Produce`] and [`QuotaKind::Fetch`] the amount is bytes.
    pub fn record(&mut self, now: Instant, kind: QuotaKind, client: Client<'_>, amount: f64) -> Duration {
        let limit = self.table.limit(kind, client.user, client.id);
        limit.map_or(Duration::ZERO, |limit| self.record_against(now, kind, limit, amount))
    }

    /// Records the time that a client's request took from a handler. Nobody waits longer than a window for this.
    pub fn record_request(&mut self, now: Instant, client: Client<'_>, took: Duration) -> Duration {
        self.record(now, QuotaKind::Request, client, took.as_secs_f64() * 100.0).min(self.window_length())
    }

    /// Takes back what was recorded for an answer that is not sent: a throttled fetch gets an empty one (KIP-219).
    pub fn unrecord(&mut self, now: Instant, kind: QuotaKind, client: Client<'_>, amount: f64) {
        if let Some(limit) = self.table.limit(kind, client.user, client.id) {
            self.record_against(now, kind, limit, -amount);
        }
    }

    /// Records that an address connects. One that comes too soon is not let in, does not count, and is closed after
    /// the time in the error, a window at most (KIP-612).
    pub fn admit_connection(&mut self, now: Instant, address: IpAddr) -> Result<(), Duration> {
        let address = address.to_canonical();
        let Some(limit) = self.table.ip_limit(address) else { return Ok(()) };
        let wait = self.record_against(now, QuotaKind::ConnectionCreation, limit.clone(), 1.0);
        if wait.is_zero() {
            return Ok(());
        }
        self.record_against(now, QuotaKind::ConnectionCreation, limit, -1.0);
        Err(wait.min(self.window_length()))
    }

    fn window_length(&self) -> Duration {
        Duration::from_secs(u64::try_from(self.window.seconds).unwrap_or(1))
    }

    /// Whether a client may make or delete this many partitions: if so they are recorded, else the error says
    /// when it may (THROTTLING_QUOTA_EXCEEDED, KIP-599).
    pub fn admit_mutations(&mut self, now: Instant, client: Client<'_>, amount: f64) -> Result<(), Duration> {
        let kind = QuotaKind::ControllerMutation;
        let Some(limit) = self.table.limit(kind, client.user, client.id) else {
            return Ok(());
        };
        let wait = self.record_against(now, kind, limit.clone(), 0.0);
        if wait > Duration::ZERO {
            return Err(wait);
        }
        self.record_against(now, kind, limit, amount);
        Ok(())
    }

    fn record_against(&mut self, now: Instant, kind: QuotaKind, limit: Limit, amount: f64) -> Duration {
        match self.meter(now, kind, limit.sharer, limit.per_second) {
            Meter::Rate(rate) => {
                rate.record(now, amount);
                rate.throttle(now, limit.per_second)
            }
            Meter::Bucket(bucket) => {
                bucket.record(now, limit.per_second, amount);
                bucket.throttle(now, limit.per_second)
            }
        }
    }

    fn meter(&mut self, now: Instant, kind: QuotaKind, sharer: Sharer, per_second: f64) -> &mut Meter {
        if now.since(self.began) >= GENERATION || self.young.len() >= GENERATION_RATES_MAX {
            self.old = std::mem::take(&mut self.young);
            self.began = now;
        }
        let key = (kind, sharer);
        let known = self.old.remove(&key);
        let (window, controller_window) = (self.window, self.controller_window);
        self.young.entry(key).or_insert_with(|| {
            known.unwrap_or_else(|| match kind {
                QuotaKind::ControllerMutation => {
                    Meter::Bucket(TokenBucket::new(controller_window, now, per_second))
                }
                _ => Meter::Rate(Rate::new(window)),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::QuotaEntity;

    const WINDOW: QuotaWindow = QuotaWindow { count: 11, seconds: 1 };

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    fn quotas(entity: &[(&str, Option<&str>)], key: &str, value: f64) -> Quotas {
        let entity =
            QuotaEntity(entity.iter().map(|(kind, name)| ((*kind).into(), name.map(Into::into))).collect());
        let values = [(key.to_owned(), value)].into();
        let mut quotas = Quotas::new(WINDOW, WINDOW);
        quotas.set_table(Arc::new(QuotaTable::new([(&entity, &values)])));
        quotas
    }

    fn client(id: &str) -> Client<'_> {
        Client { user: "ANONYMOUS", id }
    }

    #[test]
    fn without_quotas_nothing_is_kept() {
        let mut quotas = Quotas::new(WINDOW, WINDOW);
        assert!(quotas.is_idle());
        assert_eq!(quotas.record(at(0), QuotaKind::Produce, client("c"), 1e12), Duration::ZERO);
        assert!(quotas.is_empty());
    }

    #[test]
    fn a_producer_above_its_rate_waits_until_it_is_not() {
        let mut quotas = quotas(&[("client-id", Some("c"))], "producer_byte_rate", 1000.0);
        assert_eq!(quotas.record(at(0), QuotaKind::Produce, client("c"), 10_000.0), Duration::ZERO);
        let wait = quotas.record(at(0), QuotaKind::Produce, client("c"), 5_000.0);
        assert_eq!(wait, Duration::from_secs(5));
        assert_eq!(quotas.record(at(0), QuotaKind::Produce, client("d"), 1e9), Duration::ZERO);
        let later = at(0) + wait + Duration::from_secs(7);
        assert_eq!(quotas.record(later, QuotaKind::Produce, client("c"), 1.0), Duration::ZERO);
    }

    #[test]
    fn a_throttled_fetch_is_taken_back() {
        let mut quotas = quotas(&[("client-id", None)], "consumer_byte_rate", 1000.0);
        let wait = quotas.record(at(0), QuotaKind::Fetch, client("c"), 20_000.0);
        assert_eq!(wait, Duration::from_secs(10));
        quotas.unrecord(at(0), QuotaKind::Fetch, client("c"), 20_000.0);
        assert_eq!(quotas.record(at(1), QuotaKind::Fetch, client("c"), 0.0), Duration::ZERO);
    }

    #[test]
    fn handler_time_throttles_for_a_window_at_most() {
        let mut quotas = quotas(&[("user", None)], "request_percentage", 1.0);
        let wait = quotas.record_request(at(0), client("c"), Duration::from_secs(60));
        assert_eq!(wait, Duration::from_secs(1));
    }

    #[test]
    fn mutations_are_admitted_until_the_bucket_is_overdrawn() {
        let mut quotas = quotas(&[("user", None)], "controller_mutation_rate", 1.0);
        assert_eq!(quotas.admit_mutations(at(0), client("c"), 11.0), Ok(()));
        assert_eq!(quotas.admit_mutations(at(0), client("c"), 30.0), Ok(()), "one overdraws it");
        assert_eq!(quotas.admit_mutations(at(0), client("c"), 1.0), Err(Duration::from_secs(30)));
        assert_eq!(quotas.admit_mutations(at(30_000), client("c"), 1.0), Ok(()));
    }

    #[test]
    fn an_address_that_connects_too_often_is_held_off_and_then_let_in() {
        let mut quotas = quotas(&[("ip", None)], "connection_creation_rate", 2.0);
        let [one, other]: [IpAddr; 2] = ["10.0.0.1", "10.0.0.2"].map(|ip| ip.parse().expect("an address"));
        for _ in 0..20 {
            assert_eq!(quotas.admit_connection(at(0), one), Ok(()));
        }
        assert_eq!(quotas.admit_connection(at(0), one), Err(Duration::from_millis(500)));
        let mapped = "::ffff:10.0.0.1".parse().expect("an address");
        assert!(quotas.admit_connection(at(0), mapped).is_err(), "the same address, written otherwise");
        assert_eq!(quotas.admit_connection(at(0), other), Ok(()), "each address by itself");
        assert_eq!(quotas.admit_connection(at(10_600), one), Ok(()), "who was held off did not count");
    }

    #[test]
    fn invented_client_ids_do_not_fill_the_memory() {
        let mut quotas = quotas(&[("client-id", None)], "producer_byte_rate", 1000.0);
        for i in 0..30_000 {
            quotas.record(at(i), QuotaKind::Produce, client(&format!("c{i}")), 1.0);
        }
        assert!(quotas.len() <= 2 * GENERATION_RATES_MAX);
        // two generations later the rest is gone, too
        quotas.record(at(4_000_000), QuotaKind::Produce, client("a"), 1.0);
        quotas.record(at(8_000_000), QuotaKind::Produce, client("b"), 1.0);
        assert_eq!(quotas.len(), 2);
    }

    #[test]
    fn one_who_is_in_use_survives_a_change_of_generations() {
        let mut quotas = quotas(&[("client-id", None)], "producer_byte_rate", 1000.0);
        quotas.record(at(1_799_999), QuotaKind::Produce, client("c"), 100_000.0);
        let wait = quotas.record(at(1_800_001), QuotaKind::Produce, client("c"), 0.0);
        assert!(wait > Duration::from_secs(80), "{wait:?}");
    }
}
