//! One run from a scenario to its outcome.

use super::client::Client;
use super::consumer::Consumer;
use super::contact::Contact;
use super::env::{Env, Totals, broker_of};
use super::faults::FaultPlan;
use super::liveness;
use super::member::{Member, OFFSETS_TOPIC};
use super::meta::first_voters;
use super::network::{Network, Place};
use super::node::{Node, directory_of};
use super::operator::{Operator, create};
use super::producer::{Kind, Producer};
use super::queue::{MICRO, SECOND};
use super::reshape::Reshaper;
use super::trace::Trace;
use super::truth::{Truth, Violation};
use super::world::World;
use crate::rng::Rng;
use crate::scenario::{Reshape, Scenario, ScenarioError};
use highwater_core::config::ConfigMap;
use highwater_core::replica::Acks;
use serde::Serialize;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The topic that producers write to.
pub(crate) const TOPIC: &str = "orders";

/// A topic of which one copy suffices, where an operator elects replicas that may lack records: its records may be lost.
pub(crate) const EXPENDABLE: &str = "expendable";

/// How a run is watched.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Whether the oracles look.
    pub is_checking: bool,
    /// Whether the run's story is kept.
    pub is_recording: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { is_checking: true, is_recording: false }
    }
}

/// What a run came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Nothing is wrong.
    Ok,
    /// An oracle of safety complained.
    Safety,
    /// After all faults had ended something did not come right.
    Liveness,
    /// A machine's assertion failed.
    Crash,
}

/// The outcome of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The seed it ran with.
    pub seed: u64,
    /// The hash of all its events (O42).
    pub trace_hash: u64,
    /// What it came to.
    pub verdict: Verdict,
    /// What is wrong, if something is.
    pub violation: Option<Violation>,
    /// What happened how often.
    pub totals: Totals,
    /// Simulated nanoseconds.
    pub simulated_ns: u64,
    /// Its story, if it was recorded.
    pub story: Vec<String>,
    /// The plan of faults, as a scenario would say it.
    pub scenario: Scenario,
    /// How often each guard held and did not: by name. Empty unless built with switches.
    pub guards: Vec<GuardCount>,
}

/// How often a guard was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GuardCount {
    /// Its name.
    pub name: &'static str,
    /// Times that its condition held.
    pub accepts: u64,
    /// Times that it did not.
    pub rejects: u64,
}

/// Whether this build can remove guards and counts them.
pub const HAS_SWITCHES: bool = cfg!(sim);

/// Runs a scenario.
///
/// # Errors
/// If it asks for a guard to be removed and this build cannot.
pub fn run(scenario: &Scenario, options: Options) -> Result<Outcome, ScenarioError> {
    begin_guards(scenario)?;
    let mut rng = Rng::new(scenario.seed);
    let mut world = build(scenario, options, &mut rng);
    let ended = catch_unwind(AssertUnwindSafe(|| {
        world.begin();
        let faults_end = scenario.seconds * SECOND;
        if world.run(faults_end) {
            world.heal();
            liveness::run(&mut world, faults_end);
        }
    }));
    let crashed = ended.err().map(|payload| {
        let text = payload.downcast_ref::<String>().cloned();
        text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
    });
    Ok(outcome(scenario, world, crashed))
}

fn outcome(scenario: &Scenario, world: World, crashed: Option<String>) -> Outcome {
    let violation = match crashed {
        Some(what) => Some(Violation { oracle: "assertion", what }),
        None => world.env.truth.violation().cloned(),
    };
    let verdict = match &violation {
        None => Verdict::Ok,
        Some(violation) if violation.oracle == "assertion" => Verdict::Crash,
        Some(violation) if violation.oracle.starts_with('L') => Verdict::Liveness,
        Some(_) => Verdict::Safety,
    };
    let planned = Scenario {
        faults: Some(world.plan.faults.clone()),
        network: Some(world.plan.network),
        durable: Some(world.nodes.iter().any(Node::is_durable)),
        ..scenario.clone()
    };
    Outcome {
        seed: scenario.seed,
        trace_hash: world.env.trace.hash(),
        verdict,
        violation,
        totals: world.env.totals,
        simulated_ns: world.env.now,
        story: world.env.trace.into_lines(),
        scenario: planned,
        guards: count_guards(),
    }
}

#[cfg(sim)]
fn begin_guards(scenario: &Scenario) -> Result<(), ScenarioError> {
    highwater_core::guard::run::begin(scenario.removed_guard()?);
    Ok(())
}

