//! The thread that follows programs, from stop to stop.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::outbox::Outbox;
use super::process::{Process, family_of, is_of_interest};
use super::{Gate, Held, Inbox, Mark, News, Recipients, Request, Sampler};
use crate::decode::symbols;
use crate::decode::syscall::{self, Effect};
use crate::event::{Call, Descriptor, End, Event, Named, Outcome, Protocol, Waited, What, Who};
use crate::sys::start::{self, Start, Starting};
use crate::sys::trace::{self, Stopped, Why};

pub struct Tracer {
    started: Instant,
    sampler: Option<Sampler>,
    news: Outbox,
    processes: BTreeMap<u32, Process>,
    threads: BTreeMap<u32, Thread>,
    /// Programs that have not been executed yet.
    starting: BTreeMap<u32, Starting>,
    calls: u64,
    said_quiet: bool,
    /// How many processes there may be, before whoever makes more is not let go again.
    most: usize,
    /// The protocols of sockets that are in use, each with whether it is over IPv6.
    expected: Vec<(Protocol, bool)>,
}

struct Thread {
    process: u32,
    role: String,
    call: Option<Running>,
    gate: Gate,
    /// How it is to be let go, while it is held.
    held: Option<Resume>,
}

/// How a thread goes on from a stop.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Resume {
    /// To its next stop.
    ToNextStop,
    /// From the entry of a call to its return.
    ToReturn,
}

impl Resume {
    fn apply(self, thread: u32) {
        match self {
            Self::ToNextStop => trace::go_on(thread, 0),
            Self::ToReturn => trace::until_return(thread),
        }
    }
}

/// A call that has been entered.
struct Running {
    kind: &'static syscall::Call,
    words: [u64; 6],
    texts: Vec<Option<String>>,
    id: u64,
    on: Option<Descriptor>,
    waits: Vec<Waited>,
    entered: Duration,
}

impl Tracer {
    pub fn new(started: Instant, sampler: Option<Sampler>, news: Outbox) -> Self {
        Self {
            started,
            sampler,
            news,
            processes: BTreeMap::new(),
            threads: BTreeMap::new(),
            starting: BTreeMap::new(),
            calls: 0,
            said_quiet: true,
            most: usize::MAX,
            expected: vec![(Protocol::Tcp, false)],
        }
    }

    /// Until nobody asks any more. Whoever is left then is ended by the kernel.
    pub fn run(mut self, inbox: &Inbox) {
        // Looked into at each round, and not only when a knock interrupts the wait: while programs never rest, it never does.
        while let Some(requests) = inbox.look_if_rung() {
            for request in requests {
                self.answer(request);
            }
            self.news.flush();
            match trace::wait() {
                Ok(Some(stopped)) => self.stopped(stopped),
                Ok(None) => {}
                // ECHILD: there is nobody.
                Err(_) => {
                    self.say_quiet();
                    // What could not be told yet goes first.
                    if self.news.is_empty() {
                        let Some(requests) = inbox.wait() else { return };
                        requests.into_iter().for_each(|request| self.answer(request));
                    }
                }
            }
        }
    }

    fn say_quiet(&mut self) {
        if !self.said_quiet {
            self.said_quiet = true;
            self.tell(News::Quiet);
        }
    }

    fn tell(&self, news: News) {
        self.news.send(news);
    }

