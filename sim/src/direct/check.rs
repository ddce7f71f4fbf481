//! Oracles over one partition replica: what it derived from its log is what the log gives.

use super::cell::Cell;
use super::truth::Truth;
use highwater_core::ids::TopicPartition;
use highwater_core::metadata::{BrokerState, MetadataImage, PartitionState};
use highwater_core::replica::Role;

/// The partitions whose state has changed since the oracles last looked.
pub(crate) fn changed_states(truth: &Truth, image: &MetadataImage) -> Vec<(TopicPartition, PartitionState)> {
    let mut changed = Vec::new();
    for (id, known) in &truth.partitions {
        let Some(state) = image.partition(*id) else { continue };
        if known.state.as_ref().is_none_or(|before| before.partition_epoch != state.partition_epoch) {
            changed.push((*id, state.clone()));
        }
    }
    changed
}

/// O9: ISR and ELR are replicas and apart; nobody fenced or stopping, and nobody whose log has failed, is in the ISR; O38:
/// whoever is fenced leads nothing.
pub(crate) fn state_makes_sense(
    image: &MetadataImage,
    id: TopicPartition,
    state: &PartitionState,
) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("{id:?}: {what}: {state:?}"));
    if state.isr.iter().chain(&state.elr).any(|broker| !state.replicas.contains(broker)) {
        return wrong("ISR and ELR are not among the replicas");
    }
    if state.isr.iter().any(|broker| state.elr.contains(broker)) {
        return wrong("ISR and ELR overlap");
    }
    let is_fenced = |broker| image.broker(broker).is_none_or(|known| known.state == BrokerState::Fenced);
    if state.leader.is_some_and(is_fenced) {
        return wrong("a fenced broker leads");
    }
    let has_others = state.isr.len() > 1;
    if has_others && state.isr.iter().copied().any(is_fenced) {
        return wrong("a fenced broker is in the ISR");
    }
    if let Some(failed) = state.isr.iter().find(|broker| image.is_failed(id, **broker)) {
        return wrong(&format!("the log of broker {failed} has failed, and it is in the ISR"));
    }
    if state.leader.is_some_and(|leader| !state.isr.contains(&leader)) {
        return wrong("the leader is not in the ISR");
    }
    Ok(())
}

/// O10: a leader that knows of its own epoch counts everyone whom the controller may elect.
pub(crate) fn leader_counts_everyone(cell: &Cell, state: &PartitionState) -> Result<(), String> {
    let Role::Leader(leader) = cell.replica.role() else { return Ok(()) };
    if leader.leader_epoch != state.leader_epoch {
        return Ok(());
    }
    let counted = leader.maximal_isr();
    match state.isr.iter().find(|member| !counted.contains(member)) {
        Some(member) => {
            Err(format!("{:?}: the leader counts {counted:?} and not {member}: {state:?}", cell.id))
        }
        None => Ok(()),
    }
}

/// O11: the epoch index is what scanning the log gives; an election behind which nothing was written may stand at its
/// end.
pub(crate) fn epochs_match_scan(cell: &Cell) -> Result<(), String> {
    let end = cell.log.end();
    let derived = cell.replica.epochs().entries();
    let written = derived.iter().filter(|entry| entry.start < end);
    if written.eq(cell.log.scanned_epochs()) {
        return Ok(());
    }
    Err(format!("the epoch index is {derived:?}, the log gives {:?}", cell.log.scanned_epochs()))
}

/// O15: the producer state is what scanning the log gives.
pub(crate) fn producers_match_scan(cell: &Cell) -> Result<(), String> {
    let is_whole = cell.log.start().0 == 0 && cell.replica.log_end() == cell.log.end();
    if !is_whole || cell.replica.producers_snapshot().is_none() {
        return Ok(()); // batches below the log start may be remembered; an append is under way
    }
    let scanned = cell.log.scanned_producers();
    if *cell.replica.producers() == scanned {
        return Ok(());
    }
    Err(format!("the producers are {:?}, the log gives {scanned:?}", cell.replica.producers()))
}

/// O24: after a fail-over the coordinator holds what replaying everything committed gives, once no more than that is in
/// its log.
pub(crate) fn coordinator_has_all(cell: &Cell, truth: &Truth) -> Result<(), String> {
    let Some(shard) = cell.shard.as_ref().filter(|shard| shard.is_settled()) else { return Ok(()) };
    let Some(known) = truth.partition(cell.id).filter(|known| known.high_watermark() == cell.log.end())
    else {
        return Ok(());
    };
    match (shard.durable(), known.durable()) {
        (Some(held), Some(committed)) if held != committed => {
            Err(format!("{}: the coordinator holds {held:?}, committed is {committed:?}", known.name))
        }
        _ => Ok(()),
    }
}
