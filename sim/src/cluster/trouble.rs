//! What goes wrong in a cluster: a random subset of the kinds in random order, several at a time, with quiet times between.

use super::Cluster;
use crate::direct::{Fault, PlannedFault, Profile};
use crate::disk::DiskFaults;
use crate::machine::End;
use crate::rng::Rng;
use std::collections::VecDeque;
use std::net::IpAddr;

/// One kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Kill,
    PowerCut,
    Freeze,
    StandStill,
    RollingRestart,
    OneWayCut,
    Isolation,
    PartialCut,
    SlowLink,
    DiskErrors,
    SlowDisk,
    KillAll,
    EmptyDisk,
}

const KINDS: [Kind; 13] = [
    Kind::Kill,
    Kind::PowerCut,
    Kind::Freeze,
    Kind::StandStill,
    Kind::RollingRestart,
    Kind::OneWayCut,
    Kind::Isolation,
    Kind::PartialCut,
    Kind::SlowLink,
    Kind::DiskErrors,
    Kind::SlowDisk,
    Kind::KillAll,
    Kind::EmptyDisk,
];

/// The kinds that a run draws from. Of all, about half are off in a run; of a bias none is.
fn kinds(profile: Profile, rng: &mut Rng) -> Vec<Kind> {
    match profile {
        Profile::Mixed => KINDS.into_iter().filter(|_| rng.happens(500)).collect(),
        Profile::FastElections => {
            vec![Kind::Kill, Kind::RollingRestart, Kind::Isolation, Kind::PartialCut, Kind::StandStill]
        }
        Profile::LostAnswers => vec![Kind::OneWayCut, Kind::SlowLink],
        Profile::PowerLoss => {
            vec![Kind::PowerCut, Kind::Freeze, Kind::SlowDisk, Kind::DiskErrors, Kind::KillAll]
        }
        Profile::Zombie => vec![Kind::StandStill, Kind::Isolation],
        Profile::OneWay => vec![Kind::OneWayCut],
        Profile::None | Profile::FailingLogs => Vec::new(),
    }
}

/// What ends a fault.
#[derive(Clone, Debug)]
enum Undo {
    Start(usize),
    GoOn(usize),
    Mend(Vec<(IpAddr, IpAddr)>),
    GoodDisk(usize),
    /// A frozen machine ends and starts again.
    Thaw(usize, End),
}

/// The faults of a run.
#[derive(Debug)]
pub(crate) struct Trouble {
    rng: Rng,
    kinds: Vec<Kind>,
    /// What a scenario says, in the order of its times; then nothing is drawn.
    planned: VecDeque<PlannedFault>,
    /// A scenario's power cuts wait for a bad moment.
    lies_in_wait: bool,
    now_ms: u64,
    /// What ends when.
    ongoing: Vec<(u64, Undo)>,
}

impl Trouble {
    /// Faults as a profile draws them.
    pub(crate) fn new(mut rng: Rng, profile: Profile) -> Self {
        let kinds = kinds(profile, &mut rng);
        Self { rng, kinds, planned: VecDeque::new(), lies_in_wait: false, now_ms: 0, ongoing: Vec::new() }
    }

    /// Nobody loses a disk: voters are taken away already.
    pub(crate) fn spare_disks(&mut self) {
        self.kinds.retain(|kind| *kind != Kind::EmptyDisk);
    }

    /// The faults that a scenario lists, and no others. With `lies_in_wait` a power cut comes when metadata counts
    /// as committed that the node has not flushed, if that is soon.
    pub(crate) fn planned(rng: Rng, faults: &[PlannedFault], lies_in_wait: bool) -> Self {
        let mut planned = faults.to_vec();
        planned.sort_by_key(|planned| planned.at_ms);
        Self { rng, kinds: Vec::new(), planned: planned.into(), lies_in_wait, now_ms: 0, ongoing: Vec::new() }
    }

