//! Thousands of TCP sockets for the tables of sockets to show.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{setsockopt, sockopt};

/// Descriptors that the rest of the process needs.
const RESERVE: u64 = 64;

/// Established loopback connections, both ends ours. They are reset, without a TIME-WAIT, when this value is dropped.
///
/// They are held by a thread that has a table of descriptors of its own (unshare(2), CLONE_FILES). In the table of the
/// thread that starts the measured commands, they would be copied by each fork and closed again by each exec.
pub struct ManySockets {
    count: usize,
    holder: Option<(Sender<()>, JoinHandle<()>)>,
}

impl ManySockets {
    /// Opens `wanted` connections, two sockets each, or as many as this process may have descriptors for.
    pub fn open(wanted: usize) -> io::Result<Self> {
        let connections = wanted.min(room_for_connections()?);
        let (tell_opened, opened) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let holder = thread::spawn(move || {
            let sockets = open_apart(connections);
            let (sockets, outcome) = match sockets {
                Ok(sockets) => (sockets, Ok(())),
                Err(error) => (Vec::new(), Err(error)),
            };
            let _ = tell_opened.send(outcome);
            // It ends with an error when the sender is dropped: that is the sign to close.
            let _ = released.recv();
            drop(sockets);
        });
        let many = Self { count: 2 * connections, holder: Some((release, holder)) };
        opened.recv().map_err(|_| io::Error::other("the thread that opens sockets panicked"))??;
        Ok(many)
    }

    /// How many sockets there are, the listening one not counted.
    pub fn count(&self) -> usize {
        self.count
    }
}

impl Drop for ManySockets {
    fn drop(&mut self) {
        if let Some((release, holder)) = self.holder.take() {
            drop(release);
            let _ = holder.join();
        }
    }
}

/// Raises the soft limit on descriptors to the hard one.
fn room_for_connections() -> io::Result<usize> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(usize::try_from(hard.saturating_sub(RESERVE) / 2).unwrap_or(usize::MAX))
}

fn open_apart(connections: usize) -> io::Result<Vec<TcpStream>> {
    // SAFETY: this thread has opened no descriptor yet and uses none of the others' from here on, so that it loses
    // nothing when it gets a table of its own.
    if unsafe { libc::unshare(libc::CLONE_FILES) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    let address = listener.local_addr()?;
    let reset_on_close = libc::linger { l_onoff: 1, l_linger: 0 };
    let mut sockets = Vec::with_capacity(2 * connections);
    for _ in 0..connections {
        let client = TcpStream::connect(address)?;
        let (server, _) = listener.accept()?;
        for socket in [client, server] {
            setsockopt(&socket.as_fd(), sockopt::Linger, &reset_on_close)?;
            sockets.push(socket);
        }
    }
    Ok(sockets)
}
