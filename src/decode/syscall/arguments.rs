//! Arguments as text: numbers by their names, and what lies in memory behind an address.

use nix::libc;

use super::{Key, Kind, Memory, Waited};
use crate::decode::sockaddr::{self, Address};
use crate::decode::symbols;
use crate::event::Endpoint;

/// How many bytes of data are shown.
const SHOWN: usize = 32;
/// How many elements of an array are shown.
const ELEMENTS: u64 = 8;

/// One argument, or several that belong together, from the words on from it. `None` where nothing is to be shown.
pub(super) fn argument(kind: Kind, words: &[u64], returned: Option<i64>, memory: Memory) -> Option<String> {
    let word = |index: usize| words.get(index).copied().unwrap_or(0);
    let first = word(0);
    let number = first as i32;
    // What a failed call would have written is not there.
    let written = returned.and_then(|value| u64::try_from(value).ok());
    Some(match kind {
        Kind::Hidden => return None,
        Kind::Number | Kind::Fd => (first as i64 as i32).to_string(),
        Kind::Bits => {
            if first == 0 {
                "0".into()
            } else {
                format!("{:#x}", first as u32)
            }
        }
        Kind::Domain => symbols::one(symbols::DOMAINS, first),
        Kind::SocketType => {
            let flags = first & (libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC) as u64;
            let kind = symbols::one(symbols::KINDS, first & !flags);
            if flags == 0 { kind } else { format!("{kind}|{}", symbols::bits(symbols::SOCKET_FLAGS, flags)) }
        }
        // No flags are not worth a word.
        Kind::SocketFlags if first == 0 => return None,
        Kind::SocketFlags => symbols::bits(symbols::SOCKET_FLAGS, first),
        Kind::MessageFlags if first == 0 => return None,
        Kind::MessageFlags => symbols::bits(symbols::MESSAGE_FLAGS, first & 0xffff_ffff),
        Kind::Address if first == 0 => return None,
        Kind::Address => address(first, word(1), memory),
        // accept() and its like: the peer is in what they return. The others' answer is written behind an arrow.
        Kind::AddressOut => return address_out(first, word(1), written, memory),
        Kind::Data => data(first, word(1), memory),
        Kind::DataOut => written.map_or("…".into(), |length| data(first, length, memory)),
        Kind::Vector => vector(first, word(1), u64::MAX, memory),
        Kind::VectorOut => written.map_or("…".into(), |length| vector(first, word(1), length, memory)),
        Kind::Message => message(first, u64::MAX, memory),
        Kind::MessageOut => written.map_or("…".into(), |length| message(first, length, memory)),
        Kind::Shutdown => symbols::one(symbols::SHUTDOWN, first),
        Kind::Option => option(first, word(1), word(2), word(3), memory),
        Kind::OptionOut => option_out(words, returned, memory),
        Kind::Poll => poll(first, word(1), returned, memory),
        Kind::FdSet if first == 0 => "NULL".into(),
        Kind::FdSet => fd_set(first, memory),
        Kind::Milliseconds if number < 0 => "no time limit".into(),
        Kind::Milliseconds => format!("{number} ms"),
        Kind::Timespec => timespec(first, memory),
        Kind::EpollFlags => symbols::bits(symbols::EPOLL_FLAGS, first & 0xffff_ffff),
        Kind::EpollOperation => symbols::one(symbols::EPOLL_OPERATIONS, first),
        Kind::EpollEvent if first == 0 => return None,
        Kind::EpollEvent => epoll_events(first, 1, memory),
        Kind::EpollEvents => written.map_or("…".into(), |count| epoll_events(first, count, memory)),
        Kind::Fcntl => fcntl(first, word(1)),
        Kind::Ioctl => ioctl(first, word(1), returned, memory),
        Kind::Pair => written.and_then(|_| exactly::<8>(first, memory)).map_or("…".into(), |bytes| {
            let [a, b] = [0, 4].map(|at| i32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]));
            format!("[{a}, {b}]")
        }),
    })
}

