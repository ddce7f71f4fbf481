//! What the shell is to a shard: a log that appends, a high watermark, a clock, and a list of what came out.

use highwater_core::coordinator::group::{
    GroupConfig, GroupCoordinator, GroupDurable, GroupReply, GroupRequest,
};
use highwater_core::coordinator::{
    AppendId, Coordinator, CoordinatorShard, Effect, Input, LoadId, Record, ShardConfig,
};
use highwater_core::ids::{LeaderEpoch, Offset, Token};
use highwater_core::machine::{Machine, Outbox};
use highwater_core::time::{Instant, Now, Timestamp};
use highwater_protocol::ErrorCode;
use std::time::Duration;

/// Something that came out of the cell.
#[derive(Debug)]
pub(crate) enum Output {
    Appended(Record),
    Event(String),
    Reply(Token, GroupReply),
    ReplayFailed(String),
}

/// A partition's log with a shard on it.
#[derive(Debug)]
pub(crate) struct Cell {
    pub(crate) shard: CoordinatorShard<GroupCoordinator>,
    pub(crate) log: Vec<Record>,
    /// The offset of the log's end; compaction makes it differ from the number of records.
    end: i64,
    pub(crate) outputs: Vec<Output>,
    epoch: i32,
    now: Instant,
    wall_ms: i64,
    /// Appends are not committed until released.
    pub(crate) hold_commits: bool,
    /// Appends are not answered until released.
    pub(crate) hold_appends: bool,
    /// The log is not handed in until released.
    pub(crate) hold_load: bool,
    pub(crate) fail_next_append: Option<ErrorCode>,
    waiting_appends: Vec<(AppendId, Vec<Record>)>,
    waiting_load: Option<LoadId>,
}

impl Cell {
    pub(crate) fn new(config: GroupConfig, shard: ShardConfig) -> Self {
        Self {
            shard: CoordinatorShard::new(GroupCoordinator::new(config), shard),
            log: Vec::new(),
            end: 0,
            outputs: Vec::new(),
            epoch: 0,
            now: Instant::ZERO,
            wall_ms: 0,
            hold_commits: false,
            hold_appends: false,
            hold_load: false,
            fail_next_append: None,
            waiting_appends: Vec::new(),
            waiting_load: None,
        }
    }

    fn now(&self) -> Now {
        Now { mono: self.now, wall: Timestamp(self.wall_ms) }
    }

    pub(crate) fn request(&mut self, token: Token, request: GroupRequest) {
        self.hand_in(Input::Request { token, request });
    }

    /// Becomes leader in a new epoch, as after an election that it won again.
    pub(crate) fn lead(&mut self) {
        self.epoch += 1;
        self.hand_in(Input::Lead { epoch: LeaderEpoch(self.epoch) });
    }

    pub(crate) fn resign(&mut self) {
        self.waiting_appends.clear();
        self.waiting_load = None;
        self.hand_in(Input::Resign);
    }

    /// The wall clock alone, as when somebody sets it.
    pub(crate) fn jump_wall_ms(&mut self, ms: i64) {
        self.wall_ms += ms;
    }

    /// Lets time pass, stopping at every deadline on the way.
    pub(crate) fn advance_ms(&mut self, ms: u64) {
        let to = self.now + Duration::from_millis(ms);
        loop {
            let due = self.shard.next_timeout().filter(|due| *due <= to).unwrap_or(to);
            let step = due.since(self.now);
            self.now = self.now + step;
            self.wall_ms += i64::try_from(step.as_millis()).expect("tests are short");
            let mut out = Outbox::new();
            self.shard.handle_timeout(self.now(), &mut out);
            self.carry_out(&mut out);
            self.check();
            if self.now >= to {
                return;
            }
        }
    }

    /// Keeps only the newest record of each key, as the cleaner does; `tombstones` says whether they stay.
    pub(crate) fn compact(&mut self, tombstones: bool) {
        let mut kept: Vec<Record> = Vec::new();
        for (i, record) in self.log.iter().enumerate() {
            let newest = !self.log[i + 1..].iter().any(|later| later.key == record.key);
            if newest && (tombstones || record.value.is_some()) {
                kept.push(record.clone());
            }
        }
        self.log = kept;
    }

    pub(crate) fn release_commits(&mut self) {
        self.hold_commits = false;
        self.hand_in(Input::HighWatermark(Offset(self.end)));
    }

    pub(crate) fn release_appends(&mut self) {
        self.hold_appends = false;
        while let Some((id, records)) =
            (!self.waiting_appends.is_empty()).then(|| self.waiting_appends.remove(0))
        {
            self.append(id, records);
        }
    }

    pub(crate) fn release_load(&mut self) {
        self.hold_load = false;
        if let Some(load) = self.waiting_load.take() {
            self.load(load);
        }
    }

    /// What replaying the log gives.
    pub(crate) fn replayed(&self) -> GroupDurable {
        let mut durable = GroupDurable::default();
        for record in &self.log {
            GroupCoordinator::replay(&mut durable, record).expect("the log holds what the shard wrote");
        }
        durable
    }

    fn hand_in(&mut self, input: Input<GroupCoordinator>) {
        let mut out = Outbox::new();
        self.shard.handle(self.now(), input, &mut out);
        self.carry_out(&mut out);
        self.check();
    }

    fn carry_out(&mut self, out: &mut Outbox<Effect<GroupCoordinator>>) {
        for effect in out.drain().collect::<Vec<_>>() {
            match effect {
                Effect::Load { load } if self.hold_load => self.waiting_load = Some(load),
                Effect::Load { load } => self.load(load),
                Effect::Append { id, epoch, records } => {
                    assert_eq!(
                        epoch,
                        LeaderEpoch(self.epoch),
                        "an append is bound to the epoch it was loaded under"
                    );
                    assert!(!records.is_empty(), "an append has records");
                    if self.hold_appends {
                        self.waiting_appends.push((id, records));
                    } else {
                        self.append(id, records);
                    }
                }
                Effect::Reply { token, reply } => self.outputs.push(Output::Reply(token, reply)),
                Effect::Event(event) => self.outputs.push(Output::Event(event.to_string())),
                Effect::ReplayFailed(error) => self.outputs.push(Output::ReplayFailed(format!("{error:?}"))),
            }
        }
    }

    fn load(&mut self, load: LoadId) {
        // in pieces, as the shell reads
        for piece in self.log.chunks(2).map(<[Record]>::to_vec).collect::<Vec<_>>() {
            self.hand_in(Input::Load { load, records: piece });
        }
        self.hand_in(Input::LoadFinished { load, end: Offset(self.end) });
        if !self.hold_commits {
            self.hand_in(Input::HighWatermark(Offset(self.end)));
        }
    }

    fn append(&mut self, id: AppendId, records: Vec<Record>) {
        if let Some(error) = self.fail_next_append.take() {
            return self.hand_in(Input::AppendFailed { id, error });
        }
        self.end += i64::try_from(records.len()).expect("few");
        for record in records {
            self.log.push(record.clone());
            self.outputs.push(Output::Appended(record));
        }
        self.hand_in(Input::Appended { id, end: Offset(self.end) });
        if !self.hold_commits {
            self.hand_in(Input::HighWatermark(Offset(self.end)));
        }
    }

    /// After every step: the machine agrees with itself, and (O24) with its log.
    fn check(&self) {
        self.shard.assert_invariants();
        if self.waiting_appends.is_empty()
            && self.shard.is_settled()
            && let Some(durable) = self.shard.durable()
        {
            assert_eq!(durable, &self.replayed(), "durable state is what the log gives (O24)");
        }
    }
}
