//! Where replicas go: those that may stay do, the others go to whoever has least. Pure; asks nobody.

use super::state::Partition;
use std::collections::BTreeMap;

/// New replicas for a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Move {
    pub(super) topic: String,
    pub(super) index: i32,
    pub(super) replicas: Vec<i32>,
}

/// Why partitions cannot be spread so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooFew {
    pub(super) replicas: usize,
    pub(super) brokers: usize,
}

/// The moves after which every one of `chosen` has its replicas on `brokers` alone, `factor` of them or as many as
/// before. `all` says how much each broker holds already. Partitions that are right as they are do not move.
pub(super) fn spread(
    all: &[Partition],
    chosen: &[Partition],
    brokers: &[i32],
    factor: Option<usize>,
) -> Result<Vec<Move>, TooFew> {
    let mut held: BTreeMap<i32, usize> = brokers.iter().map(|id| (*id, 0)).collect();
    for id in all.iter().flat_map(|partition| &partition.replicas) {
        if let Some(held) = held.get_mut(id) {
            *held += 1;
        }
    }
    let mut moves = Vec::new();
    for partition in chosen {
        let wanted = factor.unwrap_or(partition.replicas.len());
        if wanted > held.len() {
            return Err(TooFew { replicas: wanted, brokers: held.len() });
        }
        let mut replicas: Vec<i32> =
            partition.replicas.iter().copied().filter(|id| held.contains_key(id)).take(wanted).collect();
        for gone in partition.replicas.iter().filter(|id| !replicas.contains(id)) {
            if let Some(held) = held.get_mut(gone) {
                *held -= 1;
            }
        }
        while replicas.len() < wanted {
            let free = held.iter().filter(|(id, _)| !replicas.contains(id));
            let (id, _) =
                free.min_by_key(|(id, held)| (**held, **id)).expect("there are as many as are wanted");
            replicas.push(*id);
            *held.get_mut(replicas.last().expect("just pushed")).expect("it was found there") += 1;
        }
        if replicas != partition.replicas {
            moves.push(Move { topic: partition.topic.clone(), index: partition.index, replicas });
        }
    }
    Ok(moves)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partitions(replicas: &[&[i32]]) -> Vec<Partition> {
        let partition = |(index, replicas): (usize, &&[i32])| Partition {
            topic: "t".to_owned(),
            index: i32::try_from(index).unwrap(),
            leader: replicas.first().copied(),
            replicas: replicas.to_vec(),
            isr: replicas.to_vec(),
        };
        replicas.iter().enumerate().map(partition).collect()
    }

    fn replicas(moves: &[Move]) -> Vec<(i32, Vec<i32>)> {
        moves.iter().map(|m| (m.index, m.replicas.clone())).collect()
    }

    #[test]
    fn what_leaves_a_broker_goes_to_those_with_least_and_the_rest_stays() {
        let all = partitions(&[&[1, 2], &[4, 1], &[2, 4], &[1, 3]]);
        let moves = spread(&all, &all, &[1, 2, 3], None).unwrap();
        // 1 has three, 2 has two, 3 has one
        assert_eq!(replicas(&moves), [(1, vec![1, 3]), (2, vec![2, 3])]);
    }

    #[test]
    fn more_or_fewer_replicas() {
        let all = partitions(&[&[1], &[2, 3, 1]]);
        let moves = spread(&all, &all, &[1, 2, 3], Some(2)).unwrap();
        assert_eq!(replicas(&moves), [(0, vec![1, 2]), (1, vec![2, 3])], "the first replica stays the first");
        assert_eq!(spread(&all, &all, &[1, 2], Some(3)), Err(TooFew { replicas: 3, brokers: 2 }));
    }
}
