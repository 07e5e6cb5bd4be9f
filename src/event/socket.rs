//! Sockets as the kernel describes them.

use std::fmt::{self, Display};
use std::net::SocketAddr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The protocol of a socket.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// A TCP socket, over IPv4 or IPv6.
    Tcp,
    /// A UDP socket, over IPv4 or IPv6.
    Udp,
    /// A Unix socket that carries a stream of bytes.
    UnixStream,
    /// A Unix socket that carries datagrams.
    UnixDatagram,
    /// A Unix socket that carries a sequence of packets.
    UnixSeqpacket,
}

/// The state of a TCP socket (RFC 9293, section 3.3.2). Other sockets use three of them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum State {
    /// Data can flow in both directions.
    Established = 1,
    /// A SYN was sent; no answer yet.
    SynSent = 2,
    /// A SYN was received and answered; the handshake's last ACK is missing.
    SynReceived = 3,
    /// Our FIN was sent; not acknowledged yet.
    FinWait1 = 4,
    /// Our FIN is acknowledged; the peer has not sent its own.
    FinWait2 = 5,
    /// Both FINs are through; the side that sent the first one waits for stragglers.
    TimeWait = 6,
    /// No connection.
    Closed = 7,
    /// The peer's FIN has come; the program has not closed yet.
    CloseWait = 8,
    /// The program has closed too; its FIN is not acknowledged yet.
    LastAck = 9,
    /// A listening socket.
    Listen = 10,
    /// Both sides sent a FIN at the same time; ours is not acknowledged yet.
    Closing = 11,
}

impl State {
    /// Every state, in the kernel's numbering (`include/net/tcp_states.h`).
    pub const ALL: [Self; 11] = [
        Self::Established,
        Self::SynSent,
        Self::SynReceived,
        Self::FinWait1,
        Self::FinWait2,
        Self::TimeWait,
        Self::Closed,
        Self::CloseWait,
        Self::LastAck,
        Self::Listen,
        Self::Closing,
    ];

    /// The state with the kernel's number. Its number 12 is a half-open connection on its way into an accept queue, and
    /// counts as SYN-RECEIVED.
    pub fn from_kernel(number: u8) -> Option<Self> {
        match number {
            12 => Some(Self::SynReceived),
            _ => Self::ALL.into_iter().find(|state| *state as u8 == number),
        }
    }

    /// Its name as RFC 9293 writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Established => "ESTABLISHED",
            Self::SynSent => "SYN-SENT",
            Self::SynReceived => "SYN-RECEIVED",
            Self::FinWait1 => "FIN-WAIT-1",
            Self::FinWait2 => "FIN-WAIT-2",
            Self::TimeWait => "TIME-WAIT",
            Self::Closed => "CLOSED",
            Self::CloseWait => "CLOSE-WAIT",
            Self::LastAck => "LAST-ACK",
            Self::Listen => "LISTEN",
            Self::Closing => "CLOSING",
        }
    }
}

impl Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for State {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for State {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let found = Self::ALL.into_iter().find(|state| state.name() == name);
        found.ok_or_else(|| serde::de::Error::custom(format!("{name:?} is no state of a socket")))
    }
}

/// One end of a connection.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Endpoint {
    /// Address and port.
    Inet(SocketAddr),
    /// The path of a Unix socket; an abstract name begins with `@`.
    Path(String),
    /// A Unix socket that was never bound.
    Unnamed,
}

impl Endpoint {
    /// The port, where there is one.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Inet(address) => Some(address.port()),
            Self::Path(_) | Self::Unnamed => None,
        }
    }

    /// The end by which it is known to others: see [`canonical`].
    pub fn canonical(&self) -> Self {
        match self {
            Self::Inet(address) => Self::Inet(canonical(*address)),
            other => other.clone(),
        }
    }

    /// Whether both are the same end, though one may be written as IPv4 and the other as an IPv6 socket has it.
    pub fn is_same_as(&self, other: &Self) -> bool {
        self.canonical() == other.canonical()
    }
}

/// An IPv4 address as such, where an IPv6 socket has it as `::ffff:127.0.0.1`: its segments carry it as such, too.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip if ip == address.ip() => address,
        ip => SocketAddr::new(ip, address.port()),
    }
}

