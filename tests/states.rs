//! `socklab states`: the kernel's sockets, held against the kernel's other witnesses.

#![allow(clippy::unwrap_used, reason = "a failed expectation is what a test is for")]

mod common;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};

use common::socklab;
use nix::sys::signal::Signal;
use testkit::namespace::or_skip;
use testkit::process::{Directory, Process, run};
use testkit::tcp::{self, wait_until};
use testkit::traffic::runs;

/// A listener with one connection accepted, one half-closed by its client, and one left in the accept queue.
struct Scenery {
    port: u16,
    _listener: TcpListener,
    _streams: Vec<TcpStream>,
}

fn scenery() -> Scenery {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let accepted = TcpStream::connect(address).unwrap();
    let (server_side, _) = listener.accept().unwrap();
    let half_closed = TcpStream::connect(address).unwrap();
    let (its_server_side, _) = listener.accept().unwrap();
    half_closed.shutdown(std::net::Shutdown::Write).unwrap();
    let mut waiting = TcpStream::connect(address).unwrap();
    waiting.write_all(b"hello\n").unwrap();
    // Its acknowledgement may take its time, too.
    let own = half_closed.local_addr().unwrap();
    wait_until("the FIN has arrived, and is acknowledged", || {
        tcp::socket_between(own, address).is_some_and(|socket| socket.state == tcp::State::FinWait2)
    });
    let streams = vec![accepted, server_side, half_closed, its_server_side, waiting];
    Scenery { port: address.port(), _listener: listener, _streams: streams }
}

fn stdout_of(arguments: &[&str]) -> String {
    let ended = run(&mut socklab(arguments));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    String::from_utf8(ended.stdout).unwrap()
}

#[test]
fn the_table_shows_every_socket_of_a_port_with_its_queues_and_who_holds_it() {
    let scenery = scenery();
    let port = scenery.port;
    let table = stdout_of(&["states", "--port", &port.to_string()]);
    let me = format!("[{}] fd ", std::process::id());
    let end = format!("127.0.0.1:{port}");
    // An earlier owner of this port may have left connections in TIME-WAIT.
    let is_of_the_port =
        |line: &&str| !line.starts_with("TIME-WAIT") && line.split_ascii_whitespace().any(|cell| cell == end);
    let rows: Vec<&str> = table.lines().filter(is_of_the_port).collect();
    let find = |state: &str, text: &str| rows.iter().any(|row| row.starts_with(state) && row.contains(text));
    assert!(find("LISTEN", "accept 1/"), "{table}");
    assert!(find("ESTABLISHED", "recv 6 send 0") && find("ESTABLISHED", "no process: not accepted yet"), "{table}");
    assert!(find("CLOSE-WAIT", &me) && find("FIN-WAIT-2", &me), "{table}");
    assert_eq!(rows.len(), 7, "{table}");
}

#[test]
fn every_state_in_the_table_is_explained_below_it_and_the_ss_command_comes_last() {
    let scenery = scenery();
    let table = stdout_of(&["states", "--port", &scenery.port.to_string()]);
    for state in ["LISTEN", "ESTABLISHED", "CLOSE-WAIT", "FIN-WAIT-2", "not accepted"] {
        assert_eq!(table.lines().filter(|line| line.starts_with(&format!("{state}: "))).count(), 1, "{state}\n{table}");
    }
    let last = table.lines().last().unwrap();
    assert!(last.ends_with(&format!("ss -tan 'sport = :{0} or dport = :{0}'", scenery.port)), "{last}");
}

#[test]
fn the_json_has_one_object_per_socket_and_says_what_proc_net_tcp_says() {
    let scenery = scenery();
    let json = stdout_of(&["states", "--json", "--port", &scenery.port.to_string()]);
    let seen: BTreeSet<(String, String)> = json
        .lines()
        .filter(|line| !line.contains("TIME-WAIT"))
        .map(|line| {
            let socket: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(socket["protocol"], "tcp");
            (socket["local"].as_str().unwrap().to_owned(), socket["remote"].as_str().unwrap().to_owned())
        })
        .collect();
    let port = scenery.port;
    // Left out: what an earlier owner of the port left in TIME-WAIT may end between the two looks.
    let expected: BTreeSet<(String, String)> = tcp::sockets()
        .into_iter()
        .filter(|socket| socket.state != tcp::State::TimeWait)
        .filter(|socket| socket.local.port() == port || socket.remote.port() == port)
        .map(|socket| {
            let remote = if socket.remote.port() == 0 { "*".into() } else { socket.remote.to_string() };
            (socket.local.to_string(), remote)
        })
        .collect();
    assert_eq!(seen, expected);
}

