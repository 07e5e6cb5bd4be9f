use anstream::adapter::strip_str;

use super::*;
use crate::event::{Flags, Named, Seen, SegmentOption};

const CLIENT_END: &str = "127.0.0.1:51234";
const SERVER_END: &str = "127.0.0.1:7003";

fn end(address: &str) -> Endpoint {
    Endpoint::Inet(address.parse().unwrap())
}

fn wire(micros: u64, from_client: bool, flags: &str, numbers: [u32; 3], options: Vec<SegmentOption>) -> Event {
    let (from, to) = if from_client { (CLIENT_END, SERVER_END) } else { (SERVER_END, CLIENT_END) };
    let [relative_seq, relative_ack, length] = numbers;
    let segment = Segment {
        transport: Transport::Tcp,
        from: from.parse().unwrap(),
        to: to.parse().unwrap(),
        flags: serde_json::from_str::<Flags>(&format!("\"{flags}\"")).unwrap(),
        seq: 0,
        ack: 0,
        relative_seq,
        relative_ack,
        length,
        window: 512,
        window_scale: None,
        options,
        retransmitted: false,
        packet: Vec::new(),
        packet_length: 60,
    };
    Event { at: Duration::from_micros(micros), who: Who::Wire, what: What::Segment(Box::new(segment)) }
}

fn moved(micros: u64, of_client: bool, before: State, after: State, is_seen: bool) -> Event {
    let (local, remote) = if of_client { (CLIENT_END, SERVER_END) } else { (SERVER_END, CLIENT_END) };
    let at = Duration::from_micros(micros);
    let socket = Socket { local: end(local), remote: end(remote), state: after, ..listening() };
    let transition = Transition {
        local: end(local),
        remote: end(remote),
        before,
        after,
        because: "its SYN".into(),
        seen: is_seen.then_some(Seen { at, socket }),
    };
    Event { at, who: Who::Kernel, what: What::Moved(transition) }
}

fn listening() -> Socket {
    Socket {
        protocol: Protocol::Tcp,
        state: State::Listen,
        local: end(SERVER_END),
        remote: end("0.0.0.0:0"),
        receive_queue: 0,
        send_queue: 128,
        uid: 0,
        inode: 1,
        cookie: 1,
        timer: None,
        owners: Vec::new(),
    }
}

fn connected(fd: i32, of_client: bool) -> Descriptor {
    let (local, remote) = if of_client { (CLIENT_END, SERVER_END) } else { (SERVER_END, CLIENT_END) };
    let (local, remote) = (end(local), end(remote));
    Descriptor { fd, names: Named::Connected { protocol: Protocol::Tcp, local, remote, accepted: !of_client } }
}

/// The entry and the return of a call, to be put where they belong.
fn call(id: u64, of_client: bool, times: [u64; 2], call: Call) -> [Event; 2] {
    let who = if of_client {
        Who::Program { role: "client".into(), pid: 815 }
    } else {
        Who::Program { role: "server".into(), pid: 812 }
    };
    let [entered, returned] = times.map(Duration::from_micros);
    let outcome = call.outcome.clone().map(|outcome| Outcome { entered, ..outcome });
    let arguments = if call.name == "read" { Vec::new() } else { call.arguments.clone() };
    let entry = Call { id, outcome: None, arguments, ..call.clone() };
    [
        Event { at: entered, who: who.clone(), what: What::Called(entry) },
        Event { at: returned, who, what: What::Returned(Call { id, outcome, ..call }) },
    ]
}

fn plain_call(name: &str, on: Descriptor, arguments: &[&str], value: i64, made: Option<Descriptor>) -> Call {
    Call {
        id: 0,
        name: name.into(),
        arguments: arguments.iter().map(|&argument| argument.into()).collect(),
        on: Some(on),
        waits: Vec::new(),
        outcome: Some(Outcome { entered: Duration::ZERO, value, error: None, made }),
    }
}

