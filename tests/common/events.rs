//! Events: any that there could be, and those of a short run.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::time::Duration;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use socklab::event::{
    Call, Descriptor, End, Endpoint, Event, Flags, Named, Outcome, Owner, Protocol, Seen, Segment, SegmentOption,
    Socket, State, Timer, TimerKind, Transition, Transport, Waited, What, Who,
};
use socklab::record::Header;

/// Few cases, and no file beside the test in which failed ones are kept: a failure prints its case in full.
pub fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// For how long a run may last so that its times are exact to the nanosecond: eleven days.
const LONGEST_RUN: Range<u64> = 0..1_000_000_000_000_000;

/// Any event, with any text in it. The parts are boxed: as one type they would not fit a test thread's stack.
pub fn any_event() -> impl Strategy<Value = Event> {
    (duration(), who(), what()).prop_map(|(at, who, what)| Event { at, who, what })
}

/// Any header that can be written.
pub fn any_header() -> impl Strategy<Value = Header> {
    let texts = (text(), text(), text(), text(), vec(text(), 0..3));
    (texts, option::of(any::<u16>()), 0..8_000_000_000_000_000_000_u64).prop_map(|(texts, server_port, nanos)| {
        let (title, rung, kernel, machine, commands) = texts;
        let started = std::time::UNIX_EPOCH + Duration::from_nanos(nanos);
        Header { title, server_port, rung, kernel, machine, commands, started }
    })
}

/// Text as a program might choose it to harm whoever prints it.
pub fn text() -> BoxedStrategy<String> {
    prop_oneof![
        "[a-z]{0,8}",
        any::<String>(),
        "[\\x00-\\x1f\\x7f-\\u{9f}\\u{200b}\\u{202e}\"\\\\]{0,8}",
        select(vec!["\x1b[2J", "\x1b]0;x\x07", "\u{9b}31m", "a\nb", "a\r", "hex:00"]).prop_map(str::to_owned),
    ]
    .boxed()
}

fn duration() -> impl Strategy<Value = Duration> {
    prop_oneof![LONGEST_RUN, 0..10_000_000_000_u64].prop_map(Duration::from_nanos)
}

fn who() -> BoxedStrategy<Who> {
    prop_oneof![
        Just(Who::Kernel),
        Just(Who::Wire),
        (text(), any::<u32>()).prop_map(|(role, pid)| Who::Program { role, pid }),
        Just(Who::Socklab),
    ]
    .boxed()
}

fn what() -> BoxedStrategy<What> {
    let queued = (any::<u32>(), socket()).prop_map(|(before, socket)| What::Queued { before, socket });
    prop_oneof![
        socket().prop_map(What::Appeared),
        (state(), socket()).prop_map(|(before, socket)| What::Changed { before, socket }),
        socket().prop_map(What::Accepted),
        queued,
        socket().prop_map(What::Lying),
        socket().prop_map(What::Gone),
        text().prop_map(What::Crowd),
        transition().prop_map(What::Moved),
        call().prop_map(What::Called),
        call().prop_map(What::Returned),
        segment().prop_map(|segment| What::Segment(Box::new(segment))),
        vec(text(), 0..4).prop_map(|command| What::Started { command }),
        (who(), any::<bool>()).prop_map(|(child, is_thread)| What::Forked { child, is_thread }),
        any::<i32>().prop_map(What::Signalled),
        prop_oneof![any::<i32>().prop_map(End::Exited), any::<i32>().prop_map(End::Killed)].prop_map(What::Ended),
        bytes().prop_map(What::Said),
        bytes().prop_map(What::Typed),
        text().prop_map(What::Note),
    ]
    .boxed()
}

fn bytes() -> BoxedStrategy<Vec<u8>> {
    prop_oneof![vec(any::<u8>(), 0..40), text().prop_map(String::into_bytes)].boxed()
}

fn state() -> impl Strategy<Value = State> {
    select(State::ALL.to_vec())
}

fn protocol() -> impl Strategy<Value = Protocol> {
    select(vec![Protocol::Tcp, Protocol::Udp, Protocol::UnixStream, Protocol::UnixDatagram, Protocol::UnixSeqpacket])
}

fn address() -> impl Strategy<Value = SocketAddr> {
    (any::<IpAddr>(), 1_u16..).prop_map(SocketAddr::from)
}

/// No path that looks like an address or like `*`: such a path is read back as what it looks like.
fn endpoint() -> BoxedStrategy<Endpoint> {
    let path = text().prop_filter("it looks like something else", |path| {
        path != "*" && path != "(unnamed)" && path.parse::<SocketAddr>().is_err()
    });
    prop_oneof![
        address().prop_map(Endpoint::Inet),
        Just(Endpoint::Inet(SocketAddr::from(([0, 0, 0, 0], 0)))),
        path.prop_map(Endpoint::Path),
        Just(Endpoint::Unnamed),
    ]
    .boxed()
}

