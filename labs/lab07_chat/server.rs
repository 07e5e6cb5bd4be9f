//! Lab 7, the server: the full chat.
//!
//! What it does     takes requests, a line of JSON each, from any number of clients: a name, a message for everybody else, who is
//!                  here, what was said (docs/chat-protocol.md). One thread, as in lab 6.
//! New here         what one client says is written to others; each has a queue, bounded, that is flushed once per turn of the
//!                  loop; clients are let go with a reason, and with a FIN that comes after it; signals as bytes to read
//!                  (signalfd); what the kernel can find out about a peer that has vanished (keepalive, TCP_USER_TIMEOUT).
//! Still wrong      whoever comes first has the name, and what was said is gone with the process (lab 8); everybody on the way
//!                  can read along (lab 10).
//! Terminal 1       make lab7
//! Terminal 2       make client7 ARGS='--name Alice', and in others Bob, Carol …
//! Terminal 3       make states        or tcpdump -i lo -A port 7007
//! Watch            one message in, one segment out to each of the others. Who does not read: Send-Q grows, then our queue, and
//!                  then it is let go.
//! Man pages        signalfd(2), tcp(7) under TCP_NODELAY, TCP_USER_TIMEOUT and keepalive, shutdown(2)
//! Peer             room.rs: who hears what; connection.rs: one client; lib.rs: protocol, hub, frames; client.rs; exercises 7.1
//!                  to 7.9 in EXERCISES.md

mod connection;
mod room;

use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use clap::{Parser, value_parser};
use connection::named;
use kit::{During, Failure, ServerOptions, raise_the_limit_of_descriptors, say};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{self, AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, setsockopt, sockopt};
use room::{Room, Rules};

/// How many established connections the kernel keeps for us until we accept them (listen(2)).
const BACKLOG: i32 = 4096;
const BUFFER_SIZE: usize = 64 * 1024;
/// How long to leave the listening socket alone when there is no file descriptor left for a new connection; and how often to
/// look whose time is over.
const BREATH: Duration = Duration::from_millis(500);
/// How many connections to accept before the clients that are here already get their turn.
const ACCEPTS: usize = 64;
/// How many ready sockets to be told of in one turn.
const EVENTS: usize = 1024;
/// How often a peer is asked whether it is still there before it counts as gone.
const PROBES: u32 = 3;

/// Lab 7: the chat server
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    server: ServerOptions<7007>,

    #[command(flatten)]
    rules: Rules,

    /// Ask a silent peer after so many seconds whether it is still there (SO_KEEPALIVE)
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = value_parser!(u32).range(1..=32767))]
    keepalive: u32,
}

fn main() -> Result<(), Failure> {
    let options = Options::parse();
    let address = options.server.address();
    let mut buffer = vec![0; BUFFER_SIZE];
    raise_the_limit_of_descriptors();

    let listener = listen(address, options.keepalive)?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).during("epoll_create1", address)?;
    epoll.add(&listener, named(&listener, EpollFlags::EPOLLIN)).during("epoll_ctl", address)?;
    let signals = signals().during("signalfd", "SIGINT and SIGTERM")?;
    epoll.add(&signals, named(&signals, EpollFlags::EPOLLIN)).during("epoll_ctl", "signals")?;
    let bound: SockaddrStorage = socket::getsockname(listener.as_raw_fd()).during("getsockname", address)?;
    say!("listening on {bound}");

    let mut room = Room::new(epoll, options.rules);
    let mut listening = Some(listener);
    let mut events = vec![EpollEvent::empty(); EVENTS];
    let mut full_since: Option<Instant> = None;
    let mut looked_at_the_clock = Instant::now();
    while listening.is_some() || !room.is_empty() {
        let count = match room.epoll.wait(&mut events, timeout(&room, full_since)) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(errno) => return Err(Failure::new("epoll_wait", address, errno)),
        };
        let now = Instant::now();
        let is_ready = |fd: &dyn AsRawFd| events[..count].iter().any(|event| event.data() == fd.as_raw_fd() as u64);

        // First all are heard, and only then written to: a queue that ten messages have come into is flushed with one write(2).
        room.hear_the_unfinished(&mut buffer, now);
        for event in &events[..count] {
            room.hear(event.data() as usize, &mut buffer, now);
        }
        if now.duration_since(looked_at_the_clock) >= BREATH {
            looked_at_the_clock = now;
            room.look_at_the_clock(now);
        }
        if is_ready(&signals) {
            // Asked a second time, we do not wait for anybody.
            let Some(_closed) = listening.take() else { break };
            let _ = signals.read_signal();
            say!("asked to end: everybody is told, and what is queued is written");
            room.shut_down(now);
        }
        room.flush(now);

        // After the clients: only now may a descriptor that one of them has left be given to another.
        let Some(listener) = &listening else { continue };
        if full_since.is_some_and(|since| since.elapsed() >= BREATH) {
            full_since = None;
            room.epoll.modify(listener, &mut named(listener, EpollFlags::EPOLLIN)).during("epoll_ctl", address)?;
        } else if is_ready(listener) && !accept_all(listener, &mut room, now).during("accept", address)? {
            // The listening socket would be ready for ever, and we would never rest.
            full_since = Some(now);
            room.epoll.modify(listener, &mut named(listener, EpollFlags::empty())).during("epoll_ctl", address)?;
        }
        room.flush(now);
    }
    Ok(())
}

