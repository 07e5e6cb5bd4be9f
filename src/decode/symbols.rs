//! The names of numbers that calls are given: `SOCK_STREAM`, `SO_REUSEADDR`, `POLLIN`.

use nix::libc;

/// A number and its name.
type Names = &'static [(u64, &'static str)];

macro_rules! names {
    // By way of 32 bits: EPOLLET is the sign of an int.
    ($($name:ident)*) => { &[$((libc::$name as u32 as u64, stringify!($name))),*] };
}

/// Address families: socket(2).
pub const DOMAINS: Names = names!(AF_UNIX AF_INET AF_INET6 AF_NETLINK AF_PACKET AF_VSOCK);
/// Kinds of sockets, without the flags that may be joined to them.
pub const KINDS: Names = names!(SOCK_STREAM SOCK_DGRAM SOCK_RAW SOCK_SEQPACKET);
/// Flags that socket(2) and accept4(2) take.
pub const SOCKET_FLAGS: Names = names!(SOCK_NONBLOCK SOCK_CLOEXEC);
/// Flags of send(2) and recv(2).
pub const MESSAGE_FLAGS: Names = names!(MSG_PEEK MSG_OOB MSG_DONTWAIT MSG_WAITALL MSG_NOSIGNAL MSG_MORE MSG_TRUNC MSG_CTRUNC MSG_ERRQUEUE MSG_CMSG_CLOEXEC);
/// How shutdown(2) is to shut down.
pub const SHUTDOWN: Names = names!(SHUT_RD SHUT_WR SHUT_RDWR);
/// Events of poll(2).
pub const POLL: Names = names!(POLLIN POLLOUT POLLPRI POLLERR POLLHUP POLLNVAL POLLRDHUP);
/// Events of epoll(7).
pub const EPOLL: Names =
    names!(EPOLLIN EPOLLOUT EPOLLPRI EPOLLERR EPOLLHUP EPOLLRDHUP EPOLLET EPOLLONESHOT EPOLLEXCLUSIVE);
/// Flags of epoll_create1(2).
pub const EPOLL_FLAGS: Names = names!(EPOLL_CLOEXEC);
/// What epoll_ctl(2) does.
pub const EPOLL_OPERATIONS: Names = names!(EPOLL_CTL_ADD EPOLL_CTL_MOD EPOLL_CTL_DEL);
/// What fcntl(2) does, as far as it concerns sockets.
pub const FCNTL: Names = names!(F_DUPFD F_GETFD F_SETFD F_GETFL F_SETFL F_DUPFD_CLOEXEC F_SETOWN);
/// Flags of an open file.
pub const FILE_FLAGS: Names = names!(O_RDWR O_WRONLY O_APPEND O_NONBLOCK O_CLOEXEC);
/// Levels of socket options.
pub const LEVELS: Names = names!(SOL_SOCKET IPPROTO_IP IPPROTO_IPV6 IPPROTO_TCP IPPROTO_UDP);

const SOCKET_OPTIONS: Names = names!(SO_REUSEADDR SO_REUSEPORT SO_KEEPALIVE SO_LINGER SO_ERROR SO_TYPE SO_SNDBUF SO_RCVBUF
    SO_RCVTIMEO SO_SNDTIMEO SO_ACCEPTCONN SO_BROADCAST SO_DOMAIN SO_PROTOCOL SO_PEERCRED SO_RCVLOWAT SO_OOBINLINE SO_INCOMING_CPU
    SO_BINDTODEVICE SO_TIMESTAMP SO_PRIORITY SO_MARK);
const TCP_OPTIONS: Names = names!(TCP_NODELAY TCP_CORK TCP_KEEPIDLE TCP_KEEPINTVL TCP_KEEPCNT TCP_USER_TIMEOUT TCP_INFO
    TCP_MAXSEG TCP_DEFER_ACCEPT TCP_QUICKACK TCP_FASTOPEN TCP_CONGESTION TCP_LINGER2 TCP_SYNCNT TCP_WINDOW_CLAMP);
const IPV6_OPTIONS: Names = names!(IPV6_V6ONLY IPV6_UNICAST_HOPS IPV6_RECVPKTINFO);
const IP_OPTIONS: Names = names!(IP_TOS IP_TTL IP_MTU_DISCOVER IP_RECVERR IP_PKTINFO);

/// The options of a level.
pub fn options(level: u64) -> Names {
    match level as i32 {
        libc::SOL_SOCKET => SOCKET_OPTIONS,
        libc::IPPROTO_TCP => TCP_OPTIONS,
        libc::IPPROTO_IPV6 => IPV6_OPTIONS,
        libc::IPPROTO_IP => IP_OPTIONS,
        _ => &[],
    }
}

/// The name of a number, or its digits.
pub fn one(names: Names, number: u64) -> String {
    let found = names.iter().find(|(its, _)| *its == number);
    found.map_or_else(|| number.to_string(), |(_, name)| (*name).to_string())
}

/// The names of the bits of a number, joined by `|`; bits without a name as a number. `0` where none is set.
pub fn bits(names: Names, number: u64) -> String {
    let mut left = number;
    let mut words = Vec::new();
    for (bit, name) in names {
        if left & bit == *bit && *bit != 0 {
            left &= !bit;
            words.push((*name).to_string());
        }
    }
    if left != 0 || words.is_empty() {
        words.push(if left == 0 { "0".into() } else { format!("{left:#x}") });
    }
    words.join("|")
}

/// The name of an error, by its number: `EAGAIN`.
///
/// Four of them no program ever sees: the kernel begins the call anew by itself, or turns them into EINTR (signal(7)).
pub fn error(number: i32) -> String {
    match number {
        512 => "ERESTARTSYS".into(),
        513 => "ERESTARTNOINTR".into(),
        514 => "ERESTARTNOHAND".into(),
        516 => "ERESTART_RESTARTBLOCK".into(),
        _ => match nix::errno::Errno::from_raw(number) {
            nix::errno::Errno::UnknownErrno => format!("errno {number}"),
            known => format!("{known:?}"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_named_and_unknown_ones_stay_a_number() {
        assert_eq!(bits(POLL, 1), "POLLIN");
        assert_eq!(bits(POLL, 1 | 16), "POLLIN|POLLHUP");
        assert_eq!(bits(POLL, 0), "0");
        assert_eq!(bits(POLL, 0x4000_0000 | 4), "POLLOUT|0x40000000");
        assert_eq!(bits(EPOLL, 0x8000_0001), "EPOLLIN|EPOLLET");
    }

    #[test]
    fn errors_have_their_names() {
        assert_eq!(error(11), "EAGAIN");
        assert_eq!(error(512), "ERESTARTSYS");
        assert_eq!(error(4000), "errno 4000");
    }
}
