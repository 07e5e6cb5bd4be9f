//! A netlink socket to the kernel's socket tables: sock_diag(7). Needs no privilege.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

/// The kernel fills at most this much at once in a dump, when it sees that the reader has room for it.
const DATAGRAM: usize = 64 * 1024;

/// An open NETLINK_SOCK_DIAG socket.
pub struct SockDiag {
    fd: OwnedFd,
    datagram: Vec<u8>,
}

impl SockDiag {
    /// Opens it. EPROTONOSUPPORT where the kernel was built without sock_diag.
    pub fn open() -> io::Result<Self> {
        let fd = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkSockDiag)?;
        // The kernel answers at once or not at all; nobody shall wait for ever.
        setsockopt(&fd, sockopt::ReceiveTimeout, &TimeVal::seconds(5))?;
        Ok(Self { fd, datagram: vec![0; DATAGRAM] })
    }

    /// Sends one request.
    pub fn send(&self, request: &[u8]) -> io::Result<()> {
        loop {
            match send(self.fd.as_raw_fd(), request, MsgFlags::empty()) {
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Waits for one datagram of the answer, for at most five seconds (EAGAIN).
    pub fn receive(&mut self) -> io::Result<&[u8]> {
        loop {
            match recv(self.fd.as_raw_fd(), &mut self.datagram, MsgFlags::empty()) {
                Ok(length) => return Ok(&self.datagram[..length]),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}
