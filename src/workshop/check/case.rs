//! One check under way: its server, its steps, its time, and how it fails.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::calls::how_it_ended;
use super::client::Client;
use super::evidence::{self, Fds};
use super::list::Check;
use super::report::Kind;
use super::server::{MOST_PROCESSES, MOST_THREADS, Server};
use super::{Stage, evidence::Serving};
use crate::event::{End, Socket};
use crate::lens::owners::Owners;
use crate::lens::table::{Subject, Tables};
use crate::sys::process::{self, Member};
use crate::view::paint::harmless;
use crate::workshop::{Problem, run};

/// How long a server that has time may take for what takes no time.
pub const SOON: Duration = Duration::from_secs(1);
/// A server that is still at work then gets so many times as long: it may be the machine that is slow.
const MERCY: u32 = 5;
/// How long a turn lasts at first, and after a while.
const QUICK: Duration = Duration::from_millis(1);
const SLOW: Duration = Duration::from_millis(4);
/// How often it is counted how many processes there are.
const COUNTING: Duration = Duration::from_millis(20);
/// How long a server that serves elsewhere may take until it serves where it was asked to. As long as it is at work it may yet
/// do that, whatever opens its other sockets first.
const ELSEWHERE: Duration = Duration::from_millis(500);
/// How many sockets, and how many of its last lines, a failure shows.
const SOCKETS: usize = 8;
const LAST_WORDS: usize = 6;

/// Why a check was not passed.
pub enum Stopped {
    /// The server does not do what the lab promises.
    Failed(Box<Failure>),
    /// That could not be judged here, for this reason.
    NotJudged(String),
    /// Somebody asked for the end.
    Interrupted(Signal),
}

/// What a check returns, and each step of it.
pub type Step<T = ()> = Result<T, Stopped>;

impl From<Problem> for Stopped {
    fn from(problem: Problem) -> Self {
        Self::NotJudged(harmless(problem.to_string().as_bytes()))
    }
}

/// What was expected, what was seen, and all that was known at that moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// What kind of failure it is.
    pub kind: Kind,
    /// What was expected.
    pub expected: String,
    /// What was seen instead.
    pub seen: String,
    /// Why that is so, as far as the kernel tells.
    pub why: Option<String>,
    /// The server's last calls; `None` where they were not followed.
    pub calls: Option<Vec<String>>,
    /// The sockets on its port.
    pub sockets: Vec<String>,
    /// What it printed last, where it ended before its time.
    pub last_words: Vec<String>,
}

impl Failure {
    /// With the reason.
    pub fn because(mut self: Box<Self>, why: impl Into<String>) -> Stopped {
        self.why.get_or_insert(why.into());
        Stopped::Failed(self)
    }
}

impl From<Box<Failure>> for Stopped {
    fn from(failure: Box<Failure>) -> Self {
        Self::Failed(failure)
    }
}

/// A check under way. A check's function starts a server with it, is its client, and asks it for evidence.
pub struct Case<'a> {
    stage: &'a Stage<'a>,
    check: &'static Check,
    port: u16,
    tables: Tables,
    server: Option<Server>,
    /// The process that listens, of several the first one: what is sent a signal.
    main: u32,
    steps: Vec<String>,
    deadline: Instant,
    counted: Instant,
    /// Whose end is no accident.
    ended_by_us: Vec<u32>,
    /// Whether the server has made other processes.
    is_parent: Cell<bool>,
    lost_control: bool,
}

impl<'a> Case<'a> {
    /// In a network in which nothing has happened yet.
    pub(super) fn new(stage: &'a Stage<'a>, check: &'static Check) -> Result<Self, Problem> {
        let port = stage.place.renew(stage.port, stage.lab.port)?;
        let now = Instant::now();
        Ok(Self {
            stage,
            check,
            port,
            tables: Tables::open().map_err(Problem::while_doing("ask the kernel for its sockets (sock_diag)"))?,
            server: None,
            main: 0,
            steps: Vec::new(),
            deadline: now + check.limit,
            counted: now,
            ended_by_us: Vec::new(),
            is_parent: Cell::new(false),
            lost_control: false,
        })
    }

    /// Ends the server, and says which steps were passed.
    pub(super) fn end(mut self) -> Vec<String> {
        self.end_server();
        self.steps
    }

    fn end_server(&mut self) {
        if let Some(server) = self.server.take() {
            server.end(!self.lost_control);
        }
    }

    /// The lab whose promises are meant.
    pub fn lab(&self) -> u8 {
        self.stage.lab.number
    }

