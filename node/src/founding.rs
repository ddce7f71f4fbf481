//! How a node begins: its directory, who votes with it, its roles, and the cluster that it founds.
//!
//! Only an empty directory to which nobody was named founds one. What the others decide about a node that joins them
//! is the registration's and the quorum's business.

use crate::controller::{InitialController, MetadataError, StartingController};
use crate::disk::Disk;
use crate::log::{DataDir, DataDirConfig, DataDirError, LogContext, OpenFiles, read_owner};
use crate::node::{NodeSetup, StartError};
use crate::peers::{OpenPeers, Peers};
use crate::registration::{Beginning, remember, session_limits};
use highwater_core::config::{BrokerConfig, ConfigMap, Layers};
use highwater_core::ids::{BrokerEpoch, DirectoryId};
use highwater_core::metadata::peer::RegisterBroker;
use highwater_core::metadata::{Controller, Endpoint, Registration};
use highwater_core::registration::{self, LifecycleConfig};
use highwater_core::time::Now;
use highwater_core::transport::{LocalPeer, PEER_LISTENER, PeerAddress, PeerIdentity};
use std::sync::Arc;
use std::time::Duration;

/// Opens the data directory, or makes it.
pub(crate) fn open_data_dir(
    config: &NodeSetup,
    disk: &Arc<dyn Disk>,
    broker: &BrokerConfig,
) -> Result<DataDir, DataDirError> {
    let context = LogContext { disk: disk.clone(), files: OpenFiles::new(config.open_files_max) };
    // Whoever cannot vote founds nothing.
    let founds = names_nobody(config) && config.roles.controller;
    DataDir::open(
        context,
        &DataDirConfig {
            path: config.data_dir.clone(),
            node_id: config.node_id,
            cluster_id: config.cluster_id.clone(),
            cluster_id_if_new: founds.then(|| new_cluster_id(&config.seed)),
            directory_id_if_new: directory_id_of(&config.seed),
            initial_controllers_if_new: (!founds)
                .then(|| InitialController::join(&config.initial_controllers)),
            available_bytes_min: u64::try_from(broker.disk_free_bytes_min).unwrap_or(0),
        },
    )
}

/// Whether the configuration says nothing of other nodes.
const fn names_nobody(config: &NodeSetup) -> bool {
    config.initial_controllers.is_empty() && config.bootstrap_servers.is_empty()
}

/// Refuses to make a directory for a node that could never start on it.
pub(crate) fn check_new(config: &NodeSetup, disk: &dyn Disk) -> Result<(), StartError> {
    let knows_nobody = names_nobody(config) && !config.roles.controller;
    if knows_nobody && read_owner(disk, &config.data_dir)?.is_none() {
        return Err(nobody_named(config));
    }
    Ok(())
}

fn nobody_named(config: &NodeSetup) -> StartError {
    StartError::Roles(format!(
        "process.roles={} needs the controllers of a cluster: name them with --initial-controllers, or say where \
         they are with controller.quorum.bootstrap.servers",
        config.roles
    ))
}

/// The controllers with which a directory was made.
pub(crate) fn remembered_controllers(data_dir: &DataDir) -> Result<Vec<InitialController>, DataDirError> {
    let named = data_dir.initial_controllers().unwrap_or_default();
    InitialController::split(named).map_err(|error| DataDirError::Foreign {
        path: data_dir.path().to_owned(),
        cause: format!("of the controllers in its meta.properties, {error}"),
    })
}

/// Whether a node with these roles can start on what its directory says of the quorum.
pub(crate) fn check_roles(config: &NodeSetup, starting: &StartingController) -> Result<(), StartError> {
    if config.roles.controller {
        return Ok(());
    }
    let id = config.node_id;
    if starting.votes() {
        return Err(StartError::Roles(format!(
            "process.roles={} does not let node {id} vote, but it is one of the controllers that do: remove its vote \
             first (`highwater cluster remove-voter {id}`), or add the role controller",
            config.roles
        )));
    }
    let is_alone = starting.knows_nobody() && config.bootstrap_servers.is_empty();
    if is_alone { Err(nobody_named(config)) } else { Ok(()) }
}

/// The id of a cluster that is founded in this run.
pub(crate) fn new_cluster_id(seed: &[u8; 32]) -> String {
    let mut id = [0; 16];
    id.copy_from_slice(&seed[16..]);
    highwater_core::ids::TopicId(as_no_flag(id)).to_string()
}

/// The id, but for a bit without which a command line would not take its text for a flag: '-' is the digit 62.
pub(crate) const fn as_no_flag(mut id: [u8; 16]) -> [u8; 16] {
    id[0] &= 0x7f;
    id
}

/// Where other nodes reach this one.
pub(crate) fn peer_endpoint(config: &NodeSetup) -> Option<Endpoint> {
    let PeerAddress { host, port } = config.peer_address.clone()?;
    Some(Endpoint { listener: PEER_LISTENER.to_owned(), host, port })
}

