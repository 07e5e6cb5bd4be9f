//! At a terminal: what a person sees while typing.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use nix::sys::signal::Signal;
use testkit::process::binary;
use testkit::tcp::wait_until;
use testkit::terminal::{Terminal, TerminalOptions};

use crate::peer::{Client, Peer};
use crate::tty::Tty;

const BOB: &str = "[2026-01-02 10:30:15] Bob: ";

fn open(peer: &Peer, columns: u16) -> (Tty, Client) {
    let tty = Tty::start(&mut peer.command(&[]), columns);
    let connection = peer.accept();
    tty.wait_for("the prompt", |screen| screen.contents().trim_end().ends_with("\n>"));
    (tty, connection)
}

#[test]
fn a_message_that_arrives_does_not_tear_the_line_that_is_being_typed() {
    let peer = Peer::new();
    let (mut tty, mut connection) = open(&peer, 80);
    tty.type_text("Hal");
    tty.wait_for_rows(&["> Hal"], 5);
    connection.broadcast("Bob", "one").broadcast("Bob", "two");
    tty.wait_for_rows(&[&format!("{BOB}one"), &format!("{BOB}two"), "> Hal"], 5);
    tty.type_text("lo!\x1b[D\x1b[D\x1b[D");
    connection.broadcast("Bob", "three");
    tty.wait_for_rows(&[&format!("{BOB}two"), &format!("{BOB}three"), "> Hallo!"], 5);
    tty.type_text("l\x7f\r");
    connection.expect_message("Hallo!").ok("MESSAGE", "1");
    tty.wait_for_rows(&[&format!("{BOB}three"), "> Hallo!", "- went to 1 other", ">"], 2);
}

#[test]
fn a_line_longer_than_the_screen_is_wide_stays_whole() {
    let peer = Peer::new();
    let (mut tty, mut connection) = open(&peer, 40);
    let first = "> 0123456789012345678901234567890123456";
    // A wide character does not fit in the last column.
    tty.type_text(&format!("{}你好", &first[2..]));
    tty.wait_for_rows(&[first, "你好"], 4);
    connection.broadcast("Bob", "hi");
    tty.wait_for_rows(&[&format!("{BOB}hi"), first, "你好"], 4);
    tty.type_text(&format!("\x15{}789", &first[2..]));
    connection.broadcast("Bob", "hi again");
    tty.wait_for_rows(&[&format!("{BOB}hi"), &format!("{BOB}hi again"), &format!("{first}7"), "89"], 2);
    tty.type_text("x\x01");
    connection.broadcast("Bob", "and again");
    tty.wait_for_rows(&[&format!("{BOB}hi again"), &format!("{BOB}and again"), &format!("{first}7"), "89x"], 2);
    // What is typed into the middle goes there, and nothing of it is left when the line is sent.
    tty.type_text("\x0bshort\r");
    connection.expect_message("short").ok("MESSAGE", "0");
    tty.wait_for_rows(&[&format!("{BOB}and again"), "> short", "- nobody else is here", ">"], 2);
}

#[test]
fn a_line_longer_than_the_whole_screen_can_be_typed_and_sent() {
    let peer = Peer::new();
    let (mut tty, mut connection) = open(&peer, 80);
    let long = "0123456789".repeat(400);
    tty.type_text(&long);
    // Where a row of the screen ends depends on whether the editor has let the terminal wrap, or has drawn the line anew.
    tty.wait_for("the end of the line", |screen| screen.contents().replace('\n', "").ends_with("0123456789"));
    tty.type_text("\r");
    connection.expect_message(&long).ok("MESSAGE", "0");
    tty.wait_for_rows(&["- nobody else is here", ">"], 2);
}

#[test]
fn a_thousand_messages_arrive_while_a_line_is_typed_and_neither_loses_a_letter() {
    let peer = Peer::new();
    let (mut tty, mut connection) = open(&peer, 80);
    let text = "The quick brown fox jumps over the lazy dog, 你好, grüße; again and again, until the line is longer than a row.";
    let mut connection = thread::scope(|scope| {
        let sending = scope.spawn(move || {
            for number in 0..1000 {
                connection.broadcast("Bob", &number.to_string());
            }
            connection
        });
        for character in text.chars() {
            tty.type_text(&character.to_string());
        }
        sending.join().unwrap()
    });
    let (first, second) = (
        "> The quick brown fox jumps over the lazy dog, 你好, grüße; again and again, unt",
        "il the line is longer than a row.",
    );
    tty.wait_for_rows(&[&format!("{BOB}999"), first, second], 33);
    tty.type_text("\r");
    connection.expect_message(text).ok("MESSAGE", "0");
    tty.wait_for_rows(&["- nobody else is here", ">"], 2);
    let rows = tty.all_rows();
    let shown: Vec<_> = rows.iter().filter_map(|row| row.trim_end().strip_prefix(BOB)).collect();
    let expected: Vec<_> = (0..1000).map(|number| number.to_string()).collect();
    assert_eq!(shown, expected);
    // And nothing else but the greeting, the line itself, the answer and the prompt.
    let others: Vec<_> = rows.iter().map(|row| row.trim_end()).filter(|row| !row.starts_with(BOB)).collect();
    assert_eq!(others[1..], [first, second, "- nobody else is here", ">"], "{others:#?}");
}

