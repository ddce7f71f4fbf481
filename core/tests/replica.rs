//! Stories of one partition replica, told by scripts in `scripts/replica`.
//!
//! A step is a line with a command, `----`, and what the replica asks for or answers, up to an empty line. With
//! `UPDATE_SCRIPTS=1` the outputs are written anew; review the difference.

use bytes::Bytes;
use highwater_core::batch::{Builder, Codec, StampedBatch, TimestampType, ValidBatch, replicated, stamp};
use highwater_core::ids::{
    BrokerEpoch, BrokerId, LeaderEpoch, Offset, PartitionEpoch, ProducerEpoch, ProducerId, Sequence, Token,
    TopicPartition,
};
use highwater_core::machine::{Machine, Outbox};
use highwater_core::replica::{
    Acks, Effect, EpochEnd, FetchFrom, FetchPosition, FollowerFetch, Input, Isolation, IsrAccepted,
    IsrMember, IsrRefusal, Leadership, Recovery, Replica, Replicated, ReplicatedOutcome, Reply, Role,
    Settings,
};
use highwater_core::time::{Instant, Now, Timestamp};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

struct Story {
    replica: Replica,
    now_ms: u64,
    next_token: u64,
    /// What was proposed, as the controller was asked; what was asked again counts once.
    proposed: Vec<Vec<IsrMember>>,
}

/// A command line: its words are `name=value` or just `name`.
struct Command<'a> {
    verb: &'a str,
    args: BTreeMap<&'a str, &'a str>,
}

impl<'a> Command<'a> {
    fn parse(line: &'a str) -> Self {
        let mut words = line.split_whitespace();
        let verb = words.next().expect("a command has a verb");
        Self { verb, args: words.map(|word| word.split_once('=').unwrap_or((word, ""))).collect() }
    }

    fn has(&self, name: &str) -> bool {
        self.args.contains_key(name)
    }

    fn number(&self, name: &str) -> Option<i64> {
        self.args.get(name).map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
    }

    fn or(&self, name: &str, default: i64) -> i64 {
        self.number(name).unwrap_or(default)
    }

    fn brokers(&self, name: &str) -> Vec<BrokerId> {
        self.args.get(name).unwrap_or(&"1").split(',').map(|id| BrokerId(id.parse().unwrap())).collect()
    }

    fn settings(&self) -> Settings {
        Settings {
            min_isr: self.or("min_isr", 1) as usize,
            acks_durable: self.has("durable"),
            flush_messages: self.or("flush_messages", i64::MAX),
            flush_interval: self.number("flush_ms").map(|ms| Duration::from_millis(ms as u64)),
            timestamp_type: if self.has("append_time") {
                TimestampType::LogAppendTime
            } else {
                TimestampType::CreateTime
            },
            deletes: !self.has("compact"),
            lag_max: Duration::from_millis(self.or("lag_ms", 30_000) as u64),
            ..Settings::default()
        }
    }

    fn epoch(&self, name: &str) -> Option<LeaderEpoch> {
        self.number(name).map(|epoch| LeaderEpoch(epoch as i32))
    }

    fn isolation(&self) -> Isolation {
        if self.has("committed") { Isolation::ReadCommitted } else { Isolation::ReadUncommitted }
    }

    fn batch(&self, now_ms: u64) -> ValidBatch {
        let mut builder = Builder::new(Codec::None);
        if let Some(pid) = self.number("pid") {
            let epoch = ProducerEpoch(self.or("pepoch", 0) as i16);
            builder = builder.idempotent(ProducerId(pid), epoch, Sequence(self.or("seq", 0) as i32));
        }
        for _ in 0..self.or("n", 1) {
            builder.push(Timestamp(self.or("ts", now_ms as i64)), None, Some(b"v"), &[]);
        }
        builder.build()
    }
}

