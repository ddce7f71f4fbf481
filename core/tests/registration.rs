//! A broker's life, told as conversations with the controller.

use highwater_core::ids::{BrokerEpoch, BrokerId, LeaderEpoch, Offset, PartitionEpoch, PartitionIndex};
use highwater_core::ids::{ProducerId, TopicId, TopicPartition};
use highwater_core::machine::{Machine, Outbox};
use highwater_core::metadata::ProducerIdBlock;
use highwater_core::metadata::peer::*;
use highwater_core::registration::{BrokerLifecycle, Effect, Input, LifecycleConfig, Standing};
use highwater_core::time::{Instant, Now, Timestamp};
use proptest::prelude::*;
use std::time::Duration;

const CONTROLLER: BrokerId = BrokerId(1);
const OTHER: BrokerId = BrokerId(2);

/// The machine with a clock in milliseconds and what it has asked for since the last look.
struct Broker {
    machine: BrokerLifecycle,
    ms: u64,
    out: Outbox<Effect>,
}

impl Broker {
    fn new() -> Self {
        let mut broker = Self::before_an_upgrade();
        broker.hears(Input::TakesHealth(true));
        broker
    }

    /// The cluster has not agreed that failed logs are written down.
    fn before_an_upgrade() -> Self {
        let announced = RegisterBroker {
            directory_id: [2; 16],
            endpoints: Vec::new(),
            rack: None,
            features: Vec::new(),
            clean_stop_of: None,
        };
        let machine = BrokerLifecycle::new([1; 16], announced, LifecycleConfig::default());
        Self { machine, ms: 0, out: Outbox::new() }
    }

    fn now(&self) -> Now {
        Now { mono: Instant::ZERO + Duration::from_millis(self.ms), wall: Timestamp(0) }
    }

    fn hears(&mut self, input: Input) -> Vec<Effect> {
        self.machine.handle(self.now(), input, &mut self.out);
        self.machine.assert_invariants();
        self.out.drain().collect()
    }

    fn passes(&mut self, ms: u64) -> Vec<Effect> {
        let end = self.ms + ms;
        let mut effects = Vec::new();
        loop {
            let next = self.machine.next_timeout().map(|at| at.as_nanos() / 1_000_000);
            self.ms = next.filter(|next| *next <= end).map_or(end, |next| next.max(self.ms));
            if next.is_none_or(|next| next > end) {
                return effects;
            }
            self.machine.handle_timeout(self.now(), &mut self.out);
            self.machine.assert_invariants();
            effects.extend(self.out.drain());
        }
    }

    fn answer(&mut self, to: &BrokerRequest, body: BrokerReplyBody) -> Vec<Effect> {
        self.hears(Input::Reply(to.reply(body)))
    }

    fn active() -> Self {
        Self::new().let_in()
    }

    /// Registered, let in, and with no request but heartbeats under way.
    fn let_in(self) -> Self {
        let mut broker = self;
        let register = sent(&broker.hears(Input::Controller(Some(CONTROLLER))));
        broker.answer(&register[0], registered(5));
        broker.hears(Input::Remembered(BrokerEpoch(5)));
        let beat = sent(&broker.hears(Input::Applied(Offset(5))));
        broker.answer(&beat[0], stands(false, false));
        assert_eq!(broker.machine.standing(), Standing::Active);
        broker
    }
}

fn registered(epoch: i64) -> BrokerReplyBody {
    BrokerReplyBody::Registered { broker_epoch: BrokerEpoch(epoch) }
}

fn stands(is_fenced: bool, may_stop: bool) -> BrokerReplyBody {
    BrokerReplyBody::Heartbeat(HeartbeatReply { is_caught_up: true, is_fenced, may_stop })
}

fn sent(effects: &[Effect]) -> Vec<BrokerRequest> {
    let request = |effect: &Effect| match effect {
        Effect::Send { request, .. } => Some(request.clone()),
        _ => None,
    };
    effects.iter().filter_map(request).collect()
}

fn heartbeats(effects: &[Effect]) -> Vec<BrokerHeartbeat> {
    let heartbeat = |request: BrokerRequest| match request.body {
        BrokerRequestBody::Heartbeat(heartbeat) => Some(heartbeat),
        _ => None,
    };
    sent(effects).into_iter().filter_map(heartbeat).collect()
}

