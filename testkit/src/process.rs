//! Real programs: started, watched, spoken to, and never left behind.

use std::fs::File;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{env, fs, io, thread};

use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::Pid;

/// How long anything that a test waits for may take. Generous: it only ends a test that has failed already.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The workspace's program `name`, as the same `cargo test` has built it: next to the directory of the test executable.
///
/// # Panics
///
/// Where it is not there.
pub fn binary(name: &str) -> PathBuf {
    let test = env::current_exe().expect("the test executable has a path");
    let directory = test.parent().expect("the test executable is in a directory");
    // target/debug/deps/echo-0123456789abcdef for a test, target/debug/NAME for a program.
    let directory = if directory.ends_with("deps") { directory.parent().unwrap_or(directory) } else { directory };
    let path = directory.join(name);
    assert!(path.is_file(), "{} is not there: build it first, with: cargo build --workspace", path.display());
    path
}

/// A directory of its own below the system's temporary one, that every user may enter; removed on drop.
pub struct Directory(PathBuf);

impl Directory {
    /// Makes a new one.
    ///
    /// # Panics
    ///
    /// Where that is not possible.
    #[expect(clippy::new_without_default, reason = "making a directory is no default")]
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("socklab-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = env::temp_dir().join(name);
        fs::create_dir(&path).unwrap_or_else(|error| panic!("mkdir {}: {error}", path.display()));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("the directory is ours");
        Self(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A copy in here of the workspace's program `name`, for users who may not enter the target directory.
    pub fn copy_of(&self, name: &str) -> PathBuf {
        let copy = self.0.join(name);
        // Not fs::copy: a program that another thread starts just then would inherit the descriptor that is written to,
        // and as long as it has that, the copy cannot be executed (ETXTBSY).
        let status = Command::new("cp").arg(binary(name)).arg(&copy).status();
        assert!(status.is_ok_and(|status| status.success()), "cp {name} {}", copy.display());
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).expect("the copy is ours");
        copy
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Lets `command` start its program as user and group `id`, with no other group. Only root can.
///
/// To be called after [`isolated`](crate::namespace::isolated), which needs the rights that this gives up.
pub fn as_user(command: &mut Command, id: u32) -> &mut Command {
    let change = move || {
        // SAFETY: setgroups reads no list when its length is 0.
        let groups = unsafe { libc::setgroups(0, std::ptr::null()) };
        // SAFETY: no pointer is involved.
        let group = unsafe { libc::setgid(id) };
        // SAFETY: no pointer is involved.
        let user = unsafe { libc::setuid(id) };
        if groups | group | user == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    // SAFETY: between fork and exec `change` makes three system calls and nothing else.
    unsafe { command.pre_exec(change) }
}

/// Lets `command` start its program with descriptor `fd` closed, as the shell's `<&-` and `>&-` do.
pub fn with_closed(command: &mut Command, fd: i32) -> &mut Command {
    let close = move || {
        // SAFETY: close takes any number, and in the child nothing uses this one before exec.
        unsafe { libc::close(fd) };
        Ok(())
    };
    // SAFETY: between fork and exec `close` makes one system call and nothing else.
    unsafe { command.pre_exec(close) }
}

/// A running program, its input, and everything that it has printed so far.
///
/// On drop it is killed with its whole process group, its own children included, and reaped.
pub struct Process {
    name: String,
    child: Child,
    input: Option<ChildStdin>,
    printed: Arc<Printed>,
}

#[derive(Default)]
struct Printed {
    streams: Mutex<Streams>,
    changed: Condvar,
}

#[derive(Default)]
struct Streams {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    open: u32,
}

impl Streams {
    fn lines(&self) -> impl Iterator<Item = String> {
        let lines = |bytes: &[u8]| String::from_utf8_lossy(bytes).split_inclusive('\n').map(String::from).collect();
        let (stdout, stderr): (Vec<_>, Vec<_>) = (lines(&self.stdout), lines(&self.stderr));
        let complete = |line: String| line.strip_suffix('\n').map(String::from);
        stdout.into_iter().chain(stderr).filter_map(complete)
    }
}

impl Process {
    /// Starts `command` in a process group of its own, with pipes for input and output.
    ///
    /// # Panics
    ///
    /// Where it cannot be started.
    pub fn start(command: &mut Command) -> Self {
        Self::start_as_is(command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()))
    }

    /// As [`start`](Self::start), but leaves input and output as `command` has them; what is a pipe is collected.
    ///
    /// # Panics
    ///
    /// Where it cannot be started.
    pub fn start_as_is(command: &mut Command) -> Self {
        let name = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut child = command.process_group(0).spawn().unwrap_or_else(|error| panic!("start {name}: {error}"));
        let printed = Arc::new(Printed::default());
        if let Some(stdout) = child.stdout.take() {
            collect(stdout, &printed, |streams| &mut streams.stdout);
        }
        if let Some(stderr) = child.stderr.take() {
            collect(stderr, &printed, |streams| &mut streams.stderr);
        }
        Self { name, input: child.stdin.take(), child, printed }
    }

    /// Its process id, which is its process group's as well.
    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Types `line` and the return key.
    ///
    /// # Panics
    ///
    /// Where its input is closed or was not a pipe.
    pub fn type_line(&mut self, line: &str) {
        let Some(input) = &mut self.input else { panic!("{}: its input is closed", self.name) };
        if let Err(error) = input.write_all(format!("{line}\n").as_bytes()) {
            panic!("{}: type {line:?}: {error}\n{}", self.name, self.output());
        }
    }

    /// Ends its input: what Ctrl-D does at a terminal.
    pub fn close_stdin(&mut self) {
        self.input = None;
    }

    /// Hands its input out, for another thread to write to.
    pub fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.input.take()
    }

    /// Sends it a signal.
    ///
    /// # Panics
    ///
    /// Where the kernel refuses; a process that has ended is none of those cases.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap_or_else(|error| panic!("kill {}: {error}", self.name));
    }

    /// Waits for a whole line on standard output or standard error that `is_it` accepts, and returns it.
    ///
    /// Lines that came before this call count.
    ///
    /// # Panics
    ///
    /// With all output, when none comes in time or none can come any more.
    pub fn wait_for_line(&self, is_it: impl Fn(&str) -> bool) -> String {
        self.wait_for("the awaited line", |streams| streams.lines().find(|line| is_it(line)))
    }

    /// Waits until standard output or standard error holds `text`.
    ///
    /// # Panics
    ///
    /// With all output, when it does not come in time or cannot come any more.
    pub fn wait_for_text(&self, text: &str) {
        let holds = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains(text);
        self.wait_for(&format!("{text:?}"), |s| (holds(&s.stdout) || holds(&s.stderr)).then_some(()));
    }

    /// How many whole lines hold `text`, so far.
    pub fn count_lines(&self, text: &str) -> usize {
        self.streams().lines().filter(|line| line.contains(text)).count()
    }

    /// What it has printed on standard output so far.
    pub fn stdout(&self) -> Vec<u8> {
        self.streams().stdout.clone()
    }

    /// What it has printed on standard error so far.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.streams().stderr).into_owned()
    }

