//! System calls around sockets: which there are, and their arguments as text.
//!
//! The words of a call hold numbers and addresses of memory; what is there is read through [`Memory`], so that nothing here
//! needs a process.

use nix::libc;

use super::sockaddr::{self, Address};
use super::symbols;
use crate::event::Endpoint;

/// The memory of whoever makes the call: reads at an address, and says how many bytes there were.
pub type Memory<'a> = &'a dyn Fn(u64, &mut [u8]) -> usize;

/// How many bytes of data are shown.
const SHOWN: usize = 32;
/// How many elements of an array are shown.
const ELEMENTS: u64 = 8;

/// How many descriptors of poll(2) are looked at.
const MOST_POLLED: u64 = 1024;

/// What a call does to descriptors, so that it is known at any time what stands behind a number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// None; of interest only on a socket.
    Data,
    /// None; of interest by itself.
    None,
    /// Returns a new descriptor.
    Makes,
    /// Returns a descriptor for a connection.
    Accepts,
    /// Gives the socket an address or a peer.
    Names,
    /// Makes two descriptors, in memory.
    MakesPair,
    /// Its first argument stands for nothing any more.
    Closes,
    /// The descriptors from its first to its second argument stand for nothing any more.
    ClosesRange,
    /// Returns another descriptor for the same.
    Copies,
}

/// What an argument means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Number,
    Bits,
    Fd,
    Domain,
    SocketKind,
    SocketFlags,
    /// An address, as long as the next argument says; that one is not shown.
    Address,
    /// An address that the call writes, if it is wanted; nothing is shown for it, nor for its length.
    AddressOut,
    /// Data that the call reads: as much as the next argument says.
    Data,
    /// Data that the call writes: as much as it returns.
    DataOut,
    /// `struct iovec` and how many; read, or written.
    Vector,
    VectorOut,
    /// `struct msghdr`; read, or written.
    Message,
    MessageOut,
    MessageFlags,
    Shutdown,
    /// Level, name, value and its length: four arguments at once.
    Option,
    OptionOut,
    /// `struct pollfd` and how many.
    Poll,
    FdSet,
    Milliseconds,
    Timespec,
    EpollOperation,
    EpollEvent,
    EpollEvents,
    Fcntl,
    Ioctl,
    Pair,
    /// Not shown.
    Hidden,
}

impl Kind {
    /// Whether the call writes there.
    fn is_answered(self) -> bool {
        use Kind::{AddressOut, DataOut, EpollEvents, Ioctl, MessageOut, OptionOut, Pair, Poll, VectorOut};
        matches!(self, AddressOut | DataOut | VectorOut | MessageOut | OptionOut | Poll | EpollEvents | Ioctl | Pair)
    }
}

/// A call of interest.
#[derive(Debug)]
pub struct Call {
    /// Its number in this architecture.
    pub number: u64,
    /// Its name.
    pub name: &'static str,
    /// What it does to descriptors.
    pub effect: Effect,
    /// Whether its first argument is a descriptor.
    pub is_on_descriptor: bool,
    arguments: &'static [Kind],
}

macro_rules! call {
    ($name:ident, $number:ident, $effect:ident, [$($kind:ident),*]) => {
        Call {
            number: libc::$number as u64,
            name: stringify!($name),
            effect: Effect::$effect,
            is_on_descriptor: {
                let kinds: &[Kind] = &[$(Kind::$kind),*];
                matches!(kinds, [Kind::Fd, ..])
            },
            arguments: &[$(Kind::$kind),*],
        }
    };
}

