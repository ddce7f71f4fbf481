//! Which limit holds for whom.

use super::QuotaKind;
use crate::metadata::QuotaEntity;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Who shares a measured rate: a limit on a user alone is shared by all clients of that user.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sharer {
    /// One client id of one user.
    UserClient(String, String),
    /// All clients of a user.
    User(String),
    /// A client id, whoever the user is.
    Client(String),
    /// An address.
    Ip(IpAddr),
}

/// A limit and who shares it.
#[derive(Clone, Debug, PartialEq)]
pub struct Limit {
    /// Per second, in the kind's own unit.
    pub per_second: f64,
    /// Who is measured together.
    pub sharer: Sharer,
}

/// All limits, to be asked for each request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QuotaTable {
    /// By user and client id; the inner `None` is the default, the outer that the entity does not name the type.
    users: BTreeMap<(Option<Name>, Option<Name>), Values>,
    ips: BTreeMap<Name, Values>,
}

/// A name or, if it is none, the default of its type.
type Name = Option<String>;
type Values = BTreeMap<QuotaKind, f64>;

impl QuotaTable {
    /// The table of the image's quotas.
    pub fn new<'a>(quotas: impl IntoIterator<Item = (&'a QuotaEntity, &'a BTreeMap<String, f64>)>) -> Self {
        let mut table = Self::default();
        for (entity, values) in quotas {
            let values =
                values.iter().filter_map(|(key, value)| Some((QuotaKind::from_key(key)?, *value))).collect();
            let name = |kind| entity.0.iter().find(|(of, _)| of == kind).map(|(_, name)| name.clone());
            match name("ip") {
                Some(ip) => table.ips.insert(ip, values),
                None => table.users.insert((name("user"), name("client-id")), values),
            };
        }
        table
    }

    /// Whether there are no limits at all, which is the common case.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty() && self.ips.is_empty()
    }

    /// Whether anybody has a limit of this kind.
    pub fn has(&self, kind: QuotaKind) -> bool {
        self.users.values().chain(self.ips.values()).any(|values| values.contains_key(&kind))
    }

    /// The limit for a user's client; the first of Kafka's eight levels that says one (KIP-55).
    pub fn limit(&self, kind: QuotaKind, user: &str, client: &str) -> Option<Limit> {
        if self.users.is_empty() {
            return None;
        }
        let (named_user, named_client) = (Some(Some(user.to_owned())), Some(Some(client.to_owned())));
        let both = || Sharer::UserClient(user.to_owned(), client.to_owned());
        let levels = [
            ((named_user.clone(), named_client.clone()), both()),
            ((named_user.clone(), Some(None)), both()),
            ((named_user, None), Sharer::User(user.to_owned())),
            ((Some(None), named_client.clone()), both()),
            ((Some(None), Some(None)), both()),
            ((Some(None), None), Sharer::User(user.to_owned())),
            ((None, named_client), Sharer::Client(client.to_owned())),
            ((None, Some(None)), Sharer::Client(client.to_owned())),
        ];
        levels.into_iter().find_map(|(level, sharer)| {
            let per_second = *self.users.get(&level)?.get(&kind)?;
            Some(Limit { per_second, sharer })
        })
    }

    /// The limit for new connections from an address.
    pub fn ip_limit(&self, address: IpAddr) -> Option<Limit> {
        if self.ips.is_empty() {
            return None;
        }
        let of = |name: &Name| self.ips.get(name)?.get(&QuotaKind::ConnectionCreation).copied();
        let per_second = of(&Some(address.to_string())).or_else(|| of(&None))?;
        Some(Limit { per_second, sharer: Sharer::Ip(address) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Entity<'a> = &'a [(&'a str, Option<&'a str>)];

    fn table(quotas: &[(Entity<'_>, f64)]) -> QuotaTable {
        let owned: Vec<_> = quotas
            .iter()
            .map(|(entity, value)| {
                let parts = entity.iter().map(|(kind, name)| ((*kind).to_owned(), name.map(str::to_owned)));
                let keys = ["producer_byte_rate", "connection_creation_rate"];
                (QuotaEntity(parts.collect()), keys.map(|key| (key.to_owned(), *value)).into_iter().collect())
            })
            .collect();
        QuotaTable::new(owned.iter().map(|(entity, values)| (entity, values)))
    }

    #[test]
    fn the_most_specific_limit_wins() {
        // From the least specific level to the most; each beats those before it.
        let levels: [&[(&str, Option<&str>)]; 8] = [
            &[("client-id", None)],
            &[("client-id", Some("c"))],
            &[("user", None)],
            &[("user", None), ("client-id", None)],
            &[("user", None), ("client-id", Some("c"))],
            &[("user", Some("u"))],
            &[("user", Some("u")), ("client-id", None)],
            &[("user", Some("u")), ("client-id", Some("c"))],
        ];
        let mut quotas = Vec::new();
        for (value, entity) in (1u8..).zip(levels) {
            quotas.push((entity, f64::from(value)));
            let limit = table(&quotas).limit(QuotaKind::Produce, "u", "c").expect("there is one");
            assert_eq!(limit.per_second, f64::from(value), "{entity:?}");
        }
        assert_eq!(table(&quotas).limit(QuotaKind::Fetch, "u", "c"), None, "another kind");
        assert_eq!(table(&quotas).limit(QuotaKind::Produce, "v", "d").map(|l| l.per_second), Some(4.0));
    }

    #[test]
    fn a_users_limit_is_shared_by_all_clients() {
        let table = table(&[(&[("user", None)], 5.0)]);
        let sharer = |client| table.limit(QuotaKind::Produce, "u", client).map(|limit| limit.sharer);
        assert_eq!(sharer("a"), Some(Sharer::User("u".to_owned())));
        assert_eq!(sharer("a"), sharer("b"));
    }

    #[test]
    fn addresses() {
        let table = table(&[(&[("ip", None)], 5.0), (&[("ip", Some("::1"))], 7.0)]);
        let limit = |ip: &str| table.ip_limit(ip.parse().expect("an address")).map(|limit| limit.per_second);
        assert_eq!((limit("::1"), limit("127.0.0.1")), (Some(7.0), Some(5.0)));
        assert_eq!(table.limit(QuotaKind::Produce, "u", "c"), None);
    }
}
