//! Lab 4, the server: messages, and a thread per client.
//!
//! What it does     answers requests, one JSON object per line: ECHO sends `data` back, TIME tells the time.
//! New here         frames: a read(2) may bring half a message or ten and a half, so what is not whole yet is kept, and
//!                  what is kept is bounded. Typed requests and answers (serde). A thread in place of lab 3's process.
//! Still wrong      a thread per client is cheaper than a process, and still far more than a connection needs; and it
//!                  sleeps in read(2), or in write(2) for as long as its client does not read (mended in lab 5).
//!                  Ten answers may take 40 ms (met in exercise 4.5, mended here by `--nodelay`, always from lab 7 on).
//! Terminal 1       make lab4          or make lab4 ARGS=--show-reads, to see how the bytes come in
//! Terminal 2       make client4, in as many terminals as you like; or nc 127.0.0.1 7004, and type JSON
//! Terminal 3       make states          and ps -L -o pid,lwp,stat,comm -p $(pgrep lab4-server)
//! Watch            all sockets held by one process, each connection under a number of its own; the Recv-Q of each.
//! Man pages        pthreads(7), pthread_create(3), pthread_mutex_lock(3), pthread_cond_wait(3), read(2), tcp(7)
//! Peer             client.rs; frames.rs and messages.rs in the library; exercises 4.1 to 4.8 in EXERCISES.md

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use clap::{Parser, value_parser};
use jiff::Timestamp;
use kit::{During, Failure, ServerOptions, say, write_all};
use lab04_messages::frames::{Frames, TooLong};
use lab04_messages::messages::{Code, Request, Response, to_line};
use nix::errno::Errno;
use nix::sys::socket::{self, AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, setsockopt, sockopt};
use nix::unistd::read;

/// How many established connections the kernel keeps for us until we accept them (listen(2)).
const BACKLOG: i32 = 128;
const BUFFER_SIZE: usize = 64 * 1024;
/// How long to wait when there is no file descriptor left for a new connection.
const BREATH: Duration = Duration::from_millis(500);
/// The most that `--max-clients` may ask for.
const PLACES: u64 = 4096;

/// How many clients are being served. Every thread sees this same number, so each has to lock it first.
static TAKEN: Mutex<u64> = Mutex::new(0);
/// What wakes the main thread when it sleeps because every place is taken.
static FREED: Condvar = Condvar::new();

/// Lab 4: a server of JSON messages with a thread per client
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    server: ServerOptions<7004>,

    /// Serve at most so many clients at once; more wait in the accept queue
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = value_parser!(u64).range(1..=PLACES))]
    max_clients: u64,

    /// Refuse messages of more than so many bytes
    #[arg(long, value_name = "BYTES", default_value_t = 64 * 1024, value_parser = value_parser!(u32).range(1..=1 << 24))]
    max_frame: u32,

    /// Log every read(2): what came, what became whole, what is kept
    #[arg(long)]
    show_reads: bool,

    /// Send each answer at once, also while an earlier one is not acknowledged yet (TCP_NODELAY)
    #[arg(long)]
    nodelay: bool,
}

