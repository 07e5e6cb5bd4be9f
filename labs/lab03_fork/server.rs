//! Lab 3, the server: a process per client.
//!
//! What it does     the echo of labs 1 and 2, for any number of clients at once: each gets a child process of its own.
//! New here         fork, and what a child inherits; who must close which descriptor; SIGCHLD and zombies; a bound on the
//!                  children; ending them all.
//! Still wrong      a process costs far more than a connection: a thread each in lab 4, one thread for all in lab 5.
//! Terminal 1       make lab3
//! Terminal 2       make client3, in as many terminals as you like
//! Terminal 3       make states          and ps -o pid,ppid,stat,args -C lab3-server
//! Watch            one listening socket, held by the parent; one connected socket per child. No child is `Z` (a zombie).
//! Man pages        fork(2), waitpid(2), sigaction(2), sigsuspend(2), signal-safety(7), _exit(2)
//! Peer             client.rs; exercises 3.1 to 3.9 in EXERCISES.md

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;
use std::time::Duration;

use clap::{Parser, value_parser};
use kit::{During, Failure, ServerOptions, say, write_all};
use nix::errno::Errno;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, kill, sigaction};
use nix::sys::socket::{self, AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, setsockopt, sockopt};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::{ForkResult, Pid, fork, getpid, read};

/// How many established connections the kernel keeps for us until we accept them (listen(2)).
const BACKLOG: i32 = 128;
const BUFFER_SIZE: usize = 64 * 1024;
/// How long to wait when there is no file descriptor left for a new connection.
const BREATH: Duration = Duration::from_millis(500);
/// The most that `--max-clients` may ask for.
const PLACES: usize = 4096;

/// The children's process ids, 0 where a place is free. Atomic, because signal handlers read and write them too.
static CHILDREN: [AtomicI32; PLACES] = [const { AtomicI32::new(0) }; PLACES];

/// Lab 3: an echo server with a process per client
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    server: ServerOptions<7003>,

    /// Serve at most so many clients at once; more wait in the accept queue
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = value_parser!(u64).range(1..=PLACES as u64))]
    max_clients: u64,
}

fn main() -> Result<(), Failure> {
    let options = Options::parse();
    let address = options.server.address();
    let places = &CHILDREN[..options.max_clients as usize];
    // Made once, before any fork: memory that each child had to ask for itself would cost it more than the echo.
    let mut buffer = vec![0; BUFFER_SIZE];

    let domain = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let listener = socket::socket(domain, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).during("socket", address)?;
    setsockopt(&listener, sockopt::ReuseAddr, &true).during("setsockopt SO_REUSEADDR", address)?;
    socket::bind(listener.as_raw_fd(), &SockaddrStorage::from(address)).during("bind", address)?;
    socket::listen(&listener, Backlog::new(BACKLOG).unwrap_or(Backlog::MAXCONN)).during("listen", address)?;

    // From here on a child's end interrupts us: accept returns EINTR. A request to stop ends us, and the children before.
    on_signal(Signal::SIGCHLD, SigHandler::Handler(reap)).during("sigaction", "SIGCHLD")?;
    on_signal(Signal::SIGINT, SigHandler::Handler(end_all)).during("sigaction", "SIGINT")?;
    on_signal(Signal::SIGTERM, SigHandler::Handler(end_all)).during("sigaction", "SIGTERM")?;
    let bound: SockaddrStorage = socket::getsockname(listener.as_raw_fd()).during("getsockname", address)?;
    say!("listening on {bound}");

    loop {
        wait_for_a_place(places);
        let (connection, client) = match accept(listener.as_fd()) {
            Ok(accepted) => accepted,
            // Some child has ended and `reap` has run: nothing was accepted, nothing is lost.
            Err(Errno::EINTR) => continue,
            // The client was gone again before we came to it.
            Err(Errno::ECONNABORTED | Errno::ENOTCONN) => continue,
            // No file descriptor is left. Clients stay in the queue: breathe, or this loop would take a whole core.
            Err(errno @ (Errno::EMFILE | Errno::ENFILE)) => {
                say!("accept: {errno:?} ({}); whoever connects waits in the accept queue", errno.desc());
                thread::sleep(BREATH);
                continue;
            }
            Err(errno) => return Err(Failure::new("accept", address, errno)),
        };

        // A short-lived child may end before we have noted its pid. Its SIGCHLD has to wait until we have.
        let before = hold_signals();
        // fork(2) returns twice. Parent and child share every open descriptor: the sockets now have two owners each.
        // SAFETY: this process has a single thread, so the child is a whole copy of it, locks and all.
        match unsafe { fork() } {
            Ok(ForkResult::Child) => {
                drop(listener);
                serve(connection, client, &mut buffer, &before);
                // _exit(2), not a return: the rest of `main` is the parent's.
                // SAFETY: _exit has no preconditions, and nothing of ours is left to clean up.
                unsafe { libc::_exit(0) }
            }
            Ok(ForkResult::Parent { child }) => {
                note(child, places);
                say!("{client} connected: child {child}");
            }
            // No more processes (RLIMIT_NPROC), or no memory. This client is turned away; the others are served on.
            Err(errno) => say!("{}\n  {client} is turned away", Failure::new("fork", client, errno)),
        }
        // The parent's copy of the connection. As long as it is open, no FIN goes out, whatever the child closes.
        drop(connection);
        let _ = before.thread_set_mask();
    }
}

