//! Lab 1, the server: an echo, one client at a time.
//!
//! What it does     sends back every byte that it is sent, until the client has finished; then serves the next client.
//! New here         socket, bind, listen, accept, read, write, close: the life of a TCP server, in that order.
//! Still wrong      while one client is served, the others wait in the accept queue (mended in lab 3).
//!                  A restart may fail for a minute (met in exercise 1.4, mended here by `--reuse`).
//! Terminal 1       make lab1
//! Terminal 2       make client1
//! Terminal 3       make states        or, with the machine's own tools: ss -tanp 'sport = :7001'
//! Watch            the listening socket stay LISTEN for as long as the server lives, and a second socket with the same
//!                  local port come and go with each client.
//! Man pages        tcp(7), ip(7), socket(2), bind(2), listen(2), accept(2), read(2), write(2), close(2)
//! Peer             client.rs; exercises 1.1 to 1.8 in EXERCISES.md

use std::io::{ErrorKind, Read, Write};
use std::thread;
use std::time::Duration;

use clap::Parser;
use kit::{During, Failure, ServerOptions, say};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// How many established connections the kernel keeps for us until we accept them (listen(2)).
const BACKLOG: i32 = 128;
const BUFFER_SIZE: usize = 64 * 1024;
/// How long to wait when there is no file descriptor left for a new connection.
const BREATH: Duration = Duration::from_millis(500);

/// Lab 1: an echo server, one client at a time
#[derive(Parser)]
struct Options {
    #[command(flatten)]
    server: ServerOptions<7001>,

    /// Listen even where connections of an earlier run with this option are in TIME-WAIT (SO_REUSEADDR)
    #[arg(long)]
    reuse: bool,
}

fn main() -> Result<(), Failure> {
    let options = Options::parse();
    let address = options.server.address();
    let mut buffer = vec![0; BUFFER_SIZE];

    // socket(2) makes an endpoint and gives us a file descriptor for it. It has no address and no state but CLOSED.
    let listener =
        Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP)).during("socket", address)?;

    // Without this option, bind(2) refuses a port as long as any socket still uses it, TIME-WAIT included. On Linux the
    // socket that is left over must have had the option too: it helps from the second run with it on.
    if options.reuse {
        listener.set_reuse_address(true).during("setsockopt SO_REUSEADDR", address)?;
    }

    // bind(2) gives the socket its local address and port, so that clients know where to knock.
    listener.bind(&address.into()).during("bind", address)?;

    // listen(2) makes it a listening socket: CLOSED becomes LISTEN. From here on the kernel answers every SYN by itself
    // and puts each connection, once established, into the accept queue.
    listener.listen(BACKLOG).during("listen", address)?;
    // getsockname(2): the address that it really has, with the port that the kernel chose if we asked for port 0.
    let bound = listener.local_addr().during("getsockname", address)?;
    say!("listening on {}", name_of(&bound));

    loop {
        // accept(2) takes the first connection out of the accept queue, and sleeps while the queue is empty. It returns a
        // second socket, the connected one: same local port, but with a peer, and ESTABLISHED already.
        let (mut connection, client) = match listener.accept() {
            Ok((connection, client)) => (connection, name_of(&client)),
            // A signal came in while we slept: nothing was accepted, nothing is lost.
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            // The client was gone again before we came to it (on Linux, read(2) is more often the one to say so).
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
            // No file descriptor is left. Clients stay in the queue: breathe, or this loop would take a whole core.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
                say!("{}\n  whoever connects waits in the accept queue", Failure::new("accept", address, error));
                thread::sleep(BREATH);
                continue;
            }
            Err(error) => return Err(error).during("accept", address),
        };
        say!("{client} connected");

        let mut echoed = 0;
        let end = loop {
            // read(2) returns what has arrived, however the client cut it into writes; it sleeps while there is nothing.
            let length = match connection.read(&mut buffer) {
                // The client's FIN: it will send no more. Our side of the connection is in CLOSE-WAIT.
                Ok(0) => break Ok(()),
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                // A reset ends this client's connection and must not end the server.
                Err(error) => break Err(error).during("read", &client),
            };
            // write(2) copies bytes into the send buffer, perhaps not all at once, and sleeps while that is full;
            // `write_all` calls it until all are taken (lab 2 does that by hand).
            if let Err(error) = connection.write_all(&buffer[..length]) {
                break Err(error).during("write", &client);
            }
            echoed += length;
        };
        match end {
            Ok(()) => say!("{client} finished: {echoed} bytes echoed"),
            Err(failure) => say!("{client} lost after {echoed} bytes: {failure}"),
        }

        // close(2), here by giving up the value: our FIN goes out, CLOSE-WAIT becomes LAST-ACK, then CLOSED.
        drop(connection);
    }
}

fn name_of(address: &SockAddr) -> String {
    address.as_socket().map_or("an unknown address".into(), |address| address.to_string())
}
