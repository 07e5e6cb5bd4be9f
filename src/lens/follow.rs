//! The states lens: samples the kernel's socket tables and tells what is different from the sample before.
//!
//! What it does not see: a state, or a whole connection, that came and went between two samples. On loopback SYN-SENT,
//! SYN-RECEIVED, LAST-ACK and often FIN-WAIT-1 last some microseconds, and are seen by chance.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::event::{Endpoint, Event, Protocol, Socket, State, What, Who};
use crate::lens::owners::Owners;
use crate::lens::table::{Subject, Tables};

/// How long bytes must lie in a queue, their number unchanged, before that is worth a line.
const LYING: Duration = Duration::from_millis(300);
/// For how long after a change the samples are taken close together.
const BUSY: Duration = Duration::from_millis(250);
/// The shortest and the longest time between two samples right after a change.
pub const CLOSE: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(10));
/// The shortest and the longest time between two samples at rest. It depends on how long a sample takes.
pub const RELAXED: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(50));
/// What a sample may cost that is taken while a program waits for it.
const CHEAP: Duration = Duration::from_millis(1);
/// Owners are not looked up more often than this: it means reading the descriptors of every process.
const LOOK_UP: Duration = Duration::from_millis(50);

/// What makes a socket the same one in two samples. A connection is its two ends; several processes may listen on the
/// same address (SO_REUSEPORT), and Unix clients have no name, so these are told apart by the kernel's own number.
type Identity = (bool, Protocol, Endpoint, Endpoint, u64);

struct Known {
    socket: Socket,
    queues_since: Duration,
    told: bool,
}

/// Follows the sockets of one subject from sample to sample.
pub struct Follower {
    tables: Tables,
    subject: Subject,
    started: Instant,
    known: BTreeMap<Identity, Known>,
    owners: Owners,
    looked_up: Option<Instant>,
    among: Option<Vec<u32>>,
    with_v6: bool,
    changed: Instant,
    cost: Duration,
    quick_cost: Duration,
}

impl Follower {
    /// Nothing is known yet: the first sample reports every socket as new. Times count from `started`.
    pub fn new(tables: Tables, subject: Subject, started: Instant) -> Self {
        Self {
            tables,
            subject,
            started,
            known: BTreeMap::new(),
            owners: Owners::default(),
            looked_up: None,
            among: None,
            with_v6: true,
            changed: Instant::now(),
            cost: Duration::ZERO,
            quick_cost: Duration::ZERO,
        }
    }

    /// Follows others from now on; those that were followed before are forgotten.
    pub fn set_subject(&mut self, subject: Subject) {
        if self.subject != subject {
            self.subject = subject;
            self.known.clear();
        }
    }

    /// Follows sockets of this protocol too, and those of IPv6, from now on. Each table that is asked takes its time, so that those of which
    /// nothing is expected are left out.
    pub fn follow_too(&mut self, protocol: Protocol, is_v6: bool) {
        self.with_v6 |= is_v6;
        match protocol {
            Protocol::Tcp => self.subject.tcp = true,
            Protocol::Udp => self.subject.udp = true,
            Protocol::UnixStream | Protocol::UnixDatagram | Protocol::UnixSeqpacket => self.subject.unix = true,
        }
    }

    /// What is being followed.
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// From now on, owners are looked for among these processes only: reading the descriptors of all takes long.
    pub fn look_for_owners_among(&mut self, pids: Vec<u32>) {
        self.among = Some(pids);
        self.looked_up = None;
    }

    /// The sockets as they were in the last sample.
    pub fn sockets(&self) -> impl Iterator<Item = &Socket> {
        self.known.values().map(|known| &known.socket)
    }

    /// Whether a sample takes so little that one can be taken at each call of a program. On a machine with very many
    /// sockets it does not.
    pub fn is_cheap(&self) -> bool {
        self.quick_cost < CHEAP
    }

    /// How long to pause before the next sample, so that sampling takes little more than a hundredth of a core at rest
    /// (more on a machine with very many sockets, where a sample takes long).
    pub fn pause(&self) -> Duration {
        if self.changed.elapsed() < BUSY {
            (self.cost * 4).clamp(CLOSE.0, CLOSE.1)
        } else {
            (self.cost * 80).clamp(RELAXED.0, RELAXED.1)
        }
    }