impl Story {
    fn new(command: &Command<'_>) -> Self {
        let mut recovery = Recovery::from_log_start(Offset(command.or("start", 0)));
        if let Some(end) = command.number("end") {
            let n = end - command.or("start", 0);
            let mut header = *{
                let mut builder = Builder::new(Codec::None);
                (0..n).for_each(|_| builder.push(Timestamp(0), None, None, &[]));
                builder.build()
            }
            .header();
            header.base_offset = Offset(command.or("start", 0));
            header.leader_epoch = LeaderEpoch(command.or("epoch", 0) as i32);
            recovery.observe(&header).unwrap();
        }
        let end = recovery.log_end();
        let flushed = Offset(command.or("flushed", end.0));
        let recovered = recovery.finish(flushed, Offset(command.or("hw", 0)));
        let replica = Replica::new(TopicPartition::default(), BrokerId(1), command.settings(), recovered);
        Self { replica, now_ms: 1000, next_token: 1, proposed: Vec::new() }
    }

    fn now(&self) -> Now {
        let mono = Instant::ZERO + Duration::from_millis(self.now_ms);
        Now { mono, wall: Timestamp(self.now_ms as i64) }
    }

    fn token(&mut self, command: &Command<'_>) -> Token {
        let token = command.number("token").map_or(self.next_token, |token| token as u64);
        self.next_token = self.next_token.max(token + 1);
        Token(token)
    }

    fn input(&mut self, c: &Command<'_>) -> Option<Input> {
        Some(match c.verb {
            "lead" => Input::Lead(Leadership {
                leader_epoch: c.epoch("epoch").unwrap(),
                partition_epoch: PartitionEpoch(c.or("version", 0) as i32),
                replicas: c.brokers("replicas"),
                isr: c.brokers("isr"),
            }),
            "follow" => Input::Follow {
                leader: c.number("leader").map(|id| BrokerId(id as i32)),
                leader_epoch: c.epoch("epoch").unwrap(),
                partition_epoch: PartitionEpoch(c.or("version", 0) as i32),
            },
            "produce" => Input::Produce {
                token: self.token(c),
                batch: c.batch(self.now_ms),
                acks: if c.has("acks") { Acks::All } else { Acks::Leader },
                leader_epoch: c.epoch("bound"),
            },
            "appended" => Input::Appended { through: Offset(c.number("through").unwrap()) },
            "append-failed" => Input::AppendFailed,
            "flushed" => Input::Flushed { through: Offset(c.number("through").unwrap()) },
            "flush-failed" => Input::FlushFailed,
            "fetched" => Input::FollowerFetched(self.follower_fetch(c)),
            "isr-accepted" => Input::IsrAnswered {
                leader_epoch: c.epoch("epoch").unwrap(),
                proposed_at: PartitionEpoch(c.number("at").unwrap() as i32),
                proposed: self.proposal(c),
                answer: Ok(IsrAccepted {
                    leader_epoch: c.epoch("epoch").unwrap(),
                    partition_epoch: PartitionEpoch(c.number("version").unwrap() as i32),
                    isr: c.brokers("isr"),
                }),
            },
            "isr-refused" => Input::IsrAnswered {
                leader_epoch: c.epoch("epoch").unwrap(),
                proposed_at: PartitionEpoch(c.number("at").unwrap() as i32),
                proposed: self.proposal(c),
                answer: Err(if c.has("ineligible") {
                    IsrRefusal::Ineligible
                } else if c.has("stale") {
                    IsrRefusal::Stale
                } else {
                    IsrRefusal::Retry
                }),
            },
            "replicate" | "diverging" | "out-of-range" => Input::Replicate(self.replicated(c)),
            "truncated" => Input::Truncated { end: Offset(c.number("end").unwrap()), producers: None },
            "delete-records" => {
                Input::DeleteRecords { token: self.token(c), before: Offset(c.number("before").unwrap()) }
            }
            "retain" => Input::Retain { log_start: Offset(c.number("start").unwrap()) },
            "start-kept" => Input::LogStartKept { through: Offset(c.number("through").unwrap()) },
            "watch" => Input::Watch {
                token: self.token(c),
                beyond: Offset(c.number("beyond").unwrap()),
                isolation: c.isolation(),
            },
            "watch-replica" => Input::WatchReplica {
                token: self.token(c),
                end_beyond: Offset(c.number("end").unwrap()),
                high_watermark_beyond: Offset(c.number("hw").unwrap()),
            },
            "forget" => Input::Forget { token: Token(c.number("token").unwrap() as u64) },
            "configure" => Input::Configure(c.settings()),
            "delete" => Input::Delete,
            _ => return None,
        })
    }

