//! What the three lenses see of lab 3's echo, event by event, as a recording would hold it.

use std::net::SocketAddr;
use std::time::Duration;

use super::event::*;

pub const SERVER: &str = "127.0.0.1:7003";
pub const CLIENT: &str = "127.0.0.1:51234";

fn micros(at: u64) -> Duration {
    Duration::from_micros(at)
}

pub fn inet(end: &str) -> Endpoint {
    Endpoint::Inet(end.parse().unwrap())
}

pub fn program(role: &str, pid: u32) -> Who {
    Who::Program { role: role.into(), pid }
}

/// Events in the order in which they are added, their calls numbered.
#[derive(Default)]
pub struct Events {
    pub list: Vec<Event>,
    calls: u64,
}

/// What a call is made of, besides its times.
pub struct Made<'a> {
    pub name: &'a str,
    pub on: Option<Descriptor>,
    pub arguments: &'a [&'a str],
    pub value: i64,
    pub made: Option<Descriptor>,
}

pub fn made<'a>(name: &'a str, on: Option<Descriptor>, arguments: &'a [&'a str], value: i64) -> Made<'a> {
    Made { name, on, arguments, value, made: None }
}

impl Made<'_> {
    pub fn makes(self, fd: i32, names: Named) -> Self {
        Self { value: fd.into(), made: Some(Descriptor { fd, names }), ..self }
    }
}

impl Events {
    pub fn add(&mut self, at: u64, who: Who, what: What) {
        self.list.push(Event { at: micros(at), who, what });
    }

    /// A call from one time to another; it has not returned where there is no other.
    pub fn call(&mut self, who: &Who, from: u64, until: Option<u64>, made: Made) {
        self.calls += 1;
        let arguments = made.arguments.iter().map(ToString::to_string).collect();
        let mut call =
            Call { id: self.calls, name: made.name.into(), arguments, on: made.on, waits: Vec::new(), outcome: None };
        let mut called = call.clone();
        if made.name == "read" {
            called.arguments[0] = "0x55d0c2a8".into();
        }
        self.add(from, who.clone(), What::Called(called));
        let Some(until) = until else { return };
        let error = match made.value {
            ..0 => Some(nix::errno::Errno::from_raw(-made.value as i32).to_string()),
            _ => None,
        };
        let error = error.map(|text| text.split(':').next().unwrap_or_default().to_string());
        call.outcome = Some(Outcome { entered: micros(from), value: made.value, error, made: made.made });
        self.add(until, who.clone(), What::Returned(call));
    }

    pub fn says(&mut self, at: u64, who: &Who, line: &str) {
        self.add(at, who.clone(), What::Said(line.into()));
    }

    pub fn moves(
        &mut self,
        at: u64,
        local: &str,
        remote: &str,
        change: (State, State),
        because: &str,
        seen: Option<u64>,
    ) {
        let (local, remote) = (inet(local), inet(remote));
        let seen = seen.map(|seen| Seen { at: micros(seen), socket: socket(change.1, &local, &remote) });
        let (before, after) = change;
        let transition = Transition { local, remote, before, after, because: because.into(), seen };
        self.add(at, Who::Kernel, What::Moved(transition));
    }

    pub fn sends(
        &mut self,
        at: u64,
        from: &str,
        flags: u8,
        numbers: (u32, u32),
        length: u32,
        options: Vec<SegmentOption>,
    ) {
        self.add(at, Who::Wire, What::Segment(Box::new(segment(from, flags, numbers, length, options))));
    }

    pub fn sorted(mut self) -> Vec<Event> {
        self.list.sort_by_key(|event| event.at);
        self.list
    }
}

pub fn socket(state: State, local: &Endpoint, remote: &Endpoint) -> Socket {
    let is_listening = state == State::Listen;
    let (name, pid, fd) = match local.port() {
        Some(7003) if is_listening => ("lab3-server", 812, 3),
        Some(7003) => ("lab3-server", 816, 4),
        _ => ("lab3-client", 815, 3),
    };
    let owner = Owner { name: name.into(), pid, fd };
    let time_wait =
        (state == State::TimeWait).then_some(Timer { kind: TimerKind::TimeWait, left_ms: 60_000, expirations: 0 });
    Socket {
        protocol: Protocol::Tcp,
        state,
        local: local.clone(),
        remote: remote.clone(),
        receive_queue: 0,
        send_queue: if is_listening { 128 } else { 0 },
        uid: 1000,
        inode: if state == State::TimeWait { 0 } else { 7003 },
        cookie: 1,
        timer: time_wait,
        owners: if state == State::TimeWait { Vec::new() } else { vec![owner] },
    }
}

