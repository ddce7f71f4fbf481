//! One run of a cluster: a seed decides its size, its settings, its faults and what clients do.

use super::trouble::Trouble;
use super::{Cluster, liveness};
use crate::client::{CLIENTS_HOST, Client, World};
use crate::direct::{PlannedFault, Profile};
use crate::machine::End;
use crate::network::NetFaults;
use crate::rng::Rng;
use crate::run::{self, Outcome, Shared};
use crate::scenario::{Reshape, Scenario, Workload};
use crate::workload::{self, told};
use highwater_core::config::ConfigMap;
use highwater_core::guard::Guard;
use madsim::runtime::Handle;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// How long clients may take to end once they are asked to.
const CLIENTS_END_MAX: Duration = Duration::from_secs(60);

/// Tells the draws of what was added later from those of everything else, which stay as they were.
const SHAPE: u64 = 0x5348_4150_4500_0000;

/// What a run is a function of, beside the build.
#[derive(Clone, Debug, Default)]
pub struct ClusterPlan {
    /// Decides everything that is drawn.
    pub seed: u64,
    /// Guards that are switched off.
    pub off: Vec<Guard>,
    /// Whether acks=all waits for the disk; drawn if not given.
    pub durable: Option<bool>,
    /// How many nodes there are; drawn if not given.
    pub nodes: Option<usize>,
    /// How long faults go on, in simulated milliseconds; drawn if not given.
    pub trouble_ms: Option<u64>,
    /// What kinds of faults are drawn.
    pub profile: Profile,
    /// The faults themselves; drawn from the profile if not given.
    pub faults: Option<Vec<PlannedFault>>,
    /// Whether given power cuts wait, for a short time, until metadata counts as committed that the node has not flushed.
    pub lies_in_wait: bool,
    /// What an operator does to the cluster's shape; drawn if not given.
    pub reshape: Option<Vec<Reshape>>,
    /// What clients do, to a topic of so many partitions; if not given, the usual.
    pub clients: Option<(i32, Workload)>,
    /// Whether no oracle looks at the nodes, so that it can be told what that costs.
    pub is_blind: bool,
    /// Whether the trace is shown while the run goes.
    pub is_printing: bool,
}

