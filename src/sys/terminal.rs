//! Terminals: how wide this one is, and one of our own for a program that is to print as if a person were watching.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use nix::libc::{TIOCGWINSZ, ioctl, winsize};
use nix::pty::openpty;
use nix::sys::termios::{OutputFlags, SetArg, tcgetattr, tcsetattr};
use nix::unistd::{getpgrp, tcgetpgrp};

/// How many columns the terminal behind `fd` has; `None` where it is no terminal, or one that does not know.
pub fn columns(fd: BorrowedFd) -> Option<usize> {
    let mut size = winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ writes one winsize to the pointer, which points to one that lives through the call.
    let result = unsafe { ioctl(fd.as_raw_fd(), TIOCGWINSZ, &raw mut size) };
    (result == 0 && size.ws_col > 0).then_some(usize::from(size.ws_col))
}

/// Whether `fd` is our terminal and somebody else is in its foreground: reading from it would stop us.
pub fn is_in_background(fd: BorrowedFd) -> bool {
    tcgetpgrp(fd).is_ok_and(|foreground| foreground != getpgrp())
}

/// A new pseudo terminal: the side to read from, and the side to give to a program as its standard output.
///
/// C, Python and others keep their output back in a buffer when it goes to a pipe; to a terminal they print line by line.
pub fn pseudo_terminal() -> io::Result<(OwnedFd, OwnedFd)> {
    let pair = openpty(None, None)?;
    let mut settings = tcgetattr(&pair.slave)?;
    // What the program prints comes out as it is: no carriage return is added to a newline.
    settings.output_flags.remove(OutputFlags::OPOST);
    tcsetattr(&pair.slave, SetArg::TCSANOW, &settings)?;
    for fd in [&pair.master, &pair.slave] {
        nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC))?;
    }
    Ok((pair.master, pair.slave))
}
