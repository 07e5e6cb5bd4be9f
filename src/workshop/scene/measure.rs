//! What the kernel says when a scene asks: read from its tables at that moment, or from what was captured until then.

use std::fs;
use std::io;

use super::known::{Known, Ours};
use crate::event::{End, Endpoint, Event, Segment, Socket, State, What, Who};
use crate::lens::table::{Subject, Tables};
use crate::scene::{Asked, Quantity, Sent, Value, common_name};
use crate::sys::process;
use crate::view::describe;

/// The sockets of a scene at one moment, and who holds each.
#[derive(Default, Debug)]
pub struct Picture {
    /// The sockets; of the machine's network, only those on the scene's port.
    pub sockets: Vec<Held>,
    /// Unix sockets that a program of the scene holds, with an address or a peer.
    pub unix: Vec<Held>,
}

/// A socket, and who holds it.
#[derive(Clone, PartialEq, Debug)]
pub struct Held {
    /// The socket.
    pub socket: Socket,
    /// Roles of processes, each with the descriptor's number.
    pub by: Vec<(String, u32)>,
}

impl Picture {
    /// Takes one, and notes whose the connections are.
    pub fn take(tables: &mut Tables, port: Option<u16>, known: &mut Known) -> io::Result<Self> {
        let subject = Subject { tcp: true, port, ..Subject::default() };
        let mut sockets: Vec<Held> = Vec::new();
        for socket in tables.snapshot(&subject, true)? {
            // A walk through the table may meet a socket twice that moves meanwhile.
            let is_there = |held: &&mut Held| held.socket.cookie == socket.cookie;
            match sockets.iter_mut().find(is_there) {
                Some(held) => held.socket = socket,
                None => sockets.push(Held { socket, by: Vec::new() }),
            }
        }
        let unix = tables.unix()?.into_iter().filter(|socket| socket.state != State::Closed);
        let mut unix: Vec<Held> = unix.map(|socket| Held { socket, by: Vec::new() }).collect();
        let processes: Vec<(String, u32)> = known.processes().map(|(role, pid)| (role.to_owned(), pid)).collect();
        for (role, pid) in processes {
            for (inode, fd) in process::sockets_of(pid) {
                if let Some(held) = unix.iter_mut().find(|held| held.socket.inode == inode) {
                    held.by.push((role.clone(), fd));
                    continue;
                }
                let Some(held) = sockets.iter_mut().find(|held| held.socket.inode == inode) else { continue };
                held.by.push((role.clone(), fd));
                let Socket { local, remote, .. } = &held.socket;
                if held.socket.is_listening() {
                    known.served.extend(local.port());
                }
                if !held.socket.is_listening() && remote.port() != Some(0) {
                    known.owns(&role, local, remote);
                }
            }
        }
        unix.retain(|held| !held.by.is_empty());
        Ok(Self { sockets, unix })
    }

    fn find(&self, ours: &Ours, peer: bool) -> Option<&Held> {
        let (local, remote) = if peer { (&ours.remote, &ours.local) } else { (&ours.local, &ours.remote) };
        self.sockets.iter().find(|held| {
            let Socket { local: its, remote: others, .. } = &held.socket;
            !held.socket.is_listening() && its.is_same_as(local) && others.is_same_as(remote)
        })
    }

    fn listening(&self, role: &str) -> Option<&Socket> {
        let found = self.sockets.iter().find(|held| held.socket.is_listening() && held.is_held_by(role));
        found.map(|held| &held.socket)
    }

    /// The same without what changes by itself: to see whether anything has.
    pub fn outline(&self) -> Vec<(Socket, Vec<(String, u32)>)> {
        let still = |held: &Held| (Socket { timer: None, ..held.socket.clone() }, held.by.clone());
        self.sockets.iter().chain(&self.unix).map(still).collect()
    }
}

impl Held {
    fn is_held_by(&self, role: &str) -> bool {
        self.by.iter().any(|(its, _)| its == role)
    }
}

/// What was captured and printed until now.
pub struct Told<'a> {
    /// All events, in order.
    pub events: &'a [Event],
}

