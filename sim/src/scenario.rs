//! Scenarios: what a run is a function of, as data. See `scenarios/README.md` for the fields.
//!
//! Both tiers read these files: the one on madsim, which runs whole nodes, and the direct driver, which runs the
//! machines alone. A file says which of the two it is for.

use crate::direct::{NetworkFaults, PlannedFault, Profile};
use highwater_core::guard::Guard;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Which simulator runs a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// A whole node on madsim, alone: `cargo sim`.
    Madsim,
    /// Several whole nodes on madsim: `cargo sim`.
    Cluster,
    /// The core machines alone: `highwater sim run`.
    Direct,
}

/// What an operator does to the shape of a cluster while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reshape {
    /// Partitions move to other nodes.
    Replicas,
    /// Preferred leaders are elected.
    Leaders,
    /// Replicas are elected that may lack records, of a topic that nobody needs.
    Unclean,
    /// Voters are removed and added again.
    Voters,
    /// Whoever lost its disk is made a voter again.
    LostVoters,
}

/// A scenario, as its file says it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scenario {
    /// What it shows, for people.
    pub about: String,
    /// Where it runs.
    pub tier: Vec<Tier>,
    /// Decides everything that is drawn.
    pub seed: u64,
    /// Nothing but the seed counts: a cluster of whole nodes as a sweep draws it.
    pub drawn: bool,
    /// The guard that is to be taken out, which `expect` then notices.
    pub removed: Option<String>,
    /// The oracles of which one must complain once the guard is removed.
    pub expect: Vec<String>,
    /// Whether acks=all waits for the disk; drawn if it is not said.
    pub durable: Option<bool>,
    /// How many nodes there are.
    pub nodes: usize,
    /// Partitions of the topic that producers write to. Of whole nodes only where a workload is said.
    pub partitions: i32,
    /// Copies of each partition.
    pub replication_factor: i16,
    /// `min.insync.replicas`
    pub min_isr: usize,
    /// Simulated time with faults.
    pub seconds: u64,
    /// What clients do. If it is not said: the usual, which of whole nodes is another than of the machines alone.
    pub workload: Option<Workload>,
    /// What an operator does to the cluster's shape meanwhile. Clusters only.
    pub reshape: Vec<Reshape>,
    /// How the network behaves all the time; drawn if it is not said.
    pub network: Option<NetworkFaults>,
    /// What kinds of faults are drawn.
    pub profile: Profile,
    /// The faults themselves; drawn from the profile if it is not said.
    pub faults: Option<Vec<PlannedFault>>,
}

/// What clients do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Workload {
    /// Idempotent producers with acks=all.
    pub idempotent_producers: usize,
    /// Producers with acks=all and without an id.
    pub plain_producers: usize,
    /// How often each producer begins a batch, in microseconds.
    pub pace_us: u64,
    /// Consumers that read everything.
    pub consumers: usize,
    /// Consumer groups.
    pub groups: usize,
    /// Members of each.
    pub members: usize,
    /// Of a thousand looks at its clock, so many make the operator do something.
    pub churn_permille: u32,
    /// Of a thousand, so many make it move a partition's leader away and back at once. The direct driver only.
    pub leader_moves_permille: u32,
    /// Of a thousand, so many add a partition to the topic that producers write to. The direct driver only.
    pub partitions_permille: u32,
}

impl Default for Workload {
    fn default() -> Self {
        Self {
            idempotent_producers: 2,
            plain_producers: 1,
            pace_us: 20_000,
            consumers: 1,
            groups: 1,
            members: 2,
            churn_permille: 50,
            leader_moves_permille: 0,
            partitions_permille: 0,
        }
    }
}

impl Default for Scenario {
    /// The mixed workload with all kinds of faults.
    fn default() -> Self {
        Self {
            about: String::new(),
            tier: vec![Tier::Madsim],
            seed: 0,
            drawn: false,
            removed: None,
            expect: Vec::new(),
            durable: None,
            nodes: 3,
            partitions: 3,
            replication_factor: 3,
            min_isr: 2,
            seconds: 15,
            workload: None,
            reshape: Vec::new(),
            network: None,
            profile: Profile::Mixed,
            faults: None,
        }
    }
}

/// Why a file is no scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScenarioError(String);

impl ScenarioError {
    /// A guard is to be removed by a build that has no switches.
    #[cfg(not(sim))]
    pub(crate) fn no_switches(guard: &str) -> Self {
        Self(format!(
            "this build of highwater-sim cannot remove the guard {guard}; build it with \
             `cargo --config .cargo/sim.toml build -p highwater-sim --profile sim`"
        ))
    }
}

impl std::fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ScenarioError {}

