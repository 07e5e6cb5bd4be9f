//! Bytes that are not as they should be, into everything that reads bytes. `fuzz/` holds the same functions for longer.

#![allow(clippy::unwrap_used, reason = "a failed expectation is what a test is for")]

#[path = "common/events.rs"]
mod events;

use events::{any_event, any_header, cases};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use socklab::decode::{inet_diag, netlink, packet, sockaddr, syscall, unix_diag};
use socklab::event::{Event, Protocol, Transport, What};
use socklab::record::{Fault, Header, LONGEST_LINE, Reader, Writer};
use socklab::scene;
use socklab::view::notation;
use socklab::view::paint::harmless;
use socklab::view::pcapng::Pcapng;

/// A change of a byte string: a piece of it replaced by other bytes, of which there may be none.
type Change = (Index, u8, Vec<u8>);

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let new = prop_oneof![vec(any::<u8>(), 0..5), select(vec!["}", "\"", "[", "null", "-1", "\n"]).prop_map(Vec::from)];
    vec((any::<Index>(), 0..5_u8, new), 1..4)
}

/// The changed bytes, and the place before which nothing was changed.
fn changed(mut bytes: Vec<u8>, changes: &[Change]) -> (Vec<u8>, usize) {
    let mut first = bytes.len();
    for (place, removed, new) in changes {
        let begin = place.index(bytes.len() + 1);
        let end = bytes.len().min(begin + usize::from(*removed));
        bytes.splice(begin..end, new.iter().copied());
        first = first.min(begin);
    }
    (bytes, first)
}

/// A datagram of netlink messages, each with a body of whole words.
fn netlink_datagram() -> impl Strategy<Value = Vec<u8>> {
    let message = (any::<u16>(), any::<u32>(), vec(any::<u32>(), 0..20));
    vec(message, 0..4).prop_map(|messages| {
        let of_words = |words: Vec<u32>| words.into_iter().flat_map(u32::to_ne_bytes).collect::<Vec<u8>>();
        let messages = messages.into_iter();
        messages.flat_map(|(kind, number, words)| netlink::request(kind, 0, number, &of_words(words))).collect()
    })
}

/// An `inet_diag_msg`, or a `unix_diag_msg` with a name, a peer and queues.
fn diag_message() -> impl Strategy<Value = Vec<u8>> {
    let inet = (select(vec![2_u8, 10]), 1_u8..=12, 0_u8..=4, vec(any::<u8>(), 69))
        .prop_map(|(family, state, timer, rest)| [vec![family, state, timer], rest].concat());
    let unix = (select(vec![1_u8, 2, 5]), 1_u8..=12, vec(any::<u8>(), 0..40)).prop_map(|(kind, state, name)| {
        let mut bytes = [vec![1, kind, state, 0], vec![7; 12]].concat();
        for (kind, value) in [(0_u16, name.as_slice()), (2, &[9; 4]), (4, &[3; 8])] {
            bytes.extend((4 + value.len() as u16).to_ne_bytes());
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    });
    prop_oneof![inet, unix]
}

/// A packet of IPv4 or IPv6 with a TCP segment or UDP datagram in it, options and data included.
fn ip_packet() -> impl Strategy<Value = Vec<u8>> {
    let options = select(vec![
        vec![],
        vec![2, 4, 5, 180, 4, 2, 1, 1],
        vec![8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 4, 2],
        vec![5, 10, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0],
    ]);
    (any::<[bool; 2]>(), any::<[u8; 12]>(), any::<u8>(), options, vec(any::<u8>(), 0..40)).prop_map(
        |([is_v6, is_tcp], numbers, flags, options, data)| {
            let rest = match is_tcp {
                true => {
                    let offset = 5 + options.len() as u8 / 4;
                    [numbers.as_slice(), &[offset << 4, flags, 1, 0, 0, 0, 0, 0], &options, &data].concat()
                }
                false => {
                    let length = (8 + data.len() as u16).to_be_bytes();
                    [&numbers[..4], &length, &[0, 0], &data].concat()
                }
            };
            let protocol = if is_tcp { 6 } else { 17 };
            let length = rest.len() as u16;
            let header = match is_v6 {
                true => [&[0x60, 0, 0, 0], &length.to_be_bytes()[..], &[protocol, 64], &[0; 32]].concat(),
                false => {
                    let total = (20 + length).to_be_bytes();
                    [&[0x45, 0], &total[..], &[0, 0, 0, 0, 64, protocol, 0, 0], &[127, 0, 0, 1, 127, 0, 0, 1]].concat()
                }
            };
            [header, rest].concat()
        },
    )
}

/// As it was captured, and as if it had been cut.
fn read_packet(bytes: &[u8], cut_off: u32) {
    if let Ok((_, inner)) = packet::ethernet(bytes) {
        assert!(inner.len() + 14 <= bytes.len() && bytes.ends_with(inner));
        let _ = packet::ip(inner, inner.len() as u32);
    }
    for whole in [bytes.len() as u32, (bytes.len() as u32).saturating_add(cut_off)] {
        let Ok(Some(header)) = packet::ip(bytes, whole) else { continue };
        assert!(bytes.len() >= 28 && header.length <= whole.max(65_575), "{header:?}");
        assert!(header.transport == Transport::Tcp || header.options.is_empty() && header.flags.0 == 0);
    }
}

/// Where the memory of a program begins in these tests.
const BEGIN: u64 = 4096;

/// Words for a call: anything, or an address in the memory, or a small number.
fn words() -> impl Strategy<Value = [u64; 6]> {
    proptest::array::uniform6(prop_oneof![any::<u64>(), BEGIN..BEGIN + 200, 0..70_u64])
}

fn read_call(call: &syscall::Call, words: [u64; 6], returned: i64, bytes: &[u8]) {
    let memory = |at: u64, into: &mut [u8]| {
        let from = at.checked_sub(BEGIN).and_then(|from| bytes.get(usize::try_from(from).ok()?..)).unwrap_or_default();
        let length = from.len().min(into.len());
        into[..length].copy_from_slice(&from[..length]);
        length
    };
    let mut texts = call.enter(words, &memory);
    call.answer(&mut texts, words, returned, &memory);
    for text in texts.iter().flatten() {
        assert!(text.len() < 64 * 1024, "{}: {} bytes of text", call.name, text.len());
        assert!(!harmless(text.as_bytes()).chars().any(char::is_control));
    }
    let _ = call.is_of_interest(words, &memory, |fd| fd & 1 == 0);
    let _ = call.pair(words, &memory);
    let _ = syscall::fcntl_copies(words);
}

fn read_netlink(bytes: &[u8]) {
    let mut messages = 0;
    let mut faults = 0;
    for message in netlink::messages(bytes) {
        match message {
            Ok(message) => {
                messages += 1;
                assert!(bytes.as_ptr_range().contains(&message.body.as_ptr()) || message.body.is_empty());
                let _ = netlink::errno(message.body);
                assert!(netlink::attributes(message.body).count() <= message.body.len() / 4);
            }
            Err(_) => faults += 1,
        }
    }
    assert!(messages <= bytes.len() / 16 && faults <= 1, "{messages} messages and {faults} faults");
}

fn read_sockets(bytes: &[u8]) {
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        if let Ok(socket) = inet_diag::socket(protocol, bytes) {
            assert!(bytes.len() >= 72 && socket.protocol == protocol);
        }
    }
    if let Ok((socket, _)) = unix_diag::socket(bytes) {
        assert!(bytes.len() >= 16 && !matches!(socket.protocol, Protocol::Tcp | Protocol::Udp));
    }
}

