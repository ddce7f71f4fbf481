//! Random mixes of everything: requests in and out of order, lost answers, deadlines, failed appends, fail-overs.
//!
//! After every step the cell checks the machine against itself and against its log (O24). Here is what clients
//! can see: every request is answered once, a generation gives a member one assignment only (O22), and a
//! commit that was acknowledged is read by whoever asks later (O20). A failing case prints its steps as a script.

use std::collections::BTreeMap;
use std::time::Duration;

use highwater_core::coordinator::ShardConfig;
use highwater_core::coordinator::group::{GroupConfig, GroupReply, GroupRequest};
use highwater_core::ids::Token;
use highwater_protocol::ErrorCode;
use proptest::prelude::*;

use crate::cell::{Cell, Output};
use crate::text::{self, Words};

const GROUPS: [&str; 2] = ["g", "h"];
/// The last two have instance ids.
const CLIENTS: [&str; 5] = ["a", "b", "c", "i-d", "i-e"];

#[derive(Clone, Copy, Debug)]
enum Step {
    Join { client: usize, group: usize, keep_id: bool, protocol: bool, version: i16, rebalance_ms: i32 },
    Sync { client: usize, group: usize },
    Heartbeat { client: usize, group: usize },
    Leave { client: usize, group: usize },
    Commit { client: usize, group: usize, member: bool },
    Fetch { group: usize },
    Administer { group: usize, what: usize },
    Advance { ms: u64 },
    FailAppend { error: usize },
    FailOver,
    Hold { what: usize, release: bool },
    Compact { tombstones: bool },
}

fn step() -> impl Strategy<Value = Step> {
    let (client, group) = (0..CLIENTS.len(), 0..GROUPS.len());
    let both = (client, group.clone());
    prop_oneof![
        12 => (both.clone(), prop::bool::weighted(0.8), prop::bool::weighted(0.1), prop_oneof![Just(3i16), Just(8), Just(9)], prop_oneof![4 => Just(30_000), 1 => Just(0)])
            .prop_map(|((client, group), keep_id, protocol, version, rebalance_ms)| Step::Join { client, group, keep_id, protocol, version, rebalance_ms }),
        10 => both.clone().prop_map(|(client, group)| Step::Sync { client, group }),
        5 => both.clone().prop_map(|(client, group)| Step::Heartbeat { client, group }),
        2 => both.clone().prop_map(|(client, group)| Step::Leave { client, group }),
        6 => (both, prop::bool::weighted(0.8))
            .prop_map(|((client, group), member)| Step::Commit { client, group, member }),
        4 => group.clone().prop_map(|group| Step::Fetch { group }),
        1 => (group, 0..5usize).prop_map(|(group, what)| Step::Administer { group, what }),
        6 => prop_oneof![0..50u64, Just(3_000), Just(6_000), 10_000..70_000u64].prop_map(|ms| Step::Advance { ms }),
        1 => (0..4usize).prop_map(|error| Step::FailAppend { error }),
        1 => Just(Step::FailOver),
        2 => (0..3usize, any::<bool>()).prop_map(|(what, release)| Step::Hold { what, release }),
        1 => any::<bool>().prop_map(|tombstones| Step::Compact { tombstones }),
    ]
}

/// What a client was told last by a group.
#[derive(Clone, Default)]
struct Told {
    member_id: String,
    generation: i32,
    members: Vec<String>,
}

/// What was asked, until it is answered.
enum Asked {
    By { client: usize, group: usize, generation: i32 },
    Commit { group: usize, offset: i64, deletions: u32 },
    Fetch { at_least: Option<i64> },
    Other,
}

struct World {
    cell: Cell,
    steps: String,
    told: BTreeMap<(usize, usize), Told>,
    asked: BTreeMap<Token, Asked>,
    token_last: u64,
    uuid_last: u8,
    offset_last: i64,
    /// The highest acknowledged offset of each group, unless someone may have deleted it since.
    acknowledged: BTreeMap<usize, i64>,
    /// How many requests to delete offsets were sent.
    deletions: u32,
    assigned: BTreeMap<(usize, i32, String), String>,
}

impl World {
    fn new(delay_ms: u64, members_max: usize) -> Self {
        let config = GroupConfig {
            initial_rebalance_delay: Duration::from_millis(delay_ms),
            members_max,
            ..GroupConfig::default()
        };
        let mut cell = Cell::new(config, ShardConfig::default());
        cell.lead();
        Self {
            cell,
            steps: format!("config delay={delay_ms} members-max={members_max}\n"),
            told: BTreeMap::new(),
            asked: BTreeMap::new(),
            token_last: 0,
            uuid_last: 0,
            offset_last: 0,
            acknowledged: BTreeMap::new(),
            deletions: 0,
            assigned: BTreeMap::new(),
        }
    }