    /// Asks the kernel, and returns what is different from the last time.
    pub fn sample(&mut self) -> io::Result<Vec<Event>> {
        let asked = Instant::now();
        let sockets = self.tables.snapshot(&self.subject, self.with_v6)?;
        self.cost = cheapest_of_late(self.cost, asked.elapsed());
        self.with_v6 = sockets.iter().any(is_v6);
        Ok(self.news_of(sockets))
    }

    /// The same, quicker: of listening sockets only those that were there in the last whole sample. To be called often.
    pub fn sample_connections(&mut self) -> io::Result<Vec<Event>> {
        let asked = Instant::now();
        let listening: Vec<SocketAddr> = self.sockets().filter_map(listening_address).collect();
        let mut sockets = self.tables.snapshot_of(&self.subject, self.with_v6, listening.into_iter())?;
        self.quick_cost = cheapest_of_late(self.quick_cost, asked.elapsed());
        // Where several listen at one address, the kernel names one of them.
        let is_new = |known: &Socket| !sockets.iter().any(|socket| identity(socket) == identity(known));
        let shared = |known: &&Socket| {
            let same = sockets.iter().filter(|other| other.is_listening() && other.local == known.local);
            known.is_listening() && same.count() > 0 && is_new(known)
        };
        let unnamed: Vec<Socket> = self.sockets().filter(shared).cloned().collect();
        sockets.extend(unnamed);
        Ok(self.news_of(sockets))
    }

    /// What is different between the last sample and this one.
    fn news_of(&mut self, sockets: Vec<Socket>) -> Vec<Event> {
        let at = self.started.elapsed();
        let mut now: BTreeMap<Identity, Known> = BTreeMap::new();
        for socket in sockets {
            now.insert(identity(&socket), Known { socket, queues_since: at, told: false });
        }
        let mut what = Vec::new();
        for (identity, before) in &self.known {
            if !now.contains_key(identity) {
                what.push(What::Gone(before.socket.clone()));
            }
        }
        for (identity, known) in &mut now {
            match self.known.get(identity) {
                Some(before) => compare(before, known, at, &mut what),
                None => what.push(What::Appeared(known.socket.clone())),
            }
        }
        self.known = now;
        if !what.is_empty() {
            self.changed = Instant::now();
            self.name_owners(&mut what);
        }
        what.into_iter().map(|what| Event { at, who: Who::Kernel, what }).collect()
    }

    fn name_owners(&mut self, what: &mut [What]) {
        let mut sockets: Vec<&mut Socket> = what.iter_mut().filter_map(What::socket_mut).collect();
        let looked_up_lately = self.looked_up.is_some_and(|before| before.elapsed() < LOOK_UP);
        if !looked_up_lately || sockets.iter().any(|socket| !self.owners.know(socket)) {
            self.owners = match &self.among {
                Some(pids) => Owners::among(pids),
                None => Owners::look_up(),
            };
            self.looked_up = Some(Instant::now());
        }
        for socket in &mut sockets {
            self.owners.fill_in(socket);
        }
    }
}

impl What {
    fn socket_mut(&mut self) -> Option<&mut Socket> {
        match self {
            Self::Appeared(socket)
            | Self::Changed { socket, .. }
            | Self::Accepted(socket)
            | Self::Queued { socket, .. }
            | Self::Lying(socket) => Some(socket),
            // Nobody holds it any more, or it was never a socket.
            _ => None,
        }
    }
}

fn identity(socket: &Socket) -> Identity {
    let by_number = socket.is_listening() || !matches!(socket.protocol, Protocol::Tcp | Protocol::Udp);
    let number = if by_number { socket.cookie } else { 0 };
    (!socket.is_listening(), socket.protocol, socket.local.clone(), socket.remote.clone(), number)
}

/// What a sample costs: a single one may have been held up by other work on this machine.
fn cheapest_of_late(before: Duration, now: Duration) -> Duration {
    if before.is_zero() { now } else { before.min(now) + (now.saturating_sub(before)) / 16 }
}

fn listening_address(socket: &Socket) -> Option<SocketAddr> {
    match socket.local {
        Endpoint::Inet(address) if socket.is_listening() => Some(address),
        _ => None,
    }
}

