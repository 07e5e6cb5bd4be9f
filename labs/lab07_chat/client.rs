//! Lab 7, the client: a conversation, typed and read at once.
//!
//! What it does     sends what is typed, shows what the others write and never tears the line being typed; connects again
//!                  when the server goes away; plays scripts.
//! New here         two threads, one connection: one sleeps in read(2), the other at the keyboard, and shutdown(2) wakes the
//!                  first for the second. A server that vanishes without a word is noticed. In the library: what is typed
//!                  (typed.rs), what arrives (incoming.rs, show.rs), the terminal (console.rs), scripts (script.rs).
//! Still wrong      anybody can take any name: no passwords (mended in lab 8). Anybody on the way can read it (lab 10).
//! Terminal 1       make lab7
//! Terminals 2, 3   make client7          in each; then /name Alice, /help; stop and restart the server
//! Man pages        pthreads(7), shutdown(2), tcp(7), socket(7), termios(3)
//! Peer             server.rs; exercises 7.1 to 7.9 in EXERCISES.md

use std::io::{Error, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::process::{ExitCode, exit};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use clap::Parser;
use kit::{ClientOptions, During, Failure};
use lab04_messages::frames::{Frames, TooLong};
use lab07_chat::{console::Console, script::Script, talk::Talk, typed::Request};
use nix::sys::socket::{setsockopt, sockopt};

const BUFFER_SIZE: usize = 64 * 1024;
/// The longest line that is taken from a server: a long history comes in one.
const MAX_FRAME: usize = 16 * 1024 * 1024;

/// Lab 7: the chat's client
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    client: ClientOptions<7007>,

    /// Register under this name, after each reconnection too
    #[arg(long)]
    name: Option<String>,

    /// Type what stands in this file: lines, @pause 500ms, @wait TEXT, @limit 10s, # comments
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,

    /// Show the server's lines as they came
    #[arg(long)]
    json: bool,

    /// Connect again at most N times in a row [default: without end where a person types, else never]
    #[arg(long, value_name = "N")]
    reconnect: Option<u32>,
}

/// What both threads use.
struct Chat {
    client: ClientOptions<7007>,
    server: String,
    talk: Talk,
    /// The connection of the moment, if there is one.
    connection: Mutex<Option<Arc<TcpStream>>>,
}

fn main() -> Result<ExitCode, Failure> {
    let Options { client, name, script, json, reconnect } = Options::parse();
    let script = script.as_deref().map(Script::read).transpose()?;
    let server = format!("{}:{}", client.host(), client.port);
    let talk = Talk::new(Console::of_this_program(), script).with(name, json, reconnect);
    let chat = Arc::new(Chat { client, server, talk, connection: Mutex::default() });

    let mut connection = chat.connect_and_register()?;
    if chat.talk.has_person() {
        chat.talk.console.edit().during("tcsetattr", "standard input")?;
    }
    // Two threads, one connection: each can sleep in a read(2) of its own. What took a process and a signal in lab 3, a
    // thread does within one memory: name, counters and screen are common, each behind a lock. One thread and poll(2), as
    // in lab 5, would do as well, if keyboard and screen did not have so much of their own to do.
    let typing = Arc::clone(&chat);
    let typist = thread::Builder::new().spawn(move || typing.send_what_is_typed()).during("clone", "a thread")?;

    let end = loop {
        match chat.show_what_arrives(&connection).and_then(|failure| chat.connect_again(failure)) {
            Ok(Some(again)) => connection = again,
            // The other thread has hung up, and knows how all went.
            Ok(None) => break typist.join().unwrap_or(Ok(ExitCode::FAILURE)),
            // It may sleep at the keyboard for ever. The end of `main` is the end of all threads.
            Err(failure) => break Err(failure),
        }
    };
    chat.talk.console.close();
    end
}

