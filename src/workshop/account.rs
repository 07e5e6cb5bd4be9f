//! What happened, in a few sentences: read from the events of a run, connection by connection.

mod turns;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use crate::event::{
    Call, Endpoint, Event, Named, Outcome, Segment, Socket, State, Transition, Transport, Waited, What, Who, canonical,
};
use crate::view::describe::span;

pub use turns::Turns;

/// So many bytes of a stream of data are kept, and so many lines of what is printed.
pub const KEPT: usize = 64 * 1024;

/// What is known of a run.
#[derive(Default, Debug)]
pub struct Account {
    /// Its connections, in the order of their first segments or, without segments, of their accept() calls.
    pub connections: Vec<Connection>,
    /// The processes that the server has made.
    pub children: Vec<Child>,
    /// How many threads the server has made.
    pub threads: usize,
    /// How the server waits, and what it does between two waits.
    pub turns: Turns,
    /// What was printed, line by line, with the role of whose line it is.
    pub said: Vec<(String, String)>,
    /// The roles of clients that have waited for a socket and for something else in one call.
    pub multiplexing: BTreeSet<String>,
    /// What is on the epoll lists of clients: each descriptor, and whether it is a connection.
    lists: BTreeMap<String, BTreeMap<i32, bool>>,
    /// The port on which the server listens.
    server_port: Option<u16>,
}

/// A TCP connection.
#[derive(Debug)]
pub struct Connection {
    /// The side that connected.
    pub client: SocketAddr,
    /// The side that listened.
    pub server: SocketAddr,
    /// The segments that opened it: SYN, SYN+ACK, ACK.
    pub handshake: Vec<Duration>,
    /// Bytes of data on the wire, from the client and from the server.
    pub data: [u64; 2],
    /// Segments that carried them.
    pub data_segments: [u32; 2],
    /// Who sent a FIN, in order.
    pub fins: Vec<Side>,
    /// Who sent a RST.
    pub resets: Vec<Side>,
    /// When accept() returned it, and to whom.
    pub accepted: Option<(Duration, Who)>,
    /// Bytes that calls have written to and read from it: the client's, and the server's.
    pub written: [u64; 2],
    /// The same for reading.
    pub read: [u64; 2],
    /// How many calls have written and read them.
    pub writes: [u32; 2],
    /// The same for reading, those not counted that found the end.
    pub reads: [u32; 2],
    /// The roles of those who made these calls on each side.
    pub roles: [BTreeSet<String>; 2],
    /// The data on the wire from the client and from the server, as far as it was captured; no more of it when [`KEPT`] bytes are there.
    pub streams: [Vec<u8>; 2],
    /// Options of a socket of the server's that were set on this connection, as `TCP_NODELAY, 1`.
    pub options: BTreeSet<String>,
    /// The last state of each end that a sample showed; CLOSED where it is gone.
    pub last_seen: [Option<State>; 2],
}

/// One end of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// That which connected.
    Client,
    /// That which listened.
    Server,
}

impl Side {
    /// Its name in a sentence.
    pub fn name(self) -> &'static str {
        match self {
            Self::Client => "the client",
            Self::Server => "the server",
        }
    }
}

/// A process that the server has made.
#[derive(Debug)]
pub struct Child {
    /// Who it is.
    pub who: Who,
    /// Whether it has closed the listening socket, which is not its business.
    pub closed_listening: bool,
    /// The connections that its maker closed while the child still had them.
    pub maker_closed: bool,
    /// Whether it has ended.
    pub has_ended: bool,
}

impl Account {
    /// Takes in one event.
    pub fn add(&mut self, event: &Event) {
        match &event.what {
            What::Segment(segment) if segment.transport == Transport::Tcp => self.segment(event.at, segment),
            What::Called(call) => self.called(event, call),
            What::Returned(call) => {
                if is_server(&event.who) {
                    self.turns.returned(call);
                }
                self.returned(event, call);
            }
            What::Forked { is_thread: true, .. } if is_server(&event.who) => self.threads += 1,
            What::Said(line) if self.said.len() < KEPT => {
                if let Who::Program { role, .. } = &event.who {
                    self.said.push((role.clone(), String::from_utf8_lossy(line).into_owned()));
                }
            }
            What::Forked { child, is_thread: false } if is_server(&event.who) => self.children.push(Child {
                who: child.clone(),
                closed_listening: false,
                maker_closed: false,
                has_ended: false,
            }),
            What::Ended(_) => {
                if let Some(child) = self.children.iter_mut().find(|child| child.who == event.who) {
                    child.has_ended = true;
                }
            }
            What::Appeared(socket) | What::Changed { socket, .. } | What::Accepted(socket) => self.seen(socket),
            What::Moved(Transition { seen: Some(seen), .. }) => self.seen(&seen.socket),
            // That a socket is gone shows in what is no longer in the table: there is nothing to see.
            What::Moved(Transition { local, remote, after: State::Closed, .. }) => {
                self.last_seen(local, remote, State::Closed);
            }
            What::Gone(socket) => self.last_seen(&socket.local, &socket.remote, State::Closed),
            _ => {}
        }
    }