/// Exactly so many bytes, or none.
pub(super) fn exactly<const N: usize>(at: u64, memory: Memory) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    (at != 0 && memory(at, &mut bytes) == N).then_some(bytes)
}

/// A word of 32 bits.
pub(super) fn number_at(at: u64, memory: Memory) -> Option<u32> {
    exactly(at, memory).map(u32::from_ne_bytes)
}

/// A word of 64 bits.
pub(super) fn word_at(at: u64, memory: Memory) -> Option<u64> {
    exactly(at, memory).map(u64::from_ne_bytes)
}

fn address(at: u64, length: u64, memory: Memory) -> String {
    let mut bytes = [0; 128];
    let length = usize::try_from(length).unwrap_or(0).min(bytes.len());
    let read = memory(at, &mut bytes[..length]);
    match sockaddr::address(&bytes[..read]) {
        Ok(Address::End(end)) => end_text(&end),
        Ok(Address::Family(0)) => "AF_UNSPEC".into(),
        Ok(Address::Family(family)) => format!("an address of {}", symbols::one(symbols::DOMAINS, u64::from(family))),
        Err(_) => format!("{at:#x}"),
    }
}

fn end_text(end: &Endpoint) -> String {
    match end {
        // Unlike in a table, port 0 is a number here: the kernel is to choose one.
        Endpoint::Inet(address) => address.to_string(),
        _ => end.to_string(),
    }
}

fn address_out(at: u64, length_at: u64, written: Option<u64>, memory: Memory) -> Option<String> {
    written?;
    let length = number_at(length_at, memory)?;
    // A stream's recvfrom() leaves it empty.
    (at != 0 && length >= 2).then(|| format!("→ {}", address(at, u64::from(length), memory)))
}

/// Data as a string of C, as strace shows it.
fn data(at: u64, length: u64, memory: Memory) -> String {
    let mut bytes = [0; SHOWN];
    let wanted = usize::try_from(length).unwrap_or(SHOWN).min(SHOWN);
    let read = memory(at, &mut bytes[..wanted]);
    if read < wanted {
        return format!("{at:#x}");
    }
    let more = if length as usize > wanted { "\"..." } else { "\"" };
    ["\"", &escaped(&bytes[..read]), more].concat()
}

/// Printable ASCII stays as it is.
fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(4 * bytes.len());
    for &byte in bytes {
        match byte {
            b'\n' => text.push_str("\\n"),
            b'\r' => text.push_str("\\r"),
            b'\t' => text.push_str("\\t"),
            b'"' => text.push_str("\\\""),
            b'\\' => text.push_str("\\\\"),
            b' '..=b'~' => text.push(char::from(byte)),
            _ => {
                text.push_str("\\x");
                // By hand: this is done for every byte of every call, while the program waits.
                text.extend([byte >> 4, byte & 15].map(|digit| char::from_digit(u32::from(digit), 16).unwrap_or('?')));
            }
        }
    }
    text
}

/// The data in several buffers, as one.
fn vector(at: u64, count: u64, length: u64, memory: Memory) -> String {
    let mut parts = Vec::new();
    let mut left = length;
    for index in 0..count.min(ELEMENTS) {
        let here = at.wrapping_add(16 * index);
        let (Some(base), Some(size)) = (word_at(here, memory), word_at(here.wrapping_add(8), memory)) else { break };
        let size = size.min(left);
        left -= size;
        if size > 0 || index == 0 {
            parts.push(data(base, size, memory));
        }
    }
    let more = if count > ELEMENTS { ", …" } else { "" };
    format!("[{}{more}]", parts.join(", "))
}

