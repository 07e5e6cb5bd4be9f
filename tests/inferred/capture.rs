//! A small capture of the loopback's segments, with the kernel's time of each. To be replaced by the segments lens.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use socklab::event::{Event, Flags, Segment, SegmentOption, Transport, What, Who};

/// A datagram to this port ends the capture.
const LAST: u16 = 9;

pub struct Capture(JoinHandle<Vec<Event>>);

impl Capture {
    /// Captures from now on. Times are those of CLOCK_MONOTONIC, as long as `zero` is subtracted from it.
    pub fn start(zero: Duration) -> Self {
        let protocol = (libc::ETH_P_ALL as u16).to_be();
        // SAFETY: no pointer is involved.
        let fd = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, i32::from(protocol)) };
        assert!(fd >= 0, "AF_PACKET: {}", io::Error::last_os_error());
        // SAFETY: the descriptor was made above and belongs to nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        set(&fd, libc::SO_TIMESTAMPNS, 1);
        set(&fd, libc::SO_RCVBUFFORCE, 256 << 20);
        wait_for_timestamps(&fd);
        Self(std::thread::spawn(move || read_all(&fd, zero)))
    }

    /// Everything until now, in order of time.
    pub fn finish(self) -> Vec<Event> {
        let marker = UdpSocket::bind("127.0.0.1:0").unwrap();
        marker.send_to(b"last", ("127.0.0.1", LAST)).unwrap();
        let mut events = self.0.join().unwrap();
        events.sort_by_key(|event| event.at);
        events
    }
}

/// CLOCK_MONOTONIC, and how much CLOCK_REALTIME is ahead of it.
pub fn clocks() -> (Duration, Duration) {
    let read = |clock| {
        let now = nix::time::clock_gettime(clock).unwrap();
        Duration::new(now.tv_sec() as u64, now.tv_nsec() as u32)
    };
    // Of some tries, the one with the shortest time between the two.
    let tries = (0..50).map(|_| {
        let before = read(nix::time::ClockId::CLOCK_MONOTONIC);
        let real = read(nix::time::ClockId::CLOCK_REALTIME);
        let after = read(nix::time::ClockId::CLOCK_MONOTONIC);
        (after - before, real - (before + after) / 2, after)
    });
    let (_, ahead, now) = tries.min().unwrap();
    (now, ahead)
}

/// The kernel begins a little later than asked to stamp packets on their arrival. One without a stamp gets that of the
/// moment when it is read.
fn wait_for_timestamps(fd: &OwnedFd) {
    let marker = UdpSocket::bind("127.0.0.1:0").unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while Instant::now() < deadline {
        marker.send_to(b"first", ("127.0.0.1", LAST + 1)).unwrap();
        let (now, ahead) = clocks();
        let stamp = loop {
            let mut packet = [0; 256];
            let (length, real, is_outgoing) = read_one(fd, &mut packet);
            let is_marker = parse(&packet[..length]).is_some_and(|(_, segment)| segment.to.port() == LAST + 1);
            if is_marker && !is_outgoing {
                break real - ahead;
            }
        };
        if stamp < now {
            return;
        }
    }
    panic!("packets are not stamped");
}

fn set(fd: &OwnedFd, option: i32, value: i32) {
    let length = size_of::<i32>() as u32;
    // SAFETY: the pointer and the length describe `value`, which lives through the call.
    let result =
        unsafe { libc::setsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, option, (&raw const value).cast(), length) };
    assert_eq!(result, 0, "setsockopt {option}: {}", io::Error::last_os_error());
}

fn read_all(fd: &OwnedFd, zero: Duration) -> Vec<Event> {
    let (_, ahead) = clocks();
    let mut scales = std::collections::HashMap::new();
    let mut events = Vec::new();
    loop {
        let mut packet = [0_u8; 256];
        let (length, real, is_outgoing) = read_one(fd, &mut packet);
        if is_outgoing {
            continue;
        }
        let Some((transport, mut segment)) = parse(&packet[..length]) else { continue };
        if transport == Transport::Udp && segment.to.port() == LAST {
            return events;
        }
        if transport == Transport::Tcp {
            for option in &segment.options {
                if let SegmentOption::WindowScale(bits) = option {
                    scales.insert((segment.from, segment.to), *bits);
                }
            }
            segment.window_scale = scales.get(&(segment.from, segment.to)).copied();
            let at = real - ahead - zero;
            events.push(Event { at, who: Who::Wire, what: What::Segment(Box::new(segment)) });
        }
    }
}

