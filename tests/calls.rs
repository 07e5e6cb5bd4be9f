//! The calls lens: what it tells is what strace tells, and who is watched behaves as if nobody were watching.

#![allow(clippy::unwrap_used, reason = "a failed expectation is what a test is for")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use common::socklab;
use nix::sys::signal::Signal;
use serde_json::Value;
use testkit::facts;
use testkit::namespace::{or_skip, python_or_skip};
use testkit::process::{Directory, Process, Server, binary, run};
use testkit::tcp::wait_until;
use testkit::traffic::runs;

/// The calls that both are asked for.
const COMPARED: &[&str] = &[
    "socket",
    "socketpair",
    "bind",
    "listen",
    "accept",
    "accept4",
    "connect",
    "getsockname",
    "getpeername",
    "shutdown",
    "setsockopt",
    "getsockopt",
    "sendto",
    "recvfrom",
    "sendmsg",
    "recvmsg",
    "read",
    "write",
    "readv",
    "writev",
    "close",
];

/// Of each process the calls on sockets in its order, as `name(fd) = result`.
type Calls = Vec<Vec<String>>;

/// As strace tells it, one file for each process.
fn told_by_strace(directory: &Path) -> Calls {
    let mut processes = Vec::new();
    for file in fs::read_dir(directory).unwrap() {
        let text = String::from_utf8_lossy(&fs::read(file.unwrap().path()).unwrap()).into_owned();
        let calls: Vec<String> = text.lines().filter_map(strace_line).collect();
        if !calls.is_empty() {
            processes.push(calls);
        }
    }
    processes.sort();
    processes
}

/// `accept4(3<TCP:[127.0.0.1:7001]>, …) = 4<TCP:[…]>` becomes `accept4(3) = 4`.
fn strace_line(line: &str) -> Option<String> {
    let (name, rest) = line.split_once('(')?;
    let (arguments, result) = rest.rsplit_once(" = ")?;
    let is_on_socket = ["<TCP", "<UDP", "<UNIX", "<socket:"]
        .iter()
        .any(|kind| arguments.split([',', ')']).next().is_some_and(|first| first.contains(kind)));
    let makes = matches!(name, "socket" | "socketpair");
    if !COMPARED.contains(&name) || !(is_on_socket || makes) || result.starts_with('?') {
        return None;
    }
    let fd: String = arguments.chars().take_while(char::is_ascii_digit).collect();
    let result = match result.strip_prefix("-1 ") {
        Some(error) => error.split(' ').next()?.to_string(),
        None => result.chars().take_while(char::is_ascii_digit).collect(),
    };
    Some(if makes { format!("{name} = {result}") } else { format!("{name}({fd}) = {result}") })
}

/// As `socklab trace` tells it.
fn told_by_socklab(recording: &Path) -> Calls {
    let mut processes: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    for line in fs::read_to_string(recording).unwrap().lines().skip(1) {
        let event: Value = serde_json::from_str(line).unwrap();
        let call = &event["is"];
        let (Some(name), Some(outcome)) = (call["name"].as_str(), call["outcome"].as_object()) else { continue };
        let is_socket = call["on"]["names"]["other"].as_str().is_none_or(|other| other.starts_with("socket:"));
        let error = outcome["error"].as_str();
        if !COMPARED.contains(&name) || !is_socket || error.is_some_and(|error| error.starts_with("ERESTART")) {
            continue;
        }
        let result = error.map_or_else(|| outcome["value"].to_string(), String::from);
        let told = match call["on"]["fd"].as_i64() {
            Some(fd) => format!("{name}({fd}) = {result}"),
            None => format!("{name} = {result}"),
        };
        processes.entry(event["who"]["program"]["pid"].as_u64().unwrap()).or_default().push(told);
    }
    let mut processes: Calls = processes.into_values().collect();
    processes.sort();
    processes
}

/// Runs `play` with a command that watches, and then with another that watches the same.
struct Comparison {
    directory: Directory,
}

impl Comparison {
    fn new() -> Option<Self> {
        or_skip("comparing with strace", runs("strace", &["true"])).then(|| Self { directory: Directory::new() })
    }

    /// What goes in front of a command so that strace watches it.
    fn strace(&self) -> Vec<String> {
        let files = self.directory.path().join("strace");
        let _ = fs::remove_dir_all(&files);
        fs::create_dir(&files).unwrap();
        let prefix = files.join("of").display().to_string();
        let words = ["strace", "-ff", "-qq", "-yy", "-e", "signal=none", "-o", &prefix, "-e"];
        let calls = "trace=network,read,write,readv,writev,close".to_string();
        words.iter().map(ToString::to_string).chain([calls]).collect()
    }

