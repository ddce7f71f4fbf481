//! Stories of one fetcher: what it sends, and when it gives a session up.

use highwater_core::error_code::ErrorCode;
use highwater_core::ids::{BrokerEpoch, LeaderEpoch, Offset, PartitionIndex, TopicId, TopicPartition};
use highwater_core::machine::{Machine, Outbox};
use highwater_core::replica::{
    FetchOutcome, FetchPosition, Fetcher, FetcherConfig, FetcherEffect, FetcherInput, PartitionAnswer,
    PartitionChange, ReplicaFetch, ReplicaFetchBody, ReplicaFetchReply, ReplicaSession, SessionConfig,
};
use highwater_core::time::{Instant, Now, Timestamp};
use std::time::Duration;

/// What happens to it.
enum Step {
    /// Another partition is followed.
    Follow(i32),
    /// A reply comes, with nothing.
    Nothing(u64),
    /// A reply comes, and refuses a partition.
    Refused(u64, i32),
    /// The leader does not know the session.
    Unknown(u64),
    /// So many milliseconds pass.
    Pass(u64),
}

use Step::{Follow, Nothing, Pass, Refused, Unknown};

struct Story {
    fetcher: Fetcher,
    now: Now,
}

fn partition(index: i32) -> TopicPartition {
    TopicPartition { topic_id: TopicId([1; 16]), partition: PartitionIndex(index) }
}

const POSITION: FetchPosition = FetchPosition {
    leader_epoch: LeaderEpoch(3),
    offset: Offset(10),
    safe_end: Offset(10),
    last_epoch: LeaderEpoch(3),
    log_start: Offset(0),
};

impl Story {
    fn new() -> Self {
        Self::registered(BrokerEpoch(1))
    }

    fn registered(epoch: BrokerEpoch) -> Self {
        let config = FetcherConfig {
            response_max: Duration::from_millis(3000),
            backoff_max: Duration::from_millis(1000),
        };
        let now = Now { mono: Instant::ZERO + Duration::from_millis(1), wall: Timestamp(0) };
        Self { fetcher: Fetcher::new(config, epoch, 0), now }
    }

    fn step(&mut self, step: &Step) -> String {
        let mut out = Outbox::new();
        match *step {
            Pass(ms) => {
                self.now.mono = self.now.mono + Duration::from_millis(ms);
                if self.fetcher.next_timeout().is_some_and(|at| at <= self.now.mono) {
                    self.fetcher.handle_timeout(self.now, &mut out);
                }
            }
            Follow(index) => {
                let follow = PartitionChange::Follow { partition: partition(index), position: POSITION };
                self.fetcher.handle(self.now, FetcherInput::Changed(vec![follow]), &mut out);
            }
            Nothing(sequence) => self.reply(sequence, ReplicaFetchBody::Answers(Vec::new()), &mut out),
            Refused(sequence, index) => {
                let body = ReplicaFetchBody::Answers(vec![refusal(index)]);
                self.reply(sequence, body, &mut out);
            }
            Unknown(sequence) => self.reply(sequence, ReplicaFetchBody::UnknownSession, &mut out),
        }
        self.fetcher.assert_invariants();
        out.drain().map(|effect| sent(&effect)).collect::<Vec<_>>().join("; ")
    }

    fn reply(&mut self, sequence: u64, body: ReplicaFetchBody, out: &mut Outbox<FetcherEffect>) {
        let session = self.fetcher.session();
        let reply = ReplicaFetchReply { broker_epoch: BrokerEpoch(2), session, sequence, body };
        self.fetcher.handle(self.now, FetcherInput::Reply(reply), out);
    }
}

fn refusal(index: i32) -> PartitionAnswer {
    PartitionAnswer {
        partition: partition(index),
        leader_epoch: POSITION.leader_epoch,
        offset: POSITION.offset,
        last_epoch: POSITION.last_epoch,
        outcome: FetchOutcome::refused(ErrorCode::NotLeaderOrFollower),
    }
}

/// Sessions of registrations before the one of these stories.
const SESSIONS_BEFORE: u64 = 1 << 20;

/// `session/sequence +named -forgotten`
fn sent(effect: &FetcherEffect) -> String {
    let FetcherEffect::Send(ReplicaFetch { session, sequence, changed, forgotten, .. }) = effect else {
        return format!("{effect:?}");
    };
    let session = session - SESSIONS_BEFORE;
    let named = changed.iter().map(|fetch| format!(" +{}", fetch.partition.partition));
    let gone = forgotten.iter().map(|partition| format!(" -{}", partition.partition));
    format!("{session}/{sequence}{}", named.chain(gone).collect::<String>())
}

fn tell(name: &str, steps: &[(Step, &str)]) {
    let mut story = Story::new();
    for (n, (step, expected)) in steps.iter().enumerate() {
        assert_eq!(story.step(step), *expected, "{name}: step {n}");
    }
}

