//! Members of a group that read what they are assigned and commit how far they came, as consumers do.
//!
//! They begin where the group's last commit says, so that a commit that is lost, or that a member of an older generation
//! slipped in, shows (O20, O21, O22). Now and then one sends a commit again that is of the generation before: a thread
//! that slept through the rebalance (OF-01).

use super::group::{self, Member};
use super::reading::{EARLIEST, list_offset, read_from};
use crate::check::{coordinator, records};
use crate::client::{Client, To, TopicInfo};
use crate::history::FreshCommit;
use highwater_protocol::ErrorCode;
use std::collections::BTreeMap;

/// A commit that was sent.
#[derive(Clone, Debug)]
struct Sent {
    generation: i32,
    member_id: String,
    offsets: Vec<(i32, i64)>,
}

/// A member of a group, and where it stands.
#[derive(Debug)]
pub struct GroupReader {
    member: Member,
    positions: BTreeMap<i32, i64>,
    last: Option<Sent>,
}

impl GroupReader {
    /// A member that has not joined.
    pub fn new(client: Client, group: String, topic: TopicInfo) -> Self {
        Self { member: Member::new(client, group, topic), positions: BTreeMap::new(), last: None }
    }

    /// Joins, reads and joins again until the run stops.
    pub async fn run(mut self) {
        while !self.member.client.world.is_stopping() {
            let losses = self.member.client.world.history().losses;
            if let Some(joined) = self.member.join().await
                && let Some(assigned) = self.member.sync(&joined).await
            {
                self.member.own(losses, joined.generation_id, &assigned);
                self.commit_again(joined.generation_id).await;
                // Nobody to tell: whoever is refused, or gets no answer, joins again.
                let _ = self.work(joined.generation_id, &assigned).await;
            }
            self.member.client.pause().await;
        }
    }

    /// The commit of the generation before, by whoever did not notice that there is a new one.
    async fn commit_again(&mut self, generation: i32) {
        let is_stale = |last: &Sent| last.generation < generation && last.member_id == self.member.member_id;
        let Some(last) = self.last.take().filter(is_stale) else { return };
        if self.member.client.rng.happens(400) {
            self.commit(&last).await;
        }
    }

    async fn work(&mut self, generation: i32, assigned: &[i32]) -> Option<()> {
        self.begin(assigned).await?;
        let turns = self.member.client.rng.within(3, 20);
        for _ in 0..turns {
            if self.member.client.world.is_stopping()
                || self.member.heartbeat(generation).await != Some(ErrorCode::None)
            {
                return None;
            }
            for partition in assigned {
                self.read(*partition).await?;
            }
            let offsets: Vec<_> = self.positions.iter().map(|(partition, at)| (*partition, *at)).collect();
            let sent = Sent { generation, member_id: self.member.member_id.clone(), offsets };
            self.last = Some(sent.clone());
            self.commit(&sent).await;
            self.member.client.rest(10, 150).await;
        }
        if self.member.client.rng.happens(300) {
            self.member.leave().await;
        }
        Some(())
    }

    /// Asks where the group stands; where nobody has committed, it begins with the first record.
    async fn begin(&mut self, assigned: &[i32]) -> Option<()> {
        self.positions.clear();
        let Member { client, group, topic, .. } = &mut self.member;
        let known = |client: &Client, partition: i32| {
            let mut history = client.world.history();
            history.positions.entry((group.clone(), partition)).or_default().clone()
        };
        let then: BTreeMap<i32, _> = assigned.iter().map(|p| (*p, known(client, *p))).collect();
        let losses = client.world.history().losses;
        let request = group::offset_fetch(group, topic, assigned);
        let answer = client.ask(To::Coordinator(group), &request).await?;
        let found = answer.groups.first()?;
        client.heed(found.error_code);
        if found.error_code.is_error() {
            return None;
        }
        for partition in &found.topics.first()?.partitions {
            if partition.error_code.is_error() {
                return None;
            }
            let (index, read) = (partition.partition_index, partition.committed_offset);
            let now = known(client, index);
            if client.world.history().losses == losses {
                let name = format!("{group}, partition {index}");
                let verdict = coordinator::committed_was_delivered(&name, then.get(&index)?, &now, read);
                client.world.history().judge("O21", verdict);
            }
            let at = if read >= 0 { read } else { list_offset(client, topic, index, EARLIEST).await?.offset };
            self.positions.insert(index, at);
        }
        client.note(format_args!("{group} begins at {:?}", self.positions));
        Some(())
    }

    async fn read(&mut self, partition: i32) -> Option<()> {
        let Member { client, topic, .. } = &mut self.member;
        let at = *self.positions.get(&partition)?;
        let losses = client.world.history().losses;
        let Some(read) = read_from(client, topic, partition, at).await else { return Some(()) };
        if read.code == ErrorCode::OffsetOutOfRange {
            // Records were deleted up to behind the position: it moves to the first one left.
            let earliest = list_offset(client, topic, partition, EARLIEST).await?;
            self.positions.insert(partition, earliest.offset.max(at));
            return Some(());
        }
        if read.code.is_error() {
            return Some(());
        }
        let mut history = client.world.history();
        if history.losses != losses {
            return None;
        }
        let offsets = read.records.iter().map(|(offset, _)| *offset);
        history.judge("O16", records::none_is_skipped(&topic.name, at, offsets));
        for (offset, value) in read.records {
            let known = history.partition(topic.key(partition));
            let verdict = records::readers_agree(known, offset, &value);
            known.seen.insert(offset, value);
            history.judge("O2", verdict);
            history.totals.seen += 1;
            self.positions.insert(partition, offset + 1);
        }
        Some(())
    }

    /// Commits, and holds an acknowledgement against what was known when the request left (O22, O25).
    async fn commit(&mut self, sent: &Sent) {
        let Member { client, group, topic, .. } = &mut self.member;
        let (losses, newest_then, coordinator_then) = {
            let mut history = client.world.history();
            for (partition, offset) in &sent.offsets {
                let position = history.positions.entry((group.clone(), *partition)).or_default();
                position.delivered = position.delivered.max(*offset);
            }
            (history.losses, history.newest_generation(group), history.coordinator_of(group))
        };
        let Some(broker) = client.coordinator(group).await else { return };
        let request = group::commit(group, topic, &sent.offsets, sent.generation, &sent.member_id);
        let Some(answer) = client.ask(To::Broker(broker), &request).await else { return };
        let Some(found) = answer.topics.first() else { return };
        let code = found.partitions.first().map(|partition| partition.error_code);
        client.note(format_args!("{group} {} commits {:?}: {code:?}", sent.generation, sent.offsets));
        client.heed(code.unwrap_or_default());
        let mut history = client.world.history();
        if newest_then.is_some_and(|newest| newest > sent.generation) && code != Some(ErrorCode::None) {
            history.totals.stale_commits += 1;
        }
        if history.losses != losses || code != Some(ErrorCode::None) {
            return;
        }
        history.totals.commits += 1;
        let verdict = coordinator::commit_is_of_newest_generation(group, sent.generation, newest_then);
        history.judge("O22", verdict);
        for (partition, offset) in &sent.offsets {
            let position = history.positions.entry((group.clone(), *partition)).or_default();
            position.acked = position.acked.max(Some(*offset));
        }
        if let Some((partition, epoch_then)) = coordinator_then {
            history.fresh_commits.push(FreshCommit { partition, broker, epoch_then });
        }
    }
}
