//! All lenses at once: the calls of programs, the states of their sockets and the segments between them, as one stream of
//! events in the order in which they happened.
//!
//! Each lens tells what it sees a little later than it happened, and each by another little. So events wait here until all
//! lenses have had the time to tell theirs.

use std::collections::BTreeMap;
use std::io;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::Signal;

use crate::event::{Call, Descriptor, End, Endpoint, Event, Named, Outcome, Protocol, State, What, Who};
use crate::lens::calls::{Calls, Gate, Held, News, Recipients, Sampler};
use crate::lens::follow::Follower;
use crate::lens::infer::Infer;
use crate::lens::segments::{Ended, Segments, Statistics};
use crate::lens::table::{Subject, Tables};
use crate::sys::packet::Refused;
use crate::sys::start::Start;

/// How long events wait for those that happened before and are told later.
const PATIENCE: Duration = Duration::from_millis(40);
/// How long after a transition a sample may come that shows it: then the transition counts as seen. Longer than the longest
/// pause between two samples, and than the 40 ms by which Linux may delay the ACK of a FIN.
const CONFIRMATION: Duration = Duration::from_millis(100);
/// How many events may wait for us to take them; then whoever tells them has to wait: the programs, in the end.
const WAITING: usize = 16 * 1024;

/// Which lenses are to be used, and on what.
#[derive(Clone, Debug)]
pub struct Lenses {
    /// The sockets whose states are sampled; `None` for no states.
    pub states: Option<Subject>,
    /// The interface on which segments are captured, and the port of interest; `None` for no segments.
    pub segments: Option<(String, Option<u16>)>,
}

/// An observation that is under way.
pub struct Observation {
    calls: Calls,
    sampler: Option<Sampler>,
    sampled: Instant,
    segments: Option<Segments>,
    news: Receiver<News>,
    captured: Receiver<Event>,
    waiting: BTreeMap<(Duration, u64), Event>,
    arrivals: u64,
    infer: Infer,
    /// Every segment before this time has been taken in.
    delivered: Duration,
    told_until: Duration,
    started: Instant,
    is_quiet: bool,
    tells_all: bool,
}

/// What happened a moment ago: not in order yet, but at once.
#[derive(Clone, Debug)]
pub enum Alert {
    /// A program waits for others on this socket from now on.
    Serves(Who, Descriptor),
    /// A process has ended.
    Ended(Who, End),
    /// A program could not be executed, for this reason.
    Refused(u32, Errno),
    /// A thread is held at its gate.
    Held(Who, Held),
    /// Something that a thread has done: a call, a fork, a signal. Only where that was [asked for](Observation::tell_all).
    Did(Box<Event>),
}

impl Alert {
    fn of(event: &Event) -> Option<Self> {
        match &event.what {
            What::Ended(end) => Some(Self::Ended(event.who.clone(), *end)),
            What::Returned(Call { outcome: Some(Outcome { value: 0, made: Some(made), .. }), .. }) => {
                let serves =
                    matches!(made.names, Named::Listening(_) | Named::Bound(Protocol::Udp | Protocol::UnixDatagram, _));
                serves.then(|| Self::Serves(event.who.clone(), made.clone()))
            }
            _ => None,
        }
    }
}

impl Observation {
    /// Opens the lenses. Times count from `started`.
    pub fn begin(lenses: &Lenses, started: Instant) -> io::Result<Self> {
        let (to_us, captured) = sync_channel(WAITING);
        let segments = match &lenses.segments {
            Some((interface, port)) => Some(Segments::start(interface, *port, started, to_us).map_err(refused)?),
            None => None,
        };
        let sampler = match &lenses.states {
            Some(subject) => Some(Arc::new(Mutex::new(Follower::new(Tables::open()?, subject.clone(), started)))),
            None => None,
        };
        let (sender, news) = sync_channel(WAITING);
        Ok(Self {
            calls: Calls::new(started, sampler.clone(), sender)?,
            sampler,
            sampled: Instant::now(),
            segments,
            news,
            captured,
            waiting: BTreeMap::new(),
            arrivals: 0,
            infer: Infer::new(CONFIRMATION),
            delivered: Duration::ZERO,
            told_until: Duration::ZERO,
            started,
            is_quiet: true,
            tells_all: false,
        })
    }

    /// Opens the segments lens later, when it is known which port is of interest.
    pub fn open_segments(&mut self, interface: &str, port: Option<u16>) -> io::Result<()> {
        let (to_us, captured) = sync_channel(WAITING);
        self.segments = Some(Segments::start(interface, port, self.started, to_us).map_err(refused)?);
        self.captured = captured;
        self.delivered = Duration::ZERO;
        Ok(())
    }

    /// Follows the states of other sockets from now on.
    pub fn set_subject(&self, subject: Subject) {
        if let Some(Ok(mut follower)) = self.sampler.as_ref().map(|sampler| sampler.lock()) {
            follower.set_subject(subject);
        }
    }

