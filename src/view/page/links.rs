//! What belongs together: a call and its segments, a segment and the states that it changes, a segment and its ACK.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use crate::event::{Call, Descriptor, Endpoint, Named, Segment, State, Transport, canonical};
use crate::view::page::model::{Interval, Kind, Model, Thing};

/// Calls that hand bytes to a socket.
const SENDING: [&str; 8] = ["write", "writev", "send", "sendto", "sendmsg", "sendmmsg", "sendfile", "sendfile64"];
/// Calls that take bytes from a socket.
const RECEIVING: [&str; 6] = ["read", "readv", "recv", "recvfrom", "recvmsg", "recvmmsg"];
/// Calls after which a FIN or RST may go out.
const ENDING: [&str; 4] = ["close", "shutdown", "close_range", "exit_group"];

/// Both ends of a connection, from one side's view: its own end first. Canonical, so that a dual-stack socket and its
/// segments have the same.
type Ends = (SocketAddr, SocketAddr);

/// For each thing the others that belong to it, by index, in order.
pub fn links(model: &Model) -> Vec<Vec<usize>> {
    let calls = calls(model);
    let segments = segments(model);
    let mut graph = Graph(vec![BTreeSet::new(); model.things.len()]);
    for arrival in &segments {
        for call in calls_of(arrival, &calls) {
            graph.join(arrival.thing, call);
        }
    }
    join_answers(&segments, &mut graph);
    join_states(model, &segments, &calls, &mut graph);
    join_accepts(&calls, &segments, &mut graph);
    join_datagrams(model, &segments, &mut graph);
    graph.with_those_behind_segments(model)
}

struct Graph(Vec<BTreeSet<usize>>);

impl Graph {
    fn join(&mut self, one: usize, other: usize) {
        if one != other {
            self.0[one].insert(other);
            self.0[other].insert(one);
        }
    }

    /// A call brings about a segment, and that a state: to a call belong its states too, and to a state its calls.
    fn with_those_behind_segments(&self, model: &Model) -> Vec<Vec<usize>> {
        let is_segment = |thing: usize| matches!(model.things[thing].kind, Kind::Segment(..));
        let is_call = |thing: usize| matches!(model.things[thing].kind, Kind::Call(_));
        let all = |(thing, near): (usize, &BTreeSet<usize>)| {
            let mut all = near.clone();
            for segment in near.iter().filter(|near| !is_segment(thing) && is_segment(**near)) {
                let behind = self.0[*segment].iter().filter(|behind| is_call(thing) || is_call(**behind));
                all.extend(behind);
            }
            all.remove(&thing);
            all.into_iter().collect()
        };
        self.0.iter().enumerate().map(all).collect()
    }
}

/// A call on a connection.
struct OnConnection<'a> {
    thing: usize,
    call: &'a Call,
    ends: Ends,
    entered: Duration,
    returned: Option<Duration>,
    /// The bytes of the connection that it sent or received, as far as every call on it was seen.
    bytes: (u64, u64),
}

impl OnConnection<'_> {
    fn is(&self, names: &[&str]) -> bool {
        names.contains(&self.call.name.as_str())
    }

    fn lasts_at(&self, at: Duration) -> bool {
        self.entered <= at && self.returned.is_none_or(|returned| at <= returned)
    }

    fn overlaps(&self, bytes: (u64, u64)) -> bool {
        self.bytes.0 < bytes.1 && bytes.0 < self.bytes.1
    }
}

fn calls<'a>(model: &'a Model) -> Vec<OnConnection<'a>> {
    let mut calls: Vec<OnConnection> = model
        .things
        .iter()
        .enumerate()
        .filter_map(|(index, thing)| {
            let Kind::Call(Interval { call, .. }) = &thing.kind else { return None };
            let ends = ends_of(call).or_else(|| later_ends(model, index, thing, call))?;
            let (entered, returned) = (thing.at, thing.until);
            Some(OnConnection { thing: index, call, ends, entered, returned, bytes: (0, 0) })
        })
        .collect();
    count_bytes(&mut calls);
    calls
}

