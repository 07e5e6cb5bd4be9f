//! Lab 7, the room: everybody who is connected, who hears what, and who has to go.
//!
//! New here         one client's turn writes to others. Nothing is sent while anybody is being heard; what there is to tell is
//!                  queued, and all queues are flushed at the end of the turn.
//! Man pages        epoll(7), write(2)
//! Peer             server.rs, whose loop calls these functions; connection.rs; hub.rs, which decides what is said to whom

use std::collections::VecDeque;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use clap::{Args, value_parser};
use jiff::Timestamp;
use kit::{Failure, printable, say};
use lab07_chat::frames::TooLong;
use lab07_chat::hub::{HistoryLimits, Hub};
use lab07_chat::outbox::Limits;
use lab07_chat::protocol::{Asked, Code, Re, Refusal, Request, parse};
use nix::sys::epoll::{Epoll, EpollFlags};

use crate::connection::{Connection, named};

/// What the server lets its clients do.
#[derive(Args)]
pub struct Rules {
    /// Have at most so many clients; whoever comes then is told SERVER_FULL
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = value_parser!(u32).range(1..=1_000_000))]
    max_clients: u32,

    /// Take requests of at most so many bytes
    #[arg(long, value_name = "BYTES", default_value_t = 64 * 1024, value_parser = value_parser!(u32).range(64..=1 << 30))]
    max_frame: u32,

    /// Let a client go when so many bytes wait for it
    #[arg(long, value_name = "BYTES", default_value_t = 1024 * 1024, value_parser = value_parser!(u32).range(1..=1 << 30))]
    queue_bytes: u32,

    /// Let a client go when so many messages wait for it
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = value_parser!(u32).range(1..))]
    queue_messages: u32,

    /// Carry out at most so many requests a second of one client [default: any number]
    #[arg(long, value_name = "N", value_parser = value_parser!(u32).range(1..))]
    rate: Option<u32>,

    /// Let a client go that has not registered after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = value_parser!(u32).range(1..))]
    idle: u32,

    /// Keep so many messages for those who come later
    #[arg(long, value_name = "N", default_value_t = 1000)]
    history: u32,
}

/// Everybody who is connected.
pub struct Room {
    pub epoll: Epoll,
    rules: Rules,
    hub: Hub,
    /// A client's place is its descriptor: the kernel gives out the lowest free number, so there are few holes.
    places: Vec<Option<Connection>>,
    open: usize,
    is_ending: bool,
    /// Whether something was written since we last looked at the clock: then there are queues whose memory is not needed.
    has_written: bool,
    /// Whom something has to be written to at the end of this turn, in this order: who asked comes after those whom it concerns.
    to_flush: VecDeque<usize>,
    /// Who has left in this turn, which the others have to be told.
    departed: Vec<usize>,
    /// Who has frames left that can be looked at now.
    unfinished: Vec<usize>,
}

