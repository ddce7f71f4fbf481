//! How one partition's state follows from the one before: reassignment, eligible leaders, election, epochs.
//!
//! Everything that changes a partition goes through [`PartitionChange`], so that what holds of every state (O9) is
//! made in one place: nobody is in the ISR who is not active, whoever leaves an ISR that falls below
//! `min.insync.replicas` stays eligible (KIP-966), and every new leader has a new leader epoch.
//!
//! A leader is sought in this order: the leader there is; the ISR; the ELR, the last leader first; and anyone, only
//! where that is allowed (`unclean.leader.election.enable`, or an operator's word).

use crate::ids::{BrokerId, PartitionEpoch};
use crate::metadata::records::PartitionState;
use crate::{guard, planted};

/// Which leader is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Election {
    /// The leader there is, if it can go on; else the best there is.
    Online,
    /// The first replica, if it is in sync (KIP-460).
    Preferred,
    /// Anyone, if there is nobody better.
    Unclean,
}

/// Which brokers can be counted on, as a plan sees it.
pub(super) struct Candidates<'a> {
    /// Whether a broker is active.
    pub(super) is_active: &'a dyn Fn(BrokerId) -> bool,
    /// Whether a broker is being drained: it leads only where nobody else can.
    pub(super) is_drained: &'a dyn Fn(BrokerId) -> bool,
}

/// A broker's data that may be incomplete after an unclean stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) broker: BrokerId,
    /// Its directory is another one: nothing is left. Otherwise only what was not flushed may be gone.
    pub(super) is_everything: bool,
}

/// A change of one partition, to be built.
pub(super) struct PartitionChange<'a> {
    before: &'a PartitionState,
    replicas: Vec<BrokerId>,
    isr: Vec<BrokerId>,
    adding: Vec<BrokerId>,
    removing: Vec<BrokerId>,
    lost: Option<Lost>,
    is_renewed: bool,
    isr_min: usize,
    election: Election,
    is_unclean_allowed: bool,
    candidates: &'a Candidates<'a>,
}

impl<'a> PartitionChange<'a> {
    /// No change yet. `isr_min` is `min.insync.replicas` of the topic, `is_unclean_allowed` its
    /// `unclean.leader.election.enable`.
    pub(super) fn new(
        before: &'a PartitionState,
        isr_min: i32,
        is_unclean_allowed: bool,
        candidates: &'a Candidates<'a>,
    ) -> Self {
        Self {
            before,
            replicas: before.replicas.clone(),
            isr: before.isr.clone(),
            adding: before.adding.clone(),
            removing: before.removing.clone(),
            lost: None,
            is_renewed: false,
            isr_min: usize::try_from(isr_min).unwrap_or(1).max(1),
            election: Election::Online,
            is_unclean_allowed,
            candidates,
        }
    }

    /// The ISR is to be this one.
    pub(super) fn isr(mut self, isr: Vec<BrokerId>) -> Self {
        self.isr = isr;
        self
    }

    /// Whoever is not active leaves the ISR (KIP-841).
    pub(super) fn without_inactive(mut self) -> Self {
        self.isr.retain(|member| (self.candidates.is_active)(*member));
        // PR-06: before KIP-966 the last member stayed, however it died.
        planted!(
            EligibleLeadersKept,
            if self.isr.is_empty() {
                self.isr.extend(self.before.isr.first());
            },
            ()
        );
        self
    }

    /// A broker's data may be incomplete.
    pub(super) fn lost(mut self, lost: Lost) -> Self {
        self.isr.retain(|member| *member != lost.broker);
        planted!(
            EligibleLeadersKept,
            if self.isr.is_empty() {
                self.isr.extend(self.before.isr.first());
            },
            ()
        );
        self.lost = Some(lost);
        self
    }

    /// Whoever leads does so in a new epoch: what the leader knows of its followers from before counts no more.
    pub(super) const fn renewed(mut self) -> Self {
        self.is_renewed = true;
        self
    }