/// Which bytes of the stream each call sent or received: calls return in the order of the stream.
fn count_bytes(calls: &mut [OnConnection]) {
    let mut order: Vec<usize> = (0..calls.len()).collect();
    order.sort_by_key(|index| calls[*index].returned.unwrap_or(Duration::MAX));
    let mut counted: std::collections::HashMap<(Ends, bool), u64> = std::collections::HashMap::new();
    for index in order {
        let call = &mut calls[index];
        let sends = call.is(&SENDING);
        if !sends && !call.is(&RECEIVING) || call.call.arguments.iter().any(|argument| argument.contains("MSG_PEEK")) {
            continue;
        }
        let length = call.call.outcome.as_ref().map_or(0, |outcome| u64::try_from(outcome.value).unwrap_or(0));
        let counted = counted.entry((call.ends, sends)).or_default();
        call.bytes = (*counted, *counted + length);
        *counted += length;
    }
}

fn ends_of(call: &Call) -> Option<Ends> {
    let made = call.outcome.as_ref().and_then(|outcome| outcome.made.as_ref());
    let ends = |descriptor: &Descriptor| match descriptor.names.ends()? {
        (Endpoint::Inet(local), Endpoint::Inet(remote)) => Some((canonical(*local), canonical(*remote))),
        _ => None,
    };
    made.and_then(ends).or_else(|| ends(call.on.as_ref()?))
}

/// connect() is entered with a socket that has no ends yet: the next call on the same descriptor has them.
fn later_ends(model: &Model, index: usize, thing: &Thing, call: &Call) -> Option<Ends> {
    if call.name != "connect" {
        return None;
    }
    let on = call.on.as_ref()?;
    let later = model.things[index + 1..].iter().find_map(|later| match later.kind {
        Kind::Call(Interval { call: later_call, .. }) if later.who == thing.who => {
            let descriptor = later_call.on.as_ref().filter(|descriptor| descriptor.fd == on.fd)?;
            Some(later_call).filter(|_| !matches!(descriptor.names, Named::Unbound(_)))
        }
        _ => None,
    });
    later.and_then(ends_of).or_else(|| syn_within(model, thing, call))
}

/// The ends of the SYN that was sent during a call which names its addressee.
fn syn_within(model: &Model, thing: &Thing, call: &Call) -> Option<Ends> {
    model.things.iter().find_map(|other| match &other.kind {
        Kind::Segment(segment, _) if segment.flags.syn() && !segment.flags.ack() => {
            (lasts_at(thing, other.at) && names(call, segment.to)).then(|| ends_of_segment(segment))
        }
        _ => None,
    })
}

/// Both ends of a segment, its sender's first.
fn ends_of_segment(segment: &Segment) -> Ends {
    (canonical(segment.from), canonical(segment.to))
}

fn lasts_at(thing: &Thing, at: Duration) -> bool {
    thing.at <= at && thing.until.is_none_or(|until| at <= until)
}

/// Whether the call's arguments name this address, in whichever notation.
fn names(call: &Call, address: SocketAddr) -> bool {
    let text = call.arguments.join(" ");
    let parts = [address.ip().to_canonical().to_string(), address.port().to_string()];
    parts.iter().all(|part| text.contains(part))
}

/// A segment, and the bytes of its sender's stream that it carries.
struct Arrival<'a> {
    thing: usize,
    segment: &'a Segment,
    at: Duration,
    bytes: (u64, u64),
}

fn segments<'a>(model: &'a Model) -> Vec<Arrival<'a>> {
    let arrival = |(index, thing): (usize, &'a Thing)| match &thing.kind {
        Kind::Segment(segment, _) => {
            // The SYN has number 0, so the first byte has number 1.
            let first = u64::from(segment.relative_seq).saturating_sub(1);
            let bytes = (first, first + u64::from(segment.length));
            Some(Arrival { thing: index, segment, at: thing.at, bytes })
        }
        _ => None,
    };
    model.things.iter().enumerate().filter_map(arrival).collect()
}

