//! A network of one's own: a program starts in a fresh network namespace where only `lo` exists, and is up.
//!
//! Inside, no port is taken, no other program's packet passes, and the kernel's TCP settings can be changed without
//! touching the machine's. See network_namespaces(7) and user_namespaces(7).

use std::ffi::CString;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use crate::process::Process;

/// Set for a test that runs inside, by [`inside`].
const INSIDE: &str = "SOCKLAB_TEST_INSIDE";

/// Gives the program that `command` starts a network namespace of its own, with `lo` up.
///
/// Root needs nothing else. Everybody else gets a user namespace around it, where the own uid and gid stay what they
/// are; the started program has no capability there. Where the kernel refuses, `spawn` fails with its errno:
/// ask [`available`] first.
pub fn isolated(command: &mut Command) -> &mut Command {
    isolated_with(command, &[])
}

/// As [`isolated`], and writes settings before the program starts: `("net/ipv4/tcp_rmem", "4096 131072 134217728")`.
///
/// The paths are below `/proc/sys`. Only settings that exist once per network namespace can be changed so.
///
/// # Panics
///
/// Where a path or a value holds a NUL byte.
pub fn isolated_with<'a>(command: &'a mut Command, settings: &[(&str, &str)]) -> &'a mut Command {
    let c_string = |text: String| CString::new(text).expect("no NUL byte in a path");
    let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    // Everything that allocates happens here. After fork, in the closure, only async-signal-safe calls are allowed.
    let identity = [
        (c_string("/proc/self/setgroups".into()), b"deny".to_vec()),
        (c_string("/proc/self/uid_map".into()), format!("{uid} {uid} 1").into_bytes()),
        (c_string("/proc/self/gid_map".into()), format!("{gid} {gid} 1").into_bytes()),
    ];
    let settings: Vec<_> = settings
        .iter()
        .map(|(path, value)| (c_string(format!("/proc/sys/{path}")), value.as_bytes().to_vec()))
        .collect();
    let enter = move || {
        // As root without CAP_SYS_ADMIN, in a container, the first way is refused and the second may be open.
        if uid != 0 || unshare(libc::CLONE_NEWNET).is_err() {
            unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNET)?;
            for (path, value) in &identity {
                write_file(path, value)?;
            }
        }
        raise_loopback()?;
        for (path, value) in &settings {
            write_file(path, value)?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec `enter` makes only system calls (unshare, open, write, close, socket, ioctl) on
    // buffers that were prepared above; it neither allocates nor takes a lock.
    unsafe { command.pre_exec(enter) }
}

/// Whether [`isolated`] works here, tried with `/bin/true`; if not, why.
pub fn available() -> Result<(), String> {
    let mut command = Command::new("/bin/true");
    match isolated(command.stdin(Stdio::null())).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("/bin/true in a network namespace of its own ended with {status}")),
        Err(error) => {
            let why = match error.raw_os_error() {
                Some(libc::ENOSPC) => "user namespaces are turned off (user.max_user_namespaces)",
                Some(libc::EPERM | libc::EACCES) => {
                    "refused by a seccomp filter, by AppArmor, or by kernel.unprivileged_userns_clone"
                }
                _ => "the kernel does not have them",
            };
            Err(format!("no network namespace: {error}; {why}"))
        }
    }
}

/// True when `available` is `Ok`. Otherwise says what is skipped and why, and returns false.
///
/// # Panics
///
/// Instead of skipping, where the environment variable `SOCKLAB_NO_SKIP` is set, as CI does.
pub fn or_skip(what: &str, available: Result<(), String>) -> bool {
    let Err(reason) = available else { return true };
    assert!(std::env::var_os("SOCKLAB_NO_SKIP").is_none(), "must not be skipped here: {what}: {reason}");
    // Not eprintln!, which the harness keeps to itself as long as the test passes: a skip has to be seen.
    let _ = writeln!(io::stderr(), "skipped: {what}: {reason}");
    false
}

/// [`python`](crate::traffic::python), or `None` after [`or_skip`] has said what is skipped.
///
/// # Panics
///
/// As [`or_skip`] does.
pub fn python_or_skip(what: &str) -> Option<String> {
    let python = crate::traffic::python();
    or_skip(what, python.as_ref().map(drop).map_err(Clone::clone)).then(|| python.unwrap_or_default())
}

/// Runs the body of the test called `name` in a namespace of its own, or skips it with [`or_skip`].
///
/// The test executable starts itself once more, inside, for this one test; `name` must be the test's full path, as
/// `--exact` takes it. `settings` as in [`isolated_with`].
///
/// # Panics
///
/// Where the test inside fails, with all its output.
pub fn inside(name: &str, settings: &[(&str, &str)], body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some_and(|inside| inside == name) {
        return body();
    }
    if !or_skip(name, available()) {
        return;
    }
    let test = std::env::current_exe().expect("the test executable has a path");
    let mut command = Command::new(test);
    command.args(["--exact", name, "--nocapture", "--include-ignored"]).env(INSIDE, name);
    let mut test = Process::start(isolated_with(&mut command, settings));
    let status = test.finish();
    let output = test.output();
    assert!(status.success() && output.contains("1 passed"), "inside its own network, {name} failed:\n{output}");
}

fn unshare(flags: i32) -> io::Result<()> {
    // SAFETY: unshare has no preconditions on memory; the caller is single-threaded, as every process is after fork.
    checked(unsafe { libc::unshare(flags) }).map(drop)
}

fn raise_loopback() -> io::Result<()> {
    // SAFETY: no pointer is involved.
    let socket = checked(unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: ifreq is integers, arrays of integers and pointers; all zeroes is a valid value of it.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads one ifreq, which lives through the call.
    let raised = checked(unsafe { libc::ioctl(socket, libc::SIOCSIFFLAGS, &raw const request) });
    // SAFETY: the descriptor was made above and is used by nobody else.
    unsafe { libc::close(socket) };
    raised.map(drop)
}

fn write_file(path: &CString, bytes: &[u8]) -> io::Result<()> {
    // SAFETY: the path ends with a NUL and lives through the call.
    let file = checked(unsafe { libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC) })?;
    // SAFETY: the pointer and the length describe `bytes`, which lives through the call.
    let written = unsafe { libc::write(file, bytes.as_ptr().cast(), bytes.len()) };
    let error = io::Error::last_os_error();
    // SAFETY: the descriptor was made above and is used by nobody else.
    unsafe { libc::close(file) };
    if written == bytes.len().cast_signed() { Ok(()) } else { Err(error) }
}

/// The result of a system call; the error holds nothing but errno and so allocates nothing.
fn checked(result: i32) -> io::Result<i32> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