/// The child's whole life: one client.
fn serve(connection: OwnedFd, client: SockaddrStorage, buffer: &mut [u8], before: &SigSet) {
    // The handlers were inherited too. To end all the others is the parent's business: ours is to end when told.
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let _ = on_signal(signal, SigHandler::SigDfl);
    }
    let _ = before.thread_set_mask();

    let mut echoed = 0;
    let end = loop {
        let length = match read(&connection, buffer) {
            Ok(0) => break Ok(()),
            Ok(length) => length,
            Err(Errno::EINTR) => continue,
            Err(errno) => break Err(Failure::new("read", client, errno)),
        };
        if let Err(errno) = write_all(connection.as_fd(), &buffer[..length]) {
            break Err(Failure::new("write", client, errno));
        }
        echoed += length;
    };
    // The parent gives up its copy too. With the last of the two the FIN goes out.
    drop(connection);
    match end {
        Ok(()) => say!("{client} finished: {echoed} bytes echoed by child {}", getpid()),
        Err(failure) => say!("{client} lost after {echoed} bytes by child {}: {failure}", getpid()),
    }
}

fn accept(listener: BorrowedFd) -> Result<(OwnedFd, SockaddrStorage), Errno> {
    let fd = socket::accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC)?;
    // SAFETY: accept4 has just made this descriptor, and nobody else knows of it.
    let connection = unsafe { OwnedFd::from_raw_fd(fd) };
    let client = socket::getpeername(fd)?;
    Ok((connection, client))
}

/// While every place is taken we do not accept: the kernel goes on establishing connections and queues them for us.
fn wait_for_a_place(places: &[AtomicI32]) {
    let is_full = || places.iter().all(|place| place.load(Ordering::Relaxed) != 0);
    if !is_full() {
        return;
    }
    say!("{} clients are being served, which is the limit; more wait in the accept queue", places.len());
    let before = hold_signals();
    while is_full() {
        // sigsuspend(2) lets the signals in and sleeps, in one step. In two, a SIGCHLD between them would be slept through.
        let _ = before.suspend();
    }
    let _ = before.thread_set_mask();
}

/// Writes down a new child. Only to be called while signals are held.
fn note(child: Pid, places: &[AtomicI32]) {
    if let Some(place) = places.iter().find(|place| place.load(Ordering::Relaxed) == 0) {
        place.store(child.as_raw(), Ordering::Relaxed);
    }
}

/// SIGCHLD: a child has ended, and is a zombie until waitpid(2) has fetched its exit status.
///
/// A handler may run between any two instructions, so it calls nothing but what signal-safety(7) lists.
extern "C" fn reap(_: libc::c_int) {
    let errno = Errno::last_raw();
    // Signals do not queue: one SIGCHLD may stand for many children. And never sleep for those who are still at work.
    while let Ok(Some(child)) = waitpid(None, Some(WaitPidFlag::WNOHANG)).map(|status| status.pid()) {
        if let Some(place) = CHILDREN.iter().find(|place| place.load(Ordering::Relaxed) == child.as_raw()) {
            place.store(0, Ordering::Relaxed);
        }
    }
    // The interrupted code may be about to look at errno.
    Errno::set_raw(errno);
}

/// SIGINT or SIGTERM: no process of ours may stay behind, so the children go first and we go last.
extern "C" fn end_all(_: libc::c_int) {
    for place in &CHILDREN {
        let child = place.load(Ordering::Relaxed);
        if child != 0 {
            let _ = kill(Pid::from_raw(child), Signal::SIGTERM);
            // A child that somebody has stopped would not see it.
            let _ = kill(Pid::from_raw(child), Signal::SIGCONT);
        }
    }
    while waitpid(None, None).is_ok() {}
    // SAFETY: _exit is on the list of signal-safety(7), and has no preconditions.
    unsafe { libc::_exit(0) }
}

fn on_signal(signal: Signal, handler: SigHandler) -> Result<(), Errno> {
    // No SA_RESTART: accept shall return with EINTR. All other signals wait while a handler runs.
    let action = SigAction::new(handler, SaFlags::empty(), SigSet::all());
    // SAFETY: the handlers are async-signal-safe: atomics, waitpid, kill and _exit, and errno is put back.
    unsafe { sigaction(signal, &action) }.map(drop)
}

/// Holds SIGCHLD, SIGINT and SIGTERM back until the mask that it returns is set again.
fn hold_signals() -> SigSet {
    let held = SigSet::from_iter([Signal::SIGCHLD, Signal::SIGINT, Signal::SIGTERM]);
    // It cannot fail: the only errno of pthread_sigmask(3) is EINVAL, for a wrong `how`.
    held.thread_swap_mask(nix::sys::signal::SigmaskHow::SIG_BLOCK).unwrap_or_else(|_| SigSet::empty())
}
