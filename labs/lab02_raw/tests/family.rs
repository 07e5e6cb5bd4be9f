//! What is lab 2's own: the four families of addresses, and the file of a Unix socket.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;

use testkit::namespace::or_skip;
use testkit::process::{Directory, Ended, PATIENCE, Process, Server, binary, run};
use testkit::traffic::{connect, echo_line};

fn ipv6() -> Result<(), String> {
    TcpListener::bind("[::1]:0").map(drop).map_err(|error| format!("no IPv6 here: {error}"))
}

fn echoes_through_the_client(arguments: &[&str]) {
    let mut client = Process::start(Command::new(binary("lab2-client")).args(arguments));
    client.type_line("to and fro");
    client.wait_for_line(|line| line == "to and fro");
    client.type_line("Done");
    assert_eq!(client.finish().code(), Some(0), "{}", client.output());
}

fn unix_server(path: &Path) -> Process {
    let mut command = Command::new(binary("lab2-server"));
    let server = Process::start(command.args(["--family", "unix", "--path"]).arg(path));
    server.wait_for_line(|line| line == format!("listening on {}", path.display()));
    server
}

fn refused_unix_server(path: &Path) -> Ended {
    let ended = run(Command::new(binary("lab2-server")).args(["--family", "unix", "--path"]).arg(path));
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    ended
}

fn echo_over(path: &Path) {
    let mut stream = UnixStream::connect(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(stream.set_read_timeout(Some(PATIENCE)).is_ok());
    let mut back = [0; 6];
    assert!(stream.write_all(b"hello\n").and_then(|()| stream.read_exact(&mut back)).is_ok());
    assert_eq!(&back, b"hello\n");
}

#[test]
fn the_client_and_the_server_meet_over_ipv4() {
    let server = Server::start("lab2-server", &["--family", "v4"]);
    assert!(server.address().is_ipv4());
    echoes_through_the_client(&["127.0.0.1", &server.port().to_string(), "--family", "v4"]);
}

#[test]
fn the_client_and_the_server_meet_over_ipv6_and_ipv4_stays_outside() {
    if !or_skip("IPv6", ipv6()) {
        return;
    }
    let server = Server::start("lab2-server", &["--family", "v6"]);
    assert_eq!(server.address().ip(), Ipv6Addr::LOCALHOST);
    let port = server.port().to_string();
    echoes_through_the_client(&["::1", &port, "--family", "v6"]);
    let refused = run(Command::new(binary("lab2-client")).args(["127.0.0.1", &port]));
    assert!(refused.code == Some(1) && refused.stderr.contains("ECONNREFUSED"), "{}", refused.stderr);
}

#[test]
fn a_dual_server_serves_an_ipv4_and_an_ipv6_client_and_warns_that_all_can_reach_it() {
    if !or_skip("IPv6", ipv6()) {
        return;
    }
    let server = Server::start("lab2-server", &["--family", "dual"]);
    server.wait_for_text("warning: :: can be reached from other machines");
    let port = server.port().to_string();
    echoes_through_the_client(&["::1", &port]);
    echoes_through_the_client(&["127.0.0.1", &port]);
    echo_line(&mut connect(SocketAddr::from((Ipv4Addr::LOCALHOST, server.port()))), "raw");
    server.wait_for_line(|line| line.starts_with("[::ffff:127.0.0.1]:") && line.contains("connected"));
}

#[test]
fn the_client_and_the_server_meet_at_a_unix_socket() {
    let directory = Directory::new();
    let path = directory.path().join("echo.sock");
    let _server = unix_server(&path);
    echoes_through_the_client(&[path.to_str().unwrap(), "--family", "unix"]);
}

#[test]
fn the_file_of_a_server_that_is_gone_is_replaced() {
    let directory = Directory::new();
    let path = directory.path().join("echo.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let server = unix_server(&path);
    server.wait_for_text("is left over from a server that is gone");
    echo_over(&path);
}

#[test]
fn the_file_of_a_server_that_lives_is_not_touched() {
    let directory = Directory::new();
    let path = directory.path().join("echo.sock");
    let _server = unix_server(&path);
    let ended = refused_unix_server(&path);
    assert!(ended.stderr.contains("EADDRINUSE") && ended.stderr.contains("bind"), "{}", ended.stderr);
    echo_over(&path);
}

#[test]
fn a_file_that_is_no_socket_is_never_deleted() {
    let directory = Directory::new();
    let path = directory.path().join("letter.txt");
    fs::write(&path, "dear diary").unwrap();
    let ended = refused_unix_server(&path);
    assert!(ended.stderr.contains("EADDRINUSE"), "{}", ended.stderr);
    assert_eq!(fs::read_to_string(&path).unwrap(), "dear diary");

    // Neither is what a link leads to, nor the link.
    let link = directory.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert!(refused_unix_server(&link).stderr.contains("EADDRINUSE"));
    assert!(link.is_symlink() && path.is_file());
}

#[test]
fn a_path_that_does_not_fit_the_struct_is_enametoolong() {
    let ended = refused_unix_server(Path::new(&format!("/tmp/{}", "x".repeat(103))));
    assert!(ended.stderr.contains("ENAMETOOLONG"), "{}", ended.stderr);
    let client = run(Command::new(binary("lab2-client")).args(["--family", "unix", &"x".repeat(108)]));
    assert!(client.code == Some(1) && client.stderr.contains("ENAMETOOLONG"), "{}", client.stderr);
}

#[test]
fn an_address_of_another_family_is_eafnosupport() {
    for (family, address) in [("v4", "::1"), ("v6", "127.0.0.1"), ("dual", "127.0.0.1")] {
        let mut command = Command::new(binary("lab2-server"));
        let ended = run(command.args(["--port", "0", "--family", family, "--addr", address]));
        assert!(ended.code == Some(1) && ended.stderr.contains("EAFNOSUPPORT"), "{family}: {}", ended.stderr);
    }
}

#[test]
fn a_client_finds_no_socket_file_and_says_enoent() {
    let directory = Directory::new();
    let path = directory.path().join("nobody.sock");
    let ended = run(Command::new(binary("lab2-client")).args(["--family", "unix"]).arg(&path));
    assert!(ended.code == Some(1) && ended.stderr.contains("ENOENT"), "{}", ended.stderr);
}

#[test]
fn the_next_client_gets_the_same_descriptor_again() {
    let server = Server::start("lab2-server", &[]);
    for _ in 0..2 {
        echo_line(&mut connect(server.address()), "hello");
    }
    testkit::tcp::wait_until("both were served", || server.count_lines("connected: fd 4") == 2);
}
