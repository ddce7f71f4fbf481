//! Oracles over the group coordinator.

use crate::history::{FreshCommit, GroupPosition, History, Register};
use highwater::log::Log;
use highwater::partition::Partition;
use highwater_core::batch;
use highwater_core::coordinator::group::{GroupCoordinator, GroupDurable};
use highwater_core::coordinator::{Coordinator, Record};
use highwater_protocol::messages::DescribedGroup;
use std::collections::BTreeMap;

/// O24: the coordinator's durable state is what replaying its log gives. Nothing to say while it loads.
pub fn state_is_the_logs_replay(partition: &Partition) -> Result<(), String> {
    let compared = partition.inspect_coordinator(|shard, log| {
        let Some(durable) = shard.durable().filter(|_| shard.is_settled()) else { return Ok(()) };
        let replayed = replay(log)?;
        if *durable == replayed {
            return Ok(());
        }
        Err(format!("the coordinator holds {durable:?}, its log gives {replayed:?}"))
    });
    compared.unwrap_or(Ok(()))
}

fn replay(log: &Log) -> Result<GroupDurable, String> {
    let mut durable = GroupDurable::default();
    for located in log.batches_from(log.log_start()) {
        let header = located.map_err(|e| e.to_string())?.header;
        let bytes = log.read_batch(header.base_offset).map_err(|e| e.to_string())?;
        let bytes = bytes.ok_or("a batch that was listed is gone")?;
        for record in batch::records(&bytes.into()).map_err(|e| e.to_string())? {
            let record = record.map_err(|e| e.to_string())?;
            let Some(key) = record.key else { continue };
            let record = Record { key, value: record.value };
            GroupCoordinator::replay(&mut durable, &record).map_err(|e| format!("{e:?}"))?;
        }
    }
    Ok(durable)
}

/// O20: a committed offset that is read is the last acknowledged one, or one whose outcome is unknown; never none
/// after an acknowledged commit.
pub fn committed_offset_is_known(
    name: &str,
    at_request: &Register,
    now: &Register,
    read: i64,
) -> Result<(), String> {
    let read_option = (read >= 0).then_some(read);
    let is_last = read_option == at_request.acked;
    let is_newer = read_option.is_some_and(|read| now.acked.is_some_and(|acked| read <= acked))
        && read_option >= at_request.acked;
    let is_unknown = at_request.unknown.contains(&read) || now.unknown.contains(&read);
    if is_last || is_newer || is_unknown {
        return Ok(());
    }
    Err(format!("{name}: committed offset {read} is read after {:?} was acknowledged", at_request.acked))
}

/// O22: in one generation of a group, each partition has one owner.
pub fn one_owner_per_partition(
    history: &mut History,
    group: &str,
    generation: i32,
    member: &str,
    partitions: &[i32],
) -> Result<(), String> {
    let owners = history.owners.entry((group.to_owned(), generation)).or_default();
    for partition in partitions {
        let owner = owners.entry(*partition).or_insert_with(|| member.to_owned());
        if owner != member {
            return Err(format!("{group}, generation {generation}: {partition} has {owner} and {member}"));
        }
    }
    Ok(())
}

/// O21: a group's committed position is one that a member was delivered, and never behind one that was acknowledged
/// before the request; there is one once a commit was acknowledged. A negative `read` stands for none.
pub fn committed_was_delivered(
    name: &str,
    at_request: &GroupPosition,
    now: &GroupPosition,
    read: i64,
) -> Result<(), String> {
    if at_request.acked.is_some_and(|acked| read < acked) {
        return Err(format!("{name}: position {read} is read after {:?} was acknowledged", at_request.acked));
    }
    if read > now.delivered {
        return Err(format!(
            "{name}: position {read} is read, and nobody came further than {}",
            now.delivered
        ));
    }
    Ok(())
}

/// O22: a commit of a generation that another one had followed when it was sent is not taken.
pub fn commit_is_of_newest_generation(
    group: &str,
    generation: i32,
    newest_then: Option<i32>,
) -> Result<(), String> {
    match newest_then.filter(|newest| *newest > generation) {
        Some(newest) => Err(format!(
            "{group}: a commit of generation {generation} was acknowledged, and generation {newest} had begun"
        )),
        None => Ok(()),
    }
}

