//! Where an exercise meets the checks of its lab.

use std::env;
use std::path::Path;
use std::process::{Command, ExitStatus};

use crate::workshop::Problem;
use crate::workshop::exercises::Exercise;
use crate::workshop::labs::Lab;

/// What a check has found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The server does what it has to do.
    Passed,
    /// It does not.
    Failed,
    /// It could not be judged here, or somebody has ended the check.
    NotJudged,
}

/// The command that judges a learner's server by the check of its exercise. What it prints is for the learner.
pub fn command(exercise: &Exercise, server: &Path) -> Result<Command, Problem> {
    let only: Vec<&str> = exercise.checks().flat_map(|check| ["--only", check]).collect();
    check(exercise.lab, &only, server, &exercise.args)
}

/// `socklab check LAB OPTIONS -- SERVER --port {port} ARGUMENTS`
pub fn check(lab: &Lab, options: &[&str], server: &Path, arguments: &[String]) -> Result<Command, Problem> {
    let this = env::current_exe().map_err(Problem::while_doing("find the command that checks"))?;
    // Its report names the server: the shorter the better. But a name alone would be looked up in PATH.
    let here = env::current_dir().unwrap_or_default();
    let server = server.strip_prefix(&here).ok().filter(|short| short.components().count() > 1).unwrap_or(server);
    let mut command = Command::new(this);
    command.arg("check").arg(lab.number.to_string()).args(options);
    command.arg("--").arg(server).args(["--port", "{port}"]).args(arguments);
    Ok(command)
}

/// What its exit code means.
pub fn verdict(status: ExitStatus) -> Verdict {
    match status.code() {
        Some(0) => Verdict::Passed,
        Some(1) => Verdict::Failed,
        _ => Verdict::NotJudged,
    }
}