impl ClusterPlan {
    /// The run of a seed with everything as it should be.
    pub fn of(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// The run of a scenario with everything as it should be.
    pub fn of_scenario(scenario: &Scenario) -> Self {
        if scenario.drawn {
            return Self::of(scenario.seed);
        }
        Self {
            durable: scenario.durable,
            nodes: Some(scenario.nodes),
            trouble_ms: Some(scenario.seconds * 1000),
            profile: scenario.profile,
            faults: scenario.faults.clone(),
            reshape: Some(scenario.reshape.clone()),
            clients: scenario.workload.clone().map(|told| (scenario.partitions, told)),
            ..Self::of(scenario.seed)
        }
    }
}

/// Runs a plan, on a thread of its own.
pub fn run(plan: &ClusterPlan) -> Outcome {
    let whole = plan.clone();
    let again = format!("HIGHWATER_CLUSTER_SEED={} cargo sim --test cluster", plan.seed);
    Outcome { again, ..run::on_a_thread(plan.seed, &plan.off, move |shared| whole_run(whole, shared)) }
}

async fn whole_run(plan: ClusterPlan, shared: Shared) {
    let mut rng = Rng::new(plan.seed);
    let is_durable_drawn = rng.happens(300);
    let is_durable = plan.durable.unwrap_or(is_durable_drawn);
    let nodes_drawn = *rng.pick(&[1, 3, 3, 3, 3, 3, 4, 5]);
    let nodes = plan.nodes.unwrap_or(nodes_drawn);
    let reset_permille = *rng.pick(&[0, 0, 2, 10]);
    let net = NetFaults::new(rng.fork(), reset_permille);
    let world = World::new(nodes, net, is_durable, plan.is_printing);
    *shared.lock().unwrap_or_else(PoisonError::into_inner) = Some(world.clone());
    let config = config(&mut rng, nodes, is_durable);
    world.note(format_args!(
        "seed {}, {nodes} nodes, durable {is_durable}, resets {reset_permille}, {config:?}",
        plan.seed
    ));
    let mut cluster = Cluster::new(&world, &mut rng, nodes, &config);
    if plan.is_blind {
        cluster.look_away();
    }
    let ip = CLIENTS_HOST.parse().expect("an address");
    let clients = Handle::current().create_node().name("clients").ip(ip).build();
    for at in 0..nodes {
        cluster.start(at).await;
    }
    let begun = {
        let (world, clients, told) = (world.clone(), clients.clone(), plan.clients.clone());
        let mut rng = rng.fork();
        madsim::task::spawn(async move {
            match told {
                Some((partitions, told)) => told::begin(&world, &clients, &mut rng, partitions, &told).await,
                None => workload::begin(&world, &clients, &mut rng).await,
            }
        })
    };
    let mut workload = setup(&world, &mut cluster, begun).await;
    let mut shape_rng = Rng::new(plan.seed ^ SHAPE);
    let reshape = plan.reshape.clone().unwrap_or_else(|| draw_reshape(&mut shape_rng, nodes));
    world.note(format_args!("reshape {reshape:?}"));
    if nodes > 1 {
        let is_told = plan.clients.is_some();
        workload::extend(&world, &clients, &mut shape_rng, &reshape, is_told, &mut workload);
    }
    let trouble_ms = plan.trouble_ms.unwrap_or_else(|| rng.within(2000, 15_000));
    let mut trouble = match &plan.faults {
        Some(faults) => Trouble::planned(rng.fork(), faults, plan.lies_in_wait),
        None => Trouble::new(rng.fork(), plan.profile),
    };
    if reshape.contains(&Reshape::Voters) {
        trouble.spare_disks();
    }
    trouble.make(&mut cluster, trouble_ms).await;
    cluster.heal().await;
    cluster.await_health().await;
    for group in std::mem::take(&mut workload.groups) {
        let client = Client::new(&world, shape_rng.fork(), "describer");
        let partitions = workload.topics[0].partitions;
        let described =
            clients.spawn(async move { liveness::await_stable_group(client, &group, partitions).await });
        while !described.is_finished() && !world.is_stopping() {
            cluster.pass(10).await;
        }
        if described.await.is_err() {
            world.history().complain("L4", "the description of a group did not end");
        }
    }
    world.note("clients are asked to end");
    world.stop();
    for task in workload.tasks {
        if tokio::time::timeout(CLIENTS_END_MAX, task).await.is_err() {
            world
                .history()
                .complain("L8", "a client's call is still waiting a minute after the faults ended");
        }
    }
    world.go_on();
    cluster.await_equality().await;
    cluster.compare();
    let reader = Client::new(&world, rng.fork(), "fresh");
    let reading = clients.spawn(liveness::read_everything(reader, workload.topics));
    if reading.await.is_err() {
        world.history().complain("L9", "the fresh reader did not end");
    }
    // Live tasks of a dropped runtime leak: end them, and let madsim notice.
    Handle::current().kill(clients.id());
    cluster.await_quiet().await;
    for at in 0..nodes {
        cluster.end(at, End::Kill);
    }
    tokio::time::sleep(Duration::from_millis(5)).await;
}

/// What an operator does to the cluster's shape: in a third of the runs nothing. Voters are taken away only where none
/// loses its disk, for both at once may be a majority.
fn draw_reshape(rng: &mut Rng, nodes: usize) -> Vec<Reshape> {
    if nodes < 3 || rng.happens(330) {
        return Vec::new();
    }
    let voters = *rng.pick(&[Reshape::Voters, Reshape::LostVoters]);
    let kinds = [Reshape::Replicas, Reshape::Leaders, Reshape::Unclean, voters];
    kinds.into_iter().filter(|_| rng.happens(600)).collect()
}

/// Watches the cluster while it is set up.
async fn setup(
    world: &Arc<World>,
    cluster: &mut Cluster,
    begun: madsim::task::JoinHandle<workload::Workload>,
) -> workload::Workload {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while !begun.is_finished() {
        cluster.pass(10).await;
        if tokio::time::Instant::now() > deadline {
            world
                .history()
                .complain("L8", "no topic could be made within a minute of a healthy cluster's start");
        }
        if world.is_stopping() {
            break;
        }
    }
    begun.await.unwrap_or_default()
}

/// What rarely happens in production happens all the time here, as in a run of one node; and replicas as many nodes allow.
fn config(rng: &mut Rng, nodes: usize, is_durable: bool) -> ConfigMap {
    let mut config = crate::run::config(rng, is_durable);
    let mut set = |name: &str, values: &[&str]| {
        config.insert(name.to_owned(), (*rng.pick(values)).to_owned());
    };
    set("min.insync.replicas", if nodes < 3 { &["1"] } else { &["2"] });
    set("offsets.topic.replication.factor", if nodes < 3 { &["1"] } else { &["3"] });
    set("default.replication.factor", if nodes < 3 { &["1"] } else { &["3"] });
    set("replica.lag.time.max.ms", &["500", "3000"]);
    config
}
