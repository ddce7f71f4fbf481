//! The `highwater` command from outside: what it prints for people and for machines, and how it fails.

use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

const BINARY: &str = env!("CARGO_BIN_EXE_highwater");

/// A command without the settings of whoever runs the tests.
fn command(args: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("HIGHWATER_"))
    {
        command.env_remove(name);
    }
    command.args(args);
    command
}

/// A broker that ends with its guard.
struct Broker {
    child: Child,
    address: String,
}

impl Broker {
    fn at(dir: &Path) -> Self {
        let dir = dir.display().to_string();
        let serve = ["serve", "--listen", "127.0.0.1:0", "--data-dir", &dir];
        let mut child =
            command(&serve).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the binary runs");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("the ready line can be read");
        let address = line.split_whitespace().find_map(|word| word.strip_prefix("listen="));
        let address = address.expect("the ready line tells the address").to_owned();
        Self { child, address }
    }

    /// Runs a command against it.
    fn run(&self, line: &str) -> Ran {
        self.run_with(line, b"")
    }

    fn run_with(&self, line: &str, input: &[u8]) -> Ran {
        let args: Vec<&str> = line.split(' ').collect();
        let mut command = command(&args);
        command.env("HIGHWATER_BOOTSTRAP", &self.address);
        ran(command, input)
    }

    fn json(&self, line: &str) -> Value {
        self.run(&format!("{line} --json")).json()
    }

    /// Ends it in order.
    fn stop(mut self) {
        let pid = self.child.id().to_string();
        Command::new("kill").arg(&pid).status().expect("kill runs");
        assert!(self.child.wait().expect("it can be waited for").success());
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // After `stop` there is nothing left to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a command printed, and how it ended.
struct Ran {
    out: String,
    err: String,
    code: Option<i32>,
}

fn ran(mut command: Command, input: &[u8]) -> Ran {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary runs");
    let mut stdin = child.stdin.take().expect("it is piped");
    // A command that does not read its input may be gone already.
    let _ = stdin.write_all(input);
    drop(stdin);
    let Output { status, stdout, stderr } = child.wait_with_output().expect("it can be waited for");
    let text = |bytes| String::from_utf8(bytes).expect("what is printed is text");
    Ran { out: text(stdout), err: text(stderr), code: status.code() }
}

fn run(line: &str) -> Ran {
    ran(command(&line.split(' ').collect::<Vec<_>>()), b"")
}

impl Ran {
    #[track_caller]
    fn ok(&self) -> &str {
        assert_eq!((self.code, self.err.as_str()), (Some(0), ""), "{}", self.out);
        &self.out
    }

    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(self.ok()).expect("one JSON document")
    }

    /// Failed with `code`, and told `parts`.
    #[track_caller]
    fn fails(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, Some(code), "{}{}", self.out, self.err);
        for part in parts {
            assert!(self.err.contains(part), "{part:?} is not told in:\n{}", self.err);
        }
    }
}

#[test]
fn topics_live_and_die() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::at(dir.path());
    let created = broker.run("topic create orders --partitions 3 --config retention.ms=60000");
    assert_eq!(created.ok(), "topic orders created: 3 partitions, replication factor 1\n");
    broker.run("topic create orders").fails(1, &["TOPIC_ALREADY_EXISTS", "--if-not-exists"]);
    assert_eq!(broker.run("topic create orders --if-not-exists").ok(), "topic orders is there already\n");
    assert_eq!(broker.json("topic create other --dry-run")["dry_run"], true);

    let listing = broker.json("topic list");
    assert_eq!(listing["topics"].as_array().unwrap().len(), 1, "a dry run creates nothing: {listing}");
    assert_eq!(listing["topics"][0]["name"], "orders");
    assert!(broker.run("topic list").ok().starts_with("TOPIC   PARTITIONS  REPLICAS  ID\norders"));

    broker.run("topic alter orders --partitions 4 --config cleanup.policy=compact --unset retention.ms").ok();
    let described = broker.json("topic describe orders");
    let topic = &described["topics"][0];
    assert_eq!(topic["partitions"].as_array().unwrap().len(), 4);
    assert_eq!(topic["configs"].as_array().unwrap().len(), 1);
    assert_eq!(topic["configs"][0]["name"], "cleanup.policy");
    assert_eq!(topic["partitions"][3]["high_watermark"], 0);
    assert!(broker.run("topic describe orders").ok().contains("cleanup.policy=compact\n"));

    let misspelt = broker.run("topic create t --config retenton.ms=1");
    misspelt.fails(1, &["topic t was not created", "retention.ms", "config explain --topics"]);
    broker.run("topic alter orders").fails(2, &["nothing to alter"]);
    broker.run("topic alter orders --partitions 2").fails(1, &["INVALID_PARTITIONS"]);

    assert_eq!(broker.run("topic delete orders").ok(), "topic orders deleted\n");
    broker.run("topic delete orders").fails(1, &["UNKNOWN_TOPIC_OR_PARTITION", "topic list"]);
    assert_eq!(broker.json("topic delete orders --if-exists")["missing"][0], "orders");
    broker.run("topic describe orders").fails(1, &["topic orders"]);
}

