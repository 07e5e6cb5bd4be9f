//! What is lab 1's own: one client at a time, TIME-WAIT, and a name with several addresses.

use std::net::Shutdown;
use std::process::Command;

use testkit::Signal;
use testkit::facts;
use testkit::namespace::or_skip;
use testkit::process::{Directory, Server, binary, run};
use testkit::tcp::{self, State, wait_until};
use testkit::traffic::{connect, echo_line, expect_end, runs};

#[test]
fn a_second_client_is_established_and_waits_in_the_accept_queue_until_the_first_leaves() {
    let server = Server::start("lab1-server", &[]);
    let mut first = connect(server.address());
    echo_line(&mut first, "first");
    let mut second = connect(server.address());
    let own = second.local_addr().unwrap();

    wait_until("one connection is in the accept queue", || {
        tcp::listener(server.port()).is_some_and(|listener| listener.rx_queue == 1)
    });
    let queued = tcp::socket_between(server.address(), own).unwrap();
    assert_eq!((queued.state, queued.inode), (State::Established, 0), "no process has a descriptor for it yet");

    first.shutdown(Shutdown::Write).unwrap();
    expect_end(&mut first);
    echo_line(&mut second, "second");
    assert_eq!(tcp::listener(server.port()).unwrap().rx_queue, 0);
    let accepted = tcp::socket_between(server.address(), own).unwrap();
    assert!(facts::open_sockets(server.pid()).contains(&accepted.inode));
}

/// Runs a server and ends it before its client, so that its side of the connection is left in TIME-WAIT.
fn port_in_time_wait(arguments: &[&str]) -> String {
    let mut server = Server::start("lab1-server", arguments);
    let address = server.address();
    let mut client = connect(address);
    echo_line(&mut client, "hello");
    // The server is the first to close: its kernel sends the first FIN.
    server.signal(Signal::SIGKILL);
    server.wait();
    expect_end(&mut client);
    let own = client.local_addr();
    drop(client);
    wait_until("the server's side is in TIME-WAIT", || {
        let socket = own.as_ref().ok().and_then(|own| tcp::socket_between(address, *own));
        socket.is_some_and(|socket| socket.state == State::TimeWait)
    });
    address.port().to_string()
}

#[test]
fn a_restart_meets_time_wait_unless_both_runs_asked_for_reuse() {
    let refused = |arguments: &[&str]| {
        let ended = run(Command::new(binary("lab1-server")).args(arguments));
        assert_eq!(ended.code, Some(1), "{arguments:?}");
        assert!(ended.stderr.contains("EADDRINUSE") && ended.stderr.contains("TIME-WAIT"), "{}", ended.stderr);
    };
    let without = port_in_time_wait(&[]);
    refused(&["--port", &without]);
    refused(&["--port", &without, "--reuse"]);

    let with = port_in_time_wait(&["--reuse"]);
    refused(&["--port", &with]);
    let again = Server::start_command(Command::new(binary("lab1-server")).args(["--reuse", "--port", &with]));
    echo_line(&mut connect(again.address()), "hello again");
}

#[test]
fn of_a_name_with_two_addresses_the_second_is_tried_when_the_first_refuses() {
    // In a mount namespace of its own, the client finds another /etc/hosts.
    if !or_skip("a name with two addresses", runs("unshare", &["--map-root-user", "--mount", "true"])) {
        return;
    }
    let directory = Directory::new();
    let hosts = directory.path().join("hosts");
    std::fs::write(&hosts, "127.0.0.2 two.test\n127.0.0.3 two.test\n").unwrap();
    let as_client = |server: &Server| {
        let mut command = Command::new("unshare");
        command.args([
            "--map-root-user",
            "--mount",
            "sh",
            "-c",
            r#"mount --bind "$1" /etc/hosts && exec "$2" two.test "$3""#,
        ]);
        command.arg("sh").arg(&hosts).arg(binary("lab1-client")).arg(server.port().to_string());
        run(&mut command)
    };
    // Which address comes first is getaddrinfo's business; that the other is tried is the client's.
    let mut second = 0;
    for address in ["127.0.0.2", "127.0.0.3"] {
        let ended = as_client(&Server::start("lab1-server", &["--addr", address]));
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        second += ended.stderr.matches(&format!("the name has another address: trying {address}")).count();
    }
    assert_eq!(second, 1, "one of the two was found at the second attempt");
}
