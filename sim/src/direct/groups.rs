//! What is true of consumer groups: who owned what in which generation, and which commits were acknowledged.

use std::collections::{BTreeMap, BTreeSet};

/// A commit's place among those of its group: a coordinator takes none of a generation that is over, and what one
/// member sends arrives in order or not at all. So a commit that was taken ends the chances of all before it, and of none
/// behind it: those may have left before its answer came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CommitId {
    pub(crate) generation: i32,
    /// Counts all commits of a run, as they left.
    number: u64,
}

/// A committed offset as a register (O20).
#[derive(Debug, Default)]
struct Register {
    /// The last commit that was acknowledged.
    acked: Option<(CommitId, i64)>,
    /// Commits behind it whose outcome nobody knows: each may count.
    unknown: BTreeMap<CommitId, i64>,
}

#[derive(Debug, Default)]
struct Group {
    newest_generation: i32,
    owners: BTreeMap<i32, BTreeMap<i32, String>>,
    registers: BTreeMap<i32, Register>,
}

/// What a reader of offsets may be told.
#[derive(Debug)]
struct Asked {
    group: String,
    /// Of each partition: what was acknowledged when it asked, and what might have been written by then or since.
    legal: Vec<(i32, Option<i64>, BTreeSet<i64>)>,
}

/// The groups of a run.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    groups: BTreeMap<String, Group>,
    asked: BTreeMap<u64, Asked>,
    commits: u64,
}

impl Groups {
    fn group(&mut self, group: &str) -> &mut Group {
        if !self.groups.contains_key(group) {
            self.groups.insert(group.to_owned(), Group::default());
        }
        self.groups.get_mut(group).expect("it was just put there")
    }

    /// The newest generation in which any member was given partitions.
    pub(crate) fn newest_generation(&self, group: &str) -> i32 {
        self.groups.get(group).map_or(-1, |known| known.newest_generation)
    }

    /// A member was given partitions: nobody else has them in that generation (O22).
    pub(crate) fn owns(
        &mut self,
        group: &str,
        generation: i32,
        member: &str,
        partitions: &[i32],
    ) -> Result<(), String> {
        let known = self.group(group);
        // a generation is logged once its members sync: one that was only announced may be announced again elsewhere
        known.newest_generation = known.newest_generation.max(generation);
        let owners = known.owners.entry(generation).or_default();
        for partition in partitions {
            let owner = owners.entry(*partition).or_insert_with(|| member.to_owned());
            if owner != member {
                return Err(format!(
                    "{group}, generation {generation}: {owner} and {member} own {partition}"
                ));
            }
        }
        while known.owners.len() > 4 {
            known.owners.pop_first();
        }
        Ok(())
    }

    /// Names a commit that is about to leave.
    pub(crate) const fn next_commit(&mut self, generation: i32) -> CommitId {
        self.commits += 1;
        CommitId { generation, number: self.commits }
    }

    /// A commit is under way: it may count from now on.
    pub(crate) fn sent(&mut self, group: &str, id: CommitId, offsets: &[(i32, i64)]) {
        for (partition, offset) in offsets {
            let register = self.group(group).registers.entry(*partition).or_default();
            if register.acked.is_some_and(|(known, _)| id < known) {
                continue; // of a generation that is over for certain
            }
            register.unknown.insert(id, *offset);
            for asked in self.asked.values_mut().filter(|asked| asked.group == group) {
                let of_partition = asked.legal.iter_mut().filter(|(index, ..)| index == partition);
                of_partition.for_each(|(_, _, unknown)| _ = unknown.insert(*offset));
            }
        }
    }

    /// A commit was acknowledged. `is_stale` if a later generation was known before it left (O22).
    pub(crate) fn acked(
        &mut self,
        group: &str,
        id: CommitId,
        offsets: &[(i32, i64)],
        is_stale: bool,
    ) -> Result<(), (&'static str, String)> {
        if is_stale {
            let newest = self.newest_generation(group);
            let what =
                format!("{group}: a commit of generation {} is taken in generation {newest}", id.generation);
            return Err(("O22", what));
        }
        for (partition, offset) in offsets {
            let register = self.group(group).registers.entry(*partition).or_default();
            if register.acked.is_none_or(|(known, _)| known < id) {
                register.acked = Some((id, *offset));
                register.unknown.retain(|other, _| *other > id);
            }
        }
        Ok(())
    }

    /// A member asks for committed offsets.
    pub(crate) fn asked(&mut self, request: u64, group: &str, partitions: &[i32]) {
        let known = self.group(group);
        let legal = partitions.iter().map(|partition| {
            let register = known.registers.entry(*partition).or_default();
            let acked = register.acked.map(|(_, offset)| offset);
            (*partition, acked, register.unknown.values().copied().collect())
        });
        let legal = legal.collect();
        self.asked.insert(request, Asked { group: group.to_owned(), legal });
        while self.asked.len() > 64 {
            self.asked.pop_first();
        }
    }

    /// It was told: never "none" after an acknowledged commit, and nothing but that commit, a later one, or one whose
    /// outcome nobody knew.
    pub(crate) fn read(&mut self, request: u64, group: &str, read: &[(i32, i64)]) -> Result<(), String> {
        let Some(Asked { legal, .. }) = self.asked.remove(&request) else { return Ok(()) };
        for (partition, offset) in read {
            let Some((_, acked, unknown)) = legal.iter().find(|(asked, ..)| asked == partition) else {
                continue;
            };
            let told = (*offset >= 0).then_some(*offset);
            if told != *acked && !unknown.contains(offset) {
                return Err(format!(
                    "{group}: committed offset {offset} of partition {partition} is read after {acked:?} was acknowledged"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: &str = "group";

    fn sent(groups: &mut Groups, generation: i32, offset: i64) -> CommitId {
        let id = groups.next_commit(generation);
        groups.sent(GROUP, id, &[(0, offset)]);
        id
    }

    fn acked(groups: &mut Groups, id: CommitId, offset: i64) {
        groups.acked(GROUP, id, &[(0, offset)], false).expect("it is not stale");
    }

    fn may_read(groups: &mut Groups, offset: i64) -> bool {
        groups.asked(0, GROUP, &[0]);
        groups.read(0, GROUP, &[(0, offset)]).is_ok()
    }

    #[test]
    fn an_answer_that_comes_late_says_nothing_of_the_next_generation() {
        let mut groups = Groups::default();
        let first = sent(&mut groups, 3, 125);
        sent(&mut groups, 5, 174);
        acked(&mut groups, first, 125);
        assert!(may_read(&mut groups, 125) && may_read(&mut groups, 174));
        assert!(!may_read(&mut groups, -1), "never none after an acknowledged commit");
    }

    #[test]
    fn what_came_before_an_acknowledged_commit_does_not_come_back() {
        let mut groups = Groups::default();
        sent(&mut groups, 3, 10);
        let second = sent(&mut groups, 3, 20);
        acked(&mut groups, second, 20);
        sent(&mut groups, 2, 30);
        assert!(may_read(&mut groups, 20));
        assert!(!may_read(&mut groups, 10), "a member's commits keep their order");
        assert!(!may_read(&mut groups, 30), "nobody takes a commit of a generation that is over");
    }
}
