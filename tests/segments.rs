//! `socklab segments`, held against tcpdump, and its lens, held against its promises. Nearly all of it needs root.

#![allow(clippy::unwrap_used, reason = "a failed expectation is what a test is for")]

mod common;

use std::collections::{BTreeMap, HashSet};
use std::io::{self, Read};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use common::socklab;
use nix::sys::signal::Signal;
use socklab::event::{Event, Flags, Segment, SegmentOption, Transport, What, Who};
use socklab::lens::segments::Segments;
use socklab::sys::packet::{Capture, Options};
use testkit::namespace::{inside, or_skip};
use testkit::process::{Directory, Process, as_user, run};
use testkit::tcp::wait_until;
use testkit::traffic::{echo_line, echo_random, expect_end, full_port, reset, runs, taken_port};

const V4: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const V6: SocketAddr = SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::LOCALHOST), 0);
/// A datagram of this length comes last: who has shown it has shown all that came before.
const LAST: usize = 7_777;

fn can_capture() -> Result<(), String> {
    let lo = Options { interface: "lo", port: None, keep: 64 };
    Capture::open(&lo).map(drop).map_err(|refused| refused.to_string())
}

/// As [`inside`], where this user may capture.
fn capturing_inside(name: &str, body: impl FnOnce()) {
    if or_skip(name, can_capture()) {
        inside(name, &[], body);
    }
}

/// An echo server for one client.
fn echo_server(at: SocketAddr) -> (SocketAddr, thread::JoinHandle<()>) {
    let listener = TcpListener::bind(at).unwrap();
    let address = listener.local_addr().unwrap();
    let serve = move || {
        let (stream, _) = listener.accept().unwrap();
        // The end comes as an error where the client resets the connection.
        let _ = io::copy(&mut &stream, &mut &stream);
    };
    (address, thread::spawn(serve))
}

fn echo(at: SocketAddr) -> SocketAddr {
    let (address, server) = echo_server(at);
    let mut client = testkit::traffic::connect(address);
    echo_line(&mut client, "hello");
    client.shutdown(Shutdown::Write).unwrap();
    expect_end(&mut client);
    server.join().unwrap();
    address
}

fn datagram(to: SocketAddr, length: usize) {
    let from = UdpSocket::bind(SocketAddr::new(to.ip(), 0)).unwrap();
    assert_eq!(from.send_to(&vec![b'x'; length], to).unwrap(), length);
}

/// Something of everything: both IPs, a half-close, a reset, a refusal, datagrams, and as much as does not fit into one
/// segment.
fn traffic() {
    echo(V4);
    echo(V6);
    let (address, server) = echo_server(V4);
    let mut client = testkit::traffic::connect(address);
    echo_line(&mut client, "goodbye");
    reset(client);
    server.join().unwrap();
    let (_taken, closed) = taken_port();
    TcpStream::connect(closed).unwrap_err();
    let (address, server) = echo_server(V6);
    echo_random(testkit::traffic::connect(address), 1, 1 << 20);
    server.join().unwrap();
    for at in [V4, V6] {
        let receiver = UdpSocket::bind(at).unwrap();
        [0, 5, 1_400].into_iter().for_each(|length| datagram(receiver.local_addr().unwrap(), length));
    }
    let receiver = UdpSocket::bind(V4).unwrap();
    datagram(receiver.local_addr().unwrap(), LAST);
}

/// What tcpdump and this command both say of a segment.
#[derive(PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Said {
    flags: String,
    seq: Option<(u32, u32)>,
    ack: Option<u32>,
    window: Option<u16>,
    options: Vec<String>,
    length: u32,
}

/// By sender and receiver, and sorted: what two processors have at the same time comes into two rings in either order.
type ByEnds = BTreeMap<(SocketAddr, SocketAddr), Vec<Said>>;

