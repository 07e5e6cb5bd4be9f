//! What an end was handed and has perhaps taken in, and what comes of it.

use std::time::Duration;

use crate::event::State;

/// A place in the stream: a time, and the number of the event there. What is inferred comes right behind the event.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Place {
    pub at: Duration,
    pub event: u64,
}

/// A change of state, to be told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Move {
    pub place: Place,
    pub before: State,
    pub after: State,
    pub because: &'static str,
    /// Whether nothing but the lack of a contradiction speaks for it.
    pub is_presumed: bool,
}

/// A segment was handed to the end, and changes its state if the end takes it in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Receipt {
    pub place: Place,
    pub kind: Kind,
    /// Believed unless something contradicts it in time.
    pub presumed: bool,
    /// Its own place has been passed: once it is confirmed, it is told where the confirmation is.
    pub late: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// The last one of three.
    HandshakeAck,
    AckOfFin {
        /// Data was handed to the end before, and is not acknowledged: if nobody reads any more it is answered by a RST,
        /// and the end is closed before it comes to this ACK.
        behind_data: bool,
    },
    Fin {
        /// The sequence number behind it.
        end: u32,
        /// The end may have a FIN of its own in its queue, held back by what it has in flight: CLOSE-WAIT or CLOSING?
        ambiguous: bool,
    },
    Rst {
        seq: u32,
    },
}

impl Kind {
    /// The state after it; `None` where it cannot be known.
    pub fn after(self, state: Option<State>) -> Option<State> {
        let state = state?;
        match (self, state) {
            (Self::HandshakeAck, State::SynReceived) => Some(State::Established),
            (Self::AckOfFin { .. }, State::FinWait1) => Some(State::FinWait2),
            (Self::AckOfFin { .. }, State::Closing) | (Self::Fin { .. }, State::FinWait2) => Some(State::TimeWait),
            (Self::AckOfFin { .. }, State::LastAck) => Some(State::Closed),
            (Self::Fin { ambiguous: true, .. }, State::Established) => None,
            (Self::Fin { .. }, State::Established) => Some(State::CloseWait),
            (Self::Fin { .. }, State::FinWait1) => Some(State::Closing),
            // Whether a RST ends TIME-WAIT depends on net.ipv4.tcp_rfc1337.
            (Self::Rst { .. }, state) if state != State::TimeWait => Some(State::Closed),
            _ => Some(state),
        }
    }

    /// A sample that shows CLOSE-WAIT tells that no FIN was held back.
    pub fn had_it_led_to(self, shown: State) -> Self {
        match self {
            Self::Fin { end, .. } if shown == State::CloseWait => Self::Fin { end, ambiguous: false },
            kind => kind,
        }
    }

    pub fn because(self, before: Option<State>) -> &'static str {
        match (self, before) {
            (Self::HandshakeAck, _) => "the ACK of its SYN",
            (Self::AckOfFin { .. }, _) => "the ACK of its FIN",
            (Self::Fin { .. }, _) => "the other side's FIN",
            (Self::Rst { .. }, Some(State::SynSent)) => "refused: a RST answers its SYN",
            (Self::Rst { .. }, _) => "the other side's RST",
        }
    }
}

/// `a` comes before `b` in the sequence space, which wraps.
pub(super) fn is_before(a: u32, b: u32) -> bool {
    a.wrapping_sub(b).cast_signed() < 0
}

/// Raises `known` to `value`, if that is further on.
pub(super) fn raise(known: &mut Option<u32>, value: u32) {
    if known.is_none_or(|known| is_before(known, value)) {
        *known = Some(value);
    }
}
