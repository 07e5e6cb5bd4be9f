//! Connections that open and end in every way that two ordinary programs can bring about.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, connect, listen, setsockopt, socket, sockopt,
};
use testkit::tcp::{State, sockets, wait_until};

type Play = fn(TcpStream);

/// How many ports from the first one on belong to the servers.
pub const PORTS: u16 = 900;

/// Plays everything, with servers from this port on, and waits until no segment is on its way any more.
pub fn play_all(first: u16) {
    let mut port = first;
    for (times, client, server) in pairs() {
        port += 1;
        serve(SocketAddr::from(([127, 0, 0, 1], port)), times, 1, client, server);
    }
    serve(SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], port + 1)), 20, 1, |stream| drop(talk(stream)), echo);
    serve(SocketAddr::from(([127, 0, 0, 1], port + 2)), 400, 8, |stream| drop(talk(stream)), echo);
    refused(port + 3);
    both_at_once(port + 4);
    full_queue(port + 5);
    deferred(port + 6);
    zero_window(port + 7);
    for seed in 0..4 {
        at_random(port + 8 + seed, u64::from(seed) + 1);
    }
    simultaneous_open(port + 12);
    settle();
}

fn echo(mut stream: TcpStream) {
    let mut bytes = [0; 4096];
    while let Ok(length @ 1..) = stream.read(&mut bytes) {
        if stream.write_all(&bytes[..length]).is_err() {
            return;
        }
    }
}

/// How often, what the client does, and what the server does.
fn pairs() -> [(usize, Play, Play); 13] {
    [
        // client closes first
        (40, |stream| drop(talk(stream)), echo),
        // server closes first
        (40, |stream| read_all(talk(stream)), |stream| drop(hear(stream, 5))),
        // half-close, data afterwards
        (20, half_close, |stream| {
            let mut stream = hear(stream, usize::MAX);
            let _ = stream.write_all(&[7; 100_000]);
        }),
        // client resets
        (40, |stream| reset(talk(stream)), echo),
        // client resets at once
        (40, reset, echo),
        // server resets
        (20, |stream| read_all(talk(stream)), |stream| reset(hear(stream, 5))),
        // client leaves bytes unread
        (
            20,
            |stream| drop(hear(stream, 1)),
            |mut stream| {
                let _ = stream.write_all(&[7; 100]);
                read_all(stream);
            },
        ),
        // server leaves bytes unread
        (20, |stream| read_all(talk(stream)), |stream| drop(hear(stream, 1))),
        // client closes at once
        (100, drop, echo),
        // client writes and closes
        (100, |mut stream| stream.write_all(b"hello").unwrap(), echo),
        // server closes at once
        (60, read_all, drop),
        // closes while the other side streams
        (
            20,
            |stream| drop(hear(stream, 100_000)),
            |mut stream| {
                let _ = stream.write_all(&vec![7; 3_000_000]);
            },
        ),
        // half-closes while the other side streams
        (20, half_close, |mut stream| {
            let _ = stream.write_all(&vec![7; 3_000_000]);
            read_all(stream);
        }),
    ]
}

/// Waits until every connection has come to rest.
fn settle() {
    let rests = |state| matches!(state, State::TimeWait | State::FinWait2 | State::Listen);
    wait_until("every connection has ended", || sockets().iter().all(|socket| rests(socket.state)));
}

/// Plays both sides that often, by so many clients at once.
fn serve(address: SocketAddr, times: usize, clients: usize, client: Play, server: Play) {
    let listener = TcpListener::bind(address).unwrap();
    thread::scope(|scope| {
        scope.spawn(move || {
            let streams = (0..times).map(|_| listener.accept().unwrap().0).map(|stream| {
                if clients == 1 {
                    server(stream);
                    None
                } else {
                    Some(thread::spawn(move || server(stream)))
                }
            });
            streams.collect::<Vec<_>>().into_iter().flatten().for_each(|thread| thread.join().unwrap());
        });
        for _ in 0..clients {
            scope.spawn(move || (0..times / clients).for_each(|_| client(TcpStream::connect(address).unwrap())));
        }
    });
}

fn talk(mut stream: TcpStream) -> TcpStream {
    let _ = stream.write_all(b"hello");
    let _ = stream.read(&mut [0; 5]);
    stream
}

fn hear(mut stream: TcpStream, most: usize) -> TcpStream {
    let mut bytes = vec![0; most.min(65536)];
    let mut heard = 0;
    while heard < most
        && let Ok(length @ 1..) = stream.read(&mut bytes)
    {
        heard += length;
    }
    stream
}

fn read_all(stream: TcpStream) {
    drop(hear(stream, usize::MAX));
}

fn half_close(mut stream: TcpStream) {
    let _ = stream.write_all(b"the whole question");
    let _ = stream.shutdown(Shutdown::Write);
    read_all(stream);
}

fn reset(stream: TcpStream) {
    let at_once = nix::libc::linger { l_onoff: 1, l_linger: 0 };
    setsockopt(&stream, sockopt::Linger, &at_once).unwrap();
}

fn refused(port: u16) {
    for _ in 0..10 {
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    }
}