/// A connection from its first call to the server's end of it.
fn conversation() -> Vec<Event> {
    let unbound = Descriptor { fd: 3, names: Named::Unbound(Protocol::Tcp) };
    let listener = Descriptor { fd: 3, names: Named::Listening(end("127.0.0.1:7003")) };
    let mut made_connected = plain_call("connect", unbound, &["127.0.0.1:7003"], 0, None);
    made_connected.on = Some(Descriptor { fd: 3, names: Named::Unbound(Protocol::Tcp) });
    let handshake = || vec![SegmentOption::Mss(65495), SegmentOption::SackPermitted, SegmentOption::WindowScale(7)];
    let mut events = vec![
        Event { at: Duration::from_micros(100), who: Who::Kernel, what: What::Appeared(listening()) },
        wire(2_000_200, true, "S", [0, 0, 0], handshake()),
        moved(2_000_200, true, State::Closed, State::SynSent, false),
        wire(2_000_210, false, "S.", [0, 1, 0], handshake()),
        moved(2_000_210, false, State::Closed, State::SynReceived, false),
        wire(2_000_220, true, ".", [1, 1, 0], Vec::new()),
        moved(2_000_220, true, State::SynSent, State::Established, true),
        moved(2_000_220, false, State::SynReceived, State::Established, true),
        wire(2_000_510, true, "P.", [1, 1, 6], Vec::new()),
        wire(2_000_520, false, ".", [1, 7, 0], Vec::new()),
        wire(3_100_000, false, "F.", [1, 7, 0], Vec::new()),
        moved(3_100_000, false, State::Established, State::FinWait1, false),
        moved(3_100_000, true, State::Established, State::CloseWait, true),
        wire(3_100_010, true, "F.", [7, 2, 0], Vec::new()),
        moved(3_100_010, true, State::CloseWait, State::LastAck, false),
        moved(3_100_010, false, State::FinWait1, State::FinWait2, false),
        moved(3_100_010, false, State::FinWait2, State::TimeWait, true),
        wire(3_100_020, false, ".", [2, 8, 0], Vec::new()),
        moved(3_100_020, true, State::LastAck, State::Closed, false),
    ];
    events.extend(call(
        1,
        false,
        [150, 2_000_400],
        plain_call("accept4", listener, &["NULL", "NULL", "SOCK_CLOEXEC"], 4, Some(connected(4, false))),
    ));
    events.extend(call(2, true, [2_000_100, 2_000_300], made_connected));
    events.extend(call(
        3,
        true,
        [2_000_500, 2_000_530],
        plain_call("write", connected(3, true), &["\"hello\\n\"", "6"], 6, None),
    ));
    events.extend(call(
        4,
        false,
        [2_000_420, 2_000_540],
        plain_call("read", connected(4, false), &["\"hello\\n\"", "4096"], 6, None),
    ));
    events.extend(call(
        5,
        true,
        [2_000_550, 3_100_030],
        plain_call("read", connected(3, true), &["\"\"", "4096"], 0, None),
    ));
    events.extend(call(6, false, [3_099_990, 3_100_015], plain_call("close", connected(4, false), &[], 0, None)));
    events.sort_by_key(|event| event.at);
    events
}

fn drawn(events: &[Event], width: usize) -> String {
    let lines = lines(events, Some(7003), width);
    lines.iter().map(|line| format!("{}\n", strip_str(line))).collect()
}

