//! What goes wrong in a run: a list of faults with their times, drawn from the seed or written in a scenario.
//!
//! The whole plan exists before the run begins, so that a failing one can be made smaller fault by fault.

use super::network::NetworkFaults;
use crate::rng::Rng;
use crate::scenario::Scenario;
use serde::{Deserialize, Serialize};

/// One thing that goes wrong, or stops to. Nodes are named by their ids, from 1 on; clients count from 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Fault {
    /// The process dies; its page cache stays.
    Kill {
        /// Which.
        node: usize,
    },
    /// The machine loses power: what was not flushed may be gone.
    PowerCut {
        /// Which.
        node: usize,
    },
    /// The process dies between two disk operations.
    DieAfter {
        /// Which.
        node: usize,
        /// So many operations from now.
        operations: u32,
        /// Whether the machine goes with it.
        loses_power: bool,
    },
    /// The next flush fails, and the node takes itself down.
    FlushError {
        /// Which.
        node: usize,
    },
    /// The next write or sync of one partition's log fails. The node goes on without that replica.
    LogError {
        /// Which.
        node: usize,
    },
    /// The process dies, and one of its partitions' logs is found corrupt when it is opened. The direct driver only.
    CorruptLog {
        /// Which.
        node: usize,
        /// Which of its logs: they are counted from 0, and over again.
        log: usize,
    },
    /// The process is asked to stop in good order.
    Stop {
        /// Which.
        node: usize,
    },
    /// A process that is not running starts.
    Start {
        /// Which.
        node: usize,
    },
    /// The process dies and its disk is replaced by an empty one, under the same node id.
    EmptyDisk {
        /// Which.
        node: usize,
    },
    /// The process stands still.
    Pause {
        /// Which.
        node: usize,
    },
    /// It goes on, with old timers.
    Resume {
        /// Which.
        node: usize,
    },
    /// A client stands still.
    PauseClient {
        /// Which.
        client: usize,
    },
    /// It goes on.
    ResumeClient {
        /// Which.
        client: usize,
    },
    /// One direction of a link is cut, or mended.
    Cut {
        /// From this node.
        from: usize,
        /// To that one.
        to: usize,
        /// Whether it is cut.
        is_cut: bool,
    },
    /// A node is cut off from the other nodes, or joined again. Clients still reach it.
    Isolate {
        /// Which.
        node: usize,
        /// Whether it is cut off.
        is_cut: bool,
    },
    /// Everything from and to a node takes so many times as long.
    SlowLinks {
        /// Which.
        node: usize,
        /// 1 is as usual.
        factor: u32,
    },
    /// A disk takes its time.
    SlowDisk {
        /// Of which node.
        node: usize,
        /// Of a thousand appends, so many take longer.
        permille: u32,
        /// At most so long.
        max_ms: u64,
    },
}

impl Fault {
    /// Whether it takes logs that fail alone: of whole nodes they fail by what is done to their disks.
    pub const fn needs_direct_driver(&self) -> bool {
        matches!(self, Self::LogError { .. } | Self::CorruptLog { .. })
    }

    /// The ids of the nodes that it names.
    pub fn nodes(&self) -> impl Iterator<Item = usize> {
        let named = match *self {
            Self::Cut { from, to, .. } => [Some(from), Some(to)],
            Self::PauseClient { .. } | Self::ResumeClient { .. } => [None, None],
            Self::Kill { node }
            | Self::PowerCut { node }
            | Self::DieAfter { node, .. }
            | Self::FlushError { node }
            | Self::LogError { node }
            | Self::CorruptLog { node, .. }
            | Self::Stop { node }
            | Self::Start { node }
            | Self::EmptyDisk { node }
            | Self::Pause { node }
            | Self::Resume { node }
            | Self::Isolate { node, .. }
            | Self::SlowLinks { node, .. }
            | Self::SlowDisk { node, .. } => [Some(node), None],
        };
        named.into_iter().flatten()
    }
}

/// A fault and its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedFault {
    /// Milliseconds since the run began.
    pub at_ms: u64,
    /// What.
    #[serde(flatten)]
    pub fault: Fault,
}

