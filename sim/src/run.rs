//! One run: a seed decides configuration, faults and what clients do; the outcome is a hash and perhaps a complaint.

use crate::client::{CLIENTS_HOST, World};
use crate::disk::DiskFaults;
use crate::history::{Complaint, Totals};
use crate::machine::{End, Machine};
use crate::network::NetFaults;
use crate::rng::Rng;
use crate::workload;
use highwater_core::config::ConfigMap;
use highwater_core::guard::{Guard, run as guards};
use madsim::runtime::{Handle, Runtime};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// No run lasts longer, in simulated time.
const RUN_TIME_MAX: Duration = Duration::from_secs(900);

/// What a run is a function of, beside the build.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Decides everything that is drawn.
    pub seed: u64,
    /// Guards that are switched off.
    pub off: Vec<Guard>,
    /// Whether acks=all waits for the disk; drawn if not given.
    pub durable: Option<bool>,
    /// Whether the trace is shown while the run goes.
    pub is_printing: bool,
}

impl Plan {
    /// The run of a seed with everything as it should be.
    pub fn of(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The seed it ran with.
    pub seed: u64,
    /// The hash of its trace (O42).
    pub hash: u64,
    /// What an oracle found wrong.
    pub complaint: Option<Complaint>,
    /// What happened how often.
    pub totals: Totals,
    /// How often each guard held and did not.
    pub guards: BTreeMap<Guard, guards::Count>,
    /// The simulated time that it took.
    pub simulated: Duration,
    /// How often something arrived over a connection.
    pub delivered: u64,
    /// The end of its trace.
    pub tail: Vec<String>,
    /// How to see it again.
    pub again: String,
}

impl Outcome {
    /// A failure as a person wants to read it: seed, oracle, what happened, how to see it again.
    pub fn report(&self) -> String {
        let Some(complaint) = &self.complaint else { return format!("seed {}: no complaint", self.seed) };
        format!(
            "seed {}: {} {}\n  last events:\n    {}\n  again: {} -- --nocapture",
            self.seed,
            complaint.oracle,
            complaint.what,
            self.tail.join("\n    "),
            self.again
        )
    }
}

/// Where a run puts its world, so that what it was can be told even if it panics.
pub(crate) type Shared = Arc<Mutex<Option<Arc<World>>>>;

/// Runs a plan, on a thread of its own.
pub fn run(plan: &Plan) -> Outcome {
    let own = plan.clone();
    let again = format!("HIGHWATER_SEED={} cargo sim --test seeds", plan.seed);
    Outcome { again, ..on_a_thread(plan.seed, &plan.off, move |shared| whole(own, shared)) }
}

/// Runs a simulation with these guards off. What the standard library keeps by thread must not reach from run to run.
pub(crate) fn on_a_thread<F: Future<Output = ()> + 'static>(
    seed: u64,
    off: &[Guard],
    whole: impl FnOnce(Shared) -> F + Send + 'static,
) -> Outcome {
    let off = off.to_vec();
    let thread = std::thread::Builder::new().name(format!("seed-{seed}"));
    let running = thread.spawn(move || run_here(seed, off, whole)).expect("a thread starts");
    running.join().expect("panics of the run are caught inside")
}

fn run_here<F: Future<Output = ()> + 'static>(
    seed: u64,
    off: Vec<Guard>,
    whole: impl FnOnce(Shared) -> F,
) -> Outcome {
    guards::begin(off);
    let shared = Shared::default();
    let ended = catch_unwind(AssertUnwindSafe(|| {
        let mut runtime = Runtime::with_seed_and_config(seed, madsim::Config::default());
        runtime.set_time_limit(RUN_TIME_MAX);
        runtime.block_on(whole(shared.clone()));
    }));
    let world = shared.lock().unwrap_or_else(PoisonError::into_inner).take();
    let world = world.expect("a run makes its world before anything else");
    if let Err(payload) = ended {
        let text = payload.downcast_ref::<String>().cloned();
        let text = text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        world.history().complain("panic", text.unwrap_or_else(|| "no message".to_owned()));
    }
    let (hash, tail, simulated) = {
        let trace = world.trace();
        (trace.hash(), trace.tail(), trace.simulated())
    };
    let history = world.history();
    Outcome {
        seed,
        hash,
        complaint: history.complaint.clone(),
        totals: history.totals,
        guards: guards::counts(),
        simulated,
        delivered: world.net.delivered(),
        tail,
        again: String::new(),
    }
}