    /// Replicas come and go (KIP-455); all three lists as they are to be. Members of the ISR that were added and are wanted
    /// no more go at once if the others are enough; else they stay for now, as replicas that are added and removed again.
    pub(super) fn replicas(
        mut self,
        mut replicas: Vec<BrokerId>,
        mut adding: Vec<BrokerId>,
        mut removing: Vec<BrokerId>,
    ) -> Self {
        let (unwanted, wanted): (Vec<_>, Vec<_>) =
            self.isr.iter().copied().partition(|member| !replicas.contains(member));
        let in_sync = wanted.iter().filter(|member| !removing.contains(member)).count();
        let least = self.isr_min.min(replicas.len() - removing.len());
        if guard!(ReassignmentKeepsMinimum, unwanted.is_empty() || in_sync >= least) {
            self.isr = wanted;
        } else {
            replicas.extend(&unwanted);
            adding.extend(&unwanted);
            removing.extend(&unwanted);
        }
        (self.replicas, self.adding, self.removing) = (replicas, adding, removing);
        self
    }

    /// Which leader is wanted.
    pub(super) const fn election(mut self, election: Election) -> Self {
        self.election = election;
        self
    }

    /// The state that comes of it; `None` if it is the one before.
    pub(super) fn build(mut self) -> Option<PartitionState> {
        self.complete_reassignment();
        let mut after = PartitionState {
            replicas: std::mem::take(&mut self.replicas),
            isr: std::mem::take(&mut self.isr),
            adding: std::mem::take(&mut self.adding),
            removing: std::mem::take(&mut self.removing),
            ..self.before.clone()
        };
        self.keep_eligible(&mut after);
        self.elect(&mut after);
        let starts_anew = self.is_renewed && after.leader.is_some();
        if after == *self.before && !starts_anew {
            return None;
        }
        // A leader that loses a follower to a reassignment starts anew, so that it does not wait for it.
        let loses_replica = self.before.replicas.iter().any(|replica| !after.replicas.contains(replica));
        if after.leader != self.before.leader || loses_replica || starts_anew {
            after.leader_epoch = self.before.leader_epoch.next();
        }
        after.partition_epoch = PartitionEpoch(self.before.partition_epoch.0 + 1);
        Some(after)
    }

    /// A reassignment is complete once everyone it adds is in sync, and of those who stay as many as the topic's minimum.
    /// Until then nobody is let go: with fewer, what was committed would be on fewer replicas than were promised, and one
    /// loss more could take it.
    fn complete_reassignment(&mut self) {
        if self.adding.is_empty() && self.removing.is_empty() {
            return;
        }
        let stays = |member: &BrokerId| !self.removing.contains(member);
        let isr: Vec<_> = self.isr.iter().copied().filter(stays).collect();
        if isr.is_empty() || !self.adding.iter().filter(|added| stays(added)).all(|added| isr.contains(added))
        {
            return;
        }
        let remaining = self.replicas.iter().filter(|replica| stays(replica)).count();
        if !guard!(ReassignmentKeepsMinimum, isr.len() >= self.isr_min.min(remaining)) {
            return;
        }
        self.replicas.retain(|replica| !self.removing.contains(replica));
        self.isr = isr;
        self.adding.clear();
        self.removing.clear();
    }

    /// The ELR: whoever was in sync when the ISR fell below its minimum, for nothing was acknowledged since without
    /// them. Empty as soon as the ISR is large enough.
    fn keep_eligible(&self, after: &mut PartitionState) {
        let isr_min = self.isr_min.min(after.replicas.len());
        if after.isr.len() >= isr_min {
            after.elr.clear();
            return;
        }
        let was_complete = |broker: &BrokerId| {
            let was_in = self.before.elr.contains(broker) || self.before.isr.contains(broker);
            was_in && !after.isr.contains(broker)
        };
        let mut elr: Vec<BrokerId> = after.replicas.iter().copied().filter(was_complete).collect();
        if let Some(lost) = self.lost {
            let rest: Vec<_> = elr.iter().copied().filter(|broker| *broker != lost.broker).collect();
            // The last one there is stays, unless it is blank: what it has flushed is more than nothing.
            if lost.is_everything || !rest.is_empty() || !after.isr.is_empty() {
                elr = rest;
            }
        }
        planted!(EligibleLeadersKept, elr.clear(), ());
        after.elr = elr;
    }

