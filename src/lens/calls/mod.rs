//! The calls lens: follows programs and everyone whom they make, and tells each call that concerns a socket as it is entered
//! and as it returns.
//!
//! One thread does it, for ptrace(2) wants it so. At each stop it can take a sample of the sockets' states as well: nothing
//! happens between a stop and what the program does next.
//!
//! What it does not see: calls made through io_uring(7) other than io_uring_enter itself; programs that run 32-bit code on a
//! 64-bit machine; a process made with CLONE_UNTRACED. Times are stretched: a call that is watched takes some ten µs longer.

mod gate;
mod outbox;
mod process;
mod tracer;

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::signal::Signal;

use crate::event::{Event, Who};
use crate::lens::follow::Follower;
use crate::sys::start::Start;
use crate::sys::trace::{Knock, PATIENCE};

pub use gate::{Edge, Gate, Held, Mark, Wanted};
use outbox::{Bell, Outbox};

/// Programs that are followed.
pub struct Calls {
    requests: Option<Sender<Request>>,
    bell: Bell,
    knock: Knock,
    thread: Option<JoinHandle<()>>,
}

/// What the lens has to say.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "nearly all of them are events")]
pub enum News {
    /// Something was observed.
    Event(Event),
    /// A program could not be executed.
    Refused {
        /// What it would have been.
        pid: u32,
        /// Why.
        errno: Errno,
    },
    /// A thread is held at its gate.
    Held {
        /// Who.
        who: Who,
        /// Where.
        held: Held,
    },
    /// Every process of every program has ended.
    Quiet,
}

/// What the thread is asked to do.
enum Request {
    Start { role: String, start: Start, gate: Gate, answer: Sender<io::Result<u32>> },
    Let { role: String, gate: Gate, answer: Sender<io::Result<u32>> },
    Signal { signal: Signal, to: Recipients, answer: Sender<io::Result<u32>> },
    AtMost { processes: usize, answer: Sender<io::Result<u32>> },
}

/// Who gets a signal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Recipients {
    /// Everybody.
    All,
    /// A program of this role, and everybody whom it has made.
    Role(String),
    /// The process or thread of this role and nobody else; and nothing but the signal, where the others are continued after it so that
    /// they can see it.
    Only(String),
}

/// How the states are sampled while programs are followed.
pub type Sampler = Arc<Mutex<Follower>>;

impl Calls {
    /// Begins to follow programs, of which there are none yet. Times count from `started`.
    pub fn new(started: Instant, sampler: Option<Sampler>, news: SyncSender<News>) -> io::Result<Self> {
        let (requests, inbox) = channel::<Request>();
        let (knock, door) = channel();
        let bell = Bell::default();
        let (its_bell, outbox) = (bell.clone(), Outbox::new(news, bell.clone()));
        let thread = std::thread::Builder::new().name("calls".into()).spawn(move || {
            let is_ready = knock.send(Knock::here()).is_ok();
            if is_ready {
                tracer::Tracer::new(started, sampler, outbox).run(&Inbox { requests: inbox, bell: its_bell });
            }
        })?;
        let knock = door.recv().map_err(io::Error::other)??;
        Ok(Self { requests: Some(requests), bell, knock, thread: Some(thread) })
    }

    /// Starts a program in a role (`server`, `client 2`), and says its process id. It may still be refused: see [`News`].
    pub fn start(&self, role: &str, command: Start, gate: Gate) -> io::Result<u32> {
        self.ask(|answer| Request::Start { role: role.into(), start: command, gate, answer })
    }

    /// Sets how far the thread of this role may go, and lets it go on if it was held. With [`Gate::Open`] everybody whom it
    /// has made is let go as well. Says how many threads that were.
    pub fn let_go(&self, role: &str, gate: Gate) -> io::Result<u32> {
        self.ask(|answer| Request::Let { role: role.into(), gate, answer })
    }

    /// Sends a signal to everybody who is followed, or to those of one role. Says how many that were.
    pub fn signal(&self, signal: Signal, to: &Recipients) -> io::Result<u32> {
        self.ask(|answer| Request::Signal { signal, to: to.clone(), answer })
    }

    /// From here on there are so many processes at most, and what their threads have under way: whoever makes one more stays at
    /// that stop, and so does the one that was made. Only a signal that ends them does anything to them then. Says how many
    /// there are.
    pub fn at_most(&self, processes: usize) -> io::Result<u32> {
        self.ask(|answer| Request::AtMost { processes, answer })
    }

    /// Puts a request into the thread's inbox, rings and knocks until it has answered: it may be waiting for a program, or for
    /// room in the channel that we are not reading meanwhile, or have no time because a program never rests.
    fn ask(&self, request: impl FnOnce(Sender<io::Result<u32>>) -> Request) -> io::Result<u32> {
        let (answer, answered) = channel();
        let gone = || io::Error::other("the thread that follows the programs has ended");
        self.requests.as_ref().ok_or_else(gone)?.send(request(answer)).map_err(|_| gone())?;
        loop {
            self.bell.ring();
            self.knock.knock();
            match answered.recv_timeout(PATIENCE) {
                Ok(answer) => return answer,
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return Err(gone()),
            }
        }
    }
}

impl Drop for Calls {
    /// Ends everybody who is left, at once: the kernel does it when the thread that follows them ends (EXITKILL).
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        self.requests = None;
        while !thread.is_finished() {
            self.bell.ring();
            self.knock.knock();
            std::thread::sleep(PATIENCE);
        }
        // It has no result, and a panic of it has been reported by itself.
        let _ = thread.join();
    }
}

/// What the thread finds when somebody has knocked.
struct Inbox {
    requests: Receiver<Request>,
    bell: Bell,
}

impl Inbox {
    /// What has come in if somebody has rung; `None` when nobody will ever ask again.
    fn look_if_rung(&self) -> Option<VecDeque<Request>> {
        if self.bell.answer() { self.look() } else { Some(VecDeque::new()) }
    }

    /// What has come in; `None` when nobody will ever ask again.
    fn look(&self) -> Option<VecDeque<Request>> {
        let mut found = VecDeque::new();
        loop {
            match self.requests.try_recv() {
                Ok(request) => found.push_back(request),
                Err(std::sync::mpsc::TryRecvError::Empty) => return Some(found),
                Err(std::sync::mpsc::TryRecvError::Disconnected) => return None,
            }
        }
    }

    /// Waits for a request; `None` when nobody will ever ask again.
    fn wait(&self) -> Option<VecDeque<Request>> {
        let first = self.requests.recv().ok()?;
        let mut found = self.look().unwrap_or_default();
        found.push_front(first);
        Some(found)
    }
}

/// The standard input, output and error of a program that is to be started.
pub type Stdio = [Option<OwnedFd>; 3];
