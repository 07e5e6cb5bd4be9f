//! `socklab run`: a server in the foreground, and beside it what the kernel does with its sockets.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::Signal;

use crate::event::{End, Endpoint, Event, Protocol, Socket, State, What, Who};
use crate::lens::follow::{CLOSE, Follower, RELAXED};
use crate::lens::owners::Owners;
use crate::lens::table::{Subject, Tables};
use crate::sys::process;
use crate::sys::signals::Signals;
use crate::view::describe;
use crate::view::paint::{STRONG, harmless, in_style};
use crate::view::timeline::Timeline;
use crate::workshop::guard::{GRACE, Report};
use crate::workshop::labs::Lab;
use crate::workshop::outputs::OutputOptions;
use crate::workshop::program::{News, Program};
use crate::workshop::watch::{self, Part, Play};
use crate::workshop::{Problem, build};

/// How often it is looked whether the server listens yet.
const LOOK: Duration = Duration::from_millis(5);

/// What is to be run.
#[derive(Debug)]
pub struct Options {
    /// The lab.
    pub lab: &'static Lab,
    /// The server of an exercise, which is called as the lab's own is.
    pub program: Option<PathBuf>,
    /// The port; 0 lets the kernel choose.
    pub port: Option<u16>,
    /// The address for the lab's own server.
    pub address: Option<IpAddr>,
    /// What else to tell the lab's own server.
    pub arguments: Vec<String>,
    /// How long a server may take until it listens.
    pub patience: Duration,
    /// Whether the calls are shown as well, and the segments where they may be captured.
    pub all_lenses: bool,
    /// A server of the learner's own in place of the lab's: a program and its arguments, `{port}` standing for the port.
    pub command: Vec<OsString>,
}

/// Runs the server until Ctrl-C, or until it ends.
pub fn run(options: &Options) -> Result<ExitCode, Problem> {
    let port = options.port.unwrap_or(options.lab.port);
    let (command, port) = if options.command.is_empty() {
        (lab_server(options, port)?, port)
    } else {
        let port = if port == 0 { free_port()? } else { port };
        (options.command.iter().map(|word| with_port(word, port)).collect(), port)
    };
    if options.all_lenses {
        return run_with_all_lenses(options, command, port);
    }
    let signals = Signals::take_over().map_err(Problem::while_doing("take over the signals"))?;
    process::adopt_orphans().map_err(Problem::while_doing("adopt orphans (prctl)"))?;
    let mut tables = Tables::open().map_err(Problem::while_doing("ask the kernel for its sockets (sock_diag)"))?;
    let strangers = tables.listening().map_err(Problem::while_doing("ask the kernel for its sockets (sock_diag)"))?;

    let started = Instant::now();
    let program = Program::start(&command, port).map_err(Problem::while_doing("start a guard for the server"))?;
    let timeline = Timeline::new(Some(port));
    let mut run = Run { options, port, command, signals, strangers, started, program, timeline, pid: 0, ended: None };
    match run.wait_until_it_listens(&mut tables)? {
        Start::Interrupted(signal) => run.end(None, signal),
        Start::Listens(socket) => {
            let subject = run.subject_of(&socket);
            run.introduce(&socket)?;
            let follower = Follower::new(tables, subject, started);
            run.follow(follower)
        }
    }
}

