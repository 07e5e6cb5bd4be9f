//! What a descriptor of another process stands for.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{SockType, SockaddrStorage, UnixAddr, getpeername, getsockname, getsockopt, sockopt};

use crate::event::{Endpoint, Named, Protocol};

/// What it stands for at this moment. The process must be ours to trace; EBADF where it has no such descriptor.
///
/// A socket is asked itself, through a copy of the descriptor (pidfd_getfd(2)) that is closed again at once. Where that is
/// not allowed, or it is a socket of another kind, it has its name in `/proc`: `socket:[812]`.
pub fn look_at(pid: u32, fd: i32) -> io::Result<Named> {
    let name = fs::read_link(format!("/proc/{pid}/fd/{fd}"))?.to_string_lossy().into_owned();
    if !name.starts_with("socket:[") {
        return Ok(Named::Other(name));
    }
    let named = copy_of(pid, fd).ok().and_then(|socket| ask(socket.as_fd()));
    Ok(named.unwrap_or(Named::Other(name)))
}

/// A copy of another process's descriptor (pidfd_getfd(2)): what it stands for has one owner more as long as the copy lives.
///
/// The process must be ours to trace.
pub fn copy_of(pid: u32, fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open takes two numbers and makes a descriptor, or fails.
    let process = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: the kernel has just made this descriptor, and nobody else knows it.
    let process = unsafe { OwnedFd::from_raw_fd(process as RawFd) };
    // SAFETY: pidfd_getfd takes three numbers, of which the first is an open pidfd, and makes a descriptor, or fails.
    let copy = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), fd, 0) })?;
    // SAFETY: as above.
    Ok(unsafe { OwnedFd::from_raw_fd(copy as RawFd) })
}

/// Asks a socket for its protocol and its ends. `None` for one that is neither TCP nor UDP nor Unix.
fn ask(socket: BorrowedFd) -> Option<Named> {
    let address: SockaddrStorage = getsockname(socket.as_raw_fd()).ok()?;
    let kind = getsockopt(&socket, sockopt::SockType).ok()?;
    let is_unix = address.as_unix_addr().is_some();
    let is_inet = address.as_sockaddr_in().is_some() || address.as_sockaddr_in6().is_some();
    let protocol = match kind {
        SockType::Stream if is_unix => Protocol::UnixStream,
        SockType::Datagram if is_unix => Protocol::UnixDatagram,
        SockType::SeqPacket if is_unix => Protocol::UnixSeqpacket,
        SockType::Stream if is_inet => Protocol::Tcp,
        SockType::Datagram if is_inet => Protocol::Udp,
        _ => return None,
    };
    let local = endpoint(&address);
    if getsockopt(&socket, sockopt::AcceptConn).unwrap_or(false) {
        return Some(Named::Listening(local));
    }
    let is_bound = match &local {
        Endpoint::Inet(address) => address.port() != 0,
        Endpoint::Path(_) => true,
        Endpoint::Unnamed => false,
    };
    Some(match getpeername::<SockaddrStorage>(socket.as_raw_fd()) {
        Ok(peer) => Named::Connected { protocol, local, remote: endpoint(&peer), accepted: false },
        Err(_) if is_bound => Named::Bound(protocol, local),
        Err(_) => Named::Unbound(protocol),
    })
}

fn endpoint(address: &SockaddrStorage) -> Endpoint {
    if let Some(v4) = address.as_sockaddr_in() {
        return Endpoint::Inet(std::net::SocketAddrV4::from(*v4).into());
    }
    if let Some(v6) = address.as_sockaddr_in6() {
        return Endpoint::Inet(std::net::SocketAddrV6::from(*v6).into());
    }
    address.as_unix_addr().map_or(Endpoint::Unnamed, path)
}

fn path(address: &UnixAddr) -> Endpoint {
    match (address.path(), address.as_abstract()) {
        (Some(path), _) => Endpoint::Path(path.to_string_lossy().into_owned()),
        (None, Some(name)) => Endpoint::Path(format!("@{}", String::from_utf8_lossy(name))),
        (None, None) => Endpoint::Unnamed,
    }
}
