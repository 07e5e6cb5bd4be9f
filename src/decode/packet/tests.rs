//! Packets byte by byte: whole, cut, and with lengths that cannot be.

use super::*;

const V4: [u8; 8] = [127, 0, 0, 1, 127, 0, 0, 2];

/// `from 127.0.0.1:1000 to 127.0.0.2:7001` below the given TCP or UDP bytes.
fn ipv4_around(protocol: u8, options: &[u8], flags_and_offset: u16, payload: &[u8]) -> Vec<u8> {
    let header_length = 20 + options.len();
    let mut packet = vec![0x40 | (header_length / 4) as u8, 0];
    packet.extend(((header_length + payload.len()) as u16).to_be_bytes());
    packet.extend([0x12, 0x34]);
    packet.extend(flags_and_offset.to_be_bytes());
    packet.extend([64, protocol, 0, 0]);
    packet.extend(V4);
    packet.extend(options);
    packet.extend(payload);
    packet
}

/// From ::1 to ::2, with extension headers that `first` begins.
fn ipv6_around(first: u8, extensions: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(((extensions.len() + payload.len()) as u16).to_be_bytes());
    packet.extend([first, 64]);
    packet.extend(Ipv6Addr::LOCALHOST.octets());
    packet.extend(Ipv6Addr::from(2).octets());
    packet.extend(extensions);
    packet.extend(payload);
    packet
}

fn tcp_bytes(flags: u8, options: &[u8], data: &[u8]) -> Vec<u8> {
    let mut segment = Vec::new();
    segment.extend(1000_u16.to_be_bytes());
    segment.extend(7001_u16.to_be_bytes());
    segment.extend(0xffff_fff0_u32.to_be_bytes());
    segment.extend(7_u32.to_be_bytes());
    segment.extend([((20 + options.len()) / 4 * 16) as u8, flags]);
    segment.extend(512_u16.to_be_bytes());
    segment.extend([0; 4]);
    segment.extend(options);
    segment.extend(data);
    segment
}

fn udp_bytes(length: u16, data: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::new();
    datagram.extend([1000_u16, 7001, length, 0].into_iter().flat_map(u16::to_be_bytes));
    datagram.extend(data);
    datagram
}

fn read(packet: &[u8]) -> Result<Option<Header>, Malformed> {
    ip(packet, packet.len() as u32)
}

fn options_of(options: &[u8]) -> Result<Vec<SegmentOption>, Malformed> {
    read(&ipv4_around(TCP, &[], 0, &tcp_bytes(2, options, &[]))).map(|header| header.unwrap().options)
}

#[test]
fn a_tcp_segment_over_ipv4_has_its_ends_its_numbers_and_its_length() {
    let header = read(&ipv4_around(TCP, &[], 0x4000, &tcp_bytes(0x18, &[], b"hello"))).unwrap().unwrap();
    assert_eq!((header.transport, header.length), (Transport::Tcp, 5));
    assert_eq!((header.from.to_string(), header.to.to_string()), ("127.0.0.1:1000".into(), "127.0.0.2:7001".into()));
    assert_eq!((header.seq, header.ack, header.window, header.flags), (0xffff_fff0, 7, 512, Flags(0x18)));
}

#[test]
fn the_same_segment_over_ipv6_differs_in_its_addresses_only() {
    let segment = tcp_bytes(0x10, &[1, 1, 8, 10, 0, 0, 0, 9, 0, 0, 0, 4], b"data");
    let v4 = read(&ipv4_around(TCP, &[1, 1, 1, 0], 0, &segment)).unwrap().unwrap();
    let v6 = read(&ipv6_around(TCP, &[], &segment)).unwrap().unwrap();
    assert_eq!((v6.from.to_string(), v6.to.to_string()), ("[::1]:1000".into(), "[::2]:7001".into()));
    assert_eq!(Header { from: v4.from, to: v4.to, ..v6 }, v4);
}

#[test]
fn every_option_that_is_known_is_read_and_every_other_one_is_kept_as_bytes() {
    let bytes = [
        2, 4, 0x05, 0xb4, // MSS 1460
        4, 2, // SACK permitted
        8, 10, 0, 0, 0, 1, 0, 0, 0, 2, // timestamps
        1, // no operation
        3, 3, 7, // window scale
        254, 4, 0xf9, 0x89, // an experiment
    ];
    let read = options_of(&bytes).unwrap();
    let expected = [
        SegmentOption::Mss(1460),
        SegmentOption::SackPermitted,
        SegmentOption::Timestamps(1, 2),
        SegmentOption::WindowScale(7),
        SegmentOption::Other(254, vec![0xf9, 0x89]),
    ];
    assert_eq!(read, expected);
}

