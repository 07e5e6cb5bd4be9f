//! The kernel as a witness: what it knows of a process, read from `/proc/PID` (proc(5)), and the limits it is held to.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// A process as its parent left it: running, sleeping, or `Z`, a zombie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Child {
    /// Its process id.
    pub pid: i32,
    /// The letter that ps(1) prints: R, S, D, T, Z.
    pub state: char,
}

/// The children of `pid`, zombies included.
pub fn children_of(pid: i32) -> Vec<Child> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|child| {
        let fields = stat(child)?;
        (fields.get(1)?.parse() == Ok(pid)).then_some(Child { pid: child, state: fields.first()?.chars().next()? })
    })
    .collect()
}

/// Whether `pid` is there, if only as a zombie.
pub fn exists(pid: i32) -> bool {
    fs::exists(format!("/proc/{pid}")).unwrap_or(false)
}

/// The open descriptors of `pid` and what each stands for: `(3, "socket:[12345]")`.
pub fn open_files(pid: i32) -> Vec<(i32, String)> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let mut files: Vec<_> = entries
        .filter_map(|entry| {
            let target = fs::read_link(entry.path()).ok()?;
            Some((entry.file_name().to_str()?.parse().ok()?, target.to_string_lossy().into_owned()))
        })
        .collect();
    files.sort();
    files
}

/// The inodes of the sockets that `pid` has open: what [`Socket::inode`](crate::tcp::Socket::inode) is compared with.
pub fn open_sockets(pid: i32) -> Vec<u64> {
    let inode = |(_, target): (i32, String)| target.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok();
    open_files(pid).into_iter().filter_map(inode).collect()
}

/// A copy of descriptor `fd` of the running process `pid` (pidfd_getfd(2)): the same socket, to be asked for its options.
///
/// # Errors
///
/// Where the kernel does not let us look into that process.
pub fn copy_of_descriptor(pid: i32, fd: i32) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open takes two numbers and touches no memory of ours.
    let process = owned(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: pidfd_getfd takes three numbers and touches no memory of ours.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), fd, 0) })
}

/// The descriptor that a system call has just returned.
fn owned(result: libc::c_long) -> io::Result<OwnedFd> {
    match i32::try_from(result) {
        // SAFETY: the kernel has just made this descriptor for us, and nobody else knows of it.
        Ok(fd @ 0..) => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// How much time `pid` has spent on a processor, in its own code and in the kernel; in steps of usually 10 ms.
pub fn cpu_time(pid: i32) -> Option<Duration> {
    let fields = stat(pid)?;
    let ticks: u64 = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    // SAFETY: sysconf takes any number and touches no memory of ours.
    let per_second = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    Some(Duration::from_millis(ticks * 1000 / u64::try_from(per_second).ok()?))
}

/// How many threads `pid` has.
pub fn threads_of(pid: i32) -> usize {
    fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count)
}

/// Whether `pid` sleeps in some call at this moment, and so uses no processor.
pub fn is_asleep(pid: i32) -> bool {
    stat(pid).is_some_and(|fields| fields.first().is_some_and(|state| state == "S"))
}

/// The bytes of memory that are `pid`'s alone: its heap and stack, not its program's text, nor what the kernel holds for it.
pub fn own_memory(pid: i32) -> Option<usize> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<usize>().ok()? * 1024)
}

/// Changes the soft limit of the running process `pid`, as prlimit(1) does: `libc::RLIMIT_NOFILE`, `RLIMIT_NPROC`.
///
/// # Panics
///
/// Where the kernel refuses.
pub fn limit(pid: i32, resource: libc::__rlimit_resource_t, soft: u64) {
    let mut limits = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: without a new limit prlimit only writes the old one, to a struct that lives through the call.
    let read = unsafe { libc::prlimit(pid, resource, std::ptr::null(), &raw mut limits) };
    assert_eq!(read, 0, "prlimit: {}", io::Error::last_os_error());
    limits.rlim_cur = soft.min(limits.rlim_max);
    // SAFETY: without a place for the old limit prlimit only reads the new one, which lives through the call.
    let written = unsafe { libc::prlimit(pid, resource, &raw const limits, std::ptr::null_mut()) };
    assert_eq!(written, 0, "prlimit: {}", io::Error::last_os_error());
}

/// The fields of `/proc/PID/stat` that follow the name: state, parent, …; the name may hold spaces and brackets.
fn stat(pid: i32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    Some(fields.split_ascii_whitespace().map(String::from).collect())
}
