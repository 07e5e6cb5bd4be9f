//! From headers to segments: what can be said of one only when those before it are known.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::mem;
use std::net::SocketAddr;
use std::time::Duration;

use crate::decode::packet::Header;
use crate::event::{Segment, SegmentOption, Transport};

/// For how long a connection is remembered after it is over, and the last segment of it was seen: longer than TIME-WAIT.
const LINGER: Duration = Duration::from_secs(120);
/// How many connections are remembered; beyond it, the oldest one is forgotten.
const MOST: usize = 65_536;
/// How many gaps are remembered in what one side sent.
const MOST_GAPS: usize = 32;
/// A larger shift than this is not made (RFC 7323, section 2.3).
const MOST_SCALE: u8 = 14;

/// Both ends of a connection, the lower address first, so that both directions have the same.
type Ends = (SocketAddr, SocketAddr);

/// Follows every connection, segment by segment.
///
/// To be told of all segments in the order in which they passed one place. Two that overtake each other before it are not
/// taken for sent again; one that was lost before it cannot be known to have been sent.
pub struct Tracker {
    connections: HashMap<Ends, Connection>,
    by_age: BTreeMap<u64, Ends>,
    /// Those that are over, with the time when to look whether to forget them.
    over: VecDeque<(Duration, u64)>,
    next_number: u64,
    most: usize,
}

struct Connection {
    /// A new connection between the same ends has another one.
    number: u64,
    /// From the lower end to the higher one, and back.
    directions: [Direction; 2],
    last: Duration,
    is_over: bool,
}

/// What one side has sent.
#[derive(Default)]
struct Direction {
    /// The number that counts as 0.
    base: Option<u32>,
    syn: Option<Syn>,
    /// Behind the highest number that was seen.
    sent_to: Option<u32>,
    /// What lies below `sent_to` and was not seen: first number, and first behind.
    gaps: Vec<(u32, u32)>,
    /// Behind its FIN.
    fin: Option<u32>,
    fin_is_acknowledged: bool,
}

#[derive(Clone, Copy)]
struct Syn {
    seq: u32,
    scale: Option<u8>,
    /// Whether it answered one: then the other side had offered all that this one offers.
    is_answer: bool,
}

/// Whether `a` comes after `b`: sequence numbers go round.
fn after(a: u32, b: u32) -> bool {
    a.wrapping_sub(b).cast_signed() > 0
}

impl Default for Tracker {
    fn default() -> Self {
        Self::new()
    }
}

impl Tracker {
    /// Knows of no connection.
    pub fn new() -> Self {
        Self { connections: HashMap::new(), by_age: BTreeMap::new(), over: VecDeque::new(), next_number: 0, most: MOST }
    }

    /// The segment that this packet is. `at` is when it passed, on any clock that does not go back; `packet` is as much of
    /// it as was captured, from its IP header on, and `packet_length` how long it was.
    pub fn segment(&mut self, header: Header, packet: &[u8], packet_length: u32, at: Duration) -> Segment {
        let mut segment = Segment {
            transport: header.transport,
            from: header.from,
            to: header.to,
            flags: header.flags,
            seq: header.seq,
            ack: header.ack,
            relative_seq: 0,
            relative_ack: 0,
            length: header.length,
            window: header.window,
            window_scale: None,
            options: header.options,
            retransmitted: false,
            packet: packet.to_vec(),
            packet_length,
        };
        if segment.transport == Transport::Tcp {
            self.forget(at);
            self.follow(&mut segment, at);
        }
        segment
    }

    fn follow(&mut self, segment: &mut Segment, at: Duration) {
        let is_back = segment.from > segment.to;
        let ends = if is_back { (segment.to, segment.from) } else { (segment.from, segment.to) };
        let own = usize::from(is_back);
        // A socket can be connected to itself; then both directions are one.
        let other = if segment.from == segment.to { own } else { 1 - own };
        match self.connections.get(&ends) {
            Some(known) if !known.begins_anew(segment, own, other) => {}
            _ => self.begin(ends),
        }
        let Some(connection) = self.connections.get_mut(&ends) else { return };
        connection.last = at;
        connection.follow(segment, own, other);
        if connection.is_finished(segment) && !mem::replace(&mut connection.is_over, true) {
            self.over.push_back((at + LINGER, connection.number));
        }
    }

    fn begin(&mut self, ends: Ends) {
        let number = self.next_number;
        self.next_number += 1;
        let begun = Connection { number, directions: Default::default(), last: Duration::ZERO, is_over: false };
        if let Some(old) = self.connections.insert(ends, begun) {
            self.by_age.remove(&old.number);
        }
        self.by_age.insert(number, ends);
        if self.connections.len() > self.most
            && let Some((_, oldest)) = self.by_age.pop_first()
        {
            self.connections.remove(&oldest);
        }
    }

    fn forget(&mut self, now: Duration) {
        while let Some(&(due, number)) = self.over.front() {
            if due > now {
                return;
            }
            self.over.pop_front();
            let Some(ends) = self.by_age.get(&number).copied() else { continue };
            match self.connections.get(&ends) {
                // A reset that was not believed: the connection went on.
                Some(known) if known.last + LINGER > now => self.over.push_back((known.last + LINGER, number)),
                _ => {
                    self.by_age.remove(&number);
                    self.connections.remove(&ends);
                }
            }
        }
    }
}