    fn elect(&self, after: &mut PartitionState) {
        match self.choose(after) {
            Some(leader) => {
                let is_clean = after.isr.contains(&leader) || after.elr.contains(&leader);
                if !is_clean {
                    after.elr.clear();
                }
                if !after.isr.contains(&leader) {
                    after.isr = vec![leader];
                    after.elr.retain(|broker| *broker != leader);
                    if after.isr.len() >= self.isr_min.min(after.replicas.len()) {
                        after.elr.clear();
                    }
                }
                after.leader = Some(leader);
                after.last_leader = None;
            }
            None => {
                after.last_leader = after.leader.or(after.last_leader);
                after.leader = None;
            }
        }
    }

    fn choose(&self, after: &PartitionState) -> Option<BrokerId> {
        let is_active = |broker: &BrokerId| (self.candidates.is_active)(*broker);
        let is_drained = |broker: &BrokerId| (self.candidates.is_drained)(*broker);
        let in_sync = |broker: &BrokerId| after.isr.contains(broker) && is_active(broker);
        let preferred =
            after.replicas.first().copied().filter(|broker| in_sync(broker) && !is_drained(broker));
        if let (Election::Preferred, Some(preferred)) = (self.election, preferred) {
            return Some(preferred);
        }
        let stays = |leader: &BrokerId| in_sync(leader) && after.replicas.contains(leader);
        let leader = after.leader.filter(stays);
        if let Some(leader) = leader.filter(|leader| !is_drained(leader)) {
            return Some(leader);
        }
        let in_order = || after.replicas.iter().copied();
        let best_in_sync = in_order().find(|b| in_sync(b) && !is_drained(b)).or(leader);
        if let Some(best) = best_in_sync.or_else(|| in_order().find(in_sync)) {
            return Some(best);
        }
        let eligible = |broker: &BrokerId| after.elr.contains(broker) && is_active(broker);
        if let Some(eligible) = after.last_leader.into_iter().chain(in_order()).find(eligible) {
            return Some(eligible);
        }
        let is_allowed = guard!(ElectionClean, self.is_unclean_allowed || self.election == Election::Unclean);
        let anyone = after.last_leader.into_iter().chain(in_order());
        if is_allowed {
            anyone.into_iter().find(|b| after.replicas.contains(b) && is_active(b))
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::LeaderEpoch;

    const fn b(id: i32) -> BrokerId {
        BrokerId(id)
    }

    fn ids(text: &str) -> Vec<BrokerId> {
        text.bytes().map(|digit| b(i32::from(digit - b'0'))).collect()
    }

    fn digits(ids: &[BrokerId]) -> String {
        ids.iter().map(ToString::to_string).collect()
    }

    /// `replicas isr elr leader`, with 0 for nobody.
    fn state(text: &str) -> PartitionState {
        let mut words = text.split(' ').map(|word| word.replace('-', ""));
        let mut next = || ids(&words.next().unwrap_or_default());
        let (replicas, isr, elr) = (next(), next(), next());
        let leader = next().into_iter().next().filter(|id| *id != b(0));
        PartitionState {
            elr,
            leader,
            leader_epoch: LeaderEpoch(5),
            partition_epoch: PartitionEpoch(9),
            ..PartitionState::new(replicas, isr)
        }
    }

    fn told(state: &PartitionState) -> String {
        let or_dash = |ids: &[BrokerId]| if ids.is_empty() { "-".to_owned() } else { digits(ids) };
        let leader = state.leader.unwrap_or(b(0));
        format!("{} {} {} {leader}", or_dash(&state.replicas), or_dash(&state.isr), or_dash(&state.elr))
    }

    fn with_active<R>(active: &str, then: impl FnOnce(&Candidates<'_>) -> R) -> R {
        let active = ids(active);
        then(&Candidates { is_active: &|broker| active.contains(&broker), is_drained: &|_| false })
    }

    /// A partition of `min.insync.replicas` 2 after only `active` are left.
    fn fenced(before: &str, active: &str, is_unclean_allowed: bool) -> String {
        with_active(active, |candidates| {
            let before = state(before);
            let change = PartitionChange::new(&before, 2, is_unclean_allowed, candidates).without_inactive();
            change.build().map_or_else(|| "same".to_owned(), |after| told(&after))
        })
    }

    #[test]
    fn brokers_that_go_leave_the_isr_and_below_the_minimum_stay_eligible() {
        for (before, active, expect) in [
            ("123 123 - 1", "123", "same"),
            ("123 123 - 1", "23", "123 23 - 2"),
            ("123 123 - 2", "23", "123 23 - 2"),
            ("123 23 - 2", "13", "123 3 2 3"),
            ("123 3 2 3", "12", "123 2 3 2"),
            ("123 3 2 3", "1", "123 - 23 0"),
            ("123 - 23 0", "1", "same"),
            ("123 - 23 0", "13", "123 3 2 3"),
            // One replica needs only itself to be in sync.
            ("1 1 - 1", "2", "1 - 1 0"),
            ("1 - 1 0", "1", "1 1 - 1"),
        ] {
            assert_eq!(fenced(before, active, false), expect, "{before} with {active}");
        }
    }

    #[test]
    fn anyone_leads_only_where_that_is_allowed_and_then_nobody_else_is_eligible() {
        assert_eq!(fenced("123 - 23 0", "1", true), "123 1 - 1");
        assert_eq!(fenced("123 3 2 3", "1", true), "123 1 - 1");
        assert_eq!(fenced("123 3 2 3", "12", true), "123 2 3 2", "the eligible come first");
    }

    #[test]
    fn what_was_lost_in_an_unclean_stop_leads_only_if_there_is_nobody_else() {
        for (before, is_everything, expect) in [
            ("123 123 - 1", false, "123 23 - 2"),
            ("123 12 - 1", false, "123 2 - 2"),
            // 1 was the only complete one, 2 and 3 still are what they were when the ISR fell below 2.
            ("123 1 23 1", false, "123 2 3 2"),
            ("123 - 1 0", false, "same"),
            ("123 - 1 0", true, "123 - - 0"),
            ("123 1 - 1", false, "123 - 1 0"),
            ("123 1 - 1", true, "123 - - 0"),
        ] {
            let after = with_active("23", |candidates| {
                let before = state(before);
                let lost = Lost { broker: b(1), is_everything };
                let change =
                    PartitionChange::new(&before, 2, false, candidates).without_inactive().lost(lost);
                change.build().map_or_else(|| "same".to_owned(), |after| told(&after))
            });
            assert_eq!(after, expect, "{before}, everything: {is_everything}");
        }
    }

    #[test]
    fn the_last_leader_is_the_first_of_the_eligible() {
        let before = with_active("", |none| {
            let before = state("123 3 12 3");
            PartitionChange::new(&before, 3, false, none).without_inactive().build().expect("nobody leads")
        });
        assert_eq!((told(&before).as_str(), before.last_leader), ("123 - 123 0", Some(b(3))));
        with_active("123", |all| {
            let after = PartitionChange::new(&before, 3, false, all).build().expect("somebody leads");
            assert_eq!((told(&after).as_str(), after.last_leader), ("123 3 12 3", None));
        });
    }

    #[test]
    fn epochs_rise_with_what_they_count() {
        with_active("123", |all| {
            let before = state("123 123 - 1");
            let change = |isr: &str| PartitionChange::new(&before, 2, false, all).isr(ids(isr));
            let shrunk = change("12").build().expect("the ISR is another");
            assert_eq!((shrunk.leader_epoch, shrunk.partition_epoch), (LeaderEpoch(5), PartitionEpoch(10)));
            let moved = change("23").build().expect("the leader is another");
            assert_eq!((moved.leader_epoch, moved.partition_epoch), (LeaderEpoch(6), PartitionEpoch(10)));
            assert_eq!(moved.leader, Some(b(2)));
        });
    }

    #[test]
    fn the_preferred_leader_leads_if_it_is_in_sync() {
        with_active("123", |all| {
            for (before, expect) in
                [("123 123 - 2", Some("123 123 - 1")), ("123 23 - 2", None), ("123 123 - 1", None)]
            {
                let before = state(before);
                let change = PartitionChange::new(&before, 2, false, all).election(Election::Preferred);
                assert_eq!(change.build().as_ref().map(told).as_deref(), expect);
            }
        });
    }

    #[test]
    fn a_drained_broker_leads_only_where_nobody_else_can() {
        let all = Candidates { is_active: &|_| true, is_drained: &|broker| broker == b(1) };
        for (before, election, expect) in [
            ("123 123 - 1", Election::Online, Some("123 123 - 2")),
            ("123 1 - 1", Election::Online, None),
            ("123 123 - 2", Election::Preferred, None),
            ("1 1 - 1", Election::Online, None),
        ] {
            let before = state(before);
            let change = PartitionChange::new(&before, 1, false, &all).election(election);
            assert_eq!(change.build().as_ref().map(told).as_deref(), expect);
        }
    }

    #[test]
    fn a_reassignment_is_complete_when_the_added_are_in_sync() {
        with_active("1234", |all| {
            let mut before = state("4321 321 - 1");
            (before.adding, before.removing) = (ids("4"), ids("1"));
            let change = |isr: &str| PartitionChange::new(&before, 2, false, all).isr(ids(isr)).build();
            let waits = change("31").expect("the ISR is another");
            assert_eq!((told(&waits).as_str(), waits.is_reassigned()), ("4321 31 - 1", true));
            let done = change("4321").expect("it is complete");
            assert_eq!((told(&done).as_str(), done.is_reassigned()), ("432 432 - 4", false));
            assert_eq!(done.leader_epoch, LeaderEpoch(6));
        });
    }

    #[test]
    fn a_replica_that_was_added_stays_while_a_cancelled_reassignment_needs_it() {
        with_active("123", |all| {
            // From 1 and 2 to 2 and 3, of which 3 has caught up and 2 lags.
            let mut before = state("231 13 - 1");
            (before.adding, before.removing) = (ids("3"), ids("1"));
            let cancel = |before: &PartitionState| {
                let change = PartitionChange::new(before, 2, false, all);
                change.replicas(ids("21"), Vec::new(), Vec::new()).build()
            };
            let waits = cancel(&before).expect("the reassignment is another");
            assert_eq!(told(&waits), "213 13 - 1");
            assert_eq!((digits(&waits.adding), digits(&waits.removing)), ("3".to_owned(), "3".to_owned()));
            assert_eq!(cancel(&waits), None, "once more changes nothing");
            let done = PartitionChange::new(&waits, 2, false, all).isr(ids("132")).build();
            let done = done.expect("2 has caught up");
            assert_eq!((told(&done).as_str(), done.is_reassigned()), ("21 12 - 1", false));
            before.isr = ids("123");
            let at_once = cancel(&before).expect("it ends");
            assert_eq!((told(&at_once).as_str(), at_once.is_reassigned()), ("21 12 - 1", false));
        });
    }

    #[test]
    fn a_reassignment_waits_until_as_many_of_those_who_stay_are_in_sync_as_the_minimum() {
        with_active("123", |all| {
            let before = state("123 12 - 1");
            let change = PartitionChange::new(&before, 2, false, all);
            let begun = change.replicas(ids("312"), Vec::new(), ids("1")).build().expect("it begins");
            // With 2 alone everything that 1 and 2 have committed would be on one replica.
            assert_eq!((told(&begun).as_str(), begun.is_reassigned()), ("312 12 - 1", true));
            let done = PartitionChange::new(&begun, 2, false, all).isr(ids("123")).build();
            let done = done.expect("3 has caught up");
            assert_eq!((told(&done).as_str(), done.is_reassigned()), ("32 23 - 3", false));
            // Where fewer replicas are wanted than the minimum, all of them will do.
            let change = PartitionChange::new(&before, 2, false, all);
            let one = change.replicas(ids("12"), Vec::new(), ids("2")).build().expect("it is complete");
            assert_eq!((told(&one).as_str(), one.is_reassigned()), ("1 1 - 1", false));
        });
    }
}