/// Reads to the end or the first fault, which has to be in the text; returns the events before it.
fn read_recording(bytes: &[u8]) -> Vec<Event> {
    let lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    let check = |fault: Fault| {
        let Fault::Malformed { line, column, why } = fault else { panic!("{fault}") };
        let text = lines.get(line as usize - 1).unwrap();
        assert!((1..=text.len() + 1).contains(&column), "line {line}, column {column}: {why}");
        assert!(why.len() < 2000 && text.len() <= LONGEST_LINE, "{why}");
    };
    let mut reader = match Reader::open(bytes) {
        Ok(reader) => reader,
        Err(fault) => {
            check(fault);
            return Vec::new();
        }
    };
    let mut events = Vec::new();
    for event in reader.by_ref() {
        match event {
            Ok(event) => events.push(event),
            Err(fault) => check(fault),
        }
    }
    assert!(reader.next().is_none());
    events
}

fn recorded(header: &Header, events: &[Event]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), header, true).unwrap();
    events.iter().for_each(|event| writer.event(event).unwrap());
    writer.finish().unwrap()
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..300)) {
        read_netlink(&bytes);
        read_sockets(&bytes);
        read_recording(&bytes);
        read_packet(&bytes, 1000);
        let _ = sockaddr::address(&bytes);
        assert!(serde_json::from_slice::<Event>(&bytes).is_err());
    }

    #[test]
    fn a_netlink_datagram_with_changed_bytes_is_read_or_refused(
        datagram in netlink_datagram(), changes in changes(),
    ) {
        assert!(netlink::messages(&datagram).all(|message| message.is_ok()));
        read_netlink(&changed(datagram, &changes).0);
    }

    #[test]
    fn a_message_about_a_socket_with_changed_bytes_is_read_or_refused(message in diag_message(), changes in changes()) {
        let (inet, unix) = (inet_diag::socket(Protocol::Tcp, &message), unix_diag::socket(&message));
        assert!(inet.is_ok() || unix.is_ok(), "{inet:?}, {unix:?}");
        read_sockets(&changed(message, &changes).0);
    }

    #[test]
    fn a_packet_with_changed_or_missing_bytes_is_read_or_refused(
        packet in ip_packet(), changes in changes(), cut in any::<Index>(), more in any::<u32>(),
    ) {
        let whole = packet.len() as u32;
        assert!(matches!(packet::ip(&packet, whole), Ok(Some(_))), "{packet:?}");
        read_packet(&packet[..cut.index(packet.len() + 1)], more);
        let changed = changed(packet, &changes).0;
        read_packet(&changed, more);
        read_packet(&[&[0; 12], [8, 0].as_slice(), &changed].concat(), more);
    }

    #[test]
    fn whatever_the_words_of_a_call_are_and_wherever_they_lead_it_is_shown(
        which in any::<Index>(), words in words(), returned in any::<i64>(), memory in vec(any::<u8>(), 0..200),
    ) {
        let numbers = syscall::numbers();
        let call = syscall::find(*which.get(&numbers)).unwrap();
        for returned in [returned, returned % 300, 0, -1, i64::MIN] {
            read_call(call, words, returned, &memory);
        }
        let _ = sockaddr::address(&memory);
    }

    #[test]
    fn an_address_with_any_family_and_length_is_read_or_refused(
        family in select(vec![0_u16, 1, 2, 10, 16]), rest in vec(any::<u8>(), 0..130),
    ) {
        let bytes = [family.to_ne_bytes().as_slice(), &rest].concat();
        match sockaddr::address(&bytes) {
            Ok(sockaddr::Address::Family(other)) => assert!(other == family && ![1, 2, 10].contains(&family)),
            Ok(sockaddr::Address::End(end)) => assert_eq!(end.port().is_some(), family != 1),
            Err(_) => assert!(family != 1 && rest.len() < 22),
        }
    }
}

