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

/// Whether nobody is there any more to read what is written to `fd`: a pipe whose reader has gone, a terminal that has hung
/// up. A program that has nothing to write would not notice.
pub fn has_lost_its_reader(fd: BorrowedFd) -> bool {
    let mut polled = [PollFd::new(fd, PollFlags::empty())];
    // POLLERR is reported without being asked for.
    poll(&mut polled, PollTimeout::ZERO).is_ok()
        && polled[0].revents().is_some_and(|events| events.intersects(PollFlags::POLLERR | PollFlags::POLLNVAL))
}
