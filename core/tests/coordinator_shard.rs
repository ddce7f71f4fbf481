//! The shard without any group: a coordinator that keeps one number, and the log it must agree with.

use bytes::Bytes;
use highwater_core::coordinator::{
    AppendId, Coordinator, CoordinatorShard, Effect, Input, LoadId, Phase, Plan, Record, ReplayError,
    ShardConfig,
};
use highwater_core::ids::{LeaderEpoch, Offset, Token};
use highwater_core::machine::{Machine, Outbox};
use highwater_core::time::{Instant, Now, Timestamp};
use highwater_protocol::ErrorCode;
use std::time::Duration;

/// Adds up what it is told; zero asks for the sum without adding.
#[derive(Debug)]
struct Adder;

type Answer = Result<u64, ErrorCode>;

fn add(n: u64) -> Record {
    Record { key: Bytes::copy_from_slice(&n.to_be_bytes()), value: Some(Bytes::new()) }
}

impl Coordinator for Adder {
    type Durable = u64;
    type Volatile = ();
    type Request = Vec<u64>;
    type Reply = Answer;
    type Timer = ();
    type Event = ();

    fn replay(durable: &mut u64, record: &Record) -> Result<(), ReplayError> {
        match record.key.len() {
            8 => *durable += u64::from_be_bytes(record.key[..].try_into().expect("eight bytes")),
            2 => return Err(ReplayError::UnknownType(7)),
            _ => return Err(ReplayError::Malformed("not a number")),
        }
        Ok(())
    }

    fn start(&self, _: Now, _: &u64, _: &mut Plan<Self>) {}

    fn plan(&self, _: Now, (): &mut (), sum: &u64, token: Token, request: Vec<u64>, plan: &mut Plan<Self>) {
        for n in request.iter().filter(|n| **n > 0) {
            plan.append(add(*n));
        }
        plan.reply_committed(token, Ok(sum + request.iter().sum::<u64>()));
    }

    fn plan_timeout(&self, _: Now, (): &mut (), _: &u64, (): (), _: &mut Plan<Self>) {}

    fn abandon((): (), _: ErrorCode) -> Vec<(Token, Answer)> {
        Vec::new()
    }

    fn refuse(_: Vec<u64>, error: ErrorCode) -> Answer {
        Err(error)
    }

    fn fail(_: Answer, error: ErrorCode) -> Answer {
        Err(error)
    }

    fn assert_invariants(&self, (): &(), _: &u64) {}
}

const EPOCH: LeaderEpoch = LeaderEpoch(4);

struct Shard {
    shard: CoordinatorShard<Adder>,
    now_ms: u64,
}

impl Shard {
    fn new(append_bytes_max: usize) -> Self {
        let config = ShardConfig { append_bytes_max, ..ShardConfig::default() };
        Self { shard: CoordinatorShard::new(Adder, config), now_ms: 0 }
    }

    /// A shard that has loaded this log.
    fn loaded(append_bytes_max: usize, log: Vec<Record>) -> Self {
        let mut shard = Self::new(append_bytes_max);
        let end = Offset(i64::try_from(log.len()).expect("few"));
        assert_eq!(shard.tell(Input::Lead { epoch: EPOCH }), ["load 1"]);
        shard.tell(Input::Load { load: LoadId(1), records: log });
        shard.tell(Input::LoadFinished { load: LoadId(1), end });
        shard.tell(Input::HighWatermark(end));
        assert_eq!(shard.shard.phase(), Phase::Active);
        shard
    }

    fn now(&self) -> Now {
        let mono = Instant::ZERO + Duration::from_millis(self.now_ms);
        Now { mono, wall: Timestamp(0) }
    }

    fn tell(&mut self, input: Input<Adder>) -> Vec<String> {
        let mut out = Outbox::new();
        self.shard.handle(self.now(), input, &mut out);
        self.shard.assert_invariants();
        told(&mut out)
    }

    fn ask(&mut self, token: u64, request: &[u64]) -> Vec<String> {
        self.tell(Input::Request { token: Token(token), request: request.to_vec() })
    }

    fn wait_ms(&mut self, ms: u64) -> Vec<String> {
        self.now_ms += ms;
        let mut out = Outbox::new();
        self.shard.handle_timeout(self.now(), &mut out);
        self.shard.assert_invariants();
        told(&mut out)
    }
}

