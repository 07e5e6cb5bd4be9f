//! What is lab 3's own: a process per client, and who holds which descriptor.

use std::io::Read;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testkit::facts::{self, children_of};
use testkit::namespace::or_skip;
use testkit::process::{Directory, Process, Server, as_user, binary, run};
use testkit::tcp::{self, State, wait_until};
use testkit::traffic::{connect, echo_line, expect_end, read_random, runs, write_random};

fn server(arguments: &[&str]) -> Server {
    Server::start("lab3-server", arguments)
}

fn clients(server: &Server, count: usize) -> Vec<TcpStream> {
    let mut clients: Vec<_> = (0..count).map(|_| connect(server.address())).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        echo_line(client, &format!("client {number}"));
    }
    clients
}

fn client(server: &Server) -> Process {
    Process::start(Command::new(binary("lab3-client")).args(["127.0.0.1", &server.port().to_string()]))
}

/// The limit of processes does not bind root.
fn as_nobody(command: &mut Command) -> &mut Command {
    if nix::unistd::geteuid().is_root() { as_user(command, 65534) } else { command }
}

/// prlimit(1), run by the user whose process it is: not even root may always change another's.
fn prlimit(server: &Server, arguments: &[&str]) -> String {
    let pid = server.pid().to_string();
    let ended = run(as_nobody(Command::new("prlimit").args(["--pid", &pid]).args(arguments)));
    assert_eq!(ended.code, Some(0), "prlimit {arguments:?}: {}", ended.stderr);
    String::from_utf8_lossy(&ended.stdout).into_owned()
}

#[test]
fn two_hundred_clients_are_served_at_once_and_no_child_and_no_zombie_is_left() {
    let server = server(&[]);
    let mut clients = clients(&server, 200);
    assert_eq!(children_of(server.pid()).len(), 200);
    for client in clients.iter_mut().rev() {
        echo_line(client, "again, while all the others are open");
    }
    for client in &mut clients {
        client.shutdown(Shutdown::Write).unwrap();
        expect_end(client);
    }
    wait_until("every child has been fetched", || children_of(server.pid()).is_empty());
    assert_eq!(server.count_lines("finished: "), 200);
}

#[test]
fn the_parent_holds_the_listening_socket_alone_and_each_child_its_connection_alone() {
    let server = server(&[]);
    let clients = clients(&server, 3);
    let listener = tcp::listener(server.port()).unwrap().inode;
    wait_until("the parent has let go", || facts::open_sockets(server.pid()) == [listener]);
    let mut held = Vec::new();
    for child in children_of(server.pid()) {
        let sockets = facts::open_sockets(child.pid);
        assert!(sockets.len() == 1 && sockets[0] != listener, "a child holds {sockets:?}, the listener is {listener}");
        held.extend(sockets);
    }
    held.sort_unstable();
    let own = clients.iter().map(|client| client.local_addr().unwrap());
    let mut connections: Vec<_> = own.map(|own| tcp::socket_between(server.address(), own).unwrap().inode).collect();
    connections.sort_unstable();
    assert_eq!(held, connections);
}

#[test]
fn with_max_clients_2_a_third_waits_in_the_accept_queue_until_one_leaves() {
    let server = server(&["--max-clients", "2"]);
    let mut served = clients(&server, 2);
    let mut third = connect(server.address());
    wait_until("it is in the accept queue", || tcp::listener(server.port()).is_some_and(|l| l.rx_queue == 1));
    server.wait_for_text("2 clients are being served, which is the limit");
    let queued = tcp::socket_between(server.address(), third.local_addr().unwrap()).unwrap();
    assert_eq!((queued.state, queued.inode, children_of(server.pid()).len()), (State::Established, 0, 2));
    drop(served.pop());
    echo_line(&mut third, "my turn");
    wait_until("there are two again", || children_of(server.pid()).len() == 2);
}