fn is_register(request: &BrokerRequest) -> bool {
    matches!(request.body, BrokerRequestBody::Register(_))
}

fn wish(partition: i32, partition_epoch: i32) -> AlterPartition {
    AlterPartition {
        partition: TopicPartition { topic_id: TopicId([7; 16]), partition: PartitionIndex(partition) },
        leader_epoch: LeaderEpoch(1),
        partition_epoch: PartitionEpoch(partition_epoch),
        isr: vec![IsrMember { id: BrokerId(3), epoch: BrokerEpoch(5) }],
    }
}

fn log_of(partition: i32) -> TopicPartition {
    TopicPartition { topic_id: TopicId([7; 16]), partition: PartitionIndex(partition) }
}

fn health(partition: i32, is_failed: bool) -> Input {
    Input::Health { partition: log_of(partition), is_failed }
}

/// What was said of logs: partition and whether it failed, by request.
fn told(effects: &[Effect]) -> Vec<Vec<(i32, bool)>> {
    let items = |request: BrokerRequest| match request.body {
        BrokerRequestBody::ReplicaHealth { items, .. } => {
            Some(items.iter().map(|item| (item.partition.partition.0, item.is_failed)).collect())
        }
        _ => None,
    };
    sent(effects).into_iter().filter_map(items).collect()
}

fn health_request(effects: &[Effect]) -> BrokerRequest {
    let is_it = |request: &BrokerRequest| matches!(request.body, BrokerRequestBody::ReplicaHealth { .. });
    sent(effects).into_iter().find(is_it).expect("it is said")
}

fn wishes(effects: &[Effect]) -> Vec<Vec<AlterPartition>> {
    let items = |request: BrokerRequest| match request.body {
        BrokerRequestBody::AlterPartitions { items, .. } => Some(items),
        _ => None,
    };
    sent(effects).into_iter().filter_map(items).collect()
}

fn done(item: &AlterPartition) -> Result<AlteredPartition, AlterPartitionRefusal> {
    Ok(AlteredPartition {
        leader: Some(BrokerId(3)),
        leader_epoch: item.leader_epoch,
        partition_epoch: PartitionEpoch(item.partition_epoch.0 + 1),
        isr: vec![BrokerId(3)],
    })
}

#[test]
fn it_registers_catches_up_and_is_let_in() {
    let mut broker = Broker::new();
    assert_eq!(broker.passes(5000), [], "nobody to speak to");
    let first = sent(&broker.hears(Input::Controller(Some(CONTROLLER))));
    assert!(is_register(&first[0]));
    let again = sent(&broker.passes(1000));
    assert_eq!(again.len(), 1, "the first was lost");
    let effects = broker.answer(&again[0], registered(50));
    assert!(effects.contains(&Effect::Registered(BrokerEpoch(50))));
    assert!(effects.contains(&Effect::Standing(Standing::Fenced)));
    assert_eq!(heartbeats(&effects)[0].metadata_offset, Offset(0));
    assert_eq!(heartbeats(&broker.hears(Input::Applied(Offset(49)))), []);
    assert_eq!(heartbeats(&broker.hears(Input::Remembered(BrokerEpoch(50)))), []);
    let effects = broker.hears(Input::Applied(Offset(50)));
    assert_eq!(heartbeats(&effects)[0].metadata_offset, Offset(50), "at once, not at the next interval");
    let beat = sent(&effects).remove(0);
    assert_eq!(broker.answer(&beat, stands(false, false)), [Effect::Standing(Standing::Active)]);
    assert_eq!(heartbeats(&broker.passes(3000)).len(), 10, "one each 300 ms");
}

