//! Lab 1, the client: what you type goes to the server, what comes back is printed.
//!
//! What it does     looks up the server's name, connects, sends each line and waits until all of it is back. `Done` or
//!                  Ctrl-D ends: it says that it will send no more, and reads what is still on its way.
//! New here         getaddrinfo, connect, write, read, shutdown, close: the life of a TCP client, in that order.
//! Still wrong      it sleeps at the keyboard, so it does not notice when the server goes away (mended in lab 3 with a
//!                  second process, in lab 5 with poll).
//! Terminal 1       make lab1
//! Terminal 2       make client1
//! Terminal 3       make states        or, with the machine's own tools: ss -tanp 'dport = :7001'
//! Watch            ESTABLISHED after connect returns, though the server may not have accepted; FIN-WAIT-1 and -2 after
//!                  the half-close; TIME-WAIT at the end, on this side, because this side said goodbye first.
//! Man pages        tcp(7), getaddrinfo(3), connect(2), read(2), write(2), shutdown(2), close(2)
//! Peer             server.rs; exercises 1.1 to 1.8 in EXERCISES.md

use std::io::{Error, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, ToSocketAddrs};
use std::time::Duration;

use clap::Parser;
use kit::{ClientOptions, During, Failure, Keyboard, Screen};
use socket2::{Domain, Protocol, Socket, Type};

const BUFFER_SIZE: usize = 64 * 1024;

/// Lab 1: the client of an echo server
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    client: ClientOptions<7001>,
}

fn main() -> Result<(), Failure> {
    let options = Options::parse().client;
    let mut keyboard = Keyboard::default();
    let screen = Screen::default();
    let mut buffer = vec![0; BUFFER_SIZE];

    // getaddrinfo(3) is not a system call: it asks /etc/hosts and the name servers. A name may have many addresses.
    let server = format!("{}:{}", options.host(), options.port);
    let addresses = (options.host(), options.port).to_socket_addrs().during("getaddrinfo", &server)?;

    let mut connection = connect_to_one_of(addresses, options.timeout())?;
    if keyboard.is_terminal() {
        eprintln!("connected to {server}; type lines, end with Done or Ctrl-D");
    }

    while let Some(line) = keyboard.next_line().during("read", "standard input")? {
        // write(2) only hands the bytes to the kernel: when it returns, the server need not have seen any of them.
        connection.write_all(line).during("write", &server)?;

        // TCP keeps the order of bytes and nothing else: one write there may need many reads here.
        let mut missing = line.len();
        while missing > 0 {
            let length = match connection.read(&mut buffer) {
                // End of file, though an answer is due: the server closed its side first.
                Ok(0) => return Err(Failure::new("read", &server, early_end(missing))),
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).during("read", &server),
            };
            screen.show(&buffer[..length]).during("write", "standard output")?;
            missing = missing.saturating_sub(length);
        }
    }

    // shutdown(2) sends our FIN: ESTABLISHED becomes FIN-WAIT-1 and, when the server's kernel has answered, FIN-WAIT-2.
    // Only this direction is closed. What the server still has to say can be read.
    connection.shutdown(Shutdown::Write).during("shutdown", &server)?;
    loop {
        match connection.read(&mut buffer) {
            // The server's FIN: both directions are closed. This side now waits in TIME-WAIT, for a minute.
            Ok(0) => break,
            Ok(length) => screen.show(&buffer[..length]).during("write", "standard output")?,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error).during("read", &server),
        }
    }

    // close(2) gives the file descriptor back. TIME-WAIT outlives it: that state belongs to the kernel, to no process.
    drop(connection);
    Ok(())
}

/// Tries each address in turn: a name may stand for an IPv6 and an IPv4 address, and the server listen on one of them.
fn connect_to_one_of(
    addresses: impl Iterator<Item = SocketAddr>,
    timeout: Option<Duration>,
) -> Result<Socket, Failure> {
    let mut failed = None;
    for address in addresses {
        if let Some(failure) = failed.take() {
            eprintln!("{failure}\nthe name has another address: trying {address}");
        }
        match connect(address, timeout) {
            Ok(connection) => return Ok(connection),
            Err(failure) => failed = Some(failure),
        }
    }
    Err(failed.unwrap_or_else(no_address))
}

fn connect(address: SocketAddr, timeout: Option<Duration>) -> Result<Socket, Failure> {
    let connection =
        Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP)).during("socket", address)?;
    // connect(2) sends a SYN: CLOSED becomes SYN-SENT, and ESTABLISHED when the server's kernel has answered. The socket
    // had no name so far; now the kernel gives it a local port.
    match timeout {
        None => connection.connect(&address.into()).during("connect", address)?,
        Some(limit) => connection.connect_timeout(&address.into(), limit).during("connect", address)?,
    }
    Ok(connection)
}

fn early_end(missing: usize) -> Error {
    Error::other(format!("the server closed the connection while {missing} bytes were still to come back"))
}

fn no_address() -> Failure {
    Failure::new("getaddrinfo", "the server", Error::other("the name has no address"))
}
