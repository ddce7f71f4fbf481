//! Stories as text: a line does something, the indented lines under it are what came of it.
//!
//! `REWRITE=1 cargo test -p highwater-core --test group_coordinator` writes what comes of them today into the
//! files; the diff is the review.
//!
//! A request line is `label: command group words...`; its reply comes out as `label <- reply`, at once or under
//! a later line. Other lines: `config name=value`, `advance ms`, `jump-wall ms`, `fail-over`, `resign`, `lead`,
//! `hold|release commits|appends|load`, `fail-append ERROR`, `compact [tombstones]`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use highwater_core::coordinator::ShardConfig;
use highwater_core::coordinator::group::GroupConfig;
use highwater_core::ids::Token;
use highwater_protocol::ErrorCode;

use crate::cell::{Cell, Output};
use crate::text::{self, Words};

struct Story {
    cell: Cell,
    labels: BTreeMap<Token, String>,
    token_last: u64,
    uuid_last: u8,
}

fn config(words: &Words<'_>) -> GroupConfig {
    let defaults = GroupConfig::default();
    let ms = |name, default: Duration| {
        Duration::from_millis(words.number(name, u64::try_from(default.as_millis()).expect("short")))
    };
    GroupConfig {
        initial_rebalance_delay: ms("delay", defaults.initial_rebalance_delay),
        offsets_retention: ms("retention", defaults.offsets_retention),
        offsets_retention_check_interval: ms("check", defaults.offsets_retention_check_interval),
        members_max: words.number("members-max", defaults.members_max),
        append_bytes_max: words.number("append-bytes-max", defaults.append_bytes_max),
        ..defaults
    }
}

impl Story {
    fn new(config: GroupConfig) -> Self {
        let shard = ShardConfig { append_bytes_max: config.append_bytes_max, ..ShardConfig::default() };
        let mut cell = Cell::new(config, shard);
        cell.lead();
        Self { cell, labels: BTreeMap::new(), token_last: 0, uuid_last: 0 }
    }

    fn tell(&mut self, line: &str) {
        let (label, line) = line.split_once(": ").unwrap_or(("", line));
        let mut words = line.split_whitespace();
        let command = words.next().expect("a line has a command");
        let words = Words::new(words);
        if let Some(request) = text::request(command, &words, self.uuid_last + 1) {
            // one uuid per new member, so that ids count members
            self.uuid_last += u8::from(command == "join" && !words.names("member"));
            self.token_last += 1;
            self.labels.insert(Token(self.token_last), label.to_owned());
            return self.cell.request(Token(self.token_last), request);
        }
        let holds = command == "hold";
        match (command, words.bare(0)) {
            ("config", _) => *self = Self::new(config(&words)),
            ("advance", ms) => self.cell.advance_ms(ms.parse().expect("milliseconds")),
            ("jump-wall", ms) => self.cell.jump_wall_ms(ms.parse().expect("milliseconds")),
            ("lead" | "fail-over", _) => {
                if command == "fail-over" {
                    self.cell.resign();
                }
                self.cell.lead();
            }
            ("resign", _) => self.cell.resign(),
            ("hold", "commits") => self.cell.hold_commits = holds,
            ("hold", "appends") => self.cell.hold_appends = holds,
            ("hold", "load") => self.cell.hold_load = holds,
            ("release", "commits") => self.cell.release_commits(),
            ("release", "appends") => self.cell.release_appends(),
            ("release", "load") => self.cell.release_load(),
            ("fail-append", name) => {
                let error = ErrorCode::ALL.iter().find(|error| error.name() == name).expect("an error");
                self.cell.fail_next_append = Some(*error);
            }
            ("compact", tombstones) => self.cell.compact(!tombstones.is_empty()),
            _ => panic!("no such command: {line}"),
        }
    }

    fn came_of_it(&mut self) -> String {
        let mut text = String::new();
        for output in self.cell.outputs.drain(..) {
            let line = match output {
                Output::Appended(record) => format!("append {}", text::record(&record)),
                Output::Event(event) => format!("! {}", shorten(&event)),
                Output::ReplayFailed(error) => format!("replay failed: {error}"),
                Output::Reply(token, reply) => {
                    let label = self.labels.remove(&token).expect("a request is answered once");
                    format!("{label} <- {}", text::reply(&reply))
                }
            };
            writeln!(text, "    {line}").expect("strings take all");
        }
        text
    }
}

/// Member ids within a sentence, shortened.
fn shorten(sentence: &str) -> String {
    sentence
        .split(' ')
        .map(|word| {
            let (word, comma) = word.strip_suffix(',').map_or((word, ""), |word| (word, ","));
            text::short_id(word) + comma
        })
        .collect::<Vec<_>>()
        .join(" ")
}

fn run(script: &str) -> String {
    let mut story = Story::new(GroupConfig::default());
    let mut told = String::new();
    for line in script.lines().filter(|line| !line.starts_with("    ")) {
        told.push_str(line);
        told.push('\n');
        if !line.is_empty() && !line.starts_with('#') {
            story.tell(line);
            told.push_str(&story.came_of_it());
        }
    }
    told
}

fn check(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/group_coordinator/scripts").join(name);
    let script = std::fs::read_to_string(&path).expect("the script is beside the test");
    let told = run(&script);
    if std::env::var_os("REWRITE").is_some() {
        std::fs::write(&path, told).expect("the sources can be written");
    } else {
        assert_eq!(told, script, "{name} went differently; REWRITE=1 shows how");
    }
}

macro_rules! stories {
    ($($name:ident,)*) => {
        $(#[test]
        fn $name() {
            check(concat!(stringify!($name), ".txt"));
        })*

        #[test]
        fn every_script_is_told() {
            let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/group_coordinator/scripts");
            let mut found: Vec<String> = std::fs::read_dir(directory)
                .expect("the scripts are beside the test")
                .map(|entry| entry.expect("readable").file_name().into_string().expect("ASCII"))
                .collect();
            found.sort();
            let mut named = vec![$(concat!(stringify!($name), ".txt")),*];
            named.sort_unstable();
            assert_eq!(found, named);
        }
    };
}

stories! {
    two_members,
    lost_responses,
    zombies,
    static_members,
    cooperative,
    time_outs,
    pending_members,
    protocols,
    group_size,
    leaving,
    offsets,
    expiry,
    operators,
    fail_over,
    failed_appends,
    commits_wait,
}
