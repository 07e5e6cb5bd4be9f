//! A connection to the chat: lines there and lines back, with nothing between a client and the socket that could hide a fault.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{setsockopt, sockopt};
use serde_json::Value;

/// A server that takes nothing for so long is stuck.
const PATIENCE: Duration = Duration::from_secs(10);

/// One client's side.
pub struct Wire {
    connection: TcpStream,
    /// What has come after the last whole line.
    rest: Vec<u8>,
    /// Whole lines that nobody has asked for yet, the next one last.
    lines: Vec<Vec<u8>>,
}

/// What came next.
pub enum Next {
    /// A line, its newline not included.
    Line(Vec<u8>),
    /// Nothing, within the time given.
    Silence,
    /// The server's FIN.
    Finished,
    /// A reset, or another error.
    Broken,
}

impl Wire {
    /// Connects.
    pub fn connect(server: SocketAddr) -> io::Result<Self> {
        let connection = TcpStream::connect(server)?;
        connection.set_nodelay(true)?;
        connection.set_write_timeout(Some(PATIENCE))?;
        Ok(Self { connection, rest: Vec::new(), lines: Vec::new() })
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.connection.write_all(bytes)
    }

    /// Sends a line of JSON.
    pub fn request(&mut self, request: &Value) -> io::Result<()> {
        self.send(format!("{request}\n").as_bytes())
    }

    /// The next line, waiting until `deadline` at most.
    pub fn next(&mut self, deadline: Instant) -> Next {
        loop {
            if let Some(line) = self.lines.pop() {
                return Next::Line(line);
            }
            let mut fds = [PollFd::new(self.connection.as_fd(), PollFlags::POLLIN)];
            let left = deadline.saturating_duration_since(Instant::now());
            // Rounded up, or the last millisecond would be spent turning in this loop.
            let left = u32::try_from(left.as_micros().div_ceil(1000)).unwrap_or(u32::MAX);
            match poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)) {
                Ok(0) => return Next::Silence,
                Ok(_) => {}
                Err(_) => return Next::Broken,
            }
            match self.read() {
                Ok(0) => return Next::Finished,
                Ok(_) => {}
                Err(_) => return Next::Broken,
            }
        }
    }

    /// The next answer to this client, events passed over; `None` if the connection ends or ten seconds pass.
    pub fn answer(&mut self) -> Option<Value> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let Next::Line(line) = self.next(deadline) else { return None };
            let line: Value = serde_json::from_slice(&line).ok()?;
            if line["type"] == "OK" || line["type"] == "ERROR" {
                return Some(line);
            }
        }
    }

    /// Our FIN.
    pub fn finish(&self) {
        let _ = self.connection.shutdown(std::net::Shutdown::Write);
    }

    /// Closes with a reset (SO_LINGER with a time of 0).
    pub fn reset(self) {
        let _ = setsockopt(&self.connection.as_fd(), sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 });
    }

    fn read(&mut self) -> io::Result<usize> {
        let mut bytes = [0; 16 * 1024];
        let length = self.connection.read(&mut bytes)?;
        self.rest.extend_from_slice(&bytes[..length]);
        let whole = self.rest.iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1);
        let lines: Vec<u8> = self.rest.drain(..whole).collect();
        // Without the last newline there would be an empty line behind it.
        let lines = lines.strip_suffix(b"\n").map(|lines| lines.split(|&byte| byte == b'\n').rev());
        self.lines = lines.map_or(Vec::new(), |lines| lines.map(<[u8]>::to_vec).collect());
        Ok(length)
    }
}
