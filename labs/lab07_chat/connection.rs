//! Lab 7, one client of the server: its socket, what has come in of a line, what has to go out, and whether it is leaving.
//!
//! New here         an end in good order: the last line is written, then the FIN, and the socket is closed when the peer's FIN has
//!                  come. A close with bytes unread would send RST, and the peer might never read the last line.
//! Man pages        shutdown(2), tcp(7), epoll_ctl(2)
//! Peer             room.rs, which calls these functions

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use kit::{During, Failure, say};
use lab07_chat::frames::Frames;
use lab07_chat::outbox::{Full, Limits, Outbox};
use lab07_chat::protocol::{Code, Refusal};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use nix::sys::socket::{Shutdown, shutdown};
use nix::unistd::{read, write};

/// How much may wait for a client before its own requests have to wait, too.
const HIGH_WATER: usize = 64 * 1024;
/// How long a client may take to read its last lines, once it is leaving.
const GRACE: Duration = Duration::from_secs(5);

/// A client.
pub struct Connection {
    pub socket: OwnedFd,
    /// How the log names it: its address, and the name that it has registered.
    pub client: Box<str>,
    pub frames: Frames,
    pub outbox: Outbox,
    pub allowance: Allowance,
    /// When it connected.
    pub since: Instant,
    /// Whether it is on the room's list of those that something has to be written to.
    pub is_to_be_flushed: bool,
    /// Whether there may be whole frames that were not looked at yet, because it did not read the answers to those before.
    pub has_frames_left: bool,
    /// Whether its FIN has been read: it will not ask for anything more.
    has_finished: bool,
    /// Nothing is taken in any more. What is left to write is written until then, and the FIN after it.
    leaves_by: Option<Instant>,
    has_shut_down: bool,
    asked: EpollFlags,
}

impl Connection {
    pub fn new(socket: OwnedFd, client: Box<str>, longest_frame: usize, queue: Limits, now: Instant) -> Self {
        Self {
            socket,
            client,
            frames: Frames::new(longest_frame),
            outbox: Outbox::new(queue),
            allowance: Allowance { requests: f64::INFINITY, at: now },
            since: now,
            is_to_be_flushed: false,
            has_frames_left: false,
            has_finished: false,
            leaves_by: None,
            has_shut_down: false,
            asked: EpollFlags::EPOLLIN,
        }
    }

    pub fn is_leaving(&self) -> bool {
        self.leaves_by.is_some()
    }

    pub fn is_out_of_time(&self, now: Instant) -> bool {
        self.leaves_by.is_some_and(|end| end <= now)
    }

    /// Every line was written, our FIN after them, and the peer's FIN has come: nothing is lost by a close.
    pub fn is_over(&self) -> bool {
        self.has_shut_down && self.has_finished
    }

    /// Whether it will ask for nothing more, and everything that it asked for has been looked at.
    pub fn has_asked_all(&self) -> bool {
        self.has_finished && !self.has_frames_left
    }

    /// Whether its requests are taken in. Who does not read the answers has to wait with its questions: back-pressure.
    pub fn may_ask(&self) -> bool {
        !self.is_leaving() && self.outbox.unsent().len() < HIGH_WATER
    }

    /// No more is taken in from here on.
    pub fn leave(&mut self, now: Instant) {
        self.leaves_by = self.leaves_by.or(Some(now + GRACE));
        self.has_frames_left = false;
    }

    /// Adds a line to what has to be written. False if it is let go for that: it does not read what it is sent.
    pub fn tell(&mut self, line: &[u8], now: Instant) -> bool {
        if self.is_leaving() || self.queue(line).is_ok() {
            return true;
        }
        self.dismiss(&Refusal::new(Code::SlowConsumer, "you do not read what you are sent"), now);
        false
    }

    /// Lets it go, with the reason as its last line.
    pub fn dismiss(&mut self, reason: &Refusal, now: Instant) {
        let line = reason.line();
        let dropped = match self.outbox.push(&line) {
            Ok(()) => 0,
            // What was not begun is dropped: the last line has to follow a whole one.
            Err(Full) => self.outbox.end_with(&line),
        };
        let dropped = if dropped == 0 { String::new() } else { format!("; {dropped} lines for it are dropped") };
        say!("{} is let go: {reason}{dropped}", self.client);
        self.leave(now);
    }

    fn queue(&mut self, line: &[u8]) -> Result<(), Full> {
        if self.outbox.push(line).is_ok() {
            return Ok(());
        }
        // It may be full only because it is flushed once per turn. (An error of this write shows again at the next.)
        let _ = self.send();
        self.outbox.push(line)
    }

    /// Reads once, and keeps what came: of a client that is leaving, nothing.
    pub fn receive(&mut self, buffer: &mut [u8]) -> Result<(), Failure> {
        // While frames are left the kernel keeps what the client goes on sending.
        let wants_more = self.is_leaving() || (self.may_ask() && !self.has_frames_left);
        if self.has_finished || !wants_more {
            return Ok(());
        }
        match read(&self.socket, buffer) {
            Ok(0) => self.has_finished = true,
            Ok(_) if self.is_leaving() => {}
            Ok(length) => self.frames.put(&buffer[..length]),
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            Err(errno) => return Err(Failure::new("read", &self.client, errno)),
        }
        Ok(())
    }

    /// Writes what waits, as far as the kernel takes it; after the last line of one that is leaving, the FIN.
    pub fn send(&mut self) -> Result<(), Failure> {
        while !self.outbox.is_empty() {
            match write(&self.socket, self.outbox.unsent()) {
                Ok(length) => self.outbox.sent(length),
                // The send buffer is full. epoll will tell when there is room again.
                Err(Errno::EAGAIN) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(Failure::new("write", &self.client, errno)),
            }
        }
        if self.is_leaving() && !self.has_shut_down {
            self.has_shut_down = true;
            shutdown(self.socket.as_raw_fd(), Shutdown::Write).during("shutdown", &self.client)?;
        }
        Ok(())
    }

    /// Asks the kernel for what we would do now, and for nothing else: level-triggered, it would name us again and again.
    pub fn ask_anew(&mut self, epoll: &Epoll) -> Result<(), Failure> {
        let mut events = EpollFlags::empty();
        events.set(EpollFlags::EPOLLIN, !self.has_finished && (self.is_leaving() || self.may_ask()));
        events.set(EpollFlags::EPOLLOUT, !self.outbox.is_empty());
        if events != self.asked {
            self.asked = events;
            epoll.modify(&self.socket, &mut named(&self.socket, events)).during("epoll_ctl", &self.client)?;
        }
        Ok(())
    }
}

/// How many requests a client may still make at once; it grows with time.
pub struct Allowance {
    requests: f64,
    at: Instant,
}

impl Allowance {
    /// Takes one request out of it, if there is one. `per_second` is also the most that it can hold.
    pub fn take(&mut self, per_second: u32, now: Instant) -> bool {
        let grown = now.saturating_duration_since(self.at).as_secs_f64() * f64::from(per_second);
        self.requests = (self.requests + grown).min(f64::from(per_second));
        self.at = now;
        let is_enough = self.requests >= 1.0;
        self.requests -= f64::from(u8::from(is_enough));
        is_enough
    }
}

/// The event by which epoll_wait will name this socket: what it is asked for, and the descriptor as the name.
pub fn named(socket: &impl AsFd, events: EpollFlags) -> EpollEvent {
    EpollEvent::new(events, socket.as_fd().as_raw_fd() as u64)
}
