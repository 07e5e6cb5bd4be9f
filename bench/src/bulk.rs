//! Large amounts through an echo server: several connections that write as fast as they can, and read all of it back.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::crowd::open;
use crate::server::Server;

/// How many connections.
pub const CONNECTIONS: usize = 4;
/// What is given to one write(2).
const CHUNK: usize = 256 * 1024;
/// What goes through each connection and is compared, before anything is timed.
const CHECKED: usize = 4 * 1024 * 1024;
const PATIENCE_MS: u16 = 10_000;

/// Megabytes (10^6) per second that came back. The first `warm_up` is not counted.
pub fn megabytes_per_second(server: &Server, warm_up: Duration, measured: Duration) -> io::Result<f64> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let connections = (0..CONNECTIONS).map(|_| open(server)).collect::<io::Result<Vec<_>>>()?;
    for (index, connection) in connections.iter().enumerate() {
        check(connection)?;
        connection.set_nonblocking(true)?;
        let events = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
        epoll.add(connection.as_fd(), EpollEvent::new(events, index as u64))?;
    }
    pump(&epoll, &connections, warm_up)?;
    let started = Instant::now();
    let received = pump(&epoll, &connections, measured)?;
    Ok(received as f64 / started.elapsed().as_secs_f64() / 1e6)
}

/// What comes back is what was sent.
fn check(connection: &TcpStream) -> io::Result<()> {
    // A period that no buffer's size is a multiple of: a piece that is missing or doubled shows.
    let sent: Vec<u8> = (0..CHECKED).map(|index| (index % 251) as u8).collect();
    let (mut writer, mut reader) = (connection, connection);
    let received = thread::scope(|scope| {
        let reads = scope.spawn(move || {
            let mut received = vec![0; CHECKED];
            reader.read_exact(&mut received).map(|()| received)
        });
        writer.write_all(&sent)?;
        reads.join().unwrap_or_else(|_| Err(io::Error::other("the reading thread panicked")))
    })?;
    if received == sent { Ok(()) } else { Err(io::Error::other("it echoes something else")) }
}

/// Writes while there is room and reads while there is something, on all connections: how many bytes came back.
fn pump(epoll: &Epoll, connections: &[TcpStream], how_long: Duration) -> io::Result<u64> {
    let chunk = vec![b'.'; CHUNK];
    let started = Instant::now();
    let mut received = 0;
    // What one connection can take and give at a time is bounded, or the others would have to wait for it.
    while started.elapsed() < how_long {
        let mut is_idle = true;
        for mut connection in connections {
            let came = discard(connection)?;
            received += came;
            let went = match connection.write(&chunk) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(error) => return Err(error),
            };
            is_idle &= came == 0 && went == 0;
        }
        let mut events = [EpollEvent::empty(); CONNECTIONS];
        // Edges that came while others were served are taken in here, too: the wait ends at once.
        match is_idle.then(|| epoll.wait(&mut events, EpollTimeout::from(PATIENCE_MS))) {
            Some(Ok(0)) => return Err(io::Error::new(io::ErrorKind::TimedOut, "nothing moved for ten seconds")),
            Some(Err(Errno::EINTR)) | Some(Ok(_)) | None => {}
            Some(Err(errno)) => return Err(errno.into()),
        }
    }
    Ok(received)
}

/// Takes what has come, up to a megabyte, and has the kernel throw it away (tcp(7), MSG_TRUNC).
///
/// The load generator's own copying would otherwise be as slow as the server's.
fn discard(connection: &TcpStream) -> io::Result<u64> {
    // SAFETY: with MSG_TRUNC a TCP socket writes nothing to the buffer, so that none is needed.
    let length = unsafe {
        libc::recv(connection.as_raw_fd(), std::ptr::null_mut(), 1 << 20, libc::MSG_TRUNC | libc::MSG_DONTWAIT)
    };
    match length {
        0 => Err(io::Error::other("the server has closed a connection")),
        1.. => Ok(length.cast_unsigned() as u64),
        _ => match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            error => Err(error),
        },
    }
}
