//! Questions about TCP and UDP sockets, and the kernel's answers (sock_diag(7), `linux/inet_diag.h`).

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Malformed, Reader};
use crate::event::{Endpoint, Protocol, Socket, State, Timer, TimerKind};

/// `SOCK_DIAG_BY_FAMILY`: the type of a request, and of each answer.
pub const BY_FAMILY: u16 = 20;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IPPROTO_TCP: u8 = 6;
const IPPROTO_UDP: u8 = 17;
const REQUEST_BYTECODE: u16 = 1;

/// IP, in its two versions. The kernel is asked for one at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Version {
    /// AF_INET.
    V4,
    /// AF_INET6, IPv4 clients of a dual-stack socket included.
    V6,
}

/// Which sockets to ask for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Query {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// IPv4 or IPv6.
    pub version: Version,
    /// In which states.
    pub which: Which,
    /// Only those with this port at one end.
    pub port: Option<u16>,
}

/// In which states. Listening sockets are in a table of their own, which the kernel walks as well unless it is left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Which {
    /// In any.
    All,
    /// Listening ones.
    Listening,
    /// All but the listening ones.
    Connections,
}

/// The body of a request for a single listening socket, the one that a client of this address would get to.
pub fn listening_at(address: SocketAddr) -> Vec<u8> {
    let family = if address.is_ipv4() { AF_INET } else { AF_INET6 };
    let mut body = vec![family, IPPROTO_TCP, 0, 0];
    body.extend(0x1ffe_u32.to_ne_bytes());
    body.extend(address.port().to_be_bytes());
    body.extend([0; 2]);
    match address {
        SocketAddr::V4(v4) => body.extend(v4.ip().octets()),
        SocketAddr::V6(v6) => body.extend(v6.ip().octets()),
    }
    // The other end, any interface; whatever cookie it has.
    body.resize(48, 0);
    body.extend([0xff; 8]);
    body
}

impl Query {
    /// The body of the request: an `inet_diag_req_v2` of 56 bytes and, for a port, a filter that the kernel runs.
    pub fn body(&self) -> Vec<u8> {
        let family = match self.version {
            Version::V4 => AF_INET,
            Version::V6 => AF_INET6,
        };
        let protocol = if self.protocol == Protocol::Udp { IPPROTO_UDP } else { IPPROTO_TCP };
        // One bit per state. Bit 13, bound but neither listening nor connected, is left out: it costs a walk of its own.
        let listening = 1_u32 << State::Listen as u8;
        let states = match self.which {
            Which::All => 0x1ffe,
            Which::Listening => listening,
            Which::Connections => 0x1ffe & !listening,
        };
        let mut body = vec![family, protocol, 0, 0];
        body.extend(states.to_ne_bytes());
        // The identity of a single socket: not used by a dump.
        body.resize(56, 0);
        if let Some(port) = self.port {
            let filter = either_end_has(port);
            body.extend(((4 + filter.len()) as u16).to_ne_bytes());
            body.extend(REQUEST_BYTECODE.to_ne_bytes());
            body.extend(filter);
        }
        body
    }
}

/// A filter program: source port equal, or destination port equal.
///
/// Each instruction is a code, the jump if it holds and the jump if not, in bytes; a comparison is followed by a word with
/// the port. A jump to the end accepts, one to four bytes behind it rejects.
fn either_end_has(port: u16) -> Vec<u8> {
    const JUMP: u8 = 1;
    const SOURCE_PORT_IS: u8 = 11;
    const DESTINATION_PORT_IS: u8 = 12;
    let instruction = |code: u8, yes: u8, no: u16| [&[code, yes], no.to_ne_bytes().as_slice()].concat();
    let operand = instruction(0, 0, port);
    [
        instruction(SOURCE_PORT_IS, 8, 12),
        operand.clone(),
        instruction(JUMP, 4, 12),
        instruction(DESTINATION_PORT_IS, 8, 12),
        operand,
    ]
    .concat()
}

