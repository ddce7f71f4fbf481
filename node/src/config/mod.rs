//! The node's configuration: read from file, environment and command line, checked, and explained.
//!
//! Names, types and ranges are `highwater_core::config`'s. A later source wins over an earlier one: default, file,
//! environment, command line. In a `.properties` file an unknown name is a warning, as in Kafka, because plug-ins'
//! settings stand there, too; elsewhere it is an error. Nothing here follows a setting.

mod explain;
mod listeners;
mod properties;
mod quorum;
mod roles;
mod toml_file;

pub use explain::{Explanation, TopicSetting, explain, topic_settings};
pub use listeners::{HostPort, Listener};
pub use roles::Roles;

use crate::controller::InitialController;
use highwater_core::config::{
    BROKER, BrokerConfig, Class, ConfigMap, LISTENER_LIMITS, Layers, TOPIC, Value, list, parse_long,
    topic_synonyms,
};
use highwater_core::ids::BrokerId;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// Larger files are somebody's mistake.
const FILE_BYTES_MAX: usize = 1 << 20;

/// Where other nodes connect.
const PEER_LISTENER_SETTING: &str = "highwater.peer.listener";

/// What variables of the environment begin with.
const VARIABLE_PREFIX: &str = "HIGHWATER_";

/// Where a value was written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In a file, and on which line if the format says.
    File(PathBuf, Option<usize>),
    /// In this variable of the environment.
    Environment(String),
    /// On the command line, by this flag.
    CommandLine(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, Some(line)) => write!(f, "{}:{line}", path.display()),
            Self::File(path, None) => write!(f, "{}", path.display()),
            Self::Environment(variable) => write!(f, "${variable}"),
            Self::CommandLine(flag) => f.write_str(flag),
        }
    }
}

/// What keeps a configuration from being used: each problem with where it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(pub Vec<String>);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for ConfigError {}

/// Collects settings, the weakest source first.
#[derive(Clone, Debug, Default)]
pub struct Loader {
    settings: BTreeMap<String, (String, Origin)>,
    warnings: Vec<String>,
    errors: Vec<String>,
}

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// `node.id` or `broker.id`
    pub node_id: BrokerId,
    /// `process.roles`
    pub roles: Roles,
    /// `log.dirs` or `log.dir`
    pub data_dirs: Vec<PathBuf>,
    /// `listeners` and `advertised.listeners`, without those of controllers; none if the node is no broker
    pub listeners: Vec<Listener>,
    /// `highwater.admin.listener`
    pub admin: Option<HostPort>,
    /// `highwater.peer.listener`
    pub peer: HostPort,
    /// `highwater.peer.advertised.listener`
    pub peer_advertised: Option<HostPort>,
    /// `controller.quorum.voters`
    pub voters: Vec<InitialController>,
    /// `controller.quorum.bootstrap.servers`, without this node itself
    pub bootstrap_servers: Vec<HostPort>,
    /// The effective settings before any dynamic one.
    pub broker: BrokerConfig,
    /// Everything that was set: the static layer of [`highwater_core::config::Layers`].
    pub fixed: ConfigMap,
    /// Where each of them was written.
    pub origins: BTreeMap<String, Origin>,
    /// For the log, once at start.
    pub warnings: Vec<String>,
}