/// The same on the machine's own network, with calls, and with segments where they may be captured.
fn run_with_all_lenses(options: &Options, command: Vec<OsString>, port: u16) -> Result<ExitCode, Problem> {
    let play = Play {
        title: format!("lab {}: {}", options.lab.number, options.lab.idea),
        server: Some(Part { role: "server".into(), command, typed: Some(Vec::new()), ..Part::default() }),
        clients: Vec::new(),
        port,
        by_hand: Some(options.lab),
        rung: watch::here(),
        limit: None,
        patience: options.patience,
        timeline: true,
        ladder: false,
    };
    let outcome = watch::perform(&play, &OutputOptions::default(), &mut |_| {})?;
    let well = match outcome.interrupted {
        Some(signal) if signal != Signal::SIGINT => return Ok(ExitCode::from(128 + signal as u8)),
        Some(_) => true,
        None => outcome.end_of("server") == Some(End::Exited(0)),
    };
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn lab_server(options: &Options, port: u16) -> Result<Vec<OsString>, Problem> {
    let binary = match &options.program {
        Some(program) => program.clone(),
        None => build::binary(options.lab, &options.lab.server())?,
    };
    let mut command = vec![binary.into(), "--port".into(), port.to_string().into()];
    if let Some(address) = options.address {
        command.extend(["--addr".into(), address.to_string().into()]);
    }
    command.extend(options.arguments.iter().map(OsString::from));
    Ok(command)
}

/// A word of a command, with the port in it.
pub fn with_port(word: &OsString, port: u16) -> OsString {
    match word.to_str() {
        Some(text) => text.replace("{port}", &port.to_string()).into(),
        None => word.clone(),
    }
}

/// A port that nobody used a moment ago.
pub fn free_port() -> Result<u16, Problem> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(Problem::while_doing("find a free port"))?;
    Ok(listener.local_addr().map_err(Problem::while_doing("find a free port"))?.port())
}

enum Start {
    Listens(Socket),
    Interrupted(Signal),
}

struct Run<'a> {
    options: &'a Options,
    port: u16,
    command: Vec<OsString>,
    signals: Signals,
    /// Who listened already before the server was started.
    strangers: Vec<Socket>,
    started: Instant,
    program: Program,
    timeline: Timeline,
    pid: u32,
    ended: Option<End>,
}