pub fn segment(from: &str, flags: u8, numbers: (u32, u32), length: u32, options: Vec<SegmentOption>) -> Segment {
    let is_client = from != SERVER;
    let to: SocketAddr = if is_client { SERVER.parse().unwrap() } else { CLIENT.parse().unwrap() };
    let (own, other): (u32, u32) = if is_client { (2_989_453_171, 411_298_377) } else { (411_298_377, 2_989_453_171) };
    let is_syn = flags & 2 != 0;
    Segment {
        transport: Transport::Tcp,
        from: from.parse().unwrap(),
        to,
        flags: Flags(flags),
        seq: own.wrapping_add(numbers.0),
        ack: if flags & 16 == 0 { 0 } else { other.wrapping_add(numbers.1) },
        relative_seq: numbers.0,
        relative_ack: numbers.1,
        length,
        window: if is_syn { 65495 } else { 512 },
        window_scale: Some(7),
        options,
        retransmitted: false,
        packet: Vec::new(),
        packet_length: 52 + length,
    }
}

fn on(fd: i32, names: Named) -> Option<Descriptor> {
    Some(Descriptor { fd, names })
}

pub fn connected(local: &str, remote: &str, accepted: bool) -> Named {
    Named::Connected { protocol: Protocol::Tcp, local: inet(local), remote: inet(remote), accepted }
}

/// Lab 3's server and client, from their start to their end.
pub fn echo() -> Vec<Event> {
    let mut events = Events::default();
    let (server, child, client) = (program("server", 812), program("server/child 1", 816), program("client", 815));
    server_starts(&mut events, &server);
    client_connects(&mut events, &client);
    server_forks(&mut events, &server, &child);
    hello(&mut events, &client, &child);
    goodbye(&mut events, &client, &server, &child);
    events.sorted()
}

fn server_starts(events: &mut Events, server: &Who) {
    let command = ["target/debug/lab3-server", "--port", "7003"].map(String::from).to_vec();
    events.add(0, server.clone(), What::Started { command });
    let tcp = || Named::Unbound(Protocol::Tcp);
    let bound = || Named::Bound(Protocol::Tcp, inet(SERVER));
    events.call(
        server,
        1_204,
        Some(1_221),
        made("socket", None, &["AF_INET", "SOCK_STREAM|SOCK_CLOEXEC", "0"], 0).makes(3, tcp()),
    );
    events.call(
        server,
        1_290,
        Some(1_301),
        made("setsockopt", on(3, tcp()), &["SOL_SOCKET", "SO_REUSEADDR", "[1]", "4"], 0),
    );
    events.call(server, 1_362, Some(1_377), made("bind", on(3, tcp()), &["127.0.0.1:7003", "16"], 0));
    events.call(server, 1_440, Some(1_462), made("listen", on(3, bound()), &["128"], 0));
    events.moves(1_455, SERVER, "0.0.0.0:0", (State::Closed, State::Listen), "listen()", Some(1_463));
    events.says(1_610, server, "listening on 127.0.0.1:7003");
    let made = made("accept4", on(3, Named::Listening(inet(SERVER))), &["0x7ffc1a2b", "[16]", "SOCK_CLOEXEC"], 0);
    events.call(server, 1_705, Some(1_206_350), made.makes(4, connected(SERVER, CLIENT, true)));
}

