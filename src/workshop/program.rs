//! A program that is run under a guard, and what it prints.

use std::collections::VecDeque;
use std::env;
use std::ffi::OsString;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use crate::sys::signals::let_signals_through;
use crate::sys::terminal::pseudo_terminal;
use crate::sys::{process, readiness};
use crate::workshop::guard::{GRACE, Report};
use crate::workshop::lines::Lines;

/// How many lines of its standard error are kept, for when it fails.
const LAST_WORDS: usize = 6;

/// A running program. Dropping it ends it, and every process that it has started.
pub struct Program {
    guard: Child,
    control: UnixStream,
    reports: Lines,
    output: Lines,
    errors: Lines,
    last_words: VecDeque<Vec<u8>>,
    is_started: bool,
    is_ending: bool,
}

/// What came from a program.
#[derive(Debug)]
pub enum News {
    /// A line that it printed, on either stream.
    Printed(Vec<u8>),
    /// What its guard has to say.
    Reported(Report),
}

impl Program {
    /// Starts it, with `PORT` in its environment as well: some programs take it from there.
    pub fn start(command: &[OsString], port: u16) -> io::Result<Self> {
        let (control, guards_side) = UnixStream::pair()?;
        let (terminal, programs_side) = pseudo_terminal()?;
        let (errors, errors_side) = io::pipe()?;
        let mut guard = Command::new(env::current_exe()?);
        guard
            .arg("guard")
            .arg("--")
            .args(command)
            .env("PORT", port.to_string())
            // Its output is shown line by line, among others': colours and cursor movements would not survive that.
            .env("TERM", "dumb")
            .stdin(OwnedFd::from(guards_side))
            .stdout(programs_side)
            .stderr(errors_side)
            .process_group(0);
        let guard = let_signals_through(&mut guard).spawn()?;
        let reports = Lines::new(control.as_fd().try_clone_to_owned()?);
        Ok(Self {
            guard,
            control,
            reports,
            output: Lines::new(terminal),
            errors: Lines::new(errors.into()),
            last_words: VecDeque::new(),
            is_started: false,
            is_ending: false,
        })
    }

    /// The process id of its guard, from which all of its processes descend.
    pub fn guard(&self) -> u32 {
        self.guard.id()
    }

    /// The processes that the program consists of, its guard not counted.
    pub fn processes(&self) -> Vec<u32> {
        process::descendants(self.guard.id())
    }

    /// What to wait for beside other things: its output, and its guard's reports.
    pub fn waits_for(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let sources = [&self.reports, &self.output, &self.errors];
        let known = if self.is_started { sources.len() } else { 1 };
        sources.into_iter().take(known).filter_map(Lines::waits_for)
    }

    /// Waits until there is news, or `other` has something to read, but no longer than `limit`.
    pub fn wait(&mut self, other: BorrowedFd, limit: Duration) -> io::Result<Vec<News>> {
        let fds: Vec<BorrowedFd> = std::iter::once(other).chain(self.waits_for()).collect();
        readiness::wait(&fds, limit)?;
        self.read_what_is_there()
    }

    /// What is there already.
    pub fn read_what_is_there(&mut self) -> io::Result<Vec<News>> {
        let lines = self.reports.read_what_is_there()?;
        let reports = lines.iter().filter_map(|line| Report::from_line(str::from_utf8(line).ok()?)).map(News::Reported);
        if !self.is_started {
            // What it prints is left where it is until its guard has said who it is.
            self.is_started = !lines.is_empty();
            return Ok(reports.collect());
        }
        // The end is reported last: what was printed before it is news of before it.
        let mut news = Vec::new();
        news.extend(self.output.read_what_is_there()?.into_iter().map(News::Printed));
        for line in self.errors.read_what_is_there()? {
            self.last_words.push_back(line.clone());
            if self.last_words.len() > LAST_WORDS {
                self.last_words.pop_front();
            }
            news.push(News::Printed(line));
        }
        news.extend(reports);
        Ok(news)
    }

    /// The last lines that it printed on its standard error.
    pub fn last_words(&self) -> impl Iterator<Item = &[u8]> {
        self.last_words.iter().map(Vec::as_slice)
    }

    /// Asks the guard to end everything, and goes on.
    pub fn ask_to_end(&mut self) {
        self.is_ending = true;
        // EPIPE: the guard has ended, and then so has everything.
        let _ = self.control.write_all(b"e");
    }

    /// Ends everything at once.
    pub fn kill(&mut self) {
        process::kill_all(&self.processes());
    }

    /// Whether the guard has ended though nobody asked it to.
    pub fn lost_its_guard(&self) -> bool {
        self.reports.is_at_end() && !self.is_ending
    }

    /// Whether the guard has ended, and with it everything else.
    pub fn has_ended(&mut self) -> bool {
        matches!(self.guard.try_wait(), Ok(Some(_)) | Err(_))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.ask_to_end();
        let deadline = Instant::now() + GRACE + Duration::from_secs(3);
        while !self.has_ended() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        // The guard is stuck, or somebody has killed it: what it guarded is ours to end.
        if !self.has_ended() {
            let _ = self.guard.kill();
            let _ = self.guard.wait();
        }
        process::end_descendants(GRACE);
    }
}