impl Run<'_> {
    /// Shows what the program prints meanwhile.
    fn wait_until_it_listens(&mut self, tables: &mut Tables) -> Result<Start, Problem> {
        loop {
            if let Some(signal) = self.signal()? {
                return Ok(Start::Interrupted(signal));
            }
            self.show_news(LOOK)?;
            let processes = self.program.processes();
            let serving = tables.serving(&processes).map_err(kernel_tables)?;
            if let Some(socket) = self.best_of(serving).or(self.new_stranger(tables)?) {
                return Ok(Start::Listens(socket));
            }
            let is_over = self.ended.is_some() && processes.is_empty();
            if is_over || (self.pid != 0 && self.started.elapsed() > self.options.patience) {
                return Err(Problem::Told(self.why_it_does_not_listen(tables, is_over)?));
            }
        }
    }

    /// Of several sockets that it serves on, the one that was asked for, or TCP before UDP before Unix.
    fn best_of(&self, mut serving: Vec<Socket>) -> Option<Socket> {
        serving.sort_by_key(|socket| (socket.local.port() != Some(self.port), socket.protocol));
        serving.into_iter().next()
    }

    /// A listening socket on the port that was not there before, of processes that this user may not look into.
    fn new_stranger(&self, tables: &mut Tables) -> Result<Option<Socket>, Problem> {
        let is_new = |socket: &Socket| {
            socket.local.port() == Some(self.port) && !self.strangers.iter().any(|old| old.cookie == socket.cookie)
        };
        let mut listening = tables.listening().map_err(kernel_tables)?;
        listening.retain(is_new);
        let owners = if listening.is_empty() { Owners::default() } else { Owners::look_up() };
        // Somebody else, who happened to start just now, is not our server.
        Ok(listening.into_iter().find(|socket| !owners.know(socket)))
    }

    fn subject_of(&mut self, socket: &Socket) -> Subject {
        self.timeline.set_server_port(socket.local.port());
        match (&socket.local, socket.protocol) {
            (Endpoint::Path(path), _) => Subject { unix: true, path: Some(path.clone()), ..Subject::default() },
            (end, Protocol::Udp) => Subject { udp: true, port: end.port(), ..Subject::default() },
            (end, _) => Subject { tcp: true, port: end.port(), ..Subject::default() },
        }
    }

    /// What to type where.
    fn introduce(&mut self, socket: &Socket) -> Result<(), Problem> {
        let lab = self.options.lab;
        if let Some(port) = socket.local.port().filter(|&port| self.port != 0 && port != self.port) {
            let asked = self.port;
            self.note(format!("it listens on port {port}, not on {asked}: this follows {port} ({{port}} in the command stands for the port)"))?;
        }
        // Usually the program itself; but some put themselves into the background.
        let mut held = socket.clone();
        Owners::look_up().fill_in(&mut held);
        let holder = held.owners.first().map_or(self.pid, |owner| owner.pid);
        let terminals = match (&socket.local, socket.protocol) {
            (Endpoint::Inet(address), Protocol::Tcp) => tcp_commands(lab, *address, holder),
            (Endpoint::Inet(address), _) => vec![
                ("terminal 2", format!("nc -u {} {}", reachable(*address), address.port())),
                ("terminal 3", format!("socklab states --udp --port {}", address.port())),
                ("", format!("or: ss -uanp 'sport = :{0} or dport = :{0}'", address.port())),
            ],
            (path, _) => vec![
                ("terminal 2", format!("make client{} ARGS='--family unix'", lab.number)),
                ("", format!("or: nc -U {}", harmless(path.to_string().as_bytes()))),
                ("terminal 3", "make states ARGS=--unix".into()),
                ("", "or: ss -xap".into()),
            ],
        };
        let page = self.timeline.page();
        page.gap()?;
        for (terminal, command) in terminals.into_iter().chain([("here", "Ctrl-C ends the server".into())]) {
            page.line(&format!("  {}  {command}", in_style(STRONG, &format!("{terminal:<10}"))), 14)?;
        }
        page.gap()?;
        Ok(())
    }

    /// Says once what this can and cannot see, then shows what the server prints and what its sockets do.
    fn follow(&mut self, mut follower: Follower) -> Result<ExitCode, Problem> {
        let first = follower.sample().map_err(kernel_tables)?;
        let brief = if follower.subject().tcp {
            ": on loopback mostly SYN-SENT, SYN-RECEIVED, FIN-WAIT-1, LAST-ACK"
        } else {
            ""
        };
        self.timeline.page().line(
            &format!(
                "Seen from the kernel (sock_diag): a sample every {} ms, after a change every {} ms. What comes and goes \
                 between two samples is not seen{brief}.",
                in_ms(RELAXED),
                in_ms(CLOSE)
            ),
            0,
        )?;
        self.timeline.page().gap()?;
        self.timeline.print_all(first)?;
        let mut next = Instant::now() + follower.pause();
        loop {
            if let Some(signal) = self.signal()? {
                return self.end(Some(follower), signal);
            }
            self.show_news(next.saturating_duration_since(Instant::now()))?;
            if Instant::now() >= next {
                let events = follower.sample().map_err(kernel_tables)?;
                self.timeline.print_all(events)?;
                next = Instant::now() + follower.pause();
            }
            if let Some(end) = self.ended
                && self.program.processes().is_empty()
            {
                self.drain()?;
                self.note(format!("the server {}", how_it_ended(end)))?;
                self.show_remains(&mut follower)?;
                return Ok(if end == End::Exited(0) { ExitCode::SUCCESS } else { ExitCode::FAILURE });
            }
        }
    }

    /// Ctrl-C, or a signal that asks for the end: the server first, with time to say goodbye; a second Ctrl-C ends it at
    /// once.
    fn end(&mut self, follower: Option<Follower>, signal: Signal) -> Result<ExitCode, Problem> {
        self.program.ask_to_end();
        let deadline = Instant::now() + GRACE + Duration::from_secs(3);
        while !self.program.has_ended() && Instant::now() < deadline {
            if self.signal()?.is_some() {
                self.program.kill();
            }
            self.show_news(LOOK)?;
        }
        self.drain()?;
        if let Some(mut follower) = follower {
            self.show_remains(&mut follower)?;
        }
        Ok(if signal == Signal::SIGINT { ExitCode::SUCCESS } else { ExitCode::from(128 + signal as u8) })
    }

    /// The sockets that outlive the server.
    fn show_remains(&mut self, follower: &mut Follower) -> Result<(), Problem> {
        let events = follower.sample().map_err(kernel_tables)?;
        self.timeline.print_all(events)?;
        let port = self.timeline_port(follower);
        let remains = follower.sockets().filter(|socket| socket.local.port() == port && port.is_some()).count();
        match remains {
            0 => self.note("the server is gone, and nothing of it is left".into()),
            count => self.note(format!(
                "the server is gone; on its port the kernel still holds {count} socket{}. Until they are gone, bind() \
                 says EADDRINUSE, unless this run had SO_REUSEADDR set and the next one has it too",
                if count == 1 { "" } else { "s" }
            )),
        }
    }

    fn timeline_port(&self, follower: &Follower) -> Option<u16> {
        follower.subject().port
    }

    fn show_news(&mut self, limit: Duration) -> Result<(), Problem> {
        let news = self
            .program
            .wait(self.signals.as_fd(), limit)
            .map_err(Problem::while_doing("wait for the server's output (poll)"))?;
        self.timeline.page().check_reader()?;
        if self.program.lost_its_guard() {
            return Err(Problem::Told(
                "the guard of the server was ended by somebody else; the server is ended too".into(),
            ));
        }
        self.show(news)
    }

    /// Shows what the program has printed and nobody has read yet. Bounded: a program that is not over may print for ever.
    fn drain(&mut self) -> Result<(), Problem> {
        for _ in 0..1000 {
            let news = self.program.read_what_is_there().map_err(Problem::while_doing("read the server's output"))?;
            if news.is_empty() {
                break;
            }
            self.show(news)?;
        }
        Ok(())
    }

    fn show(&mut self, news: Vec<News>) -> Result<(), Problem> {
        for item in news {
            match item {
                News::Printed(line) => {
                    let who = Who::Program { role: "server".into(), pid: self.pid };
                    self.timeline.print(&Event { at: self.started.elapsed(), who, what: What::Said(line) })?;
                }
                News::Reported(Report::Started(pid)) => self.pid = pid,
                News::Reported(Report::Refused(errno)) => {
                    return Err(Problem::Told(not_started(&self.command, Errno::from_raw(errno))));
                }
                News::Reported(Report::Ended(end)) => {
                    self.ended = Some(end);
                    let left = self.program.processes();
                    if !left.is_empty() {
                        self.note(format!("the command {}, but what it started goes on: {left:?}", how_it_ended(end)))?;
                    }
                }
            }
        }
        Ok(())
    }

    /// SIGCHLD only wakes us up: the guard reports what it means.
    fn signal(&mut self) -> Result<Option<Signal>, Problem> {
        while let Some(signal) = self.signals.next().map_err(Problem::while_doing("read signals"))? {
            if signal != Signal::SIGCHLD {
                return Ok(Some(signal));
            }
        }
        Ok(None)
    }

    fn note(&mut self, note: String) -> Result<(), Problem> {
        let event = Event { at: self.started.elapsed(), who: Who::Socklab, what: What::Note(note) };
        Ok(self.timeline.print(&event)?)
    }

    /// Ended, or still running but not listening: told apart, with the last words of its standard error.
    fn why_it_does_not_listen(&mut self, tables: &mut Tables, is_over: bool) -> Result<String, Problem> {
        self.drain()?;
        let seconds = self.started.elapsed().as_secs_f64();
        let mut text = match self.ended {
            Some(end) if is_over => {
                format!("the server {} after {seconds:.2} s, before it listened", how_it_ended(end))
            }
            _ => format!("the server has run for {seconds:.0} s and listens nowhere; it is ended now"),
        };
        let last_words: Vec<String> = self.program.last_words().map(harmless).collect();
        if last_words.is_empty() {
            text.push_str("\n  it printed nothing on standard error");
        } else {
            text.push_str("\n  its last words on standard error:");
            for line in last_words {
                text.push_str(&format!("\n    {line}"));
            }
        }
        text.push_str(&who_uses_of(self.port, tables)?);
        Ok(text)
    }
}

