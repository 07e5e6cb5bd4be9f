//! What the tests of the command share.
#![allow(clippy::unwrap_used, reason = "a failed expectation is what a test is for")]
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::process::Command;

use testkit::process::Process;

/// The command, with its output as a pipe gets it.
pub fn socklab(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_socklab"));
    command.args(arguments);
    command
}

/// Starts `socklab run` with these arguments, and waits until it says that it sees the server listen.
pub fn run_until_it_listens(arguments: &[&str]) -> (Process, u16) {
    let run = Process::start(socklab(&["run"]).args(arguments));
    let line = run.wait_for_line(|line| line.contains("new → LISTEN"));
    let (before, _) = line.split_once("  new").unwrap();
    let port = before.rsplit_once(':').unwrap().1.parse().unwrap();
    (run, port)
}
