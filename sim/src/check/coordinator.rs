//! Oracles over the group coordinator.

use crate::history::{History, Register};
use highwater::log::Log;
use highwater::partition::Partition;
use highwater_core::batch;
use highwater_core::coordinator::group::{GroupCoordinator, GroupDurable};
use highwater_core::coordinator::{Coordinator, Record};

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