    fn event(&self, at: Duration, who: Who, what: What) {
        self.tell(News::Event(Event { at, who, what }));
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn answer(&mut self, request: Request) {
        // Whoever asked and did not wait for the answer does not need it.
        match request {
            Request::Start { role, start, gate, answer } => drop(answer.send(self.start(role, &start, gate))),
            Request::Let { role, gate, answer } => drop(answer.send(Ok(self.let_go(&role, &gate)))),
            Request::Signal { signal, to, answer } => drop(answer.send(Ok(self.signal(signal, &to)))),
            Request::AtMost { processes, answer } => {
                self.most = processes;
                drop(answer.send(Ok(u32::try_from(self.processes.len()).unwrap_or(u32::MAX))));
            }
        }
    }

    fn start(&mut self, role: String, start: &Start, gate: Gate) -> io::Result<u32> {
        let starting = start::start(start)?;
        let pid = starting.pid;
        self.said_quiet = false;
        self.processes.insert(pid, Process::new(role.clone()));
        self.threads.insert(pid, Thread { process: pid, role, call: None, gate, held: None });
        self.starting.insert(pid, starting);
        let command = start.command.iter().map(|word| OsStr::to_string_lossy(word).into_owned()).collect();
        self.event(self.now(), self.who(pid), What::Started { command });
        Ok(pid)
    }

    /// Sets the gate of a role's thread; with an open one, those of everybody whom it has made, too.
    fn let_go(&mut self, role: &str, gate: &Gate) -> u32 {
        let mut count = 0;
        for (&id, thread) in &mut self.threads {
            let is_meant = thread.role == role || *gate == Gate::Open && is_made_by(&thread.role, role);
            if !is_meant {
                continue;
            }
            count += 1;
            thread.gate = gate.clone();
            if let Some(resume) = thread.held.take_if(|_| *gate != Gate::Shut) {
                resume.apply(id);
            }
        }
        count
    }

    /// Lets a thread go on from a stop, or holds it there. `is_at_mark` says whether it is where it was to go.
    fn pass(
        &mut self,
        thread: u32,
        resume: Resume,
        is_at_mark: impl FnOnce(&mut Mark) -> bool,
        held: impl FnOnce() -> Held,
    ) {
        let Some(known) = self.threads.get_mut(&thread) else { return resume.apply(thread) };
        let is_held = match &mut known.gate {
            Gate::Open => false,
            Gate::Shut => true,
            Gate::Until(mark) => is_at_mark(mark),
        };
        if !is_held {
            return resume.apply(thread);
        }
        known.gate = Gate::Shut;
        known.held = Some(resume);
        self.sample(true);
        self.tell(News::Held { who: self.who(thread), held: held() });
    }

    fn signal(&self, signal: Signal, to: &Recipients) -> u32 {
        let is_meant = |role: &str| match to {
            Recipients::All => true,
            Recipients::Role(wanted) => role == wanted || is_made_by(role, wanted),
            Recipients::Only(wanted) => role == wanted,
        };
        let mut count = 0;
        for (&pid, process) in &self.processes {
            if is_meant(&process.role) && kill(Pid::from_raw(pid.cast_signed()), signal).is_ok() {
                count += 1;
                if matches!(to, Recipients::Only(_)) {
                    continue;
                }
                // A stopped process would not see it.
                let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGCONT);
            }
        }
        if let (0, Recipients::Only(wanted)) = (count, to) {
            // kill(2) takes the number of a thread, too; the kernel decides whom of its process the signal concerns.
            let ids = self.threads.iter().filter(|(_, thread)| thread.role == *wanted).map(|(&id, _)| id);
            count += ids.filter(|id| kill(Pid::from_raw(id.cast_signed()), signal).is_ok()).count() as u32;
        }
        count
    }

    fn who(&self, thread: u32) -> Who {
        let role = self.threads.get(&thread).map_or_else(|| "unknown".into(), |thread| thread.role.clone());
        Who::Program { role, pid: thread }
    }

    /// A sample of the sockets' states; a whole one where listening sockets may have come or gone.
    fn sample(&self, is_whole: bool) {
        let Some(sampler) = &self.sampler else { return };
        let Ok(mut follower) = sampler.lock() else { return };
        if !follower.is_cheap() {
            return;
        }
        let events = if is_whole { follower.sample() } else { follower.sample_connections() };
        // A sample that fails is missing; the next one tells the same.
        for event in events.unwrap_or_default() {
            self.tell(News::Event(event));
        }
    }

    /// Sockets of this kind are there from now on. Those that are neither bound nor connected are nobody's business.
    fn expect(&mut self, descriptor: Option<&Descriptor>) {
        let Some(names) = descriptor.map(|descriptor| &descriptor.names) else { return };
        let Some(protocol) = names.protocol().filter(|_| !matches!(names, Named::Unbound(_))) else { return };
        let is_v6 = names.is_ipv6();
        if !self.expected.contains(&(protocol, is_v6)) {
            self.expected.push((protocol, is_v6));
            if let Some(Ok(mut follower)) = self.sampler.as_ref().map(|sampler| sampler.lock()) {
                follower.follow_too(protocol, is_v6);
            }
        }
    }

    fn stopped(&mut self, stopped: Stopped) {
        let thread = stopped.thread;
        if !self.threads.contains_key(&thread) && !self.welcome(thread, stopped.why) {
            return;
        }
        match stopped.why {
            Why::Enters => self.enters(thread),
            Why::Returns => self.returns(thread),
            Why::Forks => {
                self.forks(thread);
                if self.processes.len() <= self.most {
                    self.pass(thread, Resume::ToNextStop, Mark::is_reached_by_fork, || Held::AfterFork);
                }
            }
            Why::Executes => {
                self.executes(thread);
                trace::go_on(thread, 0);
            }
            // The kernel has stopped it, and nobody lets it go: it makes no others.
            Why::Begins if self.processes.len() > self.most => {}
            Why::Begins => self.pass(thread, Resume::ToNextStop, |_| false, || Held::AtItsBeginning),
            Why::Signal(signal) => {
                self.event(self.now(), self.who(thread), What::Signalled(signal));
                trace::go_on(thread, signal);
            }
            Why::GroupStop => trace::stay_stopped(thread),
            Why::Ended(end) => self.ended(thread, end),
        }
    }

