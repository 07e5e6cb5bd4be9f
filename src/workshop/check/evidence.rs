//! What can be concluded from the kernel's tables: pure functions, and the sentences that say it.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use nix::sys::signal::Signal;

use crate::event::{Endpoint, Protocol, Socket, State, canonical};
use crate::sys::process::Member;
use crate::view::describe;
use crate::view::paint::harmless;

/// How many bytes of a text are shown.
const SHOWN: usize = 40;
/// Why a server has ended when a call of it was interrupted.
pub const EINTR: &str = "a call that returns EINTR has done nothing, and has to be made again";
/// What becomes of the children of a server that has just ended.
pub const ORPHANS: &str = "they go on, and nobody knows of them";

/// Where a server serves.
pub enum Serving {
    /// Nowhere yet.
    Nothing,
    /// Where it was asked to.
    Here(Socket),
    /// Only on these sockets, which are others.
    Elsewhere(Vec<Socket>),
}

/// Where it serves, from the sockets on which it waits for others.
pub fn serving(sockets: Vec<Socket>, wanted: SocketAddr) -> Serving {
    if let Some(here) = sockets.iter().find(|socket| reaches(socket, wanted.ip(), Some(wanted.port()))) {
        return Serving::Here(here.clone());
    }
    // A port that the kernel has chosen for datagrams is a client's, of the name service say.
    let others: Vec<Socket> = sockets.into_iter().filter(|socket| socket.local != Endpoint::Unnamed).collect();
    if others.is_empty() { Serving::Nothing } else { Serving::Elsewhere(others) }
}

/// Whether a client that connects to this address, and this port, gets to this listening socket.
///
/// Of a socket on `::` that is not known: it may have IPV6_V6ONLY set, and then an IPv4 client's connect() says so.
pub fn reaches(socket: &Socket, address: IpAddr, port: Option<u16>) -> bool {
    let Endpoint::Inet(local) = &socket.local else { return false };
    let ip = canonical(*local).ip();
    let is_for_all = local.ip().is_unspecified() && (local.is_ipv6() || address.is_ipv4());
    socket.is_listening() && port.is_none_or(|port| local.port() == port) && (ip == address || is_for_all)
}

/// The sockets on which it serves, in words.
pub fn where_it_serves(sockets: &[Socket]) -> String {
    let place = |socket: &Socket| match socket.protocol {
        Protocol::Tcp => format!("listens on {}", socket.local),
        Protocol::Udp => format!("has a UDP socket on {}", socket.local),
        _ => format!("has a Unix socket, {}", harmless(socket.local.to_string().as_bytes())),
    };
    let places: Vec<String> = sockets.iter().take(4).map(place).collect();
    format!("it {}", places.join(" and "))
}

/// Why a client does not reach it there.
pub fn why_elsewhere(sockets: &[Socket], wanted: SocketAddr) -> Option<String> {
    let tcp: Vec<&Socket> = sockets.iter().filter(|socket| socket.protocol == Protocol::Tcp).collect();
    let port = wanted.port();
    let has_port = |socket: &&&Socket| socket.local.port() == Some(port);
    match tcp.iter().find(has_port).or(tcp.first()) {
        None if sockets.iter().any(|socket| socket.protocol == Protocol::Udp) => {
            Some("a client of TCP needs a socket of SOCK_STREAM, and listen()".into())
        }
        None => Some("a client of TCP needs a socket of AF_INET".into()),
        Some(socket) if socket.local.port() != Some(port) => {
            Some(format!("the port is {port}: {{port}} in the command stands for it, and PORT in its environment"))
        }
        Some(socket) => match &socket.local {
            Endpoint::Inet(local) if local.is_ipv6() && wanted.is_ipv4() => Some(only_ipv6(*local)),
            _ => Some(format!("clients come to {}", wanted.ip())),
        },
    }
}

/// Why an IPv4 client does not get in there.
pub fn only_ipv6(local: SocketAddr) -> String {
    if local.ip().is_unspecified() {
        "it listens on IPv6 only: with IPV6_V6ONLY off, :: would let IPv4 clients in as well".into()
    } else {
        format!("it listens on IPv6 only: {} is not reached from 127.0.0.1", local.ip())
    }
}