    /// The proposal that an answer is to: the newest, or so many before.
    fn proposal(&self, c: &Command<'_>) -> Vec<IsrMember> {
        self.proposed.iter().nth_back(c.or("before", 0) as usize).cloned().unwrap_or_default()
    }

    /// Notes a proposal as the shell sends it: every member has a life.
    fn note_proposal(&mut self, effect: &Effect) {
        let Effect::ProposeIsr { isr, .. } = effect else { return };
        let with_life = |member: &IsrMember| IsrMember {
            broker_epoch: member.broker_epoch.or(Some(BrokerEpoch(1))),
            ..*member
        };
        let isr: Vec<_> = isr.iter().map(with_life).collect();
        if self.proposed.last() != Some(&isr) {
            self.proposed.push(isr);
        }
    }

    fn follower_fetch(&self, c: &Command<'_>) -> FollowerFetch {
        let end = Offset(c.number("end").unwrap());
        let log_start = Offset(c.or("start", 0));
        let copied = self.replica.epochs().epoch_of(end.plus(-1)).filter(|_| end > log_start);
        FollowerFetch {
            broker: BrokerId(c.number("broker").unwrap() as i32),
            broker_epoch: BrokerEpoch(c.or("life", 1)),
            position: FetchPosition {
                leader_epoch: c.epoch("epoch").unwrap(),
                offset: end,
                safe_end: Offset(c.or("safe", end.0)),
                last_epoch: c.epoch("last").or(copied).unwrap_or(LeaderEpoch::NONE),
                log_start,
            },
        }
    }

    /// A leader's answer; without `epoch` and `at` it fits.
    fn replicated(&self, c: &Command<'_>) -> Replicated {
        let position = self.replica.fetch_position();
        let position =
            position.map(|(_, position)| (position.leader_epoch, position.offset, position.last_epoch));
        let (epoch, offset, last_epoch) = position.unwrap_or((LeaderEpoch(0), Offset(0), LeaderEpoch::NONE));
        let outcome = match c.verb {
            "diverging" => ReplicatedOutcome::Diverging(EpochEnd {
                epoch: c.epoch("of").unwrap(),
                end: Offset(c.number("end").unwrap()),
            }),
            "out-of-range" => ReplicatedOutcome::OutOfRange {
                log_start: Offset(c.number("start").unwrap()),
                log_end: Offset(c.number("end").unwrap()),
            },
            _ => ReplicatedOutcome::Data {
                high_watermark: Offset(c.or("hw", 0)),
                log_start: Offset(c.or("start", 0)),
                batches: self.copied_batches(c, epoch, offset),
            },
        };
        Replicated {
            leader: BrokerId(c.or("leader", 2) as i32),
            leader_epoch: c.epoch("epoch").unwrap_or(epoch),
            offset: Offset(c.or("at", offset.0)),
            last_epoch: c.epoch("last").unwrap_or(last_epoch),
            outcome,
        }
    }

    /// `n` records from `base` on, of the epoch `of`, as one stored batch.
    fn copied_batches(&self, c: &Command<'_>, epoch: LeaderEpoch, offset: Offset) -> Vec<StampedBatch> {
        if c.or("n", 0) == 0 {
            return Vec::new();
        }
        let base = Offset(c.or("base", offset.0));
        let stamped = stamp(&c.batch(self.now_ms), base, c.epoch("of").unwrap_or(epoch), None);
        replicated(&Bytes::from([stamped.head(), stamped.rest()].concat())).unwrap()
    }

