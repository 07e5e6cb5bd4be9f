//! A raw peer for an echo server: plain sockets of the standard library, and bytes that can be made anew to compare.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::{Command, Stdio};
use std::thread;

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, SockaddrStorage, bind, getsockname, listen, setsockopt,
    socket, sockopt,
};

use crate::process::PATIENCE;
use crate::tcp::wait_until;

/// 64 MiB.
pub const MUCH: usize = 64 << 20;
const PIECE: usize = 64 * 1024;

/// Bytes without a pattern, the same for the same seed: Marsaglia's xorshift64.
pub struct Random(u64);

impl Random {
    /// The sequence of this seed; 0 is no seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.max(1))
    }

    /// Fills `bytes` with the next of the sequence.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for piece in bytes.chunks_mut(8) {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            piece.copy_from_slice(&self.0.to_le_bytes()[..piece.len()]);
        }
    }
}

/// Connects, and lets no read or write last longer than a test has patience.
///
/// # Panics
///
/// Where nobody listens.
pub fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).unwrap_or_else(|error| panic!("connect {to}: {error}"));
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out that is not zero");
    stream.set_write_timeout(Some(PATIENCE)).expect("a time-out that is not zero");
    stream
}

/// As [`connect`], to an IPv4 address, with the smallest receive buffer that the kernel allows.
///
/// # Panics
///
/// Where nobody listens.
pub fn connect_with_small_buffer(to: SocketAddr) -> TcpStream {
    let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).expect("a socket");
    // Before connect: the window that the SYN announces is not taken back later.
    setsockopt(&fd, sockopt::RcvBuf, &0).expect("SO_RCVBUF can be set");
    nix::sys::socket::connect(fd.as_raw_fd(), &SockaddrStorage::from(to))
        .unwrap_or_else(|error| panic!("connect {to}: {error}"));
    let stream = TcpStream::from(fd);
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out that is not zero");
    stream.set_write_timeout(Some(PATIENCE)).expect("a time-out that is not zero");
    stream
}

/// Writes `count` bytes of the sequence `seed`.
///
/// # Panics
///
/// Where the peer does not take them all.
pub fn write_random(mut to: impl Write, seed: u64, count: usize) {
    let (mut random, mut piece, mut left) = (Random::new(seed), vec![0; PIECE], count);
    while left > 0 {
        let length = left.min(PIECE);
        random.fill(&mut piece[..length]);
        to.write_all(&piece[..length]).unwrap_or_else(|error| panic!("write, {left} of {count} bytes left: {error}"));
        left -= length;
    }
}

/// Reads `count` bytes and compares each with the sequence `seed`.
///
/// # Panics
///
/// Where one differs or fewer come.
pub fn read_random(mut from: impl Read, seed: u64, count: usize) {
    let (mut random, mut piece, mut expected, mut left) = (Random::new(seed), vec![0; PIECE], vec![0; PIECE], count);
    while left > 0 {
        let length = left.min(PIECE);
        from.read_exact(&mut piece[..length])
            .unwrap_or_else(|error| panic!("read, {left} of {count} missing: {error}"));
        random.fill(&mut expected[..length]);
        assert!(piece[..length] == expected[..length], "a byte is not what was sent, {left} of {count} bytes left");
        left -= length;
    }
}

/// Sends `count` random bytes and reads them back, both at once; then half-closes and expects the end.
///
/// # Panics
///
/// Where they do not come back as they were.
pub fn echo_random(mut stream: TcpStream, seed: u64, count: usize) {
    let writer = stream.try_clone().expect("a descriptor more");
    thread::scope(|scope| {
        scope.spawn(move || {
            write_random(&writer, seed, count);
            writer.shutdown(Shutdown::Write).expect("connected");
        });
        read_random(&stream, seed, count);
    });
    expect_end(&mut stream);
}

/// Sends a line, and reads it back.
///
/// # Panics
///
/// Where it does not come back.
pub fn echo_line(stream: &mut TcpStream, line: &str) {
    stream.write_all(format!("{line}\n").as_bytes()).unwrap_or_else(|error| panic!("write {line:?}: {error}"));
    let mut back = vec![0; line.len() + 1];
    stream.read_exact(&mut back).unwrap_or_else(|error| panic!("read {line:?} back: {error}"));
    assert_eq!(String::from_utf8_lossy(&back), format!("{line}\n"));
}

/// Expects the peer's FIN, and not a byte before it.
///
/// # Panics
///
/// Where a byte or an error comes instead.
pub fn expect_end(stream: &mut TcpStream) {
    assert_eq!(stream.read(&mut [0; 1]).expect("a FIN, not an error"), 0, "more bytes came than were sent");
}

/// Throws the connection away: close(2) sends RST in place of FIN.
///
/// # Panics
///
/// Where the option cannot be set.
pub fn reset(stream: TcpStream) {
    setsockopt(&stream, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 }).expect("SO_LINGER can be set");
    drop(stream);
}

/// A port on 127.0.0.1 that is taken, so that nobody else gets it, but where nobody listens.
///
/// # Panics
///
/// Where there is no such port.
pub fn taken_port() -> (OwnedFd, SocketAddr) {
    let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).expect("a socket");
    bind(fd.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, 0)).expect("a free port");
    let bound: SockaddrStorage = getsockname(fd.as_raw_fd()).expect("a bound socket has a name");
    let address = bound.to_string().parse().expect("an IPv4 address");
    (fd, address)
}

/// A port on 127.0.0.1 whose accept queue is full: the next SYN is not answered, as long as both are held.
///
/// # Panics
///
/// Where the kernel refuses.
pub fn full_port() -> (OwnedFd, TcpStream, SocketAddr) {
    let (fd, address) = taken_port();
    listen(&fd.as_fd(), Backlog::new(0).expect("0 is a backlog")).expect("a bound socket can listen");
    let first = connect(address);
    wait_until("the accept queue is full", || crate::tcp::listener(address.port()).is_some_and(|l| l.rx_queue == 1));
    (fd, first, address)
}

/// Python's interpreter itself. What `python3` names may be a script that starts others to find it, and whoever watches
/// it sees the calls of all of them.
pub fn python() -> Result<String, String> {
    let output = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output();
    let output = output.map_err(|error| format!("python3: {error}"))?;
    let path = String::from_utf8_lossy(&output.stdout).trim().to_string();
    if output.status.success() && !path.is_empty() {
        Ok(path)
    } else {
        Err(format!("python3 ended with {}", output.status))
    }
}

/// Whether `program` can be run here, as [`or_skip`](crate::namespace::or_skip) takes it.
pub fn runs(program: &str, arguments: &[&str]) -> Result<(), String> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{program} ended with {status}")),
        Err(error) => Err(format!("{program}: {error}")),
    }
}