fn told(out: &mut Outbox<Effect<Adder>>) -> Vec<String> {
    let line = |effect: Effect<Adder>| match effect {
        Effect::Load { load } => format!("load {}", load.0),
        Effect::Append { id, epoch, records } => {
            assert_eq!(epoch, EPOCH);
            format!("append {}: {} records", id.0, records.len())
        }
        Effect::Reply { token, reply: Ok(sum) } => format!("{} <- {sum}", token.0),
        Effect::Reply { token, reply: Err(error) } => format!("{} <- {}", token.0, error.name()),
        Effect::Event(()) => "event".to_owned(),
        Effect::ReplayFailed(error) => format!("{error:?}"),
    };
    out.drain().map(line).collect()
}

const NOTHING: [&str; 0] = [];

#[test]
fn decisions_build_on_decisions_and_answers_wait_for_the_high_watermark() {
    let mut shard = Shard::loaded(1000, vec![add(10)]);
    assert_eq!(shard.ask(1, &[0]), ["1 <- 10"]);
    assert_eq!(shard.ask(2, &[1]), ["append 2: 1 records"]);
    assert_eq!(shard.ask(3, &[0]), NOTHING, "reads what 2 decided, so it waits as 2 does");
    assert_eq!(shard.tell(Input::Appended { id: AppendId(2), end: Offset(2) }), NOTHING);
    assert_eq!(shard.tell(Input::HighWatermark(Offset(1))), NOTHING);
    assert_eq!(shard.tell(Input::HighWatermark(Offset(2))), ["2 <- 11", "3 <- 11"]);
}

#[test]
fn one_append_is_in_flight_and_the_next_takes_all_that_piled_up() {
    let mut shard = Shard::loaded(61 + 3 * 19, vec![]);
    assert_eq!(shard.ask(1, &[1]), ["append 2: 1 records"]);
    for token in 2..=5 {
        assert_eq!(shard.ask(token, &[1]), NOTHING);
    }
    // a header of 61 bytes and 19 for each record: three fit
    let appended = shard.tell(Input::Appended { id: AppendId(2), end: Offset(1) });
    assert_eq!(appended, ["append 5: 3 records"]);
    assert_eq!(shard.tell(Input::Appended { id: AppendId(5), end: Offset(4) }), ["append 6: 1 records"]);
    assert_eq!(shard.tell(Input::Appended { id: AppendId(6), end: Offset(5) }), NOTHING);
    let committed = shard.tell(Input::HighWatermark(Offset(4)));
    assert_eq!(committed, ["1 <- 1", "2 <- 2", "3 <- 3", "4 <- 4"]);
    assert_eq!(shard.tell(Input::HighWatermark(Offset(5))), ["5 <- 5"]);
}

#[test]
fn a_plan_too_large_for_one_batch_is_cut_and_answered_with_its_last_piece() {
    let mut shard = Shard::loaded(61 + 2 * 19, vec![]);
    assert_eq!(shard.ask(1, &[1, 1, 1]), ["append 2: 2 records"]);
    shard.tell(Input::HighWatermark(Offset(9)));
    assert_eq!(shard.tell(Input::Appended { id: AppendId(2), end: Offset(2) }), ["append 3: 1 records"]);
    assert_eq!(shard.tell(Input::Appended { id: AppendId(3), end: Offset(3) }), ["1 <- 3"]);
}

#[test]
fn after_a_failed_append_the_log_is_read_again() {
    let mut shard = Shard::loaded(1000, vec![add(10)]);
    shard.ask(1, &[1]);
    shard.ask(2, &[1]);
    let failed = shard.tell(Input::AppendFailed { id: AppendId(2), error: ErrorCode::NotEnoughReplicas });
    assert_eq!(failed, ["1 <- COORDINATOR_NOT_AVAILABLE", "2 <- COORDINATOR_NOT_AVAILABLE", "load 2"]);
    assert_eq!(shard.ask(3, &[0]), ["3 <- COORDINATOR_LOAD_IN_PROGRESS"]);
    // records of the first load come late
    shard.tell(Input::Load { load: LoadId(1), records: vec![add(99)] });
    shard.tell(Input::LoadFinished { load: LoadId(1), end: Offset(1) });
    assert_eq!(shard.shard.phase(), Phase::Loading);
    shard.tell(Input::Load { load: LoadId(2), records: vec![add(10)] });
    shard.tell(Input::LoadFinished { load: LoadId(2), end: Offset(1) });
    assert_eq!(shard.ask(4, &[0]), ["4 <- 10"]);
}