    fn run(&mut self, line: &str) -> String {
        let command = Command::parse(line);
        let mut out = Outbox::new();
        let mut text = String::new();
        if command.verb == "new" {
            *self = Self::new(&command);
        } else if command.verb == "tick" {
            self.now_ms += command.number("ms").unwrap() as u64;
            let due = self.replica.next_timeout().is_some_and(|at| at <= self.now().mono);
            writeln!(text, "{}", if due { "due" } else { "not due" }).unwrap();
            if due {
                self.replica.handle_timeout(self.now(), &mut out);
            }
        } else if let Some(input) = self.input(&command) {
            self.replica.handle(self.now(), input, &mut out);
        } else {
            return self.query(&command);
        }
        self.replica.assert_invariants();
        for effect in out.drain() {
            self.note_proposal(&effect);
            writeln!(text, "{}", told(&effect)).unwrap();
        }
        text
    }

    fn query(&self, command: &Command<'_>) -> String {
        let r = &self.replica;
        match command.verb {
            "state" => {
                let role = match r.role() {
                    Role::Leader(l) => {
                        format!("leader of epoch {}, high watermark {:?}", l.leader_epoch, l.high_watermark)
                    }
                    Role::Follower(f) => match r.fetch_position() {
                        None => format!("follower in epoch {}", f.leader_epoch),
                        Some((leader, at)) => format!(
                            "follower in epoch {} of {leader}, at {} of epoch {}, safe to {}{}",
                            f.leader_epoch,
                            at.offset,
                            at.last_epoch,
                            at.safe_end,
                            // what it vouches for, while the device does not know of the newest start
                            if at.log_start == r.log_start() {
                                String::new()
                            } else {
                                format!(" from {}", at.log_start)
                            }
                        ),
                    },
                    Role::Offline(why) => format!("offline: {why:?}"),
                };
                let epochs: Vec<_> =
                    r.epochs().entries().iter().map(|e| format!("{}@{}", e.epoch, e.start)).collect();
                format!(
                    "{role}\nstart {} hw {} lso {} end {} flushed {} epochs {}\n",
                    r.log_start(),
                    r.high_watermark(),
                    r.last_stable_offset(),
                    r.log_end(),
                    r.flushed_end(),
                    epochs.join(" ")
                )
            }
            "isr" => match r.role() {
                Role::Leader(l) => {
                    format!("committed {:?} maximal {:?}\n", ids(l.isr()), ids(l.maximal_isr()))
                }
                _ => "no leader\n".to_owned(),
            },
            "bounds" => match r.follower_bounds(&self.follower_fetch(command)) {
                Ok(b) => format!("up to {} (hw {} start {})\n", b.end, b.high_watermark, b.log_start),
                Err(outcome) => format!("{outcome:?}\n"),
            },
            "fetch" => {
                let from = FetchFrom {
                    offset: Offset(command.number("offset").unwrap()),
                    current_leader_epoch: command.epoch("epoch"),
                    last_fetched_epoch: command.epoch("last"),
                    isolation: command.isolation(),
                    from_follower: command.has("rack"),
                };
                match r.fetch_bounds(from) {
                    Ok(b) => match b.diverging {
                        Some(end) => format!("diverges: epoch {} ends at {}\n", end.epoch, end.end),
                        None => format!("up to {} (hw {} start {})\n", b.end, b.high_watermark, b.log_start),
                    },
                    Err(code) => format!("{}\n", code.name()),
                }
            }
            "list" => {
                let timestamp = command.number("ts").unwrap();
                match r.list_offset(timestamp, command.isolation(), command.epoch("epoch")) {
                    Ok(listed) => format!("{listed:?}\n"),
                    Err(code) => format!("{}\n", code.name()),
                }
            }
            "epoch-end" => match r.epoch_end(command.epoch("of").unwrap(), command.epoch("epoch")) {
                Ok(end) => format!("epoch {} ends at {}\n", end.epoch, end.end),
                Err(code) => format!("{}\n", code.name()),
            },
            "producers" => match r.active_producers() {
                Ok(active) => active.iter().fold(String::new(), |mut text, p| {
                    writeln!(text, "pid {} epoch {} last sequence {}", p.id, p.epoch, p.last_sequence)
                        .unwrap();
                    text
                }),
                Err(code) => format!("{}\n", code.name()),
            },
            other => panic!("no such command: {other}"),
        }
    }
}