    /// Makes trouble for so long, of simulated time.
    pub(crate) async fn make(&mut self, cluster: &mut Cluster, ms: u64) {
        let mut next_at = self.rng.within(200, 1500);
        while self.now_ms < ms && !cluster.world.is_stopping() {
            cluster.pass(10).await;
            self.now_ms += 10;
            self.end_what_is_due(cluster).await;
            while self.planned.front().is_some_and(|planned| planned.at_ms <= self.now_ms) {
                if let Some(PlannedFault { fault, .. }) = self.planned.pop_front() {
                    self.carry_out(cluster, &fault).await;
                }
            }
            if self.now_ms >= next_at && !self.kinds.is_empty() {
                if self.ongoing.len() < 3 {
                    let kind = *self.rng.pick(&self.kinds);
                    self.begin(cluster, kind).await;
                }
                if self.rng.happens(300) {
                    cluster.compare();
                }
                next_at = self.now_ms + self.rng.within(50, 2500);
            }
        }
        cluster.compare();
        self.end_the_doomed(cluster);
    }

    /// Whoever is to end because its disk was frozen or failed does so, though the faults end first: an error may be told
    /// when all is well again, and its log is offline until the next start.
    fn end_the_doomed(&mut self, cluster: &mut Cluster) {
        for (_, undo) in std::mem::take(&mut self.ongoing) {
            if let Undo::Thaw(at, how) = undo {
                self.thaw(cluster, at, how);
            }
        }
    }

    /// A frozen or failed machine ends. A scenario's word is kept; what was drawn is held against what else was lost
    /// meanwhile.
    fn thaw(&self, cluster: &mut Cluster, at: usize, how: End) {
        let how = if self.is_drawn() { cluster.bound(at, how) } else { how };
        cluster.end_if_running(at, how);
    }

    /// Whether the faults are drawn: else a scenario says itself when a node starts.
    const fn is_drawn(&self) -> bool {
        !self.kinds.is_empty()
    }

    async fn end_what_is_due(&mut self, cluster: &mut Cluster) {
        let now = self.now_ms;
        let due: Vec<Undo> =
            self.ongoing.extract_if(.., |(at, _)| *at <= now).map(|(_, undo)| undo).collect();
        for undo in due {
            match undo {
                Undo::Start(at) => {
                    self.start(cluster, at).await;
                }
                Undo::GoOn(at) => cluster.machine(at).go_on(),
                Undo::Mend(cuts) => cuts.into_iter().for_each(|(from, to)| cluster.world.net.mend(from, to)),
                Undo::GoodDisk(at) => cluster.machine(at).inject(DiskFaults::default()),
                Undo::Thaw(at, how) => {
                    self.thaw(cluster, at, how);
                    if self.is_drawn() {
                        self.start_later(at);
                    }
                }
            }
        }
        if !self.is_drawn() {
            return;
        }
        // A node that ended by itself is started again by whoever looks after it.
        for at in 0..cluster.len() {
            let is_expected =
                self.ongoing.iter().any(|(_, undo)| matches!(undo, Undo::Start(of) if *of == at));
            if cluster.machines[at].node().is_none() && !is_expected {
                self.start_later(at);
            }
        }
    }