#[test]
fn a_window_of_another_width_shows_the_line_anew() {
    let peer = Peer::new();
    let (mut tty, mut connection) = open(&peer, 80);
    tty.type_text("0123456789 0123456789 0123456789");
    tty.wait_for_rows(&["> 0123456789 0123456789 0123456789"], 34);
    tty.resize(100);
    connection.broadcast("Bob", "wide");
    tty.wait_for_rows(&[&format!("{BOB}wide"), "> 0123456789 0123456789 0123456789"], 34);
    tty.resize(30);
    tty.wait_for_rows(&["> 0123456789 0123456789 012345", "6789"], 4);
    tty.type_text("\r");
    connection.expect_message("0123456789 0123456789 0123456789");
}

#[test]
fn nothing_that_others_send_acts_on_the_terminal() {
    let peer = Peer::new();
    let (mut tty, mut connection) = open(&peer, 80);
    tty.type_text("safe");
    connection.broadcast("Bob", "before").broadcast("Mal", r"\u001b[2J\u001b[H\u0000\u202e\r\u001b[A\u0007gone");
    connection.send_bytes(b"\x1b[2J\x1b]0;mine\x07\xff\n");
    tty.wait_for_rows(
        &[
            &format!("{BOB}before"),
            r"[2026-01-02 10:30:15] Mal: \u{1b}[2J\u{1b}[H\u{0}\u{202e}\r\u{1b}[A\u{7}gone",
            r"! not a line of the chat's protocol: \u{1b}[2J\u{1b}]0;mine\u{7}\xff",
            "> safe",
        ],
        6,
    );
    tty.type_text("!\r");
    connection.expect_message("safe!");
}

