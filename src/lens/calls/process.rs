//! What is known of a process that is followed: its role, and what its descriptors stand for.

use std::collections::BTreeMap;
use std::fs;
use std::io;

use crate::decode::syscall::{self, Key, OnList};
use crate::event::{Descriptor, Named, Protocol, Waited};
use crate::sys::descriptor;

/// A process.
#[derive(Clone, Debug)]
pub struct Process {
    /// `server`, `client 2`, `server/child 1`.
    pub role: String,
    /// Whether the program runs that it was made for: before, it is still a copy of us.
    pub is_executed: bool,
    /// How many processes it has made.
    pub children: usize,
    /// How many threads it has made.
    pub threads: usize,
    descriptors: BTreeMap<i32, Named>,
    /// What is on the list of each epoll descriptor, by the name that epoll_wait(2) will tell.
    lists: BTreeMap<i32, BTreeMap<u64, i32>>,
}

impl Process {
    /// A program that is about to be executed.
    pub fn new(role: String) -> Self {
        Self { role, is_executed: false, children: 0, threads: 0, descriptors: BTreeMap::new(), lists: BTreeMap::new() }
    }

    /// A process whose maker is not known: it ended before anybody could ask.
    pub fn orphan() -> Self {
        Self { is_executed: true, ..Self::new("orphan".into()) }
    }

    /// A process that it makes, which has the same descriptors.
    pub fn fork(&mut self) -> Self {
        self.children += 1;
        let role = format!("{}/child {}", self.role, self.children);
        Self { role, children: 0, threads: 0, ..self.clone() }
    }

    /// The role of a thread that it makes.
    pub fn thread(&mut self) -> String {
        self.threads += 1;
        format!("{}/thread {}", self.role, self.threads)
    }

    /// It runs another program: which descriptors that has kept is to be seen.
    pub fn execute(&mut self) {
        self.is_executed = true;
        self.descriptors.clear();
        self.lists.clear();
    }

    /// What a descriptor stands for; looked up where that is not known, or may have changed since. `None`: for nothing.
    pub fn descriptor(&mut self, pid: u32, fd: i32) -> Option<&Named> {
        // A connect() that did not wait: since then there may be a peer.
        let may_have_changed =
            matches!(self.descriptors.get(&fd), Some(Named::Unbound(Protocol::Tcp) | Named::Bound(Protocol::Tcp, _)));
        if may_have_changed || !self.descriptors.contains_key(&fd) {
            self.look_again(pid, fd).ok()?;
        }
        self.descriptors.get(&fd)
    }

    /// Looks up what a descriptor stands for now.
    pub fn look_again(&mut self, pid: u32, fd: i32) -> io::Result<()> {
        let mut named = descriptor::look_at(pid, fd)?;
        let was_accepted = matches!(self.descriptors.get(&fd), Some(Named::Connected { accepted: true, .. }));
        if let Named::Connected { accepted, .. } = &mut named {
            *accepted = was_accepted;
        }
        self.descriptors.insert(fd, named);
        Ok(())
    }

    /// Notes that a connection came out of accept().
    pub fn accepted(&mut self, pid: u32, fd: i32) -> Option<Descriptor> {
        self.descriptors.remove(&fd);
        self.look_again(pid, fd).ok()?;
        if let Some(Named::Connected { accepted, .. }) = self.descriptors.get_mut(&fd) {
            *accepted = true;
        }
        self.known(fd)
    }

    /// Notes that one descriptor is a copy of another, whatever it was before.
    pub fn copied(&mut self, from: i32, to: i32) -> Option<Descriptor> {
        match self.descriptors.get(&from).cloned() {
            Some(named) => self.descriptors.insert(to, named),
            None => self.descriptors.remove(&to),
        };
        self.known(to)
    }

    /// What is known of a descriptor without looking.
    pub fn known(&self, fd: i32) -> Option<Descriptor> {
        self.descriptors.get(&fd).map(|names| Descriptor { fd, names: names.clone() })
    }