fn is_v6(socket: &Socket) -> bool {
    matches!(socket.local, Endpoint::Inet(address) if address.is_ipv6())
}

/// What is different about one socket between two samples.
fn compare(before: &Known, now: &mut Known, at: Duration, what: &mut Vec<What>) {
    let (old, new) = (&before.socket, &now.socket);
    // The same two ends, but another connection: the old one ended unseen. A TIME-WAIT remnant has a number of its own,
    // and so has the FIN-WAIT-2 remnant that no process owns.
    let may_be_remnant = matches!(new.state, State::TimeWait | State::FinWait2);
    if old.cookie != new.cookie && !may_be_remnant {
        what.push(What::Gone(old.clone()));
        what.push(What::Appeared(new.clone()));
        return;
    }
    if old.state != new.state {
        what.push(What::Changed { before: old.state, socket: new.clone() });
    }
    if old.waits_for_accept() && new.inode != 0 {
        what.push(What::Accepted(new.clone()));
    }
    if new.is_listening() {
        if old.receive_queue != new.receive_queue {
            what.push(What::Queued { before: old.receive_queue, socket: new.clone() });
        }
        return;
    }
    let queues = |socket: &Socket| (socket.receive_queue, socket.send_queue);
    if queues(old) == queues(new) {
        now.queues_since = before.queues_since;
        now.told = before.told;
        if !now.told && queues(new) != (0, 0) && at.saturating_sub(now.queues_since) >= LYING {
            now.told = true;
            what.push(What::Lying(new.clone()));
        }
    } else if before.told && queues(new) == (0, 0) && new.state != State::TimeWait {
        what.push(What::Lying(new.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(state: State, cookie: u64, queue: u32) -> Socket {
        Socket {
            protocol: Protocol::Tcp,
            state,
            local: Endpoint::Inet("127.0.0.1:7001".parse().unwrap()),
            remote: Endpoint::Inet("127.0.0.1:50000".parse().unwrap()),
            receive_queue: queue,
            send_queue: 0,
            uid: 0,
            inode: 1,
            cookie,
            timer: None,
            owners: Vec::new(),
        }
    }

    fn between(old: Socket, new: Socket, at_ms: u64) -> Vec<What> {
        let before = Known { socket: old, queues_since: Duration::ZERO, told: false };
        let at = Duration::from_millis(at_ms);
        let mut what = Vec::new();
        compare(&before, &mut Known { socket: new, queues_since: at, told: false }, at, &mut what);
        what
    }

    #[test]
    fn the_same_connection_in_another_state_has_changed() {
        let what = between(socket(State::Established, 1, 0), socket(State::CloseWait, 1, 0), 1);
        assert!(matches!(what[..], [What::Changed { before: State::Established, .. }]), "{what:?}");
    }

    #[test]
    fn the_same_ends_with_another_number_are_another_connection() {
        let what = between(socket(State::Established, 1, 0), socket(State::Established, 2, 0), 1);
        assert!(matches!(what[..], [What::Gone(_), What::Appeared(_)]), "{what:?}");
    }

    #[test]
    fn a_time_wait_remnant_continues_the_connection_that_it_remains_of() {
        let what = between(socket(State::Established, 1, 0), socket(State::TimeWait, 2, 0), 1);
        assert!(matches!(what[..], [What::Changed { before: State::Established, .. }]), "{what:?}");
    }

    #[test]
    fn bytes_are_worth_a_line_only_when_they_lie_for_a_while() {
        assert!(between(socket(State::Established, 1, 6), socket(State::Established, 1, 6), 100).is_empty());
        let what = between(socket(State::Established, 1, 6), socket(State::Established, 1, 6), 400);
        assert!(matches!(what[..], [What::Lying(_)]), "{what:?}");
        assert!(between(socket(State::Established, 1, 6), socket(State::Established, 1, 9), 400).is_empty());
    }

    #[test]
    fn a_longer_accept_queue_is_reported_with_its_length_before() {
        let what = between(socket(State::Listen, 1, 0), socket(State::Listen, 1, 2), 1);
        assert!(matches!(&what[..], [What::Queued { before: 0, socket }] if socket.receive_queue == 2), "{what:?}");
    }
}
