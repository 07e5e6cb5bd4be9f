//! Connections segment by segment.

use super::*;
use crate::event::Flags;

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

const SCALE_7: &[SegmentOption] = &[SegmentOption::WindowScale(7)];

/// A tracker, and the two ends of a connection whose numbers begin right below where they go round.
struct Scene {
    tracker: Tracker,
    at: Duration,
}

const CLIENT: &str = "127.0.0.1:50000";
const SERVER: &str = "127.0.0.1:7001";
/// The client's and the server's initial sequence numbers.
const C: u32 = u32::MAX - 2;
const S: u32 = 1_000_000;

fn header(from: &str, to: &str, flags: u8, seq: u32, ack: u32, length: u32) -> Header {
    Header {
        transport: Transport::Tcp,
        from: from.parse().unwrap(),
        to: to.parse().unwrap(),
        flags: Flags(flags),
        seq,
        ack,
        window: 512,
        options: Vec::new(),
        length,
    }
}

impl Scene {
    fn new() -> Self {
        Self { tracker: Tracker::new(), at: Duration::ZERO }
    }

    /// After a handshake in which both sides offered window scaling.
    fn established() -> Self {
        let mut scene = Self::new();
        scene.client_with(SYN, 0, 0, 0, SCALE_7);
        scene.server_with(SYN | ACK, 0, 1, 0, SCALE_7);
        scene.client(ACK, 1, 1, 0);
        scene
    }

    fn put(&mut self, header: Header) -> Segment {
        self.at += Duration::from_millis(1);
        self.tracker.segment(header, &[], 0, self.at)
    }

    /// The numbers are relative to [`C`] and [`S`].
    fn client(&mut self, flags: u8, seq: u32, ack: u32, length: u32) -> Segment {
        self.client_with(flags, seq, ack, length, &[])
    }

    fn client_with(&mut self, flags: u8, seq: u32, ack: u32, length: u32, options: &[SegmentOption]) -> Segment {
        let ack = if flags & ACK == 0 { 0 } else { S.wrapping_add(ack) };
        let header = header(CLIENT, SERVER, flags, C.wrapping_add(seq), ack, length);
        self.put(Header { options: options.to_vec(), ..header })
    }

    fn server(&mut self, flags: u8, seq: u32, ack: u32, length: u32) -> Segment {
        self.server_with(flags, seq, ack, length, &[])
    }

    fn server_with(&mut self, flags: u8, seq: u32, ack: u32, length: u32, options: &[SegmentOption]) -> Segment {
        let header = header(SERVER, CLIENT, flags, S.wrapping_add(seq), C.wrapping_add(ack), length);
        self.put(Header { options: options.to_vec(), ..header })
    }
}

fn numbers(segment: &Segment) -> (u32, u32) {
    (segment.relative_seq, segment.relative_ack)
}

#[test]
fn numbers_count_from_each_sides_syn_also_where_they_go_round() {
    let mut scene = Scene::new();
    assert_eq!(numbers(&scene.client(SYN, 0, 0, 0)), (0, 0));
    assert_eq!(numbers(&scene.server(SYN | ACK, 0, 1, 0)), (0, 1));
    assert_eq!(numbers(&scene.client(ACK, 1, 1, 0)), (1, 1));
    let data = scene.client(ACK, 1, 1, 10);
    assert_eq!((numbers(&data), data.seq), ((1, 1), u32::MAX - 1));
    assert_eq!(numbers(&scene.server(ACK, 1, 11, 0)), (1, 11));
    let more = scene.client(ACK, 11, 1, 5);
    assert_eq!((numbers(&more), more.seq, more.retransmitted), ((11, 1), 8, false));
}

#[test]
fn without_a_syn_numbers_count_from_the_first_ones_that_were_seen() {
    let mut scene = Scene::new();
    assert_eq!(numbers(&scene.client(ACK, 5_000, 9_000, 10)), (0, 0));
    assert_eq!(numbers(&scene.server(ACK, 9_000, 5_010, 20)), (0, 10));
    assert_eq!(numbers(&scene.client(ACK, 5_010, 9_020, 1)), (10, 20));
}

#[test]
fn a_syn_and_ack_tells_where_the_other_side_began_though_its_syn_was_not_seen() {
    let mut scene = Scene::new();
    assert_eq!(numbers(&scene.server(SYN | ACK, 0, 1, 0)), (0, 1));
    assert_eq!(numbers(&scene.client(ACK, 1, 1, 3)), (1, 1));
    assert_eq!(numbers(&scene.client(SYN, 0, 0, 0)), (0, 0));
    assert_eq!(numbers(&scene.server(ACK, 1, 4, 0)), (1, 4));
}

#[test]
fn a_new_syn_between_the_same_ends_begins_a_new_connection() {
    let mut scene = Scene::established();
    scene.client(ACK, 1, 1, 100);
    let syn = scene.client(SYN, 70_000, 0, 0);
    assert_eq!((numbers(&syn), syn.retransmitted), ((0, 0), false));
    let answer = scene.server(SYN | ACK, 80_000, 70_001, 0);
    assert_eq!((numbers(&answer), answer.retransmitted), ((0, 1), false));
    assert_eq!(numbers(&scene.client(ACK, 70_001, 80_001, 0)), (1, 1));
}