    /// One fault of a scenario.
    async fn carry_out(&mut self, cluster: &mut Cluster, fault: &Fault) {
        cluster.world.note(format_args!("{fault:?}"));
        let place = |node: usize| node - 1;
        match *fault {
            Fault::Kill { node } => cluster.end_if_running(place(node), End::Kill),
            Fault::PowerCut { node } => {
                if self.lies_in_wait {
                    cluster.await_unflushed_metadata(place(node), 300).await;
                }
                cluster.end_if_running(place(node), End::PowerCut);
            }
            Fault::DieAfter { node, operations, loses_power } => {
                cluster.machines[place(node)].disk().freeze_after(u64::from(operations));
                let how = if loses_power { End::PowerCut } else { End::Kill };
                self.later(20, 100, Undo::Thaw(place(node), how));
            }
            Fault::FlushError { node } => {
                cluster
                    .machine(place(node))
                    .inject(DiskFaults { sync_error_permille: 1000, ..DiskFaults::default() });
                self.later(50, 200, Undo::Thaw(place(node), End::Kill));
                self.later(0, 40, Undo::GoodDisk(place(node)));
            }
            Fault::Start { node } => cluster.start(place(node)).await,
            Fault::Stop { node } => cluster.stop(place(node)).await,
            Fault::EmptyDisk { node } => {
                cluster.end_if_running(place(node), End::Kill);
                cluster.machine(place(node)).wipe();
                cluster.lost_disk(place(node));
            }
            Fault::Pause { node } => cluster.machine(place(node)).stand_still(),
            Fault::Resume { node } => cluster.machine(place(node)).go_on(),
            // All clients share one machine here.
            Fault::LogError { .. } | Fault::CorruptLog { .. } => {
                unreachable!("a scenario with such a fault is refused for this tier")
            }
            Fault::PauseClient { .. } | Fault::ResumeClient { .. } => {}
            Fault::Cut { from, to, is_cut } => cluster.set_cut(place(from), place(to), is_cut),
            Fault::Isolate { node, is_cut } => {
                for other in (0..cluster.len()).filter(|other| *other != place(node)) {
                    cluster.set_cut(place(node), other, is_cut);
                    cluster.set_cut(other, place(node), is_cut);
                }
            }
            Fault::SlowLinks { node, factor } => {
                let others = (0..cluster.len()).filter(|other| *other != place(node));
                let cuts =
                    others.map(|other| (cluster.ip(place(node)), cluster.ip(other))).collect::<Vec<_>>();
                cuts.iter().for_each(|(from, to)| cluster.world.net.cut(*from, *to));
                self.later(u64::from(factor), u64::from(factor) * 10, Undo::Mend(cuts));
            }
            Fault::SlowDisk { node, permille, max_ms } => {
                cluster
                    .machine(place(node))
                    .inject(DiskFaults { slow_permille: permille, ..DiskFaults::default() });
                self.later(max_ms, max_ms * 10, Undo::GoodDisk(place(node)));
            }
        }
    }

    fn later(&mut self, ms_from: u64, ms_to: u64, undo: Undo) {
        let at = self.now_ms + self.rng.within(ms_from, ms_to);
        self.ongoing.push((at, undo));
    }

    /// Starts a node; whether it may start now. Nothing starts on a disk that fails, as a broker does not whose log
    /// directory cannot be written: whoever looks after it sees to the disk first, and to the node a moment later.
    async fn start(&mut self, cluster: &mut Cluster, at: usize) -> bool {
        let is_sound = !cluster.machines[at].disk().is_failing();
        if is_sound {
            cluster.start(at).await;
        } else {
            self.ongoing.push((self.now_ms + 50, Undo::Start(at)));
        }
        is_sound
    }

    fn start_later(&mut self, at: usize) {
        self.later(0, 4000, Undo::Start(at));
    }