fn client_connects(events: &mut Events, client: &Who) {
    let command = ["target/debug/lab3-client", "--port", "7003"].map(String::from).to_vec();
    events.add(1_204_420, client.clone(), What::Started { command });
    let tcp = || Named::Unbound(Protocol::Tcp);
    events.call(
        client,
        1_205_804,
        Some(1_205_823),
        made("socket", None, &["AF_INET", "SOCK_STREAM|SOCK_CLOEXEC", "0"], 0).makes(3, tcp()),
    );
    events.call(client, 1_205_950, Some(1_206_287), made("connect", on(3, tcp()), &["127.0.0.1:7003", "16"], 0));
    let options = |echo| {
        vec![
            SegmentOption::Mss(65495),
            SegmentOption::SackPermitted,
            SegmentOption::Timestamps(3_120_551, echo),
            SegmentOption::WindowScale(7),
        ]
    };
    events.sends(1_206_021, CLIENT, 2, (0, 0), 0, options(0));
    events.moves(1_206_021, CLIENT, SERVER, (State::Closed, State::SynSent), "its SYN", None);
    events.moves(1_206_021, SERVER, CLIENT, (State::Closed, State::SynReceived), "the SYN", None);
    events.sends(1_206_066, SERVER, 18, (0, 1), 0, options(3_120_551));
    events.moves(1_206_066, CLIENT, SERVER, (State::SynSent, State::Established), "the SYN and ACK", Some(1_206_290));
    events.sends(1_206_101, CLIENT, 16, (1, 1), 0, Vec::new());
    events.moves(
        1_206_101,
        SERVER,
        CLIENT,
        (State::SynReceived, State::Established),
        "the ACK of its SYN",
        Some(1_206_290),
    );
    let listener = Socket { receive_queue: 1, ..socket(State::Listen, &inet(SERVER), &inet("0.0.0.0:0")) };
    events.add(1_206_290, Who::Kernel, What::Queued { before: 0, socket: listener.clone() });
    let empty = Socket { receive_queue: 0, ..listener };
    events.add(1_206_352, Who::Kernel, What::Queued { before: 1, socket: empty });
}

fn server_forks(events: &mut Events, server: &Who, child: &Who) {
    events.add(1_206_871, server.clone(), What::Forked { child: child.clone(), is_thread: false });
    let listen = Named::Listening(inet(SERVER));
    events.call(child, 1_207_102, Some(1_207_111), made("close", on(3, listen.clone()), &[], 0));
    events.says(1_207_160, server, "127.0.0.1:51234 connected: child 816");
    events.call(server, 1_207_214, Some(1_207_225), made("close", on(4, connected(SERVER, CLIENT, true)), &[], 0));
    events.call(server, 1_207_290, None, made("accept4", on(3, listen), &["0x7ffc1a2b", "[16]", "SOCK_CLOEXEC"], 0));
    let arguments = ["\"hello\\n\"", "65536"];
    events.call(child, 1_207_340, Some(2_510_377), made("read", on(4, connected(SERVER, CLIENT, true)), &arguments, 6));
}

fn hello(events: &mut Events, client: &Who, child: &Who) {
    let (near, far) = (connected(CLIENT, SERVER, false), connected(SERVER, CLIENT, true));
    events.add(2_510_120, client.clone(), What::Typed("hello".into()));
    events.call(client, 2_510_204, Some(2_510_391), made("write", on(3, near.clone()), &["\"hello\\n\"", "6"], 6));
    let clock = |value, echo| vec![SegmentOption::Timestamps(value, echo)];
    events.sends(2_510_260, CLIENT, 24, (1, 1), 6, clock(3_121_855, 3_120_551));
    events.sends(2_510_301, SERVER, 16, (1, 7), 0, clock(3_121_855, 3_121_855));
    events.call(client, 2_510_460, Some(2_510_688), made("read", on(3, near), &["\"hello\\n\"", "65536"], 6));
    events.call(child, 2_510_498, Some(2_510_664), made("write", on(4, far), &["\"hello\\n\"", "6"], 6));
    events.sends(2_510_552, SERVER, 24, (1, 7), 6, clock(3_121_855, 3_121_855));
    events.sends(2_510_590, CLIENT, 16, (7, 7), 0, clock(3_121_855, 3_121_855));
    events.says(2_510_802, client, "hello");
}

