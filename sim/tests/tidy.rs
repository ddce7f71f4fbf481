//! The rules of ARCHITECTURE.md that neither compiler nor clippy sees, checked by reading the sources.
#![cfg(not(madsim))]

use std::fs;
use std::path::{Path, PathBuf};

struct Source {
    path: String,
    text: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("sim/ lies in the workspace");
    let mut found = Vec::new();
    for top in ["core", "net-tcp", "node", "sim"] {
        walk(&root.join(top), &mut found);
    }
    assert!(found.len() > 20, "the walk found {} files: it looks in the wrong place", found.len());
    found
        .into_iter()
        .map(|file| Source {
            path: file.strip_prefix(root).expect("found below the root").display().to_string(),
            text: fs::read_to_string(&file).expect("a source file is readable UTF-8"),
        })
        .filter(|source| source.path != "sim/tests/tidy.rs")
        .collect()
}

fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> =
        fs::read_dir(dir).expect("a source folder").flatten().map(|e| e.path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() && !path.ends_with("target") {
            walk(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// Lines outside `#[cfg(test)] mod tests` (which by custom closes a file) that contain one of the patterns.
fn offences(of: impl Fn(&Source) -> bool, patterns: &[&str]) -> Vec<String> {
    let mut lines = Vec::new();
    for source in sources().iter().filter(|s| of(s)) {
        for (number, line) in source.text.lines().enumerate() {
            if line.trim_end() == "#[cfg(test)]" {
                break;
            }
            let code = line.split("//").next().unwrap_or_default();
            if patterns.iter().any(|p| code.contains(p)) {
                lines.push(format!("{}:{}: {}", source.path, number + 1, line.trim()));
            }
        }
    }
    lines
}

fn assert_none(rule: &str, found: &[String]) {
    assert!(found.is_empty(), "{rule}\n{}", found.join("\n"));
}

fn production(source: &Source, crates: &[&str]) -> bool {
    crates.iter().any(|c| source.path.starts_with(&format!("{c}/src/")))
}

#[test]
fn every_select_is_biased() {
    let mut found = Vec::new();
    for source in sources() {
        for (at, _) in source.text.match_indices("select! {") {
            let body = source.text[at + "select! {".len()..].trim_start();
            if !body.starts_with("biased;") {
                let line = source.text[..at].lines().count();
                found.push(format!("{}:{line}", source.path));
            }
        }
    }
    assert_none("an unbiased select! draws from a generator that a seed does not control", &found);
}

#[test]
fn nothing_is_shared_by_the_process() {
    let rule = "simulated nodes share one process: state hangs off Node";
    let shell = |s: &Source| production(s, &["node", "net-tcp"]);
    assert_none(
        rule,
        &offences(shell, &["OnceLock", "LazyLock", "lazy_static!", "once_cell", "static mut "]),
    );
    let statics: Vec<_> = offences(shell, &["static "])
        .into_iter()
        .filter(|l| !l.contains("'static ") && l.contains(": ") && l.contains(" = "))
        .filter(|l| !l.starts_with("node/src/cell.rs"))
        .collect();
    assert_none(rule, &statics);
}

#[test]
fn core_has_no_clock_thread_file_or_socket() {
    let found = offences(
        |s| s.path.starts_with("core/src/") || s.path.starts_with("core/protocol/src/"),
        &[
            "std::fs",
            "std::net::Tcp",
            "std::net::Udp",
            "ToSocketAddrs",
            "std::thread",
            "std::env",
            "Instant::now",
            "SystemTime",
            "tokio",
            "rand::",
        ],
    );
    assert_none("core is sans-IO: these are inputs", &found);
}

#[test]
fn unsafe_lives_in_one_file() {
    let crates = ["core", "net-tcp", "node", "sim"];
    let found: Vec<_> = offences(|s| production(s, &crates), &["unsafe {", "unsafe fn", "unsafe impl"])
        .into_iter()
        .filter(|l| !l.starts_with("node/src/os.rs"))
        .collect();
    assert_none("unsafe belongs into node/src/os.rs", &found);
}

#[test]
fn threads_live_behind_cfg_not_madsim() {
    let found: Vec<_> = sources()
        .iter()
        .filter(|s| production(s, &["node", "net-tcp"]))
        .filter(|s| s.text.contains("thread::spawn") || s.text.contains("thread::Builder"))
        .filter(|s| !s.text.contains("cfg(not(madsim))"))
        // node/src/lib.rs leaves the command line out of the simulator as a whole.
        .filter(|s| !s.path.starts_with("node/src/cli/"))
        .map(|s| s.path.clone())
        .collect();
    assert_none("a thread inside the simulator panics", &found);
}

#[test]
fn no_test_is_ignored() {
    let found: Vec<_> =
        sources().iter().filter(|s| s.text.contains("#[ignore")).map(|s| s.path.clone()).collect();
    assert_none("an ignored test is a test that cannot fail", &found);
}

#[test]
fn files_stay_readable() {
    let found: Vec<_> = sources()
        .iter()
        .filter(|s| s.text.lines().count() > 800)
        .map(|s| format!("{}: {} lines", s.path, s.text.lines().count()))
        .collect();
    assert_none("split a file before it reaches 800 lines", &found);
}

#[test]
fn switches_for_removed_guards_are_not_a_feature() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("sim/ lies in the workspace");
    for manifest in ["core/Cargo.toml", "net-tcp/Cargo.toml", "node/Cargo.toml", "sim/Cargo.toml"] {
        let text = fs::read_to_string(root.join(manifest)).expect("a manifest");
        assert!(!text.contains("[features]"), "{manifest}: guards are switched by cfg(sim) only");
    }
}
