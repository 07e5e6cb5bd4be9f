use std::io::Error;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use kit::{During, Failure, printable, wait_until_connected, write_all};
use nix::errno::Errno;
use nix::sys::socket::{
    self, AddressFamily, Shutdown, SockFlag, SockType, SockaddrStorage, setsockopt, shutdown, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use nix::unistd::read;

use crate::frames::{Frames, TooLong};
use crate::messages::{Request, Response, to_line};

const BUFFER_SIZE: usize = 64 * 1024;
/// The longest answer that is waited for. An answer may be longer than its request: `1e15` comes back in 18 characters.
const LONGEST_ANSWER: usize = 1024 * 1024;

/// A connection to a server of this lab, on which requests are sent and answers received.
///
/// It blocks: while it waits for an answer, it does nothing else.
pub struct Client {
    connection: OwnedFd,
    server: SocketAddr,
    frames: Frames,
    buffer: Vec<u8>,
}

impl Client {
    /// Connects to `address`; with a `timeout`, for no longer than that.
    pub fn connect(address: SocketAddr, timeout: Option<Duration>) -> Result<Self, Failure> {
        let connection = connect(address, timeout)?;
        let (frames, buffer) = (Frames::new(LONGEST_ANSWER), vec![0; BUFFER_SIZE]);
        Ok(Self { connection, server: address, frames, buffer })
    }

    /// Sends a request and waits for its answer.
    pub fn request(&mut self, request: &Request) -> Result<Response, Failure> {
        self.send(&to_line(request).during("serialize", "a request")?)?;
        self.receive()
    }

    /// Sends bytes as they are: a part of a message, or many.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        write_all(self.connection.as_fd(), bytes).during("write", self.server)
    }

    /// Waits for the next answer, and leaves what came behind it for the next call.
    pub fn receive(&mut self) -> Result<Response, Failure> {
        loop {
            match self.frames.next_frame() {
                Some(Ok(frame)) => {
                    return serde_json::from_slice(frame).map_err(no_answer).during("read", self.server);
                }
                Some(Err(TooLong)) => return Err(Failure::new("read", self.server, too_long())),
                None => {}
            }
            // No frame is whole: more bytes are needed, however many come at once.
            match read(&self.connection, &mut self.buffer) {
                Ok(0) => return Err(Failure::new("read", self.server, early_end())),
                Ok(length) => self.frames.put(&self.buffer[..length]),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(Failure::new("read", self.server, errno)),
            }
        }
    }

    /// Says that no more requests will come, and waits until the server has closed its side too.
    pub fn finish(mut self) -> Result<(), Failure> {
        shutdown(self.connection.as_raw_fd(), Shutdown::Write).during("shutdown", self.server)?;
        loop {
            match read(&self.connection, &mut self.buffer) {
                Ok(0) => return Ok(()),
                // Nobody has asked for it.
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(Failure::new("read", self.server, errno)),
            }
        }
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }
}

/// socket(2) and connect(2), line by line as in labs 2 and 3.
fn connect(address: SocketAddr, timeout: Option<Duration>) -> Result<OwnedFd, Failure> {
    let domain = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let connection =
        socket::socket(domain, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).during("socket", address)?;

    let limit = TimeVal::seconds(timeout.map_or(0, |limit| limit.as_secs().cast_signed()));
    setsockopt(&connection, sockopt::SendTimeout, &limit).during("setsockopt SO_SNDTIMEO", address)?;
    match socket::connect(connection.as_raw_fd(), &SockaddrStorage::from(address)) {
        Ok(()) => {}
        // Interrupted, but the SYN is out: the kernel goes on connecting.
        Err(Errno::EINTR) => wait_until_connected(connection.as_fd(), timeout).during("connect", address)?,
        Err(errno) => return Err(Failure::new("connect", address, errno)),
    }
    setsockopt(&connection, sockopt::SendTimeout, &TimeVal::seconds(0)).during("setsockopt SO_SNDTIMEO", address)?;
    Ok(connection)
}

fn early_end() -> Error {
    Error::other("the server closed the connection while an answer was due")
}

/// What serde says may quote the peer, and is to be shown.
fn no_answer(error: serde_json::Error) -> Error {
    Error::other(format!("not an answer: {}", printable(error.to_string().as_bytes())))
}

fn too_long() -> Error {
    Error::other(format!("an answer of more than {LONGEST_ANSWER} bytes"))
}
