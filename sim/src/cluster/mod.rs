//! A cluster of whole nodes: machines, what goes wrong with them, and what must be true of them together.
//!
//! `run` is the door, `trouble` draws the faults, `budget` keeps them within what the guarantee bears, `truth` is the
//! ledger that the oracles compare with, `liveness` what must work again once the faults end.

mod budget;
mod liveness;
mod run;
mod trouble;
mod truth;

pub use run::{ClusterPlan, run};

use crate::client::World;
use crate::machine::{End, Machine};
use crate::rng::Rng;
use budget::Budget;
use highwater::log::Log;
use highwater_core::config::ConfigMap;
use highwater_core::metadata::MetadataImage;
use highwater_core::quorum::Quorum;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use truth::Truth;

/// `min.insync.replicas` of the topics that clients write to, where there are three nodes or more.
const MIN_ISR: usize = 2;

/// All machines of a run.
#[derive(Debug)]
pub struct Cluster {
    world: Arc<World>,
    machines: Vec<Machine>,
    truth: Truth,
    budget: Budget,
}

impl Cluster {
    /// Machines with empty disks, none started. All are voters.
    pub fn new(world: &Arc<World>, rng: &mut Rng, nodes: usize, config: &ConfigMap) -> Self {
        let ids: Vec<i32> = (1..).take(nodes).collect();
        let machine = |id: &i32| Machine::new(world, rng.fork(), *id, config.clone()).with_controllers(&ids);
        let machines = ids.iter().map(machine).collect();
        let budget = Budget::new(nodes, world.is_durable);
        Self { world: world.clone(), machines, truth: Truth::default(), budget }
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.machines.len()
    }

    /// Whether there are none.
    pub const fn is_empty(&self) -> bool {
        self.machines.is_empty()
    }

    fn min_isr(&self) -> usize {
        if self.machines.len() < 3 { 1 } else { MIN_ISR }
    }

    /// A machine, by its place.
    pub fn machine(&mut self, at: usize) -> &mut Machine {
        &mut self.machines[at]
    }

    fn ip(&self, at: usize) -> IpAddr {
        self.machines[at].ip()
    }

    /// The places of the machines whose node runs and does not stand still.
    fn awake(&self) -> Vec<usize> {
        let is_awake = |at: &usize| self.machines[*at].node().is_some() && !self.machines[*at].is_still();
        (0..self.machines.len()).filter(is_awake).collect()
    }

    /// Starts a node that does not run. Its disk must do for that.
    pub async fn start(&mut self, at: usize) {
        let machine = &mut self.machines[at];
        if machine.node().is_some() {
            return;
        }
        if machine.start().await {
            machine.settle();
        } else {
            let why = machine.failure().unwrap_or_else(|| "it takes too long".to_owned());
            self.world
                .history()
                .complain("start", format_args!("node {} does not start: {why}", machine.id()));
        }
    }

    /// Ends a node.
    pub fn end(&mut self, at: usize, how: End) {
        let machine = &mut self.machines[at];
        self.budget.ended(machine.id(), how);
        machine.end(how);
    }

    /// The end that a node may come to within the budget.
    fn bound(&self, at: usize, how: End) -> End {
        self.budget.bound(self.machines[at].id(), how)
    }

    /// A machine has lost its disk.
    fn lost_disk(&mut self, at: usize) {
        self.budget.lost_disk(self.machines[at].id());
    }

    /// Whether a machine may lose its disk: every partition that counts on it has another complete replica, which runs.
    fn may_lose_disk(&self, at: usize) -> bool {
        let node = self.machines[at].id();
        let has_others = |image: Arc<MetadataImage>| truth::has_others(&self.machines, &image, node);
        self.budget.may_lose_disk() && self.newest_image().is_some_and(has_others)
    }

    /// Whether a machine's node may die.
    fn may_die(&self, at: usize) -> bool {
        self.budget.may_die(self.machines[at].id())
    }

    /// As [`Cluster::end`], if there is anything to end.
    pub fn end_if_running(&mut self, at: usize, how: End) {
        if self.machines[at].node().is_some() {
            self.end(at, how);
        }
    }

