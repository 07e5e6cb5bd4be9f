//! Lab 2, the server: the echo of lab 1, one level down.
//!
//! What it does     what lab 1 did, over IPv4, IPv6, both at once, or a Unix socket.
//! New here         file descriptors in place of a socket type, sockaddr in place of an address type, errno in place of
//!                  an error kind; EINTR and short writes by hand; `--family`.
//! Still wrong      while one client is served, the others wait in the accept queue (mended in lab 3).
//! Terminal 1       make lab2                 or: make lab2 ARGS='--family dual'
//! Terminal 2       make client2
//! Terminal 3       strace -f -e trace=network -p $(pgrep lab2-server)      and make states
//! Watch            the numbers: 3 listens, 4 is the client, and the next client is 4 again.
//! Man pages        socket(2), ip(7), ipv6(7), unix(7), bind(2), accept(2), errno(3), signal(7)
//! Peer             address.rs (the structs), client.rs; exercises 2.1 to 2.8 in EXERCISES.md

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use clap::Parser;
use kit::{During, Failure, ServerOptions, say};
use lab02_raw::{Address, Family};
use nix::errno::Errno;
use nix::sys::socket::{self, AddressFamily, Backlog, SockFlag, SockType, UnixAddr, setsockopt, sockopt};
use nix::sys::stat::lstat;
use nix::unistd::{read, unlink, write};

/// How many established connections the kernel keeps for us until we accept them (listen(2)).
const BACKLOG: i32 = 128;
const BUFFER_SIZE: usize = 64 * 1024;
/// How long to wait when there is no file descriptor left for a new connection.
const BREATH: Duration = Duration::from_millis(500);

/// Lab 2: the echo server with file descriptors, sockaddr structs and errno
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    server: ServerOptions<7002>,

    /// Which kind of address the socket has
    #[arg(long, value_enum, default_value = "v4")]
    family: Family,

    /// With --family unix: the socket's file
    #[arg(long, value_name = "PATH", default_value = "/tmp/socklab-lab2.sock")]
    path: PathBuf,
}

fn main() -> Result<(), Failure> {
    let options = Options::parse();
    let address = address_from(&options)?;
    let mut buffer = vec![0; BUFFER_SIZE];

    // socket(2) returns the lowest free number: 0, 1 and 2 are taken, so this is 3. CLOEXEC: not for programs we start.
    let domain = match options.family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 | Family::Dual => AddressFamily::Inet6,
        Family::Unix => AddressFamily::Unix,
    };
    let listener = socket::socket(domain, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).during("socket", address)?;

    // What lab 1 made an option: bind although old connections of this port are in TIME-WAIT. Servers set it as a rule.
    if options.family != Family::Unix {
        setsockopt(&listener, sockopt::ReuseAddr, &true).during("setsockopt SO_REUSEADDR", address)?;
    }
    // One IPv6 socket can serve IPv4 as well; ipv6(7) says which it is unless we do, and systems differ.
    if domain == AddressFamily::Inet6 {
        let only = options.family == Family::V6;
        setsockopt(&listener, sockopt::Ipv6V6Only, &only).during("setsockopt IPV6_V6ONLY", address)?;
    }

    // bind(2) reads the struct byte by byte. For a Unix socket it also makes the file.
    say!("bind({}, {address}) = these bytes: {}", listener.as_raw_fd(), in_hex(&address));
    match bind(listener.as_fd(), &address) {
        Err(Errno::EADDRINUSE) if options.family == Family::Unix && is_stale(&options.path) => {
            say!("{address} is left over from a server that is gone: replacing it");
            unlink(&options.path).during("unlink", address)?;
            bind(listener.as_fd(), &address).during("bind", address)?;
        }
        bound => bound.during("bind", address)?,
    }

    socket::listen(&listener, Backlog::new(BACKLOG).unwrap_or(Backlog::MAXCONN)).during("listen", address)?;
    say!("listening on {}", bound_to(listener.as_fd()).during("getsockname", address)?);

    loop {
        let (connection, client) = match accept(listener.as_fd()) {
            Ok(accepted) => accepted,
            // A signal came in while we slept: nothing was accepted, nothing is lost.
            Err(Errno::EINTR) => continue,
            // The client was gone again before we came to it (on Linux, read(2) is more often the one to say so).
            Err(Errno::ECONNABORTED) => continue,
            // No file descriptor is left. Clients stay in the queue: breathe, or this loop would take a whole core.
            Err(errno @ (Errno::EMFILE | Errno::ENFILE)) => {
                say!("accept: {errno:?} ({}); whoever connects waits in the accept queue", errno.desc());
                thread::sleep(BREATH);
                continue;
            }
            Err(errno) => return Err(Failure::new("accept", address, errno)),
        };
        say!("{client} connected: fd {}", connection.as_raw_fd());

        let mut echoed = 0;
        let end = loop {
            let length = match read(&connection, &mut buffer) {
                // The client's FIN: it will send no more. Our side of the connection is in CLOSE-WAIT.
                Ok(0) => break Ok(()),
                // Any number from 1 to the buffer's size: what has arrived so far, not what was asked for.
                Ok(length) => length,
                Err(Errno::EINTR) => continue,
                // A reset ends this client's connection and must not end the server.
                Err(errno) => break Err(Failure::new("read", client, errno)),
            };
            if let Err(errno) = write_all(connection.as_fd(), &buffer[..length]) {
                break Err(Failure::new("write", client, errno));
            }
            echoed += length;
        };
        match end {
            Ok(()) => say!("{client} finished: {echoed} bytes echoed"),
            Err(failure) => say!("{client} lost after {echoed} bytes: {failure}"),
        }

        // close(2): an OwnedFd closes its number when it is dropped, and the number is free for the next client.
        drop(connection);
    }
}

