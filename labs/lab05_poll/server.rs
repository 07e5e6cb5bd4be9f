//! Lab 5, the server: one thread, many clients.
//!
//! What it does     the echo of lab 3, for any number of clients at once, in one process with one thread.
//! New here         non-blocking sockets and EAGAIN; poll, which waits for all of them together; a short write, whose rest has
//!                  to be kept for later. Nobody's read or write can keep another client waiting.
//! Still wrong      each turn of the loop hands every descriptor to the kernel and looks at every answer, also where one client
//!                  of thousands has something to say; whoever has spoken once keeps a buffer for ever (both mended in
//!                  lab 6). And the log is not polled: a terminal that is stopped with Ctrl-S stops the only thread.
//! Terminal 1       make lab5
//! Terminal 2       make client5, in as many terminals as you like
//! Terminal 3       make states          and strace -p $(pidof lab5-server)
//! Watch            one process holds the listening socket and every connected socket. poll is the only call on them that sleeps.
//! Man pages        poll(2), fcntl(2) under O_NONBLOCK, accept(2), read(2), write(2)
//! Peer             client.rs; exercises 5.1 to 5.9 in EXERCISES.md

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use clap::Parser;
use kit::{During, Failure, ServerOptions, say};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{self, AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, setsockopt, sockopt};
use nix::unistd::{read, write};

/// How many established connections the kernel keeps for us until we accept them (listen(2)).
const BACKLOG: i32 = 128;
const BUFFER_SIZE: usize = 64 * 1024;
/// How long to leave the listening socket alone when there is no file descriptor left for a new connection.
const BREATH: Duration = Duration::from_millis(500);
/// How many connections to accept before the clients that are here already get their turn.
const ACCEPTS: usize = 64;

/// Lab 5: an echo server with one thread for all clients
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    server: ServerOptions<7005>,
}

/// A client, and what we have to remember of it from one turn to the next: no stack of its own does that for us here.
struct Connection {
    socket: OwnedFd,
    client: SockaddrStorage,
    /// Read, and not written back yet: the rest of a short write.
    unsent: Vec<u8>,
    echoed: usize,
}

fn main() -> Result<(), Failure> {
    let address = Options::parse().server.address();
    let mut buffer = vec![0; BUFFER_SIZE];

    let domain = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    // SOCK_NONBLOCK: a call on this socket that would have to sleep returns EAGAIN instead. So does O_NONBLOCK of fcntl(2).
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let listener = socket::socket(domain, SockType::Stream, flags, None).during("socket", address)?;
    setsockopt(&listener, sockopt::ReuseAddr, &true).during("setsockopt SO_REUSEADDR", address)?;
    socket::bind(listener.as_raw_fd(), &SockaddrStorage::from(address)).during("bind", address)?;
    socket::listen(&listener, Backlog::new(BACKLOG).unwrap_or(Backlog::MAXCONN)).during("listen", address)?;
    let bound: SockaddrStorage = socket::getsockname(listener.as_raw_fd()).during("getsockname", address)?;
    say!("listening on {bound}");

    let mut connections: Vec<Connection> = Vec::new();
    let mut full_since: Option<Instant> = None;
    loop {
        // poll(2) sleeps until one of these sockets is ready for what we would do with it: POLLIN, where a read (or an accept)
        // would not have to wait; POLLOUT, where a write would not.
        let mut asked: Vec<PollFd> = connections.iter().map(Connection::asks).collect();
        // With no descriptor left for whoever waits there, the listening socket would be ready for ever, and we never rest.
        let rest = full_since.and_then(|since| BREATH.checked_sub(since.elapsed()));
        asked.extend(rest.is_none().then(|| PollFd::new(listener.as_fd(), PollFlags::POLLIN)));
        let timeout = rest.map_or(PollTimeout::NONE, |rest| PollTimeout::try_from(rest).unwrap_or(PollTimeout::ZERO));
        match poll(&mut asked, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(Failure::new("poll", format!("{} sockets", asked.len()), errno)),
        }
        let ready: Vec<bool> = asked.iter().map(|fd| fd.revents().is_some_and(|events| !events.is_empty())).collect();

        // The clients first, from the last to the first: one that goes leaves its place to one that had its turn.
        let clients = connections.len();
        for index in (0..clients).rev().filter(|&index| ready[index]) {
            if let Some(end) = serve(&mut connections[index], &mut buffer) {
                let Connection { client, echoed, .. } = connections.swap_remove(index);
                full_since = None;
                match end {
                    Ok(()) => say!("{client} finished: {echoed} bytes echoed"),
                    Err(failure) => say!("{client} lost after {echoed} bytes: {failure}"),
                }
            }
        }
        if ready.get(clients).is_some_and(|&is_ready| is_ready) {
            let is_full = accept_all(listener.as_fd(), &mut connections).during("accept", address)?;
            full_since = is_full.then(Instant::now);
        }
    }
}