/// A process that registered before may have opened as many sessions. Its replies can come late, and again and again.
#[test]
fn a_reply_to_the_process_before_is_no_reply_to_this_one() {
    let mut before = Story::new();
    before.step(&Follow(0));
    let late = before.fetcher.session();
    let mut story = Story::registered(BrokerEpoch(2));
    assert_eq!(story.step(&Follow(0)), format!("{}/0 +0", SESSIONS_BEFORE + 1));
    let mut out = Outbox::new();
    let body = ReplicaFetchBody::UnknownSession;
    let reply = ReplicaFetchReply { broker_epoch: BrokerEpoch(2), session: late, sequence: 0, body };
    story.fetcher.handle(story.now, FetcherInput::Reply(reply), &mut out);
    assert!(out.drain().next().is_none(), "believed, it would open another session");
    let same_process = FetcherInput::Registered(BrokerEpoch(2));
    story.fetcher.handle(story.now, same_process, &mut out);
    let effects: Vec<_> = out.drain().collect();
    assert_eq!(effects.iter().map(sent).collect::<Vec<_>>(), [format!("{}/0 +0", SESSIONS_BEFORE + 2)]);
}

#[test]
fn a_session_is_given_up_for_a_reply_that_is_lost_and_for_no_other() {
    tell(
        "one fetch after the other",
        &[
            (Follow(0), "1/0 +0"),
            (Nothing(0), "1/1"),
            (Pass(2999), ""),
            (Nothing(1), "1/2"),
            (Pass(3000), "2/0 +0"),
        ],
    );
    tell(
        "a fetch takes the place of the one that waits, which is replied to",
        &[
            (Follow(0), "1/0 +0"),
            (Follow(1), "1/1 +1"),
            (Nothing(0), ""),
            (Pass(500), ""),
            (Nothing(1), "1/2"),
            (Pass(500), ""),
        ],
    );
    tell(
        "the leader refused 0 and replied, a newer fetch overlapped, and the reply was lost: nobody would ask for 0 again",
        &[
            (Follow(0), "1/0 +0"),
            (Follow(1), "1/1 +1"),
            (Nothing(1), "1/2"),
            (Pass(99), ""),
            (Pass(1), "2/0 +0 +1"),
        ],
    );
    tell(
        "the same, but the reply is only late",
        &[
            (Follow(0), "1/0 +0"),
            (Follow(1), "1/1 +1"),
            (Nothing(1), "1/2"),
            (Pass(99), ""),
            (Refused(0, 0), "1/3 -0"),
            (Pass(20), "1/4 +0"),
            (Pass(1000), ""),
        ],
    );
    tell("the leader has restarted", &[(Follow(0), "1/0 +0"), (Unknown(0), "2/0 +0"), (Pass(1000), "")]);
}

#[test]
fn what_was_vouched_for_is_not_taken_back_by_what_is_told_late() {
    let mut story = Story::new();
    let mut stands = |change| {
        let mut out = Outbox::new();
        story.fetcher.handle(story.now, FetcherInput::Changed(vec![change]), &mut out);
        story.fetcher.position(partition(0)).map(|position| (position.offset.0, position.safe_end.0))
    };
    let at =
        |offset, safe_end| FetchPosition { offset: Offset(offset), safe_end: Offset(safe_end), ..POSITION };
    let partition = partition(0);
    let follow = |position| PartitionChange::Follow { partition, position };
    let moved = |position| PartitionChange::Moved { partition, position };
    assert_eq!(stands(follow(at(10, 10))), Some((10, 10)));
    // Batches up to 20 were appended and flushed, and the flush is told first.
    assert_eq!(stands(follow(at(20, 20))), Some((20, 20)));
    assert_eq!(stands(moved(at(20, 10))), Some((20, 20)));
    // Cut and filled again it is another 20.
    assert_eq!(stands(moved(at(15, 15))), Some((15, 15)));
    assert_eq!(stands(moved(at(20, 15))), Some((20, 15)));
}

#[test]
fn a_leader_tells_whose_place_a_fetch_has_taken() {
    let mut session = ReplicaSession::new(SessionConfig {
        wait_max: Duration::from_millis(500),
        offsets_linger: Duration::ZERO,
        partition_bytes_max: 1 << 20,
    });
    let fetch = |number, sequence| ReplicaFetch {
        broker_epoch: BrokerEpoch(1),
        session: number,
        sequence,
        changed: Vec::new(),
        forgotten: Vec::new(),
    };
    assert_eq!(session.begin(Instant::ZERO, &fetch(1, 0)), Ok(None));
    assert_eq!(session.begin(Instant::ZERO, &fetch(1, 1)), Ok(Some(0)), "fetch 0 waited");
    session.replied();
    assert_eq!(session.begin(Instant::ZERO, &fetch(1, 2)), Ok(None), "fetch 1 was replied to");
    assert_eq!(session.begin(Instant::ZERO, &fetch(2, 0)), Ok(None), "nobody waits for the old session");
}