/// `struct msghdr`: address, its length, vector, its length, control data, its length (recv(2)).
fn message(at: u64, length: u64, memory: Memory) -> String {
    let field = |index: u64| word_at(at.wrapping_add(8 * index), memory);
    let (Some(name), Some(name_length), Some(parts), Some(count)) = (field(0), field(1), field(2), field(3)) else {
        return format!("{at:#x}");
    };
    let data = vector(parts, count, length, memory);
    match name {
        0 => data,
        _ if name_length as u32 == 0 => data,
        _ => format!("{} {data}", address(name, u64::from(name_length as u32), memory)),
    }
}

fn option(level: u64, name: u64, at: u64, length: u64, memory: Memory) -> String {
    let name = option_name(level, name);
    format!("{name}, {}", option_value(&name, at, length, memory))
}

fn option_out(words: &[u64], returned: Option<i64>, memory: Memory) -> String {
    let word = |index: usize| words.get(index).copied().unwrap_or(0);
    let name = option_name(word(0), word(1));
    match (returned, number_at(word(3), memory)) {
        (Some(0), Some(length)) => format!("{name}, → {}", option_value(&name, word(2), u64::from(length), memory)),
        _ => format!("{name}, …"),
    }
}

fn option_name(level: u64, name: u64) -> String {
    match symbols::options(level).iter().find(|(its, _)| *its == name) {
        Some((_, name)) => (*name).to_string(),
        None => format!("{}, {name}", symbols::one(symbols::LEVELS, level)),
    }
}

fn option_value(name: &str, at: u64, length: u64, memory: Memory) -> String {
    match (name, length) {
        ("SO_LINGER", 8) => match exactly::<8>(at, memory) {
            Some(bytes) => {
                let [on, seconds] =
                    [0, 4].map(|at| i32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]));
                format!("{{on {on}, {seconds} s}}")
            }
            None => format!("{at:#x}"),
        },
        ("SO_ERROR", 4) => match number_at(at, memory) {
            Some(0) => "0".into(),
            Some(number) => symbols::error(number.cast_signed()),
            None => format!("{at:#x}"),
        },
        ("SO_RCVTIMEO" | "SO_SNDTIMEO", 16) => match (word_at(at, memory), word_at(at.wrapping_add(8), memory)) {
            (Some(seconds), Some(micros)) => format!("{seconds}.{micros:06} s"),
            _ => format!("{at:#x}"),
        },
        (_, 4) => number_at(at, memory).map_or(format!("{at:#x}"), |number| number.cast_signed().to_string()),
        _ => format!("{length} bytes"),
    }
}

/// `[{3, POLLIN}, {5, POLLIN → POLLIN|POLLHUP}]`: of each descriptor what is asked for and, once it has returned, what came.
fn poll(at: u64, count: u64, returned: Option<i64>, memory: Memory) -> String {
    let mut parts = Vec::new();
    for index in 0..count.min(ELEMENTS) {
        let Some(bytes) = exactly::<8>(at.wrapping_add(8 * index), memory) else { break };
        let fd = i32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        let wanted = u16::from_ne_bytes([bytes[4], bytes[5]]);
        let came = u16::from_ne_bytes([bytes[6], bytes[7]]);
        let wanted = symbols::bits(symbols::POLL, u64::from(wanted));
        let has_come = returned.is_some_and(|value| value > 0) && came != 0;
        let came =
            if has_come { format!(" → {}", symbols::bits(symbols::POLL, u64::from(came))) } else { String::new() };
        parts.push(format!("{{{fd}, {wanted}{came}}}"));
    }
    let more = if count > ELEMENTS { ", …" } else { "" };
    format!("[{}{more}]", parts.join(", "))
}

