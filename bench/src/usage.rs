//! What a server costs, seen from outside: CPU time and memory of its process and of its children.

use std::fs;
use std::io;
use std::time::Duration;

use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

/// A process, and the children that it has at each look.
#[derive(Clone, Copy)]
pub struct Tree {
    root: Pid,
}

impl Tree {
    /// The process with this id.
    pub fn of(root: Pid) -> Self {
        Self { root }
    }

    /// CPU time that all their threads have used so far, in the kernel included.
    ///
    /// It is the process's CPU clock (clock_getcpuclockid(3)): nanoseconds, where utime and stime in /proc are ticks.
    pub fn cpu(self) -> io::Result<Duration> {
        let children = self.children()?.into_iter().map(|child| cpu(child).unwrap_or_default());
        Ok(cpu(self.root)? + children.sum::<Duration>())
    }

    /// Bytes of memory that belong to these processes alone and were written to (`Private_Dirty` in smaps_rollup).
    ///
    /// Program text is not among them, nor is what a child still shares with its parent, nor what the kernel keeps.
    pub fn memory(self) -> io::Result<u64> {
        let children = self.children()?.into_iter().map(|child| private_dirty(child).unwrap_or_default());
        Ok(private_dirty(self.root)? + children.sum::<u64>())
    }

    /// Its children at this moment, of whom some may have ended at the next: they count for nothing then.
    fn children(self) -> io::Result<Vec<Pid>> {
        let mut children = Vec::new();
        for entry in fs::read_dir("/proc")? {
            let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            if parent(pid) == Some(self.root.as_raw()) {
                children.push(Pid::from_raw(pid));
            }
        }
        Ok(children)
    }
}

/// CPU time that the calling thread has used so far.
pub fn own_cpu() -> io::Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}

fn cpu(pid: Pid) -> io::Result<Duration> {
    Ok(clock_gettime(clock_getcpuclockid(pid)?)?.into())
}

/// The parent's pid; `None` if the process has ended.
fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // proc(5): pid (name) state ppid …; the name may hold anything, parentheses included.
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()
}

fn private_dirty(pid: Pid) -> io::Result<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let kib = rollup.lines().find_map(|line| line.strip_prefix("Private_Dirty:")?.trim().strip_suffix(" kB"));
    let kib = kib.and_then(|kib| kib.parse::<u64>().ok());
    kib.map(|kib| kib * 1024).ok_or_else(|| io::Error::other(format!("no Private_Dirty in /proc/{pid}/smaps_rollup")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_written_to_counts() {
        let tree = Tree::of(Pid::this());
        let before = tree.memory().unwrap();
        let mut block = vec![0_u8; 32 << 20];
        for page in block.chunks_mut(4096) {
            page[0] = 1;
        }
        assert!(tree.memory().unwrap() >= before + (30 << 20));
        drop(block);
    }

    #[test]
    fn work_takes_cpu_time() {
        let (before, own_before) = (Tree::of(Pid::this()).cpu().unwrap(), own_cpu().unwrap());
        while own_cpu().unwrap() < own_before + Duration::from_millis(5) {}
        assert!(Tree::of(Pid::this()).cpu().unwrap() >= before + Duration::from_millis(5));
    }

    #[test]
    fn a_child_belongs_to_its_parent() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = Pid::from_raw(child.id().cast_signed());
        assert!(Tree::of(Pid::this()).children().unwrap().contains(&pid));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