/// PR-06: a process that is let in and dies before the disk knows of its registration would count as one that lost records.
#[test]
fn it_asks_to_be_let_in_once_its_disk_knows_of_the_registration() {
    let asks = |effects: &[Effect]| -> Vec<bool> {
        heartbeats(effects).iter().map(|beat| !beat.wants_fence).collect()
    };
    let mut broker = Broker::new();
    let register = sent(&broker.hears(Input::Controller(Some(CONTROLLER)))).remove(0);
    assert_eq!(asks(&broker.answer(&register, registered(50))), [false]);
    assert_eq!(asks(&broker.hears(Input::Applied(Offset(50)))), [false]);
    assert_eq!(asks(&broker.passes(600)), [false, false], "the disk is slow");
    assert_eq!(asks(&broker.hears(Input::Remembered(BrokerEpoch(49)))), [], "that was another registration");
    assert_eq!(asks(&broker.hears(Input::Remembered(BrokerEpoch(50)))), [true], "at once");
    assert_eq!(asks(&broker.hears(Input::Remembered(BrokerEpoch(50)))), [], "once");
    assert_eq!(asks(&broker.passes(300)), [true]);

    let beat = sent(&broker.passes(300)).remove(0);
    broker.answer(&beat, BrokerReplyBody::Refused(BrokerRefusal::StaleBrokerEpoch));
    let register = sent(&broker.passes(200)).into_iter().find(is_register).expect("it registers again");
    assert_eq!(asks(&broker.answer(&register, registered(60))), [false], "each registration is remembered");
    broker.hears(Input::Applied(Offset(60)));
    assert_eq!(asks(&broker.hears(Input::Remembered(BrokerEpoch(60)))), [true]);
}

#[test]
fn late_answers_of_an_older_life_are_dropped() {
    let mut broker = Broker::new();
    let register = sent(&broker.hears(Input::Controller(Some(CONTROLLER)))).remove(0);
    let of_older_life = BrokerReply { incarnation: [9; 16], ..register.reply(registered(4)) };
    assert_eq!(broker.hears(Input::Reply(of_older_life)), []);
    assert_eq!(broker.machine.epoch(), None);
    let of_no_request = BrokerReply { correlation: 77, ..register.reply(registered(4)) };
    assert_eq!(broker.hears(Input::Reply(of_no_request)), []);
    broker.answer(&register, registered(5));
    assert_eq!(broker.machine.epoch(), Some(BrokerEpoch(5)));
    assert_eq!(broker.answer(&register, registered(4)), [], "it was answered before");
    assert_eq!(broker.machine.epoch(), Some(BrokerEpoch(5)));
}

#[test]
fn a_new_controller_hears_of_it_at_once_and_the_old_one_is_not_believed() {
    let mut broker = Broker::active();
    let old = sent(&broker.passes(300)).remove(0);
    let effects = broker.hears(Input::Controller(Some(OTHER)));
    assert!(matches!(effects[0], Effect::Send { to: OTHER, .. }), "{effects:?}");
    assert_eq!(broker.answer(&old, stands(true, false)), [], "the old one says that it is fenced");
    assert_eq!(broker.hears(Input::Controller(None)), []);
    assert_eq!(broker.passes(10_000), [], "nobody to speak to");
    assert_eq!(heartbeats(&broker.hears(Input::Controller(Some(CONTROLLER)))).len(), 1);
}

/// OF-07, O20: whoever stood still may have been replaced, and answers to what it asked before are no news.
#[test]
fn a_process_that_stood_still_holds_no_lease_until_it_is_heard_anew() {
    let mut broker = Broker::active();
    let holds = |broker: &Broker| broker.machine.holds_lease(broker.now().mono);
    assert!(holds(&broker));
    let beat = sent(&broker.passes(300)).remove(0);
    broker.ms += 4000; // it stands still
    assert!(!holds(&broker));
    assert_eq!(broker.answer(&beat, stands(false, false)), [], "the answer to what it asked before");
    assert!(!holds(&broker));
    let beat = sent(&broker.passes(0)).remove(0);
    broker.answer(&beat, BrokerReplyBody::NotController);
    assert!(!holds(&broker), "a controller that is not followed vouches for nobody");
    let beat = sent(&broker.passes(300)).pop().expect("it asks again");
    broker.answer(&beat, stands(false, false));
    assert!(holds(&broker));
    let beat = sent(&broker.passes(300)).pop().expect("the next heartbeat");
    broker.answer(&beat, stands(true, false));
    assert!(!holds(&broker), "it is fenced: somebody else leads");
}

/// O3, O20: what it leads is given away while it stops, and the new leader may begin before it hears of that.
#[test]
fn a_broker_that_stops_holds_no_lease() {
    let mut broker = Broker::active();
    let holds = |broker: &Broker| broker.machine.holds_lease(broker.now().mono);
    assert!(holds(&broker));
    let beat = sent(&broker.hears(Input::Shutdown)).remove(0);
    assert!(!holds(&broker), "the controller may hear of it any moment");
    broker.answer(&beat, stands(false, false));
    assert!(!holds(&broker), "it is not fenced, and leads less and less");
}