    /// What goes in front of a command so that this project watches it.
    fn socklab(&self) -> Vec<String> {
        let file = self.directory.path().join("recording").display().to_string();
        [env!("CARGO_BIN_EXE_socklab"), "trace", "--quiet", "--json", &file, "--"].map(String::from).to_vec()
    }

    /// Plays twice, and holds what was told against each other.
    fn of(&self, play: impl Fn(&[String])) -> Calls {
        play(&self.strace());
        let expected = told_by_strace(&self.directory.path().join("strace"));
        play(&self.socklab());
        let told = told_by_socklab(&self.directory.path().join("recording"));
        assert_eq!(told, expected);
        assert!(!told.is_empty());
        told
    }
}

fn behind(watcher: &[String], program: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> Command {
    let mut command = Command::new(&watcher[0]);
    command.args(&watcher[1..]).arg(program).args(arguments);
    command
}

/// The process that listens among those that a watcher has started.
fn watched_pid(watcher: i32) -> i32 {
    let mut found = None;
    wait_until("the watched program runs", || {
        found = facts::children_of(watcher).first().map(|child| child.pid);
        found.is_some()
    });
    found.unwrap()
}

/// Watches a lab's server while its client talks to it.
fn compare_server(lab: u8) {
    let Some(comparison) = Comparison::new() else { return };
    let calls = comparison.of(|watcher| {
        let server = binary(&format!("lab{lab}-server"));
        let watching = Process::start(&mut behind(watcher, server, &["--port", "0"]));
        let mut server = Server::of(watching);
        let pid = watched_pid(server.pid());
        let mut client = Process::start(
            Command::new(binary(&format!("lab{lab}-client"))).args(["127.0.0.1", &server.port().to_string()]),
        );
        client.type_line("hello");
        client.wait_for_text("hello");
        client.close_stdin();
        assert!(client.finish().success());
        server.wait_for_text("6 bytes echoed");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGTERM).unwrap();
        server.wait();
    });
    let all: Vec<&String> = calls.iter().flatten().collect();
    assert!(all.iter().any(|call| call.starts_with("accept4(3) = 4")), "{all:?}");
    assert!(all.iter().any(|call| call.ends_with("(4) = 6")), "{all:?}");
}

/// Watches a lab's client while it talks to its server.
fn compare_client(lab: u8) {
    let Some(comparison) = Comparison::new() else { return };
    comparison.of(|watcher| {
        let server = Server::start(&format!("lab{lab}-server"), &[]);
        let client = binary(&format!("lab{lab}-client"));
        let port = server.port().to_string();
        let mut client = Process::start(&mut behind(watcher, client, &["127.0.0.1", &port]));
        client.type_line("hello");
        client.wait_for_text("hello");
        client.close_stdin();
        assert!(client.finish().success());
    });
}

#[test]
fn the_calls_of_lab_1s_server_and_client_are_those_that_strace_tells() {
    compare_server(1);
    compare_client(1);
}

#[test]
fn the_calls_of_lab_2s_server_and_client_are_those_that_strace_tells() {
    compare_server(2);
    compare_client(2);
}

#[test]
fn the_calls_of_lab_3s_server_and_client_are_those_that_strace_tells_process_by_process() {
    compare_server(3);
    compare_client(3);
}

/// A server that forks for its one client, and the client, in one program; each waits for the other.
const PYTHON: &str = r#"
import os, socket
server = socket.create_server(("127.0.0.1", 0))
port = server.getsockname()[1]
if os.fork() == 0:
    server.close()
    client = socket.create_connection(("127.0.0.1", port))
    client.sendall(b"hello\n")
    assert client.recv(100) == b"hello\n"
    client.shutdown(socket.SHUT_WR)
    assert client.recv(100) == b""
    os._exit(0)
connection, _ = server.accept()
if os.fork() == 0:
    server.close()
    while data := connection.recv(100):
        connection.sendall(data)
    os._exit(0)
connection.close()
os.wait(); os.wait()
try:
    socket.create_connection(("127.0.0.1", 1))
except ConnectionRefusedError:
    pass
