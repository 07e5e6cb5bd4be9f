//! Starting a program that is to be followed from its very first call.

use std::ffi::{CString, OsString};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use nix::sys::signal::SigSet;
use nix::unistd::{ForkResult, fork};

use crate::sys::trace;

/// What is to be started.
#[derive(Debug)]
pub struct Start {
    /// The program, looked up along PATH, and its arguments.
    pub command: Vec<OsString>,
    /// What is to be different in its environment.
    pub environment: Vec<(&'static str, String)>,
    /// Its standard input, output and error; where there is none, it has ours.
    pub stdio: [Option<OwnedFd>; 3],
    /// Whether it gets a process group of its own: Ctrl-C in the terminal then reaches us only.
    pub own_group: bool,
    /// Whether it starts afresh, whatever we have inherited: with no other descriptor than 0, 1 and 2, so that what it opens
    /// has the same numbers wherever it is run; and with no signal ignored, as a shell has SIGINT ignored by what it starts in
    /// the background.
    pub afresh: bool,
    /// The calls at which it is to stop, by their numbers.
    pub calls: Vec<u64>,
}

/// A program that is followed, and has not been executed yet.
pub struct Starting {
    /// Its process id.
    pub pid: u32,
    refusal: io::PipeReader,
}

impl Starting {
    /// After its end: why it was not executed, if it was not.
    pub fn refusal(mut self) -> Option<Errno> {
        let mut errno = [0; 4];
        self.refusal.read_exact(&mut errno).ok()?;
        Some(Errno::from_raw(i32::from_ne_bytes(errno)))
    }
}

/// Makes a process, begins to follow it, and lets it execute the program.
///
/// To be called by the thread that follows. The program has the descriptors that it would have anyhow, 0, 1 and 2.
pub fn start(start: &Start) -> io::Result<Starting> {
    if start.command.is_empty() {
        return Err(Errno::EINVAL.into());
    }
    let words = start.command.iter().map(|word| c_string(word.as_bytes().to_vec())).collect::<io::Result<Vec<_>>>()?;
    let environment = environment(&start.environment)?;
    let (arguments, environment_pointers) = (pointers(&words), pointers(&environment));
    let filter = trace::filter(&start.calls);
    let (mut may_go, go) = io::pipe()?;
    let (refusal, refused) = io::pipe()?;
    // Out of the way of 0, 1 and 2, wherever ours are.
    let stdio = [0, 1, 2].map(|fd| start.stdio[fd].as_ref().map(above_the_standard_ones));
    let stdio = stdio.into_iter().map(Option::transpose).collect::<io::Result<Vec<_>>>()?;

    // SAFETY: this process has several threads, so that the child may only make async-signal-safe calls before it executes
    // a program: it makes system calls, and execvpe, which allocates nothing on the heap (as the standard library relies on).
    match unsafe { fork() }? {
        ForkResult::Parent { child } => {
            drop((may_go, refused));
            let pid = child.as_raw().cast_unsigned();
            // When this fails, `go` is closed unwritten, and the child ends.
            trace::follow(pid)?;
            (&go).write_all(b"g")?;
            Ok(Starting { pid, refusal })
        }
        ForkResult::Child => {
            drop(go);
            let errno = become_program(&Plan {
                may_go: &mut may_go,
                stdio: [0, 1, 2].map(|fd: usize| stdio[fd].as_ref().map(AsRawFd::as_raw_fd)),
                own_group: start.own_group,
                afresh: start.afresh,
                filter: &filter,
                arguments: &arguments,
                environment: &environment_pointers,
            });
            let _ = (&refused).write_all(&(errno as i32).to_ne_bytes());
            // SAFETY: _exit ends this process at once; nothing of ours is to be run in the child.
            unsafe { libc::_exit(127) }
        }
    }
}

/// All that the child needs, made before the fork.
struct Plan<'a> {
    may_go: &'a mut io::PipeReader,
    stdio: [Option<RawFd>; 3],
    own_group: bool,
    afresh: bool,
    filter: &'a [libc::sock_filter],
    arguments: &'a [*const libc::c_char],
    environment: &'a [*const libc::c_char],
}

/// In the child: waits until it is followed, then becomes the program, or says why it cannot.
fn become_program(plan: &Plan) -> Errno {
    let mut go = [0];
    let mut may_go = &*plan.may_go;
    // The end of file: whoever was to follow is gone.
    if !matches!(may_go.read(&mut go), Ok(1)) {
        return Errno::ECANCELED;
    }
    for (number, fd) in plan.stdio.iter().enumerate() {
        let Some(fd) = fd else { continue };
        // SAFETY: dup2 takes two numbers; the first is a descriptor that the parent opened for this.
        if unsafe { libc::dup2(*fd, number as RawFd) } < 0 {
            return Errno::last();
        }
    }
    if plan.afresh {
        // Not at once: the pipe that tells why nothing was executed is among them. Where the kernel does not know the flag
        // (before Linux 5.11), they stay.
        // SAFETY: close_range takes three numbers, and with this flag closes nothing before exec.
        unsafe { libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    }
    if plan.own_group {
        // SAFETY: setpgid takes two numbers. It cannot fail for a process that has just been made.
        unsafe { libc::setpgid(0, 0) };
    }
    if plan.afresh {
        for signal in [libc::SIGINT, libc::SIGQUIT, libc::SIGHUP, libc::SIGTERM] {
            // SAFETY: SIG_DFL is a valid disposition for each of these.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
        }
    }
    // Rust ignores SIGPIPE, and we hold others back: the program is not to inherit that.
    // SAFETY: SIG_DFL is a valid disposition for SIGPIPE.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    if let Err(errno) = SigSet::empty().thread_set_mask().and_then(|()| trace::submit_to(plan.filter)) {
        return errno;
    }
    // SAFETY: both arrays end with a null pointer, and the strings that they point to were made before the fork.
    unsafe { libc::execvpe(plan.arguments[0], plan.arguments.as_ptr(), plan.environment.as_ptr()) };
    Errno::last()
}

fn c_string(bytes: Vec<u8>) -> io::Result<CString> {
    CString::new(bytes).map_err(|_| Errno::EINVAL.into())
}

/// Our environment with some changes, as `NAME=value`.
fn environment(changes: &[(&'static str, String)]) -> io::Result<Vec<CString>> {
    let is_changed = |name: &OsString| changes.iter().any(|(changed, _)| name == changed);
    let ours = std::env::vars_os().filter(|(name, _)| !is_changed(name));
    let changed = changes.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    ours.chain(changed).map(|(name, value)| c_string([name.into_vec(), value.into_vec()].join(&b'='))).collect()
}

/// Pointers to the strings, and a null pointer at the end.
fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
}

fn above_the_standard_ones(fd: &OwnedFd) -> io::Result<OwnedFd> {
    use std::os::fd::FromRawFd;
    let copy = fcntl(fd.as_fd(), FcntlArg::F_DUPFD_CLOEXEC(3))?;
    // SAFETY: fcntl has just made this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}