impl Connection {
    /// Whether the segment belongs to another connection than this one, between the same ends.
    fn begins_anew(&self, segment: &Segment, own: usize, other: usize) -> bool {
        if !segment.flags.syn() {
            return false;
        }
        let [own, other] = [&self.directions[own], &self.directions[other]];
        // Sent again; or the answer to it was seen already.
        if own.base == Some(segment.seq) {
            return false;
        }
        if segment.flags.ack() {
            let answers = |syn: Syn| syn.seq.wrapping_add(1) == segment.ack;
            return !other.syn.is_some_and(answers);
        }
        // Both sides may send a SYN before either has the other's (RFC 9293, section 3.5).
        let is_simultaneous = own.sent_to.is_none() && other.syn.is_some_and(|syn| !syn.is_answer);
        !is_simultaneous
    }

    fn follow(&mut self, segment: &mut Segment, own: usize, other: usize) {
        if segment.flags.syn() {
            self.directions[own].note_syn(segment);
        }
        let seq = segment.seq;
        segment.relative_seq = seq.wrapping_sub(*self.directions[own].base.get_or_insert(seq));
        if segment.flags.ack() {
            let acknowledged = segment.ack;
            // What a SYN is answered with acknowledges the SYN and nothing else.
            let first = if segment.flags.syn() { acknowledged.wrapping_sub(1) } else { acknowledged };
            let base = *self.directions[other].base.get_or_insert(first);
            segment.relative_ack = acknowledged.wrapping_sub(base);
            self.directions[other].note_acknowledged(acknowledged);
        }
        let base = self.directions[other].base.unwrap_or(0);
        for option in &mut segment.options {
            if let SegmentOption::Sack(blocks) = option {
                let relative = |number: &mut u32| *number = number.wrapping_sub(base);
                blocks.iter_mut().for_each(|(first, behind)| [first, behind].into_iter().for_each(relative));
            }
        }
        segment.window_scale = self.window_scale(segment, own, other);
        segment.retransmitted = self.directions[own].note_sent(seq, segment.sequence_end());
        if segment.flags.fin() {
            self.directions[own].fin = Some(segment.sequence_end());
        }
    }

    fn window_scale(&self, segment: &Segment, own: usize, other: usize) -> Option<u8> {
        if segment.flags.syn() {
            return Some(0);
        }
        let (own, other) = (self.directions[own].syn, self.directions[other].syn);
        // One side without the option is enough for both to do without.
        if [own, other].into_iter().flatten().any(|syn| syn.scale.is_none()) {
            return Some(0);
        }
        match (own, other) {
            (Some(own), other) if own.is_answer || other.is_some() => own.scale.map(|scale| scale.min(MOST_SCALE)),
            _ => None,
        }
    }

    fn is_finished(&self, segment: &Segment) -> bool {
        segment.flags.rst() || self.directions.iter().all(|direction| direction.fin_is_acknowledged)
    }
}

impl Direction {
    fn note_syn(&mut self, segment: &Segment) {
        if self.syn.is_some_and(|syn| syn.seq == segment.seq) {
            return;
        }
        let scale = segment.options.iter().find_map(|option| match option {
            SegmentOption::WindowScale(scale) => Some(*scale),
            _ => None,
        });
        let syn = Syn { seq: segment.seq, scale, is_answer: segment.flags.ack() };
        *self = Self { base: Some(segment.seq), syn: Some(syn), ..Self::default() };
    }

    /// Notes what was sent, and says whether there is something and all of it was sent before.
    ///
    /// Of what carries neither data nor SYN nor FIN there is nothing: a pure ACK, and Linux's probes (of an idle peer, of
    /// a closed window), which have an old number to be answered, but no data.
    fn note_sent(&mut self, first: u32, behind: u32) -> bool {
        let Some(sent_to) = self.sent_to else {
            self.sent_to = Some(behind);
            return false;
        };
        if first == behind {
            return false;
        }
        let fills_a_gap = self.fill_gaps(first, behind);
        if !after(behind, sent_to) {
            return !fills_a_gap;
        }
        if after(first, sent_to) {
            self.gaps.push((sent_to, first));
            self.limit_gaps();
        }
        self.sent_to = Some(behind);
        false
    }

    /// Takes what was sent out of the gaps, and says whether any of it was there.
    fn fill_gaps(&mut self, first: u32, behind: u32) -> bool {
        let mut fills_one = false;
        let mut left = Vec::new();
        for (begin, end) in mem::take(&mut self.gaps) {
            if !after(behind, begin) || !after(end, first) {
                left.push((begin, end));
                continue;
            }
            fills_one = true;
            if after(first, begin) {
                left.push((begin, first));
            }
            if after(end, behind) {
                left.push((behind, end));
            }
        }
        self.gaps = left;
        self.limit_gaps();
        fills_one
    }

    fn limit_gaps(&mut self) {
        let too_many = self.gaps.len().saturating_sub(MOST_GAPS);
        self.gaps.drain(..too_many);
    }

    /// What the other side has received was sent, whether it was seen or not.
    fn note_acknowledged(&mut self, number: u32) {
        self.sent_to.get_or_insert(number);
        self.gaps.retain(|(_, behind)| after(*behind, number));
        if let Some((begin, _)) = self.gaps.first_mut()
            && after(number, *begin)
        {
            *begin = number;
        }
        if self.fin.is_some_and(|fin| !after(fin, number)) {
            self.fin_is_acknowledged = true;
        }
    }
}

#[cfg(test)]
mod tests;
