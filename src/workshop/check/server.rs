//! The server under judgement: followed call by call where that is allowed and wanted, otherwise run under a guard. Either
//! way nothing of it is left when it is dropped, also when this command is killed.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::Signal;

use super::calls::LastCalls;
use crate::decode::syscall;
use crate::event::{End, What, Who};
use crate::lens::calls::{Calls, Gate, News, Recipients};
use crate::sys::process::{self, Member};
use crate::sys::readiness;
use crate::sys::start::Start;
use crate::sys::terminal::pseudo_terminal;
use crate::workshop::Problem;
use crate::workshop::guard::Report;
use crate::workshop::lines::Lines;
use crate::workshop::program::{self, Program};

/// How many processes and how many threads a server may consist of: more is a server that has lost control of itself.
pub const MOST_PROCESSES: usize = 256;
/// See [`MOST_PROCESSES`].
pub const MOST_THREADS: u32 = 4096;
/// How many of its lines are kept.
const LINES: usize = 64;
/// How long it may take to end in good order when nobody judges that.
const GRACE: Duration = Duration::from_millis(200);
/// How much of its output is taken in one turn: so many times 16 KiB. A server that prints for ever is not to hold us up.
const AT_ONCE: usize = 64;
/// How many calls it may be ahead of us.
const WAITING: usize = 4096;

/// A running server.
pub struct Server {
    running: Running,
    /// Its first process; 0 as long as a guard has not said it.
    pub pid: u32,
    /// How the first process ended.
    pub ended: Option<End>,
    /// Why it could not be executed.
    pub refused: Option<Errno>,
    /// Processes of it that were ended by a signal, which may have been ours.
    pub killed: Vec<(u32, i32)>,
    /// The last lines that it printed, and how many there were in all.
    pub printed: VecDeque<Vec<u8>>,
    pub lines: u64,
    /// Its last calls, if it is followed.
    pub calls: LastCalls,
    pub started: Instant,
    is_gone: bool,
}

enum Running {
    Followed { calls: Option<Calls>, news: Receiver<News>, output: Lines, errors: Lines },
    Guarded(Program),
}

impl Server {
    /// Starts it, followed or guarded.
    pub fn start(command: Vec<OsString>, port: u16, is_followed: bool) -> Result<Self, Problem> {
        let started = Instant::now();
        let (running, pid) = if is_followed {
            follow(command, port, started)?
        } else {
            let guarding = Problem::while_doing("start a guard for the server");
            (Running::Guarded(Program::start(&command, port).map_err(guarding)?), 0)
        };
        Ok(Self {
            running,
            pid,
            ended: None,
            refused: None,
            killed: Vec::new(),
            printed: VecDeque::new(),
            lines: 0,
            calls: LastCalls::default(),
            started,
            is_gone: false,
        })
    }

    /// Whether its calls are followed.
    pub fn is_followed(&self) -> bool {
        matches!(self.running, Running::Followed { .. })
    }

    /// Waits until something comes from it, or `other` has something to read, but no longer than `limit`; then takes what
    /// has come.
    pub fn turn(&mut self, other: Option<BorrowedFd>, limit: Duration) -> io::Result<()> {
        let mut fds: Vec<BorrowedFd> = other.into_iter().collect();
        match &self.running {
            Running::Followed { output, errors, .. } => {
                fds.extend([output, errors].into_iter().filter_map(Lines::waits_for));
            }
            Running::Guarded(program) => fds.extend(program.waits_for()),
        }
        readiness::wait(&fds, limit)?;
        let mut printed = Vec::new();
        match &mut self.running {
            Running::Followed { news, output, errors, .. } => {
                let news: Vec<News> = news.try_iter().take(WAITING).collect();
                for lines in [output, errors] {
                    read(&mut printed, || lines.read_what_is_there())?;
                }
                news.into_iter().for_each(|news| self.hear(news));
            }
            Running::Guarded(program) => {
                let mut reports = Vec::new();
                read(&mut printed, || {
                    let news = program.read_what_is_there()?;
                    let mut lines = Vec::new();
                    for item in news {
                        match item {
                            program::News::Printed(line) => lines.push(line),
                            program::News::Reported(report) => reports.push(report),
                        }
                    }
                    Ok(lines)
                })?;
                reports.into_iter().for_each(|report| self.hear_report(report));
            }
        }
        self.keep(printed);
        Ok(())
    }

    fn keep(&mut self, printed: Vec<Vec<u8>>) {
        self.lines += printed.len() as u64;
        let more = printed.len().saturating_sub(LINES);
        self.printed.extend(printed.into_iter().skip(more));
        let more = self.printed.len().saturating_sub(LINES);
        self.printed.drain(..more);
    }

