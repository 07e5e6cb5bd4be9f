//! The states of TCP connections, inferred from their segments and calls, and matched with the samples of the states
//! lens: each transition comes out once, observed where a sample showed it, otherwise inferred.
//!
//! Nothing is told that does not follow: a transition that no segment, call or sample proves is left to the samples,
//! which show whatever lasts. What may be wrong all the same, as no segment tells it apart: SYN-RECEIVED of a listener
//! that answers with SYN cookies (it keeps nothing at all), TIME-WAIT beyond `net.ipv4.tcp_max_tw_buckets` (the kernel
//! skips it), and the `before` of a CLOSED after a RST, which is the last state that is known. Not followed: a socket
//! that is connected to itself.

mod end;
mod listeners;
mod receipt;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::time::Duration;

use crate::event::{
    self, Call, Endpoint, Event, Protocol, Seen, Segment, Socket, State, Transition, Transport, What, Who,
};
use end::End;
use listeners::Listeners;
use receipt::{Move, Place};

/// A sample may be older than the time that it carries: the kernel's table is walked first, in some 100 µs, and whoever
/// walks it may lose the processor meanwhile, on a busy machine for some 10 ms.
const AGE: Duration = Duration::from_millis(50);
/// Of a socket that is missing in a sample while it goes from one of the kernel's tables to another.
const ABSENCE: Duration = Duration::from_millis(5);
/// A sample that shows what is proven to be over is older still. After this time it is another connection.
const PROVEN_AGE: Duration = Duration::from_secs(1);
/// For how long an end that has closed is remembered, so that the sample without it is no news.
const CLOSED_IS_KEPT: Duration = Duration::from_secs(5);
/// For how long any other end is remembered that nothing more is heard of. TIME-WAIT lasts 60 seconds.
const IDLE_IS_KEPT: Duration = Duration::from_secs(24 * 3600);
/// How many ends are remembered at most.
const MOST_ENDS: usize = 1 << 17;
/// How many past states of an end are remembered: a connection has no more from its SYN to its end.
const MOST_PAST: usize = 8;

/// One end and the other, the end's own address first.
type Ends = (SocketAddr, SocketAddr);
/// Where an event stands among those held back: its time, its number, and what was inferred from it, in its order.
type Key = (Duration, u64, u64);

/// Infers transitions from a stream of events in order of time, and holds the stream back for a while, because what comes
/// later decides what is told, and how.
///
/// Events go in with [`feed`](Self::feed) and come out of [`take`](Self::take), still in order.
#[derive(Debug)]
pub struct Infer {
    horizon: Duration,
    held: BTreeMap<Key, Event>,
    ends: HashMap<Ends, Known>,
    /// Ends that were handed something that has to be decided when its time comes.
    undecided: BTreeSet<(Duration, Ends)>,
    listeners: Listeners,
    /// How many events have come in, and how many moves have been made.
    events: u64,
    moves: u64,
    /// What was taken reaches up to here.
    released: Duration,
    latest: Duration,
}

#[derive(Debug, Default)]
struct Known {
    end: End,
    past: Vec<Past>,
    touched: Duration,
    /// When its state changed last, or ceased to be known.
    changed: Duration,
}

/// A state that an end went into.
#[derive(Clone, Copy, Debug)]
struct Past {
    state: State,
    key: Key,
    /// A sample has shown it.
    is_seen: bool,
    is_presumed: bool,
}

impl Infer {
    /// Holds each event back for `horizon` of event time. It should be longer than the longest pause between two samples,
    /// as a sample that comes later cannot mark its transition as observed any more, and than the 40 ms for which Linux
    /// may delay the ACK of a FIN.
    pub fn new(horizon: Duration) -> Self {
        Self {
            horizon,
            held: BTreeMap::new(),
            ends: HashMap::new(),
            undecided: BTreeSet::new(),
            listeners: Listeners::default(),
            events: 0,
            moves: 0,
            released: Duration::ZERO,
            latest: Duration::ZERO,
        }
    }

    /// Takes the next event. One that is older than what has been taken out already is put at the end of that.
    pub fn feed(&mut self, event: Event) {
        self.events += 1;
        let place = Place { at: event.at.max(self.released), event: self.events };
        self.latest = self.latest.max(place.at);
        let is_told = match &event.what {
            What::Segment(segment) => {
                self.follow(segment, place);
                true
            }
            What::Returned(call) => {
                self.hear(call, place);
                true
            }
            What::Appeared(socket) | What::Changed { socket, .. } => self.look_at(socket, event.at, place),
            What::Gone(socket) => self.miss(socket, event.at, place),
            What::Queued { socket, .. } => {
                self.listeners.note(socket, event.at);
                true
            }
            What::Accepted(socket) => {
                self.with(ends_of(socket), place, |end| end.is_accepted(place));
                true
            }
            _ => true,
        };
        if is_told {
            self.held.insert((place.at, place.event, 0), event);
        }
        if self.events.is_multiple_of(4096) || self.ends.len() > MOST_ENDS {
            self.forget();
        }
    }