    /// How long it has been under way.
    pub fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Starts a program that is followed, and says its process id.
    pub fn start(&mut self, role: &str, start: Start, gate: Gate) -> io::Result<u32> {
        let pid = self.calls.start(role, start, gate)?;
        // Not before: nobody would ever tell that one is quiet who could not be started.
        self.is_quiet = false;
        Ok(pid)
    }

    /// Sets how far the thread of a role may go, and lets it go on; says how many threads that were.
    pub fn let_go(&self, role: &str, gate: Gate) -> io::Result<u32> {
        self.calls.let_go(role, gate)
    }

    /// Sends a signal to programs that are followed; says to how many processes.
    pub fn signal(&self, signal: Signal, to: &Recipients) -> io::Result<u32> {
        self.calls.signal(signal, to)
    }

    /// From now on everything that a thread does is told at once as well.
    pub fn tell_all(&mut self) {
        self.tells_all = true;
    }

    /// Whether every process of every program has ended.
    pub fn is_quiet(&self) -> bool {
        self.is_quiet
    }

    /// Adds an event that somebody else has observed.
    pub fn add(&mut self, event: Event) {
        self.arrivals += 1;
        self.waiting.insert((event.at, self.arrivals), event);
    }

    /// Takes in what the lenses have to tell. To be called some hundred times a second, not more: they are not to be held up.
    pub fn listen(&mut self) -> io::Result<Vec<Alert>> {
        let mut alerts = Vec::new();
        // Bounded: a busy program tells more while we listen.
        for _ in 0..WAITING {
            match self.news.try_recv() {
                Ok(news) => self.hear(news, &mut alerts),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    return Err(io::Error::other("the thread that follows the programs has ended"));
                }
            }
        }
        // Asked before the channel is emptied: what is sent meanwhile may be older than what is asked for afterwards.
        self.delivered = self.segments.as_ref().map_or(Duration::MAX, Segments::delivered_until);
        for _ in 0..WAITING {
            let Ok(event) = self.captured.try_recv() else { break };
            self.add(event);
        }
        self.sample_now_and_then()?;
        Ok(alerts)
    }

    fn hear(&mut self, news: News, alerts: &mut Vec<Alert>) {
        match news {
            News::Event(event) if is_noise(&event.what) => {}
            News::Held { who, held } => alerts.push(Alert::Held(who, held)),
            News::Event(event) => {
                if self.tells_all && !matches!(event.who, Who::Kernel) {
                    alerts.push(Alert::Did(Box::new(event.clone())));
                }
                alerts.extend(Alert::of(&event));
                self.add(event);
            }
            News::Refused { pid, errno } => alerts.push(Alert::Refused(pid, errno)),
            News::Quiet => self.is_quiet = true,
        }
    }

    /// Between the calls, too: what the kernel does by itself belongs to no call.
    fn sample_now_and_then(&mut self) -> io::Result<()> {
        let Some(sampler) = self.sampler.clone() else { return Ok(()) };
        let Ok(mut follower) = sampler.lock() else { return Ok(()) };
        if self.sampled.elapsed() < follower.pause() {
            return Ok(());
        }
        self.sampled = Instant::now();
        for event in follower.sample()? {
            if !is_noise(&event.what) {
                self.add(event);
            }
        }
        Ok(())
    }

    /// Up to when all events have come out of [`due`](Self::due).
    pub fn told_until(&self) -> Duration {
        self.told_until
    }

    /// The events that no lens can add anything before any more, in order.
    pub fn due(&mut self) -> Vec<Event> {
        let until = self.now().saturating_sub(PATIENCE).min(self.delivered);
        let later = self.waiting.split_off(&(until, u64::MAX));
        for event in std::mem::replace(&mut self.waiting, later).into_values() {
            self.infer.feed(event);
        }
        self.told_until = until.saturating_sub(CONFIRMATION);
        self.infer.take(until)
    }

    /// Closes the lenses: the last events, and how many segments were captured and lost. Whoever still runs is ended when
    /// this is dropped.
    pub fn end(&mut self) -> io::Result<(Vec<Event>, Option<Statistics>)> {
        self.listen()?;
        let ended = self.segments.take().map(Segments::stop);
        // What it has sent comes before what it had no room for.
        self.listen()?;
        let statistics = match ended {
            Some(Ended { error: Some(error), .. }) => return Err(error),
            Some(Ended { statistics, rest, .. }) => {
                rest.into_iter().for_each(|event| self.add(event));
                Some(statistics)
            }
            None => None,
        };
        for event in std::mem::take(&mut self.waiting).into_values() {
            self.infer.feed(event);
        }
        Ok((self.infer.finish(), statistics))
    }
}

/// A Unix socket with neither name nor peer: the C library makes some on the way to its name service, and gives them up.
fn is_noise(what: &What) -> bool {
    match what {
        What::Appeared(socket) | What::Gone(socket) => {
            socket.state == State::Closed && socket.local == Endpoint::Unnamed && socket.remote == Endpoint::Unnamed
        }
        _ => false,
    }
}

/// The errno alone: who called says what it was for.
fn refused(refused: Refused) -> io::Error {
    refused.error
}
