//! What a local cluster looks like: which nodes, on which ports, with their data where.
//!
//! ```text
//! DIR/dev.json      how the cluster was started, for `dev-node start`
//! DIR/1/data        a node's data directory
//! DIR/1/pid, start  its process, and when that began: a process id alone may be somebody else's by now
//! DIR/1/out, log    what it prints, and its log
//! ```

use super::super::CliError;
use crate::config::Loader;
use highwater_core::config::{BROKER, Class};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

/// Nodes beside the first five are no voters of the quorum: more voters only make it slower.
const VOTERS_MAX: u16 = 5;

/// How far the ports on which nodes talk to each other lie behind those of clients.
const PEER_PORTS_BEHIND: u16 = 100;

const HOST: &str = "127.0.0.1";

/// A local cluster, as it is kept in its directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Layout {
    /// How many nodes; their ids begin at 1.
    pub(super) nodes: u16,
    /// The first node's port for clients; the others' follow.
    pub(super) port: u16,
    /// Settings of all nodes.
    pub(super) config: Option<PathBuf>,
    /// Single settings of all nodes, as `KEY=VALUE`.
    pub(super) set: Vec<String>,
    /// Where it is; not written, for the directory may move.
    #[serde(skip)]
    pub(super) dir: PathBuf,
}

impl Layout {
    /// Reads how the cluster of a directory was started.
    pub(super) fn open(dir: &Path) -> Result<Self, CliError> {
        let path = dir.join("dev.json");
        let text = std::fs::read(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => CliError::usage(format!(
                "{} is no directory of a local cluster; `highwater dev --data-dir {}` makes one",
                dir.display(),
                dir.display()
            )),
            _ => CliError::new(format!("{} cannot be read: {error}", path.display())),
        })?;
        let layout: Self = serde_json::from_slice(&text)
            .map_err(|error| CliError::new(format!("{} is damaged: {error}", path.display())))?;
        Ok(Self { dir: absolute(dir)?, ..layout })
    }

    /// Takes a directory for a cluster, or takes up the cluster that it has.
    pub(super) fn make(mut self) -> Result<Self, CliError> {
        let dir = self.dir.clone();
        if dir.join("dev.json").exists() {
            let known = Self::open(&dir)?;
            if (known.nodes, known.port) != (self.nodes, self.port) {
                return Err(CliError::usage(format!(
                    "{} holds a cluster of {} nodes from port {} on: say so, or name another --data-dir",
                    dir.display(),
                    known.nodes,
                    known.port
                )));
            }
        }
        std::fs::create_dir_all(&dir)
            .map_err(|error| CliError::new(format!("{} cannot be made: {error}", dir.display())))?;
        self.dir = absolute(&dir)?;
        self.config = self.config.as_deref().map(absolute).transpose()?;
        for node in self.ids() {
            let place = self.place(node);
            std::fs::create_dir_all(&place)
                .map_err(|error| CliError::new(format!("{} cannot be made: {error}", place.display())))?;
        }
        let path = self.dir.join("dev.json");
        let text = serde_json::to_vec_pretty(&self).map_err(|error| CliError::new(error.to_string()))?;
        std::fs::write(&path, text)
            .map_err(|error| CliError::new(format!("{} cannot be written: {error}", path.display())))?;
        Ok(self)
    }

    /// The nodes' ids.
    pub(super) fn ids(&self) -> impl DoubleEndedIterator<Item = u16> + use<> {
        1..=self.nodes
    }

    /// Where a node's files are.
    pub(super) fn place(&self, node: u16) -> PathBuf {
        self.dir.join(node.to_string())
    }

    /// Where a node serves clients.
    pub(super) fn address(&self, node: u16) -> (&'static str, u16) {
        (HOST, self.port + node - 1)
    }

    /// Where all of them do.
    pub(super) fn bootstrap(&self) -> String {
        let addresses: Vec<_> = self.ids().map(|node| format!("{HOST}:{}", self.address(node).1)).collect();
        addresses.join(",")
    }

    fn peer_address(&self, node: u16) -> String {
        format!("{HOST}:{}", self.port + PEER_PORTS_BEHIND + node - 1)
    }

    /// The arguments that start a node.
    pub(super) fn serve_arguments(&self, node: u16) -> Result<Vec<OsString>, CliError> {
        let voters = self.nodes.min(VOTERS_MAX);
        let controllers: Vec<_> = (1..=voters).map(|id| format!("{id}@{}", self.peer_address(id))).collect();
        let (host, port) = self.address(node);
        let mut words: Vec<OsString> = vec![
            "serve".into(),
            "--node-id".into(),
            node.to_string().into(),
            "--listen".into(),
            format!("{host}:{port}").into(),
            "--peer-listen".into(),
            self.peer_address(node).into(),
            "--initial-controllers".into(),
            controllers.join(",").into(),
            "--data-dir".into(),
            self.place(node).join("data").into(),
        ];
        if let Some(config) = &self.config {
            words.extend(["--config".into(), config.into()]);
        }
        if node > voters {
            words.extend(["--set".into(), "process.roles=broker".into()]);
        }
        let defaults = self.defaults()?;
        for setting in defaults.iter().chain(&self.set) {
            words.extend(["--set".into(), setting.into()]);
        }
        Ok(words)
    }

    /// Three replicas of which two must have a record, as far as there are nodes, where nothing else is said.
    fn defaults(&self) -> Result<Vec<String>, CliError> {
        let mut loader = Loader::new();
        if let Some(config) = &self.config {
            loader = loader.file(config).map_err(CliError::usage)?;
        }
        for setting in &self.set {
            loader = loader.set_argument(setting);
        }
        let said = loader.finish().map_err(CliError::usage)?.fixed;
        let (replicas, in_sync) = (self.nodes.min(3), self.nodes.min(2));
        let defaults = [
            ("default.replication.factor", replicas),
            ("min.insync.replicas", in_sync),
            ("offsets.topic.replication.factor", replicas),
            ("transaction.state.log.replication.factor", replicas),
            ("transaction.state.log.min.isr", in_sync),
            ("share.coordinator.state.topic.replication.factor", replicas),
            ("share.coordinator.state.topic.min.isr", in_sync),
        ];
        let has_effect = |name: &str| BROKER.definition(name).is_some_and(|d| d.class == Class::Implemented);
        let unsaid = defaults.iter().filter(|(name, _)| has_effect(name) && !said.contains_key(*name));
        Ok(unsaid.map(|(name, value)| format!("{name}={value}")).collect())
    }
}