impl Loader {
    /// No settings.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file: TOML if its name ends so, else Kafka's `.properties`.
    pub fn file(self, path: &Path) -> Result<Self, ConfigError> {
        let problem = |why: String| ConfigError(vec![format!("{}: {why}", path.display())]);
        let bytes = std::fs::read(path).map_err(|error| problem(error.to_string()))?;
        if bytes.len() > FILE_BYTES_MAX {
            return Err(problem(format!("a configuration has at most {FILE_BYTES_MAX} bytes")));
        }
        let text = String::from_utf8(bytes).map_err(|_| problem("it is not UTF-8".to_owned()))?;
        if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("toml")) {
            self.toml(&text, path)
        } else {
            self.properties(&text, path)
        }
    }

    /// Adds the text of a `.properties` file.
    pub fn properties(mut self, text: &str, path: &Path) -> Result<Self, ConfigError> {
        let entries = properties::parse(text).map_err(|error| {
            ConfigError(vec![format!("{}:{}: {}", path.display(), error.line, error.message)])
        })?;
        for (line, name, value) in entries {
            let origin = Origin::File(path.to_owned(), Some(line));
            if let Err(unknown) = known(&name) {
                self.warnings.push(format!("{origin}: {unknown}; it has no effect"));
            } else {
                self.set(name, value, origin);
            }
        }
        Ok(self)
    }

    /// Adds the text of a TOML file. Where one name begins with another (`max.connections`,
    /// `max.connections.per.ip`), TOML wants them in quotes.
    pub fn toml(mut self, text: &str, path: &Path) -> Result<Self, ConfigError> {
        let entries = toml_file::parse(text)
            .map_err(|error| ConfigError(vec![format!("{}: {error}", path.display())]))?;
        for (name, value) in entries {
            self.set_known(&name, &value, Origin::File(path.to_owned(), None));
        }
        Ok(self)
    }

    /// Adds those variables of the environment that name a setting: `HIGHWATER_LOG_RETENTION_MS`. Others that begin
    /// so are a warning. `ignored` are variables that something else reads.
    #[must_use]
    pub fn environment(
        mut self,
        variables: impl IntoIterator<Item = (String, String)>,
        ignored: &[&str],
    ) -> Self {
        let mut variables: Vec<_> = variables.into_iter().collect();
        variables.sort();
        for (variable, value) in variables {
            let Some(rest) = variable.strip_prefix(VARIABLE_PREFIX) else { continue };
            if ignored.contains(&variable.as_str()) {
                continue;
            }
            let name = rest.to_ascii_lowercase().replace('_', ".");
            // Our own settings need not say the name twice.
            let names = [name.clone(), format!("highwater.{name}")];
            match names.into_iter().find(|name| BROKER.definition(name).is_some()) {
                Some(name) => self.set(name, value, Origin::Environment(variable)),
                None => {
                    let why = known(&name).expect_err("no definition was found");
                    self.warnings.push(format!("${variable}: {why}; it has no effect"));
                }
            }
        }
        self
    }

    /// Adds `NAME=VALUE` from a `--set`.
    #[must_use]
    pub fn set_argument(mut self, argument: &str) -> Self {
        if let Some((name, value)) = argument.split_once('=') {
            self.set_known(name.trim(), value, Origin::CommandLine("--set".to_owned()));
        } else {
            self.errors.push(format!("--set {argument}: expected NAME=VALUE"));
        }
        self
    }

    /// Adds a setting that a flag of its own stands for, such as `node.id` for `--node-id`.
    #[must_use]
    pub fn flag(mut self, flag: &str, name: &str, value: &str) -> Self {
        self.set_known(name, value, Origin::CommandLine(flag.to_owned()));
        self
    }

    /// Adds `--listen HOST:PORT`: one listener for everybody.
    #[must_use]
    pub fn listen(mut self, address: &str) -> Self {
        // What a file advertises for other listeners means nothing here.
        self.settings.remove("advertised.listeners");
        self.flag("--listen", "listeners", &format!("PLAINTEXT://{address}"))
    }

    /// Adds `--advertise HOST:PORT`: where clients of that listener are told to connect.
    #[must_use]
    pub fn advertise(self, address: &str) -> Self {
        self.flag("--advertise", "advertised.listeners", &format!("PLAINTEXT://{address}"))
    }

    /// Checks everything.
    pub fn finish(mut self) -> Result<NodeConfig, ConfigError> {
        let settings = std::mem::take(&mut self.settings);
        let mut fixed = ConfigMap::new();
        let mut origins = BTreeMap::new();
        for (name, (value, origin)) in settings {
            let definition = BROKER.definition(&name).expect("only known names are set");
            match definition.validate(&value) {
                Err(error) => self.errors.push(format!("{origin}: {error}")),
                Ok(()) if definition.class == Class::Accepted => {
                    self.warnings.push(format!("{origin}: {name} is accepted, but has no effect yet"));
                }
                // What holds for a listener is found under the setting's own name.
                Ok(()) if name != definition.name && !LISTENER_LIMITS.contains(&definition.name) => {
                    self.warnings.push(format!(
                        "{origin}: {} has no effect for a single listener, so {name} has none",
                        definition.name
                    ));
                }
                Ok(()) => {}
            }
            fixed.insert(name.clone(), definition.canonical(&value));
            origins.insert(name, origin);
        }
        let node_id = self.checked(node_id(&fixed));
        let roles = Roles::parse(effective(&fixed, "process.roles").unwrap_or_default());
        let listeners = match roles.broker {
            true => self.checked(client_listeners(&fixed)),
            // Clients have nothing to ask of a controller: brokers carry their requests to it.
            false => Some(Vec::new()),
        };
        let data_dirs = self.checked(data_dirs(&fixed));
        let admin = self.checked(host_port(&fixed, "highwater.admin.listener"));
        let voters = self.checked(quorum::voters(&fixed));
        let own = voters.iter().flatten().find(|voter| Some(voter.id) == node_id);
        let peer = self.checked(peer(&fixed, own));
        let bootstrap_servers = match &peer {
            Some((bind, advertised)) => {
                let own: Vec<&HostPort> = std::iter::once(bind).chain(advertised).collect();
                self.checked(quorum::bootstrap_servers(&fixed, &own))
            }
            None => None,
        };
        let is_written = |names: &[&str]| names.iter().any(|name| fixed.contains_key(*name));
        if let (Some(id), Some(voters)) = (node_id, &voters)
            && is_written(&["node.id", "broker.id"])
            && is_written(&["process.roles"])
        {
            self.checked(quorum::check_roles(id, roles, voters));
        }
        let empty = ConfigMap::new();
        let layers = Layers { dynamic: &empty, dynamic_default: &empty, fixed: &fixed };
        self.checked(BrokerConfig::validate(&layers).map_err(|error| error.0));
        let broker = BrokerConfig::resolve(&layers);
        if !self.errors.is_empty() {
            return Err(ConfigError(self.errors));
        }
        let all = "each is there, or an error was pushed";
        let node_id = node_id.expect(all);
        let (peer, peer_advertised) = peer.expect(all);
        for name in ["node.id", "broker.id"] {
            fixed.insert(name.to_owned(), node_id.to_string());
        }
        Ok(NodeConfig {
            node_id,
            roles,
            data_dirs: data_dirs.expect(all),
            listeners: listeners.expect(all),
            admin: admin.expect(all),
            peer,
            peer_advertised,
            voters: voters.expect(all),
            bootstrap_servers: bootstrap_servers.expect(all),
            broker,
            fixed,
            origins,
            warnings: self.warnings,
        })
    }

    fn checked<T>(&mut self, result: Result<T, String>) -> Option<T> {
        result.map_err(|error| self.errors.push(error)).ok()
    }

    fn set_known(&mut self, name: &str, value: &str, origin: Origin) {
        match known(name) {
            Ok(()) => self.set(name.to_owned(), value.to_owned(), origin),
            Err(why) => self.errors.push(format!("{origin}: {why}")),
        }
    }

    fn set(&mut self, name: String, value: String, origin: Origin) {
        self.settings.insert(name, (value, origin));
    }
}