    /// Notes what epoll_ctl(2) has done to the list of an epoll descriptor.
    pub fn listed(&mut self, list: i32, change: OnList) {
        let list = self.lists.entry(list).or_default();
        let (OnList::Put(fd, _) | OnList::Off(fd)) = change;
        list.retain(|_, &mut listed| listed != fd);
        if let OnList::Put(fd, data) = change {
            list.insert(data, fd);
        }
    }

    /// What is waited for, with what each descriptor stands for. What is not known by its name is left out.
    pub fn named(&mut self, pid: u32, list: i32, waits: Vec<syscall::Waited>) -> Vec<Waited> {
        let mut named = Vec::with_capacity(waits.len());
        for syscall::Waited { key, asked, came } in waits {
            let fd = match key {
                Key::Fd(fd) => Some(fd),
                Key::Data(data) => self.lists.get(&list).and_then(|list| list.get(&data)).copied(),
            };
            let Some(fd) = fd else { continue };
            if let Some(names) = self.descriptor(pid, fd).cloned() {
                named.push(Waited { on: Descriptor { fd, names }, asked, came });
            }
        }
        named
    }

    /// Notes that a descriptor stands for nothing any more.
    pub fn closed(&mut self, fd: i32) {
        self.descriptors.remove(&fd);
        self.lists.remove(&fd);
        // Unless it has a copy it is off every list; if it has one, nobody can tell by which number it is meant.
        self.lists.values_mut().for_each(|list| list.retain(|_, &mut listed| listed != fd));
    }

    /// Notes that a whole range of them stands for nothing any more.
    pub fn closed_range(&mut self, first: u32, last: u32) {
        let is_closed = |fd: i32| (first..=last).contains(&fd.cast_unsigned());
        self.descriptors.retain(|&fd, _| !is_closed(fd));
        self.lists.retain(|&fd, _| !is_closed(fd));
    }
}

/// Whether calls on such a descriptor are shown: on sockets, and on what waits for them.
pub fn is_of_interest(named: &Named) -> bool {
    match named {
        Named::Other(name) => {
            name.starts_with("socket:[") || name == "anon_inode:[eventpoll]" || name == "anon_inode:[io_uring]"
        }
        _ => true,
    }
}

/// The process that a thread belongs to, and the process that made that one, from `/proc/PID/status`.
pub fn family_of(thread: u32) -> Option<(u32, u32)> {
    let status = fs::read(format!("/proc/{thread}/status")).ok()?;
    let status = String::from_utf8_lossy(&status);
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    Some((field("Tgid:")?, field("PPid:")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(process: &mut Process, data: u64) -> Vec<i32> {
        let told = syscall::Waited { key: Key::Data(data), asked: String::new(), came: "EPOLLIN".into() };
        process.named(std::process::id(), 9, vec![told]).into_iter().map(|waited| waited.on.fd).collect()
    }

    #[test]
    fn what_epoll_names_is_what_epoll_ctl_was_given_for_it_and_after_a_close_nothing() {
        let mut process = Process::new("server".into());
        process.descriptors.insert(4, Named::Unbound(Protocol::Udp));
        process.descriptors.insert(5, Named::Unbound(Protocol::Udp));
        process.listed(9, OnList::Put(4, 70));
        process.listed(9, OnList::Put(5, 71));
        assert_eq!(
            (named(&mut process, 70), named(&mut process, 71), named(&mut process, 4)),
            (vec![4], vec![5], vec![])
        );
        // EPOLL_CTL_MOD may give another name.
        process.listed(9, OnList::Put(4, 80));
        assert_eq!((named(&mut process, 70), named(&mut process, 80)), (vec![], vec![4]));
        assert_eq!(named(&mut process.fork(), 80), [4], "a child has the same list");
        process.listed(9, OnList::Off(5));
        process.closed(4);
        assert_eq!((named(&mut process, 71), named(&mut process, 80)), (vec![], vec![]));
    }
}
