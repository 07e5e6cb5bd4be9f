//! Lab 2, the client: the client of lab 1, one level down.
//!
//! What it does     what lab 1's did, over IPv4, IPv6 or a Unix socket.
//! New here         connect with a sockaddr; EINTR, which for connect does not mean "try again"; a time limit with
//!                  SO_SNDTIMEO; short reads and writes by hand; `--family`.
//! Still wrong      it sleeps at the keyboard, so it does not notice when the server goes away (mended in lab 3 with a
//!                  second process, in lab 5 with poll).
//! Terminal 1       make lab2                 or: make lab2 ARGS='--family unix'
//! Terminal 2       make client2              or: make client2 ARGS='--family unix'
//! Terminal 3       make states               or: strace -f -e trace=network target/debug/lab2-client
//! Watch            the two bytes of the port: the client's own is chosen by the kernel while it connects.
//! Man pages        connect(2), socket(7) for SO_SNDTIMEO, ip(7), unix(7), errno(3), signal(7)
//! Peer             address.rs (the structs), server.rs; exercises 2.1 to 2.8 in EXERCISES.md

use std::io::Error;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use clap::Parser;
use kit::{ClientOptions, During, Failure, Keyboard, Screen};
use lab02_raw::{Address, Family};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{self, AddressFamily, Shutdown, SockFlag, SockType, getsockopt, setsockopt, shutdown, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};
use nix::unistd::{read, write};

const BUFFER_SIZE: usize = 64 * 1024;

/// Lab 2: the echo client with file descriptors, sockaddr structs and errno
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    client: ClientOptions<7002>,

    /// Use only addresses of this family; with unix, HOST is the socket's file [default: /tmp/socklab-lab2.sock]
    #[arg(long, value_enum)]
    family: Option<Family>,
}

fn main() -> Result<(), Failure> {
    let options = Options::parse();
    let mut keyboard = Keyboard::default();
    let screen = Screen::default();
    let mut buffer = vec![0; BUFFER_SIZE];

    let (server, addresses) = addresses_from(&options)?;
    let connection = connect_to_one_of(addresses, options.client.timeout())?;
    if keyboard.is_terminal() {
        eprintln!("connected to {server}: fd {}; type lines, end with Done or Ctrl-D", connection.as_raw_fd());
    }

    while let Some(line) = keyboard.next_line().during("read", "standard input")? {
        write_all(connection.as_fd(), line).during("write", &server)?;

        let mut missing = line.len();
        while missing > 0 {
            let length = match read(&connection, &mut buffer) {
                // End of file, though an answer is due: the server closed its side first.
                Ok(0) => return Err(Failure::new("read", &server, early_end(missing))),
                // A short read is the rule, not the exception: count until all is there.
                Ok(length) => length,
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(Failure::new("read", &server, errno)),
            };
            screen.show(&buffer[..length]).during("write", "standard output")?;
            missing = missing.saturating_sub(length);
        }
    }

    // shutdown(2) sends our FIN, and only this direction is closed. What the server still has to say can be read.
    shutdown(connection.as_raw_fd(), Shutdown::Write).during("shutdown", &server)?;
    loop {
        match read(&connection, &mut buffer) {
            // The server's FIN: both directions are closed. This side now waits in TIME-WAIT, for a minute.
            Ok(0) => break,
            Ok(length) => screen.show(&buffer[..length]).during("write", "standard output")?,
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(Failure::new("read", &server, errno)),
        }
    }

    // close(2): an OwnedFd closes its number when it is dropped.
    drop(connection);
    Ok(())
}

/// The server as a person names it, and every address that this name stands for.
fn addresses_from(options: &Options) -> Result<(String, Vec<Address>), Failure> {
    if options.family == Some(Family::Unix) {
        let path = options.client.host.as_deref().unwrap_or("/tmp/socklab-lab2.sock");
        return Ok((path.into(), vec![Address::unix(Path::new(path)).during("connect", path)?]));
    }
    let (host, port) = (options.client.host(), options.client.port);
    let server = format!("{host}:{port}");
    let wanted = |address: &SocketAddr| match options.family {
        Some(Family::V4) => address.is_ipv4(),
        Some(Family::V6) => address.is_ipv6(),
        _ => true,
    };
    let found = (host, port).to_socket_addrs().during("getaddrinfo", &server)?;
    Ok((server, found.filter(wanted).map(Address::inet).collect()))
}

/// Tries each address in turn: a name may stand for an IPv6 and an IPv4 address, and the server listen on one of them.
fn connect_to_one_of(addresses: Vec<Address>, timeout: Option<Duration>) -> Result<OwnedFd, Failure> {
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

fn connect(address: Address, timeout: Option<Duration>) -> Result<OwnedFd, Failure> {
    let domain = match address.family() {
        libc::AF_INET => AddressFamily::Inet,
        libc::AF_INET6 => AddressFamily::Inet6,
        _ => AddressFamily::Unix,
    };
    let connection =
        socket::socket(domain, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).during("socket", address)?;

    // A blocking connect has no time limit of its own; the one for sending counts for it (socket(7)). 0 means none.
    let limit = TimeVal::seconds(timeout.map_or(0, |limit| limit.as_secs().cast_signed()));
    setsockopt(&connection, sockopt::SendTimeout, &limit).during("setsockopt SO_SNDTIMEO", address)?;

    // SAFETY: the pointer and the length describe one `Address`, which lives through the call; connect only reads it.
    let result = unsafe { libc::connect(connection.as_raw_fd(), address.as_ptr(), address.length) };
    match Errno::result(result) {
        Ok(_) => {}
        // Interrupted, but the SYN is out: the kernel goes on connecting, and a second connect would be EALREADY.
        Err(Errno::EINTR) => wait_until_connected(connection.as_fd(), timeout).during("connect", address)?,
        // ECONNREFUSED: a RST came back. EINPROGRESS: the time is up. For the rest see connect(2).
        Err(errno) => return Err(Failure::new("connect", address, errno)),
    }

    setsockopt(&connection, sockopt::SendTimeout, &TimeVal::seconds(0)).during("setsockopt SO_SNDTIMEO", address)?;
    Ok(connection)
}

/// The socket becomes writable when the connection attempt is over; SO_ERROR then holds its errno, 0 if it worked.
fn wait_until_connected(connection: BorrowedFd, limit: Option<Duration>) -> Result<(), Errno> {
    let timeout = limit.map_or(PollTimeout::NONE, |limit| PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX));
    loop {
        match poll(&mut [PollFd::new(connection, PollFlags::POLLOUT)], timeout) {
            Ok(0) => return Err(Errno::ETIMEDOUT),
            Ok(_) => break,
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(errno),
        }
    }
    match getsockopt(&connection, sockopt::SocketError)? {
        0 => Ok(()),
        errno => Err(Errno::from_raw(errno)),
    }
}

/// write(2) may take fewer bytes than it was given, or be interrupted after none: what is left must be written again.
fn write_all(connection: BorrowedFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match write(connection, bytes) {
            // A short write: the rest is still ours.
            Ok(length) => bytes = &bytes[length..],
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn early_end(missing: usize) -> Error {
    Error::other(format!("the server closed the connection while {missing} bytes were still to come back"))
}

fn no_address() -> Failure {
    Failure::new("getaddrinfo", "the server", Error::other("the name has no address of that family"))
}