#[test]
fn sack_blocks_are_pairs_of_numbers() {
    let bytes = [1, 1, 5, 18, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 5, 255, 255, 255, 255];
    assert_eq!(options_of(&bytes).unwrap(), [SegmentOption::Sack(vec![(1, 2), (5, u32::MAX)])]);
}

#[test]
fn behind_the_end_of_options_nothing_is_read() {
    assert_eq!(options_of(&[4, 2, 0, 3]).unwrap(), [SegmentOption::SackPermitted]);
}

#[test]
fn a_known_option_of_a_wrong_length_is_kept_as_bytes() {
    for (bytes, kept) in [
        ([2, 3, 9, 0], SegmentOption::Other(2, vec![9])),
        ([3, 4, 9, 9], SegmentOption::Other(3, vec![9, 9])),
        ([5, 2, 0, 0], SegmentOption::Other(5, vec![])),
        ([8, 4, 1, 2], SegmentOption::Other(8, vec![1, 2])),
    ] {
        assert_eq!(options_of(&bytes).unwrap(), [kept]);
    }
}

#[test]
fn an_option_whose_length_is_too_small_or_goes_beyond_the_header_is_malformed() {
    for bytes in [[2, 0, 0, 0], [2, 1, 0, 0], [2, 5, 0, 0], [1, 1, 1, 8], [255, 255, 255, 255]] {
        let error = options_of(&bytes).unwrap_err();
        assert_eq!(error.what, "TCP options", "{bytes:?}");
    }
}

#[test]
fn a_udp_datagram_has_ends_and_length() {
    let header = read(&ipv4_around(UDP, &[], 0, &udp_bytes(11, b"abc"))).unwrap().unwrap();
    assert_eq!((header.transport, header.length, header.to.port()), (Transport::Udp, 3, 7001));
    let header = read(&ipv6_around(UDP, &[], &udp_bytes(8, b""))).unwrap().unwrap();
    assert_eq!((header.length, header.from.to_string()), (0, "[::1]:1000".into()));
}

#[test]
fn data_that_was_not_captured_counts_and_padding_behind_the_packet_does_not() {
    let whole = ipv4_around(TCP, &[], 0, &tcp_bytes(0x10, &[], &[7; 1000]));
    assert_eq!(ip(&whole[..60], 1040).unwrap().unwrap().length, 1000);
    let mut padded = ipv4_around(TCP, &[], 0, &tcp_bytes(0x10, &[], b""));
    padded.extend([0; 6]);
    assert_eq!(read(&padded).unwrap().unwrap().length, 0);
}

#[test]
fn a_packet_above_64_kib_has_no_length_of_its_own_and_gets_that_of_the_capture() {
    let mut packet = ipv4_around(TCP, &[], 0, &tcp_bytes(0x10, &[], b"x"));
    packet[2..4].copy_from_slice(&[0, 0]);
    assert_eq!(ip(&packet, 100_040).unwrap().unwrap().length, 100_000);
    let mut packet = ipv6_around(TCP, &[], &tcp_bytes(0x10, &[], b"x"));
    packet[4..6].copy_from_slice(&[0, 0]);
    assert_eq!(ip(&packet, 100_060).unwrap().unwrap().length, 100_000);
}

#[test]
fn only_the_first_fragment_has_ports_and_its_udp_header_speaks_of_the_whole_datagram() {
    let first = ipv4_around(UDP, &[], 0x2000, &udp_bytes(4008, &[0; 16]));
    assert_eq!(read(&first).unwrap().unwrap().length, 4000);
    let later = ipv4_around(UDP, &[], 0x2003, &[0; 24]);
    assert_eq!(read(&later), Ok(None));
    let first = ipv6_around(FRAGMENT, &[UDP, 0, 0, 1, 0, 0, 0, 9], &udp_bytes(4008, &[0; 16]));
    assert_eq!(read(&first).unwrap().unwrap().length, 4000);
    let later = ipv6_around(FRAGMENT, &[UDP, 0, 0, 0x18, 0, 0, 0, 9], &[0; 24]);
    assert_eq!(read(&later), Ok(None));
}

