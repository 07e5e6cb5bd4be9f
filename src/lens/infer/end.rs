//! One end of a TCP connection, as far as the segments that it sent and the ones that it was handed tell of it.
//!
//! What an end sends shows its state at once, and by its acknowledgement number what it had taken in by then. What it is
//! handed is no proof: the segment is captured before TCP processes it, the end may be sending meanwhile, and the kernel
//! may drop it after all. So a [`Receipt`] waits for what the end sends next, for a sample or for a call to confirm it.
//! Some receipts are presumed: nothing can confirm them, and something would contradict them soon if they were wrong.

use std::time::Duration;

use super::receipt::{Kind, Move, Place, Receipt, is_before, raise};
use crate::event::{Segment, State};

/// A segment that was handed to a socket waits for as long as a system call holds the socket.
const CROSSING: Duration = Duration::from_millis(5);

/// For as long as this the ACK of a SYN is not told from the data that follows on its heels.
const SOON: Duration = Duration::from_millis(1);

/// What is known of one end. Sequence numbers in the terms of RFC 9293, section 3.3.1.
#[derive(Clone, Debug, Default)]
pub(super) struct End {
    /// `None` where nothing proves it: the handshake was not seen, and no sample showed it.
    pub state: Option<State>,
    /// What is to be told, in its order; taken away by the inferrer.
    pub moves: Vec<Move>,
    /// Whether any segment of it was seen.
    pub is_on_the_wire: bool,
    /// Time is up: what is neither confirmed nor contradicted is believed.
    presumes: bool,
    /// No move may be told before the one before.
    last: Option<Place>,
    receipts: Vec<Receipt>,
    /// ISS.
    first: Option<u32>,
    /// SND.NXT.
    next: Option<u32>,
    /// In SYN-RECEIVED: where an earlier ACK of its SYN was handed to it, and where the later segment ends that counts as
    /// one as long as nothing shows that it had not been taken in.
    earlier: Option<(Place, u32)>,
    /// SND.NXT behind its FIN, once that is sent.
    fin: Option<u32>,
    /// RCV.NXT, as it has acknowledged it.
    taken: Option<u32>,
    /// RCV.WND, as it has said it.
    offered: u32,
    /// RCV.NXT, had it taken in all that it was handed in order.
    given: Option<u32>,
    /// Where the FIN of the other side ends that it was handed, in order or not.
    peer_fin: Option<u32>,
    /// The sequence number of the last SYN that it was handed.
    peer_syn: Option<u32>,
    /// SND.UNA, had it taken in all that it was handed.
    acknowledged: Option<u32>,
    /// SND.WND, and the widest that it ever was.
    window: u32,
    widest: u32,
    /// How many segments with data it has sent since everything was acknowledged.
    in_flight: u32,
    /// It has sent data more than once: its congestion window may be as small as one segment.
    has_resent: bool,
    /// In SYN-SENT: where the SYN of the answer ends that it was handed.
    answered: Option<u32>,
    /// In SYN-RECEIVED: it is a socket already (simultaneous open, TCP Fast Open) and not only a request that the kernel
    /// notes. No accept queue stands in its way, and it may send.
    is_whole: bool,
    /// A sample showed it in SYN-RECEIVED; so one will show it in ESTABLISHED too.
    seen_half_open: bool,
}

impl End {
    /// Takes down a segment that this end has sent.
    pub fn sends(&mut self, segment: &Segment, place: Place) {
        self.is_on_the_wire = true;
        match (segment.flags.rst(), segment.flags.syn(), segment.flags.ack()) {
            (true, ..) => return self.sends_rst(segment, place),
            (_, true, false) => self.sends_syn(segment, place),
            (_, true, true) => self.sends_syn_ack(segment, place),
            (_, false, true) => self.sends_more(segment, place),
            // Without ACK, SYN and RST it is no segment of any state.
            _ => return,
        }
        self.has_resent |= self.next.is_some_and(|next| is_before(segment.seq, next)) && segment.length > 0;
        raise(&mut self.next, segment.sequence_end());
        if segment.length > 0 {
            self.in_flight = self.in_flight.saturating_add(1);
        }
        if segment.flags.ack() {
            raise(&mut self.taken, segment.ack);
            raise(&mut self.given, segment.ack);
            // The window of a SYN is never scaled (RFC 7323, section 2.2).
            let scale = if segment.flags.syn() { 0 } else { segment.window_scale.unwrap_or(0).min(14) };
            self.offered = u32::from(segment.window) << scale;
        }
    }

