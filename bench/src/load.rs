//! The load generators: what a run asks of a server, and how long it took.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::Instant;

use crate::server::Server;
use crate::talk::Language;

/// What is sent and has to come back.
const MESSAGE: [u8; 64] = [b'.'; 64];

/// Sends a message and waits for its echo, over one connection: round trips per second.
///
/// The first `warm_up` round trips are not counted.
pub fn round_trips(server: &Server, warm_up: usize, count: usize) -> io::Result<f64> {
    let mut connection = server.connect()?;
    let mut answer = [0; MESSAGE.len()];
    let mut run = |count| {
        for _ in 0..count {
            connection.write_all(&MESSAGE)?;
            connection.read_exact(&mut answer)?;
        }
        io::Result::Ok(())
    };
    run(warm_up)?;
    let started = Instant::now();
    run(count)?;
    Ok(count as f64 / started.elapsed().as_secs_f64())
}

/// Connects, has one message echoed and closes, `count` times in each of `clients` threads: clients served per second.
///
/// The first `warm_up` clients, one after another, are not counted.
pub fn short_clients(server: &Server, warm_up: usize, clients: usize, count: usize) -> io::Result<f64> {
    let run = |count| (0..count).try_for_each(|_| be_a_client(server));
    run(warm_up)?;
    let started = Instant::now();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..clients).map(|_| scope.spawn(|| run(count))).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().unwrap_or_else(|_| Err(io::Error::other("a client thread panicked"))))
    })?;
    Ok((clients * count) as f64 / started.elapsed().as_secs_f64())
}

/// Connects, asks once, and closes, `count` times one after another: clients served per second.
///
/// The first `warm_up` clients are not counted.
pub fn visits(server: &Server, language: Language, warm_up: usize, count: usize) -> io::Result<f64> {
    let exchange = language.try_out(&server.connect()?)?;
    let run = |count| {
        (0..count).try_for_each(|_| {
            let connection = server.connect()?;
            exchange.have(&connection)?;
            leave(connection)
        })
    };
    run(warm_up)?;
    let started = Instant::now();
    run(count)?;
    Ok(count as f64 / started.elapsed().as_secs_f64())
}

/// Connect, echo, FIN, and wait for the server's FIN: the server is done with this client, but for its log and its exit.
fn be_a_client(server: &Server) -> io::Result<()> {
    let mut connection = server.connect()?;
    let mut answer = [0; MESSAGE.len()];
    connection.write_all(&MESSAGE)?;
    connection.read_exact(&mut answer)?;
    leave(connection)
}

/// FIN, and wait for the server's FIN.
fn leave(mut connection: TcpStream) -> io::Result<()> {
    connection.shutdown(Shutdown::Write)?;
    match connection.read(&mut [0])? {
        0 => Ok(()),
        _ => Err(io::Error::other("the server sent more than an echo")),
    }
}
