//! A short run: a client sends six bytes to an echo server, and closes. Its packets are made by hand.

use std::net::SocketAddr;
use std::time::{Duration, UNIX_EPOCH};

use socklab::event::{
    Call, Descriptor, End, Endpoint, Event, Flags, Named, Outcome, Owner, Protocol, Segment, SegmentOption, Socket,
    State, Transport, What, Who,
};
use socklab::record::Header;

const SERVER: &str = "127.0.0.1:7001";
const CLIENT: &str = "127.0.0.1:51234";

/// 2026-03-21T14:05:09.123456789Z.
pub const STARTED: (u64, u32) = (1_774_101_909, 123_456_789);

pub fn header() -> Header {
    Header {
        title: "an echo of six bytes".into(),
        server_port: Some(7001),
        rung: "calls, states and segments".into(),
        kernel: "Linux 6.18.5".into(),
        machine: "x86_64".into(),
        commands: vec!["target/debug/lab1-server --port 7001".into(), "target/debug/lab1-client --port 7001".into()],
        started: UNIX_EPOCH + Duration::new(STARTED.0, STARTED.1),
    }
}

fn program(role: &str, pid: u32) -> Who {
    Who::Program { role: role.into(), pid }
}

fn at(micros: u64, who: Who, what: What) -> Event {
    Event { at: Duration::from_micros(micros), who, what }
}

fn inet(text: &str) -> Endpoint {
    Endpoint::Inet(text.parse().unwrap())
}

fn connected(fd: i32, local: &str, remote: &str, accepted: bool) -> Descriptor {
    let protocol = Protocol::Tcp;
    Descriptor { fd, names: Named::Connected { protocol, local: inet(local), remote: inet(remote), accepted } }
}

fn listening_socket() -> Socket {
    Socket {
        protocol: Protocol::Tcp,
        state: State::Listen,
        local: inet(SERVER),
        remote: inet("0.0.0.0:0"),
        receive_queue: 0,
        send_queue: 128,
        uid: 1000,
        inode: 4242,
        cookie: 0,
        timer: None,
        owners: vec![Owner { name: "lab1-server".into(), pid: 812, fd: 3 }],
    }
}

/// A call's entry, and its return with the segments in between. Of its words, the first is its name.
fn call(
    id: u64,
    who: &Who,
    on: Descriptor,
    words: &[&str],
    micros: (u64, u64),
    during: Vec<Event>,
    outcome: (i64, Option<Descriptor>),
) -> Vec<Event> {
    let mut words = words.iter().map(|word| (*word).to_owned());
    let name = words.next().unwrap();
    let call = Call { id, name, arguments: words.collect(), on: Some(on), waits: Vec::new(), outcome: None };
    let entered = Duration::from_micros(micros.0);
    let outcome = Some(Outcome { entered, value: outcome.0, error: None, made: outcome.1 });
    let mut events = vec![at(micros.0, who.clone(), What::Called(call.clone()))];
    events.extend(during);
    events.push(at(micros.1, who.clone(), What::Returned(Call { outcome, ..call })));
    events
}

/// A segment from one end to the other, with its packet. The numbers: relative seq, relative ack, window.
fn segment(micros: u64, from: &str, to: &str, flags: u8, numbers: (u32, u32, u16), data: &[u8]) -> Event {
    let (from, to): (SocketAddr, SocketAddr) = (from.parse().unwrap(), to.parse().unwrap());
    let (relative_seq, relative_ack, window) = numbers;
    // Each side has a first number of its own, the client's so near the end that its numbers wrap.
    let first = |end: SocketAddr| if end.port() == 7001 { 1_000_000 } else { u32::MAX };
    let flags = Flags(flags);
    let seq = first(from).wrapping_add(relative_seq);
    let ack = if flags.ack() { first(to).wrapping_add(relative_ack) } else { 0 };
    let options = match flags.syn() {
        true => vec![SegmentOption::Mss(65495), SegmentOption::SackPermitted, SegmentOption::WindowScale(7)],
        false => Vec::new(),
    };
    let packet = ip_packet(from, to, &tcp(from, to, seq, ack, flags, window), data);
    let segment = Segment {
        transport: Transport::Tcp,
        from,
        to,
        flags,
        seq,
        ack,
        relative_seq,
        relative_ack,
        length: data.len() as u32,
        window,
        window_scale: Some(7),
        options,
        retransmitted: false,
        packet_length: packet.len() as u32,
        packet,
    };
    at(micros, Who::Wire, What::Segment(Box::new(segment)))
}

