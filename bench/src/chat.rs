//! The chat under load: clients that are registered, some of them senders, and every delivery checked.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::chat_lines::{Line, push_message, read, registration};
use crate::crowd::open;
use crate::server::Server;
use crate::usage::{Tree, own_cpu};

/// A sender has so many messages under way: it sends the next when one has been answered and has reached everybody.
pub const WINDOW: u64 = 16;
/// So many register together.
const AT_ONCE: usize = 50;
const EVENTS: usize = 1024;
const BUFFER_SIZE: usize = 256 * 1024;
/// Nothing that is awaited may take longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Everybody who is in the chat, in one thread.
pub struct Chat {
    epoll: Epoll,
    clients: Vec<Client>,
    senders: Vec<Sender>,
    /// For each client and sender, the number that has to come next.
    expected: Vec<u32>,
    /// What was read last, behind what was left over of the client's line before.
    buffer: Vec<u8>,
    seen: Seen,
    server: Tree,
}

struct Client {
    connection: TcpStream,
    /// The beginning of a line whose end has not come.
    cut: Vec<u8>,
}

#[derive(Clone, Default)]
struct Sender {
    sent: u64,
    answered: u64,
    delivered: u64,
    /// When each message was to be sent; only where that is asked for.
    due: Vec<Instant>,
}

/// What has been found in what came.
#[derive(Default)]
struct Seen {
    answers: u64,
    delivered: u64,
    /// Numbers that were jumped over, and numbers that came again or late.
    missed: u64,
    doubled: u64,
    /// Microseconds from when a message was due to when it was read.
    latencies: Vec<f64>,
}

/// What a closed loop came to.
pub struct Deliveries {
    /// Per second.
    pub rate: f64,
    /// µs of the server's CPU time for each.
    pub server_cpu: f64,
    /// The share of the time that the server's CPU time makes up: near 1, the server was what all waited for.
    pub server_share: f64,
    /// The same for the load generator.
    pub generator_share: f64,
    /// Deliveries that were missing, that came twice or out of order.
    pub wrong: u64,
}