fn socket() -> BoxedStrategy<Socket> {
    let kind =
        select(vec![TimerKind::Retransmit, TimerKind::Keepalive, TimerKind::TimeWait, TimerKind::ZeroWindowProbe]);
    let timer =
        (kind, any::<u32>(), any::<u8>()).prop_map(|(kind, left_ms, expirations)| Timer { kind, left_ms, expirations });
    let owner = (text(), any::<u32>(), any::<u32>()).prop_map(|(name, pid, fd)| Owner { name, pid, fd });
    let ends = (protocol(), state(), endpoint(), endpoint());
    let numbers = (any::<u32>(), any::<u32>(), any::<u32>(), prop_oneof![Just(0), any::<u32>()]);
    (ends, numbers, option::of(timer), vec(owner, 0..6))
        .prop_map(|(ends, numbers, timer, owners)| {
            let (protocol, state, local, remote) = ends;
            let (receive_queue, send_queue, uid, inode) = numbers;
            // The cookie is not recorded: it has a meaning only while the kernel runs.
            let cookie = 0;
            Socket { protocol, state, local, remote, receive_queue, send_queue, uid, inode, cookie, timer, owners }
        })
        .boxed()
}

fn transition() -> BoxedStrategy<Transition> {
    let seen = (duration(), socket()).prop_map(|(at, socket)| Seen { at, socket });
    (endpoint(), endpoint(), state(), state(), text(), option::of(seen))
        .prop_map(|(local, remote, before, after, because, seen)| Transition {
            local,
            remote,
            before,
            after,
            because,
            seen,
        })
        .boxed()
}

fn descriptor() -> BoxedStrategy<Descriptor> {
    let connected = (protocol(), endpoint(), endpoint(), any::<bool>())
        .prop_map(|(protocol, local, remote, accepted)| Named::Connected { protocol, local, remote, accepted });
    let names = prop_oneof![
        protocol().prop_map(Named::Unbound),
        (protocol(), endpoint()).prop_map(|(protocol, end)| Named::Bound(protocol, end)),
        endpoint().prop_map(Named::Listening),
        connected,
        text().prop_map(Named::Other),
    ];
    (any::<i32>(), names).prop_map(|(fd, names)| Descriptor { fd, names }).boxed()
}

fn call() -> BoxedStrategy<Call> {
    let value = prop_oneof![any::<i64>(), Just(i64::MIN), -133..5_i64];
    let error = prop_oneof![text(), text().prop_map(|text| format!("ERESTART{text}"))];
    let outcome = (duration(), value, option::of(error), option::of(descriptor()))
        .prop_map(|(entered, value, error, made)| Outcome { entered, value, error, made });
    let name = prop_oneof![select(vec!["sendto", "close", "connect"]).prop_map(str::to_owned), text()];
    let waited = (descriptor(), text(), text()).prop_map(|(on, asked, came)| Waited { on, asked, came });
    (any::<u64>(), name, vec(text(), 0..4), option::of(descriptor()), vec(waited, 0..3), option::of(outcome))
        .prop_map(|(id, name, arguments, on, waits, outcome)| Call { id, name, arguments, on, waits, outcome })
        .boxed()
}

fn segment() -> BoxedStrategy<Segment> {
    let transport = select(vec![Transport::Tcp, Transport::Udp]);
    let ends = (transport, address(), address());
    let numbers = (any::<u32>(), any::<u32>(), any::<u32>(), any::<u32>(), any::<u32>(), any::<u16>());
    let header = (any::<u8>(), any::<bool>(), option::of(any::<u8>()), vec(segment_option(), 0..4));
    let rest = (vec(any::<u8>(), 0..60), any::<u32>());
    (ends, numbers, header, rest)
        .prop_map(|(ends, numbers, header, rest)| {
            let (transport, from, to) = ends;
            let (seq, ack, relative_seq, relative_ack, length, window) = numbers;
            let (flags, retransmitted, window_scale, options) = header;
            let (packet, packet_length) = rest;
            Segment {
                transport,
                from,
                to,
                flags: Flags(flags),
                seq,
                ack,
                relative_seq,
                relative_ack,
                length,
                window,
                window_scale,
                options,
                retransmitted,
                packet,
                packet_length,
            }
        })
        .boxed()
}

fn segment_option() -> BoxedStrategy<SegmentOption> {
    prop_oneof![
        any::<u16>().prop_map(SegmentOption::Mss),
        any::<u8>().prop_map(SegmentOption::WindowScale),
        Just(SegmentOption::SackPermitted),
        vec(any::<(u32, u32)>(), 0..3).prop_map(SegmentOption::Sack),
        any::<(u32, u32)>().prop_map(|(value, echo)| SegmentOption::Timestamps(value, echo)),
        any::<(u8, Vec<u8>)>().prop_map(|(kind, bytes)| SegmentOption::Other(kind, bytes)),
    ]
    .boxed()
}
