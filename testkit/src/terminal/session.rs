//! Every process that was started from a terminal: found by session, by descent, and by a mark in its environment.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpid};

/// How long killed processes have to be gone.
const LIMIT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(5);

/// A process, from proc_pid_stat(5).
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    pid: i32,
    parent: i32,
    session: i32,
    ended: bool,
    name: String,
}

/// Refuses where /proc shows another pid namespace: its numbers would name other people's processes.
pub(super) fn proc_is_ours() -> Result<(), String> {
    let own = fs::read_link("/proc/self").map_err(|error| format!("/proc/self: {error}"))?;
    if own.to_str() == Some(&getpid().to_string()) {
        Ok(())
    } else {
        Err(format!(
            "/proc calls this process {}, the kernel {}: another pid namespace's /proc",
            own.display(),
            getpid()
        ))
    }
}

/// Kills all processes of `session`, all their descendants, and all that carry `mark` in their environment.
///
/// A daemon that left the session and was left by its parents still has the mark. On failure, says what remains.
pub(super) fn kill_all(session: Pid, mark: &str) -> Result<(), String> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let remaining = members(session, mark).map_err(|error| format!("/proc: {error}"))?;
        if remaining.is_empty() {
            return Ok(());
        }
        let mut refused = None;
        for entry in &remaining {
            match kill(Pid::from_raw(entry.pid), Signal::SIGKILL) {
                // Gone by itself since it was found.
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(errno) => refused = Some(format!(" (kill {}: {errno})", entry.pid)),
            }
        }
        if Instant::now() > deadline {
            let names: Vec<_> = remaining.iter().map(|entry| format!("{} {}", entry.pid, entry.name)).collect();
            return Err(format!("processes remain: {}{}", names.join(", "), refused.unwrap_or_default()));
        }
        thread::sleep(POLL);
    }
}

fn members(session: Pid, mark: &str) -> io::Result<Vec<Entry>> {
    let all = processes()?;
    let mut found: BTreeSet<i32> = all
        .iter()
        .filter(|entry| entry.session == session.as_raw() || has_mark(entry.pid, mark))
        .map(|entry| entry.pid)
        .collect();
    loop {
        let before = found.len();
        for entry in &all {
            if found.contains(&entry.parent) {
                found.insert(entry.pid);
            }
        }
        if found.len() == before {
            break;
        }
    }
    let own = getpid().as_raw();
    Ok(all.into_iter().filter(|entry| found.contains(&entry.pid) && !entry.ended && entry.pid != own).collect())
}

fn processes() -> io::Result<Vec<Entry>> {
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let path = entry?.path();
        // Not a process, or one that has just gone.
        if let Ok(stat) = fs::read(path.join("stat"))
            && let Some(entry) = entry_in(&String::from_utf8_lossy(&stat))
        {
            all.push(entry);
        }
    }
    Ok(all)
}

/// `pid (name) state ppid pgrp session …`, where the name may hold spaces and parentheses.
fn entry_in(stat: &str) -> Option<Entry> {
    let (before, after) = stat.rsplit_once(')')?;
    let (pid, name) = before.split_once(" (")?;
    let fields: Vec<&str> = after.split_whitespace().take(4).collect();
    let [state, parent, _, session] = fields[..] else { return None };
    Some(Entry {
        pid: pid.parse().ok()?,
        parent: parent.parse().ok()?,
        session: session.parse().ok()?,
        ended: matches!(state, "Z" | "X"),
        name: name.into(),
    })
}

/// False also where the environment may not be read: such a process can only be found by session or descent.
fn has_mark(pid: i32, mark: &str) -> bool {
    fs::read(format!("/proc/{pid}/environ"))
        .is_ok_and(|environment| environment.split(|&byte| byte == 0).any(|entry| entry == mark.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_may_hold_spaces_and_parentheses() {
        let entry = entry_in("812 (a) R (b) S 1 812 800 34816 9 4194304\n").unwrap();
        assert_eq!(entry, Entry { pid: 812, parent: 1, session: 800, ended: false, name: "a) R (b".into() });
    }

    #[test]
    fn a_zombie_has_ended() {
        assert!(entry_in("5 (sh) Z 1 5 5 0 -1\n").unwrap().ended);
    }

    #[test]
    fn this_process_is_among_those_found_in_proc() {
        assert_eq!(proc_is_ours(), Ok(()));
        assert!(processes().unwrap().iter().any(|entry| entry.pid == getpid().as_raw()));
    }
}