/// A TCP header; with SYN, the options that the events name.
fn tcp(from: SocketAddr, to: SocketAddr, seq: u32, ack: u32, flags: Flags, window: u16) -> Vec<u8> {
    let options: &[u8] = if flags.syn() { &[2, 4, 0xff, 0xd7, 1, 1, 4, 2, 1, 3, 3, 7] } else { &[] };
    let words = (20 + options.len()) as u8 / 4;
    let mut bytes = Vec::new();
    bytes.extend(from.port().to_be_bytes());
    bytes.extend(to.port().to_be_bytes());
    bytes.extend(seq.to_be_bytes());
    bytes.extend(ack.to_be_bytes());
    bytes.extend([words << 4, flags.0]);
    bytes.extend(window.to_be_bytes());
    // Checksum and urgent pointer.
    bytes.extend([0; 4]);
    bytes.extend(options);
    bytes
}

/// An IPv4 header of 20 bytes, and what it carries.
fn ip_packet(from: SocketAddr, to: SocketAddr, tcp: &[u8], data: &[u8]) -> Vec<u8> {
    let octets = |end: SocketAddr| match end {
        SocketAddr::V4(end) => end.ip().octets(),
        SocketAddr::V6(end) => panic!("{end}"),
    };
    let length = (20 + tcp.len() + data.len()) as u16;
    let mut bytes = vec![0x45, 0];
    bytes.extend(length.to_be_bytes());
    bytes.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
    bytes.extend(octets(from));
    bytes.extend(octets(to));
    bytes.extend(tcp);
    bytes.extend(data);
    bytes
}

pub fn events() -> Vec<Event> {
    let (server, client) = (program("server", 812), program("client", 815));
    let unconnected = Descriptor { fd: 3, names: Named::Unbound(Protocol::Tcp) };
    let listening = Descriptor { fd: 3, names: Named::Listening(inet(SERVER)) };
    let to_server = || connected(3, CLIENT, SERVER, false);
    let to_client = connected(4, SERVER, CLIENT, true);
    let command = header().commands[0].split(' ').map(str::to_owned).collect();
    let handshake = vec![
        segment(2010, CLIENT, SERVER, 2, (0, 0, 64240), b""),
        segment(2015, SERVER, CLIENT, 18, (0, 1, 65483), b""),
        segment(2020, CLIENT, SERVER, 16, (1, 1, 502), b""),
    ];
    let data = vec![segment(3010, CLIENT, SERVER, 24, (1, 1, 502), b"hello\n")];
    let fin = vec![segment(4010, CLIENT, SERVER, 17, (7, 1, 502), b"")];
    let send = ["sendto", "\"hello\\n\"", "6", "MSG_NOSIGNAL"];
    let accept = (4, Some(to_client));
    [
        vec![at(100, server.clone(), What::Started { command })],
        vec![at(1000, Who::Kernel, What::Appeared(listening_socket()))],
        call(1, &client, unconnected, &["connect", "127.0.0.1:7001", "16"], (2000, 2040), handshake, (0, None)),
        call(2, &server, listening, &["accept4", "SOCK_CLOEXEC"], (2100, 2110), Vec::new(), accept),
        call(3, &client, to_server(), &send, (3000, 3030), data, (6, None)),
        vec![segment(3040, SERVER, CLIENT, 16, (1, 7, 512), b"")],
        call(4, &client, to_server(), &["close"], (4000, 4030), fin, (0, None)),
        vec![segment(5000, SERVER, CLIENT, 16, (1, 8, 512), b"")],
        vec![at(5500, client, What::Ended(End::Exited(0)))],
    ]
    .concat()
}
