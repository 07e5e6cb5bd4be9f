//! A crowd of connections from one thread: each sends a request, waits for the answer, and sends the next.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{setsockopt, sockopt};

use crate::server::Server;
use crate::statistics::quantile;
use crate::talk::{Exchange, Language};
use crate::usage::{Tree, own_cpu};

/// So many knock before they are waited for: no server's accept queue may overflow.
const AT_ONCE: usize = 64;
/// Descriptors that the rest of the process needs.
const RESERVE: u64 = 64;
const EVENTS: usize = 1024;
/// A server that is silent for so long has forgotten somebody.
const PATIENCE_MS: u16 = 10_000;

/// Connections to one server. They are reset, without a TIME-WAIT, when this value is dropped.
pub struct Crowd {
    members: Vec<Member>,
    exchange: Exchange,
    server: Tree,
}

struct Member {
    connection: TcpStream,
    asked: Instant,
    /// How much of the answer has come.
    got: usize,
}

/// What a closed loop came to.
pub struct Rounds {
    /// Round trips per second.
    pub rate: f64,
    /// µs from a request to its answer, the median.
    pub p50: f64,
    /// The same, of the slowest hundredth the fastest.
    pub p99: f64,
    /// µs of the server's CPU time for each round trip.
    pub server_cpu: f64,
    /// The share of the time that the server's CPU time makes up: near 1, the server was what all waited for.
    pub server_share: f64,
    /// The same for the load generator.
    pub generator_share: f64,
}

/// Raises the soft limit on descriptors to the hard one: how many connections this process, or a server that it starts, may hold.
pub fn room_for_connections() -> io::Result<usize> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(usize::try_from(hard.saturating_sub(RESERVE)).unwrap_or(usize::MAX))
}

impl Crowd {
    /// Connects `count` clients. Each has had one answer, so the server has accepted and served all of them.
    pub fn connect(server: &Server, language: Language, count: usize) -> io::Result<Self> {
        let first = open(server)?;
        let exchange = language.try_out(&first)?;
        let mut crowd = Self { members: Vec::with_capacity(count), exchange, server: server.tree() };
        crowd.members.push(Member::new(first));
        crowd.grow(server, count)?;
        Ok(crowd)
    }

    /// Connects more clients, until there are `count`.
    pub fn grow(&mut self, server: &Server, count: usize) -> io::Result<()> {
        while self.members.len() < count {
            let before = self.members.len();
            for _ in 0..AT_ONCE.min(count - before) {
                self.members.push(Member::new(open(server)?));
            }
            self.members[before..].iter().try_for_each(|member| self.exchange.have(&member.connection))?;
        }
        Ok(())
    }

    /// Runs the closed loop over the first `busy` connections; the others are idle. The first `warm_up` is not counted.
    pub fn round_trips(&mut self, busy: usize, warm_up: Duration, measured: Duration) -> io::Result<Rounds> {
        let Self { members, exchange, server } = self;
        let members = &mut members[..busy];
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        for (index, member) in members.iter().enumerate() {
            member.connection.set_nonblocking(true)?;
            // Edge-triggered: there is never more than one answer to come, so nothing is left behind.
            let event = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, index as u64);
            epoll.add(member.connection.as_fd(), event)?;
        }
        let mut round = Loop { epoll, members, exchange, latencies: Vec::new() };
        round.start()?;
        round.go_on(warm_up)?;
        round.latencies = Vec::with_capacity(1 << 20);
        let (cpu, own) = (server.cpu()?, own_cpu()?);
        let took = round.go_on(measured)?;
        let (cpu, own) = (server.cpu()? - cpu, own_cpu()? - own);
        let latencies: Vec<f64> = std::mem::take(&mut round.latencies).into_iter().map(f64::from).collect();
        round.finish()?;
        let count = latencies.len() as f64;
        Ok(Rounds {
            rate: count / took.as_secs_f64(),
            p50: quantile(&latencies, 0.5) / 1000.0,
            p99: quantile(&latencies, 0.99) / 1000.0,
            server_cpu: cpu.as_secs_f64() * 1e6 / count,
            server_share: cpu.as_secs_f64() / took.as_secs_f64(),
            generator_share: own.as_secs_f64() / took.as_secs_f64(),
        })
    }
}

/// A connection that is reset when it is closed: ten thousand of them in TIME-WAIT would be in the next one's way.
pub fn open(server: &Server) -> io::Result<TcpStream> {
    let connection = server.connect()?;
    setsockopt(&connection.as_fd(), sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 })?;
    connection.set_nodelay(true)?;
    Ok(connection)
}

impl Member {
    fn new(connection: TcpStream) -> Self {
        Self { connection, asked: Instant::now(), got: 0 }
    }

    fn ask(&mut self, exchange: &Exchange, now: Instant) -> io::Result<()> {
        self.asked = now;
        // 64 bytes into an empty send buffer: either all are taken or something is wrong.
        match self.connection.write(&exchange.request)? {
            taken if taken == exchange.request.len() => Ok(()),
            taken => Err(io::Error::other(format!("a short write: {taken} bytes"))),
        }
    }

    /// Whether the answer is whole now.
    fn hear(&mut self, exchange: &Exchange) -> io::Result<bool> {
        let mut answer = [0; 512];
        match self.connection.read(&mut answer) {
            Ok(0) => return Err(io::Error::other("the server has closed a connection")),
            Ok(length) if exchange.answer[self.got..].starts_with(&answer[..length]) => self.got += length,
            Ok(_) => return Err(io::Error::other("the server has answered something else")),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        if self.got < exchange.answer.len() {
            return Ok(false);
        }
        self.got = 0;
        Ok(true)
    }
}

struct Loop<'a> {
    epoll: Epoll,
    members: &'a mut [Member],
    exchange: &'a Exchange,
    /// Nanoseconds.
    latencies: Vec<u32>,
}

impl Loop<'_> {
    fn start(&mut self) -> io::Result<()> {
        self.members.iter_mut().try_for_each(|member| member.ask(self.exchange, Instant::now()))
    }

    /// Asks again whenever an answer has come. Returns the time from the beginning to the last answer.
    fn go_on(&mut self, how_long: Duration) -> io::Result<Duration> {
        let started = Instant::now();
        while started.elapsed() < how_long {
            self.turn(true)?;
        }
        Ok(started.elapsed())
    }

    /// Hears the answers that are still to come, and lets all connections block again.
    fn finish(mut self) -> io::Result<()> {
        let mut missing = self.members.len();
        while missing > 0 {
            missing -= self.turn(false)?;
        }
        self.members.iter().try_for_each(|member| member.connection.set_nonblocking(false))
    }

    /// How many answers have come.
    fn turn(&mut self, asks_again: bool) -> io::Result<usize> {
        let mut events = [EpollEvent::empty(); EVENTS];
        let ready = match self.epoll.wait(&mut events, EpollTimeout::from(PATIENCE_MS)) {
            Ok(0) => return Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in ten seconds")),
            Ok(ready) => ready,
            Err(Errno::EINTR) => return Ok(0),
            Err(errno) => return Err(errno.into()),
        };
        let mut answers = 0;
        for event in &events[..ready] {
            let member = &mut self.members[event.data() as usize];
            if !member.hear(self.exchange)? {
                continue;
            }
            answers += 1;
            // The end of one round trip is the beginning of the next: one look at the clock for both.
            let now = Instant::now();
            self.latencies.push(u32::try_from((now - member.asked).as_nanos()).unwrap_or(u32::MAX));
            if asks_again {
                member.ask(self.exchange, now)?;
            }
        }
        Ok(answers)
    }
}
