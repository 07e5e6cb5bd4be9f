//! Lab 4, the client: requests and answers, over a small library.
//!
//! What it does     makes a request of each line that you type, waits for the answer, prints what is in it.
//! New here         `Client` in the library (requester.rs), which knows where an answer ends. TCP_NODELAY, for once: it
//!                  makes `--byte-by-byte` what it says.
//! Still wrong      like lab 1's it sleeps at the keyboard, and there cannot hear the server (mended in lab 5). It writes
//!                  all before it reads: with requests enough at once, both sides would sleep in write (exercise 1.5).
//! Terminal 1       make lab4 ARGS=--show-reads
//! Terminal 2       make client4          then with ARGS=--byte-by-byte, then with ARGS=--ten-at-once
//! Terminal 3       make states
//! Watch            what you type is the same each time, and so are the answers; what the server's read(2) returns is not.
//! Man pages        tcp(7), write(2), shutdown(2)
//! Peer             server.rs; exercises 4.1 to 4.8 in EXERCISES.md

use std::io::{self, Error};
use std::net::{SocketAddr, ToSocketAddrs};
use std::thread;
use std::time::Duration;

use clap::Parser;
use kit::{ClientOptions, During, Failure, Keyboard, Screen};
use lab04_messages::Client;
use lab04_messages::messages::{Request, Response, to_line};
use nix::sys::socket::{setsockopt, sockopt};
use serde_json::Value;

/// Longer lines are sent in pieces, each as a message of its own. Above what the server takes, so that it can say so.
const LONGEST_LINE: usize = 1024 * 1024;

/// Between two bytes of `--byte-by-byte`: they are faster than a server wakes up, and it would find several at once.
const PAUSE: Duration = Duration::from_millis(5);

/// Lab 4: the client of a server of JSON messages
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    client: ClientOptions<7004>,

    /// Send each message in as many writes as it has bytes
    #[arg(long)]
    byte_by_byte: bool,

    /// Send each message ten times, in one write, and then wait for ten answers
    #[arg(long)]
    ten_at_once: bool,
}

fn main() -> Result<(), Failure> {
    let Options { client: options, byte_by_byte, ten_at_once } = Options::parse();
    let mut keyboard = Keyboard::default();
    let screen = Screen::default();

    let server = format!("{}:{}", options.host(), options.port);
    let addresses = (options.host(), options.port).to_socket_addrs().during("getaddrinfo", &server)?;
    let mut client = connect_to_one_of(addresses, options.timeout())?;
    if byte_by_byte {
        // Nagle's algorithm sends a small segment only when nothing is under way unacknowledged: the first byte would go
        // out at once, and all others together in one segment behind it. This option turns it off (tcp(7)).
        setsockopt(&client, sockopt::TcpNoDelay, &true).during("setsockopt TCP_NODELAY", &server)?;
    }
    if keyboard.is_terminal() {
        eprintln!("connected to {server}; what you type comes back, /time asks for the time, {{… is sent as it is");
        eprintln!("end with Done or Ctrl-D");
    }

    let times = if ten_at_once { 10 } else { 1 };
    while let Some(line) = next_line(&mut keyboard).during("read", "standard input")? {
        let messages = message_of(&line)?.repeat(times);
        // One write(2), or one for each byte. The server cannot tell by the bytes, and must not care.
        let writes = messages.chunks(if byte_by_byte { 1 } else { messages.len() });
        for bytes in writes {
            client.send(bytes)?;
            if byte_by_byte {
                thread::sleep(PAUSE);
            }
        }
        for _ in 0..times {
            show(&screen, client.receive()?).during("write", "standard output")?;
        }
    }
    client.finish()
}

/// What is sent for a line that was typed.
fn message_of(line: &[u8]) -> Result<Vec<u8>, Failure> {
    let request = match str::from_utf8(line) {
        Ok("/time" | "TIME") => Request::Time,
        Ok(text) if !text.starts_with('{') => Request::Echo(text.into()),
        // JSON already; or bytes that no JSON can hold. The server shall say what it makes of them.
        _ => return Ok([line, b"\n"].concat()),
    };
    to_line(&request).during("write", "a request as JSON")
}

fn show(screen: &Screen, response: Response) -> io::Result<()> {
    let line = match response {
        Response::Ok { data: Value::String(text), .. } => text + "\n",
        Response::Ok { data, .. } => format!("{data}\n"),
        Response::Error { .. } => return screen.show(&to_line(&response)?),
    };
    screen.show(line.as_bytes())
}

/// A whole line without its newline, or what stands there in place of one at the end.
fn next_line(keyboard: &mut Keyboard) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    while line.len() < LONGEST_LINE {
        match keyboard.next_line()? {
            Some(piece) => line.extend_from_slice(piece),
            None if line.is_empty() => return Ok(None),
            None => break,
        }
        if line.ends_with(b"\n") {
            line.pop();
            break;
        }
    }
    Ok(Some(line))
}

/// Tries each address in turn: a name may stand for an IPv6 and an IPv4 address, and the server listen on one of them.
fn connect_to_one_of(
    addresses: impl Iterator<Item = SocketAddr>,
    timeout: Option<Duration>,
) -> Result<Client, Failure> {
    let mut failed = None;
    for address in addresses {
        if let Some(failure) = failed.take() {
            eprintln!("{failure}\nthe name has another address: trying {address}");
        }
        match Client::connect(address, timeout) {
            Ok(client) => return Ok(client),
            Err(failure) => failed = Some(failure),
        }
    }
    Err(failed.unwrap_or_else(no_address))
}

fn no_address() -> Failure {
    Failure::new("getaddrinfo", "the server", Error::other("the name has no address"))
}
