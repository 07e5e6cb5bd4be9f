//! Lab 3, the client: a process for each direction.
//!
//! What it does     what the clients of labs 1 and 2 did; and it notices at once when the server goes away, and sends a
//!                  large file without waiting for each line to come back.
//! New here         fork on the client's side: the child sends what is typed, the parent prints what arrives.
//! Still wrong      two processes for one connection, and signals between them: lab 5 does it with one, and poll.
//! Terminal 1       make lab3
//! Terminal 2       make client3
//! Terminal 3       make states          and ps -o pid,ppid,stat,args -C lab3-client
//! Watch            one socket with two owners: both processes hold the same descriptor.
//! Man pages        fork(2), shutdown(2), kill(2), waitpid(2)
//! Peer             server.rs; exercises 3.1 to 3.9 in EXERCISES.md

use std::io::Error;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use kit::{ClientOptions, During, Failure, Keyboard, Screen, wait_until_connected, write_all};
use nix::errno::Errno;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigHandler, Signal, kill, signal};
use nix::sys::socket::{
    self, AddressFamily, Shutdown, SockFlag, SockType, SockaddrStorage, setsockopt, shutdown, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, read};

const BUFFER_SIZE: usize = 64 * 1024;

/// Lab 3: the echo client with a process for each direction
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    client: ClientOptions<7003>,
}

fn main() -> Result<ExitCode, Failure> {
    let options = Options::parse().client;
    let server = format!("{}:{}", options.host(), options.port);
    let addresses = (options.host(), options.port).to_socket_addrs().during("getaddrinfo", &server)?;
    let connection = connect_to_one_of(addresses, options.timeout())?;

    // Two processes, one connection: each can sleep in its own read(2) without keeping the other from its work.
    // SAFETY: this process has a single thread, so the child is a whole copy of it, locks and all.
    match unsafe { fork() }.during("fork", &server)? {
        ForkResult::Child => {
            // Should somebody kill the parent, the child must not stay at the keyboard alone (prctl(2)).
            let _ = set_pdeathsig(Signal::SIGTERM);
            let sent = send_what_is_typed(connection.as_fd(), &server);
            // Also when that failed: without our FIN the server sends none, and the parent would wait for it for ever.
            let sent = sent.and(half_close(connection.as_fd(), &server));
            if let Err(failure) = &sent {
                eprintln!("Error: {failure}");
            }
            // _exit(2): what follows is the parent's.
            // SAFETY: _exit has no preconditions, and nothing of ours is left to clean up.
            unsafe { libc::_exit(i32::from(sent.is_err())) }
        }
        ForkResult::Parent { child } => {
            let end = show_what_arrives(&connection, &server);
            // No more will come: call the child away from the keyboard, and fetch it, or it would be a zombie.
            let status = call_away(child).during("waitpid", child)?;
            end?;
            match status {
                WaitStatus::Exited(_, 0) => Ok(ExitCode::SUCCESS),
                // It could not send everything, and has said why.
                WaitStatus::Exited(..) => Ok(ExitCode::FAILURE),
                // It was still at work when SIGTERM came.
                _ => Err(Failure::new("read", server, early_end())),
            }
        }
    }
}

fn send_what_is_typed(connection: BorrowedFd, server: &str) -> Result<(), Failure> {
    let mut keyboard = Keyboard::default();
    if keyboard.is_terminal() {
        eprintln!("connected to {server}; type lines, end with Done or Ctrl-D");
    }
    while let Some(line) = keyboard.next_line().during("read", "standard input")? {
        write_all(connection, line).during("write", server)?;
    }
    Ok(())
}

fn half_close(connection: BorrowedFd, server: &str) -> Result<(), Failure> {
    // The half-close may bring the server's FIN at once, and that the parent's SIGTERM: by then our work was done.
    // SAFETY: it ignores the signal; no handler of ours runs.
    unsafe { signal(Signal::SIGTERM, SigHandler::SigIgn) }.during("signal", "SIGTERM")?;
    // Close would not do: the parent holds a copy. shutdown(2) acts on the connection itself, for all its owners.
    shutdown(connection.as_raw_fd(), Shutdown::Write).during("shutdown", server)
}

fn show_what_arrives(connection: &OwnedFd, server: &str) -> Result<(), Failure> {
    let screen = Screen::default();
    let mut buffer = vec![0; BUFFER_SIZE];
    loop {
        match read(connection, &mut buffer) {
            Ok(0) => return Ok(()),
            Ok(length) => screen.show(&buffer[..length]).during("write", "standard output")?,
            Err(Errno::EINTR) => continue,
            Err(errno) => return Err(Failure::new("read", server, errno)),
        }
    }
}

/// Ends the child if it is still at work, and fetches its exit status.
fn call_away(child: Pid) -> Result<WaitStatus, Errno> {
    kill(child, Signal::SIGTERM)?;
    loop {
        match waitpid(child, None) {
            Err(Errno::EINTR) => continue,
            ended => return ended,
        }
    }
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
    let connection =
        socket::socket(domain, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).during("socket", address)?;

    let limit = TimeVal::seconds(timeout.map_or(0, |limit| limit.as_secs().cast_signed()));
    setsockopt(&connection, sockopt::SendTimeout, &limit).during("setsockopt SO_SNDTIMEO", address)?;
    match socket::connect(connection.as_raw_fd(), &SockaddrStorage::from(address)) {
        Ok(()) => {}
        // Interrupted, but the SYN is out: the kernel goes on connecting.
        Err(Errno::EINTR) => wait_until_connected(connection.as_fd(), timeout).during("connect", address)?,
        Err(errno) => return Err(Failure::new("connect", address, errno)),
    }
    setsockopt(&connection, sockopt::SendTimeout, &TimeVal::seconds(0)).during("setsockopt SO_SNDTIMEO", address)?;
    Ok(connection)
}

fn early_end() -> Error {
    Error::other("the server closed the connection first")
}

fn no_address() -> Failure {
    Failure::new("getaddrinfo", "the server", Error::other("the name has no address"))
}