proptest! {
    #![proptest_config(cases(150))]

    #[test]
    fn of_a_recording_with_changed_bytes_all_is_read_that_comes_before_the_change(
        header in any_header(), events in vec(any_event(), 1..4), changes in changes(),
    ) {
        let (bytes, first) = changed(recorded(&header, &events), &changes);
        let whole_lines = bytes[..first].iter().filter(|byte| **byte == b'\n').count();
        let read = read_recording(&bytes);
        let untouched = whole_lines.saturating_sub(1);
        assert!(read.len() >= untouched, "{} of {untouched} events were read", read.len());
        assert_eq!(read[..untouched], events[..untouched]);
    }

    #[test]
    fn an_event_that_could_be_read_can_be_written_and_shown(event in any_event(), changes in changes()) {
        let line = changed(serde_json::to_vec(&event).unwrap(), &changes).0;
        let Ok(event) = serde_json::from_slice::<Event>(&line) else { return Ok(()) };
        let written = serde_json::to_string(&event).unwrap();
        // A path that looks like an address is one from then on, but nothing else changes, and nothing after that.
        let again: Event = serde_json::from_str(&written).unwrap();
        assert_eq!(serde_json::to_string(&again).unwrap(), written);
        check_notation(&event);
    }

    #[test]
    fn whatever_is_recorded_the_capture_is_a_chain_of_whole_blocks(
        header in any_header(), events in vec(any_event(), 0..8),
    ) {
        let mut bytes = Vec::new();
        let mut capture = Pcapng::new(&mut bytes, &header).unwrap();
        events.iter().for_each(|event| capture.event(event).unwrap());
        let summary = capture.finish().unwrap();
        let segments = events.iter().filter(|event| matches!(event.what, What::Segment(_))).count() as u64;
        assert_eq!(summary.written + summary.without_bytes, segments);
        assert_eq!(blocks_of(&bytes), [vec![0x0a0d_0d0a, 1], vec![6; summary.written as usize]].concat());
    }

    /// A scene with words of the language changed into others, and into anything else.
    #[test]
    fn a_scene_that_is_none_is_told_with_a_place_in_its_text(changes in changes()) {
        let whole = include_bytes!("../labs/lab01_echo/scenes/queue.scene").to_vec();
        let (bytes, _) = changed(whole, &changes);
        let text = String::from_utf8_lossy(&bytes);
        if let Err(mistake) = scene::parse(&text) {
            let line = text.lines().nth(mistake.line - 1).unwrap_or_default();
            prop_assert!(mistake.column <= line.chars().count() + 1, "{mistake:?}");
            prop_assert!(mistake.shown("a scene").chars().all(|it| it == '\n' || !it.is_control()));
        }
    }
}

/// The types of the blocks, each with its length before and behind it.
fn blocks_of(mut bytes: &[u8]) -> Vec<u32> {
    let word = |bytes: &[u8], at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap());
    let mut kinds = Vec::new();
    while !bytes.is_empty() {
        let length = word(bytes, 4) as usize;
        assert!(length.is_multiple_of(4) && length >= 12);
        assert_eq!(word(bytes, length - 4) as usize, length);
        kinds.push(word(bytes, 0));
        bytes = &bytes[length..];
    }
    kinds
}

/// Whatever the event says, what is shown of it holds no control characters.
fn check_notation(event: &Event) {
    let shown = match &event.what {
        What::Called(call) | What::Returned(call) => {
            let outcome = call.outcome.as_ref().map(notation::outcome).unwrap_or_default();
            format!("{}{outcome}", notation::call(call))
        }
        What::Segment(segment) => notation::segment(segment),
        _ => return,
    };
    assert!(!shown.chars().any(char::is_control), "{shown:?}");
}