/// The id of a data directory that is made in this run.
fn directory_id_of(seed: &[u8; 32]) -> DirectoryId {
    let mut id = [0; 16];
    for (at, byte) in id.iter_mut().enumerate() {
        *byte = seed[at].rotate_left(3) ^ seed[31 - at] ^ 0x5a;
    }
    DirectoryId(id)
}

/// Opens the door to other nodes.
pub(crate) fn open_peers(
    config: &NodeSetup,
    data_dir: &DataDir,
    open: OpenPeers,
    control: &tokio::runtime::Handle,
    random: u64,
) -> Arc<Peers> {
    let incarnation = incarnation(config, data_dir);
    let directory_id = data_dir.directory_id().0;
    let identity = PeerIdentity { id: config.node_id, incarnation, directory_id };
    let address = config.peer_address.clone();
    let local = LocalPeer { identity, cluster_id: data_dir.cluster_id(), address };
    Peers::open(open, local, control.clone(), tokio::runtime::Handle::current(), random)
}

/// The settings before any image is there to override them.
pub(crate) fn broker_config_of(fixed: &ConfigMap) -> BrokerConfig {
    let none = ConfigMap::new();
    BrokerConfig::resolve(&Layers { dynamic: &none, dynamic_default: &none, fixed })
}

/// How often the node says that it lives, and how long that holds.
fn lifecycle_config(broker: &BrokerConfig) -> LifecycleConfig {
    let limits = session_limits(broker);
    LifecycleConfig {
        heartbeat_interval: limits.heartbeat_interval.max(Duration::from_millis(1)),
        // The shortest time that a broker has once it was heard.
        lease: limits.refused_silence_max,
        ..LifecycleConfig::default()
    }
}

/// The name of this process.
pub(crate) fn incarnation(config: &NodeSetup, data_dir: &DataDir) -> [u8; 16] {
    let [.., a, b, c, d, e, f, g, h] = config.seed;
    registration::incarnation(data_dir.last_run().known_epoch, [a, b, c, d, e, f, g, h])
}

/// How this process begins: registered at once, if it is the cluster's only node.
pub(crate) fn begin(
    config: &NodeSetup,
    data_dir: &DataDir,
    starting: &mut StartingController,
    now: Now,
) -> Result<Beginning, MetadataError> {
    let rack = broker_config_of(&config.fixed).rack;
    let incarnation = incarnation(config, data_dir);
    let before = starting.image().broker(config.node_id).map(|registration| registration.epoch);
    let mut endpoints = config.endpoints.clone();
    endpoints.extend(peer_endpoint(config));
    let announced = RegisterBroker {
        directory_id: data_dir.directory_id().0,
        endpoints,
        rack,
        features: crate::features::supported(config.roles),
        clean_stop_of: match starting.is_leading() {
            // A directory of a release without broker epochs tells only whether it was closed in order.
            true => data_dir.last_run().broker_epoch.or(before).filter(|_| data_dir.last_run().was_clean),
            // A process that died while its machine went on has lost nothing either.
            false => data_dir.last_run().broker_epoch,
        },
    };
    // A node alone is registered in the flush that its start needs anyway; others ask the active controller.
    let registration = Registration { id: config.node_id, incarnation, announced: announced.clone() };
    let epoch = match starting.is_leading() {
        true => found(config, data_dir, starting, now, &registration)?,
        false => None,
    };
    let is_member = config.roles.broker;
    let config = lifecycle_config(&broker_config_of(&config.fixed));
    Ok(Beginning { id: registration.id, incarnation, announced, config, epoch, is_member })
}

/// Founds the cluster, if that is still to be done, and registers its only voter if that is a broker.
fn found(
    config: &NodeSetup,
    data_dir: &DataDir,
    starting: &mut StartingController,
    now: Now,
    registration: &Registration,
) -> Result<Option<BrokerEpoch>, MetadataError> {
    let cluster_id = data_dir.cluster_id().unwrap_or_else(|| new_cluster_id(&config.seed));
    if starting.image().cluster_id().is_none() {
        tracing::info!(
            cluster_id,
            "founded a new cluster, for nobody else was named; if a disk was lost that was part of one, \
             stop this node, empty its directory, and name the others with --initial-controllers"
        );
    }
    let features = crate::features::FINALIZED;
    starting.append(now, |controller| controller.plan_cluster(&cluster_id, features))?;
    let epoch = match config.roles.broker {
        true => {
            let planned = |controller: &Controller| controller.plan_register_only_broker(registration);
            Some(starting.append(now, planned)?)
        }
        false => None,
    };
    starting.commit(data_dir, now)?;
    if let Some(epoch) = epoch {
        remember(data_dir, epoch);
    }
    if data_dir.cluster_id().is_none() {
        data_dir.join_cluster(&cluster_id).map_err(MetadataError::DataDir)?;
    }
    Ok(epoch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_no_flag_whatever_was_drawn() {
        for first in 0..=u8::MAX {
            let id = as_no_flag([first; 16]);
            let text = highwater_core::ids::TopicId(id).to_string();
            assert!(!text.starts_with('-'), "{text}");
            assert_eq!(&id[1..], &[first; 15], "all else is as drawn");
        }
    }
}