/// O23: in a stable group each partition is assigned exactly once. Assignments are one byte for each partition.
pub fn stable_group_has_all(group: &DescribedGroup, partitions: i32) -> Result<(), String> {
    let mut assigned: Vec<i32> =
        group.members.iter().flat_map(|m| m.member_assignment.iter().map(|p| i32::from(*p))).collect();
    assigned.sort_unstable();
    if assigned != (0..partitions).collect::<Vec<_>>() {
        return Err(format!("{}: stable, and assigned is {assigned:?} of {partitions}", group.group_id));
    }
    Ok(())
}

/// O25: who acknowledges a group's commit leads its coordinator's partition, in an epoch that is not older than one
/// that had begun when the request left. `leaders` is who was seen to lead in each epoch; an epoch that passed unseen
/// may have been anybody's.
pub fn commit_is_of_current_coordinator(
    commit: FreshCommit,
    leaders: &BTreeMap<i32, i32>,
) -> Result<(), String> {
    let FreshCommit { partition, broker, epoch_then } = commit;
    let newest = leaders.last_key_value().map_or(epoch_then, |(epoch, _)| *epoch);
    let mut epochs = epoch_then..=newest;
    if epochs.any(|epoch| leaders.get(&epoch).is_none_or(|leader| *leader == broker)) {
        return Ok(());
    }
    Err(format!(
        "broker {broker} acknowledged a commit for coordinator {partition} after epoch {epoch_then} had begun; \
         leaders are {leaders:?}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use highwater_protocol::messages::DescribedGroupMember;

    #[test]
    fn a_position_that_falls_back_or_that_nobody_reached_is_noticed() {
        let position = |acked, delivered| GroupPosition { acked, delivered };
        let judge = |then, now, read| committed_was_delivered("g", &then, &now, read);
        assert!(judge(position(None, 0), position(None, 0), -1).is_ok());
        assert!(judge(position(Some(5), 5), position(Some(8), 9), 5).is_ok());
        assert!(judge(position(Some(5), 5), position(Some(8), 9), 9).is_ok());
        assert!(judge(position(Some(5), 5), position(Some(5), 5), 4).is_err(), "back");
        assert!(judge(position(Some(5), 5), position(Some(5), 5), -1).is_err(), "gone");
        assert!(judge(position(Some(5), 5), position(Some(5), 5), 6).is_err(), "never delivered");
    }

    #[test]
    fn a_commit_of_a_generation_that_is_over_is_noticed() {
        assert!(commit_is_of_newest_generation("g", 3, None).is_ok());
        assert!(commit_is_of_newest_generation("g", 3, Some(3)).is_ok());
        assert!(commit_is_of_newest_generation("g", 3, Some(4)).is_err());
    }

    #[test]
    fn a_partition_without_an_owner_or_with_two_is_noticed() {
        let group = |assignments: &[&'static [u8]]| DescribedGroup {
            members: assignments
                .iter()
                .map(|bytes| DescribedGroupMember {
                    member_assignment: bytes::Bytes::from_static(bytes),
                    ..Default::default()
                })
                .collect(),
            ..Default::default()
        };
        assert!(stable_group_has_all(&group(&[&[1], &[0]]), 2).is_ok());
        assert!(stable_group_has_all(&group(&[&[1], &[]]), 2).is_err(), "nobody's");
        assert!(stable_group_has_all(&group(&[&[1, 0], &[0]]), 2).is_err(), "two members'");
    }

    #[test]
    fn an_answer_of_a_deposed_coordinator_is_noticed() {
        let leaders = BTreeMap::from([(3, 1), (4, 2), (6, 3)]);
        let judge = |broker, epoch_then| {
            commit_is_of_current_coordinator(FreshCommit { partition: 0, broker, epoch_then }, &leaders)
        };
        assert!(judge(1, 3).is_ok());
        assert!(judge(3, 4).is_ok(), "elected while the request was under way");
        assert!(judge(1, 4).is_ok(), "who led in epoch 5 was not seen");
        assert!(judge(2, 6).is_err());
        assert!(judge(1, 6).is_err());
    }
}