/// Takes connections out of the accept queue until it is empty, or the others' turn has come. True if no descriptor is left.
fn accept_all(listener: BorrowedFd, connections: &mut Vec<Connection>) -> Result<bool, Errno> {
    for _ in 0..ACCEPTS {
        match accept(listener) {
            Ok((socket, client)) => {
                say!("{client} connected");
                connections.push(Connection { socket, client, unsent: Vec::new(), echoed: 0 });
            }
            // The queue is empty.
            Err(Errno::EAGAIN) => break,
            Err(Errno::EINTR) => continue,
            // The client was gone again before we came to it.
            Err(Errno::ECONNABORTED | Errno::ENOTCONN) => continue,
            // No file descriptor is left. Clients stay in the queue until one of ours has gone, or for a breath.
            Err(errno @ (Errno::EMFILE | Errno::ENFILE)) => {
                say!("accept: {errno:?} ({}); whoever connects waits in the accept queue", errno.desc());
                return Ok(true);
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok(false)
}

impl Connection {
    /// What to wait for. While something is unsent nothing more is read: who does not take his bytes brings no new ones.
    fn asks(&self) -> PollFd<'_> {
        let events = if self.unsent.is_empty() { PollFlags::POLLIN } else { PollFlags::POLLOUT };
        PollFd::new(self.socket.as_fd(), events)
    }

    /// Writes what the kernel takes of what is unsent.
    fn send(&mut self) -> Result<(), Errno> {
        while !self.unsent.is_empty() {
            match write(&self.socket, &self.unsent) {
                Ok(length) => {
                    self.echoed += length;
                    self.unsent.drain(..length);
                }
                // The send buffer is full. poll will tell when there is room again.
                Err(Errno::EAGAIN) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }
}

/// One turn of one client: a write, a read. `None` if it goes on; else how it ended.
fn serve(connection: &mut Connection, buffer: &mut [u8]) -> Option<Result<(), Failure>> {
    let client = connection.client;
    if let Err(errno) = connection.send() {
        return Some(Err(Failure::new("write", client, errno)));
    }
    if !connection.unsent.is_empty() {
        return None;
    }
    match read(&connection.socket, buffer) {
        Ok(0) => Some(Ok(())),
        Ok(length) => {
            connection.unsent.extend_from_slice(&buffer[..length]);
            connection.send().err().map(|errno| Err(Failure::new("write", client, errno)))
        }
        // It was ready, and is not any more (poll(2), BUGS), or was ready for writing only.
        Err(Errno::EAGAIN | Errno::EINTR) => None,
        Err(errno) => Some(Err(Failure::new("read", client, errno))),
    }
}

fn accept(listener: BorrowedFd) -> Result<(OwnedFd, SockaddrStorage), Errno> {
    // O_NONBLOCK is not inherited from the listening socket on Linux: each connected socket needs it anew.
    let fd = socket::accept4(listener.as_raw_fd(), SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC)?;
    // SAFETY: accept4 has just made this descriptor, and nobody else knows of it.
    let connection = unsafe { OwnedFd::from_raw_fd(fd) };
    let client = socket::getpeername(fd)?;
    Ok((connection, client))
}
