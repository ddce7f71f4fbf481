//! `listeners` and `advertised.listeners`: where to listen, and where clients are sent to.

use highwater_core::config::list;
use highwater_core::transport::PEER_LISTENER;

/// A host and a port, as `HOST:PORT` or `[IPv6]:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// Without brackets. Empty is every address of the machine.
    pub host: String,
    /// 0 lets the operating system choose.
    pub port: u16,
}

/// A place where clients connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its name, in capitals.
    pub name: String,
    /// Where to listen.
    pub bind: HostPort,
    /// Where clients are told to connect; if `None`, where the broker really listens.
    pub advertised: Option<HostPort>,
}

impl std::fmt::Display for HostPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl std::str::FromStr for HostPort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once("]:").ok_or_else(|| wrong(text))?;
                host.parse::<std::net::Ipv6Addr>().map_err(|_| format!("'{host}' is no IPv6 address"))?;
                (host, port)
            }
            None => text.rsplit_once(':').ok_or_else(|| wrong(text))?,
        };
        if !text.starts_with('[') && host.contains(':') {
            return Err(format!("an IPv6 address in '{text}' needs brackets: [{host}]:{port}"));
        }
        if host.contains(|c: char| c.is_whitespace() || c == '/') {
            return Err(wrong(text));
        }
        let port = port.parse().map_err(|_| format!("'{port}' is no port between 0 and 65535"))?;
        Ok(Self { host: host.to_owned(), port })
    }
}

fn wrong(text: &str) -> String {
    format!("'{text}' is not HOST:PORT")
}

/// What the settings about listeners say, as text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings<'a> {
    pub(super) listeners: &'a str,
    pub(super) advertised: &'a str,
    pub(super) protocols: &'a str,
    pub(super) controllers: &'a str,
}

/// The listeners for clients. Those of controllers are left out: nodes speak among themselves in another way.
pub(super) fn parse(settings: Settings<'_>) -> Result<Vec<Listener>, String> {
    let advertised = endpoints("advertised.listeners", settings.advertised)?;
    let listeners = endpoints("listeners", settings.listeners)?;
    if let Some((name, _)) =
        advertised.iter().find(|(name, _)| !listeners.iter().any(|(known, _)| known == name))
    {
        return Err(format!(
            "advertised.listeners listener names must be equal to or a subset of the ones defined in listeners: \
             {name} is not there"
        ));
    }
    if let Some((_, at)) = advertised.iter().find(|(_, at)| matches!(at.host.as_str(), "0.0.0.0" | "::" | ""))
    {
        return Err(format!(
            "advertised.listeners cannot use the nonroutable meta-address {}. Use a routable IP address.",
            at.host
        ));
    }
    let is_controller = |name: &str| list(settings.controllers).any(|other| other.eq_ignore_ascii_case(name));
    let mut clients = Vec::new();
    for (name, bind) in listeners.into_iter().filter(|(name, _)| !is_controller(name)) {
        if name == PEER_LISTENER {
            return Err(format!(
                "listener name {PEER_LISTENER} is reserved for other nodes; see highwater.peer.listener"
            ));
        }
        check_protocol(&name, settings.protocols)?;
        let advertised = advertised.iter().find(|(other, _)| *other == name).map(|(_, at)| at.clone());
        clients.push(Listener { name, bind, advertised });
    }
    if clients.is_empty() {
        return Err("listeners has none that clients could use".to_owned());
    }
    Ok(clients)
}

pub(super) fn endpoints(setting: &str, text: &str) -> Result<Vec<(String, HostPort)>, String> {
    let mut endpoints: Vec<(String, HostPort)> = Vec::new();
    for word in list(text) {
        let error = |why: String| format!("Error creating broker listeners from '{text}' ({setting}): {why}");
        let (name, at) = word.split_once("://").filter(|(name, _)| !name.is_empty()).ok_or_else(|| {
            error(format!("Unable to parse {word} to a broker endpoint, expected NAME://HOST:PORT"))
        })?;
        let name = name.to_ascii_uppercase();
        let at: HostPort = at.parse().map_err(error)?;
        if endpoints.iter().any(|(other, _)| *other == name) {
            return Err(error("Each listener must have a different name".to_owned()));
        }
        if at.port != 0 && setting == "listeners" && endpoints.iter().any(|(_, other)| *other == at) {
            return Err(error("Each listener must have a different port".to_owned()));
        }
        endpoints.push((name, at));
    }
    Ok(endpoints)
}

