//! What is lab 6's own: thousands of clients in one thread, and memory that goes back. See also `testkit::one_thread`.

use std::process::Command;
use std::thread;

use nix::sys::resource::{Resource, getrlimit};
use testkit::echo::Lab;
use testkit::facts::{open_sockets, own_memory, threads_of};
use testkit::process::{Process, Server, binary, run};
use testkit::tcp::wait_until;
use testkit::traffic::{connect, echo_line, read_random, reset, write_random};

const LAB: Lab = Lab { server: "lab6-server", arguments: &[], client: "lab6-client" };

testkit::one_thread_tests!(LAB);

/// Descriptors that are left to the other tests, which run in the same process.
const FOR_OTHERS: u64 = 1500;

fn memory_of(server: &Server) -> usize {
    own_memory(server.pid()).unwrap_or_else(|| panic!("the server has ended"))
}

/// As many as this machine's limit of descriptors allows, and 10,000 where it does.
#[test]
fn ten_thousand_clients_are_served_by_one_thread_and_an_idle_one_costs_next_to_nothing() {
    kit::raise_the_limit_of_descriptors();
    let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let count = usize::try_from(soft.saturating_sub(FOR_OTHERS)).unwrap().clamp(500, 10_000);
    let server = Server::start(LAB.server, &[]);
    let alone = open_sockets(server.pid()).len();
    echo_line(&mut connect(server.address()), "warm");
    let before = memory_of(&server);
    let mut clients = Vec::with_capacity(count);
    for _ in 0..count {
        clients.push(connect(server.address()));
    }
    for client in clients.iter_mut().step_by(7) {
        echo_line(client, "one of many");
    }
    wait_until("all are accepted", || open_sockets(server.pid()).len() == alone + count);
    let each = memory_of(&server).saturating_sub(before) / count;
    // The kernel's own memory for a socket is not counted here.
    assert!(each <= 256, "{each} bytes of the server's memory for each of {count} idle connections");
    assert_eq!(threads_of(server.pid()), 1);
    // No TIME-WAIT is left behind by the thousand.
    clients.into_iter().for_each(reset);
    wait_until("all are gone", || open_sockets(server.pid()).len() == alone);
    echo_line(&mut connect(server.address()), "after them");
}

/// Lab 5's server keeps up to 64 KiB for each client that has once sent so much at a time.
#[test]
fn a_hundred_clients_that_have_sent_much_and_are_silent_again_cost_no_more_than_before() {
    for arguments in [&[][..], &["--edge"]] {
        let server = Server::start(LAB.server, arguments);
        let mut clients: Vec<_> = (0..100).map(|_| connect(server.address())).collect();
        clients.iter_mut().for_each(|client| echo_line(client, "here"));
        let before = memory_of(&server);
        for client in &clients {
            thread::scope(|scope| {
                scope.spawn(|| write_random(client, 17, 1 << 20));
                read_random(client, 17, 1 << 20);
            });
        }
        clients.iter_mut().for_each(|client| echo_line(client, "still here"));
        let grown = memory_of(&server).saturating_sub(before);
        assert!(grown <= 1 << 20, "{grown} bytes more than before");
    }
}

#[test]
fn a_crowd_is_connected_and_silent_and_leaves_with_the_one_that_talks() {
    let server = Server::start(LAB.server, &[]);
    let mut client = Process::start(Command::new(binary(LAB.client)).args([
        "127.0.0.1",
        &server.port().to_string(),
        "--crowd",
        "300",
    ]));
    client.type_line("hello");
    client.wait_for_line(|line| line == "hello");
    assert_eq!(open_sockets(client.pid()).len(), 301);
    wait_until("the whole crowd has been accepted", || server.count_lines(" connected") == 301);
    client.type_line("Done");
    assert_eq!(client.finish().code(), Some(0), "{}", client.output());
    wait_until("all have finished", || server.count_lines("finished: ") == 301);
    assert_eq!(server.count_lines("finished: 6 bytes echoed"), 1);
    assert_eq!(server.count_lines("finished: 0 bytes echoed"), 300);
}

#[test]
fn a_crowd_beyond_the_limit_of_descriptors_is_an_error_of_socket() {
    let server = Server::start(LAB.server, &[]);
    let command = format!("ulimit -n 20; exec {} 127.0.0.1 {} --crowd 30", binary(LAB.client).display(), server.port());
    let ended = run(Command::new("/bin/sh").args(["-c", &command]));
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("socket ") && ended.stderr.contains("EMFILE"), "{}", ended.stderr);
}
