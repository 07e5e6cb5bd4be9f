use std::os::fd::BorrowedFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{getsockopt, sockopt};
use nix::unistd::write;

/// Writes all of `bytes` to a blocking descriptor, however often write(2) has to be called for it.
///
/// Spelled out in lab 2: a short write leaves the rest to us, EINTR all of it.
pub fn write_all(fd: BorrowedFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match write(fd, bytes) {
            Ok(length) => bytes = &bytes[length..],
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Waits for the end of a connection attempt whose connect(2) a signal interrupted, and returns its outcome; ETIMEDOUT when
/// that takes longer than `limit`.
///
/// Spelled out in lab 2: the kernel goes on connecting by itself, and keeps the errno in SO_ERROR.
pub fn wait_until_connected(connection: BorrowedFd, limit: Option<Duration>) -> Result<(), Errno> {
    let timeout = limit.map_or(PollTimeout::NONE, |limit| PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX));
    loop {
        match poll(&mut [PollFd::new(connection, PollFlags::POLLOUT)], timeout) {
            Ok(0) => return Err(Errno::ETIMEDOUT),
            Ok(_) => break,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    match getsockopt(&connection, sockopt::SocketError)? {
        0 => Ok(()),
        errno => Err(Errno::from_raw(errno)),
    }
}

/// Raises the soft limit of open descriptors to the hard one, where that can be done.
///
/// Spelled out in lab 6's server: a connection is a descriptor, and the usual soft limit is 1,024.
pub fn raise_the_limit_of_descriptors() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}