    fn sends_syn(&mut self, segment: &Segment, place: Place) {
        let again = self.first == Some(segment.seq) && self.state.is_some_and(|state| state != State::Closed);
        if self.is_shown_first(State::SynSent) {
            self.first = Some(segment.seq);
        } else if !again {
            self.begin_anew(segment, place);
            self.go(Some(State::SynSent), place, "its SYN");
        }
    }

    /// Whether a sample showed it in this first state of a connection before its SYN was seen.
    fn is_shown_first(&self, state: State) -> bool {
        self.state == Some(state) && self.first.is_none()
    }

    fn sends_syn_ack(&mut self, segment: &Segment, place: Place) {
        let again = self.first == Some(segment.seq);
        match self.state {
            Some(State::SynSent) if again => {
                self.is_whole = true;
                // So it has not taken in a RST: the two had crossed.
                self.receipts.clear();
                self.go(Some(State::SynReceived), place, "a SYN from the other side as well");
                if self.answered.is_some() {
                    self.receive(Kind::HandshakeAck, false, place);
                }
            }
            Some(state) if again && state != State::Closed => {
                // It did not take in what it was handed: its accept queue is full, or it waits for data
                // (TCP_DEFER_ACCEPT). A request takes in no data and no FIN either.
                self.receipts.retain(|receipt| matches!(receipt.kind, Kind::Rst { .. }));
                self.given = self.taken;
                if state == State::Established && !self.is_whole {
                    self.state = Some(State::SynReceived);
                }
            }
            _ => {
                if self.is_shown_first(State::SynReceived) {
                    self.first = Some(segment.seq);
                } else {
                    self.begin_anew(segment, place);
                }
                self.is_whole = self.peer_syn.is_some_and(|syn| segment.ack != syn.wrapping_add(1));
                self.go(Some(State::SynReceived), place, "its SYN, in answer to one");
            }
        }
    }

    /// Whatever was there with these two addresses is there no longer.
    fn begin_anew(&mut self, segment: &Segment, place: Place) {
        self.take_in_presumed(place);
        if self.state.is_some_and(|state| state != State::Closed) {
            self.go(Some(State::Closed), place, "its addresses are in use again");
        }
        let old = std::mem::take(self);
        *self = Self {
            state: Some(State::Closed),
            moves: old.moves,
            last: old.last,
            peer_syn: old.peer_syn,
            first: Some(segment.seq),
            is_on_the_wire: true,
            ..Self::default()
        };
    }

    fn sends_more(&mut self, segment: &Segment, place: Place) {
        let ack = segment.ack;
        raise(&mut self.next, segment.seq);
        let news = self.taken.is_some_and(|taken| is_before(taken, ack));
        match self.state {
            Some(State::SynSent) if self.answered.is_some_and(|end| !is_before(ack, end)) => {
                self.receipts.clear();
                self.go(Some(State::Established), place, "its ACK of the other side's SYN");
            }
            // A bare ACK that says nothing new may come from a request, too: it is an answer to a segment out of window.
            Some(State::SynReceived) if !self.is_whole && (news || segment.length > 0 || segment.flags.fin()) => {
                if let (Some((earlier, end)), Some(first)) = (self.earlier, self.receipts.first_mut())
                    && is_before(ack, end)
                {
                    first.place = earlier;
                }
                self.prove_fin(ack, place);
                self.prove_handshake(place);
            }
            _ => {}
        }
        // It was sent before a RST was taken in; or the RST was not accepted.
        self.receipts.sort_by_key(|receipt| matches!(receipt.kind, Kind::Rst { .. }));
        for receipt in &mut self.receipts {
            if let Kind::Rst { seq } = receipt.kind {
                receipt.place = receipt.place.max(place);
                receipt.presumed &= !is_before(ack, seq);
            }
        }
        self.prove_fin(ack, place);
        if segment.flags.fin() {
            self.sends_fin(segment.sequence_end(), place);
        }
    }