#[test]
fn a_stale_epoch_is_registered_anew_and_one_that_was_removed_is_not() {
    let mut broker = Broker::active();
    let beat = sent(&broker.passes(300)).remove(0);
    let effects = broker.answer(&beat, BrokerReplyBody::Refused(BrokerRefusal::StaleBrokerEpoch));
    assert_eq!(effects, [Effect::Standing(Standing::Starting)]);
    let register = sent(&broker.passes(200)).remove(0);
    assert!(is_register(&register));
    let effects = broker.answer(&register, BrokerReplyBody::Refused(BrokerRefusal::DuplicateRegistration));
    assert_eq!(effects, [Effect::Standing(Standing::Refused(BrokerRefusal::DuplicateRegistration))]);
    assert!(is_register(&sent(&broker.passes(400))[0]), "the other's session may end");

    let mut broker = Broker::active();
    let beat = sent(&broker.passes(300)).remove(0);
    let effects = broker.answer(&beat, BrokerReplyBody::Refused(BrokerRefusal::NotRegistered));
    assert_eq!(effects, [Effect::Standing(Standing::Unregistered)]);
    assert_eq!(broker.passes(60_000), []);
}

#[test]
fn it_stops_when_the_controller_says_that_it_may() {
    let mut broker = Broker::active();
    let effects = broker.hears(Input::Shutdown);
    assert!(heartbeats(&effects)[0].wants_shutdown);
    let beat = sent(&effects).remove(0);
    assert_eq!(broker.answer(&beat, stands(false, false)), []);
    let effects = broker.passes(150);
    assert!(heartbeats(&effects)[0].wants_shutdown, "it asks again soon");
    let beat = sent(&effects).remove(0);
    let effects = broker.answer(&beat, stands(false, true));
    assert_eq!(effects, [Effect::Standing(Standing::Stopped), Effect::MayStop]);
    assert_eq!(broker.passes(60_000), [], "whoever has left is silent");

    let mut unregistered = Broker::new();
    unregistered.hears(Input::Controller(Some(CONTROLLER)));
    assert!(unregistered.hears(Input::Shutdown).contains(&Effect::MayStop), "it leads nothing");
}

#[test]
fn isr_changes_go_out_in_batches_one_at_a_time() {
    let mut broker = Broker::active();
    let first = broker.hears(Input::Alter(wish(0, 1)));
    assert_eq!(wishes(&first), [vec![wish(0, 1)]]);
    for partition in 1..4 {
        assert_eq!(wishes(&broker.hears(Input::Alter(wish(partition, 1)))), Vec::<Vec<_>>::new());
    }
    broker.hears(Input::Alter(wish(2, 2)));
    let results = BrokerReplyBody::PartitionsAltered(vec![done(&wish(0, 1))]);
    let effects = broker.answer(&sent(&first)[0], results);
    assert_eq!(effects[0], Effect::IsrAnswered { item: wish(0, 1), result: done(&wish(0, 1)) });
    assert_eq!(wishes(&effects), [vec![wish(1, 1), wish(2, 2), wish(3, 1)]], "the newest of each");
    let retried = wishes(&broker.passes(1000));
    assert_eq!(retried, [vec![wish(1, 1), wish(2, 2), wish(3, 1)]], "nothing was heard");
    let to_new = broker.hears(Input::Controller(Some(OTHER)));
    assert_eq!(wishes(&to_new).len(), 1, "nor by the new controller");
    let request =
        sent(&to_new).into_iter().find(|r| matches!(r.body, BrokerRequestBody::AlterPartitions { .. }));
    let request = request.expect("it was sent");
    assert_eq!(wishes(&broker.answer(&request, BrokerReplyBody::NotController)), Vec::<Vec<_>>::new());
    assert_eq!(wishes(&broker.passes(100)).len(), 1);
}

#[test]
fn producer_ids_are_asked_for_until_they_come() {
    let mut broker = Broker::active();
    let asked = |effects: &[Effect]| {
        sent(effects)
            .into_iter()
            .find(|request| matches!(request.body, BrokerRequestBody::AllocateProducerIds { .. }))
    };
    let first = asked(&broker.hears(Input::WantProducerIds)).expect("it asks");
    assert_eq!(asked(&broker.hears(Input::WantProducerIds)), None, "once at a time");
    let again = asked(&broker.passes(1000)).expect("it was lost");
    let ids = BrokerReplyBody::ProducerIds { first: ProducerId(1000), len: 1000 };
    assert_eq!(broker.answer(&first, ids.clone()), [], "it was given up");
    let block = ProducerIdBlock { first: ProducerId(1000), len: 1000 };
    assert_eq!(broker.answer(&again, ids), [Effect::ProducerIds(Some(block))]);
    assert_eq!(asked(&broker.passes(5000)), None);
}

