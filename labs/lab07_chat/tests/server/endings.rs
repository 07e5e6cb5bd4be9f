//! How the server itself ends, and how it ends a connection.

use nix::sys::signal::Signal;
use serde_json::json;
use testkit::process::Server;
use testkit::tcp::{State, listener, socket_between, wait_until};
use testkit::traffic::expect_end;

use crate::chat::{Client, code, request, server};

#[test]
fn asked_to_end_it_tells_everybody_after_what_was_queued_and_ends_with_0() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut server = server(&[]);
        let to = server.address();
        let mut alice = Client::named(to, "Alice");
        let mut bob = Client::named(to, "Bob");
        let mut nobody = Client::connect(to);
        nobody.expect_nothing_more();
        let lines: String = (0..500).map(|n| request("MESSAGE", &n.to_string()) + "\n").collect();
        alice.send_bytes(lines.as_bytes());
        for _ in 0..500 {
            assert_eq!(alice.answer()["data"], 1);
        }
        server.signal(signal);
        let heard = bob.rest();
        let texts: Vec<_> = heard.iter().filter(|line| line["type"] == "BROADCAST").map(|line| &line["data"]).collect();
        assert_eq!(texts, (0..500).map(|n| json!(n.to_string())).collect::<Vec<_>>().iter().collect::<Vec<_>>());
        assert_eq!(heard.len(), 501);
        for rest in [heard, alice.rest(), nobody.rest()] {
            let last = rest.last().expect("a last line");
            assert_eq!((code(last), &last["re"]), ("SHUTTING_DOWN", &json!(null)));
            assert!(rest.iter().all(|line| line["type"] != "LEFT"), "{rest:?}");
        }
        // Nobody has closed yet, and nobody else can connect.
        wait_until("it does not listen any more", || listener(to.port()).is_none());
        drop((alice, bob, nobody));
        assert_eq!(server.finish().code(), Some(0), "{}", server.output());
    }
}

#[test]
fn a_server_without_clients_ends_at_once() {
    let mut server = server(&[]);
    server.signal(Signal::SIGTERM);
    assert_eq!(server.finish().code(), Some(0), "{}", server.output());
}

/// One that reads and does not close, and one that does not read at all.
fn two_who_stay(server: &Server) -> (Client, Client) {
    let deaf = Client::named(server.address(), "Deaf");
    let mut stays = Client::named(server.address(), "Stays");
    let text = "x".repeat(60_000);
    wait_until("the kernel takes no more for who does not read", || {
        stays.say(&text);
        let theirs = socket_between(server.address(), deaf.address());
        theirs.is_some_and(|socket| socket.tx_queue > 100_000)
    });
    (deaf, stays)
}

#[test]
fn asked_to_end_it_waits_for_who_does_not_read_and_who_does_not_close_but_not_for_ever() {
    let mut server = server(&[]);
    let (_deaf, mut stays) = two_who_stay(&server);
    server.signal(Signal::SIGTERM);
    assert_eq!(code(&stays.rest().pop().expect("a last line")), "SHUTTING_DOWN");
    // `finish` has patience for 20 s; the server, for 5.
    assert_eq!(server.finish().code(), Some(0), "{}", server.output());
    assert_eq!(server.count_lines("has not closed its end in time"), 2);
}

#[test]
fn asked_a_second_time_it_ends_at_once() {
    let mut server = server(&[]);
    let (_deaf, mut stays) = two_who_stay(&server);
    server.signal(Signal::SIGTERM);
    assert_eq!(code(&stays.rest().pop().expect("a last line")), "SHUTTING_DOWN");
    server.signal(Signal::SIGINT);
    assert_eq!(server.finish().code(), Some(0), "{}", server.output());
    assert_eq!(server.count_lines("has not closed its end in time"), 0);
}

#[test]
fn who_quits_gets_the_last_line_and_a_fin_although_bytes_are_unread() {
    let server = server(&[]);
    let mut client = Client::named(server.address(), "Alice");
    // More than the server reads in a turn. A close with some of it unread would send RST, and the answer might be lost.
    client.send_bytes(format!("{{\"type\":\"QUIT\"}}\n{}", "x".repeat(300_000)).as_bytes());
    assert_eq!(client.answer()["re"], "QUIT");
    expect_end(&mut client.socket().try_clone().expect("a descriptor more"));
    // The server, which closed first, holds its end until ours is closed as well.
    let state = |client: &Client| socket_between(server.address(), client.address()).map(|socket| socket.state);
    wait_until("our kernel has acknowledged its FIN", || state(&client) == Some(State::FinWait2));
    client.shut_down();
    wait_until("both are closed", || state(&client) == Some(State::TimeWait));
}

#[test]
fn who_is_let_go_and_goes_on_sending_is_closed_in_the_end() {
    let server = server(&["--idle", "1"]);
    let mut client = Client::connect(server.address());
    assert_eq!(code(&client.rest()[0]), "NOT_REGISTERED");
    wait_until("it is closed", || std::io::Write::write_all(&mut client.socket(), b"and another thing\n").is_err());
    server.wait_for_text("has not closed its end in time");
}