#[test]
fn sigterm_and_sigint_end_the_server_and_all_its_children_within_a_second() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut server = server(&[]);
        let mut clients = clients(&server, 5);
        let children = children_of(server.pid());
        // One that would not see SIGTERM by itself.
        kill(Pid::from_raw(children[0].pid), Signal::SIGSTOP).unwrap();
        wait_until("it is stopped", || children_of(server.pid()).iter().any(|child| child.state == 'T'));
        let begin = Instant::now();
        server.signal(signal);
        let status = server.finish();
        let lasted = begin.elapsed();
        assert_eq!(status.code(), Some(0), "{signal}");
        assert!(lasted < Duration::from_secs(1), "{signal}: it took {lasted:?}");
        assert!(children.iter().all(|child| !facts::exists(child.pid)), "{signal}: a child is left");
        clients.iter_mut().for_each(expect_end);
    }
}

#[test]
fn a_full_house_ends_as_quickly_while_the_parent_waits_for_a_place() {
    let mut server = server(&["--max-clients", "1"]);
    let _clients = clients(&server, 1);
    server.wait_for_text("1 clients are being served");
    let begin = Instant::now();
    server.signal(Signal::SIGTERM);
    assert_eq!(server.finish().code(), Some(0));
    assert!(begin.elapsed() < Duration::from_secs(1));
}

#[test]
fn a_client_is_turned_away_when_fork_fails_and_the_next_is_served() {
    if !or_skip("a limit of processes", runs("prlimit", &["--version"])) {
        return;
    }
    let directory = Directory::new();
    let mut command = Command::new(directory.copy_of("lab3-server"));
    let server = Server::start_command(as_nobody(command.args(["--port", "0"])));
    let before = prlimit(&server, &["--nproc", "--output=SOFT", "--noheadings", "--raw"]);
    prlimit(&server, &["--nproc=1:"]);
    let mut unlucky = connect(server.address());
    expect_end(&mut unlucky);
    server.wait_for_line(|line| line.starts_with("fork ") && line.contains("EAGAIN"));
    server.wait_for_text("is turned away");
    prlimit(&server, &[&format!("--nproc={}:", before.trim())]);
    echo_line(&mut connect(server.address()), "luckier");
}

#[test]
fn the_client_notices_at_once_that_the_server_is_gone_while_it_sits_at_the_keyboard() {
    let mut server = server(&[]);
    let mut client = client(&server);
    client.type_line("hello");
    client.wait_for_line(|line| line == "hello");
    let begin = Instant::now();
    server.signal(Signal::SIGTERM);
    server.wait();
    // Its input is open, and nothing more is typed.
    assert_eq!(client.finish().code(), Some(1));
    assert!(begin.elapsed() < Duration::from_secs(1), "it took {:?}", begin.elapsed());
    assert!(client.stderr().contains("the server closed the connection first"), "{}", client.output());
}

#[test]
fn the_client_carries_20_mebibytes_through_a_pipe_without_a_deadlock() {
    const LENGTH: usize = 20 << 20;
    let server = server(&[]);
    let mut client = client(&server);
    let input = client.take_stdin().unwrap();
    let writer = thread::spawn(move || write_random(input, 7, LENGTH));
    assert_eq!(client.finish().code(), Some(0), "{}", client.stderr());
    writer.join().unwrap();
    assert_eq!(client.stdout().len(), LENGTH);
    read_random(client.stdout().as_slice(), 7, LENGTH);
}

#[test]
fn the_client_leaves_no_process_behind_when_the_server_resets_the_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let mut client = Process::start(Command::new(binary("lab3-client")).args(["127.0.0.1", &port]));
    let (mut connection, _) = listener.accept().unwrap();
    client.type_line("hello");
    connection.read_exact(&mut [0; 6]).unwrap();
    wait_until("it has forked", || !children_of(client.pid()).is_empty());
    let children = children_of(client.pid());
    testkit::traffic::reset(connection);
    assert_eq!(client.finish().code(), Some(1));
    assert!(client.stderr().contains("ECONNRESET"), "{}", client.output());
    assert!(children.iter().all(|child| !facts::exists(child.pid)));
}
