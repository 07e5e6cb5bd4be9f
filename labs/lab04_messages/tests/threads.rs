//! A thread per client: all of them in one process, none of them in another's way.

#![allow(clippy::unwrap_used, reason = "a failed expectation is what a test is for")]

mod common;

use std::io::{ErrorKind, Write};
use std::process::Command;
use std::time::{Duration, Instant};
use std::{fs, iter};

use common::{Peer, server, status};
use nix::sys::signal::Signal;
use serde_json::json;
use testkit::facts::{self, children_of};
use testkit::namespace::or_skip;
use testkit::process::{Directory, Server, as_user, run};
use testkit::tcp::{self, State, wait_until};
use testkit::traffic::{connect, expect_end, runs};

fn threads_of(server: &Server) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap().flatten();
    tasks.filter_map(|task| Some(fs::read_to_string(task.path().join("comm")).ok()?.trim().to_string())).collect()
}

fn served(server: &Server, count: usize) -> Vec<Peer> {
    let mut peers: Vec<_> = iter::repeat_with(|| Peer::new(server)).take(count).collect();
    peers.iter_mut().for_each(Peer::is_served);
    peers
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
fn two_hundred_clients_are_served_at_once_by_one_process_and_its_threads_go_with_them() {
    let server = server(&[]);
    let mut peers = served(&server, 200);
    assert_eq!((status(server.pid(), "Threads"), children_of(server.pid()).len()), (201, 0));
    assert_eq!(facts::open_sockets(server.pid()).len(), 201);
    for (number, peer) in peers.iter_mut().enumerate().rev() {
        let answer = peer.ask(&json!({"type": "ECHO", "data": number, "id": number}));
        assert_eq!((&answer["data"], &answer["id"]), (&json!(number), &json!(number)));
    }
    peers.into_iter().for_each(Peer::finish);
    wait_until("every thread has ended", || status(server.pid(), "Threads") == 1);
    wait_until("the log says so", || server.count_lines("finished: 2 messages") == 200);
    assert_eq!(facts::open_sockets(server.pid()), [tcp::listener(server.port()).unwrap().inode]);
}

#[test]
fn each_thread_carries_the_name_of_its_client() {
    let server = server(&[]);
    let peers = served(&server, 3);
    let threads = threads_of(&server);
    for peer in &peers {
        // The kernel keeps 15 bytes of a name.
        let name: String = peer.name().chars().take(15).collect();
        assert!(threads.contains(&name), "{name} is not among {threads:?}");
    }
}

#[test]
fn with_max_clients_2_a_third_waits_in_the_accept_queue_until_one_leaves() {
    let server = server(&["--max-clients", "2"]);
    let mut peers = served(&server, 2);
    let mut third = Peer::new(&server);
    wait_until("it is in the accept queue", || tcp::listener(server.port()).is_some_and(|l| l.rx_queue == 1));
    server.wait_for_text("2 clients are being served, which is the limit");
    let queued = tcp::socket_between(server.address(), third.stream.local_addr().unwrap()).unwrap();
    assert_eq!((queued.state, queued.inode, status(server.pid(), "Threads")), (State::Established, 0, 3));
    drop(peers.pop());
    third.is_served();
    wait_until("there are two again", || status(server.pid(), "Threads") == 3);
    peers.pop().unwrap().finish();
    third.finish();
    served(&server, 2);
}

#[test]
fn a_client_that_never_reads_keeps_its_own_thread_and_nobody_elses() {
    let server = server(&[]);
    let mut others = served(&server, 2);
    let mut stream = connect(server.address());
    let own = stream.local_addr().unwrap();
    stream.set_nonblocking(true).unwrap();
    let requests = "{\"type\":\"ECHO\",\"data\":\"so many words that buffers fill sooner\"}\n".repeat(10_000);
    let (mut last, mut sent) = (None, 0);
    wait_until("its thread is stuck in write", || {
        let full = loop {
            // What did not fit is sent later, from where it stopped.
            match stream.write(&requests.as_bytes()[sent % requests.len()..]) {
                Ok(length) => sent += length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break true,
                Err(error) => panic!("write: {error}"),
            }
        };
        let seen = tcp::socket_between(server.address(), own).map(|socket| (socket.tx_queue, socket.rx_queue));
        let stuck = full && seen.is_some_and(|(sent, received)| sent > 0 && received > 0) && seen == last;
        last = seen;
        stuck
    });
    let memory = status(server.pid(), "VmRSS");
    others.iter_mut().for_each(Peer::is_served);
    Peer::new(&server).is_served();
    assert!(memory < 32 * 1024, "{memory} KiB for four clients");
    drop(stream);
    let line = server.wait_for_line(|line| line.contains(" lost after "));
    assert!(line.contains("EPIPE") || line.contains("ECONNRESET"), "{line}");
    others.iter_mut().for_each(Peer::is_served);
}

#[test]
fn without_a_free_descriptor_a_client_waits_and_the_server_rests() {
    let server = server(&[]);
    let taken = facts::open_files(server.pid());
    let free = (0i32..).find(|fd| taken.iter().all(|(other, _)| other != fd)).unwrap();
    facts::limit(server.pid(), libc::RLIMIT_NOFILE, u64::from(free.cast_unsigned()));
    // An accept that sleeps already has its descriptor, since Linux takes it first: this client may come through yet.
    drop(connect(server.address()));
    let (before, begin) = (facts::cpu_time(server.pid()), Instant::now());
    let mut peer = Peer::new(&server);
    wait_until("it has tried four times", || server.count_lines("accept") >= 4);
    let (after, lasted) = (facts::cpu_time(server.pid()), begin.elapsed());
    server.wait_for_text("EMFILE");
    let attempts = server.count_lines("accept");
    assert!(attempts as u128 <= lasted.as_millis() / 90 + 5, "{attempts} attempts in {lasted:?}");
    let used = after.zip(before).map(|(after, before)| after - before).unwrap();
    assert!(used <= Duration::from_millis(100), "{used:?} of processor time in {lasted:?}");
    facts::limit(server.pid(), libc::RLIMIT_NOFILE, 1024);
    peer.is_served();
}

#[test]
fn a_client_is_turned_away_when_there_can_be_no_thread_for_it_and_gives_its_place_back() {
    if !or_skip("a limit of threads", runs("prlimit", &["--version"])) {
        return;
    }
    let directory = Directory::new();
    let mut command = Command::new(directory.copy_of("lab4-server"));
    let server = Server::start_command(as_nobody(command.args(["--port", "0", "--max-clients", "1"])));
    let before = prlimit(&server, &["--nproc", "--output=SOFT", "--noheadings", "--raw"]);
    prlimit(&server, &["--nproc=1:"]);
    for _ in 0..2 {
        expect_end(&mut connect(server.address()));
    }
    server.wait_for_line(|line| line.starts_with("pthread_create ") && line.contains("EAGAIN"));
    server.wait_for_text("is turned away");
    server.wait_for_text("hint: this user may not start more threads");
    prlimit(&server, &[&format!("--nproc={}:", before.trim())]);
    Peer::new(&server).is_served();
}

#[test]
fn the_end_of_the_process_is_the_end_of_every_thread() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGKILL] {
        let mut server = server(&[]);
        let mut peers = served(&server, 5);
        server.signal(signal);
        server.finish();
        peers.iter_mut().for_each(|peer| expect_end(&mut peer.stream));
    }
}

#[test]
fn a_server_whose_output_is_closed_goes_on_serving() {
    let (reader, writer) = std::io::pipe().unwrap();
    let mut command = Command::new(testkit::process::binary("lab4-server"));
    command.args(["--port", "0"]).stdin(std::process::Stdio::null()).stdout(writer);
    let server = testkit::process::Process::start_as_is(command.stderr(std::process::Stdio::piped()));
    drop(command);
    let lines = std::io::BufRead::lines(std::io::BufReader::new(reader));
    let address = lines.filter_map(|line| line.unwrap().strip_prefix("listening on ")?.parse().ok()).next().unwrap();
    // Another test's program, between fork and exec, may have a copy of the reader for a moment: so clients come until the
    // loss was noticed, and one after that.
    wait_until("the loss of the log is reported", || {
        Peer::at(address).is_served();
        server.stderr().contains("the server goes on without its log")
    });
    Peer::at(address).is_served();
    assert!(!server.stderr().contains("panicked"));
}
