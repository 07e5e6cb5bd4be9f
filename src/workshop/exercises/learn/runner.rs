//! Running a command while there are a terminal and signals to look after.

use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::sys::readiness;
use crate::sys::signals::{Signals, end_with_us, let_signals_through, stop_here};
use crate::sys::terminal::Keys;

/// The terminal, the signals, and which of them has put an end to it all.
pub struct Runner<'a> {
    /// Where keys come from.
    pub keys: Keys<'a>,
    /// Ctrl-C, Ctrl-Z and the like.
    pub signals: Signals,
    /// What ends the loop.
    pub ended_by: Option<Signal>,
}

impl Runner<'_> {
    /// Runs it to its end. An error, and [`ended_by`](Self::ended_by), where a signal has put an end to it.
    ///
    /// Keys that are pressed meanwhile wait in the terminal. The command is in our process group: Ctrl-C and Ctrl-Z are for it,
    /// too.
    pub fn run(&mut self, command: &mut Command) -> io::Result<ExitStatus> {
        let mut child = end_with_us(let_signals_through(command)).spawn()?;
        let pid = Pid::from_raw(child.id().cast_signed());
        loop {
            if let Some(status) = child.try_wait()? {
                return match self.ended_by {
                    Some(_) => Err(ErrorKind::Interrupted.into()),
                    None => Ok(status),
                };
            }
            readiness::wait(&[self.signals.as_fd()], Duration::from_secs(3600))?;
            self.take_signals(|signal| {
                // ESRCH: it has just ended by itself.
                let _ = kill(pid, signal);
            })?;
        }
    }

    /// The same with the terminal as it was before: for a command that reads from it.
    pub fn run_with_terminal(&mut self, command: &mut Command) -> io::Result<ExitStatus> {
        self.keys.pause()?;
        let status = self.run(command);
        self.keys.resume()?;
        status
    }

    /// Looks which signals have come in. Whether we were stopped, and go on now.
    ///
    /// `pass_on` gets those that were for us alone and that whoever we have started ought to know of.
    pub fn take_signals(&mut self, pass_on: impl Fn(Signal)) -> io::Result<bool> {
        let mut was_stopped = false;
        while let Some((signal, for_us_alone)) = self.signals.next_and_its_sender()? {
            match signal {
                Signal::SIGCHLD => {}
                Signal::SIGTSTP => {
                    self.keys.pause()?;
                    stop_here()?;
                    self.keys.resume()?;
                    was_stopped = true;
                }
                signal => {
                    self.ended_by = Some(signal);
                    if for_us_alone {
                        pass_on(Signal::SIGTERM);
                    }
                }
            }
        }
        Ok(was_stopped)
    }
}