    fn called(&mut self, event: &Event, call: &Call) {
        if is_server(&event.who) {
            return self.turns.called(call);
        }
        self.waits_for_two(event, call);
    }

    /// A client that waits for its connection and for something else at once.
    fn waits_for_two(&mut self, event: &Event, call: &Call) {
        let Who::Program { role, .. } = &event.who else { return };
        let is_connection = |waited: &Waited| matches!(waited.on.names, Named::Connected { .. });
        let mut awaited: Vec<bool> = call.waits.iter().map(is_connection).collect();
        if call.name == "epoll_ctl" {
            let list = self.lists.entry(role.clone()).or_default();
            match (call.arguments.first().map(String::as_str), call.waits.first()) {
                (Some("EPOLL_CTL_ADD"), Some(waited)) => drop(list.insert(waited.on.fd, is_connection(waited))),
                (Some("EPOLL_CTL_DEL"), Some(waited)) => drop(list.remove(&waited.on.fd)),
                _ => {}
            }
            return;
        }
        if call.name.starts_with("epoll_") {
            awaited = self.lists.get(role).map_or(Vec::new(), |list| list.values().copied().collect());
        }
        if awaited.contains(&true) && awaited.contains(&false) {
            self.multiplexing.insert(role.clone());
        }
    }

    fn between(&mut self, one: SocketAddr, other: SocketAddr) -> Option<(&mut Connection, Side)> {
        self.connections.iter_mut().rev().find_map(|connection| {
            let side = match (canonical(connection.client), canonical(connection.server)) {
                ends if ends == (canonical(one), canonical(other)) => Side::Client,
                ends if ends == (canonical(other), canonical(one)) => Side::Server,
                _ => return None,
            };
            Some((connection, side))
        })
    }

    fn segment(&mut self, at: Duration, segment: &Segment) {
        let flags = segment.flags;
        if flags.syn() && !flags.ack() && !segment.retransmitted {
            self.connections.push(Connection::new(segment.from, segment.to));
        }
        let Some((connection, side)) = self.between(segment.from, segment.to) else { return };
        let is_opening = match connection.handshake.len() {
            0 => flags.syn() && side == Side::Client,
            1 => flags.syn() && flags.ack() && side == Side::Server,
            2 => flags.ack() && side == Side::Client,
            _ => false,
        };
        if is_opening {
            connection.handshake.push(at);
        }
        if !segment.retransmitted {
            connection.data[side as usize] += u64::from(segment.length);
            connection.data_segments[side as usize] += u32::from(segment.length > 0);
            // The SYN counts for one. What of it was sent before stands there already.
            let stream = &mut connection.streams[side as usize];
            let known = (stream.len() + 1).saturating_sub(segment.relative_seq as usize);
            if stream.len() < KEPT {
                stream.extend_from_slice(data_of(segment).get(known..).unwrap_or_default());
            }
        }
        if flags.fin() && !connection.fins.contains(&side) {
            connection.fins.push(side);
        }
        if flags.rst() && !connection.resets.contains(&side) {
            connection.resets.push(side);
        }
    }

    fn returned(&mut self, event: &Event, call: &Call) {
        let Some(outcome) = &call.outcome else { return };
        if let Some(Named::Listening(end)) = outcome.made.as_ref().map(|made| &made.names) {
            self.server_port = end.port();
        }
        if let Some(Named::Connected { local, remote, accepted: true, .. }) =
            outcome.made.as_ref().map(|made| &made.names)
            && let (Endpoint::Inet(local), Endpoint::Inet(remote)) = (local, remote)
            && call.name.starts_with("accept")
        {
            if self.between(*remote, *local).is_none() {
                self.connections.push(Connection::new(*remote, *local));
            }
            if let Some((connection, _)) = self.between(*remote, *local) {
                connection.accepted = Some((event.at, event.who.clone()));
            }
        }
        let Some(on) = &call.on else { return };
        if call.name == "close" && outcome.value == 0 {
            self.closed(event, &on.names);
        }
        if call.name == "setsockopt"
            && outcome.value == 0
            && is_server(&event.who)
            && let Some((Endpoint::Inet(local), Endpoint::Inet(remote))) = on.names.ends()
            && let Some((connection, Side::Server)) = self.between(*local, *remote)
        {
            connection.options.insert(call.arguments.join(", "));
        }
        self.transferred(event, call, outcome, &on.names);
    }