    /// All that it has printed so far, for a message; of a long output, the end.
    pub fn output(&self) -> String {
        describe(&self.streams())
    }

    /// Waits for its end. Its output may still be on the way then; [`finish`](Self::finish) waits for that too.
    ///
    /// # Panics
    ///
    /// With all output, when it does not end in time.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // The zombie stays until drop: as long as it is there, nobody else can have its number.
            let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT | WaitPidFlag::WNOHANG;
            match waitid(Id::Pid(Pid::from_raw(self.pid())), flags) {
                Ok(WaitStatus::Exited(_, code)) => return ExitStatus::from_raw(code << 8),
                Ok(WaitStatus::Signaled(_, signal, _)) => return ExitStatus::from_raw(signal as i32),
                Ok(_) => {}
                Err(error) => panic!("{}: waitid: {error}", self.name),
            }
            assert!(Instant::now() < deadline, "{} did not end in time\n{}", self.name, self.output());
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits for its end and for all that it, and whoever inherited its output, had to print.
    ///
    /// # Panics
    ///
    /// As [`wait`](Self::wait).
    pub fn finish(&mut self) -> ExitStatus {
        let status = self.wait();
        self.wait_for("the end of its output", |streams| (streams.open == 0).then_some(()));
        status
    }

    fn streams(&self) -> MutexGuard<'_, Streams> {
        self.printed.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_for<T>(&self, what: &str, mut look: impl FnMut(&Streams) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut streams = self.streams();
        loop {
            if let Some(found) = look(&streams) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let why = if streams.open == 0 { "its output has ended" } else { "waited too long" };
            if streams.open == 0 || left.is_zero() {
                let output = describe(&streams);
                drop(streams);
                panic!("{}: {what} did not come: {why}\n{output}", self.name);
            }
            let changed = self.printed.changed.wait_timeout(streams, left);
            streams = changed.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = killpg(Pid::from_raw(self.pid()), Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

fn collect(mut stream: impl Read + Send + 'static, to: &Arc<Printed>, which: fn(&mut Streams) -> &mut Vec<u8>) {
    let to = Arc::clone(to);
    let lock = |to: &Arc<Printed>, change: &dyn Fn(&mut Streams)| {
        change(&mut to.streams.lock().unwrap_or_else(PoisonError::into_inner));
        to.changed.notify_all();
    };
    lock(&to, &|streams| streams.open += 1);
    thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match stream.read(&mut buffer) {
                Ok(length) if length > 0 => lock(&to, &|streams| which(streams).extend_from_slice(&buffer[..length])),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                _ => break,
            }
        }
        lock(&to, &|streams| streams.open -= 1);
    });
}

fn describe(streams: &Streams) -> String {
    let end = |bytes: &[u8]| String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(8192)..]).into_owned();
    format!("--- stdout:\n{}--- stderr:\n{}---", end(&streams.stdout), end(&streams.stderr))
}

