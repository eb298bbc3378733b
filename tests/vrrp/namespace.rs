//! A network namespace for a test.

use std::io::Write;
use std::process::{Command, Stdio};

/// Runs a test in a network namespace that nobody else is in. Where that cannot be done here it says so, or fails if it is
/// [`REQUIRED`].
pub fn alone(test: &str, body: impl AsyncFnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        return runtime.block_on(body());
    }
    if !rustix::process::geteuid().is_root() {
        assert!(std::env::var_os(REQUIRED).is_none(), "{test}: needs root, and {REQUIRED} is set");
        eprintln!("{test}: left out: needs root");
        return;
    }
    let mut command = Command::new("unshare");
    command.arg("-n").arg(std::env::current_exe().unwrap());
    let inside = command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(INSIDE, "1").status();
    assert!(inside.unwrap().success(), "{test}: it failed inside; see above");
}

/// Whether that program can be run. Where it is missing the test is left out, or fails if nothing is to be.
pub fn is_there(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let is_there = found.is_ok_and(|status| status.success());
    if !is_there {
        assert!(std::env::var_os(REQUIRED).is_none(), "there is no {program}, and {REQUIRED} is set");
        eprintln!("left out: there is no {program}");
    }
    is_there
}

/// Runs `ip` with these words.
pub fn ip(words: &str) {
    let status = Command::new("ip").args(words.split(' ')).status().unwrap();
    assert!(status.success(), "ip {words}");
}

/// Runs one `ip` with many lines of words.
pub fn ip_batch(lines: &str) {
    let mut ip = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    ip.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    assert!(ip.wait().unwrap().success());
}

/// How many notices the kernel could not leave in the netlink sockets of this process.
pub fn lost_notices() -> u64 {
    let own = std::process::id().to_string();
    let sockets = std::fs::read_to_string("/proc/net/netlink").unwrap();
    let lines = sockets.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    // sk, Eth, Pid, Groups, Rmem, Wmem, Dump, Locks, Drops, Inode
    lines.filter(|fields| fields[2] == own).map(|fields| fields[8].parse::<u64>().unwrap()).sum()
}

const INSIDE: &str = "VESTIBULE_TEST_NETWORK";
/// Set where nothing is to be left out.
const REQUIRED: &str = "VESTIBULE_TESTS_REQUIRE_ROOT";