impl Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(address) if address.port() == 0 => f.pad("*"),
            Self::Inet(address) => address.fmt(f),
            Self::Path(path) => f.pad(path),
            Self::Unnamed => f.pad("(unnamed)"),
        }
    }
}

impl Serialize for Endpoint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(match text.as_str() {
            "*" => Self::Inet(SocketAddr::from(([0, 0, 0, 0], 0))),
            "(unnamed)" => Self::Unnamed,
            _ => text.parse().map_or_else(|_| Self::Path(text), Self::Inet),
        })
    }
}

/// A socket as the kernel described it at one moment.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Socket {
    /// Its protocol.
    pub protocol: Protocol,
    /// Its state.
    pub state: State,
    /// Its own end.
    pub local: Endpoint,
    /// The other end; port 0 and address 0 where there is none.
    pub remote: Endpoint,
    /// LISTEN: connections in the accept queue. Otherwise: bytes that have arrived and were not read.
    pub receive_queue: u32,
    /// LISTEN: how many the accept queue may hold. Otherwise: bytes that were written and are not acknowledged.
    pub send_queue: u32,
    /// Who set it up.
    pub uid: u32,
    /// The number of its inode; 0 while no process has it (not accepted yet, or closed already).
    pub inode: u32,
    /// The kernel's own number for it. A TIME-WAIT remnant has another one than the socket that it remains of.
    #[serde(skip)]
    pub cookie: u64,
    /// The timer that runs, and what is left of it.
    pub timer: Option<Timer>,
    /// The processes that hold it, as far as this user may know.
    pub owners: Vec<Owner>,
}

impl Socket {
    /// Whether its queues count connections and not bytes.
    pub fn is_listening(&self) -> bool {
        self.state == State::Listen
    }

    /// Whether it is a connection that the kernel has established and no process has accepted yet.
    pub fn waits_for_accept(&self) -> bool {
        self.protocol == Protocol::Tcp && self.inode == 0 && matches!(self.state, State::Established | State::CloseWait)
    }
}

/// A timer of a TCP socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Timer {
    /// What it is for.
    pub kind: TimerKind,
    /// What is left of it, in milliseconds.
    pub left_ms: u32,
    /// How often it has expired in a row.
    pub expirations: u8,
}

/// What a TCP socket's timer is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TimerKind {
    /// Sends again what was not acknowledged.
    Retransmit,
    /// Asks whether the peer is still there.
    Keepalive,
    /// Ends TIME-WAIT, or a FIN-WAIT-2 that no process owns.
    TimeWait,
    /// Asks whether the peer's window has opened.
    ZeroWindowProbe,
}

/// A process that holds a socket.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Owner {
    /// The process's name, as `/proc/PID/comm` has it: at most 15 bytes, chosen by the process.
    pub name: String,
    /// Its process id.
    pub pid: u32,
    /// The number of the file descriptor.
    pub fd: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv4_address_is_the_same_end_in_an_ipv6_socket_and_no_other_is() {
        let end = |text: &str| Endpoint::Inet(text.parse().unwrap());
        assert!(end("[::ffff:127.0.0.1]:7002").is_same_as(&end("127.0.0.1:7002")));
        assert_eq!(end("[::ffff:127.0.0.1]:7002").canonical().to_string(), "127.0.0.1:7002");
        for other in ["127.0.0.1:7003", "[::127.0.0.1]:7002", "[::1]:7002"] {
            assert!(!end("127.0.0.1:7002").is_same_as(&end(other)), "{other}");
        }
        let path = Endpoint::Path("[::ffff:127.0.0.1]:7002".into());
        assert!(path.is_same_as(&path) && !path.is_same_as(&end("127.0.0.1:7002")));
    }

    #[test]
    fn every_state_has_the_number_that_the_kernel_gives_it() {
        for state in State::ALL {
            assert_eq!(State::from_kernel(state as u8), Some(state));
        }
        assert_eq!(State::from_kernel(12), Some(State::SynReceived));
        assert_eq!(State::from_kernel(0), None);
        assert_eq!(State::from_kernel(13), None);
    }
}
