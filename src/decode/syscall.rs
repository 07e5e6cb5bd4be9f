//! System calls around sockets: which there are, and their arguments as text.
//!
//! The words of a call hold numbers and addresses of memory; what is there is read through [`Memory`], so that nothing here
//! needs a process.

mod arguments;

use nix::libc;

use arguments::{argument, exactly, number_at, word_at};

/// The memory of whoever makes the call: reads at an address, and says how many bytes there were.
pub type Memory<'a> = &'a dyn Fn(u64, &mut [u8]) -> usize;

/// How many descriptors of poll(2) are looked at.
const MOST_POLLED: u64 = 1024;
/// How many of them, and of those that epoll_wait(2) names, are told of.
const MOST_TOLD: usize = 16;

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

/// A descriptor that a call waits for, or that it was told of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Waited {
    /// Which one.
    pub key: Key,
    /// What is asked for; empty where the call does not say it.
    pub asked: String,
    /// What has come; empty where nothing has.
    pub came: String,
}

/// How a call tells which descriptor it means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Key {
    /// By its number.
    Fd(i32),
    /// By what epoll_ctl(2) was given to name it by.
    Data(u64),
}

/// What epoll_ctl(2) does to a list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnList {
    /// The descriptor is on it from now on, under this name.
    Put(i32, u64),
    /// It is on it no longer.
    Off(i32),
}

/// What an argument means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Number,
    Bits,
    Fd,
    Domain,
    SocketType,
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
    EpollFlags,
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
    call!(socket, SYS_socket, Makes, [Domain, SocketType, Number]),
    call!(socketpair, SYS_socketpair, MakesPair, [Domain, SocketType, Number, Pair]),
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
    call!(epoll_create1, SYS_epoll_create1, Makes, [EpollFlags]),
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

/// The names of all calls of interest.
pub fn names() -> impl Iterator<Item = &'static str> + Clone {
    CALLS.iter().chain(MORE_CALLS).map(|call| call.name)
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

    /// What it waits for, and what has come once it has returned. Of very many only some, those first to which something has
    /// come.
    pub fn waits(&self, words: [u64; 6], returned: Option<i64>, memory: Memory) -> Vec<Waited> {
        let mut waits = match self.arguments {
            [Kind::Poll, ..] => arguments::polled(words[0], words[1].min(MOST_POLLED), returned, memory),
            [_, Kind::EpollEvents, ..] => {
                let count = returned.and_then(|count| u64::try_from(count).ok()).unwrap_or(0);
                let told = arguments::told_by_epoll(words[1], count.min(MOST_POLLED), memory);
                let waited = |(events, data)| Waited { key: Key::Data(data), asked: String::new(), came: events };
                told.into_iter().map(waited).collect()
            }
            [_, Kind::EpollOperation, ..] => {
                let asked =
                    arguments::told_by_epoll(words[3], 1, memory).pop().map_or(String::new(), |(events, _)| events);
                let asked = if words[1] as i32 == libc::EPOLL_CTL_DEL { String::new() } else { asked };
                vec![Waited { key: Key::Fd(words[2] as i32), asked, came: String::new() }]
            }
            _ => return Vec::new(),
        };
        if waits.len() > MOST_TOLD {
            waits.sort_by_key(|waited| waited.came.is_empty());
            waits.truncate(MOST_TOLD);
        }
        waits
    }

    /// What it does to the list of an epoll descriptor, if it has not failed.
    pub fn on_list(&self, words: [u64; 6], memory: Memory) -> Option<OnList> {
        if !matches!(self.arguments, [_, Kind::EpollOperation, ..]) {
            return None;
        }
        let fd = words[2] as i32;
        if words[1] as i32 == libc::EPOLL_CTL_DEL {
            return Some(OnList::Off(fd));
        }
        arguments::told_by_epoll(words[3], 1, memory).pop().map(|(_, data)| OnList::Put(fd, data))
    }

    /// The descriptors that a call like pipe(2) has written to memory.
    pub fn pair(&self, words: [u64; 6], memory: Memory) -> Option<[i32; 2]> {
        let at = self.arguments.iter().position(|kind| *kind == Kind::Pair)?;
        let bytes: [u8; 8] = exactly(words[at], memory)?;
        Some([0, 4].map(|at| i32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])))
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

    fn call(name: &str) -> &'static Call {
        CALLS.iter().chain(MORE_CALLS).find(|call| call.name == name).unwrap()
    }

    #[test]
    fn of_many_descriptors_those_to_which_something_has_come_are_told_first() {
        let mut fds = [[0_u8; 8]; 40].map(|_| [0, 0, 0, 0, 1, 0, 0, 0]);
        for (fd, bytes) in (0..).zip(&mut fds) {
            bytes[0] = fd;
        }
        fds[39][6] = 1;
        let bytes = fds.concat();
        let memory = memory(&bytes);
        let waits = call("ppoll").waits([4096, 40, 0, 0, 0, 0], Some(1), &memory);
        assert_eq!(waits.len(), MOST_TOLD);
        assert_eq!(waits[0], Waited { key: Key::Fd(39), asked: "POLLIN".into(), came: "POLLIN".into() });
        assert_eq!(waits[1], Waited { key: Key::Fd(0), asked: "POLLIN".into(), came: String::new() });
    }

    #[test]
    fn what_epoll_names_and_what_it_is_told_is_found_in_memory() {
        let mut bytes = vec![5, 0, 0, 0];
        bytes.resize(if cfg!(target_arch = "x86_64") { 4 } else { 8 }, 0);
        bytes.extend(7_u64.to_ne_bytes());
        let memory = memory(&bytes);
        let told = |name: &str, words, returned| call(name).waits(words, returned, &memory);
        let waited = |key, asked: &str, came: &str| vec![Waited { key, asked: asked.into(), came: came.into() }];
        let wait = [3, 4096, 9, 0, 0, 0];
        assert!(told("epoll_pwait", wait, None).is_empty() && told("epoll_pwait", wait, Some(-4)).is_empty());
        assert_eq!(told("epoll_pwait", wait, Some(1)), waited(Key::Data(7), "", "EPOLLIN|EPOLLOUT"));
        let add = [3, 1, 4, 4096, 0, 0];
        assert_eq!(told("epoll_ctl", add, None), waited(Key::Fd(4), "EPOLLIN|EPOLLOUT", ""));
        assert_eq!(call("epoll_ctl").on_list(add, &memory), Some(OnList::Put(4, 7)));
        assert_eq!(call("epoll_ctl").on_list([3, 2, 4, 0, 0, 0], &memory), Some(OnList::Off(4)));
        assert_eq!(call("read").on_list(add, &memory), None);
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
                call.on_list([word; 6], &memory);
                for returned in [0, 1, -11, i64::MIN, i64::MAX] {
                    call.answer(&mut texts, [word; 6], returned, &memory);
                    call.waits([word; 6], Some(returned), &memory);
                }
            }
        }
    }
}