/// `07:00:46.799671 IP 127.0.0.1.51312 > 127.0.0.1.7001: Flags [P.], seq 1:7, ack 1, win 64, options […], length 6`
fn of_tcpdump(line: &str) -> ((SocketAddr, SocketAddr), Said) {
    let (ends, fields) = line.split_once(": ").unwrap_or_else(|| panic!("{line:?}"));
    let end = |text: &str| -> SocketAddr {
        let (ip, port) = text.rsplit_once('.').unwrap();
        SocketAddr::new(ip.parse().unwrap(), port.parse().unwrap())
    };
    let words: Vec<&str> = ends.split(' ').collect();
    let field = |name: &str| fields.split(", ").find_map(|field| field.strip_prefix(name));
    let seq = field("seq ").map(|seq| {
        let (first, behind) = seq.split_once(':').unwrap_or((seq, seq));
        (first.parse().unwrap(), behind.parse().unwrap())
    });
    let options = field("options [").unwrap_or_default().trim_end_matches(']').split(',');
    let said = Said {
        flags: field("Flags [").unwrap_or("none]").trim_end_matches(']').into(),
        seq,
        ack: field("ack ").map(|ack| ack.parse().unwrap()),
        window: field("win ").map(|window| window.parse().unwrap()),
        options: options.filter(|option| !matches!(*option, "nop" | "eol" | "")).map(String::from).collect(),
        length: field("length ").and_then(|length| length.parse().ok()).unwrap_or_else(|| panic!("{line:?}")),
    };
    ((end(words[2]), end(words[4])), said)
}

fn option_of_tcpdump(option: &SegmentOption) -> String {
    match option {
        SegmentOption::Mss(size) => format!("mss {size}"),
        SegmentOption::WindowScale(bits) => format!("wscale {bits}"),
        SegmentOption::SackPermitted => "sackOK".into(),
        SegmentOption::Timestamps(value, echo) => format!("TS val {value} ecr {echo}"),
        SegmentOption::Sack(blocks) => {
            let shown: String = blocks.iter().map(|(first, behind)| format!("{{{first}:{behind}}}")).collect();
            format!("sack {} {shown}", blocks.len())
        }
        SegmentOption::Other(..) => panic!("{option:?}"),
    }
}

/// tcpdump counts from the first segment of a connection that it sees with an ACK, and from each SYN; these themselves it
/// shows with the numbers that stand in them.
fn of_socklab(segment: &Segment, known: &mut HashSet<[SocketAddr; 2]>) -> Said {
    let Segment { flags, length, .. } = *segment;
    let mut ends = [segment.from, segment.to];
    ends.sort();
    let is_first = (flags.ack() && known.insert(ends)) || flags.syn();
    let (seq, ack) = if is_first { (segment.seq, segment.ack) } else { (segment.relative_seq, segment.relative_ack) };
    let is_tcp = segment.transport == Transport::Tcp;
    let shows_seq = is_tcp && (length > 0 || flags.syn() || flags.fin() || flags.rst());
    Said {
        flags: flags.to_string(),
        seq: shows_seq.then_some((seq, seq.wrapping_add(length))),
        ack: flags.ack().then_some(ack),
        window: is_tcp.then_some(segment.window),
        options: segment.options.iter().map(option_of_tcpdump).collect(),
        length,
    }
}

fn segment_of(event: &Event) -> &Segment {
    let What::Segment(segment) = &event.what else { panic!("{event:?}") };
    assert_eq!(event.who, Who::Wire);
    segment
}

fn events_of(json: &[u8]) -> Vec<Event> {
    json.split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect()
}