    fn sends_fin(&mut self, end: u32, place: Place) {
        if self.fin == Some(end) {
            // It does so because it has not taken in an ACK of it.
            return self.receipts.retain(|receipt| !matches!(receipt.kind, Kind::AckOfFin { .. }));
        }
        self.fin = Some(end);
        if self.receipts.first().is_some_and(|receipt| receipt.kind == Kind::HandshakeAck) {
            self.take_in(1, place);
        }
        match self.state {
            Some(State::Established | State::SynReceived) => self.go(Some(State::FinWait1), place, "its FIN"),
            Some(State::CloseWait) => self.go(Some(State::LastAck), place, "its FIN"),
            _ => {}
        }
        for receipt in &mut self.receipts {
            receipt.place = receipt.place.max(place);
        }
    }

    fn sends_rst(&mut self, segment: &Segment, place: Place) {
        // A socket that gives up sends its acknowledgement number along; an answer to a segment that nobody waits for
        // has none.
        let gives_up = segment.flags.ack();
        match self.state {
            Some(State::SynSent) => {
                if !gives_up && self.answered.is_some() && self.next == Some(segment.seq) {
                    self.go(Some(State::Closed), place, "its RST: nobody waits for this answer");
                }
                return;
            }
            // A request answers a wrong ACK with a RST, too, and stays.
            Some(State::SynReceived) if self.next != Some(segment.seq) => return,
            Some(State::SynReceived) if !gives_up => self.receipts.clear(),
            None | Some(State::Closed | State::Listen) => return,
            _ => {}
        }
        // It may be the answer to a segment before the ACK of its FIN, or be sent while that one waits for the socket.
        let crosses = |receipt: &Receipt| match gives_up {
            true => receipt.place.at + CROSSING > place.at,
            false => self.fin.is_some_and(|fin| is_before(segment.seq, fin)),
        };
        let is_missing = |receipt: &Receipt| match receipt.kind {
            Kind::Fin { end, .. } => !gives_up || is_before(segment.ack, end),
            Kind::AckOfFin { behind_data } => behind_data || crosses(receipt),
            _ => false,
        };
        let count = self.receipts.iter().position(is_missing).unwrap_or(self.receipts.len());
        self.take_in(count, place);
        if self.state != Some(State::TimeWait) {
            self.receipts.clear();
            if self.state != Some(State::Closed) {
                self.go(Some(State::Closed), place, "its RST");
            }
        }
    }

    /// Takes down a segment that was handed to this end. `has_room` says whether the accept queue would surely take one
    /// more. Whether the segment completes a handshake is returned.
    pub fn is_handed(&mut self, segment: &Segment, place: Place, has_room: bool) -> bool {
        self.is_on_the_wire = true;
        let flags = segment.flags;
        if flags.rst() {
            self.is_handed_rst(segment, place);
            return false;
        }
        if flags.syn() && !flags.ack() {
            self.peer_syn = Some(segment.seq);
            return false;
        }
        if self.state == Some(State::SynSent) {
            if flags.syn() && flags.ack() && self.is_answered_by(segment.ack) {
                self.answered = Some(segment.sequence_end());
                self.note_ack(segment);
            }
            return false;
        }
        if flags.fin() {
            self.peer_fin = Some(segment.sequence_end());
        }
        if flags.ack() && self.first.is_none() {
            self.note_ack(segment);
        }
        if !flags.ack() || !self.is_acceptable(segment) {
            return false;
        }
        let completes = self.is_handed_handshake_ack(segment, place, has_room);
        if !flags.syn() {
            self.is_handed_ack_and_fin(segment, place);
        }
        completes
    }

    fn is_answered_by(&self, ack: u32) -> bool {
        let (Some(first), Some(next)) = (self.first, self.next) else { return false };
        is_before(first, ack) && !is_before(next, ack)
    }