#[test]
fn two_syns_that_cross_are_one_connection() {
    let mut scene = Scene::new();
    scene.client(SYN, 0, 0, 0);
    scene.put(header(SERVER, CLIENT, SYN, S, 0, 0));
    let answer = scene.client(SYN | ACK, 0, 1, 0);
    assert_eq!((numbers(&answer), answer.retransmitted), ((0, 1), true));
    assert_eq!(numbers(&scene.server(SYN | ACK, 0, 1, 0)), (0, 1));
    assert_eq!(scene.tracker.next_number, 1);
}

#[test]
fn a_refused_connection_counts_from_the_reset() {
    let mut scene = Scene::new();
    scene.client(SYN, 0, 0, 0);
    let reset = scene.put(header(SERVER, CLIENT, RST | ACK, 0, C.wrapping_add(1), 0));
    assert_eq!(numbers(&reset), (0, 1));
}

#[test]
fn a_socket_that_is_connected_to_itself_is_both_sides_at_once() {
    let mut scene = Scene::new();
    let own = |flags, seq: u32, ack: u32, length| {
        header(SERVER, SERVER, flags, S + seq, if flags & ACK == 0 { 0 } else { S + ack }, length)
    };
    assert_eq!(numbers(&scene.put(own(SYN, 0, 0, 0))), (0, 0));
    let answer = scene.put(own(SYN | ACK, 0, 1, 0));
    assert_eq!((numbers(&answer), answer.retransmitted), ((0, 1), true));
    let data = scene.put(own(ACK, 1, 1, 5));
    assert_eq!((numbers(&data), data.retransmitted), ((1, 1), false));
    assert_eq!(numbers(&scene.put(own(ACK, 6, 6, 0))), (6, 6));
}

#[test]
fn what_was_sent_before_is_a_retransmission_and_a_pure_ack_never_is_one() {
    let mut scene = Scene::new();
    assert!(!scene.client(SYN, 0, 0, 0).retransmitted);
    assert!(scene.client(SYN, 0, 0, 0).retransmitted, "a SYN again");
    assert!(!scene.server(SYN | ACK, 0, 1, 0).retransmitted);
    assert!(scene.server(SYN | ACK, 0, 1, 0).retransmitted, "its answer again");
    assert!(!scene.client(ACK, 1, 1, 0).retransmitted);
    assert!(!scene.client(ACK, 1, 1, 0).retransmitted, "a pure ACK again");
    assert!(!scene.client(ACK, 1, 1, 10).retransmitted);
    assert!(scene.client(ACK, 1, 1, 10).retransmitted, "data again");
    assert!(scene.client(ACK, 3, 1, 4).retransmitted, "some of the data again");
    assert!(!scene.client(ACK, 6, 1, 10).retransmitted, "old and new data");
    assert!(!scene.client(FIN | ACK, 16, 1, 0).retransmitted);
    assert!(scene.client(FIN | ACK, 16, 1, 0).retransmitted, "the FIN again");
    assert!(scene.client(FIN | ACK, 6, 1, 10).retransmitted, "data and the FIN again");
}

#[test]
fn a_probe_with_an_old_number_and_no_data_is_no_retransmission() {
    let mut scene = Scene::established();
    scene.client(ACK, 1, 1, 10);
    scene.server(ACK, 1, 11, 0);
    let probe = scene.client(ACK, 10, 1, 0);
    assert_eq!((probe.retransmitted, probe.relative_seq), (false, 10));
    assert!(!scene.client(ACK, 11, 1, 1).retransmitted, "and changes nothing about what comes next");
}

#[test]
fn a_segment_that_was_overtaken_is_no_retransmission_but_the_same_once_more_is() {
    let mut scene = Scene::established();
    assert!(!scene.client(ACK, 11, 1, 10).retransmitted);
    assert!(!scene.client(ACK, 31, 1, 10).retransmitted);
    assert!(!scene.client(ACK, 1, 1, 10).retransmitted, "overtaken");
    assert!(scene.client(ACK, 1, 1, 10).retransmitted);
    assert!(!scene.client(ACK, 21, 1, 4).retransmitted, "the first part of what is missing");
    assert!(!scene.client(ACK, 21, 1, 10).retransmitted, "the same, and the rest of it");
    assert!(scene.client(ACK, 1, 1, 40).retransmitted);
}

#[test]
fn what_was_acknowledged_was_sent_before_though_it_was_not_seen() {
    let mut scene = Scene::established();
    scene.client(ACK, 101, 1, 10);
    scene.server(ACK, 1, 51, 0);
    assert!(scene.client(ACK, 41, 1, 10).retransmitted, "acknowledged");
    assert!(!scene.client(ACK, 41, 1, 20).retransmitted, "not all of it");
    scene.server(ACK, 1, 111, 0);
    assert!(scene.client(ACK, 61, 1, 40).retransmitted);
}

