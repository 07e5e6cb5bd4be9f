//! The tests that an echo lab has to pass whose server and client do all their work in one thread, written once;
//! [`one_thread_tests!`](crate::one_thread_tests) gives them to a lab.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use nix::sys::signal::Signal;

use crate::echo::{Lab, still_serves};
use crate::facts::{self, children_of, open_sockets, own_memory, threads_of};
use crate::namespace::inside;
use crate::process::{Directory, PATIENCE, Process, binary};
use crate::tcp::{listener, socket_between, wait_until};
use crate::terminal::{Ctrl, Terminal, TerminalOptions};
use crate::traffic::{
    MUCH, Random, connect, connect_with_small_buffer, echo_line, expect_end, read_random, reset, write_random,
};

/// Makes a test of each of this module's functions, for one lab.
#[macro_export]
macro_rules! one_thread_tests {
    ($lab:expr) => {
        $crate::one_thread_server_tests!($lab);
        $crate::one_thread_tests! { $lab =>
            the_client_has_one_process_and_one_thread
            the_client_sends_a_file_and_shows_its_echo_in_a_file
            the_client_carries_sixty_four_mebibytes_through_a_pipe_without_a_deadlock
            the_client_keeps_little_of_what_it_cannot_send
            at_a_terminal_ctrl_d_ends_the_client
            the_client_notices_at_once_that_the_server_has_finished_while_it_sits_at_the_keyboard
            the_client_names_a_reset
        }
    };
    ($lab:expr => $($name:ident)*) => { $(
        #[test]
        fn $name() {
            $crate::one_thread::$name(&$lab);
        }
    )* };
}

/// Those of [`one_thread_tests!`](crate::one_thread_tests) that concern the server.
#[macro_export]
macro_rules! one_thread_server_tests {
    ($lab:expr) => {
        $crate::one_thread_tests! { $lab =>
            one_process_with_one_thread_serves_five_hundred_clients_at_once
            a_client_that_does_not_read_is_bounded_hurts_nobody_and_gets_every_byte_at_last
            what_is_unsent_when_a_client_half_closes_is_sent_before_the_end
            a_reader_with_a_small_buffer_gets_what_short_writes_have_left
            who_finds_no_descriptor_is_served_when_another_leaves
            a_storm_of_connects_and_resets_leaves_nothing_behind
            one_that_writes_byte_by_byte_is_answered_beside_one_that_floods
            one_who_has_sent_much_does_not_have_it_all_read_before_the_next_has_a_turn
        }
    };
}

/// What a server may hold for one client, and a client in all, whatever its peer does; with room for the allocator's habits.
const BOUND: usize = 1 << 20;

#[track_caller]
fn memory_of(process: &Process) -> usize {
    own_memory(process.pid()).expect("it lives")
}

/// It sleeps, at each of many looks: a loop that does not rest would be seen running.
fn wait_until_at_rest(process: &Process) {
    let mut looks = 0;
    wait_until("it is at rest", || {
        looks = if facts::is_asleep(process.pid()) { looks + 1 } else { 0 };
        looks == 25
    });
}

