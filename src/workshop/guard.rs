//! The guard: a process between this command and the program that it runs, so that nothing is left behind.
//!
//! It starts the program, adopts whatever the program leaves behind, and ends all of it when it is told to, and also when
//! the other side is no longer there to tell it: a SIGKILL of this command closes the socket between them.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use crate::event::End;
use crate::sys::process;
use crate::sys::readiness;
use crate::sys::signals::{Signals, let_signals_through};

/// How long the program may take to end by itself after SIGTERM.
pub const GRACE: Duration = Duration::from_secs(1);

/// What the guard reports, one line each on the socket that is its standard input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Report {
    /// The program runs, with this process id.
    Started(u32),
    /// The program could not be started, for this errno.
    Refused(i32),
    /// The program itself has ended. What it has started may go on.
    Ended(End),
}

impl Report {
    fn to_line(self) -> String {
        match self {
            Self::Started(pid) => format!("started {pid}\n"),
            Self::Refused(errno) => format!("refused {errno}\n"),
            Self::Ended(End::Exited(code)) => format!("exited {code}\n"),
            Self::Ended(End::Killed(signal)) => format!("killed {signal}\n"),
        }
    }

    /// Reads a line back; `None` where it is none of them.
    pub fn from_line(line: &str) -> Option<Self> {
        let (word, number) = line.trim_end().split_once(' ')?;
        match word {
            "started" => Some(Self::Started(number.parse().ok()?)),
            "refused" => Some(Self::Refused(number.parse().ok()?)),
            "exited" => Some(Self::Ended(End::Exited(number.parse().ok()?))),
            "killed" => Some(Self::Ended(End::Killed(number.parse().ok()?))),
            _ => None,
        }
    }
}

/// The guard's whole life. Its standard output and error are the program's.
pub fn guard(command: &[OsString]) -> ExitCode {
    match start_and_watch(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("socklab guard: {error}");
            ExitCode::FAILURE
        }
    }
}

fn start_and_watch(command: &[OsString]) -> io::Result<()> {
    let Some((program, arguments)) = command.split_first() else { return Ok(()) };
    let mut other_side = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    process::adopt_orphans()?;
    let signals = Signals::take_over()?;

    let mut command = Command::new(program);
    // A process group of its own: Ctrl-C in the terminal is for us to handle, in good order.
    command.args(arguments).stdin(Stdio::null()).process_group(0);
    let child = match let_signals_through(&mut command).spawn() {
        Ok(child) => child.id(),
        Err(error) => {
            let errno = error.raw_os_error().unwrap_or(0);
            return other_side.write_all(Report::Refused(errno).to_line().as_bytes());
        }
    };
    let watched = watch(&signals, &mut other_side, child);
    process::end_descendants(GRACE);
    watched
}

/// Reports the program's end, and returns when all is to be ended.
fn watch(signals: &Signals, other_side: &mut UnixStream, child: u32) -> io::Result<()> {
    other_side.write_all(Report::Started(child).to_line().as_bytes())?;
    loop {
        let ready = readiness::wait(&[other_side.as_fd(), signals.as_fd()], Duration::from_secs(3600))?;
        // A word or the end of file: both say that it is time to go.
        if ready[0] {
            return other_side.read(&mut [0]).map(drop);
        }
        while let Some(signal) = signals.next()? {
            if !signal.as_str().ends_with("CHLD") {
                return Ok(());
            }
        }
        for (pid, end) in process::reap() {
            if pid == child {
                other_side.write_all(Report::Ended(end).to_line().as_bytes())?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_report_is_read_back_as_it_was_written() {
        let reports =
            [Report::Started(812), Report::Refused(2), Report::Ended(End::Exited(1)), Report::Ended(End::Killed(11))];
        for report in reports {
            assert_eq!(Report::from_line(&report.to_line()), Some(report));
        }
        assert_eq!(Report::from_line("exited"), None);
        assert_eq!(Report::from_line("exited x"), None);
    }
}