#[test]
fn a_late_answer_to_an_append_of_another_epoch_means_nothing() {
    let mut shard = Shard::loaded(1000, vec![]);
    assert_eq!(shard.ask(1, &[1]), ["append 2: 1 records"]);
    assert_eq!(shard.tell(Input::Resign), ["1 <- NOT_COORDINATOR"]);
    assert_eq!(shard.tell(Input::Lead { epoch: EPOCH }), ["load 2"]);
    shard.tell(Input::LoadFinished { load: LoadId(2), end: Offset(0) });
    assert_eq!(shard.ask(2, &[5]), ["append 4: 1 records"]);
    // GC-04: the old append did not fail this one, nor commit it
    assert_eq!(
        shard.tell(Input::AppendFailed { id: AppendId(2), error: ErrorCode::UnknownServerError }),
        NOTHING
    );
    assert_eq!(shard.tell(Input::Appended { id: AppendId(2), end: Offset(1) }), NOTHING);
    shard.tell(Input::HighWatermark(Offset(1)));
    assert_eq!(shard.tell(Input::Appended { id: AppendId(4), end: Offset(1) }), ["2 <- 5"]);
}

#[test]
fn what_was_read_above_the_high_watermark_is_not_told_before_it_is_committed() {
    let mut shard = Shard::new(1000);
    shard.tell(Input::HighWatermark(Offset(1)));
    shard.tell(Input::Lead { epoch: EPOCH });
    shard.tell(Input::Load { load: LoadId(1), records: vec![add(10), add(1)] });
    shard.tell(Input::LoadFinished { load: LoadId(1), end: Offset(2) });
    assert_eq!(shard.ask(1, &[0]), NOTHING);
    assert_eq!(shard.tell(Input::HighWatermark(Offset(2))), ["1 <- 11"]);
}

#[test]
fn a_reply_waits_only_so_long() {
    let mut shard = Shard::loaded(1000, vec![]);
    shard.ask(1, &[1]);
    assert_eq!(shard.wait_ms(4_999), NOTHING);
    assert_eq!(shard.wait_ms(1), ["1 <- COORDINATOR_NOT_AVAILABLE"]);
    // the record may be committed all the same
    shard.tell(Input::Appended { id: AppendId(2), end: Offset(1) });
    shard.tell(Input::HighWatermark(Offset(1)));
    assert_eq!(shard.ask(2, &[0]), ["2 <- 1"]);
}

#[test]
fn a_log_that_cannot_be_read_is_tried_again() {
    let mut shard = Shard::new(1000);
    shard.tell(Input::Lead { epoch: EPOCH });
    assert_eq!(shard.tell(Input::LoadFailed { load: LoadId(1) }), NOTHING);
    assert_eq!(shard.shard.phase(), Phase::Failed);
    assert_eq!(shard.ask(1, &[0]), ["1 <- NOT_COORDINATOR"]);
    assert_eq!(shard.wait_ms(1_000), ["load 2"]);
    let malformed = Record { key: Bytes::from_static(b"x"), value: None };
    let told = shard.tell(Input::Load { load: LoadId(2), records: vec![add(1), malformed] });
    assert_eq!(told, [r#"Malformed("not a number")"#]);
    assert_eq!(shard.wait_ms(1_000), ["load 3"]);
    // a type of a newer release is passed over (KIP-915)
    let newer = Record { key: Bytes::from_static(b"xx"), value: None };
    let told = shard.tell(Input::Load { load: LoadId(3), records: vec![newer, add(1)] });
    assert_eq!(told, ["UnknownType(7)"]);
    shard.tell(Input::LoadFinished { load: LoadId(3), end: Offset(2) });
    shard.tell(Input::HighWatermark(Offset(2)));
    assert_eq!(shard.ask(2, &[0]), ["2 <- 1"]);
}

#[test]
fn being_told_twice_of_one_leadership_changes_nothing() {
    let mut shard = Shard::loaded(1000, vec![add(3)]);
    assert_eq!(shard.tell(Input::Lead { epoch: EPOCH }), NOTHING);
    assert_eq!(shard.ask(1, &[0]), ["1 <- 3"]);
    assert_eq!(shard.tell(Input::Lead { epoch: LeaderEpoch(5) }), ["load 2"]);
}