    /// Stops a node in order, and watches meanwhile: where no controller answers it takes seconds.
    pub async fn stop(&mut self, at: usize) {
        if self.machines[at].node().is_none() {
            return;
        }
        if let Some(stopping) = self.machines[at].begin_stop() {
            while !stopping.is_finished() {
                tokio::time::sleep(Duration::from_millis(10)).await;
                self.observe();
            }
            let outcome = stopping.await;
            if self.machines[at].node().is_none() {
                return; // it had to end while it was stopping
            }
            self.machines[at].has_stopped(outcome);
        }
        self.end(at, End::Kill);
    }

    /// Cuts what one machine sends to another, or mends it.
    pub fn set_cut(&self, from: usize, to: usize, is_cut: bool) {
        let (from, to) = (self.ip(from), self.ip(to));
        if is_cut { self.world.net.cut(from, to) } else { self.world.net.mend(from, to) }
    }

    /// A node that runs is watched; one that must end ends, as its process would.
    pub fn observe(&mut self) {
        for at in 0..self.machines.len() {
            let machine = &mut self.machines[at];
            machine.observe();
            if let Some(why) = machine.node().and_then(|node| node.halt_reason()) {
                self.world.note(format_args!("node {} halts: {why}", machine.id()));
                self.end(at, End::Kill);
            }
        }
        if !self.world.history().is_deaf {
            self.truth.look(&self.world, &self.machines, self.min_isr());
        }
        self.forgive();
    }

    /// Whoever lost something counts as whole again once it is in sync everywhere.
    fn forgive(&mut self) {
        if !self.budget.is_used() {
            return;
        }
        let Some(image) = self.newest_image() else { return };
        let unheard = self.budget.unheard_disk();
        if self.machines.iter().any(|m| Some(m.id()) == unheard && truth::is_active(m, &image)) {
            self.budget.heard_of_disk();
        }
        let is_whole = |machine: &&Machine| {
            let is_sound = !machine.disk().is_failing() && !machine.has_failed_log();
            is_sound && truth::is_in_sync_everywhere(machine, &image)
        };
        for id in self.machines.iter().filter(is_whole).map(Machine::id) {
            if self.budget.caught_up(id) {
                self.world.note(format_args!("node {id} is whole again"));
            }
        }
    }

    /// Compares all replicas' records.
    pub fn compare(&mut self) {
        if !self.world.history().is_deaf {
            self.truth.compare(&self.world, &self.machines);
        }
    }

    /// From now on nobody looks at the nodes.
    pub(crate) fn look_away(&self) {
        self.world.history().is_deaf = true;
    }

    fn newest_image(&self) -> Option<Arc<MetadataImage>> {
        truth::newest_image(&self.machines)
    }

    /// Lets time pass and watches.
    pub async fn pass(&mut self, ms: u64) {
        for _ in 0..ms.div_ceil(10) {
            if self.world.is_stopping() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
            self.observe();
        }
    }

    /// Lets time pass until metadata counts as committed that a node has not flushed, or so long.
    async fn await_unflushed_metadata(&mut self, at: usize, ms_max: u64) {
        for _ in 0..ms_max {
            let of = |machine: &Machine| {
                let look = |quorum: &Quorum, log: &Log| (quorum.high_watermark(), log.flushed_through());
                machine.node().and_then(|node| node.controller().inspect(look))
            };
            let committed = self.machines.iter().filter_map(of).map(|(committed, _)| committed).max();
            let flushed = of(&self.machines[at]).map(|(_, flushed)| flushed);
            if committed > flushed || flushed.is_none() || self.world.is_stopping() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
            self.observe();
        }
    }

    /// Nothing goes wrong any more, and every machine runs.
    pub async fn heal(&mut self) {
        self.world.note("the faults end");
        self.world.calm();
        self.world.net.heal();
        for at in 0..self.machines.len() {
            let machine = &mut self.machines[at];
            machine.go_on();
            machine.inject(crate::disk::DiskFaults::default());
            machine.disk().freeze_never();
            // A log that has failed stays offline until its node starts again, which somebody sees to in the end.
            if machine.disk().is_frozen() || machine.has_failed_log() {
                self.end(at, End::Kill);
            }
            self.start(at).await;
        }
    }
}