    /// A thread that was not known: it was made a moment ago, and its maker's own stop has not been seen yet.
    fn welcome(&mut self, thread: u32, why: Why) -> bool {
        if matches!(why, Why::Ended(_)) {
            return false;
        }
        // Without /proc it counts as a process whose maker is not known: what it stops for is still to be answered rightly.
        let (process, maker) = family_of(thread).unwrap_or((thread, 0));
        if process == thread {
            // Its maker may have ended already, and somebody adopted it.
            let made = match self.processes.get_mut(&maker) {
                Some(maker) => maker.fork(),
                None => Process::orphan(),
            };
            let role = made.role.clone();
            self.processes.insert(process, made);
            let gate = self.gate_for_whom_it_makes(maker);
            self.threads.insert(thread, Thread { process, role, call: None, gate, held: None });
        } else {
            let role = self.processes.get_mut(&process).map_or_else(|| "unknown".into(), Process::thread);
            let gate = self.gate_for_whom_it_makes(process);
            self.threads.insert(thread, Thread { process, role, call: None, gate, held: None });
        }
        true
    }

    /// Whoever is made by somebody who is led step by step waits to be led, too.
    fn gate_for_whom_it_makes(&self, maker: u32) -> Gate {
        match self.threads.get(&maker) {
            Some(Thread { gate: Gate::Shut | Gate::Until(_), .. }) => Gate::Shut,
            _ => Gate::Open,
        }
    }

    fn forks(&mut self, thread: u32) {
        let Ok(made) = trace::message(thread) else { return };
        // Where the new one was quick, and has ended already, it has had its welcome and its end.
        if !self.threads.contains_key(&made) {
            let is_gone = family_of(made).is_none() && family_of(std::process::id()).is_some();
            if is_gone || !self.welcome(made, Why::Begins) {
                return;
            }
        }
        let is_thread = self.threads.get(&made).is_some_and(|made_thread| made_thread.process != made);
        self.event(self.now(), self.who(thread), What::Forked { child: self.who(made), is_thread });
        self.family_changed();
    }

    /// Who holds a socket is looked up among those who are followed.
    fn family_changed(&self) {
        if let Some(Ok(mut follower)) = self.sampler.as_ref().map(|sampler| sampler.lock()) {
            follower.look_for_owners_among(self.processes.keys().copied().collect());
        }
    }

    fn executes(&mut self, thread: u32) {
        // The other threads are gone, and whoever executed has the process's own id from now on.
        self.threads.retain(|&id, other| other.process != thread || id == thread);
        if let Some(other) = self.threads.get_mut(&thread) {
            other.call = None;
        }
        if let Some(process) = self.processes.get_mut(&thread) {
            process.execute();
        }
        self.starting.remove(&thread);
        self.family_changed();
    }

    fn ended(&mut self, thread: u32, end: End) {
        let at = self.now();
        let who = self.who(thread);
        self.threads.remove(&thread);
        if let Some(errno) = self.starting.remove(&thread).and_then(Starting::refusal) {
            self.processes.remove(&thread);
            return self.tell(News::Refused { pid: thread, errno });
        }
        if self.processes.remove(&thread).is_some() {
            self.sample(true);
            self.event(at, who, What::Ended(end));
            self.family_changed();
        }
    }

    fn enters(&mut self, thread: u32) {
        match self.begin(thread) {
            Some(call) => {
                self.sample(false);
                // The last moment before the call does what it does.
                let entered = self.now();
                let shown = Call {
                    id: call.id,
                    name: call.kind.name.into(),
                    arguments: call.texts.iter().flatten().cloned().collect(),
                    on: call.on.clone(),
                    waits: call.waits.clone(),
                    outcome: None,
                };
                self.event(entered, self.who(thread), What::Called(shown.clone()));
                if let Some(thread) = self.threads.get_mut(&thread) {
                    thread.call = Some(Running { entered, ..call });
                }
                self.pass_at(thread, Resume::ToReturn, shown);
            }
            None => trace::go_on(thread, 0),
        }
    }

