//! What the tests of this lab share: a server, and a client of bare bytes.

#![allow(clippy::unwrap_used, dead_code, reason = "a failed expectation is what a test is for; no file uses all of it")]

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use serde_json::{Value, json};
use testkit::process::Server;
use testkit::traffic::{connect, expect_end};

pub fn server(arguments: &[&str]) -> Server {
    Server::start("lab4-server", arguments)
}

/// A connection on which whole lines are read, and any bytes written.
pub struct Peer {
    pub stream: TcpStream,
    lines: BufReader<TcpStream>,
}

impl Peer {
    pub fn new(server: &Server) -> Self {
        Self::at(server.address())
    }

    pub fn at(address: SocketAddr) -> Self {
        let stream = connect(address);
        // Each write its own segment, at once: tests cut messages where they want.
        stream.set_nodelay(true).unwrap();
        Self { lines: BufReader::new(stream.try_clone().unwrap()), stream }
    }

    pub fn name(&self) -> String {
        self.stream.local_addr().unwrap().to_string()
    }

    pub fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// The next answer: one line, and one JSON object.
    #[track_caller]
    pub fn answer(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        assert!(line.ends_with('\n'), "not a whole line: {line:?}");
        assert!(!line.trim_end_matches('\n').contains(char::is_control), "{line:?}");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    #[track_caller]
    pub fn ask(&mut self, request: &Value) -> Value {
        self.write(format!("{request}\n"));
        self.answer()
    }

    /// An ECHO comes back.
    #[track_caller]
    pub fn is_served(&mut self) {
        let answer = self.ask(&json!({"type": "ECHO", "data": "still there?"}));
        assert_eq!(answer, json!({"type": "OK", "re": "ECHO", "data": "still there?"}));
    }

    /// Throws the connection away: RST in place of FIN.
    pub fn reset(self) {
        // A copy of the descriptor would keep the connection.
        drop(self.lines);
        testkit::traffic::reset(self.stream);
    }

    /// Half-closes, and expects the server's FIN and nothing before it.
    #[track_caller]
    pub fn finish(mut self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
        assert!(self.lines.buffer().is_empty(), "an answer too many");
        expect_end(&mut self.stream);
    }
}

/// The code of an ERROR.
pub fn code(answer: &Value) -> &str {
    assert_eq!(answer["type"], "ERROR", "{answer}");
    answer["code"].as_str().unwrap()
}

/// A line of `/proc/PID/status`, a number: kilobytes for `VmHWM`, the most memory it ever had.
pub fn status(pid: i32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}