#[test]
fn records_come_back_as_they_were_sent() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::at(dir.path());
    broker.run("topic create t --partitions 2").ok();
    let sent = broker.run_with(
        "produce t --key-separator : --header h=1 --partition 1 --compression zstd --empty-as-null --json",
        b"a:1\nb:\nplain\nc:\xff",
    );
    let summary = sent.json();
    assert_eq!((&summary["records"], &summary["failed"]), (&4.into(), &0.into()));
    assert_eq!(summary["partitions"][0]["last_offset"], 3);

    let printed = broker.run("consume t --format %t/%p/%o/%k=%K/%S/%h;");
    assert_eq!(printed.ok(), "t/1/0/a=1/1/h=1;t/1/1/b=1/-1/h=1;t/1/2/=-1/5/h=1;t/1/3/c=1/1/h=1;");
    let lines: Vec<Value> = (broker.run("consume t --json").ok().lines())
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!((&lines[0]["key"], &lines[0]["value"]), (&"a".into(), &"1".into()));
    assert_eq!(lines[1]["value"], Value::Null);
    assert_eq!(lines[3]["value_base64"], "/w==");
    assert_eq!(lines[0]["headers"], serde_json::json!([{ "key": "h", "value": "1" }]));

    assert_eq!(broker.run("consume t --tail 2 --format %o,").ok(), "2,3,");
    assert_eq!(broker.run("consume t --from 1 --count 1 --format %o,").ok(), "1,");
    assert_eq!(broker.run("consume t --from @0 --format %o,").ok(), "0,1,2,3,");
    assert_eq!(broker.run("consume t --from 2100-01-01").ok(), "");
    assert_eq!(broker.run("consume t --from latest").ok(), "");
    assert_eq!(broker.run("consume t --partition 0").ok(), "");

    broker
        .run_with("produce nothing", b"x")
        .fails(1, &["no topic nothing", "highwater topic create nothing"]);
    broker.run_with("produce t --partition 2", b"x").fails(2, &["--partition 2", "2 partitions"]);
    broker.run("produce t --file /no/such/file").fails(2, &["/no/such/file", "No such file"]);
    broker.run("consume t --format %q").fails(2, &["%q is nothing"]);
    broker.run("consume t --from soon").fails(2, &["is no time"]);
}

#[test]
fn input_of_any_size_and_acks_of_any_kind_arrive_once() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::at(dir.path());
    broker.run("topic create t --partitions 3").ok();
    let lines: String = (0..20_000).map(|i| format!("key{i}:value {i}\n")).collect();
    for flags in ["--acks all", "--acks 1 --compression lz4", "--acks 0 --compression gzip"] {
        let line = format!("produce t --key-separator : {flags} --json");
        assert_eq!(broker.run_with(&line, lines.as_bytes()).json()["records"], 20_000, "{flags}");
    }
    let mut values: Vec<_> =
        broker.run("consume t --format %k:%v\\n").ok().lines().map(str::to_owned).collect();
    values.sort();
    let mut expected: Vec<_> = lines.lines().flat_map(|line| [line; 3]).map(str::to_owned).collect();
    expected.sort();
    assert!(values == expected, "{} records of {}", values.len(), expected.len());
    let whole = broker.run_with("produce t --raw --key whole --partition 0", b"two\nlines\n");
    assert!(whole.ok().starts_with("1 record ("));
    assert_eq!(broker.run("consume t --partition 0 --tail 1 --format %v").ok(), "two\nlines\n");
}

