//! Segments as a file for Wireshark and tshark: pcapng (draft-ietf-opsawg-pcapng).
//!
//! Each packet has its time to the nanosecond, its direction as seen from the server and, where one can be found, a
//! comment that names the system call during which it was sent. That call is inferred: one that can send such a segment,
//! on the same end of the same connection, entered before the segment and not returned by then.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::{Duration, UNIX_EPOCH};

use crate::event::{Call, Endpoint, Event, Named, Segment, Transport, What, Who, canonical};
use crate::record::Header;
use crate::view::notation;
use crate::view::paint::harmless;

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const ENHANCED_PACKET: u32 = 6;

const OPTION_COMMENT: u16 = 1;
const SECTION_HARDWARE: u16 = 2;
const SECTION_OS: u16 = 3;
const SECTION_APPLICATION: u16 = 4;
const INTERFACE_NAME: u16 = 2;
const INTERFACE_RESOLUTION: u16 = 9;
const PACKET_FLAGS: u16 = 2;

/// `LINKTYPE_RAW`: a packet begins with its IP header, of either version.
const RAW_IP: u16 = 101;
/// The longest packet that Wireshark takes.
const LONGEST_PACKET: usize = 262_144;
/// No option is longer: a comment is to be read.
const LONGEST_OPTION: usize = 1000;

/// What became of the segments.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Summary {
    /// How many packets are in the file.
    pub written: u64,
    /// How many segments are not, because their bytes were not recorded.
    pub without_bytes: u64,
}

/// Writes the segments among the events that it is given, in one pass.
pub struct Pcapng<W: Write> {
    out: W,
    header: Header,
    calls: Calls,
    summary: Summary,
}

impl<W: Write> Pcapng<W> {
    /// Begins the file with what is known about the run: its title, its machine, its kernel.
    pub fn new(mut out: W, header: &Header) -> io::Result<Self> {
        out.write_all(&section_header(header))?;
        out.write_all(&interface_description())?;
        Ok(Self { out, header: header.clone(), calls: Calls::default(), summary: Summary::default() })
    }

    /// The port on which the server turned out to listen.
    pub fn set_server_port(&mut self, port: Option<u16>) {
        self.header.server_port = port;
    }

    /// Writes the packet where the event is a segment, and keeps in mind which calls are running.
    pub fn event(&mut self, event: &Event) -> io::Result<()> {
        match &event.what {
            What::Called(call) => self.calls.entered(event.at, &event.who, call),
            What::Returned(call) => self.calls.returned(event.at, call.id),
            What::Segment(segment) if segment.packet.is_empty() => self.summary.without_bytes += 1,
            What::Segment(segment) => {
                self.out.write_all(&self.packet(event.at, segment))?;
                self.summary.written += 1;
            }
            _ => {}
        }
        Ok(())
    }

    /// Hands on what was written so far.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Hands on the rest, and says what is in the file.
    pub fn finish(mut self) -> io::Result<Summary> {
        self.out.flush()?;
        Ok(self.summary)
    }

    fn packet(&self, at: Duration, segment: &Segment) -> Vec<u8> {
        let since = self.header.started.duration_since(UNIX_EPOCH).unwrap_or_default().saturating_add(at);
        let nanos = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        let captured = &segment.packet[..segment.packet.len().min(LONGEST_PACKET)];
        let length = (segment.packet_length as usize).max(segment.packet.len());
        let mut block = Block::new(ENHANCED_PACKET);
        for word in [0, (nanos >> 32) as u32, nanos as u32, captured.len() as u32, length as u32] {
            block.bytes.extend(word.to_ne_bytes());
        }
        block.padded(captured);
        if let Some(flags) = self.direction(segment) {
            block.option(PACKET_FLAGS, &flags.to_ne_bytes());
        }
        if let Some(comment) = self.calls.sender_of(at, segment) {
            block.text(OPTION_COMMENT, comment);
        }
        block.finish()
    }

    /// The lowest two bits of a packet's flags: 1 inbound, 2 outbound, as the server sees it.
    fn direction(&self, segment: &Segment) -> Option<u32> {
        let port = self.header.server_port?;
        match (segment.to.port() == port, segment.from.port() == port) {
            (true, _) => Some(1),
            (false, true) => Some(2),
            (false, false) => None,
        }
    }
}

fn section_header(header: &Header) -> Vec<u8> {
    let mut block = Block::new(SECTION_HEADER);
    // By it a reader knows this machine's byte order.
    block.bytes.extend(0x1a2b_3c4d_u32.to_ne_bytes());
    for version in [1_u16, 0] {
        block.bytes.extend(version.to_ne_bytes());
    }
    // How long the section is, nobody knows yet.
    block.bytes.extend((-1_i64).to_ne_bytes());
    block.text(SECTION_HARDWARE, &header.machine);
    block.text(SECTION_OS, &header.kernel);
    block.text(SECTION_APPLICATION, concat!("socklab ", env!("CARGO_PKG_VERSION")));
    block.text(OPTION_COMMENT, &header.title);
    block.finish()
}

