//! Lab 6, the client: one that talks, and a crowd that is silent.
//!
//! What it does     what lab 5's client did; with `--crowd 5000` it opens that many connections more and says nothing on them.
//! New here         epoll for the keyboard and the connection; a list that changes as what we want changes; what epoll refuses.
//! Still wrong      the bytes are shown as they come; the chat's client (lab 7) knows what they mean.
//! Terminal 1       make lab6
//! Terminal 2       make client6       or make client6 ARGS='--crowd 5000'
//! Terminal 3       make states        and strace -e trace=epoll_ctl,epoll_wait,read,write -p $(pidof lab6-client)
//! Watch            with a crowd: ss -s counts 5,001 established connections, and strace at the server shows turns with one event.
//!                  A crowd at lab 5's server: make client6 PORT=7005 ARGS='--crowd 1000'.
//! Man pages        epoll(7), epoll_ctl(2) under EPERM, getrlimit(2)
//! Peer             server.rs; exercises 6.1 to 6.9 in EXERCISES.md

use std::io::{Error, stdin};
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use clap::{Parser, value_parser};
use kit::{ClientOptions, During, Failure, Screen, TypedLines, raise_the_limit_of_descriptors, wait_until_connected};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{self, AddressFamily, Shutdown, SockFlag, SockType, SockaddrStorage, shutdown};
use nix::unistd::{isatty, read, write};

const BUFFER_SIZE: usize = 64 * 1024;
/// The names by which epoll_wait tells of the two.
const KEYBOARD: u64 = 0;
const CONNECTION: u64 = 1;

/// Lab 6: the echo client with epoll, and a silent crowd
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    client: ClientOptions<7006>,

    /// Open so many connections more, which stay silent
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = value_parser!(u32).range(..=1_000_000))]
    crowd: u32,
}

fn main() -> Result<(), Failure> {
    let Options { client: options, crowd } = Options::parse();
    let server = format!("{}:{}", options.host(), options.port);
    raise_the_limit_of_descriptors();
    let connect = || {
        let addresses = (options.host(), options.port).to_socket_addrs().during("getaddrinfo", &server)?;
        connect_to_one_of(addresses, options.timeout())
    };
    let connection = connect()?;
    // Open until the end of main, and on nobody's list.
    let _crowd = (0..crowd).map(|_| connect()).collect::<Result<Vec<_>, _>>()?;
    let keyboard = stdin();
    if isatty(&keyboard).unwrap_or(false) {
        let more = if crowd == 0 { String::new() } else { format!(", and {crowd} times more") };
        eprintln!("connected to {server}{more}; type lines, end with Done or Ctrl-D");
    }
    converse(keyboard.as_fd(), &connection, &server)
}

/// Sends and shows until the server has finished, which it does when we have.
fn converse(keyboard: BorrowedFd, connection: &OwnedFd, server: &str) -> Result<(), Failure> {
    let screen = Screen::default();
    let mut typed = TypedLines::default();
    let mut buffer = vec![0; BUFFER_SIZE];
    let mut unsent: Vec<u8> = Vec::new();
    let mut list = List::new(keyboard, connection)?;
    let mut has_half_closed = false;
    loop {
        let (may_read_keyboard, may_read_connection) = list.wait(&typed, &unsent)?;

        if may_read_keyboard {
            // The keyboard is not set non-blocking: that would hold for the shell too, which shares the open file with us.
            match read(keyboard, &mut buffer) {
                Ok(0) => typed.end(&mut unsent),
                Ok(length) => typed.put(&buffer[..length], &mut unsent),
                Err(Errno::EINTR | Errno::EAGAIN) => {}
                Err(errno) => return Err(Failure::new("read", "standard input", errno)),
            }
        }
        send(connection, &mut unsent).during("write", server)?;
        if typed.has_ended() && unsent.is_empty() && !has_half_closed {
            shutdown(connection.as_raw_fd(), Shutdown::Write).during("shutdown", server)?;
            has_half_closed = true;
        }
        if may_read_connection {
            match read(connection, &mut buffer) {
                Ok(0) if has_half_closed => return Ok(()),
                Ok(0) => return Err(Failure::new("read", server, early_end())),
                Ok(length) => screen.show(&buffer[..length]).during("write", "standard output")?,
                Err(Errno::EINTR | Errno::EAGAIN) => {}
                Err(errno) => return Err(Failure::new("read", server, errno)),
            }
        }
    }
}

/// What epoll is asked for: the kernel's list, and what we know to be on it.
struct List<'a> {
    epoll: Epoll,
    keyboard: BorrowedFd<'a>,
    connection: &'a OwnedFd,
    has_keyboard: bool,
    asks_for_room: bool,
}

