//! Oracles over the metadata that nodes have applied.

use highwater_core::ids::{BrokerId, Offset, TopicId};
use highwater_core::metadata::{BrokerState, MetadataImage};
use std::collections::{BTreeMap, BTreeSet};

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

/// What was seen of a topic id along the metadata log.
#[derive(Clone, Debug)]
struct KnownTopic {
    name: String,
    /// From where on it was there.
    since: Offset,
    /// Where it was found to be gone.
    gone_at: Option<Offset>,
}

/// Every topic that there ever was.
#[derive(Debug, Default)]
pub struct KnownTopics {
    by_id: BTreeMap<TopicId, KnownTopic>,
    /// Images of these offsets were looked at; those of one offset are equal (O37).
    judged: BTreeSet<Offset>,
}

/// O12: a topic id is of one topic, and once that is deleted it is never there again: a topic made anew under its name
/// has another one.
pub fn topic_ids_are_used_once(image: &MetadataImage, known: &mut KnownTopics) -> Result<(), String> {
    let at = image.offset();
    if !known.judged.insert(at) {
        return Ok(());
    }
    for topic in image.topics() {
        let first = || KnownTopic { name: topic.name.to_string(), since: at, gone_at: None };
        let seen = known.by_id.entry(topic.id).or_insert_with(first);
        seen.since = seen.since.min(at);
        let name = &topic.name;
        if seen.name != **name {
            return Err(format!("the id of topic {} is now that of {name}", seen.name));
        }
        if seen.gone_at.is_some_and(|gone_at| gone_at <= at) {
            return Err(format!(
                "topic {name} was deleted at offset {:?} and is there at {at}",
                seen.gone_at
            ));
        }
    }
    for (id, seen) in &mut known.by_id {
        if at > seen.since && image.topic_by_id(*id).is_none() {
            seen.gone_at = Some(seen.gone_at.map_or(at, |gone_at| gone_at.min(at)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use highwater_core::metadata::Record;

    #[test]
    fn a_topic_id_that_comes_back_is_noticed() {
        let id = TopicId([7; 16]);
        let topic = |name: &str| Record::Topic { name: name.to_owned(), id };
        let without = MetadataImage::default();
        let with = without.replayed([&topic("a")]);
        let other = with.replayed([&Record::RemoveTopic { id }]);
        let back = other.replayed([&topic("a")]);
        let renamed = other.replayed([&topic("b")]);
        let judge_all = |images: &[&MetadataImage]| {
            let mut known = KnownTopics::default();
            images.iter().try_for_each(|image| topic_ids_are_used_once(image, &mut known))
        };
        assert_eq!(judge_all(&[&without, &with, &other]), Ok(()));
        assert_eq!(judge_all(&[&other, &without, &with]), Ok(()), "as nodes see it that are behind");
        assert!(judge_all(&[&with, &other, &back]).is_err());
        assert!(judge_all(&[&with, &back]).is_ok(), "nobody saw that it was gone");
        assert!(judge_all(&[&with, &renamed]).is_err());
    }
}