/// Writes the sequence `seed` and does not read, until the server has stopped reading too. The number of bytes written.
fn write_until_stuck(mut stream: &TcpStream, seed: u64, server: SocketAddr) -> usize {
    stream.set_nonblocking(true).expect("a socket");
    let own = stream.local_addr().expect("connected");
    let (mut random, mut written, mut piece, mut last) = (Random::new(seed), 0, Vec::new(), None);
    wait_until("the server is stuck", || {
        let is_full = loop {
            if piece.is_empty() {
                piece = vec![0; 64 * 1024];
                random.fill(&mut piece);
            }
            match stream.write(&piece) {
                Ok(length) => {
                    written += length;
                    piece.drain(..length);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break true,
                Err(error) => panic!("write: {error}"),
            }
        };
        let seen = socket_between(server, own).map(|socket| (socket.tx_queue, socket.rx_queue));
        let is_stuck = is_full && seen.is_some_and(|(sent, received)| sent > 0 && received > 0) && seen == last;
        last = seen;
        is_stuck
    });
    stream.set_nonblocking(false).expect("a socket");
    written
}

fn echo_on(stream: &mut TcpStream, times: usize) {
    for number in 0..times {
        echo_line(stream, &format!("line {number}"));
    }
}

/// No child, no thread, and a descriptor for each client.
pub fn one_process_with_one_thread_serves_five_hundred_clients_at_once(lab: &Lab) {
    let server = lab.server();
    let before = open_sockets(server.pid()).len();
    let mut clients: Vec<_> = (0..500).map(|_| connect(server.address())).collect();
    for client in &mut clients {
        echo_line(client, "here");
    }
    assert_eq!(open_sockets(server.pid()).len(), before + 500);
    assert_eq!((threads_of(server.pid()), children_of(server.pid()).len()), (1, 0));
    // All have written before the first one reads.
    for (number, client) in clients.iter_mut().enumerate() {
        client.write_all(format!("{number:04}").as_bytes()).expect("the server reads");
    }
    for (number, client) in clients.iter_mut().enumerate().rev() {
        let mut back = [0; 4];
        client.read_exact(&mut back).expect("the echo");
        assert_eq!(back, format!("{number:04}").as_bytes());
    }
    for client in &mut clients {
        client.shutdown(Shutdown::Write).expect("connected");
        expect_end(client);
    }
    wait_until("every descriptor is closed", || open_sockets(server.pid()).len() == before);
    wait_until("all have finished", || server.count_lines("finished: 9 bytes echoed") == 500);
}

/// The kernel's buffers fill, the server stops reading from it, and then it is the client who has to wait.
pub fn a_client_that_does_not_read_is_bounded_hurts_nobody_and_gets_every_byte_at_last(lab: &Lab) {
    let server = lab.server();
    let mut other = connect(server.address());
    echo_line(&mut other, "first");
    let before = memory_of(&server);
    let mut stuck = connect(server.address());
    let written = write_until_stuck(&stuck, 11, server.address());
    let grown = memory_of(&server).saturating_sub(before);
    assert!(grown <= BOUND, "{grown} bytes more, for {written} written");
    wait_until_at_rest(&server);
    echo_on(&mut other, 200);
    echo_line(&mut connect(server.address()), "and who comes now");
    read_random(&stuck, 11, written);
    echo_line(&mut stuck, "it may talk on");
    wait_until_at_rest(&server);
    stuck.shutdown(Shutdown::Write).expect("connected");
    expect_end(&mut stuck);
    server.wait_for_text(&format!("finished: {} bytes echoed", written + "it may talk on\n".len()));
}

/// The client's FIN comes after all that it has sent, and the server's after all that it has to send.
pub fn what_is_unsent_when_a_client_half_closes_is_sent_before_the_end(lab: &Lab) {
    let server = lab.server();
    let mut stream = connect(server.address());
    let written = write_until_stuck(&stream, 12, server.address());
    stream.shutdown(Shutdown::Write).expect("connected");
    wait_until_at_rest(&server);
    read_random(&stream, 12, written);
    expect_end(&mut stream);
    server.wait_for_text(&format!("finished: {written} bytes echoed"));
}

/// SO_RCVBUF at its least, and small reads: the server's send buffer is full again and again.
pub fn a_reader_with_a_small_buffer_gets_what_short_writes_have_left(lab: &Lab) {
    const LENGTH: usize = 8 << 20;
    let server = lab.server();
    let mut stream = connect_with_small_buffer(server.address());
    let writer = stream.try_clone().expect("a descriptor more");
    thread::scope(|scope| {
        scope.spawn(move || {
            write_random(&writer, 13, LENGTH);
            writer.shutdown(Shutdown::Write).expect("connected");
        });
        let own = stream.local_addr().expect("connected");
        // The server waits for room, with something unsent: it has stopped reading.
        wait_until("the server is stuck", || {
            socket_between(server.address(), own).is_some_and(|socket| socket.tx_queue > 0 && socket.rx_queue > 0)
        });
        read_random(&stream, 13, LENGTH);
    });
    expect_end(&mut stream);
    server.wait_for_text(&format!("finished: {LENGTH} bytes echoed"));
}

/// Two have all the descriptors that there are; the third waits in the accept queue, and costs nothing.
pub fn who_finds_no_descriptor_is_served_when_another_leaves(lab: &Lab) {
    let server = lab.server();
    let mut served: Vec<_> = (0..2).map(|_| connect(server.address())).collect();
    served.iter_mut().for_each(|client| echo_line(client, "in"));
    let taken = facts::open_files(server.pid());
    let free = (0i32..).find(|fd| taken.iter().all(|(other, _)| other != fd)).expect("there are many");
    facts::limit(server.pid(), libc::RLIMIT_NOFILE, u64::from(free.cast_unsigned()));
    let mut third = connect(server.address());
    server.wait_for_text("EMFILE");
    wait_until("it is in the accept queue", || listener(server.port()).is_some_and(|l| l.rx_queue == 1));
    wait_until_at_rest(&server);
    served.iter_mut().for_each(|client| echo_line(client, "served on"));
    drop(served.pop());
    echo_line(&mut third, "my turn");
    served.iter_mut().for_each(|client| echo_line(client, "and I as well"));
}

/// Resets at once, with bytes that nobody has read, and with an echo on its way.
pub fn a_storm_of_connects_and_resets_leaves_nothing_behind(lab: &Lab) {
    let server = lab.server();
    let mut stays = connect(server.address());
    echo_line(&mut stays, "first");
    let before = open_sockets(server.pid()).len();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for number in 0..150 {
                    let mut stream = connect(server.address());
                    match number % 3 {
                        0 => {}
                        1 => stream.write_all(&[b'x'; 100_000]).expect("the server reads"),
                        _ => echo_line(&mut stream, "and away"),
                    }
                    reset(stream);
                }
            });
        }
        echo_on(&mut stays, 200);
    });
    wait_until("every descriptor is closed", || open_sockets(server.pid()).len() == before);
    wait_until_at_rest(&server);
    echo_line(&mut stays, "last");
    still_serves(&server);
}

