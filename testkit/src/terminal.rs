//! A terminal with a shell in it, as a person has it: typed lines, Ctrl-C, and what appears.
//!
//! It is a real pseudo terminal (pty(7)) of 24 lines, with a session and job control of its own. Typed
//! text is not echoed, so that whatever appears comes from a program.

mod screen;
mod session;

use std::env;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::fcntl::OFlag;
use nix::pty::{Winsize, grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};
use nix::unistd::{Pid, setsid, tcgetpgrp};

use screen::{MARK, NAME, Pattern, Prompt, Screen};

/// How long the shell itself may take to be at its prompt.
const SHELL_LIMIT: Duration = Duration::from_secs(20);
/// How long it may take to show it once more, and how often it is asked to.
const PROMPT_LIMIT: Duration = Duration::from_millis(500);
const TRIES: usize = 40;
/// How long Ctrl-C has to end what runs, before all is killed.
const FAREWELL: Duration = Duration::from_secs(2);
/// How long text may still come after its command has ended.
const GRACE: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(2);
/// Names the terminal in the environment of all that is started from it.
const MARK_VARIABLE: &str = "SOCKLAB_TERMINAL";

/// How a [`Terminal`] is to be.
#[derive(Clone, Debug)]
pub struct TerminalOptions {
    /// Where its shell starts.
    pub directory: PathBuf,
    /// Variables beside those of this process; see [`as_if_typed`] for those that are changed in any case.
    pub environment: Vec<(String, String)>,
    /// How wide it is: 80 columns unless said otherwise.
    pub columns: u16,
}

impl TerminalOptions {
    /// A terminal in `directory`, with no more variables.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into(), environment: Vec::new(), columns: 80 }
    }
}

/// A key pressed together with Ctrl.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ctrl {
    /// Interrupts what runs in the foreground (SIGINT).
    C,
    /// The end of the input, at the beginning of a line.
    D,
    /// Stops what runs in the foreground (SIGTSTP).
    Z,
    /// Ends what runs in the foreground (SIGQUIT).
    Backslash,
}

impl Ctrl {
    /// The byte that the key sends.
    pub fn byte(self) -> u8 {
        match self {
            Self::C => 0x03,
            Self::D => 0x04,
            Self::Z => 0x1a,
            Self::Backslash => 0x1c,
        }
    }
}

impl fmt::Display for Ctrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::C => "^C",
            Self::D => "^D",
            Self::Z => "^Z",
            Self::Backslash => "^\\",
        })
    }
}

/// A terminal with a shell in it. Dropping it ends everything that was started from it.
pub struct Terminal {
    shell: Child,
    mark: String,
    master: File,
    shared: Arc<Shared>,
    /// Up to where the text has been matched.
    matched: usize,
    /// The number in the shell's prompt: how many commands have been run.
    number: u32,
    /// A command was left running in the background: text may appear while the shell is at its prompt.
    background: bool,
    ended: bool,
}

#[derive(Default)]
struct Shared {
    screen: Mutex<Screen>,
    changed: Condvar,
}

impl Terminal {
    /// Opens a terminal and waits until its shell is at the prompt.
    ///
    /// # Errors
    ///
    /// The call that failed, or that the shell did not come to its prompt.
    pub fn new(options: &TerminalOptions) -> Result<Self, String> {
        session::proc_is_ours()?;
        let mark = format!("{MARK_VARIABLE}={}", unique_name());
        let (master, slave) = open_pair(options.columns)?;
        let shell = start_shell(options, &mark, slave)?;
        let reader = master.try_clone().map_err(|error| format!("dup: {error}"))?;
        let shared = Arc::new(Shared::default());
        let mut terminal = Self {
            shell,
            mark,
            master,
            shared: Arc::clone(&shared),
            matched: 0,
            number: 0,
            background: false,
            ended: false,
        };
        thread::spawn(move || shared.read_from(reader));

        // Where sh is bash, its line editor would echo.
        terminal.type_line("set +o emacs 2>/dev/null")?;
        terminal.type_line(&prompt_line(0, 0))?;
        let first = terminal.await_end(SHELL_LIMIT).map(drop);
        first.map_err(|error| format!("the shell: {error}"))?;
        terminal.shared.screen().start();
        Ok(terminal)
    }