#[test]
fn json_is_made_harmless_on_a_terminal() {
    let peer = Peer::new();
    let tty = Tty::start(&mut peer.command(&["--json"]), 80);
    peer.accept().send_bytes(b"{\"type\":\"NEW\x1b[2J\"}\n");
    tty.wait_for_text(r#"{"type":"NEW\u{1b}[2J"}"#);
}

#[test]
fn several_lines_may_be_typed_ahead_in_one_write() {
    let peer = Peer::new();
    let (mut tty, mut connection) = open(&peer, 80);
    tty.type_text("one\rtwo\r/time\rthr");
    connection.expect_message("one").expect_message("two").expect(r#"{"type":"TIME"}"#);
    tty.wait_for_rows(&["> one", "> two", "> /time", "> thr"], 5);
    tty.type_text("ee\r");
    connection.expect_message("three");
}

#[test]
fn the_arrows_bring_back_what_was_typed() {
    let peer = Peer::new();
    let (mut tty, mut connection) = open(&peer, 80);
    tty.type_text("one\rtwo\r");
    connection.expect_message("one").expect_message("two");
    tty.type_text("dra\x1b[A\x1b[A");
    tty.wait_for_rows(&["> one", "> two", "> one"], 5);
    tty.type_text("\x1b[B\x1b[Bft\r");
    connection.expect_message("draft");
}

#[test]
fn ctrl_d_ends_an_empty_line_and_the_terminal_is_as_it_was() {
    let peer = Peer::new();
    let (mut tty, connection) = open(&peer, 80);
    assert!(!tty.is_as_before());
    tty.type_text("x\x7f\x04");
    connection.let_go();
    assert_eq!(tty.process.wait().code(), Some(0));
    assert!(tty.is_as_before());
    tty.wait_for_rows(&["- Goodbye.", ""], 0);
}

#[test]
fn ctrl_c_lets_go_of_the_line_and_then_of_the_conversation() {
    let peer = Peer::new();
    let (mut tty, mut connection) = open(&peer, 80);
    tty.type_text("not this\x03");
    tty.wait_for_rows(&["> not this", ">"], 2);
    tty.type_text("this\r");
    connection.expect_message("this").ok("MESSAGE", "0");
    tty.wait_for_rows(&["- nobody else is here", ">"], 2);
    tty.type_text("\x03");
    assert_eq!(tty.process.wait().code(), Some(130));
    assert!(tty.is_as_before());
}

#[test]
fn a_signal_that_ends_the_client_leaves_the_terminal_as_it_was() {
    let peer = Peer::new();
    for (signal, code) in [(Signal::SIGTERM, 143), (Signal::SIGHUP, 129), (Signal::SIGINT, 130)] {
        let (mut tty, _connection) = open(&peer, 80);
        tty.process.signal(signal);
        assert_eq!(tty.process.wait().code(), Some(code));
        assert!(tty.is_as_before(), "{signal}");
    }
}

#[test]
fn ctrl_z_stops_the_client_until_it_is_told_to_go_on() {
    let peer = Peer::new();
    let (mut tty, mut connection) = open(&peer, 80);
    tty.type_text("half\x1a");
    let state = |tty: &Tty| {
        let stat = fs::read_to_string(format!("/proc/{}/stat", tty.process.pid())).unwrap();
        stat.rsplit_once(") ").unwrap().1.chars().next().unwrap()
    };
    wait_until("the client has been stopped", || state(&tty) == 'T');
    connection.broadcast("Bob", "meanwhile");
    tty.process.signal(Signal::SIGCONT);
    tty.wait_for_rows(&[&format!("{BOB}meanwhile"), "> half"], 6);
    tty.type_text(" a line\r");
    connection.expect_message("half a line");
}

#[test]
fn at_a_terminal_the_client_waits_for_its_server_to_come_back_and_keeps_the_line() {
    let peer = Peer::new();
    let (mut tty, connection) = open(&peer, 80);
    tty.type_text("draft");
    let address = peer.address();
    drop((connection, peer));
    tty.wait_for_text("! trying again in 1 s");
    tty.wait_for_text("ECONNREFUSED");
    tty.wait_for_rows(&["! trying again in 1 s", "> draft"], 7);
    tty.type_text("\x15lost\r");
    tty.wait_for_rows(&["> lost", "! not connected: that was not sent", ">"], 2);
    let peer = Peer::again(address);
    let mut connection = peer.accept();
    tty.wait_for_text(&format!("! connected to {address} again"));
    tty.type_text("found\r");
    connection.expect_message("found");
}

#[test]
fn who_does_not_want_to_wait_for_the_server_can_leave() {
    let peer = Peer::new();
    let (mut tty, connection) = open(&peer, 80);
    drop((connection, peer));
    tty.wait_for_text("! trying again in 2 s");
    tty.type_text("/quit\r");
    assert_eq!(tty.process.wait().code(), Some(0));
    assert!(tty.is_as_before());
}

#[test]
fn a_dumb_terminal_gets_plain_lines() {
    let limit = testkit::process::PATIENCE;
    let peer = Peer::new();
    let mut terminal = Terminal::new(&TerminalOptions {
        environment: vec![("TZ".into(), "XXX-2".into())],
        ..TerminalOptions::new("/")
    })
    .unwrap();
    let command = format!("{} 127.0.0.1 {}", binary("lab7-client").display(), peer.address().port());
    terminal.run(&command, limit).unwrap();
    let mut connection = peer.accept();
    terminal.expect("connected to 127.0.0.1:… /help", limit).unwrap();
    terminal.type_line("hello").unwrap();
    connection.expect_message("hello").broadcast("Bob", "hi").ok("MESSAGE", "1");
    terminal.expect(&format!("{BOB}hi"), limit).unwrap();
    terminal.expect("- went to 1 other", limit).unwrap();
    terminal.key(testkit::terminal::Ctrl::D).unwrap();
    connection.let_go();
    assert_eq!(terminal.await_end(limit).unwrap(), 0);
    assert!(!terminal.seen().contains("> "), "{}", terminal.seen());
}

#[test]
fn who_asks_for_help_in_a_busy_chat_is_heard_afterwards() {
    let peer = Peer::new();
    let (mut tty, mut connection) = open(&peer, 80);
    let mut busy = connection.another();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let busy = &mut busy;
        let is_over = &is_over;
        scope.spawn(move || {
            while !is_over.load(Ordering::SeqCst) {
                busy.broadcast("Bob", "busy");
            }
        });
        // Lines are on their way to the editor at nearly every Enter, and what is said of a command has to pass them.
        for number in 0..20 {
            tty.type_text(&format!("/help\r{number}\r"));
            connection.expect_message(&number.to_string());
        }
        is_over.store(true, Ordering::SeqCst);
    });
    // What was said until now would push the answer off the screen.
    busy.broadcast("Bob", "I have finished");
    tty.wait_for_text("I have finished");
    tty.type_text("/help\r");
    tty.wait_for_text("a message that begins with a slash");
}