    fn closed(&mut self, event: &Event, names: &Named) {
        match names {
            Named::Listening(_) => {
                if let Some(child) = self.children.iter_mut().find(|child| child.who == event.who) {
                    child.closed_listening = true;
                }
            }
            Named::Connected { .. } if is_server(&event.who) => {
                let running =
                    self.children.iter_mut().rev().find(|child| !child.maker_closed && child.who != event.who);
                if let Some(child) = running {
                    child.maker_closed = true;
                }
            }
            _ => {}
        }
    }

    fn transferred(&mut self, event: &Event, call: &Call, outcome: &Outcome, names: &Named) {
        let Some((Endpoint::Inet(local), Endpoint::Inet(remote))) = names.ends() else { return };
        let Ok(count) = u64::try_from(outcome.value) else { return };
        let Some((connection, side)) = self.between(*local, *remote) else { return };
        let side = side as usize;
        let (bytes, calls) = match call.name.as_str() {
            "write" | "writev" | "sendto" | "sendmsg" => (&mut connection.written[side], &mut connection.writes[side]),
            "read" | "readv" | "recvfrom" | "recvmsg" => (&mut connection.read[side], &mut connection.reads[side]),
            _ => return,
        };
        *bytes += count;
        *calls += u32::from(count > 0);
        if let Who::Program { role, .. } = &event.who {
            connection.roles[side].insert(role.clone());
        }
    }

    fn seen(&mut self, socket: &Socket) {
        self.last_seen(&socket.local, &socket.remote, socket.state);
    }

    fn last_seen(&mut self, local: &Endpoint, remote: &Endpoint, state: State) {
        if let (Endpoint::Inet(local), Endpoint::Inet(remote)) = (local, remote)
            && let Some((connection, side)) = self.between(*local, *remote)
        {
            connection.last_seen[side as usize] = Some(state);
        }
    }
}

/// The data that a segment carries, as much of it as was captured: the end of the packet.
fn data_of(segment: &Segment) -> &[u8] {
    let missing = (segment.packet_length as usize).saturating_sub(segment.packet.len());
    let captured = (segment.length as usize).saturating_sub(missing).min(segment.packet.len());
    &segment.packet[segment.packet.len() - captured..]
}

/// Whether it is the server's first process, or a thread of it.
fn is_server(who: &Who) -> bool {
    matches!(who, Who::Program { role, .. } if role == "server" || role.starts_with("server/thread"))
}

impl Connection {
    fn new(client: SocketAddr, server: SocketAddr) -> Self {
        Self {
            client,
            server,
            handshake: Vec::new(),
            data: [0; 2],
            data_segments: [0; 2],
            fins: Vec::new(),
            resets: Vec::new(),
            accepted: None,
            written: [0; 2],
            read: [0; 2],
            writes: [0; 2],
            reads: [0; 2],
            roles: Default::default(),
            streams: Default::default(),
            options: BTreeSet::new(),
            last_seen: [None; 2],
        }
    }

    /// Who closed first, if anybody did.
    pub fn closed_first(&self) -> Option<Side> {
        self.fins.first().copied()
    }

    /// The side that a sample showed in TIME-WAIT at last.
    pub fn in_time_wait(&self) -> Option<Side> {
        let is_in = |side: Side| self.last_seen[side as usize] == Some(State::TimeWait);
        [Side::Client, Side::Server].into_iter().find(|&side| is_in(side))
    }