fn main() -> Result<(), Failure> {
    let options = Options::parse();
    let address = options.server.address();
    let (max_frame, show_reads) = (options.max_frame as usize, options.show_reads);

    let domain = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let listener = socket::socket(domain, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).during("socket", address)?;
    setsockopt(&listener, sockopt::ReuseAddr, &true).during("setsockopt SO_REUSEADDR", address)?;
    // Without it, a small segment waits while another one is under way: Nagle's algorithm. Ten answers are ten small segments,
    // and the client's kernel takes its time to acknowledge the first. Each connected socket inherits the setting from here.
    if options.nodelay {
        setsockopt(&listener, sockopt::TcpNoDelay, &true).during("setsockopt TCP_NODELAY", address)?;
    }
    socket::bind(listener.as_raw_fd(), &SockaddrStorage::from(address)).during("bind", address)?;
    socket::listen(&listener, Backlog::new(BACKLOG).unwrap_or(Backlog::MAXCONN)).during("listen", address)?;

    // No handlers for signals: threads end with their process, so none can stay behind, and none becomes a zombie. The other
    // side of it: what kills one thread kills them all, whereas lab 3's children outlived even their parent.
    let bound: SockaddrStorage = socket::getsockname(listener.as_raw_fd()).during("getsockname", address)?;
    say!("listening on {bound}");

    loop {
        let place = wait_for_a_place(options.max_clients);
        let (connection, client) = match accept(listener.as_fd()) {
            Ok(accepted) => accepted,
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

        // pthread_create(3), which is clone(2), runs `serve` beside us in the same process: same memory, same table of
        // descriptors. Nothing is copied, and nobody has to close anything twice: the connection moves to the thread.
        let started = thread::Builder::new().name(client.to_string()).spawn(move || {
            serve(connection, client, max_frame, show_reads);
            drop(place);
        });
        // No more threads (RLIMIT_NPROC counts them too), or no memory. This client is turned away; the others are served on.
        if let Err(error) = started {
            say!("{}\n  {client} is turned away", Failure::new("pthread_create", client, error));
        }
    }
}

/// The thread's whole life: one client.
fn serve(connection: OwnedFd, client: SockaddrStorage, max_frame: usize, show_reads: bool) {
    say!("{client} connected");
    let mut buffer = vec![0; BUFFER_SIZE];
    let mut frames = Frames::new(max_frame);

    let mut answered = 0;
    let end = 'connection: loop {
        let length = match read(&connection, &mut buffer) {
            Ok(0) => break Ok(()),
            Ok(length) => length,
            Err(Errno::EINTR) => continue,
            Err(errno) => break Err(Failure::new("read", client, errno)),
        };
        // What has come is any piece of the stream: the end of one message, five whole ones, the beginning of the next.
        frames.put(&buffer[..length]);
        let before = answered;
        while let Some(frame) = frames.next_frame() {
            let written = to_line(&answer(frame)).and_then(|line| Ok(write_all(connection.as_fd(), &line)?));
            if let Err(error) = written {
                break 'connection Err(Failure::new("write", client, error));
            }
            answered += 1;
        }
        if show_reads {
            let (whole, kept) = (answered - before, frames.kept());
            say!("{client} read {length} bytes: whole messages {whole}, bytes kept {kept}");
        }
    };
    // The only descriptor there is for it: the FIN goes out.
    drop(connection);
    match end {
        // No newline came behind it, so nobody can know whether it is whole: it is not answered.
        Ok(()) if frames.is_cut() => say!("{client} finished: {answered} messages, and one cut off by the end"),
        Ok(()) => say!("{client} finished: {answered} messages"),
        Err(failure) => say!("{client} lost after {answered} messages: {failure}"),
    }
}

/// An answer for each frame, whatever it is: a client that gets none could only wait.
fn answer(frame: Result<&[u8], TooLong>) -> Response {
    let read = frame.map_or_else(|TooLong| Err(too_long()), Request::read);
    match read {
        Ok((Request::Echo(data), id)) => Response::Ok { re: "ECHO".into(), data, id },
        Ok((Request::Time, id)) => {
            Response::Ok { re: "TIME".into(), data: format!("{:.3}", Timestamp::now()).into(), id }
        }
        Err(refusal) => refusal,
    }
}

fn accept(listener: BorrowedFd) -> Result<(OwnedFd, SockaddrStorage), Errno> {
    let fd = socket::accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC)?;
    // SAFETY: accept4 has just made this descriptor, and nobody else knows of it.
    let connection = unsafe { OwnedFd::from_raw_fd(fd) };
    let client = socket::getpeername(fd)?;
    Ok((connection, client))
}

/// One of the places that `--max-clients` limits. It is free again when this value is dropped, however its thread ends.
struct Place;

impl Drop for Place {
    fn drop(&mut self) {
        *places_taken() -= 1;
        FREED.notify_one();
    }
}

/// While every place is taken we do not accept: the kernel goes on establishing connections and queues them for us.
fn wait_for_a_place(places: u64) -> Place {
    let is_full = |taken: &mut u64| *taken >= places;
    let mut taken = places_taken();
    if is_full(&mut taken) {
        say!("{places} clients are being served, which is the limit; more wait in the accept queue");
        // pthread_cond_wait(3) unlocks and sleeps in one step. In two, the notice between them would be slept through.
        taken = FREED.wait_while(taken, is_full).unwrap_or_else(PoisonError::into_inner);
    }
    *taken += 1;
    Place
}

/// The number is right even if a thread has panicked while it held the lock: it only ever changes as a whole.
fn places_taken() -> MutexGuard<'static, u64> {
    TAKEN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn too_long() -> Response {
    let message = "longer than this server keeps; skipped to the next newline".into();
    Response::Error { re: None, code: Code::TooLong, message, id: None }
}
