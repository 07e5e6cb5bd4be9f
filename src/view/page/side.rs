//! Left or right: the client's side, or the server's.

use std::collections::HashSet;
use std::net::SocketAddr;

use crate::event::{Call, Descriptor, Endpoint, Event, Named, Segment, Socket, State, What, Who, canonical};

/// A side of the picture.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Side {
    /// The side that connects.
    Left,
    /// The side that listens.
    Right,
}

/// What tells the two sides apart.
pub struct Sides {
    ports: HashSet<u16>,
    paths: HashSet<String>,
    /// Ends that the first segment between two unknown ones was for.
    first_addressed: HashSet<SocketAddr>,
    /// Programs without a role that were seen on the left, and on the right.
    programs: [HashSet<u32>; 2],
}

impl Sides {
    /// The server is whoever has `server_port`; where that is not known, whoever was seen to listen.
    pub fn new(server_port: Option<u16>, events: &[Event]) -> Self {
        let mut sides = Self {
            ports: server_port.into_iter().collect(),
            paths: HashSet::new(),
            first_addressed: HashSet::new(),
            programs: [HashSet::new(), HashSet::new()],
        };
        for end in events.iter().filter_map(listening) {
            match end {
                Endpoint::Path(path) => drop(sides.paths.insert(path.clone())),
                _ if server_port.is_none() => sides.ports.extend(end.port()),
                _ => {}
            }
        }
        for event in events {
            sides.learn(event);
        }
        sides
    }

    fn learn(&mut self, event: &Event) {
        match (&event.what, &event.who) {
            (What::Segment(segment), _) => {
                let (from, to) = (canonical(segment.from), canonical(segment.to));
                let is_known =
                    |end: &SocketAddr| self.ports.contains(&end.port()) || self.first_addressed.contains(end);
                if !is_known(&from) && !is_known(&to) {
                    self.first_addressed.insert(to);
                }
            }
            (What::Called(call) | What::Returned(call), Who::Program { role, pid }) if of_role(role).is_none() => {
                if let Some(side) = self.of_descriptors(call) {
                    self.programs[side as usize].insert(*pid);
                }
            }
            _ => {}
        }
    }

    /// The side that a program's calls are on.
    pub fn of_call(&self, role: &str, pid: u32, call: &Call) -> Side {
        of_role(role).or_else(|| self.of_descriptors(call)).unwrap_or_else(|| self.of_program(role, pid))
    }

    /// The side of what a program does besides its calls.
    pub fn of_program(&self, role: &str, pid: u32) -> Side {
        let was_on = |side: Side| self.programs[side as usize].contains(&pid);
        match of_role(role) {
            Some(side) => side,
            None if was_on(Side::Right) && !was_on(Side::Left) => Side::Right,
            None => Side::Left,
        }
    }

    fn of_descriptors(&self, call: &Call) -> Option<Side> {
        let made = call.outcome.as_ref().and_then(|outcome| outcome.made.as_ref());
        made.and_then(|made| self.of_descriptor(made)).or_else(|| self.of_descriptor(call.on.as_ref()?))
    }

    fn of_descriptor(&self, descriptor: &Descriptor) -> Option<Side> {
        match &descriptor.names {
            Named::Listening(_) | Named::Connected { accepted: true, .. } => Some(Side::Right),
            Named::Bound(_, local) if self.is_server(local) => Some(Side::Right),
            Named::Connected { local, remote, .. } => Some(self.of_end(local, remote)),
            _ => None,
        }
    }

    /// The side of one end of a connection.
    pub fn of_end(&self, local: &Endpoint, remote: &Endpoint) -> Side {
        // Where two servers speak to each other, the order of their ends decides: they must not both be on one side.
        let is_right = self.is_server(local) && !(self.is_server(remote) && remote.canonical() < local.canonical());
        if is_right { Side::Right } else { Side::Left }
    }

    /// The side of a socket.
    pub fn of_socket(&self, socket: &Socket) -> Side {
        if socket.state == State::Listen { Side::Right } else { self.of_end(&socket.local, &socket.remote) }
    }

    /// The side that a segment comes from.
    pub fn of_sender(&self, segment: &Segment) -> Side {
        self.of_end(&Endpoint::Inet(segment.from), &Endpoint::Inet(segment.to))
    }

    fn is_server(&self, end: &Endpoint) -> bool {
        match end {
            Endpoint::Inet(address) => {
                self.ports.contains(&address.port()) || self.first_addressed.contains(&canonical(*address))
            }
            Endpoint::Path(path) => self.paths.contains(path),
            Endpoint::Unnamed => false,
        }
    }
}

fn of_role(role: &str) -> Option<Side> {
    match role {
        _ if role.starts_with("client") => Some(Side::Left),
        _ if role.starts_with("server") => Some(Side::Right),
        _ => None,
    }
}

/// The end on which somebody was seen to listen.
fn listening(event: &Event) -> Option<&Endpoint> {
    match &event.what {
        What::Appeared(socket) | What::Changed { socket, .. } | What::Queued { socket, .. } => {
            socket.is_listening().then_some(&socket.local)
        }
        What::Moved(transition) => (transition.after == State::Listen).then_some(&transition.local),
        What::Called(call) | What::Returned(call) => match &call.on.as_ref()?.names {
            Named::Listening(end) => Some(end),
            _ => None,
        },
        _ => None,
    }
}