#[test]
fn extension_headers_are_passed_over_and_their_length_is_not_data() {
    let hop_by_hop = [DESTINATION, 0, 1, 4, 0, 0, 0, 0];
    let destination = [ROUTING, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let routing = [AUTHENTICATION, 0, 0, 0, 0, 0, 0, 0];
    let authentication = [TCP, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2];
    let extensions = [hop_by_hop.as_slice(), &destination, &routing, &authentication].concat();
    let packet = ipv6_around(HOP_BY_HOP, &extensions, &tcp_bytes(0x18, &[], b"hello"));
    assert_eq!(read(&packet).unwrap().unwrap().length, 5);
    for end in 0..packet.len() - 5 {
        assert!(ip(&packet[..end], packet.len() as u32).is_err(), "cut at {end}");
    }
}

#[test]
fn what_is_neither_tcp_nor_udp_is_passed_over() {
    const ICMP: u8 = 1;
    const NO_NEXT_HEADER: u8 = 59;
    assert_eq!(read(&ipv4_around(ICMP, &[], 0, &[8, 0, 0, 0])), Ok(None));
    assert_eq!(read(&ipv6_around(NO_NEXT_HEADER, &[], &[])), Ok(None));
}

#[test]
fn headers_cut_anywhere_are_malformed() {
    let options = [2, 4, 0x05, 0xb4, 1, 3, 3, 7];
    for packet in [
        ipv4_around(TCP, &[1, 1, 1, 0], 0, &tcp_bytes(2, &options, b"")),
        ipv6_around(TCP, &[], &tcp_bytes(2, &options, b"")),
        ipv4_around(UDP, &[], 0, &udp_bytes(8, b"")),
    ] {
        assert!(read(&packet).unwrap().is_some());
        for end in 0..packet.len() {
            assert!(ip(&packet[..end], packet.len() as u32).is_err(), "cut at {end}");
        }
    }
}

#[test]
fn lengths_that_cannot_be_are_malformed() {
    let good = ipv4_around(TCP, &[], 0, &tcp_bytes(2, &[], b""));
    // Version; IPv4 header below 20 bytes; total length below the header's; TCP header below 20 bytes, and above all.
    for (at, value) in [(0, 0x05), (0, 0x75), (0, 0x44), (3, 19), (32, 0x40), (32, 0xf0)] {
        let mut bad = good.clone();
        bad[at] = value;
        assert!(read(&bad).is_err(), "byte {at} is {value:#x}");
    }
    let udp = |length| read(&ipv4_around(UDP, &[], 0, &udp_bytes(length, b"abc")));
    assert!(udp(11).is_ok() && udp(7).is_err() && udp(12).is_err());
    // An IPv6 payload that is shorter than its extension headers.
    let mut bad = ipv6_around(HOP_BY_HOP, &[TCP, 0, 0, 0, 0, 0, 0, 0], &tcp_bytes(2, &[], b""));
    bad[5] = 7;
    assert!(read(&bad).is_err());
}

#[test]
fn no_byte_anywhere_in_a_packet_can_cause_a_panic() {
    let options = [2, 4, 0x05, 0xb4, 1, 3, 3, 7];
    let hop_by_hop = [FRAGMENT, 0, 0, 0, 0, 0, 0, 0, TCP, 0, 0, 1, 0, 0, 0, 9];
    let mut ends = 0;
    for packet in [
        ipv4_around(TCP, &[1, 1, 1, 0], 0, &tcp_bytes(2, &options, b"data")),
        ipv6_around(HOP_BY_HOP, &hop_by_hop, &tcp_bytes(2, &options, b"data")),
        ipv6_around(AUTHENTICATION, &[UDP, 0, 0, 0, 0, 0, 0, 0], &udp_bytes(12, b"data")),
    ] {
        for at in 0..packet.len() {
            for value in 0..=255 {
                let mut changed = packet.clone();
                changed[at] = value;
                ends += usize::from(read(&changed).is_ok());
                let _ = ip(&changed[..at], u32::MAX);
                let _ = ip(&changed, 0);
            }
        }
    }
    assert!(ends > 0);
}

#[test]
fn an_ethernet_frame_gives_its_type_and_what_it_carries_without_vlan_tags() {
    let mut frame = vec![2; 12];
    frame.extend([0x08, 0x00, 0x45]);
    assert_eq!(ethernet(&frame), Ok((0x0800, [0x45].as_slice())));
    let mut tagged = vec![2; 12];
    tagged.extend([0x88, 0xa8, 0, 1, 0x81, 0x00, 0, 2, 0x86, 0xdd, 0x60]);
    assert_eq!(ethernet(&tagged), Ok((0x86dd, [0x60].as_slice())));
    for end in 0..tagged.len() - 1 {
        assert!(ethernet(&tagged[..end]).is_err(), "cut at {end}");
    }
}