/// One read or a few for each, and then it is another's turn.
pub fn one_that_writes_byte_by_byte_is_answered_beside_one_that_floods(lab: &Lab) {
    let server = lab.server();
    let mut slow = connect(server.address());
    let flood = connect(server.address());
    let is_over = AtomicBool::new(false);
    let (sent, read) = thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut sent = 0;
            while !is_over.load(Ordering::Relaxed) {
                sent += (&flood).write(&[b'f'; 256 * 1024]).expect("the server reads");
            }
            flood.shutdown(Shutdown::Write).expect("connected");
            sent
        });
        let reader = scope.spawn(|| {
            let (mut read, mut buffer) = (0, vec![0; 256 * 1024]);
            loop {
                match (&flood).read(&mut buffer).expect("the server writes") {
                    0 => break read,
                    length => read += length,
                }
            }
        });
        for byte in b"a word, letter by letter, each of which comes back before the next is sent" {
            slow.write_all(&[*byte]).expect("the server reads");
            let mut back = [0];
            slow.read_exact(&mut back).expect("the echo");
            assert_eq!(back, [*byte]);
        }
        is_over.store(true, Ordering::Relaxed);
        (writer.join().expect("no panic"), reader.join().expect("no panic"))
    });
    assert_eq!(sent, read);
    slow.shutdown(Shutdown::Write).expect("connected");
    expect_end(&mut slow);
}

/// While the server is stopped, one sends 32 MiB and another a line. The order of the log tells how it then took turns.
pub fn one_who_has_sent_much_does_not_have_it_all_read_before_the_next_has_a_turn(lab: &Lab) {
    const LENGTH: usize = 32 << 20;
    // Room for all of it in the kernel, so that nothing but the server's own patience ends a turn.
    let buffers = "4096 268435456 268435456";
    let settings = [("net/ipv4/tcp_rmem", buffers), ("net/ipv4/tcp_wmem", buffers)];
    inside("one_who_has_sent_much_does_not_have_it_all_read_before_the_next_has_a_turn", &settings, || {
        let server = lab.server();
        let mut clients = [(); 2].map(|()| connect(server.address()));
        clients.iter_mut().for_each(|client| echo_line(client, "here"));
        wait_until_at_rest(&server);
        server.signal(Signal::SIGSTOP);
        let [much, mut little] = clients;
        write_random(&much, 18, LENGTH);
        little.write_all(b"a line\n").expect("the kernel takes it");
        for client in [&much, &little] {
            client.shutdown(Shutdown::Write).expect("connected");
        }
        server.signal(Signal::SIGCONT);
        server.wait_for_text(&format!("finished: {} bytes echoed", LENGTH + 5));
        let log = String::from_utf8_lossy(&server.stdout()).into_owned();
        let of = |bytes: usize| log.find(&format!("finished: {bytes} bytes echoed"));
        assert!(of(12).is_some_and(|little| Some(little) < of(LENGTH + 5)), "{log}");
    });
}

/// In place of lab 3's two processes.
pub fn the_client_has_one_process_and_one_thread(lab: &Lab) {
    let server = lab.server();
    let mut client = lab.client(&server);
    client.type_line("hello");
    client.wait_for_line(|line| line == "hello");
    assert_eq!((threads_of(client.pid()), children_of(client.pid()).len()), (1, 0));
    assert_eq!(open_sockets(client.pid()).len(), 1);
}

/// A regular file is always ready: poll says so, and epoll does not take it (EPERM).
pub fn the_client_sends_a_file_and_shows_its_echo_in_a_file(lab: &Lab) {
    const LENGTH: usize = 5_000_000;
    let server = lab.server();
    let directory = Directory::new();
    let (from, to) = (directory.path().join("from"), directory.path().join("to"));
    write_random(File::create(&from).expect("a new file"), 14, LENGTH);
    let mut command = Command::new(binary(lab.client));
    command.args(["127.0.0.1", &server.port().to_string()]).stderr(Stdio::piped());
    command.stdin(File::open(&from).expect("it is there")).stdout(File::create(&to).expect("a new file"));
    let mut client = Process::start_as_is(&mut command);
    assert_eq!(client.finish().code(), Some(0), "{}", client.stderr());
    assert_eq!(to.metadata().expect("it is there").len(), LENGTH as u64);
    read_random(File::open(&to).expect("it is there"), 14, LENGTH);
}

