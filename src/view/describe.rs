//! A socket in words: its ends, its queues, its owners, its timer.

use crate::event::{Owner, Protocol, Socket, State, TimerKind};
use crate::view::paint::harmless;

/// Both ends, the socket's own one first. The arrow leads from the side that connected to the side that listens.
pub fn ends(socket: &Socket, server_port: Option<u16>) -> String {
    let local = harmless(socket.local.to_string().as_bytes());
    if socket.is_listening() || socket.remote.port() == Some(0) {
        return local;
    }
    let arrow = match server_port {
        Some(port) if socket.local.port() == Some(port) => "←",
        Some(port) if socket.remote.port() == Some(port) => "→",
        _ => "–",
    };
    format!("{local} {arrow} {}", harmless(socket.remote.to_string().as_bytes()))
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