/// An `inet_diag_msg`: 72 bytes, and attributes that were not asked for.
pub fn socket(protocol: Protocol, body: &[u8]) -> Result<Socket, Malformed> {
    let malformed = Malformed { what: "inet_diag message", length: body.len() };
    let mut reader = Reader::new(body, malformed.what);
    let family = reader.u8()?;
    let state = State::from_kernel(reader.u8()?).ok_or(malformed)?;
    let (timer, expirations) = (reader.u8()?, reader.u8()?);
    let (local_port, remote_port) = (reader.big_endian_u16()?, reader.big_endian_u16()?);
    let (local, remote) = (reader.take()?, reader.take()?);
    let _interface = reader.u32()?;
    let cookie = u64::from(reader.u32()?) | u64::from(reader.u32()?) << 32;
    let left_ms = reader.u32()?;
    let receive_queue = reader.u32()?;
    let send_queue = reader.u32()?;
    let uid = reader.u32()?;
    let inode = reader.u32()?;
    Ok(Socket {
        protocol,
        state,
        local: Endpoint::Inet(address(family, local, local_port).ok_or(malformed)?),
        remote: Endpoint::Inet(address(family, remote, remote_port).ok_or(malformed)?),
        receive_queue,
        send_queue,
        uid,
        inode,
        cookie,
        timer: timer_kind(timer).map(|kind| Timer { kind, left_ms, expirations }),
        owners: Vec::new(),
    })
}

/// Sixteen bytes in network byte order, of which IPv4 uses the first four.
fn address(family: u8, bytes: [u8; 16], port: u16) -> Option<SocketAddr> {
    match (family, bytes) {
        (AF_INET, [a, b, c, d, ..]) => Some(SocketAddr::from((Ipv4Addr::new(a, b, c, d), port))),
        (AF_INET6, bytes) => Some(SocketAddr::from((Ipv6Addr::from(bytes), port))),
        _ => None,
    }
}

fn timer_kind(number: u8) -> Option<TimerKind> {
    match number {
        1 => Some(TimerKind::Retransmit),
        2 => Some(TimerKind::Keepalive),
        3 => Some(TimerKind::TimeWait),
        4 => Some(TimerKind::ZeroWindowProbe),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An established IPv4 connection, 127.0.0.1:7001 from 127.0.0.1:51234, with 6 bytes to be read.
    fn established() -> Vec<u8> {
        let mut bytes = vec![AF_INET, 1, 2, 0, 0x1b, 0x59, 0xc8, 0x22];
        for address in [[127, 0, 0, 1], [127, 0, 0, 1]] {
            bytes.extend(address);
            bytes.extend([0; 12]);
        }
        for word in [0_u32, 0x11, 0x22, 7200, 6, 0, 1000, 4242] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes
    }

    #[test]
    fn an_established_connection_is_read_with_both_ends_and_its_queues() {
        let socket = socket(Protocol::Tcp, &established()).unwrap();
        assert_eq!(
            (socket.local.to_string(), socket.remote.to_string()),
            ("127.0.0.1:7001".into(), "127.0.0.1:51234".into())
        );
        assert_eq!((socket.state, socket.receive_queue, socket.send_queue), (State::Established, 6, 0));
        assert_eq!((socket.uid, socket.inode, socket.cookie), (1000, 4242, 0x22_0000_0011));
        assert_eq!(socket.timer, Some(Timer { kind: TimerKind::Keepalive, left_ms: 7200, expirations: 0 }));
    }

    #[test]
    fn an_ipv6_address_uses_all_sixteen_bytes() {
        let mut bytes = established();
        bytes[0] = AF_INET6;
        bytes[8..24].copy_from_slice(&Ipv6Addr::LOCALHOST.octets());
        assert_eq!(socket(Protocol::Tcp, &bytes).unwrap().local.to_string(), "[::1]:7001");
    }

    #[test]
    fn a_cut_message_or_an_unknown_number_is_an_error_and_never_a_panic() {
        let whole = established();
        for end in 0..whole.len() {
            assert!(socket(Protocol::Tcp, &whole[..end]).is_err(), "cut at {end}");
        }
        for (position, number) in [(0, 99), (1, 0), (1, 13)] {
            let mut wrong = whole.clone();
            wrong[position] = number;
            assert!(socket(Protocol::Tcp, &wrong).is_err());
        }
    }

    #[test]
    fn a_query_for_a_port_carries_a_filter_and_one_for_all_does_not() {
        let query = Query { protocol: Protocol::Tcp, version: Version::V4, which: Which::All, port: None };
        assert_eq!(query.body().len(), 56);
        let for_port = Query { port: Some(7001), ..query }.body();
        assert_eq!(for_port.len(), 56 + 4 + 20);
        assert_eq!(for_port[4..8], 0x1ffe_u32.to_ne_bytes());
        let connections = Query { which: Which::Connections, ..query }.body();
        assert_eq!(connections[4..8], 0x1bfe_u32.to_ne_bytes());
    }

    #[test]
    fn a_request_for_one_listening_socket_has_its_address_and_any_cookie() {
        let body = listening_at("127.0.0.1:7001".parse().unwrap());
        assert_eq!(body.len(), 56);
        assert_eq!(body[8..16], [0x1b, 0x59, 0, 0, 127, 0, 0, 1]);
        assert_eq!(body[48..], [0xff; 8]);
    }
}
