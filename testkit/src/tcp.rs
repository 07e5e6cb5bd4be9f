//! The kernel as a witness: its table of TCP sockets, read from `/proc/net/tcp` and `/proc/net/tcp6` (proc(5)).

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use crate::process::PATIENCE;

/// A TCP state, by its number in the kernel (`include/net/tcp_states.h`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "the names are those of RFC 9293")]
pub enum State {
    Established = 1,
    SynSent,
    SynRecv,
    FinWait1,
    FinWait2,
    TimeWait,
    Close,
    CloseWait,
    LastAck,
    Listen,
    Closing,
    NewSynRecv,
}

impl State {
    const ALL: [State; 12] = [
        State::Established,
        State::SynSent,
        State::SynRecv,
        State::FinWait1,
        State::FinWait2,
        State::TimeWait,
        State::Close,
        State::CloseWait,
        State::LastAck,
        State::Listen,
        State::Closing,
        State::NewSynRecv,
    ];
}

/// One line of the kernel's table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Socket {
    /// Its own address and port.
    pub local: SocketAddr,
    /// Its peer's; port 0 for a listening socket.
    pub remote: SocketAddr,
    /// Its state.
    pub state: State,
    /// Bytes written here that the peer's kernel has not acknowledged.
    pub tx_queue: u32,
    /// Bytes received and not yet read; for a listening socket, connections not yet accepted.
    pub rx_queue: u32,
    /// The number in `/proc/PID/fd`'s `socket:[NUMBER]`; 0 while no process has a descriptor for it.
    pub inode: u64,
}

/// Every TCP socket of this network namespace, IPv4 and IPv6.
///
/// Not a snapshot: the kernel walks its table while others change it. Ask again with [`wait_until`].
///
/// # Panics
///
/// Where the table cannot be read or has another form than proc(5) says.
pub fn sockets() -> Vec<Socket> {
    // Not /proc/net: that is the main thread's, and a thread may be in another namespace.
    let of = |name: &str| fs::read_to_string(format!("/proc/thread-self/net/{name}"));
    let v4 = of("tcp").expect("/proc/net/tcp can be read");
    let v6 = of("tcp6").unwrap_or_default();
    v4.lines().skip(1).chain(v6.lines().skip(1)).map(|line| parse(line).unwrap_or_else(|| panic!("{line:?}"))).collect()
}

/// The sockets whose own port is `port`: a server's listening socket, and its side of each connection.
pub fn sockets_of(port: u16) -> Vec<Socket> {
    sockets().into_iter().filter(|socket| socket.local.port() == port).collect()
}

/// The listening socket of `port`, if there is one.
pub fn listener(port: u16) -> Option<Socket> {
    sockets_of(port).into_iter().find(|socket| socket.state == State::Listen)
}

/// The socket that has these two ends.
pub fn socket_between(local: SocketAddr, remote: SocketAddr) -> Option<Socket> {
    sockets().into_iter().find(|socket| socket.local == local && socket.remote == remote)
}

/// Returns as soon as `is_so`, and asks every few milliseconds until then. This is the only place where tests sleep.
///
/// # Panics
///
/// Naming `what`, when it is not so in time.
#[track_caller]
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited too long until {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

fn parse(line: &str) -> Option<Socket> {
    // sl: local_address rem_address st tx_queue:rx_queue tr:when retrnsmt uid timeout inode …
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let &[_, local, remote, state, queues, _, _, _, _, inode, ..] = fields.as_slice() else { return None };
    let (tx_queue, rx_queue) = queues.split_once(':')?;
    Some(Socket {
        local: address(local)?,
        remote: address(remote)?,
        state: *State::ALL.get(usize::from_str_radix(state, 16).ok()?.checked_sub(1)?)?,
        tx_queue: u32::from_str_radix(tx_queue, 16).ok()?,
        rx_queue: u32::from_str_radix(rx_queue, 16).ok()?,
        inode: inode.parse().ok()?,
    })
}

/// `0100007F:1B59`: each four bytes of the address as one number of this machine, then the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let mut bytes = Vec::new();
    for word in ip.as_bytes().chunks(8) {
        bytes.extend(u32::from_str_radix(str::from_utf8(word).ok()?, 16).ok()?.to_ne_bytes());
    }
    let ip = match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(v4) => IpAddr::V4(Ipv4Addr::from(v4)),
        Err(_) => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes.as_slice()).ok()?)),
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn a_connection_that_nobody_accepted_is_counted_at_the_listener_and_has_no_inode() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(server) = TcpListener::bind(address) else { continue };
            let server_address = server.local_addr().unwrap();
            let client = TcpStream::connect(server_address).unwrap();
            wait_until("it is in the accept queue", || {
                listener(server_address.port()).is_some_and(|listener| listener.rx_queue == 1)
            });
            let queued = socket_between(server_address, client.local_addr().unwrap()).unwrap();
            assert_eq!((queued.state, queued.inode), (State::Established, 0));
            let (_connection, _) = server.accept().unwrap();
            assert_eq!(listener(server_address.port()).unwrap().rx_queue, 0);
        }
    }
}