    fn hear(&mut self, news: News) {
        match news {
            News::Event(event) => {
                if let (Who::Program { pid, .. }, What::Ended(end)) = (&event.who, &event.what) {
                    self.has_ended(*pid, *end);
                }
                self.calls.take(event);
            }
            News::Refused { errno, .. } => self.refused = Some(errno),
            // Nobody has shut a gate.
            News::Held { .. } => {}
            News::Quiet => self.is_gone = true,
        }
    }

    fn has_ended(&mut self, pid: u32, end: End) {
        if let End::Killed(signal) = end {
            self.killed.push((pid, signal));
        }
        if pid == self.pid {
            self.ended = Some(end);
        }
    }

    fn hear_report(&mut self, report: Report) {
        match report {
            Report::Started(pid) => self.pid = pid,
            Report::Refused(errno) => self.refused = Some(Errno::from_raw(errno)),
            Report::Ended(end) => self.has_ended(self.pid, end),
        }
    }

    /// Whether no process of it is left.
    pub fn is_gone(&mut self) -> bool {
        if let Running::Guarded(program) = &self.running
            && (self.ended.is_some() || self.refused.is_some())
            && !self.is_gone
        {
            // Whoever is left of it descends from a child of its guard, which adopts orphans.
            self.is_gone = program.processes().is_empty() && process::has_children_of(program.guard()) != Some(true);
        }
        self.is_gone
    }

    /// The processes that it consists of, parents first, zombies included.
    pub fn family(&self) -> Vec<Member> {
        match &self.running {
            Running::Followed { .. } => process::family(std::process::id()),
            Running::Guarded(program) => process::family(program.guard()),
        }
    }

    /// Ends all of it, and says when that is done. A server that makes one process after the other is not asked first.
    pub fn end(mut self, in_good_order: bool) {
        if in_good_order && !self.is_gone() {
            self.ask_to_end();
            let deadline = Instant::now() + GRACE;
            // Not for our signals: nobody reads them here, and each SIGCHLD of its processes would be there again and again.
            while !self.is_gone() && Instant::now() < deadline && self.turn(None, Duration::from_millis(2)).is_ok() {}
        }
        // The rest: see `drop`.
    }

    fn ask_to_end(&mut self) {
        match &mut self.running {
            Running::Followed { calls, .. } => {
                if let Some(calls) = calls {
                    let _ = calls.signal(Signal::SIGTERM, &Recipients::All);
                }
            }
            Running::Guarded(program) => {
                process::send_to_all(&program.processes(), Signal::SIGTERM);
                process::send_to_all(&program.processes(), Signal::SIGCONT);
            }
        }
    }
}

impl Drop for Server {
    /// Whoever is left of a server that is followed is ended by the kernel, all at once, when nobody follows it any more.
    fn drop(&mut self) {
        match &mut self.running {
            Running::Followed { calls, .. } => {
                *calls = None;
                process::end_descendants(Duration::ZERO);
            }
            Running::Guarded(program) => {
                // More than once: one that was about to make another process may have made it.
                let deadline = Instant::now() + Duration::from_secs(2);
                while !program.processes().is_empty() && Instant::now() < deadline {
                    program.kill();
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        }
    }
}

/// Takes lines until there are none at this moment, or for so long.
fn read(into: &mut Vec<Vec<u8>>, mut lines: impl FnMut() -> io::Result<Vec<Vec<u8>>>) -> io::Result<()> {
    for _ in 0..AT_ONCE {
        let more = lines()?;
        if more.is_empty() {
            break;
        }
        into.extend(more);
        let superfluous = into.len().saturating_sub(LINES);
        into.drain(..superfluous);
    }
    Ok(())
}

fn follow(command: Vec<OsString>, port: u16, started: Instant) -> Result<(Running, u32), Problem> {
    let (terminal, its_terminal) =
        pseudo_terminal().map_err(Problem::while_doing("open a terminal for the server (/dev/ptmx)"))?;
    let piping = Problem::while_doing("open a pipe to the server");
    let (errors, its_errors) = io::pipe().map_err(&piping)?;
    // Nothing is ever typed for a server: its input is at its end.
    let (its_input, _) = io::pipe().map_err(&piping)?;
    let start = Start {
        command,
        environment: vec![("PORT", port.to_string()), ("TERM", "dumb".into())],
        stdio: [Some(OwnedFd::from(its_input)), Some(its_terminal), Some(OwnedFd::from(its_errors))],
        own_group: true,
        afresh: true,
        calls: syscall::numbers(),
    };
    let (sender, news) = sync_channel(WAITING);
    let following = Problem::while_doing("start and follow the server (ptrace)");
    let calls = Calls::new(started, None, sender).map_err(&following)?;
    // A server that makes more of them is told so, and ended; until then it makes no more.
    calls.at_most(MOST_PROCESSES).map_err(&following)?;
    let pid = calls.start("server", start, Gate::Open).map_err(&following)?;
    let (output, errors) = (Lines::new(terminal), Lines::new(errors.into()));
    Ok((Running::Followed { calls: Some(calls), news, output, errors }, pid))
}