/// Of the processes that hold a socket the one from which the others descend.
pub fn eldest(family: &[Member], socket: &Socket) -> Option<u32> {
    // Parents come first in a family.
    family.iter().map(|member| member.pid).find(|pid| socket.owners.iter().any(|owner| owner.pid == *pid))
}

/// The socket with these two ends.
pub fn end_of(sockets: &[Socket], local: SocketAddr, remote: SocketAddr) -> Option<&Socket> {
    let (local, remote) = (Endpoint::Inet(local), Endpoint::Inet(remote));
    // While a connection ends, its TIME-WAIT remnant can stand beside it.
    let mut found =
        sockets.iter().filter(|socket| socket.local.is_same_as(&local) && socket.remote.is_same_as(&remote));
    let first = found.next()?;
    Some(found.find(|socket| socket.inode != 0).unwrap_or(first))
}

/// Sockets as lines, the listening ones first.
pub fn lines(sockets: &[Socket], port: u16, most: usize) -> Vec<String> {
    let mut sockets: Vec<&Socket> = sockets.iter().filter(|socket| socket.local.port() == Some(port)).collect();
    sockets.sort_by_key(|socket| (!socket.is_listening(), socket.remote.port()));
    let line = |socket: &&Socket| {
        let mut parts = vec![format!("{} {}", describe::state(socket), describe::ends(socket, Some(port)))];
        parts.extend(describe::queues(socket));
        parts.extend(describe::timer(socket));
        parts.push(describe::owners(socket));
        parts.join(", ")
    };
    let mut lines: Vec<String> = sockets.iter().take(most).map(line).collect();
    if sockets.len() > most {
        lines.push(format!("and {} more", sockets.len() - most));
    }
    lines
}

/// Who holds a socket: `fd 4 in the parent (pid 812), fd 4 in its child (pid 815)`.
pub fn holders(socket: &Socket, main: u32) -> String {
    let holder = |owner: &crate::event::Owner| {
        let who = if owner.pid == main { "the parent" } else { "the child" };
        format!("fd {} in {who} (pid {})", owner.fd, owner.pid)
    };
    socket.owners.iter().take(4).map(holder).collect::<Vec<_>>().join(", ")
}

/// Why a client gets no answer.
pub fn why_not_served(socket: Option<&Socket>, main: u32) -> String {
    let Some(socket) = socket else { return "the server's end of the connection is not there any more".into() };
    if socket.waits_for_accept() {
        return "the connection waits in the accept queue: the server has not called accept() again".into();
    }
    let held = holders(socket, main);
    match (socket.receive_queue, socket.send_queue) {
        (0, 0) => format!("the server has read all of it, and written no more ({held})"),
        (unread, 0) => format!("{unread} bytes have arrived and wait for read() ({held})"),
        (_, unsent) => format!("{unsent} bytes of the answer are not acknowledged ({held})"),
    }
}

/// Why no FIN came, though the client has sent its own.
pub fn why_no_fin(socket: Option<&Socket>, main: u32, is_parent: bool) -> String {
    let Some(socket) = socket else { return "the server's end of the connection is not there any more".into() };
    if socket.waits_for_accept() {
        return "the connection waits in the accept queue: the server has not called accept() again".into();
    }
    let in_main = socket.owners.iter().find(|owner| owner.pid == main);
    match (in_main, socket.owners.first()) {
        (Some(owner), _) if is_parent || socket.owners.len() > 1 => format!(
            "fd {} is still open in the parent (pid {main}), so the kernel keeps the connection half-closed",
            owner.fd
        ),
        (Some(owner), _) | (None, Some(owner)) => {
            format!(
                "fd {} is still open in pid {}: the server has not closed it ({})",
                owner.fd,
                owner.pid,
                state(socket)
            )
        }
        (None, None) => format!("the server's end is in {}", state(socket)),
    }
}