    /// The connection in sentences.
    pub fn sentences(&self) -> Vec<String> {
        let mut sentences = Vec::new();
        if let [syn, .., ack] = self.handshake[..] {
            let took = span(ack.saturating_sub(syn));
            let segments = self.handshake.len();
            sentences.push(format!(
                "{segments} segments opened it within {took}: SYN, SYN+ACK, ACK; the kernel did that by itself"
            ));
        }
        if let Some((at, who)) = &self.accepted {
            let who = match who {
                Who::Program { role, pid } => format!("{role} {pid}"),
                _ => "the server".into(),
            };
            let waited = self.handshake.last().map(|ack| span(at.saturating_sub(*ack)));
            let waited = waited.map_or(String::new(), |waited| format!(", {waited} after the handshake"));
            sentences.push(format!("accept() handed it to {who}{waited}"));
        }
        let [up, down] = self.data;
        let [up_segments, down_segments] = self.data_segments;
        if up_segments + down_segments > 0 {
            sentences.push(format!(
                "{up} bytes went to the server in {}, and {down} came back in {}",
                counted(up_segments),
                counted(down_segments)
            ));
        }
        match (self.closed_first(), self.fins.len()) {
            (Some(side), 2) => sentences.push(format!("{} closed first: its FIN was the first of two", side.name())),
            (Some(side), _) => sentences.push(format!("only {} sent a FIN", side.name())),
            (None, _) => {}
        }
        for side in &self.resets {
            sentences.push(format!("{} sent a RST: the connection was torn down", side.name()));
        }
        if let Some(side) = self.in_time_wait() {
            sentences.push(format!("{}'s end is left in TIME-WAIT, for a minute; no process owns it", side.name()));
        }
        sentences
    }
}

fn counted(segments: u32) -> String {
    match segments {
        1 => "1 segment".into(),
        more => format!("{more} segments"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Descriptor, Flags, Protocol};

    const CLIENT: &str = "127.0.0.1:51234";
    const SERVER: &str = "127.0.0.1:7002";

    fn event(micros: u64, who: Who, what: What) -> Event {
        Event { at: Duration::from_micros(micros), who, what }
    }

    fn segment(micros: u64, from: &str, to: &str, flags: u8) -> Event {
        let segment = Segment {
            transport: Transport::Tcp,
            from: from.parse().unwrap(),
            to: to.parse().unwrap(),
            flags: Flags(flags),
            seq: 0,
            ack: 0,
            relative_seq: 0,
            relative_ack: 0,
            length: 0,
            window: 0,
            window_scale: None,
            options: Vec::new(),
            retransmitted: false,
            packet: Vec::new(),
            packet_length: 40,
        };
        event(micros, Who::Wire, What::Segment(Box::new(segment)))
    }

    fn end(text: &str) -> Endpoint {
        Endpoint::Inet(text.parse().unwrap())
    }

    fn handshake() -> [Event; 3] {
        [segment(10, CLIENT, SERVER, 2), segment(20, SERVER, CLIENT, 18), segment(30, CLIENT, SERVER, 16)]
    }

    #[test]
    fn what_a_dual_stack_socket_does_belongs_to_the_connection_of_its_ipv4_segments() {
        let (local, remote) = (end("[::ffff:127.0.0.1]:7002"), end("[::ffff:127.0.0.1]:51234"));
        let names = Named::Connected { protocol: Protocol::Tcp, local, remote, accepted: true };
        let connected = Descriptor { fd: 4, names };
        let who = Who::Program { role: "server".into(), pid: 812 };
        let call = |name: &str, on: Option<Descriptor>, value: i64, made: Option<Descriptor>| {
            let outcome = Some(Outcome { entered: Duration::ZERO, value, error: None, made });
            What::Returned(Call { id: 1, name: name.into(), arguments: Vec::new(), on, waits: Vec::new(), outcome })
        };
        let mut account = Account::default();
        handshake().iter().for_each(|event| account.add(event));
        account.add(&event(40, who.clone(), call("accept4", None, 4, Some(connected.clone()))));
        account.add(&event(50, who, call("read", Some(connected), 6, None)));
        let [connection] = &account.connections[..] else { panic!("{:?}", account.connections) };
        assert_eq!(connection.client.to_string(), CLIENT);
        assert_eq!(connection.accepted.as_ref().map(|(at, _)| at.as_micros()), Some(40));
        assert_eq!(connection.read, [0, 6]);
    }

    #[test]
    fn an_end_whose_last_state_is_inferred_to_be_closed_is_gone() {
        let mut account = Account::default();
        handshake().iter().for_each(|event| account.add(event));
        let moved = |before, after| {
            let because = "the ACK of its FIN".into();
            What::Moved(Transition { local: end(SERVER), remote: end(CLIENT), before, after, because, seen: None })
        };
        account.add(&event(40, Who::Kernel, moved(State::CloseWait, State::LastAck)));
        assert_eq!(account.connections[0].last_seen, [None, None], "no sample showed it");
        account.add(&event(50, Who::Kernel, moved(State::LastAck, State::Closed)));
        assert_eq!(account.connections[0].last_seen, [None, Some(State::Closed)]);
    }
}
