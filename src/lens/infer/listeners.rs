//! How full the accept queues are at most: what a sample showed, and what has come and gone since.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use super::{AGE, canonical};
use crate::event::{Endpoint, Socket};

/// The listening sockets that samples have shown.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    all: Vec<Listener>,
    /// When handshakes were completed lately, and where: a sample may not have them yet.
    recent: VecDeque<(Duration, SocketAddr)>,
}

#[derive(Debug)]
struct Listener {
    local: SocketAddr,
    cookie: u64,
    inode: u32,
    /// It holds no more connections than this.
    length: u32,
    /// The backlog. Linux lets one more in.
    most: u32,
}

impl Listener {
    fn answers_for(&self, end: SocketAddr) -> bool {
        self.local.port() == end.port() && (self.local.ip() == end.ip() || self.local.ip().is_unspecified())
    }

    fn is(&self, socket: &Socket) -> bool {
        (self.cookie, self.inode) == (socket.cookie, socket.inode) && canonical(&socket.local) == Some(self.local)
    }
}

impl Listeners {
    /// Takes down a listening socket as a sample showed it.
    pub fn note(&mut self, socket: &Socket, at: Duration) {
        let Some(local) = canonical(&socket.local) else { return };
        self.forget(socket);
        let mut listener = Listener {
            local,
            cookie: socket.cookie,
            inode: socket.inode,
            length: socket.receive_queue,
            most: socket.send_queue,
        };
        let unseen = self.recent.iter().filter(|(when, end)| *when + AGE >= at && listener.answers_for(*end)).count();
        listener.length = listener.length.saturating_add(unseen as u32);
        self.all.push(listener);
    }

    /// It is gone.
    pub fn forget(&mut self, socket: &Socket) {
        self.all.retain(|listener| !listener.is(socket));
    }

    /// Whether a listening socket is known for this end, and the queue of each that it could be has room for certain.
    pub fn have_room_for(&self, end: SocketAddr) -> bool {
        let mut candidates = self.all.iter().filter(|listener| listener.answers_for(end)).peekable();
        candidates.peek().is_some() && candidates.all(|listener| listener.length <= listener.most)
    }

    /// A handshake was completed at `at`, perhaps.
    pub fn count_in(&mut self, end: SocketAddr, at: Duration) {
        while self.recent.front().is_some_and(|(when, _)| *when + AGE < at) {
            self.recent.pop_front();
        }
        self.recent.push_back((at, end));
        for listener in self.all.iter_mut().filter(|listener| listener.answers_for(end)) {
            listener.length = listener.length.saturating_add(1);
        }
    }

    /// accept() has taken a connection out.
    pub fn count_out(&mut self, local: &Endpoint) {
        let Some(end) = canonical(local) else { return };
        let mut its = self.all.iter_mut().filter(|listener| listener.answers_for(end));
        // Of several, it is not known which.
        if let (Some(listener), None) = (its.next(), its.next()) {
            listener.length = listener.length.saturating_sub(1);
        }
    }
}
