//! `cargo test` runs the simulation, too: this test calls `cargo sim` and counts what it ran.
//!
//! The simulation needs `--cfg madsim` for the whole dependency tree, which stable Cargo offers only through
//! a configuration file and a second build in its own target directory.
#![cfg(not(madsim))]

use std::path::Path;
use std::process::Command;

#[test]
fn the_simulation_passes_and_is_not_empty() {
    assert!(
        std::env::var_os("HIGHWATER_SIM").is_none(),
        "`cargo sim` was built without `--cfg madsim`: an exported RUSTFLAGS or CARGO_ENCODED_RUSTFLAGS \
         replaces the flags of .cargo/sim.toml; unset it"
    );
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("sim/ lies in the workspace");
    let output = Command::new(env!("CARGO"))
        .current_dir(root)
        .args(["sim", "--", "--test-threads=2"])
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("CARGO_TARGET_DIR")
        .output()
        .expect("cargo starts: it is running this test");
    let stdout = String::from_utf8_lossy(&output.stdout);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo sim failed\n{stdout}\n{stderr}");
    let ran: u64 = stdout.lines().filter_map(passed).sum();
    assert!(ran > 0, "cargo sim ran no test: the simulation was compiled out\n{stdout}\n{stderr}");
}

/// The number of passed tests in one of libtest's closing lines.
fn passed(line: &str) -> Option<u64> {
    let counts = line.strip_prefix("test result: ok. ")?;
    counts.split_once(" passed")?.0.parse().ok()
}
