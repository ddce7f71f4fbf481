//! Which brokers hold a new partition: spread over all, and over racks first (KIP-36).
//!
//! As in Kafka, the leader is an active broker, and fenced ones get replicas only if there are too few active ones:
//! they are in sync once they are back. Brokers that are being drained get none.

use super::MetadataImage;
use super::controller::drained;
use crate::ids::BrokerId;
use std::collections::{BTreeMap, VecDeque};

/// Places partitions one after the other.
#[derive(Debug)]
pub(super) struct Placement {
    /// Active brokers with their racks, racks taking turns.
    brokers: Vec<(BrokerId, Option<String>)>,
    /// The same of those that are fenced or stopping.
    absent: Vec<(BrokerId, Option<String>)>,
    drained: usize,
    start: usize,
}

impl Placement {
    /// Placement on the image's active brokers, beginning at a place that `seed` decides, so that the first
    /// partitions of many topics do not all end on the first broker.
    pub(super) fn new(image: &MetadataImage, seed: u64) -> Self {
        let drained = drained(image);
        let in_turns = |is_active: bool| {
            let mut racks: BTreeMap<Option<&str>, VecDeque<BrokerId>> = BTreeMap::new();
            for (id, registration) in image.brokers() {
                if registration.is_active() == is_active && !drained.contains(&id) {
                    racks.entry(registration.rack.as_deref()).or_default().push_back(id);
                }
            }
            let mut brokers = Vec::new();
            while !racks.is_empty() {
                for (rack, ids) in &mut racks {
                    brokers.extend(ids.pop_front().map(|id| (id, rack.map(str::to_owned))));
                }
                racks.retain(|_, ids| !ids.is_empty());
            }
            brokers
        };
        let (brokers, absent) = (in_turns(true), in_turns(false));
        let start = usize::try_from(seed % brokers.len().max(1) as u64).expect("below the number of brokers");
        Self { brokers, absent, drained: drained.len(), start }
    }

    /// The replicas of partition `index`, or Kafka's words for why there are too few brokers.
    pub(super) fn replicas(&self, index: i32, replication_factor: i16) -> Result<Vec<BrokerId>, String> {
        let factor = usize::try_from(replication_factor)
            .map_err(|_| format!("Invalid replication factor {replication_factor}: must be positive."))?;
        if self.brokers.is_empty() {
            let or_drained = if self.drained > 0 { " or being drained" } else { "" };
            return Err(format!("All brokers are currently fenced{or_drained}."));
        }
        let count = self.brokers.len();
        if factor > count + self.absent.len() {
            let drained = match self.drained {
                0 => String::new(),
                drained => format!(" besides {drained} that are being drained"),
            };
            return Err(format!(
                "The target replication factor of {factor} cannot be reached because only {} broker(s) are \
                 registered{drained}.",
                count + self.absent.len(),
            ));
        }
        let index = usize::try_from(index).expect("partition indexes are not negative");
        let leader = (self.start + index) % count;
        // Every round over the brokers shifts the followers by one, so that they are not the same pairs again.
        let shift = if count > 1 { index / count % (count - 1) } else { 0 };
        let followers = (0..count - 1).map(|i| (leader + 1 + (shift + i) % (count - 1)) % count);
        let mut order: Vec<usize> = std::iter::once(leader).chain(followers).collect();
        let present = factor.min(count);
        self.racks_first(&mut order, present);
        let present = order[..present].iter().map(|at| self.brokers[*at].0);
        let absent = self.absent.iter().cycle().skip(index % self.absent.len().max(1)).map(|(id, _)| *id);
        Ok(present.chain(absent.take(factor.saturating_sub(count))).collect())
    }

    /// Moves brokers forward whose racks have no replica yet, as far as `factor` goes.
    fn racks_first(&self, order: &mut [usize], factor: usize) {
        for place in 1..factor {
            let rack = |at: usize| &self.brokers[at].1;
            let fresh = (place..order.len())
                .find(|i| order[..place].iter().all(|taken| rack(*taken) != rack(order[*i])));
            if let Some(fresh) = fresh {
                order[place..=fresh].rotate_right(1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::BrokerEpoch;
    use crate::metadata::{BrokerRegistration, BrokerState, Record};
    use std::collections::BTreeSet;

    fn placement(racks: &[&str], seed: u64) -> Placement {
        let records: Vec<_> = racks
            .iter()
            .zip(1..)
            .map(|(rack, id)| Record::RegisterBroker {
                id: BrokerId(id),
                registration: BrokerRegistration {
                    incarnation: [0; 16],
                    epoch: BrokerEpoch(0),
                    endpoints: Vec::new(),
                    rack: Some((*rack).to_owned()),
                    state: if rack.is_empty() { BrokerState::Fenced } else { BrokerState::Active },
                    directory_id: [0; 16],
                    features: Vec::new(),
                },
            })
            .collect();
        Placement::new(&MetadataImage::default().replayed(&records), seed)
    }

    #[test]
    fn replicas_are_spread_over_brokers_and_racks() {
        let placement = placement(&["a", "a", "b", "b", "c", "c"], 4);
        let mut leaders = BTreeMap::<_, i32>::new();
        let mut pairs = BTreeSet::new();
        for index in 0..60 {
            let replicas = placement.replicas(index, 3).expect("there are six brokers");
            *leaders.entry(replicas[0]).or_default() += 1;
            pairs.insert((replicas[0], replicas[1]));
            let racks: BTreeSet<_> = replicas.iter().map(|id| (id.0 - 1) / 2).collect();
            assert_eq!(racks.len(), 3, "{replicas:?}");
        }
        assert!(leaders.values().all(|count| *count == 10), "{leaders:?}");
        assert!(pairs.len() > 12, "the second replica varies: {pairs:?}");
    }

    #[test]
    fn too_few_brokers() {
        assert_eq!(
            placement(&["a"], 0).replicas(0, 2),
            Err("The target replication factor of 2 cannot be reached because only 1 broker(s) are registered."
                .to_owned())
        );
        assert_eq!(placement(&[""], 0).replicas(0, 1), Err("All brokers are currently fenced.".to_owned()));
        assert_eq!(placement(&["a", ""], 7).replicas(9, 1), Ok(vec![BrokerId(1)]));
    }

    #[test]
    fn fenced_brokers_fill_up_and_never_lead() {
        for index in 0..8 {
            let replicas = placement(&["a", "", "b", ""], 3).replicas(index, 3).expect("there are four");
            assert_eq!(replicas[0].0 % 2, 1, "{replicas:?}");
            assert_eq!(replicas[1].0 % 2, 1, "{replicas:?}");
            assert_eq!(replicas[2].0 % 2, 0, "{replicas:?}");
        }
    }
}