    fn ask(&mut self, line: &str, asked: Asked) {
        self.note(line);
        let mut words = line.split_whitespace();
        let command = words.next().expect("a command");
        self.uuid_last += 1;
        let request = text::request(command, &Words::new(words), self.uuid_last).expect("a request");
        if matches!(request, GroupRequest::JoinGroup(_, ref join) if !join.member_id.is_empty()) {
            self.uuid_last -= 1;
        }
        self.token_last += 1;
        self.asked.insert(Token(self.token_last), asked);
        self.cell.request(Token(self.token_last), request);
    }

    fn note(&mut self, line: &str) {
        self.steps.push_str(line);
        self.steps.push('\n');
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Join { .. } | Step::Sync { .. } | Step::Heartbeat { .. } | Step::Leave { .. } => {
                self.take_member_step(step);
            }
            Step::Commit { client, group, member } => {
                self.offset_last += 1;
                let offset = self.offset_last;
                let told = self.told.get(&(client, group)).cloned().unwrap_or_default();
                let who = if member {
                    format!(" member={} generation={}", told.member_id, told.generation)
                } else {
                    String::new()
                };
                let line = format!("commit {} t:0:{offset}{who}", GROUPS[group]);
                self.ask(&line, Asked::Commit { group, offset, deletions: self.deletions });
            }
            Step::Fetch { group } => {
                let at_least = self.acknowledged.get(&group).copied();
                self.ask(&format!("fetch {} t:0", GROUPS[group]), Asked::Fetch { at_least });
            }
            Step::Administer { group, what } => self.administer(group, what),
            Step::Advance { ms } => {
                self.note(&format!("advance {ms}"));
                self.cell.advance_ms(ms);
            }
            Step::FailAppend { error } => {
                let errors = [
                    ErrorCode::NotEnoughReplicas,
                    ErrorCode::NotLeaderOrFollower,
                    ErrorCode::KafkaStorageError,
                    ErrorCode::RequestTimedOut,
                ];
                self.note(&format!("fail-append {}", errors[error].name()));
                self.cell.fail_next_append = Some(errors[error]);
            }
            Step::FailOver => {
                self.note("fail-over");
                self.cell.resign();
                self.cell.lead();
            }
            Step::Hold { what, release } => self.hold(what, release),
            Step::Compact { tombstones } => {
                self.note(if tombstones { "compact tombstones" } else { "compact" });
                self.cell.compact(tombstones);
            }
        }
        self.hear();
    }

    fn take_member_step(&mut self, step: Step) {
        let (Step::Join { client, group, .. }
        | Step::Sync { client, group }
        | Step::Heartbeat { client, group }
        | Step::Leave { client, group }) = step
        else {
            unreachable!("a step of a member");
        };
        let told = self.told.get(&(client, group)).cloned().unwrap_or_default();
        let name = CLIENTS[client];
        let instance = if name.starts_with("i-") { format!(" instance={name}") } else { String::new() };
        let who = format!("member={} generation={}{instance}", told.member_id, told.generation);
        let line = match step {
            Step::Join { keep_id, protocol, version, rebalance_ms, .. } => {
                let member = if keep_id && !told.member_id.is_empty() {
                    format!(" member={}", told.member_id)
                } else {
                    String::new()
                };
                let protocols = if protocol { "sticky:t,range:t+u" } else { "range:t" };
                format!(
                    "join {} client={name} v={version} session=10000 rebalance={rebalance_ms} protocols={protocols}{member}{instance}",
                    GROUPS[group]
                )
            }
            Step::Sync { .. } => {
                // only one assignment of these can ever be given
                let token = self.token_last;
                let assignments: String = told.members.iter().map(|id| format!(" {id}:{token}")).collect();
                format!("sync {} {who}{assignments} v=4", GROUPS[group])
            }
            Step::Heartbeat { .. } => format!("heartbeat {} {who}", GROUPS[group]),
            _ if instance.is_empty() => format!("leave {} {}", GROUPS[group], told.member_id),
            _ => format!("leave {} /{name}", GROUPS[group]),
        };
        self.ask(&line, Asked::By { client, group, generation: told.generation });
    }

    fn administer(&mut self, group: usize, what: usize) {
        let name = GROUPS[group];
        let line = match what {
            0 => format!("describe {name}"),
            1 => "list".to_owned(),
            2 => format!("delete {name}"),
            3 => format!("offset-delete {name} t:0"),
            _ => "topics-deleted t".to_owned(),
        };
        match what {
            2 | 3 => drop(self.acknowledged.remove(&group)),
            4 => self.acknowledged.clear(),
            _ => {}
        }
        self.deletions += u32::from(what >= 2);
        self.ask(&line, Asked::Other);
    }

    fn hold(&mut self, what: usize, release: bool) {
        let name = ["commits", "appends", "load"][what];
        self.note(&format!("{} {name}", if release { "release" } else { "hold" }));
        match (what, release) {
            (0, false) => self.cell.hold_commits = true,
            (1, false) => self.cell.hold_appends = true,
            (2, false) => self.cell.hold_load = true,
            (0, true) => self.cell.release_commits(),
            (1, true) => self.cell.release_appends(),
            _ => self.cell.release_load(),
        }
    }

    fn hear(&mut self) {
        for output in std::mem::take(&mut self.cell.outputs) {
            match output {
                Output::Reply(token, reply) => {
                    let asked = self.asked.remove(&token).expect("a request is answered once");
                    self.hear_reply(asked, reply);
                }
                Output::ReplayFailed(error) => panic!("a record of ours was not replayed: {error}"),
                Output::Appended(_) | Output::Event(_) => {}
            }
        }
    }

    fn hear_reply(&mut self, asked: Asked, reply: GroupReply) {
        match (asked, reply) {
            (Asked::By { client, group, .. }, GroupReply::JoinGroup(answer)) => {
                if answer.error_code == ErrorCode::UnknownMemberId {
                    self.told.remove(&(client, group));
                } else if matches!(answer.error_code, ErrorCode::None | ErrorCode::MemberIdRequired) {
                    let members = answer.members.iter().map(|member| text::short_id(&member.member_id));
                    let told = Told {
                        member_id: text::short_id(&answer.member_id),
                        generation: answer.generation_id,
                        members: members.collect(),
                    };
                    self.told.insert((client, group), told);
                }
            }
            (Asked::By { client, group, generation }, GroupReply::SyncGroup(answer))
                if answer.error_code == ErrorCode::None =>
            {
                let told = self.told.get(&(client, group)).cloned().unwrap_or_default();
                let assignment = String::from_utf8_lossy(&answer.assignment).into_owned();
                if told.generation == generation {
                    let first = self.assigned.entry((group, generation, told.member_id));
                    assert_eq!(
                        *first.or_insert_with(|| assignment.clone()),
                        assignment,
                        "one assignment (O22)"
                    );
                }
            }
            (Asked::Commit { group, offset, deletions }, GroupReply::OffsetCommit(answer))
                if answer.topics[0].partitions[0].error_code == ErrorCode::None
                    && deletions == self.deletions =>
            {
                let acknowledged = self.acknowledged.entry(group).or_default();
                *acknowledged = offset.max(*acknowledged);
            }
            (Asked::Fetch { at_least: Some(at_least) }, GroupReply::OffsetFetch(answer))
                if answer.error_code == ErrorCode::None =>
            {
                let read = answer.topics[0].partitions[0].committed_offset;
                assert!(read >= at_least, "an acknowledged commit of {at_least} is read as {read} (O20)");
            }
            _ => {}
        }
    }

    /// Lets everything come to an end: nothing may wait for ever (O43).
    fn quiesce(&mut self) {
        self.cell.fail_next_append = None;
        self.cell.release_load();
        self.cell.release_appends();
        self.cell.release_commits();
        self.hear();
        // longer than every time-out together
        self.cell.advance_ms(2 * 3_600_000);
        self.hear();
        assert!(self.asked.is_empty(), "all are answered");
        assert_eq!(self.cell.shard.held_len(), 0);
        assert_eq!(self.cell.shard.timers_len(), 1, "only the next look for expired offsets is left");
        let volatile = self.cell.shard.volatile().expect("active");
        for group_id in volatile.group_ids() {
            assert_eq!(volatile.group(group_id).expect("listed").state().name(), "Empty");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_mix_keeps_its_promises(
        delay_ms in prop_oneof![Just(0u64), Just(3_000)],
        members_max in 2..6usize,
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut world = World::new(delay_ms, members_max);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            steps.iter().for_each(|step| world.take(*step));
            world.quiesce();
        }));
        if let Err(panic) = outcome {
            let why = panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "see above".to_owned());
            return Err(TestCaseError::fail(format!("{why}\n{}", world.steps)));
        }
    }
}