#[test]
fn a_group_commits_what_was_printed_and_can_be_moved() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::at(dir.path());
    broker.run("topic create t").ok();
    broker.run_with("produce t", b"1\n2\n3\n4\n5\n").ok();
    assert_eq!(broker.run("consume t --group g --count 2").ok(), "1\n2\n");
    let lag = |group: &Value| group["groups"][0]["lag"].clone();
    assert_eq!(lag(&broker.json("group describe g")), 3, "what was fetched but not printed is not committed");
    assert_eq!(broker.run("consume t --group g").ok(), "3\n4\n5\n");
    assert_eq!(lag(&broker.json("group describe g")), 0);
    assert_eq!(broker.json("group list")["groups"][0]["state"], "Empty");
    assert!(
        broker.run("group describe g").ok().starts_with("group g is Empty with 0 members, 0 records behind")
    );

    let dry = broker.run("group reset-offsets g --topic t --shift-by -2");
    assert_eq!(dry.code, Some(0));
    assert!(dry.err.contains("--execute"), "{}", dry.err);
    assert_eq!(lag(&broker.json("group describe g")), 0, "a dry run moves nothing");
    for (target, behind) in [
        ("--shift-by -2", 2),
        ("--to-earliest", 5),
        ("--to-offset 4", 1),
        ("--to-offset 400", 0),
        ("--to-datetime 2000-01-01", 5),
        ("--to-datetime 2100-01-01", 0),
        ("--to-earliest", 5),
        ("--to-latest", 0),
    ] {
        let reset = broker.json(&format!("group reset-offsets g --all-topics {target} --execute"));
        assert_eq!(reset["partitions"][0]["new_offset"], 5 - behind, "{target}");
        assert_eq!(lag(&broker.json("group describe g")), behind, "{target}");
    }
    broker.run("group reset-offsets g --topic t:0,7 --to-latest").fails(2, &["no partition 7"]);
    broker.run("group reset-offsets g --topic t").fails(2, &["--to-earliest"]);
    broker.run("consume t --group g --from 3").fails(2, &["reset-offsets"]);
    broker.run("group describe nobody").fails(1, &["no group nobody"]);
    assert_eq!(broker.run("group delete g").ok(), "group g deleted\n");
    broker.run("group delete g").fails(1, &["GROUP_ID_NOT_FOUND"]);
}

#[test]
fn a_group_with_members_shows_them_and_is_not_moved() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::at(dir.path());
    broker.run("topic create t").ok();
    broker.run_with("produce t", b"1\n").ok();
    let mut member = command(&["consume", "t", "--group", "g", "--from", "earliest", "--follow"])
        .args(["--bootstrap", &broker.address])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut out = BufReader::new(member.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "1\n");

    let described = broker.json("group describe g");
    let group = &described["groups"][0];
    assert_eq!(group["state"], "Stable");
    assert_eq!(group["members"][0]["client"], "highwater-cli");
    assert_eq!(group["members"][0]["partitions"], 1);
    assert_eq!(group["partitions"][0]["member"], group["members"][0]["member"]);
    broker.run("group reset-offsets g --topic t --to-earliest --execute").fails(1, &["Stable", "stop"]);
    broker.run("group delete g").fails(1, &["NON_EMPTY_GROUP"]);

    Command::new("kill").args(["-INT", &member.id().to_string()]).status().unwrap();
    assert!(member.wait().unwrap().success(), "Ctrl-C is how following ends");
    let described = broker.json("group describe g");
    assert_eq!(described["groups"][0]["state"], "Empty", "it left");
    assert_eq!(described["groups"][0]["lag"], 0, "it committed");
}

#[test]
fn a_reader_that_goes_away_ends_a_command_quietly() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::at(dir.path());
    broker.run("topic create t").ok();
    let lines = "a line that fills the pipe's buffer soon\n".repeat(20_000);
    broker.run_with("produce t", lines.as_bytes()).ok();
    let mut child = command(&["consume", "t", "--bootstrap", &broker.address])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let ended = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(ended.stderr).unwrap(), "");
    assert_eq!(ended.status.code(), Some(0));
}

#[test]
fn a_broker_that_is_not_there_is_told_of_at_once() {
    // A port that was free a moment ago.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    run(&format!("topic list --bootstrap {free}"))
        .fails(1, &[&format!("no broker reached at {free}"), "connection refused", "highwater serve"]);
    run("topic list --bootstrap nonsense").fails(2, &["--bootstrap", "host:port"]);
    run("topic").fails(2, &["Usage"]);
}