/// Every call at which a program is stopped. Those that x86-64 has besides are in [`MORE_CALLS`].
const CALLS: &[Call] = &[
    // First those that a busy program makes most: the filter compares one after the other.
    call!(recvfrom, SYS_recvfrom, Data, [Fd, DataOut, Number, MessageFlags, AddressOut]),
    call!(sendto, SYS_sendto, Data, [Fd, Data, Number, MessageFlags, Address]),
    call!(read, SYS_read, Data, [Fd, DataOut, Number]),
    call!(write, SYS_write, Data, [Fd, Data, Number]),
    call!(epoll_pwait, SYS_epoll_pwait, None, [Fd, EpollEvents, Hidden, Milliseconds]),
    call!(accept4, SYS_accept4, Accepts, [Fd, Hidden, Hidden, SocketFlags]),
    call!(close, SYS_close, Closes, [Fd]),
    call!(ppoll, SYS_ppoll, None, [Poll, Hidden, Timespec]),
    call!(recvmsg, SYS_recvmsg, Data, [Fd, MessageOut, MessageFlags]),
    call!(sendmsg, SYS_sendmsg, Data, [Fd, Message, MessageFlags]),
    call!(readv, SYS_readv, Data, [Fd, VectorOut, Hidden]),
    call!(writev, SYS_writev, Data, [Fd, Vector, Hidden]),
    call!(sendmmsg, SYS_sendmmsg, Data, [Fd, Hidden, Number, MessageFlags]),
    call!(recvmmsg, SYS_recvmmsg, Data, [Fd, Hidden, Number, MessageFlags]),
    call!(sendfile, SYS_sendfile, Data, [Fd, Number, Hidden, Number]),
    call!(splice, SYS_splice, Data, [Fd, Hidden, Number, Hidden, Number, Bits]),
    call!(socket, SYS_socket, Makes, [Domain, SocketKind, Number]),
    call!(socketpair, SYS_socketpair, MakesPair, [Domain, SocketKind, Number, Pair]),
    call!(bind, SYS_bind, Names, [Fd, Address]),
    call!(listen, SYS_listen, Names, [Fd, Number]),
    call!(accept, SYS_accept, Accepts, [Fd]),
    call!(connect, SYS_connect, Names, [Fd, Address]),
    call!(getsockname, SYS_getsockname, None, [Fd, AddressOut]),
    call!(getpeername, SYS_getpeername, None, [Fd, AddressOut]),
    call!(shutdown, SYS_shutdown, None, [Fd, Shutdown]),
    call!(setsockopt, SYS_setsockopt, None, [Fd, Option]),
    call!(getsockopt, SYS_getsockopt, None, [Fd, OptionOut]),
    call!(close_range, SYS_close_range, ClosesRange, [Number, Number, Bits]),
    call!(dup, SYS_dup, Copies, [Fd]),
    call!(dup3, SYS_dup3, Copies, [Fd, Number, Bits]),
    call!(fcntl, SYS_fcntl, Copies, [Fd, Fcntl]),
    call!(ioctl, SYS_ioctl, Data, [Fd, Ioctl]),
    call!(pselect6, SYS_pselect6, None, [Number, FdSet, FdSet, FdSet, Timespec]),
    call!(epoll_create1, SYS_epoll_create1, Makes, [Bits]),
    call!(epoll_ctl, SYS_epoll_ctl, None, [Fd, EpollOperation, Number, EpollEvent]),
    call!(epoll_pwait2, SYS_epoll_pwait2, None, [Fd, EpollEvents, Hidden, Timespec]),
    call!(io_uring_setup, SYS_io_uring_setup, Makes, [Number, Hidden]),
    call!(io_uring_enter, SYS_io_uring_enter, None, [Fd, Number, Number, Bits]),
];

/// Calls that newer architectures no longer have.
#[cfg(target_arch = "x86_64")]
const MORE_CALLS: &[Call] = &[
    call!(epoll_wait, SYS_epoll_wait, None, [Fd, EpollEvents, Hidden, Milliseconds]),
    call!(poll, SYS_poll, None, [Poll, Hidden, Milliseconds]),
    call!(select, SYS_select, None, [Number, FdSet, FdSet, FdSet, Hidden]),
    call!(dup2, SYS_dup2, Copies, [Fd, Number]),
    call!(epoll_create, SYS_epoll_create, Makes, [Number]),
];
#[cfg(not(target_arch = "x86_64"))]
const MORE_CALLS: &[Call] = &[];