/// Far more than all buffers between client and server hold: whoever wrote all before reading would never come back.
pub fn the_client_carries_sixty_four_mebibytes_through_a_pipe_without_a_deadlock(lab: &Lab) {
    let server = lab.server();
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let mut command = Command::new(binary(lab.client));
    command.args(["127.0.0.1", &server.port().to_string()]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut client = Process::start_as_is(command.stdout(writer));
    drop(command);
    let input = client.take_stdin().expect("a pipe");
    thread::scope(|scope| {
        scope.spawn(move || write_random(input, 15, MUCH));
        read_random(&reader, 15, MUCH);
    });
    assert_eq!(client.finish().code(), Some(0), "{}", client.stderr());
}

/// A server that accepts and never reads: the keyboard is left alone until what was typed could be sent.
pub fn the_client_keeps_little_of_what_it_cannot_send(lab: &Lab) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("it is bound").port().to_string();
    let mut client = Process::start(Command::new(binary(lab.client)).args(["127.0.0.1", &port]));
    let (connection, _) = listener.accept().expect("the client connects");
    client.type_line("x");
    (&connection).read_exact(&mut [0; 2]).expect("a line");
    let before = memory_of(&client);
    let input = client.take_stdin().expect("a pipe");
    thread::scope(|scope| {
        let writer = scope.spawn(move || write_random(input, 16, MUCH));
        wait_until("nothing more can be sent", || {
            let own = connection.peer_addr().expect("connected");
            socket_between(own, connection.local_addr().expect("connected")).is_some_and(|socket| socket.tx_queue > 0)
        });
        wait_until_at_rest(&client);
        let grown = memory_of(&client).saturating_sub(before);
        assert!(!writer.is_finished() && grown <= BOUND, "{grown} bytes more");
        read_random(&connection, 16, MUCH);
    });
    // Its input has ended, and with it its half of the connection.
    assert_eq!((&connection).read(&mut [0; 1]).expect("a FIN"), 0);
    drop(connection);
    assert_eq!(client.finish().code(), Some(0), "{}", client.output());
}

/// A real one, with a line discipline.
pub fn at_a_terminal_ctrl_d_ends_the_client(lab: &Lab) {
    let server = lab.server();
    let mut terminal = Terminal::new(&TerminalOptions::new("/")).expect("a pseudo terminal");
    let command = format!("{} 127.0.0.1 {}", binary(lab.client).display(), server.port());
    terminal.run(&command, PATIENCE).expect("a shell");
    terminal.expect("type lines, end with Done or Ctrl-D", PATIENCE).expect("it is told that it may type");
    for line in ["hello", "grüße"] {
        terminal.type_line(line).expect("it reads");
        terminal.expect(line, PATIENCE).expect("the echo of the server");
    }
    terminal.key(Ctrl::D).expect("it reads");
    assert_eq!(terminal.await_end(PATIENCE), Ok(0), "{}", terminal.seen());
    terminal.end().expect("nothing is left");
    server.wait_for_text("finished: 14 bytes echoed");
}

/// No key has to be pressed for it.
pub fn the_client_notices_at_once_that_the_server_has_finished_while_it_sits_at_the_keyboard(lab: &Lab) {
    let mut server = lab.server();
    let mut client = lab.client(&server);
    client.type_line("hello");
    client.wait_for_line(|line| line == "hello");
    server.signal(Signal::SIGKILL);
    server.wait();
    // Its input is open, and nothing more is typed.
    assert_eq!(client.finish().code(), Some(1));
    assert!(client.stderr().contains("the server closed the connection first"), "{}", client.output());
}

/// RST in place of FIN.
pub fn the_client_names_a_reset(lab: &Lab) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("it is bound").port().to_string();
    let mut client = Process::start(Command::new(binary(lab.client)).args(["127.0.0.1", &port]));
    let (mut connection, _) = listener.accept().expect("the client connects");
    client.type_line("hello");
    connection.read_exact(&mut [0; 6]).expect("a line");
    reset(connection);
    assert_eq!(client.finish().code(), Some(1));
    assert!(
        client.stderr().contains("read 127.0.0.1:") && client.stderr().contains("ECONNRESET"),
        "{}",
        client.output()
    );
}