    /// Waits until the shell is at its prompt, and types `command`.
    ///
    /// What appeared before is not searched any more by [`expect`](Self::expect).
    ///
    /// # Errors
    ///
    /// That the command before had not ended within `limit`.
    pub fn run(&mut self, command: &str, limit: Duration) -> Result<(), String> {
        let status = self.await_end(limit)?;
        self.matched = self.prompt().map_or(self.matched, |prompt| prompt.position);
        self.number_the_prompt(status)?;
        self.background |= leaves_something_running(command);
        self.type_line(command)
    }

    /// Types a line into whatever reads from the terminal now.
    ///
    /// # Errors
    ///
    /// The errno of write(2).
    pub fn type_line(&mut self, line: &str) -> Result<(), String> {
        self.type_bytes(format!("{line}\n").as_bytes())
    }

    /// Presses the keys of `text`, without the return key, for whatever reads key by key.
    ///
    /// # Errors
    ///
    /// The errno of write(2).
    pub fn press(&mut self, text: &str) -> Result<(), String> {
        self.type_bytes(text.as_bytes())
    }

    /// Presses a key.
    ///
    /// One that sends a signal is pressed when the command has the terminal. Before that the shell would get it.
    ///
    /// # Errors
    ///
    /// The errno of write(2).
    pub fn key(&mut self, key: Ctrl) -> Result<(), String> {
        if key != Ctrl::D {
            self.await_foreground();
        }
        self.type_bytes(&[key.byte()])
    }

    /// Waits until `text` has appeared after the text that was matched last.
    ///
    /// It is searched within single lines; `…` in it stands for any characters, a space for any run of blanks.
    ///
    /// # Errors
    ///
    /// What was expected and everything seen on this terminal: after `limit`, or as soon as the command has ended.
    pub fn expect(&mut self, text: &str, limit: Duration) -> Result<(), String> {
        let pattern = Pattern::new(text);
        let (matched, number, background) = (self.matched, self.number, self.background);
        let found = |screen: &Screen| pattern.find(&screen.text, matched);
        let over =
            |screen: &Screen| screen.closed || (!background && number > 0 && nth_prompt(screen, number, 1).is_some());

        let deadline = Instant::now() + limit;
        let mut end = self.shared.wait(limit, |screen| {
            let end = found(screen);
            (end.is_some() || over(screen)).then_some(end)
        });
        if end == Some(None) {
            let left = deadline.saturating_duration_since(Instant::now());
            end = self.shared.wait(left.min(GRACE), found).map(Some);
        }
        if let Some(Some(end)) = end {
            self.matched = end;
            return Ok(());
        }
        let why = match self.status() {
            Some(status) => format!("but the command had ended, with status {status}"),
            None => format!("within {} s", limit.as_secs_f32()),
        };
        Err(self.describe(&format!("expected {why}: {text}")))
    }

    /// How the command that was run last has ended; `None` as long as it runs.
    pub fn status(&self) -> Option<i32> {
        self.prompt().map(|prompt| prompt.status)
    }

    /// Waits until the command that was run last has ended, and returns how.
    ///
    /// # Errors
    ///
    /// That it had not ended within `limit`, and everything seen on this terminal.
    pub fn await_end(&self, limit: Duration) -> Result<i32, String> {
        let (number, nth) = (self.number, self.prompts_at_end());
        let ended = self.shared.wait(limit, |screen| match nth_prompt(screen, number, nth) {
            Some(prompt) => Some(Some(prompt.status)),
            None if screen.closed => Some(None),
            None => None,
        });
        match ended {
            Some(Some(status)) => Ok(status),
            Some(None) => Err(self.describe("the shell itself has ended")),
            None => Err(self.describe(&format!("the command had not ended within {} s", limit.as_secs_f32()))),
        }
    }

    /// Everything that has appeared so far.
    pub fn seen(&self) -> String {
        String::from_utf8_lossy(&self.shared.screen().text).into_owned()
    }

    /// The session id of all that runs in this terminal, which is its shell's pid.
    pub fn session(&self) -> Pid {
        Pid::from_raw(self.shell.id().cast_signed())
    }