/// A server that said `listening on ADDRESS:PORT`. All that a [`Process`] can do, it can.
pub struct Server {
    process: Process,
    address: SocketAddr,
}

impl Server {
    /// Starts the workspace's program `name` with `--port 0` and `arguments`, and waits until it listens.
    ///
    /// # Panics
    ///
    /// With its output, where it does not come to that.
    pub fn start(name: &str, arguments: &[&str]) -> Self {
        Self::start_command(Command::new(binary(name)).args(["--port", "0"]).args(arguments))
    }

    /// As [`start`](Self::start), with the whole command given.
    ///
    /// # Panics
    ///
    /// As [`start`](Self::start).
    pub fn start_command(command: &mut Command) -> Self {
        Self::of(Process::start(command))
    }

    /// Waits until `process` listens.
    ///
    /// # Panics
    ///
    /// As [`start`](Self::start).
    pub fn of(process: Process) -> Self {
        let line = process.wait_for_line(|line| line.starts_with("listening on "));
        let address = line.trim_start_matches("listening on ").parse();
        let address = address.unwrap_or_else(|error| panic!("{line:?} names no address and port: {error}"));
        Self { process, address }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The port where it listens.
    pub fn port(&self) -> u16 {
        self.address.port()
    }
}

impl Deref for Server {
    type Target = Process;
    fn deref(&self) -> &Process {
        &self.process
    }
}

impl DerefMut for Server {
    fn deref_mut(&mut self) -> &mut Process {
        &mut self.process
    }
}

/// The program's exit code and all that it printed on standard output and standard error.
pub struct Ended {
    /// `None` where a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: String,
}

/// Runs `command` to its end, with nothing to read on its standard input.
///
/// # Panics
///
/// Where it cannot be started, and where it does not end in time.
pub fn run(command: &mut Command) -> Ended {
    let null = File::open("/dev/null").expect("/dev/null is there");
    let mut process = Process::start_as_is(command.stdin(null).stdout(Stdio::piped()).stderr(Stdio::piped()));
    let status = process.finish();
    Ended { code: status.code(), stdout: process.stdout(), stderr: process.stderr() }
}