async fn whole(plan: Plan, shared: Shared) {
    let mut rng = Rng::new(plan.seed);
    let is_durable_drawn = rng.happens(500);
    let is_durable = plan.durable.unwrap_or(is_durable_drawn);
    let reset_permille = *rng.pick(&[0, 0, 5, 30]);
    let net = NetFaults::new(rng.fork(), reset_permille);
    let world = World::new(1, net, is_durable, plan.is_printing);
    *shared.lock().unwrap_or_else(PoisonError::into_inner) = Some(world.clone());
    let config = config(&mut rng, is_durable);
    world.note(format_args!("seed {}, durable {is_durable}, resets {reset_permille}, {config:?}", plan.seed));
    let mut machine = Machine::new(&world, rng.fork(), 1, config);
    let ip = CLIENTS_HOST.parse().expect("an address");
    let clients = Handle::current().create_node().name("clients").ip(ip).build();
    if !machine.start().await {
        world.history().complain("start", "an empty disk is no place to start");
    }
    let tasks = workload::begin(&world, &clients, &mut rng).await.tasks;
    trouble(&world, &mut machine, &mut rng).await;
    world.net.heal();
    machine.inject(DiskFaults::default());
    tokio::time::sleep(Duration::from_millis(300)).await;
    world.stop();
    for task in tasks {
        if tokio::time::timeout(Duration::from_secs(60), task).await.is_err() {
            world
                .history()
                .complain("L8", "a client's call is still waiting a minute after the faults ended");
        }
    }
    crash_and_start(&world, &mut machine, End::Kill).await;
    machine.check();
    // Live tasks of a dropped runtime leak: end them, and let madsim notice.
    Handle::current().kill(clients.id());
    machine.end(End::Kill);
    tokio::time::sleep(Duration::from_millis(5)).await;
}

/// Small segments, small caches, short intervals: what is rare in production happens all the time here.
pub(crate) fn config(rng: &mut Rng, is_durable: bool) -> ConfigMap {
    let mut config = ConfigMap::new();
    let mut set = |name: &str, values: &[&str]| {
        config.insert(name.to_owned(), (*rng.pick(values)).to_owned());
    };
    set("highwater.acks.durable", if is_durable { &["true"] } else { &["false"] });
    set("log.segment.bytes", &["1024", "4096", "1048576"]);
    set("log.index.interval.bytes", &["0", "200", "4096"]);
    set("log.segment.delete.delay.ms", &["0", "500"]);
    set("log.initial.task.delay.ms", &["50"]);
    set("log.retention.check.interval.ms", &["300"]);
    set("log.cleaner.backoff.ms", &["200", "5000"]);
    set("max.incremental.fetch.session.cache.slots", &["0", "1", "2", "1000"]);
    set("offsets.topic.num.partitions", &["1", "2"]);
    set("offsets.topic.segment.bytes", &["1024", "104857600"]);
    set("group.initial.rebalance.delay.ms", &["0", "100"]);
    set("group.min.session.timeout.ms", &["100"]);
    config
}

/// What goes wrong, a random subset in random order with quiet times between.
async fn trouble(world: &Arc<World>, machine: &mut Machine, rng: &mut Rng) {
    let rounds = rng.within(2, 5);
    // About half of the kinds are off in a run.
    let kinds: Vec<u64> = (0..10).filter(|_| rng.happens(550)).collect();
    for _ in 0..rounds {
        quiet(world, machine, rng, 30, 350).await;
        if world.is_stopping() || kinds.is_empty() {
            continue;
        }
        match *rng.pick(&kinds) {
            0 => crash_and_start(world, machine, End::Kill).await,
            1 => crash_and_start(world, machine, End::PowerCut).await,
            kind @ (2 | 3) => {
                freeze(machine, rng).await;
                crash_and_start(world, machine, if kind == 2 { End::Kill } else { End::PowerCut }).await;
            }
            4 => {
                let ms = rng.within(20, 2500);
                machine.pause(ms).await;
            }
            5 => {
                machine.stop().await;
                let end = *rng.pick(&[End::Kill, End::PowerCut]);
                crash_and_start(world, machine, end).await;
            }
            6 => crash_while_starting(world, machine, rng).await,
            9 => slow_disk(world, machine, rng).await,
            kind => {
                let faults = disk_faults(machine, rng, kind == 7);
                machine.inject(faults);
                quiet(world, machine, rng, 30, 200).await;
                machine.inject(DiskFaults::default());
                let end = *rng.pick(&[End::Kill, End::PowerCut]);
                crash_and_start(world, machine, end).await;
            }
        }
    }
    quiet(world, machine, rng, 30, 350).await;
}

