//! After the faults: everything that was begun comes to an end, and everything that was acknowledged is read.

use super::client::Client;
use super::node::{Node, Standing};
use super::queue::{MILLI, SECOND, Time};
use super::world::World;
use highwater_core::ids::TopicPartition;
use highwater_core::replica::Role;
use std::collections::{BTreeMap, BTreeSet};

/// How long it may take: ten times the longest time-out.
const CALM_MAX: Time = 60 * SECOND;

/// How often it is looked whether all is well.
const LOOK: Time = 250 * MILLI;

/// Runs a healed world until all is well, or for too long.
pub(crate) fn run(world: &mut World, from: Time) {
    let until = from + CALM_MAX;
    let mut at = from;
    loop {
        at += LOOK;
        if !world.run(at) {
            if world.env.truth.violation().is_none() {
                world.env.truth.complain("L11", "nothing is left to happen");
            }
            return;
        }
        let Err((oracle, what)) = is_well(world) else { break };
        if at >= until {
            let what = format!("{} s after all faults had ended: {what}", CALM_MAX / SECOND);
            world.env.truth.complain(oracle, what);
            return;
        }
    }
    at_rest(world);
}

type Complaint = (&'static str, String);

/// Whether everything has come right.
fn is_well(world: &World) -> Result<(), Complaint> {
    if let Some(node) = world.nodes.iter().find(|node| node.standing != Standing::Up) {
        return Err(("L1", format!("node {} does not run", node.index + 1)));
    }
    partitions_are_led(world)?;
    clients_are_settled(world)?;
    groups_are_stable(world)
}

/// L2: every partition has a leader that serves, and all replicas are in sync. L6: they are equal.
fn partitions_are_led(world: &World) -> Result<(), Complaint> {
    for (id, known) in &world.env.truth.partitions {
        let Some(state) = &known.state else { continue };
        if state.is_reassigned() {
            return Err(("L5", format!("{} is still being moved: {state:?}", known.name)));
        }
        let leaders = world.nodes.iter().filter(|node| {
            node.cells.get(id).is_some_and(|cell| cell.replica.leader_epoch() == Some(state.leader_epoch))
        });
        if leaders.count() != 1 {
            return Err(("L2", format!("{} is not led in epoch {}", known.name, state.leader_epoch)));
        }
        if state.isr.len() != state.replicas.len() {
            let what = format!(
                "{}: of {:?} only {:?} are in sync; {}",
                known.name,
                state.replicas,
                state.isr,
                standing(world, *id)
            );
            return Err(("L2", what));
        }
        let is_open = world.nodes.iter().filter_map(|node| node.cells.get(id)).any(|cell| {
            let replica = &cell.replica;
            replica.leader_epoch() == Some(state.leader_epoch) && replica.high_watermark() < replica.log_end()
        });
        if is_open {
            let what = format!("{}: not all is committed; {}", known.name, standing(world, *id));
            return Err(("L3", what));
        }
        replicas_are_equal(world, *id)?;
    }
    Ok(())
}

/// Where each replica stands.
fn standing(world: &World, id: TopicPartition) -> String {
    let of_node = |node: &Node| {
        let cell = node.cells.get(&id)?;
        let (end, position) = (cell.log.end(), cell.replica.fetch_position());
        let at = position.map(|(leader, position)| format!("fetches {} from {leader}", position.offset));
        let ends = match cell.replica.role() {
            Role::Leader(leader) => {
                let known: Vec<_> = leader.follower_ends().collect();
                format!("leads, counts {:?}, knows of {known:?}", leader.maximal_isr())
            }
            _ => at.unwrap_or_else(|| "fetches nothing".to_owned()),
        };
        let committed = cell.replica.high_watermark();
        Some(format!("node {} ends at {end}, has {committed} committed, {ends}", node.index + 1))
    };
    world.nodes.iter().filter_map(of_node).collect::<Vec<_>>().join("; ")
}

fn replicas_are_equal(world: &World, id: TopicPartition) -> Result<(), Complaint> {
    let Some(known) = world.env.truth.partition(id) else { return Ok(()) };
    if known.is_excused {
        // whatever was lost, all have the same
        let logs = world.nodes.iter().filter_map(|node| node.cells.get(&id).map(|cell| &cell.log));
        let ends: BTreeSet<_> = logs.map(|log| (log.end(), log.chain_at(log.end()))).collect();
        return match ends.len() {
            0 | 1 => Ok(()),
            _ => Err(("L6", format!("{}: replicas end in different ways: {ends:?}", known.name))),
        };
    }
    for node in &world.nodes {
        let Some(cell) = node.cells.get(&id) else { continue };
        if cell.log.chain_at(known.high_watermark()) != Some(known.chain())
            && cell.log.end() != known.high_watermark()
        {
            let what = format!(
                "{}: node {} has {} where {} is committed",
                known.name,
                node.index + 1,
                cell.log.end(),
                known.high_watermark()
            );
            return Err(("L6", what));
        }
    }
    Ok(())
}

/// L8: every call is answered. L9: everything acknowledged is read.
fn clients_are_settled(world: &World) -> Result<(), Complaint> {
    for (number, client) in world.clients.iter().enumerate() {
        match client {
            Client::Producer(producer) if !producer.is_settled() => {
                let what = producer.waits_for(&world.env.truth);
                return Err(("L8", format!("client {number}, a producer, still waits: {what}")));
            }
            Client::Operator(operator) if !operator.is_settled() => {
                return Err(("L8", format!("client {number}, the operator, still waits for an answer")));
            }
            Client::Consumer(consumer) if !consumer.reader().has_all(&world.env.truth) => {
                return Err((
                    "L9",
                    format!("client {number}, a consumer, has not read all that is committed"),
                ));
            }
            _ => {}
        }
    }
    Ok(())
}

/// L4: every group is stable, and each partition is assigned to exactly one member (O23).
fn groups_are_stable(world: &World) -> Result<(), Complaint> {
    let mut groups: BTreeMap<&str, (i32, Vec<i32>)> = BTreeMap::new();
    for client in &world.clients {
        let Client::Member(member) = client else { continue };
        let (group, generation, assigned) = member.assignment();
        if !member.is_working() {
            return Err(("L4", format!("a member of {group} has no assignment")));
        }
        let (known, partitions) = groups.entry(group).or_insert((generation, Vec::new()));
        if *known != generation {
            return Err(("L4", format!("members of {group} are in generations {known} and {generation}")));
        }
        partitions.extend(assigned);
    }
    for (group, (_, mut partitions)) in groups {
        partitions.sort_unstable();
        let count = i32::try_from(partitions.len()).unwrap_or(i32::MAX);
        if !partitions.iter().copied().eq(0..count) || count == 0 {
            return Err(("L4", format!("{group} is assigned {partitions:?}")));
        }
    }
    Ok(())
}

/// What must hold once all is quiet: derived state is what the logs give (O11, O15, O24), nobody is forgotten (O43).
fn at_rest(world: &mut World) {
    let mut verdicts = Vec::new();
    for node in &world.nodes {
        for cell in node.cells.values() {
            verdicts.push(("O11", super::check::epochs_match_scan(cell)));
            verdicts.push(("O15", super::check::producers_match_scan(cell)));
            verdicts.push(("O24", cell.coordinator_is_its_logs_replay()));
            // each client may have a fetch parked and a request or two under way
            let waiting_max = 4 * world.clients.len();
            let waiting = cell.waiting();
            if waiting > waiting_max {
                verdicts.push(("O43", Err(format!("{waiting} still wait at node {}", node.index + 1))));
            }
        }
    }
    for (oracle, verdict) in verdicts {
        world.env.truth.judge(oracle, verdict);
    }
}