    /// What is known of a call that a thread enters; `None` if it is of no interest.
    fn begin(&mut self, thread: u32) -> Option<Running> {
        let pid = self.threads.get(&thread)?.process;
        let process = self.processes.get_mut(&pid).filter(|process| process.is_executed)?;
        let entry = trace::entry(thread).ok()?;
        let kind = syscall::find(entry.number)?;
        let first = entry.arguments[0] as i32;
        let mut on = None;
        if kind.is_on_descriptor {
            match process.descriptor(pid, first) {
                Some(named) if is_of_interest(named) => on = process.known(first),
                Some(_) => {
                    forget(process, kind, entry.arguments);
                    return None;
                }
                // Not open: the call will fail, and that is of interest where only sockets are meant.
                None if matches!(kind.effect, Effect::Data | Effect::Closes | Effect::Copies) => return None,
                None => {}
            }
        }
        forget(process, kind, entry.arguments);
        if kind.effect == Effect::ClosesRange {
            return None;
        }
        let memory = |at, into: &mut [u8]| trace::read_memory(pid, at, into);
        let is_socket = |fd| process.descriptor(pid, fd).is_some_and(is_of_interest);
        if !kind.is_of_interest(entry.arguments, &memory, is_socket) {
            return None;
        }
        let texts = kind.enter(entry.arguments, &memory);
        let waits = process.named(pid, first, kind.waits(entry.arguments, None, &memory));
        self.calls += 1;
        Some(Running { kind, words: entry.arguments, texts, id: self.calls, on, waits, entered: Duration::ZERO })
    }

    fn pass_at(&mut self, thread: u32, resume: Resume, call: Call) {
        self.pass(thread, resume, |mark| mark.is_reached_by(&call), || Held::At(Box::new(call.clone())));
    }

    fn returns(&mut self, thread: u32) {
        match self.returned_call(thread) {
            Some(call) => self.pass_at(thread, Resume::ToNextStop, call),
            None => trace::go_on(thread, 0),
        }
    }

    /// The call from which a thread returns, told and sampled.
    fn returned_call(&mut self, thread: u32) -> Option<Call> {
        let value = trace::returned(thread).ok()?;
        let returned = self.now();
        let known = self.threads.get_mut(&thread)?;
        let (pid, mut call) = (known.process, known.call.take()?);
        let memory = |at: u64, into: &mut [u8]| trace::read_memory(pid, at, into);
        call.kind.answer(&mut call.texts, call.words, value, &memory);
        let mut new = None;
        if let Some(process) = self.processes.get_mut(&pid) {
            let list = call.words[0] as i32;
            if let Some(change) = call.kind.on_list(call.words, &memory).filter(|_| value == 0) {
                process.listed(list, change);
            }
            call.waits = process.named(pid, list, call.kind.waits(call.words, Some(value), &memory));
            new = made(process, pid, &call, value);
        }
        self.expect(new.as_ref().or(call.on.as_ref()));
        let error = (-4095..0).contains(&value).then(|| symbols::error(-value as i32));
        self.sample(call.kind.name == "listen");
        let shown = Call {
            id: call.id,
            name: call.kind.name.into(),
            arguments: call.texts.into_iter().flatten().collect(),
            on: call.on,
            waits: call.waits,
            outcome: Some(Outcome { entered: call.entered, value, error, made: new }),
        };
        self.event(returned, self.who(thread), What::Returned(shown.clone()));
        Some(shown)
    }
}

/// Whether the first role is that of somebody whom the second one has made.
fn is_made_by(role: &str, maker: &str) -> bool {
    role.strip_prefix(maker).is_some_and(|rest| rest.starts_with('/'))
}

/// Forgets what a call is about to close: the number may stand for something else as soon as it has.
fn forget(process: &mut Process, kind: &syscall::Call, words: [u64; 6]) {
    match kind.effect {
        Effect::Closes => process.closed(words[0] as i32),
        Effect::Copies if matches!(kind.name, "dup2" | "dup3") => process.closed(words[1] as i32),
        // Unless it is only to mark them for the next exec.
        Effect::ClosesRange if words[2] & 4 == 0 => process.closed_range(words[0] as u32, words[1] as u32),
        _ => {}
    }
}

/// The descriptor that a call has made, or whose meaning it has changed.
fn made(process: &mut Process, pid: u32, call: &Running, value: i64) -> Option<Descriptor> {
    let is_under_way = value == -i64::from(nix::libc::EINPROGRESS);
    if value < 0 && !is_under_way {
        return None;
    }
    let (first, new) = (call.words[0] as i32, value as i32);
    match call.kind.effect {
        Effect::Makes => {
            process.closed(new);
            process.look_again(pid, new).ok()?;
            process.known(new)
        }
        Effect::Accepts => process.accepted(pid, new),
        Effect::Names => {
            let before = process.known(first);
            process.look_again(pid, first).ok()?;
            process.known(first).filter(|_| process.known(first) != before)
        }
        Effect::Copies if call.kind.name != "fcntl" || syscall::fcntl_copies(call.words) => process.copied(first, new),
        Effect::MakesPair => {
            let memory = |at, into: &mut [u8]| trace::read_memory(pid, at, into);
            for fd in call.kind.pair(call.words, &memory)? {
                process.closed(fd);
            }
            None
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_calls_of_interest_are_each_listed_once() {
        let numbers = syscall::numbers();
        assert_eq!(numbers.iter().collect::<HashSet<_>>().len(), numbers.len());
    }
}