impl Scenario {
    /// The mixed workload of the direct driver.
    pub fn mixed() -> Self {
        let workload = Workload { leader_moves_permille: 10, ..Workload::default() };
        Self { tier: vec![Tier::Direct], workload: Some(workload), ..Self::default() }
    }

    /// Reads a scenario's text.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        let scenario: Self = toml::from_str(text).map_err(|error| ScenarioError(error.to_string()))?;
        scenario.check()?;
        Ok(scenario)
    }

    /// Reads a scenario's file.
    pub fn read(path: &Path) -> Result<Self, ScenarioError> {
        let about = |why: &dyn std::fmt::Display| ScenarioError(format!("{}: {why}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|error| about(&error))?;
        Self::parse(&text).map_err(|error| about(&error))
    }

    /// The scenario's text.
    pub fn to_text(&self) -> String {
        toml::to_string(self).expect("a scenario has nothing that TOML cannot write")
    }

    /// What clients of the direct driver do.
    pub fn clients(&self) -> Workload {
        self.workload.clone().unwrap_or_default()
    }

    /// The guard that is to be removed.
    pub fn removed_guard(&self) -> Result<Option<Guard>, ScenarioError> {
        let Some(name) = &self.removed else { return Ok(None) };
        let found = Guard::ALL.iter().find(|guard| guard.name() == name);
        found
            .copied()
            .map(Some)
            .ok_or_else(|| ScenarioError(format!("{name} is no guard of core/src/guard.rs")))
    }

    fn check(&self) -> Result<(), ScenarioError> {
        let wrong = |what: &str| Err(ScenarioError(what.to_owned()));
        self.removed_guard()?;
        if !(1..=9).contains(&self.nodes) {
            return wrong("nodes: 1 to 9");
        }
        if !(1..=self.nodes).contains(&usize::try_from(self.replication_factor).unwrap_or(0)) {
            return wrong("replication_factor: 1 to the number of nodes");
        }
        if !(1..=200).contains(&self.partitions) {
            return wrong("partitions: 1 to 200");
        }
        if self.min_isr == 0 || self.seconds == 0 || self.clients().pace_us == 0 {
            return wrong("min_isr, seconds and pace_us: above 0");
        }
        let faults = self.faults.iter().flatten();
        let names_a_stranger =
            |planned: &PlannedFault| planned.fault.nodes().any(|node| !(1..=self.nodes).contains(&node));
        let is_whole = self.tier.iter().any(|tier| *tier != Tier::Direct);
        if is_whole && faults.clone().any(|planned| planned.fault.needs_direct_driver()) {
            return wrong("tier: logs that fail alone take the direct driver");
        }
        let told = self.clients();
        if is_whole && (told.leader_moves_permille > 0 || told.partitions_permille > 0) {
            return wrong("tier: an operator who moves leaders or adds partitions takes the direct driver");
        }
        if self.tier.contains(&Tier::Madsim) && self.workload.is_some() {
            return wrong("workload: that of a node that is alone is drawn");
        }
        if self.drawn && self.tier != [Tier::Cluster] {
            return wrong("drawn: whole nodes only");
        }
        if !self.reshape.is_empty() && self.nodes < 3 {
            return wrong("reshape: three nodes or more");
        }
        match faults.clone().find(|planned| names_a_stranger(planned)) {
            Some(PlannedFault { fault, .. }) => Err(ScenarioError(format!("no such node: {fault:?}"))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::direct::Fault;

    #[test]
    fn a_scenario_is_written_as_it_is_read() {
        let faults = vec![
            PlannedFault { at_ms: 100, fault: Fault::Kill { node: 2 } },
            PlannedFault { at_ms: 150, fault: Fault::Cut { from: 1, to: 3, is_cut: true } },
        ];
        let scenario =
            Scenario { faults: Some(faults), removed: Some("FetchLeaderEpoch".into()), ..Scenario::mixed() };
        assert_eq!(Scenario::parse(&scenario.to_text()), Ok(scenario));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for text in [
            "nodes = 0",
            "nodes = 3\nreplication_factor = 4",
            "removed = 'Nothing'",
            "colour = 'red'",
            "[[faults]]\nat_ms = 1\nkind = 'kill'\nnode = 4",
            "tier = ['cluster']\n[[faults]]\nat_ms = 1\nkind = 'log-error'\nnode = 1",
            "nodes = 2\nreplication_factor = 2\nreshape = ['voters']",
            "tier = ['direct']\ndrawn = true",
            "tier = ['cluster']\n[workload]\npartitions_permille = 1",
            "[workload]\ngroups = 2",
        ] {
            assert!(Scenario::parse(text).is_err(), "{text}");
        }
    }
}
