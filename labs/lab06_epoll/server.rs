//! Lab 6, the server: readiness at scale.
//!
//! What it does     the echo of lab 5, for ten thousand clients at once, still in one thread.
//! New here         epoll: the kernel keeps the list of sockets, and a turn costs what is ready, not what is open. Level- and
//!                  edge-triggered readiness. Buffers that exist only while there is something to write. RLIMIT_NOFILE.
//! Still wrong      bytes are echoed as they come, without a meaning, and clients know nothing of each other (lab 7); a kill
//!                  cuts everybody off in the middle of a word (lab 7).
//! Terminal 1       make lab6          or make lab6 ARGS=--edge
//! Terminal 2       make client6       or make client6 ARGS='--crowd 1000'
//! Terminal 3       make states        and strace -p $(pidof lab6-server)
//! Watch            an idle connection costs nothing in a turn. A client that does not read: its Recv-Q fills, then our Send-Q,
//!                  then our Recv-Q, and then it is the client who has to wait.
//! Man pages        epoll(7), epoll_ctl(2), epoll_wait(2), getrlimit(2) under RLIMIT_NOFILE
//! Peer             connection.rs: one client's turn; client.rs; exercises 6.1 to 6.9 in EXERCISES.md

mod connection;

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use clap::Parser;
use connection::{Connection, Turn, named, serve};
use kit::{During, Failure, ServerOptions, say};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{self, AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, setsockopt, sockopt};

/// How many established connections the kernel keeps for us until we accept them: more than lab 5, as thousands may come at
/// once. The kernel takes no more than net.core.somaxconn (listen(2)).
const BACKLOG: i32 = 4096;
/// One for all: what was read for one client is written before the next one is read.
const BUFFER_SIZE: usize = 64 * 1024;
/// How long to leave the listening socket alone when there is no file descriptor left for a new connection.
const BREATH: Duration = Duration::from_millis(500);
/// How many connections to accept before the clients that are here already get their turn.
const ACCEPTS: usize = 64;
/// How many ready sockets to be told of in one turn.
const EVENTS: usize = 1024;

/// Lab 6: an echo server with epoll
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    server: ServerOptions<7006>,

    /// Be told when a socket becomes ready, not as long as it is (EPOLLET)
    #[arg(long)]
    edge: bool,
}

fn main() -> Result<(), Failure> {
    let options = Options::parse();
    let address = options.server.address();
    let mut buffer = vec![0; BUFFER_SIZE];
    raise_the_limit_of_descriptors();

    let domain = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let listener = socket::socket(domain, SockType::Stream, flags, None).during("socket", address)?;
    setsockopt(&listener, sockopt::ReuseAddr, &true).during("setsockopt SO_REUSEADDR", address)?;
    socket::bind(listener.as_raw_fd(), &SockaddrStorage::from(address)).during("bind", address)?;
    socket::listen(&listener, Backlog::new(BACKLOG).unwrap_or(Backlog::MAXCONN)).during("listen", address)?;

    // epoll_create1(2) makes a list in the kernel, with a descriptor of its own. epoll_ctl(2) puts a socket on it, once.
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).during("epoll_create1", address)?;
    epoll.add(&listener, named(&listener, EpollFlags::EPOLLIN)).during("epoll_ctl", address)?;
    let bound: SockaddrStorage = socket::getsockname(listener.as_raw_fd()).during("getsockname", address)?;
    say!("listening on {bound}");

    // A client's place is its descriptor: the kernel gives out the lowest free number, so there are few holes.
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut events = vec![EpollEvent::empty(); EVENTS];
    let mut unfinished: Vec<usize> = Vec::new();
    let mut full_since: Option<Instant> = None;
    loop {
        if full_since.is_some_and(|since| since.elapsed() >= BREATH) {
            full_since = None;
            epoll.modify(&listener, &mut named(&listener, EpollFlags::EPOLLIN)).during("epoll_ctl", address)?;
        }
        // epoll_wait(2) sleeps until a socket is ready, and hands out those that are, not all that are open. A socket is named
        // as long as it is ready (level-triggered), or each time that something new has happened to it (edge-triggered).
        let count = match epoll.wait(&mut events, timeout(&unfinished, full_since)) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(errno) => return Err(Failure::new("epoll_wait", address, errno)),
        };
        let mut ready = std::mem::take(&mut unfinished);
        ready.extend(events[..count].iter().map(|event| event.data() as usize));
        // Whom the last turn left unfinished has his turn anyway, also if there is news of him: one turn, not two.
        if options.edge {
            ready.sort_unstable();
            ready.dedup();
        }
        unfinished = serve_all(&ready, &mut connections, &mut buffer, &epoll, options.edge)?;
        // After the clients: only now may a descriptor that one of them has left be given to another.
        if ready.contains(&(listener.as_raw_fd() as usize))
            && accept_all(&listener, &epoll, options.edge, &mut connections).during("accept", address)?
        {
            // The listening socket would be ready for ever, and we would never rest.
            full_since = Some(Instant::now());
            epoll.modify(&listener, &mut named(&listener, EpollFlags::empty())).during("epoll_ctl", address)?;
        }
    }
}