impl Chat {
    /// Connects and registers `clients`, of whom the first `senders` will send.
    pub fn register(server: &Server, clients: usize, senders: usize) -> io::Result<Self> {
        let mut chat = Self {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            clients: Vec::with_capacity(clients),
            senders: vec![Sender::default(); senders],
            expected: vec![0; clients * senders],
            buffer: vec![0; BUFFER_SIZE],
            seen: Seen::default(),
            server: server.tree(),
        };
        while chat.clients.len() < clients {
            let before = chat.clients.len();
            let new = AT_ONCE.min(clients - before);
            for _ in 0..new {
                chat.clients.push(Client { connection: open(server)?, cut: Vec::new() });
            }
            for index in before..before + new {
                let connection = &mut chat.clients[index].connection;
                connection.write_all(&registration(index))?;
                connection.set_nonblocking(true)?;
                let event = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, index as u64);
                chat.epoll.add(connection.as_fd(), event)?;
            }
            // Those who came before read of those who come: nobody's queue grows meanwhile.
            chat.until(|chat| chat.seen.answers == (before + new) as u64)?;
        }
        Ok(chat)
    }

    /// The closed loop. The first `warm_up` is not counted in the rate, but what comes in it is checked too.
    pub fn deliveries(mut self, warm_up: Duration, measured: Duration) -> io::Result<Deliveries> {
        self.go_on(warm_up)?;
        let (cpu, own, before) = (self.server.cpu()?, own_cpu()?, self.seen.delivered);
        let took = self.go_on(measured)?.as_secs_f64();
        let (cpu, own) = (self.server.cpu()? - cpu, own_cpu()? - own);
        let count = (self.seen.delivered - before) as f64;
        Ok(Deliveries {
            rate: count / took,
            server_cpu: cpu.as_secs_f64() * 1e6 / count,
            server_share: cpu.as_secs_f64() / took,
            generator_share: own.as_secs_f64() / took,
            wrong: self.wrong_in_the_end()?,
        })
    }

    /// Sends `per_second` messages for `how_long`, the senders in turn, whatever comes back: the µs that each delivery took,
    /// counted from when its message was due; and how many deliveries were wrong.
    pub fn latencies(mut self, per_second: u32, how_long: Duration) -> io::Result<(Vec<f64>, u64)> {
        let started = Instant::now();
        let count = (how_long.as_secs_f64() * f64::from(per_second)) as u32;
        let senders = self.senders.len() as u32;
        for turn in 0..count {
            let due = started + Duration::from_secs(1) * turn / per_second;
            // It looks and never sleeps: to wake up would take longer than what is measured.
            while Instant::now() < due {
                self.read_ready(EpollTimeout::ZERO)?;
            }
            let sender = (turn % senders) as usize;
            self.senders[sender].due.push(due);
            self.send(sender, 1)?;
        }
        let wrong = self.wrong_in_the_end()?;
        Ok((self.seen.latencies, wrong))
    }

    fn go_on(&mut self, how_long: Duration) -> io::Result<Duration> {
        let receivers = self.clients.len() as u64 - 1;
        let started = Instant::now();
        while started.elapsed() < how_long {
            for index in 0..self.senders.len() {
                let sender = &self.senders[index];
                // The message that has reached the fewest is taken as not delivered at all.
                let under_way = (sender.sent * receivers - sender.delivered).div_ceil(receivers);
                let room = WINDOW.saturating_sub(under_way.max(sender.sent - sender.answered));
                if room > 0 {
                    self.send(index, room)?;
                }
            }
            if self.read_ready(EpollTimeout::try_from(PATIENCE).unwrap_or(EpollTimeout::NONE))? == 0 {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "no delivery in ten seconds"));
            }
        }
        Ok(started.elapsed())
    }

    /// Sends some messages of one sender in one write.
    fn send(&mut self, index: usize, count: u64) -> io::Result<()> {
        let sender = &mut self.senders[index];
        let mut requests = Vec::with_capacity(128 * count as usize);
        for _ in 0..count {
            push_message(&mut requests, index, sender.sent as u32);
            sender.sent += 1;
        }
        self.clients[index].connection.write_all(&requests)
    }

    /// Waits for what is under way. Returns how many deliveries are missing, were doubled or out of order.
    fn wrong_in_the_end(&mut self) -> io::Result<u64> {
        let sent: u64 = self.senders.iter().map(|sender| sender.sent).sum();
        let due = sent * (self.clients.len() as u64 - 1);
        // Who waits in vain for what is lost gets a count, not an error.
        let _ = self.until(|chat| chat.seen.delivered + chat.seen.missed >= due);
        let missing = due.saturating_sub(self.seen.delivered + self.seen.missed);
        Ok(missing + self.seen.missed + self.seen.doubled)
    }

    fn until(&mut self, is_done: impl Fn(&Self) -> bool) -> io::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !is_done(self) {
            if Instant::now() > deadline {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "not all has come in ten seconds"));
            }
            self.read_ready(EpollTimeout::from(100_u16))?;
        }
        Ok(())
    }

    /// Reads all that has come for those who are ready, if anybody is within `timeout`: how many were.
    fn read_ready(&mut self, timeout: EpollTimeout) -> io::Result<usize> {
        let mut events = [EpollEvent::empty(); EVENTS];
        let ready = match self.epoll.wait(&mut events, timeout) {
            Ok(ready) => ready,
            Err(Errno::EINTR) => 0,
            Err(errno) => return Err(errno.into()),
        };
        for event in &events[..ready] {
            let index = event.data() as usize;
            // Less than was asked for: nothing is left, or there will be another edge (epoll(7), question 9).
            while self.read_once(index)? {}
        }
        Ok(ready)
    }

    /// Whether there may be more.
    fn read_once(&mut self, index: usize) -> io::Result<bool> {
        let client = &mut self.clients[index];
        let kept = client.cut.len();
        self.buffer[..kept].copy_from_slice(&client.cut);
        client.cut.clear();
        let came = match client.connection.read(&mut self.buffer[kept..]) {
            Ok(0) => return Err(io::Error::other("the server has closed a connection")),
            Ok(came) => came,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        let bytes = &self.buffer[..kept + came];
        let expected = self.senders.len() * index..self.senders.len() * (index + 1);
        let mut start = 0;
        for newline in memchr::memchr_iter(b'\n', bytes) {
            self.seen.line(&bytes[start..newline], index, &mut self.senders, &mut self.expected[expected.clone()])?;
            start = newline + 1;
        }
        client.cut.extend_from_slice(&bytes[start..]);
        Ok(kept + came == self.buffer.len())
    }
}

impl Seen {
    fn line(&mut self, line: &[u8], client: usize, senders: &mut [Sender], expected: &mut [u32]) -> io::Result<()> {
        match read(line) {
            Line::Broadcast { sender, number } if sender < senders.len() && sender != client => {
                let next = &mut expected[sender];
                if number < *next {
                    self.doubled += 1;
                    return Ok(());
                }
                self.missed += u64::from(number - *next);
                *next = number + 1;
                self.delivered += 1;
                senders[sender].delivered += 1;
                if let Some(due) = senders[sender].due.get(number as usize) {
                    self.latencies.push(due.elapsed().as_secs_f64() * 1e6);
                }
            }
            Line::Ok => {
                self.answers += 1;
                // The first one was for its name.
                if let Some(sender) = senders.get_mut(client).filter(|sender| sender.sent > 0) {
                    sender.answered += 1;
                }
            }
            Line::News => {}
            _ => return Err(io::Error::other(format!("client {client} got {:?}", String::from_utf8_lossy(line)))),
        }
        Ok(())
    }
}