    async fn begin(&mut self, cluster: &mut Cluster, kind: Kind) {
        let awake = cluster.awake();
        if awake.is_empty() {
            return;
        }
        let at = *self.rng.pick(&awake);
        match kind {
            Kind::Kill => self.end(cluster, at, End::Kill),
            Kind::PowerCut => self.end(cluster, at, End::PowerCut),
            Kind::Freeze if cluster.may_die(at) => {
                let range = *self.rng.pick(&[3, 30, 200]);
                let operations = self.rng.below(range);
                cluster.machines[at].disk().freeze_after(operations);
                self.later(20, 300, Undo::Thaw(at, End::PowerCut));
            }
            Kind::Freeze => {}
            Kind::StandStill => {
                cluster.machine(at).stand_still();
                self.later(100, 5000, Undo::GoOn(at));
            }
            Kind::RollingRestart => self.roll(cluster).await,
            Kind::OneWayCut | Kind::PartialCut | Kind::Isolation | Kind::SlowLink => {
                self.cut(cluster, at, kind);
            }
            Kind::DiskErrors => {
                let faults = self.disk_errors();
                let id = cluster.machines[at].id();
                if !cluster.budget.may_fail_disk(id) {
                    return;
                }
                cluster.budget.failed_disk(id);
                cluster.machine(at).inject(faults);
                self.later(50, 500, Undo::GoodDisk(at));
                // A log that has failed stays offline until its node starts again.
                self.later(500, 1500, Undo::Thaw(at, End::Kill));
            }
            Kind::SlowDisk => {
                let slow_permille = *self.rng.pick(&[50, 500, 1000]);
                let is_stalled = self.rng.happens(300);
                cluster.machine(at).inject(DiskFaults { slow_permille, is_stalled, ..DiskFaults::default() });
                self.later(50, 1500, Undo::GoodDisk(at));
            }
            Kind::KillAll if awake.iter().any(|at| !cluster.may_die(*at)) => {}
            Kind::KillAll => {
                let how = cluster.budget.bound_all();
                for at in cluster.awake() {
                    cluster.end(at, how);
                    self.start_later(at);
                }
            }
            Kind::EmptyDisk => {
                let is_dying = self.ongoing.iter().any(|(_, undo)| matches!(undo, Undo::Thaw(..)));
                if is_dying || !cluster.may_lose_disk(at) {
                    return;
                }
                cluster.end(at, End::Kill);
                cluster.machine(at).wipe();
                cluster.lost_disk(at);
                self.start_later(at);
            }
        }
    }

    fn end(&mut self, cluster: &mut Cluster, at: usize, how: End) {
        if !cluster.may_die(at) {
            return;
        }
        let how = cluster.bound(at, how);
        cluster.end(at, how);
        self.start_later(at);
    }

    /// One node after the other stops in order and starts again, as long as they do.
    async fn roll(&mut self, cluster: &mut Cluster) {
        for at in cluster.awake() {
            if cluster.machines[at].node().is_none() || cluster.world.is_stopping() {
                continue;
            }
            cluster.stop(at).await;
            cluster.pass(self.rng.within(10, 300)).await;
            if !self.start(cluster, at).await {
                return; // nobody stops the next one before this one is back
            }
            cluster.pass(self.rng.within(10, 1500)).await;
        }
    }

    fn cut(&mut self, cluster: &Cluster, at: usize, kind: Kind) {
        let others: Vec<usize> = (0..cluster.len()).filter(|other| *other != at).collect();
        if others.is_empty() {
            return;
        }
        let (here, other) = (cluster.ip(at), cluster.ip(*self.rng.pick(&others)));
        let cuts: Vec<_> = match kind {
            Kind::OneWayCut if self.rng.happens(500) => {
                others.iter().map(|to| (here, cluster.ip(*to))).collect()
            }
            Kind::OneWayCut => vec![(here, other)],
            Kind::Isolation => {
                others.iter().flat_map(|to| [(here, cluster.ip(*to)), (cluster.ip(*to), here)]).collect()
            }
            _ => vec![(here, other), (other, here)],
        };
        cluster.world.note(format_args!("{kind:?}: {cuts:?}"));
        for (from, to) in &cuts {
            cluster.world.net.cut(*from, *to);
        }
        let (from, to) = if kind == Kind::SlowLink { (20, 200) } else { (100, 6000) };
        self.later(from, to, Undo::Mend(cuts));
    }

    fn disk_errors(&mut self) -> DiskFaults {
        match self.rng.below(2) {
            0 => DiskFaults { append_error_permille: *self.rng.pick(&[20, 200]), ..DiskFaults::default() },
            _ => DiskFaults { sync_error_permille: *self.rng.pick(&[50, 500]), ..DiskFaults::default() },
        }
    }
}