async fn quiet(world: &World, machine: &mut Machine, rng: &mut Rng, ms_from: u64, ms_to: u64) {
    let steps = rng.within(ms_from, ms_to) / 10;
    for _ in 0..steps {
        if world.is_stopping() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        machine.observe();
    }
}

/// A disk that owes what it was asked: for a while it is slow, then perhaps it stalls; sometimes the node ends in the
/// middle of that.
async fn slow_disk(world: &Arc<World>, machine: &mut Machine, rng: &mut Rng) {
    let slow = DiskFaults { slow_permille: *rng.pick(&[50, 500, 1000]), ..DiskFaults::default() };
    machine.inject(slow.clone());
    quiet(world, machine, rng, 30, 200).await;
    if rng.happens(500) {
        machine.inject(DiskFaults { is_stalled: true, ..slow });
        quiet(world, machine, rng, 10, 300).await;
    }
    let ends_in_it = rng.happens(500);
    if !ends_in_it {
        machine.inject(DiskFaults::default());
        return;
    }
    match rng.below(3) {
        0 => crash_and_start(world, machine, End::Kill).await,
        1 => crash_and_start(world, machine, End::PowerCut).await,
        _ => {
            machine.stop().await;
            crash_and_start(world, machine, *rng.pick(&[End::Kill, End::PowerCut])).await;
        }
    }
    machine.inject(DiskFaults::default());
}

/// Lets the disk stop keeping what is done to it after a drawn number of operations.
async fn freeze(machine: &mut Machine, rng: &mut Rng) {
    let range = *rng.pick(&[3, 30, 200]);
    machine.disk().freeze_after(rng.below(range));
    for _ in 0..200 {
        if machine.disk().is_frozen() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
        machine.observe();
    }
    let linger = rng.below(20);
    tokio::time::sleep(Duration::from_millis(linger)).await;
}

async fn crash_and_start(world: &World, machine: &mut Machine, end: End) {
    machine.check();
    machine.end(end);
    if machine.start().await {
        machine.settle();
    } else {
        let why = machine.failure().unwrap_or_else(|| "it takes too long".to_owned());
        world.history().complain("start", format_args!("the node does not start: {why}"));
    }
}

/// Crashes a node that is still recovering from a crash.
async fn crash_while_starting(world: &Arc<World>, machine: &mut Machine, rng: &mut Rng) {
    machine.end(*rng.pick(&[End::Kill, End::PowerCut]));
    for _ in 0..rng.within(1, 3) {
        machine.disk().freeze_after(rng.below(40));
        machine.start().await;
        machine.end(*rng.pick(&[End::Kill, End::PowerCut]));
    }
    if machine.start().await {
        machine.settle();
    } else {
        let why = machine.failure().unwrap_or_else(|| "it takes too long".to_owned());
        world.history().complain("start", format_args!("the node does not start: {why}"));
    }
}

fn disk_faults(machine: &Machine, rng: &mut Rng, is_full: bool) -> DiskFaults {
    if is_full {
        let used = machine.disk().used_bytes();
        return DiskFaults { capacity_bytes: Some(used + rng.below(20_000)), ..DiskFaults::default() };
    }
    match rng.below(2) {
        0 => DiskFaults { append_error_permille: *rng.pick(&[20, 200]), ..DiskFaults::default() },
        _ => DiskFaults { sync_error_permille: *rng.pick(&[50, 500]), ..DiskFaults::default() },
    }
}