impl<'a> List<'a> {
    fn new(keyboard: BorrowedFd<'a>, connection: &'a OwnedFd) -> Result<Self, Failure> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).during("epoll_create1", "a list of two")?;
        epoll
            .add(connection, EpollEvent::new(EpollFlags::EPOLLIN, CONNECTION))
            .during("epoll_ctl", "the connection")?;
        Ok(Self { epoll, keyboard, connection, has_keyboard: false, asks_for_room: false })
    }

    /// Sleeps until the keyboard or the connection has something for us, or the connection takes more. True for what to read.
    fn wait(&mut self, typed: &TypedLines, unsent: &[u8]) -> Result<(bool, bool), Failure> {
        // The connection is always read; more is typed only when all is sent. Lab 5 says why.
        if self.asks_for_room == unsent.is_empty() {
            self.asks_for_room = !unsent.is_empty();
            let mut events = EpollFlags::EPOLLIN;
            events.set(EpollFlags::EPOLLOUT, self.asks_for_room);
            let mut event = EpollEvent::new(events, CONNECTION);
            self.epoll.modify(self.connection, &mut event).during("epoll_ctl", "the connection")?;
        }
        let is_file = !self.ask_for_keyboard(unsent.is_empty() && !typed.has_ended())?;
        let mut events = [EpollEvent::empty(); 2];
        let timeout = if is_file { EpollTimeout::ZERO } else { EpollTimeout::NONE };
        let count = match self.epoll.wait(&mut events, timeout) {
            Ok(count) => count,
            Err(Errno::EINTR) => return Ok((false, false)),
            Err(errno) => return Err(Failure::new("epoll_wait", "the keyboard and the connection", errno)),
        };
        // Also without EPOLLIN, on EPOLLHUP and EPOLLERR: the read will say more.
        let is_ready = |name| {
            events[..count].iter().any(|event| event.data() == name && event.events().intersects(!EpollFlags::EPOLLOUT))
        };
        Ok((is_file || is_ready(KEYBOARD), is_ready(CONNECTION)))
    }

    /// Puts the keyboard on the list or takes it off. False if it is wanted, and of a kind that is always ready.
    fn ask_for_keyboard(&mut self, wants: bool) -> Result<bool, Failure> {
        // Off the list, not only asked for nothing: epoll reports the end of a pipe (EPOLLHUP) without being asked, for ever.
        match (wants, self.has_keyboard) {
            (true, false) => {
                match self.epoll.add(self.keyboard, EpollEvent::new(EpollFlags::EPOLLIN, KEYBOARD)) {
                    Ok(()) => self.has_keyboard = true,
                    // A regular file: a read of it never waits for anybody, so epoll has no use for it. (poll says "ready".)
                    Err(Errno::EPERM) => return Ok(false),
                    Err(errno) => return Err(Failure::new("epoll_ctl", "standard input", errno)),
                }
            }
            (false, true) => {
                self.epoll.delete(self.keyboard).during("epoll_ctl", "standard input")?;
                self.has_keyboard = false;
            }
            _ => {}
        }
        Ok(true)
    }
}

/// Writes what the kernel takes of what is unsent; the rest stays.
fn send(connection: &OwnedFd, unsent: &mut Vec<u8>) -> Result<(), Errno> {
    while !unsent.is_empty() {
        match write(connection, unsent) {
            Ok(length) => drop(unsent.drain(..length)),
            // The send buffer is full. epoll will tell when there is room again.
            Err(Errno::EAGAIN) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Tries each address in turn: a name may stand for an IPv6 and an IPv4 address, and the server listen on one of them.
fn connect_to_one_of(
    addresses: impl Iterator<Item = SocketAddr>,
    timeout: Option<Duration>,
) -> Result<OwnedFd, Failure> {
    let mut failed = None;
    for address in addresses {
        if let Some(failure) = failed.take() {
            eprintln!("{failure}\nthe name has another address: trying {address}");
        }
        match connect(address, timeout) {
            Ok(connection) => return Ok(connection),
            Err(failure) => failed = Some(failure),
        }
    }
    Err(failed.unwrap_or_else(no_address))
}

fn connect(address: SocketAddr, timeout: Option<Duration>) -> Result<OwnedFd, Failure> {
    let domain = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let connection = socket::socket(domain, SockType::Stream, flags, None).during("socket", address)?;

    match socket::connect(connection.as_raw_fd(), &SockaddrStorage::from(address)) {
        Ok(()) => {}
        // The SYN is out, and this call does not wait for the answer. The socket becomes writable when it has come.
        Err(Errno::EINPROGRESS | Errno::EINTR) => {
            wait_until_connected(connection.as_fd(), timeout).during("connect", address)?;
        }
        Err(errno) => return Err(Failure::new("connect", address, errno)),
    }
    Ok(connection)
}

fn early_end() -> Error {
    Error::other("the server closed the connection first")
}

fn no_address() -> Failure {
    Failure::new("getaddrinfo", "the server", Error::other("the name has no address"))
}
