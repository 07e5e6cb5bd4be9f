//! Terminals: how wide this one is, its keys one by one, and one of our own for a program that is to print as if a person
//! were watching.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use nix::libc::{TIOCGWINSZ, ioctl, winsize};
use nix::pty::openpty;
use nix::sys::termios::{LocalFlags, OutputFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr};
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

/// A terminal that gives every key as it is pressed, and shows none. Ctrl-C and Ctrl-Z go on being signals, and what is
/// printed looks as always. When this is dropped, the terminal is as it was before.
pub struct Keys<'a> {
    terminal: BorrowedFd<'a>,
    before: Termios,
}

impl<'a> Keys<'a> {
    /// Begins. An error where `terminal` is none.
    pub fn one_by_one(terminal: BorrowedFd<'a>) -> io::Result<Self> {
        let keys = Self { before: tcgetattr(terminal)?, terminal };
        keys.resume()?;
        Ok(keys)
    }

    /// The terminal as it was before, for somebody else to read from, or for the shell.
    pub fn pause(&self) -> io::Result<()> {
        self.set(&self.before)
    }

    /// After a pause: key by key again. What has been typed meanwhile, and was not read, is kept.
    pub fn resume(&self) -> io::Result<()> {
        let mut settings = self.before.clone();
        settings.local_flags.remove(LocalFlags::ICANON | LocalFlags::ECHO);
        settings.control_chars[SpecialCharacterIndices::VMIN as usize] = 1;
        settings.control_chars[SpecialCharacterIndices::VTIME as usize] = 0;
        self.set(&settings)
    }

    fn set(&self, settings: &Termios) -> io::Result<()> {
        // Not TCSAFLUSH: that would throw away what was typed.
        Ok(tcsetattr(self.terminal, SetArg::TCSADRAIN, settings)?)
    }
}

impl Drop for Keys<'_> {
    fn drop(&mut self) {
        // Where the terminal is gone, there is nothing to be set.
        let _ = self.pause();
    }
}