/// Which faults are drawn, and how often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// All kinds; about half of them are off in a run.
    #[default]
    Mixed,
    /// Short isolations and kills: leaders change all the time.
    FastElections,
    /// Nothing fails but answers get lost, late and twice.
    LostAnswers,
    /// Power cuts, failed flushes, deaths between disk operations.
    PowerLoss,
    /// Processes and clients stand still and go on.
    Zombie,
    /// One direction of links is cut.
    OneWay,
    /// Logs of single partitions fail or are corrupt, while leaders change.
    FailingLogs,
    /// Nothing.
    None,
}

/// Everything that goes wrong in a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct FaultPlan {
    pub(crate) faults: Vec<PlannedFault>,
    pub(crate) network: NetworkFaults,
    /// How many copies an acknowledged record has: the bound of what may be lost at a time.
    pub(crate) min_isr: usize,
}

/// A kind of trouble, of which one episode is drawn at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    Kill,
    PowerCut,
    Die,
    FlushError,
    LogError,
    CorruptLog,
    PauseNode,
    PauseClient,
    OneWay,
    Isolate,
    SlowLinks,
    SlowDisk,
    Bounce,
    Stop,
}

impl Profile {
    const fn troubles(self) -> &'static [Trouble] {
        use Trouble::{
            Bounce, CorruptLog, Die, FlushError, Isolate, Kill, LogError, OneWay, PauseClient, PauseNode,
            PowerCut, SlowDisk, SlowLinks, Stop,
        };
        match self {
            Self::Mixed => &[
                Kill,
                PowerCut,
                Die,
                FlushError,
                LogError,
                CorruptLog,
                PauseNode,
                PauseClient,
                OneWay,
                Isolate,
                SlowLinks,
                SlowDisk,
                Bounce,
                Stop,
            ],
            Self::FastElections => &[Kill, Isolate, Isolate, OneWay, Bounce, Stop],
            Self::LostAnswers => &[SlowLinks, OneWay],
            Self::PowerLoss => &[PowerCut, PowerCut, Die, FlushError, SlowDisk],
            Self::Zombie => &[PauseNode, PauseNode, PauseClient, PauseClient],
            Self::OneWay => &[OneWay],
            Self::FailingLogs => &[LogError, LogError, CorruptLog, CorruptLog, Kill, Isolate],
            Self::None => &[],
        }
    }

    /// How long it is quiet between two episodes, in milliseconds.
    const fn quiet(self) -> (u64, u64) {
        match self {
            Self::FastElections => (50, 900),
            _ => (100, 2500),
        }
    }

    fn network(self, rng: &mut Rng) -> NetworkFaults {
        let mut pick = |of: &[u32]| *rng.pick(of);
        match self {
            Self::None => NetworkFaults::default(),
            Self::LostAnswers => NetworkFaults {
                drop_permille: pick(&[20, 100]),
                duplicate_permille: pick(&[20, 200]),
                tail_permille: pick(&[20, 100]),
                lost_answer_permille: pick(&[20, 100]),
            },
            _ => NetworkFaults {
                drop_permille: pick(&[0, 0, 5, 30]),
                duplicate_permille: pick(&[0, 0, 10, 100]),
                tail_permille: pick(&[0, 5, 30]),
                lost_answer_permille: pick(&[0, 0, 5, 30]),
            },
        }
    }
}

impl FaultPlan {
    /// The plan of a scenario: as it is written, or drawn.
    pub(crate) fn of(scenario: &Scenario, clients: usize, mut rng: Rng) -> Self {
        let drawn_network = scenario.profile.network(&mut rng);
        let drawn = draw(scenario, clients, &mut rng);
        Self {
            faults: scenario.faults.clone().unwrap_or(drawn),
            network: scenario.network.unwrap_or(drawn_network),
            min_isr: scenario.min_isr,
        }
    }
}