fn absolute(path: &Path) -> Result<PathBuf, CliError> {
    std::path::absolute(path).map_err(|error| CliError::new(format!("{}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(nodes: u16, set: &[&str]) -> Layout {
        let set = set.iter().map(|&setting| setting.to_owned()).collect();
        Layout { nodes, port: 9092, config: None, set, dir: PathBuf::from("/d") }
    }

    fn line(layout: &Layout, node: u16) -> String {
        let words = layout.serve_arguments(node).unwrap();
        words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn nodes_are_told_of_each_other() {
        let line = line(&layout(3, &[]), 2);
        for part in [
            "serve --node-id 2 --listen 127.0.0.1:9093 --peer-listen 127.0.0.1:9193 ",
            " --initial-controllers 1@127.0.0.1:9192,2@127.0.0.1:9193,3@127.0.0.1:9194 ",
            " --data-dir /d/2/data ",
            " --set default.replication.factor=3 --set min.insync.replicas=2",
        ] {
            assert!(line.contains(part), "{line}");
        }
        assert_eq!(layout(3, &[]).bootstrap(), "127.0.0.1:9092,127.0.0.1:9093,127.0.0.1:9094");
    }

    #[test]
    fn what_is_said_wins_over_the_defaults() {
        let line = line(&layout(3, &["min.insync.replicas=1"]), 1);
        assert!(!line.contains("min.insync.replicas=2"), "{line}");
        assert!(line.ends_with("--set min.insync.replicas=1"), "{line}");
    }

    #[test]
    fn few_nodes_have_few_replicas_and_many_have_five_voters() {
        assert!(
            line(&layout(1, &[]), 1).contains("default.replication.factor=1 --set min.insync.replicas=1")
        );
        let seventh = line(&layout(7, &[]), 7);
        assert!(
            seventh.contains("5@127.0.0.1:9196 ") && seventh.contains("process.roles=broker"),
            "{seventh}"
        );
    }

    #[test]
    fn a_directory_keeps_its_cluster() {
        let dir = tempfile::tempdir().unwrap();
        let asked = Layout { dir: dir.path().join("c"), ..layout(3, &["num.partitions=2"]) };
        let made = asked.clone().make().unwrap();
        assert_eq!(Layout::open(&made.dir).unwrap(), made);
        assert!(made.place(3).is_dir());
        let other = Layout { nodes: 4, ..asked };
        assert!(other.make().unwrap_err().to_string().contains("holds a cluster of 3 nodes"));
        assert!(
            Layout::open(dir.path()).unwrap_err().to_string().contains("no directory of a local cluster")
        );
    }
}