fn kernel_tables(error: std::io::Error) -> Problem {
    Problem::while_doing("ask the kernel for its sockets (sock_diag)")(error)
}

/// The sockets that are on a port, and who holds them: why a bind() to it may have failed.
pub fn who_uses(port: u16) -> Result<String, Problem> {
    who_uses_of(port, &mut Tables::open().map_err(kernel_tables)?)
}

fn who_uses_of(port: u16, tables: &mut Tables) -> Result<String, Problem> {
    const SHOWN: usize = 5;
    let subject = Subject { tcp: true, port: Some(port), ..Subject::default() };
    let mut sockets = tables.snapshot(&subject, true).map_err(kernel_tables)?;
    sockets.retain(|socket| socket.local.port() == Some(port));
    if port == 0 || sockets.is_empty() {
        return Ok(String::new());
    }
    sockets.sort_by_key(|socket| socket.state != State::Listen);
    let owners = Owners::look_up();
    let mut text = format!("\n  port {port} is in use:");
    for socket in sockets.iter_mut().take(SHOWN) {
        owners.fill_in(socket);
        let timer = describe::timer(socket).map_or(String::new(), |timer| format!(", {timer}"));
        let ends = describe::ends(socket, Some(port));
        text.push_str(&format!("\n    {} {ends}, {}{timer}", describe::state(socket), describe::owners(socket)));
    }
    if sockets.len() > SHOWN {
        text.push_str(&format!("\n    and {} more", sockets.len() - SHOWN));
    }
    text.push_str("\n  another port: PORT=… with make, --port with socklab; PORT=0 lets the kernel choose");
    Ok(text)
}