fn interface_description() -> Vec<u8> {
    let mut block = Block::new(INTERFACE_DESCRIPTION);
    for half in [RAW_IP, 0] {
        block.bytes.extend(half.to_ne_bytes());
    }
    // However long a packet is, it may be there as a whole.
    block.bytes.extend(0_u32.to_ne_bytes());
    block.text(INTERFACE_NAME, "lo");
    // Times are in units of 10⁻⁹ s.
    block.option(INTERFACE_RESOLUTION, &[9]);
    block.finish()
}

/// A block: its type and length, what is in it in whole words, its options, and its length once more.
struct Block {
    bytes: Vec<u8>,
    has_options: bool,
}

impl Block {
    fn new(kind: u32) -> Self {
        let mut bytes = kind.to_ne_bytes().to_vec();
        // The length, not known yet.
        bytes.extend([0; 4]);
        Self { bytes, has_options: false }
    }

    fn padded(&mut self, value: &[u8]) {
        self.bytes.extend(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn option(&mut self, code: u16, value: &[u8]) {
        self.has_options = true;
        self.bytes.extend(code.to_ne_bytes());
        self.bytes.extend((value.len() as u16).to_ne_bytes());
        self.padded(value);
    }

    /// An option that is text from outside; left out where there is none.
    fn text(&mut self, code: u16, text: &str) {
        if !text.is_empty() {
            self.option(code, shortened(&harmless(shortened(text).as_bytes())).as_bytes());
        }
    }

    fn finish(mut self) -> Vec<u8> {
        if self.has_options {
            // opt_endofopt.
            self.bytes.extend([0; 4]);
        }
        let length = (self.bytes.len() as u32 + 4).to_ne_bytes();
        self.bytes[4..8].copy_from_slice(&length);
        self.bytes.extend(length);
        self.bytes
    }
}

fn shortened(text: &str) -> &str {
    let mut end = text.len().min(LONGEST_OPTION);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// How many calls that have not returned are kept in mind. Of more, the oldest are forgotten: they miss a comment.
const RUNNING: usize = 1024;
/// How many calls that have returned are kept in mind, for a segment that is told of late.
const RETURNED: usize = 64;

/// The calls that may have sent the next segment: so few that a run of any length takes no more memory.
#[derive(Default)]
struct Calls {
    running: VecDeque<Sending>,
    returned: VecDeque<Sending>,
}

/// A call that can send segments.
struct Sending {
    id: u64,
    kind: Kind,
    on: On,
    entered: Duration,
    returned: Option<Duration>,
    comment: String,
}

/// What a call makes the kernel send.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Connects,
    SendsData,
    Closes,
}

/// The socket that a call is on.
enum On {
    Connected(SocketAddr, SocketAddr),
    /// Without a peer: then its arguments say who it is for.
    Unconnected {
        local: Option<SocketAddr>,
        arguments: String,
    },
}

impl Calls {
    fn entered(&mut self, at: Duration, who: &Who, call: &Call) {
        let (Some(kind), Some(on)) = (Kind::of(&call.name), On::of(call)) else { return };
        let by = match who {
            Who::Program { role, pid } => format!(" by {} (pid {pid})", harmless(role.as_bytes())),
            _ => String::new(),
        };
        let comment = shortened(&format!("during {}{by}", notation::call(call))).to_owned();
        keep(&mut self.running, Sending { id: call.id, kind, on, entered: at, returned: None, comment }, RUNNING);
    }

    fn returned(&mut self, at: Duration, id: u64) {
        if let Some(place) = self.running.iter().position(|call| call.id == id)
            && let Some(call) = self.running.remove(place)
        {
            keep(&mut self.returned, Sending { returned: Some(at), ..call }, RETURNED);
        }
    }

    /// What there is to say about the call during which the segment was sent.
    fn sender_of(&self, at: Duration, segment: &Segment) -> Option<&str> {
        let during = |call: &&Sending| call.entered <= at && call.returned.is_none_or(|returned| at <= returned);
        let calls = self.returned.iter().chain(&self.running);
        let candidates: Vec<&Sending> = calls.filter(during).filter(|call| call.may_send(segment)).collect();
        let are_on_it = |call: &&Sending| matches!(call.on, On::Connected(..));
        let on_it = candidates.iter().copied().filter(are_on_it).max_by_key(|call| call.entered);
        match (on_it, candidates.as_slice()) {
            (Some(call), _) => Some(&call.comment),
            // Of several calls on sockets whose addresses are not known, any may be the one.
            (None, [only]) => Some(&only.comment),
            (None, _) => None,
        }
    }
}

fn keep(calls: &mut VecDeque<Sending>, call: Sending, most: usize) {
    if calls.len() == most {
        calls.pop_front();
    }
    calls.push_back(call);
}

impl Kind {
    fn of(name: &str) -> Option<Self> {
        match name {
            "connect" => Some(Self::Connects),
            "write" | "writev" | "send" | "sendto" | "sendmsg" | "sendmmsg" | "sendfile" | "sendfile64" | "splice" => {
                Some(Self::SendsData)
            }
            "close" | "shutdown" => Some(Self::Closes),
            _ => None,
        }
    }

    /// Whether such a call has the kernel send such a segment. An acknowledgement alone is the kernel's own answer, and
    /// what is sent again is sent by its timers.
    fn fits(self, segment: &Segment) -> bool {
        let flags = segment.flags;
        match (segment.transport, self) {
            (Transport::Udp, kind) => kind == Self::SendsData,
            (Transport::Tcp, _) if segment.retransmitted => false,
            (Transport::Tcp, Self::Connects) => flags.syn() && !flags.ack(),
            (Transport::Tcp, Self::SendsData) => segment.length > 0,
            (Transport::Tcp, Self::Closes) => flags.fin() || flags.rst(),
        }
    }
}

impl On {
    fn of(call: &Call) -> Option<Self> {
        match &call.on.as_ref()?.names {
            Named::Connected { local: Endpoint::Inet(local), remote: Endpoint::Inet(remote), .. } => {
                Some(Self::Connected(*local, *remote))
            }
            Named::Bound(_, Endpoint::Inet(local)) => Some(Self::without_peer(Some(*local), call)),
            Named::Unbound(_) => Some(Self::without_peer(None, call)),
            _ => None,
        }
    }

    fn without_peer(local: Option<SocketAddr>, call: &Call) -> Self {
        Self::Unconnected { local, arguments: shortened(&call.arguments.join(" ")).to_owned() }
    }
}

impl Sending {
    fn may_send(&self, segment: &Segment) -> bool {
        if !self.kind.fits(segment) {
            return false;
        }
        match &self.on {
            On::Connected(local, remote) => is_same(*local, segment.from) && is_same(*remote, segment.to),
            On::Unconnected { local, arguments } => {
                local.is_none_or(|local| local.port() == segment.from.port())
                    && has_number(arguments, segment.to.port())
            }
        }
    }
}

/// Whether both are the same end. A dual-stack socket calls an IPv4 address `::ffff:127.0.0.1`.
fn is_same(one: SocketAddr, other: SocketAddr) -> bool {
    canonical(one) == canonical(other)
}

/// Whether the text has this number, and not only as a part of a longer one.
fn has_number(text: &str, number: u16) -> bool {
    text.split(|character: char| !character.is_ascii_digit()).any(|digits| digits.parse() == Ok(number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Descriptor, Flags, Protocol};

    const CLIENT: &str = "127.0.0.1:51234";
    const SERVER: &str = "127.0.0.1:7001";

    fn inet(text: &str) -> Endpoint {
        Endpoint::Inet(text.parse().unwrap())
    }

    fn connected(local: &str, remote: &str) -> Named {
        Named::Connected { protocol: Protocol::Tcp, local: inet(local), remote: inet(remote), accepted: false }
    }

    fn micros(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    /// Calls that were entered, each with its id and time.
    fn entered(calls: &[(u64, u64, &str, Named, &str)]) -> Calls {
        let mut kept = Calls::default();
        for (id, at, name, names, argument) in calls {
            let on = Some(Descriptor { fd: 3, names: names.clone() });
            let call = Call {
                id: *id,
                name: (*name).into(),
                arguments: vec![(*argument).into()],
                on,
                waits: Vec::new(),
                outcome: None,
            };
            kept.entered(micros(*at), &Who::Program { role: "client".into(), pid: 815 }, &call);
        }
        kept
    }

    fn segment(flags: u8, length: u32) -> Segment {
        Segment {
            transport: Transport::Tcp,
            from: CLIENT.parse().unwrap(),
            to: SERVER.parse().unwrap(),
            flags: Flags(flags),
            seq: 0,
            ack: 0,
            relative_seq: 0,
            relative_ack: 0,
            length,
            window: 0,
            window_scale: None,
            options: Vec::new(),
            retransmitted: false,
            packet: vec![0x45],
            packet_length: 1,
        }
    }

    fn sender(calls: &Calls, at: u64, segment: &Segment) -> Option<String> {
        let comment = calls.sender_of(micros(at), segment)?;
        Some(comment.split(['(', ' ']).nth(1)?.to_owned())
    }

    const FIN: u8 = 17;
    const DATA: u8 = 24;
    const ACK: u8 = 16;
    const SYN: u8 = 2;

    #[test]
    fn of_the_calls_that_run_on_the_same_end_the_one_entered_last_is_named() {
        let calls = entered(&[
            (1, 10, "write", connected(CLIENT, SERVER), ""),
            (2, 20, "sendto", connected(CLIENT, SERVER), ""),
            (3, 30, "send", connected(SERVER, CLIENT), ""),
            (4, 40, "close", connected(CLIENT, SERVER), ""),
        ]);
        assert_eq!(sender(&calls, 50, &segment(DATA, 6)).as_deref(), Some("sendto"));
        assert_eq!(sender(&calls, 15, &segment(DATA, 6)).as_deref(), Some("write"));
        assert_eq!(sender(&calls, 5, &segment(DATA, 6)), None);
        assert_eq!(sender(&calls, 50, &segment(FIN, 0)).as_deref(), Some("close"));
    }

    #[test]
    fn an_acknowledgement_alone_and_what_is_sent_again_are_the_kernels_own() {
        let calls = entered(&[(1, 10, "write", connected(CLIENT, SERVER), "")]);
        assert_eq!(sender(&calls, 20, &segment(ACK, 0)), None);
        assert_eq!(sender(&calls, 20, &Segment { retransmitted: true, ..segment(DATA, 6) }), None);
    }

    #[test]
    fn a_call_that_has_returned_is_named_only_for_what_was_sent_before() {
        let mut calls = entered(&[(1, 10, "write", connected(CLIENT, SERVER), "")]);
        calls.returned(micros(30), 1);
        assert_eq!(sender(&calls, 20, &segment(DATA, 6)).as_deref(), Some("write"));
        assert_eq!(sender(&calls, 31, &segment(DATA, 6)), None);
    }

    #[test]
    fn a_dual_stack_socket_is_the_same_end_as_its_ipv4_address() {
        let names = connected("[::ffff:127.0.0.1]:51234", "[::ffff:127.0.0.1]:7001");
        let calls = entered(&[(1, 10, "write", names, "")]);
        assert_eq!(sender(&calls, 20, &segment(DATA, 6)).as_deref(), Some("write"));
    }

    #[test]
    fn a_syn_belongs_to_the_only_connect_to_that_port() {
        let unbound = Named::Unbound(Protocol::Tcp);
        let there = (1, 10, "connect", unbound.clone(), "127.0.0.1:7001");
        let elsewhere = (2, 20, "connect", unbound.clone(), "127.0.0.1:17001");
        let calls = entered(&[there.clone(), elsewhere]);
        assert_eq!(sender(&calls, 30, &segment(SYN, 0)).as_deref(), Some("connect"));
        let two = entered(&[there, (2, 20, "connect", unbound, "127.0.0.1:7001")]);
        assert_eq!(sender(&two, 30, &segment(SYN, 0)), None);
        let bound = Named::Bound(Protocol::Tcp, inet("0.0.0.0:5000"));
        let from_elsewhere = entered(&[(1, 10, "connect", bound, "127.0.0.1:7001")]);
        assert_eq!(sender(&from_elsewhere, 30, &segment(SYN, 0)), None);
    }

    #[test]
    fn a_datagram_belongs_to_the_call_that_names_its_port() {
        let bound = Named::Bound(Protocol::Udp, inet(CLIENT));
        let calls = entered(&[(1, 10, "sendto", bound, "127.0.0.1:7001")]);
        let datagram = Segment { transport: Transport::Udp, ..segment(0, 6) };
        assert_eq!(sender(&calls, 20, &datagram).as_deref(), Some("sendto"));
        let other = Segment { to: "127.0.0.1:7009".parse().unwrap(), ..datagram };
        assert_eq!(sender(&calls, 20, &other), None);
    }

    #[test]
    fn however_many_calls_never_return_only_so_many_are_kept() {
        let mut calls = Calls::default();
        let who = Who::Program { role: "x".repeat(1000), pid: 1 };
        for id in 0..1100 {
            let on = Some(Descriptor { fd: 3, names: connected(CLIENT, SERVER) });
            let call = Call {
                id,
                name: "write".into(),
                arguments: vec!["ü".repeat(700)],
                on,
                waits: Vec::new(),
                outcome: None,
            };
            calls.entered(micros(id), &who, &call);
        }
        assert_eq!(calls.running.len(), RUNNING);
        assert!(calls.running.iter().all(|call| call.comment.len() <= LONGEST_OPTION));
        (0..1100).for_each(|id| calls.returned(micros(5000), id));
        assert_eq!((calls.running.len(), calls.returned.len()), (0, RETURNED));
    }
}
