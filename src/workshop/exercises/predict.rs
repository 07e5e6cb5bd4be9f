//! Where an exercise meets its scene: the scene asks, runs, and compares.

use std::env;
use std::path::Path;
use std::process::{Command, ExitStatus};

use crate::workshop::Problem;

/// What came of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Compared {
    /// It was run, and every prediction was what the kernel showed.
    Right,
    /// It was run, and a prediction was another one.
    Otherwise,
    /// It could not be run here, or somebody has ended it.
    CouldNot,
}

/// The command that runs a scene and asks, with answers for those who give them beforehand.
pub fn command(scene: &Path, answers: &[String]) -> Result<Command, Problem> {
    let this = env::current_exe().map_err(Problem::while_doing("find the command that runs scenes"))?;
    let mut command = Command::new(this);
    command.arg("scene").arg(scene).arg("--ask").args(answers.iter().map(|answer| format!("--answer={answer}")));
    Ok(command)
}

/// The command that runs a scene with nobody there to be asked, and writes all that was seen to a file: exit code 0 where it
/// plays, and the truth is on each menu.
pub fn command_unattended(scene: &Path, events: &Path) -> Result<Command, Problem> {
    let this = env::current_exe().map_err(Problem::while_doing("find the command that runs scenes"))?;
    let mut command = Command::new(this);
    command.arg("scene").arg(scene).arg("--json").arg(events);
    Ok(command)
}

/// What its exit code means.
pub fn compared(status: ExitStatus) -> Compared {
    match status.code() {
        Some(0) => Compared::Right,
        Some(3) => Compared::Otherwise,
        _ => Compared::CouldNot,
    }
}