/// Why a command could not be executed.
pub fn not_started(command: &[OsString], errno: Errno) -> String {
    let program = harmless(command.first().map(|word| word.as_encoded_bytes()).unwrap_or_default());
    let why = match errno {
        Errno::ENOENT if program.contains(' ') => {
            "no program of that name; are its arguments meant to be words of their own?"
        }
        Errno::ENOENT => "no program of that name, here or along PATH",
        Errno::EACCES if program.contains('/') => "it is there, but may not be executed",
        Errno::EACCES => "it may not be executed, or a directory along PATH may not be entered",
        _ => "the kernel would not run it",
    };
    format!("exec {program}: {errno:?} ({}): {why}", errno.desc())
}

fn in_ms((shortest, longest): (Duration, Duration)) -> String {
    format!("{} to {}", shortest.as_millis(), longest.as_millis())
}

fn how_it_ended(end: End) -> String {
    match end {
        End::Exited(code) => format!("exited with code {code}"),
        End::Killed(signal) => match Signal::try_from(signal) {
            Ok(signal) => format!("was ended by {signal}"),
            Err(_) => format!("was ended by signal {signal}"),
        },
    }
}

/// What to type in which terminal beside a server that listens at this address.
pub fn tcp_commands(lab: &Lab, address: SocketAddr, pid: u32) -> Vec<(&'static str, String)> {
    let (host, port) = (reachable(address), address.port());
    let for_port = if port == lab.port { String::new() } else { format!(" PORT={port}") };
    let for_host = if host == Ipv4Addr::LOCALHOST { String::new() } else { format!(" ADDR={host}") };
    let client = format!("make client{}{for_host}{for_port}", lab.number);
    let with_arguments = lab.worth_trying.map(|arguments| ("", format!("or: {client} ARGS={arguments}")));
    // poll, epoll_wait, read and write are calls on descriptors of any kind.
    let calls = if lab.number < 4 { "network" } else { "network,desc" };
    let mut commands = vec![("terminal 2", client)];
    commands.extend(with_arguments);
    commands.extend([
        ("", format!("or: nc {host} {port}")),
        ("terminal 3", format!("make states PORT={port}")),
        ("", format!("or: ss -tanp 'sport = :{port} or dport = :{port}'")),
        ("", format!("or: sudo tcpdump -i lo -nn 'tcp port {port}'")),
        ("", format!("or: sudo strace -f -e trace={calls} -p {pid}")),
    ]);
    commands
}

/// Where a client on this machine reaches a server that is bound to this address.
pub fn reachable(address: SocketAddr) -> IpAddr {
    match address.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workshop::labs::LABS;

    #[test]
    fn every_lab_says_what_to_type_and_a_lab_whose_client_has_more_to_show_says_that_too() {
        for lab in LABS {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 8000));
            let commands: Vec<String> =
                tcp_commands(lab, address, 812).into_iter().map(|(_, command)| command).collect();
            let client = format!("make client{} PORT=8000", lab.number);
            assert_eq!(commands[0], client);
            let more = lab.worth_trying.map(|arguments| format!("or: {client} ARGS={arguments}"));
            assert!(more.is_none_or(|more| commands[1] == more), "{commands:?}");
            assert!(commands.contains(&"or: nc 127.0.0.1 8000".into()), "{commands:?}");
        }
    }
}