    /// RFC 9293, section 3.10.7.4, first check.
    fn is_acceptable(&self, segment: &Segment) -> bool {
        let Some(taken) = self.taken else { return false };
        !is_before(segment.sequence_end(), taken) && !is_before(taken.wrapping_add(self.offered), segment.seq)
    }

    fn is_handed_handshake_ack(&mut self, segment: &Segment, place: Place, has_room: bool) -> bool {
        if self.state != Some(State::SynReceived) || !self.is_answered_by(segment.ack) {
            return false;
        }
        // A crossing SYN may be answered by one more ACK first. A request that was noted turns into a socket if the accept
        // queue has room, and, with TCP_DEFER_ACCEPT, not before data comes.
        let carries_more = segment.length > 0 || segment.flags.fin();
        let presumed =
            if self.is_whole { !segment.flags.syn() } else { has_room && carries_more && !self.seen_half_open };
        let Some(first) = self.receipts.first_mut() else {
            self.receive(Kind::HandshakeAck, presumed, place);
            return !self.is_whole;
        };
        if first.kind == Kind::HandshakeAck && !first.presumed {
            first.presumed = presumed;
            // The one before may have been dropped.
            if carries_more && (first.late || first.place.at + SOON < place.at) {
                self.earlier = (!first.late).then_some((first.place, segment.sequence_end()));
                *first = Receipt { place, late: false, ..*first };
            }
        }
        false
    }

    fn is_handed_ack_and_fin(&mut self, segment: &Segment, place: Place) {
        self.note_ack(segment);
        let end = segment.sequence_end();
        let expected = self.expected();
        let acks_fin = self.fin.is_some_and(|fin| !is_before(segment.ack, fin));
        if acks_fin && matches!(expected, Some(State::FinWait1 | State::Closing | State::LastAck)) {
            self.receive(Kind::AckOfFin { behind_data: self.given != self.taken }, true, place);
        }
        let is_next = self.given.is_some_and(|given| !is_before(given, segment.seq) && is_before(given, end));
        if is_next {
            self.given = Some(end);
        }
        if !segment.flags.fin() {
            return;
        }
        let expected = self.expected();
        if is_next && matches!(expected, Some(State::Established | State::FinWait1 | State::FinWait2)) {
            let fits = self.taken.is_some_and(|taken| end.wrapping_sub(taken) <= self.offered);
            let ambiguous = self.may_hold_back();
            // After the first FIN an answer comes at once, and a closed socket may have other answers than an ACK.
            let presumed = fits && !ambiguous && expected == Some(State::Established);
            self.receive(Kind::Fin { end, ambiguous }, presumed, place);
        }
    }

    fn is_handed_rst(&mut self, segment: &Segment, place: Place) {
        let is_accepted = match self.state {
            Some(State::SynSent) => segment.flags.ack() && self.is_answered_by(segment.ack),
            // Linux takes one elsewhere in the window for a forgery, and asks back (RFC 5961, section 3.2).
            // Where the other side's FIN is not acknowledged yet, its RST may be numbered as if it had not sent one.
            Some(_) => {
                let behind_fin = self.peer_fin == self.given
                    && matches!(self.expected(), Some(State::CloseWait | State::LastAck | State::Closing));
                let exact = [self.given, self.given.filter(|_| behind_fin).map(|given| given.wrapping_sub(1))];
                exact.contains(&Some(segment.seq))
            }
            None => false,
        };
        let is_first = !self.receipts.iter().any(|receipt| matches!(receipt.kind, Kind::Rst { .. }));
        if is_accepted && is_first {
            self.receive(Kind::Rst { seq: segment.seq }, true, place);
        }
    }

    fn note_ack(&mut self, segment: &Segment) {
        if self.is_answered_by(segment.ack) || self.first.is_none() {
            raise(&mut self.acknowledged, segment.ack);
        }
        if self.acknowledged == self.next {
            self.in_flight = 0;
        }
        let scale = if segment.flags.syn() { 0 } else { segment.window_scale.unwrap_or(0).min(14) };
        self.window = u32::from(segment.window) << scale;
        self.widest = self.widest.max(self.window);
    }