    /// How the server's first process has ended, if it has.
    pub fn exit(&self) -> Option<End> {
        self.server.as_ref().and_then(|server| server.ended)
    }

    /// How long a server may take until it listens.
    pub fn patience(&self) -> Duration {
        self.stage.patience
    }

    /// Whether a call of the server has failed with this error, among the latest, and where calls are followed.
    pub fn was_refused(&self, error: &str) -> bool {
        self.server.as_ref().is_some_and(|server| server.calls.has_error(error))
    }

    /// The threads that have read from clients, of the latest calls, and where calls are followed.
    pub fn readers(&self) -> BTreeSet<u32> {
        self.server.as_ref().map(|server| server.calls.readers()).unwrap_or_default()
    }

    /// The port on which the server listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where a client reaches the server.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::new(self.stage.address, self.port)
    }

    /// The process that listens: where several do, the one from which the others descend.
    pub fn main(&self) -> u32 {
        self.main
    }

    /// Whether that process has made others, though they may have ended by now.
    pub fn is_parent(&self) -> bool {
        self.is_parent.get()
    }

    /// Notes that a step was passed.
    pub fn done(&mut self, step: impl Into<String>) {
        self.steps.push(step.into());
    }

    /// Does something whose steps are not worth a line each, as long as it goes well.
    pub fn quietly<T>(&mut self, act: impl FnOnce(&mut Self) -> Step<T>) -> Step<T> {
        let before = self.steps.len();
        let done = act(self)?;
        self.steps.truncate(before);
        Ok(done)
    }

    /// Starts the server and waits until it listens: how the function of each check begins.
    pub fn start(&mut self) -> Step {
        self.start_again(self.stage.patience)?;
        self.done("start and listen");
        Ok(())
    }

    /// Starts a server, and gives it so long until it listens.
    pub fn start_again(&mut self, patience: Duration) -> Step {
        self.end_server();
        let mut words: Vec<_> = self.stage.command.iter().map(|word| run::with_port(word, self.port)).collect();
        if self.stage.is_own {
            words.extend(self.check.arguments.iter().map(Into::into));
        }
        let is_followed = self.check.is_followed && self.stage.place.follow.is_ok();
        self.server = Some(Server::start(words, self.port, is_followed)?);
        self.ended_by_us.clear();
        self.main = 0;
        self.is_parent.set(false);
        let begun = Instant::now();
        let mut elsewhere: Option<Instant> = None;
        let latest = loop {
            // Asked first: it may be we who were kept waiting, and what it has done meanwhile is still to be seen.
            let is_over = begun.elapsed() >= patience
                || elsewhere.is_some_and(|since| since.elapsed() >= ELSEWHERE && !self.is_busy())
                || self.is_gone();
            let latest = self.look_whether_it_serves()?;
            match &latest {
                Serving::Here(socket) if self.server.as_ref().is_some_and(|server| server.pid != 0) => {
                    return self.listens(&socket.clone());
                }
                Serving::Elsewhere(_) => drop(elsewhere.get_or_insert_with(Instant::now)),
                // Or its guard has not said yet who it is.
                Serving::Here(_) | Serving::Nothing => {}
            }
            if is_over {
                break latest;
            }
            self.turn(SLOW)?;
        };
        // A server whose command says nothing of a port has one of its own.
        if let Serving::Elsewhere(sockets) = &latest
            && !self.stage.command.iter().any(|word| word.to_string_lossy().contains("{port}"))
            && let Some(socket) = sockets.iter().find(|socket| evidence::reaches(socket, self.stage.address, None))
        {
            self.port = socket.local.port().unwrap_or(self.port);
            return self.listens(&socket.clone());
        }
        Err(self.never_listened(&latest, patience).into())
    }

    fn look_whether_it_serves(&mut self) -> Step<Serving> {
        let pids: Vec<u32> = self.family().iter().map(|member| member.pid).collect();
        let serving = self.tables.serving(&pids).map_err(kernel_tables)?;
        Ok(evidence::serving(serving, self.address()))
    }

    /// Finds out who is to be spoken to.
    fn listens(&mut self, socket: &Socket) -> Step {
        let family = self.family();
        let mut socket = socket.clone();
        Owners::among(&pids_of(&family)).fill_in(&mut socket);
        let first = self.server.as_ref().map_or(0, |server| server.pid);
        self.main = evidence::eldest(&family, &socket).unwrap_or(first);
        // The time of the check itself counts from here on: until now it was the interpreter's.
        self.deadline = Instant::now() + self.check.limit;
        Ok(())
    }

    fn never_listened(&mut self, serving: &Serving, patience: Duration) -> Box<Failure> {
        let expected = format!("the server to listen on {}", self.address());
        let Some(server) = &mut self.server else {
            return self.fail(Kind::NeverListened, expected, "it was not started");
        };
        let took = server.started.elapsed().as_secs_f64();
        match (serving, server.is_gone(), server.ended) {
            (Serving::Elsewhere(sockets), ..) => {
                let seen = evidence::where_it_serves(sockets);
                let why = evidence::why_elsewhere(sockets, self.address());
                let mut failure = self.fail(Kind::NeverListened, expected, seen);
                failure.why = why.or(failure.why);
                failure
            }
            (_, true, Some(end)) => {
                let kind = if end == End::Exited(0) { Kind::NeverListened } else { Kind::Crashed };
                let mut failure = self.fail(
                    kind,
                    expected,
                    format!("it {} after {took:.2} s, before it listened", how_it_ended(end)),
                );
                failure.last_words = self.last_words();
                failure
            }
            _ => {
                let seen = format!("it has run for {} s and listens nowhere", patience.as_secs_f32());
                let mut failure = self.fail(Kind::NeverListened, expected, seen);
                failure.last_words = self.last_words();
                failure
            }
        }
    }

    /// One round: what the server prints and does, whether it has lost control of itself, whether we are to stop.
    pub fn turn(&mut self, limit: Duration) -> Step {
        if let Some(server) = &mut self.server {
            server.turn(Some(self.stage.signals.as_fd()), limit).map_err(Problem::while_doing("follow the server"))?;
            if let Some(errno) = server.refused {
                let words: Vec<_> = self.stage.command.iter().map(|word| run::with_port(word, self.port)).collect();
                return Err(Stopped::NotJudged(run::not_started(&words, errno)));
            }
        }
        while let Some(signal) = self.stage.signals.next().map_err(Problem::while_doing("read signals"))? {
            if signal != Signal::SIGCHLD {
                return Err(Stopped::Interrupted(signal));
            }
        }
        if self.counted.elapsed() >= COUNTING && !self.lost_control {
            self.counted = Instant::now();
            self.count()?;
        }
        Ok(())
    }

    /// A server that makes processes without end is stopped before the machine is.
    fn count(&mut self) -> Step {
        let family = self.family();
        let processes = family.iter().filter(|member| !member.is_zombie()).count();
        let threads: u32 = family.iter().map(|member| member.threads).sum();
        if processes <= MOST_PROCESSES && threads <= MOST_THREADS {
            return Ok(());
        }
        self.lost_control = true;
        // Stopped first: whoever is stopped makes no more of them.
        process::send_to_all(&pids_of(&family), Signal::SIGSTOP);
        let expected = format!("at most {MOST_PROCESSES} processes and {MOST_THREADS} threads");
        let seen = format!("the server had {processes} processes with {threads} threads, and was ended");
        let failure = self.fail(Kind::WrongState, expected, seen);
        self.end_server();
        Err(failure
            .because("it makes processes faster than they end: a child that goes on where only its parent should?"))
    }

    /// Waits until there is something to be found, for at most so long. A server that is at work then gets more time.
    ///
    /// What has begun gets its time, whatever is left of the check's: whoever is told of a second that is over has had it. When
    /// the check's own time is over, nothing more is begun. Until then there was something to be found each time: whether it
    /// is the server that is slow, or the machine, is not known.
    pub fn until<T>(&mut self, limit: Duration, mut look: impl FnMut(&mut Self) -> Step<Option<T>>) -> Step<Option<T>> {
        // Of one that is gone, what has come of it is told at once.
        if Instant::now() >= self.deadline && !self.is_gone() {
            return Err(self.took_too_long());
        }
        let begun = Instant::now();
        let mut turns = 0;
        loop {
            // Asked first: when it is gone, what it has left behind is final, and is looked at once more.
            let is_gone = self.server.as_mut().is_none_or(Server::is_gone);
            if let Some(found) = look(self)? {
                return Ok(Some(found));
            }
            let took = begun.elapsed();
            let is_over = took >= limit && (took >= limit * MERCY || !self.is_busy());
            if is_gone {
                return Ok(None);
            }
            if is_over {
                // Once more: it may be we who were kept waiting, and it came between the look and the clock.
                return look(self);
            }
            self.turn(if turns < 20 { QUICK } else { SLOW })?;
            turns += 1;
        }
    }

    fn took_too_long(&self) -> Stopped {
        let (limit, last) = (self.check.limit.as_secs(), self.steps.last().map_or("nothing", String::as_str));
        Stopped::NotJudged(format!(
            "the check took longer than {limit} s: the server, or this machine, was too slow for it, and still went on; the \
             last that was passed: {last}"
        ))
    }

    /// Lets time pass; the server is looked after meanwhile.
    pub fn wait(&mut self, time: Duration) -> Step {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.turn(SLOW)?;
        }
        Ok(())
    }

    /// Whether anybody of the server is at work at this moment.
    pub fn is_busy(&self) -> bool {
        self.family().iter().any(Member::is_busy)
    }

    /// The processes of the server, parents first, zombies included.
    pub fn family(&self) -> Vec<Member> {
        let family = self.server.as_ref().map(Server::family).unwrap_or_default();
        self.is_parent.set(self.is_parent.get() || family.iter().any(|member| member.parent == self.main));
        family
    }

    /// Whether no process of the server is left.
    pub fn is_gone(&mut self) -> bool {
        self.server.as_mut().is_none_or(Server::is_gone)
    }

    /// What the server has printed since there were so many lines, and how many there are now.
    pub fn printed_since(&self, mark: u64) -> (Vec<String>, u64) {
        let Some(server) = &self.server else { return (Vec::new(), 0) };
        let new = usize::try_from(server.lines.saturating_sub(mark)).unwrap_or(usize::MAX);
        let skipped = server.printed.len().saturating_sub(new);
        (server.printed.iter().skip(skipped).map(|line| harmless(line)).collect(), server.lines)
    }

    /// Sends a signal to a process of the server. Its end is then no accident.
    pub fn signal(&mut self, pid: u32, signal: Signal) -> Step {
        // To kill(2), 0 is everybody in our own process group.
        if pid == 0 {
            return Err(Stopped::NotJudged("the server's process is not known, and cannot be sent a signal".into()));
        }
        if matches!(signal, Signal::SIGTERM | Signal::SIGKILL | Signal::SIGINT) {
            self.ended_by_us.push(pid);
        }
        let _ = kill(Pid::from_raw(pid.cast_signed()), signal);
        Ok(())
    }

    /// Every socket on the server's port, both sides of each connection, without their owners.
    pub fn sockets(&mut self) -> Step<Vec<Socket>> {
        let subject = Subject { tcp: true, port: Some(self.port), ..Subject::default() };
        Ok(self.tables.snapshot(&subject, true).map_err(kernel_tables)?)
    }

    /// The same with the processes of the server that hold them.
    pub fn sockets_and_owners(&mut self) -> Step<Vec<Socket>> {
        let mut sockets = self.sockets()?;
        let owners = Owners::among(&pids_of(&self.family()));
        sockets.iter_mut().for_each(|socket| owners.fill_in(socket));
        Ok(sockets)
    }

    /// The same, and where others are in this network, with the processes of anybody: the port may be theirs.
    fn everybodys_sockets(&mut self) -> Step<Vec<Socket>> {
        if self.stage.place.network.is_ok() {
            return self.sockets_and_owners();
        }
        let mut sockets = self.sockets()?;
        let owners = Owners::look_up();
        sockets.iter_mut().for_each(|socket| owners.fill_in(socket));
        Ok(sockets)
    }

    /// The server's end of a client's connection, with the processes that hold it.
    pub fn servers_end(&mut self, client: &Client) -> Step<Option<Socket>> {
        let sockets = self.sockets_and_owners()?;
        Ok(evidence::end_of(&sockets, client.remote, client.local).cloned())
    }

    /// The listening socket.
    pub fn listener(&mut self) -> Step<Option<Socket>> {
        Ok(self.sockets()?.into_iter().find(|socket| evidence::reaches(socket, self.stage.address, Some(self.port))))
    }

    /// The processes that hold the server's end of a client's connection.
    pub fn holders(&mut self, client: &Client) -> Step<Vec<u32>> {
        let mut pids: Vec<u32> =
            self.servers_end(client)?.into_iter().flat_map(|socket| socket.owners).map(|owner| owner.pid).collect();
        pids.dedup();
        Ok(pids)
    }

    /// The open descriptors of each process of the server.
    pub fn descriptors(&self) -> Step<Fds> {
        let family = self.family();
        let running = family.iter().filter(|member| !member.is_zombie());
        let mut fds = Fds::default();
        for member in running {
            if let Some(open) = descriptors_of(member.pid)? {
                fds.add(member.pid, open);
            }
        }
        Ok(fds)
    }

    /// What has gone wrong, with all that is known at this moment. A server that has ended, or a process of it that a signal
    /// has, is the reason, whatever was expected.
    pub fn fail(&mut self, kind: Kind, expected: impl Into<String>, seen: impl Into<String>) -> Box<Failure> {
        let (expected, mut seen) = (expected.into(), seen.into());
        self.let_end();
        let crash = if kind == Kind::NeverListened { None } else { self.crash() };
        if let Some(crash) = &crash {
            seen.push_str("; ");
            seen.push_str(crash);
        }
        let sockets = self.everybodys_sockets().unwrap_or_default();
        Box::new(Failure {
            kind: if crash.is_some() { Kind::Crashed } else { kind },
            expected,
            seen,
            why: None,
            calls: self.server.as_ref().filter(|server| server.is_followed()).map(|server| server.calls.lines()),
            sockets: evidence::lines(&sockets, self.port, SOCKETS),
            last_words: if crash.is_some() { self.last_words() } else { Vec::new() },
        })
    }

    /// What it did last is on its way to us; and a server whose listening socket is gone is perhaps about to end.
    fn let_end(&mut self) {
        let begun = Instant::now();
        let _ = self.turn(QUICK);
        while self.main != 0
            && begun.elapsed() < SOON
            && self.listener().is_ok_and(|listener| listener.is_none())
            && process::member(self.main).is_some_and(|member| !member.is_zombie())
            && self.turn(SLOW).is_ok()
        {}
        // It has ended, and how is told a moment later.
        while self.main != 0
            && begun.elapsed() < SOON
            && process::member(self.main).is_none_or(|member| member.is_zombie())
            && self.server.as_ref().is_some_and(|server| server.pid == self.main && server.ended.is_none())
            && self.turn(SLOW).is_ok()
        {}
        let _ = self.turn(QUICK);
    }

    /// That the server has ended though nobody asked it to, or a process of it.
    fn crash(&mut self) -> Option<String> {
        let (main, by_us) = (self.main, self.ended_by_us.clone());
        let server = self.server.as_mut().filter(|_| main != 0)?;
        let crashed =
            |(pid, signal): &&(u32, i32)| !by_us.contains(pid) && (*pid == main || evidence::is_crash(*signal));
        if let Some((pid, signal)) = server.killed.iter().find(crashed) {
            let who = if *pid == main { "the server" } else { "its process" };
            return Some(format!("{who} (pid {pid}) was ended by {}", crate::view::describe::signal(*signal)));
        }
        if by_us.contains(&main) || process::member(main).is_some_and(|member| !member.is_zombie()) {
            return None;
        }
        let how = server.ended.filter(|_| server.pid == main).map_or("has ended".into(), how_it_ended);
        Some(format!("the server (pid {main}) {how} meanwhile"))
    }

    fn last_words(&self) -> Vec<String> {
        let Some(server) = &self.server else { return Vec::new() };
        let skipped = server.printed.len().saturating_sub(LAST_WORDS);
        server.printed.iter().skip(skipped).map(|line| harmless(line)).collect()
    }

    /// Ends the whole server at once, and waits until nothing of it is left.
    pub fn kill_all(&mut self) -> Step {
        let family = self.family();
        self.ended_by_us.extend(pids_of(&family));
        process::kill_all(&pids_of(&family));
        self.until(SOON, |case| Ok(case.is_gone().then_some(())))?;
        Ok(())
    }
}

fn kernel_tables(error: std::io::Error) -> Problem {
    Problem::while_doing("ask the kernel for its sockets (sock_diag)")(error)
}

/// Their process ids.
pub fn pids_of(family: &[Member]) -> Vec<u32> {
    family.iter().map(|member| member.pid).collect()
}

/// The open descriptors of a process; `None` where it has ended just now.
fn descriptors_of(pid: u32) -> Step<Option<Vec<(u32, String)>>> {
    let begun = Instant::now();
    loop {
        if let Some(open) = process::descriptors_of(pid) {
            return Ok(Some(open));
        }
        if process::member(pid).is_none_or(|member| member.is_zombie()) {
            return Ok(None);
        }
        // One that has let go of its memory and is not yet a zombie: for so long its directory in /proc is root's.
        if begun.elapsed() >= SOON * MERCY {
            return Err(Stopped::NotJudged(format!("pid {pid}: its descriptors may not be looked at")));
        }
        std::thread::sleep(QUICK);
    }
}