/// The calls that sent a segment, and those that took what it brought.
fn calls_of(arrival: &Arrival, calls: &[OnConnection]) -> Vec<usize> {
    let segment = arrival.segment;
    let from = ends_of_segment(segment);
    let to = (from.1, from.0);
    let of = |ends: Ends| calls.iter().filter(move |call| call.ends == ends);
    let mut found = Vec::new();
    if segment.flags.syn() && !segment.flags.ack() {
        found.extend(of(from).rfind(|call| call.call.name == "connect" && call.entered <= arrival.at));
    } else if segment.flags.syn() || is_last_of_handshake(segment) {
        found.extend(of(to).chain(of(from)).find(|call| call.call.name == "connect" && call.lasts_at(arrival.at)));
    }
    if segment.length > 0 {
        let sent = |call: &&OnConnection| call.is(&SENDING) && call.entered <= arrival.at;
        let exactly: Vec<_> = of(from).filter(|call| sent(call) && call.overlaps(arrival.bytes)).collect();
        if exactly.is_empty() {
            found.extend(of(from).find(|call| sent(call) && call.lasts_at(arrival.at)));
        }
        found.extend(exactly);
        let took = |call: &&OnConnection| call.is(&RECEIVING) && call.returned.is_some_and(|at| arrival.at <= at);
        found.extend(of(to).filter(|call| took(call) && call.overlaps(arrival.bytes)));
    }
    if segment.flags.fin() || segment.flags.rst() {
        found.extend(of(from).rfind(|call| call.is(&ENDING) && call.entered <= arrival.at));
        let sees_the_end = |call: &OnConnection| {
            let value = call.call.outcome.as_ref().map(|outcome| outcome.value);
            let is_end = if segment.flags.rst() { value.is_some_and(|value| value < 0) } else { value == Some(0) };
            let may_see = call.is(&RECEIVING) || segment.flags.rst() && call.call.name == "connect";
            may_see && is_end && call.returned.is_some_and(|at| arrival.at <= at)
        };
        found.extend(of(to).find(|call| sees_the_end(call)));
    }
    found.into_iter().map(|call| call.thing).collect()
}

/// A datagram, the call that sent it, and the one that took it: mostly their sockets have no peer, only an address.
fn join_datagrams(model: &Model, segments: &[Arrival], graph: &mut Graph) {
    for datagram in segments.iter().filter(|arrival| arrival.segment.transport == Transport::Udp) {
        let (from, to) = ends_of_segment(datagram.segment);
        let calls = || {
            model.things.iter().enumerate().filter_map(|(index, thing)| match &thing.kind {
                Kind::Call(Interval { call, .. }) => Some((index, thing, *call)),
                _ => None,
            })
        };
        let is_at = |call: &Call, own: SocketAddr| {
            own_end(call)
                .is_some_and(|end| end.port() == own.port() && (end.ip().is_unspecified() || end.ip() == own.ip()))
        };
        let sent = calls().find(|(_, thing, call)| {
            let is_its = is_at(call, from) || own_end(call).is_none() && names(call, to);
            SENDING.contains(&call.name.as_str()) && is_its && lasts_at(thing, datagram.at)
        });
        // A socket hands datagrams out in the order in which they came; one call may have been for an earlier one.
        let took = calls().find(|(index, thing, call)| {
            let is_free = !graph.0[*index].iter().any(|other| segments.iter().any(|arrival| arrival.thing == *other));
            let is_after = thing.until.is_some_and(|until| datagram.at <= until);
            RECEIVING.contains(&call.name.as_str()) && is_at(call, to) && is_after && is_free
        });
        sent.into_iter().chain(took).for_each(|(call, ..)| graph.join(datagram.thing, call));
    }
}

/// The address of the socket that a call is on.
fn own_end(call: &Call) -> Option<SocketAddr> {
    match &call.on.as_ref()?.names {
        Named::Bound(_, Endpoint::Inet(end)) | Named::Connected { local: Endpoint::Inet(end), .. } => {
            Some(canonical(*end))
        }
        _ => None,
    }
}