fn ids(brokers: &[BrokerId]) -> Vec<i32> {
    brokers.iter().map(|broker| broker.0).collect()
}

fn told(effect: &Effect) -> String {
    match effect {
        Effect::Truncate { to, rebuilds_producers, reason } => {
            let producers = if *rebuilds_producers { ", producers from the log" } else { "" };
            format!("truncate to {to}{producers}: {reason:?}")
        }
        Effect::StartOver { at, reason } => format!("start over at {at}: {reason:?}"),
        Effect::ProposeIsr { leader_epoch, partition_epoch, isr } => {
            let isr: Vec<_> = isr
                .iter()
                .map(|m| m.broker_epoch.map_or(m.broker.to_string(), |life| format!("{}/{life}", m.broker)))
                .collect();
            format!("propose {} in epoch {leader_epoch} after {partition_epoch}", isr.join(" "))
        }
        Effect::Append(batch) => {
            let h = batch.header;
            format!("append {}..{} epoch {}", h.base_offset, h.next_offset(), h.leader_epoch)
        }
        Effect::AdvanceLogStart { to } => format!("log start {to}"),
        Effect::Flush { through } => format!("flush {through}"),
        Effect::Wake { token } => format!("wake {token}"),
        Effect::Reply { token, reply: Reply::RecordsDeleted(Ok(low)) } => {
            format!("reply {token}: low watermark {low}")
        }
        Effect::Reply { token, reply: Reply::RecordsDeleted(Err(code)) } => {
            format!("reply {token}: {}", code.name())
        }
        Effect::Reply { token, reply: Reply::Produced(Ok(p)) } => {
            let again = if p.is_duplicate { " (duplicate)" } else { "" };
            format!(
                "reply {token}: at {} time {} start {}{again}",
                p.base_offset, p.log_append_time.0, p.log_start
            )
        }
        Effect::Reply { token, reply: Reply::Produced(Err(e)) } => {
            let colon = if e.message.is_empty() { "" } else { ": " };
            format!("reply {token}: {}{colon}{}", e.code.name(), e.message)
        }
    }
}

/// Runs a script and gives it back with the outputs that it really has.
fn replay(script: &str) -> String {
    let mut story = Story::new(&Command::parse("new"));
    let mut text = String::new();
    let mut lines = script.lines();
    while let Some(line) = lines.next() {
        writeln!(text, "{line}").unwrap();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut lines_before_output = lines.by_ref().take_while(|line| !line.is_empty());
        assert_eq!(lines_before_output.next().unwrap_or("----"), "----", "a command is one line: {line}");
        lines_before_output.for_each(drop);
        let output = story.run(line);
        write!(text, "----\n{output}\n").unwrap();
    }
    text.truncate(text.trim_end().len());
    text + "\n"
}

#[test]
fn every_script_tells_what_happens() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts/replica");
    let mut scripts: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    scripts.sort();
    assert!(!scripts.is_empty());
    for path in scripts {
        let script = std::fs::read_to_string(&path).unwrap();
        let real = replay(&script);
        if std::env::var_os("UPDATE_SCRIPTS").is_some() {
            std::fs::write(&path, &real).unwrap();
        } else {
            let differs = script.lines().zip(real.lines()).position(|(a, b)| a != b);
            assert!(
                script == real,
                "{path:?} differs, first in line {:?}:\n{real}",
                differs.map(|at| at + 1)
            );
        }
    }
}