/// Whether there is such a setting, or what was meant.
fn known(name: &str) -> Result<(), String> {
    let Err(unknown) = BROKER.lookup(name) else { return Ok(()) };
    match topic_synonyms(name).first() {
        Some(synonym) => {
            Err(format!("{name} is a setting of topics; the broker's default for it is {}", synonym.name))
        }
        None if TOPIC.definition(name).is_some() => Err(format!("{name} is a setting of topics")),
        None => Err(unknown.to_string()),
    }
}

/// The value that holds: what was set, else the default.
fn effective<'a>(fixed: &'a ConfigMap, name: &str) -> Option<&'a str> {
    let default = || BROKER.definition(name).expect("a setting of the table").default;
    fixed.get(name).map(String::as_str).or_else(default)
}

fn node_id(fixed: &ConfigMap) -> Result<BrokerId, String> {
    let id =
        |name: &str| fixed.get(name).and_then(|text| parse_long(text)).and_then(|id| i32::try_from(id).ok());
    match (id("node.id"), id("broker.id").filter(|id| *id != -1)) {
        (Some(node), Some(broker)) if node != broker => {
            Err("You must set `node.id` to the same value as `broker.id`.".to_owned())
        }
        (Some(id), _) | (None, Some(id)) if id < 0 => {
            Err(format!("node.id must not be negative, but is {id}"))
        }
        (Some(id), _) | (None, Some(id)) => Ok(BrokerId(id)),
        (None, None) => Ok(BrokerId(1)),
    }
}

