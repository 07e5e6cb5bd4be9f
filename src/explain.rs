//! What a state means, in a sentence, for a learner who sees it for the first time.

use crate::event::{Protocol, Socket, State};

/// Something that is explained once per run.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Topic {
    /// A state of a TCP connection or listening socket.
    State(State),
    /// A connection that is established, but that no process has accepted.
    Unaccepted,
    /// A socket for datagrams.
    Datagrams,
    /// A Unix socket in this state.
    Unix(State),
}

impl Topic {
    /// What there is to explain about this socket.
    pub fn of(socket: &Socket) -> Self {
        match socket.protocol {
            Protocol::Tcp if socket.waits_for_accept() => Self::Unaccepted,
            Protocol::Tcp => Self::State(socket.state),
            Protocol::Udp => Self::Datagrams,
            _ => Self::Unix(socket.state),
        }
    }

    /// What the sentence is about, as it is printed before it.
    pub fn name(self) -> &'static str {
        match self {
            Self::State(state) | Self::Unix(state) => state.name(),
            Self::Unaccepted => "not accepted",
            Self::Datagrams => "UDP",
        }
    }

    /// The sentence.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::State(state) => tcp(state),
            Self::Unaccepted => {
                "the kernel has finished the handshake and keeps the connection in the accept queue; no process has it \
                 until the server calls accept(). What the client sends meanwhile is kept, and counted under recv-q."
            }
            Self::Datagrams => {
                "there are no connections and no handshake. CLOSED means bound only; ESTABLISHED means that connect() \
                 has fixed the peer, without a single packet."
            }
            Self::Unix(State::Listen) => "a listening socket whose address is a file; accept() works as with TCP.",
            Self::Unix(State::Established) => {
                "two sockets of this machine are joined. There are no segments, no ports and no TIME-WAIT."
            }
            Self::Unix(_) => "a Unix socket that is not connected.",
        }
    }
}

fn tcp(state: State) -> &'static str {
    match state {
        State::Listen => {
            "a listening socket. It never carries data: the kernel answers SYNs in its name, and queues the finished \
             connections for accept()."
        }
        State::SynSent => "connect() has sent a SYN, and the answer is not here yet.",
        State::SynReceived => "a SYN has come and was answered with SYN+ACK; the last ACK of the handshake is missing.",
        State::Established => "the handshake is done; bytes may flow in both directions.",
        State::FinWait1 => "this side closed first: its FIN is out and not acknowledged yet.",
        State::FinWait2 => {
            "this side's FIN is acknowledged: it sends no more, but can still receive, until the other side closes too."
        }
        State::CloseWait => {
            "the other side has sent its FIN: it will send no more, and read() returns 0. This side's program has not \
             closed yet. A socket that stays here belongs to a program that forgot to."
        }
        State::LastAck => "this side closed second: its FIN is out, and after the last ACK the connection is gone.",
        State::Closing => "both sides sent a FIN at the same moment; this side's is not acknowledged yet.",
        State::TimeWait => {
            "this side closed first, and both directions are finished. The kernel keeps the pair of addresses for a \
             minute, in case the last ACK was lost or an old segment comes late. No process owns it."
        }
        State::Closed => "no connection: not listening, not connected, or over.",
    }
}
