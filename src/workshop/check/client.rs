//! The other side of a server: a TCP client that never waits by itself.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrStorage, setsockopt, sockopt};

use crate::event::canonical;

/// The most that a client keeps of what it has received.
const KEPT: usize = 16 * 1024 * 1024;

/// A client of the server. Dropping it closes its connection.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    /// Its own end.
    pub local: SocketAddr,
    /// The server's end.
    pub remote: SocketAddr,
    /// What it has received, and what nobody has [taken](Self::take) yet.
    pub received: Vec<u8>,
    /// How the other side has ended the connection, if it has.
    pub ended: Option<EndedBy>,
}

/// How the other side has ended a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EndedBy {
    /// Its FIN came: read() returns 0.
    Fin,
    /// This errno, ECONNRESET most often.
    Errno(Errno),
}

/// A connection that the kernel is making.
pub struct Connecting(TcpStream);

impl Connecting {
    /// Sends the SYN.
    pub fn to(address: SocketAddr) -> io::Result<Self> {
        let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket: OwnedFd = socket::socket(family, SockType::Stream, flags, None)?;
        match socket::connect(socket.as_raw_fd(), &SockaddrStorage::from(address)) {
            Ok(()) | Err(Errno::EINPROGRESS) => Ok(Self(socket.into())),
            Err(errno) => Err(errno.into()),
        }
    }

    /// The client, once the connection is established.
    pub fn look(&self) -> io::Result<Option<Client>> {
        if let Some(error) = self.0.take_error()? {
            return Err(error);
        }
        let remote = match self.0.peer_addr() {
            Ok(remote) => canonical(remote),
            Err(error) if error.kind() == ErrorKind::NotConnected => return Ok(None),
            Err(error) => return Err(error),
        };
        let local = canonical(self.0.local_addr()?);
        Ok(Some(Client { stream: self.0.try_clone()?, local, remote, received: Vec::new(), ended: None }))
    }
}

impl Client {
    /// Takes in what has arrived, and the end if that has.
    pub fn listen(&mut self) {
        let mut buffer = [0; 16 * 1024];
        while self.ended.is_none() && self.received.len() < KEPT {
            match self.stream.read(&mut buffer) {
                Ok(0) => self.ended = Some(EndedBy::Fin),
                Ok(length) => self.received.extend(&buffer[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => self.ended = Some(EndedBy::Errno(errno_of(&error))),
            }
        }
    }

    /// Writes as much as the kernel takes at this moment, and says how much that was.
    pub fn write(&mut self, bytes: &[u8]) -> Result<usize, Errno> {
        let mut written = 0;
        while written < bytes.len() {
            match self.stream.write(&bytes[written..]) {
                Ok(length) => written += length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(errno_of(&error)),
            }
        }
        Ok(written)
    }

    /// Takes the first bytes of what was received; fewer where there are no more.
    pub fn take(&mut self, count: usize) -> Vec<u8> {
        self.received.drain(..count.min(self.received.len())).collect()
    }

    /// Takes the first line of what was received, without its end, once it is there as a whole.
    pub fn take_line(&mut self) -> Option<Vec<u8>> {
        let end = self.received.iter().position(|&byte| byte == b'\n')?;
        let mut line = self.take(end + 1);
        line.pop();
        Some(line)
    }

    /// Says that it will write no more: its FIN goes out, and it can still read.
    pub fn shutdown_write(&self) {
        // ENOTCONN: the other side has reset the connection; that is told by the next read.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Closes its connection in good order. Bytes that it has not read would make that a reset.
    pub fn close(mut self) {
        self.listen();
    }

    /// Gives its connection up with a reset (RST): close() with SO_LINGER and no time to linger, socket(7).
    pub fn reset(self) {
        let at_once = libc::linger { l_onoff: 1, l_linger: 0 };
        let _ = setsockopt(&self.stream, sockopt::Linger, &at_once);
    }
}

pub fn errno_of(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::UnknownErrno, Errno::from_raw)
}