fn goodbye(events: &mut Events, client: &Who, server: &Who, child: &Who) {
    let (near, far) = (connected(CLIENT, SERVER, false), connected(SERVER, CLIENT, true));
    events.call(child, 2_510_905, Some(3_911_604), made("read", on(4, far.clone()), &["\"\"", "65536"], 0));
    events.call(client, 3_911_340, Some(3_911_530), made("close", on(3, near), &[], 0));
    events.sends(3_911_411, CLIENT, 17, (7, 7), 0, Vec::new());
    events.moves(3_911_411, CLIENT, SERVER, (State::Established, State::FinWait1), "its FIN", Some(3_911_440));
    events.moves(3_911_411, SERVER, CLIENT, (State::Established, State::CloseWait), "the peer's FIN", Some(3_911_610));
    events.sends(3_911_455, SERVER, 16, (7, 8), 0, Vec::new());
    events.moves(3_911_455, CLIENT, SERVER, (State::FinWait1, State::FinWait2), "the ACK of its FIN", None);
    events.add(3_911_702, client.clone(), What::Ended(End::Exited(0)));
    events.call(child, 3_911_720, Some(3_911_931), made("close", on(4, far), &[], 0));
    events.sends(3_911_790, SERVER, 17, (7, 8), 0, Vec::new());
    events.moves(3_911_790, SERVER, CLIENT, (State::CloseWait, State::LastAck), "its FIN", None);
    events.moves(3_911_790, CLIENT, SERVER, (State::FinWait2, State::TimeWait), "the peer's FIN", Some(3_911_940));
    events.sends(3_911_828, CLIENT, 16, (8, 8), 0, Vec::new());
    events.moves(3_911_828, SERVER, CLIENT, (State::LastAck, State::Closed), "the ACK of its FIN", None);
    events.says(3_912_090, child, "127.0.0.1:51234 finished: 6 bytes echoed by child 816");
    events.add(3_912_204, child.clone(), What::Ended(End::Exited(0)));
    let _ = server;
}

/// The end of client number `index`.
fn end_of_client(index: u32) -> String {
    format!("127.0.0.1:{}", 40_000 + index)
}

/// So many clients at once, each with a child of the server of its own; about 36 events for each.
pub fn crowd(clients: u32) -> Vec<Event> {
    let mut events = Events::default();
    let server = program("server", 812);
    server_starts(&mut events, &server);
    for index in 0..clients {
        let start = u64::from(index) * 2_000 + 2_000_000;
        one_of_many(&mut events, index, start);
    }
    events.sorted()
}

fn one_of_many(events: &mut Events, index: u32, start: u64) {
    let (client, child) = (
        program(&format!("client {}", index + 1), 1000 + index),
        program(&format!("server/child {}", index + 1), 3000 + index),
    );
    let end = end_of_client(index);
    let named = || connected(&end, SERVER, false);
    let accepted = || connected(SERVER, &end, true);
    let unbound = || Named::Unbound(Protocol::Tcp);
    let send = |events: &mut Events, at: u64, is_client: bool, flags: u8, numbers: (u32, u32), length: u32| {
        let (client, server): (SocketAddr, SocketAddr) = (end.parse().unwrap(), SERVER.parse().unwrap());
        let (from, to) = if is_client { (client, server) } else { (server, client) };
        let segment = segment(if is_client { CLIENT } else { SERVER }, flags, numbers, length, Vec::new());
        events.add(start + at, Who::Wire, What::Segment(Box::new(Segment { from, to, ..segment })));
    };
    let moves = |events: &mut Events, at: u64, is_client: bool, change: (State, State)| {
        let (local, remote) = if is_client { (end.as_str(), SERVER) } else { (SERVER, end.as_str()) };
        events.moves(start + at, local, remote, change, "a segment", Some(start + at + 20));
    };
    events.call(
        &client,
        start,
        Some(start + 20),
        made("socket", None, &["AF_INET", "SOCK_STREAM", "0"], 0).makes(3, unbound()),
    );
    events.call(
        &client,
        start + 30,
        Some(start + 200),
        made("connect", on(3, unbound()), &["127.0.0.1:7003", "16"], 0),
    );
    send(events, 50, true, 2, (0, 0), 0);
    moves(events, 50, true, (State::Closed, State::SynSent));
    moves(events, 50, false, (State::Closed, State::SynReceived));
    send(events, 80, false, 18, (0, 1), 0);
    moves(events, 80, true, (State::SynSent, State::Established));
    send(events, 100, true, 16, (1, 1), 0);
    moves(events, 100, false, (State::SynReceived, State::Established));
    events.add(start + 210, program("server", 812), What::Forked { child: child.clone(), is_thread: false });
    events.call(&client, start + 300, Some(start + 390), made("write", on(3, named()), &["\"hello\\n\"", "6"], 6));
    send(events, 340, true, 24, (1, 1), 6);
    events.call(&child, start + 310, Some(start + 400), made("read", on(4, accepted()), &["\"hello\\n\"", "65536"], 6));
    send(events, 350, false, 16, (1, 7), 0);
    events.says(start + 405, &child, "6 bytes");
    events.call(&child, start + 410, Some(start + 500), made("write", on(4, accepted()), &["\"hello\\n\"", "6"], 6));
    send(events, 460, false, 24, (1, 7), 6);
    events.call(&client, start + 420, Some(start + 510), made("read", on(3, named()), &["\"hello\\n\"", "65536"], 6));
    events.call(&client, start + 600, Some(start + 680), made("close", on(3, named()), &[], 0));
    send(events, 640, true, 17, (7, 7), 0);
    moves(events, 640, true, (State::Established, State::FinWait1));
    moves(events, 640, false, (State::Established, State::CloseWait));
    events.call(&child, start + 700, Some(start + 790), made("close", on(4, accepted()), &[], 0));
    send(events, 740, false, 17, (7, 8), 0);
    moves(events, 740, true, (State::FinWait1, State::TimeWait));
    moves(events, 740, false, (State::CloseWait, State::LastAck));
    send(events, 760, true, 16, (8, 8), 0);
    moves(events, 760, false, (State::LastAck, State::Closed));
    events.add(start + 800, client, What::Ended(End::Exited(0)));
    events.add(start + 810, child, What::Ended(End::Killed(15)));
}

