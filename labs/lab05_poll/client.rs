//! Lab 5, the client: keyboard and connection in one thread.
//!
//! What it does     what lab 3's client did with two processes: it sends what is typed and shows what arrives, whichever comes
//!                  first, and a large file may be piped through it.
//! New here         poll on two descriptors of different kinds, a terminal (or pipe, or file) and a socket; a connect that does
//!                  not sleep; what must not be read while the rest of it cannot be sent.
//! Still wrong      a screen that does not take what is shown (a pipe that nobody reads) still keeps everything waiting.
//! Terminal 1       make lab5
//! Terminal 2       make client5
//! Terminal 3       make states          and strace -e trace=poll,read,write,shutdown -p $(pidof lab5-client)
//! Watch            one process, one connected socket. poll names both descriptors; only the one that is ready is read.
//! Man pages        poll(2), connect(2) under EINPROGRESS, shutdown(2)
//! Peer             server.rs; exercises 5.1 to 5.9 in EXERCISES.md

use std::io::{Error, stdin};
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use clap::Parser;
use kit::{ClientOptions, During, Failure, Screen, TypedLines, wait_until_connected};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{self, AddressFamily, Shutdown, SockFlag, SockType, SockaddrStorage, shutdown};
use nix::unistd::{isatty, read, write};

const BUFFER_SIZE: usize = 64 * 1024;

/// Lab 5: the echo client with poll on keyboard and connection
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    client: ClientOptions<7005>,
}

fn main() -> Result<(), Failure> {
    let options = Options::parse().client;
    let server = format!("{}:{}", options.host(), options.port);
    let addresses = (options.host(), options.port).to_socket_addrs().during("getaddrinfo", &server)?;
    let connection = connect_to_one_of(addresses, options.timeout())?;
    // Not through `Stdin`, which reads ahead: poll knows nothing of the bytes that a library has read already.
    let keyboard = stdin();
    if isatty(&keyboard).unwrap_or(false) {
        eprintln!("connected to {server}; type lines, end with Done or Ctrl-D");
    }
    converse(keyboard.as_fd(), &connection, &server)
}

/// Sends and shows until the server has finished, which it does when we have.
fn converse(keyboard: BorrowedFd, connection: &OwnedFd, server: &str) -> Result<(), Failure> {
    let screen = Screen::default();
    let mut typed = TypedLines::default();
    let mut buffer = vec![0; BUFFER_SIZE];
    let mut unsent: Vec<u8> = Vec::new();
    let mut has_half_closed = false;
    loop {
        let (may_read_keyboard, may_read_connection) = wait(keyboard, connection, &typed, &unsent)?;

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

/// Sleeps until the keyboard or the connection has something for us, or the connection takes more. True for what to read.
fn wait(
    keyboard: BorrowedFd,
    connection: &OwnedFd,
    typed: &TypedLines,
    unsent: &[u8],
) -> Result<(bool, bool), Failure> {
    // The connection is always read. A client that wrote all before it read would, with more than all buffers hold, wait for
    // the server and the server for it (exercise 1.5).
    let mut events = PollFlags::POLLIN;
    events.set(PollFlags::POLLOUT, !unsent.is_empty());
    let mut asked = vec![PollFd::new(connection.as_fd(), events)];
    // What is typed has to be sent before more is read: memory stays bounded, however large the file is.
    if unsent.is_empty() && !typed.has_ended() {
        asked.push(PollFd::new(keyboard, PollFlags::POLLIN));
    }
    match poll(&mut asked, PollTimeout::NONE) {
        Ok(_) => {}
        Err(Errno::EINTR) => return Ok((false, false)),
        Err(errno) => return Err(Failure::new("poll", "the keyboard and the connection", errno)),
    }
    // Also without POLLIN, on POLLHUP (the other end of a pipe or connection is gone) and POLLERR: the read will say more.
    let is_ready = |fd: &PollFd| fd.revents().is_some_and(|events| events.intersects(!PollFlags::POLLOUT));
    Ok((asked.get(1).is_some_and(is_ready), is_ready(&asked[0])))
}

/// Writes what the kernel takes of what is unsent; the rest stays.
fn send(connection: &OwnedFd, unsent: &mut Vec<u8>) -> Result<(), Errno> {
    while !unsent.is_empty() {
        match write(connection, unsent) {
            Ok(length) => drop(unsent.drain(..length)),
            // The send buffer is full. poll will tell when there is room again.
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
