//! Processes: who descends from whom, who holds which socket, and ending a whole tree.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;

use crate::event::End;

/// Makes this process the parent of every descendant whose own parent ends (prctl(2), PR_SET_CHILD_SUBREAPER): a program
/// that puts itself into the background cannot get out of sight.
pub fn adopt_orphans() -> io::Result<()> {
    Ok(set_child_subreaper(true)?)
}

/// The descendants of a process that still run, children first. Zombies are left out.
pub fn descendants(of: u32) -> Vec<u32> {
    let mut family = vec![of];
    let everybody: Vec<(u32, u32)> = numbered_entries("/proc").into_iter().filter_map(parent_of).collect();
    let mut next = 0;
    while let Some(&parent) = family.get(next) {
        family.extend(everybody.iter().filter(|(_, its_parent)| *its_parent == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    family.split_off(1)
}

/// Whether a process has children at this moment, zombies included; `None` where the kernel does not tell (it is built without
/// CONFIG_PROC_CHILDREN), or the process is gone. Only its first thread's children are meant.
///
/// Exact, where [`descendants`] is not: of a process that forks and ends while `/proc` is gone through, neither the child may
/// be in the list nor, any more, the parent.
pub fn has_children_of(pid: u32) -> Option<bool> {
    fs::read(format!("/proc/{pid}/task/{pid}/children")).ok().map(|children| !children.is_empty())
}

/// A process as `/proc/PID/stat` shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Member {
    /// Its process id.
    pub pid: u32,
    /// Its parent's.
    pub parent: u32,
    /// The letter that ps(1) prints: R, S, D, T, t, Z.
    pub state: char,
    /// How many threads it has.
    pub threads: u32,
    /// How much time it has spent on a processor, in clock ticks, usually of 10 ms.
    pub ticks: u64,
}

impl Member {
    /// Whether it has ended, and only waits for its parent to fetch it. Where the first thread has ended and others go on,
    /// the kernel shows a Z, too.
    pub fn is_zombie(&self) -> bool {
        matches!(self.state, 'Z' | 'X') && self.threads <= 1
    }

    /// Whether it, or one of its threads, has something to do at this moment: it does not wait, and is not stopped for good.
    /// One that is traced stops at each call (t).
    pub fn is_busy(&self) -> bool {
        let is_at_work = |state: char| matches!(state, 'R' | 'D' | 't');
        // What `/proc/PID/stat` shows is the first thread's state.
        is_at_work(self.state) || self.threads > 1 && self.states_of_threads().any(is_at_work)
    }

    fn states_of_threads(&self) -> impl Iterator<Item = char> {
        let directory = format!("/proc/{}/task", self.pid);
        let state = move |thread: u32| fields_in(&format!("{directory}/{thread}/stat"))?.first()?.chars().next();
        numbered_entries(&format!("/proc/{}/task", self.pid)).into_iter().filter_map(state)
    }
}

/// The descendants of a process, parents first, zombies included.
pub fn family(of: u32) -> Vec<Member> {
    let everybody: Vec<Member> = numbered_entries("/proc").into_iter().filter_map(member).collect();
    let mut family: Vec<Member> = everybody.iter().filter(|member| member.parent == of).copied().collect();
    let mut next = 0;
    while let Some(&Member { pid, .. }) = family.get(next) {
        family.extend(everybody.iter().filter(|member| member.parent == pid));
        next += 1;
    }
    family
}

/// A process by its number; `None` when it is gone.
pub fn member(pid: u32) -> Option<Member> {
    let fields = fields_of(pid)?;
    let number = |field: usize| fields.get(field)?.parse::<u64>().ok();
    Some(Member {
        pid,
        parent: fields.get(1)?.parse().ok()?,
        state: fields.first()?.chars().next()?,
        threads: fields.get(17)?.parse().ok()?,
        ticks: number(11)? + number(12)?,
    })
}

/// The open descriptors of a process, each with what it stands for: `socket:[12345]`. `None` where this user may not know.
pub fn descriptors_of(pid: u32) -> Option<Vec<(u32, String)>> {
    let directory = format!("/proc/{pid}/fd");
    fs::read_dir(&directory).ok()?;
    let named = |fd: u32| {
        let target = fs::read_link(format!("{directory}/{fd}")).ok()?;
        Some((fd, target.to_string_lossy().into_owned()))
    };
    Some(numbered_entries(&directory).into_iter().filter_map(named).collect())
}

/// The memory of a process that is its own, its heap and its stacks, in KiB: `RssAnon` in `/proc/PID/status`.
pub fn memory(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let amount = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    amount.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// How often the first thread of a process has gone to sleep: `voluntary_ctxt_switches` in `/proc/PID/status`. One that sleeps
/// on goes to sleep no more.
pub fn times_asleep(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?.trim().parse().ok()
}

/// From here on a process opens only descriptors with a number below this one (prlimit(2), RLIMIT_NOFILE, the soft limit).
///
/// The process must be this user's.
pub fn limit_descriptors(pid: u32, limit: u64) -> io::Result<()> {
    let mut limits = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: no new limits are given, and the pointer is to a struct that the kernel fills in.
    let result = unsafe { libc::prlimit(pid.cast_signed(), libc::RLIMIT_NOFILE, std::ptr::null(), &raw mut limits) };
    Errno::result(result)?;
    limits.rlim_cur = limit.min(limits.rlim_max);
    // SAFETY: the pointer is to a struct that the kernel reads, and the old limits are not asked for.
    let result =
        unsafe { libc::prlimit(pid.cast_signed(), libc::RLIMIT_NOFILE, &raw const limits, std::ptr::null_mut()) };
    Errno::result(result)?;
    Ok(())
}

/// What a process does with a signal: `SigIgn`, `SigBlk` and `SigCgt` in `/proc/PID/status` (proc(5)).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Disposition {
    /// The signal has its usual effect.
    Default,
    /// It is held back, and has an effect when it no longer is.
    Held,
    /// It is ignored.
    Ignored,
    /// The program has a handler for it.
    Handled,
}

/// What a process does with a signal; `None` when it is gone.
pub fn disposition(pid: u32, signal: Signal) -> Option<Disposition> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let is_in = |name: &str| {
        let set = status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let set = u64::from_str_radix(set.unwrap_or_default(), 16).unwrap_or(0);
        set >> (signal as i32 - 1) & 1 == 1
    };
    Some(if is_in("SigIgn:") {
        Disposition::Ignored
    } else if is_in("SigBlk:") {
        Disposition::Held
    } else if is_in("SigCgt:") {
        Disposition::Handled
    } else {
        Disposition::Default
    })
}

/// The children of a process that have ended and were not fetched yet.
pub fn zombies_of(parent: u32) -> Vec<u32> {
    let is_zombie = |pid: &u32| stat_of(*pid).is_some_and(|(state, its)| state == "Z" && its == parent);
    everybody().into_iter().filter(is_zombie).collect()
}

/// A process and its parent; `None` for a zombie, and for one that is gone by now.
fn parent_of(pid: u32) -> Option<(u32, u32)> {
    let (state, parent) = stat_of(pid)?;
    (state != "Z" && state != "X").then_some((pid, parent))
}

/// The state of a process, by its letter, and its parent, from `/proc/PID/stat`.
fn stat_of(pid: u32) -> Option<(String, u32)> {
    let mut fields = fields_of(pid)?.into_iter();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    Some((state, parent))
}

/// The fields of `/proc/PID/stat` that come after the name: state, parent, …
fn fields_of(pid: u32) -> Option<Vec<String>> {
    fields_in(&format!("/proc/{pid}/stat"))
}

fn fields_in(path: &str) -> Option<Vec<String>> {
    let stat = fs::read(path).ok()?;
    // The name stands in parentheses and may hold anything, parentheses too: what counts comes after the last one.
    let after_name = stat.rsplit(|&byte| byte == b')').next()?;
    Some(str::from_utf8(after_name).ok()?.split_ascii_whitespace().map(String::from).collect())
}

/// The state of a thread, by the letter that `/proc/PID/task/TID/stat` has for it; `None` where it is gone.
pub fn state_of(pid: u32, thread: u32) -> Option<char> {
    let stat = fs::read(format!("/proc/{pid}/task/{thread}/stat")).ok()?;
    let after_name = stat.rsplit(|&byte| byte == b')').next()?;
    after_name.trim_ascii_start().first().map(|&letter| char::from(letter))
}

/// The processes whose files this user may look at, or at least try to.
pub fn everybody() -> Vec<u32> {
    numbered_entries("/proc")
}

/// The socket inodes that a process holds, with the descriptors' numbers. Empty where this user may not know.
pub fn sockets_of(pid: u32) -> Vec<(u32, u32)> {
    let directory = format!("/proc/{pid}/fd");
    let inode_of = |fd: u32| {
        let target = fs::read_link(format!("{directory}/{fd}")).ok()?;
        let inode = target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()?;
        Some((inode, fd))
    };
    numbered_entries(&directory).into_iter().filter_map(inode_of).collect()
}

/// What the process calls itself; at most 15 bytes.
pub fn name_of(pid: u32) -> String {
    let name = fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    String::from_utf8_lossy(name.trim_ascii_end()).into_owned()
}

fn numbered_entries(directory: &str) -> Vec<u32> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// Fetches every child that has ended, without waiting: its pid, and how it ended.
pub fn reap() -> Vec<(u32, End)> {
    let mut ended = Vec::new();
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) => ended.push((pid.as_raw().cast_unsigned(), End::Exited(code))),
            Ok(WaitStatus::Signaled(pid, signal, _)) => {
                ended.push((pid.as_raw().cast_unsigned(), End::Killed(signal as i32)));
            }
            Err(Errno::EINTR) => {}
            _ => return ended,
        }
    }
}