/// What a program or a peer might try: markup, quotes, the end of the script, control and bidirectional characters.
pub const HOSTILE: [&str; 7] = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "'></svg></style></script><script>alert(1)</script>",
    "\x1b[2J\x07\u{9b}31m\0",
    "\u{202e}gnp.exe\u{2066}\u{200f}",
    "--><!--]]>&lt;b&gt;&#x3c;",
    "javascript:alert(1)//你好 e\u{301}",
];

/// Every kind of event with hostile text wherever there is text.
pub fn hostile() -> Vec<Event> {
    let mut events = Events::default();
    for (index, text) in HOSTILE.iter().enumerate() {
        hostile_texts(&mut events, index as u64 * 1_000, text);
    }
    events.sorted()
}

fn hostile_texts(events: &mut Events, at: u64, text: &str) {
    let who = program(&format!("server {text}"), 5);
    let path = || Endpoint::Path(format!("/tmp/{text}"));
    events.add(at, who.clone(), What::Started { command: vec![text.into(), text.into()] });
    let other = || on(3, Named::Other(text.into()));
    events.call(&who, at + 1, Some(at + 2), made("connect", other(), &[text, text], -111));
    events.call(
        &who,
        at + 3,
        Some(at + 4),
        made(text, on(4, Named::Listening(path())), &[text], 1).makes(5, Named::Other(text.into())),
    );
    events.call(&who, at + 5, None, made(text, None, &[text], 0));
    events.says(at + 6, &who, text);
    events.add(at + 7, who.clone(), What::Typed(text.into()));
    events.add(at + 8, Who::Socklab, What::Note(text.into()));
    events.add(at + 9, Who::Kernel, What::Crowd(text.into()));
    let owner = Owner { name: text.into(), pid: 5, fd: 3 };
    let socket = Socket {
        protocol: Protocol::UnixStream,
        local: path(),
        owners: vec![owner],
        ..socket(State::Listen, &path(), &Endpoint::Unnamed)
    };
    events.add(at + 10, Who::Kernel, What::Appeared(socket.clone()));
    events.add(at + 11, Who::Kernel, What::Queued { before: 0, socket: socket.clone() });
    events.add(at + 12, Who::Kernel, What::Lying(socket.clone()));
    events.add(at + 13, Who::Kernel, What::Changed { before: State::Listen, socket: socket.clone() });
    events.add(at + 14, Who::Kernel, What::Accepted(socket.clone()));
    let transition = Transition {
        local: Endpoint::Path(text.into()),
        remote: path(),
        before: State::Closed,
        after: State::Established,
        because: text.into(),
        seen: None,
    };
    events.add(at + 15, Who::Kernel, What::Moved(transition));
    events.add(at + 16, Who::Kernel, What::Gone(socket));
    events.add(at + 17, who.clone(), What::Forked { child: program(text, 6), is_thread: true });
    let options = vec![SegmentOption::Other(254, text.into())];
    events.sends(at + 18, CLIENT, 255, (u32::MAX, u32::MAX), 70_000, options);
    events.add(at + 19, who, What::Ended(End::Killed(9)));
}