#[test]
fn segment_by_segment_flags_numbers_window_options_and_length_are_those_of_tcpdump() {
    if !or_skip("a comparison with tcpdump", runs("tcpdump", &["--version"])) {
        return;
    }
    capturing_inside("segment_by_segment_flags_numbers_window_options_and_length_are_those_of_tcpdump", || {
        let mut socklab = Process::start(&mut socklab(&["segments", "--json"]));
        let mut command = Command::new("tcpdump");
        // With whole packets of 64 KiB its buffer would hold only eight.
        command.args(["-i", "lo", "-nn", "-l", "-s", "256", "-B", "8192", "--immediate-mode", "tcp or udp"]);
        let mut tcpdump = Process::start(&mut command);
        socklab.wait_for_text("Capturing on lo");
        tcpdump.wait_for_text("listening on lo");
        traffic();
        socklab.wait_for_text(&format!("\"length\":{LAST}"));
        tcpdump.wait_for_text(&format!("length {LAST}"));
        for process in [&mut socklab, &mut tcpdump] {
            process.signal(Signal::SIGINT);
            assert_eq!(process.finish().code(), Some(0));
        }
        assert!(tcpdump.stderr().contains("\n0 packets dropped by kernel"), "{}", tcpdump.stderr());

        let (mut ours, mut theirs, mut known) = (ByEnds::new(), ByEnds::new(), HashSet::new());
        for event in events_of(&socklab.stdout()) {
            let segment = segment_of(&event);
            let said = of_socklab(segment, &mut known);
            ours.entry((segment.from, segment.to)).or_default().push(said);
        }
        // It ends with an empty line, for the ^C that a terminal would show.
        for line in String::from_utf8(tcpdump.stdout()).unwrap().lines().filter(|line| !line.is_empty()) {
            let (ends, said) = of_tcpdump(line);
            theirs.entry(ends).or_default().push(said);
        }
        ours.values_mut().chain(theirs.values_mut()).for_each(|segments| segments.sort());
        assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
        // Five connections both ways, seven datagrams.
        assert_eq!(ours.len(), 2 * 5 + 7);
        for (ends, segments) in &theirs {
            assert_eq!(ours.get(ends), Some(segments), "{ends:?}");
        }
        let sent: u32 = ours.values().flatten().map(|said| said.length).sum();
        assert!(sent > 2 << 20, "the bulk went both ways");
    });
}

#[test]
fn an_echo_is_shown_in_tcpdumps_notation_and_nothing_of_other_ports() {
    capturing_inside("an_echo_is_shown_in_tcpdumps_notation_and_nothing_of_other_ports", || {
        let (address, server) = echo_server(V4);
        let port = address.port();
        let mut show = Process::start(&mut socklab(&["segments", "--port", &port.to_string()]));
        show.wait_for_text(&format!("Capturing on lo, port {port}."));
        echo(V4);
        let mut client = testkit::traffic::connect(address);
        let own = client.local_addr().unwrap().port();
        echo_line(&mut client, "hello");
        client.shutdown(Shutdown::Write).unwrap();
        expect_end(&mut client);
        server.join().unwrap();
        datagram(address, LAST);
        show.wait_for_text(&format!("UDP length {LAST}"));
        show.signal(Signal::SIGINT);
        assert_eq!(show.finish().code(), Some(0));

        let output = String::from_utf8(show.stdout()).unwrap();
        let there = format!("[wire]         client :{own} → server  ");
        let back = format!("[wire]         server → client :{own}  ");
        for expected in [
            format!("{there}S  seq 0 win "),
            format!("{back}S. seq 0 ack 1 win "),
            format!("{there}P. seq 1:7 ack 1 win "),
            format!("{back}P. seq 1:7 ack 7 win "),
            format!("{there}F. seq 7 ack 7 win "),
            format!("{back}F. seq 7 ack 8 win "),
        ] {
            assert_eq!(output.lines().filter(|line| line.contains(&expected)).count(), 1, "{expected}\n{output}");
        }
        let shown = output.lines().filter(|line| line.contains("[wire]")).count();
        let of_others = |line: &&str| line.contains("[wire]") && !line.contains("server");
        assert_eq!(output.lines().filter(of_others).count(), 0, "{output}");
        let end = format!(
            "{shown} shown, {shown} captured, 0 dropped by the kernel\n\
             the same from the machine's own tool: sudo tcpdump -i lo -nn 'port {port}'\n"
        );
        assert!(output.ends_with(&end), "{output}");
    });
}

#[test]
fn it_ends_by_itself_after_as_many_as_were_asked_for() {
    capturing_inside("it_ends_by_itself_after_as_many_as_were_asked_for", || {
        let mut show = Process::start(&mut socklab(&["segments", "--json", "--count", "2"]));
        show.wait_for_text("Capturing on lo");
        let receiver = UdpSocket::bind(V4).unwrap();
        (1..=5).for_each(|length| datagram(receiver.local_addr().unwrap(), length));
        assert_eq!(show.finish().code(), Some(0));
        let lengths: Vec<u32> = events_of(&show.stdout()).iter().map(|event| segment_of(event).length).collect();
        assert_eq!(lengths, [1, 2]);
        assert!(show.stderr().contains("2 shown, "), "{}", show.stderr());
    });
}