fn is_last_of_handshake(segment: &Segment) -> bool {
    let is_bare = segment.flags.ack() && segment.length == 0 && !segment.flags.fin() && !segment.flags.rst();
    is_bare && segment.relative_seq == 1 && segment.relative_ack == 1
}

/// A segment that takes up sequence numbers, and the first one from the other side that acknowledges all of them.
fn join_answers(segments: &[Arrival], graph: &mut Graph) {
    for (index, sent) in segments.iter().enumerate() {
        let end = sent.segment.sequence_end();
        if sent.segment.transport == Transport::Udp || end == sent.segment.seq {
            continue;
        }
        let answers = |later: &&Arrival| {
            let (one, other) = (sent.segment, later.segment);
            let is_back = one.from == other.to && one.to == other.from && other.flags.ack();
            // Sequence numbers wrap: `ack` is not before `end`.
            is_back && other.ack.wrapping_sub(end) < 1 << 31
        };
        if let Some(answer) = segments[index + 1..].iter().find(answers) {
            graph.join(sent.thing, answer.thing);
        }
    }
}

/// A state, and the segment of the same connection and moment that brought it about or ended it.
fn join_states(model: &Model, segments: &[Arrival], calls: &[OnConnection], graph: &mut Graph) {
    for (index, thing) in model.things.iter().enumerate() {
        let Kind::State(stay) = &thing.kind else { continue };
        let band = &model.bands[stay.band];
        let (Endpoint::Inet(local), Endpoint::Inet(remote)) = (band.local, band.remote) else { continue };
        let (own, other) = (canonical(*local), canonical(*remote));
        let of_it = |segment: &Segment| [(own, other), (other, own)].contains(&ends_of_segment(segment));
        let at_its_ends = |at: Duration| at == thing.at || Some(at) == thing.until;
        let joined = segments.iter().filter(|arrival| of_it(arrival.segment) && at_its_ends(arrival.at));
        joined.for_each(|arrival| graph.join(index, arrival.thing));
        if band.is_listening {
            listeners(model, thing, *local).for_each(|call| graph.join(index, call));
            continue;
        }
        let ends = [Some(thing.at), thing.until];
        let changes = |call: &&OnConnection| {
            let may = call.call.name == "connect" || call.is(&ENDING);
            may && call.ends == (own, other) && ends.iter().flatten().any(|at| call.lasts_at(*at))
        };
        calls.iter().filter(changes).for_each(|call| graph.join(index, call.thing));
    }
}

/// The calls by which a socket came to listen.
fn listeners<'a>(model: &'a Model, state: &'a Thing, local: SocketAddr) -> impl Iterator<Item = usize> + 'a {
    let is_its = move |thing: &Thing| {
        let Kind::Call(Interval { call, .. }) = &thing.kind else { return false };
        let is_on_it = call.on.as_ref().is_some_and(|on| match &on.names {
            Named::Bound(_, Endpoint::Inet(end)) | Named::Listening(Endpoint::Inet(end)) => *end == local,
            _ => false,
        });
        is_on_it && call.name == "listen" && thing.at <= state.at
    };
    let is_listening = matches!(&state.kind, Kind::State(stay) if stay.state == State::Listen);
    let last = model.things.iter().enumerate().rfind(|(_, thing)| is_listening && is_its(thing));
    last.map(|(index, _)| index).into_iter()
}

/// accept() hands out what connect() asked for, after the handshake.
fn join_accepts(calls: &[OnConnection], segments: &[Arrival], graph: &mut Graph) {
    for accept in calls.iter().filter(|call| call.call.name.starts_with("accept")) {
        let (local, remote) = accept.ends;
        let asked = calls.iter().find(|call| call.call.name == "connect" && call.ends == (remote, local));
        asked.into_iter().for_each(|connect| graph.join(accept.thing, connect.thing));
        let before = |at: Duration| accept.returned.is_none_or(|returned| at <= returned);
        let last = segments.iter().rfind(|arrival| {
            let segment = arrival.segment;
            ends_of_segment(segment) == (remote, local) && is_last_of_handshake(segment) && before(arrival.at)
        });
        last.into_iter().for_each(|arrival| graph.join(accept.thing, arrival.thing));
    }
}
