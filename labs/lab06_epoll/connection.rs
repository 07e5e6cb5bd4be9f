//! Lab 6, one client of the server: its socket, and what we have to remember of it from one turn to the next.
//!
//! New here         a buffer for what is unsent that exists only while something is; what to ask epoll for; why an
//!                  edge-triggered turn may end only at EAGAIN.
//! Man pages        epoll(7) under "Level-triggered and edge-triggered", epoll_ctl(2)
//! Peer             server.rs, whose loop calls these functions

use std::os::fd::{AsRawFd, OwnedFd};

use kit::Failure;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use nix::unistd::{read, write};

/// Edge-triggered: how often to read from one client before the others get their turn.
const READS: usize = 16;

/// A client: some ninety bytes while it is silent, whatever it said before.
pub struct Connection {
    pub socket: OwnedFd,
    pub client: Box<str>,
    /// What a short write has left. It has no memory of its own while it is empty.
    unsent: Vec<u8>,
    /// What the kernel was asked for last: room for writing, in place of bytes for reading.
    waits_for_room: bool,
    pub echoed: usize,
}

/// How a client's turn ended.
pub enum Turn {
    /// Nothing can be done for it until the kernel names it again.
    Waits,
    /// There may be more to read, but it is the others' turn.
    Unfinished,
    Ended(Result<(), Failure>),
}

impl Connection {
    pub fn new(socket: OwnedFd, client: Box<str>) -> Self {
        Self { socket, client, unsent: Vec::new(), waits_for_room: false, echoed: 0 }
    }

    /// What the kernel is asked for at first.
    pub fn first_event(&self, edge: bool) -> EpollEvent {
        // Edge-triggered, both directions are asked for once and for good: an edge that nobody needs costs next to nothing.
        let both = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
        named(&self.socket, if edge { both } else { EpollFlags::EPOLLIN })
    }

    /// Writes `bytes` as far as the kernel takes them, and keeps the rest.
    fn send(&mut self, mut bytes: &[u8]) -> Result<(), Failure> {
        while !bytes.is_empty() {
            match write(&self.socket, bytes) {
                Ok(length) => {
                    self.echoed += length;
                    bytes = &bytes[length..];
                }
                // The send buffer is full. epoll will tell when there is room again.
                Err(Errno::EAGAIN) => break,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(Failure::new("write", &self.client, errno)),
            }
        }
        // A new Vec of just that length; of an empty rest, one without memory.
        self.unsent = bytes.to_vec();
        Ok(())
    }

    /// Level-triggered, the kernel must not be asked for what we would not do: it would name the socket again and again.
    pub fn ask_anew(&mut self, epoll: &Epoll, edge: bool) -> Result<(), Errno> {
        if !edge && self.waits_for_room == self.unsent.is_empty() {
            self.waits_for_room = !self.waits_for_room;
            let events = if self.waits_for_room { EpollFlags::EPOLLOUT } else { EpollFlags::EPOLLIN };
            epoll.modify(&self.socket, &mut named(&self.socket, events))?;
        }
        Ok(())
    }
}

/// One client's turn: a write of what is left, a read, a write; edge-triggered, until nothing is left to read.
pub fn serve(connection: &mut Connection, buffer: &mut [u8], edge: bool) -> Turn {
    for _ in 0..if edge { READS } else { 1 } {
        let unsent = std::mem::take(&mut connection.unsent);
        if let Err(failure) = connection.send(&unsent) {
            return Turn::Ended(Err(failure));
        }
        // While something is unsent nothing more is read: who does not take his bytes brings no new ones.
        if !connection.unsent.is_empty() {
            return Turn::Waits;
        }
        match read(&connection.socket, buffer) {
            Ok(0) => return Turn::Ended(Ok(())),
            Ok(length) => {
                if let Err(failure) = connection.send(&buffer[..length]) {
                    return Turn::Ended(Err(failure));
                }
            }
            Err(Errno::EAGAIN) => return Turn::Waits,
            Err(Errno::EINTR) => {}
            Err(errno) => return Turn::Ended(Err(Failure::new("read", &connection.client, errno))),
        }
    }
    // Level-triggered, the kernel knows if there is more, and will say so. Edge-triggered, it has said all that it will say.
    if edge { Turn::Unfinished } else { Turn::Waits }
}

/// The event by which epoll_wait will name this socket: what it is asked for, and the descriptor as the name.
pub fn named(socket: &OwnedFd, events: EpollFlags) -> EpollEvent {
    EpollEvent::new(events, socket.as_raw_fd() as u64)
}