fn client_listeners(fixed: &ConfigMap) -> Result<Vec<Listener>, String> {
    let text = |name| effective(fixed, name).unwrap_or_default();
    listeners::parse(listeners::Settings {
        listeners: text("listeners"),
        advertised: text("advertised.listeners"),
        protocols: text("listener.security.protocol.map"),
        controllers: text("controller.listener.names"),
    })
}

fn data_dirs(fixed: &ConfigMap) -> Result<Vec<PathBuf>, String> {
    let text = effective(fixed, "log.dirs").or_else(|| effective(fixed, "log.dir")).unwrap_or_default();
    let mut dirs: Vec<PathBuf> = Vec::new();
    for dir in list(text).map(PathBuf::from) {
        if dirs.contains(&dir) {
            return Err(format!("log.dirs names {} twice", dir.display()));
        }
        dirs.push(dir);
    }
    if dirs.is_empty() {
        return Err("Configuration 'log.dirs' must not be empty.".to_owned());
    }
    Ok(dirs)
}

fn host_port(fixed: &ConfigMap, setting: &str) -> Result<Option<HostPort>, String> {
    let text = effective(fixed, setting).filter(|text| !text.is_empty());
    text.map(|text| text.parse().map_err(|why| format!("{setting}: {why}"))).transpose()
}

/// Where other nodes connect, and where they are told to: as set, else as Kafka's settings say of controllers.
fn peer(
    fixed: &ConfigMap,
    voter: Option<&InitialController>,
) -> Result<(HostPort, Option<HostPort>), String> {
    let set = fixed.contains_key(PEER_LISTENER_SETTING);
    let controllers = if set { None } else { quorum::controller_listener(fixed)? };
    let (bind, advertised) = match controllers {
        Some(both) => both,
        None => {
            let bind = host_port(fixed, PEER_LISTENER_SETTING)?;
            (bind.ok_or_else(|| format!("{PEER_LISTENER_SETTING} must not be empty"))?, None)
        }
    };
    let own = voter.filter(|voter| voter.port == bind.port);
    let own = own.map(|voter| HostPort { host: voter.host.clone(), port: voter.port });
    Ok((bind, host_port(fixed, "highwater.peer.advertised.listener")?.or(advertised).or(own)))
}

/// The effective text of a broker setting before any dynamic one.
fn value_of<'a>(
    fixed: &'a ConfigMap,
    empty: &'a ConfigMap,
    definition: &highwater_core::config::Definition,
) -> Value<'a> {
    Layers { dynamic: empty, dynamic_default: empty, fixed }.broker(definition)
}

#[cfg(test)]
mod tests;