fn state(socket: &Socket) -> String {
    match socket.state {
        State::CloseWait => "CLOSE-WAIT: the client's FIN has come".into(),
        other => other.to_string(),
    }
}

/// Bytes as they may be shown in a line: `6 bytes "hello\n"`.
pub fn bytes(bytes: &[u8]) -> String {
    let count = bytes.len();
    let unit = if count == 1 { "byte" } else { "bytes" };
    if count > SHOWN { format!("{count} {unit}") } else { format!("{count} {unit} {}", quoted(bytes)) }
}

fn quoted(bytes: &[u8]) -> String {
    let shown: String =
        bytes.iter().take(SHOWN).flat_map(|&byte| std::ascii::escape_default(byte)).map(char::from).collect();
    format!("\"{shown}{}\"", if bytes.len() > SHOWN { "…" } else { "" })
}

/// Where bytes are others than they should be.
pub fn difference(wanted: &[u8], got: &[u8]) -> String {
    let same = wanted.iter().zip(got).take_while(|(wanted, got)| wanted == got).count();
    match (wanted.get(same), got.get(same)) {
        (None, Some(_)) => format!("there were {} bytes more: {}", got.len() - same, quoted(&got[same..])),
        (Some(_), None) => format!("there were {} of {} bytes", got.len(), wanted.len()),
        _ if same == 0 => format!("it got {}", quoted(got)),
        _ => format!("from byte {same} on it got {}", quoted(&got[same..])),
    }
}

/// Whether a signal is how a program dies of a fault of its own.
pub fn is_crash(signal: i32) -> bool {
    use Signal::{SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGPIPE, SIGSEGV, SIGSYS, SIGTRAP};
    [SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGPIPE, SIGSEGV, SIGSYS, SIGTRAP].iter().any(|crash| *crash as i32 == signal)
}

/// The open descriptors of several processes.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Fds {
    by_pid: BTreeMap<u32, Vec<(u32, String)>>,
}

impl Fds {
    /// Adds those of a process.
    pub fn add(&mut self, pid: u32, open: Vec<(u32, String)>) {
        self.by_pid.insert(pid, open);
    }

    /// How many there are in all.
    pub fn count(&self) -> usize {
        self.by_pid.values().map(Vec::len).sum()
    }

    /// The process with the most of them, with how many these are, and what most of them are.
    pub fn most(&self) -> Option<String> {
        let (pid, open) = self.by_pid.iter().max_by_key(|(_, open)| open.len())?;
        let sockets = open.iter().filter(|(_, name)| name.starts_with("socket:")).count();
        Some(format!("pid {pid} has {} open, {sockets} of them sockets", open.len()))
    }

    /// The highest number that a process has.
    pub fn highest(&self, pid: u32) -> u32 {
        self.by_pid.get(&pid).and_then(|open| open.iter().map(|(fd, _)| *fd).max()).unwrap_or(0)
    }