#[cfg(not(sim))]
fn begin_guards(scenario: &Scenario) -> Result<(), ScenarioError> {
    match scenario.removed_guard()? {
        None => Ok(()),
        Some(guard) => Err(ScenarioError::no_switches(guard.name())),
    }
}

#[cfg(sim)]
fn count_guards() -> Vec<GuardCount> {
    let counts = highwater_core::guard::run::counts();
    let all = highwater_core::guard::Guard::ALL.iter().map(|guard| {
        let count = counts.get(guard).copied().unwrap_or_default();
        GuardCount { name: guard.name(), accepts: count.accepts, rejects: count.rejects }
    });
    all.collect()
}

#[cfg(not(sim))]
const fn count_guards() -> Vec<GuardCount> {
    Vec::new()
}

/// Draws everything that the scenario leaves open and puts the world together.
fn build(scenario: &Scenario, options: Options, rng: &mut Rng) -> World {
    let workload = scenario.clients();
    let client_count = 1
        + workload.idempotent_producers
        + workload.plain_producers
        + workload.consumers
        + workload.groups * workload.members;
    let is_durable_drawn = rng.happens(300);
    let is_durable = scenario.durable.unwrap_or(is_durable_drawn);
    let plan = FaultPlan::of(scenario, client_count, rng.fork());
    let places = scenario.nodes + client_count;
    let network = Network::new(rng.fork(), scenario.nodes, places, plan.network);
    let trace = Trace::new(options.is_recording);
    let truth = Truth::new(options.is_checking);
    let env = Env::new(network, trace, truth, scenario.nodes, rng.fork());
    let fixed = node_settings(scenario, rng);
    let voters = first_voters((0..scenario.nodes).map(|index| (broker_of(index), directory_of(index))));
    let node = |index| Node::new(index, voters.clone(), fixed.clone(), is_durable);
    let nodes = (0..scenario.nodes).map(node).collect();
    let clients = clients(scenario, rng);
    assert_eq!(clients.len(), client_count, "every client has a place");
    World::new(env, nodes, clients, plan)
}

/// What every node's configuration file says.
fn node_settings(scenario: &Scenario, rng: &mut Rng) -> ConfigMap {
    let mut settings = ConfigMap::new();
    let mut set = |name: &str, value: String| settings.insert(name.to_owned(), value);
    set("min.insync.replicas", scenario.min_isr.to_string());
    set("default.replication.factor", scenario.replication_factor.to_string());
    set("group.min.session.timeout.ms", "100".to_owned());
    set("group.initial.rebalance.delay.ms", (*rng.pick(&["0", "100"])).to_owned());
    settings
}

fn clients(scenario: &Scenario, rng: &mut Rng) -> Vec<Client> {
    let workload = scenario.clients();
    let nodes = scenario.nodes;
    let mut clients: Vec<Client> = Vec::new();
    let mut contact = |clients: &Vec<Client>| {
        let place = Place::try_from(nodes + clients.len()).expect("a run has few clients");
        Contact::new(place, nodes, rng.fork())
    };
    let factor = scenario.replication_factor;
    let mut setup = vec![
        create(TOPIC, scenario.partitions, factor, &[]),
        create(OFFSETS_TOPIC, 1 + i32::from(workload.groups > 1), factor, &[]),
    ];
    let is_unclean = scenario.reshape.contains(&Reshape::Unclean);
    setup.extend(is_unclean.then(|| create(EXPENDABLE, 1, 2, &[("min.insync.replicas", "1")])));
    let reshaper = Reshaper::new(scenario.reshape.clone(), workload.partitions_permille, nodes);
    let (churn, moves) = (workload.churn_permille, workload.leader_moves_permille);
    let operator = Operator::new(contact(&clients), setup, churn, moves, reshaper);
    clients.push(Client::Operator(operator));
    let topics = vec![TOPIC.to_owned()];
    let mut written = topics.clone();
    written.extend(is_unclean.then(|| EXPENDABLE.to_owned()));
    let pace = workload.pace_us * MICRO;
    for number in 0..workload.idempotent_producers + workload.plain_producers {
        let kind = Kind { is_idempotent: number < workload.idempotent_producers, acks: Acks::All };
        let producer = Producer::new(contact(&clients), kind, written.clone(), pace);
        clients.push(Client::Producer(producer));
    }
    for _ in 0..workload.consumers {
        let consumer = Consumer::new(contact(&clients), topics.clone());
        clients.push(Client::Consumer(consumer));
    }
    for group in 0..workload.groups {
        for _ in 0..workload.members {
            let member = Member::new(contact(&clients), format!("group-{group}"), TOPIC.to_owned());
            clients.push(Client::Member(member));
        }
    }
    clients
}