/// The numbers of all calls of interest, the most frequent first.
pub fn numbers() -> Vec<u64> {
    CALLS.iter().chain(MORE_CALLS).map(|call| call.number).collect()
}

/// The call with this number.
pub fn find(number: u64) -> Option<&'static Call> {
    CALLS.iter().chain(MORE_CALLS).find(|call| call.number == number)
}

impl Call {
    /// Its arguments as text when it is entered; `None` for what is not worth showing, and for the descriptor in front.
    pub fn enter(&self, words: [u64; 6], memory: Memory) -> Vec<Option<String>> {
        let shown = |(index, kind): (usize, &Kind)| match index {
            0 if self.is_on_descriptor => None,
            _ => argument(*kind, &words[index..], None, memory),
        };
        self.arguments.iter().enumerate().map(shown).collect()
    }

    /// Brings the arguments up to date with what the call has written to memory, now that it has returned.
    pub fn answer(&self, texts: &mut [Option<String>], words: [u64; 6], returned: i64, memory: Memory) {
        for (index, (kind, text)) in self.arguments.iter().zip(texts).enumerate() {
            if kind.is_answered() {
                *text = argument(*kind, &words[index..], Some(returned), memory);
            }
        }
    }

    /// Whether this call, with these arguments, is worth showing; `is_socket` says it of a descriptor.
    ///
    /// Waiting is if it is for a socket, and fcntl(2) if it changes how calls behave, or makes a descriptor.
    pub fn is_of_interest(&self, words: [u64; 6], memory: Memory, mut is_socket: impl FnMut(i32) -> bool) -> bool {
        match self.arguments {
            [Kind::Poll, ..] => (0..words[1].min(MOST_POLLED)).any(|index| {
                let fd = number_at(words[0].wrapping_add(8 * index), memory);
                fd.is_some_and(|fd| is_socket(fd.cast_signed()))
            }),
            [_, Kind::FdSet, ..] => words[1..4].iter().any(|&set| {
                let set = if set == 0 { 0 } else { word_at(set, memory).unwrap_or(0) };
                (0..64).any(|fd| set & 1 << fd != 0 && is_socket(fd))
            }),
            [_, Kind::Fcntl] => words[1] as i32 == libc::F_SETFL || fcntl_copies(words),
            _ => true,
        }
    }

    /// The descriptors that a call like pipe(2) has written to memory.
    pub fn pair(&self, words: [u64; 6], memory: Memory) -> Option<[i32; 2]> {
        let at = self.arguments.iter().position(|kind| *kind == Kind::Pair)?;
        let bytes: [u8; 8] = exactly(words[at], memory)?;
        Some([0, 4].map(|at| i32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])))
    }
}