/// How much of the packet was copied, when it was received, and whether it is one that is only on its way out.
fn read_one(fd: &OwnedFd, packet: &mut [u8]) -> (usize, Duration, bool) {
    // SAFETY: all zeroes is a valid value of these structures of integers.
    let mut from: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    let mut control = [0_u64; 16];
    let mut part = libc::iovec { iov_base: packet.as_mut_ptr().cast(), iov_len: packet.len() };
    // SAFETY: as above, and null pointers are valid in it.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_name = (&raw mut from).cast();
    message.msg_namelen = size_of::<libc::sockaddr_ll>() as u32;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control);
    // SAFETY: every pointer in `message` is to something that lives through the call, with its true length.
    let length = unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut message, 0) };
    assert!(length >= 0, "recvmsg: {}", io::Error::last_os_error());
    // SAFETY: recvmsg has filled in the message, and its control buffer is alive and aligned.
    let header = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    assert!(!header.is_null(), "a timestamp was asked for");
    // SAFETY: a header that is not null points into the control buffer.
    let kind = unsafe { (*header).cmsg_type };
    assert_eq!(kind, libc::SCM_TIMESTAMPNS);
    // SAFETY: as above; the data of a header in the buffer is in the buffer.
    let data = unsafe { libc::CMSG_DATA(header) };
    // SAFETY: behind a header of this type is a timespec; it is copied without any demand on its alignment.
    let time = unsafe { data.cast::<libc::timespec>().read_unaligned() };
    let real = Duration::new(time.tv_sec as u64, time.tv_nsec as u32);
    (length.cast_unsigned(), real, from.sll_pkttype == libc::PACKET_OUTGOING)
}

fn parse(packet: &[u8]) -> Option<(Transport, Segment)> {
    let word = |at: usize| Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]));
    let (from, to, protocol, begin, end): (IpAddr, IpAddr, u8, usize, usize) = match packet.first()? >> 4 {
        4 => {
            let address = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(packet.get(at..at + 4)?).ok()?).into());
            (address(12)?, address(16)?, packet[9], usize::from(packet[0] & 15) * 4, usize::from(word(2)?))
        }
        6 => {
            let address = |at: usize| Some(Ipv6Addr::from(<[u8; 16]>::try_from(packet.get(at..at + 16)?).ok()?).into());
            (address(8)?, address(24)?, packet[6], 40, 40 + usize::from(word(4)?))
        }
        _ => return None,
    };
    let (from, to) = (SocketAddr::new(from, word(begin)?), SocketAddr::new(to, word(begin + 2)?));
    let transport = match protocol {
        6 => Transport::Tcp,
        17 => Transport::Udp,
        _ => return None,
    };
    let number = |at: usize| Some(u32::from(word(at)?) << 16 | u32::from(word(at + 2)?));
    let is_tcp = transport == Transport::Tcp;
    let header = if is_tcp { usize::from(packet.get(begin + 12)? >> 4) * 4 } else { 8 };
    let segment = Segment {
        transport,
        from,
        to,
        flags: Flags(if is_tcp { *packet.get(begin + 13)? } else { 0 }),
        seq: if is_tcp { number(begin + 4)? } else { 0 },
        ack: if is_tcp { number(begin + 8)? } else { 0 },
        relative_seq: 0,
        relative_ack: 0,
        length: (end - begin - header) as u32,
        window: if is_tcp { word(begin + 14)? } else { 0 },
        window_scale: None,
        options: if is_tcp { options(packet.get(begin + 20..begin + header)?) } else { Vec::new() },
        retransmitted: false,
        packet: Vec::new(),
        packet_length: end as u32,
    };
    Some((transport, segment))
}

/// Only the window scale.
fn options(mut bytes: &[u8]) -> Vec<SegmentOption> {
    let mut found = Vec::new();
    while let [kind, rest @ ..] = bytes {
        match (kind, rest) {
            (0, _) => break,
            (1, rest) => bytes = rest,
            (kind, [length, value, ..]) => {
                if *kind == 3 {
                    found.push(SegmentOption::WindowScale(*value));
                }
                bytes = bytes.get(usize::from(*length).max(2)..).unwrap_or_default();
            }
            // SACK-permitted at the very end, or something cut short.
            _ => break,
        }
    }
    found
}
