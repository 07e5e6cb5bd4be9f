//! The kernel's socket tables, read whole or in part.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::SocketAddr;

use nix::errno::Errno;

use crate::decode::inet_diag::{self, Query, Version, Which};
use crate::decode::netlink::{self, Message};
use crate::decode::{Malformed, unix_diag};
use crate::event::{Endpoint, Protocol, Socket, State};
use crate::sys::process::sockets_of;
use crate::sys::sock_diag::SockDiag;

/// An open way to the kernel's tables.
pub struct Tables {
    kernel: SockDiag,
    sequence: u32,
}

impl Tables {
    /// Opens it.
    pub fn open() -> io::Result<Self> {
        Ok(Self { kernel: SockDiag::open()?, sequence: 0 })
    }

    /// TCP or UDP sockets, without their owners.
    ///
    /// A walk through the table takes a while, and sockets move meanwhile: one that changed its state just then may be
    /// missing or be there twice.
    pub fn inet(&mut self, query: Query) -> io::Result<Vec<Socket>> {
        let mut sockets = Vec::new();
        self.dump(&query.body(), |body| {
            sockets.push(inet_diag::socket(query.protocol, body)?);
            Ok(())
        })?;
        Ok(sockets)
    }

    /// Every Unix socket, without its owners; the remote end is the name of the peer where that has one.
    pub fn unix(&mut self) -> io::Result<Vec<Socket>> {
        let mut sockets = Vec::new();
        self.dump(&unix_diag::query(), |body| {
            sockets.push(unix_diag::socket(body)?);
            Ok(())
        })?;
        let names: HashMap<u32, Endpoint> =
            sockets.iter().map(|(socket, _)| (socket.inode, socket.local.clone())).collect();
        let with_peer = |(mut socket, peer): (Socket, u32)| {
            socket.remote = names.get(&peer).cloned().unwrap_or(Endpoint::Unnamed);
            socket
        };
        Ok(sockets.into_iter().map(with_peer).collect())
    }

    /// Sends one request for a dump and hands on the body of each answer.
    fn dump(&mut self, body: &[u8], each: impl FnMut(&[u8]) -> Result<(), Malformed>) -> io::Result<()> {
        self.ask(netlink::DUMP, body, each)
    }

    /// Sends one request. A single answer ends without being told so.
    fn ask(&mut self, flags: u16, body: &[u8], mut each: impl FnMut(&[u8]) -> Result<(), Malformed>) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        self.kernel.send(&netlink::request(inet_diag::BY_FAMILY, flags, self.sequence, body))?;
        loop {
            for message in netlink::messages(self.kernel.receive()?) {
                match message.map_err(io::Error::other)? {
                    // An answer to an earlier request that was given up.
                    Message { sequence, .. } if sequence != self.sequence => {}
                    Message { kind: netlink::DONE, .. } => return Ok(()),
                    Message { kind: netlink::ERROR, body, .. } => {
                        let errno = netlink::errno(body).map_err(io::Error::other)?;
                        return Err(io::Error::from_raw_os_error(errno));
                    }
                    Message { body, .. } => {
                        each(body).map_err(io::Error::other)?;
                        if flags & netlink::DUMP == 0 {
                            return Ok(());
                        }
                    }
                }
            }
        }
    }
}

/// Which sockets are meant.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Subject {
    /// TCP sockets.
    pub tcp: bool,
    /// UDP sockets.
    pub udp: bool,
    /// Unix sockets.
    pub unix: bool,
    /// Of TCP and UDP, only those with this port at one end.
    pub port: Option<u16>,
    /// Of Unix sockets, only those with this path at one end.
    pub path: Option<String>,
}

impl Subject {
    fn means(&self, socket: &Socket) -> bool {
        let Some(path) = &self.path else { return true };
        [&socket.local, &socket.remote].into_iter().any(|end| matches!(end, Endpoint::Path(its) if its == path))
    }
}

impl Tables {
    /// Every socket that is meant. Without `with_v6`, of IPv6 only the listening ones: that saves half of the walk.
    pub fn snapshot(&mut self, subject: &Subject, with_v6: bool) -> io::Result<Vec<Socket>> {
        let mut sockets = Vec::new();
        for (wanted, protocol) in [(subject.tcp, Protocol::Tcp), (subject.udp, Protocol::Udp)] {
            if wanted {
                let v4 = Query { protocol, version: Version::V4, which: Which::All, port: subject.port };
                let some = if with_v6 || protocol == Protocol::Udp { Which::All } else { Which::Listening };
                let v6 = Query { version: Version::V6, which: some, ..v4 };
                sockets.append(&mut self.inet(v4)?);
                sockets.append(&mut self.inet(v6)?);
            }
        }
        if subject.unix {
            sockets.extend(self.unix()?.into_iter().filter(|socket| subject.means(socket)));
        }
        Ok(sockets)
    }

    /// The same without a walk through the listening sockets: of them only these, each asked for by its address.
    ///
    /// That walk takes the longest of all where there are few connections. A listening socket that is not among these is
    /// missing, and so is one that is gone.
    pub fn snapshot_of(
        &mut self,
        subject: &Subject,
        with_v6: bool,
        listening: impl Iterator<Item = SocketAddr>,
    ) -> io::Result<Vec<Socket>> {
        let mut sockets = Vec::new();
        if subject.tcp {
            let which = Which::Connections;
            let v4 = Query { protocol: Protocol::Tcp, version: Version::V4, which, port: subject.port };
            sockets.append(&mut self.inet(v4)?);
            if with_v6 {
                sockets.append(&mut self.inet(Query { version: Version::V6, ..v4 })?);
            }
            for address in listening {
                sockets.extend(self.listening_at(address)?);
            }
        }
        let others = Subject { tcp: false, ..subject.clone() };
        sockets.append(&mut self.snapshot(&others, with_v6)?);
        Ok(sockets)
    }

    /// The listening socket at an address, if there is one.
    fn listening_at(&mut self, address: SocketAddr) -> io::Result<Option<Socket>> {
        let mut found = None;
        let asked = self.ask(0, &inet_diag::listening_at(address), |body| {
            found = Some(inet_diag::socket(Protocol::Tcp, body)?);
            Ok(())
        });
        match asked {
            Ok(()) => Ok(found.filter(Socket::is_listening)),
            Err(error) if error.raw_os_error() == Some(Errno::ENOENT as i32) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The sockets on which these processes wait for others: listening ones, and bound ones for datagrams.
    pub fn serving(&mut self, pids: &[u32]) -> io::Result<Vec<Socket>> {
        let inodes: HashSet<u32> = pids.iter().flat_map(|&pid| sockets_of(pid)).map(|(inode, _)| inode).collect();
        if inodes.is_empty() {
            return Ok(Vec::new());
        }
        let mut sockets = self.listening()?;
        sockets.append(&mut self.snapshot(&Subject { udp: true, ..Subject::default() }, true)?);
        sockets.append(&mut self.unix()?);
        let serves = |socket: &Socket| match socket.protocol {
            Protocol::Udp => socket.state == State::Closed,
            _ => socket.state == State::Listen,
        };
        sockets.retain(|socket| serves(socket) && inodes.contains(&socket.inode));
        Ok(sockets)
    }

    /// The listening TCP sockets, whoever they belong to.
    pub fn listening(&mut self) -> io::Result<Vec<Socket>> {
        let v4 = Query { protocol: Protocol::Tcp, version: Version::V4, which: Which::Listening, port: None };
        let mut sockets = self.inet(v4)?;
        sockets.append(&mut self.inet(Query { version: Version::V6, ..v4 })?);
        Ok(sockets)
    }
}
