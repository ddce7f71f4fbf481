//! `controller.quorum.voters` and `controller.quorum.bootstrap.servers`: where a node finds the quorum.
//!
//! Kafka's controllers are reached at a listener of `controller.listener.names`; nodes here speak among themselves at
//! `highwater.peer.listener`, which is the first of those listeners where it is not set itself.

use super::listeners::{self, HostPort};
use super::{Roles, effective};
use crate::controller::InitialController;
use highwater_core::config::{ConfigMap, list};
use highwater_core::ids::BrokerId;

const VOTERS: &str = "controller.quorum.voters";
const BOOTSTRAP: &str = "controller.quorum.bootstrap.servers";

/// The voters that the configuration names; none if it names none.
pub(super) fn voters(fixed: &ConfigMap) -> Result<Vec<InitialController>, String> {
    let mut voters: Vec<InitialController> = Vec::new();
    for word in list(effective(fixed, VOTERS).unwrap_or_default()) {
        let voter: Option<InitialController> = word.parse().ok();
        let voter = voter
            .filter(|voter| voter.directory_id.is_none())
            .ok_or_else(|| format!("{VOTERS}: '{word}' is not ID@HOST:PORT"))?;
        if voters.iter().any(|known| known.id == voter.id) {
            return Err(format!("{VOTERS} names node {} twice", voter.id));
        }
        voters.push(voter);
    }
    Ok(voters)
}

/// Whether a node of this id may have these voters beside its roles, as Kafka judges; roles and id as they were written
/// down.
pub(super) fn check_roles(id: BrokerId, roles: Roles, voters: &[InitialController]) -> Result<(), String> {
    let votes = voters.iter().any(|voter| voter.id == id);
    let named = InitialController::join(voters);
    match (roles.controller, votes) {
        (true, false) if !voters.is_empty() => Err(format!(
            "If process.roles contains the 'controller' role, the node id {id} must be included in the set of voters \
             {VOTERS}={named}"
        )),
        (false, true) => Err(format!(
            "If process.roles contains just the 'broker' role, the node id {id} must not be included in the set of \
             voters {VOTERS}={named}"
        )),
        _ => Ok(()),
    }
}

/// The listener of controllers, and where it is advertised: that of other nodes, if nothing else is said of it. None if
/// it is not plain text: what nodes say to each other is.
pub(super) fn controller_listener(fixed: &ConfigMap) -> Result<Option<(HostPort, Option<HostPort>)>, String> {
    let text = |name| effective(fixed, name).unwrap_or_default();
    let names: Vec<String> = list(text("controller.listener.names")).map(str::to_ascii_uppercase).collect();
    let Some(first) = names.first() else { return Ok(None) };
    let at = |setting| -> Result<Option<HostPort>, String> {
        let endpoints = listeners::endpoints(setting, text(setting))?;
        Ok(endpoints.into_iter().find(|(name, _)| name == first).map(|(_, at)| at))
    };
    let mapped = list(text("listener.security.protocol.map"))
        .filter_map(|pair| pair.split_once(':'))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case(first));
    if mapped.is_some_and(|(_, protocol)| !protocol.trim().eq_ignore_ascii_case("PLAINTEXT")) {
        return Ok(None);
    }
    let advertised = at("advertised.listeners")?;
    Ok(at("listeners")?.map(|bind| (bind, advertised)))
}

/// Where the quorum may be asked for, without this node's own addresses.
pub(super) fn bootstrap_servers(fixed: &ConfigMap, own: &[&HostPort]) -> Result<Vec<HostPort>, String> {
    let mut servers: Vec<HostPort> = Vec::new();
    for word in list(effective(fixed, BOOTSTRAP).unwrap_or_default()) {
        let at = word.parse::<HostPort>().map_err(|why| format!("{BOOTSTRAP}: {why}"))?;
        if at.host.is_empty() || at.port == 0 {
            return Err(format!("{BOOTSTRAP}: '{word}' is nowhere to connect to"));
        }
        if !own.iter().any(|own| is_same(own, &at)) && !servers.contains(&at) {
            servers.push(at);
        }
    }
    Ok(servers)
}

/// Whether whoever connects to `at` reaches this node's listener `own`.
fn is_same(own: &HostPort, at: &HostPort) -> bool {
    let is_loopback = |host: &str| matches!(host, "localhost" | "127.0.0.1" | "::1");
    let is_every = |host: &str| matches!(host, "" | "0.0.0.0" | "::");
    let (mine, theirs) = (own.host.to_ascii_lowercase(), at.host.to_ascii_lowercase());
    let is_same_host = mine == theirs || (is_loopback(&theirs) && (is_loopback(&mine) || is_every(&mine)));
    own.port == at.port && is_same_host
}