/// Whether this process has children, those included that have ended and were not fetched yet.
fn has_children() -> bool {
    let looking = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    waitid(Id::All, looking) != Err(Errno::ECHILD)
}

/// Ends every descendant of this process: SIGTERM, and SIGKILL for who is still there after `grace`.
///
/// Takes several rounds, because a process can fork while it is being ended. Only to be called by a process that
/// [adopts orphans](adopt_orphans), and whose children are all to go.
pub fn end_descendants(grace: Duration) {
    let me = std::process::id();
    send_to_all(&descendants(me), Signal::SIGTERM);
    // A stopped process would not see it.
    send_to_all(&descendants(me), Signal::SIGCONT);
    let deadline = Instant::now() + grace;
    loop {
        reap();
        let left = descendants(me);
        if left.is_empty() && !has_children() {
            return;
        }
        if Instant::now() >= deadline {
            send_to_all(&left, Signal::SIGKILL);
        }
        // Bounded: whoever is left was sent a signal that cannot be held back. A process that sleeps in the kernel, on a
        // dead network disk say, may still not go.
        if Instant::now() >= deadline + Duration::from_secs(2) {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Ends these processes at once, with SIGKILL.
pub fn kill_all(pids: &[u32]) {
    send_to_all(pids, Signal::SIGKILL);
}

/// Sends a signal to these processes; who has ended meanwhile does not get it.
pub fn send_to_all(pids: &[u32], signal: Signal) {
    for &pid in pids {
        // ESRCH: it has just ended by itself.
        let _ = kill(Pid::from_raw(pid.cast_signed()), signal);
    }
}