fn both_at_once(port: u16) {
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    for round in 0..300 {
        let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        if round % 2 == 0 {
            server.write_all(b"news").unwrap();
            (&client).read_exact(&mut [0; 4]).unwrap();
        }
        let barrier = Arc::new(Barrier::new(2));
        let other = barrier.clone();
        let thread = thread::spawn(move || {
            other.wait();
            drop(client);
        });
        barrier.wait();
        for _ in 0..round * 20 {
            std::hint::spin_loop();
        }
        drop(server);
        thread.join().unwrap();
    }
}

/// More connections than the accept queue takes: the handshake's last ACK is dropped.
fn full_queue(port: u16) {
    let listener = bound(port);
    listen(&listener, Backlog::new(1).unwrap()).unwrap();
    let clients: Vec<_> = (0..5)
        .map(|_| {
            let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
            let client = socket(AddressFamily::Inet, SockType::Stream, flags, None).unwrap();
            let _ = connect(std::os::fd::AsRawFd::as_raw_fd(&client), &SockaddrIn::new(127, 0, 0, 1, port));
            client
        })
        .collect();
    // Longer than it takes to send the SYN+ACK again.
    wait_until("clients are connected", || {
        let established = |socket: &&testkit::tcp::Socket| socket.local.port() == port;
        sockets().iter().filter(established).count() >= 3
    });
    thread::sleep(Duration::from_millis(1500));
    drop(clients);
    drop(listener);
}

fn bound(port: u16) -> std::os::fd::OwnedFd {
    let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    setsockopt(&fd, sockopt::ReuseAddr, &true).unwrap();
    bind(std::os::fd::AsRawFd::as_raw_fd(&fd), &SockaddrIn::new(127, 0, 0, 1, port)).unwrap();
    fd
}

/// TCP_DEFER_ACCEPT: a handshake is complete only when data comes.
fn deferred(port: u16) {
    let listener = bound(port);
    let seconds = 3_i32;
    // SAFETY: the pointer and the length describe `seconds`, which lives through the call.
    let result = unsafe {
        libc::setsockopt(
            std::os::fd::AsRawFd::as_raw_fd(&listener),
            libc::IPPROTO_TCP,
            libc::TCP_DEFER_ACCEPT,
            (&raw const seconds).cast(),
            size_of::<i32>() as u32,
        )
    };
    assert_eq!(result, 0);
    listen(&listener, Backlog::new(10).unwrap()).unwrap();
    let listener = TcpListener::from(listener);
    for round in 0..10 {
        let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        thread::sleep(Duration::from_millis(150));
        if round % 2 == 0 {
            client.write_all(b"hello").unwrap();
            drop(hear(listener.accept().unwrap().0, 5));
        }
    }
}

fn simultaneous_open(port: u16) {
    for round in 0..100 {
        let ports = (port + 2 * round, port + 1 + 2 * round);
        let barrier = Arc::new(Barrier::new(2));
        let open = |from: u16, to: u16, barrier: Arc<Barrier>| {
            let fd = bound(from);
            thread::spawn(move || {
                barrier.wait();
                let to = SockaddrIn::new(127, 0, 0, 1, to);
                connect(std::os::fd::AsRawFd::as_raw_fd(&fd), &to).is_ok().then(|| TcpStream::from(fd))
            })
        };
        let threads = [open(ports.0, ports.1, barrier.clone()), open(ports.1, ports.0, barrier)];
        let streams = threads.map(|thread| thread.join().unwrap());
        if let [Some(mut one), Some(mut other)] = streams {
            one.write_all(b"hello").unwrap();
            other.read_exact(&mut [0; 5]).unwrap();
        }
    }
}

/// A FIN that waits behind data for which there is no window.
fn zero_window(port: u16) {
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    for _ in 0..5 {
        let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let (server, _) = listener.accept().unwrap();
        client.set_nonblocking(true).unwrap();
        while (&client).write(&[7; 65536]).is_ok() {}
        client.shutdown(Shutdown::Write).unwrap();
        server.shutdown(Shutdown::Write).unwrap();
        drop(client.as_fd().try_clone_to_owned().unwrap());
        read_all(server);
    }
}

/// Both sides do one thing or another.
fn at_random(port: u16, seed: u64) {
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    for _ in 0..250 {
        let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let mut own = Random(random.next());
        let thread = thread::spawn(move || improvise(client, &mut own));
        improvise(listener.accept().unwrap().0, &mut random);
        thread.join().unwrap();
    }
}

fn improvise(mut stream: TcpStream, random: &mut Random) {
    // A short time limit where both wait for each other.
    for limit in [TcpStream::set_read_timeout, TcpStream::set_write_timeout] {
        limit(&stream, Some(Duration::from_millis(10))).unwrap();
    }
    for _ in 0..random.next() % 6 {
        match random.next() % 8 {
            0 | 1 => drop(stream.write(&[7; 20])),
            2 => drop(stream.write(&vec![7; (random.next() % 300_000) as usize])),
            3 | 4 => drop(stream.read(&mut [0; 100])),
            5 => drop(stream.read(&mut vec![0; 100_000])),
            6 if random.next().is_multiple_of(3) => drop(stream.shutdown(Shutdown::Write)),
            _ => (0..random.next() % 20_000).for_each(|_| std::hint::spin_loop()),
        }
    }
    match random.next() % 6 {
        0 => reset(stream),
        1 => read_all(stream),
        _ => drop(stream),
    }
}

/// xorshift64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 8
    }
}