    /// Whether a FIN may wait in its queue because the other side's window, the congestion window or pacing does not let
    /// it out. A little in flight holds nothing back: the first congestion window is ten segments (RFC 6928).
    fn may_hold_back(&self) -> bool {
        const LITTLE: u32 = 1024;
        let (Some(next), Some(acknowledged)) = (self.next, self.acknowledged) else { return true };
        let bytes = next.wrapping_sub(acknowledged);
        let has_little_in_flight = bytes == 0 || bytes <= LITTLE && self.in_flight <= 4 && !self.has_resent;
        // A sender waits for room for a full segment, which is at most half of the widest window.
        let has_room = self.window.saturating_sub(bytes) > self.widest / 2;
        !has_room || !has_little_in_flight
    }

    fn receive(&mut self, kind: Kind, presumed: bool, place: Place) {
        self.receipts.push(Receipt { place, kind, presumed, late: false });
    }

    /// The state that it is in once it has taken in everything.
    fn expected(&self) -> Option<State> {
        self.receipts.iter().fold(self.state, |state, receipt| receipt.kind.after(state))
    }

    /// When it has to be settled what to think of something that it was handed.
    pub fn is_due(&self) -> Option<Duration> {
        self.receipts.iter().filter(|receipt| !receipt.late).map(|receipt| receipt.place.at).min()
    }

    /// The first `count` receipts are confirmed.
    fn take_in(&mut self, count: usize, now: Place) {
        let mut taken: Vec<Receipt> = self.receipts.drain(..count).collect();
        // What is late was taken in before the next one at the latest.
        taken.iter_mut().rev().fold(now, |next, receipt| {
            receipt.place = if receipt.late { next } else { receipt.place };
            receipt.place
        });
        for receipt in taken {
            let place = receipt.place;
            let because = receipt.kind.because(self.state);
            self.go(receipt.kind.after(self.state), place, because);
        }
        // These had only been waiting for one before them.
        if self.receipts.first().is_some_and(|receipt| receipt.late && receipt.presumed) && count > 0 {
            self.take_in(1, now);
        }
    }

    fn take_in_presumed(&mut self, now: Place) {
        let count = self.receipts.iter().take_while(|receipt| receipt.presumed).count();
        self.take_in(count, now);
    }

    /// Time is up for what was handed to it up to `limit`: what is presumed counts, the rest has to be proven later.
    pub fn settle(&mut self, limit: Duration, now: Place) {
        let due = |receipt: &Receipt| receipt.place.at <= limit;
        self.earlier = self.earlier.filter(|(earlier, _)| earlier.at > limit);
        let count = self.receipts.iter().take_while(|receipt| due(receipt) && receipt.presumed).count();
        self.presumes = true;
        self.take_in(count, now);
        for receipt in self.receipts.iter_mut().filter(|receipt| due(receipt)) {
            receipt.late = true;
        }
        // A RST ends the connection whatever else was taken in before it.
        let ends = |receipt: &Receipt| receipt.late && receipt.presumed && matches!(receipt.kind, Kind::Rst { .. });
        if let Some(position) = self.receipts.iter().position(ends) {
            let place = self.receipts[position].place;
            self.receipts.clear();
            self.go(Kind::Rst { seq: 0 }.after(self.state), place, Kind::Rst { seq: 0 }.because(self.state));
        }
        self.presumes = false;
    }

    /// It has left SYN-RECEIVED by now.
    fn prove_handshake(&mut self, now: Place) {
        if self.state != Some(State::SynReceived) {
            return;
        }
        if self.receipts.first().is_some_and(|receipt| receipt.kind == Kind::HandshakeAck) {
            self.take_in(1, now);
        } else {
            self.go(Some(State::Established), now, "by now it has the ACK of its SYN");
        }
    }