impl Room {
    pub fn new(epoll: Epoll, rules: Rules) -> Self {
        let max_frame = rules.max_frame as usize;
        let limits = HistoryLimits { messages: rules.history as usize, max_frame, ..HistoryLimits::default() };
        let (to_flush, departed, unfinished) = (VecDeque::new(), Vec::new(), Vec::new());
        Self {
            epoll,
            rules,
            hub: Hub::new(limits),
            places: Vec::new(),
            open: 0,
            is_ending: false,
            has_written: false,
            to_flush,
            departed,
            unfinished,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.open == 0
    }

    /// Whether there is something to do that the kernel knows nothing of.
    pub fn is_unfinished(&self) -> bool {
        !self.unfinished.is_empty()
    }

    /// Whether somebody is here whose time may run out.
    pub fn has_to_look_at_the_clock(&self) -> bool {
        self.is_ending || self.has_written || self.open > self.hub.count()
    }

    /// A connection that accept has just handed out.
    pub fn welcome(&mut self, socket: OwnedFd, client: Box<str>, now: Instant) {
        // No memory, or too many watches (epoll(7)): this client is turned away; the others are served on.
        if let Err(errno) = self.epoll.add(&socket, named(&socket, EpollFlags::EPOLLIN)) {
            return say!("{}\n  {client} is turned away", Failure::new("epoll_ctl", &client, errno));
        }
        say!("{client} connected");
        let place = socket.as_raw_fd() as usize;
        let queue = Limits { bytes: self.rules.queue_bytes as usize, messages: self.rules.queue_messages as usize };
        let connection = Connection::new(socket, client, self.rules.max_frame as usize, queue, now);
        self.places.resize_with(self.places.len().max(place + 1), || None);
        self.places[place] = Some(connection);
        self.open += 1;
        if self.open > self.rules.max_clients as usize {
            let message = format!("{} clients are here, which is the limit", self.rules.max_clients);
            self.dismiss(place, &Refusal::new(Code::ServerFull, message), now);
        }
    }

    /// One client's turn: what it has sent is read and carried out. What there is to tell is queued, for itself and others.
    pub fn hear(&mut self, place: usize, buffer: &mut [u8], now: Instant) {
        // Taken out of its place meanwhile, so that it and the others can be told something at the same time.
        let Some(mut connection) = self.places.get_mut(place).and_then(Option::take) else { return };
        let received = connection.receive(buffer);
        self.carry_out(place, &mut connection, now);
        if connection.has_asked_all() && !connection.is_leaving() {
            if connection.frames.is_cut() {
                connection.dismiss(&Refusal::new(Code::BadJson, "the end came in the middle of a request"), now);
            } else {
                say!("{} finished", connection.client);
                connection.leave(now);
            }
            self.departed.push(place);
        }
        if !std::mem::replace(&mut connection.is_to_be_flushed, true) {
            self.to_flush.push_back(place);
        }
        self.places[place] = Some(connection);
        if let Err(failure) = received {
            self.lose(place, &failure, now);
        }
    }

    /// Whoever has frames left that can be looked at now gets a turn without being named by the kernel.
    pub fn hear_the_unfinished(&mut self, buffer: &mut [u8], now: Instant) {
        for place in std::mem::take(&mut self.unfinished) {
            self.hear(place, buffer, now);
        }
    }

    fn carry_out(&mut self, place: usize, connection: &mut Connection, now: Instant) {
        while connection.may_ask() {
            let mut asked = match connection.frames.next_frame() {
                Some(Ok(frame)) => parse(frame),
                Some(Err(TooLong)) => too_long(self.rules.max_frame),
                None => {
                    connection.has_frames_left = false;
                    return;
                }
            };
            if self.rules.rate.is_some_and(|rate| !connection.allowance.take(rate, now)) {
                asked.request =
                    Err(Refusal::new(Code::RateLimited, "more requests a second than are carried out here"));
            }
            let wants_a_name = matches!(asked.request, Ok(Request::Register { .. }));
            let had_a_name = wants_a_name && self.hub.is_registered(place as u64);
            let reaction = self.hub.handle(place as u64, &asked, Timestamp::now());
            if wants_a_name && !had_a_name {
                self.note_the_name(place, connection);
            }
            if !connection.tell(&reaction.answer, now) {
                self.departed.push(place);
            }
            if let Some(event) = reaction.event {
                self.tell_others(place, &event, now);
            }
            if reaction.ends {
                say!("{} has quit", connection.client);
                connection.leave(now);
                self.departed.push(place);
            }
        }
        connection.has_frames_left = !connection.is_leaving();
    }

    /// For the log.
    fn note_the_name(&self, place: usize, connection: &mut Connection) {
        if let Some(name) = self.hub.name(place as u64) {
            let name = printable(name.as_str().as_bytes());
            say!("{} is {name}", connection.client);
            connection.client = format!("{} ({name})", connection.client).into();
        }
    }

    /// Queues a line for everybody who is registered but one. It was encoded once; each gets a copy of the same bytes.
    fn tell_others(&mut self, than: usize, line: &[u8], now: Instant) {
        for other in self.hub.others(than as u64) {
            let place = other as usize;
            let Some(connection) = self.places.get_mut(place).and_then(Option::as_mut) else { continue };
            if !connection.tell(line, now) {
                self.departed.push(place);
            }
            if !std::mem::replace(&mut connection.is_to_be_flushed, true) {
                self.to_flush.push_back(place);
            }
        }
    }

    /// The end of a turn: all queues are written, and whoever has to go goes. That may be news for others, who are told, too.
    pub fn flush(&mut self, now: Instant) {
        loop {
            if let Some(place) = self.departed.pop() {
                if let Some(left) = self.hub.leave(place as u64) {
                    self.tell_others(place, &left, now);
                }
            } else if let Some(place) = self.to_flush.pop_front() {
                self.flush_one(place, now);
            } else {
                return;
            }
        }
    }

    fn flush_one(&mut self, place: usize, now: Instant) {
        let Some(connection) = self.places.get_mut(place).and_then(Option::as_mut) else { return };
        connection.is_to_be_flushed = false;
        self.has_written = true;
        match connection.send().and_then(|()| connection.ask_anew(&self.epoll)) {
            Err(failure) => self.lose(place, &failure, now),
            Ok(()) if connection.is_over() => self.close(place, now),
            Ok(()) if connection.has_frames_left && connection.may_ask() => self.unfinished.push(place),
            Ok(()) => {}
        }
    }

    /// A connection that has failed.
    fn lose(&mut self, place: usize, failure: &Failure, now: Instant) {
        if let Some(connection) = &self.places[place] {
            say!("{} lost: {failure}", connection.client);
        }
        self.close(place, now);
    }

    fn close(&mut self, place: usize, now: Instant) {
        // close(2) takes the socket off the kernel's list as well.
        self.places[place] = None;
        self.open -= 1;
        // At once, and not at the end of the turn: the next who is accepted may be given this place.
        if let Some(left) = self.hub.leave(place as u64) {
            self.tell_others(place, &left, now);
        }
    }

    /// Twice a second, while there is anything to look after: queues that are empty give back their memory, and those go whose
    /// time is over, as they have not registered, or do not close their end.
    pub fn look_at_the_clock(&mut self, now: Instant) {
        self.has_written = false;
        let idle = Duration::from_secs(self.rules.idle.into());
        for place in 0..self.places.len() {
            let Some(connection) = &mut self.places[place] else { continue };
            connection.outbox.release();
            if connection.is_out_of_time(now) {
                say!("{} has not closed its end in time", connection.client);
                self.close(place, now);
            } else if !self.hub.is_registered(place as u64)
                && !connection.is_leaving()
                && now.duration_since(connection.since) >= idle
            {
                let message = format!("you have not registered for {} seconds", self.rules.idle);
                self.dismiss(place, &Refusal::new(Code::NotRegistered, message), now);
            }
        }
    }

    /// Everybody is let go. Nobody is told of the others: all are told the same.
    pub fn shut_down(&mut self, now: Instant) {
        self.is_ending = true;
        for place in 0..self.places.len() {
            let _nobody_is_told = self.hub.leave(place as u64);
            self.dismiss(place, &Refusal::new(Code::ShuttingDown, "the server is ending; goodbye"), now);
        }
    }

    fn dismiss(&mut self, place: usize, reason: &Refusal, now: Instant) {
        let Some(connection) = &mut self.places[place] else { return };
        if !connection.is_leaving() {
            connection.dismiss(reason, now);
        }
        if !std::mem::replace(&mut connection.is_to_be_flushed, true) {
            self.to_flush.push_back(place);
        }
    }
}

/// What stands for a request that was not kept.
fn too_long<'a>(longest: u32) -> Asked<'a> {
    let message = format!("a request has at most {longest} bytes; this one is passed over");
    Asked { re: Re::Nothing, id: None, request: Err(Refusal::new(Code::TooLong, message)) }
}