#[test]
fn a_connection_fits_into_80_columns() {
    let expected = r#"
          client 815  127.0.0.1:51234                 server 812  127.0.0.1:7003
                  CLOSED │                                      │ LISTEN
 2.000100 connect(3<TCP>, 127.0.0.1:7003) …                     │
 2.000200     ○ SYN-SENT ├── S  seq 0 win 512 <mss 65495,sack… →│
 2.000210                │←─ S. seq 0 ack 1 win 512 <mss 6549… ─┤ ○ SYN-RECEIVED
 2.000220  ● ESTABLISHED ├── .  ack 1 win 512 ─────────────────→│ ● ESTABLISHED
 2.000300 … connect(3<TCP>, 127.0.0.1:7003) = 0 after 200 µs    │
 2.000400                │ … accept4(3<listen :7003>, NULL, N… = 4 after 2.000 s
 2.000420                │                                      │ read(4) …
 2.000500 write(3, "hello\n", 6) = 6                            │
 2.000510                ├── P. seq 1:7 ack 1 win 512 length 6 →│
 2.000520                │←─ .  ack 7 win 512 ──────────────────┤
 2.000540                │           … read(4, "hello\n", 4096) = 6 after 120 µs
 2.000550 read(3) …      │                                      │
 3.099990                │                                      │ close(4) = 0
 3.100000   ● CLOSE-WAIT │←─ F. seq 1 ack 7 win 512 ────────────┤ ○ FIN-WAIT-1
 3.100010     ○ LAST-ACK ├── F. seq 7 ack 2 win 512 ───────────→│ ○ FIN-WAIT-2
                         │                                      │ ● TIME-WAIT
 3.100020       ○ CLOSED │←─ .  ack 8 win 512 ──────────────────┤
 3.100030 … read(3, "", 4096) = 0 after 1.099 s                 │

● the kernel's table showed this state   ○ it follows from the segments
A call that ends in … returns later: its return begins with …
"#;
    assert_eq!(drawn(&conversation(), 80), expected.trim_start_matches('\n'));
}

#[test]
fn a_wider_page_gives_the_calls_and_the_segments_more_room() {
    let expected = r#"
          client 815  127.0.0.1:51234                                                         server 812  127.0.0.1:7003
                                 CLOSED │                                               │ LISTEN
 2.000100 connect(3<TCP>, 127.0.0.1:7003) …                                             │
 2.000200                    ○ SYN-SENT ├── S  seq 0 win 512 <mss 65495,sackOK,ws 7> ──→│
 2.000210                               │←─ S. seq 0 ack 1 win 512 <mss 65495,sackOK,… ─┤ ○ SYN-RECEIVED
 2.000220                 ● ESTABLISHED ├── .  ack 1 win 512 ──────────────────────────→│ ● ESTABLISHED
 2.000300 … connect(3<TCP>, 127.0.0.1:7003) = 0 after 200 µs                            │
 2.000400                               │         … accept4(3<listen :7003>, NULL, NULL, SOCK_CLOEXEC) = 4 after 2.000 s
 2.000420                               │                                               │ read(4) …
 2.000500 write(3, "hello\n", 6) = 6    │                                               │
 2.000510                               ├── P. seq 1:7 ack 1 win 512 length 6 ─────────→│
 2.000520                               │←─ .  ack 7 win 512 ───────────────────────────┤
 2.000540                               │                                    … read(4, "hello\n", 4096) = 6 after 120 µs
 2.000550 read(3) …                     │                                               │
 3.099990                               │                                               │ close(4) = 0
 3.100000                  ● CLOSE-WAIT │←─ F. seq 1 ack 7 win 512 ─────────────────────┤ ○ FIN-WAIT-1
 3.100010                    ○ LAST-ACK ├── F. seq 7 ack 2 win 512 ────────────────────→│ ○ FIN-WAIT-2
                                        │                                               │ ● TIME-WAIT
 3.100020                      ○ CLOSED │←─ .  ack 8 win 512 ───────────────────────────┤
 3.100030 … read(3, "", 4096) = 0 after 1.099 s                                         │

● the kernel's table showed this state   ○ it follows from the segments
A call that ends in … returns later: its return begins with …
"#;
    assert_eq!(drawn(&conversation(), 120), expected.trim_start_matches('\n'));
}

#[test]
fn no_line_is_wider_than_the_page_and_every_lifeline_stands_in_one_column() {
    for width in [72, 80, 81, 100, 133, 200, 300] {
        let drawn = drawn(&conversation(), width);
        let rows: Vec<&str> = drawn.lines().skip(1).take_while(|line| !line.is_empty()).collect();
        assert!(rows.iter().all(|row| display_width(row) <= width), "{width}:\n{drawn}");
        let is_line = |character: &char| matches!(character, '│' | '├' | '┤');
        let columns: HashSet<usize> =
            rows.iter().flat_map(|row| row.chars().enumerate().filter(|(_, c)| is_line(c)).map(|(at, _)| at)).collect();
        assert_eq!(columns.len(), 2, "{width}:\n{drawn}");
    }
}

#[test]
fn each_connection_has_a_ladder_of_its_own_with_its_own_calls_only() {
    let mut events = conversation();
    let mut other = conversation();
    for event in &mut other {
        event.at += Duration::from_millis(1);
        match &mut event.what {
            What::Segment(segment) => {
                let client = if segment.from.port() == 7003 { &mut segment.to } else { &mut segment.from };
                client.set_port(40000);
            }
            _ => event.what = What::Note("nothing".into()),
        }
    }
    events.extend(other);
    events.sort_by_key(|event| event.at);
    let drawn = drawn(&events, 100);
    let (first, second) = drawn.split_once("client  127.0.0.1:40000").unwrap();
    assert!(first.contains("client 815  127.0.0.1:51234") && first.contains("write(3"), "{drawn}");
    assert!(!second.contains("write(3") && !second.contains("ESTABLISHED"), "{drawn}");
    assert_eq!(second.matches('→').count(), first.matches('→').count(), "{drawn}");
}

/// The same addresses as an IPv6 socket for both versions has them.
fn dual_stack(event: &mut Event) {
    let widen = |end: &mut Endpoint| {
        if let Endpoint::Inet(SocketAddr::V4(address)) = end {
            *end = Endpoint::Inet((address.ip().to_ipv6_mapped(), address.port()).into());
        }
    };
    let (What::Called(call) | What::Returned(call)) = &mut event.what else { return };
    let made = call.outcome.as_mut().and_then(|outcome| outcome.made.as_mut());
    for descriptor in call.on.as_mut().into_iter().chain(made) {
        if let Named::Connected { local, remote, .. } = &mut descriptor.names {
            widen(local);
            widen(remote);
        }
    }
}

#[test]
fn calls_on_a_dual_stack_socket_stand_on_the_ladder_of_its_segments() {
    let mut events = conversation();
    events.iter_mut().for_each(dual_stack);
    assert_eq!(drawn(&events, 120), drawn(&conversation(), 120));
}

#[test]
fn a_call_of_another_process_than_the_side_is_named_after_says_whose_it_is() {
    let mut events = conversation();
    for event in &mut events {
        let is_read = matches!(&event.what, What::Called(call) | What::Returned(call) if call.name == "read");
        if let (true, Who::Program { role, pid: pid @ 812 }) = (is_read, &mut event.who) {
            (*role, *pid) = ("server/child 1".into(), 816);
        }
    }
    let drawn = drawn(&events, 120);
    assert!(drawn.contains(" │ child 1: read(4) …\n"), "{drawn}");
    assert!(drawn.contains(" child 1: … read(4, \"hello\\n\", 4096) = 6 after 120 µs\n"), "{drawn}");
    assert!(drawn.contains(" │ close(4) = 0\n") && drawn.contains(" server 812  "), "{drawn}");
}

#[test]
fn a_call_that_had_to_wait_tells_what_it_returned_when_it_did() {
    let mut events = conversation();
    let read = plain_call("read", connected(4, false), &["\"\"", "4096"], 0, None);
    events.extend(call(7, false, [2_000_600, 2_000_601], read));
    events.sort_by_key(|event| event.at);
    let drawn = drawn(&events, 120);
    let place = |text: &str| drawn.find(text).unwrap_or_else(|| panic!("{text} is not in\n{drawn}"));
    assert!(place("connect(3<TCP>, 127.0.0.1:7003) …") < place("├── S  seq 0"));
    assert!(place("├── .  ack 1 win 512") < place("… connect(3<TCP>, 127.0.0.1:7003) = 0"));
    assert!(place("├── P. seq 1:7") < place("… read(4, \"hello\\n\", 4096) = 6"));
    assert!(place("write(3, \"hello\\n\", 6) = 6") < place("├── P. seq 1:7"), "it waits for nobody");
    assert!(drawn.contains(" read(4, \"\", 4096) = 0\n"), "nothing came meanwhile: {drawn}");
}

#[test]
fn without_a_port_the_client_is_the_one_that_sends_the_first_syn() {
    let events = [wire(0, false, "S", [0, 0, 0], Vec::new()), wire(9, true, "S.", [0, 1, 0], Vec::new())];
    let lines = lines(&events, None, 80);
    assert!(strip_str(&lines[0]).to_string().trim_start().starts_with("client  127.0.0.1:7003"), "{lines:#?}");
    let only_answer = [wire(9, true, "S.", [0, 1, 0], Vec::new())];
    let lines = self::lines(&only_answer, None, 80);
    assert!(strip_str(&lines[0]).to_string().trim_start().starts_with("client  127.0.0.1:7003"), "{lines:#?}");
}

#[test]
fn a_segment_that_is_sent_again_says_so_however_little_room_there_is() {
    let mut event = wire(0, true, "P.", [1_000_000_000, 1_000_000_000, 60_000], Vec::new());
    if let What::Segment(segment) = &mut event.what {
        segment.retransmitted = true;
    }
    assert!(drawn(&[event], 72).contains("├── ↻ P. seq"));
}

#[test]
fn a_sample_that_was_not_inferred_has_a_row_of_its_own() {
    let socket = Socket { remote: end(CLIENT_END), state: State::FinWait1, ..listening() };
    let changed = What::Changed { before: State::Established, socket };
    let sample = Event { at: Duration::from_micros(20), who: Who::Kernel, what: changed };
    let drawn = drawn(&[wire(10, true, ".", [1, 1, 0], Vec::new()), sample], 80);
    let row = drawn.lines().nth(3).unwrap();
    assert_eq!(row, " 0.000020                │                                      │ ● FIN-WAIT-1");
    assert!(drawn.lines().nth(1).unwrap().ends_with("│ ESTABLISHED"));
}

#[test]
fn what_a_program_chose_is_shown_harmless() {
    let name = plain_call("write", connected(3, true), &["\x1b[2J\u{202e}"], 3, None);
    let mut events = vec![wire(1, true, ".", [1, 1, 0], Vec::new())];
    events.extend(call(9, true, [2, 3], name));
    if let Who::Program { role, .. } = &mut events[1].who {
        *role = "\x1b]0;x\x07".into();
    }
    let drawn = drawn(&events, 80);
    assert!(drawn.contains(r"write(3, \u{1b}[2J\u{202e}) = 3"), "{drawn}");
    assert!(drawn.chars().all(|character| character == '\n' || !character.is_control()), "{drawn:?}");
}

#[test]
fn wide_characters_count_for_two_columns() {
    assert_eq!(fit("你好世界", 8), "你好世界");
    assert_eq!(fit("你好世界", 7), "你好世…");
    assert_eq!(fit("你好世界", 6), "你好…");
}

#[test]
fn without_a_segment_there_is_no_ladder() {
    assert_eq!(lines(&[], None, 80), ["No TCP segment was captured: there is no ladder to draw."]);
}
