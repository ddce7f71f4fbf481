//! The one loop of a run: takes the next event, lets one machine's shell do its step, then lets the oracles look.

use super::client::Client;
use super::env::{DiskMood, Env, Hook, node_of};
use super::faults::{Fault, FaultPlan};
use super::member::OFFSETS_TOPIC;
use super::message::{Event, Message};
use super::network::Place;
use super::node::{Node, Standing};
use super::queue::{MILLI, SECOND, Time};
use super::run::TOPIC;
use super::store::SimLog;
use highwater_core::batch::StampedBatch;
use highwater_core::ids::{BrokerId, DirectoryId, Offset, TopicPartition};
use highwater_core::metadata::{MetadataImage, PartitionState};
use highwater_core::quorum::VoterSet;

/// Numbers of faults from here downwards are the restarts of nodes that died of themselves.
const RESTARTS: u32 = u32::MAX;

/// Everything of a run.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) env: Env,
    pub(crate) nodes: Vec<Node>,
    pub(crate) clients: Vec<Client>,
    pub(crate) plan: FaultPlan,
    /// Events that wait for paused nodes and clients, by place.
    waiting: Vec<Vec<Event>>,
    paused_clients: Vec<bool>,
    is_healed: bool,
}

impl World {
    pub(crate) fn new(env: Env, nodes: Vec<Node>, clients: Vec<Client>, plan: FaultPlan) -> Self {
        let places = nodes.len() + clients.len();
        let paused_clients = vec![false; clients.len()];
        let waiting = (0..places).map(|_| Vec::new()).collect();
        Self { env, nodes, clients, plan, waiting, paused_clients, is_healed: false }
    }

    /// Starts every node, every client, and the plan of faults.
    pub(crate) fn begin(&mut self) {
        for node in &mut self.nodes {
            node.start(&mut self.env);
        }
        for client in &mut self.clients {
            let contact = client.contact();
            let after = MILLI * u64::from(contact.place);
            contact.alarm(&mut self.env, after);
        }
        for (number, fault) in self.plan.faults.iter().enumerate() {
            self.env.queue.push(fault.at_ms * MILLI, Event::Fault(number as u32));
        }
    }