    /// How many numbers below a limit a process has not.
    pub fn free_below(&self, pid: u32, limit: u32) -> u32 {
        let taken = self.by_pid.get(&pid).map_or(0, |open| open.iter().filter(|(fd, _)| *fd < limit).count());
        limit.saturating_sub(u32::try_from(taken).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Owner;

    fn socket(state: State, local: &str, remote: &str, owners: &[(u32, u32)]) -> Socket {
        Socket {
            protocol: Protocol::Tcp,
            state,
            local: Endpoint::Inet(local.parse().unwrap()),
            remote: Endpoint::Inet(remote.parse().unwrap()),
            receive_queue: 0,
            send_queue: 0,
            uid: 0,
            inode: if owners.is_empty() { 0 } else { 7 },
            cookie: 0,
            timer: None,
            owners: owners.iter().map(|&(pid, fd)| Owner { name: "server".into(), pid, fd }).collect(),
        }
    }

    fn listening(local: &str) -> Socket {
        socket(State::Listen, local, "0.0.0.0:0", &[(1, 3)])
    }

    fn member(pid: u32, parent: u32) -> Member {
        Member { pid, parent, state: 'S', threads: 1, ticks: 0 }
    }

    #[test]
    fn a_client_of_ipv4_reaches_what_listens_on_its_address_or_on_all() {
        let localhost: IpAddr = "127.0.0.1".parse().unwrap();
        for (local, reached) in
            [("127.0.0.1:7", true), ("0.0.0.0:7", true), ("[::]:7", true), ("[::1]:7", false), ("127.0.0.2:7", false)]
        {
            assert_eq!(reaches(&listening(local), localhost, Some(7)), reached, "{local}");
            assert!(!reaches(&listening(local), localhost, Some(8)), "{local}");
        }
    }

    #[test]
    fn a_server_on_another_port_or_of_another_protocol_is_told_what_it_is() {
        let wanted = "127.0.0.1:7003".parse().unwrap();
        let other = listening("127.0.0.1:8000");
        let Serving::Elsewhere(sockets) = serving(vec![other], wanted) else { panic!() };
        assert_eq!(where_it_serves(&sockets), "it listens on 127.0.0.1:8000");
        assert!(why_elsewhere(&sockets, wanted).unwrap().contains("the port is 7003"));
        let mut udp = socket(State::Closed, "127.0.0.1:7003", "0.0.0.0:0", &[(1, 3)]);
        udp.protocol = Protocol::Udp;
        assert!(where_it_serves(std::slice::from_ref(&udp)).contains("UDP socket on 127.0.0.1:7003"));
        assert!(why_elsewhere(&[udp], wanted).unwrap().contains("SOCK_STREAM"));
        assert!(why_elsewhere(&[listening("[::1]:7003")], wanted).unwrap().contains("IPv6 only"));
        assert!(matches!(serving(vec![listening("0.0.0.0:7003")], wanted), Serving::Here(_)));
    }

    #[test]
    fn the_end_of_a_dual_stack_server_is_found_by_its_ipv4_address() {
        let end = socket(State::Established, "[::ffff:127.0.0.1]:7003", "[::ffff:127.0.0.1]:51234", &[(1, 4)]);
        let found =
            end_of(std::slice::from_ref(&end), "127.0.0.1:7003".parse().unwrap(), "127.0.0.1:51234".parse().unwrap());
        assert_eq!(found, Some(&end));
    }

    #[test]
    fn of_the_holders_of_a_listening_socket_the_one_that_made_the_others_is_the_server() {
        let family = [member(10, 1), member(12, 10), member(11, 10)];
        let mut socket = listening("127.0.0.1:7");
        socket.owners = [12, 11, 10].map(|pid| Owner { name: "x".into(), pid, fd: 3 }).to_vec();
        assert_eq!(eldest(&family, &socket), Some(10));
    }

    #[test]
    fn why_no_fin_came_names_the_process_that_still_has_the_connection() {
        let ends = ("127.0.0.1:7003", "127.0.0.1:51234");
        let kept = socket(State::CloseWait, ends.0, ends.1, &[(812, 4)]);
        assert_eq!(
            why_no_fin(Some(&kept), 812, true),
            "fd 4 is still open in the parent (pid 812), so the kernel keeps the connection half-closed"
        );
        let alone = why_no_fin(Some(&kept), 812, false);
        assert!(alone.starts_with("fd 4 is still open in pid 812: the server has not closed it"), "{alone}");
        let queued = socket(State::CloseWait, ends.0, ends.1, &[]);
        assert!(why_no_fin(Some(&queued), 812, true).contains("accept queue"));
    }

    #[test]
    fn bytes_that_differ_are_shown_from_where_they_differ() {
        assert_eq!(difference(b"hello", b"hexlo"), "from byte 2 on it got \"xlo\"");
        assert_eq!(difference(b"hello", b"HELLO"), "it got \"HELLO\"");
        assert_eq!(difference(b"hi", b"hi there"), "there were 6 bytes more: \" there\"");
        assert_eq!(bytes(b"\x1b[2J"), "4 bytes \"\\x1b[2J\"");
        assert_eq!(bytes(&[0; 41]), "41 bytes");
    }
}