fn draw(scenario: &Scenario, clients: usize, rng: &mut Rng) -> Vec<PlannedFault> {
    let all = scenario.profile.troubles();
    let mut kinds: Vec<_> = all.iter().copied().filter(|_| rng.happens(550)).collect();
    if kinds.is_empty() && !all.is_empty() && rng.happens(800) {
        kinds.push(*rng.pick(all));
    }
    let mut faults = Vec::new();
    if kinds.is_empty() {
        return faults;
    }
    let (quiet_min, quiet_max) = scenario.profile.quiet();
    let end = scenario.seconds * 1000;
    // the cluster is to be up first
    let mut at = 1500 + rng.within(quiet_min, quiet_max);
    while at < end {
        let node = 1 + rng.below(scenario.nodes as u64) as usize;
        let trouble = *rng.pick(&kinds);
        let lasts = rng.within(50, *rng.clone().pick(&[300, 1500, 6000]));
        episode(&mut faults, trouble, at, lasts, node, (scenario.nodes, clients), rng);
        at += rng.within(quiet_min, quiet_max);
    }
    faults.sort_by_key(|planned| planned.at_ms);
    faults
}

/// Adds one episode: its begin and its end.
fn episode(
    faults: &mut Vec<PlannedFault>,
    trouble: Trouble,
    at: u64,
    lasts: u64,
    node: usize,
    (nodes, clients): (usize, usize),
    rng: &mut Rng,
) {
    let mut plan = |at_ms, fault| faults.push(PlannedFault { at_ms, fault });
    let until = at + lasts;
    match trouble {
        Trouble::Kill => {
            plan(at, Fault::Kill { node });
            plan(until, Fault::Start { node });
        }
        Trouble::PowerCut => {
            plan(at, Fault::PowerCut { node });
            plan(until, Fault::Start { node });
        }
        Trouble::Bounce => {
            plan(at, Fault::Kill { node });
            plan(at + 1 + lasts % 50, Fault::Start { node });
        }
        Trouble::Stop => {
            plan(at, Fault::Stop { node });
            // whoever cannot hand over in time is killed by an impatient operator
            plan(until + 3000, Fault::Kill { node });
            plan(until + 3010, Fault::Start { node });
        }
        Trouble::Die => {
            let operations = 1 + rng.below(*rng.clone().pick(&[3, 30, 300])) as u32;
            plan(at, Fault::DieAfter { node, operations, loses_power: rng.happens(500) });
            plan(until, Fault::Start { node });
        }
        Trouble::FlushError => {
            plan(at, Fault::FlushError { node });
            plan(until, Fault::Start { node });
        }
        Trouble::LogError => {
            plan(at, Fault::LogError { node });
            // the operator hears of it and starts the node anew; now and then before the log has failed
            plan(until, Fault::Kill { node });
            plan(until + 10, Fault::Start { node });
        }
        Trouble::CorruptLog => {
            plan(at, Fault::CorruptLog { node, log: rng.below(16) as usize });
            plan(at + 1 + lasts % 500, Fault::Start { node });
        }
        Trouble::PauseNode => {
            plan(at, Fault::Pause { node });
            plan(until, Fault::Resume { node });
        }
        Trouble::PauseClient => {
            if clients > 0 {
                let client = rng.below(clients as u64) as usize;
                plan(at, Fault::PauseClient { client });
                plan(until, Fault::ResumeClient { client });
            }
        }
        Trouble::OneWay => {
            let to = 1 + rng.below(nodes as u64) as usize;
            plan(at, Fault::Cut { from: node, to, is_cut: true });
            plan(until, Fault::Cut { from: node, to, is_cut: false });
        }
        Trouble::Isolate => {
            plan(at, Fault::Isolate { node, is_cut: true });
            plan(until, Fault::Isolate { node, is_cut: false });
        }
        Trouble::SlowLinks => {
            plan(at, Fault::SlowLinks { node, factor: *rng.pick(&[5, 50, 500]) });
            plan(until, Fault::SlowLinks { node, factor: 1 });
        }
        Trouble::SlowDisk => {
            let max_ms = *rng.pick(&[5, 50, 500]);
            plan(at, Fault::SlowDisk { node, permille: *rng.pick(&[20, 300]), max_ms });
            plan(until, Fault::SlowDisk { node, permille: 0, max_ms: 0 });
        }
    }
}
