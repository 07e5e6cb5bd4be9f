//! Waiting until one of several descriptors has something to read.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Waits for at most `limit` and says of each descriptor whether a read would not sleep: there are bytes, or an end.
pub fn wait(fds: &[BorrowedFd], limit: Duration) -> io::Result<Vec<bool>> {
    // Rounded up to whole milliseconds: rounded down, the last one would be waited for without rest.
    let timeout = PollTimeout::try_from(limit.as_micros().div_ceil(1000)).unwrap_or(PollTimeout::MAX);
    let mut polled: Vec<PollFd> = fds.iter().map(|&fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
    match poll(&mut polled, timeout) {
        Ok(_) => Ok(polled.iter().map(|fd| fd.any().unwrap_or(true)).collect()),
        Err(Errno::EINTR) => Ok(vec![false; fds.len()]),
        Err(errno) => Err(errno.into()),
    }
}