/// State, local and remote end of each socket of the port, as `ss` writes them.
fn according_to_ss(port: u16) -> BTreeSet<(String, String, String)> {
    let filter = format!("sport = :{port} or dport = :{port}");
    let output = Command::new("ss").args(["-tanH", &filter]).output().unwrap();
    let sockets = String::from_utf8(output.stdout).unwrap();
    let row = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let state = if fields[0] == "ESTAB" { "ESTABLISHED" } else { fields[0] };
        let remote = if fields[4].ends_with(":*") { "*" } else { fields[4] };
        (state.to_owned(), fields[3].to_owned(), remote.to_owned())
    };
    sockets.lines().filter(|line| !line.starts_with("TIME-WAIT")).map(row).collect()
}

#[test]
fn the_sockets_and_their_states_are_those_of_ss() {
    if !or_skip("a comparison with ss", runs("ss", &["-V"])) {
        return;
    }
    let scenery = scenery();
    let json = stdout_of(&["states", "--json", "--port", &scenery.port.to_string()]);
    let rows = json.lines().filter(|line| !line.contains("TIME-WAIT")).map(|line| {
        let socket: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = |key: &str| socket[key].as_str().unwrap().to_owned();
        (text("state"), text("local"), text("remote"))
    });
    assert_eq!(rows.collect::<BTreeSet<_>>(), according_to_ss(scenery.port));
}

#[test]
fn without_a_port_every_tcp_socket_is_shown() {
    let (one, other) = (scenery(), scenery());
    let table = stdout_of(&["states"]);
    for port in [one.port, other.port] {
        assert!(table.lines().any(|line| line.starts_with("LISTEN") && line.contains(&format!("127.0.0.1:{port} "))));
    }
    assert!(table.ends_with("ss -tan\n"), "{table}");
}

#[test]
fn udp_and_unix_sockets_are_shown_when_asked_for() {
    let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = udp.local_addr().unwrap().port();
    let table = stdout_of(&["states", "--udp", "--port", &port.to_string()]);
    assert!(
        table.lines().any(|line| line.starts_with("BOUND") && line.contains(&format!("127.0.0.1:{port} "))),
        "{table}"
    );
    let directory = Directory::new();
    let path = directory.path().join("x.sock");
    let _listener = UnixListener::bind(&path).unwrap();
    let table = stdout_of(&["states", "--unix"]);
    assert!(table.lines().any(|line| line.starts_with("LISTEN") && line.contains(path.to_str().unwrap())), "{table}");
    assert!(table.ends_with("ss -xan\n"));
}

#[test]
fn a_name_of_a_unix_socket_cannot_reach_the_terminal_as_an_escape_sequence() {
    let directory = Directory::new();
    let _listener = UnixListener::bind(directory.path().join("\x1b[2J.sock")).unwrap();
    let table = stdout_of(&["states", "--unix"]);
    assert!(!table.contains('\x1b') && table.contains("\\u{1b}[2J.sock"));
}

#[test]
fn watch_goes_on_and_shows_each_change_until_ctrl_c() {
    let scenery = scenery();
    let port = scenery.port;
    let mut watch = Process::start(&mut socklab(&["states", "--watch", "--port", &port.to_string()]));
    watch.wait_for_text("Watching");
    let client = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    let own = client.local_addr().unwrap();
    watch.wait_for_text(&format!("127.0.0.1:{port} ← {own}  new → ESTABLISHED"));
    watch.signal(Signal::SIGINT);
    assert_eq!(watch.wait().code(), Some(0));
}

#[test]
fn watch_as_json_says_when_a_socket_is_gone() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let watch = Process::start(&mut socklab(&["states", "--watch", "--json", "--port", &port.to_string()]));
    watch.wait_for_line(|line| line.contains("\"state\":\"LISTEN\""));
    drop(listener);
    watch.wait_for_line(|line| line.contains("\"gone\":true") && line.contains(&port.to_string()));
}

#[test]
fn watch_ends_when_nobody_reads_any_more_though_nothing_changes() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let (mut reader, writer) = std::io::pipe().unwrap();
    let mut command = socklab(&["states", "--watch", "--port", &port]);
    let mut watch = command.stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    drop(command);
    reader.read_exact(&mut [0]).unwrap();
    drop(reader);
    let mut stderr = String::new();
    watch.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!(watch.wait().unwrap().code(), Some(1));
    assert!(stderr.contains("EPIPE"), "{stderr}");
}

#[test]
fn a_port_without_sockets_is_no_error() {
    // The discard service: nobody has run it for decades, and the kernel gives no client a port below 1024.
    assert!(stdout_of(&["states", "--port", "9"]).starts_with("no such socket now\n"));
}

#[test]
fn a_closed_output_is_an_error_and_no_panic() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut states = socklab(&["states"]).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = String::new();
    states.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!(states.wait().unwrap().code(), Some(1));
    assert_eq!(stderr, "socklab: write to standard output: EPIPE (Broken pipe)\n");
}