/// A turn for each client that is ready. Returns those who have to have another one without being named by the kernel again.
fn serve_all(
    ready: &[usize],
    connections: &mut [Option<Connection>],
    buffer: &mut [u8],
    epoll: &Epoll,
    edge: bool,
) -> Result<Vec<usize>, Failure> {
    let mut unfinished = Vec::new();
    for &place in ready {
        let Some(connection) = connections.get_mut(place).and_then(Option::as_mut) else { continue };
        match serve(connection, buffer, edge) {
            Turn::Ended(end) => {
                let (client, echoed) = (&connection.client, connection.echoed);
                match end {
                    Ok(()) => say!("{client} finished: {echoed} bytes echoed"),
                    Err(failure) => say!("{client} lost after {echoed} bytes: {failure}"),
                }
                // close(2) takes the socket off the kernel's list as well.
                connections[place] = None;
            }
            Turn::Unfinished => unfinished.push(place),
            Turn::Waits => connection.ask_anew(epoll, edge).during("epoll_ctl", &connection.client)?,
        }
    }
    Ok(unfinished)
}

/// How long epoll_wait may sleep.
fn timeout(unfinished: &[usize], full_since: Option<Instant>) -> EpollTimeout {
    match full_since {
        _ if !unfinished.is_empty() => EpollTimeout::ZERO,
        Some(since) => EpollTimeout::try_from(BREATH.saturating_sub(since.elapsed())).unwrap_or(EpollTimeout::ZERO),
        None => EpollTimeout::NONE,
    }
}

/// Takes connections out of the accept queue until it is empty, or the others' turn has come. True if no descriptor is left.
fn accept_all(
    listener: &OwnedFd,
    epoll: &Epoll,
    edge: bool,
    connections: &mut Vec<Option<Connection>>,
) -> Result<bool, Errno> {
    for _ in 0..ACCEPTS {
        match accept(listener) {
            Ok((socket, client)) => {
                say!("{client} connected");
                let connection = Connection::new(socket, client.to_string().into());
                // No memory, or too many watches (epoll(7)): this client is turned away; the others are served on.
                if let Err(errno) = epoll.add(&connection.socket, connection.first_event(edge)) {
                    say!("{}\n  {client} is turned away", Failure::new("epoll_ctl", client, errno));
                    continue;
                }
                let place = connection.socket.as_raw_fd() as usize;
                connections.resize_with(connections.len().max(place + 1), || None);
                connections[place] = Some(connection);
            }
            // The queue is empty.
            Err(Errno::EAGAIN) => break,
            Err(Errno::EINTR) => continue,
            // The client was gone again before we came to it.
            Err(Errno::ECONNABORTED | Errno::ENOTCONN) => continue,
            // No file descriptor is left. Clients stay in the queue: take a breath, or this loop would take a whole core.
            Err(errno @ (Errno::EMFILE | Errno::ENFILE)) => {
                say!("accept: {errno:?} ({}); whoever connects waits in the accept queue", errno.desc());
                return Ok(true);
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok(false)
}

fn accept(listener: &OwnedFd) -> Result<(OwnedFd, SockaddrStorage), Errno> {
    let fd = socket::accept4(listener.as_raw_fd(), SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC)?;
    // SAFETY: accept4 has just made this descriptor, and nobody else knows of it.
    let connection = unsafe { OwnedFd::from_raw_fd(fd) };
    let client = socket::getpeername(fd)?;
    Ok((connection, client))
}

/// A descriptor per client: 1,024, the usual soft limit, would be few. Up to the hard limit we may raise it ourselves.
fn raise_the_limit_of_descriptors() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}