/// The descriptors of poll(2), with what is asked for and, once it has returned, what has come.
pub(super) fn polled(at: u64, count: u64, returned: Option<i64>, memory: Memory) -> Vec<Waited> {
    let has_come = returned.is_some_and(|value| value > 0);
    let waited = |index: u64| {
        let bytes = exactly::<8>(at.wrapping_add(8 * index), memory)?;
        let bits = |at: usize| {
            let bits = u64::from(u16::from_ne_bytes([bytes[at], bytes[at + 1]]));
            if bits == 0 { String::new() } else { symbols::bits(symbols::POLL, bits) }
        };
        let key = Key::Fd(i32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
        Some(Waited { key, asked: bits(4), came: if has_come { bits(6) } else { String::new() } })
    };
    (0..count).map_while(waited).collect()
}

/// `struct epoll_event`s: the events, and what the program has given to name the descriptor by.
pub(super) fn told_by_epoll(at: u64, count: u64, memory: Memory) -> Vec<(String, u64)> {
    let told = |index: u64| {
        let (events, data) = epoll_event(at.wrapping_add(EPOLL_EVENT_SIZE.wrapping_mul(index)), memory)?;
        Some((symbols::bits(symbols::EPOLL, u64::from(events)), data))
    };
    (0..count).map_while(told).collect()
}

/// The descriptors in a set of select(2), of which the first 64 are looked at.
fn fd_set(at: u64, memory: Memory) -> String {
    let Some(set) = word_at(at, memory) else { return format!("{at:#x}") };
    let members: Vec<String> = (0..64).filter(|fd| set & 1 << fd != 0).map(|fd: u32| fd.to_string()).collect();
    format!("[{}]", members.join(" "))
}

fn timespec(at: u64, memory: Memory) -> String {
    if at == 0 {
        return "no time limit".into();
    }
    match (word_at(at, memory), word_at(at.wrapping_add(8), memory)) {
        (Some(seconds), Some(nanos)) => {
            format!("{} ms", seconds.saturating_mul(1000).saturating_add(nanos / 1_000_000))
        }
        _ => format!("{at:#x}"),
    }
}

/// `struct epoll_event`: four bytes of events, and eight that belong to the program; on x86-64 without a gap between them.
const EPOLL_EVENT_SIZE: u64 = if cfg!(target_arch = "x86_64") { 12 } else { 16 };

fn epoll_event(at: u64, memory: Memory) -> Option<(u32, u64)> {
    Some((number_at(at, memory)?, word_at(at.wrapping_add(EPOLL_EVENT_SIZE - 8), memory)?))
}

fn epoll_events(at: u64, count: u64, memory: Memory) -> String {
    let mut parts = Vec::new();
    for index in 0..count.min(ELEMENTS) {
        let Some((events, data)) = epoll_event(at.wrapping_add(EPOLL_EVENT_SIZE * index), memory) else { break };
        // Nearly every program puts the descriptor there; an address or more is its own business.
        let data = if data < 1 << 20 { format!(", {data}") } else { String::new() };
        parts.push(format!("{{{}{data}}}", symbols::bits(symbols::EPOLL, u64::from(events))));
    }
    let more = if count > ELEMENTS { ", …" } else { "" };
    format!("[{}{more}]", parts.join(", "))
}

fn fcntl(what: u64, argument: u64) -> String {
    let name = symbols::one(symbols::FCNTL, what);
    match what as i32 {
        libc::F_SETFL => format!("{name}, {}", symbols::bits(symbols::FILE_FLAGS, argument & 0xffff_ffff)),
        libc::F_SETFD => format!("{name}, {}", if argument & 1 == 1 { "FD_CLOEXEC" } else { "0" }),
        libc::F_DUPFD | libc::F_DUPFD_CLOEXEC => format!("{name}, {}", argument as i32),
        _ => name,
    }
}

fn ioctl(request: u64, at: u64, returned: Option<i64>, memory: Memory) -> String {
    match request {
        0x5421 => format!("FIONBIO, {}", number_at(at, memory).map_or("?".into(), |on| on.to_string())),
        0x541b => match returned.and_then(|_| number_at(at, memory)) {
            Some(count) => format!("FIONREAD, → {count}"),
            None => "FIONREAD".into(),
        },
        _ => format!("{request:#x}"),
    }
}