/// One argument, or several that belong together, from the words on from it. `None` where nothing is to be shown.
fn argument(kind: Kind, words: &[u64], returned: Option<i64>, memory: Memory) -> Option<String> {
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
        Kind::SocketKind => {
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
fn exactly<const N: usize>(at: u64, memory: Memory) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    (at != 0 && memory(at, &mut bytes) == N).then_some(bytes)
}

fn number_at(at: u64, memory: Memory) -> Option<u32> {
    exactly(at, memory).map(u32::from_ne_bytes)
}

fn word_at(at: u64, memory: Memory) -> Option<u64> {
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
fn epoll_events(at: u64, count: u64, memory: Memory) -> String {
    let size = if cfg!(target_arch = "x86_64") { 12 } else { 16 };
    let mut parts = Vec::new();
    for index in 0..count.min(ELEMENTS) {
        let here = at.wrapping_add(size * index);
        let (Some(events), Some(data)) = (number_at(here, memory), word_at(here.wrapping_add(size - 8), memory)) else {
            break;
        };
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

/// Whether fcntl(2) with this request makes a descriptor.
pub fn fcntl_copies(words: [u64; 6]) -> bool {
    matches!(words[1] as i32, libc::F_DUPFD | libc::F_DUPFD_CLOEXEC)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Memory that holds these bytes, from address 4096 on.
    fn memory(bytes: &[u8]) -> impl Fn(u64, &mut [u8]) -> usize {
        move |at, into: &mut [u8]| {
            let Some(from) = at.checked_sub(4096).and_then(|from| bytes.get(usize::try_from(from).ok()?..)) else {
                return 0;
            };
            let length = from.len().min(into.len());
            into[..length].copy_from_slice(&from[..length]);
            length
        }
    }

    fn shown(name: &str, words: [u64; 6], returned: Option<i64>, bytes: &[u8]) -> String {
        let call = CALLS.iter().chain(MORE_CALLS).find(|call| call.name == name).unwrap();
        let memory = memory(bytes);
        let mut texts = call.enter(words, &memory);
        if let Some(returned) = returned {
            call.answer(&mut texts, words, returned, &memory);
        }
        texts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn a_socket_is_asked_for_by_name() {
        assert_eq!(shown("socket", [2, 1 | 0o2000000, 0, 0, 0, 0], None, b""), "AF_INET, SOCK_STREAM|SOCK_CLOEXEC, 0");
    }

    #[test]
    fn an_address_is_read_from_memory() {
        let address = [2, 0, 0x1b, 0x5b, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(shown("bind", [3, 4096, 16, 0, 0, 0], None, &address), "127.0.0.1:7003");
        assert_eq!(shown("bind", [3, 8192, 16, 0, 0, 0], None, &address), "0x2000");
    }

    #[test]
    fn data_is_shown_when_it_is_there_and_no_more_than_a_line_of_it() {
        assert_eq!(shown("write", [3, 4096, 6, 0, 0, 0], None, b"hello\n"), "\"hello\\n\", 6");
        assert_eq!(shown("read", [3, 4096, 99, 0, 0, 0], None, b"hello\n"), "…, 99");
        assert_eq!(shown("read", [3, 4096, 99, 0, 0, 0], Some(5), b"hello\n"), "\"hello\", 99");
        assert_eq!(shown("read", [3, 4096, 99, 0, 0, 0], Some(-11), b"hello\n"), "…, 99");
        let long = shown("write", [3, 4096, 64, 0, 0, 0], None, &[b'a'; 64]);
        assert_eq!(long, format!("\"{}\"..., 64", "a".repeat(32)));
        assert_eq!(shown("write", [3, 4096, 2, 0, 0, 0], None, b"\x1b["), "\"\\x1b[\", 2");
    }

    #[test]
    fn poll_says_what_is_asked_for_and_what_came() {
        let fds = [3, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 1, 0, 17, 0];
        assert_eq!(shown("ppoll", [4096, 2, 0, 0, 0, 0], None, &fds), "[{3, POLLIN}, {4, POLLIN}], no time limit");
        let after = shown("ppoll", [4096, 2, 0, 0, 0, 0], Some(1), &fds);
        assert_eq!(after, "[{3, POLLIN}, {4, POLLIN → POLLIN|POLLHUP}], no time limit");
    }

    #[test]
    fn options_are_named_with_their_values() {
        assert_eq!(shown("setsockopt", [3, 1, 2, 4096, 4, 0], None, &[1, 0, 0, 0]), "SO_REUSEADDR, 1");
        let error = [111, 0, 0, 0, 4, 0, 0, 0];
        assert_eq!(shown("getsockopt", [3, 1, 4, 4096, 4100, 0], Some(0), &error), "SO_ERROR, → ECONNREFUSED");
    }

    #[test]
    fn no_arguments_whatsoever_make_it_fail() {
        for call in CALLS.iter().chain(MORE_CALLS) {
            for word in [0, 1, 4096, 4100, u64::MAX, i64::MIN as u64] {
                let memory = memory(&[0xff; 64]);
                let mut texts = call.enter([word; 6], &memory);
                for returned in [0, 1, -11, i64::MIN, i64::MAX] {
                    call.answer(&mut texts, [word; 6], returned, &memory);
                }
            }
        }
    }
}