#[test]
fn it_ends_when_nobody_reads_any_more_though_nothing_passes() {
    capturing_inside("it_ends_when_nobody_reads_any_more_though_nothing_passes", || {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut command = socklab(&["segments"]);
        let mut show = command.stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
        drop(command);
        reader.read_exact(&mut [0]).unwrap();
        drop(reader);
        let mut stderr = String::new();
        show.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        assert_eq!(show.wait().unwrap().code(), Some(1));
        assert!(stderr.contains("EPIPE"), "{stderr}");
    });
}

#[test]
fn a_fragmented_datagram_is_shown_once_with_its_whole_length_if_it_is_of_the_port() {
    if !or_skip("a smaller MTU", runs("ip", &["-V"])) {
        return;
    }
    capturing_inside("a_fragmented_datagram_is_shown_once_with_its_whole_length_if_it_is_of_the_port", || {
        let set = Command::new("ip").args(["link", "set", "lo", "mtu", "1500"]).status().unwrap();
        assert!(set.success());
        let receivers = [V4, V6].map(|at| UdpSocket::bind(at).unwrap());
        let [v4, v6] = receivers.each_ref().map(|receiver| receiver.local_addr().unwrap());
        for wanted in [v4, v6] {
            let (to, events) = sync_channel(100);
            let lens = Segments::start("lo", Some(wanted.port()), Instant::now(), to).unwrap();
            datagram(v4, 4_000);
            datagram(v6, 4_000);
            let ended = lens.stop();
            let seen: Vec<_> = events.iter().map(|event| segment_of(&event).clone()).collect();
            assert_eq!(seen.iter().map(|segment| (segment.to, segment.length)).collect::<Vec<_>>(), [(wanted, 4_000)]);
            assert!(seen[0].packet_length <= 1_500);
            assert_eq!((ended.statistics.captured, ended.statistics.malformed), (1, 0));
        }
    });
}

#[test]
fn a_syn_that_nobody_answers_is_marked_when_it_is_sent_again() {
    capturing_inside("a_syn_that_nobody_answers_is_marked_when_it_is_sent_again", || {
        let (_listener, _first, address) = full_port();
        let (to, events) = sync_channel(100);
        let lens = Segments::start("lo", Some(address.port()), Instant::now(), to).unwrap();
        // Linux lets one connection more in than listen() asked for, but not two.
        let connecting = thread::spawn(move || TcpStream::connect_timeout(&address, Duration::from_secs(10)));
        let is_syn = |event: &Event| segment_of(event).flags == Flags(2);
        let syns: Vec<Event> = events.iter().filter(is_syn).take(2).collect();
        lens.stop();
        drop(_listener);
        assert!(connecting.join().unwrap().is_err());
        let [first, second] = [&syns[0], &syns[1]].map(segment_of);
        assert_eq!((first.seq, first.retransmitted, second.retransmitted), (second.seq, false, true));
        assert!(syns[1].at - syns[0].at > Duration::from_millis(900));
    });
}

/// A lens on a port of this test's own, and a way to send to it.
fn lens_and_sender(room: usize) -> (Segments, Receiver<Event>, Instant, impl Fn(usize)) {
    let receiver = UdpSocket::bind(V4).unwrap();
    let address = receiver.local_addr().unwrap();
    let started = Instant::now();
    let (to, events) = sync_channel(room);
    let lens = Segments::start("lo", Some(address.port()), started, to).unwrap();
    let sender = UdpSocket::bind(V4).unwrap();
    let send = move |length: usize| {
        let _open = &receiver;
        sender.send_to(&vec![b'x'; length], address).unwrap();
    };
    (lens, events, started, send)
}

#[test]
fn each_segment_has_its_time_between_the_begin_and_the_end_of_the_send_that_made_it() {
    capturing_inside("each_segment_has_its_time_between_the_begin_and_the_end_of_the_send_that_made_it", || {
        let (lens, events, started, send) = lens_and_sender(10_000);
        let around: Vec<_> = (0..1_000)
            .map(|_| {
                let before = started.elapsed();
                send(9);
                (before, started.elapsed())
            })
            .collect();
        let ended = lens.stop();
        assert_eq!((ended.statistics.captured, ended.rest.len()), (1_000, 0));
        // What the two clocks can differ by when they are read one after the other.
        let noise = Duration::from_micros(5);
        let outside = |(event, (before, after)): &(Event, (Duration, Duration))| {
            event.at + noise < *before || event.at > *after + noise
        };
        let outside: Vec<_> =
            events.iter().zip(around).filter(outside).map(|(event, around)| (event.at, around)).collect();
        assert!(outside.is_empty(), "{outside:?}");
    });
}