#[test]
fn damage_and_loss_on_the_disk_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let path = data.display().to_string();
    let broker = Broker::at(&data);
    broker.run("topic create t").ok();
    broker.run_with("produce t --key k", b"one\n").ok();
    broker.run_with("produce t --key k --compression gzip", b"two\nthree\n").ok();
    run(&format!("log verify {path}")).fails(2, &["a broker is running", "--live"]);
    assert_eq!(run(&format!("log verify {path} --live --json")).json()["verdict"], "whole");
    broker.stop();

    let verdict = run(&format!("log verify {path} --records --json")).json();
    assert_eq!(verdict["verdict"], "whole");
    let logs = verdict["logs"].as_array().unwrap();
    let log = logs.iter().find(|log| log["log"] == "t-0").unwrap();
    assert_eq!((&log["batches"], &log["records"]), (&2.into(), &3.into()));
    assert!(run(&format!("log verify {path}")).ok().contains("is whole"));

    let dumped = run(&format!("log dump {path}/t-0 --records --json"));
    let batches: Vec<Value> = dumped.ok().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(batches[1]["codec"], "gzip");
    assert_eq!(batches[1]["records"][1]["value"], "three");
    assert_eq!(batches[1]["records"][1]["offset"], 2);
    let dumped = run(&format!("log dump {path}/t-0 --records --from 1"));
    assert!(dumped.ok().contains("\"k\" = \"two\""), "{}", dumped.out);
    assert!(!dumped.out.contains("one"));

    let segment = data.join("t-0").join("00000000000000000000.log");
    let good = std::fs::read(&segment).unwrap();
    let second = batches[1]["position"].as_u64().unwrap() as usize;
    let mut flipped = good.clone();
    flipped[second + 70] ^= 1;
    for (what, bytes) in [
        ("a flipped bit", &flipped[..]),
        ("a lost tail", &good[..second]),
        ("a cut batch", &good[..second + 80]),
    ] {
        std::fs::write(&segment, bytes).unwrap();
        let found = run(&format!("log verify {path}"));
        found.fails(1, &["CORRUPT"]);
        assert!(found.out.contains("t-0"), "{what}: {}", found.out);
    }
    std::fs::write(&segment, &flipped).unwrap();
    run(&format!("log dump {path}/t-0")).fails(1, &["1 place is damaged"]);
    std::fs::remove_dir_all(data.join("t-0")).unwrap();
    let gone = run(&format!("log verify {path}"));
    assert!(gone.out.contains("has no directory"), "{}", gone.out);
    gone.fails(1, &["CORRUPT"]);
    run(&format!("log verify {}", dir.path().display())).fails(2, &["neither a data directory"]);
}

#[test]
fn a_bench_measures_every_row_and_leaves_nothing_behind() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (broker, other) = (Broker::at(dir.path()), Broker::at(other.path()));
    let report = broker.json(&format!("bench --seconds 1 --rounds 1 --pid {}", broker.child.id()));
    let rows = report["rows"].as_array().unwrap();
    let names: Vec<_> = rows.iter().map(|row| row["row"].as_str().unwrap()).collect();
    assert_eq!(names, ["batches", "produce-1", "produce-32", "fetch", "latency"]);
    for row in rows {
        let median = &row["medians"][0];
        for number in ["mb_per_s", "requests_per_s", "records_per_s", "p50_us", "p99_us"] {
            assert!(median[number].as_f64().unwrap() > 0.0, "{number} in {row}");
        }
        assert!(median["cpu_percent"].is_f64(), "{row}");
    }
    let compared =
        broker.run(&format!("bench --row latency --seconds 1 --rounds 1 --against {}", other.address));
    assert!(compared.ok().contains("RATIO") && compared.out.contains(&other.address), "{}", compared.out);
    for broker in [&broker, &other] {
        assert_eq!(broker.json("topic list")["topics"], serde_json::json!([]));
    }
    broker.run("bench --pid 4294967295").fails(2, &["--pid"]);
}

#[test]
fn settings_are_explained() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("server.properties");
    std::fs::write(&file, "log.retention.hours=24\n").unwrap();
    let file = file.display().to_string();
    let changed =
        run(&format!("config explain --changed --config {file} --set num.partitions=7 --json")).json();
    let settings = changed["settings"].as_array().unwrap();
    let source = |name: &str| settings.iter().find(|s| s["name"] == name).map(|s| s["source"].clone());
    assert_eq!(source("num.partitions"), Some("--set".into()));
    assert_eq!(source("log.retention.hours"), Some(format!("{file}:1").into()));
    assert_eq!(source("log.retention.ms"), None);

    let set = "controller.quorum.voters=1@a:9093";
    let all = run(&format!("config explain --set {set} --json")).json();
    let all = all["settings"].as_array().unwrap();
    for name in ["controller.quorum.voters", "controller.quorum.bootstrap.servers"] {
        let setting = all.iter().find(|setting| setting["name"] == name).unwrap();
        assert_eq!(setting["class"], "implemented", "{setting:?}");
    }

    let human = run("config explain log.retention.hours").ok().to_owned();
    assert!(human.starts_with("SETTING") && human.contains("168"), "{human}");
    for (class, shown) in [("implemented", "honoured"), ("accepted", "accepted"), ("refused", "refused")] {
        let topics = run(&format!("config explain --topics --class {class} --json")).json();
        let settings = topics["settings"].as_array().unwrap();
        assert!(settings.iter().all(|setting| setting["class"] == shown), "{settings:?}");
    }
    run("config explain --set num.partitons=7").fails(2, &["num.partitions"]);
}

#[test]
fn every_shell_gets_its_completions() {
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&format!("completions {shell}"));
        assert!(script.ok().contains("reset-offsets"), "{shell}");
    }
    run("completions tcsh").fails(2, &["tcsh"]);
}