a, b = socket.socketpair()
a.send(b"x"); b.recv(1)
six = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
six.sendto(b"datagram", ("::1", 9)) if socket.has_ipv6 else None
"#;

#[test]
fn the_calls_of_a_forking_python_program_are_those_that_strace_tells() {
    let Some(comparison) = Comparison::new() else { return };
    let Some(python) = python_or_skip("a program in Python") else { return };
    let calls = comparison.of(|watcher| {
        assert_eq!(run(&mut behind(watcher, &python, &["-c", PYTHON])).stderr, "");
    });
    assert_eq!(calls.len(), 3, "a parent and two children: {calls:#?}");
    assert!(calls.iter().flatten().any(|call| call.ends_with("ECONNREFUSED")), "{calls:#?}");
}

const NODE: &str = r#"
const net = require("net");
const server = net.createServer(socket => socket.pipe(socket)).listen(0, "127.0.0.1", () => {
    const client = net.connect(server.address().port, "127.0.0.1", () => client.end("hello\n"));
    client.on("data", data => { if (data != "hello\n") process.exit(1); });
    client.on("close", () => server.close());
});
"#;

#[test]
fn the_calls_of_a_node_program_are_those_that_strace_tells() {
    let Some(comparison) = Comparison::new() else { return };
    if !or_skip("a program in JavaScript", runs("node", &["--version"])) {
        return;
    }
    let calls = comparison.of(|watcher| {
        assert_eq!(run(&mut behind(watcher, "node", &["-e", NODE])).stderr, "");
    });
    assert!(calls.iter().flatten().any(|call| call.ends_with("EINPROGRESS")), "{calls:#?}");
}

/// A non-blocking connect, poll, epoll, a datagram, a copy of a descriptor, and a thread.
const C: &str = r#"
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
static int listener;
static void *serve(void *unused) {
    int connection = accept(listener, 0, 0);
    char data[100];
    ssize_t count;
    while ((count = read(connection, data, sizeof data)) > 0) write(connection, data, count);
    close(connection);
    return unused;
}
int main(void) {
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t length = sizeof address;
    pthread_t thread;
    listener = socket(AF_INET, SOCK_STREAM, 0);
    bind(listener, (struct sockaddr *)&address, length);
    listen(listener, 5);
    getsockname(listener, (struct sockaddr *)&address, &length);
    int client = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (connect(client, (struct sockaddr *)&address, length) == 0 || errno != EINPROGRESS) return 1;
    struct pollfd ready = { .fd = client, .events = POLLOUT };
    if (poll(&ready, 1, -1) != 1) return 2;
    int error; socklen_t size = sizeof error;
    getsockopt(client, SOL_SOCKET, SO_ERROR, &error, &size);
    /* Every other descriptor is there before the thread makes its own: so its number is the same in every run. */
    int copy = dup(client);
    int events = epoll_create1(0);
    if (pthread_create(&thread, 0, serve, 0)) return 3;
    write(copy, "hello\n", 6);
    struct epoll_event event = { .events = EPOLLIN, .data.fd = client };
    epoll_ctl(events, EPOLL_CTL_ADD, client, &event);
    if (epoll_wait(events, &event, 1, -1) != 1) return 4;
    char data[100];
    if (recv(client, data, sizeof data, 0) != 6) return 5;
    close(copy);
    close(client);
    pthread_join(thread, 0);
    int datagrams = socket(AF_INET, SOCK_DGRAM, 0);
    sendto(datagrams, "x", 1, 0, (struct sockaddr *)&address, length);
    return 0;
}
"#;

#[test]
fn the_calls_of_a_c_program_with_threads_poll_and_epoll_are_those_that_strace_tells() {
    let Some(comparison) = Comparison::new() else { return };
    if !or_skip("a program in C", runs("cc", &["--version"])) {
        return;
    }
    let directory = Directory::new();
    let (source, program) = (directory.path().join("program.c"), directory.path().join("program"));
    fs::write(&source, C).unwrap();
    let compiled = run(Command::new("cc").args(["-pthread", "-o"]).args([&program, &source]));
    assert!(compiled.code == Some(0), "{}", compiled.stderr);
    let calls = comparison.of(|watcher| {
        assert!(run(&mut behind(watcher, &program, &[])).code == Some(0));
    });
    assert_eq!(calls.len(), 2, "two threads: {calls:#?}");
}