fn address_from(options: &Options) -> Result<Address, Failure> {
    let fallback = match options.family {
        Family::Unix => return Address::unix(&options.path).during("bind", options.path.display()),
        Family::V4 => "127.0.0.1",
        Family::V6 => "::1",
        // One socket for both has to be bound to the address that stands for all.
        Family::Dual => "::",
    };
    let Ok(fallback) = fallback.parse() else { return Err(Failure::new("bind", fallback, Errno::EINVAL)) };
    let address = options.server.address_or(fallback);
    if address.is_ipv4() == (options.family == Family::V4) {
        Ok(Address::inet(address))
    } else {
        // The kernel would say so too, after reading the struct's first two bytes.
        Err(Failure::new("bind", address, Errno::EAFNOSUPPORT))
    }
}

fn in_hex(address: &Address) -> String {
    address.bytes().iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

fn bind(listener: BorrowedFd, address: &Address) -> Result<(), Errno> {
    // SAFETY: the pointer and the length describe one `Address`, which lives through the call; bind only reads it.
    let result = unsafe { libc::bind(listener.as_raw_fd(), address.as_ptr(), address.length) };
    Errno::result(result).map(drop)
}

/// A socket file outlives its server. Connecting tells the two apart: ECONNREFUSED means that nobody listens behind it.
fn is_stale(path: &Path) -> bool {
    let is_socket = lstat(path).is_ok_and(|file| file.st_mode & libc::S_IFMT == libc::S_IFSOCK);
    let knock = || {
        let probe = socket::socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
        socket::connect(probe.as_raw_fd(), &UnixAddr::new(path)?)
    };
    // Never delete what is no socket, and never what somebody still listens on.
    is_socket && knock() == Err(Errno::ECONNREFUSED)
}

/// getsockname(2): the address that the socket really has, with the port that the kernel chose if we asked for port 0.
fn bound_to(listener: BorrowedFd) -> Result<Address, Errno> {
    let mut address = Address::unnamed();
    let storage = (&raw mut address.storage).cast();
    // SAFETY: `storage` has room for `length` bytes, both live through the call, and the kernel writes no more than that.
    Errno::result(unsafe { libc::getsockname(listener.as_raw_fd(), storage, &raw mut address.length) })?;
    Ok(address)
}

fn accept(listener: BorrowedFd) -> Result<(OwnedFd, Address), Errno> {
    let mut client = Address::unnamed();
    let storage = (&raw mut client.storage).cast();
    // SAFETY: `storage` has room for `length` bytes, both live through the call, and the kernel writes no more than that.
    let fd = unsafe { libc::accept4(listener.as_raw_fd(), storage, &raw mut client.length, libc::SOCK_CLOEXEC) };
    let fd = Errno::result(fd)?;
    // SAFETY: accept4 has just made this descriptor, and nobody else knows of it.
    Ok((unsafe { OwnedFd::from_raw_fd(fd) }, client))
}

/// write(2) may take fewer bytes than it was given, or be interrupted after none: what is left must be written again.
fn write_all(connection: BorrowedFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match write(connection, bytes) {
            // A short write: the rest is still ours.
            Ok(length) => bytes = &bytes[length..],
            Err(Errno::EINTR) => continue,
            // EPIPE: the client is gone. It comes with SIGPIPE, which would end us, had Rust not set it to be ignored.
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
