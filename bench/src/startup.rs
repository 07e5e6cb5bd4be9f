//! How long a learner waits: from `make lab3` to `listening on`.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{self, Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::Failure;
use crate::report::{Goal, Row};
use crate::sections::Bench;
use crate::server::{end, end_with_this_process};
use crate::tools;

/// What a server prints when it can be connected to.
const READY: &str = "listening on";
/// A build from nothing may take long on a slow machine, but not for ever.
const LIMIT: Duration = Duration::from_secs(600);
/// What a make or cargo above us has set, and what a learner's shell would not have.
const NOT_INHERITED: [&str; 5] = ["MAKEFLAGS", "MAKELEVEL", "MFLAGS", "CARGO_TARGET_DIR", "CARGO_MAKEFLAGS"];

impl Bench {
    /// Warm: the labs have been run before. Fresh: a new clone, its crates downloaded but nothing compiled.
    pub fn startup(&mut self) -> Result<(), Failure> {
        for target in ["lab1", "lab3"] {
            seconds_to_listen(tools::root(), target)?;
            let figures = (0..self.pairs).map(|_| seconds_to_listen(tools::root(), target));
            let figures = figures.collect::<Result<Vec<f64>, Failure>>()?;
            let what = format!("make {target}, warm, to `{READY}`");
            self.report.rows.push(Row {
                what,
                unit: "s",
                figures,
                reference: None,
                goal: Some(Goal::FigureAtMost(1.0, "s")),
            });
        }
        let clone = Clone::make()?;
        let figures = vec![clone.seconds + seconds_to_listen(&clone.directory, "lab3")?];
        let what = format!("git clone, make lab3, to `{READY}`");
        self.report.rows.push(Row {
            what,
            unit: "s",
            figures,
            reference: None,
            goal: Some(Goal::FigureAtMost(40.0, "s")),
        });
        Ok(())
    }
}

/// A clone of the repository in a temporary directory, removed with this value.
struct Clone {
    directory: PathBuf,
    /// How long `git clone` took.
    seconds: f64,
}

impl Clone {
    fn make() -> Result<Self, Failure> {
        let directory = std::env::temp_dir().join(format!("socklab-bench-{}", process::id()));
        let mut clone = Self { directory, seconds: 0.0 };
        let started = Instant::now();
        let mut git = Command::new("git");
        succeed(git.args(["clone", "--quiet"]).arg(tools::root()).arg(&clone.directory))?;
        clone.seconds = started.elapsed().as_secs_f64();
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        succeed(Command::new(cargo).args(["fetch", "--quiet", "--locked"]).current_dir(&clone.directory))?;
        Ok(clone)
    }
}

impl Drop for Clone {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// `make TARGET PORT=0` in a process group of its own, until it says that it listens; then Ctrl-C for the whole group.
fn seconds_to_listen(directory: &Path, target: &str) -> Result<f64, Failure> {
    let mut command = Command::new("make");
    command.args([target, "PORT=0"]).current_dir(directory).process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    for name in NOT_INHERITED {
        command.env_remove(name);
    }
    end_with_this_process(&mut command, Signal::SIGTERM);
    let started = Instant::now();
    let mut make = Group(command.spawn().map_err(|error| format!("make: {error}"))?);
    let output = make.0.stdout.take().ok_or("make: no output")?;
    let listening = wait_for_ready(output).map_err(|why| format!("make {target} in {}: {why}", directory.display()))?;
    Ok(listening.duration_since(started).as_secs_f64())
}

/// The moment when the line came.
fn wait_for_ready(output: ChildStdout) -> Result<Instant, &'static str> {
    let (tell, told) = mpsc::channel();
    // It ends when the last process that writes to the pipe has ended: nobody waits for it here.
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if line.contains(READY) {
                let _ = tell.send(Instant::now());
            }
        }
    });
    told.recv_timeout(LIMIT).map_err(|error| match error {
        RecvTimeoutError::Timeout => "nothing listened for ten minutes",
        RecvTimeoutError::Disconnected => "it ended before anything listened",
    })
}

/// A process and all that it has started, as the terminal sees them.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        let group = Pid::from_raw(-self.0.id().cast_signed());
        end(&mut self.0, Signal::SIGINT, group);
    }
}

fn succeed(command: &mut Command) -> Result<(), Failure> {
    let name = command.get_program().display().to_string();
    let status = command.status().map_err(|error| format!("{name}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{name}: {status}").into()) }
}