/// Answers a question of a scene.
pub fn measure(asked: &Asked, picture: &Picture, known: &Known, told: &Told) -> Value {
    let Asked { role, peer, quantity } = asked;
    let connection = known.connection_of(role);
    let socket = connection.and_then(|ours| picture.find(ours, *peer)).map(|held| &held.socket);
    let process = known.process_of(role);
    let number = |value: u32| Value::Number(value.into());
    let count = |value: usize| Value::Number(i64::try_from(value).unwrap_or(i64::MAX));
    let mine = || picture.sockets.iter().filter(|held| held.is_held_by(role));
    match quantity {
        Quantity::State => Value::Word(state(role, socket, connection, picture).name().into()),
        Quantity::Queue => number(picture.listening(role).map_or(0, |socket| socket.receive_queue)),
        Quantity::Backlog => number(picture.listening(role).map_or(0, |socket| socket.send_queue)),
        Quantity::ReceiveQueue => number(socket.map_or(0, |socket| socket.receive_queue)),
        Quantity::SendQueue => number(socket.map_or(0, |socket| socket.send_queue)),
        Quantity::Remote => Value::Word(socket.map_or("none".into(), |socket| address(&socket.remote))),
        Quantity::Holders => {
            let held = connection.and_then(|ours| picture.find(ours, *peer));
            let mut roles: Vec<&String> = held.iter().flat_map(|held| held.by.iter().map(|(role, _)| role)).collect();
            roles.dedup();
            count(roles.len())
        }
        Quantity::Sockets => count(mine().count()),
        Quantity::Connections => count(mine().filter(|held| !held.socket.is_listening()).count()),
        Quantity::Descriptors => count(process.map_or(0, |pid| entries(&format!("/proc/{pid}/fd")))),
        Quantity::Threads => count(process.map_or(0, |pid| entries(&format!("/proc/{pid}/task")))),
        Quantity::Children => count(process.map_or(0, |pid| process::descendants(pid).len())),
        Quantity::Zombies => count(process.map_or(0, |pid| process::zombies_of(pid).len())),
        Quantity::End => end(role, known),
        Quantity::Outcome(call) => {
            let outcome = known.threads.get(role).and_then(|thread| thread.outcomes.get(call));
            outcome.map_or_else(|| Value::Word("no-call".into()), |(value, _)| value.clone())
        }
        Quantity::Count(call) => {
            let outcome = known.threads.get(role).and_then(|thread| thread.outcomes.get(call));
            Value::Number(outcome.map_or(0, |(_, count)| *count))
        }
        Quantity::Inside => {
            let inside = known.threads.get(role).and_then(|thread| thread.inside.as_ref());
            Value::Word(inside.map_or("no-call", |call| common_name(&call.name)).into())
        }
        Quantity::Sent(sent) => Value::Number(told.sent(*sent, connection, *peer)),
        Quantity::Lines(text) => count(told.lines(role, text)),
    }
}

/// Without the port.
fn address(end: &Endpoint) -> String {
    match end {
        Endpoint::Inet(address) => address.ip().to_string(),
        other => other.to_string(),
    }
}

/// Of its connection, or of its listening socket where it has none.
fn state(role: &str, socket: Option<&Socket>, connection: Option<&Ours>, picture: &Picture) -> State {
    match (socket, connection) {
        (Some(socket), _) => socket.state,
        (None, None) if picture.listening(role).is_some() => State::Listen,
        _ => State::Closed,
    }
}

fn end(role: &str, known: &Known) -> Value {
    match known.ends.get(role) {
        Some(End::Exited(code)) => Value::Number((*code).into()),
        Some(End::Killed(signal)) => Value::Word(describe::signal(*signal)),
        None => Value::Word("running".into()),
    }
}

fn entries(directory: &str) -> usize {
    fs::read_dir(directory).map_or(0, Iterator::count)
}

impl Told<'_> {
    fn sent(&self, what: Sent, connection: Option<&Ours>, peer: bool) -> i64 {
        let Some(ours) = connection else { return 0 };
        let from = if peer { &ours.remote } else { &ours.local };
        let to = if peer { &ours.local } else { &ours.remote };
        let mut count = 0;
        for event in self.events {
            let What::Segment(segment) = &event.what else { continue };
            let is_theirs = from.port() == Some(segment.from.port()) && to.port() == Some(segment.to.port());
            if is_theirs {
                count += amount(what, segment);
            }
        }
        count
    }

    fn lines(&self, role: &str, text: &str) -> usize {
        let is_it = |event: &&Event| match (&event.who, &event.what) {
            (Who::Program { role: its, .. }, What::Said(line)) => {
                its == role && String::from_utf8_lossy(line).contains(text)
            }
            _ => false,
        };
        self.events.iter().filter(is_it).count()
    }
}

fn amount(what: Sent, segment: &Segment) -> i64 {
    let is = match what {
        Sent::Syn => segment.flags.syn(),
        Sent::Fin => segment.flags.fin(),
        Sent::Rst => segment.flags.rst(),
        Sent::Data => segment.length > 0,
        Sent::Bytes => return segment.length.into(),
        Sent::Again => segment.retransmitted,
    };
    is.into()
}