/// How long epoll_wait may sleep.
fn timeout(room: &Room, full_since: Option<Instant>) -> EpollTimeout {
    match full_since.is_some() || room.has_to_look_at_the_clock() {
        _ if room.is_unfinished() => EpollTimeout::ZERO,
        true => EpollTimeout::try_from(BREATH).unwrap_or(EpollTimeout::ZERO),
        false => EpollTimeout::NONE,
    }
}

/// A listening socket, as in lab 6.
fn listen(address: SocketAddr, keepalive: u32) -> Result<OwnedFd, Failure> {
    let domain = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let listener = socket::socket(domain, SockType::Stream, flags, None).during("socket", address)?;
    setsockopt(&listener, sockopt::ReuseAddr, &true).during("setsockopt SO_REUSEADDR", address)?;
    set_for_all_clients(&listener, keepalive).during("setsockopt", address)?;
    socket::bind(listener.as_raw_fd(), &SockaddrStorage::from(address)).during("bind", address)?;
    socket::listen(&listener, Backlog::new(BACKLOG).unwrap_or(Backlog::MAXCONN)).during("listen", address)?;
    Ok(listener)
}

/// Takes connections out of the accept queue until it is empty, or the others' turn has come. False if no descriptor is left.
fn accept_all(listener: &OwnedFd, room: &mut Room, now: Instant) -> Result<bool, Errno> {
    for _ in 0..ACCEPTS {
        match accept(listener) {
            Ok((socket, client)) => room.welcome(socket, client.to_string().into(), now),
            // The queue is empty.
            Err(Errno::EAGAIN) => break,
            Err(Errno::EINTR) => continue,
            // The client was gone again before we came to it.
            Err(Errno::ECONNABORTED | Errno::ENOTCONN) => continue,
            // No file descriptor is left. Clients stay in the queue: take a breath, or this loop would take a whole core.
            Err(errno @ (Errno::EMFILE | Errno::ENFILE)) => {
                say!("accept: {errno:?} ({}); whoever connects waits in the accept queue", errno.desc());
                return Ok(false);
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok(true)
}

fn accept(listener: &OwnedFd) -> Result<(OwnedFd, SockaddrStorage), Errno> {
    let fd = socket::accept4(listener.as_raw_fd(), SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC)?;
    // SAFETY: accept4 has just made this descriptor, and nobody else knows of it.
    let connection = unsafe { OwnedFd::from_raw_fd(fd) };
    let client = socket::getpeername(fd)?;
    Ok((connection, client))
}

/// Sets on the listening socket what each connected socket is to have: on Linux it inherits these.
fn set_for_all_clients(listener: &OwnedFd, keepalive: u32) -> Result<(), Errno> {
    // A message is small, and the next one may come before the first is acknowledged. Nagle's algorithm would hold it back for
    // that acknowledgement, which the peer may delay, in turn, for 40 ms. We write once per turn: nothing is left to collect.
    setsockopt(listener, sockopt::TcpNoDelay, &true)?;
    // A peer whose machine has gone sends no FIN. A silent connection is asked for a sign of life; one that does not acknowledge
    // what was sent, or takes nothing for so long, is given up as well. read(2) then says ETIMEDOUT.
    let between_probes = (keepalive / 12).max(1);
    setsockopt(listener, sockopt::KeepAlive, &true)?;
    setsockopt(listener, sockopt::TcpKeepIdle, &keepalive)?;
    setsockopt(listener, sockopt::TcpKeepInterval, &between_probes)?;
    setsockopt(listener, sockopt::TcpKeepCount, &PROBES)?;
    setsockopt(listener, sockopt::TcpUserTimeout, &((keepalive + PROBES * between_probes) * 1000))
}

/// SIGINT and SIGTERM as something to read: a signal then comes between two turns, never in the middle of one.
fn signals() -> Result<SignalFd, Errno> {
    let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM]);
    // Blocked, or they would end us before anybody reads of them.
    signals.thread_block()?;
    SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
}