impl Chat {
    /// The thread at the keyboard.
    fn send_what_is_typed(&self) -> Result<ExitCode, Failure> {
        let end = self.talk.type_all(&|request| self.send(request));
        let Some(connection) = self.connection().clone() else {
            // The other thread may be in connect(2) for minutes. Nothing is left to be waited for.
            let end = end.inspect_err(|failure| self.talk.console.tell(&format!("Error: {failure}")));
            exit(i32::from(!end.unwrap_or(false)))
        };
        // After a QUIT it is the server who ends the connection; the other thread sees its FIN. If that does not come:
        // shutdown(2) acts on the connection, whoever else uses it: our FIN goes out, and the read(2) in which the other
        // thread sleeps returns 0. close(2) would not wake it, and it would then read from whatever has the number next.
        if end.is_err() || !self.talk.waiting.for_end(Duration::from_secs(2)) {
            let _ = connection.shutdown(Shutdown::Both);
        }
        end.map(|is_clean| if is_clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn send(&self, request: &Request) {
        if !self.talk.has_person() {
            self.talk.waiting.for_connection();
        }
        match &*self.connection() {
            Some(connection) => self.write(connection, request),
            None => self.talk.console.tell("! not connected: that was not sent"),
        }
    }

    fn write(&self, mut connection: &TcpStream, request: &Request) {
        self.talk.waiting.sent();
        if let Err(error) = connection.write_all(&request.line()) {
            // EPIPE or ECONNRESET: the server is gone. (EPIPE comes with SIGPIPE, which Rust's runtime ignores.) Half a line
            // may be out, so the connection is of no use: the other thread, which sleeps in read(2), shall see its end.
            self.talk.console.tell(&format!("! {}", Failure::new("write", &self.server, error)));
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    /// The first thread. Returns how the connection ended; an error where it is we who cannot go on.
    fn show_what_arrives(&self, mut connection: &TcpStream) -> Result<Failure, Failure> {
        let (mut frames, mut buffer) = (Frames::new(MAX_FRAME), vec![0; BUFFER_SIZE]);
        loop {
            match connection.read(&mut buffer) {
                Ok(0) => return Ok(Failure::new("read", &self.server, early_end())),
                Ok(length) => frames.put(&buffer[..length]),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Ok(Failure::new("read", &self.server, error)),
            }
            while let Some(frame) = frames.next_frame() {
                match frame {
                    Ok(line) => self.talk.take(line)?,
                    Err(TooLong) => self.talk.console.tell("! a line of more than 16 MiB came, and was thrown away"),
                }
            }
        }
    }

    /// The next connection, or `None` where none is wanted.
    fn connect_again(&self, mut failure: Failure) -> Result<Option<Arc<TcpStream>>, Failure> {
        *self.connection() = None;
        while self.talk.pause_after(failure)? {
            match self.connect_and_register() {
                Ok(connection) => return Ok(Some(connection)),
                Err(next) => failure = next,
            }
        }
        Ok(None)
    }

    fn connect_and_register(&self) -> Result<Arc<TcpStream>, Failure> {
        let connection = Arc::new(self.connect_to_one_of()?);
        // As long as we hold the lock, nobody else writes: the name comes first.
        let mut current = self.connection();
        if let Some(request) = self.talk.introduction() {
            self.write(&connection, &request);
        }
        *current = Some(Arc::clone(&connection));
        self.talk.connected(&self.server);
        Ok(connection)
    }

    /// Tries each address in turn: a name may stand for an IPv6 and an IPv4 address, and the server listen on one of them.
    fn connect_to_one_of(&self) -> Result<TcpStream, Failure> {
        // Asked each time: the name may stand for another address by now.
        let addresses = (self.client.host(), self.client.port).to_socket_addrs().during("getaddrinfo", &self.server)?;
        let mut failed = None;
        for address in addresses {
            if let Some(failure) = failed.take() {
                self.talk.console.tell(&format!("{failure}\nthe name has another address: trying {address}"));
            }
            match connect(address, self.client.timeout()) {
                Ok(connection) => return Ok(connection),
                Err(failure) => failed = Some(failure),
            }
        }
        Err(failed.unwrap_or_else(no_address))
    }

    fn connection(&self) -> MutexGuard<'_, Option<Arc<TcpStream>>> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn connect(address: SocketAddr, timeout: Option<Duration>) -> Result<TcpStream, Failure> {
    let connection = match timeout {
        Some(timeout) => TcpStream::connect_timeout(&address, timeout),
        None => TcpStream::connect(address),
    };
    let connection = connection.during("connect", address)?;
    // A message is one small segment. Nagle's algorithm would keep a second one back until the first is acknowledged.
    setsockopt(&connection, sockopt::TcpNoDelay, &true).during("setsockopt TCP_NODELAY", address)?;
    // A host that loses its power sends no FIN. After 20 seconds of silence its kernel is asked whether it is there, then
    // every 5; when 30 have passed without an acknowledgement, or without room for what we write, read(2) gets ETIMEDOUT.
    setsockopt(&connection, sockopt::KeepAlive, &true).during("setsockopt SO_KEEPALIVE", address)?;
    setsockopt(&connection, sockopt::TcpKeepIdle, &20).during("setsockopt TCP_KEEPIDLE", address)?;
    setsockopt(&connection, sockopt::TcpKeepInterval, &5).during("setsockopt TCP_KEEPINTVL", address)?;
    setsockopt(&connection, sockopt::TcpUserTimeout, &30_000).during("setsockopt TCP_USER_TIMEOUT", address)?;
    Ok(connection)
}

fn early_end() -> Error {
    Error::other("the server closed the connection first")
}

fn no_address() -> Failure {
    Failure::new("getaddrinfo", "the server", Error::other("the name has no address"))
}