    /// Everything that is at least a horizon older than `until`, in order of time.
    pub fn take(&mut self, until: Duration) -> Vec<Event> {
        let Some(limit) = until.checked_sub(self.horizon) else { return Vec::new() };
        self.decide(limit);
        self.released = self.released.max(limit);
        let mut taken = Vec::new();
        while let Some(entry) = self.held.first_entry().filter(|entry| entry.key().0 <= limit) {
            taken.push(entry.remove());
        }
        taken
    }

    /// Everything that is still held back: no more events will come.
    pub fn finish(&mut self) -> Vec<Event> {
        self.decide(Duration::MAX);
        std::mem::take(&mut self.held).into_values().collect()
    }

    fn decide(&mut self, limit: Duration) {
        let now = Place { at: self.latest, event: self.events };
        while let Some((at, ends)) = self.undecided.pop_first() {
            if at > limit {
                self.undecided.insert((at, ends));
                break;
            }
            self.with(Some(ends), now, |end| end.settle(limit, now));
        }
    }

    fn follow(&mut self, segment: &Segment, place: Place) {
        let (from, to) = (event::canonical(segment.from), event::canonical(segment.to));
        if segment.transport != Transport::Tcp || from == to {
            return;
        }
        self.with(Some((from, to)), place, |end| end.sends(segment, place));
        let has_room = self.listeners.have_room_for(to);
        let mut completes = false;
        self.with(Some((to, from)), place, |end| completes = end.is_handed(segment, place, has_room));
        if completes {
            self.listeners.count_in(to, place.at);
        }
    }

    fn hear(&mut self, call: &Call, place: Place) {
        let Some(outcome) = call.outcome.as_ref().filter(|outcome| outcome.error.is_none()) else { return };
        let names = outcome.made.as_ref().or(call.on.as_ref()).map(|descriptor| &descriptor.names);
        let Some((local, remote)) = names.and_then(|names| names.ends()) else { return };
        let ends = canonical(local).zip(canonical(remote));
        match call.name.as_str() {
            "accept" | "accept4" => {
                self.listeners.count_out(local);
                self.with(ends, place, |end| end.is_accepted(place));
            }
            "connect" if outcome.value == 0 => self.with(ends, place, |end| end.is_connected(place)),
            "shutdown" if call.arguments.iter().any(|how| how == "SHUT_WR" || how == "SHUT_RDWR") => {
                self.with(ends, place, |end| end.is_shut_down(place));
            }
            _ => {}
        }
    }

    /// Matches a sampled socket with what was inferred. False where it only confirms that.
    fn look_at(&mut self, socket: &Socket, at: Duration, place: Place) -> bool {
        if socket.protocol == Protocol::Tcp && socket.is_listening() {
            self.listeners.note(socket, at);
            return true;
        }
        let Some(ends) = ends_of(socket) else { return true };
        let shown = socket.state;
        let known = self.ends.entry(ends).or_default();
        known.touched = place.at;
        if !known.end.is_on_the_wire {
            known.end.is_in_fact(shown, place);
            return true;
        }
        let mut explained = false;
        self.with(Some(ends), place, |end| explained = end.is_explained(shown, at, place));
        let Some(known) = self.ends.get_mut(&ends) else { return true };
        let position = known.past.iter().rposition(|past| past.state == shown && past.key.0 <= at);
        let is_now = !explained && known.end.state == Some(shown);
        if is_now {
            known.end.is_confirmed(at);
        }
        match position {
            Some(position) if explained || is_now || known.was_left_lately(position, at) => {
                let past = &mut known.past[position];
                if !std::mem::replace(&mut past.is_seen, true) {
                    mark_as_seen(&mut self.held, past.key, Seen { at, socket: socket.clone() });
                }
                false
            }
            // It was put into this state by a sample, or this one is a little older than its transition.
            None if is_now => false,
            _ if known.is_past(shown) && known.changed + AGE >= at => false,
            _ => {
                known.end.is_in_fact(shown, place);
                known.remember(Past::sampled(shown, place));
                true
            }
        }
    }

    /// Matches the absence of a socket with an inferred end. An inferred CLOSED stays inferred: the absence confirms it,
    /// but there is no socket to be shown.
    fn miss(&mut self, socket: &Socket, at: Duration, place: Place) -> bool {
        if socket.protocol == Protocol::Tcp && socket.is_listening() {
            self.listeners.forget(socket);
            return true;
        }
        let Some(ends) = ends_of(socket) else { return true };
        let mut explained = false;
        self.with(Some(ends), place, |end| {
            explained = end.is_explained(State::Closed, at, place);
        });
        let Some(known) = self.ends.get_mut(&ends) else { return true };
        if let Some(past) = known.past.iter_mut().rfind(|past| past.state == State::Closed && !past.is_seen) {
            past.is_seen = true;
            return false;
        }
        // On its way from one state into another a socket is for a moment in none of the kernel's tables.
        let moved =
            known.past.last().is_some_and(|past| !past.is_seen && past.key.0 <= at && past.key.0 + ABSENCE >= at);
        if known.end.is_on_the_wire && moved {
            return false;
        }
        known.end.is_in_fact(State::Closed, place);
        known.remember(Past::sampled(State::Closed, place));
        true
    }