    /// Runs until the clock says `until`, or an oracle complains. Whether the run may go on.
    pub(crate) fn run(&mut self, until: Time) -> bool {
        while self.env.truth.violation().is_none() {
            let Some((at, event)) = self.env.queue.pop() else { break };
            if at > until {
                self.env.queue.push(at, event);
                self.env.now = until;
                return true;
            }
            self.env.now = at;
            self.env.totals.events += 1;
            self.step(event);
            if !self.env.hooks.is_empty() {
                self.look();
            }
        }
        false
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::Deliver { from, to, message } => self.deliver(from, to, message),
            Event::Node { node, life, due } => {
                let held = &mut self.nodes[node as usize];
                if held.life != life || held.standing == Standing::Down {
                    return;
                }
                if held.standing == Standing::Paused {
                    return self.waiting[node as usize].push(Event::Node { node, life, due });
                }
                self.env.trace.mix([self.env.now, 0x100 + u64::from(node)]);
                held.due(&mut self.env, due);
            }
            Event::Client { client, alarm } => {
                let place = client as usize;
                let number = place - self.nodes.len();
                if self.paused_clients[number] {
                    return self.waiting[place].push(Event::Client { client, alarm });
                }
                self.clients[number].awake(&mut self.env);
            }
            Event::Fault(number) => self.fault(number),
        }
    }

    fn deliver(&mut self, from: Place, to: Place, message: Message) {
        let place = to as usize;
        if let Some(node) = self.nodes.get_mut(place) {
            match node.standing {
                Standing::Down => return,
                Standing::Paused => return self.waiting[place].push(Event::Deliver { from, to, message }),
                Standing::Up => {}
            }
            self.env.totals.delivered += 1;
            self.env.trace.mix([self.env.now, u64::from(from) << 16 | u64::from(to)]);
            return node.receive(&mut self.env, from, message);
        }
        if self.paused_clients[place - self.nodes.len()] {
            return self.waiting[place].push(Event::Deliver { from, to, message });
        }
        self.env.totals.delivered += 1;
        self.env.trace.mix([self.env.now, u64::from(from) << 16 | u64::from(to)]);
        let client = &mut self.clients[place - self.nodes.len()];
        client.contact().heard(from);
        match message {
            Message::Response { id, body } => client.answered(&mut self.env, id, body),
            Message::Link { .. } => client.reset(&mut self.env, from),
            _ => unreachable!("nodes tell clients nothing else"),
        }
    }

    /// Resumes whoever was paused: all that waited happens now, in order.
    pub(crate) fn resume(&mut self, place: usize) {
        match self.nodes.get_mut(place) {
            Some(node) if node.standing == Standing::Paused => node.standing = Standing::Up,
            Some(_) => return,
            None => self.paused_clients[place - self.nodes.len()] = false,
        }
        for event in std::mem::take(&mut self.waiting[place]) {
            self.env.queue.push(self.env.now, event);
        }
    }

    pub(crate) fn end_node(&mut self, node: usize, loses_power: bool) {
        if self.nodes[node].standing == Standing::Down {
            return;
        }
        let how = if loses_power { "loses power" } else { "is killed" };
        self.env.trace.tell(self.env.now, format_args!("node {}", node + 1), how);
        self.env.totals.crashes += 1;
        self.nodes[node].end(&mut self.env, loses_power);
        self.waiting[node].clear();
        if !loses_power {
            // the machine still answers: connections are reset, new ones are refused
            self.tell_links(node, false);
        }
    }

    pub(crate) fn start_node(&mut self, node: usize) {
        if self.nodes[node].standing == Standing::Down {
            self.env.trace.tell(self.env.now, format_args!("node {}", node + 1), "starts");
            self.nodes[node].start(&mut self.env);
            self.tell_links(node, true);
        }
    }

    /// Every other node learns of a node's process by its connections.
    fn tell_links(&mut self, node: usize, is_up: bool) {
        for other in 0..self.nodes.len() as Place {
            let is_cut = self.env.network.is_cut(node as Place, other)
                || self.env.network.is_cut(other, node as Place);
            if usize::from(other) != node && !is_cut {
                let event =
                    Event::Deliver { from: node as Place, to: other, message: Message::Link { is_up } };
                self.env.queue.push(self.env.now + 2 * MILLI, event);
            }
        }
        for client in self.nodes.len()..self.waiting.len() {
            if !is_up {
                let message = Message::Link { is_up };
                let event = Event::Deliver { from: node as Place, to: client as Place, message };
                self.env.queue.push(self.env.now + 2 * MILLI, event);
            }
        }
    }

    fn fault(&mut self, number: u32) {
        self.env.trace.mix([self.env.now, 0x200 + u64::from(number)]);
        let Some(planned) = self.plan.faults.get(number as usize) else {
            return self.start_node((RESTARTS - number) as usize);
        };
        if self.is_healed {
            return;
        }
        let fault = planned.fault.clone();
        self.env.trace.tell(self.env.now, "fault", format_args!("{fault:?}"));
        self.env.totals.faults += 1;
        self.inject(&fault);
    }

    fn inject(&mut self, fault: &Fault) {
        match *fault {
            Fault::EmptyDisk { node } => self.lose_disk(node - 1),
            Fault::Kill { node } => {
                if self.may_end(node - 1, false) {
                    self.end_node(node - 1, false);
                }
            }
            Fault::PowerCut { node } => {
                if self.may_end(node - 1, true) {
                    self.end_node(node - 1, true);
                }
            }
            Fault::DieAfter { node, operations, loses_power } => {
                let node = node - 1;
                if self.nodes[node].standing == Standing::Up && self.may_end(node, loses_power) {
                    self.nodes[node].dies_without_power = loses_power;
                    self.env.disks[node].fuse = Some(operations.max(1));
                }
            }
            Fault::FlushError { node } => {
                if self.may_end(node - 1, true) {
                    self.nodes[node - 1].dies_without_power = true;
                    self.env.disks[node - 1].flush_fails = true;
                }
            }
            Fault::LogError { node } => {
                if self.nodes[node - 1].standing == Standing::Up && self.may_end(node - 1, false) {
                    self.env.disks[node - 1].log_fails = true;
                }
            }
            Fault::CorruptLog { node, log } => self.corrupt_log(node - 1, log),
            Fault::Stop { node } => {
                if self.nodes[node - 1].standing == Standing::Up {
                    self.nodes[node - 1].shut_down(&mut self.env);
                }
            }
            Fault::Start { node } => self.start_node(node - 1),
            Fault::Pause { node } => {
                let node = &mut self.nodes[node - 1];
                if node.standing == Standing::Up {
                    node.standing = Standing::Paused;
                }
            }
            Fault::Resume { node } => self.resume(node - 1),
            Fault::PauseClient { client } => {
                if let Some(paused) = self.paused_clients.get_mut(client) {
                    *paused = true;
                }
            }
            Fault::ResumeClient { client } => {
                if client < self.paused_clients.len() {
                    self.resume(self.nodes.len() + client);
                }
            }
            Fault::Cut { from, to, is_cut } => {
                self.env.network.set_cut(from as Place - 1, to as Place - 1, is_cut);
            }
            Fault::Isolate { node, is_cut } => {
                let node = node as Place - 1;
                for other in (0..self.nodes.len() as Place).filter(|other| *other != node) {
                    self.env.network.set_cut(node, other, is_cut);
                    self.env.network.set_cut(other, node, is_cut);
                }
            }
            Fault::SlowLinks { node, factor } => self.env.network.set_slow(node - 1, factor.max(1)),
            Fault::SlowDisk { node, permille, max_ms } => {
                self.env.disks[node - 1].slow_append_permille = permille;
                self.env.disks[node - 1].slow_max = max_ms * MILLI;
            }
        }
    }

    /// Ends every fault: all nodes run, all links carry, all disks are well.
    pub(crate) fn heal(&mut self) {
        self.env.trace.tell(self.env.now, "run", "all faults end");
        self.is_healed = true;
        self.env.network.heal();
        for disk in &mut self.env.disks {
            *disk = DiskMood::default();
        }
        for node in 0..self.nodes.len() {
            if self.nodes[node].has_failed_log() {
                // its operator has seen to the disk
                self.end_node(node, false);
            }
            self.start_node(node);
        }
        for place in 0..self.waiting.len() {
            self.resume(place);
        }
        for client in &mut self.clients {
            client.settle_down();
        }
    }

    /// The budget of unclean ends: acknowledged records must survive what is injected (KIP-966). A killed process has
    /// lost nothing, but its broker cannot prove that, so next to a power cut it counts as much as another one.
    fn may_end(&self, node: usize, loses_power: bool) -> bool {
        let is_corrupt = |node: &Node| self.is_weak(node.index, node.corrupted_at);
        if self.nodes[node].is_durable() && !self.nodes.iter().any(is_corrupt) {
            return true;
        }
        let others = || (0..self.nodes.len()).filter(|other| *other != node);
        let weak = others().filter(|other| self.is_incomplete(*other)).count();
        let is_lossy = |other: usize| self.is_weak(other, self.nodes[other].lost_power_at);
        let has_lossy =
            loses_power || others().any(|other| self.is_doomed(other) || is_lossy(other)) || is_lossy(node);
        !has_lossy || weak + 1 < self.plan.min_isr
    }

    /// One log of a node turns out to be corrupt at its next start: that is the loss of a copy, and one copy of an
    /// acknowledged record is to be left. Of topics that an operator makes for fun there may be no other; and of one that
    /// was just made this node may be the first in sync: then its partition rightly waits for an operator's word.
    fn corrupt_log(&mut self, node: usize, log: usize) {
        let others = (0..self.nodes.len()).filter(|other| *other != node);
        let weak = others.filter(|other| self.is_incomplete(*other)).count();
        if self.nodes[node].standing != Standing::Up || weak + 1 >= self.plan.min_isr {
            return;
        }
        let image = &self.env.truth.image;
        let is_kept = |id: &&TopicPartition| {
            image.topic_by_id(id.topic_id).is_some_and(|topic| [TOPIC, OFFSETS_TOPIC].contains(&&*topic.name))
        };
        let has_another = |id: &&TopicPartition| {
            let state = self.env.truth.partition(**id).and_then(|known| known.state.as_ref());
            state.is_some_and(|state| {
                state.isr.iter().chain(&state.elr).any(|broker| node_of(*broker) != node)
            })
        };
        let kept = self.nodes[node].cells.keys().filter(is_kept);
        let logs: Vec<_> = kept.filter(has_another).copied().collect();
        let Some(id) = logs.get(log % logs.len().max(1)).copied() else { return };
        self.env.trace.tell(
            self.env.now,
            format_args!("node {}", node + 1),
            format_args!("{id:?} is corrupt"),
        );
        self.end_node(node, false);
        self.nodes[node].corrupted_at = Some(self.env.now);
        self.nodes[node].lost_power_at = Some(self.env.now);
        self.nodes[node].disk.corrupt.insert(id);
    }

    /// A disk is lost with everything on it: one in a run, while all other copies are complete and nobody else's vote is
    /// missing.
    fn lose_disk(&mut self, node: usize) {
        let others = || (0..self.nodes.len()).filter(|other| *other != node);
        let weak = others().filter(|other| self.is_incomplete(*other)).count();
        let are_up = others().all(|other| self.nodes[other].standing == Standing::Up);
        let is_first = self.nodes.iter().all(Node::has_first_disk);
        if is_first && are_up && weak + 1 < self.plan.min_isr {
            self.end_node(node, false);
            let voters = self.nodes[node].meta_disk().first_voters().clone();
            self.nodes[node].lose_disk(&self.env, voters);
        }
    }

    /// Whether a node's end is arranged and has not come yet: it may fall together with another one's.
    fn is_doomed(&self, node: usize) -> bool {
        let disk = &self.env.disks[node];
        disk.flush_fails || disk.log_fails || disk.fuse.is_some()
    }

    /// Whether a node may lack what it once had, or does not serve it.
    fn is_incomplete(&self, node: usize) -> bool {
        let held = &self.nodes[node];
        self.is_doomed(node) || held.lacks_a_log() || self.is_weak(node, held.ended_at)
    }

    /// Whether a node may lack what it once had: it has not proven since its last unclean end that it is in sync.
    fn is_weak(&self, node: usize, ended_at: Option<Time>) -> bool {
        let broker = super::env::broker_of(node);
        let image = &self.env.truth.image;
        ended_at.is_some_and(|at| {
            let is_out =
                |state: &PartitionState| state.replicas.contains(&broker) && !state.isr.contains(&broker);
            let mut states = image.topics().flat_map(|topic| topic.partitions.values());
            self.nodes[node].standing != Standing::Up
                || !self.nodes[node].is_registered(image)
                || self.env.now < at + SECOND
                || states.any(is_out)
        })
    }

    /// Lets the oracles look at what the step has shown.
    fn look(&mut self) {
        let mut hooks = std::mem::take(&mut self.env.hooks);
        for hook in hooks.drain(..) {
            match hook {
                Hook::Died { node } => {
                    let loses_power = self.nodes[node].dies_without_power && self.may_end(node, true);
                    self.end_node(node, loses_power);
                    let back = self.env.now + 300 * MILLI;
                    self.env.queue.push(back, Event::Fault(RESTARTS - node as u32));
                }
                Hook::Stopped { node } => {
                    self.env.trace.tell(
                        self.env.now,
                        format_args!("node {}", node + 1),
                        "has stopped in good order",
                    );
                    // an orderly stop flushes everything, so it matters not whether the power stays
                    self.end_node(node, false);
                    let back = self.env.now + 500 * MILLI;
                    self.env.queue.push(back, Event::Fault(RESTARTS - node as u32));
                }
                Hook::ControllerChanged { node } => {
                    let is_active = self.nodes[node].meta().is_some_and(|meta| meta.controller().is_some());
                    let what =
                        if is_active { "is the active controller" } else { "is no controller any more" };
                    self.env.trace.tell(self.env.now, format_args!("node {}", node + 1), what);
                }
                Hook::MetadataCommitted { node, through, is_first } => {
                    self.look_at_metadata(node, through, is_first);
                }
                Hook::Truncated { node, partition } => self.look_at_truncation(node, partition),
                Hook::Led { node, partition } => self.look_at_leader(node, partition),
                Hook::Committed { node, partition } => self.look_at_commit(node, partition),
                Hook::Acked { partition, end, copies_min } => self.look_at_ack(partition, end, copies_min),
                Hook::Loaded { node, partition } => {
                    if let Some(cell) = self.nodes[node].cells.get(&partition) {
                        let verdict = cell.coordinator_is_its_logs_replay();
                        self.env.truth.judge("O24", verdict);
                        let verdict = super::check::coordinator_has_all(cell, &self.env.truth);
                        self.env.truth.judge("O24", verdict);
                    }
                }
            }
        }
        // oracles cause nothing, so nothing was added meanwhile
        self.env.hooks = hooks;
    }

    fn look_at_leader(&mut self, node: usize, partition: TopicPartition) {
        self.env.totals.elections += 1;
        let Some(cell) = self.nodes[node].cells.get(&partition) else { return };
        let Some(epoch) = cell.replica.leader_epoch() else { return };
        let broker = super::env::broker_of(node);
        if !self.env.truth.is_checking {
            return;
        }
        self.env.truth.led(partition, epoch, broker, &cell.log);
        let verdict = super::check::epochs_match_scan(cell);
        self.env.truth.judge("O11", verdict);
        let verdict = super::check::producers_match_scan(cell);
        self.env.truth.judge("O15", verdict);
        let who = format!("node {}", node + 1);
        if let Some(known) = self.env.truth.partition(partition) {
            let name = known.name.clone();
            let at = cell.replica.log_end();
            self.env.trace.tell(self.env.now, who, format_args!("leads {name} in epoch {epoch} from {at}"));
        }
    }

    /// O39: what a replica of the metadata log takes as committed is what all do, and a majority's disks have it. Then
    /// the newest image becomes the controller's word for everybody.
    fn look_at_metadata(&mut self, node: usize, through: Offset, is_first: bool) {
        let broker = super::env::broker_of(node);
        let Some(meta) = self.nodes[node].meta() else { return };
        if self.env.truth.is_checking && is_first {
            let holds = |id: BrokerId, directory: DirectoryId| {
                let disk = self.nodes.get(node_of(id)).map(Node::meta_disk);
                disk.is_some_and(|disk| disk.directory_id() == directory && disk.log().flushed() >= through)
            };
            // a set of voters counts from its append on, for what lies before it, too; one that the same step has
            // appended behind the commit does not count yet
            let sets = [meta.quorum.voters_at(through), meta.quorum.voters()];
            let holding =
                |set: &VoterSet| set.iter().filter(|(id, voter)| holds(*id, voter.directory_id)).count();
            if sets.iter().all(|set| holding(set) < set.majority()) {
                let counts = sets.map(|set| format!("{} of {} disks", holding(set), set.len()));
                let what = format!(
                    "metadata before {through} are committed by node {broker} with {}, or {} of its last voters",
                    counts[0], counts[1]
                );
                self.env.truth.complain("O39", what);
            }
        }
        if meta.image.offset() > self.env.truth.image.offset() {
            let image = meta.image.clone();
            self.env.truth.learn(&image);
            self.look_at_states(&image);
        }
    }

    /// O9, O38: what the controller has committed makes sense; O10: leaders count everyone who may be elected.
    fn look_at_states(&mut self, image: &MetadataImage) {
        if !self.env.truth.is_checking {
            return;
        }
        for (partition, state) in super::check::changed_states(&self.env.truth, image) {
            let verdict = super::check::state_makes_sense(image, partition, &state);
            self.env.truth.judge("O9", verdict);
            let leader = state.leader.and_then(|leader| self.nodes.get(node_of(leader)));
            let cell = leader.and_then(|node| node.cells.get(&partition));
            if let Some(cell) = cell {
                let verdict = super::check::leader_counts_everyone(cell, &state);
                self.env.truth.judge("O10", verdict);
            }
            if let Some(known) = self.env.truth.partitions.get_mut(&partition) {
                known.state = Some(state);
                let to = known.high_watermark();
                self.look_at_candidates(partition, to);
            }
        }
    }

    fn look_at_truncation(&mut self, node: usize, partition: TopicPartition) {
        let Some(cell) = self.nodes[node].cells.get(&partition).filter(|_| self.env.truth.is_checking) else {
            return;
        };
        let verdicts = [
            ("O11", super::check::epochs_match_scan(cell)),
            ("O15", super::check::producers_match_scan(cell)),
        ];
        for (oracle, verdict) in verdicts {
            self.env.truth.judge(oracle, verdict);
        }
        if let Some(known) = self.env.truth.partition(partition) {
            let to = known.high_watermark();
            self.look_at_candidates(partition, to);
        }
    }

    fn look_at_commit(&mut self, node: usize, partition: TopicPartition) {
        let Some(cell) = self.nodes[node].cells.get(&partition) else { return };
        let to = cell.replica.high_watermark();
        let broker = super::env::broker_of(node);
        self.env.truth.committed(partition, broker, &cell.log, to);
        self.look_at_candidates(partition, to);
    }

    /// O7: whoever the controller may elect holds all that is committed.
    fn look_at_candidates(&mut self, partition: TopicPartition, to: Offset) {
        let Some(known) = self.env.truth.partition(partition) else { return };
        let Some(state) = known.state.as_ref().filter(|_| !known.is_excused) else { return };
        let mut verdict = Ok(());
        for broker in state.isr.iter().chain(&state.elr) {
            if let Some(log) = self.candidate_log(*broker, partition)
                && let Err(why) = known.holds_all(log, to)
            {
                verdict = Err(format!("{}: broker {broker} may be elected, but {why}", known.name));
            }
        }
        self.env.truth.judge("O7", verdict);
    }

    /// The log of a broker that runs under the registration that the controller knows.
    fn candidate_log(&self, broker: BrokerId, partition: TopicPartition) -> Option<&SimLog<StampedBatch>> {
        let node = self.nodes.get(node_of(broker))?;
        let is_counted = node.standing != Standing::Down && node.is_registered(&self.env.truth.image);
        node.cells.get(&partition).filter(|_| is_counted).map(|cell| &cell.log)
    }

    /// O14: when acks=all is answered, enough disks hold the records.
    fn look_at_ack(&mut self, partition: TopicPartition, end: Offset, copies_min: usize) {
        let Some(known) = self.env.truth.partition(partition).filter(|known| !known.is_excused) else {
            return;
        };
        let replicas = known.state.as_ref().map_or(1, |state| state.replicas.len());
        let copies = self.nodes.iter().filter(|node| {
            // it had them when it said so; a power cut within the budget may have taken them since
            if self.is_weak(node.index, node.lost_power_at) {
                return true;
            }
            let open = node.cells.get(&partition).map(|cell| &cell.log);
            open.or_else(|| node.disk.logs.get(&partition))
                .is_some_and(|log| known.holds_all(log, end).is_ok())
        });
        let copies = copies.count();
        if copies < copies_min.min(replicas) {
            let what = format!(
                "{}: acks=all is answered up to {end} with {copies} copies where {copies_min} are asked for",
                known.name
            );
            self.env.truth.complain("O14", what);
        }
    }
}