#[test]
fn what_was_delivered_according_to_the_watermark_is_in_the_channel() {
    capturing_inside("what_was_delivered_according_to_the_watermark_is_in_the_channel", || {
        let (lens, events, started, send) = lens_and_sender(10_000);
        for round in 1..=100 {
            send(round);
            let sent = started.elapsed();
            wait_until("the watermark has passed, though nothing else comes", || lens.delivered_until() > sent);
            let lengths: Vec<u32> = events.try_iter().map(|event| segment_of(&event).length).collect();
            assert_eq!(lengths, [round as u32]);
            assert!(lens.delivered_until() <= started.elapsed());
        }
        assert_eq!(lens.stop().statistics.late, 0);
    });
}

#[test]
fn all_that_was_sent_before_the_stop_is_delivered_or_handed_back_in_order() {
    capturing_inside("all_that_was_sent_before_the_stop_is_delivered_or_handed_back_in_order", || {
        for room in [1, 40, 1_000] {
            let (lens, events, _, send) = lens_and_sender(room);
            (0..200).for_each(&send);
            let before = lens.delivered_until();
            assert!(before < Duration::MAX);
            let ended = lens.stop();
            let in_channel: Vec<Event> = events.iter().collect();
            assert_eq!(in_channel.len(), room.min(200));
            let lengths: Vec<u32> =
                in_channel.iter().chain(&ended.rest).map(|event| segment_of(event).length).collect();
            assert_eq!(lengths, (0..200).collect::<Vec<_>>());
            assert_eq!((ended.statistics.captured, ended.statistics.lost, ended.statistics.dropped), (200, 0, 0));
            assert!(ended.error.is_none());
        }
    });
}

#[test]
fn a_channel_that_nobody_empties_holds_the_watermark_back() {
    capturing_inside("a_channel_that_nobody_empties_holds_the_watermark_back", || {
        let (lens, events, started, send) = lens_and_sender(1);
        send(1);
        send(2);
        let sent = started.elapsed();
        // It has been looked at for long enough when a second lens has seen what came later.
        let (second, later, _, send_later) = lens_and_sender(1);
        send_later(3);
        wait_until("another lens is that far", || second.delivered_until() > sent + Duration::from_millis(50));
        assert_eq!(segment_of(&later.recv().unwrap()).length, 3);
        assert!(lens.delivered_until() <= sent, "the second datagram is not in the channel");
        assert_eq!(segment_of(&events.recv().unwrap()).length, 1);
        wait_until("the watermark has passed", || lens.delivered_until() > sent);
        assert_eq!(segment_of(&events.try_recv().unwrap()).length, 2);
    });
}

#[test]
fn without_the_right_to_capture_the_error_names_the_call_and_what_gives_the_right() {
    let directory = Directory::new();
    let mut command = Command::new(directory.copy_of("socklab"));
    command.arg("segments");
    if nix::unistd::geteuid().is_root() {
        as_user(&mut command, 65534);
    }
    let ended = run(&mut command);
    assert_eq!((ended.code, ended.stdout.as_slice()), (Some(1), b"".as_slice()));
    let (first, hints) = ended.stderr.split_once('\n').unwrap();
    assert_eq!(first, "socklab: could not capture: socket(AF_PACKET): EPERM (Operation not permitted)");
    assert!(hints.contains("sudo") && hints.contains("socklab watch"), "{hints}");
}

#[test]
fn an_interface_that_is_not_there_is_named() {
    if !or_skip("capturing on no interface", can_capture()) {
        return;
    }
    let ended = run(&mut socklab(&["segments", "--interface", "no\x1bsuch"]));
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("if_nametoindex(no\\u{1b}such): ENODEV"), "{}", ended.stderr);
}
