//! A client for tests: lines of JSON over a blocking socket.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use serde_json::Value;
use testkit::process::Server;
use testkit::traffic::{connect, reset};

/// The server, on a port that the kernel chooses.
pub fn server(arguments: &[&str]) -> Server {
    Server::start("lab7-server", arguments)
}

/// One connection to it.
pub struct Client {
    stream: BufReader<TcpStream>,
    /// Events that came while an answer was awaited.
    events: VecDeque<Value>,
}

impl Client {
    pub fn connect(to: SocketAddr) -> Self {
        Self::of(connect(to))
    }

    pub fn of(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("a TCP socket");
        Self { stream: BufReader::new(stream), events: VecDeque::new() }
    }

    /// Connects and takes a name that must be free.
    pub fn named(to: SocketAddr, name: &str) -> Self {
        let mut client = Self::connect(to);
        let answer = client.register(name);
        assert_eq!(answer["type"], "OK", "{answer}");
        client
    }

    pub fn register(&mut self, name: &str) -> Value {
        self.ask(&request("REGISTER", name))
    }

    /// What its own end is called: how the server's log names it.
    pub fn address(&self) -> SocketAddr {
        self.socket().local_addr().expect("connected")
    }

    pub fn socket(&self) -> &TcpStream {
        self.stream.get_ref()
    }

    pub fn send(&mut self, line: &str) {
        self.send_bytes(format!("{line}\n").as_bytes());
    }

    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.socket().write_all(bytes).unwrap_or_else(|error| panic!("write of {} bytes: {error}", bytes.len()));
    }

    /// The next line, whatever it is, with its newline; `None` after the server's FIN.
    pub fn line(&mut self) -> Option<Vec<u8>> {
        let mut line = Vec::new();
        self.stream.read_until(b'\n', &mut line).unwrap_or_else(|error| panic!("read: {error}"));
        if line.is_empty() {
            return None;
        }
        assert!(line.ends_with(b"\n"), "cut: {}", String::from_utf8_lossy(&line));
        Some(line)
    }

    /// What the next line says; `None` after the server's FIN.
    pub fn next(&mut self) -> Option<Value> {
        let line = self.line()?;
        let value = serde_json::from_slice(&line);
        Some(value.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&line))))
    }

    /// The next answer. Events that come before it are kept for [`event`](Self::event).
    pub fn answer(&mut self) -> Value {
        loop {
            let line = self.next().expect("an answer, not the end");
            if line["type"] == "OK" || line["type"] == "ERROR" {
                return line;
            }
            self.events.push_back(line);
        }
    }

    /// The next event, which must come before any answer that was not awaited.
    pub fn event(&mut self) -> Value {
        if let Some(event) = self.events.pop_front() {
            return event;
        }
        let line = self.next().expect("an event, not the end");
        assert!(line["type"] != "OK" && line["type"] != "ERROR", "{line}");
        line
    }

    /// Sends a line and returns the answer to it.
    pub fn ask(&mut self, line: &str) -> Value {
        self.send(line);
        self.answer()
    }

    /// Says something to everybody else, and returns how many it went to.
    pub fn say(&mut self, text: &str) -> u64 {
        let answer = self.ask(&request("MESSAGE", text));
        answer["data"].as_u64().unwrap_or_else(|| panic!("{answer}"))
    }

    /// That the server has carried out all that was sent before, and that no event is left over.
    pub fn expect_nothing_more(&mut self) {
        assert_eq!(self.ask(r#"{"type":"ECHO","data":"the end of it"}"#)["data"], "the end of it");
        assert!(self.events.is_empty(), "{:?}", self.events);
    }

    pub fn shut_down(&self) {
        self.socket().shutdown(Shutdown::Write).expect("connected");
    }

    pub fn reset(self) {
        reset(self.stream.into_inner());
    }

    /// All lines up to the server's FIN.
    pub fn rest(&mut self) -> Vec<Value> {
        let mut lines: Vec<Value> = self.events.drain(..).collect();
        while let Some(line) = self.next() {
            lines.push(line);
        }
        lines
    }
}

/// `{"type":KIND,"data":"TEXT"}`
pub fn request(kind: &str, text: &str) -> String {
    serde_json::json!({ "type": kind, "data": text }).to_string()
}

/// The code of an ERROR.
#[track_caller]
pub fn code(answer: &Value) -> &str {
    assert_eq!(answer["type"], "ERROR", "{answer}");
    answer["code"].as_str().expect("a code is a string")
}

/// The server still serves others.
pub fn still_serves(server: &Server) {
    let mut client = Client::connect(server.address());
    client.expect_nothing_more();
    client.shut_down();
    assert!(client.rest().is_empty());
}

/// A number of bytes from `/proc/PID/status` (proc(5)): `VmRSS`, or `VmHWM`, the most that it ever was.
pub fn memory(pid: i32, which: &str) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let line = status.lines().find(|line| line.starts_with(which)).expect("proc(5) names it");
    let kibibytes = line.split_whitespace().nth(1).and_then(|number| number.parse::<usize>().ok());
    kibibytes.expect("a number") * 1024
}