/// Only PLAINTEXT is served; going on in plain text where TLS or SASL was asked for would be a hole.
fn check_protocol(listener: &str, protocols: &str) -> Result<(), String> {
    let mapped = list(protocols)
        .filter_map(|pair| pair.split_once(':'))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case(listener));
    match mapped.map(|(_, protocol)| protocol.trim()) {
        Some(protocol) if protocol.eq_ignore_ascii_case("PLAINTEXT") => Ok(()),
        Some(protocol) => {
            Err(format!("listener {listener} asks for {protocol}, but only PLAINTEXT is served yet"))
        }
        None => Err(format!("No security protocol defined for listener {listener}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: &str = "SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT";

    fn parsed(listeners: &str, advertised: &str, protocols: &str) -> Result<String, String> {
        let settings = Settings { listeners, advertised, protocols, controllers: "CONTROLLER" };
        let show = |listener: &Listener| match &listener.advertised {
            Some(advertised) => format!("{}={}>{advertised}", listener.name, listener.bind),
            None => format!("{}={}", listener.name, listener.bind),
        };
        parse(settings).map(|listeners| listeners.iter().map(show).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn listeners_as_people_write_them() {
        let cases = [
            ("PLAINTEXT://:9092", "", "PLAINTEXT=:9092"),
            ("plaintext://[::1]:9092", "", "PLAINTEXT=[::1]:9092"),
            (
                "PLAINTEXT://0.0.0.0:0",
                "PLAINTEXT://broker.example:443",
                "PLAINTEXT=0.0.0.0:0>broker.example:443",
            ),
            // Kafka's own server.properties
            (
                "PLAINTEXT://:9092,CONTROLLER://:9093",
                "PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093",
                "PLAINTEXT=:9092>localhost:9092",
            ),
        ];
        for (listeners, advertised, expect) in cases {
            assert_eq!(parsed(listeners, advertised, MAP).as_deref(), Ok(expect), "{listeners}");
        }
        let two =
            parsed("IN://10.0.0.1:1, OUT://[::]:2", "OUT://[2001:db8::1]:3", "IN:PLAINTEXT,OUT:PLAINTEXT");
        assert_eq!(two.as_deref(), Ok("IN=10.0.0.1:1 OUT=[::]:2>[2001:db8::1]:3"));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let cases = [
            ("", "", "none that clients"),
            ("foo", "", "Unable to parse foo"),
            ("PLAINTEXT://::1:9092", "", "needs brackets: [::1]:9092"),
            ("PLAINTEXT://[::z]:9092", "", "is no IPv6 address"),
            ("PLAINTEXT://a:70000", "", "is no port"),
            ("PLAINTEXT://a", "", "is not HOST:PORT"),
            ("PLAINTEXT://:1,PLAINTEXT://:2", "", "different name"),
            ("PLAINTEXT://:1", "PLAINTEXT://0.0.0.0:1", "nonroutable"),
            ("PLAINTEXT://:1", "OTHER://h:1", "OTHER is not there"),
            ("EXTERNAL://:1", "", "No security protocol defined for listener EXTERNAL"),
            ("SSL://:1", "", "only PLAINTEXT is served"),
            ("PLAINTEXT://:1,peer://:2", "", "PEER is reserved"),
        ];
        for (listeners, advertised, why) in cases {
            let error = parsed(listeners, advertised, MAP).expect_err(listeners);
            assert!(error.contains(why), "{listeners}: {error}");
        }
    }
}