    /// Ctrl-C for what still runs; then all that was started from here is killed.
    ///
    /// # Errors
    ///
    /// What could not be killed.
    pub fn end(mut self) -> Result<(), String> {
        if self.status().is_none() && self.key(Ctrl::C).is_ok() {
            // Whether it heeds the Ctrl-C or not, nothing is left of it after the next line.
            let _ = self.await_end(FAREWELL);
        }
        self.kill_all()
    }

    /// Waits, within bounds, until what runs is not the shell itself. A command within the shell, as `wait`, stays there.
    fn await_foreground(&self) {
        let deadline = Instant::now() + GRACE;
        while self.status().is_none() && tcgetpgrp(&self.master) == Ok(self.session()) && Instant::now() < deadline {
            // The kernel tells nobody when this changes: look again, soon.
            let _: Option<()> = self.shared.wait(POLL, |_| None);
        }
    }

    fn kill_all(&mut self) -> Result<(), String> {
        if std::mem::replace(&mut self.ended, true) {
            return Ok(());
        }
        let killed = session::kill_all(self.session(), &self.mark);
        // Killed in any case, so that the wait is short.
        self.shell.kill().and_then(|()| self.shell.wait()).map_err(|error| format!("wait for the shell: {error}"))?;
        killed
    }

    /// Gives each command a prompt of its own: one that comes late, from a Ctrl-C at the prompt, is not its end.
    ///
    /// Such a Ctrl-C may also swallow the line that is typed after it. Hence more than one try.
    fn number_the_prompt(&mut self, status: i32) -> Result<(), String> {
        for _ in 0..TRIES {
            self.number += 1;
            self.type_line(&prompt_line(self.number, status))?;
            let number = self.number;
            if self.shared.wait(PROMPT_LIMIT, |screen| nth_prompt(screen, number, 0)).is_some() {
                return Ok(());
            }
        }
        Err(self.describe("the shell did not come back to its prompt"))
    }

    /// The prompt that came after the last command.
    fn prompt(&self) -> Option<Prompt> {
        nth_prompt(&self.shared.screen(), self.number, self.prompts_at_end())
    }

    /// A command's number is in the prompt before it already; only the very first prompt has no command before it.
    fn prompts_at_end(&self) -> usize {
        usize::from(self.number > 0)
    }

    fn type_bytes(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.master.write_all(bytes).map_err(|error| format!("write to the terminal: {error}"))
    }

    fn describe(&self, what: &str) -> String {
        format!("{what}\nseen:\n{}", indented(&self.seen()))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Err(error) = self.kill_all() {
            eprintln!("warning: a terminal was not ended: {error}");
        }
    }
}

