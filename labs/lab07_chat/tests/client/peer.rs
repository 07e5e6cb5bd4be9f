//! A server in the test's own hands.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;

use testkit::process::{Directory, PATIENCE, Process, binary};
use testkit::tcp::wait_until;

/// Where clients are awaited.
pub struct Peer {
    listener: TcpListener,
}

/// The server's end of a connection.
pub struct Client {
    stream: BufReader<TcpStream>,
}

impl Peer {
    /// On a port that the kernel chooses.
    pub fn new() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").unwrap() }
    }

    /// Again where another was before.
    pub fn again(address: SocketAddr) -> Self {
        let mut listener = None;
        wait_until("the port can be had again", || {
            listener = TcpListener::bind(address).ok();
            listener.is_some()
        });
        Self { listener: listener.unwrap() }
    }

    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    /// A command for the client, with `arguments`. Its times are shown in a zone two hours east of Greenwich.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary("lab7-client"));
        command.args(["127.0.0.1", &self.address().port().to_string()]).args(arguments).env("TZ", "XXX-2");
        command
    }

    /// The client, with pipes for a keyboard and a screen, and our end of its connection.
    pub fn start(&self, arguments: &[&str]) -> (Process, Client) {
        let process = Process::start(&mut self.command(arguments));
        (process, self.accept())
    }

    /// The client with a script of these lines.
    pub fn play(&self, directory: &Directory, script: &str, arguments: &[&str]) -> (Process, Client) {
        let file = directory.path().join("demo.chat");
        std::fs::write(&file, script).unwrap();
        let mut command = self.command(&["--script", file.to_str().unwrap()]);
        let process = Process::start(command.args(arguments));
        (process, self.accept())
    }

    pub fn accept(&self) -> Client {
        let (stream, _) = self.listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream: BufReader::new(stream) }
    }
}

impl Client {
    /// The next line that the client sends, without its newline.
    pub fn request(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("a request");
        assert!(line.ends_with('\n'), "the connection ended after {line:?}");
        line.trim_end().into()
    }

    /// Whether more has arrived than was looked at.
    pub fn has_more(&self) -> bool {
        self.stream.get_ref().set_nonblocking(true).unwrap();
        let peeked = self.stream.get_ref().peek(&mut [0; 1]);
        self.stream.get_ref().set_nonblocking(false).unwrap();
        !self.stream.buffer().is_empty() || peeked.is_ok()
    }

    /// Expects this request.
    #[track_caller]
    pub fn expect(&mut self, request: &str) -> &mut Self {
        assert_eq!(self.request(), request);
        self
    }

    /// Expects a MESSAGE.
    #[track_caller]
    pub fn expect_message(&mut self, text: &str) -> &mut Self {
        self.expect(&format!(r#"{{"type":"MESSAGE","data":"{text}"}}"#))
    }

    pub fn send(&mut self, line: &str) -> &mut Self {
        self.send_bytes(format!("{line}\n").as_bytes())
    }

    pub fn send_bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.stream.get_mut().write_all(bytes).unwrap();
        self
    }

    /// Says yes to a request of type `re`; `data` is JSON.
    pub fn ok(&mut self, re: &str, data: &str) -> &mut Self {
        self.send(&format!(r#"{{"type":"OK","re":"{re}","data":{data}}}"#))
    }

    pub fn error(&mut self, re: &str, code: &str, message: &str) -> &mut Self {
        self.send(&format!(r#"{{"type":"ERROR","re":{re},"code":"{code}","message":"{message}"}}"#))
    }

    /// Something that somebody said, at half past ten by the client's clock, some days ago.
    pub fn broadcast(&mut self, from: &str, text: &str) -> &mut Self {
        let time = "2026-01-02T08:30:15Z";
        self.send(&format!(r#"{{"type":"BROADCAST","from":"{from}","data":"{text}","time":"{time}"}}"#))
    }

    /// Expects QUIT, and does what a server does then.
    #[track_caller]
    pub fn let_go(mut self) {
        self.expect(r#"{"type":"QUIT"}"#).ok("QUIT", r#""Goodbye.""#);
        self.stream.get_mut().shutdown(std::net::Shutdown::Write).unwrap();
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).expect("the end of the connection");
        assert_eq!(rest, b"", "more came after QUIT");
    }

    /// The same connection once more, for who writes while another one reads.
    pub fn another(&self) -> Self {
        Self { stream: BufReader::new(self.stream.get_ref().try_clone().unwrap()) }
    }

    /// The bare connection.
    pub fn into_stream(self) -> TcpStream {
        self.stream.into_inner()
    }
}
