//! Who votes in a cluster whose log does not tell yet.
//!
//! - No controllers named, now or when the directory was made, and a directory that founds its cluster: this node alone.
//! - Controllers named: those. A set that names ids without directories elects its first leader with the votes of all
//!   of them, and so learns their directories: a node whose disk was lost and that is started with the same arguments
//!   finds others with a log, and joins as an observer (CQ-09).
//! - A directory that was to join a cluster and names nobody: no one. It waits for its log, and says so.

use super::ControllerSetup;
use highwater_core::ids::{BrokerId, DirectoryId};
use highwater_core::metadata::Endpoint;
use highwater_core::quorum::{ReplicaKey, Voter, VoterSet};
use highwater_core::transport::{PEER_LISTENER, PeerAddress};
use std::fmt;
use std::str::FromStr;

/// One entry of `--initial-controllers`: `id@host:port[:directory-id]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitialController {
    /// The node.
    pub id: BrokerId,
    /// Where it listens for other nodes.
    pub host: String,
    /// See `host`.
    pub port: u16,
    /// Its disk, if it was formatted with a known one.
    pub directory_id: Option<DirectoryId>,
}

impl InitialController {
    /// Where it listens.
    pub fn address(&self) -> PeerAddress {
        PeerAddress { host: self.host.clone(), port: self.port }
    }

    /// Reads a list of them, as [`InitialController::join`] wrote it.
    pub fn split(text: &str) -> Result<Vec<Self>, InitialControllerError> {
        text.split(',').filter(|one| !one.is_empty()).map(str::parse).collect()
    }

    /// A list of them, as operators write it.
    pub fn join(controllers: &[Self]) -> String {
        controllers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    }
}

impl fmt::Display for InitialController {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, host, port, .. } = self;
        match host.contains(':') {
            true => write!(f, "{id}@[{host}]:{port}")?,
            false => write!(f, "{id}@{host}:{port}")?,
        }
        match self.directory_id {
            Some(directory_id) => write!(f, ":{directory_id}"),
            None => Ok(()),
        }
    }
}

/// Why a text is no [`InitialController`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitialControllerError(String);

impl fmt::Display for InitialControllerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is no controller: id@host:port or id@host:port:directory-id is expected", self.0)
    }
}

impl std::error::Error for InitialControllerError {}

impl FromStr for InitialController {
    type Err = InitialControllerError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).ok_or_else(|| InitialControllerError(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<InitialController> {
    let (id, rest) = text.trim().split_once('@')?;
    let id = BrokerId(id.parse().ok().filter(|id| *id >= 0)?);
    let (host, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once("]:")?,
        None => rest.split_once(':')?,
    };
    let (port, directory) = match rest.split_once(':') {
        Some((port, directory)) => (port, Some(directory)),
        None => (rest, None),
    };
    let directory_id = match directory {
        Some(text) => Some(DirectoryId(crate::log::parse_topic_id(text)?.0)),
        None => None,
    };
    let port = port.parse().ok().filter(|port| *port != 0)?;
    (!host.is_empty()).then(|| InitialController { id, host: host.to_owned(), port, directory_id })
}

/// A peer's address in the transport's terms.
pub(super) fn address(endpoint: &Endpoint) -> PeerAddress {
    PeerAddress { host: endpoint.host.clone(), port: endpoint.port }
}

/// The voters as configured.
pub(super) fn voters(setup: &ControllerSetup<'_>, me: ReplicaKey) -> VoterSet {
    if setup.initial_controllers.is_empty() {
        // A directory of the releases before clusters says nothing of controllers, but has its cluster.
        let founds = setup.data_dir.initial_controllers().is_none() && setup.data_dir.cluster_id().is_some();
        let own = Voter { directory_id: me.directory_id, endpoints: setup.peer_endpoints.clone() };
        return VoterSet::new(founds.then_some((me.id, own)));
    }
    VoterSet::new(setup.initial_controllers.iter().map(|controller| {
        let InitialController { id, host, port, directory_id } = controller.clone();
        let endpoint = Endpoint { listener: PEER_LISTENER.to_owned(), host, port };
        let directory_id = directory_id.unwrap_or(DirectoryId::UNKNOWN);
        (id, Voter { directory_id, endpoints: vec![endpoint] })
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain_of(text: &str) -> InitialController {
        text.parse().expect("a controller")
    }

    #[test]
    fn controllers_are_read_as_operators_write_them() {
        let read = |text: &str| text.parse::<InitialController>().ok();
        let plain = InitialController {
            id: BrokerId(1),
            host: "a.example".to_owned(),
            port: 9192,
            directory_id: None,
        };
        assert_eq!(read("1@a.example:9192"), Some(plain.clone()));
        let directory_id = Some(DirectoryId([7; 16]));
        let text = format!("1@a.example:9192:{}", DirectoryId([7; 16]));
        assert_eq!(read(&text), Some(InitialController { directory_id, ..plain.clone() }));
        assert_eq!(read("1@[::1]:9192"), Some(InitialController { host: "::1".to_owned(), ..plain }));
        let both = [plain_of("1@[::1]:9192"), plain_of(&text)];
        assert_eq!(InitialController::split(&InitialController::join(&both)), Ok(both.to_vec()));
        for bad in ["", "1", "1@", "1@a", "1@a:", "1@a:0", "x@a:1", "-1@a:1", "1@:1", "1@a:1:short"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