impl Shared {
    fn screen(&self) -> MutexGuard<'_, Screen> {
        // A screen is whole after every byte: a panic elsewhere does not spoil it.
        self.screen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks again after every change, until `look` has an answer or the time is up.
    fn wait<T>(&self, limit: Duration, mut look: impl FnMut(&Screen) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + limit;
        let mut screen = self.screen();
        loop {
            if let Some(answer) = look(&screen) {
                return Some(answer);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            screen = self.changed.wait_timeout(screen, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn read_from(&self, mut master: File) {
        let mut buffer = [0; 4096];
        loop {
            match master.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // EIO: nobody has the other end open any more.
                Ok(0) | Err(_) => break,
                Ok(length) => self.screen().show(&buffer[..length]),
            }
            self.changed.notify_all();
        }
        self.screen().closed = true;
        self.changed.notify_all();
    }
}

/// Makes `command` independent of the `make` and the `cargo` that this test runs under, and of the person's settings.
///
/// Their variables are removed, `NO_COLOR`, `TERM=dumb` and `LC_ALL=C.UTF-8` are set.
pub fn as_if_typed(command: &mut Command) -> &mut Command {
    const NAMES: [&str; 11] = [
        "MAKEFLAGS",
        "MFLAGS",
        "GNUMAKEFLAGS",
        "MAKELEVEL",
        "MAKE_TERMOUT",
        "MAKE_TERMERR",
        "CARGO",
        "LANGUAGE",
        "ENV",
        "PS1",
        "MAIL",
    ];
    const PREFIXES: [&str; 4] = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_EXE_", "CLICOLOR"];
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if NAMES.contains(&&*text) || PREFIXES.iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
    command.env("NO_COLOR", "1").env("TERM", "dumb").env("LC_ALL", "C.UTF-8")
}

fn open_pair(columns: u16) -> Result<(File, File), String> {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    // Not openpty(3): its descriptors would be open, for a moment, in shells that other threads start.
    let master = posix_openpt(flags).map_err(|errno| format!("posix_openpt: {errno}"))?;
    grantpt(&master).map_err(|errno| format!("grantpt: {errno}"))?;
    unlockpt(&master).map_err(|errno| format!("unlockpt: {errno}"))?;
    let path = ptsname_r(&master).map_err(|errno| format!("ptsname: {errno}"))?;
    let slave = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOCTTY).open(&path);
    let slave = slave.map_err(|error| format!("open {path}: {error}"))?;

    let mut settings = tcgetattr(&slave).map_err(|errno| format!("tcgetattr: {errno}"))?;
    settings.local_flags.remove(LocalFlags::ECHO);
    // Otherwise the kernel throws away, at Ctrl-C, what was printed and not yet read by us.
    settings.local_flags.insert(LocalFlags::NOFLSH);
    tcsetattr(&slave, SetArg::TCSANOW, &settings).map_err(|errno| format!("tcsetattr: {errno}"))?;
    let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCSWINSZ reads one winsize, which lives through the call.
    if unsafe { libc::ioctl(slave.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) } < 0 {
        return Err(format!("ioctl TIOCSWINSZ: {}", io::Error::last_os_error()));
    }
    Ok((File::from(OwnedFd::from(master)), slave))
}

fn start_shell(options: &TerminalOptions, mark: &str, slave: File) -> Result<Child, String> {
    let copy = || slave.try_clone().map_err(|error| format!("dup: {error}"));
    let (name, value) = mark.split_once('=').unwrap_or((mark, ""));
    let mut shell = Command::new("/bin/sh");
    shell.arg("-i").current_dir(&options.directory).stdin(copy()?).stdout(copy()?).stderr(slave);
    as_if_typed(&mut shell).envs(options.environment.iter().cloned()).env(name, value);
    // SAFETY: between fork and exec `own_the_terminal` makes only system calls (setsid, ioctl, sigaction); it neither
    // allocates nor takes a lock.
    unsafe { shell.pre_exec(own_the_terminal) };
    shell.spawn().map_err(|error| format!("/bin/sh -i in {}: {error}", options.directory.display()))
}

/// In the child: a session of its own, whose controlling terminal is its standard input, and no signal ignored.
fn own_the_terminal() -> io::Result<()> {
    setsid()?;
    // SAFETY: with TIOCSCTTY the argument is a number; no pointer is involved.
    if unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // A program started with `&` or `nohup` has some ignored, and a shell never gives those back to its children.
    for number in [
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGHUP,
        Signal::SIGTERM,
        Signal::SIGTSTP,
        Signal::SIGTTIN,
        Signal::SIGTTOU,
    ] {
        // SAFETY: the default action; no handler of ours is installed.
        unsafe { signal(number, SigHandler::SigDfl) }?;
    }
    Ok(())
}

/// Makes the shell's prompt carry `number` and the last status, which stays what it was: a typed `echo $?` shows it.
fn prompt_line(number: u32, status: i32) -> String {
    let mark = char::from(MARK);
    format!("PS1='{mark}{NAME} {number} '\"\\$?\"'{mark}' PS2=; (exit {status})")
}

fn nth_prompt(screen: &Screen, number: u32, nth: usize) -> Option<Prompt> {
    screen.prompts.iter().filter(|prompt| prompt.number == number).nth(nth).copied()
}

fn leaves_something_running(command: &str) -> bool {
    let command = command.trim_end();
    (command.ends_with('&') && !command.ends_with("&&")) || command.contains(" & ")
}

fn unique_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos());
    format!("{}-{count}-{now}", std::process::id())
}

/// `text` as a part of a message: each line set off by four spaces.
pub(crate) fn indented(text: &str) -> String {
    let mut lines = String::new();
    for line in text.lines() {
        lines.push_str("    ");
        lines.push_str(line);
        lines.push('\n');
    }
    lines
}

#[cfg(test)]
mod tests;