#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    Controller(Option<i32>),
    Alter(i32, i32),
    Ids,
    Health(i32, bool),
    Applied(i64),
    Remembered(i64),
    Shutdown,
    /// The answer of this kind to one of the last requests.
    Reply(usize, u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1u64..1500).prop_map(Step::Pass),
        1 => prop_oneof![Just(None), (1i32..4).prop_map(Some)].prop_map(Step::Controller),
        2 => (0i32..5, 0i32..9).prop_map(|(p, e)| Step::Alter(p, e)),
        1 => Just(Step::Ids),
        2 => (0i32..3, any::<bool>()).prop_map(|(p, is_failed)| Step::Health(p, is_failed)),
        1 => (0i64..60).prop_map(Step::Applied),
        1 => (0i64..9).prop_map(Step::Remembered),
        8 => (0usize..6, 0u8..8).prop_map(|(n, kind)| Step::Reply(n, kind)),
        1 => Just(Step::Shutdown),
    ]
}

proptest! {
    /// Whatever is lost, late or doubled: an epoch comes from an answer to the registration that waits, each wish is
    /// answered as it was asked, and whoever lives and has a controller is not silent.
    #[test]
    fn answers_are_believed_once(steps in prop::collection::vec(step(), 1..80)) {
        let mut broker = Broker::new();
        let mut requests: Vec<BrokerRequest> = Vec::new();
        let mut epoch = 0;
        for step in steps {
            let effects = match step {
                Step::Pass(ms) => broker.passes(ms),
                Step::Controller(id) => broker.hears(Input::Controller(id.map(BrokerId))),
                Step::Alter(p, e) => broker.hears(Input::Alter(wish(p, e))),
                Step::Health(p, is_failed) => broker.hears(health(p, is_failed)),
                Step::Ids => broker.hears(Input::WantProducerIds),
                Step::Applied(offset) => broker.hears(Input::Applied(Offset(offset))),
                Step::Remembered(epoch) => broker.hears(Input::Remembered(BrokerEpoch(epoch))),
                Step::Shutdown => broker.hears(Input::Shutdown),
                Step::Reply(back, kind) => {
                    let Some(request) = requests.iter().rev().nth(back).cloned() else { continue };
                    let body = match (kind, &request.body) {
                        (0, _) => BrokerReplyBody::NotController,
                        (1, _) => BrokerReplyBody::Refused(BrokerRefusal::StaleBrokerEpoch),
                        (_, BrokerRequestBody::Register(_)) => {
                            epoch += 1;
                            registered(epoch)
                        }
                        (2, _) => stands(true, false),
                        (_, BrokerRequestBody::Heartbeat(beat)) => stands(kind == 3, beat.wants_shutdown),
                        (_, BrokerRequestBody::AlterPartitions { items, .. }) => {
                            BrokerReplyBody::PartitionsAltered(items.iter().map(done).collect())
                        }
                        (_, BrokerRequestBody::ReplicaHealth { .. }) => BrokerReplyBody::ReplicaHealthNoted,
                        (_, BrokerRequestBody::AllocateProducerIds { .. }) => {
                            BrokerReplyBody::ProducerIds { first: ProducerId(1), len: 1 }
                        }
                    };
                    let before = broker.machine.epoch();
                    let effects = broker.answer(&request, body);
                    for effect in &effects {
                        match effect {
                            Effect::Registered(now) => {
                                prop_assert!(is_register(&request) && before.is_none());
                                prop_assert_eq!(*now, BrokerEpoch(epoch));
                            }
                            Effect::IsrAnswered { item, result } => {
                                prop_assert_eq!(result, &done(item));
                                let BrokerRequestBody::AlterPartitions { items, .. } = &request.body else {
                                    return Err(TestCaseError::fail("an answer to something else"));
                                };
                                prop_assert!(items.contains(item));
                            }
                            _ => {}
                        }
                    }
                    effects
                }
            };
            requests.extend(sent(&effects));
        }
    }
}

