//! A socket in words: its ends, its queues, its owners, its timer.

use std::net::SocketAddr;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::event::{Endpoint, Owner, Protocol, Socket, State, TimerKind};
use crate::view::paint::harmless;

/// Writes one end. An address is digits and dots; a path may be anything, and is made harmless.
pub fn write_end(text: &mut String, end: &Endpoint) {
    match end {
        // Nearly every socket of a long table: worth more than the general way of formatting, which takes five times as
        // long.
        Endpoint::Inet(SocketAddr::V4(address)) if address.port() != 0 => {
            let mut digits = itoa::Buffer::new();
            for (octet, separator) in address.ip().octets().into_iter().zip([".", ".", ".", ":"]) {
                text.push_str(digits.format(octet));
                text.push_str(separator);
            }
            text.push_str(digits.format(address.port()));
        }
        Endpoint::Inet(_) => text.push_str(&end.to_string()),
        Endpoint::Path(path) => text.push_str(&harmless(path.as_bytes())),
        Endpoint::Unnamed => text.push_str("(unnamed)"),
    }
}

/// Both ends, the socket's own one first. The arrow leads from the side that connected to the side that listens.
pub fn ends(socket: &Socket, server_port: Option<u16>) -> String {
    if socket.is_listening() || socket.remote.port() == Some(0) {
        let mut text = String::new();
        write_end(&mut text, &socket.local);
        return text;
    }
    pair(&socket.local, &socket.remote, server_port)
}

/// Two ends of a connection, with the arrow from the side that connected to the side that listens.
pub fn pair(local: &Endpoint, remote: &Endpoint, server_port: Option<u16>) -> String {
    let arrow = match server_port {
        Some(port) if local.port() == Some(port) => "←",
        Some(port) if remote.port() == Some(port) => "→",
        _ => "–",
    };
    let mut text = String::new();
    write_end(&mut text, local);
    text.extend([" ", arrow, " "]);
    write_end(&mut text, remote);
    text
}

/// A span of time: `1.204 s`, `42.1 ms`, `17 µs`.
pub fn span(duration: Duration) -> String {
    match duration.as_micros() {
        micros @ ..1000 => format!("{micros} µs"),
        1000..1_000_000 => format!("{:.1} ms", duration.as_secs_f64() * 1e3),
        _ => format!("{:.3} s", duration.as_secs_f64()),
    }
}

/// A signal by its name.
pub fn signal(number: i32) -> String {
    Signal::try_from(number).map_or_else(|_| format!("signal {number}"), |signal| signal.to_string())
}

/// The processes that hold it: `lab3-server[812] fd 4, lab3-server[815] fd 4`.
///
/// Nobody may be the truth (in the accept queue, or closed already), or all that this user may know.
pub fn owners(socket: &Socket) -> String {
    const SHOWN: usize = 4;
    if socket.owners.is_empty() {
        return match socket.state {
            _ if socket.inode != 0 => "a process that you may not look into".into(),
            _ if socket.waits_for_accept() => "no process: not accepted yet".into(),
            _ => "no process".into(),
        };
    }
    let named = |owner: &Owner| format!("{}[{}] fd {}", harmless(owner.name.as_bytes()), owner.pid, owner.fd);
    let mut names: Vec<String> = socket.owners.iter().take(SHOWN).map(named).collect();
    if socket.owners.len() > SHOWN {
        names.push(format!("and {} more", socket.owners.len() - SHOWN));
    }
    names.join(", ")
}

/// Its queues, where there is something to say: `accept queue 1/128`, `recv-q 6`.
pub fn queues(socket: &Socket) -> Option<String> {
    if socket.is_listening() {
        return Some(format!("accept queue {}/{}", socket.receive_queue, socket.send_queue));
    }
    match (socket.receive_queue, socket.send_queue) {
        (0, 0) => None,
        (received, 0) => Some(format!("recv-q {received}")),
        (0, sent) => Some(format!("send-q {sent}")),
        (received, sent) => Some(format!("recv-q {received}, send-q {sent}")),
    }
}

/// The timer that runs: `gone in 59 s`, `sent again 2 times`.
pub fn timer(socket: &Socket) -> Option<String> {
    let timer = socket.timer?;
    match (timer.kind, socket.state) {
        (TimerKind::TimeWait, _) => Some(format!("gone in {} s", timer.left_ms.div_ceil(1000))),
        (TimerKind::Retransmit, _) if timer.expirations > 0 => Some(format!("sent again {} times", timer.expirations)),
        (TimerKind::ZeroWindowProbe, _) => {
            Some(format!("the peer's window is closed, asked {} times", timer.expirations))
        }
        _ => None,
    }
}

/// The name of a socket's state; datagram sockets have only two, which `ss` calls UNCONN and ESTAB.
pub fn state(socket: &Socket) -> &'static str {
    match (socket.protocol, socket.state) {
        (Protocol::UnixStream | Protocol::UnixDatagram | Protocol::UnixSeqpacket, State::Closed) => "UNCONNECTED",
        (Protocol::Udp, State::Closed) => "BOUND",
        (_, state) => state.name(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_written_as_the_standard_library_writes_it() {
        for address in ["127.0.0.1:7001", "255.255.255.255:65535", "[::1]:7002", "[::ffff:10.0.0.1]:1"] {
            let mut text = String::new();
            write_end(&mut text, &Endpoint::Inet(address.parse().unwrap()));
            assert_eq!(text, address);
        }
        let mut text = String::new();
        write_end(&mut text, &Endpoint::Inet("0.0.0.0:0".parse().unwrap()));
        assert_eq!(text, "*");
    }
}
