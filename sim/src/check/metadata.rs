//! Oracles over the metadata that nodes have applied.

use highwater_core::ids::{BrokerId, Offset};
use highwater_core::metadata::{BrokerState, MetadataImage};
use std::collections::BTreeMap;

/// O37: two nodes that have applied the log up to the same offset hold the same metadata.
pub fn images_are_equal(one: (i32, &MetadataImage), other: (i32, &MetadataImage)) -> Result<(), String> {
    if one.1.offset() == other.1.offset() && one.1 != other.1 {
        return Err(format!(
            "at offset {} nodes {} and {} hold different metadata",
            one.1.offset(),
            one.0,
            other.0
        ));
    }
    Ok(())
}

/// O38: along the metadata log a broker's epoch never goes back, and a fenced broker leads nothing. `known` holds for each
/// broker the largest offset at which its epoch was seen; nodes that are behind may have older ones.
pub fn brokers_are_sound(
    node: i32,
    image: &MetadataImage,
    known: &mut BTreeMap<BrokerId, (Offset, i64)>,
) -> Result<(), String> {
    for (id, registration) in image.brokers() {
        let epoch = registration.epoch.0;
        let (at, newest) = *known.entry(id).or_insert((image.offset(), epoch));
        let is_sound = if image.offset() >= at { epoch >= newest } else { epoch <= newest };
        if !is_sound {
            let offset = image.offset();
            return Err(format!(
                "broker {id} has epoch {newest} at offset {at} and, on node {node}, {epoch} at {offset}"
            ));
        }
        if image.offset() >= at {
            known.insert(id, (image.offset(), epoch));
        }
    }
    for topic in image.topics() {
        for (partition, state) in topic.partitions.iter() {
            let Some(leader) = state.leader else { continue };
            let is_fenced = image.broker(leader).is_none_or(|broker| broker.state == BrokerState::Fenced);
            if is_fenced {
                return Err(format!("{} {partition} is led by broker {leader}, which is fenced", topic.name));
            }
        }
    }
    Ok(())
}