    /// Does something with an end, and tells the moves that come of it.
    fn with(&mut self, ends: Option<Ends>, place: Place, act: impl FnOnce(&mut End)) {
        let Some(ends) = ends else { return };
        let known = self.ends.entry(ends).or_default();
        known.touched = known.touched.max(place.at);
        let before = known.end.state;
        act(&mut known.end);
        if known.end.state != before {
            known.changed = place.at;
        }
        for step in std::mem::take(&mut known.end.moves) {
            self.moves += 1;
            let key = (step.place.at, step.place.event, self.moves);
            known.remember(Past { state: step.after, key, is_seen: false, is_presumed: step.is_presumed });
            self.held.insert(key, moved(ends, step));
        }
        if let Some(at) = known.end.is_due() {
            self.undecided.insert((at, ends));
        }
    }

    fn forget(&mut self) {
        let now = self.latest;
        self.ends.retain(|_, known| {
            let is_closed = matches!(known.end.state, None | Some(State::Closed)) && known.end.is_due().is_none();
            now.saturating_sub(known.touched) <= if is_closed { CLOSED_IS_KEPT } else { IDLE_IS_KEPT }
        });
        if self.ends.len() > MOST_ENDS {
            let mut times: Vec<Duration> = self.ends.values().map(|known| known.touched).collect();
            let (_, median, _) = times.select_nth_unstable(MOST_ENDS / 2);
            let median = *median;
            self.ends.retain(|_, known| known.touched > median);
        }
    }
}

impl Past {
    fn sampled(state: State, place: Place) -> Self {
        Self { state, key: (place.at, place.event, 0), is_seen: true, is_presumed: false }
    }
}

impl Known {
    fn remember(&mut self, past: Past) {
        if self.past.len() == MOST_PAST {
            self.past.remove(0);
        }
        self.past.push(past);
    }

    /// Whether a connection that has come as far as this one has this state behind it.
    fn is_past(&self, shown: State) -> bool {
        match (self.end.state, self.past.last()) {
            (Some(state), _) => progress(shown) < progress(state),
            // It is no longer known, but it has left the last state that was.
            (None, Some(last)) => progress(shown) <= progress(last.state),
            (None, None) => false,
        }
    }

    /// Whether the state at `position` was left so shortly before `at` that a sample may still show it.
    fn was_left_lately(&self, position: usize, at: Duration) -> bool {
        let mut later = self.past[position + 1..].iter();
        let Some(left) = later.clone().next().map(|next| next.key.0) else { return false };
        let is_proven = later.any(|past| !past.is_presumed);
        left + if is_proven { PROVEN_AGE } else { AGE } >= at
    }
}

/// How far a connection has come: no state is followed by one of less progress.
fn progress(state: State) -> u8 {
    match state {
        State::Listen | State::SynSent => 0,
        State::SynReceived => 1,
        State::Established => 2,
        State::FinWait1 | State::CloseWait => 3,
        State::FinWait2 | State::Closing | State::LastAck => 4,
        State::TimeWait => 5,
        State::Closed => 6,
    }
}

fn mark_as_seen(held: &mut BTreeMap<Key, Event>, key: Key, sample: Seen) {
    if let Some(Event { what: What::Moved(transition), .. }) = held.get_mut(&key) {
        transition.seen = Some(sample);
    }
}

fn moved((local, remote): Ends, step: Move) -> Event {
    let transition = Transition {
        local: Endpoint::Inet(local),
        remote: Endpoint::Inet(remote),
        before: step.before,
        after: step.after,
        because: step.because.into(),
        seen: None,
    };
    Event { at: step.place.at, who: Who::Kernel, what: What::Moved(transition) }
}

/// Both ends of a TCP connection.
fn ends_of(socket: &Socket) -> Option<Ends> {
    let ends = (canonical(&socket.local)?, canonical(&socket.remote)?);
    (socket.protocol == Protocol::Tcp && ends.1.port() != 0 && ends.0 != ends.1).then_some(ends)
}

/// An IPv4 client of an IPv6 socket has an IPv6 address in the kernel's table, and an IPv4 address in its segments.
fn canonical(end: &Endpoint) -> Option<SocketAddr> {
    match end {
        Endpoint::Inet(address) => Some(event::canonical(*address)),
        Endpoint::Path(_) | Endpoint::Unnamed => None,
    }
}

#[cfg(test)]
mod tests;