#[test]
fn a_failed_log_is_told_until_the_controller_confirms_it() {
    let mut broker = Broker::active();
    let first = broker.hears(health(0, true));
    assert_eq!(told(&first), [[(0, true)]], "at once");
    assert!(told(&broker.hears(health(0, true))).is_empty(), "once");
    assert!(told(&broker.hears(health(1, true))).is_empty(), "one request at a time");
    let again = broker.passes(1100);
    assert_eq!(told(&again), [[(0, true), (1, true)]], "no answer came");
    // The answer to the first comes late.
    assert!(told(&broker.answer(&health_request(&first), BrokerReplyBody::ReplicaHealthNoted)).is_empty());
    let elsewhere = broker.hears(Input::Controller(Some(OTHER)));
    assert_eq!(told(&elsewhere), [[(0, true), (1, true)]], "another controller has not heard it");
    broker.answer(&health_request(&elsewhere), BrokerReplyBody::NotController);
    let paused = broker.passes(200);
    assert_eq!(told(&paused), [[(0, true), (1, true)]]);
    broker.answer(&health_request(&paused), BrokerReplyBody::ReplicaHealthNoted);
    assert!(told(&broker.passes(5000)).is_empty());
    assert!(
        told(&broker.hears(Input::Controller(Some(CONTROLLER)))).is_empty(),
        "what is noted is committed"
    );
}

#[test]
fn news_of_a_log_while_older_news_of_it_is_out_are_told_too() {
    let mut broker = Broker::active();
    let failed = broker.hears(health(0, true));
    assert!(told(&broker.hears(health(0, false))).is_empty());
    let mended = broker.answer(&health_request(&failed), BrokerReplyBody::ReplicaHealthNoted);
    assert_eq!(told(&mended), [[(0, false)]]);
    broker.answer(&health_request(&mended), BrokerReplyBody::ReplicaHealthNoted);
    assert!(told(&broker.passes(5000)).is_empty());
    assert_eq!(told(&broker.hears(health(0, true))), [[(0, true)]], "it may fail again");
    broker.hears(Input::Removed(log_of(0)));
    assert!(told(&broker.passes(5000)).is_empty(), "what is gone is nobody's concern");
}

#[test]
fn under_another_registration_failed_logs_are_told_before_the_broker_can_be_let_in() {
    let mut broker = Broker::active();
    for (log, is_failed) in [(0, true), (1, true), (1, false)] {
        let effects = broker.hears(health(log, is_failed));
        broker.answer(&health_request(&effects), BrokerReplyBody::ReplicaHealthNoted);
    }
    let beat = sent(&broker.passes(300));
    let stale = BrokerReplyBody::Refused(BrokerRefusal::StaleBrokerEpoch);
    broker.answer(beat.last().expect("it lives"), stale);
    broker.hears(Input::Applied(Offset(20)));
    let register = sent(&broker.passes(200)).into_iter().find(is_register).expect("it registers again");
    let effects = broker.answer(&register, registered(9));
    assert_eq!(told(&effects), [[(0, true)]], "1 is as any other replica");
    let is_health = |request: &BrokerRequest| matches!(request.body, BrokerRequestBody::ReplicaHealth { .. });
    assert!(is_health(&sent(&effects)[0]), "before the heartbeat: {effects:?}");
    assert_eq!(heartbeats(&effects).len(), 1);
}

#[test]
fn nobody_is_told_of_failed_logs_before_all_of_the_cluster_can_read_it() {
    let mut broker = Broker::before_an_upgrade().let_in();
    assert!(told(&broker.hears(health(0, true))).is_empty());
    assert!(told(&broker.passes(5000)).is_empty());
    assert!(told(&broker.hears(Input::Controller(Some(OTHER)))).is_empty());
    assert_eq!(told(&broker.hears(Input::TakesHealth(true))), [[(0, true)]], "it has not been forgotten");
    assert!(told(&broker.hears(Input::TakesHealth(true))).is_empty(), "and is told once");
}

#[test]
fn a_log_that_failed_before_the_broker_was_registered_is_told_then() {
    let mut broker = Broker::new();
    let register = sent(&broker.hears(Input::Controller(Some(CONTROLLER))));
    assert!(told(&broker.hears(health(0, true))).is_empty());
    assert_eq!(told(&broker.answer(&register[0], registered(5))), [[(0, true)]]);
}
