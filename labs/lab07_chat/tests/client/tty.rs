//! A person's terminal: a pseudo terminal, what is typed into it, and the screen that would be seen.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::pty::{Winsize, openpty};
use nix::sys::signal::Signal;
use nix::sys::termios::{LocalFlags, tcgetattr};
use testkit::process::{PATIENCE, Process};

/// The client in a terminal.
pub struct Tty {
    pub process: Process,
    master: File,
    slave: File,
    seen: Arc<(Mutex<vt100::Parser>, Condvar)>,
}

impl Tty {
    pub fn start(command: &mut Command, columns: u16) -> Self {
        let pair = openpty(&winsize(columns), None).unwrap();
        let (master, slave) = (File::from(pair.master), File::from(pair.slave));
        // Another test's client must not inherit it: it would keep this one from seeing the end of its terminal.
        fcntl(&master, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).unwrap();
        fcntl(&slave, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).unwrap();
        let copy = || slave.try_clone().unwrap();
        command.env("TERM", "xterm").stdin(copy()).stdout(copy()).stderr(copy());
        let process = Process::start_as_is(command);
        let seen = Arc::new((Mutex::new(vt100::Parser::new(24, columns, 10_000)), Condvar::new()));
        let mut reader = master.try_clone().unwrap();
        let show = Arc::clone(&seen);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            loop {
                match reader.read(&mut buffer) {
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Ok(0) | Err(_) => break,
                    Ok(length) => {
                        show.0.lock().unwrap().process(&buffer[..length]);
                        show.1.notify_all();
                    }
                }
            }
        });
        Self { process, master, slave, seen }
    }

    pub fn type_bytes(&mut self, bytes: &[u8]) {
        self.master.write_all(bytes).unwrap();
    }

    pub fn type_text(&mut self, text: &str) {
        self.type_bytes(text.as_bytes());
    }

    /// The window gets another width.
    pub fn resize(&self, columns: u16) {
        self.seen.0.lock().unwrap().screen_mut().set_size(24, columns);
        let size = winsize(columns);
        // SAFETY: TIOCSWINSZ reads one winsize, which lives through the call.
        let done = unsafe { libc::ioctl(self.master.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
        assert_eq!(done, 0);
        // The kernel sends it to those whose controlling terminal this is; the client has none here.
        self.process.signal(Signal::SIGWINCH);
    }

    /// Waits until the screen's last rows, empty ones left out, are these and the cursor stands in this column.
    #[track_caller]
    pub fn wait_for_rows(&self, rows: &[&str], cursor: u16) {
        self.wait_for(&format!("{rows:?}, cursor in column {cursor}"), |screen| {
            let shown = rows_of(screen);
            shown.len() >= rows.len()
                && shown[shown.len() - rows.len()..] == *rows
                && screen.cursor_position().1 == cursor
        });
    }

    #[track_caller]
    pub fn wait_for_text(&self, text: &str) {
        self.wait_for(text, |screen| screen.contents().contains(text));
    }

    #[track_caller]
    pub fn wait_for(&self, what: &str, mut is_there: impl FnMut(&vt100::Screen) -> bool) {
        let begin = Instant::now();
        let mut seen = self.seen.0.lock().unwrap();
        while !is_there(seen.screen()) {
            let left = PATIENCE.saturating_sub(begin.elapsed());
            let position = seen.screen().cursor_position();
            assert!(!left.is_zero(), "{what} did not come; seen:\n{}\ncursor {position:?}", seen.screen().contents());
            seen = self.seen.1.wait_timeout(seen, left).unwrap().0;
        }
    }

    /// All rows that were ever shown, those that have scrolled out included.
    pub fn all_rows(&self) -> Vec<String> {
        let mut seen = self.seen.0.lock().unwrap();
        let screen = seen.screen_mut();
        screen.set_scrollback(usize::MAX);
        let above = screen.scrollback();
        let mut rows = Vec::new();
        for back in (1..=above).rev() {
            screen.set_scrollback(back);
            rows.extend(screen.rows(0, u16::MAX).next());
        }
        screen.set_scrollback(0);
        rows.extend(rows_of(screen));
        rows
    }

    /// Whether the terminal is as a shell needs it: the kernel echoes and edits, and Ctrl-C sends a signal.
    pub fn is_as_before(&self) -> bool {
        let needed = LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::ISIG;
        tcgetattr(&self.slave).unwrap().local_flags.contains(needed)
    }
}

fn winsize(columns: u16) -> Winsize {
    Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

fn rows_of(screen: &vt100::Screen) -> Vec<String> {
    let mut rows: Vec<_> = screen.rows(0, u16::MAX).map(|row| row.trim_end().to_string()).collect();
    // The row with the cursor counts, empty or not.
    let last = rows.iter().rposition(|row| !row.is_empty()).map_or(0, |last| last + 1);
    rows.truncate(last.max(usize::from(screen.cursor_position().0) + 1));
    rows
}
