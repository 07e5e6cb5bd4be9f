//! Which processes hold which socket: the kernel gives a socket's inode, and `/proc/PID/fd` says who has it open.

use std::collections::HashMap;

use crate::event::{Owner, Socket};
use crate::sys::process;

/// Who held which socket when it was looked up.
#[derive(Default)]
pub struct Owners {
    by_inode: HashMap<u32, Vec<Owner>>,
}

impl Owners {
    /// Looks through every process that this user may look into: its own ones, or all of them as root.
    pub fn look_up() -> Self {
        Self::among(&process::everybody())
    }

    /// Looks through these processes.
    pub fn among(pids: &[u32]) -> Self {
        let mut by_inode: HashMap<u32, Vec<Owner>> = HashMap::new();
        for &pid in pids {
            let held = process::sockets_of(pid);
            if held.is_empty() {
                continue;
            }
            let name = process::name_of(pid);
            for (inode, fd) in held {
                by_inode.entry(inode).or_default().push(Owner { name: name.clone(), pid, fd });
            }
        }
        for owners in by_inode.values_mut() {
            owners.sort_by_key(|owner| (owner.pid, owner.fd));
        }
        Self { by_inode }
    }

    /// Whether an owner of this socket is known. A socket without an inode has none, and that is known.
    pub fn know(&self, socket: &Socket) -> bool {
        socket.inode == 0 || self.by_inode.contains_key(&socket.inode)
    }

    /// Writes the owners into the socket.
    pub fn fill_in(&self, socket: &mut Socket) {
        socket.owners = self.by_inode.get(&socket.inode).cloned().unwrap_or_default();
    }
}