    /// It acknowledges everything before `ack`.
    fn prove_fin(&mut self, ack: u32, now: Place) {
        let is_covered = |receipt: &Receipt| matches!(receipt.kind, Kind::Fin { end, .. } if !is_before(ack, end));
        if let Some(position) = self.receipts.iter().position(is_covered) {
            return self.take_in(position + 1, now);
        }
        for receipt in self.receipts.iter_mut().filter(|receipt| matches!(receipt.kind, Kind::Fin { .. })) {
            receipt.presumed = false;
        }
        // It came out of order, and the gap before it is closed.
        if let Some(end) = self.peer_fin.filter(|&end| !is_before(ack, end)) {
            let kind = Kind::Fin { end, ambiguous: self.may_hold_back() };
            if kind.after(self.state) != self.state {
                self.receive(kind, false, now);
                self.take_in(self.receipts.len(), now);
            }
        }
    }

    /// accept() has returned it.
    pub fn is_accepted(&mut self, now: Place) {
        if self.state == Some(State::SynReceived) && !self.is_whole {
            self.prove_handshake(now);
        }
    }

    /// connect() has returned 0 for it.
    pub fn is_connected(&mut self, now: Place) {
        if self.state == Some(State::SynSent) {
            self.go(Some(State::Established), now, "connect() says so");
        }
    }

    /// shutdown() of its sending direction has returned 0. The FIN may still wait behind data.
    pub fn is_shut_down(&mut self, now: Place) {
        // With something on its way to it, the order of the two would not be known.
        if self.fin.is_some() || !self.receipts.is_empty() {
            return;
        }
        match self.state {
            Some(State::Established) => self.go(Some(State::FinWait1), now, "shutdown(): its FIN waits behind data"),
            Some(State::CloseWait) => self.go(Some(State::LastAck), now, "shutdown(): its FIN waits behind data"),
            _ => {}
        }
    }

    /// A sample of `at` showed it in this state. True where one of the receipts explains that, which is confirmed then.
    pub fn is_explained(&mut self, shown: State, at: Duration, now: Place) -> bool {
        let mut state = self.state;
        let mut found = None;
        for (index, receipt) in self.receipts.iter().enumerate().filter(|(_, receipt)| receipt.place.at <= at) {
            let before = state;
            let kind = receipt.kind.had_it_led_to(shown);
            state = kind.after(before);
            if state == Some(shown) && before != state {
                found = Some((index, kind));
            }
        }
        let Some((index, kind)) = found else { return false };
        self.receipts[index].kind = kind;
        self.take_in(index + 1, now);
        true
    }

    /// A sample of `at` showed it in the state that it was in before anything is taken in: so that is not taken for
    /// granted any longer. If it is taken in after all, a later sample will show it, or the end itself.
    pub fn is_confirmed(&mut self, at: Duration) {
        self.seen_half_open |= self.state == Some(State::SynReceived);
        for receipt in self.receipts.iter_mut().filter(|receipt| receipt.place.at <= at) {
            receipt.presumed = false;
        }
    }

    /// A sample showed it in a state that nothing explains: that is its state, unless what it sent says otherwise.
    pub fn is_in_fact(&mut self, shown: State, now: Place) {
        self.receipts.clear();
        let has_sent_fin = self.fin.is_some();
        let has_taken_fin = self.peer_fin.zip(self.taken).is_some_and(|(end, taken)| !is_before(taken, end));
        let fits = match shown {
            State::Established => !has_sent_fin && !has_taken_fin,
            State::CloseWait => !has_sent_fin,
            State::FinWait1 | State::FinWait2 => !has_taken_fin,
            _ => true,
        };
        let opens_crossing = self.state == Some(State::SynSent) && shown == State::SynReceived;
        if matches!(shown, State::SynSent | State::SynReceived) && !opens_crossing {
            // A new connection between the same two addresses.
            *self = Self { peer_syn: self.peer_syn, is_on_the_wire: true, last: self.last, ..Self::default() };
            self.state = Some(shown);
        } else {
            self.state = fits.then_some(shown);
        }
        self.seen_half_open |= shown == State::SynReceived;
        self.last = self.last.max(Some(now));
    }

    fn go(&mut self, to: Option<State>, place: Place, because: &'static str) {
        if let (Some(before), Some(after)) = (self.state, to)
            && before != after
        {
            let place = self.last.map_or(place, |last| last.max(place));
            self.last = Some(place);
            self.moves.push(Move { place, before, after, because, is_presumed: self.presumes });
        }
        self.state = to;
    }
}