#[test]
fn a_great_many_gaps_are_not_all_remembered() {
    let mut scene = Scene::established();
    for number in 0..1_000 {
        scene.client(ACK, 10_000 + 2 * number, 1, 1);
    }
    for number in 0..1_000 {
        scene.client(ACK, 2 + 2 * number, 1, 1);
    }
    let (ends, connection) = scene.tracker.connections.iter().next().unwrap();
    let from_client = usize::from(ends.0.port() != 50_000);
    assert_eq!(connection.directions[from_client].gaps.len(), MOST_GAPS);
    assert!(!scene.client(ACK, 10_000 + 2 * 998 + 1, 1, 1).retransmitted, "the last gap is known");
}

#[test]
fn the_window_scale_is_that_of_the_handshake_and_holds_only_where_both_offered_one() {
    let mut scene = Scene::new();
    assert_eq!(scene.client_with(SYN, 0, 0, 0, SCALE_7).window_scale, Some(0), "never of a SYN");
    let wide = [SegmentOption::WindowScale(200)];
    assert_eq!(scene.server_with(SYN | ACK, 0, 1, 0, &wide).window_scale, Some(0));
    assert_eq!(scene.client(ACK, 1, 1, 0).window_scale, Some(7));
    assert_eq!(scene.server(ACK, 1, 1, 0).window_scale, Some(14), "no more than 14");

    let mut scene = Scene::new();
    scene.client_with(SYN, 0, 0, 0, SCALE_7);
    scene.server(SYN | ACK, 0, 1, 0);
    assert_eq!(scene.client(ACK, 1, 1, 0).window_scale, Some(0), "one side alone");
}

#[test]
fn without_the_handshake_the_window_scale_is_not_known_as_far_as_it_was_not_seen() {
    let mut scene = Scene::new();
    assert_eq!(scene.client(ACK, 1, 1, 0).window_scale, None);
    let mut scene = Scene::new();
    scene.server_with(SYN | ACK, 0, 1, 0, SCALE_7);
    assert_eq!(scene.client(ACK, 1, 1, 0).window_scale, None);
    assert_eq!(scene.server(ACK, 1, 1, 0).window_scale, Some(7));
}

#[test]
fn sack_blocks_count_from_the_syn_of_the_side_whose_data_they_are() {
    let mut scene = Scene::established();
    let blocks = |first: u32, behind: u32| vec![SegmentOption::Sack(vec![(first, behind)])];
    let sack = scene.server_with(ACK, 1, 1, 0, &blocks(C.wrapping_add(11), C.wrapping_add(21)));
    assert_eq!(sack.options, blocks(11, 21));
}

#[test]
fn a_datagram_has_no_numbers_and_leaves_nothing_behind() {
    let mut scene = Scene::new();
    let datagram = scene.put(Header { transport: Transport::Udp, ..header(CLIENT, SERVER, 0, 0, 0, 5) });
    assert_eq!((numbers(&datagram), datagram.length, datagram.retransmitted), ((0, 0), 5, false));
    assert!(scene.tracker.connections.is_empty());
}

#[test]
fn a_connection_that_is_over_is_forgotten_after_a_while_and_not_before() {
    for reset in [false, true] {
        let mut scene = Scene::established();
        if reset {
            scene.client(RST, 1, 0, 0);
        } else {
            scene.client(FIN | ACK, 1, 1, 0);
            scene.server(FIN | ACK, 1, 2, 0);
            assert!(scene.tracker.over.is_empty(), "the server's FIN is not acknowledged");
            scene.client(ACK, 2, 2, 0);
        }
        scene.at += LINGER / 2;
        assert_eq!(numbers(&scene.server(FIN | ACK, 1, 2, 0)), (1, 2), "late, but known");
        scene.at += LINGER / 2;
        scene.put(header("10.0.0.1:1", "10.0.0.2:2", ACK, 1, 1, 0));
        assert_eq!(scene.tracker.connections.len(), 2, "it had a segment lately");
        scene.at += LINGER;
        scene.put(header("10.0.0.1:1", "10.0.0.2:2", ACK, 1, 1, 0));
        assert_eq!((scene.tracker.connections.len(), scene.tracker.by_age.len()), (1, 1));
        assert!(scene.tracker.over.is_empty());
    }
}

#[test]
fn of_too_many_connections_the_oldest_is_forgotten() {
    let mut scene = Scene { tracker: Tracker { most: 3, ..Tracker::new() }, at: Duration::ZERO };
    for port in 1..=5 {
        scene.put(header(&format!("10.0.0.1:{port}"), SERVER, SYN, 100, 0, 0));
    }
    assert_eq!((scene.tracker.connections.len(), scene.tracker.by_age.len()), (3, 3));
    assert_eq!(scene.put(header("10.0.0.1:5", SERVER, ACK, 101, 1, 0)).relative_seq, 1);
    assert_eq!(scene.put(header("10.0.0.1:1", SERVER, ACK, 101, 1, 0)).relative_seq, 0);
}