#[test]
fn a_watched_program_has_the_same_output_exit_code_and_descriptors_as_unwatched() {
    let script = "ls -l /proc/self/fd | sed 's/.* \\([0-9]*\\) -> .*/\\1/'; echo out; echo err >&2; read line; echo \"$line\"; exit 7";
    let mut alone = Process::start(Command::new("sh").args(["-c", script]));
    let mut watched = Process::start(socklab(&["trace", "--quiet", "--"]).args(["sh", "-c", script]));
    for process in [&mut alone, &mut watched] {
        process.type_line("a line");
        process.close_stdin();
        assert_eq!(process.finish().code(), Some(7));
        assert_eq!(process.stderr(), "err\n");
        assert!(process.output().contains("total 0\n0\n1\n"), "{}", process.output());
    }
    assert_eq!(String::from_utf8_lossy(&watched.stdout()), String::from_utf8_lossy(&alone.stdout()));
}

#[test]
fn a_program_that_a_signal_ends_gives_the_exit_code_that_a_shell_gives() {
    let ended = run(socklab(&["trace", "--"]).args(["sh", "-c", "kill -SEGV $$"]));
    assert_eq!(ended.code, Some(128 + 11));
    assert!(ended.stderr.contains("was ended by SIGSEGV"), "{}", ended.stderr);
}

#[test]
fn a_program_that_is_not_there_is_named_with_its_errno() {
    let ended = run(&mut socklab(&["trace", "--", "/no/such/program"]));
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("exec /no/such/program: ENOENT"), "{}", ended.stderr);
}

#[test]
fn signals_reach_a_watched_program_and_eintr_is_not_invented() {
    // A call that no signal has interrupted does not end with EINTR; one that a handler has interrupted does.
    let script = "
import signal, socket, os
signal.signal(signal.SIGALRM, lambda *_: os.write(1, b'alarm\\n'))
a, b = socket.socketpair()
signal.alarm(1)
a.settimeout(3)
try:
    a.recv(1)
except TimeoutError:
    print('time-out')
";
    let Some(python) = python_or_skip("a program in Python") else { return };
    let ended = run(socklab(&["trace", "--"]).args([&python, "-c", script]));
    assert_eq!(String::from_utf8_lossy(&ended.stdout), "alarm\ntime-out\n", "{}", ended.stderr);
    assert!(ended.stderr.contains("gets SIGALRM"), "{}", ended.stderr);
}

#[test]
fn a_kill_of_the_watcher_ends_the_whole_family_that_it_watched() {
    for signal in [Signal::SIGKILL, Signal::SIGTERM] {
        // A child in a session of its own that ignores whatever can be ignored, and a grandchild.
        let script =
            "trap '' TERM INT HUP; setsid sh -c 'trap \"\" TERM INT HUP; sleep 1000 & echo ready $$ $!; wait' & wait";
        let mut watcher = Process::start(socklab(&["trace", "--quiet", "--"]).args(["sh", "-c", script]));
        let line = watcher.wait_for_line(|line| line.starts_with("ready "));
        let family: Vec<i32> = line.split(' ').skip(1).map(|pid| pid.parse().unwrap()).collect();
        assert_eq!(family.len(), 2);
        watcher.signal(signal);
        if signal == Signal::SIGTERM {
            // It was handed on, and everybody ignores it: then it takes the hard way.
            watcher.signal(Signal::SIGKILL);
        }
        watcher.wait();
        wait_until("the family is gone", || family.iter().all(|&pid| !facts::exists(pid)));
    }
}

#[test]
fn a_stopped_program_stays_stopped_and_goes_on_when_it_is_continued() {
    let mut watcher = Process::start(
        socklab(&["trace", "--quiet", "--"]).args(["sh", "-c", "echo $$; read line; echo on"]).stdout(Stdio::piped()),
    );
    let pid: i32 = watcher.wait_for_line(|_| true).parse().unwrap();
    let pid = nix::unistd::Pid::from_raw(pid);
    nix::sys::signal::kill(pid, Signal::SIGSTOP).unwrap();
    let state = || fs::read_to_string(format!("/proc/{pid}/stat")).unwrap().rsplit_once(") ").unwrap().1.chars().next();
    // While it is traced, a stop is a tracing stop.
    wait_until("it has stopped", || matches!(state(), Some('t' | 'T')));
    watcher.type_line("go on");
    nix::sys::signal::kill(pid, Signal::SIGCONT).unwrap();
    watcher.wait_for_text("on");
    assert!(watcher.finish().success());
}
